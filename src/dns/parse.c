/* Rdata to values. Each record was written by a stranger: lengths are checked against the rdata's
 * own length and nothing else. */
#include "config.h"

#include <string.h>

#include "dns/dns_int.h"

static bool
whole_name(const uint8_t *p, size_t n, char dst[256])
{
	uint8_t name[255];
	size_t len;

	dst[0] = '\0';
	/* No compression is left in rdata here, so a pointer has nothing to point at. */
	return dns_wire_name(p, n, 0, name, &len) == n && len == n && dns_wire_text(name, len, dst);
}

bool
dns_mx_parse(const struct dns_rr *rr, struct dns_mx *out)
{
	memset(out, 0, sizeof *out);
	if (rr->n < 3)
		return false;
	out->preference = (uint16_t)(rr->data[0] << 8 | rr->data[1]);
	return whole_name(rr->data + 2, rr->n - 2, out->host);
}

bool
dns_name_parse(const struct dns_rr *rr, char dst[256])
{
	return whole_name(rr->data, rr->n, dst);
}

/* Character strings are joined without anything in between (S-02). */
bool
dns_txt_parse(const struct dns_rr *rr, struct buf *out)
{
	size_t at = 0;

	if (rr->n == 0)		/* RFC 1035 3.3.14: one or more strings */
		return false;
	while (at < rr->n) {
		size_t len = rr->data[at++];

		if (len > rr->n - at || !buf_add(out, rr->data + at, len))
			return false;
		at += len;
	}
	return true;
}

/* Whether usage, selector and digest length make sense is the DANE code's question; here a record
 * has its three octets and some data (RFC 6698 2.1). */
bool
dns_tlsa_parse(const struct dns_rr *rr, struct dns_tlsa *out)
{
	memset(out, 0, sizeof *out);
	if (rr->n < 4)
		return false;
	out->usage = rr->data[0];
	out->selector = rr->data[1];
	out->mtype = rr->data[2];
	out->data = rr->data + 3;
	out->n = rr->n - 3;
	return true;
}
