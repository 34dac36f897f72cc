#include "config.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "rehearsal/world.h"

#define DEFAULT_TTL 300

struct entry {
	UT_hash_handle hh;
	struct book_said said;
	uint8_t **rdata;
	size_t *len, n;
	char key[];		/* "MX clinic.example" */
};
struct sts {
	UT_hash_handle hh;
	char *domain, *text, *why;
};
struct http {			/* what a server answers */
	UT_hash_handle hh;
	long status;
	char *headers, *body, *fail;
	char key[];		/* "GET https://cmdb.acme.example/host"; "* ..." for any method */
};
struct book {
	struct http *http;
	char **requests, **sent;
	size_t nrequests;
	struct entry *entries;
	struct sts *sts;
	struct shelf *shelf;
	struct buf missing;
	enum dns_status (*ask)(void *owner, const char *name, uint16_t type, uint8_t **pkt, size_t *pkt_n, bool *secure,
	    char **why);
	void *ask_owner;
};

static const struct type {
	const char *name;
	uint16_t type;
} types[] = {
	{ "A", DNS_A }, { "CNAME", DNS_CNAME }, { "PTR", DNS_PTR }, { "MX", DNS_MX }, { "TXT", DNS_TXT },
	{ "AAAA", DNS_AAAA }, { "TLSA", DNS_TLSA }, { "ANY", 0 },
};

static const char *
type_name(uint16_t type)
{
	for (size_t i = 0; i < NELEMS(types); i++)
		if (types[i].type == type)
			return types[i].name;
	return "?";
}

uint16_t
book_type(const char *name)
{
	for (size_t i = 0; i < NELEMS(types); i++)
		if (strcasecmp(types[i].name, name) == 0)
			return types[i].type;
	return 0;
}

/* ---- Entries ---- */

static void
make_key(char dst[300], const char *name, uint16_t type)
{
	size_t n;

	snprintf(dst, 300, "%s %.255s", type_name(type), name);
	for (char *p = dst; *p != '\0'; p++)
		*p = *p >= 'A' && *p <= 'Z' && p > strchr(dst, ' ') ? (char)(*p | 32) : *p;
	n = strlen(dst);
	if (n > 0 && dst[n - 1] == '.')
		dst[n - 1] = '\0';
}

static struct entry *
find(const struct book *b, const char *name, uint16_t type)
{
	struct entry *e;
	char key[300];

	make_key(key, name, type);
	HASH_FIND_STR(b->entries, key, e);
	return e;
}

bool
book_has(const struct book *b, const char *name, uint16_t type)
{
	return find(b, name, type) != NULL;
}

static bool
knows_name(const struct book *b, const char *name, bool *secure)
{
	bool any = false;

	for (size_t i = 0; i < NELEMS(types); i++) {
		const struct entry *e = find(b, name, types[i].type);

		if (e == NULL || (e->said.status != DNS_OK && e->said.status != DNS_NODATA))
			continue;
		*secure = any ? *secure && e->said.secure : e->said.secure;
		any = true;
	}
	return any;
}

static void
entry_free(struct book *b, struct entry *e)
{
	HASH_DEL(b->entries, e);
	for (size_t i = 0; i < e->n; i++)
		free(e->rdata[i]);
	free(e->rdata);
	free(e->len);
	free(e->said.why);
	free(e);
}

/* ---- Records ---- */

/* A name in wire form; the length, 0 when it is none. */
static size_t
put_name(uint8_t dst[255], const char *name)
{
	size_t at = 0;

	while (*name != '\0') {
		size_t n = strcspn(name, ".");

		if (n == 0 && name[1] == '\0')
			break;
		if (n == 0 || n > 63 || at + n + 2 > 255)
			return 0;
		dst[at++] = (uint8_t)n;
		memcpy(dst + at, name, n);
		at += n;
		name += n;
		if (*name == '.')
			name++;
	}
	dst[at++] = 0;
	return at;
}

static size_t
put_txt(uint8_t *dst, const char *text)
{
	size_t left = strlen(text), at = 0;

	do {
		size_t n = left > 255 ? 255 : left;

		dst[at++] = (uint8_t)n;
		memcpy(dst + at, text, n);
		at += n;
		text += n;
		left -= n;
	} while (left > 0);
	return at;
}

static size_t
put_tlsa(uint8_t *dst, size_t room, const char *text)
{
	unsigned u, s, m;
	int used = 0;
	size_t at = 3;

	if (sscanf(text, "%3u %3u %3u %n", &u, &s, &m, &used) != 3 || used == 0 || u > 255 || s > 255 || m > 255)
		return 0;
	dst[0] = (uint8_t)u;
	dst[1] = (uint8_t)s;
	dst[2] = (uint8_t)m;
	/* Digests may be written short: "3 1 1 ab12" is filled up, so that it counts as usable. */
	for (const char *p = text + used; *p != '\0'; p += 2) {
		unsigned v;

		if (*p == ' ') {
			p--;
			continue;
		}
		if (at >= room || sscanf(p, "%2x", &v) != 1 || p[1] == '\0')
			return 0;
		dst[at++] = (uint8_t)v;
	}
	for (size_t want = 3 + (m == 1 ? 32 : m == 2 ? 64 : 0); at < want;)
		dst[at++] = 0;
	return at;
}

static size_t
put_rdata(uint8_t *dst, size_t room, uint16_t type, const char *text)
{
	unsigned pref;
	int used = 0;
	size_t n;

	switch (type) {
	case DNS_A:
		return inet_pton(AF_INET, text, dst) == 1 ? 4 : 0;
	case DNS_AAAA:
		return inet_pton(AF_INET6, text, dst) == 1 ? 16 : 0;
	case DNS_MX:
		if (sscanf(text, "%5u %n", &pref, &used) != 1 || used == 0 || pref > 65535)
			return 0;
		dst[0] = (uint8_t)(pref >> 8);
		dst[1] = (uint8_t)pref;
		n = put_name(dst + 2, text + used);
		return n == 0 ? 0 : n + 2;
	case DNS_TXT:
		return strlen(text) > room / 2 ? 0 : put_txt(dst, text);
	case DNS_TLSA:
		return put_tlsa(dst, room, text);
	case DNS_CNAME:
	case DNS_PTR:
		return put_name(dst, text);
	default:
		return 0;
	}
}

bool
book_say(struct book *b, const char *name, uint16_t type, const char *const *rr, size_t n,
    const struct book_said *how, struct err *err)
{
	struct entry *e = find(b, name, type);
	uint8_t rdata[8192];
	char key[300];

	if (e != NULL)
		entry_free(b, e);
	make_key(key, name, type);
	e = xcalloc(1, sizeof *e + strlen(key) + 1);
	memcpy(e->key, key, strlen(key) + 1);
	e->said = *how;
	e->said.why = xstrdup(how->why);
	if (e->said.ttl == 0)
		e->said.ttl = DEFAULT_TTL;
	if (e->said.status == DNS_OK && n == 0)
		e->said.status = DNS_NODATA;
	e->rdata = xcalloc(n + 1, sizeof *e->rdata);
	e->len = xcalloc(n + 1, sizeof *e->len);
	HASH_ADD_STR(b->entries, key, e);
	for (; e->n < n; e->n++) {
		size_t len = put_rdata(rdata, sizeof rdata, type, rr[e->n]);

		if (len == 0) {
			err_set(err, "\"%s\" is not a record of type %s", rr[e->n], type_name(type));
			entry_free(b, e);
			return false;
		}
		e->rdata[e->n] = xmalloc(len);
		memcpy(e->rdata[e->n], rdata, len);
		e->len[e->n] = len;
	}
	return true;
}

/* ---- Answers ---- */

static void
put16(struct buf *m, unsigned v)
{
	uint8_t b[2] = { (uint8_t)(v >> 8), (uint8_t)v };

	buf_add(m, b, 2);
}

static void
put_rr(struct buf *m, const char *name, uint16_t type, uint32_t ttl, const uint8_t *rdata, size_t n)
{
	uint8_t wire[255];

	buf_add(m, wire, put_name(wire, name));
	put16(m, type);
	put16(m, 1);
	put16(m, ttl >> 16);
	put16(m, ttl & 0xFFFF);
	put16(m, (unsigned)n);
	buf_add(m, rdata, n);
}

static void
put_entry(struct buf *m, const char *name, uint16_t type, const struct entry *e)
{
	for (size_t i = 0; i < e->n; i++)
		put_rr(m, name, type, e->said.ttl, e->rdata[i], e->len[i]);
}

/* The packet's end: head and question before it. */
static void
finish(struct buf *rrs, unsigned count, unsigned rcode, const char *name, uint16_t type, uint8_t **pkt,
    size_t *pkt_n)
{
	uint8_t wire[255];
	struct buf m;

	buf_init(&m, 65535);
	put16(&m, 0);
	put16(&m, 0x8180 | rcode);
	put16(&m, 1);
	put16(&m, count);
	put16(&m, 0);
	put16(&m, 0);
	buf_add(&m, wire, put_name(wire, name));
	put16(&m, type);
	put16(&m, 1);
	buf_add(&m, buf_peek(rrs), rrs->len);
	buf_fini(rrs);
	*pkt_n = m.len;
	*pkt = xmalloc(m.len);
	memcpy(*pkt, buf_peek(&m), m.len);
	buf_fini(&m);
}

/* What follows from what was said: a mail domain has no MTA-STS and no TLS reports, a host no TLSA records and
 * no addresses of the other kind, unless somebody says so. */
static bool
implied(const struct book *b, const char *name, uint16_t type, bool *secure, bool *exists)
{
	const char *of = NULL;

	*exists = false;
	*secure = false;
	if (type == DNS_TXT && (strncmp(name, "_mta-sts.", 9) == 0 || strncmp(name, "_smtp._tls.", 11) == 0))
		return true;
	if (type == DNS_TLSA && name[0] == '_' && strstr(name, "._tcp.") != NULL)
		of = strstr(name, "._tcp.") + 6;
	if (of != NULL)
		return knows_name(b, of, secure);
	*exists = true;
	return (type == DNS_A || type == DNS_AAAA || type == DNS_MX || type == DNS_CNAME) &&
	    knows_name(b, name, secure);
}

enum dns_status
book_look(void *book, const char *name, uint16_t type, uint8_t **pkt, size_t *pkt_n, bool *secure, char **why)
{
	struct book *b = book;
	const struct entry *e;
	char at[256];
	unsigned count = 0, rcode = 0;
	struct buf rrs;
	bool all = true, here = false, exists;

	snprintf(at, sizeof at, "%s", name);
	buf_init(&rrs, 60000);
	for (int links = 0; links < 10; links++) {
		e = find(b, at, type);
		if (e == NULL)
			e = find(b, at, 0);
		if (e != NULL) {
			all = all && e->said.secure;
			break;
		}
		e = find(b, at, DNS_CNAME);
		if (e == NULL || e->n == 0)
			break;
		all = all && e->said.secure;
		put_entry(&rrs, at, DNS_CNAME, e);
		count++;
		/* Plain labels: it was made here. */
		at[0] = '\0';
		for (const uint8_t *p = e->rdata[0]; *p != 0; p += *p + 1)
			snprintf(at + strlen(at), sizeof at - strlen(at), "%s%.*s", at[0] == '\0' ? "" : ".", *p,
			    (const char *)p + 1);
		e = NULL;
	}
	if (e != NULL && dns_status_is_failure(e->said.status)) {
		*why = xstrdup(e->said.why);
		buf_fini(&rrs);
		return e->said.status;
	}
	if (e != NULL) {
		put_entry(&rrs, at, type, e);
		count += (unsigned)e->n;
		rcode = e->said.status == DNS_NXDOMAIN ? 3 : 0;
	} else if (b->ask == NULL && implied(b, at, type, &here, &exists)) {
		all = all && here;
		rcode = exists ? 0 : 3;
	} else if (b->ask != NULL) {
		buf_fini(&rrs);
		return b->ask(b->ask_owner, name, type, pkt, pkt_n, secure, why);
	} else {
		book_missing_add(b, "DNS: %s %s was asked for and nothing is said of it; say it with "
		    "env.dns:%s(\"%s\", ...), or env.dns:nxdomain(\"%s\")", type_name(type), at,
		    type == DNS_A ? "a" : type == DNS_AAAA ? "aaaa" : type == DNS_MX ? "mx" : type == DNS_TXT ? "txt" :
		    type == DNS_TLSA ? "tlsa" : type == DNS_PTR ? "ptr" : "cname", at, at);
		buf_fini(&rrs);
		return DNS_SERVFAIL;
	}
	*secure = all;
	finish(&rrs, count, rcode, name, type, pkt, pkt_n);
	return DNS_OK;
}

/* ---- MTA-STS ---- */

void
book_sts(struct book *b, const char *domain, const char *id, const char *text, const char *why)
{
	char *name = xasprintf("_mta-sts.%s", domain), *txt = xasprintf("v=STSv1; id=%s;", id);
	struct book_said how = { .status = DNS_OK };
	struct sts *s;
	struct err err;

	book_say(b, name, DNS_TXT, (const char *const[]){ txt }, 1, &how, &err);
	free(name);
	free(txt);
	HASH_FIND_STR(b->sts, domain, s);
	if (s == NULL) {
		s = xcalloc(1, sizeof *s);
		s->domain = xstrdup(domain);
		HASH_ADD_KEYPTR(hh, b->sts, s->domain, strlen(s->domain), s);
	}
	free(s->text);
	free(s->why);
	s->text = xstrdup(text);
	s->why = xstrdup(why);
}

bool
book_fetch(void *book, const char *domain, char **text, char **why)
{
	struct book *b = book;
	struct sts *s;

	HASH_FIND_STR(b->sts, domain, s);
	if (s != NULL && s->text != NULL) {
		*text = xstrdup(s->text);
		return true;
	}
	if (s == NULL)
		book_missing_add(b, "MTA-STS: the policy of %s was fetched and nothing is said of it; say it with "
		    "env.sts:policy(\"%s\", { mode = \"enforce\", mx = { ... } })", domain, domain);
	*why = xstrdup(s == NULL ? "nothing is said of it" : s->why == NULL ? "no answer" : s->why);
	return false;
}

/* ---- HTTP ---- */

static char *
http_key(const char *method, const char *url)
{
	char *key = xasprintf("%s %s", method, url), *port = strstr(key, ":443/");

	if (port == NULL) {
		size_t n = strlen(key);

		port = n > 4 && strcmp(key + n - 4, ":443") == 0 ? key + n - 4 : NULL;
	}
	if (port != NULL)
		memmove(port, port + 4, strlen(port + 4) + 1);
	return key;
}

static void
http_free(struct book *b, struct http *h)
{
	HASH_DEL(b->http, h);
	free(h->headers);
	free(h->body);
	free(h->fail);
	free(h);
}

void
book_http(struct book *b, const char *method, const char *url, long status, const char *headers, const char *body,
    const char *fail)
{
	char *key = http_key(method, url);
	struct http *h;

	HASH_FIND_STR(b->http, key, h);
	if (h != NULL)
		http_free(b, h);
	h = xcalloc(1, sizeof *h + strlen(key) + 1);
	memcpy(h->key, key, strlen(key) + 1);
	h->status = status;
	h->headers = xstrdup(headers);
	h->body = xstrdup(body);
	h->fail = xstrdup(fail);
	HASH_ADD_STR(b->http, key, h);
	free(key);
}

bool
book_answer(void *book, const char *method, const char *url, struct slice sent, long *status, char **headers,
    char **body, const char **kind)
{
	static const char *const kinds[] = { "timeout", "tls", "nxdomain", "servfail" };
	struct book *b = book;
	char *key = http_key(method, url), *any = http_key("*", url);
	struct http *h;

	HASH_FIND_STR(b->http, key, h);
	if (h == NULL)
		HASH_FIND_STR(b->http, any, h);
	b->requests = xrealloc(b->requests, (b->nrequests + 1) * sizeof *b->requests);
	b->sent = xrealloc(b->sent, (b->nrequests + 1) * sizeof *b->sent);
	b->requests[b->nrequests] = xstrdup(key);
	b->sent[b->nrequests++] = slice_dup(sent.p == NULL ? SLICE("") : sent);
	if (h == NULL)
		book_missing_add(b, "HTTP: %s was asked for and nothing is said of it; say it with env.http:answer(\"%s\", "
		    "{ status = 200, body = ... })", key, any + 2);
	free(key);
	free(any);
	if (h != NULL && h->status != 0) {
		*status = h->status;
		*headers = xstrdup(h->headers == NULL ? "" : h->headers);
		*body = xstrdup(h->body == NULL ? "" : h->body);
		return true;
	}
	for (size_t i = 0; h != NULL && i < NELEMS(kinds); i++)
		if (h->fail != NULL && strcmp(kinds[i], h->fail) == 0)
			*kind = kinds[i];
	return false;
}

const char *
book_request(const struct book *b, size_t n, const char **sent)
{
	if (n >= b->nrequests)
		return NULL;
	*sent = b->sent[n];
	return b->requests[n];
}

/* ---- What is missing ---- */

const char *
book_missing(const struct book *b)
{
	return b->missing.len == 0 ? NULL : buf_peek(&b->missing);
}

void
book_missing_add(struct book *b, const char *fmt, ...)
{
	char line[1500];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	/* Its NUL stays behind the text, so that it can be shown as it is. */
	if (b->missing.len > 0 && strstr(buf_peek(&b->missing), line) != NULL)
		return;
	if (b->missing.len > 0)
		b->missing.len--;
	buf_printf(&b->missing, "%s%s", b->missing.len > 0 ? "\n" : "", line);
	buf_add(&b->missing, "", 1);
}

void
book_missing_clear(struct book *b)
{
	buf_consume(&b->missing, b->missing.len);
}

void
book_ask(struct book *b, enum dns_status (*look)(void *owner, const char *name, uint16_t type, uint8_t **pkt,
    size_t *pkt_n, bool *secure, char **why), void *owner)
{
	b->ask = look;
	b->ask_owner = owner;
}

struct shelf *
book_shelf(const struct book *b)
{
	return b->shelf;
}

struct book *
book_new(void)
{
	struct book *b = xcalloc(1, sizeof *b);

	b->shelf = shelf_new();
	buf_init(&b->missing, 64 * 1024);
	return b;
}

void
book_free(struct book *b)
{
	struct entry *e, *te;
	struct sts *s, *ts;
	struct http *h, *th;

	if (b == NULL)
		return;
	shelf_free(b->shelf);
	HASH_ITER(hh, b->http, h, th)
		http_free(b, h);
	for (size_t i = 0; i < b->nrequests; i++) {
		free(b->requests[i]);
		free(b->sent[i]);
	}
	free(b->requests);
	free(b->sent);
	HASH_ITER(hh, b->entries, e, te)
		entry_free(b, e);
	HASH_ITER(hh, b->sts, s, ts) {
		HASH_DEL(b->sts, s);
		free(s->domain);
		free(s->text);
		free(s->why);
		free(s);
	}
	buf_fini(&b->missing);
	free(b);
}
