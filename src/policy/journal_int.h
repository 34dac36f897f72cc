#ifndef POLICY_JOURNAL_INT_H
#define POLICY_JOURNAL_INT_H

#include "policy/journal.h"
#include "policy/policy_int.h"

/* ---- journal_fields.c ---- */
json_t *journal_subject_write(const struct policy_subject *s, enum policy_hook hook);
json_t *journal_text(const char *p, size_t n);		/* {"$b": hex} when it is no UTF-8 */
char *journal_text_read(const json_t *v, size_t *n_out);

/* ---- journal_lua.c: what was given to a policy ---- */
json_t *journal_lua(lua_State *L, int first, int n);	/* a list; never raises */
/* Pushes the values of such a list and returns how many; raises when it is none. */
int journal_lua_push(lua_State *L, const json_t *list);

#endif
