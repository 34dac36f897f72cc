/* Between obj_message.c, obj_message_edit.c and rules.c: the changes to a message, as methods and as
 * actions of rules. */
#ifndef POLICY_OBJ_MESSAGE_H
#define POLICY_OBJ_MESSAGE_H

#include "policy/objects.h"

const char *obj_tls_no_name(enum msg_tls_no t);	/* "absent" "honoured" ... */

int message_add_header(lua_State *L);
int message_set_header(lua_State *L);
int message_remove_header(lua_State *L);
int message_dkim_sign(lua_State *L);
int message_tag(lua_State *L);
int message_set_from(lua_State *L);
int message_add_recipient(lua_State *L);
int message_remove_recipient(lua_State *L);
int message_require_tls(lua_State *L);
int message_ignore_tls_required_no(lua_State *L);

/* Without Lua, for rules: false with gen->err set. Arguments were checked at load. */
bool obj_edit_header(struct policy_run *r, enum edit_op op, const char *name, const char *value);
bool obj_edit_tag(struct policy_run *r, const char *tag);
bool obj_edit_ignore_no(struct policy_run *r, const char *reason);
/* NULL, or why this field may not be edited with this value (value NULL: removed). */
const char *obj_edit_problem(enum edit_op op, struct slice name, const char *value, size_t n);

#endif
