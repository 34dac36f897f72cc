/* Delivery status notices as messages (RFC 3461 6, 3464, 6522, 6533; M-137 to M-147).
 *
 * Three parts: text for people, the status for programs, what is returned of the original. A
 * notice about a message with REQUIRETLS holds no octet of its body, whatever RET or a policy say
 * and owes what the original owed unless it is redacted. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "message/message_int.h"
#include "trust/duties.h"

#define NOTICE_EXTRA (4u * 1024 * 1024)		/* above what is returned */
#define REPLY_MAX 4096u

struct dsn {
	const struct dsn_request *q;
	const struct dsn_words *w;
	bool requiretls;		/* the original */
	enum msg_ret ret;
	bool utf8;			/* the way back takes UTF-8 (SMTPUTF8) */
	bool is_8bit;			/* a part may be sent as 8bit */
	char boundary[48];
	struct buf out;
};

/* ---- parts ---- */

static void
part_begin(struct dsn *d, const char *type, const char *encoding)
{
	buf_printf(&d->out, "\r\n--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n",
	    d->boundary, type, encoding);
}

/* Text that may be encoded: as it is when it is plain, as 8bit when the way back takes UTF-8 and
 * `may_8bit`, else quoted-printable (M-147). */
static void
part_add(struct dsn *d, const char *type, struct slice text, bool may_8bit)
{
	if (text_is_plain(text)) {
		part_begin(d, type, "7bit");
		buf_add(&d->out, text.p, text.n);
	} else if (may_8bit && d->utf8) {
		part_begin(d, type, "8bit");
		buf_add(&d->out, text.p, text.n);
	} else {
		part_begin(d, type, "quoted-printable");
		dsn_add_qp(&d->out, text);
	}
}

static const char *
charset_of(struct slice text)
{
	for (size_t i = 0; i < text.n; i++)
		if ((unsigned char)text.p[i] >= 0x80)
			return "utf-8";
	return "us-ascii";
}

static void
add_text_part(struct dsn *d)
{
	char *text = dsn_text(d->q, d->w), inner[sizeof d->boundary + 2], outer[sizeof d->boundary];
	char type[128];
	size_t n;

	snprintf(type, sizeof type, "text/plain; charset=%s", charset_of(slice_of(text)));
	if (d->w->html == NULL) {
		part_add(d, type, slice_of(text), false);
		free(text);
		return;
	}
	memcpy(outer, d->boundary, sizeof outer);
	snprintf(inner, sizeof inner, "i%s", outer);
	buf_printf(&d->out, "\r\n--%s\r\nContent-Type: multipart/alternative;\r\n\tboundary=\"%s\"\r\n", outer,
	    inner);
	n = strlen(inner);
	memcpy(d->boundary, inner, n + 1);
	part_add(d, type, slice_of(text), false);
	/* Always encoded: what a policy wrote may have any line ends. */
	part_begin(d, "text/html; charset=utf-8", "base64");
	dsn_add_base64(&d->out, slice_of(d->w->html));
	buf_printf(&d->out, "\r\n--%s--\r\n", inner);
	memcpy(d->boundary, outer, sizeof outer);
	free(text);
}

/* "Name: " and text of ours or escaped by the caller; lines of a reply (LF between them) are
 * folded with a space in front (M-144). */
static void
add_lines(struct buf *b, const char *name, const char *prefix, const char *lines, bool utf8)
{
	struct slice rest = slice_of(lines), line;
	char shown[960];
	bool first = true;
	size_t start = b->len;

	buf_printf(b, "%s: %s", name, prefix);
	while (slice_cut(&rest, '\n', &line) && b->len - start < REPLY_MAX) {
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (line.n == 0)
			continue;
		text_escape(shown, sizeof shown, line.p, line.n, utf8);
		buf_printf(b, "%s%s", first ? "" : "\r\n ", shown);
		first = false;
	}
	buf_adds(b, "\r\n");
}

static void
add_date(struct buf *b, const char *name, int64_t wall_ms)
{
	char date[48];

	if (wall_ms <= 0)
		return;
	date_rfc5322(date, sizeof date, wall_ms);
	buf_printf(b, "%s: %s\r\n", name, date);
}

/* "addr-type;xtext", decoded; as utf-8 when that is what it is (RFC 6533 3). */
static void
add_original_rcpt(const struct dsn *d, struct buf *b, const char *orcpt)
{
	const char *semicolon = strchr(orcpt, ';');
	char *address, type[32];

	if (semicolon == NULL || (size_t)(semicolon - orcpt) >= sizeof type)
		return;
	snprintf(type, sizeof type, "%.*s", (int)(semicolon - orcpt), orcpt);
	/* The ASCII form of an address of type utf-8 is the one that reports have, too: its backslash
	 * begins \x{...} and is not ours to escape (RFC 6533 3). */
	if (strcasecmp(type, "utf-8") == 0 && ascii_is_printable(semicolon + 1, strlen(semicolon + 1)))
		address = xstrdup(semicolon + 1);
	else
		address = dsn_xtext(semicolon + 1, d->q->msg->flags & MSG_SMTPUTF8);
	if (ascii_is_printable(type, strlen(type)))
		buf_printf(b, "Original-Recipient: %s;%.900s\r\n", type, address);
	free(address);
}

static void
add_diagnostic(const struct dsn *d, struct buf *b, const struct dsn_rcpt *r)
{
	const char *said = dsn_said(d->w, d->q->rcpts, (size_t)(r - d->q->rcpts));
	char *text;

	if (d->w->redact_diagnostic || said == NULL)
		return;
	text = dsn_hide_hosts(d->q, d->w, said);
	/* D15: only what a server really said is called smtp. */
	add_lines(b, "Diagnostic-Code", r->reply != NULL ? "smtp; " : "x-sallyport; ", text, false);
	free(text);
}

static void
add_rcpt(const struct dsn *d, struct buf *b, const struct dsn_rcpt *r)
{
	static const char *const actions[] = { [DSN_FAILED] = "failed", [DSN_DELAYED] = "delayed",
		[DSN_DELIVERED] = "delivered", [DSN_RELAYED] = "relayed" };
	char *address = dsn_shown_address(d->w, r), status[16];
	bool is_ascii = ascii_is_printable(address, strlen(address));

	buf_adds(b, "\r\n");
	if (r->orcpt != NULL)
		add_original_rcpt(d, b, r->orcpt);
	buf_printf(b, "Final-Recipient: %s;%.900s\r\n", is_ascii ? "rfc822" : "utf-8", address);
	buf_printf(b, "Action: %s\r\n", actions[r->action]);
	text_escape(status, sizeof status, r->status, strlen(r->status), false);
	buf_printf(b, "Status: %s\r\n", status);
	if (r->remote_mta != NULL && !dsn_hides_host(d->q, d->w, r->remote_mta))
		add_lines(b, "Remote-MTA", "dns;", r->remote_mta, false);
	add_diagnostic(d, b, r);
	add_date(b, "Last-Attempt-Date", r->last_attempt_ms);
	if (r->action == DSN_DELAYED)
		add_date(b, "Will-Retry-Until", r->retry_until_ms);
	free(address);
}

static void
add_status_part(struct dsn *d)
{
	struct slice text;
	struct buf b;
	bool global;
	char *envid;

	buf_init(&b, NOTICE_EXTRA / 2);
	add_lines(&b, "Reporting-MTA", "dns;", d->q->reporting_mta, false);
	if (d->q->msg->envid != NULL) {
		envid = dsn_xtext(d->q->msg->envid, false);
		buf_printf(&b, "Original-Envelope-Id: %.900s\r\n", envid);
		free(envid);
	}
	add_date(&b, "Arrival-Date", d->q->msg->received_ms);
	for (size_t i = 0; i < d->q->nrcpts; i++)
		add_rcpt(d, &b, &d->q->rcpts[i]);
	text = buf_slice(&b);
	global = strcmp(charset_of(text), "utf-8") == 0;
	part_add(d, global ? "message/global-delivery-status" : "message/delivery-status", text, true);
	buf_fini(&b);
}

/* ---- what is returned ---- */

static bool
is_utf8_header(const struct dsn *d, struct slice header)
{
	return (d->q->msg->flags & MSG_SMTPUTF8) != 0 && strcmp(charset_of(header), "utf-8") == 0 &&
	    utf8_is_valid(header.p, header.n);
}

static bool
is_one_of(struct slice name, const char *const *names)
{
	for (; *names != NULL; names++)
		if (slice_is_nocase(name, *names))
			return true;
	return false;
}

/* Which fields of the original stay at home. */
static bool
is_kept_back(const struct dsn *d, const struct header_field *f)
{
	static const char *const traces[] = { "Received", "X-Received", "Return-Path",
		"Authentication-Results", "ARC-Authentication-Results", "Received-SPF", NULL };
	static const char *const subjects[] = { "Subject", "Thread-Topic", "Keywords", "Comments", NULL };
	static const char *const rcpts[] = { "To", "Cc", "Bcc", "Delivered-To", "X-Original-To",
		"Resent-To", "Resent-Cc", "Resent-Bcc", NULL };
	bool is_trace = is_one_of(f->name, traces), hides;
	char *value, *shown;

	if (dsn_hides_received(d->q, d->w) && is_trace)
		return true;
	if (dsn_hides_subject(d->q, d->w) && is_one_of(f->name, subjects))
		return true;
	if (d->w->redact_rcpts && is_one_of(f->name, rcpts))
		return true;
	if (!is_trace || (!d->w->redact_hosts && d->w->nredact_host_patterns == 0))
		return false;
	value = slice_dup(f->value);
	shown = dsn_hide_hosts(d->q, d->w, value);
	hides = strcmp(value, shown) != 0;
	free(shown);
	free(value);
	return hides;
}

/* The original's fields that may be shown. What is not a field, even if it stands where the
 * header is, is body and stays out. */
static void
add_header_fields(const struct dsn *d, struct buf *b)
{
	const char *instead;
	struct header h;
	char *name;

	if (!header_parse(&h, d->q->header))
		return;
	for (size_t i = 0; i < h.n; i++) {
		const struct header_field *f = &h.fields[i];

		if (is_kept_back(d, f))
			continue;
		instead = dsn_instead(d->w, &h, f);
		if (instead != NULL) {
			name = slice_dup(f->name);
			header_add_field(b, name, instead, (d->q->msg->flags & MSG_SMTPUTF8) != 0);
			free(name);
			continue;
		}
		buf_add(b, d->q->header.p + f->at, f->n);
		if (f->n > 0 && d->q->header.p[f->at + f->n - 1] != '\n')
			buf_adds(b, "\r\n");
	}
	header_fini(&h);
}

/* Encoded words are much longer than what they stand for, and come folded. */
static size_t
header_room(const struct dsn *d)
{
	size_t n = d->q->header.n + 2 * HEADER_MAX_FIELDS;

	for (size_t i = 0; i < d->w->nfields; i++)
		if (d->w->fields[i] != NULL)
			n += 12 * strlen(d->w->fields[i]) + 400;
	return n;
}

static void
add_returned_headers(struct dsn *d)
{
	struct buf b;

	buf_init(&b, header_room(d));
	add_header_fields(d, &b);
	/* M-141, M-147 */
	if (is_utf8_header(d, buf_slice(&b)))
		part_add(d, "message/global-headers", buf_slice(&b), true);
	else
		part_add(d, "text/rfc822-headers", buf_slice(&b), false);
	buf_fini(&b);
}

static void
add_returned_message(struct dsn *d)
{
	struct buf b;
	bool global;

	buf_init(&b, header_room(d) + d->q->body.n);
	add_header_fields(d, &b);
	buf_adds(&b, "\r\n");
	global = is_utf8_header(d, d->q->header);
	buf_add(&b, d->q->body.p, d->q->body.n);
	if (global && !d->utf8) {	/* RFC 6533 6.1 allows what RFC 2046 5.2.1 does not */
		part_begin(d, "message/global", "base64");
		dsn_add_base64(&d->out, buf_slice(&b));
	} else {
		part_begin(d, global ? "message/global" : "message/rfc822", d->is_8bit ? "8bit" : "7bit");
		buf_add(&d->out, buf_peek(&b), b.len);
	}
	buf_fini(&b);
}

/* ---- what a hook added ---- */

/* They stand behind the part that returns the original. RFC 6522 gives each of the first three places a
 * meaning, so the third is there, empty, when nothing is returned. Always base64: no line of a
 * policy's can look like a delimiter or break a limit. */
static void
add_attachments(struct dsn *d)
{
	size_t n = d->requiretls ? 0 : d->w->nattached;		/* R-82, once more */

	if (n > 0 && d->ret == RET_NONE)
		part_begin(d, "text/rfc822-headers", "7bit");
	for (size_t i = 0; i < n; i++) {
		const struct dsn_attachment *a = &d->w->attached[i];
		bool text = strncmp(a->type, "text/", 5) == 0 && utf8_is_valid(a->data, a->n);

		buf_printf(&d->out, "\r\n--%s\r\nContent-Type: %s%s\r\nContent-Disposition: attachment", d->boundary,
		    a->type, text ? "; charset=utf-8" : "");
		dsn_add_filename(&d->out, a->name);
		buf_adds(&d->out, "\r\nContent-Transfer-Encoding: base64\r\n\r\n");
		dsn_add_base64(&d->out, (struct slice){ a->data, a->n });
	}
}

static size_t
attached_room(const struct dsn_words *w)
{
	size_t n = 0;

	for (size_t i = 0; i < w->nattached; i++)
		n += 2 * w->attached[i].n + 8 * strlen(w->attached[i].name) + 512;
	return n;
}

/* ---- the header of the notice ---- */

/* 8bit is said of the whole before it may be said of a part. */
static bool
will_be_8bit(const struct dsn *d)
{
	if (d->utf8)
		return true;
	return d->ret == RET_FULL && (d->q->msg->flags & MSG_HAS_8BIT) != 0 &&
	    !is_utf8_header(d, d->q->header);
}

/* Fields that are not a hook's to set: they carry what the RFCs demand. */
static bool
may_add(const char *name)
{
	static const char *const ours[] = { "From", "To", "Cc", "Bcc", "Date", "Subject", "Sender",
		"Message-ID", "MIME-Version", "Auto-Submitted", "TLS-Required", "Return-Path", "Received",
		"In-Reply-To", "References", "DKIM-Signature", NULL };

	return !is_one_of(slice_of(name), ours) && strncasecmp(name, "Content-", 8) != 0;
}

static void
add_hook_headers(struct dsn *d)
{
	for (size_t i = 0; i < d->w->nheaders && i < 50; i++) {
		const char *line = d->w->headers[i], *colon = strchr(line, ':');
		char *name;

		if (colon == NULL)
			continue;
		name = slice_dup(slice_trim((struct slice){ line, (size_t)(colon - line) }));
		if (may_add(name))
			header_add_field(&d->out, name, colon + 1 + (colon[1] == ' '), d->utf8);
		free(name);
	}
}

/* So that mail programs put the notice beside the message it is about. */
static void
add_reference(struct dsn *d)
{
	const struct header_field *f;
	struct slice id = { NULL, 0 };
	struct header h;

	if (!header_parse(&h, d->q->header))
		return;
	f = header_find(&h, "Message-ID", 1);
	if (f != NULL && dsn_instead(d->w, &h, f) == NULL)
		id = slice_trim(f->value);
	if (id.n > 2 && id.n <= 250 && id.p[0] == '<' && id.p[id.n - 1] == '>' &&
	    ascii_is_printable(id.p, id.n) && memchr(id.p, ' ', id.n) == NULL) {
		buf_printf(&d->out, "In-Reply-To: %.*s\r\n", (int)id.n, id.p);
		buf_printf(&d->out, "References: %.*s\r\n", (int)id.n, id.p);
	}
	header_fini(&h);
}

static void
add_subject(struct dsn *d)
{
	const struct dsn_phrases *ph = dsn_phrases_for(d->w->language, false);
	const char *subject = d->w->subject;

	/* The language may have been chosen after the subject. */
	if (subject == NULL || dsn_subject_is_builtin(subject, d->q->kind))
		subject = ph->subject[d->q->kind];
	header_add_field(&d->out, "Subject", subject, d->utf8);
}

static void
add_header(struct dsn *d)
{
	char id[ID_TEXT], date[48], *to;
	const char *language = dsn_phrases_for(d->w->language, false)->language;

	date_rfc5322(date, sizeof date, d->q->wall_ms);
	id_format(id, d->q->id);
	buf_printf(&d->out, "Date: %s\r\n", date);
	header_add_field(&d->out, "From", d->w->from_header, d->utf8);
	to = xasprintf("<%s>", d->q->msg->from);
	header_add_field(&d->out, "To", to, true);	/* M-139; UTF-8 only when the path is */
	free(to);
	add_subject(d);
	buf_printf(&d->out, "Message-ID: <%s.notice@%s>\r\n", id, d->q->reporting_mta);
	add_reference(d);
	buf_adds(&d->out, "Auto-Submitted: auto-replied\r\n");		/* M-191 */
	/* R-93, D12: without it, the way back might be closed by the very policy that the sender
	 * set aside. REQUIRETLS has precedence. */
	if (d->q->msg->tls_no == TLS_NO_HONOURED && !d->requiretls)
		buf_adds(&d->out, "TLS-Required: No\r\n");
	add_hook_headers(d);
	if (d->w->text != NULL && d->w->language != NULL)
		language = d->w->language;
	header_add_field(&d->out, "Content-Language", language, false);
	buf_adds(&d->out, "MIME-Version: 1.0\r\n");
	d->is_8bit = will_be_8bit(d);
	if (d->is_8bit)
		buf_adds(&d->out, "Content-Transfer-Encoding: 8bit\r\n");
	buf_printf(&d->out, "Content-Type: multipart/report; report-type=%s;\r\n\tboundary=\"%s\"\r\n\r\n",
	    "delivery-status", d->boundary);
}

/* ---- the message ---- */

/* What may come back of the original: never body with REQUIRETLS; the whole of it only
 * when we have it and when it fits into a notice as it is. */
static enum msg_ret
ret_of(const struct dsn *d)
{
	const struct msg *m = d->q->msg;
	uint64_t have = d->q->header.n + d->q->body.n;

	if (d->w->return_content != RET_FULL)
		return d->w->return_content;
	if (d->requiretls || d->q->kind != DSN_FAILED || (m->flags & MSG_LONG_LINES) != 0 ||
	    (m->content_size > 0 && have < m->content_size))
		return RET_HDRS;
	return RET_FULL;
}

/* Nobody who writes a message can know it, so nobody ends a part early. */
static void
make_boundary(struct dsn *d)
{
	uint8_t random[12];
	char hex[2 * sizeof random + 1];

	if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
		memcpy(random, &d->q->id, sizeof d->q->id);
	hex_encode(hex, random, sizeof random);
	snprintf(d->boundary, sizeof d->boundary, "=_notice_%s", hex);
}

static struct msg *
make_msg(struct dsn *d, size_t header_size)
{
	const struct msg *orig = d->q->msg;
	struct msg *m = msg_new();
	struct msg_rcpt *r;
	size_t n = d->out.len;

	m->id = d->q->id;
	m->received_ms = d->q->wall_ms;
	m->from = xstrdup("");		/* R-84, M-138 */
	m->from_domain = xstrdup("");
	m->direction = DIR_OUTBOUND;
	m->flags = MSG_NOTICE;
	if (d->is_8bit) {
		m->flags |= MSG_HAS_8BIT;
		m->body_type = BODY_8BITMIME;
	}
	if (d->utf8)
		m->flags |= MSG_SMTPUTF8;
	if (d->requiretls && d->w->protect != DSN_REDACTED) {	/* */
		m->flags |= MSG_REQUIRETLS;
		duties_join(&m->duties, duties_of(DUTY_ALL, DUTY_BY_SENDER));
		m->duty_note = xstrdup("inherited");
	}
	if (orig->tls_no == TLS_NO_HONOURED && !d->requiretls)
		m->tls_no = TLS_NO_HONOURED;
	m->generation = xstrdup(orig->generation);
	r = msg_add_rcpt(m);
	r->address = xstrdup(orig->from);
	r->domain = xstrdup(orig->from_domain == NULL ? "" : orig->from_domain);
	r->notify = NOTIFY_NEVER;
	MUST(d->out.at == 0);
	for (size_t i = 0; i < header_size; i++)
		if ((unsigned char)d->out.mem[i] >= 0x80)
			m->flags |= MSG_UTF8_HEADER;
	m->content = content_from_memory(d->out.mem, n, header_size);
	m->content_size = n;
	m->header_size = header_size;
	return m;
}

bool
dsn_is_wanted(unsigned notify, enum dsn_action about)
{
	switch (about) {
	case DSN_FAILED:
		return notify == 0 || (notify & NOTIFY_FAILURE) != 0;
	case DSN_DELAYED:
		return notify == 0 || (notify & NOTIFY_DELAY) != 0;
	case DSN_DELIVERED:
	case DSN_RELAYED:
		break;
	}
	return (notify & NOTIFY_SUCCESS) != 0;
}

struct msg *
dsn_build(const struct dsn_request *q, const struct dsn_words *w, struct err *err)
{
	struct dsn d = { .q = q, .w = w, .utf8 = q->return_path_utf8 };
	struct msg *m = NULL;
	struct dsn_words clamped = *w;		/* borrows */
	size_t header_size;

	if (q->msg->from == NULL || q->msg->from[0] == '\0' || (q->msg->flags & MSG_NOTICE) != 0) {
		err_set(err, "a message with a null sender gets no notice");	/* R-94, M-187 */
		return NULL;
	}
	if (q->nrcpts == 0) {
		err_set(err, "a notice needs a recipient to tell about");
		return NULL;
	}
	d.requiretls = dsn_is_tagged(q);
	d.ret = ret_of(&d);
	clamped.return_content = d.ret;
	d.w = &clamped;
	make_boundary(&d);
	buf_init(&d.out, NOTICE_EXTRA + 3 * header_room(&d) + 2 * q->body.n + attached_room(w));
	add_header(&d);
	header_size = d.out.len;
	add_text_part(&d);
	add_status_part(&d);
	if (d.ret == RET_FULL)
		add_returned_message(&d);
	else if (d.ret == RET_HDRS)
		add_returned_headers(&d);
	add_attachments(&d);
	if (!buf_printf(&d.out, "\r\n--%s--\r\n", d.boundary)) {
		err_set(err, "the notice is too large");
		buf_fini(&d.out);
		return NULL;
	}
	m = make_msg(&d, header_size);
	return m;
}
