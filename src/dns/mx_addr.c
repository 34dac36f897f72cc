/* Addresses that mail may be sent to, and which of them are our own. */
#include "config.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

#include "dns/dns_int.h"
#include "net/net.h"

#define LOCAL_ADDRS_MS 60000

static bool
is_special_v4(const uint8_t *p, bool allow_loopback)
{
	if (p[0] == 127)
		return !allow_loopback;
	return p[0] == 0 || (p[0] == 169 && p[1] == 254) || p[0] >= 224;
}

/* Unspecified, loopback, link-local and multicast addresses, also when wrapped up as IPv6, are
 * nothing that DNS may send mail to. */
bool
mx_addr_is_special(const struct mx_addr *a, bool allow_loopback)
{
	static const uint8_t zero[16], nat64[12] = { 0, 0x64, 0xFF, 0x9B };
	const uint8_t *p = a->ip;

	if (a->family == AF_INET)
		return is_special_v4(p, allow_loopback);
	if (memcmp(p, zero, 15) == 0 && p[15] == 1)
		return !allow_loopback;
	if (memcmp(p, zero, 12) == 0)		/* unspecified; IPv4-compatible, long dead */
		return true;
	if (memcmp(p, nat64, 12) == 0)
		return is_special_v4(p + 12, false);
	if (p[0] == 0x20 && p[1] == 0x02)	/* 6to4 */
		return is_special_v4(p + 2, false);
	return (p[0] == 0xFE && (p[1] & 0xC0) == 0x80) || p[0] == 0xFF;
}

/* Private, shared (RFC 6598), for benchmarks, protocol assignments (RFC 6890). */
static bool
is_private_v4(const uint8_t *p)
{
	return is_special_v4(p, false) || p[0] == 10 || (p[0] == 172 && (p[1] & 0xF0) == 16) ||
	    (p[0] == 192 && p[1] == 168) || (p[0] == 100 && (p[1] & 0xC0) == 64) ||
	    (p[0] == 198 && (p[1] & 0xFE) == 18) || (p[0] == 192 && p[1] == 0 && p[2] == 0);
}

bool
mx_addr_is_private(const struct mx_addr *a)
{
	static const uint8_t nat64[12] = { 0, 0x64, 0xFF, 0x9B };
	const uint8_t *p = a->ip;

	if (a->family == AF_INET)
		return is_private_v4(p);
	return mx_addr_is_special(a, false) || (p[0] & 0xFE) == 0xFC ||		/* RFC 4193 */
	    (p[0] == 0xFE && (p[1] & 0xC0) == 0xC0) ||				/* site-local */
	    (memcmp(p, nat64, 4) == 0 && (memcmp(p, nat64, 12) != 0 || is_private_v4(p + 12))) ||
	    (p[0] == 0x20 && p[1] == 0x02 && is_private_v4(p + 2)) ||
	    (p[0] == 0x20 && p[1] == 0x01 && p[2] == 0 && p[3] == 0);		/* Teredo: an IPv4 address */
}

/* An IPv4-mapped address is dialled as the IPv4 address that it is checked as. */
void
mx_addr_unmap(struct mx_addr *a)
{
	static const uint8_t mapped[12] = { [10] = 0xFF, [11] = 0xFF };

	if (a->family != AF_INET6 || memcmp(a->ip, mapped, 12) != 0)
		return;
	a->family = AF_INET;
	memmove(a->ip, a->ip + 12, 4);
	memset(a->ip + 4, 0, 12);
}

size_t
mx_addr_len(int family)
{
	return family == AF_INET ? 4 : 16;
}

bool
mx_addr_parse(struct mx_addr *a, const char *text)
{
	memset(a, 0, sizeof *a);
	a->family = AF_INET;
	if (inet_pton(AF_INET, text, a->ip) == 1)
		return true;
	a->family = AF_INET6;
	return inet_pton(AF_INET6, text, a->ip) == 1;
}

static bool
addr_of(const struct sockaddr *sa, struct mx_addr *out)
{
	memset(out, 0, sizeof *out);
	if (sa == NULL)
		return false;
	out->family = sa->sa_family;
	if (sa->sa_family == AF_INET)
		memcpy(out->ip, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
	else if (sa->sa_family == AF_INET6)
		memcpy(out->ip, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
	else
		return false;
	mx_addr_unmap(out);
	return true;
}

/* This machine's addresses, looked up again after a minute. */
static void
refresh_local(struct dns *d)
{
	struct ifaddrs *list, *i;
	struct mx_addr a;

	if (clock_mono_ms() < d->local_until_ms)
		return;
	d->local_until_ms = clock_mono_ms() + LOCAL_ADDRS_MS;
	if (getifaddrs(&list) != 0)
		return;
	d->nlocal = 0;
	for (i = list; i != NULL && d->nlocal < 1000; i = i->ifa_next) {
		if (!addr_of(i->ifa_addr, &a))
			continue;
		d->local = xrealloc(d->local, (d->nlocal + 1) * sizeof *d->local);
		d->local[d->nlocal++] = a;
	}
	freeifaddrs(list);
}

static bool
is_unspecified(const struct mx_addr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->ip, zero, mx_addr_len(a->family)) == 0;
}

bool
mx_addr_same(const struct mx_addr *a, const struct mx_addr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, mx_addr_len(a->family)) == 0;
}

/* Is somebody of us listening there? A wildcard listener has every address of this machine, and
 * the one for IPv6 those of IPv4 too. */
bool
mx_addr_is_self(struct dns *d, const struct mx_conf *conf, const struct mx_addr *a)
{
	uint16_t port = conf->port != 0 ? conf->port : 25;
	size_t i, k;

	for (i = 0; i < conf->nself_addrs; i++) {
		const struct net_addr *l = &conf->self_addrs[i];
		struct mx_addr own;

		if (!addr_of((const struct sockaddr *)&l->ss, &own) || net_addr_port(l) != port)
			continue;
		if (mx_addr_same(&own, a))
			return true;
		if (!is_unspecified(&own) || (own.family == AF_INET && a->family != AF_INET))
			continue;
		refresh_local(d);
		for (k = 0; k < d->nlocal; k++)
			if (mx_addr_same(&d->local[k], a))
				return true;
	}
	return false;
}
