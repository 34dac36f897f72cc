/* Texts of all kinds: checked, brought into the one form that the rest of the program reads. */
#include "config.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf_int.h"
#include "dns/dns.h"

#define LDH "abcdefghijklmnopqrstuvwxyz0123456789-"

bool
name_is_ok(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");

	return n >= 1 && n <= 64 && name[n] == '\0';
}

bool
host_to_ascii(char dst[256], const char *text)
{
	size_t n = strlen(text), label = 0, from;
	bool has_letter = false;

	if (n > 1 && text[n - 1] == '.')
		n--;
	if (n == 0 || n > 253 * 4)
		return false;
	if (!ascii_is_printable(text, n)) {
		if (!dns_to_ascii(dst, (struct slice){ text, n }))
			return false;
	} else {
		if (n > 253)
			return false;
		for (size_t i = 0; i < n; i++)
			dst[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] | 32) : text[i];
		dst[n] = '\0';
	}
	/* RFC 1123 2.1; a last label of digits only would be an address. */
	for (from = 0; dst[from] != '\0'; from += label + (dst[from + label] == '.')) {
		label = strspn(dst + from, LDH);
		if (label == 0 || label > 63 || dst[from] == '-' || dst[from + label - 1] == '-')
			return false;
		if (dst[from + label] != '.' && dst[from + label] != '\0')
			return false;
		if (dst[from + label] == '.' && dst[from + label + 1] == '\0')
			return false;
		has_letter = strspn(dst + from, "0123456789") < label;
	}
	return has_letter;
}

char *
path_below(const char *dir, const char *path)
{
	return path[0] == '/' ? xstrdup(path) : xasprintf("%s%s%s", dir,
	    dir[0] != '\0' && dir[strlen(dir) - 1] == '/' ? "" : "/", path);
}

bool
size_parse(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	size_t digits = strspn(text, "0123456789");
	unsigned shift = 0;
	uint64_t v;

	if (text[digits] != '\0') {
		const char *unit = strchr(units, text[digits]);

		if (unit == NULL || text[digits + 1] != '\0')
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
	}
	if (!slice_u64((struct slice){ text, digits }, &v) || v > (uint64_t)INT64_MAX >> shift)
		return false;
	*out = v << shift;
	return true;
}

void
size_format(char *dst, size_t size, uint64_t v)
{
	static const char unit[] = { 0, 'K', 'M', 'G', 'T' };
	unsigned i = 0;

	while (v != 0 && v % 1024 == 0 && i + 1 < NELEMS(unit)) {
		v /= 1024;
		i++;
	}
	snprintf(dst, size, "%llu%.1s", (unsigned long long)v, i == 0 ? "" : &unit[i]);
}

void
cidr_format(char *dst, size_t size, const struct net_cidr *c)
{
	char ip[INET6_ADDRSTRLEN] = "";

	inet_ntop(c->family, c->ip, ip, sizeof ip);
	snprintf(dst, size, "%s/%u", ip, c->bits);
}

static bool
is_ip(const char *text)
{
	uint8_t ip[16];

	return inet_pton(AF_INET, text, ip) == 1 || inet_pton(AF_INET6, text, ip) == 1;
}

static bool
port_parse(struct slice text, uint16_t *out)
{
	uint64_t v;

	if (text.n > 5 || !slice_u64(text, &v) || v < 1 || v > 65535)
		return false;
	*out = (uint16_t)v;
	return true;
}

bool
route_host_parse(struct route_host *h, const char *text, struct err *err)
{
	const char *colon = strrchr(text, ':'), *close = strchr(text, ']');
	char name[256], ascii[256];
	size_t n;

	h->port = 0;
	if (text[0] == '[') {
		n = close == NULL ? 0 : (size_t)(close - text) - 1;
		colon = close != NULL && close[1] == ':' ? close + 1 : NULL;
		if (close == NULL || n >= sizeof name || (colon == NULL && close[1] != '\0')) {
			err_set(err, "a host such as \"[2001:db8::1]:25\" is expected");
			return false;
		}
		snprintf(name, sizeof name, "%.*s", (int)n, text + 1);
	} else {
		if (colon != NULL && strchr(text, ':') != colon) {
			err_set(err, "an IPv6 address stands in brackets: \"[%.64s]:25\"", text);
			return false;
		}
		n = colon == NULL ? strlen(text) : (size_t)(colon - text);
		if (n >= sizeof name)
			return false;
		snprintf(name, sizeof name, "%.*s", (int)n, text);
	}
	if (colon != NULL && !port_parse(slice_of(colon + 1), &h->port)) {
		err_set(err, "the port after \":\" is a number from 1 to 65535");
		return false;
	}
	if (is_ip(name) && (text[0] == '[') == (strchr(name, ':') != NULL)) {
		h->host = xstrdup(name);
		return true;
	}
	if (text[0] == '[' || !host_to_ascii(ascii, name))
		return false;
	h->host = xstrdup(ascii);
	return true;
}

char *
route_host_text(const struct route_host *h)
{
	bool v6 = strchr(h->host, ':') != NULL;

	if (h->port == 0)
		return xasprintf("%s%s%s", v6 ? "[" : "", h->host, v6 ? "]" : "");
	return xasprintf("%s%s%s:%u", v6 ? "[" : "", h->host, v6 ? "]" : "", h->port);
}

/* ---- The kinds ---- */
static char *
plain_conv(const struct reader *r, const char *text, struct err *err)
{
	return xstrdup(text);
}

static char *
path_conv(const struct reader *r, const char *text, struct err *err)
{
	if (text[0] == '\0')
		return NULL;
	return path_below(r->dir, text);
}

static char *
anchor_conv(const struct reader *r, const char *text, struct err *err)
{
	return strcmp(text, "none") == 0 ? xstrdup("none") : path_conv(r, text, err);
}

static char *
host_conv(const struct reader *r, const char *text, struct err *err)
{
	char dst[256];

	return host_to_ascii(dst, text) ? xstrdup(dst) : NULL;
}

/* As the hosts of a route are kept, without a port. */
static char *
route_host_conv(const struct reader *r, const char *text, struct err *err)
{
	struct route_host h = { NULL, 0 };

	if (!route_host_parse(&h, text, err) || h.port != 0) {
		free(h.host);
		return NULL;
	}
	return h.host;
}

static char *
zone_conv(const struct reader *r, const char *text, struct err *err)
{
	return strcmp(text, ".") == 0 ? xstrdup(".") : host_conv(r, text, err);
}

static char *
wild_conv(const struct reader *r, const char *text, struct err *err)
{
	char dst[256];

	if (strncmp(text, "*.", 2) != 0)
		return host_conv(r, text, err);
	if (!host_to_ascii(dst, text + 2) || strlen(dst) > 251)
		return NULL;
	return xasprintf("*.%s", dst);
}

static char *
pattern_conv(const struct reader *r, const char *text, struct err *err)
{
	return strcmp(text, "*") == 0 ? xstrdup("*") : wild_conv(r, text, err);
}

static bool
is_atext(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] <= ' ' || p[i] > '~' || strchr("()<>[]:;@\\,\"", p[i]) != NULL)
			return false;
	return n > 0;
}

/* local@domain without quoting: what a postmaster's or an owner's address looks like. */
static char *
mailbox_conv(const struct reader *r, const char *text, struct err *err)
{
	const char *at = strrchr(text, '@');
	char dst[256];
	size_t n = at == NULL ? 0 : (size_t)(at - text);

	if (n > 64 || !is_atext(text, n) || text[0] == '.' || text[n - 1] == '.' ||
	    !host_to_ascii(dst, at + 1))
		return NULL;
	return xasprintf("%.*s@%s", (int)n, text, dst);
}

/* "Words <local@domain>" as it will stand in a From field (RFC 5322 3.4): words are atoms, or all
 * of it is one quoted string. */
static char *
from_conv(const struct reader *r, const char *text, struct err *err)
{
	const char *open = strchr(text, '<');
	struct slice words, part;
	char *inner, *box, *out;
	size_t n = strlen(text);

	if (open == NULL)
		return mailbox_conv(r, text, err);
	if (!ascii_is_printable(text, n) || text[n - 1] != '>')
		return NULL;
	words = slice_trim((struct slice){ text, (size_t)(open - text) });
	if (words.n >= 2 && words.p[0] == '"' && words.p[words.n - 1] == '"') {
		if (memchr(words.p + 1, '"', words.n - 2) != NULL || memchr(words.p, '\\', words.n) != NULL)
			return NULL;
	} else {
		for (struct slice rest = words; words.n > 0 && slice_cut(&rest, ' ', &part);)
			if (part.n > 0 && (!is_atext(part.p, part.n) || memchr(part.p, '.', part.n) != NULL))
				return NULL;
	}
	inner = xstrndup(open + 1, strlen(open + 1) - 1);
	box = mailbox_conv(r, inner, err);
	free(inner);
	if (box == NULL)
		return NULL;
	out = words.n == 0 ? xstrdup(box) : xasprintf("%.*s <%s>", (int)words.n, words.p, box);
	free(box);
	return out;
}

static char *
language_conv(const struct reader *r, const char *text, struct err *err)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz");

	if (n < 2 || n > 3)
		return NULL;
	if (text[n] == '-' && strspn(text + n + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 2)
		n += 3;
	return text[n] == '\0' ? xstrdup(text) : NULL;
}

static char *
pin_conv(const struct reader *r, const char *text, struct err *err)
{
	char *pin;

	if (strncmp(text, "sha256:", 7) != 0 || strlen(text) != 71 ||
	    strspn(text + 7, "0123456789abcdefABCDEF") != 64)
		return NULL;
	pin = xstrdup(text);
	for (char *p = pin; *p != '\0'; p++)
		if (*p >= 'A' && *p <= 'F')
			*p |= 32;
	return pin;
}

static char *
ip_conv(const struct reader *r, const char *text, struct err *err)
{
	return is_ip(text) ? xstrdup(text) : NULL;
}

static char *
server_conv(const struct reader *r, const char *text, struct err *err)
{
	const char *at = strchr(text, '@');
	char ip[64];
	uint16_t port;

	snprintf(ip, sizeof ip, "%.*s", at == NULL ? 63 : (int)(at - text), text);
	if (!is_ip(ip) || (at != NULL && !port_parse(slice_of(at + 1), &port)))
		return NULL;
	return xstrdup(text);
}

static char *
bind_conv(const struct reader *r, const char *text, struct err *err)
{
	struct net_addr a;
	char *full, *file;

	if (strncmp(text, "unix:", 5) == 0 && text[5] != '\0') {
		file = path_below(r->dir, text + 5);
		full = xasprintf("unix:%s", file);
		free(file);
	} else {
		full = xstrdup(text);
	}
	if (net_addr_parse(&a, slice_of(full), 0, err) != 0) {
		free(full);
		return NULL;
	}
	return full;
}

static char *
name_conv(const struct reader *r, const char *text, struct err *err)
{
	return name_is_ok(text) ? xstrdup(text) : NULL;
}

static char *
field_conv(const struct reader *r, const char *text, struct err *err)
{
	size_t n = strlen(text);

	if (n == 0 || n > 64)
		return NULL;
	for (size_t i = 0; i < n; i++)		/* RFC 5322 2.2 */
		if (text[i] <= ' ' || text[i] > '~' || text[i] == ':')
			return NULL;
	return xstrdup(text);
}

/* With its port, so that texts can be compared. */
static char *
origin_conv(const struct reader *r, const char *text, struct err *err)
{
	size_t n = strlen(text), host;
	struct route_host h = { .port = 0 };
	char ascii[256], *front, *out = NULL;

	if (strncmp(text, "https://", 8) != 0 || n > 1000 || !utf8_is_harmless(text, n) || strpbrk(text, "?#\\@%*\" ") != NULL ||
	    strstr(text, "/.") != NULL)
		return NULL;
	host = strcspn(text + 8, "/");
	front = xstrndup(text + 8, host);
	/* A certificate is for a name. */
	if (route_host_parse(&h, front, err) && host_to_ascii(ascii, h.host))
		out = xasprintf("https://%s:%u%s", ascii, h.port == 0 ? 443u : (unsigned)h.port,
		    text[8 + host] == '\0' ? "/" : text + 8 + host);
	free(h.host);
	free(front);
	return out;
}

static char *
column_conv(const struct reader *r, const char *text, struct err *err)
{
	size_t n = strlen(text);

	return n > 0 && n <= 64 && utf8_is_harmless(text, n) ? xstrdup(text) : NULL;
}

/* As it will stand in a TXT record: RFC 8460 section 3 wants ",", "!" and ";" encoded. */
static char *
report_uri_conv(const struct reader *r, const char *text, struct err *err)
{
	size_t n = strlen(text);
	struct slice host;
	char *box;

	if (n > 400 || !ascii_is_printable(text, n) || strpbrk(text, " \",!;\\") != NULL)
		return NULL;
	if (strncmp(text, "https://", 8) == 0) {
		host = (struct slice){ text + 8, strcspn(text + 8, "/?#") };
		return host.n > 0 ? xstrdup(text) : NULL;
	}
	if (strncmp(text, "mailto:", 7) != 0)
		return NULL;
	box = mailbox_conv(r, text + 7, err);
	if (box != NULL) {
		free(box);
		return xstrdup(text);
	}
	return NULL;
}

#define KIND(id, label, sentence) \
	const struct text_kind kind_##id = { .name = (label), .expects = (sentence), .conv = id##_conv }
KIND(plain, "text", "a text");
KIND(path, "path", "a path");
KIND(anchor, "path", "a path or \"none\"");
KIND(host, "host name", "a host name such as \"mx1.acme.example\"");
KIND(zone, "domain", "a domain or \".\"");
KIND(pattern, "domain pattern",
    "a domain such as \"acme.example\", \"*.acme.example\" or \"*\"");
KIND(mailbox, "mail address", "an address such as \"postmaster@acme.example\"");
KIND(from, "mail address",
    "an address such as \"Mail Delivery <postmaster@acme.example>\"");
KIND(language, "language", "a language such as \"en\"");
KIND(pin, "pin", "\"sha256:\" and 64 hexadecimal digits");
KIND(ip, "address", "a numeric address");
KIND(server, "address", "a numeric address such as \"127.0.0.1\" or \"127.0.0.1@53\"");
KIND(bind, "address", "an address such as \"0.0.0.0:25\", \"[::]:25\" or \"unix:PATH\"");
KIND(name, "name", "a name (letters, digits, \"_\", \"-\", \".\")");
KIND(field, "header field name", "a header field name");
KIND(origin, "URL", "the start of a URL such as \"https://cmdb.acme.example/\"");
KIND(column, "column", "the name of a column");
KIND(report_uri, "URI", "a URI such as \"mailto:tls-reports@acme.example\" or \"https://acme.example/tls\"");
const struct text_kind kind_domain = { "domain", "a domain such as \"acme.example\"", host_conv };
KIND(route_host, "host", "a host such as \"smtp.provider.example\", without a port");
const struct text_kind kind_user = { "user", "a user name", name_conv };
const struct text_kind kind_cert_name = { "host name",
	"a host name such as \"mx1.acme.example\" or \"*.acme.example\"", wild_conv };

static char *
conv_text(const struct reader *r, const struct text_kind *k, const json_t *v, struct err *err)
{
	const char *text = json_string_value(v);

	err->text[0] = '\0';
	if (text == NULL)
		return NULL;
	if (strlen(text) != json_string_length(v) || strlen(text) > 4096 || strpbrk(text, "\r\n") != NULL) {
		err_set(err, "a text has at most 4096 octets, none of them NUL, CR or LF");
		return NULL;
	}
	return k->conv(r, text, err);
}

static char *
read_text(struct reader *r, const struct text_kind *k, const json_t *v)
{
	struct err err;
	char *text = conv_text(r, k, v, &err);

	if (text == NULL && err.text[0] != '\0')
		reader_error(r, "%s", err.text);
	else if (text == NULL)
		reader_expects(r, k->expects, v);
	return text;
}

bool
read_texts(struct reader *r, const struct text_kind *k, const json_t *v, char ***out,
    size_t *n_out)
{
	size_t n = json_is_array(v) ? json_array_size(v) : 1, mark;
	char **list = xcalloc(n + 1, sizeof *list);
	bool ok = true;

	if (!json_is_array(v)) {
		list[0] = read_text(r, k, v);
		ok = list[0] != NULL;
	}
	for (size_t i = 0; json_is_array(v) && i < n; i++) {
		mark = path_push_index(r, i);
		list[i] = read_text(r, k, json_array_get(v, i));
		ok = list[i] != NULL && ok;
		path_pop(r, mark);
	}
	if (!ok || n == 0) {
		texts_free(list, n);
		list = NULL;
		n = 0;
	}
	*out = list;
	*n_out = n;
	return ok;
}

json_t *
texts_to_json(char *const *v, size_t n)
{
	json_t *out = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(out, json_string(v[i]));
	return out;
}

void
texts_free(char **v, size_t n)
{
	for (size_t i = 0; v != NULL && i < n; i++)
		free(v[i]);
	free(v);
}
