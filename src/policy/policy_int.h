/* What the files of policy/ share.
 *
 * One struct policy_gen is one Lua state. One struct policy_run is one policy_call: it owns a
 * pooled coroutine, on which the Lua handlers of the chain run one after the other. Every C
 * function that Lua calls finds its run with policy_run_of(L): the extra space of each state and
 * coroutine points to it. (A coroutine that Lua made would inherit the main state's pointer, so
 * the sandbox has its own library for them, corolib.c.)
 *
 * What the event loop resumes is a fiber: the run's own coroutine, or one of those on which the
 * functions of gw.all and the like run. Only a fiber waits, for one thing at a time; coroutines
 * that a policy makes run inside a fiber, and what waits in them makes the whole fiber wait.
 *
 * P1: no Lua API call that can raise is made outside a protected call: on a run's coroutine below
 *     lua_resume, on the main state below lua_pcall.
 * P2: a kill (limit, cancel) is sticky: policy_run.killed stays set, pcall raises again, the hook
 *     fires at every instruction until the coroutine is gone.
 * P3: a handle is a light userdata of (epoch, kind, index). It costs no allocation, and is stale
 *     as soon as its run's epoch has passed; C memory is only ever reached through run->s.
 * P4: duties are changed through policy_owe alone, which joins.
 * P5: what a fiber waits for is a struct policy_wait. Whatever ends the wait, an answer, its time,
 *     the handler's end or the engine's, `stop` is called or the answer came, exactly one of both;
 *     an answer that comes by mail finds its wait by number, or finds it gone (and is counted). */
#ifndef POLICY_POLICY_INT_H
#define POLICY_POLICY_INT_H

#include <jansson.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "policy/policy.h"
#include "policy/trace.h"
#include "policy/view.h"

#define FINI_MS 5000		/* all of a generation's fini handlers together */

struct event;
struct matcher;		/* match.c: a compiled matcher, immutable */
struct rule;		/* rule.c: the actions of one gw.rule */

/* ---- Handlers ---- */
struct handler {
	char name[64];
	char where[96];			/* "policy.lua:15" */
	enum policy_hook hook;
	int level;			/* POLICY_ADVISORY ... after overrides */
	int priority;			/* -100..100, higher runs first */
	unsigned order;			/* of registration */
	bool observe;
	int64_t wall_ms;		/* 0: the configuration's */
	int fn_ref;			/* registry; LUA_NOREF for a rule */
	const struct matcher *when;	/* NULL: always */
	int when_ref;			/* keeps it alive; LUA_NOREF */
	struct rule *rule;		/* NULL for a Lua handler; freed with policy_rule_free */
	uint64_t calls, hits, errors;	/* hits: `when` held. policy_index_settle before calls is read */
	struct handler_count *count;	/* the engine's, of all with this hook and name */
	int64_t slow_ms;		/* mono: when its slowness was logged last; 0 never */
};
struct chain_index;	/* index.c */
struct chain {
	struct handler **v;		/* normal and advisory first, then mandatory */
	size_t n;
	struct chain_index *index;	/* NULL: each is asked */
};

/* ---- gw.every (timers.c) ---- */
struct policy_timer {
	struct policy_gen *gen;
	struct handler *h;
	int64_t interval_ms, jitter_ms;
	bool is_node;			/* in the first worker only */
	struct event *ev;		/* NULL: not running, not to run again */
	int64_t due_ms;			/* mono, without jitter */
	uint64_t missed;		/* ticks left out before this one */
	uint64_t ticket;		/* of a run that waits */
	uint64_t errors_before;
	unsigned failures;		/* in a row */
	struct policy_subject s;
};
void policy_timers_start(struct policy_gen *g);
void policy_timers_stop(struct policy_gen *g, bool at_once);	/* at_once: what runs is ended, too */
void policy_timers_free(struct policy_gen *g);
/* How long until the tick after so many failures in a row. */
int64_t policy_timer_step(int64_t interval_ms, unsigned failures);
int policy_every(lua_State *L);			/* gw.every */

/* ---- A generation ---- */
enum { ALLOC_FREE = -1 };
struct policy_gen {
	int refs;			/* one thread */
	struct policy *policy;
	struct policy_bundle *bundle;
	struct conf *conf;
	lua_State *L;
	bool loading;			/* gw.on and gw.rule are open */
	bool closed;			/* no engine any more: runs are gone */
	bool wants_parts;		/* a matcher is about the parts of a message */
	struct chain chains[HOOKS];
	struct handler **handlers;	/* all, in order of registration; owned */
	size_t nhandlers;
	uint64_t epoch;			/* of the newest run */
	size_t mem_used, mem_cap;	/* octets; cap of the slice that runs now */
	size_t mem_bulk;		/* large blocks since the CPU time was last looked at */
	struct policy_run *load_run;	/* the main state's run: no hook, no subject */
	struct policy_run *pool;	/* finished runs with clean coroutines */
	size_t npool;
	struct policy_run *current;	/* whose slice runs now; NULL */
	lua_State *running;		/* the coroutine that runs in it */
	/* Of the handler whose slice runs now, so that those that wait need not hold them: */
	uint64_t slice_ns, slice_cpu_ns;	/* when the slice began, read at its first hook; 0 not yet */
	uint64_t seen_ns;		/* the clock at the last hook */
	size_t mem_base;		/* mem_used when the slice began */
	int64_t now_ms;			/* gw.now; 0 not yet read */
	struct err err;			/* why it failed */
	struct verdict hv;		/* what it returned */
	struct policy_fiber *fibers;	/* finished ones with clean coroutines */
	size_t nfibers;
	uint64_t turns;
	struct buf *problems;		/* policy_check: collect instead of stopping at the first */
	int errors;			/* in `problems` */
	uint64_t instructions_max, steps_max;	/* for each handler */

	struct policy_timer **timers;	/* gw.every; owned */
	size_t ntimers;

	/* life.c */
	bool is_ready;			/* init is through: fini is due at the end */
	bool was_active, was_retired, fini_begun;
	struct policy_subject life;	/* what init and fini look at */
	uint64_t life_ticket;		/* of the one that waits */
	policy_inited *inited;
	void *inited_owner;
	struct event *fini_timer;	/* it begins; then: it takes too long */
	const struct policy_watch *watch;	/* NULL */
	void *watcher;
};

/* ---- One call ---- */
enum policy_kill {
	KILL_NONE, KILL_INSTRUCTIONS, KILL_CPU, KILL_WALL, KILL_MEMORY, KILL_STEPS, KILL_CANCEL
};
const char *policy_kill_name(enum policy_kill k);	/* "limit.instructions" */

/* FREE -> RUNNING -> (WAITING -> RUNNING)* -> DEAD -> FREE; WAITING -> DEAD when it is cancelled.
 * fiber.c alone changes the state. DEAD: what it returned or raised lies on its stack. */
enum fiber_state { FIBER_FREE, FIBER_RUNNING, FIBER_WAITING, FIBER_DEAD };
struct policy_wait {		/* the first member of what waits for something in particular */
	struct policy_fiber *fiber;
	uint64_t ticket;		/* in policy->waits; 0 before policy_wait_begin and after the end */
	void (*stop)(struct policy_wait *w);	/* no answer may come any more; may be NULL */
	struct event *timer;		/* NULL: only the handler's own time counts */
	bool timed_out;			/* `stop` has been called then */
	bool counted;			/* one of those that a handler may have IN_FLIGHT_MAX of */
	const char *kind;		/* policy_wait_name; NULL for gw.all and the like */
	char *key;			/* and the question, for the journal; NULL */
	unsigned traced;		/* 1 + its place in the record; 0: none */
};
struct policy_group;		/* await_group.c */
struct policy_fiber {
	struct policy_run *run;
	lua_State *co;			/* NULL until it is needed */
	int co_ref;
	enum fiber_state state;
	struct policy_wait *wait;	/* while it waits, and until its continuation takes it */
	lua_KFunction then;		/* that continuation, when what it pushes is recorded */
	unsigned traced;		/* and its place in the record */
	const char *kind;		/* what it was, for the journal */
	char *key;			/* heap; NULL */
	char *asked;			/* the same while the answer is looked at */
	int status, nresults;		/* of Lua, when DEAD */
	struct policy_group *group;	/* whose part it is; NULL for a run's own */
	struct policy_fiber *next, *prev;	/* in the run; next: in the pool */
};
struct policy_run {
	struct policy_gen *gen;		/* a reference while in use */
	struct policy_fiber root;	/* on which handlers run */
	struct policy_fiber *fiber;	/* which runs now */
	struct policy_fiber *fibers;	/* the others */
	unsigned nfibers;
	struct policy_wait *awaiting;	/* only while a new wait is passed up to the loop */
	unsigned deaf;			/* Lua's caller is C code that cannot wait */
	struct policy_run *next;	/* in the pool */

	enum policy_hook hook;		/* HOOKS while loading */
	struct policy_subject *s;	/* NULL while loading */
	uint64_t epoch;			/* of its handles; 0 when not in use */
	struct verdict *v;		/* best so far; heap, NULL when there was none yet */
	bool v_mandatory;		/* it came from a mandatory handler */
	bool normal_done;
	bool has_plan;
	size_t at;			/* next in the chain */
	uint64_t *plan;			/* bits: which of a chain with an index are asked */
	size_t plan_words;		/* of room */

	/* the handler that runs now */
	struct handler *h;		/* NULL while loading */
	enum policy_kill killed;
	unsigned made;			/* verdict objects it made */
	uint64_t instructions, steps;	/* used by this handler */
	size_t mem_grown;		/* in the slices before */
	char *made_where;		/* where the last of them was made; heap, NULL */
	uint32_t owed;			/* by all it can reach, when it began; only if somebody observes */
	unsigned lines;			/* log lines and notes */
	unsigned waits, in_flight;
	unsigned audits;		/* rows of gw.audit */
	uint64_t turn;			/* number of this handler call, never the same again */
	uint64_t rng[2];		/* gw.random; both 0: not seeded */
	int predicate_ref;		/* a matcher's function instead of the handler; LUA_NOREF */
	int predicate;			/* its answer */

	/* What was read of the subject's header so far (view.h). The engine calls policy_run_forget
	 * when the run is over, and before it is used for another subject. */
	struct policy_view *view;	/* heap; NULL until policy_run_view */

	struct trace_rec *trace;	/* of the handler that runs now; NULL: nobody wants one */
	struct trace_rec *spare;	/* for the next one; NULL */
	struct journal_call *journal;	/* of this call; NULL */

	/* waiting */
	int64_t wall_deadline_ms;	/* mono; 0 not set */
	int64_t wait_began_ms;		/* mono: the first wait of this handler */
	struct event *wall_timer;
	uint64_t ticket;		/* 0 until the call had to wait */
	policy_done *done;
	void *owner;
};
static inline struct policy_run *
policy_run_of(lua_State *L)
{
	return *(struct policy_run **)lua_getextraspace(L);
}

/* ---- Handles (P3) ---- */
enum policy_object {	/* what the index means is the object's own affair; mostly 0 */
	OBJ_SESSION, OBJ_SESSION_TLS, OBJ_SESSION_CLIENT, OBJ_SESSION_PEER, OBJ_SESSION_LISTENER,
	OBJ_SESSION_COUNTS, OBJ_SESSION_VARS, OBJ_SESSION_AUTH,
	OBJ_MESSAGE, OBJ_MESSAGE_TAGS, OBJ_MESSAGE_VARS, OBJ_MESSAGE_DUTIES, OBJ_MESSAGE_PARAMS,
	OBJ_RCPTS,				/* message.recipients */
	OBJ_RCPT, OBJ_RCPT_TAGS, OBJ_RCPT_VARS, OBJ_RCPT_DUTIES, OBJ_RCPT_PARAMS, OBJ_RCPT_NOTIFY,
	OBJ_HOP, OBJ_HOP_HOST, OBJ_HOP_STS, OBJ_HOP_TLSA, OBJ_HOP_CAPS, OBJ_HOP_TLS, OBJ_HOP_DUTIES,
	OBJ_HOP_MET, OBJ_HOP_UNMET, OBJ_UNMET,
	OBJ_RESULT, OBJ_RESULT_HOP, OBJ_LAST, OBJ_BOUNCE, OBJ_BOUNCE_RCPT, OBJ_BOUNCE_REDACT,
	OBJ_ROUTE, OBJ_EVENT, OBJ_CTX, OBJ_TICK, OBJ_CRED,
	OBJ_REPORT, OBJ_REPORT_RCPTS, OBJ_REPORT_RCPT,
	OBJ_MORE,				/* objects.c may count on from here */
	OBJ_LIMIT = 64
};
#define HANDLE(epoch, kind, index) \
	((void *)(uintptr_t)((uint64_t)(epoch) << 22 | (uint64_t)(kind) << 16 | (uint64_t)(index)))
#define HANDLE_EPOCH(p) ((uint64_t)(uintptr_t)(p) >> 22)
#define HANDLE_KIND(p) ((enum policy_object)((uintptr_t)(p) >> 16 & 63))
#define HANDLE_INDEX(p) ((unsigned)((uintptr_t)(p) & 0xFFFF))
/* Never raises but for an index above 65535. The stack must have room for one. */
void policy_push_object(lua_State *L, enum policy_object kind, unsigned index);
/* The value at `arg` is a handle of the run that executes now; kind and index go out. Raises
 * "stale handle" when its run has ended, and an argument error when it is no handle at all. */
struct policy_run *policy_handle_run(lua_State *L, int arg, enum policy_object *kind_out,
    unsigned *index_out);
/* The same where one kind is meant: `what` is "message" and the like, for the argument error. */
struct policy_run *policy_handle_check(lua_State *L, int arg, enum policy_object kind,
    const char *what, unsigned *index_out);

/* ---- What objects.c, match.c, rule.c and their like provide ---- */
/* Called once, in a protected call, while the state is set up; `gw` is on top of the stack and
 * stays there. Sets the one metatable that all light userdata share, and those of address and
 * domain; adds gw.address, gw.domain and what else belongs to objects. */
void policy_objects_register(lua_State *L);
/* The same: adds gw.match, gw.action, gw.set, gw.rule. */
void policy_rules_register(lua_State *L);
/* Pushes the arguments that handlers of run->hook get; returns how many. May raise. Has
 * luaL_checkstack'ed for itself. */
int policy_push_args(lua_State *L, struct policy_run *r);
/* The matcher at `arg`, for opts.when; raises when it is none. It lives as long as that value. */
const struct matcher *policy_matcher_check(lua_State *L, int arg);
/* Raises when the matcher asks for what is not known at this hook. */
void policy_matcher_fits(lua_State *L, const char *api, const struct matcher *m, enum policy_hook hook);
/* 1 holds, 0 does not, -1 could not be found out (gen->err is set): the handler fails. In C, outside
 * any protected call. */
int policy_matcher_eval(struct policy_run *r, const struct matcher *m);
/* Carries out the actions. 0, and a verdict in *v when the rule has one (kind VERDICT_NONE else);
 * -1 with gen->err set. In C, outside any protected call. */
int policy_rule_run(struct policy_run *r, const struct rule *rule, struct verdict *v);
void policy_rule_free(struct rule *rule);
/* policy_session_end (policy.h) is objects.c's, too: it made the vars. */
/* Frees what objects and matchers keep in run->view. The engine calls it whenever a run ends, is
 * cancelled or freed; twice is fine. */
void policy_run_forget(struct policy_run *r);

/* ---- What engine.c, verdict.c, await.c, sandbox.c provide ---- */
/* For gw.rule: takes a copy of `h` (name, hook, level, priority, observe, rule; `when` with
 * when_arg, the stack index that holds it, 0 none; fn_arg likewise). Sets `where` to the calling
 * line of the policy. Checks the name (required, unique, dotted [a-z0-9_.-]), applies the
 * configuration's level. Raises, and then rule still belongs to the caller. `api` is "gw.rule". */
void policy_handler_add(lua_State *L, const char *api, const struct handler *h, int when_arg, int fn_arg);
/* Raises unless the bundle is being loaded. */
void policy_only_loading(lua_State *L, const char *api);
/* Raises while the bundle is being loaded, when there is neither session nor message. */
struct policy_run *policy_not_loading(lua_State *L, const char *api);
/* HOOKS when there is no such hook. */
enum policy_hook policy_hook_parse(struct slice name);
/* opts.level; raises. */
int policy_level_parse(lua_State *L, const char *api, const char *text);
extern const char *const policy_hook_names[];	/* NULL-terminated */

/* May this handler change something now? DO it; SKIP it silently for an advisory handler, whose
 * "would have" has been logged with `what` ("tag secure"); REFUSED for an observing one or in a
 * hook without changes, with gen->err set. */
enum policy_change { CHANGE_DO, CHANGE_SKIP, CHANGE_REFUSED };
enum policy_change policy_change_ask(struct policy_run *r, const char *what);
/* In Lua functions: true to go on, false to skip, raises when refused. */
bool policy_change_check(lua_State *L, const char *what);
/* The one way to duties (P4): asks policy_change_ask, joins, writes down who asked in
 * msg->duty_note ("tag.subject policy.lua:6", parts separated by ';', at most 1 KiB; msg may be
 * NULL) and logs. `mask`: of the message, a recipient or hop->added. False, with gen->err set, when
 * refused. */
bool policy_owe(struct policy_run *r, duty_mask *mask, struct msg *msg, enum tls_level level,
    bool waivable, const char *reason);
/* A line in the log with hook, handler, session and message; counted against the limit of 100. */
void policy_note(struct policy_run *r, enum log_level level, const char *phrase, const char *text, size_t n);

/* Verdicts. The value at `arg` is a verdict object: borrowed, else NULL. Never raises. */
const struct verdict *policy_verdict_peek(lua_State *L, int arg);
bool policy_verdict_is_legal(enum policy_hook hook, enum verdict_kind kind);
void policy_verdict_settle(struct verdict *v);	/* durations to points in time; the engine does it */
void policy_verdict_copy(struct verdict *to, const struct verdict *from);
/* For a.verdict(gw.reject{...}) in rules, at load: a copy of the verdict at `arg`, checked to be legal
 * for `hook`; raises. The caller owns it (heap; verdict_fini and free). */
struct verdict *policy_verdict_take(lua_State *L, int arg, enum policy_hook hook);
/* The fixed outcome of a failed handler (policy design section 2). */
void policy_verdict_error(struct verdict *v, enum policy_hook hook, const char *ref);

/* Kills the handler: sets r->killed; the Lua form raises and does not return. */
int policy_kill(lua_State *L, enum policy_kill why);
/* Work done in C on behalf of a script: octets looked at, elements moved. False past the budget
 * (the handler is then killed: return -1 or raise). */
bool policy_charge(struct policy_run *r, uint64_t steps);
void policy_charge_lua(lua_State *L, uint64_t steps);
/* Calls the Lua function in the registry with the hook's arguments, as a matcher; it may not wait.
 * 1, 0, or -1 with gen->err set. Only from policy_matcher_eval. */
int policy_predicate(struct policy_run *r, int fn_ref);

/* strmatch.c: Lua patterns under a step budget. From position *at (octet offset): 1 found, with
 * start and end offsets, 0 not, -1 malformed or over budget (err set). */
int policy_pattern_find(struct policy_run *r, struct slice subject, struct slice pattern, size_t at,
    size_t *start_out, size_t *end_out, struct err *err);
/* NULL when the pattern is well formed, else what is wrong with it. */
const char *policy_pattern_problem(struct slice pattern);
void policy_strmatch_register(lua_State *L);	/* string table on top: find match gmatch gsub */
void policy_table_register(lua_State *L);	/* pushes the sandbox's `table` */

/* Names and options. */
/* The nearest of a NULL-terminated list, NULL when none is near. */
const char *policy_nearest(const char *word, const char *const *list);
/* Raises "message has no field 'subjct' (did you mean 'subject'?)". `list` may be NULL. */
int policy_unknown_field(lua_State *L, const char *what, const char *key, const char *const *list);
/* The table at `arg` has string keys of this list only; raises otherwise. */
void policy_opts_check(lua_State *L, int arg, const char *api, const char *const *list);
/* Field of the table at `arg`; NULL when absent; raises on another type or, if `required`, when
 * absent. The string is on the stack no longer but anchored by the table. Printable UTF-8 without CR,
 * LF, NUL, at most `max` octets. */
const char *policy_opt_string(lua_State *L, int arg, const char *api, const char *key, bool required,
    size_t max);
bool policy_opt_bool(lua_State *L, int arg, const char *api, const char *key, bool dflt);
lua_Integer policy_opt_integer(lua_State *L, int arg, const char *api, const char *key, lua_Integer lo,
    lua_Integer hi, lua_Integer dflt);
/* "5m" or a number of seconds; `dflt` when absent. Milliseconds. */
int64_t policy_opt_duration(lua_State *L, int arg, const char *api, const char *key, int64_t dflt);
/* "may" ... "requiretls"; raises with the nearest name. `dflt` when absent, -1: required. */
enum tls_level policy_opt_level(lua_State *L, int arg, const char *api, const char *key, int dflt);
/* Text from a policy that goes into a reply, header or notice: raises on CR, LF, NUL or length. */
void policy_text_check(lua_State *L, const char *api, const char *field, const char *p, size_t n, size_t max);

/* JSON. A buffer that the collector frees is pushed, so that raising leaks nothing. */
struct buf *policy_push_buf(lua_State *L, size_t max_bytes);
/* Appends the value at `idx`; raises on cycles, depth above 32, functions, bad UTF-8, NaN, size. */
void policy_json_encode(lua_State *L, int idx, struct buf *out);
/* Pushes one value; raises with the parser's words. null becomes nil. */
void policy_json_decode(lua_State *L, const char *p, size_t n);
void policy_json_push(lua_State *L, const json_t *j);	/* j is kept by somebody else */

/* "policy.lua:15" of the innermost Lua function that is a policy's; "" when there is none. */
void policy_where(lua_State *L, char *dst, size_t size);
/* gw.<name> userdata types: metatable `name` from fields; protected, with __name. Leaves it on the stack. */
void policy_newmetatable(lua_State *L, const char *name, const luaL_Reg *fields);
/* What such a type has: `field` pushes the value of the field `key` of the userdata at index 1, or
 * returns false; `fields` are their names. The struct lives on. */
struct policy_type {
	const char *what;		/* "domain", for "domain has no field 'x'" */
	const luaL_Reg *methods;	/* NULL: none */
	bool (*field)(lua_State *L, const char *key);	/* NULL: none */
	const char *const *fields;
};
/* Sets __index of the metatable on top. */
void policy_type_members(lua_State *L, const struct policy_type *t);

/* ---- Only between engine.c, load.c, sandbox.c, await.c, bundle.c ---- */
/* What outlives the engine in requests that are under way: a way to find out that it is gone. */
struct policy_link {
	int refs;
	struct policy *p;
};
struct policy_link *policy_link_ref(struct policy_link *l);
void policy_link_unref(struct policy_link *l);
struct policy *policy_link_get(const struct policy_link *l);	/* NULL when it is gone */
struct policy {
	struct event_base *base;
	struct policy_services services;
	struct policy_link *link;
	struct dns *dns;
	unsigned worker;
	struct slots runs;		/* the waiting ones */
	struct slots waits;		/* what they wait for */
	struct policy_gen **gens;	/* all that live */
	size_t ngens;
	size_t waiting;
	struct web_loop *http;		/* NULL until somebody asks */
	struct node *own_node;
	struct policy_cache *caches;	/* each freed with its last Lua state */
	bool freeing;
	size_t finis;			/* under way */
	bool is_stopping;
	void (*stopped)(void *owner);	/* called when the last fini is through; NULL */
	void *stop_owner;
	struct policy_stats stats;
	policy_seen_fn *seen;		/* policy_observe's; NULL */
	void *seen_owner;
	bool is_exact;			/* policy_count_exactly's */
	policy_line_fn *lines;		/* policy_watch_lines's; NULL */
	void *lines_owner;
	bool tracing;			/* somebody wants records */
	struct policy_journal *journal;	/* NULL: none */
	struct policy_replay *replay;	/* a recorded call is done again; NULL */
	struct policy_trace *trace;	/* NULL: nobody ever did */
	struct handler_count **counts;
	size_t ncounts;
};
struct policy_source {
	char *path;			/* "policy.lua", "lua/x.lua", "<lib>/gw/x.lua": the chunk name */
	char *module;			/* "a.b" for require; NULL for a file of policy.load */
	int load_order;			/* in policy.load; -1 module */
	bool is_lib;
	char *text;
	size_t n;
	char hash[65];
};
size_t policy_bundle_count(const struct policy_bundle *b);
const struct policy_source *policy_bundle_source(const struct policy_bundle *b, size_t i);
const struct policy_source *policy_bundle_module(const struct policy_bundle *b, const char *name);

void *policy_alloc(void *ud, void *p, size_t osize, size_t nsize);
void policy_count_hook(lua_State *L, lua_Debug *ar);
/* The kind of an error object; NULL when it is none. */
const char *policy_error_kind(lua_State *L, int arg);
const char *policy_error_get(lua_State *L, int arg, bool *temporary_out, bool *secure_out);
const char *policy_error_word(const char *kind);	/* that kind, for policy_push_error; one that lives on */
/* An error value as text: a string, or an error object of await.c; else NULL. Never raises. */
const char *policy_error_text(lua_State *L, int arg);
/* Starts and ends the time during which a script runs: memory cap, CPU time, hook. */
void policy_slice_begin(struct policy_run *r, lua_State *L);
void policy_slice_end(struct policy_run *r);
struct policy_run *policy_run_new(struct policy_gen *g);
void policy_run_free(struct policy_run *r);
void policy_run_reset_handler(struct policy_run *r);
int policy_on(lua_State *L);			/* gw.on */
/* Runs a registering call (gw.on, gw.rule) while the bundle loads. `policy check` wants all problems
 * at once: there an error is noted with its place and loading goes on. */
int policy_register(lua_State *L, const char *name, lua_CFunction fn);
void policy_push_core(lua_State *L);		/* lib.c: what the shipped library has of C */
int policy_tostring(lua_State *L);		/* the sandbox's tostring */
/* ---- index.c ---- */
struct chain_index *policy_index_new(const struct chain *c);	/* NULL: it would save nothing */
void policy_index_free(struct chain_index *x);			/* NULL is fine */
/* The next from r->at on that has to be asked; c->n when there is none. What is left out is counted. */
size_t policy_index_next(struct policy_run *r, struct chain *c);
void policy_index_settle(struct chain *c);	/* brings handler.calls up to date */
/* ---- fiber.c ---- */
enum lua_end { LUA_DONE, LUA_WAITS, LUA_FAILED };
#define IN_FLIGHT_MAX 16	/* of a handler */
#define FIBERS_MAX 128		/* of a handler, with those that have not begun */
void policy_fiber_init(struct policy_fiber *f, struct policy_run *r);
bool policy_fiber_ready(struct policy_fiber *f);	/* has a coroutine; false: no memory */
/* In Lua: a further one of the run, its function and arguments still to be moved to f->co. Raises. */
struct policy_fiber *policy_fiber_new(lua_State *L, struct policy_run *r);
/* Begins or goes on, with nargs values on its stack the first time. Never raises. _resume: in Lua,
 * `from` is the coroutine that executes now; _go: from the loop, as a slice of its own. */
enum lua_end policy_fiber_resume(struct policy_fiber *f, lua_State *from, int nargs);
enum lua_end policy_fiber_go(struct policy_fiber *f, int nargs);
void policy_fiber_cancel(struct policy_fiber *f);	/* not RUNNING; stops what it waits for */
void policy_fiber_release(struct policy_fiber *f);	/* not the run's own; cancels it first */
void policy_fiber_drop(struct policy_fiber *f, bool close);	/* its coroutine; the state becomes FREE */
void policy_fiber_clear(struct policy_fiber *f);	/* after a clean finish */
void policy_fibers_end(struct policy_run *r);		/* all but the run's own */
/* What was waited for is there: goes on with the fiber, and after it with those that it was
 * holding up. May end the run. From the loop only. */
void policy_run_resume(struct policy_fiber *f);
/* A part of a group came to its end. Who can go on now; NULL: nobody. r->killed may be set. */
struct policy_fiber *policy_group_ended(struct policy_fiber *f);
void policy_group_forget(struct policy_fiber *f);	/* f is given back */

/* ---- await.c ---- */
/* Raises unless the handler that runs now may wait. */
void policy_wait_check(lua_State *L, struct policy_run *r, const char *api);
/* 0, or nil and an error are pushed, and 2 is what to return: too much is under way. */
int policy_wait_room(lua_State *L, struct policy_run *r);
/* A wait of `size` octets, zeroed; ms < 0: without a time of its own. */
void *policy_wait_new(struct policy_run *r, size_t size, int64_t ms, void (*stop)(struct policy_wait *w));
/* Called instead of lua_yieldk by everything that waits; takes w, starts the wall timer. Returns
 * what the C function must return. Nothing may raise between starting what w waits for and this. */
int policy_wait_begin(lua_State *L, struct policy_run *r, struct policy_wait *w, lua_KFunction k);
/* What is waited for ("dns.mx"; static) and the words of the question, for records. Before
 * policy_wait_begin. */
void policy_wait_name(struct policy_wait *w, const char *kind, const char *key);
/* For what needs its number before: nothing may raise from there to policy_wait_begin. */
void policy_wait_number(struct policy_wait *w);
/* First thing in the continuation k: the wait, which is the caller's to free. */
void *policy_wait_take(lua_State *L);
void policy_wait_free(struct policy_wait *w);	/* NULL is fine */
/* The answer is there. From the loop only; w->fiber goes on before this returns. */
void policy_wait_done(struct policy_wait *w);
void policy_wait_over(struct policy_wait *w);	/* the same without going on */
void policy_wait_soon(struct policy_wait *w);	/* policy_wait_done, in the next turn of the loop */
struct policy_wait *policy_wait_find(struct policy *p, uint64_t ticket);	/* NULL when gone */
void policy_wait_cancel(struct policy_fiber *f);	/* what it waits for, if anything */
/* nil, error */
int policy_push_error(lua_State *L, const char *kind, bool temporary, bool secure, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void policy_start_wall(struct policy_run *r);	/* engine.c */

/* ---- trace.c, counts.c ---- */
struct policy_trace;
/* A record begins and ends; between, what happened. _begin only while policy->tracing; the others do
 * nothing without a record, but for _matched, _pause, _go and _end. */
void policy_trace_begin(struct policy_run *r);
void policy_trace_matched(struct policy_run *r, const struct matcher *m);
void policy_trace_pause(struct policy_run *r);		/* it waits */
void policy_trace_go(struct policy_run *r);
void policy_trace_change(struct policy_run *r, const char *what);
void policy_trace_note(struct policy_run *r, const char *text, size_t n);
void policy_trace_waited(struct policy_run *r, unsigned at, const char *outcome);
void policy_trace_outcome(struct policy_run *r, unsigned at, const char *outcome);
void policy_trace_verdict(struct policy_run *r, const struct verdict *v);
void policy_trace_end(struct policy_run *r, enum verdict_kind kind, bool is_error);
void policy_trace_drop(struct policy_run *r);		/* the call was cancelled */
void policy_trace_rec_free(struct trace_rec *t);	/* NULL is fine */
void policy_trace_free(struct policy *p);
/* The counters for a handler; the engine's. */
struct handler_count *policy_count_of(struct policy *p, enum policy_hook hook, const char *name, bool is_rule);
/* ---- journal.c ---- */
struct policy_journal;
struct journal_call;
struct policy_replay;
bool policy_journal_wants(const struct policy *p, enum policy_hook hook);
struct journal_call *policy_journal_begin(struct policy *p, enum policy_hook hook, const struct policy_subject *s);
void policy_journal_end(struct policy_gen *g, struct journal_call *c, enum policy_hook hook,
    const struct policy_subject *s, const struct verdict *v);	/* takes c, which may be NULL */
void policy_journal_drop(struct journal_call *c);
void policy_journal_answer(struct policy_run *r, lua_State *L, int n, const char *kind, const char *key);
void policy_journal_no_answer(struct policy_run *r, const char *kind, const char *key);
/* A handler looks at so many octets of the body. */
void policy_body_read(struct policy_run *r, size_t n);
const char *policy_replay_digest(const struct policy_run *r);	/* NULL */
/* In a function that would wait, as soon as it knows what for: while a recorded call is done again, the number of
 * results that were pushed; a handler that asks for what was not recorded is ended. -1: it is to wait. */
int policy_replayed(lua_State *L, struct policy_run *r, const char *kind, const char *key);
/* The words of a question with values, for those: what, text and the arguments of L from `first` on. On the stack,
 * which has one more value then; "" when nobody records. */
const char *policy_question(lua_State *L, struct policy_run *r, const char *what, struct slice text, int first);
void policy_unknown(struct policy_run *r, const char *kind, const char *key);

/* A handler that runs for long, or goes on after a long wait: a line with a traceback, at most once a
 * minute for each. */
void policy_slow_run(struct policy_run *r, lua_State *L, int64_t run_ns, int64_t (*cpu_ns)(struct policy_run *));
void policy_slow_wait(struct policy_run *r, lua_State *co);
void policy_dns_open(lua_State *L);		/* await_dns.c: gw on top */
void policy_group_open(lua_State *L);		/* await_group.c */
void policy_memo_open(lua_State *L);
void policy_kv_open(lua_State *L);		/* await_kv.c */
void policy_audit_open(lua_State *L);		/* await_audit.c */
void policy_tlsrpt_open(lua_State *L);		/* await_tlsrpt.c */
void policy_metric_open(lua_State *L);		/* lua_metric.c */
struct node *policy_node(lua_State *L);		/* lua_rate.c: the node that is counted for */
void policy_sts_open(lua_State *L);		/* await_sts.c */
void policy_table_open(lua_State *L);		/* lua_table.c */
void policy_sql_open(lua_State *L);		/* await_sql.c */
void policy_http_open(lua_State *L);		/* await_http.c */
void policy_rate_open(lua_State *L);		/* lua_rate.c */
void policy_cache_open(lua_State *L);		/* lua_cache.c */
/* A key at `arg`, by type and value: equal keys are equal octets, after one for the type. Raises; how many. */
#define POLICY_KEY_MAX 256
size_t policy_key_read(lua_State *L, const char *api, int arg, char dst[POLICY_KEY_MAX]);
void policy_corolib_open(lua_State *L);		/* pushes the sandbox's `coroutine` */
void policy_sandbox_open(lua_State *L);		/* globals but for gw */
void policy_sandbox_freeze(lua_State *L);	/* after load */
void policy_freeze(lua_State *L, int idx);	/* deep, in place */
bool policy_push_shadow(lua_State *L, int idx);	/* what a frozen table holds; false: it is none */
void policy_gw_open(lua_State *L);		/* the gw table and all that registers in it */
void policy_verdict_open(lua_State *L);		/* gw on top: the constructors */
void policy_await_open(lua_State *L);
void policy_misc_open(lua_State *L);		/* gw.now random log json sorted_pairs version */
/* Static checks of one handler's bytecode; problems go to gen->problems. May raise. */
void policy_check_handler(lua_State *L, int fn_idx, const struct handler *h);
struct policy_gen *policy_gen_load(struct policy *p, struct policy_bundle *b, struct conf *conf,
    struct buf *problems, struct err *err);	/* policy_gen_new, or for policy_check */
struct policy_gen *policy_gen_bare(struct policy *p, struct policy_bundle *b, struct conf *conf, struct err *err);
/* The last reference is gone: true when `fini` has taken it over. */
bool policy_fini_due(struct policy_gen *g);
void policy_fini_drop(struct policy_gen *g);	/* the engine goes: without waiting for it */
void policy_problem(struct policy_gen *g, bool is_error, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
