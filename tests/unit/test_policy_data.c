/* What policies look up and count: gw.table. */
#include "policy_fixture.h"

#include "data/data.h"

static char dir[] = "policy-data-XXXXXX";
static char *here;

static char *
path_of(const char *name)
{
	return xasprintf("%s/%s/%s", here, dir, name);
}

static void
put(const char *name, const char *text)
{
	char *to = path_of(name), *next = xasprintf("%s.new", to);
	FILE *f = fopen(next, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(rename(next, to), 0);
	free(next);
	free(to);
}

static void
set_up(void)
{
	here = getcwd(NULL, 0);
	strcpy(dir, "policy-data-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	put("partners.csv", "domain,level,names,until,note\n"
	    "*.clinic.example,verify,a.example b.example,2027-06-30,\n"
	    "x.example,secure,,,by hand\n");
	put("people.json", "{ \"ann@acme.example\": { \"dept\": \"lab\", \"nice\": true, \"more\": { \"a\": [1, 2] } },\n"
	    "  \"bob@acme.example\": { \"dept\": \"lab\", \"n\": 7 } }");
	put("watched.csv", "k,v\na,1\n");
	fix_more = xasprintf("tables = {\n"
	    "  partners = { csv = '%s/%s/partners.csv', key = 'domain', index = { 'level' }, columns = {\n"
	    "    domain = 'pattern', level = 'level', names = 'list', ['until'] = 'date' } },\n"
	    "  people = { json = '%s/%s/people.json', key = 'who', index = 'dept' },\n"
	    "  watched = { csv = '%s/%s/watched.csv', reload = 'watch' } },\n", here, dir, here, dir, here, dir);
}

static void
tear_down(void)
{
	static const char *const names[] = { "partners.csv", "people.json", "watched.csv" };

	for (size_t i = 0; i < NELEMS(names); i++) {
		char *path = path_of(names[i]);

		unlink(path);
		free(path);
	}
	rmdir(dir);
	free(here);
	free((char *)fix_more);
	fix_more = "";
}

/* A policy whose message handler says gw.hold when its assertions hold. */
static void
holds(struct fix *f, struct world *w, enum policy_hook hook)
{
	struct verdict v;

	fix_call(f, hook, w, &v);
	ck_assert_msg(v.kind == VERDICT_HOLD, "%s", fix_log);
	verdict_fini(&v);
}

START_TEST(tables_in_handlers)
{
	struct fix f;
	struct world w;

	fix_load(&f,
	    "local partners, people = gw.table 'partners', gw.table 'people'\n"
	    "local at_load = {} for row in partners:each() do at_load[#at_load + 1] = row.level end\n"
	    "assert(#at_load == 2 and partners:get('x.example').note == 'by hand')\n"
	    "gw.on('message', function(session, message)\n"
	    "  assert(#at_load == 2 and #partners == 2 and partners.name == 'partners' and partners.version == 1)\n"
	    "  assert(#partners.hash == 64)\n"
	    "  local row = partners:get(gw.domain 'mx.clinic.example')\n"
	    "  assert(row.level == 'verify' and #row.names == 2 and row.names[2] == 'b.example' and row['until'] == 1814399999)\n"
	    "  assert(row.note == nil and row.domain == '*.clinic.example')\n"
	    "  local ok, why = pcall(function() return row.nmes end)\n"
	    "  assert(not ok and why:find \"a row has no field 'nmes' %(did you mean 'names'%?%)\", why)\n"
	    "  assert(partners:get 'clinic.example' == nil and select('#', partners:get 'none') == 1)\n"
	    "  row.level = 'may' assert(partners:get('a.clinic.example').level == 'verify')\n"	/* a row is one's own */
	    "  assert(partners:get('X.EXAMPLE').level == 'secure' and partners:get('x.example').names == nil)\n"
	    "  local t = people:find('dept', 'lab') assert(#t == 2 and t[1].who == 'ann@acme.example' and t[2].n == 7)\n"
	    "  assert(t[1].nice == true and t[1].more.a[2] == 2 and t[1].n == nil and #people:find('dept', 'x') == 0)\n"
	    "  assert(people:get(message.from).dept == 'lab' and people:get(gw.address 'bob@ACME.example').n == 7)\n"
	    "  assert(gw.json.encode(partners:get 'x.example') == '{\"domain\":\"x.example\",\"level\":\"secure\",\"note\":\"by hand\"}')\n"
	    "  local n = 0 for r in people:each() do n = n + 1 for k in pairs(r) do assert(k ~= 'hidden') end end assert(n == 2)\n"
	    "  for _, bad in ipairs { function() partners:get() end, function() partners:get(nil) end, function() partners:get {} end,\n"
	    "    function() partners.get('x') end, function() return partners.versoin end, function() partners:find('note', 'x') end,\n"
	    "    function() partners:find('nope', 'x') end, function() partners.version = 2 end, function() gw.table 'partner' end,\n"
	    "    function() getmetatable(row).__index = nil end } do assert(not pcall(bad)) end\n"
	    "  ok, why = pcall(partners.find, partners, 'note', 'x') assert(why:find 'name it in tables.partners.index', why)\n"
	    "  ok, why = pcall(gw.table, 'partner') assert(why:find \"no table 'partner' %(did you mean 'partners'%?%)\", why)\n"
	    "  return gw.hold {}\n"
	    "end, { name = 'x' })\n");
	world_init(&w);
	holds(&f, &w, HOOK_MESSAGE);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

START_TEST(tables_that_change)
{
	struct data *d;
	struct fix f;
	struct world w;

	fix_load(&f,
	    "local t, it, n = gw.table 'watched', nil, 0\n"
	    "local ok, why = pcall(t.get, t, 'a') assert(not ok and why:find 'may change', why)\n"
	    "gw.on('message', function() assert(t.version == 1 and t:get('a').v == '1') it = t:each() return gw.hold {} end, { name = 'x' })\n"
	    "gw.on('mail', function() assert(t.version == 2 and t:get('a').v == '2' and t:get('b').w == 'new')\n"
	    "  assert(it().v == '1' and it() == nil)\n"	/* what was begun goes on with the old rows */
	    "  return gw.defer {} end, { name = 'y' })\n");
	world_init(&w);
	holds(&f, &w, HOOK_MESSAGE);
	put("watched.csv", "k,v,w\na,2,\nb,3,new\n");
	d = policy_bundle_data(f.bundle);
	data_look(d);
	data_look(d);
	struct verdict v;
	fix_call(&f, HOOK_MAIL, &w, &v);
	ck_assert_msg(v.kind == VERDICT_DEFER && !v.is_error, "%s", fix_log);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

/* A loop over a large table, and rows without end, stop at the handler's limits. */
START_TEST(tables_are_charged)
{
	struct verdict v;
	struct fix f;
	struct world w;

	fix_load(&f,
	    "local t = gw.table 'people'\n"
	    "gw.on('message', function() while true do t:find('dept', 'lab') end end, { name = 'x' })\n"
	    "gw.on('mail', function() local all = {} while true do all[#all + 1] = t:get 'ann@acme.example' end end, { name = 'y' })\n");
	world_init(&w);
	fix_call(&f, HOOK_MESSAGE, &w, &v);
	ck_assert_msg(v.is_error && strstr(fix_log, "limit.") != NULL, "%s", fix_log);
	verdict_fini(&v);
	fix_call(&f, HOOK_MAIL, &w, &v);
	ck_assert(v.is_error);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

/* What is wrong with a file is said when the bundle is read; a table that is not there when it is loaded. */
START_TEST(tables_that_do_not_load)
{
	struct err err = { "" };
	struct fix f;
	bool ok = fix_try(&f, "gw.table 'partnrs'");

	ck_assert(!ok);
	ck_assert_ptr_nonnull(strstr(f.err.text, "policy.lua:1: gw.table: the configuration has no table 'partnrs' (did you mean 'partners'?)"));
	put("partners.csv", "domain,level,names,until,note\nx.example,verfy,,,\n");
	ck_assert_ptr_null(data_read(f.conf, &err));
	ck_assert_msg(strstr(err.text, "partners.csv:2: column \"level\": \"verfy\" is none of may") != NULL, "%s", err.text);
	fix_fini(&f);
}
END_TEST

UNIT_MAIN("policy_data",
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, tables_in_handlers);
    tcase_add_test(tc, tables_that_change);
    tcase_add_test(tc, tables_are_charged);
    tcase_add_test(tc, tables_that_do_not_load);
)
