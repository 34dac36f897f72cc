#include "config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/slice.h"
#include "trust/tlsrpt.h"

#define LINE_SHOWN 1024
#define LINES_SHOWN 1100u	/* more than a policy may name hosts */

/* T-15: those two have a reason; the others where there is more to say than their name does. */
static void
by_fault(struct tlsrpt_verdict *v, enum tls_fault fault, const char *why)
{
	switch (fault) {
	case TLS_FAULT_NONE:
		return;
	case TLS_FAULT_EXPIRED:
		v->result = TLSRPT_EXPIRED;
		return;
	case TLS_FAULT_CHAIN:
		v->result = TLSRPT_NOT_TRUSTED;
		v->reason = why != NULL ? why : "the certificate chain cannot be verified";
		return;
	case TLS_FAULT_NAME:
		v->result = TLSRPT_HOST_MISMATCH;
		v->reason = why;
		return;
	case TLS_FAULT_NO_MATCH:
		v->result = TLSRPT_TLSA_INVALID;
		v->reason = "no TLSA record matches the certificate";
		return;
	}
}

/* What fails under any policy; true: nothing more to ask. */
static bool
by_stage(struct tlsrpt_verdict *v, const struct tlsrpt_facts *f)
{
	switch (f->stage) {
	case TLSRPT_UNTRIED:
		return true;
	case TLSRPT_IN_CLEAR:
		v->result = TLSRPT_NO_STARTTLS;
		return true;
	case TLSRPT_NO_HANDSHAKE:
		v->result = TLSRPT_VALIDATION;
		v->reason = f->why != NULL ? f->why : "the handshake failed";
		return true;
	case TLSRPT_IN_TLS:
		return false;
	}
	return true;
}

static bool
by_tlsa(struct tlsrpt_verdict *v, const struct tlsrpt_facts *f)
{
	*v = (struct tlsrpt_verdict){ TLSRPT_TLSA, NULL, NULL };
	if (f->tlsa == TLSA_FAILED) {
		v->result = TLSRPT_DNSSEC_INVALID;
		v->reason = f->tlsa_why;
		return true;
	}
	if (f->stage == TLSRPT_UNTRIED)
		return false;
	if (by_stage(v, f))
		return true;
	if (f->tlsa == TLSA_UNUSABLE) {
		v->result = TLSRPT_TLSA_INVALID;
		v->reason = "no TLSA record is usable";
		return true;
	}
	if (f->dane != TLS_FAULT_NONE && f->dane != TLS_FAULT_NO_MATCH && f->own_rules)
		return false;
	by_fault(v, f->dane, f->dane == TLS_FAULT_CHAIN ? NULL : f->why);
	return true;
}

static bool
by_sts(struct tlsrpt_verdict *v, const struct tlsrpt_facts *f)
{
	*v = (struct tlsrpt_verdict){ TLSRPT_STS, NULL, NULL };
	if (!f->sts_matches) {
		v->result = TLSRPT_HOST_MISMATCH;
		v->reason = "the policy does not name this host";
		return true;
	}
	if (f->stage == TLSRPT_UNTRIED)
		return false;
	if (by_stage(v, f))
		return true;
	if (f->pkix != TLS_FAULT_NONE && f->own_rules)
		return false;
	by_fault(v, f->pkix, f->why);
	return true;
}

/* A lack of REQUIRETLS is none of these failures (T-29), and whether the message was sent is not
 * asked: in mode testing it is (S-65). */
size_t
tlsrpt_judge(const struct tlsrpt_facts *f, struct tlsrpt_verdict v[TLSRPT_POLICIES])
{
	bool has_sts = f->sts == STS_TESTING || f->sts == STS_ENFORCE;
	size_t n = 0;

	if (f->tlsa != TLSA_NONE)
		n += by_tlsa(&v[n], f);
	if (has_sts && !(f->stage == TLSRPT_UNTRIED && f->tlsa == TLSA_FAILED))
		n += by_sts(&v[n], f);
	if (f->tlsa == TLSA_NONE && !has_sts && f->stage != TLSRPT_UNTRIED) {
		v[n] = (struct tlsrpt_verdict){ TLSRPT_NO_POLICY, NULL, NULL };
		by_stage(&v[n++], f);
	}
	return n;
}

/* ---- Policies as text ---- */

static void
append(json_t *list, struct slice s)
{
	char line[LINE_SHOWN];

	text_escape(line, sizeof line, s.p, s.n, false);
	json_array_append_new(list, json_string(line));
}

static char *
dump(json_t *list)
{
	char *text = json_dumps(list, JSON_COMPACT), *copy = xstrdup(text);

	free(text);
	json_decref(list);
	return copy;
}

char *
tlsrpt_lines(const char *text)
{
	json_t *list = json_array();

	for (size_t n = 0; text != NULL && *text != '\0' && n < LINES_SHOWN; n++) {
		size_t len = strcspn(text, "\n"), kept = len;

		while (kept > 0 && strchr(" \t\r", text[kept - 1]) != NULL)
			kept--;
		if (kept > 0)
			append(list, (struct slice){ text, kept });
		text += len + (text[len] == '\n');
	}
	return dump(list);
}

char *
tlsrpt_list(char *const *v, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		append(list, slice_of(v[i]));
	return dump(list);
}
