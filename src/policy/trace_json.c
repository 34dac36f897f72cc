/* A record as JSON, for the store, the control socket and people. */
#include "config.h"

#include <string.h>

#include "policy/policy_int.h"

static json_t *
safe(const char *p, size_t n)
{
	char text[2600];

	text_escape(text, sizeof text, p, n, true);
	return json_string(text);
}

static json_t *
id_of(uint64_t id)
{
	char text[ID_TEXT];

	id_format(text, id);
	return json_string(text);
}

static void
set_parts(json_t *o, const char *key, const struct buf *b)
{
	const char *p = b->len == 0 ? "" : buf_peek(b), *end = p + b->len;
	json_t *list;

	if (b->len == 0)
		return;
	list = json_array();
	while (p <= end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((nl == NULL ? end : nl) - p);

		json_array_append_new(list, safe(p, n));
		p += n + 1;
	}
	json_object_set_new(o, key, list);
}

static json_t *
waits_of(const struct trace_rec *t)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < t->nwaits && i < TRACE_WAITS; i++) {
		const struct trace_wait *w = &t->waits[i];

		json_array_append_new(list, json_pack("{s:s, s:o, s:I, s:s}", "kind", w->kind, "key",
		    safe(w->key, strlen(w->key)), "us", (json_int_t)(w->ns / 1000), "outcome",
		    w->outcome == NULL ? "ended" : w->outcome));
	}
	return list;
}

json_t *
trace_json(const struct trace_rec *t, unsigned worker)
{
	static const char *const levels[] = { "advisory", "normal", "mandatory" };
	char at[32], duties[200];
	json_t *o;

	date_iso8601(at, sizeof at, t->at_ms);
	o = json_pack("{s:s, s:i, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s}",
	    "at", at, "worker", (int)worker, "seq", (json_int_t)t->seq, "gen", t->gen,
	    "hook", policy_hook_name(t->hook), "type", t->is_rule ? "rule" : "lua", "handler", t->handler,
	    "level", t->observe ? "observe" : levels[t->level], "where", t->where,
	    "instructions", (json_int_t)t->instructions, "run_us", (json_int_t)(t->run_ns / 1000),
	    "wall_us", (json_int_t)(t->wall_ns / 1000), "grown", (json_int_t)t->grown,
	    "verdict", t->is_error ? "error" : t->verdict == VERDICT_NONE ? "nil" : verdict_kind_name(t->verdict));
	if (t->session != 0)
		json_object_set_new(o, "session", id_of(t->session));
	if (t->message != 0)
		json_object_set_new(o, "message", id_of(t->message));
	if (t->rcpt >= 0)
		json_object_set_new(o, "rcpt", json_integer(t->rcpt));
	if (t->ip[0] != '\0')
		json_object_set_new(o, "ip", safe(t->ip, strlen(t->ip)));
	if (t->domain[0] != '\0')
		json_object_set_new(o, "domain", safe(t->domain, strlen(t->domain)));
	if (t->duties != 0) {
		duties_format(duties, sizeof duties, t->duties);
		json_object_set_new(o, "duties", json_string(duties));
	}
	set_parts(o, "matched", &t->matched);
	set_parts(o, "changed", &t->changed);
	set_parts(o, "notes", &t->notes);
	if (t->why.len > 0)
		json_object_set_new(o, t->is_error ? "error" : "why", safe(buf_peek(&t->why), t->why.len));
	if (t->nwaits > 0)
		json_object_set_new(o, "waits", waits_of(t));
	if (t->nwaits > TRACE_WAITS)
		json_object_set_new(o, "more_waits", json_integer(t->nwaits - TRACE_WAITS));
	return o;
}
