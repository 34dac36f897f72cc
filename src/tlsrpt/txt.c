#include "config.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/smtp.h"
#include "tlsrpt/txt.h"

/* ---- One address ---- */

void
rua_fini(struct rua *r)
{
	free(r->to);
	free(r->domain);
	memset(r, 0, sizeof *r);
}

static int
hex_value(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
	    c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* RFC 6068: one address; header fields behind a question mark are not ours to set. */
static bool
parse_mailto(struct rua *out, struct slice rest, struct err *err)
{
	char text[RUA_TEXT_MAX + 1];
	struct slice address;
	struct smtp_path path;
	size_t n = 0;

	slice_cut(&rest, '?', &address);
	for (size_t i = 0; i < address.n; i++) {
		char c = address.p[i];

		if (c == '%') {
			if (i + 2 >= address.n || hex_value(address.p[i + 1]) < 0 ||
			    hex_value(address.p[i + 2]) < 0) {
				err_set(err, "a percent sign without two hexadecimal digits");
				return false;
			}
			c = (char)(hex_value(address.p[i + 1]) * 16 + hex_value(address.p[i + 2]));
			i += 2;
		}
		text[n++] = c;
	}
	if (!ascii_is_printable(text, n)) {
		err_set(err, "an address that is not ASCII");
		return false;
	}
	if (!smtp_address_parse(&path, (struct slice){ text, n }, false, err))
		return false;
	if (path.domain[0] == '\0' || path.is_literal) {
		err_set(err, "an address without a domain name");
		return false;
	}
	out->kind = RUA_MAIL;
	out->to = smtp_path_text(&path);
	out->domain = xstrdup(path.domain);
	return true;
}

static char *
url_part(CURLU *u, CURLUPart part)
{
	char *got = NULL, *copy;

	if (curl_url_get(u, part, &got, part == CURLUPART_PORT ? CURLU_DEFAULT_PORT : 0) != CURLUE_OK)
		return NULL;
	copy = xstrdup(got);
	curl_free(got);
	return copy;
}

/* "192.0.2.1" or "[2001:db8::1]": no certificate of ours would fit it, and no name stands behind it. */
static bool
is_number(const char *host)
{
	char text[INET_ADDRSTRLEN + 2];
	struct in_addr a;
	size_t n = (size_t)snprintf(text, sizeof text, "%s", host);

	if (n > 0 && n < sizeof text && text[n - 1] == '.')
		text[n - 1] = '\0';
	return host[0] == '[' || inet_pton(AF_INET, text, &a) == 1;
}

/* With libcurl's own eyes, so that it will go where we looked. */
static bool
parse_https(struct rua *out, struct slice uri, struct err *err)
{
	CURLU *u = curl_url();
	char *text = slice_dup(uri), *port = NULL;
	uint64_t number = 0;
	bool ok;

	MUST(u != NULL);
	/* libcurl reads over further slashes; to anybody else there is no host. */
	ok = uri.n > 8 && uri.p[8] != '/' && curl_url_set(u, CURLUPART_URL, text, CURLU_DISALLOW_USER) ==
	    CURLUE_OK && curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK;
	if (ok) {
		out->kind = RUA_HTTPS;
		out->to = url_part(u, CURLUPART_URL);
		out->domain = url_part(u, CURLUPART_HOST);
		port = url_part(u, CURLUPART_PORT);
		ok = out->to != NULL && out->domain != NULL && out->domain[0] != '\0' && !is_number(out->domain) &&
		    port != NULL && ascii_is_printable(out->to, strlen(out->to)) &&
		    strchr(out->to, ' ') == NULL && slice_u64(slice_of(port), &number) && number > 0 &&
		    number <= 65535;
	}
	if (ok) {
		out->port = (uint16_t)number;
		for (char *c = out->domain; *c != '\0'; c++)
			if (*c >= 'A' && *c <= 'Z')
				*c += 'a' - 'A';
	} else {
		err_set(err, "not a URL that can be used");
		rua_fini(out);
	}
	free(port);
	free(text);
	curl_url_cleanup(u);
	return ok;
}

bool
rua_parse(struct rua *out, struct slice uri, struct err *err)
{
	memset(out, 0, sizeof *out);
	if (uri.n > RUA_TEXT_MAX) {
		err_set(err, "longer than %u octets", RUA_TEXT_MAX);
		return false;
	}
	/* T-03: those two stand for something else in such a list and have to be encoded. */
	if (!ascii_is_printable(uri.p, uri.n) || memchr(uri.p, ' ', uri.n) != NULL ||
	    memchr(uri.p, '!', uri.n) != NULL || memchr(uri.p, ';', uri.n) != NULL) {
		err_set(err, "octets that are not allowed in such a URI");
		return false;
	}
	if (slice_starts_nocase(uri, "mailto:"))
		return parse_mailto(out, (struct slice){ uri.p + 7, uri.n - 7 }, err);
	if (slice_starts_nocase(uri, "https://"))
		return parse_https(out, uri, err);
	err_set(err, "neither mailto: nor https:");
	return false;
}

bool
rua_list_add(struct rua_list *l, struct rua *r)
{
	if (l->n >= RUA_MAX) {
		rua_fini(r);
		return false;
	}
	l->rua[l->n++] = *r;
	return true;
}

void
rua_list_fini(struct rua_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		rua_fini(&l->rua[i]);
	memset(l, 0, sizeof *l);
}

/* ---- The record ---- */

static bool
is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* What follows the version. The rule for what to discard has the semicolon at once, the grammar has
 * white space before it: as with MTA-STS, we go by the grammar. */
static bool
announces(struct slice txt, struct slice *rest)
{
	size_t at = sizeof "v=TLSRPTv1" - 1;

	if (txt.n <= at || memcmp(txt.p, "v=TLSRPTv1", at) != 0)
		return false;
	while (at < txt.n && (txt.p[at] == ' ' || txt.p[at] == '\t'))
		at++;
	if (at >= txt.n || txt.p[at] != ';')
		return false;
	*rest = (struct slice){ txt.p + at + 1, txt.n - at - 1 };
	return true;
}

static bool
is_field_name(struct slice s)
{
	if (s.n == 0 || s.n > 32 || !is_alnum(s.p[0]))
		return false;
	for (size_t i = 1; i < s.n; i++)
		if (!is_alnum(s.p[i]) && strchr("_-.", s.p[i]) == NULL)
			return false;
	return true;
}

static bool
is_other_value(struct slice v)
{
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] < 0x21 || v.p[i] > 0x7E || v.p[i] == '=')
			return false;
	return v.n > 0;
}

/* An address of no use to us is no reason to leave the others out. */
static void
read_rua(struct slice list, struct rua_list *out)
{
	struct slice uri;
	struct rua r;
	struct err err;

	while (slice_cut(&list, ',', &uri))
		if (!rua_parse(&r, slice_trim(uri), &err) || !rua_list_add(out, &r))
			out->skipped++;
}

/* Of a field that comes twice the first counts. */
static bool
read_fields(struct slice rest, struct rua_list *out)
{
	struct slice field, name;
	bool has_rua = false;

	while (slice_cut(&rest, ';', &field)) {
		field = slice_trim(field);
		if (field.n == 0 && rest.p == NULL)
			break;		/* the last semicolon ends the record */
		if (memchr(field.p, '=', field.n) == NULL || !slice_cut(&field, '=', &name))
			return false;
		name = slice_trim(name);
		field = slice_trim(field);
		if (!is_field_name(name))
			return false;
		if (!slice_is(name, "rua")) {
			if (!is_other_value(field))
				return false;
		} else if (!has_rua) {
			read_rua(field, out);
			has_rua = true;
		}
	}
	return out->n > 0;
}

enum tlsrpt_txt
tlsrpt_txt_parse(const struct slice *txt, size_t n, struct rua_list *out)
{
	struct slice found = { NULL, 0 }, rest;
	size_t nfound = 0;

	memset(out, 0, sizeof *out);
	for (size_t i = 0; i < n; i++) {
		if (announces(txt[i], &rest)) {
			found = rest;
			nfound++;
		}
	}
	if (nfound == 0)
		return TLSRPT_TXT_NONE;
	if (nfound == 1 && read_fields(found, out))
		return TLSRPT_TXT_FOUND;
	rua_list_fini(out);
	return TLSRPT_TXT_BROKEN;
}
