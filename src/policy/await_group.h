/* Functions that run on fibers of their own while their caller waits for all of them. */
#ifndef POLICY_AWAIT_GROUP_H
#define POLICY_AWAIT_GROUP_H

#include "policy/policy_int.h"

struct policy_group {
	struct group_wait *wait;	/* its caller's; NULL while that still runs */
	unsigned n, held;		/* of part[]; of them not yet given back */
	unsigned begun, running, parallel;
	int nargs;			/* of each function, on its stack */
	bool collects;			/* a failure ends nothing */
	int failed;			/* whose failure ended the rest; -1 */
	int (*finish)(lua_State *L, struct policy_group *g);	/* pushes what the call returns, and
								 * gives the group back */
	void (*abandon)(struct policy_group *g);	/* it goes without `finish`; NULL: fine */
	void *owner;
	const struct policy_fiber *caller;
	struct policy_fiber *part[];
};
/* Adds a fiber for the function on top of the stack and takes it; g NULL: the first of n. Raises,
 * and then what is there already goes with the handler. */
struct policy_group *policy_group_add(lua_State *L, struct policy_group *g, unsigned n);
/* Runs it; ms < 0: for as long as it takes. The caller returns what this returns. */
int policy_group_run(lua_State *L, struct policy_group *g, int64_t ms);
void policy_group_release(struct policy_group *g);
/* Raises what the function of f raised. */
int policy_group_raise(lua_State *L, struct policy_group *g, struct policy_fiber *f);

#endif
