/* Lua patterns (reference manual 6.4.1) under a step budget: string.find, match, gmatch and gsub
 * of the sandbox, and the same matcher for C. The stock matcher backtracks without end on thirty
 * `a?` before thirty `a`, and no hook reaches into it; this one counts. It never raises by
 * itself, so matchers can use it outside Lua. */
#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_int.h"

#define CALL_STEPS 1000000u	/* for one find, match or turn of gmatch and gsub */
#define CAPTURES 32
#define DEPTH 200
#define ESC '%'

enum { CAP_OPEN = -1, CAP_POSITION = -2 };

struct matching {
	const char *s, *s_end;		/* subject */
	const char *p_end;
	uint64_t steps;
	unsigned depth;
	const char *problem;		/* set: everything fails from here on */
	bool over;			/* the problem is the budget */
	int bad_index;			/* for messages about a capture, 0 none */
	int ncap;
	struct {
		const char *at;
		ptrdiff_t len;		/* or CAP_* */
	} cap[CAPTURES];
};

static const char *match(struct matching *m, const char *s, const char *p);

static const char *
fail(struct matching *m, const char *problem)
{
	if (m->problem == NULL)
		m->problem = problem;
	return NULL;
}

static bool
spend(struct matching *m, uint64_t n)
{
	m->steps += n;
	if (m->steps <= CALL_STEPS)
		return m->problem == NULL;
	m->over = true;
	fail(m, "pattern takes too many steps");
	return false;
}

/* Where the single item at p ends: a character, a class or a set. NULL: malformed. */
static const char *
item_end(struct matching *m, const char *p)
{
	if (*p == ESC) {
		if (p + 1 == m->p_end)
			return fail(m, "malformed pattern (ends with '%')");
		return p + 2;
	}
	if (*p != '[')
		return p + 1;
	p++;
	if (p < m->p_end && *p == '^')
		p++;
	/* The first character of a set is a member even when it is ']'. */
	for (bool first = true; p < m->p_end; first = false) {
		if (*p == ']' && !first)
			return p + 1;
		p += *p == ESC && p + 1 < m->p_end ? 2 : 1;
	}
	return fail(m, "malformed pattern (missing ']')");
}

static bool
in_class(unsigned char c, unsigned char cl)
{
	bool in;

	switch (tolower(cl)) {
	case 'a': in = isalpha(c); break;
	case 'c': in = iscntrl(c); break;
	case 'd': in = isdigit(c); break;
	case 'g': in = isgraph(c); break;
	case 'l': in = islower(c); break;
	case 'p': in = ispunct(c); break;
	case 's': in = isspace(c); break;
	case 'u': in = isupper(c); break;
	case 'w': in = isalnum(c); break;
	case 'x': in = isxdigit(c); break;
	default: return cl == c;
	}
	return isupper(cl) ? !in : in;
}

/* p is at '[', end just behind ']'. */
static bool
in_set(unsigned char c, const char *p, const char *end)
{
	bool want = true;

	end--;
	p++;
	if (*p == '^') {
		want = false;
		p++;
	}
	while (p < end) {
		if (*p == ESC) {
			if (in_class(c, (unsigned char)p[1]))
				return want;
			p += 2;
		} else if (p + 2 < end && p[1] == '-') {
			if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2])
				return want;
			p += 3;
		} else if ((unsigned char)*p++ == c) {
			return want;
		}
	}
	return !want;
}

static bool
fits(struct matching *m, const char *s, const char *p, const char *end)
{
	unsigned char c;

	if (s >= m->s_end || !spend(m, *p == '[' ? (uint64_t)(end - p) / 4 + 1 : 1))
		return false;
	c = (unsigned char)*s;
	switch (*p) {
	case '.': return true;
	case ESC: return in_class(c, (unsigned char)p[1]);
	case '[': return in_set(c, p, end);
	default: return (unsigned char)*p == c;
	}
}

/* %bxy; p is behind the b. */
static const char *
balance(struct matching *m, const char *s, const char *p)
{
	unsigned nest = 1;
	char open, close;

	if (m->p_end - p < 2)
		return fail(m, "malformed pattern (missing arguments to '%b')");
	open = p[0];
	close = p[1];
	if (s >= m->s_end || *s != open)
		return NULL;
	while (++s < m->s_end && spend(m, 1)) {
		if (*s == close) {
			if (--nest == 0)
				return s + 1;
		} else if (*s == open) {
			nest++;
		}
	}
	return NULL;
}

static const char *
expand_most(struct matching *m, const char *s, const char *p, const char *end)
{
	const char *res;
	size_t n = 0;

	while (fits(m, s + n, p, end))
		n++;
	while ((res = match(m, s + n, end + 1)) == NULL && n > 0 && m->problem == NULL)
		n--;
	return res;
}

static const char *
expand_least(struct matching *m, const char *s, const char *p, const char *end)
{
	const char *res;

	for (;;) {
		if ((res = match(m, s, end + 1)) != NULL)
			return res;
		if (m->problem != NULL || !fits(m, s, p, end))
			return NULL;
		s++;
	}
}

static const char *
open_capture(struct matching *m, const char *s, const char *p, ptrdiff_t what)
{
	const char *res;

	if (m->ncap >= CAPTURES)
		return fail(m, "too many captures");
	m->cap[m->ncap].at = s;
	m->cap[m->ncap].len = what;
	m->ncap++;
	if ((res = match(m, s, p)) == NULL)
		m->ncap--;
	return res;
}

static const char *
close_capture(struct matching *m, const char *s, const char *p)
{
	const char *res;
	int i = m->ncap - 1;

	while (i >= 0 && m->cap[i].len != CAP_OPEN)
		i--;
	if (i < 0)
		return fail(m, "invalid pattern capture");
	m->cap[i].len = s - m->cap[i].at;
	if ((res = match(m, s, p)) == NULL)
		m->cap[i].len = CAP_OPEN;
	return res;
}

/* %1: the same octets again. */
static const char *
back_reference(struct matching *m, const char *s, char digit)
{
	int i = digit - '1';
	size_t len;

	if (i < 0 || i >= m->ncap || m->cap[i].len == CAP_OPEN) {
		m->bad_index = digit - '0';
		return fail(m, "invalid capture index");
	}
	len = m->cap[i].len == CAP_POSITION ? SIZE_MAX : (size_t)m->cap[i].len;
	if ((size_t)(m->s_end - s) < len || !spend(m, len / 8 + 1) || memcmp(m->cap[i].at, s, len) != 0)
		return NULL;
	return s + len;
}

static bool
at_frontier(struct matching *m, const char *s, const char *set, const char *end)
{
	unsigned char before = s == m->s ? '\0' : (unsigned char)s[-1];
	unsigned char here = s < m->s_end ? (unsigned char)*s : '\0';

	return spend(m, 2) && !in_set(before, set, end) && in_set(here, set, end);
}

/* The items that are not "single item and perhaps a quantifier". True when p held one: then
 * *done says whether *out is the answer, else *sp and *pp have moved on. */
static bool
special(struct matching *m, const char **sp, const char **pp, bool *done, const char **out)
{
	const char *s = *sp, *p = *pp, *end;

	*done = true;
	if (*p == '(') {
		if (p + 1 < m->p_end && p[1] == ')')
			*out = open_capture(m, s, p + 2, CAP_POSITION);
		else
			*out = open_capture(m, s, p + 1, CAP_OPEN);
		return true;
	}
	if (*p == ')') {
		*out = close_capture(m, s, p + 1);
		return true;
	}
	if (*p == '$' && p + 1 == m->p_end) {
		*out = s == m->s_end ? s : NULL;
		return true;
	}
	if (*p != ESC || p + 1 == m->p_end)
		return false;
	if (p[1] == 'b') {
		*out = s = balance(m, s, p + 2);
		p += 4;
	} else if (p[1] == 'f') {
		p += 2;
		if (p == m->p_end || *p != '[') {
			*out = fail(m, "missing '[' after '%f' in pattern");
			return true;
		}
		if ((end = item_end(m, p)) == NULL || !at_frontier(m, s, p, end)) {
			*out = NULL;
			return true;
		}
		p = end;
	} else if (isdigit((unsigned char)p[1])) {
		*out = s = back_reference(m, s, p[1]);
		p += 2;
	} else {
		return false;
	}
	*done = s == NULL;
	*sp = s;
	*pp = p;
	return true;
}

/* The end of the match of p at s, NULL when there is none or with m->problem set. Goes round for
 * what follows for certain, and recurses where there is a choice. */
static const char *
match_here(struct matching *m, const char *s, const char *p)
{
	const char *end, *out = NULL;
	bool done;
	char q;

	while (p < m->p_end) {
		if (m->problem != NULL)
			return NULL;
		if (special(m, &s, &p, &done, &out)) {
			if (done)
				return out;
			continue;
		}
		if ((end = item_end(m, p)) == NULL)
			return NULL;
		q = end < m->p_end ? *end : '\0';
		if (q == '*')
			return expand_most(m, s, p, end);
		if (q == '+')
			return fits(m, s, p, end) ? expand_most(m, s + 1, p, end) : NULL;
		if (q == '-')
			return expand_least(m, s, p, end);
		if (q == '?') {
			if (fits(m, s, p, end) && (out = match(m, s + 1, end + 1)) != NULL)
				return out;
			p = end + 1;
			continue;
		}
		if (!fits(m, s, p, end))
			return NULL;
		s++;
		p = end;
	}
	return m->problem != NULL ? NULL : s;
}

static const char *
match(struct matching *m, const char *s, const char *p)
{
	const char *res;

	if (m->depth >= DEPTH)
		return fail(m, "pattern too complex");
	if (!spend(m, 1))
		return NULL;
	m->depth++;
	res = match_here(m, s, p);
	m->depth--;
	return res;
}

static void
begin(struct matching *m, struct slice subject, struct slice pattern)
{
	m->s = subject.p;
	m->s_end = subject.p + subject.n;
	m->p_end = pattern.p + pattern.n;
	m->steps = 0;
	m->depth = 0;
	m->problem = NULL;
	m->over = false;
	m->bad_index = 0;
	m->ncap = 0;
}

/* First match at or behind `from`; the start goes to *start. p is without '^', `anchored` says
 * whether it had one. */
static const char *
search(struct matching *m, const char *from, const char *p, bool anchored, const char **start)
{
	for (const char *s = from; s <= m->s_end; s++) {
		const char *e;

		m->ncap = 0;
		e = match(m, s, p);
		if (e != NULL) {
			*start = s;
			return e;
		}
		if (anchored || m->problem != NULL)
			return NULL;
	}
	return NULL;
}

/* ---- For C ---- */

int
policy_pattern_find(struct policy_run *r, struct slice subject, struct slice pattern, size_t at,
    size_t *start_out, size_t *end_out, struct err *err)
{
	struct matching m;
	bool anchored = pattern.n > 0 && pattern.p[0] == '^';
	const char *start, *end;

	if (at > subject.n)
		return 0;
	begin(&m, subject, pattern);
	end = search(&m, subject.p + at, pattern.p + anchored, anchored, &start);
	if (r != NULL && !policy_charge(r, m.steps)) {
		err_set(err, "%s: pattern matching", policy_kill_name(r->killed));
		return -1;
	}
	if (m.problem != NULL) {
		err_set(err, "%s", m.problem);
		return -1;
	}
	if (end == NULL)
		return 0;
	for (int i = 0; i < m.ncap; i++) {
		if (m.cap[i].len == CAP_OPEN) {
			err_set(err, "unfinished capture");
			return -1;
		}
	}
	*start_out = (size_t)(start - subject.p);
	*end_out = (size_t)(end - subject.p);
	return 1;
}

const char *
policy_pattern_problem(struct slice pattern)
{
	struct matching m;
	const char *p = pattern.p, *end = pattern.p + pattern.n;
	int open[CAPTURES], nopen = 0, ncap = 0;

	begin(&m, SLICE(""), pattern);
	while (p < end) {
		if (*p == '(') {
			if (ncap >= CAPTURES)
				return "too many captures";
			ncap++;
			if (p + 1 < end && p[1] == ')') {
				p += 2;
				continue;
			}
			open[nopen++] = ncap;
			p++;
		} else if (*p == ')') {
			if (nopen == 0)
				return "invalid pattern capture";
			nopen--;
			p++;
		} else if (*p == ESC && p + 1 < end && p[1] == 'b') {
			if (end - p < 4)
				return "malformed pattern (missing arguments to '%b')";
			p += 4;
		} else if (*p == ESC && p + 1 < end && p[1] == 'f') {
			if (p + 2 == end || p[2] != '[')
				return "missing '[' after '%f' in pattern";
			if ((p = item_end(&m, p + 2)) == NULL)
				return m.problem;
		} else if (*p == ESC && p + 1 < end && isdigit((unsigned char)p[1])) {
			int i = p[1] - '0';

			for (int k = 0; k < nopen; k++)
				i = open[k] == i ? 0 : i;
			if (i == 0 || i > ncap)
				return "invalid capture index";
			p += 2;
		} else if ((p = item_end(&m, p)) == NULL) {
			return m.problem;
		}
	}
	return nopen > 0 ? "unfinished capture" : NULL;
}

/* ---- For Lua ---- */

/* Charges the handler for what was done; raises what went wrong. */
static void
settle(lua_State *L, struct matching *m)
{
	policy_charge_lua(L, m->steps);
	m->steps = 0;
	if (m->over)
		policy_kill(L, KILL_STEPS);
	if (m->problem != NULL && m->bad_index > 0)
		luaL_error(L, "%s %%%d", m->problem, m->bad_index);
	if (m->problem != NULL)
		luaL_error(L, "%s", m->problem);
}

static void
push_capture(lua_State *L, struct matching *m, int i, const char *s, const char *e)
{
	if (i >= m->ncap) {
		if (i != 0)
			luaL_error(L, "invalid capture index %%%d", i + 1);
		lua_pushlstring(L, s, (size_t)(e - s));
	} else if (m->cap[i].len == CAP_POSITION) {
		lua_pushinteger(L, m->cap[i].at - m->s + 1);
	} else if (m->cap[i].len == CAP_OPEN) {
		luaL_error(L, "unfinished capture");
	} else {
		lua_pushlstring(L, m->cap[i].at, (size_t)m->cap[i].len);
	}
}

/* All captures, or the whole match when there are none and `whole`. */
static int
push_captures(lua_State *L, struct matching *m, const char *s, const char *e, bool whole)
{
	int n = m->ncap == 0 && whole ? 1 : m->ncap;

	luaL_checkstack(L, n, "too many captures");
	for (int i = 0; i < n; i++)
		push_capture(L, m, i, s, e);
	return n;
}

static struct slice
check_slice(lua_State *L, int arg)
{
	struct slice a;

	a.p = luaL_checklstring(L, arg, &a.n);
	return a;
}

/* The optional start position at `arg` as an offset; false when it lies behind the subject. */
static bool
start_offset(lua_State *L, int arg, size_t len, size_t *out)
{
	lua_Integer i = luaL_optinteger(L, arg, 1);

	if (i > 0)
		*out = (size_t)i - 1;
	else if (i == 0 || i < -(lua_Integer)len)
		*out = 0;
	else
		*out = len - (size_t)-i;
	return *out <= len;
}

static bool
is_literal(struct slice p)
{
	for (size_t i = 0; i < p.n; i++) {
		if (p.p[i] != '\0' && strchr("^$*+?.([%-", p.p[i]) != NULL)
			return false;
	}
	return true;
}

static int
find_literal(lua_State *L, struct slice s, struct slice p, size_t at)
{
	const char *hit = memmem(s.p + at, s.n - at, p.p, p.n);

	policy_charge_lua(L, (s.n - at) / 16 + 1);
	if (hit == NULL) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushinteger(L, hit - s.p + 1);
	lua_pushinteger(L, hit - s.p + (lua_Integer)p.n);
	return 2;
}

static int
find_or_match(lua_State *L, bool find)
{
	struct slice s = check_slice(L, 1), p = check_slice(L, 2);
	struct matching m;
	const char *start, *end;
	bool anchored;
	size_t at;

	if (!start_offset(L, 3, s.n, &at)) {
		lua_pushnil(L);
		return 1;
	}
	if (find && (lua_toboolean(L, 4) || is_literal(p)))
		return find_literal(L, s, p, at);
	anchored = p.n > 0 && p.p[0] == '^';
	begin(&m, s, p);
	end = search(&m, s.p + at, p.p + anchored, anchored, &start);
	settle(L, &m);
	if (end == NULL) {
		lua_pushnil(L);
		return 1;
	}
	if (!find)
		return push_captures(L, &m, start, end, true);
	lua_pushinteger(L, start - s.p + 1);
	lua_pushinteger(L, end - s.p);
	return push_captures(L, &m, start, end, false) + 2;
}

static int
str_find(lua_State *L)
{
	return find_or_match(L, true);
}

static int
str_match(lua_State *L)
{
	return find_or_match(L, false);
}

/* Upvalues: subject, pattern, where to go on (offset), end of the last match (offset or -1). */
static int
gmatch_next(lua_State *L)
{
	struct slice s = check_slice(L, lua_upvalueindex(1)), p = check_slice(L, lua_upvalueindex(2));
	size_t at = (size_t)lua_tointeger(L, lua_upvalueindex(3));
	lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
	struct matching m;
	const char *start, *end;

	begin(&m, s, p);
	for (; at <= s.n; at++) {
		end = search(&m, s.p + at, p.p, false, &start);
		if (end == NULL)
			break;
		/* An empty match right behind the one before is that one's end, not a new one. */
		if (end - s.p != last) {
			settle(L, &m);
			lua_pushinteger(L, end - s.p);
			lua_copy(L, -1, lua_upvalueindex(3));
			lua_replace(L, lua_upvalueindex(4));
			return push_captures(L, &m, start, end, true);
		}
		at = (size_t)(start - s.p);
	}
	settle(L, &m);
	return 0;
}

static int
str_gmatch(lua_State *L)
{
	struct slice s = check_slice(L, 1);
	size_t at;

	check_slice(L, 2);
	if (!start_offset(L, 3, s.n, &at))
		at = s.n + 1;
	lua_settop(L, 2);
	lua_pushinteger(L, (lua_Integer)at);
	lua_pushinteger(L, -1);
	lua_pushcclosure(L, gmatch_next, 4);
	return 1;
}

static void
add_template(lua_State *L, struct matching *m, luaL_Buffer *b, const char *s, const char *e)
{
	struct slice t = check_slice(L, 3);

	for (size_t i = 0; i < t.n; i++) {
		if (t.p[i] != ESC) {
			luaL_addchar(b, t.p[i]);
			continue;
		}
		i++;
		if (i < t.n && t.p[i] == ESC) {
			luaL_addchar(b, ESC);
		} else if (i < t.n && t.p[i] == '0') {
			luaL_addlstring(b, s, (size_t)(e - s));
		} else if (i < t.n && isdigit((unsigned char)t.p[i])) {
			int c = t.p[i] - '1';

			if (c >= m->ncap && c != 0)
				luaL_error(L, "invalid capture index %%%d in replacement string", c + 1);
			push_capture(L, m, c, s, e);
			luaL_addvalue(b);
		} else {
			luaL_error(L, "invalid use of '%%' in replacement string");
		}
	}
}

/* Adds what replaces [s, e); false when that is the original text. */
static bool
add_replacement(lua_State *L, struct matching *m, luaL_Buffer *b, const char *s, const char *e, int type)
{
	if (type == LUA_TFUNCTION) {
		lua_pushvalue(L, 3);
		lua_call(L, push_captures(L, m, s, e, true), 1);
	} else if (type == LUA_TTABLE) {
		push_capture(L, m, 0, s, e);
		lua_gettable(L, 3);
	} else {
		add_template(L, m, b, s, e);
		return true;
	}
	if (!lua_toboolean(L, -1)) {
		lua_pop(L, 1);
		luaL_addlstring(b, s, (size_t)(e - s));
		return false;
	}
	if (!lua_isstring(L, -1))
		luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
	luaL_addvalue(b);
	return true;
}

static int
str_gsub(lua_State *L)
{
	struct slice s = check_slice(L, 1), p = check_slice(L, 2);
	int type = lua_type(L, 3);
	lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)s.n + 1), n = 0;
	bool anchored = p.n > 0 && p.p[0] == '^', changed = false;
	const char *at = s.p, *last = NULL;
	struct matching m;
	luaL_Buffer b;

	luaL_argexpected(L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION ||
	    type == LUA_TTABLE, 3, "string/function/table");
	lua_settop(L, 4);
	if (type == LUA_TNUMBER)
		lua_tolstring(L, 3, NULL);
	begin(&m, s, p);
	luaL_buffinit(L, &b);
	while (n < max) {
		const char *e;

		m.ncap = 0;
		e = match(&m, at, p.p + anchored);
		if (m.problem != NULL || m.steps > CALL_STEPS / 2)
			settle(L, &m);
		if (e != NULL && e != last) {
			n++;
			changed |= add_replacement(L, &m, &b, at, e, type);
			at = last = e;
		} else if (at < m.s_end) {
			luaL_addchar(&b, *at);
			at++;
		} else {
			break;
		}
		if (anchored)
			break;
	}
	settle(L, &m);
	if (changed) {
		luaL_addlstring(&b, at, (size_t)(m.s_end - at));
		luaL_pushresult(&b);
	} else {
		lua_pushvalue(L, 1);
	}
	lua_pushinteger(L, n);
	return 2;
}

void
policy_strmatch_register(lua_State *L)
{
	static const luaL_Reg fns[] = {
		{ "find", str_find }, { "match", str_match }, { "gmatch", str_gmatch }, { "gsub", str_gsub },
		{ NULL, NULL },
	};

	luaL_setfuncs(L, fns, 0);
}
