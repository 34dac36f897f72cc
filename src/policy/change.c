/* What a handler may change, and the one way to duties (P4, I3): everything goes through here, so
 * that observing handlers change nothing and advisory ones only say what they would have done. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_int.h"

#define LINES_MAX 100

void
policy_note(struct policy_run *r, enum log_level level, const char *phrase, const char *text, size_t n)
{
	const struct policy_subject *s = r->s;

	policy_trace_note(r, text, n);
	if (++r->lines > LINES_MAX) {
		if (r->lines == LINES_MAX + 1)
			log_warn("policy logs too much", LOG_S("handler", r->h == NULL ? NULL : r->h->name),
			    LOG_U("limit", LINES_MAX));
		return;
	}
	log_at(level, phrase, LOG_B("text", text, n),
	    LOG_S("hook", policy_hook_name(r->hook)), LOG_S("handler", r->h == NULL ? NULL : r->h->name),
	    s != NULL && s->session != NULL && s->session->info != NULL ?
	    LOG_ID("session", s->session->info->id) : LOG_S("session", NULL),
	    s != NULL && s->msg != NULL ? LOG_ID("message", s->msg->id) : LOG_S("message", NULL));
}

enum policy_change
policy_change_ask(struct policy_run *r, const char *what)
{
	if (r->h == NULL || r->s == NULL) {
		err_set(&r->gen->err, "nothing can be changed while the policy is being loaded");
		return CHANGE_REFUSED;
	}
	if (r->predicate_ref != LUA_NOREF) {
		err_set(&r->gen->err, "a matcher may not change anything (%s)", what);
		return CHANGE_REFUSED;
	}
	if (r->h->observe) {
		err_set(&r->gen->err, "handler '%s' only observes: it may not change anything (%s)", r->h->name, what);
		return CHANGE_REFUSED;
	}
	if (r->hook == HOOK_LOG || r->hook == HOOK_DISCONNECT) {
		err_set(&r->gen->err, "nothing can be changed in the hook '%s' (%s)", policy_hook_name(r->hook), what);
		return CHANGE_REFUSED;
	}
	if (r->h->level == POLICY_ADVISORY) {
		policy_note(r, LOG_LEVEL_INFO, "policy would have", what, strlen(what));
		return CHANGE_SKIP;
	}
	policy_trace_change(r, what);
	return CHANGE_DO;
}

bool
policy_change_check(lua_State *L, const char *what)
{
	struct policy_run *r = policy_run_of(L);
	enum policy_change c = policy_change_ask(r, what);

	if (c == CHANGE_REFUSED)
		luaL_error(L, "%s", r->gen->err.text);
	return c == CHANGE_DO;
}

static void
add_duty_note(struct msg *msg, const struct handler *h)
{
	char part[200];

	snprintf(part, sizeof part, "%s %s", h->name, h->where);
	msg_note_duty(msg, part);
}

bool
policy_owe(struct policy_run *r, duty_mask *mask, struct msg *msg, enum tls_level level, bool waivable,
    const char *reason)
{
	char what[64];
	duty_mask add = duties_of_level(level, waivable ? DUTY_BY_ADMIN_WAIVABLE : DUTY_BY_ADMIN);

	snprintf(what, sizeof what, "require tls %s", tls_level_name(level));
	switch (policy_change_ask(r, what)) {
	case CHANGE_REFUSED: return false;
	case CHANGE_SKIP: return true;
	case CHANGE_DO: break;
	}
	if ((*mask & add) == add)
		return true;	/* owed already: nothing new to write down */
	if (r->trace != NULL)
		r->trace->duties |= add & ~*mask;
	duties_join(mask, add);
	if (msg != NULL)
		add_duty_note(msg, r->h);
	else if (r->s->hop != NULL && mask == &r->s->hop->added)
		snprintf(r->s->hop->added_by, sizeof r->s->hop->added_by, "%s %s", r->h->name, r->h->where);
	log_info("policy requires tls", LOG_S("level", tls_level_name(level)), LOG_S("handler", r->h->name),
	    LOG_S("where", r->h->where), LOG_S("reason", reason), LOG_B("gen", policy_gen_id(r->gen), 12),
	    r->s->msg != NULL ? LOG_ID("message", r->s->msg->id) : LOG_S("message", NULL));
	return true;
}
