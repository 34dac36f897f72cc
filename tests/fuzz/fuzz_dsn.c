/* A notice made of what strangers wrote: replies of a next hop, addresses, parameters, the header
 * and body of the original. The first octets are switches, then come texts, each
 * ended by NUL. Whatever they hold, the notice keeps its form, and body never gets into one about
 * tagged mail. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message/message_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define TOKEN "7f3e-only-in-the-body"

static char *
next_text(const uint8_t **at, const uint8_t *end)
{
	const uint8_t *nul = memchr(*at, '\0', (size_t)(end - *at));
	char *s = xstrndup((const char *)*at, (size_t)((nul == NULL ? end : nul) - *at));

	*at = nul == NULL ? end : nul + 1;
	return s;
}

/* Stored content has CR LF at the end of each line and nowhere else. */
static char *
as_lines(const char *s, const char *before)
{
	struct buf b;

	buf_init(&b, 2 * strlen(s) + 100);
	buf_adds(&b, before);
	for (; *s != '\0'; s++)
		if (*s == '\n')
			buf_adds(&b, "\r\n");
		else if (*s != '\r')
			buf_addc(&b, *s);
	buf_adds(&b, "\r\n");
	return buf_take(&b);
}

static bool
has_8bit(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] >= 0x80)
			return true;
	return false;
}

static size_t
count(struct slice in, const char *word)
{
	const char *p = in.p, *end = in.p + in.n;
	size_t n = 0;

	for (; (p = memmem(p, (size_t)(end - p), word, strlen(word))) != NULL; p++)
		n++;
	return n;
}

static void
check_lines(struct slice text)
{
	for (size_t i = 0; i < text.n; i++) {
		MUST(text.p[i] != '\0');
		MUST(text.p[i] != '\n' || (i > 0 && text.p[i - 1] == '\r'));
		MUST(text.p[i] != '\r' || (i + 1 < text.n && text.p[i + 1] == '\n'));
	}
	MUST(text.n >= 2 && text.p[text.n - 1] == '\n');
}

/* No field but those that a notice has: what a stranger wrote began none. */
static void
check_header(struct slice header, bool has_hook_fields)
{
	static const char *const known[] = { "Date", "From", "To", "Subject", "Message-ID", "In-Reply-To",
		"References", "Auto-Submitted", "TLS-Required", "Content-Language", "MIME-Version",
		"Content-Transfer-Encoding", "Content-Type" };
	struct header h;

	MUST(header_parse(&h, header) && h.end == header.n);
	for (size_t i = 0; i < h.n; i++) {
		size_t k = 0;

		while (k < NELEMS(known) && !slice_is_nocase(h.fields[i].name, known[k]))
			k++;
		MUST(k < NELEMS(known) ? header_count(&h, known[k]) == 1 : has_hook_fields);
	}
	MUST(header_count(&h, "Date") == 1 && header_count(&h, "Content-Type") == 1);
	header_fini(&h);
}

/* The parts between the delimiters: two, or three with what is returned, and those of a hook; the second is the status,
 * one group for the message and one for the recipient. */
static void
check_parts(const struct content *c, size_t attached, bool *has_third_out)
{
	const char *at = NULL, *end, *second;
	char line[100], last[100];
	struct slice all = { c->mem, (size_t)c->size }, part;
	size_t n;

	/* The last thing in the header, whatever stands before it. */
	for (const char *p = c->mem; (p = memmem(p, (size_t)(c->mem + c->header_size - p),
	    "boundary=\"", 10)) != NULL;)
		at = p += 10;
	MUST(at != NULL);
	n = strcspn(at, "\"");
	snprintf(line, sizeof line, "\r\n--%.*s\r\n", (int)n, at);
	snprintf(last, sizeof last, "\r\n--%.*s--\r\n", (int)n, at);
	MUST(count(all, line) - attached == 2 || count(all, line) - attached == 3);
	MUST(count(all, last) == 1);
	MUST(memcmp(c->mem + c->size - strlen(last), last, strlen(last)) == 0);
	*has_third_out = count(all, line) > 2;
	second = memmem(c->mem, (size_t)c->size, line, strlen(line));
	second = memmem(second + 1, (size_t)(c->mem + c->size - second - 1), line, strlen(line));
	end = memmem(second + 1, (size_t)(c->mem + c->size - second - 1), line, strlen(line) - 2);
	MUST(second != NULL && end != NULL);
	part = (struct slice){ second, (size_t)(end - second) };
	if (count(part, "Content-Transfer-Encoding: quoted-printable") == 0) {
		MUST(count(part, "\r\nFinal-Recipient: ") == 1 && count(part, "\r\nAction: ") == 1);
		MUST(count(part, "\r\nStatus: ") == 1 && count(part, "\r\nDiagnostic-Code: ") <= 1);
		MUST(count(part, "\r\nRemote-MTA: ") <= 1 && count(part, "\r\n\r\n") == 2);
	}
}

static void
check(const struct msg *m, const struct dsn_request *q, const struct dsn_words *w)
{
	struct slice all = { m->content->mem, (size_t)m->content->size };
	struct content *less;
	bool third, still;

	MUST(m->from[0] == '\0' && m->nrcpts == 1 && m->rcpts[0].notify == NOTIFY_NEVER);
	MUST((m->flags & MSG_NOTICE) != 0);
	check_lines(all);
	check_header((struct slice){ all.p, (size_t)m->header_size }, w->nheaders > 0);
	check_parts(m->content, dsn_is_tagged(q) ? 0 : w->nattached, &third);
	MUST((m->flags & MSG_HAS_8BIT) != 0 || !has_8bit(all.p, all.n));
	MUST((m->flags & MSG_UTF8_HEADER) != 0 || !has_8bit(all.p, (size_t)m->header_size));
	if (dsn_is_tagged(q) || w->return_content != RET_FULL)
		MUST(count(all, TOKEN) == 0);		/* */
	less = dsn_reduce(m->content);
	MUST((less != NULL) == third);
	if (less != NULL) {
		check_lines((struct slice){ less->mem, (size_t)less->size });
		check_parts(less, 0, &still);
		MUST(!still && count((struct slice){ less->mem, (size_t)less->size }, TOKEN) == 0);
		content_unref(less);
	}
}

/* A notice read back from a damaged queue. */
static void
reduce_anything(const char *text)
{
	size_t n = strlen(text);
	struct content *c = content_from_memory(xstrdup(text), n, n / 2), *less = dsn_reduce(c);

	content_unref(less);
	content_unref(c);
}

/* ---- What the input says ---- */
enum { T_HEADER, T_BODY, T_FROM, T_ENVID, T_ADDRESS, T_ORCPT, T_STATUS, T_MTA, T_REPLY, T_DIAGNOSTIC,
	T_FROM_HEADER, T_TEXT, T_HTML, T_FOOTER, T_SUBJECT, T_HOOK_HEADER, TEXTS };

static const char *
or_null(const char *s)
{
	return s[0] == '\0' ? NULL : s;
}

static struct msg *
make_original(uint8_t flags, char *const *t, const char *header, const char *body)
{
	struct msg *m = msg_new();

	m->from = xstrdup(t[T_FROM][0] == '\0' ? "a@b.example" : t[T_FROM]);
	m->from_domain = xstrdup("b.example");
	m->envid = xstrdup(or_null(t[T_ENVID]));
	m->ret = flags & 4 ? RET_FULL : RET_HDRS;
	m->tls_no = flags & 8 ? TLS_NO_HONOURED : TLS_NO_ABSENT;
	m->flags = (flags & 16 ? MSG_REQUIRETLS : 0) | (flags & 32 ? MSG_SMTPUTF8 : 0);
	if (has_8bit(header, strlen(header)))
		m->flags |= MSG_HAS_8BIT | MSG_UTF8_HEADER;
	if (has_8bit(body, strlen(body)))
		m->flags |= MSG_HAS_8BIT;
	m->received_ms = 1700000000000;
	return m;
}

/* What a hook may have done. */
static void
change_words(struct dsn_words *w, const uint8_t *data, char *const *t)
{
	if (data[1] & 2)
		w->return_content = RET_FULL;
	w->redact_diagnostic = (data[1] & 4) != 0;
	w->redact_hosts = (data[1] & 8) != 0;
	w->redact_rcpts = (data[1] & 16) != 0;
	w->redact_received = (data[1] & 32) != 0;
	w->redact_subject = (data[1] & 64) != 0;
	w->protect = data[1] & 128 ? DSN_REDACTED : DSN_AS_CONFIGURED;
	if (data[2] & 1)
		w->text = xstrdup(t[T_TEXT]);
	if (data[2] & 2)
		w->html = xstrdup(t[T_HTML]);
	if (data[2] & 4)
		w->footer = xstrdup(t[T_FOOTER]);
	if (data[2] & 8) {
		free(w->subject);
		w->subject = xstrdup(t[T_SUBJECT]);
	}
	if (data[2] & 16) {
		w->headers = xcalloc(1, sizeof *w->headers);
		w->headers[0] = xstrdup(t[T_HOOK_HEADER]);
		w->nheaders = 1;
	}
	if (data[2] & 32) {
		w->attached = xcalloc(1, sizeof *w->attached);
		w->attached[0] = (struct dsn_attachment){ xstrdup(t[T_SUBJECT]), xstrdup("text/plain"), xstrdup(t[T_HTML]),
		    strlen(t[T_HTML]) };
		w->nattached = 1;
	}
	if (data[2] & 64) {
		w->said = xcalloc(1, sizeof *w->said);
		w->said[0] = xstrdup(t[T_TEXT]);
		w->nsaid = 1;
	}
	if (data[2] & 128) {
		w->fields = xcalloc(2, sizeof *w->fields);
		w->fields[0] = xstrdup(t[T_FOOTER]);
		w->fields[1] = xstrdup(t[T_TEXT]);
		w->nfields = 2;
	}
}

static void
build(const uint8_t *data, char *const *t)
{
	static const enum dsn_action kinds[] = { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED };
	static const char *const all_languages[] = { "en", "de", "fr", NULL };
	char *header = as_lines(t[T_HEADER], "Subject: original\r\n"), *body = as_lines(t[T_BODY], TOKEN);
	struct msg *orig = make_original(data[0], t, header, body), *m;
	const struct dsn_rcpt r = {
		.address = t[T_ADDRESS], .orcpt = or_null(t[T_ORCPT]), .action = kinds[data[0] & 3],
		.status = t[T_STATUS], .remote_mta = or_null(t[T_MTA]), .reply = or_null(t[T_REPLY]),
		.diagnostic = or_null(t[T_DIAGNOSTIC]), .last_attempt_ms = 1700000000000,
		.retry_until_ms = 1700000000000,
	};
	const struct dsn_request q = {
		.msg = orig, .rcpts = &r, .nrcpts = 1, .kind = r.action, .reporting_mta = "gw.example",
		.header = slice_of(header), .body = slice_of(body), .id = 7, .wall_ms = 1700000000000,
		.return_path_utf8 = !ascii_is_printable(orig->from, strlen(orig->from)),
		.tagged = (data[0] & 128) != 0, .languages = data[1] & 1 ? all_languages : NULL,
	};
	struct dsn_words w;
	struct err err;

	dsn_words_init(&w, &q, t[T_FROM_HEADER]);
	change_words(&w, data, t);
	m = dsn_build(&q, &w, &err);
	MUST(m != NULL);
	check(m, &q, &w);
	msg_unref(m);
	msg_unref(orig);
	dsn_words_fini(&w);
	free(header);
	free(body);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const uint8_t *at = data + 3, *end = data + n;
	char *t[TEXTS];

	if (n < 3 || n > 20000)
		return 0;
	for (int i = 0; i < TEXTS; i++)
		t[i] = next_text(&at, end);
	build(data, t);
	reduce_anything(t[T_HEADER]);
	for (int i = 0; i < TEXTS; i++)
		free(t[i]);
	return 0;
}
