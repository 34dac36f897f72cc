/* Addresses as commands carry them: RFC 5321 4.1.2 and 4.1.3 with the extensions of RFC 6531 3.3.
 * Strict on purpose: what this parser lets through is what policies, the queue and the next hop
 * see, so one spelling, one meaning (X-15, X-16). The local-part keeps its letters (M-58) and loses
 * needless quoting, the domain becomes lower-case A-labels. */
#include "config.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "dns/dns.h"
#include "smtp/smtp.h"

#define PATH_MAX_OCTETS 256	/* M-03, angle brackets and route included */

static bool
is_alnum(unsigned char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static bool
is_atext(unsigned char c)
{
	return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* Host name syntax, lower-cased into dst: letters, digits and hyphens, labels of 1 to 63 octets,
 * no final dot, at most 253 octets. */
static bool
ldh_domain(char dst[256], struct slice in)
{
	size_t label = 0;

	if (in.n == 0 || in.n > 253)
		return false;
	for (size_t i = 0; i < in.n; i++) {
		unsigned char c = (unsigned char)in.p[i];

		if (c == '.') {
			if (label == 0 || in.p[i - 1] == '-')
				return false;
			label = 0;
		} else if (is_alnum(c) || (c == '-' && label > 0)) {
			if (++label > 63)
				return false;
		} else {
			return false;
		}
		dst[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
	}
	if (label == 0 || in.p[in.n - 1] == '-')
		return false;
	dst[in.n] = '\0';
	return true;
}

/* [192.0.2.1] and [IPv6:2001:db8::1] (M-61). No other tag is registered. */
static bool
address_literal(char dst[256], struct slice in)
{
	char text[INET6_ADDRSTRLEN + 1], canon[INET6_ADDRSTRLEN];
	unsigned char ip[16];
	bool v6;

	if (in.n < 3 || in.p[0] != '[' || in.p[in.n - 1] != ']')
		return false;
	in.p++, in.n -= 2;
	v6 = slice_starts_nocase(in, "IPv6:");
	if (v6)
		in.p += 5, in.n -= 5;
	if (in.n >= sizeof text || memchr(in.p, '\0', in.n) != NULL)
		return false;
	memcpy(text, in.p, in.n);
	text[in.n] = '\0';
	if (inet_pton(v6 ? AF_INET6 : AF_INET, text, ip) != 1 ||
	    inet_ntop(v6 ? AF_INET6 : AF_INET, ip, canon, sizeof canon) == NULL)
		return false;
	snprintf(dst, 256, v6 ? "[IPv6:%s]" : "[%s]", canon);
	return true;
}

static bool
parse_domain(struct smtp_path *p, struct slice in, bool utf8, struct err *err)
{
	char ascii[256];
	bool has_8bit = false;

	if (in.n > 0 && in.p[0] == '[') {
		p->is_literal = true;
		if (address_literal(p->domain, in))
			return true;
		err_set(err, "not an address literal such as [192.0.2.1] or [IPv6:2001:db8::1]");
		return false;
	}
	for (size_t i = 0; i < in.n && !has_8bit; i++)
		has_8bit = (unsigned char)in.p[i] >= 0x80;
	if (has_8bit) {
		p->needs_utf8 = true;
		if (!utf8) {
			err_set(err, "a domain outside ASCII needs SMTPUTF8");
			return false;
		}
		if (utf8_is_harmless(in.p, in.n) && dns_to_ascii(ascii, in) &&
		    ldh_domain(p->domain, slice_of(ascii)))
			return true;
	} else if (ldh_domain(p->domain, in)) {
		return true;
	}
	err_set(err, "the domain is not well-formed");
	return false;
}

/* Octets of the local-part at the front of `in`, 0 when there is none. */
static size_t
local_length(struct slice in)
{
	size_t i = 0;

	if (in.n > 0 && in.p[0] == '"') {
		for (i = 1; i < in.n && in.p[i] != '"'; i++) {
			unsigned char c = (unsigned char)in.p[i];

			if (c == '\\') {	/* quoted-pair: the next one is plain ASCII */
				if (++i >= in.n)
					return 0;
				c = (unsigned char)in.p[i];
				if (c >= 0x80)
					return 0;
			}
			if (c < 0x20 || c == 0x7F)
				return 0;
		}
		return i < in.n ? i + 1 : 0;
	}
	while (i < in.n) {
		unsigned char c = (unsigned char)in.p[i];

		if (c == '.' ? i == 0 || in.p[i - 1] == '.' : !(is_atext(c) || c >= 0x80))
			break;
		i++;
	}
	/* Dot-string: a dot stands between atoms only. */
	return i > 0 && in.p[i - 1] == '.' ? 0 : i;
}

static bool
is_dot_string(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && s[0] != '"' && local_length(slice_of(s)) == n;
}

/* A quoted string in the one spelling that has no more quoting than it needs (RFC 5321 4.1.2): a
 * policy's rule about chief@... must not be passed by "chief"@... or "c\hief"@... (X-15). */
static void
copy_local(char dst[260], struct slice in)
{
	char plain[260];
	size_t n = 0, out = 0;

	if (in.p[0] != '"') {
		memcpy(dst, in.p, in.n);
		dst[in.n] = '\0';
		return;
	}
	for (size_t i = 1; i + 1 < in.n; i++) {
		if (in.p[i] == '\\')
			i++;
		plain[n++] = in.p[i];
	}
	plain[n] = '\0';
	if (is_dot_string(plain)) {
		memcpy(dst, plain, n + 1);
		return;
	}
	dst[out++] = '"';
	for (size_t i = 0; i < n; i++) {
		if (plain[i] == '"' || plain[i] == '\\')
			dst[out++] = '\\';
		dst[out++] = plain[i];
	}
	dst[out++] = '"';
	dst[out] = '\0';
}

/* local-part "@" domain, which is all of `in`; or a bare local-part when `may_be_bare`. */
static bool
parse_mailbox(struct smtp_path *p, struct slice in, bool utf8, bool may_be_bare, struct err *err)
{
	size_t n = local_length(in);

	if (n == 0 || n >= sizeof p->local) {
		err_set(err, "the local-part is not well-formed");
		return false;
	}
	for (size_t i = 0; i < n && !p->needs_utf8; i++)
		p->needs_utf8 = (unsigned char)in.p[i] >= 0x80;
	if (p->needs_utf8 && !utf8) {
		err_set(err, "a local-part outside ASCII needs SMTPUTF8");
		return false;
	}
	if (p->needs_utf8 && !utf8_is_harmless(in.p, n)) {	/* X-30 */
		err_set(err, "the local-part is not well-formed UTF-8");
		return false;
	}
	copy_local(p->local, (struct slice){ in.p, n });
	/* RFC 5321 4.5.1: <Postmaster> alone, in any case (M-59). */
	if (n == in.n && may_be_bare && slice_is_nocase(in, "postmaster"))
		return true;
	if (n == in.n || in.p[n] != '@') {
		err_set(err, n == in.n ? "the domain is missing" : "the local-part is not well-formed");
		return false;
	}
	return parse_domain(p, (struct slice){ in.p + n + 1, in.n - n - 1 }, utf8, err);
}

/* "@a.example,@b.example:" at the front is checked and dropped (M-60). */
static bool
skip_route(struct slice *in, bool utf8, struct err *err)
{
	struct smtp_path scratch;
	struct slice route, hop;
	bool in_literal = false;
	size_t n;

	if (in->n == 0 || in->p[0] != '@')
		return true;
	/* A literal in a route may hold colons itself. */
	for (n = 0; n < in->n && (in->p[n] != ':' || in_literal); n++)
		in_literal = in->p[n] == '[' || (in_literal && in->p[n] != ']');
	if (n == in->n) {
		err_set(err, "a source route without its colon");
		return false;
	}
	route = (struct slice){ in->p, n };
	in->n -= n + 1;
	in->p += n + 1;
	while (slice_cut(&route, ',', &hop)) {
		memset(&scratch, 0, sizeof scratch);
		if (hop.n < 2 || hop.p[0] != '@' ||
		    !parse_domain(&scratch, (struct slice){ hop.p + 1, hop.n - 1 }, utf8, err)) {
			err_set(err, "the source route is not well-formed");
			return false;
		}
	}
	return true;
}

/* Where the path's ">" is; quoted strings may hold one too. */
static size_t
path_length(struct slice text)
{
	bool quoted = false;

	for (size_t i = 1; i < text.n && i < PATH_MAX_OCTETS; i++) {
		if (quoted && text.p[i] == '\\')
			i++;
		else if (text.p[i] == '"')
			quoted = !quoted;
		else if (!quoted && text.p[i] == '>')
			return i + 1;
	}
	return 0;
}

bool
smtp_path_parse(struct smtp_path *p, struct slice text, size_t *used, bool utf8, struct err *err)
{
	struct slice in;
	size_t n;

	p->is_null = p->is_literal = p->needs_utf8 = false;
	p->local[0] = p->domain[0] = '\0';
	*used = 0;
	if (text.n == 0 || text.p[0] != '<') {
		err_set(err, "the address must stand in angle brackets");
		return false;
	}
	n = path_length(text);
	if (n == 0) {
		err_set(err, text.n >= PATH_MAX_OCTETS ? "the address is longer than 256 octets" :
		    "the closing angle bracket is missing");
		return false;
	}
	*used = n;
	if (n == 2) {
		p->is_null = true;
		return true;
	}
	in = (struct slice){ text.p + 1, n - 2 };
	return skip_route(&in, utf8, err) && parse_mailbox(p, in, utf8, true, err);
}

bool
smtp_address_parse(struct smtp_path *p, struct slice text, bool utf8, struct err *err)
{
	p->is_null = p->is_literal = p->needs_utf8 = false;
	p->local[0] = p->domain[0] = '\0';
	if (text.n > PATH_MAX_OCTETS - 2) {
		err_set(err, "the address is longer than 254 octets");
		return false;
	}
	return parse_mailbox(p, text, utf8, false, err);
}

char *
smtp_path_text(const struct smtp_path *p)
{
	if (p->is_null)
		return xstrdup("");
	if (p->domain[0] == '\0')
		return xstrdup(p->local);
	return xasprintf("%s@%s", p->local, p->domain);
}
