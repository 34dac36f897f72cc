/* The specification of the API (api/) and a living state: what is registered stands in the one, and what
 * stands there is registered. Then what the checks of arguments say. */
#include "policy_fixture.h"

#include "policy/api.h"
#include "policy/objects.h"

#define NAMES_MAX 2000

static char *found[NAMES_MAX];
static size_t nfound;

static void
find(const char *prefix, const char *sep, const char *name)
{
	ck_assert(nfound < NAMES_MAX);
	found[nfound++] = xasprintf("%s%s%s", prefix, sep, name);
}

/* Of the table on top, frozen or not, which is popped. */
static void
find_in(lua_State *L, const char *prefix, bool deep)
{
	luaL_checkstack(L, 8, "walk");
	if (policy_push_shadow(L, -1))
		lua_remove(L, -2);
	lua_pushnil(L);
	while (lua_next(L, -2) != 0) {
		const char *name = lua_tostring(L, -2);

		ck_assert_int_eq(lua_type(L, -2), LUA_TSTRING);
		if (deep && lua_type(L, -1) == LUA_TTABLE) {
			char *path = xasprintf("%s.%s", prefix, name);

			find_in(L, path, true);
			free(path);
			continue;
		}
		find(prefix, ".", name);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void
find_objects(void)
{
	for (unsigned kind = 0; kind < OBJ_LIMIT; kind++) {
		const struct obj_class *c = obj_class_at(kind);

		for (const struct obj_field *f = c == NULL ? NULL : c->fields; f != NULL && f->name != NULL; f++)
			find(c->what, ":", f->name);
	}
}

/* The members of a userdata type whose metatable is on top: see policy_type_members. */
static void
find_members(lua_State *L, const char *name)
{
	int t = lua_getfield(L, -1, "__index");

	if (t == LUA_TFUNCTION) {
		ck_assert_msg(lua_getupvalue(L, -1, 1) != NULL && lua_type(L, -1) == LUA_TTABLE,
		    "%s: nobody can say which fields it has: use policy_type_members", name);
		lua_pushnil(L);
		while (lua_next(L, -2) != 0) {
			find(name, ":", lua_tostring(L, -2));
			lua_pop(L, 1);
		}
		lua_pop(L, 1);
		if (lua_getupvalue(L, -1, 2) != NULL && lua_type(L, -1) == LUA_TLIGHTUSERDATA) {
			const struct policy_type *type = lua_touserdata(L, -1);

			for (size_t i = 0; type->fields != NULL && type->fields[i] != NULL; i++)
				find(name, ":", type->fields[i]);
		}
	} else if (t == LUA_TTABLE) {
		lua_pushnil(L);
		while (lua_next(L, -2) != 0) {
			find(name, ":", lua_tostring(L, -2));
			lua_pop(L, 1);
		}
	}
}

static void
find_types(lua_State *L)
{
	int top = lua_gettop(L);

	lua_pushnil(L);
	while (lua_next(L, LUA_REGISTRYINDEX) != 0) {
		int at = lua_gettop(L);

		if (lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TTABLE &&
		    strncmp(lua_tostring(L, -2), "gw.", 3) == 0) {
			find_members(L, lua_tostring(L, at - 1));
			lua_settop(L, at);
		}
		lua_settop(L, at - 1);
	}
	lua_settop(L, top);
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

START_TEST(same_as_registered)
{
	const char *srcdir = getenv("srcdir");
	char *libdir;
	struct fix f;
	struct buf wrong;
	size_t i = 0, k = 0;

	libdir = xasprintf("%s/lua", srcdir == NULL ? "." : srcdir);
	fix_libdir = libdir;
	fix_load(&f, "");
	nfound = 0;
	lua_getglobal(f.g->L, "gw");
	find_in(f.g->L, "gw", true);
	lua_pushglobaltable(f.g->L);
	find_in(f.g->L, "_G", false);
	static const char *const libs[] = { "string", "table", "math", "utf8", "os", "coroutine" };
	for (size_t n = 0; n < NELEMS(libs); n++) {
		lua_getglobal(f.g->L, libs[n]);
		find_in(f.g->L, libs[n], false);
	}
	find_objects();
	find_types(f.g->L);
	qsort(found, nfound, sizeof *found, by_text);
	buf_init(&wrong, 65536);
	while (i < nfound || policy_api_names[k] != NULL) {
		int d = i == nfound ? 1 : policy_api_names[k] == NULL ? -1 : strcmp(found[i], policy_api_names[k]);

		if (d < 0 && strcmp(found[i], "_G.gw") != 0)
			buf_printf(&wrong, "\n  %s is registered and not in api/: add an entry (doc/tour.md, section 5)",
			    found[i]);
		if (d > 0)
			buf_printf(&wrong, "\n  %s is in api/ and not registered", policy_api_names[k]);
		k += d >= 0;
		/* Kinds that share a class name their fields more than once. */
		for (size_t was = i; d <= 0 && i < nfound && strcmp(found[i], found[was]) == 0;)
			i++;
	}
	ck_assert_msg(wrong.len == 0, "%s", buf_peek(&wrong));
	ck_assert(i > 250);
	for (i = 0; i < nfound; i++)
		free(found[i]);
	buf_fini(&wrong);
	fix_fini(&f);
	fix_libdir = NULL;
	free(libdir);
}
END_TEST

static bool
is_checked(lua_State *L, const struct api_fn *f)
{
	const char *p = strchr(f->owner, '.');

	if (f->is_method)
		return true;
	lua_getglobal(L, "gw");
	for (; p != NULL; p = strchr(p + 1, '.')) {
		lua_pushlstring(L, p + 1, strcspn(p + 1, "."));
		lua_gettable(L, -2);
	}
	lua_getfield(L, -1, f->name);
	return lua_tocfunction(L, -1) == f->call;
}

START_TEST(all_have_their_check)
{
	struct fix f;

	fix_load(&f, "");
	for (size_t i = 0; i < policy_api_count; i++) {
		ck_assert_msg(is_checked(f.g->L, &policy_api[i]), "%s", policy_api[i].shown);
		ck_assert_msg(policy_api_real[i] != NULL, "%s", policy_api[i].shown);
		lua_settop(f.g->L, 0);
	}
	fix_fini(&f);
}
END_TEST

static const struct {
	const char *text, *error;	/* of a handler of `message` */
} wrong_calls[] = {
	{ "gw.kv(nil)", "policy.lua:2: bad argument #1 to gw.kv (string expected, got nil)" },
	{ "gw.kv()", "bad argument #1 to gw.kv (string expected, got no value)" },
	{ "gw.kv({})", "bad argument #1 to gw.kv (string expected, got table)" },
	{ "gw.address(message)", "bad argument #1 to gw.address (string expected, got an object)" },
	{ "gw.dns.mx(true)", "bad argument #1 to gw.dns.mx (string or domain expected, got boolean)" },
	{ "gw.dns.mx('x.example', { timout = 1 })", "gw.dns.mx has no field 'timout' (did you mean 'timeout'?)" },
	{ "gw.json.decode()", "bad argument #1 to gw.json.decode" },
	{ "gw.set(print)", "bad argument #1 to gw.set (table expected, got function)" },
	{ "gw.sleep({})", "bad argument #1 to gw.sleep (number expected, got table)" },
	{ "gw.reject { txt = 'no' }", "gw.reject has no field 'txt' (did you mean 'text'?)" },
	{ "gw.action.reject { txt = 'no' }", "gw.reject has no field 'txt' (did you mean 'text'?)" },
	{ "gw.reject('no')", "bad argument #1 to gw.reject (table expected, got string)" },
	{ "message:header()", "policy.lua:2: bad argument #1 to message:header (string expected, got no value)" },
	{ "message:header('Subject', {})", "bad argument #2 to message:header (number expected, got table)" },
	{ "message.header('Subject')", "a method is called with ':'" },
	{ "message:require_tls { levl = 'may', reason = 'r' }",
	  "message:require_tls has no field 'levl' (did you mean 'level'?)" },
	{ "message:require_tls('verify')", "bad argument #1 to message:require_tls (table expected, got string)" },
	{ "message:remove_recipient('x@y.example')", "bad argument #1 to message:remove_recipient (rcpt expected, got string)" },
	{ "message.recipients[1].domain:under(nil)", "bad argument #1 to domain:under (string or domain expected, got nil)" },
	{ "gw.set{'a'}:has({})", "bad argument #1 to set:has (string or address or domain expected, got table)" },
	{ "gw.kv('a'):get({})", "bad argument #1 to kv:get (string expected, got table)" },
	{ "gw.kv('a'):set('k', 1, { tll = 1 })", "kv:set has no field 'tll' (did you mean 'ttl'?)" },
	{ "session:note(nil)", "bad argument #1 to session:note (string expected, got nil)" },
	{ "return message.from.txt", "address has no field 'txt' (did you mean 'text'?)" },
	{ "return message.recipients[1].domain.undr", "domain has no field 'undr' (did you mean 'under'?)" },
	{ "return gw.reject{}.cod", "verdict has no field 'cod' (did you mean 'code'?)" },
};

START_TEST(says_what_is_wrong)
{
	char *text = xasprintf("gw.on('message', function(session, message)\n%s\nend, { name = 'x' })",
	    wrong_calls[_i].text);
	struct fix f;
	struct world w;
	struct verdict v;

	fix_load(&f, text);
	world_init(&w);
	fix_call(&f, HOOK_MESSAGE, &w, &v);
	ck_assert(v.is_error);
	ck_assert_msg(strstr(fix_log, wrong_calls[_i].error) != NULL, "%s\nnot in:\n%s", wrong_calls[_i].error, fix_log);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
	free(text);
}
END_TEST

static const struct {
	const char *text, *error;	/* of a file */
} wrong_files[] = {
	{ "gw.match.listener(nil)", "policy.lua:1: bad argument #1 to gw.match.listener (string or table" },
	{ "gw.domains('a.example', print)", "bad argument #2 to gw.domains (string or table or set or address or domain "
	  "expected, got function)" },
	{ "gw.match.time { form = '08:00' }", "gw.match.time has no field 'form' (did you mean 'from'?)" },
	{ "gw.match['not']('x')", "bad argument #1 to gw.match.no (matcher or table expected, got string)" },
	{ "gw.action.tag()", "bad argument #1 to gw.action.tag (string expected, got no value)" },
	{ "gw.memo('x', {})", "bad argument #1 to gw.memo (function expected, got string)" },
	{ "gw.memo(print, { name = 'x', tll = 1 })", "gw.memo has no field 'tll' (did you mean 'ttl'?)" },
};

START_TEST(says_what_is_wrong_in_a_file)
{
	struct fix f;

	ck_assert(!fix_try(&f, wrong_files[_i].text));
	ck_assert_msg(strstr(f.err.text, wrong_files[_i].error) != NULL, "%s\nnot in: %s", wrong_files[_i].error, f.err.text);
	fix_fini(&f);
}
END_TEST

START_TEST(helps)
{
	struct fix f;
	const char *near;

	fix_load(&f, "assert(gw.help('gw.kv'):find('A store of values', 1, true))\n"
	    "assert(gw.help('kv'):find('A store of values', 1, true))\n"
	    "assert(gw.help():find('gw.help', 1, true))\n"
	    "assert(gw.help('message'):find('require_tls', 1, true))\n"
	    "assert(gw.help('message:header'):find('decoded', 1, true))\n"
	    "assert(gw.help('message.vars'):find('may be written', 1, true))\n"
	    "assert(gw.help('hook rcpt'):find('relay check', 1, true))\n"
	    "assert(gw.help('gw.reject'):find('Permanent error', 1, true))\n"
	    "local text, why = gw.help('gw.kw')\n"
	    "assert(text == nil and why:find(\"did you mean 'gw.kv'\", 1, true), why)");
	for (size_t i = 0; i < policy_api_text_count; i++)
		ck_assert_ptr_eq(policy_api_help(policy_api_texts[i].name, &near), policy_api_texts[i].text);
	fix_fini(&f);
}
END_TEST

UNIT_MAIN("policy_api",
	tcase_add_test(tc, same_as_registered);
	tcase_add_test(tc, all_have_their_check);
	tcase_add_loop_test(tc, says_what_is_wrong, 0, NELEMS(wrong_calls));
	tcase_add_loop_test(tc, says_what_is_wrong_in_a_file, 0, NELEMS(wrong_files));
	tcase_add_test(tc, helps);
)
