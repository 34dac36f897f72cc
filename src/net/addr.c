/* Addresses and prefixes as text and back. Numeric only: nothing here asks the DNS. */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "net/net.h"

void
net_addr_set(struct net_addr *a, int family, const void *ip, uint16_t port)
{
	memset(a, 0, sizeof *a);
	if (family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)&a->ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, ip, 4);
		a->len = sizeof *in;
	} else if (family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a->ss;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		memcpy(&in6->sin6_addr, ip, 16);
		a->len = sizeof *in6;
	}
}

static int
parse_unix(struct net_addr *a, struct slice path, struct err *err)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&a->ss;

	if (path.n == 0 || path.n >= sizeof un->sun_path || memchr(path.p, 0, path.n) != NULL) {
		err_set(err, "\"unix:%.*s\": the path must have 1 to %zu octets", (int)path.n, path.p,
		    sizeof un->sun_path - 1);
		return -1;
	}
	memset(a, 0, sizeof *a);
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path.p, path.n);
	a->len = sizeof *un;
	return 0;
}

/* Octets of an IPv4 or IPv6 address; the family, or -1. */
static int
parse_ip(struct slice text, uint8_t ip[16])
{
	char s[INET6_ADDRSTRLEN];

	if (text.n == 0 || text.n >= sizeof s || memchr(text.p, 0, text.n) != NULL)
		return -1;
	memcpy(s, text.p, text.n);
	s[text.n] = 0;
	if (inet_pton(AF_INET, s, ip) == 1)
		return AF_INET;
	if (inet_pton(AF_INET6, s, ip) == 1)
		return AF_INET6;
	return -1;
}

/* "ip" or "ip:port" or "[ip]" or "[ip]:port", cut in two; port empty when there is none. A bare
 * IPv6 address can have no port: which colon would it be? */
static bool
split_port(struct slice text, struct slice *ip, struct slice *port, bool *bracketed)
{
	const char *colon;

	*port = SLICE("");
	*bracketed = text.n > 0 && text.p[0] == '[';
	if (*bracketed) {
		const char *end = memchr(text.p, ']', text.n);
		struct slice rest;

		if (end == NULL)
			return false;
		*ip = (struct slice){ text.p + 1, (size_t)(end - text.p - 1) };
		rest = (struct slice){ end + 1, text.n - ip->n - 2 };
		if (rest.n == 0)
			return true;
		if (rest.p[0] != ':' || rest.n == 1)
			return false;
		*port = (struct slice){ rest.p + 1, rest.n - 1 };
		return true;
	}
	*ip = text;
	colon = memchr(text.p, ':', text.n);
	if (colon == NULL || memchr(colon + 1, ':', text.n - (size_t)(colon - text.p) - 1) != NULL)
		return true;
	ip->n = (size_t)(colon - text.p);
	*port = (struct slice){ colon + 1, text.n - ip->n - 1 };
	return port->n > 0;
}

int
net_addr_parse(struct net_addr *a, struct slice text, uint16_t default_port, struct err *err)
{
	struct slice ip_text, port_text;
	uint64_t port = default_port;
	bool bracketed;
	uint8_t ip[16];
	int family;

	if (slice_starts_nocase(text, "unix:"))
		return parse_unix(a, (struct slice){ text.p + 5, text.n - 5 }, err);
	if (text.n == 0 || !split_port(text, &ip_text, &port_text, &bracketed))
		goto bad;
	family = parse_ip(ip_text, ip);
	if (family == -1 || bracketed != (family == AF_INET6 && (bracketed || port_text.n > 0)))
		goto bad;
	if (port_text.n > 0 && (!slice_u64(port_text, &port) || port == 0 || port > 65535)) {
		err_set(err, "\"%.*s\": the port must be a number from 1 to 65535", (int)text.n, text.p);
		return -1;
	}
	if (port == 0) {
		err_set(err, "\"%.*s\": a port is needed, as in 192.0.2.1:25", (int)text.n, text.p);
		return -1;
	}
	net_addr_set(a, family, ip, (uint16_t)port);
	return 0;
bad:
	err_set(err, "\"%.*s\" is not an address: write 192.0.2.1:25, [2001:db8::1]:25 or unix:/path",
	    (int)text.n, text.p);
	return -1;
}

/* The address without port; an IPv4-mapped one as the IPv4 address it stands for. */
static int
ip_of(const struct net_addr *a, const uint8_t **ip)
{
	static const uint8_t mapped[12] = { [10] = 0xFF, [11] = 0xFF };

	if (a->ss.ss_family == AF_INET) {
		*ip = (const uint8_t *)&((const struct sockaddr_in *)&a->ss)->sin_addr;
		return AF_INET;
	}
	if (a->ss.ss_family != AF_INET6)
		return AF_UNSPEC;
	*ip = (const uint8_t *)&((const struct sockaddr_in6 *)&a->ss)->sin6_addr;
	if (memcmp(*ip, mapped, sizeof mapped) != 0)
		return AF_INET6;
	*ip += 12;
	return AF_INET;
}

void
net_addr_ip(const struct net_addr *a, char dst[NET_ADDR_TEXT])
{
	const uint8_t *ip;
	int family = ip_of(a, &ip);

	if (family == AF_UNSPEC)
		snprintf(dst, NET_ADDR_TEXT, "%s", a->ss.ss_family == AF_UNIX ? "unix" : "unknown");
	else
		inet_ntop(family, ip, dst, NET_ADDR_TEXT);
}

uint16_t
net_addr_port(const struct net_addr *a)
{
	switch (a->ss.ss_family) {
	case AF_INET:
		return ntohs(((const struct sockaddr_in *)&a->ss)->sin_port);
	case AF_INET6:
		return ntohs(((const struct sockaddr_in6 *)&a->ss)->sin6_port);
	default:
		return 0;
	}
}

static bool
is_loopback4(const uint8_t *ip)
{
	/* 0.0.0.0/8 is "this host" and Linux connects 0.0.0.0 to itself. */
	return ip[0] == 127 || ip[0] == 0;
}

/* every spelling of this host that a hostile MX might use, NAT64 (RFC 6052) included. */
bool
net_addr_is_loopback(const struct net_addr *a)
{
	static const uint8_t nat64[12] = { 0x00, 0x64, 0xFF, 0x9B };
	static const uint8_t zero[16];
	const uint8_t *ip;

	switch (ip_of(a, &ip)) {
	case AF_INET:
		return is_loopback4(ip);
	case AF_INET6:
		if (memcmp(ip, zero, 15) == 0 && ip[15] <= 1)
			return true;
		if (memcmp(ip, zero, 12) == 0 || memcmp(ip, nat64, 12) == 0)
			return is_loopback4(ip + 12);
		return false;
	default:
		return false;
	}
}

int
net_cidr_parse(struct net_cidr *c, struct slice text, struct err *err)
{
	struct slice rest = text, ip;
	const char *slash = text.n == 0 ? NULL : memchr(text.p, '/', text.n);
	uint64_t bits;
	unsigned max;

	memset(c, 0, sizeof *c);
	if (!slice_cut(&rest, '/', &ip) || (c->family = parse_ip(ip, c->ip)) == -1) {
		err_set(err, "\"%.*s\" is not an address or prefix: write 10.0.0.0/8 or fd00::/8",
		    (int)text.n, text.p);
		return -1;
	}
	max = c->family == AF_INET ? 32 : 128;
	bits = max;
	if (slash != NULL && (!slice_u64(rest, &bits) || bits > max)) {
		err_set(err, "\"%.*s\": the prefix length must be from 0 to %u", (int)text.n, text.p, max);
		return -1;
	}
	c->bits = (unsigned)bits;
	for (unsigned i = c->bits; i < max; i++) {
		if ((c->ip[i / 8] & (0x80 >> i % 8)) != 0) {
			err_set(err, "\"%.*s\": there are bits set beyond the prefix length", (int)text.n,
			    text.p);
			return -1;
		}
	}
	return 0;
}

bool
net_cidr_has(const struct net_cidr *c, const struct net_addr *a)
{
	static const uint8_t mapped[12] = { [10] = 0xFF, [11] = 0xFF };
	unsigned bits = c->bits, whole, rest;
	const uint8_t *ip = NULL, *prefix = c->ip;
	int family = ip_of(a, &ip), want = c->family;

	if (want == AF_INET6 && bits >= 96 && memcmp(prefix, mapped, sizeof mapped) == 0) {
		want = AF_INET;
		prefix += 12;
		bits -= 96;
	}
	if (family == AF_UNSPEC || family != want)
		return false;
	whole = bits / 8;
	rest = bits % 8;
	if (memcmp(ip, prefix, whole) != 0)
		return false;
	return rest == 0 || (ip[whole] & (uint8_t)(0xFF << (8 - rest))) == prefix[whole];
}
