/* Handlers that wait: many things at a time, in coroutines of their own making, in what others have
 * begun; and that whatever ends the handler ends all of it. */
#include "policy_fixture.h"

#include "policy/policy_int.h"
#include "store_rig.h"

static struct verdict answer;
static unsigned answers;

static void
take_answer(void *owner, uint64_t ticket, struct verdict *v)
{
	(void)owner, (void)ticket;
	verdict_fini(&answer);
	verdict_move(&answer, v);
	answers++;
}

static enum policy_when
start(struct fix *f, struct world *w, enum policy_hook hook, uint64_t *ticket)
{
	struct verdict v;
	enum policy_when when = policy_call(f->p, f->g, hook, world_for(w, hook), &v, take_answer, NULL, ticket);

	if (when == POLICY_NOW)
		take_answer(NULL, 0, &v);
	return when;
}

static void
wait_for(struct fix *f, unsigned n)
{
	for (int i = 0; i < 20000 && answers < n; i++)
		event_base_loop(f->base, EVLOOP_ONCE);
	ck_assert_uint_eq(answers, n);
}

/* Loads a policy whose message handler is `body`, calls it and waits for its end. */
static void
run_body(const char *body)
{
	char *text = xasprintf("local kept = {}\ngw.on('message', function(session, message)\n%s\nend,"
	    " { name = 'x' })\n", body);
	struct policy_stats st;
	struct fix f;
	struct world w;

	fix_load(&f, text);
	world_init(&w);
	answers = 0;
	start(&f, &w, HOOK_MESSAGE, NULL);
	wait_for(&f, 1);
	policy_stats(f.p, &st);
	ck_assert_uint_eq(st.waiting, 0);
	ck_assert_uint_eq(st.in_flight, 0);
	world_fini(&w, f.g);
	fix_fini(&f);
	free(text);
}

/* Bodies that check themselves and return gw.hold {} when all is well. */
static const char *const good[] = {
	/* gw.all: order, results, the caller may be inside pcall and a coroutine */
	"local t = gw.all { function() gw.sleep(0.02) return 'a' end, function() return 'b' end,\n"
	"  function() gw.sleep(0.001) return nil end }\n"
	"assert(t.n == 3 and t[1] == 'a' and t[2] == 'b' and t[3] == nil)\n"
	"assert(gw.all({}).n == 0)\n"
	"assert(gw.all({ function() return 1 end })[1] == 1)\n"	/* without any wait */
	"local ok, u = pcall(gw.all, { function() gw.sleep(0) return gw.all({ function() gw.sleep(0) return 7 end })[1] end })\n"
	"assert(ok and u[1] == 7)\n"
	"return gw.hold {}",
	/* the first failure ends the rest: raised, or nil and an error */
	"local late = 0\n"
	"local function slow() gw.sleep(5) late = late + 1 end\n"
	"local t, err = gw.all { slow, function() gw.sleep(0.001) return nil, 'no' end, slow }\n"
	"assert(t == nil and err == 'no')\n"
	"local ok, why = pcall(gw.all, { slow, function() error('boom', 0) end, slow })\n"
	"assert(not ok and why == 'boom', why)\n"
	"ok, why = pcall(gw.all, { slow, slow, function() gw.sleep(0) error({ 5 }) end })\n"
	"assert(not ok and why[1] == 5)\n"
	"assert(late == 0)\n"
	"return gw.hold {}",
	/* collect: all come to their end */
	"local t, err = gw.all({ function() gw.sleep(0.002) return 1 end, function() error('boom', 0) end,\n"
	"  function() gw.sleep(0) return nil, 'no' end }, { mode = 'collect' })\n"
	"assert(t.n == 3 and t[1].value == 1 and t[1].error == nil and t[2].error == 'boom' and t[3].error == 'no')\n"
	"return gw.hold {}",
	/* bounded: never more than that many at a time, all of them in the end */
	"local now, most, done = 0, 0, 0\n"
	"local fns = {}\n"
	"for i = 1, 40 do fns[i] = function()\n"
	"  now = now + 1 most = math.max(most, now) gw.sleep(0.001) now = now - 1 done = done + 1 return i end end\n"
	"local t = gw.all(fns, { parallel = 3 })\n"
	"assert(most == 3 and done == 40 and t[40] == 40, most)\n"
	"fns[20] = function() return nil, 'stop' end\n"
	"done = 0\n"
	"local u, why = gw.all(fns, { parallel = 3 })\n"
	"assert(u == nil and why == 'stop' and done < 22, done)\n"
	"return gw.hold {}",
	/* sixteen in flight; the next gets an error that says so */
	"local fns, limited = {}, 0\n"
	"for i = 1, 4 do fns[i] = function() local g = {}\n"
	"  for k = 1, 5 do g[k] = function() local ok, err = gw.sleep(0.01)\n"
	"    if not ok then assert(err.kind == 'limit' and err.temporary) limited = limited + 1 end end end\n"
	"  return gw.all(g) end end\n"
	"gw.all(fns)\n"
	"assert(limited == 4, limited)\n"
	"return gw.hold {}",
	/* wrong arguments raise */
	"assert(not pcall(gw.all)) assert(not pcall(gw.all, { 1 })) assert(not pcall(gw.all, { print, print, 'x' }))\n"
	"assert(not pcall(gw.all, {}, { mode = 'x' })) assert(not pcall(gw.all, {}, { parallel = 17 }))\n"
	"assert(not pcall(gw.within, 0, print)) assert(not pcall(gw.within, 1)) assert(not pcall(gw.within, 61, print))\n"
	"local many = {} for i = 1, 101 do many[i] = print end assert(not pcall(gw.all, many))\n"
	"local ok, why = pcall(string.gsub, 'x', 'x', function() gw.all { print } end)\n"
	"assert(not ok and why:find('cannot wait inside'), why)\n"
	"return gw.hold {}",
	/* gw.within: what fn returns, or the time is up and all below is gone */
	"local a, b, c = gw.within(5, function() gw.sleep(0.001) return 1, nil, 3 end)\n"
	"assert(a == 1 and b == nil and c == 3)\n"
	"assert(select('#', gw.within(5, function() end)) == 0)\n"
	"local late = false\n"
	"local x, err = gw.within(0.01, function()\n"
	"  gw.all { function() gw.sleep(3) late = true end, function()\n"
	"    coroutine.wrap(function() gw.within(4, function() gw.sleep(3) late = true end) end)() end } end)\n"
	"assert(x == nil and err.kind == 'timeout' and err.temporary and tostring(err):find('time is up'))\n"
	"local y, err2 = gw.within(0.05, function() local p, e = gw.within(0.005, function() gw.sleep(1) end)\n"
	"  assert(p == nil and e.kind == 'timeout') gw.sleep(0.001) return 'inner' end)\n"
	"assert(y == 'inner')\n"
	"local ok, why = pcall(gw.within, 1, function() gw.sleep(0) error('boom', 0) end)\n"
	"assert(not ok and why == 'boom' and not late)\n"
	"return gw.hold {}",
	/* coroutines: the language's own ways */
	"local co = coroutine.create(function(a, b)\n"
	"  local c = coroutine.yield(a + b) local d, e = coroutine.yield(c * 2) return d, e end)\n"
	"assert(type(co) == 'thread' and coroutine.status(co) == 'suspended')\n"
	"local ok, v = coroutine.resume(co, 1, 2) assert(ok and v == 3)\n"
	"ok, v = coroutine.resume(co, 10) assert(ok and v == 20)\n"
	"local z = table.pack(coroutine.resume(co, 'd', 'e')) assert(z.n == 3 and z[2] == 'd' and z[3] == 'e')\n"
	"assert(coroutine.status(co) == 'dead')\n"
	"ok, v = coroutine.resume(co) assert(not ok and v == 'cannot resume dead coroutine', v)\n"
	"ok, v = coroutine.resume(coroutine.create(function() error({ 9 }) end)) assert(not ok and v[1] == 9)\n"
	"local sum = 0 for i in coroutine.wrap(function() for i = 1, 4 do coroutine.yield(i) end end) do sum = sum + i end\n"
	"assert(sum == 10)\n"
	"ok, v = pcall(coroutine.wrap(function() error('boom', 0) end)) assert(not ok and v:find('boom'))\n"
	"local in_pcall = coroutine.wrap(function() local r = { pcall(function() coroutine.yield(1) error('x', 0) end) }\n"
	"  coroutine.yield(r[2]) return 'end' end)\n"
	"assert(in_pcall() == 1 and in_pcall() == 'x' and in_pcall() == 'end' and not pcall(in_pcall))\n"
	"assert(not coroutine.isyieldable() and coroutine.wrap(coroutine.isyieldable)())\n"
	"ok, v = pcall(coroutine.yield, 1) assert(not ok and v:find('not inside a coroutine'), v)\n"
	"ok, v = coroutine.resume(coroutine.create(function() string.gsub('x', 'x', coroutine.yield) end))\n"
	"assert(not ok and v:find('cannot yield inside'), v)\n"
	"local c2 = coroutine.create(function() coroutine.yield() end) coroutine.resume(c2)\n"
	"assert(coroutine.close(c2) and coroutine.status(c2) == 'dead')\n"
	"local outer outer = coroutine.create(function() local inner = coroutine.create(function()\n"
	"  assert(coroutine.status(outer) == 'normal') ok, v = coroutine.resume(outer)\n"
	"  assert(not ok and v == 'cannot resume non-suspended coroutine', v) assert(not pcall(coroutine.close, outer)) end)\n"
	"  assert(coroutine.resume(inner)) assert(coroutine.status(outer) == 'running') end)\n"
	"assert(coroutine.resume(outer))\n"
	"assert(not pcall(coroutine.create, 1) and not pcall(coroutine.resume, 1) and not pcall(coroutine.wrap))\n"
	"assert(select(2, coroutine.resume(coroutine.create(string.rep), 'ab', 2)) == 'abab')\n"
	"assert(coroutine.wrap(table.unpack)({ 1, 2 }) == 1)\n"
	"return gw.hold {}",
	/* waiting inside them, any number deep; yields and waits do not mix up */
	"local function deep(n) if n == 0 then gw.sleep(0.001) return 'bottom' end\n"
	"  local ok, v = coroutine.resume(coroutine.create(deep), n - 1) assert(ok, v) gw.sleep(0) return v end\n"
	"assert(deep(20) == 'bottom')\n"
	"local gen = coroutine.wrap(function() for i = 1, 3 do gw.sleep(0.001) coroutine.yield(i) gw.sleep(0) end end)\n"
	"local s = '' for i in gen do s = s .. i gw.sleep(0) end assert(s == '123')\n"
	"local co = coroutine.create(function(...) assert(select('#', ...) == 2) assert(gw.sleep(0) == true)\n"
	"  local x, y = coroutine.yield(5, 6) gw.sleep(0) return x, y end)\n"
	"local r = table.pack(coroutine.resume(co, nil, 1)) assert(r.n == 3 and r[2] == 5 and r[3] == 6)\n"
	"r = table.pack(coroutine.resume(co, 7, nil)) assert(r.n == 3 and r[2] == 7)\n"
	"local ok, why = coroutine.resume(coroutine.create(function()\n"
	"  string.gsub('x', 'x', function() coroutine.wrap(function() gw.sleep(0) end)() end) end))\n"
	"assert(not ok and why:find('cannot wait inside'), why)\n"
	"return gw.hold {}",
	/* another function of gw.all cannot touch a coroutine that waits */
	"local co = coroutine.create(function() gw.sleep(0.005) return 'mine' end)\n"
	"local t = gw.all { function() return select(2, coroutine.resume(co)) end, function()\n"
	"  assert(coroutine.status(co) == 'normal')\n"
	"  local ok, v = coroutine.resume(co, 'forged') assert(not ok and v:find('non%-suspended'), v)\n"
	"  assert(not pcall(coroutine.close, co)) return 'other' end }\n"
	"assert(t[1] == 'mine' and t[2] == 'other')\n"
	/* and one whose waiter was cancelled stays as it is */
	"local lost = coroutine.create(function() gw.sleep(5) end)\n"
	"gw.within(0.002, function() coroutine.resume(lost) end)\n"
	"assert(coroutine.status(lost) == 'normal' and not coroutine.resume(lost))\n"
	"return gw.hold {}",
};

START_TEST(bodies)
{
	run_body(good[_i]);
	ck_assert_msg(answer.kind == VERDICT_HOLD, "%s", fix_log);
	verdict_fini(&answer);
}
END_TEST

/* What must end in a kill, whatever the handler does about it. */
static const struct {
	const char *body, *why;
} killed[] = {
	{ "pcall(coroutine.wrap(function() while true do end end)) while true do pcall(gw.sleep, 0) end",
	    "limit.instructions" },
	{ "while true do pcall(coroutine.resume, coroutine.create(function() pcall(function() while true do end end)\n"
	    "  while true do end end)) end", "limit.instructions" },
	{ "while true do coroutine.wrap(function() end)() end", "limit." },
	{ "for i = 1, 10000 do kept[i] = coroutine.create(function() coroutine.yield() end) coroutine.resume(kept[i]) end\n"
	    "for i = 1, 10000 do kept[i + 10000] = coroutine.create(function() coroutine.yield() end) end", "limit." },
	{ "gw.all { function() gw.sleep(5) end, function() gw.sleep(0) pcall(function() while true do end end) end }",
	    "limit.instructions" },
	{ "gw.all { function() gw.sleep(5) end, function() pcall(function() while true do end end) end }",
	    "limit.instructions" },
	{ "pcall(gw.within, 5, function() gw.sleep(0) while true do end end)", "limit.instructions" },
	{ "gw.all({ function() for i = 1, 200000 do end gw.sleep(0) for i = 1, 200000 do end end,\n"
	    "  function() for i = 1, 400000 do end end, function() gw.sleep(0) for i = 1, 400000 do end end })",
	    "limit.instructions" },
	{ "local function f() return gw.all { f } end f()", "" },
	{ "local function f() return coroutine.wrap(f)() end f()", "" },
	{ "local t = {} gw.all { function() t[1] = ('x'):rep(900000) gw.sleep(0)\n"
	    "  for i = 1, 20 do t[i] = ('x'):rep(900000) .. i end end }", "limit." },
};

START_TEST(kills)
{
	run_body(killed[_i].body);
	ck_assert_msg(answer.is_error && answer.kind == VERDICT_DEFER, "%s", fix_log);
	ck_assert_msg(strstr(fix_log, killed[_i].why) != NULL, "%s", fix_log);
	verdict_fini(&answer);
}
END_TEST

/* A handler that waits for all of it at once: cancelled, out of time, and with the engine going. */
static const char busy[] =
    "gw.on('message', function()\n"
    "  while true do pcall(gw.all, { function() gw.sleep(5) end,\n"
    "    function() gw.within(9, function() coroutine.wrap(function() gw.sleep(5) end)() end) end,\n"
    "    function() while true do pcall(gw.sleep, 0.001) end end }) end\n"
    "end, { name = 'x', wall = '60ms' })\n"
    "gw.on('mail', function() gw.sleep(0.001) return gw.reject {} end, { name = 'y' })\n";

START_TEST(everything_ends_with_the_handler)
{
	struct policy_stats st;
	uint64_t ticket;
	struct fix f;
	struct world w;

	fix_load(&f, busy);
	world_init(&w);
	answers = 0;
	ck_assert_int_eq(start(&f, &w, HOOK_MESSAGE, &ticket), POLICY_LATER);
	for (int i = 0; i < 5; i++)
		event_base_loop(f.base, EVLOOP_ONCE);
	policy_stats(f.p, &st);
	ck_assert_uint_eq(st.waiting, 1);
	ck_assert_uint_gt(st.in_flight, 3);
	policy_cancel(f.p, ticket);
	policy_stats(f.p, &st);
	ck_assert_uint_eq(st.waiting, 0);
	ck_assert_uint_eq(st.in_flight, 0);
	event_base_loop(f.base, EVLOOP_NONBLOCK);
	ck_assert_uint_eq(answers, 0);

	ck_assert_int_eq(start(&f, &w, HOOK_MESSAGE, &ticket), POLICY_LATER);
	wait_for(&f, 1);
	ck_assert_msg(answer.is_error && strstr(fix_log, "limit.wall") != NULL, "%s", fix_log);
	policy_stats(f.p, &st);
	ck_assert_uint_eq(st.in_flight, 0);
	ck_assert_int_eq(start(&f, &w, HOOK_MAIL, &ticket), POLICY_LATER);
	wait_for(&f, 2);
	ck_assert_int_eq(answer.kind, VERDICT_REJECT);

	ck_assert_int_eq(start(&f, &w, HOOK_MESSAGE, &ticket), POLICY_LATER);
	world_fini(&w, f.g);
	fix_fini(&f);
	ck_assert_uint_eq(answers, 2);
	verdict_fini(&answer);
}
END_TEST

/* A coroutine outlives its handler in a variable of the file. */
START_TEST(kept_coroutines_raise)
{
	struct fix f;
	struct world w;
	uint64_t ticket;

	fix_load(&f,
	    "local kept, wrapped, n = {}, {}, 0\n"
	    "local at_load = coroutine.create(function() coroutine.yield(1) return 2 end)\n"
	    "assert(coroutine.resume(at_load))\n"
	    "local function try(co)\n"
	    "  local ok, why = pcall(coroutine.resume, co)\n"
	    "  assert(not ok and why:find('has ended'), why)\n"
	    "  assert(coroutine.status(co) == 'dead')\n"
	    "  ok, why = pcall(coroutine.close, co) assert(not ok and why:find('has ended'), why)\n"
	    "end\n"
	    "gw.on('message', function(session, message)\n"
	    "  try(at_load)\n"
	    "  for i = 1, #kept do try(kept[i]) local ok, why = pcall(wrapped[i]) assert(not ok and why:find('has ended'), why) end\n"
	    "  n = n + 1\n"
	    "  local body = function() coroutine.yield(message.id) gw.sleep(0) return message.id end\n"
	    "  kept[n] = coroutine.create(body) coroutine.resume(kept[n])\n"
	    "  wrapped[n] = coroutine.wrap(body) wrapped[n]()\n"
	    "  assert(not pcall(function() session.vars.co = kept[n] end))\n"
	    "  if n == 2 then gw.sleep(0.001) end\n"
	    "  if n == 3 then gw.sleep(5) end\n"
	    "end, { name = 'x' })\n"
	    "gw.on('message', function() try(kept[n]) return gw.hold {} end, { name = 'z' })\n"
	    "gw.on('mail', function() try(kept[n]) return gw.reject {} end, { name = 'y' })\n");
	world_init(&w);
	answers = 0;
	for (unsigned i = 0; i < 2; i++) {
		start(&f, &w, HOOK_MESSAGE, &ticket);
		wait_for(&f, i + 1);
		ck_assert_msg(answer.kind == VERDICT_HOLD, "%s", fix_log);
	}
	/* Of a handler that still waits, in another's hands; and after it was cancelled. */
	ck_assert_int_eq(start(&f, &w, HOOK_MESSAGE, &ticket), POLICY_LATER);
	start(&f, &w, HOOK_MAIL, NULL);
	ck_assert_msg(answers == 3 && answer.kind == VERDICT_REJECT, "%s", fix_log);
	policy_cancel(f.p, ticket);
	start(&f, &w, HOOK_MAIL, NULL);
	ck_assert_msg(answers == 4 && answer.kind == VERDICT_REJECT, "%s", fix_log);
	world_fini(&w, f.g);
	fix_fini(&f);
	verdict_fini(&answer);
}
END_TEST

/* Many handlers at once, each with several waits; the worker's limit is an error, no failure. */
START_TEST(worker_limit)
{
	enum { N = 400 };
	static struct world w[N];
	struct policy_stats st;
	struct fix f;

	fix_load(&f,
	    "gw.on('message', function()\n"
	    "  local fns = {}\n"
	    "  for i = 1, 12 do fns[i] = function() return gw.sleep(0.3) end end\n"
	    "  local t, err = gw.all(fns)\n"
	    "  if t == nil then assert(err.kind == 'limit') return gw.reject {} end\n"
	    "  return gw.hold {}\n"
	    "end, { name = 'x' })\n");
	answers = 0;
	for (int i = 0; i < N; i++) {
		world_init(&w[i]);
		start(&f, &w[i], HOOK_MESSAGE, NULL);
	}
	policy_stats(f.p, &st);
	ck_assert_uint_le(st.in_flight, 4096);
	ck_assert_uint_gt(answers, 50);
	ck_assert_msg(answer.kind == VERDICT_REJECT, "%s", fix_log);
	wait_for(&f, N);
	policy_stats(f.p, &st);
	ck_assert_uint_eq(st.in_flight, 0);
	for (int i = 0; i < N; i++)
		world_fini(&w[i], f.g);
	fix_fini(&f);
	verdict_fini(&answer);
}
END_TEST

/* ---- gw.memo ---- */

static const char memo[] =
    "local calls, fail = 0, false\n"
    "local look = gw.memo(function(k) calls = calls + 1 gw.sleep(0.005)\n"
    "  if k == 'boom' then error('boom', 0) end\n"
    "  if k == 'none' then return nil, 'no ' .. calls end\n"
    "  return { k = k, n = calls, deep = { 1 } } end, { name = 'look', ttl = '1h', capacity = 3 })\n"
    "local old = gw.memo(function(k) if fail then if fail == 1 then return nil, 'down' end error('down', 0) end\n"
    "  return k .. '!' end, { name = 'old', ttl = '5ms', stale = '1h' })\n"
    "local none = gw.memo(function(k) calls = calls + 1 end, { name = 'none', negative_ttl = '1h' })\n"
    "local rec rec = gw.memo(function(k) gw.sleep(0) return gw.within(1, function() return rec(k) end) end, { name = 'rec' })\n"
    "gw.on('message', function()\n"
    "  local function a() return look 'a' end\n"
    "  local t = gw.all { a, a, a }\n"
    "  assert(calls == 1 and t[1].n == 1 and t[1] == t[2] and t[2] == t[3])\n"
    "  assert(not pcall(function() t[1].k = 'x' end) and not pcall(function() t[1].deep[1] = 2 end))\n"
    "  assert(look 'a' == t[1] and calls == 1)\n"
    "  local function boom() return look 'boom' end\n"
    "  local u = gw.all({ boom, boom }, { mode = 'collect' })\n"
    "  assert(u[1].error == 'boom' and u[2].error:find 'boom' and calls == 2, u[2].error)\n"
    "  assert(not pcall(look, 'boom') and calls == 3)\n"
    "  local v, e = look 'none' assert(v == nil and e == 'no 4') v, e = look 'none' assert(e == 'no 5')\n"
    "  assert(select('#', look 'a') == 1)\n"
    "  look 'b' look 'c' look 'a' look 'd'\n"	/* the one not used for longest goes */
    "  local n = calls look 'a' look 'c' look 'd' assert(calls == n) look 'b' assert(calls == n + 1)\n"
    "  assert(look(1) == look(1.0) and look '1'.k == '1' and look(true).k == true and look(1.5).k == 1.5)\n"
    "  assert(look(gw.domain 'x.example').k.name == 'x.example')\n"
    "  for _, bad in ipairs { {}, print, 0/0, ('x'):rep(255) } do assert(not pcall(look, bad)) end\n"
    "  assert(not pcall(look) and not pcall(look, nil) and not pcall(look, 1, 2))\n"
    "  n = calls assert(none 'x' == nil and none 'x' == nil and calls == n + 1)\n"
    "  assert(old 'x' == 'x!') gw.sleep(0.01) fail = 1 assert(old 'x' == 'x!')\n"
    "  v, e = old 'y' assert(v == nil and e == 'down')\n"
    "  fail = 2 assert(old 'x' == 'x!' and not pcall(old, 'y'))\n"
    "  local ok, why = pcall(rec, 'x') assert(not ok and why:find 'same key', why)\n"
    "  assert(not pcall(gw.memo, print, { name = 'late' }))\n"
    "  return gw.hold {}\n"
    "end, { name = 'x' })\n";

START_TEST(memo_keeps)
{
	struct fix f;
	struct world w;

	fix_load(&f, memo);
	world_init(&w);
	answers = 0;
	start(&f, &w, HOOK_MESSAGE, NULL);
	wait_for(&f, 1);
	ck_assert_msg(answer.kind == VERDICT_HOLD, "%s", fix_log);
	ck_assert_ptr_nonnull(strstr(fix_log, "policy uses an old answer"));
	world_fini(&w, f.g);
	fix_fini(&f);
	verdict_fini(&answer);
}
END_TEST

/* Memory that is over just when the answer is there: whoever waits for it finds out itself. The registry grows
 * at powers of two, so places in it are taken until it does so for the answer of the one who waits. */
START_TEST(memo_without_memory)
{
	static const size_t left[] = { 1000, 1400 };
	unsigned short_of = 0;

	for (unsigned i = 0; i < 70 * NELEMS(left); i++) {
		struct policy_stats st;
		struct fix f;
		struct world w;

		fix_load(&f,
		    "local look = gw.memo(function(k) gw.sleep(0.0001) return nil, 'none' end, { name = 'look' })\n"
		    "gw.on('message', function() look 'k' return gw.hold {} end, { name = 'x', wall = '1s' })\n");
		world_init(&w);
		answers = 0;
		ck_assert_int_eq(start(&f, &w, HOOK_MESSAGE, NULL), POLICY_LATER);
		ck_assert_int_eq(start(&f, &w, HOOK_MESSAGE, NULL), POLICY_LATER);
		for (unsigned k = 0; k < i / NELEMS(left); k++) {
			lua_pushboolean(f.g->L, 1);
			luaL_ref(f.g->L, LUA_REGISTRYINDEX);
		}
		lua_gc(f.g->L, LUA_GCCOLLECT);
		f.g->conf->policy.memory = f.g->mem_used + left[i % NELEMS(left)];
		wait_for(&f, 1);
		f.g->conf->policy.memory = 0;
		wait_for(&f, 2);
		short_of += strstr(fix_log, "limit.memory") != NULL;
		ck_assert_msg(strstr(fix_log, "limit.wall") == NULL, "%s", fix_log);
		policy_stats(f.p, &st);
		ck_assert_uint_eq(st.in_flight, 0);
		world_fini(&w, f.g);
		fix_fini(&f);
		verdict_fini(&answer);
	}
	ck_assert_uint_gt(short_of, 0);
}
END_TEST

/* Who finds out goes away, or is killed; who waits takes over. */
START_TEST(memo_is_passed_on)
{
	struct policy_stats st;
	uint64_t ticket, second;
	struct fix f;
	struct world w;

	fix_load(&f,
	    "local n = 0\n"
	    "local look = gw.memo(function(k) n = n + 1 local mine = n\n"
	    "  if mine == 1 or mine == 5 then gw.sleep(5) end\n"
	    "  gw.sleep(0.001)\n"
	    "  if mine == 3 then while true do end end\n"
	    "  return mine end, { name = 'look', ttl = '1ms' })\n"
	    "gw.on('message', function() look 'k' return gw.hold {} end, { name = 'x' })\n"
	    "gw.on('mail', function() if look 'k' == 2 then return gw.reject {} end return gw.defer {} end, { name = 'y' })\n"
	    "gw.on('rcpt', function() gw.sleep(0.02) pcall(look, 'k') return gw.hold {} end, { name = 'z' })\n"
	    "gw.on('data', function() local v, e = gw.within(0.01, function() return look 'k' end)\n"
	    "  assert(v == nil and e.kind == 'timeout') return gw.reject {} end, { name = 'd' })\n");
	world_init(&w);
	answers = 0;
	ck_assert_int_eq(start(&f, &w, HOOK_MESSAGE, &ticket), POLICY_LATER);
	ck_assert_int_eq(start(&f, &w, HOOK_MAIL, &second), POLICY_LATER);
	ck_assert_int_eq(start(&f, &w, HOOK_MAIL, NULL), POLICY_LATER);
	event_base_loop(f.base, EVLOOP_NONBLOCK);
	policy_cancel(f.p, ticket);
	policy_cancel(f.p, second);	/* is about to take over */
	wait_for(&f, 1);
	ck_assert_msg(answer.kind == VERDICT_REJECT, "%s", fix_log);

	/* Call 3 is killed after its first wait; the one that waited for it makes call 4. */
	usleep(3000);
	ck_assert_int_eq(start(&f, &w, HOOK_MESSAGE, NULL), POLICY_LATER);
	ck_assert_int_eq(start(&f, &w, HOOK_MAIL, NULL), POLICY_LATER);
	wait_for(&f, 2);
	ck_assert_msg(answer.is_error, "%s", fix_log);
	wait_for(&f, 3);
	ck_assert_msg(answer.kind == VERDICT_DEFER && !answer.is_error, "%s", fix_log);

	/* Call 5 has a caller who does not wait for long. */
	usleep(3000);
	ck_assert_int_eq(start(&f, &w, HOOK_DATA, NULL), POLICY_LATER);
	ck_assert_int_eq(start(&f, &w, HOOK_MAIL, NULL), POLICY_LATER);
	wait_for(&f, 5);
	ck_assert_msg(answer.kind == VERDICT_DEFER && !answer.is_error, "%s", fix_log);
	policy_stats(f.p, &st);
	ck_assert_uint_eq(st.in_flight, 0);

	/* The engine goes while all of them wait. */
	usleep(3000);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(start(&f, &w, i == 0 ? HOOK_MESSAGE : HOOK_MAIL, NULL), POLICY_LATER);
	world_fini(&w, f.g);
	fix_fini(&f);
	verdict_fini(&answer);
}
END_TEST

/* ---- gw.kv ---- */

struct kept {
	struct fix f;
	struct rig rig;
	struct mailbox *mb;
};

static void
kept_load(struct kept *k, const char *policy)
{
	fix_load(&k->f, policy);
	k->mb = mailbox_new(k->f.base, NULL);
	policy_use(k->f.p, &(struct policy_services){ .store = k->rig.s, .mb = k->mb });
}

static void
kept_init(struct kept *k, const char *policy)
{
	rig_init(&k->rig);
	rig_open(&k->rig);
	rig_start(&k->rig);
	kept_load(k, policy);
}

static void
kept_unload(struct kept *k)
{
	fix_fini(&k->f);
}

static const char kv[] =
    "local kv, other = gw.kv 'seen', gw.kv 'other'\n"
    "gw.on('message', function()\n"
    "  assert(kv:get 'k' == nil and select('#', kv:get 'k') == 1)\n"
    "  assert(kv:set('k', { a = 1, b = { 'x', true } }) == true)\n"
    "  local v = kv:get 'k' assert(v.a == 1 and v.b[2] == true and not pcall(function() v.a = 2 end))\n"
    "  assert(other:get 'k' == nil and kv:get '\\0\\255' == nil)\n"
    "  assert(kv:set('\\0\\255', 'bin') and kv:get '\\0\\255' == 'bin' and kv:get '\\0' == nil)\n"
    "  assert(kv:add 'n' == 1 and kv:add('n', 41) == 42 and kv:add('n', -2) == 40 and kv:get 'n' == 40)\n"
    "  local x, err = kv:add 'k' assert(x == nil and err.kind == 'not_a_number' and not err.temporary)\n"
    "  kv:set('big', math.maxinteger) x, err = kv:add 'big' assert(x == nil and err.kind == 'not_a_number')\n"
    "  local ok, now = kv:cas('n', 39, 1) assert(ok == false and now == 40)\n"
    "  assert(kv:cas('n', 40, { 'y' }) == true and kv:cas('n', { 'y' }, 'z') and kv:get 'n' == 'z')\n"
    "  ok, now = kv:cas('n', nil, 1) assert(ok == false and now == 'z')\n"
    "  assert(kv:cas('new', nil, 1) and kv:cas('new', 1, nil) and kv:get 'new' == nil)\n"
    "  ok, now = kv:cas('new', 1, 2) assert(ok == false and now == nil)\n"
    "  assert(kv:delete 'n' == true and kv:delete 'n' == false)\n"
    /* what is over is not there, and a counter keeps the end that it began with */
    "  kv:set('t', 1, { ttl = 0.8 }) assert(kv:add('c', 1, { ttl = 0.8 }) == 1)\n"
    "  assert(kv:get 't' == 1 and kv:add('c', 1, { ttl = '1h' }) == 2) gw.sleep(0.85)\n"
    "  assert(kv:get 't' == nil and kv:add 'c' == 1 and kv:delete 't' == false and kv:cas('t', nil, 2))\n"
    "  local t = gw.all { function() return kv:add 'p' end, function() return kv:add 'p' end,\n"
    "    function() return kv:add 'p' end }\n"
    "  assert(t[1] + t[2] + t[3] == 6 and kv:get 'p' == 3)\n"
    "  for _, bad in ipairs { function() kv:set('k') end, function() kv:set('k', print) end, function() kv:get '' end,\n"
    "    function() kv:get(('x'):rep(256)) end, function() kv:set('k', ('x'):rep(16384)) end, function() kv.get('k') end,\n"
    "    function() kv:put('k', 1) end, function() kv:set('k', 1, { tll = 1 }) end, function() kv:set('k', 1, { ttl = '400d' }) end,\n"
    "    function() gw.kv 'A b' end, function() gw.kv(('x'):rep(64)) end, function() kv:add('k', 1.5) end,\n"
    "    function() string.gsub('x', 'x', function() kv:get 'k' end) end } do assert(not pcall(bad)) end\n"
    "  assert(kv:set(('x'):rep(255), ('x'):rep(16000)) and gw.kv 'seen':get(('x'):rep(255)) == ('x'):rep(16000))\n"
    "  return gw.hold {}\n"
    "end, { name = 'x' })\n"
    "gw.on('mail', function() assert(kv:get 'k'.b[1] == 'x' and kv:get 'n' == nil and kv:get 'p' == 3)\n"
    "  return gw.reject {} end, { name = 'y' })\n";

START_TEST(kv_calls)
{
	struct kept k;
	struct world w;

	kept_init(&k, kv);
	world_init(&w);
	answers = 0;
	start(&k.f, &w, HOOK_MESSAGE, NULL);
	wait_for(&k.f, 1);
	ck_assert_msg(answer.kind == VERDICT_HOLD, "%s", fix_log);
	world_fini(&w, k.f.g);
	kept_unload(&k);
	rig_close(&k.rig);
	mailbox_free(k.mb);

	rig_open(&k.rig);
	rig_start(&k.rig);
	kept_load(&k, kv);
	world_init(&w);
	start(&k.f, &w, HOOK_MAIL, NULL);
	wait_for(&k.f, 2);
	ck_assert_msg(answer.kind == VERDICT_REJECT, "%s", fix_log);
	world_fini(&w, k.f.g);
	kept_unload(&k);
	rig_fini(&k.rig);
	mailbox_free(k.mb);
	verdict_fini(&answer);
}
END_TEST

/* The request comes back when nobody waits any more: counted; with the store closed: an error. */
START_TEST(kv_answers_too_late)
{
	struct policy_stats st;
	struct kept k;
	struct world w;
	uint64_t ticket;

	kept_init(&k,
	    "local kv = gw.kv 'seen'\n"
	    "gw.on('message', function() while true do kv:add 'n' end end, { name = 'x' })\n"
	    "gw.on('mail', function() local v, e = kv:add 'n' assert(v == nil and e.kind == 'servfail' and e.temporary)\n"
	    "  v, e = kv:get 'n' assert(v == nil and e.kind == 'servfail') return gw.reject {} end, { name = 'y' })\n");
	world_init(&w);
	answers = 0;
	ck_assert_int_eq(start(&k.f, &w, HOOK_MESSAGE, &ticket), POLICY_LATER);
	policy_cancel(k.f.p, ticket);
	for (int i = 0; i < 10000; i++) {
		policy_stats(k.f.p, &st);
		if (st.stale_tickets > 0)
			break;
		event_base_loop(k.f.base, EVLOOP_NONBLOCK);
		usleep(1000);
	}
	ck_assert_uint_eq(st.stale_tickets, 1);
	ck_assert_uint_eq(answers, 0);
	store_close(k.rig.s);
	start(&k.f, &w, HOOK_MAIL, NULL);
	wait_for(&k.f, 1);
	ck_assert_msg(answer.kind == VERDICT_REJECT, "%s", fix_log);
	/* The engine goes before the answer is there. */
	ck_assert_int_eq(start(&k.f, &w, HOOK_MESSAGE, &ticket), POLICY_LATER);
	policy_cancel(k.f.p, ticket);
	world_fini(&w, k.f.g);
	policy_gen_unref(k.f.g);
	policy_free(k.f.p);
	k.f.p = NULL;
	mailbox_drain(k.mb);
	k.f.g = NULL;
	event_base_loop(k.f.base, EVLOOP_NONBLOCK);
	mailbox_free(k.mb);
	fix_fini(&k.f);
	rig_fini(&k.rig);
	verdict_fini(&answer);
}
END_TEST

/* ---- The store's side ---- */

/* ---- gw.audit ---- */

static const char audit[] =
    "gw.on('message', function(session, message)\n"
    "  assert(gw.audit 'bare' == true)\n"
    "  assert(gw.audit('with fields \\u{e4} \"', { b = { 1, 'x\\n' }, a = true }) == true)\n"
    "  local t = gw.all { function() return gw.audit 'p' end, function() return gw.audit 'p' end } assert(t[1] and t[2])\n"
    "  for says, bad in pairs { ['text is empty'] = { '' }, ['control character'] = { 'a\\nb' }, ['larger than'] = { 'a', { ('x'):rep(1024) } },\n"
    "    ['500'] = { ('x'):rep(501) }, ['table'] = { 'a', 'b' } } do\n"
    "    local ok, why = pcall(gw.audit, table.unpack(bad)) assert(not ok and why:find(says, 1, true), why) end\n"
    "  assert(not pcall(string.gsub, 'x', 'x', function() gw.audit 'no' end))\n"
    "  for i = 5, 8 do assert(gw.audit('n' .. i)) end\n"
    "  local ok, why = pcall(gw.audit, 'ninth') assert(not ok and why:find 'at most 8 rows', why)\n"
    "  return gw.hold {}\n"
    "end, { name = 'x' })\n"
    "gw.on('connect', function() assert(gw.audit 'without a message') return gw.reject {} end, { name = 'y' })\n"
    "gw.on('mail', function() local v, e = gw.audit 'late' assert(v == nil and e.kind == 'servfail' and e.temporary)\n"
    "  return gw.reject {} end, { name = 'z' })\n";

static json_t *
query(struct rig *r, enum store_verb verb)
{
	struct store_query *q = xcalloc(1, sizeof *q);
	json_t *o;

	q->verb = verb;
	q->mail.reply_to = r->mb;
	store_query(r->s, q);
	q = rig_answer(r);
	ck_assert_int_eq(q->status, STORE_OK);
	o = json_loads(q->json, 0, NULL);
	store_query_free(q);
	return o;
}

static const char *
said(const json_t *rows, size_t i, const char *key)
{
	const char *s = json_string_value(json_object_get(json_object_get(json_array_get(rows, i), "record"), key));

	return s == NULL ? "" : s;
}

START_TEST(audit_rows)
{
	const json_t *rows;
	struct kept k;
	struct world w;
	json_t *o;

	kept_init(&k, audit);
	world_init(&w);
	answers = 0;
	start(&k.f, &w, HOOK_MESSAGE, NULL);
	wait_for(&k.f, 1);
	ck_assert_msg(answer.kind == VERDICT_HOLD, "%s", fix_log);
	start(&k.f, &w, HOOK_CONNECT, NULL);
	wait_for(&k.f, 2);
	ck_assert_msg(answer.kind == VERDICT_REJECT, "%s", fix_log);
	o = query(&k.rig, STORE_EVIDENCE);
	rows = json_object_get(o, "evidence");
	ck_assert_uint_eq(json_array_size(rows), 9);
	ck_assert_str_eq(said(rows, 0, "event"), "policy");
	ck_assert_str_eq(said(rows, 0, "why"), "bare");
	ck_assert_str_eq(said(rows, 0, "text"), "");
	ck_assert_str_eq(said(rows, 0, "from"), "ann@acme.example");
	ck_assert_str_eq(said(rows, 0, "by"), "x policy.lua:1");
	ck_assert_uint_eq(strlen(said(rows, 0, "message")), 13);
	ck_assert_uint_eq(strlen(said(rows, 0, "generation")), 64);
	ck_assert_str_eq(said(rows, 1, "why"), "with fields \xC3\xA4 \"");
	ck_assert_str_eq(said(rows, 1, "text"), "{\"a\":true,\"b\":[1,\"x\\x5Cx5Cu000a\"]}");
	ck_assert_str_eq(said(rows, 8, "why"), "without a message");
	ck_assert_str_eq(said(rows, 8, "message"), "");
	json_decref(o);
	o = query(&k.rig, STORE_EVIDENCE_VERIFY);
	ck_assert(json_is_true(json_object_get(o, "ok")));
	json_decref(o);
	store_close(k.rig.s);
	start(&k.f, &w, HOOK_MAIL, NULL);
	wait_for(&k.f, 3);
	ck_assert_msg(answer.kind == VERDICT_REJECT, "%s", fix_log);
	world_fini(&w, k.f.g);
	kept_unload(&k);
	mailbox_free(k.mb);
	rig_fini(&k.rig);
	verdict_fini(&answer);
}
END_TEST

static struct store_kv *
ask(struct rig *r, enum store_kv_verb verb, const char *name, const char *key, const char *value, int64_t ttl)
{
	struct store_kv *q = xcalloc(1, sizeof *q);

	q->mail.reply_to = r->mb;
	q->verb = verb;
	snprintf(q->name, sizeof q->name, "%s", name);
	q->key = xstrdup(key);
	q->nkey = strlen(key);
	q->value = value == NULL ? NULL : xstrdup(value);
	q->delta = 1;
	q->ttl_ms = ttl;
	store_kv(r->s, q);
	return q;
}

static enum store_kv_end
end_of(struct rig *r)
{
	struct store_kv *q = rig_answer(r);
	enum store_kv_end end;

	ck_assert_ptr_nonnull(q);
	ck_assert_msg(q->status == STORE_OK, "%s", q->text);
	end = q->end;
	if (end == KV_LIMIT)
		ck_assert_ptr_nonnull(strstr(q->text, "no room for another key"));
	store_kv_free(q);
	return end;
}

START_TEST(rows_are_bounded)
{
	struct rig r;
	char key[32];

	rig_init(&r);
	rig_open(&r);
	rig_start(&r);
	for (int i = 0; i < STORE_KV_ROWS; i++) {
		snprintf(key, sizeof key, "k%d", i);
		ask(&r, STORE_KV_SET, "full", key, "1", i == 77 ? 1 : 0);
	}
	for (int i = 0; i < STORE_KV_ROWS; i++)
		ck_assert_int_eq(end_of(&r), KV_DONE);
	usleep(3000);
	ask(&r, STORE_KV_SET, "full", "one more", "1", 0);	/* in the place of the one that is over */
	ck_assert_int_eq(end_of(&r), KV_DONE);
	ask(&r, STORE_KV_SET, "full", "too many", "1", 0);
	ck_assert_int_eq(end_of(&r), KV_LIMIT);
	ask(&r, STORE_KV_ADD, "full", "too many", NULL, 0);
	ck_assert_int_eq(end_of(&r), KV_LIMIT);
	ask(&r, STORE_KV_SET, "full", "k5", "2", 0);		/* known keys go on */
	ck_assert_int_eq(end_of(&r), KV_DONE);
	ask(&r, STORE_KV_SET, "other", "too many", "1", 0);
	ck_assert_int_eq(end_of(&r), KV_DONE);
	ask(&r, STORE_KV_DELETE, "full", "k6", NULL, 0);
	ck_assert_int_eq(end_of(&r), KV_DONE);
	ask(&r, STORE_KV_SET, "full", "too many", "1", 0);
	ck_assert_int_eq(end_of(&r), KV_DONE);
	ask(&r, STORE_KV_GET, "full", "k6", NULL, 0);
	ck_assert_int_eq(end_of(&r), KV_ABSENT);
	ask(&r, STORE_KV_GET, "full", "k77", NULL, 0);
	ck_assert_int_eq(end_of(&r), KV_ABSENT);
	rig_fini(&r);
}
END_TEST

UNIT_MAIN("policy_await",
    tcase_add_loop_test(tc, bodies, 0, NELEMS(good));
    tcase_add_loop_test(tc, kills, 0, NELEMS(killed));
    tcase_add_test(tc, everything_ends_with_the_handler);
    tcase_add_test(tc, kept_coroutines_raise);
    tcase_add_test(tc, worker_limit);
    tcase_add_test(tc, memo_keeps);
    tcase_add_test(tc, memo_without_memory);
    tcase_add_test(tc, memo_is_passed_on);
    tcase_add_test(tc, kv_calls);
    tcase_add_test(tc, kv_answers_too_late);
    tcase_add_test(tc, audit_rows);
    tcase_add_test(tc, rows_are_bounded);
)
