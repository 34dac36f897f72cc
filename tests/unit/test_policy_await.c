/* Handlers that wait: many things at a time, in coroutines of their own making, in what others have
 * begun; and that whatever ends the handler ends all of it. */
#include "policy_fixture.h"

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

UNIT_MAIN("policy_await",
    tcase_add_loop_test(tc, bodies, 0, NELEMS(good));
    tcase_add_loop_test(tc, kills, 0, NELEMS(killed));
    tcase_add_test(tc, everything_ends_with_the_handler);
    tcase_add_test(tc, kept_coroutines_raise);
    tcase_add_test(tc, worker_limit);
)
