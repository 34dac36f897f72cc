#include "config.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway_int.h"

/* Sessions of an address are counted in the place its hash points to: no lock, no allocation, and
 * nothing that a flood of addresses could fill. Two addresses share a place once in many thousands;
 * the keyed hash keeps a peer from choosing its neighbour. */
#define PLACES 65536u

struct sessions_count {
	atomic_uint total;
	unsigned cap;			/* what descriptors allow, whatever is configured */
	uint64_t key;
	_Atomic uint16_t place[PLACES];
};

struct sessions_count *
sessions_count_new(unsigned cap)
{
	struct sessions_count *c = xcalloc(1, sizeof *c);

	c->cap = cap;
	arc4random_buf(&c->key, sizeof c->key);
	return c;
}

void
sessions_count_free(struct sessions_count *c)
{
	free(c);
}

/* IPv4 by address, IPv6 by /64 (spec security.md section 4). */
static unsigned
place_of(const struct sessions_count *c, const struct net_addr *peer)
{
	struct {
		uint64_t key;
		uint8_t ip[16];
	} h = { .key = c->key };

	if (peer->ss.ss_family == AF_INET) {
		memcpy(h.ip, &((const struct sockaddr_in *)&peer->ss)->sin_addr, 4);
	} else if (peer->ss.ss_family == AF_INET6) {
		const struct in6_addr *a = &((const struct sockaddr_in6 *)&peer->ss)->sin6_addr;

		if (IN6_IS_ADDR_V4MAPPED(a))
			memcpy(h.ip, a->s6_addr + 12, 4);
		else
			memcpy(h.ip, a->s6_addr, 8);
	}
	return (unsigned)((hash64(&h, sizeof h) * 0x9E3779B97F4A7C15u) >> 48) % PLACES;
}

unsigned
sessions_max(const struct sessions_count *c, unsigned configured)
{
	return configured < c->cap ? configured : c->cap;
}

const char *
sessions_enter(struct sessions_count *c, const struct net_addr *peer, unsigned max,
    unsigned max_per_address)
{
	unsigned at = place_of(c, peer);

	if (atomic_fetch_add(&c->total, 1) >= sessions_max(c, max)) {
		atomic_fetch_sub(&c->total, 1);
		return "421 4.3.2 Too many sessions, try again later\r\n";
	}
	if (peer->ss.ss_family != AF_UNIX && atomic_fetch_add(&c->place[at], 1) >= max_per_address) {
		atomic_fetch_sub(&c->place[at], 1);
		atomic_fetch_sub(&c->total, 1);
		return "421 4.7.0 Too many sessions from your address\r\n";
	}
	return NULL;
}

void
sessions_leave(struct sessions_count *c, const struct net_addr *peer)
{
	atomic_fetch_sub(&c->total, 1);
	if (peer->ss.ss_family != AF_UNIX)
		atomic_fetch_sub(&c->place[place_of(c, peer)], 1);
}

unsigned
sessions_now(const struct sessions_count *c)
{
	return atomic_load(&c->total);
}
