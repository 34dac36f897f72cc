/* The budgeted pattern matcher against the stock one: same results, same refusals. */
#include "unit.h"

#include <string.h>

#include "policy/policy_int.h"

static lua_State *ours, *stock;
static struct policy_gen gen;
static struct policy_run run;
static struct conf conf;

/* A state whose `string` has our functions, with a run behind it, but no sandbox. */
static void
set_up(void)
{
	memset(&gen, 0, sizeof gen);
	memset(&run, 0, sizeof run);
	gen.conf = &conf;
	gen.mem_cap = SIZE_MAX / 2;
	gen.instructions_max = 1000000;
	gen.steps_max = UINT64_MAX / 1000;
	run.gen = &gen;
	run.predicate_ref = LUA_NOREF;
	ours = lua_newstate(policy_alloc, &gen);
	stock = luaL_newstate();
	*(struct policy_run **)lua_getextraspace(ours) = &run;
	luaL_openlibs(ours);
	luaL_openlibs(stock);
	lua_getglobal(ours, "string");
	policy_strmatch_register(ours);
	lua_settop(ours, 0);
}

static void
tear_down(void)
{
	lua_close(ours);
	lua_close(stock);
}

static const char harness[] =
    "local out = {}\n"
    "local function add(...)\n"
    "  for i = 1, select('#', ...) do\n"
    "    local v = select(i, ...)\n"
    "    out[#out + 1] = math.type(v) == nil and tostring(v) or 'n' .. v\n"
    "  end\n"
    "  out[#out + 1] = ';'\n"
    "end\n"
    "local s, p = ...\n"
    "local function try(f, ...)\n"
    "  local r = table.pack(pcall(f, ...))\n"
    "  if r[1] then add(table.unpack(r, 1, r.n)) else add('error') end\n"
    "end\n"
    "for _, i in ipairs { 1, 2, 3, -1, -2, 0, 100 } do\n"
    "  try(string.find, s, p, i)\n"
    "  try(string.match, s, p, i)\n"
    "end\n"
    "try(string.find, s, p, 1, true)\n"
    "try(function() local n = 0 for a, b in string.gmatch(s, p) do n = n + 1 add(a, b)\n"
    "  if n > 50 then break end end end)\n"
    "try(string.gsub, s, p, '<%0>')\n"
    "try(string.gsub, s, p, '%1', 2)\n"
    "try(string.gsub, s, p, { a = 'X', secure = 1 })\n"
    "try(string.gsub, s, p, function(a, b) if a ~= 'b' then return b end end)\n"
    "return table.concat(out, ',')\n";

static const struct strmatch_case {
	const char *s, *p;
} cases[] = {
	{ "hello world", "o w" }, { "hello", "" }, { "", "" }, { "", "a" }, { "hello", "l+" },
	{ "hello", "l*" }, { "hello", "l-" }, { "hello", "l?" }, { "hello", "^h" }, { "hello", "^e" },
	{ "hello", "o$" }, { "hello", "l$" }, { "he$lo", "e$l" }, { "hello", "^" }, { "hello", "$" },
	{ "a.b", "%." }, { "a.b", "." }, { "[secure] x", "%[(%a+)%]" }, { "key = value", "(%w+)%s*=%s*(%w+)" },
	{ "key = value", "()%w+()" }, { "aXb", "%u" }, { "aXb", "%U+" }, { "12ab", "%d%d" },
	{ "12ab", "[%d]+" }, { "12ab", "[^%d]+" }, { "a-b", "[a-]" }, { "a-b", "[-a]" }, { "a]b", "[]]" },
	{ "a]b", "[^]]+" }, { "a%b", "[%%]" }, { "xyz", "[x-z]+" }, { "xyz", "[z-x]+" },
	{ "THE (quick) fox", "%((%a+)%)" }, { "THE (quick) fox", "%f[%a]%a+" },
	{ "THE (quick) fox", "%f[%l]%l+%f[%L]" }, { "x(a(b)c)y", "%b()" }, { "x(a(b", "%b()" },
	{ "xx", "(.)%1" }, { "xy", "(.)%1" }, { "\"it's\"", "([\"'])(.-)%1" }, { "abab", "(a(b))%2" },
	{ "abc", "(a)(b)(c)" }, { "abc", "((a)(b))" }, { "abc", "(a" }, { "abc", "a)" }, { "abc", "%" },
	{ "abc", "[a" }, { "abc", "[a%" }, { "abc", "[" }, { "abc", "[^" }, { "abc", "[]" }, { "abc", "%b" },
	{ "abc", "%bx" }, { "abc", "%f" }, { "abc", "%fa" }, { "abc", "%1" }, { "abc", "(%1)" },
	{ "abc", "%g+" }, { "a\tb c", "%c" }, { "a\tb c", "%s" }, { "a,b;c", "%p" }, { "0x1F", "%x+" },
	{ "caf\xc3\xa9", "[\xc3\xa9]+" }, { "caf\xc3\xa9", "%a+" }, { "aaab", "a-b" }, { "aaab", "^a*b$" },
	{ "aaa", "a-$" }, { "aaa", "(a*)(a*)" }, { "aaa", "(a-)(a*)" }, { "  trim  ", "^%s*(.-)%s*$" },
	{ "a=1, b=2", "(%w)=(%w)" }, { "one two", "%w+" }, { "abc", "b*" }, { "abc", "." }, { "abc", "x*" },
	{ "a^b", "^^" }, { "a^b", "a^b" }, { "a*b", "*" }, { "+a", "+" }, { "ab", "a?b?c?" },
	{ "a\nb", "a.b" }, { "aaa", "^(a?)a" }, { "abcabc", "(a)(.)(c)%1%2%3" }, { "()", "[()]+" },
	{ "a-z", "[a%-z]+" }, { "0-9", "[%d-]+" }, { "]]", "[]-]+" }, { "b", "[%a-z]" }, { "-", "[%a-z]" },
	{ "abc", "(()a())" }, { "abc", "()%1" }, { "abc", "(a*(.)%w(%s*))" }, { "x^y", "[x^]+" },
	{ "x", "[^^]" }, { "alo alx", "%w%w-%s" }, { "secure", "s.*r" }, { "a.b.c", "[^.]+" },
};

static char *
results(lua_State *L, const struct strmatch_case *c)
{
	char *out;

	ck_assert_msg(luaL_loadstring(L, harness) == LUA_OK, "%s", lua_tostring(L, -1));
	lua_pushstring(L, c->s);
	lua_pushstring(L, c->p);
	if (lua_pcall(L, 2, 1, 0) != LUA_OK)
		ck_abort_msg("%s", lua_tostring(L, -1));
	out = xstrdup(lua_tostring(L, -1));
	lua_pop(L, 1);
	return out;
}

START_TEST(same_as_stock)
{
	const struct strmatch_case *c = &cases[_i];
	char *a, *b;

	set_up();
	a = results(ours, c);
	b = results(stock, c);
	ck_assert_msg(strcmp(a, b) == 0, "subject '%s' pattern '%s'\nours:  %s\nstock: %s", c->s, c->p, a, b);
	free(a);
	free(b);
	tear_down();
}
END_TEST

START_TEST(same_refusals)
{
	const struct strmatch_case *c = &cases[_i];
	const char *problem = policy_pattern_problem(slice_of(c->p));
	size_t start, end, real_start = 0;
	struct err err = { "" };
	int rc;

	set_up();
	rc = policy_pattern_find(&run, slice_of(c->s), slice_of(c->p), 0, &start, &end, &err);
	if (problem == NULL)
		ck_assert_msg(rc >= 0, "%s: %s", c->p, err.text);
	lua_getglobal(stock, "string");
	lua_getfield(stock, -1, "find");
	lua_pushstring(stock, c->s);
	lua_pushstring(stock, c->p);
	if (lua_pcall(stock, 2, 2, 0) != LUA_OK) {
		ck_assert_int_eq(rc, -1);
		ck_assert_msg(problem != NULL, "%s: '%s' should be refused", c->p, err.text);
	} else if (lua_isnil(stock, -2)) {
		ck_assert_int_le(rc, 0);
	} else {
		real_start = (size_t)lua_tointeger(stock, -2) - 1;
		ck_assert_int_eq(rc, 1);
		ck_assert_uint_eq(start, real_start);
		ck_assert_uint_eq(end, (size_t)lua_tointeger(stock, -1));
	}
	tear_down();
}
END_TEST

/* X-55: thirty a? and thirty a. The stock matcher needs 2^30 steps. */
START_TEST(bomb_ends)
{
	char p[91] = "", s[31] = "";
	size_t start, end;
	struct err err = { "" };
	int64_t t;

	for (int i = 0; i < 30; i++)
		strcat(p, "a?");
	for (int i = 0; i < 30; i++) {
		strcat(p, "a");
		strcat(s, "a");
	}
	s[29] = 'b';
	set_up();
	t = clock_mono_ns();
	ck_assert_int_eq(policy_pattern_find(&run, slice_of(s), slice_of(p), 0, &start, &end, &err), -1);
	t = clock_mono_ns() - t;
	ck_assert_msg(strstr(err.text, "too many steps") != NULL, "%s", err.text);
	ck_assert_msg(t < 1000000000, "%lld ns", (long long)t);
	tear_down();
}
END_TEST

START_TEST(deep_pattern_ends)
{
	char p[1001] = "";
	size_t start, end;
	struct err err = { "" };

	for (int i = 0; i < 250; i++)
		strcat(p, "x?");
	set_up();
	/* As many choices open as there are x: too deep, and said so. */
	ck_assert_int_eq(policy_pattern_find(&run, slice_of(
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
	    slice_of(p), 0, &start, &end, &err), -1);
	ck_assert_str_eq(err.text, "pattern too complex");
	tear_down();
}
END_TEST

UNIT_MAIN("policy strmatch",
    tcase_add_loop_test(tc, same_as_stock, 0, NELEMS(cases));
    tcase_add_loop_test(tc, same_refusals, 0, NELEMS(cases));
    tcase_add_test(tc, bomb_ends);
    tcase_add_test(tc, deep_pattern_ends);)
