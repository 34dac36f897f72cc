/* gw.test: what the tests of a bundle see. */
#ifndef REHEARSAL_LUA_INT_H
#define REHEARSAL_LUA_INT_H

#include "policy/policy_int.h"
#include "policy/trace.h"
#include "rehearsal/rehearsal.h"
#include "rehearsal/world_int.h"

#define ENV_MT "test.env"
#define SQL_PROXY_MT "test.sql"		/* env.sql */

struct env {
	struct world *w;		/* NULL: another has taken its place */
	size_t first_seen;		/* of this test */
};
struct result {
	char *file, *name;
	char *why;			/* NULL: passed */
	double seconds;
};
struct runner {
	const struct test_conf *tc;
	struct conf *conf;
	struct policy_bundle *bundle;
	struct policy *policy;		/* of the tests' own states */
	struct event_base *base;
	struct result *results;
	size_t nresults;
	size_t wanted, seen, total;	/* which `it` runs in this pass */
	bool total_known, ran;
	char prefix[512];
	const char *file;
	struct env *env;		/* the one that is alive */
	struct cover *cover;
	struct bench *bench;		/* NULL: nothing is measured just now */
	bool counts;			/* instructions, in this round */
};
extern struct runner *runner;
/* ---- cover.c: what tests reached ---- */
struct cover *cover_new(const struct policy_bundle *b);
void cover_free(struct cover *c);
policy_line_fn cover_line;
void cover_take(struct cover *c, const struct policy_gen *g);	/* how often its handlers ran */
/* Prints, as comments of TAP if `tap`. Percent of lines that were reached. */
double cover_print(const struct cover *c, bool tap);

/* ---- bench.c: what handlers cost ---- */
struct bench;
extern const struct trace_ops bench_ops;	/* for a world_conf; their owner is the bench */
struct bench *bench_new(void);
void bench_free(struct bench *b);
/* What comes now is a round that counts instructions, or one of those that measure. */
void bench_round(struct bench *b, bool counts);
void bench_print(struct bench *b, unsigned rounds, bool tap);	/* `rounds`: that measured */

/* gw.test in gw. A C function for Lua. */
int test_open(lua_State *L);
bool runner_prepare(struct runner *r);		/* prints why not */
void runner_finish(struct runner *r);
/* Raises unless the env at `arg` is alive. */
struct env *check_env(lua_State *L, int arg);
void env_close(struct env *e);
/* Functions of gw.test, in the table on top. */
void test_assert_open(lua_State *L);
void test_env_open(lua_State *L);
void test_mail_open(lua_State *L);		/* metatables only */
void test_sql_open(lua_State *L);
struct env *check_proxy(lua_State *L, const char *mt, const char *call);
void proxy_mt(lua_State *L, const char *name, const luaL_Reg *fns);
int env_call(lua_State *L);
int env_session(lua_State *L);
int env_peer(lua_State *L);
int env_notices(lua_State *L);
/* "tests/a_test.lua:12: " of the test's own code. */
void push_where(lua_State *L);
/* A value as a person would write it, pushed. */
void push_shown(lua_State *L, int idx);
void push_json(lua_State *L, const json_t *j);
/* "encrypt[admin,dane] propagate[sender]" as { "encrypt", "propagate", encrypt = "admin,dane", ... } */
void push_duties(lua_State *L, const char *text);
/* env:session's tls, at t */
void take_client_tls(lua_State *L, int t, struct tls_info *info);
/* A message from the fields headers, body or raw of the table at t, lines by CR LF. */
void put_message(lua_State *L, int t, struct buf *out, const char *from, const char *to, int64_t now_ms);
void push_reply(lua_State *L, const struct guest_reply *r);
/* Lua text of the value at idx, for the configuration; raises. */
void put_lua(lua_State *L, int idx, struct buf *out, int depth);
#endif
