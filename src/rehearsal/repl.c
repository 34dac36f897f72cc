/* policy repl: the sandbox of tests, line by line. `t` is gw.test, `env` a world with the bundle in it. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rehearsal/lua_int.h"

static int
repl_print(lua_State *L)
{
	int n = lua_gettop(L);

	for (int i = 1; i <= n; i++) {
		if (lua_type(L, i) == LUA_TSTRING) {
			printf("%s%s", i == 1 ? "" : "\t", lua_tostring(L, i));
			continue;
		}
		push_shown(L, i);
		printf("%s%s", i == 1 ? "" : "\t", lua_tostring(L, -1));
		lua_pop(L, 1);
	}
	putchar('\n');
	return 0;
}

/* Like a test that is never over. */
static int
open_repl(lua_State *L)
{
	test_open(L);
	lua_pushglobaltable(L);
	lua_pushliteral(L, "print");
	lua_pushcfunction(L, repl_print);
	lua_rawset(L, -3);
	lua_getfield(L, -1, "gw");
	lua_getfield(L, -1, "test");
	lua_pushliteral(L, "t");
	lua_pushvalue(L, -2);
	lua_rawset(L, -5);
	lua_pushliteral(L, "env");
	lua_getfield(L, -2, "env");
	lua_newtable(L);
	lua_call(L, 1, 1);
	lua_rawset(L, -5);
	return 0;
}

/* As an expression if it is one. */
static int
compile(lua_State *L, const char *line)
{
	char *text = xasprintf("return %s", line);
	int rc = luaL_loadbufferx(L, text, strlen(text), "=input", "t");

	free(text);
	if (rc == LUA_OK)
		return rc;
	lua_pop(L, 1);
	return luaL_loadbufferx(L, line, strlen(line), "=input", "t");
}

static bool
is_unfinished(lua_State *L)
{
	const char *s = lua_tostring(L, -1);
	size_t n = s == NULL ? 0 : strlen(s);

	return n > 5 && strcmp(s + n - 5, "<eof>") == 0;
}

static void
tell_missing(void)
{
	struct book *b = runner->env == NULL || runner->env->w == NULL ? NULL : world_book(runner->env->w);

	if (b == NULL || book_missing(b) == NULL)
		return;
	printf("%s\n", book_missing(b));
	book_missing_clear(b);
}

static void
evaluate(lua_State *L, struct buf *input)
{
	int base = lua_gettop(L), rc;

	buf_addc(input, '\0');
	rc = compile(L, buf_peek(input));
	input->len--;
	if (rc != LUA_OK && is_unfinished(L)) {
		lua_settop(L, base);
		return;		/* more lines have to come */
	}
	buf_clear(input);
	policy_run_reset_handler(policy_run_of(L));
	if (rc != LUA_OK || lua_pcall(L, 0, LUA_MULTRET, 0) != LUA_OK) {
		printf("%s\n", luaL_tolstring(L, -1, NULL));
	} else if (lua_gettop(L) > base) {
		for (int i = base + 1; i <= lua_gettop(L); i++) {
			push_shown(L, i);
			printf("%s%s", i == base + 1 ? "" : "\t", lua_tostring(L, -1));
			lua_pop(L, 1);
		}
		putchar('\n');
	}
	lua_settop(L, base);
	tell_missing();
}

int
rehearsal_repl(const struct test_conf *tc)
{
	struct runner r = { .tc = tc };
	bool asks = isatty(0);
	struct policy_gen *g = NULL;
	struct err err = { "" };
	struct buf input;
	char line[4096];
	int rc = 1;

	runner = &r;
	buf_init(&input, 1u << 20);
	if (runner_prepare(&r) && (g = policy_gen_bare(r.policy, r.bundle, r.conf, &err)) != NULL) {
		lua_pushcfunction(g->L, open_repl);
		rc = lua_pcall(g->L, 0, 0, 0) == LUA_OK ? 0 : 1;
		if (rc != 0)
			fprintf(stderr, "%s\n", luaL_tolstring(g->L, -1, NULL));
	} else if (err.text[0] != '\0') {
		fprintf(stderr, "%s\n", err.text);
	}
	while (rc == 0) {
		if (asks)
			fputs(input.len > 0 ? ">> " : "> ", stdout);
		fflush(stdout);
		if (fgets(line, sizeof line, stdin) == NULL)
			break;
		buf_adds(&input, line);
		evaluate(g->L, &input);
	}
	buf_fini(&input);
	env_close(r.env);
	policy_gen_unref(g);
	runner_finish(&r);
	return rc;
}
