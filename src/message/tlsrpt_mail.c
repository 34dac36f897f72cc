#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "message/message_int.h"
#include "message/tlsrpt_mail.h"

#define EXTRA (64u * 1024)		/* above the encoded report */

/* Quoted where that is possible; words that are not ASCII are encoded by header_add_field. */
static char *
from_value(const struct tlsrpt_mail *q)
{
	struct buf b;

	buf_init(&b, 4096);
	if (!ascii_is_printable(q->organization, strlen(q->organization))) {
		buf_printf(&b, "%s <%s>", q->organization, q->contact);
		return buf_take(&b);
	}
	buf_addc(&b, '"');
	for (const char *c = q->organization; *c != '\0'; c++)
		buf_printf(&b, "%s%c", *c == '"' || *c == '\\' ? "\\" : "", *c);
	buf_printf(&b, "\" <%s>", q->contact);
	return buf_take(&b);
}

static char *
to_value(const struct tlsrpt_mail *q)
{
	struct buf b;

	buf_init(&b, 16 * 1024);
	for (size_t i = 0; i < q->nto; i++)
		buf_printf(&b, "%s<%s>", i > 0 ? ", " : "", q->to[i]);
	return buf_take(&b);
}

static void
add_own(struct buf *out, const char *name, char *value)
{
	header_add_field(out, name, value, false);
	free(value);
}

/* T-22, T-23 */
static void
add_header(struct buf *out, const struct tlsrpt_mail *q, const char *boundary)
{
	char id[ID_TEXT], date[48];

	date_rfc5322(date, sizeof date, q->wall_ms);
	id_format(id, q->id);
	buf_printf(out, "Date: %s\r\n", date);
	add_own(out, "From", from_value(q));
	add_own(out, "To", to_value(q));
	add_own(out, "Subject", xasprintf("Report Domain: %s Submitter: %s Report-ID: <%s>", q->domain,
	    q->submitter, q->report_id));
	buf_printf(out, "Message-ID: <%s.tlsrpt@%s>\r\n", id, q->hostname);
	header_add_field(out, "TLS-Report-Domain", q->domain, false);
	header_add_field(out, "TLS-Report-Submitter", q->submitter, false);
	buf_adds(out, "TLS-Required: No\r\n");			/* T-27 */
	buf_adds(out, "Auto-Submitted: auto-generated\r\n");	/* RFC 3834 */
	buf_adds(out, "MIME-Version: 1.0\r\n");
	buf_printf(out, "Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n\tboundary=\"%s\"\r\n\r\n",
	    boundary);
}

/* T-21 */
static void
add_body(struct buf *out, const struct tlsrpt_mail *q, const char *boundary)
{
	buf_printf(out, "--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n"
	    "Content-Transfer-Encoding: 7bit\r\n\r\n", boundary);
	buf_printf(out, "This is a report about TLS on connections to mail hosts of\r\n%s\r\non %s (UTC), "
	    "as RFC 8460 describes it. It was sent because that domain asks\r\nfor such reports in DNS. "
	    "The attachment is for programs; questions go to\r\n%s\r\n\r\n", q->domain, q->day, q->contact);
	buf_printf(out, "--%s\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n"
	    "Content-Disposition: attachment;\r\n\tfilename=\"%s\"\r\n\r\n", boundary, q->file_name);
	dsn_add_base64(out, q->gz);
	buf_printf(out, "\r\n--%s--\r\n", boundary);
}

/* Nobody who had a hand in the report can know it. */
static void
make_boundary(const struct tlsrpt_mail *q, char *boundary, size_t size)
{
	uint8_t random[12];
	char hex[2 * sizeof random + 1];

	if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
		memcpy(random, &q->id, sizeof q->id);
	hex_encode(hex, random, sizeof random);
	snprintf(boundary, size, "=_tlsrpt_%s", hex);
}

static char *
sign(const struct tlsrpt_mail *q, const struct buf *text, size_t header_size, struct err *err)
{
	struct slice all = buf_slice(text);
	struct dkim_signer *s = dkim_signer_new(q->dkim, (struct slice){ all.p, header_size }, err);

	if (s == NULL)
		return NULL;
	if (!dkim_signer_add(s, all.p + header_size, all.n - header_size)) {
		err_set(err, "DKIM: the body cannot be signed");
		dkim_signer_free(s);
		return NULL;
	}
	return dkim_signer_end(s, err);
}

static struct msg *
make_msg(const struct tlsrpt_mail *q, const char *field, struct slice text, size_t header_size)
{
	struct msg *m = msg_new();
	size_t nfield = field == NULL ? 0 : strlen(field);
	char *mem = xmalloc(nfield + text.n + 1);

	if (nfield > 0)
		memcpy(mem, field, nfield);
	memcpy(mem + nfield, text.p, text.n);
	m->content = content_from_memory(mem, nfield + text.n, nfield + header_size);
	m->content_size = nfield + text.n;
	m->header_size = nfield + header_size;
	m->id = q->id;
	m->received_ms = q->wall_ms;
	m->from = xstrdup("");
	m->from_domain = xstrdup("");
	m->direction = DIR_OUTBOUND;
	m->flags = MSG_REPORT;
	m->tls_no = TLS_NO_HONOURED;		/* T-06 */
	m->generation = xstrdup("");
	for (size_t i = 0; i < q->nto; i++) {
		struct msg_rcpt *r = msg_add_rcpt(m);

		r->address = xstrdup(q->to[i]);
		r->domain = xstrdup(strrchr(q->to[i], '@') + 1);
		r->notify = NOTIFY_NEVER;
	}
	return m;
}

struct msg *
tlsrpt_mail_build(const struct tlsrpt_mail *q, struct err *err)
{
	char boundary[48], *field = NULL;
	struct buf text;
	struct msg *m = NULL;
	size_t header_size;

	make_boundary(q, boundary, sizeof boundary);
	buf_init(&text, EXTRA + 2 * q->gz.n);
	add_header(&text, q, boundary);
	header_size = text.len;
	add_body(&text, q, boundary);
	if (text.len + 1024 > text.max)
		err_set(err, "the report is too large");
	else if (q->dkim == NULL || (field = sign(q, &text, header_size, err)) != NULL)
		m = make_msg(q, field, buf_slice(&text), header_size);
	free(field);
	buf_fini(&text);
	return m;
}
