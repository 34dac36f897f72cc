#ifndef POLICY_AWAIT_SQL_H
#define POLICY_AWAIT_SQL_H

#include "data/sql.h"
#include "policy/policy_int.h"

enum { SQL_ALL_ROWS, SQL_ONE_ROW };
/* Waits for the rows, a list, or for the first row, which may be nil; or nil and an error. The values are on
 * the stack from `first` on. `api` is for what raises, `what` for what fails. */
int policy_sql_ask(lua_State *L, const struct sql_source *s, struct slice sql, const char *api, const char *what,
    int first, int mode);
/* NULL is nil. May raise for want of memory. */
void policy_push_sql_value(lua_State *L, const struct sql_value *v);

#endif
