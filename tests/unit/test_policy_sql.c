/* gw.sql and tables of SQLite: what may be asked, what comes back, what ends a question; gw.cache, gw.rate and
 * gw.counter in policies. */
#include "policy_fixture.h"

#include <sqlite3.h>

#include "data/data.h"
#include "data/metric.h"
#include "data/pool.h"
#include "data/rate.h"
#include "policy/policy_int.h"

static char dir[] = "policy-sql-XXXXXX", *here;

static void
change_db(const char *name, const char *sql)
{
	char *path = xasprintf("%s/%s/%s", here, dir, name), *why = NULL;
	sqlite3 *h;

	ck_assert_int_eq(sqlite3_open(path, &h), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(h, sql, NULL, NULL, &why) == SQLITE_OK, "%s", why);
	sqlite3_close(h);
	free(path);
}

static void
make_db(const char *name, const char *sql)
{
	char *path = xasprintf("%s/%s/%s", here, dir, name);

	unlink(path);
	free(path);
	change_db(name, sql);
}

#define PEOPLE "create table people (addr text, dept text, n int, x real, b blob);" \
	"insert into people values ('ann@acme.example', 'lab', 7, 1.5, x'00ff'), ('bob@acme.example', 'ops', null, null, null);"

static void
set_up(void)
{
	here = getcwd(NULL, 0);
	strcpy(dir, "policy-sql-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	make_db("people.db", PEOPLE);
	fix_more = xasprintf("tables = { people = { sqlite = '%s/%s/people.db',\n"
	    "  query = 'select dept, n from people where addr = ?1' } },\n"
	    "databases = { crm = { file = '%s/%s/people.db', timeout = '300ms', max_rows = 100, max_bytes = '8K' },\n"
	    "  slow = { file = '%s/%s/people.db', timeout = '30s' } },\n",
	    here, dir, here, dir, here, dir);
}

static void
tear_down(void)
{
	char *path = xasprintf("%s/%s/people.db", here, dir);

	unlink(path);
	free(path);
	rmdir(dir);
	free(here);
	free((char *)fix_more);
	fix_more = "";
}

/* ---- A policy with threads for it ---- */
struct kit {
	struct fix f;
	struct world w;
	struct pool *pool;
	struct mailbox *mb;
};
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

static void
kit_init(struct kit *k, const char *policy)
{
	struct err err;

	fix_load(&k->f, policy);
	world_init(&k->w);
	k->mb = mailbox_new(k->f.base, NULL);
	k->pool = pool_new(2, 50, &err);
	policy_use(k->f.p, &(struct policy_services){ .mb = k->mb, .pool = k->pool });
	answers = 0;
}

static void
kit_fini(struct kit *k)
{
	world_fini(&k->w, k->f.g);
	pool_free(k->pool);
	mailbox_drain(k->mb);
	fix_fini(&k->f);
	mailbox_free(k->mb);
	verdict_fini(&answer);
}

static enum policy_when
start(struct kit *k, enum policy_hook hook, uint64_t *ticket)
{
	struct verdict v;
	enum policy_when when = policy_call(k->f.p, k->f.g, hook, world_for(&k->w, hook), &v, take_answer, NULL, ticket);

	if (when == POLICY_NOW)
		take_answer(NULL, 0, &v);
	return when;
}

static void
wait_for(struct kit *k, unsigned n)
{
	for (int i = 0; i < 20000 && answers < n; i++)
		event_base_loop(k->f.base, EVLOOP_ONCE);
	ck_assert_uint_eq(answers, n);
}

/* Until the engine has nothing under way, and the pool has nothing to do. */
static void
wait_idle(struct kit *k)
{
	struct policy_stats st;

	for (int i = 0; i < 10000 && pool_waiting(k->pool) > 0; i++)
		usleep(1000);
	event_base_loop(k->f.base, EVLOOP_NONBLOCK);
	policy_stats(k->f.p, &st);
	ck_assert_uint_eq(st.in_flight, 0);
	ck_assert_uint_eq(pool_waiting(k->pool), 0);
}

/* Bodies that check themselves and return gw.hold {}. */
#define ENDLESS "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) as n from c"
static const char *const good[] = {
	/* values of every kind, both ways */
	"local rows = crm:query('select addr, dept, n, x, b from people order by addr')\n"
	"assert(#rows == 2 and rows[1].addr == 'ann@acme.example' and rows[1].n == 7 and rows[1].x == 1.5)\n"
	"assert(rows[1].b == '\\0\\255' and rows[2].n == nil and rows[2].dept == 'ops')\n"
	"local r = crm:row('select ?1 as a, ?2 as b, ?3 as c, ?4 as d, ?5 as e, ?6 as f', 1, 2.5, 'x\\0y', nil, true,\n"
	"  gw.domain 'B.example')\n"
	"assert(r.a == 1 and r.b == 2.5 and r.c == 'x\\0y' and r.d == nil and r.e == 1 and r.f == 'b.example')\n"
	"local ok, why = pcall(function() return r.g end) assert(not ok and why:find \"a row has no field 'g'\", why)\n"
	"r = crm:row('select dept from people where addr = ?', message.from) assert(r.dept == 'lab')\n"
	"assert(crm:row('select 1 as x from people where addr = ?1', 'nobody') == nil)\n"
	"assert(select('#', crm:row('select 1 as x from people where 0')) == 1 and #crm:query 'select 1 as x where 0' == 0)\n"
	"assert(crm:row('select dept from people order by addr').dept == 'lab')\n"	/* the first of two */
	"assert(crm.name == 'crm' and not pcall(function() return crm.quer end) and not pcall(gw.sql, 'cmr'))\n"
	"return gw.hold {}",
	/* only one statement, and only reading */
	"for _, sql in ipairs { 'delete from people', 'insert into people values (1,2,3,4,5)', 'create table x (y)', 'select 1; select 2',\n"
	"  'pragma query_only=0', \"attach 'x.db' as x\", 'begin immediate', 'vacuum', \"select load_extension('x')\", 'selekt', '', '-- x',\n"
	"  'update people set n = 1 returning n', 'select nope from people', 'select ?1 as a', 'drop table people', 'reindex', 'analyze',\n"
	"  \"vacuum into 'y.db'\", 'create temp table t (x)', 'pragma table_info(people)' } do\n"
	"  local rows, err = crm:query(sql)\n"
	"  assert(rows == nil and err.kind == 'malformed' and not err.temporary, sql .. ': ' .. tostring(err) .. ' ' .. (err and err.kind or 'none')) end\n"
	"local rows, err = crm:query('select ?1 as a', 1, 2) assert(err.text:find '1 parameters, and 2 values', err.text)\n"
	"rows, err = crm:query 'delete from people' assert(err.text == 'gw.sql crm: a statement may only read', err.text)\n"
	"assert(crm:row('select count(*) as n from people').n == 2)\n"
	"return gw.hold {}",
	/* rows, octets, time */
	"local many = 'with recursive c(x) as (select 1 union all select x + 1 from c where x < ?1) select x from c'\n"
	"assert(#crm:query(many, 100) == 100)\n"
	"local rows, err = crm:query(many, 101) assert(rows == nil and err.kind == 'limit' and err.text:find 'more than 100 rows', err)\n"
	"rows, err = crm:query(\"select hex(zeroblob(5000)) as x\") assert(rows == nil and err.kind == 'limit' and err.text:find '8192 octets', err)\n"
	"rows, err = crm:query(\"select hex(zeroblob(5000000)) as x\") assert(rows == nil and err.kind == 'limit', err.kind)\n"
	/* sql:row takes the first of many rows, but none that is too large; a value that is too long is not NULL */
	"assert(crm:row(many, 101).x == 1)\n"
	"rows, err = crm:row(\"select hex(zeroblob(5000)) as x\") assert(rows == nil and err and err.kind == 'limit', tostring(err))\n"
	"rows, err = crm:row('select 1 as x where ?1 is null', string.rep('x', 1024 * 1024) .. 'x')\n"
	"assert(rows == nil and err and err.kind == 'limit' and err.text:find 'too long', tostring(err))\n"
	"rows, err = crm:query [[" ENDLESS "]] assert(rows == nil and err.kind == 'timeout' and err.temporary, err.kind)\n"
	"rows, err = crm:query [[select like(hex(zeroblob(100000)), hex(zeroblob(100000))) as x]] assert(rows == nil, 'like')\n"
	"return gw.hold {}",
	/* a table */
	"assert(people:get('ann@acme.example').dept == 'lab' and people:get(message.from).n == 7)\n"
	"assert(people:get 'bob@acme.example'.n == nil and people:get 'none' == nil and select('#', people:get 'none') == 1)\n"
	"for _, bad in ipairs { function() people:each() end, function() return #people end, function() people:find('dept', 'x') end,\n"
	"  function() return people.version end, function() people:get() end, function() people:get({}) end,\n"
	"  function() string.gsub('x', 'x', function() people:get 'x' end) end } do assert(not pcall(bad)) end\n"
	"assert(people.name == 'people')\n"
	"local t = gw.all { function() return people:get 'ann@acme.example' end, function() return people:get 'bob@acme.example' end,\n"
	"  function() return crm:query 'select 1 as x' end }\n"
	"assert(t[1].dept == 'lab' and t[2].dept == 'ops' and t[3][1].x == 1)\n"
	"return gw.hold {}",
	/* wrong arguments raise; time that is up goes on without it */
	"for _, bad in ipairs { function() crm:query() end, function() crm:query({}) end, function() crm:query('select ?1', {}) end,\n"
	"  function() crm:query(('x'):rep(70000)) end, function() crm:query('select 1\\0') end, function() crm.query('x') end,\n"
	"  function() crm:query('select 1', table.unpack({}, 1, 40)) end } do assert(not pcall(bad)) end\n"
	"local x, err = gw.within(0.02, function() return crm:query [[" ENDLESS "]] end)\n"
	"assert(x == nil and err.kind == 'timeout')\n"
	"return gw.hold {}",
};

START_TEST(bodies)
{
	char *text = xasprintf("local crm, people = gw.sql 'crm', gw.table 'people'\n"
	    "gw.on('message', function(session, message)\n%s\nend, { name = 'x' })\n", good[_i]);
	struct kit k;

	kit_init(&k, text);
	start(&k, HOOK_MESSAGE, NULL);
	wait_for(&k, 1);
	ck_assert_msg(answer.kind == VERDICT_HOLD, "%s", fix_log);
	wait_idle(&k);
	kit_fini(&k);
	free(text);
}
END_TEST

/* The handler is cancelled (its client left, the daemon stops), runs out of time, and the engine goes. */
START_TEST(what_ends_a_question)
{
	struct policy_stats st;
	uint64_t ticket;
	struct kit k;

	kit_init(&k,
	    "local crm = gw.sql 'slow'\n"
	    "gw.on('message', function() while true do crm:query [[" ENDLESS "]] end end, { name = 'x', wall = '60ms' })\n");
	ck_assert_int_eq(start(&k, HOOK_MESSAGE, &ticket), POLICY_LATER);
	usleep(20000);		/* it runs in its thread by now */
	policy_cancel(k.f.p, ticket);
	wait_idle(&k);
	policy_stats(k.f.p, &st);
	ck_assert_uint_eq(st.stale_tickets, 1);
	ck_assert_uint_eq(answers, 0);

	ck_assert_int_eq(start(&k, HOOK_MESSAGE, &ticket), POLICY_LATER);
	wait_for(&k, 1);
	ck_assert_msg(answer.is_error && strstr(fix_log, "limit.wall") != NULL, "%s", fix_log);
	wait_idle(&k);

	ck_assert_int_eq(start(&k, HOOK_MESSAGE, &ticket), POLICY_LATER);
	world_fini(&k.w, k.f.g);
	policy_gen_unref(k.f.g);
	policy_free(k.f.p);
	k.f.p = NULL;
	k.f.g = NULL;
	pool_free(k.pool);
	mailbox_drain(k.mb);
	fix_fini(&k.f);
	mailbox_free(k.mb);
	verdict_fini(&answer);
}
END_TEST

/* More questions than threads: each has its time, and too many are an error. */
START_TEST(many_questions)
{
	enum { N = 60 };
	static struct world w[N];
	struct kit k;
	struct verdict v;
	unsigned at_once = 0;

	kit_init(&k,
	    "local crm = gw.sql 'crm'\n"
	    "gw.on('message', function() local rows, err = crm:query [[" ENDLESS "]]\n"
	    "  assert(rows == nil) if err.kind == 'limit' then return gw.reject {} end\n"
	    "  assert(err.kind == 'timeout', err.kind) return gw.hold {} end, { name = 'x' })\n");
	for (int i = 0; i < N; i++) {
		world_init(&w[i]);
		if (policy_call(k.f.p, k.f.g, HOOK_MESSAGE, world_for(&w[i], HOOK_MESSAGE), &v, take_answer, NULL,
		    &(uint64_t){ 0 }) == POLICY_LATER)
			continue;
		ck_assert_msg(v.kind == VERDICT_REJECT, "%s", fix_log);
		verdict_fini(&v);
		at_once++;
	}
	ck_assert_uint_ge(at_once, N - 50 - 2);
	wait_for(&k, N - at_once);
	ck_assert_msg(answer.kind == VERDICT_HOLD, "%s", fix_log);
	wait_idle(&k);
	for (int i = 0; i < N; i++)
		world_fini(&w[i], k.f.g);
	kit_fini(&k);
}
END_TEST

/* Another file in its place is another database; one that cannot be read is an error that may pass. */
START_TEST(a_database_that_changes)
{
	struct kit k;
	char *path = xasprintf("%s/%s/people.db", here, dir), *next = xasprintf("%s/%s/next.db", here, dir);

	kit_init(&k,
	    "local people, want = gw.table 'people', 0\n"
	    "local seen = gw.cache { name = 'seen' }\n"
	    "gw.on('message', function(session, message) local row, err = people:get(message.from)\n"
	    "  if err then assert(err.kind == 'servfail' and err.temporary, err.kind) return gw.defer {} end\n"
	    "  return gw.hold { reason = row.dept } end, { name = 'x' })\n");
	start(&k, HOOK_MESSAGE, NULL);
	wait_for(&k, 1);
	ck_assert_msg(answer.reason != NULL && strcmp(answer.reason, "lab") == 0, "%s", fix_log);
	make_db("next.db", PEOPLE "update people set dept = 'new';");
	rename(next, path);
	for (unsigned i = 2; i < 6; i++) {	/* both threads */
		start(&k, HOOK_MESSAGE, NULL);
		wait_for(&k, i);
		ck_assert_msg(answer.reason != NULL && strcmp(answer.reason, "new") == 0, "%s", fix_log);
	}
	unlink(path);
	start(&k, HOOK_MESSAGE, NULL);
	wait_for(&k, 6);
	ck_assert_msg(answer.kind == VERDICT_DEFER && !answer.is_error, "%s", fix_log);
	kit_fini(&k);
	free(path);
	free(next);
}
END_TEST

/* The same file with other columns: a statement that was prepared before gives them their own names. */
START_TEST(a_schema_that_changes)
{
	struct kit k;

	make_db("people.db", "create table people (addr text, dept text, n int); create table t (a text, b text);"
	    "insert into t values ('1', '2');");
	kit_init(&k,
	    "local crm = gw.sql 'crm'\n"
	    "gw.on('message', function() local r = assert(crm:row 'select * from t')\n"
	    "  return gw.hold { reason = r.a .. r.b } end, { name = 'x' })\n");
	for (unsigned i = 1; i < 5; i++) {	/* both threads */
		start(&k, HOOK_MESSAGE, NULL);
		wait_for(&k, i);
	}
	ck_assert_msg(answer.reason != NULL && strcmp(answer.reason, "12") == 0, "%s", fix_log);
	change_db("people.db", "drop table t; create table t (b text, a text); insert into t values ('2', '1');");
	for (unsigned i = 5; i < 9; i++) {
		start(&k, HOOK_MESSAGE, NULL);
		wait_for(&k, i);
		ck_assert_msg(answer.reason != NULL && strcmp(answer.reason, "12") == 0, "%s, %s", answer.reason, fix_log);
	}
	kit_fini(&k);
}
END_TEST

/* What is wrong is found when the configuration is read. */
START_TEST(databases_that_do_not_load)
{
	static const struct { const char *more, *want; } cases[] = {
		{ "tables = { a = { sqlite = '%s/%s/people.db', query = 'select nope from people where addr = ?1' } },", "tables.a: " },
		{ "tables = { a = { sqlite = '%s/%s/people.db', query = 'select 1' } },", "the statement needs 1 parameter, ?1" },
		{ "tables = { a = { sqlite = '%s/%s/people.db', query = 'delete from people where addr = ?1' } },", "may only read" },
		{ "tables = { a = { sqlite = '%s/%s/none.db', query = 'select ?1' } },", "none.db: cannot be read: No such file" },
		{ "databases = { a = { file = '%s/%s/people.db' } },", "file is not a database" },
	};
	const char *before = fix_more;
	struct err err;

	for (size_t i = 0; i < NELEMS(cases); i++) {
		char *errors = NULL, *text, *more = xasprintf(cases[i].more, here, dir);
		char *file = xasprintf("%s/%s/gateway.lua", here, dir), *db;
		struct conf *c;
		FILE *f;

		if (i + 1 == NELEMS(cases)) {
			db = xasprintf("%s/%s/people.db", here, dir);
			f = fopen(db, "w");
			fputs("this is no database, but text that is long enough to look like one that is broken ........................", f);
			fclose(f);
			free(db);
		}
		text = xasprintf("return gw.config { identity = { hostname = 'a.example' }, %s }", more);
		f = fopen(file, "w");
		fputs(text, f);
		fclose(f);
		c = conf_load(file, false, &errors);
		ck_assert_msg(c != NULL, "%s", errors);
		ck_assert_ptr_null(data_read(c, &err));
		ck_assert_msg(strstr(err.text, cases[i].want) != NULL, "%s", err.text);
		conf_unref(c);
		unlink(file);
		free(file);
		free(text);
		free(more);
	}
	fix_more = before;
}
END_TEST

/* ---- gw.rate, gw.counter, gw.cache ---- */

START_TEST(rates_and_counters)
{
	struct node *node = node_new();
	struct kit k;
	const char *name;
	int64_t value;

	/* Loaded without services, the engine has a node of its own. */
	kit_init(&k,
	    "local rate = gw.rate { name = 'out', limit = '3/1h' }\n"
	    "local mine = gw.rate { name = 'mine', limit = '2/1h', scope = 'worker', kind = 'window', keys = 8 }\n"
	    "local n = gw.counter 'seen.mail'\n"
	    "assert(not pcall(rate.take, rate, 'x') and not pcall(n.add, n))\n"
	    "gw.on('message', function(session, message)\n"
	    "  assert(rate:left 'a' == 3 and rate:take 'a' == true and select('#', rate:take 'a') == 1 and rate:left 'a' == 1)\n"
	    "  local ok, after = rate:take('a', 2) assert(ok == false and after > 1100 and after <= 1200, after)\n"
	    "  assert(rate:take 'a' and not rate:take 'a' and rate:take 'b' and rate:take(message.from) and rate:take(1) and rate:take(true))\n"
	    "  assert(rate:left(message.from.text) == 2 and rate:left '1' == 2)\n"
	    "  rate:forget 'a' assert(rate:left 'a' == 3)\n"
	    "  assert(mine:take('a', 2) and not mine:take 'a' and mine.name == 'mine')\n"
	    "  assert(n:add() == 1 and n:add(41) == 42 and n.value == 42 and n.name == 'seen.mail')\n"
	    "  for _, bad in ipairs { function() rate:take() end, function() rate:take({}) end, function() rate:take('a', 0) end,\n"
	    "    function() rate:take('a', 4) end, function() rate.take('a') end, function() return rate.tke end,\n"
	    "    function() n:add(-1) end, function() gw.rate { name = 'late', limit = '1/1h' } end, function() gw.counter 'late' end,\n"
	    "    function() return n.vlaue end } do assert(not pcall(bad)) end\n"
	    "  return gw.hold {}\n"
	    "end, { name = 'x' })\n"
	    "for _, bad in ipairs { {}, { name = 'x' }, { name = 'X', limit = '1/1h' }, { name = 'x', limit = 'often' },\n"
	    "  { name = 'x', limit = '1/1h', scope = 'world' }, { name = 'x', limit = '1/1h', kind = 'leaky' },\n"
	    "  { name = 'x', limit = '1/1h', keys = 0 }, { name = 'x', limti = '1/1h' } } do assert(not pcall(gw.rate, bad)) end\n"
	    "local ok, why = pcall(gw.rate, { name = 'x', limit = '1/1h', scope = 'nodes' })\n"
	    "assert(why:find 'scope = \"nodes\" is none of node, worker; nearest: node', why)\n");
	start(&k, HOOK_MESSAGE, NULL);
	ck_assert_msg(answer.kind == VERDICT_HOLD, "%s", fix_log);
	kit_fini(&k);
	ck_assert(!counter_at(node, 0, &name, &value));		/* this one was not the engine's */
	node_unref(node);
}
END_TEST

static void
take_metric(void *arg, const char *name, const char *help, bool is_counter, const char *labels, double v)
{
	char *page = arg;
	size_t n = strlen(page);

	snprintf(page + n, 1000 - n, "%s|%s|%d|%s|%g\n", name, help, is_counter, labels == NULL ? "" : labels, v);
}

START_TEST(own_metrics)
{
	char page[1000] = "";
	struct kit k;

	kit_init(&k,
	    "local n = gw.metric { name = 'seen_total', help = 'Seen', labels = { 'domain', 'big' }, series = 3 }\n"
	    "local g = gw.metric { name = 'level', kind = 'gauge' }\n"
	    "assert(n.name == 'gw_metric_seen_total' and n.kind == 'counter' and g.kind == 'gauge')\n"
	    "assert(not pcall(n.add, n, 1, { domain = 'x', big = 1 }) and not pcall(g.set, g, 1))\n"
	    "gw.on('message', function(session, message)\n"
	    "  local d = message.from.domain\n"
	    "  assert(n:add(1, { domain = d, big = true }) == 1 and n:add(0.5, { domain = 'acme.example', big = 'true' }) == 1.5)\n"
	    "  assert(n:add(2, { domain = message.from, big = 7 }) == 2) g:set(-1.5) assert(g:add() == -0.5 and g:add(-1) == -1.5)\n"
	    "  for i = 1, 50 do n:add(1, { domain = 'x' .. i, big = false }) end\n"
	    "  for _, bad in ipairs { function() n:add(-1, { domain = 'a', big = 'b' }) end, function() n:add(1) end,\n"
	    "    function() n:add(1, { domain = 'a' }) end, function() n:add(1, { domain = 'a', big = 1, x = 1 }) end,\n"
	    "    function() n:add(1, { domain = {}, big = 1 }) end, function() n:set(1, { domain = 'a', big = 1 }) end,\n"
	    "    function() n:add(0/0, { domain = 'a', big = 1 }) end, function() g:set(math.huge) end, function() g:set() end,\n"
	    "    function() return n.vlaue end, function() gw.metric { name = 'late' } end, function() g:add('x') end,\n"
	    "    function() g:set(1, { a = 1 }) end } do assert(not pcall(bad)) end\n"
	    "  return gw.hold {}\n"
	    "end, { name = 'x' })\n"
	    "for says, bad in pairs { ['name'] = {}, ['1 to 50 letters'] = { name = 'A' }, ['none of counter'] = { name = 'x', kind = 'histogram' },\n"
	    "  ['at most 4'] = { name = 'x', labels = { 'a', 'b', 'c', 'd', 'e' } }, ['twice'] = { name = 'x', labels = { 'a', 'a' } },\n"
	    "  ['1 to 31'] = { name = 'x', labels = { 'a b' } }, ['series'] = { name = 'x', series = 1001 },\n"
	    "  ['there since the start as a gauge'] = { name = 'level' }, ['backslash'] = { name = 'x', help = '\\\\' } } do\n"
	    "  local ok, why = pcall(gw.metric, bad) assert(not ok and tostring(why):find(says, 1, true), says .. ': ' .. tostring(why)) end\n");
	start(&k, HOOK_MESSAGE, NULL);
	ck_assert_msg(answer.kind == VERDICT_HOLD, "%s", fix_log);
	metrics_each(node_metrics(k.f.p->own_node), take_metric, page);
	ck_assert_ptr_nonnull(strstr(page, "gw_metric_seen_total|Seen|1|domain=\"acme.example\",big=\"true\"|1.5\n"));
	ck_assert_ptr_nonnull(strstr(page, "|domain=\"ann@acme.example\",big=\"7\"|2\n"));
	ck_assert_ptr_nonnull(strstr(page, "|domain=\"_other\",big=\"_other\"|49\n"));
	ck_assert_ptr_nonnull(strstr(page, "gw_metric_level|A policy's own|0||-1.5\n"));
	kit_fini(&k);
}
END_TEST

/* Two generations in one engine, and two engines with one node. */
START_TEST(state_that_outlives_a_generation)
{
	static const char policy[] =
	    "local rate = gw.rate { name = 'out', limit = '3/1h' }\n"
	    "local c, n = gw.cache { name = 'c', schema = 'v1', ttl = '1h' }, gw.counter 'n'\n"
	    "gw.on('message', function() rate:take('k', 2) c:set('k', { a = { 1 } }) n:add(5) return gw.hold {} end, { name = 'x' })\n"
	    "gw.on('mail', function() assert(rate:left 'k' == 1 and n.value == 5)\n"
	    "  local v = c:get 'k' return gw.reject { reason = v and 'cached' or 'empty' } end, { name = 'y' })\n";
	struct policy_gen *next;
	struct verdict v;
	struct kit k;
	struct err err;

	kit_init(&k, policy);
	start(&k, HOOK_MESSAGE, NULL);
	ck_assert_msg(answer.kind == VERDICT_HOLD, "%s", fix_log);
	next = policy_gen_new(k.f.p, k.f.bundle, k.f.conf, &err);
	policy_gen_unref(k.f.g);
	k.f.g = next;
	fix_call(&k.f, HOOK_MAIL, &k.w, &v);
	ck_assert_msg(v.kind == VERDICT_REJECT && strcmp(v.reason, "cached") == 0, "%s", fix_log);
	verdict_fini(&v);
	kit_fini(&k);
}
END_TEST

START_TEST(caches)
{
	struct kit k;

	kit_init(&k,
	    "local c = gw.cache { name = 'c', schema = 1, capacity = 3, ttl = '1h' }\n"
	    "local same, other = gw.cache { name = 'c', schema = '1' }, gw.cache { name = 'c', schema = 2 }\n"
	    "assert(not pcall(c.get, c, 'x'))\n"
	    "gw.on('message', function(session, message)\n"
	    "  assert(c:get 'a' == nil and c:set('a', { x = { 1, 'y' } }) == true and c:set(1, 'one') and c:set(message.from, true))\n"
	    "  local v = c:get 'a' assert(v.x[2] == 'y' and #c == 3 and c.name == 'c') v.x = nil assert(c:get('a').x[1] == 1)\n"
	    "  assert(same:get 'a'.x[1] == 1 and other:get 'a' == nil and c:get(1) == 'one' and c:get '1' == nil)\n"
	    "  c:set('d', 4) assert(#c == 3 and c:get(message.from) == nil and c:get 'a' and c:get 'd' == 4)\n"	/* not used for longest */
	    "  assert(c:delete 'a' == true and c:delete 'a' == false and c:get 'a' == nil)\n"
	    "  c:set('t', 1, { ttl = 0.005 }) assert(c:get 't' == 1)\n"
	    "  local until_then = 0 gw.sleep(0.01) assert(c:get 't' == nil)\n"
	    "  for _, bad in ipairs { function() c:set('a', nil) end, function() c:set('a', print) end, function() c:set('a', ('x'):rep(17000)) end,\n"
	    "    function() c:get {} end, function() c:set('a', 1, { tll = 1 }) end, function() c:set('a', 1, { ttl = '40d' }) end,\n"
	    "    function() gw.cache { name = 'late' } end, function() return c.gte end } do assert(not pcall(bad)) end\n"
	    "  for i = 1, 2000 do same:set(i % 1500, ('x'):rep(10)) end assert(#same == 1000)\n"
	    "  return gw.hold {}\n"
	    "end, { name = 'x' })\n"
	    "for _, bad in ipairs { {}, { name = 'X' }, { name = 'x', capacity = 0 }, { name = 'x', ttl = '0s' }, { name = 'x', schma = 1 } } do\n"
	    "  assert(not pcall(gw.cache, bad)) end\n");
	start(&k, HOOK_MESSAGE, NULL);
	wait_for(&k, 1);
	ck_assert_msg(answer.kind == VERDICT_HOLD, "%s", fix_log);
	kit_fini(&k);
}
END_TEST

UNIT_MAIN("policy_sql",
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, bodies, 0, NELEMS(good));
    tcase_add_test(tc, what_ends_a_question);
    tcase_add_test(tc, many_questions);
    tcase_add_test(tc, a_database_that_changes);
    tcase_add_test(tc, a_schema_that_changes);
    tcase_add_test(tc, databases_that_do_not_load);
    tcase_add_test(tc, rates_and_counters);
    tcase_add_test(tc, own_metrics);
    tcase_add_test(tc, state_that_outlives_a_generation);
    tcase_add_test(tc, caches);
)
