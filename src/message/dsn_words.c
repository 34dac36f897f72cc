/* What a hook may change about a notice, and what must not be said in it. */
#include "config.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "message/message_int.h"
#include "trust/duties.h"	/* the sets alone; this folder decides nothing about TLS */

static void
strings_free(char **v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i]);
	free(v);
}

void
dsn_words_fini(struct dsn_words *w)
{
	free(w->from_header);
	free(w->subject);
	free(w->language);
	free(w->template_name);
	free(w->text);
	free(w->html);
	free(w->footer);
	free(w->copy_to);
	strings_free(w->headers, w->nheaders);
	strings_free(w->redact_host_patterns, w->nredact_host_patterns);
	strings_free(w->said, w->nsaid);
	strings_free(w->fields, w->nfields);
	for (size_t i = 0; i < w->nattached; i++) {
		free(w->attached[i].name);
		free(w->attached[i].type);
		free(w->attached[i].data);
	}
	free(w->attached);
	memset(w, 0, sizeof *w);
}

/* The first of the original's languages that may be used. */
static const char *
language_for(const struct dsn_request *q)
{
	const char *const none[] = { "en", NULL }, *const *may = none, *best;
	const struct header_field *f;
	struct slice rest, part;
	struct header h;

	if (q->languages != NULL && q->languages[0] != NULL)
		may = q->languages;
	best = may[0];
	if (may[1] == NULL || !header_parse(&h, q->header))
		return best;
	f = header_find(&h, "Accept-Language", 1);
	if (f == NULL)
		f = header_find(&h, "Content-Language", 1);
	rest = f == NULL ? (struct slice){ NULL, 0 } : f->value;
	for (unsigned tries = 0; tries < 8 && slice_cut(&rest, ',', &part); tries++) {
		part = slice_trim(part);
		for (size_t i = 0; may[i] != NULL; i++) {
			size_t n = strlen(may[i]);

			if (slice_starts_nocase(part, may[i]) &&
			    (part.n == n || strchr("-; ", part.p[n]) != NULL)) {
				best = may[i];
				goto out;
			}
		}
	}
out:
	header_fini(&h);
	return best;
}

void
dsn_words_init(struct dsn_words *w, const struct dsn_request *q, const char *from_header)
{
	memset(w, 0, sizeof *w);
	w->language = xstrdup(language_for(q));
	w->subject = xstrdup(dsn_phrases_for(w->language, false)->subject[q->kind]);
	w->from_header = from_header != NULL && from_header[0] != '\0' ? xstrdup(from_header) :
	    xasprintf("Mail Delivery <postmaster@%s>", q->reporting_mta);
	/* M-142: the whole message only with a failure, and only when the sender asked. */
	w->return_content = q->kind == DSN_FAILED && q->msg->ret == RET_FULL &&
	    !dsn_is_tagged(q) ? RET_FULL : RET_HDRS;
	w->protect = DSN_AS_CONFIGURED;
}

bool
dsn_is_requiretls(const struct msg *m)
{
	/* A duty to propagate means that it went, or would have gone, with the parameter,
	 * also when a policy asked for it. */
	if ((m->flags & MSG_REQUIRETLS) != 0 || (duties_bits(m->duties) & DUTY_PROPAGATE) != 0 ||
	    duties_from(m->duties, DUTY_BY_SENDER) != 0)
		return true;
	for (size_t i = 0; i < m->nrcpts; i++)
		if ((duties_bits(m->rcpts[i].duties) & DUTY_PROPAGATE) != 0)
			return true;
	return false;
}

bool
dsn_is_tagged(const struct dsn_request *q)
{
	return q->tagged || dsn_is_requiretls(q->msg);
}

/* a notice about protected mail is protected, or redacted. */
static bool
is_redacted(const struct dsn_request *q, const struct dsn_words *w)
{
	return w->protect == DSN_REDACTED && dsn_is_tagged(q);
}

bool
dsn_hides_subject(const struct dsn_request *q, const struct dsn_words *w)
{
	return w->redact_subject || is_redacted(q, w);
}

bool
dsn_hides_received(const struct dsn_request *q, const struct dsn_words *w)
{
	return w->redact_received || is_redacted(q, w);
}

/* ---- what was said, and fields ---- */

const char *
dsn_said(const struct dsn_words *w, const struct dsn_rcpt *rcpts, size_t i)
{
	const char *own = rcpts[i].diagnostic;

	if (i < w->nsaid && w->said[i] != NULL)
		return w->said[i];
	if (rcpts[i].reply != NULL)
		return rcpts[i].reply;
	if (own != NULL && strncmp(own, "x-sallyport;", 12) == 0)
		own += 12 + (own[12] == ' ');
	return own;
}

const char *
dsn_instead(const struct dsn_words *w, const struct header *h, const struct header_field *f)
{
	size_t i = (size_t)(f - h->fields);

	return i < w->nfields ? w->fields[i] : NULL;
}

/* ---- hosts ---- */

static bool
is_host_octet(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
	    c == '.' || c == '_' || c == ':';
}

/* Something with a dot and a letter, or an IP address; a status code is neither. */
static bool
looks_like_host(const char *s)
{
	size_t dots = 0, colons = 0, letters = 0;

	for (; *s != '\0'; s++) {
		dots += *s == '.';
		colons += *s == ':';
		letters += (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');
	}
	return (dots > 0 && letters > 0) || dots == 3 || colons > 1;
}

bool
dsn_hides_host(const struct dsn_request *q, const struct dsn_words *w, const char *host)
{
	if (strcasecmp(host, q->reporting_mta) == 0)
		return false;
	for (size_t i = 0; i < w->nredact_host_patterns; i++)
		if (fnmatch(w->redact_host_patterns[i], host, FNM_CASEFOLD) == 0)
			return true;
	/* Without patterns nobody can tell which are internal: none is named. */
	return w->redact_hosts && w->nredact_host_patterns == 0 && looks_like_host(host);
}

char *
dsn_hide_hosts(const struct dsn_request *q, const struct dsn_words *w, const char *s)
{
	struct buf out;
	char word[256];

	if (!w->redact_hosts && w->nredact_host_patterns == 0)
		return xstrdup(s);
	buf_init(&out, 8 * strlen(s) + 16);
	for (size_t i = 0; s[i] != '\0';) {
		size_t n = 0, keep;
		bool address = i > 0 && s[i - 1] == '@';

		while (is_host_octet(s[i + n]))
			n++;
		if (n == 0) {
			buf_addc(&out, s[i++]);
			continue;
		}
		for (keep = n; keep > 0 && strchr(".:", s[i + keep - 1]) != NULL; keep--)
			;	/* the end of a sentence */
		snprintf(word, sizeof word, "%.*s", (int)keep, s + i);
		/* What stands behind an @ belongs to an address, unless it was named. */
		if (keep > 0 && dsn_hides_host(q, w, word) && (!address || w->nredact_host_patterns > 0))
			buf_adds(&out, "(hidden)");
		else
			buf_add(&out, s + i, keep);
		buf_add(&out, s + i + keep, n - keep);
		i += n;
	}
	return buf_take(&out);
}

/* ---- addresses ---- */

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *
dsn_xtext(const char *xtext, bool utf8)
{
	size_t n = strlen(xtext), len = 0;
	char *raw = xmalloc(n + 1), *out = xmalloc(4 * n + 4);

	for (size_t i = 0; i < n; i++) {
		int hi, lo;

		if (xtext[i] == '+' && i + 2 < n && (hi = hex_digit(xtext[i + 1])) >= 0 &&
		    (lo = hex_digit(xtext[i + 2])) >= 0) {
			raw[len++] = (char)(hi << 4 | lo);
			i += 2;
		} else {
			raw[len++] = xtext[i];
		}
	}
	text_escape(out, 4 * n + 4, raw, len, utf8);
	free(raw);
	return out;
}

char *
dsn_shown_address(const struct dsn_words *w, const struct dsn_rcpt *r)
{
	size_t n = strlen(r->address);
	const char *semicolon = r->orcpt == NULL ? NULL : strchr(r->orcpt, ';');
	char *shown;

	if (w->redact_rcpts && semicolon != NULL)
		return dsn_xtext(semicolon + 1, true);
	shown = xmalloc(4 * n + 4);
	text_escape(shown, 4 * n + 4, r->address, n, true);
	return shown;
}
