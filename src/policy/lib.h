/* What the shipped library (lua/) has of C; lib.c says more. */
#ifndef POLICY_LIB_H
#define POLICY_LIB_H

#include "policy/policy_int.h"

void policy_lib_zone_open(lua_State *L);	/* core on top: adds zone */
void policy_geo_open(lua_State *L);		/* gw on top: adds geo */
void policy_push_country(lua_State *L, const char *ip);	/* a text or nil; ip NULL: nil */
void policy_push_asn(lua_State *L, const char *ip);
void policy_cidr_open(lua_State *L);		/* gw on top: adds cidr */
void policy_lib_mime_open(lua_State *L);	/* gw on top: adds mime */
void policy_push_auth_results(lua_State *L);	/* of the run's message */
int policy_dkim_verify(lua_State *L);		/* await_dkim.c */
void policy_dkim_register(lua_State *L);	/* its metatable */
int policy_library_open(lua_State *L);		/* while loading, before the policies */
int policy_options_check(lua_State *L);		/* after them */
/* load.c: calls fn with `arg` (light userdata) on the main state; false with err. */
bool policy_protected(struct policy_gen *g, lua_CFunction fn, const void *arg, struct err *err);

#endif
