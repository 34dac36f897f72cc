/* What keeps a script in bounds: memory through the state's own allocator, instructions and CPU
 * time through a count hook, work done in C on its behalf through policy_charge (policy design
 * section 8; ). */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policy/policy_int.h"

/* Any count hook makes the VM take its slow path, whatever the count (measured), so a short
 * interval costs little more and sees a script sooner that spends its time in long strings. */
#define HOOK_INTERVAL 1000
#define SLICE_CPU_NS 50000000ull
#define LOAD_CPU_NS 10000000000ull
#define GROWTH_MAX (8u << 20)
#define BULK_BLOCK (16u << 10)
#define BULK_MAX (4u << 20)
#define CHARGE_CHECK 65536u

static char sentinel;	/* its address is the error value of a kill */

const char *
policy_kill_name(enum policy_kill k)
{
	static const char *const names[] = {
		[KILL_NONE] = "none", [KILL_INSTRUCTIONS] = "limit.instructions", [KILL_CPU] = "limit.cpu",
		[KILL_WALL] = "limit.wall", [KILL_MEMORY] = "limit.memory", [KILL_STEPS] = "limit.steps",
		[KILL_CANCEL] = "cancelled",
	};

	return names[k];
}

/* Any other count than this is for once. */
static int
hook_interval(const struct policy_gen *g)
{
	return g->policy != NULL && g->policy->is_exact ? 1 : HOOK_INTERVAL;
}

static int
hook_mask(const struct policy_gen *g)
{
	return LUA_MASKCOUNT | (g->policy != NULL && g->policy->lines != NULL ? LUA_MASKLINE : 0);
}

/* Large blocks are work that the count hook does not see: a few instructions can copy megabytes.
 * Past a sum of them the hook is moved to the very next instruction. */
static void
note_bulk(struct policy_gen *g, size_t n)
{
	g->mem_bulk += n;
	if (g->mem_bulk < BULK_MAX || g->running == NULL)
		return;
	g->mem_bulk = 0;
	lua_sethook(g->running, policy_count_hook, hook_mask(g), 1);
}

void *
policy_alloc(void *ud, void *p, size_t osize, size_t nsize)
{
	struct policy_gen *g = ud;
	void *q;

	if (p == NULL)
		osize = 0;	/* Lua passes a type tag there */
	if (nsize == 0) {
		g->mem_used -= osize;
		free(p);
		return NULL;
	}
	if (nsize > osize && (g->mem_used > g->mem_cap || nsize - osize > g->mem_cap - g->mem_used))
		return NULL;	/* Lua collects everything, then tries once more */
	q = realloc(p, nsize);
	if (q == NULL)
		return nsize <= osize ? p : NULL;	/* Lua takes for granted that shrinking works */
	g->mem_used += nsize - osize;
	if (nsize >= BULK_BLOCK)
		note_bulk(g, nsize);
	return q;
}

static uint64_t
read_ns(clockid_t id)	/* not clock.c: a faked clock must not stop a limit */
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The cheap clock first; CPU time, which a busy machine does not spend for us, decides. */
static bool
cpu_is_over(struct policy_run *r)
{
	struct policy_gen *g = r->gen;
	uint64_t max = r->hook == HOOKS ? LOAD_CPU_NS : SLICE_CPU_NS;
	uint64_t now = read_ns(CLOCK_MONOTONIC);

	g->seen_ns = now;
	if (g->slice_ns == 0) {
		g->slice_ns = now;
		g->slice_cpu_ns = read_ns(CLOCK_THREAD_CPUTIME_ID);
		return false;
	}
	return now - g->slice_ns > max && read_ns(CLOCK_THREAD_CPUTIME_ID) - g->slice_cpu_ns > max;
}

/* Of this slice, since its first hook. */
static int64_t
cpu_used(struct policy_run *r)
{
	return (int64_t)(read_ns(CLOCK_THREAD_CPUTIME_ID) - r->gen->slice_cpu_ns);
}

int
policy_kill(lua_State *L, enum policy_kill why)
{
	struct policy_run *r = policy_run_of(L);

	if (r->killed == KILL_NONE)
		r->killed = why;
	/* P2: from here on nothing of this handler gets further than one instruction. */
	lua_sethook(L, policy_count_hook, LUA_MASKCOUNT, 1);
	lua_pushlightuserdata(L, &sentinel);
	return lua_error(L);
}

void
policy_count_hook(lua_State *L, lua_Debug *ar)
{
	struct policy_run *r = policy_run_of(L);
	int count = lua_gethookcount(L);

	if (ar->event == LUA_HOOKLINE) {
		const struct policy *p = r->gen->policy;

		lua_getinfo(L, "S", ar);
		if (p != NULL && p->lines != NULL && ar->source[0] == '@')
			p->lines(p->lines_owner, ar->source + 1, ar->currentline);
		return;
	}
	if (r->killed != KILL_NONE)
		policy_kill(L, r->killed);
	r->instructions += (uint64_t)count;
	if (r->instructions > r->gen->instructions_max * (r->hook == HOOKS ? 100 : 1))
		policy_kill(L, KILL_INSTRUCTIONS);
	if (count == 1 && hook_interval(r->gen) == 1)
		return;		/* which takes so long itself that time says nothing */
	if (cpu_is_over(r))
		policy_kill(L, KILL_CPU);
	policy_slow_run(r, L, (int64_t)(r->gen->seen_ns - r->gen->slice_ns), cpu_used);
	if (count != hook_interval(r->gen))
		lua_sethook(L, policy_count_hook, hook_mask(r->gen), hook_interval(r->gen));
}

bool
policy_charge(struct policy_run *r, uint64_t steps)
{
	uint64_t before = r->steps / CHARGE_CHECK;

	r->steps += steps;
	if (r->killed == KILL_NONE && r->steps > r->gen->steps_max * (r->hook == HOOKS ? 100 : 1))
		r->killed = KILL_STEPS;
	else if (r->killed == KILL_NONE && r->steps / CHARGE_CHECK != before && cpu_is_over(r))
		r->killed = KILL_CPU;
	if (r->killed != KILL_NONE) {
		err_set(&r->gen->err, "%s: too much work for one handler", policy_kill_name(r->killed));
		return false;
	}
	return true;
}

void
policy_charge_lua(lua_State *L, uint64_t steps)
{
	struct policy_run *r = policy_run_of(L);

	if (!policy_charge(r, steps))
		policy_kill(L, r->killed);
}

void
policy_slice_begin(struct policy_run *r, lua_State *L)
{
	struct policy_gen *g = r->gen;
	size_t cap = (size_t)g->conf->policy.memory;

	if (cap == 0)
		cap = 64u << 20;
	g->current = r;
	g->running = L;
	g->mem_bulk = 0;
	g->slice_ns = 0;
	g->now_ms = 0;
	/* What others take while this one waits is not its growth. */
	g->mem_base = g->mem_used > r->mem_grown ? g->mem_used - r->mem_grown : 0;
	if (r->hook != HOOKS && g->mem_base + GROWTH_MAX < cap)
		cap = g->mem_base + GROWTH_MAX;
	g->mem_cap = cap;
	lua_sethook(L, policy_count_hook, hook_mask(g), hook_interval(g));
}

void
policy_slice_end(struct policy_run *r)
{
	struct policy_gen *g = r->gen;

	g->current = NULL;
	g->running = NULL;
	r->mem_grown = g->mem_used > g->mem_base ? g->mem_used - g->mem_base : 0;
	g->mem_cap = g->conf->policy.memory == 0 ? 64u << 20 : (size_t)g->conf->policy.memory;
}
