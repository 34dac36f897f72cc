/* report: a delivery status notice or feedback report that came in, for the hook bounce_in. All of it
 * is a stranger's word, and read-only. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/report.h"
#include "policy/objects.h"

/* The first field of this name, unfolded and decoded; nil. `typed`: without "rfc822;" in front. */
static void
push_field(lua_State *L, const struct header *h, const char *name, bool typed)
{
	const struct header_field *f = header_find(h, name, 1);
	struct slice value;
	struct buf *b;
	char *text;

	if (f == NULL) {
		lua_pushnil(L);
		return;
	}
	value = typed ? report_address(f->value) : slice_trim(f->value);
	policy_charge_lua(L, value.n);
	luaL_checkstack(L, 2, "report");
	b = policy_push_buf(L, HEADER_MAX_BYTES * 4);	/* the collector's, whatever raises below */
	text = header_decode(value);
	buf_adds(b, text);
	free(text);
	lua_pushlstring(L, buf_peek(b), b->len);
	lua_remove(L, -2);
}

static const struct report *
report_of(const struct obj *o)
{
	return o->s->report;
}

/* ---- report ---- */

static void
get_kind(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, report_of(o)->kind == REPORT_DSN ? "dsn" : "feedback");
}

static void
get_truncated(lua_State *L, const struct obj *o)
{
	lua_pushboolean(L, report_of(o)->is_cut);
}

static void
get_reporting_mta(lua_State *L, const struct obj *o)
{
	push_field(L, &report_of(o)->fields, "Reporting-MTA", true);
}

static void
get_envelope_id(lua_State *L, const struct obj *o)
{
	push_field(L, &report_of(o)->fields, "Original-Envelope-Id", false);
}

static void
get_arrival_date(lua_State *L, const struct obj *o)
{
	push_field(L, &report_of(o)->fields, "Arrival-Date", false);
}

static void
get_feedback_type(lua_State *L, const struct obj *o)
{
	push_field(L, &report_of(o)->fields, "Feedback-Type", false);
}

static void
get_user_agent(lua_State *L, const struct obj *o)
{
	push_field(L, &report_of(o)->fields, "User-Agent", false);
}

static void
get_source_ip(lua_State *L, const struct obj *o)
{
	push_field(L, &report_of(o)->fields, "Source-IP", false);
}

static void
get_recipients(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_REPORT_RCPTS, 0);
}

static int
r_field(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_REPORT);

	push_field(L, &report_of(&o)->fields, luaL_checkstring(L, 2), false);
	return 1;
}

/* original(name) -> a header field of the message that the report is about; nil. */
static int
r_original(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_REPORT);

	push_field(L, &report_of(&o)->original, luaL_checkstring(L, 2), false);
	return 1;
}

const struct obj_class obj_report = {
	.what = "report",
	.fields = (const struct obj_field[]){
		{ "kind", get_kind, NULL, NULL },
		{ "recipients", get_recipients, NULL, NULL },
		{ "reporting_mta", get_reporting_mta, NULL, NULL },
		{ "envelope_id", get_envelope_id, NULL, NULL },
		{ "arrival_date", get_arrival_date, NULL, NULL },
		{ "feedback_type", get_feedback_type, NULL, NULL },
		{ "user_agent", get_user_agent, NULL, NULL },
		{ "source_ip", get_source_ip, NULL, NULL },
		{ "truncated", get_truncated, NULL, NULL },
		{ "field", NULL, NULL, r_field },
		{ "original", NULL, NULL, r_original },
		{ "note", NULL, NULL, obj_note },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = get_kind,
};

/* ---- report.recipients ---- */

static lua_Integer
rcpts_len(const struct obj *o)
{
	return (lua_Integer)report_of(o)->nrcpts;
}

static bool
rcpts_index(lua_State *L, const struct obj *o)
{
	lua_Integer i = lua_tointeger(L, 2);

	if (!lua_isinteger(L, 2))
		return false;
	if (i < 1 || i > rcpts_len(o))
		lua_pushnil(L);
	else
		policy_push_object(L, OBJ_REPORT_RCPT, (unsigned)i - 1);
	return true;
}

static bool
rcpts_pair(lua_State *L, const struct obj *o, size_t i)
{
	if (i >= report_of(o)->nrcpts)
		return false;
	lua_pushinteger(L, (lua_Integer)i + 1);
	policy_push_object(L, OBJ_REPORT_RCPT, (unsigned)i);
	return true;
}

const struct obj_class obj_report_rcpts = {
	.what = "recipients",
	.index = rcpts_index,
	.len = rcpts_len,
	.pair = rcpts_pair,
};

static const struct header *
rcpt(lua_State *L, const struct obj *o)
{
	if (o->index >= report_of(o)->nrcpts)
		luaL_error(L, "stale handle: this recipient is gone");
	return &report_of(o)->rcpts[o->index];
}

static void
rcpt_address(lua_State *L, const struct obj *o)
{
	push_field(L, rcpt(L, o), "Final-Recipient", true);
}

static void
rcpt_original(lua_State *L, const struct obj *o)
{
	push_field(L, rcpt(L, o), "Original-Recipient", true);
}

static void
rcpt_action(lua_State *L, const struct obj *o)
{
	push_field(L, rcpt(L, o), "Action", false);
}

static void
rcpt_status(lua_State *L, const struct obj *o)
{
	push_field(L, rcpt(L, o), "Status", false);
}

static void
rcpt_remote_mta(lua_State *L, const struct obj *o)
{
	push_field(L, rcpt(L, o), "Remote-MTA", true);
}

static void
rcpt_diagnostic(lua_State *L, const struct obj *o)
{
	push_field(L, rcpt(L, o), "Diagnostic-Code", false);
}

static int
rcpt_field(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_REPORT_RCPT);

	push_field(L, rcpt(L, &o), luaL_checkstring(L, 2), false);
	return 1;
}

const struct obj_class obj_report_rcpt = {
	.what = "report recipient",
	.fields = (const struct obj_field[]){
		{ "address", rcpt_address, NULL, NULL },
		{ "original", rcpt_original, NULL, NULL },
		{ "action", rcpt_action, NULL, NULL },
		{ "status", rcpt_status, NULL, NULL },
		{ "remote_mta", rcpt_remote_mta, NULL, NULL },
		{ "diagnostic", rcpt_diagnostic, NULL, NULL },
		{ "field", NULL, NULL, rcpt_field },
		{ NULL, NULL, NULL, NULL },
	},
};
