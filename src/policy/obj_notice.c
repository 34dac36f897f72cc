/* What a policy does to the parts of a notice: bounce:redact_text and bounce:attach. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "policy/objects.h"

#define REDACT_MT "gw.bounce.redacting"
#define CALLS_MAX 16u		/* of redact_text, for one notice */
#define INSTEAD_MAX 8000u	/* octets of what a function gives back */
#define HIDDEN "(hidden)"
#define ATTACHED_MAX 8u
#define ATTACHED_OCTETS (256u * 1024)
#define NAME_MAX_OCTETS 120u

/* ---- redact_text ---- */

struct redacting {		/* userdata: what is heap goes with it, whatever raises */
	struct header h;
	bool has_header;
	char *decoded;
	struct buf out;
};

static int
redacting_gc(lua_State *L)
{
	struct redacting *x = luaL_checkudata(L, 1, REDACT_MT);

	if (x->has_header)
		header_fini(&x->h);
	free(x->decoded);
	buf_fini(&x->out);
	*x = (struct redacting){ .has_header = false };
	return 0;
}

/* Pushes `text` with every match of the pattern at 2 hidden, or nil when there is none. */
static void
push_by_pattern(lua_State *L, struct redacting *x, struct slice text)
{
	struct policy_run *r = policy_run_of(L);
	struct slice pattern;
	size_t at = 0, start, end;
	bool any = false;
	int found;

	pattern.p = lua_tolstring(L, 2, &pattern.n);
	buf_fini(&x->out);
	buf_init(&x->out, text.n * (sizeof HIDDEN) + sizeof HIDDEN);
	while ((found = policy_pattern_find(r, text, pattern, at, &start, &end, &r->gen->err)) == 1) {
		if (start == end) {	/* nothing was matched, so nothing is to be hidden */
			if (start >= text.n || pattern.p[0] == '^')
				break;
			buf_add(&x->out, text.p + at, start + 1 - at);
			at = start + 1;
			continue;
		}
		buf_add(&x->out, text.p + at, start - at);
		buf_adds(&x->out, HIDDEN);
		any = true;
		at = end;
		if (pattern.p[0] == '^')
			break;
	}
	if (found < 0 && r->killed != KILL_NONE)
		policy_kill(L, r->killed);
	if (found < 0)
		luaL_error(L, "bounce:redact_text: %s", r->gen->err.text);
	if (!any) {
		lua_pushnil(L);
		return;
	}
	buf_add(&x->out, text.p + at, text.n - at);
	lua_pushlstring(L, buf_peek(&x->out), x->out.len);
}

/* The same by the function at 2, called with the text and with what it is. */
static void
push_by_function(lua_State *L, struct slice text, struct slice what)
{
	size_t n;

	lua_pushvalue(L, 2);
	lua_pushlstring(L, text.p, text.n);
	lua_pushlstring(L, what.p, what.n);
	lua_call(L, 2, 1);
	if (lua_isnil(L, -1))
		return;
	if (lua_type(L, -1) != LUA_TSTRING)
		luaL_error(L, "bounce:redact_text: the function gave a %s; a string, or nil to change nothing",
		    luaL_typename(L, -1));
	lua_tolstring(L, -1, &n);
	if (n > INSTEAD_MAX)
		luaL_error(L, "bounce:redact_text: the function gave more than %d octets", (int)INSTEAD_MAX);
	if (memchr(lua_tostring(L, -1), '\0', n) != NULL || !utf8_is_valid(lua_tostring(L, -1), n))
		luaL_error(L, "bounce:redact_text: the function gave something that is not UTF-8 text");
	if (n == text.n && memcmp(lua_tostring(L, -1), text.p, n) == 0) {
		lua_pop(L, 1);
		lua_pushnil(L);
	}
}

/* Puts what is to stand there instead into the table at `to`, unless nothing changes. */
static void
redact_one(lua_State *L, struct redacting *x, const char *text, struct slice what, int to, size_t i)
{
	size_t n = strlen(text);

	policy_charge_lua(L, n / 16 + 1);
	if (lua_type(L, 2) == LUA_TSTRING)
		push_by_pattern(L, x, (struct slice){ text, n });
	else
		push_by_function(L, (struct slice){ text, n }, what);
	if (lua_isnil(L, -1))
		lua_pop(L, 1);
	else
		lua_rawseti(L, to, (lua_Integer)i + 1);
}

/* From the table at `from` into a list that has a place for each of n. */
static void
take_texts(lua_State *L, int from, char ***list, size_t *have, size_t n)
{
	if (*have < n) {
		*list = xrealloc(*list, n * sizeof **list);
		for (size_t i = *have; i < n; i++)
			(*list)[i] = NULL;
		*have = n;
	}
	lua_pushnil(L);
	while (lua_next(L, from) != 0) {
		size_t i = (size_t)lua_tointeger(L, -2) - 1;

		free((*list)[i]);
		(*list)[i] = xstrdup(lua_tostring(L, -1));
		lua_pop(L, 1);
	}
}

/* bounce:redact_text(pattern), or (function(text, what)): in what was said about each recipient and in
 * the fields of the original that come back. The function is called now, and may not wait. */
int
bounce_redact_text(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_BOUNCE);
	struct policy_bounce *b = o.s->bounce;
	struct dsn_words *w = b->words;
	struct redacting *x;
	const char *problem;
	struct slice p;

	if (lua_type(L, 2) == LUA_TSTRING) {
		p.p = lua_tolstring(L, 2, &p.n);
		problem = p.n == 0 ? "it is empty" : p.n > 255 ? "more than 255 octets" : policy_pattern_problem(p);
		if (problem != NULL)
			return luaL_error(L, "bounce:redact_text: pattern: %s", problem);
	} else if (!lua_isfunction(L, 2)) {
		return luaL_error(L, "bounce:redact_text: a pattern or a function, not a %s", luaL_typename(L, 2));
	}
	if (b->redactions >= CALLS_MAX)
		return luaL_error(L, "bounce:redact_text: at most %d times", (int)CALLS_MAX);
	b->redactions++;
	lua_settop(L, 2);
	x = lua_newuserdatauv(L, sizeof *x, 0);		/* 3 */
	*x = (struct redacting){ .has_header = false };
	luaL_setmetatable(L, REDACT_MT);
	lua_newtable(L);				/* 4: what was said */
	lua_newtable(L);				/* 5: fields */
	for (size_t i = 0; i < b->nrcpts; i++) {
		const char *said = dsn_said(w, b->rcpts, i);

		if (said != NULL)
			redact_one(L, x, said, SLICE("diagnostic"), 4, i);
	}
	x->has_header = o.s->header.p != NULL && header_parse(&x->h, o.s->header);
	for (size_t i = 0; x->has_header && i < x->h.n; i++) {
		const struct header_field *f = &x->h.fields[i];

		free(x->decoded);
		x->decoded = i < w->nfields && w->fields[i] != NULL ? xstrdup(w->fields[i]) : header_decode(f->value);
		if (x->decoded != NULL)
			redact_one(L, x, x->decoded, f->name, 5, i);
	}
	if (!policy_change_check(L, "bounce:redact_text"))
		return 0;
	take_texts(L, 4, &w->said, &w->nsaid, b->nrcpts);
	take_texts(L, 5, &w->fields, &w->nfields, x->has_header ? x->h.n : 0);
	return 0;
}

/* ---- attach ---- */

static void
check_name(lua_State *L, const char *p, size_t n)
{
	policy_text_check(L, "bounce:attach", "name", p, n, NAME_MAX_OCTETS);
	if (n == 0 || p[0] == '.' || strpbrk(p, "/\\") != NULL)
		luaL_error(L, "bounce:attach: name: the name of a file, without a path");
}

/* "text/csv": no parameters, and nothing that has parts or is a message (RFC 2046 5: those may not be in
 * base64). */
static void
check_type(lua_State *L, const char *p, size_t n)
{
	static const char token[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$&^_.+-";
	size_t main = strspn(p, token), sub = p[main] == '/' ? strspn(p + main + 1, token) : 0;

	if (n > 100 || main == 0 || sub == 0 || main + 1 + sub != n)
		luaL_error(L, "bounce:attach: type: \"text/csv\" and the like, without parameters");
	if (strncasecmp(p, "multipart/", 10) == 0 || strncasecmp(p, "message/", 8) == 0)
		luaL_error(L, "bounce:attach: type: not a message, and nothing that has parts");
}

/* bounce:attach(name, type, data) -> true, or nil and why not. */
int
bounce_attach(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_BOUNCE);
	struct dsn_words *w = o.s->bounce->words;
	size_t name_n, type_n, n, all = 0;
	const char *name = luaL_checklstring(L, 2, &name_n), *type = luaL_checklstring(L, 3, &type_n),
	    *data = luaL_checklstring(L, 4, &n);
	struct dsn_attachment *a;

	check_name(L, name, name_n);
	check_type(L, type, type_n);
	for (size_t i = 0; i < w->nattached; i++)
		all += w->attached[i].n;
	if (w->nattached >= ATTACHED_MAX)
		return luaL_error(L, "bounce:attach: at most %d", (int)ATTACHED_MAX);
	if (n > ATTACHED_OCTETS - all)
		return luaL_error(L, "bounce:attach: more than %d octets in all", (int)ATTACHED_OCTETS);
	if (!policy_change_check(L, "bounce:attach")) {
		lua_pushboolean(L, 1);
		return 1;
	}
	if (obj_bounce_is_tagged(&o)) {
		static const char why[] = "the message came with REQUIRETLS: nothing but its header goes with the notice";

		policy_note(o.r, LOG_LEVEL_WARN, "bounce:attach clamped", why, sizeof why - 1);
		lua_pushnil(L);
		lua_pushstring(L, why);
		return 2;
	}
	w->attached = xrealloc(w->attached, (w->nattached + 1) * sizeof *w->attached);
	a = &w->attached[w->nattached++];
	a->name = xstrdup(name);
	a->type = xstrdup(type);
	a->data = xmalloc(n + 1);
	memcpy(a->data, data, n);
	a->data[n] = '\0';
	a->n = n;
	lua_pushboolean(L, 1);
	return 1;
}

void
obj_notice_register(lua_State *L)
{
	static const luaL_Reg mt[] = { { "__gc", redacting_gc }, { NULL, NULL } };

	policy_newmetatable(L, REDACT_MT, mt);
	lua_pop(L, 1);
}
