/* The part of a notice that people read: built-in sentences, a template, or a policy's own words. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message/message_int.h"

#define TEXT_MAX (1024u * 1024)
#define TEMPLATE_MAX (64u * 1024)
#define WRAP_AT 72u
#define RCPTS_SHOWN 100u	/* the status part has all of them */

static char *
escaped(const char *s, size_t max)
{
	char *e = xmalloc(max + 4);

	text_escape(e, max + 4, s, strlen(s), true);
	return e;
}

/* Text with any line ends to CRLF; other controls become spaces, what is not UTF-8 a question
 * mark, so that no part of it is more than text. */
static void
add_normal(struct buf *out, const char *s)
{
	for (size_t step; *s != '\0'; s += step) {
		step = 1;
		if (*s == '\r' || *s == '\n') {
			step = s[0] == '\r' && s[1] == '\n' ? 2 : 1;
			buf_adds(out, "\r\n");
		} else if ((unsigned char)*s >= 0x80) {
			size_t left = strnlen(s, 4);

			for (step = 2; step <= left && !utf8_is_valid(s, step); step++)
				;
			if (step > left) {
				step = 1;
				buf_addc(out, '?');
			} else {
				buf_add(out, s, step);
			}
		} else {
			buf_addc(out, ((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7F ? ' ' : *s);
		}
	}
}

/* Columns, roughly: one for each character. */
static size_t
width(const char *p, size_t n)
{
	size_t cols = 0;

	for (size_t i = 0; i < n; i++)
		cols += ((unsigned char)p[i] & 0xC0) != 0x80;
	return cols;
}

static void
add_wrapped(struct buf *out, const char *indent, const char *text)
{
	size_t col = 0;

	while (*text != '\0') {
		size_t n = strcspn(text, " "), cols = width(text, n);

		if (n == 0) {
			text++;
			continue;
		}
		if (col > 0 && col + 1 + cols > WRAP_AT) {
			buf_adds(out, "\r\n");
			col = 0;
		}
		if (col == 0) {
			buf_adds(out, indent);
			col = strlen(indent);
		} else {
			buf_addc(out, ' ');
			col++;
		}
		buf_add(out, text, n);
		col += cols;
		text += n;
	}
	buf_adds(out, "\r\n");
}

/* ---- pieces ---- */

static char *
original_subject(const struct dsn_request *q, const struct dsn_words *w)
{
	const struct header_field *f;
	const char *instead;
	char *decoded, *shown;
	struct header h;

	/* The words of a notice about tagged mail go wherever the notice goes, in the end perhaps in
	 * clear (D3); what its header says is in the part that can be left out then. */
	if (dsn_hides_subject(q, w) || dsn_is_tagged(q) || !header_parse(&h, q->header))
		return xstrdup("");
	f = header_find(&h, "Subject", 1);
	instead = f == NULL ? "" : dsn_instead(w, &h, f);
	decoded = instead != NULL ? xstrdup(instead) : header_decode(f->value);
	shown = escaped(decoded, 300);
	free(decoded);
	header_fini(&h);
	return shown;
}

/* What the other server said, or our own words, escaped, in one line. */
static char *
said(const struct dsn_request *q, const struct dsn_words *w, const struct dsn_rcpt *r)
{
	const char *s = dsn_said(w, q->rcpts, (size_t)(r - q->rcpts));
	char *hidden, *shown, *line;

	if (s == NULL || w->redact_diagnostic)
		return xstrdup("");
	line = xstrdup(s);
	for (char *p = line; *p != '\0'; p++)
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	hidden = dsn_hide_hosts(q, w, line);
	shown = escaped(hidden, 1200);
	free(hidden);
	free(line);
	return shown;
}

static void
add_rcpt(struct buf *out, const struct dsn_request *q, const struct dsn_words *w,
    const struct dsn_phrases *ph, const struct dsn_rcpt *r)
{
	char *address = dsn_shown_address(w, r), *words = said(q, w, r), date[48];

	buf_printf(out, "<%s>\r\n", address);
	if (r->action == DSN_FAILED || r->action == DSN_DELAYED)
		add_wrapped(out, "    ", dsn_explain(ph, r->status));
	if (words[0] != '\0' && r->reply != NULL) {
		add_wrapped(out, "    ", ph->reply_was);
		add_wrapped(out, "    ", words);
	} else if (words[0] != '\0' && r->action != DSN_DELIVERED && r->action != DSN_RELAYED) {
		buf_printf(out, "    (%s ", r->status);
		add_wrapped(out, "", words);
		out->len -= 2;
		buf_adds(out, ")\r\n");
	}
	if (r->action == DSN_DELAYED && r->retry_until_ms > 0) {
		date_rfc5322(date, sizeof date, r->retry_until_ms);
		buf_printf(out, "    %s %s.\r\n", ph->retry_until, date);
	}
	buf_adds(out, "\r\n");
	free(words);
	free(address);
}

static void
add_rcpts(struct buf *out, const struct dsn_request *q, const struct dsn_words *w,
    const struct dsn_phrases *ph)
{
	for (size_t i = 0; i < q->nrcpts && i < RCPTS_SHOWN; i++)
		add_rcpt(out, q, w, ph, &q->rcpts[i]);
	if (q->nrcpts > RCPTS_SHOWN)
		buf_printf(out, "... (%zu)\r\n\r\n", q->nrcpts - RCPTS_SHOWN);
}

static void
add_builtin(struct buf *out, const struct dsn_request *q, const struct dsn_words *w,
    const struct dsn_phrases *ph)
{
	char *subject = original_subject(q, w);

	add_wrapped(out, "", ph->intro[q->kind]);
	buf_adds(out, "\r\n");
	add_rcpts(out, q, w, ph);
	if (subject[0] != '\0') {
		buf_printf(out, "%s ", ph->subject_was);
		add_wrapped(out, "", subject);
	}
	if (w->return_content == RET_FULL)
		add_wrapped(out, "", ph->attached_all);
	else if (w->return_content == RET_HDRS && !dsn_is_tagged(q))
		add_wrapped(out, "", ph->attached_headers);
	buf_printf(out, "\r\n-- \r\n%s\r\n", q->reporting_mta);
	free(subject);
}

/* ---- templates ---- */

static bool
is_file_word(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

	return n > 0 && s[n] == '\0' && n < 64;
}

static char *
read_template(const char *dir, const char *name, const char *language)
{
	char *path = xasprintf("%s/%s.%s.txt", dir, name, language), *text = NULL;
	FILE *f = fopen(path, "re");
	size_t n;

	if (f != NULL) {
		text = xmalloc(TEMPLATE_MAX);
		n = fread(text, 1, TEMPLATE_MAX - 1, f);
		text[n] = '\0';
		fclose(f);
	} else if (errno != ENOENT) {
		log_warn("notice template cannot be read", LOG_S("file", path),
		    LOG_S("error", strerror(errno)));
	}
	free(path);
	return text;
}

/* <name>.de-AT.txt, then <name>.de.txt; then the built-in words of that language, if we have them,
 * else <name>.en.txt. */
static char *
find_template(const struct dsn_request *q, const struct dsn_words *w)
{
	static const char *const kinds[] = { [DSN_FAILED] = "failed", [DSN_DELAYED] = "delayed",
		[DSN_DELIVERED] = "delivered", [DSN_RELAYED] = "relayed" };
	const char *name = w->template_name != NULL ? w->template_name : kinds[q->kind];
	const char *language = w->language == NULL ? "en" : w->language;
	char primary[16], *text;

	if (q->templates == NULL || !is_file_word(name) || !is_file_word(language))
		return NULL;
	text = read_template(q->templates, name, language);
	if (text == NULL && strcspn(language, "-_") < strlen(language)) {
		snprintf(primary, sizeof primary, "%.*s", (int)strcspn(language, "-_"), language);
		text = read_template(q->templates, name, primary);
	}
	if (text == NULL && (w->template_name != NULL || dsn_phrases_for(language, true) == NULL))
		text = read_template(q->templates, name, "en");
	return text;
}

/* What stands for {{name}}; heap, NULL when there is no such name. */
static char *
placeholder(const struct dsn_request *q, const struct dsn_words *w, const struct dsn_phrases *ph,
    struct slice name)
{
	static const char *const actions[] = { "failed", "delayed", "delivered", "relayed" };
	const struct dsn_rcpt *r = &q->rcpts[0];
	struct buf b;
	char id[ID_TEXT], date[48];

	if (slice_is(name, "recipient"))
		return dsn_shown_address(w, r);
	if (slice_is(name, "recipients")) {
		buf_init(&b, TEXT_MAX);
		add_rcpts(&b, q, w, ph);
		return buf_take(&b);
	}
	if (slice_is(name, "status"))
		return escaped(r->status, 16);
	if (slice_is(name, "action"))
		return xstrdup(actions[r->action]);
	if (slice_is(name, "reason"))
		return xstrdup(dsn_explain(ph, r->status));
	if (slice_is(name, "diagnostic"))
		return said(q, w, r);
	if (slice_is(name, "remote_mta"))
		return r->remote_mta == NULL || dsn_hides_host(q, w, r->remote_mta) ? xstrdup("") :
		    escaped(r->remote_mta, 260);
	if (slice_is(name, "subject"))
		return original_subject(q, w);
	if (slice_is(name, "sender"))
		return escaped(q->msg->from, 400);
	if (slice_is(name, "hostname"))
		return xstrdup(q->reporting_mta);
	if (slice_is(name, "date")) {
		date_rfc5322(date, sizeof date, q->wall_ms);
		return xstrdup(date);
	}
	if (slice_is(name, "id")) {
		id_format(id, q->msg->id);
		return xstrdup(id);
	}
	return NULL;
}

/* Values are put in, never looked at again: a {{...}} that a stranger wrote stays as it is. */
static void
add_template(struct buf *out, const struct dsn_request *q, const struct dsn_words *w,
    const struct dsn_phrases *ph, char *text)
{
	while (*text != '\0') {
		char *open = strstr(text, "{{"), *close = open == NULL ? NULL : strstr(open, "}}"), *value;

		if (close == NULL) {
			add_normal(out, text);
			return;
		}
		value = placeholder(q, w, ph,
		    slice_trim((struct slice){ open + 2, (size_t)(close - open - 2) }));
		*open = '\0';
		add_normal(out, text);
		if (value != NULL) {
			add_normal(out, value);
		} else {
			*open = '{';
			*close = '\0';
			add_normal(out, open);
			buf_adds(out, "}}");
		}
		free(value);
		text = close + 2;
	}
}

char *
dsn_text(const struct dsn_request *q, const struct dsn_words *w)
{
	const struct dsn_phrases *ph = dsn_phrases_for(w->language, false);
	char *template = NULL;
	struct buf out;

	buf_init(&out, TEXT_MAX);
	if (w->text != NULL)
		add_normal(&out, w->text);
	else if ((template = find_template(q, w)) != NULL)
		add_template(&out, q, w, ph, template);
	else
		add_builtin(&out, q, w, ph);
	free(template);
	if (w->footer != NULL) {
		buf_adds(&out, "\r\n");
		add_normal(&out, w->footer);
	}
	if (out.len > 0 && buf_peek(&out)[out.len - 1] != '\n')
		buf_adds(&out, "\r\n");
	return buf_take(&out);
}
