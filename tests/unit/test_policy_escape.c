/* Ways out of the sandbox and past the limits that others had open, each tried from a handler.
 * After every one the state serves the next call as before. */
#include "policy_fixture.h"
#include "policy/policy_int.h"

static const struct escape {
	const char *name, *body;
	const char *log;	/* what says that it failed; NULL: the handler itself has asserted all */
} escapes[] = {
	/* no way to compiled code, files or the inside of Lua */
	{ "load", "load('return 1')", "load" }, { "loadstring", "loadstring('x')", "loadstring" },
	{ "dofile", "dofile('/etc/passwd')", "dofile" }, { "loadfile", "loadfile('/etc/passwd')", "loadfile" },
	{ "dump", "string.dump(function() end)", "dump" }, { "dump of a method", "(''):dump()", "dump" },
	{ "io", "io.open('/etc/passwd')", "'io'" }, { "os.execute", "os.execute('true')", "execute" },
	{ "os.getenv", "os.getenv('HOME')", "getenv" }, { "package", "return package.loaded", "package" },
	{ "debug", "debug.getregistry()", "debug" }, { "require io", "require 'io'", "require" },
	{ "require ..", "require '../../etc/passwd'", "require" }, { "rawset", "rawset(_G, 'x', 1)", "rawset" },
	{ "rawget", "rawget(_G, 'x')", "rawget" }, { "collectgarbage", "collectgarbage('stop')", "collectgarbage" },
	{ "running", "coroutine.running()", "running" },
	{ "_ENV", "local e = _ENV assert(not pcall(function() e.x = 1 end)) assert(not pcall(function() return e.io end))", NULL },
	/* C code that the count hook does not see */
	{ "pattern", "string.find(string.rep('a', 30), string.rep('a?', 30) .. string.rep('a', 31))", "limit.steps" },
	{ "long pattern", "string.find(string.rep('a', 400), string.rep('.-', 200) .. 'b')", "" },
	{ "gsub over much", "string.gsub(string.rep('a', 100000), '.-b', '')", "limit." },
	{ "rep", "string.rep('x', 1 << 30)", "larger than" }, { "rep of nothing", "assert(string.rep('', 1 << 60) == '')", NULL },
	{ "sort", "local t = {} for i = 1, 20000 do t[i] = i % 7 end while true do table.sort(t) end", "limit." },
	{ "a wrong order", "local t = {} for i = 1, 200 do t[i] = i end table.sort(t, function() return true end)", "" },
	{ "concat", "local s, t = string.rep('x', 100000), {} for i = 1, 1e5 do t[i] = s end table.concat(t)", "limit." },
	{ "find from far", "for i = 1, 1e9 do string.find(string.rep('x', 1000), 'y', 1, true) end", "limit." },
	/* a budget that pcall swallows */
	{ "fifty pcalls", "for i = 1, 50 do pcall(function() while true do end end) end", "limit." },
	{ "xpcall", "xpcall(function() while true do end end, function() while true do end end)", "limit." },
	{ "handler that raises", "xpcall(error, function() error('again') end) while true do end", "" },
	{ "pcall of pcall", "pcall(pcall, pcall, function() while true do end end) while true do end", "limit." },
	{ "error in tostring", "local t = setmetatable({}, { __tostring = function() while true do end end }) "
	    "while true do pcall(tostring, t) end", "limit." },
	{ "metamethods", "local t t = setmetatable({}, { __index = function(_, k) return t[k .. 'x'] end, "
	    "__eq = function() return true end }) while true do pcall(function() return t.a end) end", "limit." },
	{ "close", "while true do pcall(function() for _ in function() while true do end end do end end) end", "limit." },
	/* coroutines that each stay below the count */
	{ "many short ones", "while true do coroutine.wrap(function() for i = 1, 100 do end end)() end", "limit." },
	{ "a chain", "local function f() return coroutine.wrap(f)() end f()", "" },
	{ "pcall inside", "while true do local c = coroutine.create(function() while true do pcall(function() while true do "
	    "end end) end end) coroutine.resume(c) end", "limit." },
	{ "yields for ever", "local c = coroutine.wrap(function() while true do coroutine.yield() end end) while true do c() end",
	    "limit." },
	{ "left half way", "for i = 1, 1e9 do local c = coroutine.create(coroutine.yield) coroutine.resume(c) end", "limit." },
	{ "resumes itself", "local c c = coroutine.create(function() return coroutine.resume(c) end) "
	    "local ok, inner = coroutine.resume(c) assert(ok and inner == false)", NULL },
	{ "the main one", "assert(not coroutine.isyieldable()) coroutine.yield()", "coroutine.yield" },
	{ "closed by another", "local c = coroutine.create(function() gw.sleep(0) end) "
	    "local d = coroutine.wrap(function() coroutine.resume(c) end) d() assert(coroutine.status(c) == 'dead')", NULL },
	/* finalizers run with hooks off */
	{ "__gc", "setmetatable({}, { __gc = function() end })", "__gc" },
	{ "__gc later", "local m = {} setmetatable({}, m) m.__gc = function() error('x') end for i = 1, 1e4 do local t = {} end", NULL },
	{ "__mode", "setmetatable({}, { __mode = 'k' })", "__mode" },
	{ "__close", "setmetatable({}, { __close = function() end })", "__close" },
	{ "__metatable", "local t = setmetatable({}, { __metatable = 'no' }) setmetatable(t, {})", "protected" },
	/* memory */
	{ "table", "local t = {} for i = 1, 1e9 do t[i] = { i } end", "limit." },
	{ "tables in tables", "local t = {} while true do t = { t, {} } end", "limit." },
	{ "string", "local s = 'x' while true do s = s .. s end", "limit." },
	{ "string in pcall", "local s = 'x' while true do pcall(function() s = s .. s end) end", "limit." },
	{ "gsub grows", "local s = string.rep('x', 100000) while true do s = s:gsub('.', 'yyyy') end", "limit." },
	{ "keys", "local t = {} for i = 1, 1e9 do t['k' .. i] = i end", "limit." },
	{ "unpack", "return select('#', table.unpack({}, 1, 1e8))", "too many results" },
	{ "closures", "local t = {} for i = 1, 1e9 do t[i] = function() return i end end", "limit." },
	{ "json", "local t = {} for i = 1, 1e6 do t = { t } end gw.json.encode(t)", "" },
	{ "json text", "gw.json.decode(string.rep('[', 100000))", NULL },
	{ "format", "string.format('%1000000d', 1)", "invalid" },
	{ "move", "table.move({}, 1, 1 << 50, 2)", "limit." },
	{ "char", "for i = 1, 1e9 do utf8.char(i % 1000000) end", "limit." },
	/* what all handlers share cannot be changed */
	{ "string's metatable", "getmetatable('').__index = {}", "" },
	{ "string", "string.len = nil", "" }, { "a method", "local s = string s.lower = function() return 'x' end", "" },
	{ "gw", "gw.reject = gw.accept", "" }, { "gw.json", "gw.json.encode = print", "" },
	{ "a global", "secret = 1", "" }, { "_G", "_G.secret = 1", "" },
	{ "insert into shared", "table.insert(string, 1)", "" }, { "next of shared", "assert(next(gw) ~= nil)", NULL },
	{ "metatable of shared", "setmetatable(gw, {})", "" }, { "of a handle", "getmetatable((...)).__index = print", "" },
	/* a field that a function makes up is nobody's when it was read: its text may be gone before it is used */
	{ "made up options", "local s, m = ... local o = setmetatable({}, { __index = function(_, k) "
	    "if k == 'recipients' then return nil end if k == 'level' then return 'verify' end if k == 'waivable' then local t = {} for i = 1, 40000 do "
	    "t[i] = ('y'):rep(60) .. i if i % 1000 == 0 then t = {} end end return false end "
	    "return ('r'):rep(60) .. k end }) m:require_tls(o)", "made by a function" },
	{ "inherited options", "local s, m = ... m:require_tls(setmetatable({ level = 'verify' }, { __index = "
	    "setmetatable({ reason = 'why' }, { __index = { waivable = true } }) }))", NULL },
	/* C functions of the library with odd arguments */
	{ "NUL", "assert(#string.format('%s', 'a\\0b') == 3 and ('a\\0b'):find('\\0', 1, true) == 2)", NULL },
	{ "%q", "assert(#string.format('%q', 'a\\0\\r\\n\"') > 4)", NULL },
	{ "%p", "string.format('%p', {})", "%p" }, { "%s of a table", "assert(not tostring({}):find('0x'))", NULL },
	{ "date", "os.date('%Ez %Q')", "" }, { "date of NaN", "os.date('!%c', 0/0)", "not a time" },
	{ "far date", "pcall(os.date, '!%c', 1 << 62)", NULL },
	{ "pack", "pcall(string.pack, 's16', 'x') pcall(string.unpack, 's8', '\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x7f')", NULL }, { "utf8", "pcall(utf8.codepoint, '\\xff\\xfe', 1, -1)", NULL },
	{ "random", "pcall(math.random, 0) math.random(math.mininteger, math.maxinteger)", NULL },
	{ "bad pattern", "string.find('x', '[')", "malformed" }, { "bad pattern 2", "string.gsub('x', '%f', '')", "" },
};

#define RULER "gw.on('mail', function(s) assert(('Ab'):lower() == 'ab' and tostring(1) == '1') " \
	"assert(not pcall(function() return secret end)) return gw.reject { text = 'as ever' } end, { name = 'ruler' })\n"

START_TEST(escape)
{
	const struct escape *c = &escapes[_i];
	char *text = xasprintf("gw.on('message', function(...) %s end, { name = 'h' })\n" RULER, c->body);
	struct policy_stats st;
	struct verdict v;
	struct world w;
	struct fix f;

	fix_load(&f, text);
	for (int round = 0; round < 2; round++) {
		uint64_t ticket;

		world_init(&w);
		fix_log[0] = '\0';
		if (policy_call(f.p, f.g, HOOK_MESSAGE, world_for(&w, HOOK_MESSAGE), &v, fix_no_answer, NULL, &ticket) ==
		    POLICY_LATER) {
			memset(&v, 0, sizeof v);
			event_base_loop(f.base, EVLOOP_ONCE);
		}
		ck_assert_msg(v.is_error == (c->log != NULL), "%s: %s", c->name, fix_log);
		ck_assert_msg(c->log == NULL || strstr(fix_log, c->log) != NULL, "%s: %s", c->name, fix_log);
		verdict_fini(&v);
		fix_call(&f, HOOK_MAIL, &w, &v);
		ck_assert_msg(v.kind == VERDICT_REJECT && !v.is_error, "%s: %s", c->name, fix_log);
		verdict_fini(&v);
		world_fini(&w, f.g);
	}
	policy_stats(f.p, &st);
	ck_assert_uint_eq(st.waiting, 0);
	for (int i = 0; i < 4; i++)
		lua_gc(f.g->L, LUA_GCCOLLECT);
	ck_assert_msg(f.g->mem_used < 600000, "%s: %zu octets are left", c->name, f.g->mem_used);
	fix_fini(&f);
	free(text);
}
END_TEST

/* what is no text is not loaded, whatever its name. */
START_TEST(bytecode)
{
	struct fix f;

	ck_assert(!fix_try(&f, "\x1bLua\x54\x01\x19\x93\r\n\x1a\n"));
	ck_assert_msg(strstr(f.err.text, "binary") != NULL, "%s", f.err.text);
	fix_fini(&f);
}
END_TEST

static unsigned ended, refused;

static void
count_end(void *owner, uint64_t ticket, struct verdict *v)
{
	ended++;
}

/* ten thousand handlers that wait: so many as a worker may have do, the others are told, nobody is lost. */
START_TEST(ten_thousand)
{
	enum { MANY = 10000 };
	static uint64_t tickets[MANY];
	struct policy_stats st;
	struct verdict v;
	struct world w;
	struct fix f;
	size_t before;

	fix_load(&f, "gw.on('message', function() local ok, err = gw.sleep(9) if not ok then return gw.defer { text = err.kind } end "
	    "end, { name = 'h' })\n" RULER);
	world_init(&w);
	world_for(&w, HOOK_MESSAGE);
	before = f.g->mem_used;
	ended = refused = 0;
	for (int i = 0; i < MANY; i++) {
		tickets[i] = 0;
		if (policy_call(f.p, f.g, HOOK_MESSAGE, &w.s, &v, count_end, NULL, &tickets[i]) == POLICY_LATER)
			continue;
		ck_assert_msg(v.kind == VERDICT_DEFER && strcmp(v.text, "limit") == 0, "%s", fix_log);
		verdict_fini(&v);
		refused++;
	}
	policy_stats(f.p, &st);
	ck_assert_uint_eq(st.waiting, 4096);
	ck_assert_uint_eq(st.in_flight, 4096);
	ck_assert_uint_eq(refused, MANY - 4096);
	ck_assert_uint_lt((f.g->mem_used - before) / 4096, 2048);
	for (int i = 0; i < MANY; i++)
		if (tickets[i] != 0)
			policy_cancel(f.p, tickets[i]);
	policy_stats(f.p, &st);
	ck_assert_uint_eq(st.waiting + st.in_flight + st.stale_tickets, 0);
	ck_assert_uint_eq(ended, 0);
	ck_assert_int_eq(event_base_get_num_events(f.base, EVENT_BASE_COUNT_ADDED), 0);
	fix_call(&f, HOOK_MAIL, &w, &v);
	ck_assert_int_eq(v.kind, VERDICT_REJECT);
	verdict_fini(&v);
	for (int i = 0; i < 4; i++)
		lua_gc(f.g->L, LUA_GCCOLLECT);
	ck_assert_uint_lt(f.g->mem_used, before + 400000);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

UNIT_MAIN("policy_escape",
	tcase_add_loop_test(tc, escape, 0, NELEMS(escapes));
	tcase_add_test(tc, bytecode);
	tcase_add_test(tc, ten_thousand);)
