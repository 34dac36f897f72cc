/* Notices, read back with a small MIME reader: what they say, what they must never hold. */
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "message/message_int.h"
#include "trust/duties.h"

/* ---- reading ---- */

struct part {
	struct header h;
	struct slice raw;
	char *body;		/* decoded */
	char type[100];
};
struct notice {
	struct msg *msg;
	struct header h;
	struct part parts[6];
	size_t n;
};

static char *
value_of(const struct header *h, const char *name)
{
	const struct header_field *f = header_find(h, name, 1);

	return f == NULL ? NULL : header_decode(f->value);
}

static int
hex(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

static char *
un_qp(struct slice s)
{
	char *out = xmalloc(s.n + 1), *at = out;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '=') {
			*at++ = s.p[i];
		} else if (s.p[i + 1] == '\r') {
			i += 2;
		} else {
			*at++ = (char)(hex(s.p[i + 1]) << 4 | hex(s.p[i + 2]));
			i += 2;
		}
	}
	*at = '\0';
	return out;
}

static char *
un_base64(struct slice s)
{
	struct buf b;
	char *text;

	buf_init(&b, s.n + 100);
	buf_adds(&b, "=?utf-8?B?");
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] != '\r' && s.p[i] != '\n')
			buf_addc(&b, s.p[i]);
	buf_adds(&b, "?=");
	text = header_decode(buf_slice(&b));	/* line ends become spaces */
	buf_fini(&b);
	return text;
}

static void
part_read(struct part *p, struct slice all)
{
	char *type, *encoding;

	ck_assert(header_parse(&p->h, all));
	p->raw = (struct slice){ all.p + p->h.end, all.n - p->h.end };
	type = value_of(&p->h, "Content-Type");
	encoding = value_of(&p->h, "Content-Transfer-Encoding");
	ck_assert_ptr_nonnull(type);
	snprintf(p->type, sizeof p->type, "%s", type);
	if (encoding != NULL && strcmp(encoding, "quoted-printable") == 0)
		p->body = un_qp(p->raw);
	else if (encoding != NULL && strcmp(encoding, "base64") == 0)
		p->body = un_base64(p->raw);
	else
		p->body = slice_dup(p->raw);
	free(type);
	free(encoding);
}

static void
notice_read(struct notice *n, struct msg *m)
{
	struct slice all = { m->content->mem, (size_t)m->content->size }, rest;
	char *type, *at, boundary[100], line[120];
	size_t mark;

	memset(n, 0, sizeof *n);
	n->msg = m;
	ck_assert(header_parse(&n->h, all));
	ck_assert_uint_eq(n->h.end, m->content->header_size);
	type = value_of(&n->h, "Content-Type");
	ck_assert_int_eq(strncmp(type, "multipart/report; report-type=delivery-status;", 46), 0);	/* M-140 */
	at = strstr(type, "boundary=\"");
	ck_assert_ptr_nonnull(at);
	snprintf(boundary, sizeof boundary, "%.*s", (int)strcspn(at + 10, "\""), at + 10);
	free(type);
	mark = (size_t)snprintf(line, sizeof line, "\r\n--%s", boundary);
	rest = (struct slice){ all.p + n->h.end, all.n - n->h.end };
	at = memmem(rest.p, rest.n, line, mark);
	for (;;) {
		char *next;

		ck_assert_ptr_nonnull(at);
		at += mark;
		if (strncmp(at, "--\r\n", 4) == 0)
			break;
		at += 2;
		next = memmem(at, (size_t)(all.p + all.n - at), line, mark);
		ck_assert_ptr_nonnull(next);
		ck_assert_uint_lt(n->n, NELEMS(n->parts));
		part_read(&n->parts[n->n++], (struct slice){ at, (size_t)(next - at) });
		at = next;
	}
	/* No line too long, no line end alone, no NUL: what our own writer would refuse. */
	struct message_writer_limits lim = { .spool_dir = "." };
	struct message_writer *w = message_writer_new(&lim);
	unsigned flags;

	message_writer_add(w, all.p, all.n);
	ck_assert_int_eq(message_writer_status(w, NULL), WRITE_OK);
	content_unref(message_writer_finish(w, &flags, NULL));
	ck_assert_uint_eq(flags & MSG_LONG_LINES, 0);
	if ((m->flags & MSG_HAS_8BIT) == 0)
		ck_assert_uint_eq(flags & MSG_HAS_8BIT, 0);
	ck_assert_uint_eq(flags & MSG_UTF8_HEADER, m->flags & MSG_UTF8_HEADER);
	message_writer_free(w);
}

static void
notice_fini(struct notice *n)
{
	for (size_t i = 0; i < n->n; i++) {
		free(n->parts[i].body);
		header_fini(&n->parts[i].h);
	}
	header_fini(&n->h);
	msg_unref(n->msg);
}

static bool
holds(const struct notice *n, const char *what)
{
	for (size_t i = 0; i < n->n; i++)
		if (strstr(n->parts[i].body, what) != NULL)
			return true;
	return memmem(n->msg->content->mem, (size_t)n->msg->content->size, what, strlen(what)) != NULL;
}

#define HAS(part, text) ck_assert_msg(strstr(n.parts[part].body, text) != NULL, "\"%s\" is not in: %s", text, \
	n.parts[part].body)
#define HAS_NOT(part, text) ck_assert_msg(strstr(n.parts[part].body, text) == NULL, "\"%s\" is in: %s", text, \
	n.parts[part].body)

/* ---- an original ---- */

#define HEADER								\
	"Received: from inner.corp.example (inner [10.0.0.7]) by mx.acme.example;\r\n\tMon, 1 Jan 2026\r\n" \
	"From: Ann <ann@acme.example>\r\n"					\
	"To: bob@clinic.example\r\n"						\
	"Subject: =?utf-8?Q?Ergebnis_f=C3=BCr_Bob?=\r\n"			\
	"Message-ID: <1@acme.example>\r\n\r\n"
#define SECRET "BODY-TOKEN-4711"

static struct dsn_rcpt bob;
static struct msg *orig;
static struct dsn_request q;

static void
setup(void)
{
	struct msg_rcpt *r;

	orig = msg_new();
	orig->id = 7;
	orig->received_ms = 1795468500000;
	orig->from = xstrdup("ann@acme.example");
	orig->from_domain = xstrdup("acme.example");
	orig->generation = xstrdup("g1");
	r = msg_add_rcpt(orig);
	r->address = xstrdup("bob@clinic.example");
	bob = (struct dsn_rcpt){ .address = "bob@clinic.example", .action = DSN_FAILED, .status = "5.1.1",
		.remote_mta = "mx1.clinic.example", .reply = "550 5.1.1 no such user\nask the help desk",
		.last_attempt_ms = 1795468600000 };
	q = (struct dsn_request){ .msg = orig, .rcpts = &bob, .nrcpts = 1, .kind = DSN_FAILED,
		.reporting_mta = "mx.acme.example", .header = slice_of(HEADER), .body = slice_of(SECRET "\r\n"),
		.id = 8, .wall_ms = 1795468700000 };
	orig->header_size = strlen(HEADER);
	orig->content_size = orig->header_size + strlen(SECRET) + 2;
}

static void
teardown(void)
{
	msg_unref(orig);
}

static struct notice
build(struct dsn_words *w)
{
	struct notice n;
	struct msg *m;
	struct err err;

	m = dsn_build(&q, w, &err);
	ck_assert_msg(m != NULL, "%s", err.text);
	notice_read(&n, m);
	dsn_words_fini(w);
	return n;
}

static struct notice
build_default(void)
{
	struct dsn_words w;

	dsn_words_init(&w, &q, "Mail Delivery <postmaster@acme.example>");
	return build(&w);
}

/* ---- what it says ---- */

START_TEST(ordinary_failure)
{
	struct notice n;
	char *v;

	orig->envid = xstrdup("QQ+2B1");
	bob.orcpt = "rfc822;bob+2Bx@clinic.example";
	n = build_default();
	ck_assert_str_eq(n.msg->from, "");		/* R-84, M-138 */
	ck_assert_uint_eq(n.msg->nrcpts, 1);
	ck_assert_str_eq(n.msg->rcpts[0].address, "ann@acme.example");
	ck_assert_str_eq(n.msg->rcpts[0].domain, "acme.example");
	ck_assert_uint_eq(n.msg->rcpts[0].notify, NOTIFY_NEVER);
	ck_assert_int_eq(n.msg->ret, RET_NONE);
	ck_assert_ptr_null(n.msg->envid);
	ck_assert_uint_eq(n.msg->flags, MSG_NOTICE);
	ck_assert_uint_eq(n.msg->duties, 0);
	ck_assert_uint_eq(n.msg->id, 8);
	ck_assert_ptr_null(n.msg->trace);

	static const struct { const char *name, *value; } fields[] = {
		{ "From", "Mail Delivery <postmaster@acme.example>" }, { "To", "<ann@acme.example>" },
		{ "Subject", "Your message could not be delivered" }, { "Auto-Submitted", "auto-replied" },
		{ "MIME-Version", "1.0" }, { "Content-Language", "en" }, { "In-Reply-To", "<1@acme.example>" },
	};
	for (size_t i = 0; i < NELEMS(fields); i++) {
		ck_assert_uint_eq(header_count(&n.h, fields[i].name), 1);
		v = value_of(&n.h, fields[i].name);
		ck_assert_str_eq(v, fields[i].value);
		free(v);
	}
	ck_assert_uint_eq(header_count(&n.h, "Date"), 1);
	ck_assert_uint_eq(header_count(&n.h, "Message-ID"), 1);
	ck_assert_uint_eq(header_count(&n.h, "TLS-Required"), 0);
	ck_assert_uint_eq(header_count(&n.h, "Return-Path"), 0);	/* M-185 */

	ck_assert_uint_eq(n.n, 3);
	ck_assert_int_eq(strncmp(n.parts[0].type, "text/plain", 10), 0);
	ck_assert_str_eq(n.parts[1].type, "message/delivery-status");
	ck_assert_str_eq(n.parts[2].type, "text/rfc822-headers");		/* M-141 */
	HAS(0, "<bob@clinic.example>");
	HAS(0, "There is no such address");
	HAS(0, "550 5.1.1 no such user ask the help desk");
	HAS(0, "Ergebnis f\xC3\xBCr Bob");
	/* M-143, M-144 */
	HAS(1, "Reporting-MTA: dns;mx.acme.example\r\n");
	HAS(1, "Original-Envelope-Id: QQ+1\r\n");
	HAS(1, "Arrival-Date: ");
	HAS(1, "\r\n\r\nOriginal-Recipient: rfc822;bob+x@clinic.example\r\n");
	HAS(1, "Final-Recipient: rfc822;bob@clinic.example\r\n");
	HAS(1, "Action: failed\r\n");
	HAS(1, "Status: 5.1.1\r\n");
	HAS(1, "Remote-MTA: dns;mx1.clinic.example\r\n");
	HAS(1, "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n ask the help desk\r\n");
	HAS(1, "Last-Attempt-Date: ");
	HAS_NOT(1, "Will-Retry-Until");
	HAS(2, "Subject: =?utf-8?Q?Ergebnis_f=C3=BCr_Bob?=\r\n");
	HAS(2, "Received: from inner.corp.example");
	ck_assert(!holds(&n, SECRET));
	notice_fini(&n);
}
END_TEST

START_TEST(full_return_when_asked)		/* M-142 */
{
	struct notice n;

	orig->ret = RET_FULL;
	n = build_default();
	ck_assert_str_eq(n.parts[2].type, "message/rfc822");
	HAS(2, "\r\n\r\n" SECRET "\r\n");
	HAS(2, "Subject: =?utf-8?Q?");
	notice_fini(&n);
	orig->flags |= MSG_HAS_8BIT;
	q.body = SLICE("8-bit: \xC3\xA4\r\n");
	orig->content_size = orig->header_size + q.body.n;
	n = build_default();
	ck_assert_int_eq(n.msg->body_type, BODY_8BITMIME);
	ck_assert_uint_eq(header_count(&n.h, "Content-Transfer-Encoding"), 1);
	HAS(2, "8-bit: \xC3\xA4");
	notice_fini(&n);
	q.body = SLICE("");		/* too large to come back */
	n = build_default();
	ck_assert_str_eq(n.parts[2].type, "text/rfc822-headers");
	notice_fini(&n);
	q.body = slice_of(SECRET "\r\n");
	q.kind = bob.action = DSN_DELAYED;
	n = build_default();
	ck_assert(!holds(&n, SECRET));
	notice_fini(&n);
}
END_TEST

/* Every way to ask for the body of a message with REQUIRETLS. */
START_TEST(requiretls_never_returns_body)		/* */
{
	static const enum dsn_action kinds[] = { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED };
	enum dsn_action kind = kinds[_i % 4];
	struct dsn_words w;
	struct notice n;

	switch (_i / 4) {
	case 0: orig->flags |= MSG_REQUIRETLS; break;
	case 1: orig->duties = duties_of(DUTY_ALL, DUTY_BY_SENDER); break;
	case 2: orig->duties = duties_of(DUTY_ALL, DUTY_BY_ADMIN); break;
	default: orig->rcpts[0].duties = duties_of(DUTY_PROPAGATE, DUTY_BY_ADMIN); break;
	}
	orig->ret = RET_FULL;
	q.kind = bob.action = kind;
	bob.status = "5.7.30";
	dsn_words_init(&w, &q, NULL);
	w.return_content = RET_FULL;		/* a hook insists */
	w.protect = DSN_AS_CONFIGURED;
	n = build(&w);
	ck_assert(!holds(&n, SECRET));
	ck_assert_str_eq(n.parts[2].type, "text/rfc822-headers");
	ck_assert_uint_ne(n.msg->flags & MSG_REQUIRETLS, 0);
	ck_assert_uint_eq(n.msg->duties, duties_of(DUTY_ALL, DUTY_BY_SENDER));
	if (kind == DSN_FAILED)
		HAS(0, "protected connections");
	HAS(2, "Subject:");
	notice_fini(&n);

	dsn_words_init(&w, &q, NULL);
	w.return_content = RET_FULL;
	w.protect = DSN_REDACTED;
	n = build(&w);
	ck_assert(!holds(&n, SECRET));
	ck_assert_uint_eq(n.msg->flags & MSG_REQUIRETLS, 0);
	ck_assert_uint_eq(n.msg->duties, 0);
	HAS_NOT(2, "Subject:");
	HAS_NOT(2, "Received:");
	HAS_NOT(0, "Ergebnis");
	notice_fini(&n);
}
END_TEST

/* A body that stands where the header should be is a body. */
START_TEST(requiretls_without_header)
{
	struct notice n;

	orig->flags |= MSG_REQUIRETLS;
	q.header = SLICE("A: b\r\n" SECRET " is no field\r\nC: d\r\n");
	n = build_default();
	ck_assert(!holds(&n, SECRET));
	notice_fini(&n);
}
END_TEST

START_TEST(tls_required_no)		/* R-93, D12 */
{
	struct notice n;
	char *v;

	orig->tls_no = TLS_NO_HONOURED;
	n = build_default();
	v = value_of(&n.h, "TLS-Required");
	ck_assert_str_eq(v, "No");
	free(v);
	ck_assert_int_eq(n.msg->tls_no, TLS_NO_HONOURED);
	notice_fini(&n);
	orig->flags |= MSG_REQUIRETLS;
	n = build_default();
	ck_assert_uint_eq(header_count(&n.h, "TLS-Required"), 0);
	ck_assert_int_eq(n.msg->tls_no, TLS_NO_ABSENT);
	notice_fini(&n);
	orig->flags = 0;
	orig->tls_no = TLS_NO_IGNORED;
	n = build_default();
	ck_assert_uint_eq(header_count(&n.h, "TLS-Required"), 0);
	notice_fini(&n);
}
END_TEST

START_TEST(who_is_told)		/* row 57: NOTIFY without FAILURE (D8) */
{
	static const struct {
		unsigned notify;
		bool failed, delayed, relayed;
	} cases[] = {
		{ 0, true, true, false },
		{ NOTIFY_NEVER, false, false, false },
		{ NOTIFY_SUCCESS, false, false, true },
		{ NOTIFY_DELAY, false, true, false },
		{ NOTIFY_SUCCESS | NOTIFY_DELAY, false, true, true },
		{ NOTIFY_FAILURE, true, false, false },
		{ NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY, true, true, true },
	};

	for (size_t i = 0; i < NELEMS(cases); i++) {
		ck_assert_msg(dsn_is_wanted(cases[i].notify, DSN_FAILED) == cases[i].failed, "failed, %zu", i);
		ck_assert_msg(dsn_is_wanted(cases[i].notify, DSN_DELAYED) == cases[i].delayed, "delayed, %zu", i);
		ck_assert_msg(dsn_is_wanted(cases[i].notify, DSN_RELAYED) == cases[i].relayed, "relayed, %zu", i);
		ck_assert_msg(dsn_is_wanted(cases[i].notify, DSN_DELIVERED) == cases[i].relayed, "delivered, %zu", i);
	}
}
END_TEST

START_TEST(no_notice_about_a_notice)		/* R-94, M-137, M-187 */
{
	struct dsn_words w;
	struct err err = { "" };

	dsn_words_init(&w, &q, NULL);
	orig->from[0] = '\0';
	ck_assert_ptr_null(dsn_build(&q, &w, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "null sender"));
	orig->from[0] = 'a';
	orig->flags |= MSG_NOTICE;
	ck_assert_ptr_null(dsn_build(&q, &w, &err));
	dsn_words_fini(&w);
}
END_TEST

START_TEST(our_own_diagnostic)		/* D15 */
{
	struct notice n;

	bob.reply = NULL;
	bob.diagnostic = "the server does not list REQUIRETLS";
	bob.status = "5.7.30";
	n = build_default();
	HAS(1, "Diagnostic-Code: x-sallyport; the server does not list REQUIRETLS\r\n");
	HAS(0, "(5.7.30 the server does not list REQUIRETLS)");
	notice_fini(&n);
	bob.diagnostic = "x-sallyport; the same";
	n = build_default();
	HAS(1, "Diagnostic-Code: x-sallyport; the same\r\n");
	notice_fini(&n);
	bob.diagnostic = NULL;
	bob.remote_mta = NULL;
	n = build_default();
	HAS_NOT(1, "Diagnostic-Code");
	HAS_NOT(1, "Remote-MTA");
	notice_fini(&n);
}
END_TEST

START_TEST(delayed)		/* M-144 */
{
	struct notice n;

	q.kind = bob.action = DSN_DELAYED;
	bob.status = "4.4.1";
	bob.retry_until_ms = 1795468700000 + 86400000;
	n = build_default();
	HAS(0, "It will be tried until ");
	HAS(1, "Action: delayed\r\n");
	HAS(1, "Will-Retry-Until: ");
	notice_fini(&n);
}
END_TEST

START_TEST(german)
{
	static const char *const languages[] = { "en", "de", NULL };
	struct dsn_words w;
	struct notice n;
	char *v;

	dsn_words_init(&w, &q, NULL);
	free(w.language);
	w.language = xstrdup("de-AT");
	bob.status = "5.7.30";
	n = build(&w);
	v = value_of(&n.h, "Subject");
	ck_assert_str_eq(v, "Ihre Nachricht konnte nicht zugestellt werden");
	free(v);
	v = value_of(&n.h, "Content-Language");
	ck_assert_str_eq(v, "de");
	free(v);
	HAS(0, "Empf\xC3\xA4ngers verschl\xC3\xBCsselt zwar");
	notice_fini(&n);
	q.languages = languages;
	q.header = SLICE("Accept-Language: fr-FR, de-DE;q=0.8, en\r\n\r\n");
	dsn_words_init(&w, &q, NULL);
	ck_assert_str_eq(w.language, "de");
	dsn_words_fini(&w);
	q.header = SLICE("Content-Language: fr\r\n\r\n");
	dsn_words_init(&w, &q, NULL);
	ck_assert_str_eq(w.language, "en");
	dsn_words_fini(&w);
	q.kind = bob.action = DSN_DELAYED;	/* the subject has an umlaut */
	dsn_words_init(&w, &q, NULL);
	free(w.language);
	w.language = xstrdup("de");
	n = build(&w);
	v = value_of(&n.h, "Subject");
	ck_assert_str_eq(v, "Ihre Nachricht ist verz\xC3\xB6gert");
	free(v);
	notice_fini(&n);
}
END_TEST

START_TEST(hostile_peer)		/* I7 */
{
	struct notice n;

	bob.reply = "550 x\r\nStatus: 2.0.0\n\r\nContent-Type: text/html\n\x01\x7F\xFF\xE2\x80\xAE{{sender}}";
	bob.remote_mta = "evil\r\nAction: delivered";
	bob.orcpt = "rfc822;a+0D+0AAction:+20delivered";
	orig->envid = xstrdup("x+0D+0AStatus:+202.0.0");
	bob.status = "5.0.0\r\nX: y";
	q.header = SLICE("Subject: =?utf-8?Q?a=0D=0A=0D=0AX:_y=00=1B[31m?=\r\nMessage-ID: <a b>\r\n\r\n");
	n = build_default();
	HAS_NOT(1, "\nStatus: 2.0.0");
	HAS_NOT(1, "\nAction: delivered");
	HAS_NOT(1, "\nContent-Type");
	HAS(1, "\\x01\\x7F\\xFF\\xE2\\x80\\xAE");
	HAS_NOT(0, "\x1B");
	ck_assert_uint_eq(header_count(&n.h, "In-Reply-To"), 0);
	ck_assert_uint_eq(n.n, 3);
	notice_fini(&n);
}
END_TEST

START_TEST(redactions)
{
	struct dsn_words w;
	struct notice n;

	bob.reply = "550 no such user, says store7.corp.example [10.1.2.3] for clinic.example. See 5.1.1";
	bob.remote_mta = "store7.corp.example";
	bob.orcpt = "rfc822;known@acme.example";
	dsn_words_init(&w, &q, NULL);
	w.redact_host_patterns = xmalloc(2 * sizeof *w.redact_host_patterns);
	w.redact_host_patterns[0] = xstrdup("*.corp.example");
	w.redact_host_patterns[1] = xstrdup("10.*");
	w.nredact_host_patterns = 2;
	n = build(&w);
	ck_assert(!holds(&n, "corp.example"));
	ck_assert(!holds(&n, "10.1.2.3"));
	HAS(1, "no such user, says (hidden) [(hidden)] for clinic.example. See 5.1.1");
	HAS_NOT(1, "Remote-MTA");
	HAS_NOT(2, "Received");		/* names such a host */
	notice_fini(&n);

	dsn_words_init(&w, &q, NULL);
	w.redact_hosts = true;
	n = build(&w);
	HAS(1, "says (hidden) [(hidden)] for (hidden). See 5.1.1");
	HAS(1, "Reporting-MTA: dns;mx.acme.example");
	notice_fini(&n);

	dsn_words_init(&w, &q, NULL);
	w.redact_diagnostic = w.redact_rcpts = w.redact_received = w.redact_subject = true;
	n = build(&w);
	HAS_NOT(1, "Diagnostic-Code");
	HAS_NOT(0, "store7");
	HAS_NOT(1, "bob@clinic.example");
	HAS(1, "Final-Recipient: rfc822;known@acme.example\r\n");
	HAS_NOT(2, "To:");
	HAS_NOT(2, "Received:");
	HAS_NOT(2, "Subject:");
	HAS_NOT(0, "Ergebnis");
	HAS(2, "From: Ann");
	notice_fini(&n);
}
END_TEST

START_TEST(hook_words)		/* */
{
	struct dsn_words w;
	struct notice n;
	char *v;

	dsn_words_init(&w, &q, NULL);
	w.text = xstrdup("Own words.\nGr\xC3\xBC\xC3\x9F" "e\n.\nbroken \xFF\r\nlast");
	w.footer = xstrdup("-- \nfooter");
	w.return_content = RET_NONE;
	free(w.subject);
	w.subject = xstrdup("Sorry\r\nBcc: x");
	w.headers = xmalloc(5 * sizeof *w.headers);
	w.headers[0] = xstrdup("X-Ticket: 42");
	w.headers[1] = xstrdup("auto-submitted: no");
	w.headers[2] = xstrdup("Content-Type: text/plain");
	w.headers[3] = xstrdup("no colon");
	w.headers[4] = xstrdup("X-Evil: a\r\nBcc: b");
	w.nheaders = 5;
	n = build(&w);
	ck_assert_uint_eq(n.n, 2);
	HAS(0, "Own words.\r\nGr\xC3\xBC\xC3\x9F" "e\r\n.\r\nbroken ?\r\nlast\r\n-- \r\nfooter\r\n");
	v = value_of(&n.h, "Subject");
	ck_assert_str_eq(v, "Sorry  Bcc: x");
	free(v);
	v = value_of(&n.h, "X-Ticket");
	ck_assert_str_eq(v, "42");
	free(v);
	ck_assert_uint_eq(header_count(&n.h, "Bcc"), 0);
	ck_assert_uint_eq(header_count(&n.h, "Auto-Submitted"), 1);
	ck_assert_uint_eq(header_count(&n.h, "Content-Type"), 1);
	notice_fini(&n);

	dsn_words_init(&w, &q, NULL);
	w.html = xstrdup("<p>Gr\xC3\xBC\xC3\x9F" "e</p>");
	n = build(&w);
	ck_assert_int_eq(strncmp(n.parts[0].type, "multipart/alternative", 21), 0);
	ck_assert_str_eq(n.parts[1].type, "message/delivery-status");
	HAS(0, "text/plain");
	HAS(0, "PHA+R3LDvMOfZTwvcD4=\r\n");
	notice_fini(&n);
}
END_TEST

static void
attach(struct dsn_words *w, const char *name, const char *type, const char *data)
{
	w->attached = xrealloc(w->attached, (w->nattached + 1) * sizeof *w->attached);
	w->attached[w->nattached++] = (struct dsn_attachment){ xstrdup(name), xstrdup(type), xstrdup(data), strlen(data) };
}

START_TEST(attachments)		/* the fourth place and on; none about tagged mail */
{
	struct dsn_words w;
	struct notice n;
	char *v;

	dsn_words_init(&w, &q, NULL);
	attach(&w, "help.txt", "text/plain", "Gr\xC3\xBC\xC3\x9F" "e");
	attach(&w, "Z\xC3\xBCrich \"a\" with a name so long that it does not fit into one line of a header.bin",
	    "application/octet-stream", "\xFF\x01");
	n = build(&w);
	ck_assert_uint_eq(n.n, 5);
	ck_assert_str_eq(n.parts[2].type, "text/rfc822-headers");
	ck_assert_str_eq(n.parts[3].type, "text/plain; charset=utf-8");
	HAS(3, "Gr\xC3\xBC\xC3\x9F" "e");
	v = value_of(&n.parts[3].h, "Content-Disposition");
	ck_assert_str_eq(v, "attachment; filename=\"help.txt\"");
	free(v);
	ck_assert_str_eq(n.parts[4].type, "application/octet-stream");
	v = value_of(&n.parts[4].h, "Content-Disposition");
	ck_assert_str_eq(v, "attachment; filename*0*=UTF-8''Z%C3%BCrich%20%22a%22%20with%20a%20name%20so%20long%20that%20;"
	    " filename*1*=it%20does%20not%20fit%20into%20one%20line%20of%20a%20header.b; filename*2*=in");
	free(v);
	notice_fini(&n);

	/* Nothing is returned: the third place stays what RFC 6522 says it is. */
	dsn_words_init(&w, &q, NULL);
	w.return_content = RET_NONE;
	attach(&w, "a", "text/csv", "1");
	n = build(&w);
	ck_assert_uint_eq(n.n, 4);
	ck_assert_str_eq(n.parts[2].type, "text/rfc822-headers");
	ck_assert_str_eq(n.parts[2].body, "");
	notice_fini(&n);

	orig->flags |= MSG_REQUIRETLS;
	dsn_words_init(&w, &q, NULL);
	attach(&w, "a", "text/csv", "1;2;3");
	n = build(&w);
	ck_assert_uint_eq(n.n, 3);
	ck_assert(!holds(&n, "csv"));
	notice_fini(&n);
}
END_TEST

START_TEST(other_texts)		/* what stands instead of replies and of fields */
{
	struct dsn_words w;
	struct notice n;

	dsn_words_init(&w, &q, NULL);
	w.said = xcalloc(1, sizeof *w.said);
	w.said[0] = xstrdup("550 5.1.1 (hidden) user\nask (hidden)");
	w.nsaid = 1;
	w.fields = xcalloc(5, sizeof *w.fields);
	w.nfields = 5;
	w.fields[3] = xstrdup("(hidden) f\xC3\xBCr (hidden)");
	w.fields[4] = xstrdup("<(hidden)\r\nX-Evil: 1>");
	n = build(&w);
	HAS(0, "550 5.1.1 (hidden) user ask (hidden)");
	HAS(0, "(hidden) f\xC3\xBCr (hidden)");
	HAS(1, "Diagnostic-Code: smtp; 550 5.1.1 (hidden) user\r\n ask (hidden)\r\n");
	HAS(2, "To: bob@clinic.example\r\nSubject: (hidden) =?");
	HAS(2, "Message-ID: <(hidden)  X-Evil: 1>\r\n");
	HAS_NOT(2, "Ergebnis");
	ck_assert(!holds(&n, "help desk"));
	ck_assert_uint_eq(header_count(&n.h, "References"), 0);
	notice_fini(&n);
}
END_TEST

static void
write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

START_TEST(templates)
{
	char dir[] = "dsn-templates.XXXXXX", *path;
	struct dsn_words w;
	struct notice n;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	q.templates = dir;
	path = xasprintf("%s/external.en.txt", dir);
	write_file(path, "Hello {{sender}},\n{{ recipient }} {{status}}: {{reason}}\n{{unknown}} {{subject}}\n"
	    "{{diagnostic}}\n{{hostname}} {{");
	dsn_words_init(&w, &q, NULL);
	w.template_name = xstrdup("external");
	bob.reply = "550 {{sender}} \xC3\xA4";
	n = build(&w);
	HAS(0, "Hello ann@acme.example,\r\nbob@clinic.example 5.1.1: There is no such address");
	HAS(0, "{{unknown}} Ergebnis f\xC3\xBCr Bob\r\n550 {{sender}} \xC3\xA4\r\nmx.acme.example {{");
	notice_fini(&n);
	dsn_words_init(&w, &q, NULL);		/* a name is no path */
	w.template_name = xstrdup("../external");
	n = build(&w);
	HAS(0, "Your message could not be delivered");
	notice_fini(&n);
	unlink(path);
	free(path);
	rmdir(dir);
}
END_TEST

START_TEST(utf8)		/* M-147, RFC 6533 */
{
	static const char header[] = "Subject: Gr\xC3\xBC\xC3\x9F" "e\r\nFrom: j\xC3\xB6rg@acme.example\r\n\r\n";
	struct notice n;

	orig->flags |= MSG_SMTPUTF8 | MSG_HAS_8BIT | MSG_UTF8_HEADER;
	bob.address = "b\xC3\xB6" "b@clinic.example";
	q.header = slice_of(header);
	n = build_default();		/* the way back is 7-bit */
	ck_assert_str_eq(n.parts[1].type, "message/global-delivery-status");
	ck_assert_str_eq(n.parts[2].type, "message/global-headers");
	HAS(1, "Final-Recipient: utf-8;b\xC3\xB6" "b@clinic.example\r\n");
	HAS(2, "Subject: Gr\xC3\xBC\xC3\x9F" "e\r\n");
	ck_assert_uint_eq(n.msg->flags, MSG_NOTICE);
	notice_fini(&n);
	free(orig->from);
	orig->from = xstrdup("j\xC3\xB6rg@acme.example");
	q.return_path_utf8 = true;
	n = build_default();
	ck_assert_uint_ne(n.msg->flags & MSG_SMTPUTF8, 0);
	ck_assert_uint_ne(n.msg->flags & MSG_UTF8_HEADER, 0);
	ck_assert_ptr_nonnull(memmem(n.parts[2].raw.p, n.parts[2].raw.n, "Gr\xC3\xBC\xC3\x9F" "e", 7));
	notice_fini(&n);
	orig->ret = RET_FULL;
	q.return_path_utf8 = false;
	orig->content_size = q.header.n + q.body.n;
	free(orig->from);
	orig->from = xstrdup("ann@acme.example");
	n = build_default();
	ck_assert_str_eq(n.parts[2].type, "message/global");
	HAS(2, SECRET);
	notice_fini(&n);
	orig->flags = 0;		/* octets that nobody announced */
	orig->ret = RET_NONE;
	bob.address = "bob@clinic.example";
	q.header = SLICE("Subject: Gr\xFC\xDF" "e\r\n\r\n");
	n = build_default();
	ck_assert_str_eq(n.parts[2].type, "text/rfc822-headers");
	HAS(2, "Gr\xFC\xDF" "e");
	HAS(0, "Gr\xEF\xBF\xBD");
	notice_fini(&n);
}
END_TEST

START_TEST(long_lines)
{
	struct notice n;
	struct buf b;

	buf_init(&b, 10000);
	buf_adds(&b, "Subject: ");
	for (int i = 0; i < 3000; i++)
		buf_addc(&b, 'x');
	buf_adds(&b, "\r\n\r\n");
	q.header = buf_slice(&b);
	orig->ret = RET_FULL;
	orig->flags |= MSG_LONG_LINES;
	orig->content_size = q.header.n + q.body.n;
	n = build_default();
	ck_assert_str_eq(n.parts[2].type, "text/rfc822-headers");
	ck_assert_uint_gt(strlen(n.parts[2].body), 3000);
	notice_fini(&n);
	buf_fini(&b);
}
END_TEST

START_TEST(many_recipients)
{
	struct dsn_rcpt *r = xcalloc(500, sizeof *r);
	struct notice n;
	size_t count = 0;

	for (size_t i = 0; i < 500; i++)
		r[i] = bob;
	q.rcpts = r;
	q.nrcpts = 500;
	n = build_default();
	for (const char *at = n.parts[1].body; (at = strstr(at, "Final-Recipient:")) != NULL; at++)
		count++;
	ck_assert_uint_eq(count, 500);
	HAS(0, "... (400)");
	notice_fini(&n);
	free(r);
}
END_TEST

UNIT_MAIN("message_dsn",
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, ordinary_failure);
	tcase_add_test(tc, full_return_when_asked);
	tcase_add_test(tc, who_is_told);
	tcase_add_loop_test(tc, requiretls_never_returns_body, 0, 16);
	tcase_add_test(tc, requiretls_without_header);
	tcase_add_test(tc, tls_required_no);
	tcase_add_test(tc, no_notice_about_a_notice);
	tcase_add_test(tc, our_own_diagnostic);
	tcase_add_test(tc, delayed);
	tcase_add_test(tc, german);
	tcase_add_test(tc, hostile_peer);
	tcase_add_test(tc, redactions);
	tcase_add_test(tc, hook_words);
	tcase_add_test(tc, attachments);
	tcase_add_test(tc, other_texts);
	tcase_add_test(tc, templates);
	tcase_add_test(tc, utf8);
	tcase_add_test(tc, long_lines);
	tcase_add_test(tc, many_recipients);
)
