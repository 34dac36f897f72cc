/* The log: one event, one line; a fixed phrase, then key=value, or the same as a JSON object.
 * Values from the network are escaped here, so callers pass them as they came. Lines are made in
 * the caller's thread and written by a thread of the log's own: a full disk or a stopped reader
 * never blocks mail; what does not fit in its queue is counted and the count is logged.
 * Before log_start and after log_stop lines are written directly. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

struct log_kv {
	const char *key;	/* NULL ends the list */
	enum { LOG_KV_STR, LOG_KV_BYTES, LOG_KV_INT, LOG_KV_UINT, LOG_KV_ID, LOG_KV_SKIP } kind;
	const char *s;		/* STR: NULL leaves the pair out */
	size_t n;
	int64_t i;
	uint64_t u;
};

#define LOG_S(k, v) ((struct log_kv){ .key = (k), .kind = LOG_KV_STR, .s = (v) })
#define LOG_B(k, p, len) ((struct log_kv){ .key = (k), .kind = LOG_KV_BYTES, .s = (p), .n = (len) })
#define LOG_I(k, v) ((struct log_kv){ .key = (k), .kind = LOG_KV_INT, .i = (v) })
#define LOG_U(k, v) ((struct log_kv){ .key = (k), .kind = LOG_KV_UINT, .u = (v) })
/* A message or session number, in the form the command line takes (see id_format). */
#define LOG_ID(k, v) ((struct log_kv){ .key = (k), .kind = LOG_KV_ID, .u = (v) })

#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
/* log_info("message accepted", LOG_ID("message", id), LOG_U("size", n)); pairs may be left out. */
#define log_at(level, phrase, ...) \
	log_write(level, phrase, (const struct log_kv[]){ __VA_ARGS__ __VA_OPT__(,) { .key = NULL } })
void log_write(enum log_level level, const char *phrase, const struct log_kv *kv);

/* For lines that strangers can cause without end: is this one still among the first
 * LOG_GATE_LINES of its kind in this second? Those left out are counted, and the number is logged in
 * front of the next one. One static gate a kind, any thread. */
#define LOG_GATE_LINES 500
struct log_gate {
	const char *kind;
	_Atomic int64_t second;
	_Atomic uint64_t lines, left_out;
};
bool log_may(struct log_gate *g);

struct log_conf {
	const char *file;	/* NULL: standard error */
	const char *json_file;	/* every line as JSON, too; NULL: no */
	const char *journal;	/* of policies' decisions (policy/journal.h); NULL: none */
	bool json;
	enum log_level level;	/* lines below it are not written */
};
int log_open(const struct log_conf *conf, struct err *err);
int log_start(void);		/* starts the writing thread */
void log_reopen(void);		/* after rotation; takes effect with the next line */
/* A line of the journal, without its newline: written by the log's thread, from a queue of its own. */
void log_journal(const char *line, size_t n);
void log_stop(void);		/* writes what is queued, then ends the thread */
/* For tests: every finished line (no newline) instead of writing it. NULL: back to writing. */
void log_capture(void (*fn)(void *arg, const char *line), void *arg);

/* Message and session numbers as 13 letters and digits that sort by time (Crockford base 32). */
#define ID_TEXT 14
void id_format(char dst[ID_TEXT], uint64_t id);
bool id_parse(const char *text, uint64_t *id_out);
/* A new message number: milliseconds since 1970, then who (0..63), then a counter. Never the
 * same twice in a process, and increasing for each `who`. */
uint64_t id_new(unsigned who);
/* An id that is in use, from before a restart: what comes is newer, whatever the clock says. */
void id_seen(uint64_t id);
int64_t id_wall_ms(uint64_t id);	/* when it was made */

#endif
