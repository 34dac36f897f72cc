/* policy_check: loads as a worker would, collects what is wrong, and looks at the bytecode for what
 * would only be found when a handler runs: names that do not exist, verdicts that a hook does not
 * take, routes and grants that the configuration does not have, state kept in upvalues. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/check_int.h"

#define DUMP_MAX (8u << 20)
#define TEXT_MAX (256u << 10)

struct reader {
	const uint8_t *p;
	size_t n;
	bool bad;
};

void
policy_problem(struct policy_gen *g, bool is_error, const char *fmt, ...)
{
	va_list ap;
	char line[1200];

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (is_error)
		g->errors++;
	buf_printf(g->problems, "%s%s\n", line, is_error ? "" : " (warning)");
}

/* ---- Reading a dump ---- */

static const uint8_t *
take(struct reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->bad || n > r->n) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	r->n -= n;
	return p;
}

static unsigned
take_byte(struct reader *r)
{
	const uint8_t *p = take(r, 1);

	return p == NULL ? 0 : *p;
}

static size_t
take_size(struct reader *r)
{
	size_t v = 0;
	unsigned b;

	do {
		b = take_byte(r);
		v = v << 7 | (b & 127);
	} while (!r->bad && (b & 128) == 0);
	return v;
}

/* A count of things that take at least one octet each. */
static size_t
take_count(struct reader *r)
{
	size_t n = take_size(r);

	if (n > r->n)
		r->bad = true;
	return r->bad ? 0 : n;
}

static char *
take_string(struct reader *r)
{
	size_t n = take_size(r);
	const uint8_t *p;

	if (n == 0)
		return NULL;
	p = take(r, n - 1);
	return p == NULL ? NULL : xstrndup((const char *)p, n - 1);
}

static void
proto_free(struct proto *f)
{
	if (f == NULL)
		return;
	for (size_t i = 0; i < f->nk; i++)
		free(f->k[i]);
	for (size_t i = 0; i < f->nup; i++)
		free(f->up[i].name);
	for (size_t i = 0; i < f->nsub; i++)
		proto_free(f->sub[i]);
	free(f->source);
	free(f->code);
	free(f->k);
	free(f->up);
	free(f->sub);
	free(f->lines);
	free(f);
}

static void
take_constants(struct reader *r, struct proto *f)
{
	f->nk = take_count(r);
	f->k = xcalloc(f->nk + 1, sizeof *f->k);
	for (size_t i = 0; i < f->nk; i++) {
		switch (take_byte(r)) {
		case LUA_TNUMBER:
		case LUA_TNUMBER | 16:
			take(r, 8);
			break;
		case LUA_TSTRING:
		case LUA_TSTRING | 16:
			f->k[i] = take_string(r);
		}
	}
}

static void
take_debug(struct reader *r, struct proto *f)
{
	size_t n = take_count(r), nabs;
	const int8_t *delta = (const int8_t *)take(r, n);
	int line = f->line;

	f->lines = xcalloc(f->ncode + 1, sizeof *f->lines);
	nabs = take_count(r);
	for (size_t i = 0, pc = 0; i <= nabs && delta != NULL; i++) {
		size_t abs_pc = i < nabs ? take_size(r) : n;
		int abs_line = i < nabs ? (int)take_size(r) : 0;

		for (; pc < n && pc < f->ncode && pc < abs_pc; pc++) {
			line += delta[pc] == -128 ? 0 : delta[pc];
			f->lines[pc] = line;
		}
		if (i < nabs && pc < f->ncode) {
			line = abs_line;
			f->lines[pc++] = line;
		}
	}
	n = take_count(r);
	for (size_t i = 0; i < n && !r->bad; i++) {
		free(take_string(r));
		take_size(r);
		take_size(r);
	}
	n = take_count(r);
	for (size_t i = 0; i < n && i < f->nup; i++)
		f->up[i].name = take_string(r);
}

static struct proto *
take_proto(struct reader *r, const char *parent_source, int depth)
{
	struct proto *f = xcalloc(1, sizeof *f);
	const uint8_t *p;

	f->source = take_string(r);
	if (f->source == NULL)
		f->source = xstrdup(parent_source);
	else if (f->source[0] == '@')
		memmove(f->source, f->source + 1, strlen(f->source));
	f->line = (int)take_size(r);
	take_size(r);
	f->nparams = take_byte(r);
	take(r, 2);
	f->ncode = take_count(r);
	p = take(r, f->ncode * 4);
	if (p == NULL)
		f->ncode = 0;
	f->code = xcalloc(f->ncode + 1, 4);
	if (f->ncode > 0)
		memcpy(f->code, p, f->ncode * 4);
	take_constants(r, f);
	f->nup = take_count(r);
	f->up = xcalloc(f->nup + 1, sizeof *f->up);
	for (size_t i = 0; i < f->nup; i++) {
		f->up[i].in_stack = take_byte(r) != 0;
		f->up[i].index = take_byte(r);
		take_byte(r);
	}
	f->nsub = take_count(r);
	f->sub = xcalloc(f->nsub + 1, sizeof *f->sub);
	if (depth > 200)
		r->bad = true;
	for (size_t i = 0; i < f->nsub && !r->bad; i++)
		f->sub[i] = take_proto(r, f->source, depth + 1);
	take_debug(r, f);
	return f;
}

static int
write_dump(lua_State *L, const void *p, size_t n, void *ud)
{
	return buf_add(ud, p, n) ? 0 : 1;
}

/* Of the function at idx; NULL when the dump is not of the known form. */
static struct proto *
read_function(lua_State *L, int idx)
{
	struct buf b;
	struct reader r;
	struct proto *f = NULL;

	buf_init(&b, DUMP_MAX);
	lua_pushvalue(L, idx);
	if (lua_dump(L, write_dump, &b, 0) == 0) {
		const uint8_t *head;

		r = (struct reader){ (const uint8_t *)buf_peek(&b), b.len, false };
		head = take(&r, 31);	/* signature, version, sizes, one integer, one float */
		take_byte(&r);
		if (head != NULL && head[4] == 0x54 && head[12] == 4 && head[13] == 8 && head[14] == 8)
			f = take_proto(&r, "?", 0);
	}
	lua_pop(L, 1);
	buf_fini(&b);
	if (f != NULL && r.bad) {
		proto_free(f);
		f = NULL;
	}
	return f;
}

/* ---- Looking at it ---- */

const char *
check_constant(const struct proto *f, unsigned i)
{
	return i < f->nk && f->k[i] != NULL ? f->k[i] : "";
}

/* The name when instruction i reads global `name`, else NULL. */
const char *
check_global_read(const struct proto *f, size_t i)
{
	uint32_t ins = f->code[i];
	unsigned up = INS_B(ins);

	if (INS_OP(ins) != OP_GETTABUP || up >= f->nup || f->up[up].name == NULL ||
	    strcmp(f->up[up].name, "_ENV") != 0)
		return NULL;
	return check_constant(f, INS_C(ins));
}

/* The x when instructions i and i + 1 read gw.x, else NULL. */
const char *
check_gw_read(const struct proto *f, size_t i)
{
	const char *g = i + 1 < f->ncode ? check_global_read(f, i) : NULL;

	if (g == NULL || strcmp(g, "gw") != 0 || INS_OP(f->code[i + 1]) != OP_GETFIELD ||
	    INS_B(f->code[i + 1]) != INS_A(f->code[i]))
		return NULL;
	return check_constant(f, INS_C(f->code[i + 1]));
}

enum verdict_kind
check_constructor(const char *name)
{
	for (int k = VERDICT_ACCEPT; k <= VERDICT_IDENTITY; k++) {
		if (strcmp(verdict_kind_name((enum verdict_kind)k), name) == 0)
			return (enum verdict_kind)k;
	}
	return VERDICT_NONE;
}

/* Which upvalues of the handler f stands in for are its own outside: level 0 is the handler. An
 * upvalue of an inner function counts when it is one of the handler's upvalues, not a local. */
static bool
is_outside(const struct proto *const *chain, int depth, unsigned up)
{
	for (; depth > 0; depth--) {
		if (up >= chain[depth]->nup || chain[depth]->up[up].in_stack)
			return false;
		up = chain[depth]->up[up].index;
	}
	return true;
}

static void
look_at_handler(struct policy_gen *g, const struct proto **chain, int depth, const struct handler *h)
{
	const struct proto *f = chain[depth];

	for (size_t i = 0; i < f->ncode; i++) {
		uint32_t ins = f->code[i];
		const char *name = check_gw_read(f, i);
		enum verdict_kind k = name == NULL ? VERDICT_NONE : check_constructor(name);

		if (k != VERDICT_NONE && !policy_verdict_is_legal(h->hook, k))
			policy_problem(g, true, "%s:%d: gw.%s is not a verdict for the hook '%s' (handler '%s')",
			    f->source, f->lines[i], name, policy_hook_name(h->hook), h->name);
		/* For these that is what they are for. */
		if (h->hook != HOOK_INIT && h->hook != HOOK_FINI && h->hook != HOOK_EVERY &&
		    INS_OP(ins) == OP_SETUPVAL && is_outside(chain, depth, INS_B(ins)))
			policy_problem(g, false, "%s:%d: handler '%s' writes to '%s' outside of it: what is kept "
			    "there differs between workers and is gone after a reload; use session.vars or "
			    "message.vars", f->source, f->lines[i], h->name,
			    INS_B(ins) < f->nup && f->up[INS_B(ins)].name != NULL ?
			    f->up[INS_B(ins)].name : "?");
	}
	for (size_t i = 0; i < f->nsub && depth < 60; i++) {
		chain[depth + 1] = f->sub[i];
		look_at_handler(g, chain, depth + 1, h);
	}
}

void
policy_check_handler(lua_State *L, int fn_idx, const struct handler *h)
{
	const struct proto *chain[64];
	struct proto *f = read_function(L, fn_idx);

	if (f == NULL)
		return;
	chain[0] = f;
	check_handler_arguments(policy_run_of(L)->gen, f, h);
	look_at_handler(policy_run_of(L)->gen, chain, 0, h);
	proto_free(f);
}

static bool
has_grant(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->policy.ngrants; i++) {
		if (strcmp(c->policy.grants[i].name, name) == 0)
			return true;
	}
	return false;
}

/* Names in a whole file. */
static void
look_at_file(lua_State *L, struct policy_gen *g, const struct proto *f)
{
	bool makes_route = false, relaxes = false;

	check_function(g, f);
	for (size_t i = 0; i < f->ncode; i++) {
		const char *name = check_global_read(f, i), *member = check_gw_read(f, i);

		makes_route |= member != NULL && (strcmp(member, "route") == 0 || strcmp(member, "reroute") == 0);
		relaxes |= member != NULL && strcmp(member, "relax") == 0;
		if (name == NULL || name[0] == '\0')
			continue;
		lua_pushglobaltable(L);
		if (policy_push_shadow(L, -1))
			lua_remove(L, -2);
		lua_pushstring(L, name);
		if (lua_rawget(L, -2) == LUA_TNIL)
			policy_problem(g, true, "%s:%d: unknown global '%s'", f->source, f->lines[i], name);
		lua_pop(L, 2);
	}
	for (size_t i = 0; i < f->ncode; i++) {
		uint32_t ins = f->code[i];
		const char *key = check_constant(f, INS_B(ins)), *value = check_constant(f, INS_C(ins));

		if (INS_OP(ins) != OP_SETFIELD || !INS_K(ins) || value[0] == '\0')
			continue;
		if (makes_route && strcmp(key, "via") == 0 && strcmp(value, "mx") != 0 &&
		    conf_route(g->conf, value) == NULL)
			policy_problem(g, true, "%s:%d: the configuration has no route '%s'", f->source,
			    f->lines[i], value);
		if (relaxes && strcmp(key, "grant") == 0 && !has_grant(g->conf, value))
			policy_problem(g, true, "%s:%d: the configuration has no grant '%s'", f->source,
			    f->lines[i], value);
	}
	for (size_t i = 0; i < f->nsub; i++)
		look_at_file(L, g, f->sub[i]);
}

static int
check_files(lua_State *L)
{
	struct policy_gen *g = policy_run_of(L)->gen;

	for (size_t i = 0; i < policy_bundle_count(g->bundle); i++) {
		const struct policy_source *s = policy_bundle_source(g->bundle, i);
		struct proto *f;
		char name[300];

		snprintf(name, sizeof name, "@%s", s->path);
		if (s->is_lib)
			continue;
		if (luaL_loadbufferx(L, s->text, s->n, name, "t") != LUA_OK) {
			policy_problem(g, true, "%s", lua_tostring(L, -1));
		} else if ((f = read_function(L, -1)) != NULL) {
			look_at_file(L, g, f);
			proto_free(f);
		}
		lua_settop(L, 0);
	}
	return 0;
}

bool
policy_check(const struct policy_bundle *b, const struct conf *conf, char **text)
{
	struct policy *p = policy_new(NULL, NULL, 0);
	struct buf problems;
	struct err err = { "" };
	struct policy_gen *g;
	bool ok = true;

	buf_init(&problems, TEXT_MAX);
	/* Both are shared by count and not changed otherwise. */
	g = policy_gen_load(p, (struct policy_bundle *)b, (struct conf *)conf, &problems, &err);
	if (g == NULL) {
		ok = false;
		if (problems.len == 0)
			buf_printf(&problems, "%s\n", err.text);
	} else {
		lua_pushcfunction(g->L, check_files);
		if (lua_pcall(g->L, 0, 0, 0) != LUA_OK)
			policy_problem(g, true, "%s", lua_type(g->L, -1) == LUA_TSTRING ?
			    lua_tostring(g->L, -1) : "the check failed");
		check_chains(g);
		ok = g->errors == 0;
		policy_gen_unref(g);
	}
	policy_free(p);
	*text = problems.len == 0 ? NULL : buf_take(&problems);
	buf_fini(&problems);
	return ok;
}

/* ---- Lines, for coverage ---- */

/* The return that every function ends in is code that mostly nobody wrote: its line counts only with others. */
static void
tell_lines(const struct proto *f, policy_line_fn *fn, void *owner)
{
	/* The main chunk begins with what takes its arguments. */
	for (size_t i = f->ncode > 0 && INS_OP(f->code[0]) == OP_VARARGPREP; i + 1 < f->ncode; i++)
		if (f->lines[i] > 0)
			fn(owner, f->source, f->lines[i]);
	for (size_t i = 0; i < f->nsub; i++)
		tell_lines(f->sub[i], fn, owner);
}

bool
policy_code_lines(const struct policy_bundle *b, policy_line_fn *fn, void *owner)
{
	lua_State *L = luaL_newstate();
	bool ok = L != NULL;

	for (size_t i = 0; ok && i < policy_bundle_count(b); i++) {
		const struct policy_source *s = policy_bundle_source(b, i);
		struct proto *f = NULL;
		char name[300];

		if (s->is_lib)
			continue;
		snprintf(name, sizeof name, "@%s", s->path);
		ok = luaL_loadbufferx(L, s->text, s->n, name, "t") == LUA_OK && (f = read_function(L, -1)) != NULL;
		if (f != NULL)
			tell_lines(f, fn, owner);
		proto_free(f);
		lua_settop(L, 0);
	}
	if (L != NULL)
		lua_close(L);
	return ok;
}
