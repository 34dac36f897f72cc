/* The canonical text of an evidence record, and the hash that chains one row to the next. */
#include "config.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "trust/evidence.h"

/* A value from outside may be long (a reply, the list of hosts); a record must stay a record. */
#define VALUE_MAX 2048u
#define TEXT_MAX (192u * 1024)

#define FIELD(name) #name,
const char *const evidence_fields[] = { EVIDENCE_FIELDS(FIELD) };
const size_t evidence_nfields = NELEMS(evidence_fields);

struct writer {
	struct buf b;
	bool first;
};

static void
key(struct writer *w, const char *name)
{
	if (!w->first)
		buf_addc(&w->b, ',');
	w->first = false;
	buf_addc(&w->b, '"');
	buf_adds(&w->b, name);
	buf_adds(&w->b, "\":");
}

/* text_escape leaves printable text without NUL and with \xHH for the rest; what JSON still wants
 * escaped is the quote and the backslash of that (I7). */
static void
string(struct writer *w, const char *name, const char *value)
{
	char small[VALUE_MAX];
	size_t n, from = 0;

	if (value == NULL)
		return;
	n = text_escape(small, sizeof small, value, strlen(value), true);
	key(w, name);
	buf_addc(&w->b, '"');
	for (size_t i = 0; i < n; i++) {
		if (small[i] != '"' && small[i] != '\\')
			continue;
		buf_add(&w->b, small + from, i - from);
		buf_addc(&w->b, '\\');
		from = i;
	}
	buf_add(&w->b, small + from, n - from);
	buf_addc(&w->b, '"');
}

static void
number(struct writer *w, const char *name, uint64_t value)
{
	key(w, name);
	buf_printf(&w->b, "%" PRIu64, value);
}

static void
number_if(struct writer *w, const char *name, uint64_t value)
{
	if (value != 0)
		number(w, name, value);
}

static void
boolean(struct writer *w, const char *name, bool value)
{
	key(w, name);
	buf_adds(&w->b, value ? "true" : "false");
}

static void
head(struct writer *w, const struct evidence *e)
{
	char when[32], id[ID_TEXT];

	date_iso8601(when, sizeof when, e->wall_ms);
	string(w, "at", when);
	string(w, "event", e->event);
	if (e->message != 0) {
		id_format(id, e->message);
		string(w, "message", id);
		number(w, "rcpt_num", e->rcpt_num);
	}
	string(w, "from", e->from);
	string(w, "rcpt", e->rcpt);
	number_if(w, "removed_to", e->removed_to);
	string(w, "removed_hash", e->removed_hash);
}

static void
asked_and_published(struct writer *w, const struct evidence *e)
{
	char mask[400];

	if (e->duties != 0) {
		duties_format(mask, sizeof mask, e->duties);
		string(w, "duties", mask);
	}
	string(w, "asked_by", e->asked_by);
	string(w, "tls_required_no", e->tls_required_no);
	string(w, "domain", e->domain);
	string(w, "route", e->route);
	string(w, "mx", e->mx);
	string(w, "sts_mode", e->sts_mode);
	string(w, "sts_id", e->sts_id);
	string(w, "tlsa", e->tlsa);
}

static void
negotiated(struct writer *w, const struct evidence *e)
{
	string(w, "host", e->host);
	string(w, "ip", e->ip);
	number_if(w, "port", e->port);
	string(w, "tls_version", e->tls_version);
	string(w, "tls_cipher", e->tls_cipher);
	string(w, "tls_group", e->tls_group);
	string(w, "cert_sha256", e->cert_sha256);
	string(w, "spki_sha256", e->spki_sha256);
	string(w, "verified", e->verified);
	string(w, "verify_error", e->verify_error);
	/* Without a host nothing was offered, and "false" would say that somebody had looked. */
	if (e->host != NULL) {
		boolean(w, "requiretls_listed", e->requiretls_listed);
		boolean(w, "requiretls_sent", e->requiretls_sent);
	}
	string(w, "auth", e->auth);
	string(w, "asserted", e->asserted);
	string(w, "relaxed", e->relaxed);
}

static void
concluded(struct writer *w, const struct evidence *e)
{
	string(w, "verdict", e->verdict);
	string(w, "reason", e->reason);
	number_if(w, "row", e->row);
	if (e->reply_code > 0)
		number(w, "reply_code", (uint64_t)e->reply_code);
	string(w, "reply_status", e->reply_status);
	string(w, "reply_text", e->reply_text);
	string(w, "text", e->text);
	string(w, "hosts", e->hosts);
	number_if(w, "attempts", e->attempts);
	string(w, "generation", e->generation);
	string(w, "by", e->by);
	string(w, "why", e->why);
}

char *
evidence_text(const struct evidence *e)
{
	struct writer w = { .first = true };

	buf_init(&w.b, TEXT_MAX);
	buf_addc(&w.b, '{');
	head(&w, e);
	asked_and_published(&w, e);
	negotiated(&w, e);
	concluded(&w, e);
	/* Fewer than 45 values below VALUE_MAX octets, each octet at most doubled, cannot get past
	 * TEXT_MAX, so that none of the additions above needs a check. */
	buf_addc(&w.b, '}');
	return buf_take(&w.b);
}

static EVP_MD *sha256;

static void
fetch_sha256(void)
{
	/* Once: an implicit fetch costs more than the hash. */
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	MUST(sha256 != NULL);
}

void
evidence_hash(char dst[EVIDENCE_HASH], const char *prev, const char *text)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	uint8_t sum[32];
	unsigned n = 0;
	EVP_MD_CTX *c;

	pthread_once(&once, fetch_sha256);
	c = EVP_MD_CTX_new();
	MUST(c != NULL && EVP_DigestInit_ex(c, sha256, NULL) == 1 &&
	    EVP_DigestUpdate(c, prev, strlen(prev)) == 1 && EVP_DigestUpdate(c, "\n", 1) == 1 &&
	    EVP_DigestUpdate(c, text, strlen(text)) == 1 && EVP_DigestFinal_ex(c, sum, &n) == 1 &&
	    n == sizeof sum);
	EVP_MD_CTX_free(c);
	hex_encode(dst, sum, sizeof sum);
}
