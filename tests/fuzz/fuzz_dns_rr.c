/* A whole DNS message (the first two octets are the type asked for), then every record that it
 * gives, through every rdata parser; and the octets as names. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "dns/dns_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
every_parser(const struct dns_rr *rr)
{
	struct dns_tlsa tlsa;
	struct dns_mx mx;
	char name[256];
	struct buf b;

	if (dns_mx_parse(rr, &mx))
		MUST(strlen(mx.host) <= 253);
	if (dns_name_parse(rr, name))
		MUST(strlen(name) <= 253);
	if (dns_tlsa_parse(rr, &tlsa))
		MUST(tlsa.n + 3 == rr->n);
	buf_init(&b, 4096);
	if (dns_txt_parse(rr, &b))
		MUST(b.len < rr->n);
	buf_fini(&b);
}

static void
as_name(const uint8_t *data, size_t n)
{
	char ascii[256], again[256], text[512];

	if (!dns_to_ascii(ascii, (struct slice){ (const char *)data, n }))
		return;
	MUST(strlen(ascii) <= 253);
	MUST(dns_to_ascii(again, slice_of(ascii)) && strcmp(ascii, again) == 0);
	dns_to_unicode(text, sizeof text, ascii);
	MUST(utf8_is_valid(text, strlen(text)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct dns_reply r;
	struct dns_signed sig;
	size_t i;

	if (n < 2 || n > 65537)
		return 0;
	dns_reply_parse(&r, data + 2, n - 2, (uint16_t)(data[0] << 8 | data[1]));
	if (dns_signed_parse(&sig, data + 2, n - 2, 1800000000))
		MUST(sig.n_now <= sig.n && sig.n <= n / 11);
	MUST(r.n <= DNS_MAX_RECORDS);
	MUST((r.status == DNS_OK) == (r.n > 0));
	for (i = 0; i < r.n; i++)
		every_parser(&r.rr[i]);
	every_parser(&(struct dns_rr){ data + 2, n - 2 });
	as_name(data + 2, n - 2);
	return 0;
}
