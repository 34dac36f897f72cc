/* One DNS message as libunbound hands it over: RFC 1035 section 4. It was checked there, but what
 * is in it came from strangers, so nothing here reads on trust. */
#include "config.h"

#include <string.h>

#include "dns/dns_int.h"

struct walk {
	const uint8_t *p;
	size_t n, at;
};
struct record {
	uint8_t owner[255];
	size_t owner_n;
	uint16_t type, class;
	uint32_t ttl;
	size_t rdata, rdata_n;	/* offset and length in the packet */
};

static uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint8_t
fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

size_t
dns_wire_name(const uint8_t *p, size_t n, size_t at, uint8_t dst[255], size_t *dst_n)
{
	size_t len = 0, end = 0, limit = at;

	for (;;) {
		uint8_t c;

		if (at >= n)
			return 0;
		c = p[at];
		if ((c & 0xC0) == 0xC0) {
			size_t to;

			if (at + 2 > n)
				return 0;
			to = get16(p + at) & 0x3FFF;
			if (end == 0)
				end = at + 2;
			/* Only ever backwards, so that a ring of pointers cannot be built. */
			if (to >= limit)
				return 0;
			at = limit = to;
			continue;
		}
		if (c > 63 || at + 1 + c > n || len + 1 + c > 255)
			return 0;
		memcpy(dst + len, p + at, 1 + (size_t)c);
		len += 1 + (size_t)c;
		at += 1 + (size_t)c;
		if (c == 0)
			break;
	}
	*dst_n = len;
	return end != 0 ? end : at;
}

bool
dns_wire_text(const uint8_t *name, size_t n, char dst[256])
{
	size_t at = 0, out = 0;

	dst[0] = '\0';
	while (at < n && name[at] != 0) {
		size_t len = name[at++];

		if (len > 63 || at + len > n || out + len + 1 > 254)
			return false;
		if (out > 0)
			dst[out++] = '.';
		for (; len > 0; len--, at++) {
			uint8_t c = name[at];

			/* A dot, quote or backslash inside a label would read as something else. */
			if (c <= 0x20 || c >= 0x7F || c == '.' || c == '\\' || c == '"') {
				dst[0] = '\0';
				return false;
			}
			dst[out++] = (char)fold(c);
		}
	}
	dst[out] = '\0';
	return at < n;		/* ended by the root label, not by the end of the octets */
}

static bool
same_name(const uint8_t *a, size_t an, const uint8_t *b, size_t bn)
{
	size_t i;

	if (an != bn)
		return false;
	for (i = 0; i < an; i++)	/* length octets are below 64: folding leaves them alone */
		if (fold(a[i]) != fold(b[i]))
			return false;
	return true;
}

static bool
next_record(struct walk *w, struct record *r)
{
	size_t at = dns_wire_name(w->p, w->n, w->at, r->owner, &r->owner_n);

	if (at == 0 || w->n - at < 10)
		return false;
	r->type = get16(w->p + at);
	r->class = get16(w->p + at + 2);
	r->ttl = get32(w->p + at + 4);
	r->rdata_n = get16(w->p + at + 8);
	r->rdata = at + 10;
	if (w->n - r->rdata < r->rdata_n)
		return false;
	if (r->ttl > INT32_MAX)		/* RFC 2181 8 */
		r->ttl = 0;
	w->at = r->rdata + r->rdata_n;
	return true;
}

/* Where the next record goes. Past the cap an MX record takes the place of the one that is preferred
 * least, or of none: resolvers turn the records round, and the best ones must not be cut off. */
static size_t
slot_for(const struct dns_reply *out, const struct walk *w, const struct record *r)
{
	size_t worst = 0;

	if (out->n < DNS_MAX_RECORDS || r->type != DNS_MX || r->rdata_n < 2)
		return out->n;
	for (size_t i = 1; i < out->n; i++)
		if (get16(out->rr[i].data) > get16(out->rr[worst].data))
			worst = i;
	return get16(w->p + r->rdata) < get16(out->rr[worst].data) ? worst : out->n;
}

/* Rdata of types that hold a name (RFC 1035 3.3) is copied with the compression undone. */
static bool
add_record(struct dns_reply *out, const struct walk *w, const struct record *r)
{
	size_t fixed = r->type == DNS_MX ? 2 : 0, len, at = slot_for(out, w, r);
	struct dns_rr rr = { w->p + r->rdata, r->rdata_n };
	uint8_t name[255];

	if (r->type == DNS_MX || r->type == DNS_CNAME || r->type == DNS_PTR) {
		if (r->rdata_n <= fixed || dns_wire_name(w->p, r->rdata + r->rdata_n,
		    r->rdata + fixed, name, &len) != r->rdata + r->rdata_n)
			return false;
		if (at == DNS_MAX_RECORDS)
			return true;
		memcpy(out->names[at], w->p + r->rdata, fixed);
		memcpy(out->names[at] + fixed, name, len);
		rr.data = out->names[at];
		rr.n = fixed + len;
	}
	if (at == DNS_MAX_RECORDS)
		return true;
	out->rr[at] = rr;
	if (at == out->n)
		out->n++;
	return true;
}

/* RFC 2308 5: how long a denial holds. */
static uint32_t
denial_ttl(struct walk w, unsigned count)
{
	struct record r;

	while (count-- > 0 && next_record(&w, &r)) {
		uint32_t min;

		if (r.type != DNS_SOA || r.rdata_n < 22)
			continue;
		min = get32(w.p + r.rdata + r.rdata_n - 4);
		return r.ttl < min ? r.ttl : min;
	}
	return 60;
}

/* One step along the alias chain. 1: `name` is an alias and was replaced, 0: it is not, -1: bad. */
static int
follow(struct walk w, unsigned count, uint8_t name[255], size_t *name_n, uint32_t *ttl)
{
	struct record r;

	while (count-- > 0) {
		uint8_t to[255];
		size_t to_n;

		if (!next_record(&w, &r))
			return -1;
		if (r.type != DNS_CNAME || !same_name(r.owner, r.owner_n, name, *name_n))
			continue;
		if (dns_wire_name(w.p, r.rdata + r.rdata_n, r.rdata, to, &to_n) != r.rdata + r.rdata_n)
			return -1;
		memcpy(name, to, to_n);
		*name_n = to_n;
		if (r.ttl < *ttl)
			*ttl = r.ttl;
		return 1;
	}
	return 0;
}

static bool
collect(struct dns_reply *out, struct walk *w, unsigned count, const uint8_t *name, size_t name_n,
    uint16_t type)
{
	struct record r;

	while (count-- > 0) {
		if (!next_record(w, &r))
			return false;
		if (r.type != type || r.class != 1 || !same_name(r.owner, r.owner_n, name, name_n))
			continue;
		if (!add_record(out, w, &r))
			return false;
		if (r.ttl < out->ttl)
			out->ttl = r.ttl;
	}
	return true;
}

/* Times are numbers of 32 bits that go round (RFC 4034 3.1.5): the second of that number next to `now`. */
static int64_t
near(uint32_t t, int64_t now)
{
	return now + (int32_t)(t - (uint32_t)now);
}

static int64_t
away(const struct dns_signed *s, int64_t now)
{
	return now < s->from_s ? s->from_s - now : now > s->until_s ? now - s->until_s : 0;
}

bool
dns_signed_parse(struct dns_signed *out, const uint8_t *pkt, size_t n, int64_t now_s)
{
	struct walk w = { pkt, n, 12 };
	unsigned count;
	uint8_t name[255];
	size_t name_n, at;
	struct record r;

	memset(out, 0, sizeof *out);
	if (n < 12 || get16(pkt + 4) != 1)
		return false;
	at = dns_wire_name(pkt, n, 12, name, &name_n);
	if (at == 0 || n - at < 4)
		return false;
	w.at = at + 4;
	for (count = (unsigned)get16(pkt + 6) + get16(pkt + 8); count > 0; count--) {
		struct dns_signed one = { 0 };

		if (!next_record(&w, &r))
			return false;
		if (r.type != DNS_RRSIG || r.rdata_n < 18)
			continue;
		one.until_s = near(get32(pkt + r.rdata + 8), now_s);
		one.from_s = near(get32(pkt + r.rdata + 12), now_s);
		if (out->n++ == 0 || away(&one, now_s) < away(out, now_s)) {
			out->from_s = one.from_s;
			out->until_s = one.until_s;
		}
		if (away(&one, now_s) == 0)
			out->n_now++;
	}
	return true;
}

void
dns_reply_parse(struct dns_reply *out, const uint8_t *pkt, size_t n, uint16_t type)
{
	struct walk w = { pkt, n, 12 };
	unsigned flags, answers, authority, hops = 0;
	uint8_t name[255];
	size_t name_n, at;
	int step = 0;

	out->status = DNS_SERVFAIL;
	out->n = 0;
	out->ttl = UINT32_MAX;
	out->canon[0] = '\0';
	if (n < 12 || get16(pkt + 4) != 1)
		return;
	flags = get16(pkt + 2);
	answers = get16(pkt + 6);
	authority = get16(pkt + 8);
	/* A cut answer (TC) says nothing about what was cut; libunbound has tried TCP by now. */
	if ((flags & 0x8000) == 0 || (flags & 0x0200) != 0 ||
	    ((flags & 15) != 0 && (flags & 15) != 3))
		return;
	at = dns_wire_name(pkt, n, 12, name, &name_n);
	if (at == 0 || n - at < 4)
		return;
	w.at = at + 4;
	while (type != DNS_CNAME &&
	    (step = follow(w, answers, name, &name_n, &out->ttl)) == 1)
		if (++hops > DNS_MAX_CNAMES)
			return;
	if (step < 0 || !collect(out, &w, answers, name, name_n, type)) {
		out->n = 0;
		return;
	}
	(void)dns_wire_text(name, name_n, out->canon);
	if (out->n > 0) {
		out->status = DNS_OK;
	} else {
		uint32_t ttl = denial_ttl(w, authority);

		if (ttl < out->ttl)
			out->ttl = ttl;
		out->status = (flags & 15) == 3 ? DNS_NXDOMAIN : DNS_NODATA;
	}
}
