/* Time. Timers and deadlines use the monotonic clock, stored and shown times the wall clock
 * . Tests may put a fake in front of both. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

int64_t clock_mono_ms(void);
int64_t clock_mono_ns(void);
/* For how long something computes: `mono_ns`, which is now, or real time where the clock is a fake. */
int64_t clock_run_ns(int64_t mono_ns);
int64_t clock_wall_ms(void);			/* since 1970, UTC */
void clock_fake(int64_t mono_ms, int64_t wall_ms);	/* from now on, until clock_real() */
void clock_real(void);
/* For tests of a running daemon: SALLYPORT_CLOCK_SHIFT_MS is added to the wall clock. */

/* "5m", "1h", "4d", "0s", "1500ms": a whole number and a unit (ms s m h d w). */
bool duration_parse(struct slice text, int64_t *ms_out);
/* The shortest exact form of that. */
void duration_format(char *dst, size_t size, int64_t ms);
/* "Mon, 23 Nov 2026 21:15:00 +0000" (RFC 5322 3.3), in local time with numeric zone. 40 octets. */
void date_rfc5322(char *dst, size_t size, int64_t wall_ms);
/* "2026-11-23T21:15:00.123Z", 25 octets with NUL. */
void date_iso8601(char *dst, size_t size, int64_t wall_ms);

#endif
