/* Between verdict.c and verdict_route.c. */
#ifndef POLICY_VERDICT_INT_H
#define POLICY_VERDICT_INT_H

#include "policy/policy_int.h"

/* The route that the table at 1 describes, heap. What it is made of hangs on v meanwhile, so that
 * raising leaks nothing. */
struct route *policy_route_read(lua_State *L, const char *api, struct verdict *v);
/* A list of strings: host names to A-labels when `names`, else certificate pins. */
void policy_opt_list(lua_State *L, int arg, const char *api, const char *key, char ***v, size_t *n, bool names);

#endif
