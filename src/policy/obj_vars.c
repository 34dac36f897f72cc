/* vars: what policies remember. Values are JSON text in C, so that they outlive the Lua state: with
 * a message or recipient they are stored and survive generations, with a session they go when it
 * ends. What is read is a frozen copy; to change a part, write the whole. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "policy/objects.h"

#define VARS_MAX_MESSAGE (16u * 1024)
#define VARS_MAX_SESSION (4u * 1024)

struct session_vars {
	struct msg_var *v;
	size_t n;
};

void
policy_session_end(struct policy_gen *g, void **vars)
{
	struct session_vars *sv = vars == NULL ? NULL : *vars;

	(void)g;
	if (sv == NULL)
		return;
	for (size_t i = 0; i < sv->n; i++) {
		free(sv->v[i].key);
		free(sv->v[i].json);
	}
	free(sv->v);
	free(sv);
	*vars = NULL;
}

/* Where the values are; false when there are none yet (a session's first). */
static bool
list_of(const struct obj *o, struct msg_var ***v, size_t **n)
{
	struct msg *m = o->s->msg;
	struct session_vars *sv;

	switch (o->kind) {
	case OBJ_MESSAGE_VARS:
		*v = &m->vars;
		*n = &m->nvars;
		return true;
	case OBJ_RCPT_VARS:
		if (m == NULL || o->index >= m->nrcpts)
			return false;
		*v = &m->rcpts[o->index].vars;
		*n = &m->rcpts[o->index].nvars;
		return true;
	default:
		sv = o->s->session->vars == NULL ? NULL : *o->s->session->vars;
		if (sv == NULL)
			return false;
		*v = &sv->v;
		*n = &sv->n;
		return true;
	}
}

/* For a session: json NULL removes; false past its limit. */
static bool
list_set(struct msg_var **v, size_t *n, const char *key, const char *json)
{
	size_t at = *n, sum = json == NULL ? 0 : strlen(key) + strlen(json);

	for (size_t i = 0; i < *n; i++) {
		if (strcmp((*v)[i].key, key) == 0)
			at = i;
		else
			sum += strlen((*v)[i].key) + strlen((*v)[i].json);
	}
	if (json == NULL) {
		if (at < *n) {
			free((*v)[at].key);
			free((*v)[at].json);
			(*v)[at] = (*v)[--*n];
		}
		return true;
	}
	if (sum > VARS_MAX_SESSION)
		return false;
	if (at == *n) {
		*v = xrealloc(*v, (*n + 1) * sizeof **v);
		(*v)[(*n)++] = (struct msg_var){ .key = xstrdup(key), .json = NULL };
	}
	free((*v)[at].json);
	(*v)[at].json = xstrdup(json);
	return true;
}

static void
push_value(lua_State *L, const char *json)
{
	policy_json_decode(L, json, strlen(json));
	if (lua_istable(L, -1))
		policy_freeze(L, -1);
}

static bool
vars_index(lua_State *L, const struct obj *o)
{
	const char *key = obj_check_token(L, 2, "vars", "key");
	struct msg_var **v;
	size_t *n;

	if (list_of(o, &v, &n)) {
		for (size_t i = 0; i < *n; i++) {
			if (strcmp((*v)[i].key, key) == 0) {
				push_value(L, (*v)[i].json);
				return true;
			}
		}
	}
	lua_pushnil(L);
	return true;
}

static bool
vars_newindex(lua_State *L, const struct obj *o)
{
	const char *key = obj_check_token(L, 2, "vars", "key"), *json = NULL;
	bool is_session = o->kind == OBJ_SESSION_VARS, ok;
	size_t max = is_session ? VARS_MAX_SESSION : VARS_MAX_MESSAGE;
	struct msg_var **v;
	size_t *n;
	char what[80];

	if (!is_session)
		obj_check_edit(L, o, "vars");
	else if (o->s->session->vars == NULL)
		luaL_error(L, "session.vars cannot be kept here");
	if (!lua_isnil(L, 3)) {
		struct buf *out = policy_push_buf(L, max + 1);

		policy_json_encode(L, 3, out);
		if (!buf_addc(out, '\0'))
			luaL_error(L, "vars.%s: more than %d octets", key, (int)max);
		json = buf_peek(out);
	}
	snprintf(what, sizeof what, "set vars.%s", key);
	/* A session's values are bookkeeping of the policy's own: advisory handlers keep theirs. */
	if (!policy_change_check(L, what) && !is_session)
		return true;
	if (is_session && *o->s->session->vars == NULL)
		*o->s->session->vars = xcalloc(1, sizeof(struct session_vars));
	if (o->kind == OBJ_MESSAGE_VARS)
		ok = msg_set_var(o->s->msg, key, json);
	else if (o->kind == OBJ_RCPT_VARS)
		ok = o->index < o->s->msg->nrcpts &&
		    msg_rcpt_set_var(&o->s->msg->rcpts[o->index], key, json);
	else
		ok = list_of(o, &v, &n) && list_set(v, n, key, json);
	if (!ok)
		luaL_error(L, "vars.%s: all vars of a %s together may have %d octets of JSON", key,
		    is_session ? "session" : o->kind == OBJ_RCPT_VARS ? "recipient" : "message", (int)max);
	return true;
}

static bool
vars_pair(lua_State *L, const struct obj *o, size_t i)
{
	struct msg_var **v;
	size_t *n;

	if (!list_of(o, &v, &n) || i >= *n)
		return false;
	lua_pushstring(L, (*v)[i].key);
	push_value(L, (*v)[i].json);
	return true;
}

const struct obj_class obj_vars = {
	.what = "vars",
	.index = vars_index,
	.newindex = vars_newindex,
	.pair = vars_pair,
};
