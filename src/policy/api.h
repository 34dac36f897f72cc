/* The API as api/ specifies it: a generated table of what may be called with what (api_table.c), the
 * texts of gw.help (api_help.c), and the check of arguments in front of every function.
 *
 * A function of gw, or a method, is registered as ever. When the state is set up, each that the table
 * knows is replaced by a closure over the same upvalues whose C function checks the arguments and
 * then calls the real one: no Lua call lies between, so error positions and waiting stay as they were. */
#ifndef POLICY_API_H
#define POLICY_API_H

#include <stdatomic.h>

#include "policy/policy_int.h"

struct api_arg {
	unsigned types;			/* 1 << (LUA_T... + 1) */
	const char *shown;		/* "string or table" */
	const char *const *fields;	/* of a table; NULL: any */
};
struct api_fn {
	const char *owner;		/* "gw.dns"; of a method "message" or the metatable's name */
	const char *name;
	const char *shown;		/* "gw.dns.mx", "message:header" */
	const struct api_arg *args;
	unsigned nargs;
	bool rest;			/* the last one stands for all that follow */
	bool is_method;
	lua_CFunction call;
};
struct api_text {
	const char *name, *text;
};
extern const struct api_fn policy_api[];	/* by owner and name */
extern const size_t policy_api_count;
extern lua_CFunction policy_api_real[];		/* the same in every state; written once, by whichever thread is first */
extern const char *const policy_api_names[];	/* "gw.kv", "message:subject"; NULL-terminated */
/* What the arguments of a hook are: names as in policy_api_names, before the ':'; "" for plain values. */
extern const char *const policy_api_hook_args[HOOKS][5];
extern const struct api_text policy_api_texts[];	/* by name */
extern const size_t policy_api_text_count;

void policy_api_check(lua_State *L, const struct api_fn *f);	/* raises */

static inline int
policy_api_call(lua_State *L, unsigned i)
{
	policy_api_check(L, &policy_api[i]);
	return __atomic_load_n(&policy_api_real[i], __ATOMIC_RELAXED)(L);
}

/* All functions below gw, which is on top of the stack, and the methods of userdata. */
void policy_api_wrap(lua_State *L);
/* Pushes the method: with its check when the table knows it. */
void policy_api_push_method(lua_State *L, const char *owner, const char *name, lua_CFunction fn);
/* NULL when there is none; *near is the nearest name then, or NULL. Names as in gw.help. */
const char *policy_api_help(const char *name, const char **near);

#endif
