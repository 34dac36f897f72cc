/* Between rules.c, lua_match.c and objects.c. */
#ifndef POLICY_RULES_H
#define POLICY_RULES_H

#include "policy/policy_int.h"

struct names;

void obj_match_register(lua_State *L);		/* gw on top: gw.match, gw.domains */
const struct names *obj_set_peek(lua_State *L, int arg);	/* a gw.set, NULL */
bool policy_rule_ends(const struct rule *rule);	/* with a verdict */
struct policy_view *policy_run_view(struct policy_run *r);

#endif
