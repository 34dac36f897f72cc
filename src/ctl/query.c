/* From a request's JSON to a question for the store. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/ctl_int.h"
#include "trust/duties.h"

static const struct {
	const char *name;
	enum store_verb verb;
	bool changes;
} verbs[] = {
	{ "queue.list", STORE_LIST, false },
	{ "queue.show", STORE_SHOW, false },
	{ "queue.hold", STORE_HOLD, true },
	{ "queue.release", STORE_RELEASE, true },
	{ "queue.retry", STORE_RETRY, true },
	{ "queue.delete", STORE_DELETE, true },
	{ "queue.bounce", STORE_BOUNCE, true },
	{ "queue.require-tls", STORE_REQUIRE_TLS, true },
	{ "evidence.show", STORE_EVIDENCE, false },
	{ "evidence.verify", STORE_EVIDENCE_VERIFY, false },
	{ "evidence.export", STORE_EVIDENCE_EXPORT, false },
	{ "seen", STORE_SEEN, false },
	{ "queue.status", STORE_STATUS, false },
	{ "tlsrpt.show", STORE_TLSRPT, false },
	{ "trace.show", STORE_TRACE, false },
};

static char *
text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s == NULL || *s == '\0' ? NULL : xstrdup(s);
}

/* "2026-11-23T21:15:00Z", "2026-11-23", or a duration that reaches back from now ("2h"). */
static bool
time_of(const json_t *o, const char *key, int64_t *out, struct err *err)
{
	const char *s = json_string_value(json_object_get(o, key)), *end = NULL;
	struct tm tm = { 0 };
	int64_t back;

	*out = 0;
	if (s == NULL)
		return true;
	if (duration_parse(slice_of(s), &back)) {
		*out = clock_wall_ms() - back;
		return true;
	}
	end = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	if (end == NULL) {
		memset(&tm, 0, sizeof tm);
		end = strptime(s, "%Y-%m-%d", &tm);
	}
	if (end == NULL || (*end != '\0' && strcmp(end, "Z") != 0)) {
		err_set(err, "%s: \"%s\" is neither a time (2026-11-23T21:15:00Z) nor a duration (2h)", key, s);
		return false;
	}
	*out = (int64_t)timegm(&tm) * 1000;
	return true;
}

static bool
filter_of(const json_t *f, struct store_filter *to, struct err *err)
{
	const char *id = json_string_value(json_object_get(f, "id"));

	if (id != NULL && !id_parse(id, &to->id)) {
		err_set(err, "\"%.40s\" is not a message id (13 letters and digits, as the log shows them)", id);
		return false;
	}
	to->from = text_of(f, "from");
	to->to = text_of(f, "to");
	to->domain = text_of(f, "domain");
	to->route = text_of(f, "route");
	to->tag = text_of(f, "tag");
	to->state = text_of(f, "state");
	to->head = text_of(f, "head");
	to->after = (uint64_t)json_integer_value(json_object_get(f, "after"));
	to->limit = (unsigned)json_integer_value(json_object_get(f, "limit"));
	if (to->state != NULL && strcmp(to->state, "queued") != 0 && strcmp(to->state, "active") != 0 &&
	    strcmp(to->state, "held") != 0) {
		err_set(err, "state: \"%.20s\" is not one of queued, active, held", to->state);
		return false;
	}
	return time_of(f, "since", &to->since_ms, err) && time_of(f, "until", &to->until_ms, err);
}

bool
ctl_query_parse(const json_t *request, struct store_query *q, struct err *err)
{
	const char *name = json_string_value(json_object_get(request, "verb"));
	const char *level = json_string_value(json_object_get(request, "level"));
	enum tls_level l = TLS_REQUIRETLS;
	size_t i;

	for (i = 0; i < NELEMS(verbs) && (name == NULL || strcmp(verbs[i].name, name) != 0); i++)
		;
	if (i == NELEMS(verbs)) {
		err_set(err, "unknown request \"%.40s\"", name == NULL ? "" : name);
		return false;
	}
	q->verb = verbs[i].verb;
	if (!filter_of(json_object_get(request, "filter"), &q->filter, err))
		return false;
	q->reason = text_of(request, "reason");
	q->dry_run = json_is_true(json_object_get(request, "dry_run"));
	if (verbs[i].changes && q->reason == NULL && !q->dry_run) {
		err_set(err, "--reason is needed: it is recorded with the change");
		return false;
	}
	if (q->verb == STORE_REQUIRE_TLS) {
		if (level != NULL && !tls_level_parse(slice_of(level), &l)) {
			err_set(err, "level: \"%.20s\" is not one of encrypt, verify, secure, requiretls", level);
			return false;
		}
		q->duties = duties_of_level(l, DUTY_BY_ADMIN);
	}
	return true;
}
