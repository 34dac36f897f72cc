/* DKIM signatures that a policy asked for (message:dkim_sign): made when a transaction begins, over the
 * header with its edits and the body, which is read once before it is sent when it is not in memory. A
 * message that shall be signed and cannot be waits: it never goes without. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"
#include "message/dkim.h"

struct signing {
	struct dkim_signer *v[MSG_SIGNATURES_MAX];
	size_t n;
	uint64_t at;			/* octets of the content that were seen */
	void (*then)(struct attempt *a, bool ok);
};

bool
sign_is_wanted(const struct msg *m)
{
	for (size_t i = 0; i < m->nedits; i++)
		if (m->edits[i].op == EDIT_SIGN)
			return true;
	return false;
}

void
sign_fini(struct attempt *a)
{
	struct signing *s = a->signing;

	a->signing = NULL;
	for (size_t i = 0; s != NULL && i < s->n; i++)
		dkim_signer_free(s->v[i]);
	free(s);
}

static void
end(struct attempt *a, bool ok)
{
	void (*then)(struct attempt *, bool) = a->signing->then;

	sign_fini(a);
	then(a, ok);
}

/* On top of all that is there. */
static bool
put(struct attempt *a, const char *field)
{
	size_t n = strlen(field);
	char *head = xmalloc(n + a->head_n + 1);

	memcpy(head, field, n);
	memcpy(head + n, a->head, a->head_n);
	free(a->head);
	a->head = head;
	a->head_n += n;
	return true;
}

static void
finish(struct attempt *a)
{
	struct signing *s = a->signing;
	struct err err = { "" };
	bool ok = true;

	for (size_t i = 0; i < s->n && ok; i++) {
		char *field = dkim_signer_end(s->v[i], &err);

		s->v[i] = NULL;
		ok = field != NULL && put(a, field);
		free(field);
	}
	if (!ok)
		log_error("message not signed", LOG_ID("message", a->msg->id), LOG_S("why", err.text));
	end(a, ok);
}

static bool
add(struct attempt *a, const char *p, size_t n)
{
	struct signing *s = a->signing;
	size_t skip = s->at >= a->msg->header_size ? 0 : (size_t)(a->msg->header_size - s->at);

	s->at += n;
	for (size_t i = 0; i < s->n && skip < n; i++)
		if (!dkim_signer_add(s->v[i], p + skip, n - skip))
			return false;
	return true;
}

void
sign_feed(struct attempt *a, const struct store_content *c)
{
	if (a->signing == NULL)
		return;
	if (c->status != STORE_OK || c->n == 0 || !add(a, c->data, c->n)) {
		log_error("message not signed", LOG_ID("message", a->msg->id), LOG_S("why", "its content could not be read"));
		end(a, false);
	} else if (a->signing->at >= a->msg->content_size) {
		finish(a);
	} else {
		send_fetch_to_sign(a, a->signing->at);
	}
}

static bool
add_signer(struct attempt *a, struct slice header, const char *name)
{
	const struct conf_dkim *k = conf_dkim(a->conf, name);
	struct signing *s = a->signing;
	struct err err = { "" };

	if (k != NULL && k->key.path == NULL)
		return true;		/* a rehearsal, which has no keys */
	if (k == NULL || k->loaded == NULL)
		err_set(&err, "the configuration has no dkim.%s", name);
	else if (s->n < MSG_SIGNATURES_MAX)
		s->v[s->n] = dkim_signer_new(k->loaded, header, &err);
	if (s->n < MSG_SIGNATURES_MAX && s->v[s->n] != NULL) {
		s->n++;
		return true;
	}
	log_error("message not signed", LOG_ID("message", a->msg->id), LOG_S("key", name), LOG_S("why", err.text));
	return false;
}

void
sign_start(struct attempt *a, void (*then)(struct attempt *a, bool ok))
{
	size_t trace_n = a->msg->trace == NULL ? 0 : strlen(a->msg->trace);
	struct slice header = { a->head + trace_n, a->head_n - trace_n };
	bool ok = true;

	sign_fini(a);
	a->signing = xcalloc(1, sizeof *a->signing);
	a->signing->then = then;
	for (size_t i = 0; i < a->msg->nedits && ok; i++)
		if (a->msg->edits[i].op == EDIT_SIGN)
			ok = add_signer(a, header, a->msg->edits[i].value);
	if (ok && a->signing->n > 0)
		ok = a->content != NULL && a->content->mem != NULL ? add(a, a->content->mem, (size_t)a->content->size) :
		    a->chunk != NULL && add(a, a->chunk, a->chunk_n);
	if (!ok)
		end(a, false);
	else if (a->signing->n == 0 || a->signing->at >= a->msg->content_size)
		finish(a);
	else
		send_fetch_to_sign(a, a->signing->at);
}
