#include "config.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"

static atomic_bool faked;
static _Atomic int64_t fake_mono, fake_wall;
static int64_t shift_ms = INT64_MIN;	/* INT64_MIN: the environment was not read yet */

static int64_t
read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t
clock_mono_ns(void)
{
	return faked ? fake_mono * 1000000 : read_clock(CLOCK_MONOTONIC);
}

int64_t
clock_run_ns(int64_t mono_ns)
{
	return faked ? read_clock(CLOCK_MONOTONIC) : mono_ns;
}

int64_t
clock_mono_ms(void)
{
	return clock_mono_ns() / 1000000;
}

int64_t
clock_wall_ms(void)
{
	if (faked)
		return fake_wall;
	if (shift_ms == INT64_MIN) {
		const char *s = getenv("SALLYPORT_CLOCK_SHIFT_MS");

		shift_ms = s == NULL ? 0 : strtoll(s, NULL, 10);
	}
	return read_clock(CLOCK_REALTIME) / 1000000 + shift_ms;
}

void
clock_fake(int64_t mono_ms, int64_t wall_ms)
{
	fake_mono = mono_ms;
	fake_wall = wall_ms;
	faked = true;
}

void
clock_real(void)
{
	faked = false;
}

static const struct unit {
	const char *name;
	int64_t ms;
} units[] = {	/* largest first, for duration_format */
	{ "w", 604800000 }, { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
};

bool
duration_parse(struct slice text, int64_t *ms_out)
{
	size_t digits = 0;
	uint64_t v;

	while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9')
		digits++;
	if (!slice_u64((struct slice){ text.p, digits }, &v))
		return false;
	for (size_t i = 0; i < NELEMS(units); i++) {
		if (!slice_is((struct slice){ text.p + digits, text.n - digits }, units[i].name))
			continue;
		if (v > (uint64_t)(INT64_MAX / units[i].ms))
			return false;
		*ms_out = (int64_t)v * units[i].ms;
		return true;
	}
	return false;
}

void
duration_format(char *dst, size_t size, int64_t ms)
{
	if (ms == 0) {
		snprintf(dst, size, "0s");
		return;
	}
	for (size_t i = 1; i < NELEMS(units); i++) {	/* weeks are read, days are written */
		if (ms % units[i].ms == 0) {
			snprintf(dst, size, "%" PRId64 "%s", ms / units[i].ms, units[i].name);
			return;
		}
	}
}

void
date_rfc5322(char *dst, size_t size, int64_t wall_ms)
{
	static const char *const day[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char *const month[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
		"Sep", "Oct", "Nov", "Dec" };
	time_t t = (time_t)(wall_ms / 1000);
	struct tm tm;
	long zone;

	localtime_r(&t, &tm);
	zone = tm.tm_gmtoff / 60;
	/* Names are written out here: strftime would take them from the locale. */
	snprintf(dst, size, "%s, %d %s %d %02d:%02d:%02d %c%02ld%02ld", day[tm.tm_wday], tm.tm_mday,
	    month[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec,
	    zone < 0 ? '-' : '+', labs(zone) / 60, labs(zone) % 60);
}

void
date_iso8601(char *dst, size_t size, int64_t wall_ms)
{
	time_t t = (time_t)(wall_ms / 1000);
	struct tm tm;

	gmtime_r(&t, &tm);
	snprintf(dst, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
	    tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(wall_ms % 1000));
}
