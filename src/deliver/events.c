#include "config.h"

#include <jansson.h>
#include <stdlib.h>

#include "deliver/events.h"

static json_t *
value_of(const struct log_kv *kv)
{
	char id[ID_TEXT], text[1024];

	switch (kv->kind) {
	case LOG_KV_STR:
		text_escape(text, sizeof text, kv->s, slice_of(kv->s).n, true);
		return json_string(text);
	case LOG_KV_BYTES:
		text_escape(text, sizeof text, kv->s, kv->n, true);
		return json_string(text);
	case LOG_KV_INT:
		return json_integer(kv->i);
	case LOG_KV_UINT:
		return json_integer((json_int_t)kv->u);
	case LOG_KV_ID:
		id_format(id, kv->u);
		return json_string(id);
	case LOG_KV_SKIP:
		break;
	}
	return json_null();
}

static void
done(void *owner, uint64_t ticket, struct verdict *v)
{
}

void
events_emit(struct policy *p, struct policy_gen *g, const char *phrase, const struct log_kv *kv)
{
	struct policy_subject subject = { .rcpt = -1 };
	struct verdict v = { 0 };
	uint64_t ticket = 0;
	json_t *j;
	char *text;

	if (!policy_gen_has(g, HOOK_LOG))
		return;
	j = json_pack("{s:s}", "event", phrase);
	for (; kv->key != NULL; kv++)
		if (kv->kind != LOG_KV_SKIP && (kv->kind != LOG_KV_STR || kv->s != NULL))
			json_object_set_new(j, kv->key, value_of(kv));
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	subject.event_json = text;
	if (policy_call(p, g, HOOK_LOG, &subject, &v, done, NULL, &ticket) == POLICY_LATER)
		policy_cancel(p, ticket);
	verdict_fini(&v);
	free(text);
}
