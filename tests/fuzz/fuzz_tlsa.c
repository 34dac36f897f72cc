/* TLSA records as a mail host's zone has them: one octet of length for each (255: the rest), then its
 * rdata. What is kept must be usable, sorted and without doubles, whatever it was. */
#include "config.h"

#include <string.h>

#include "trust/dane.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check(const struct dane_set *s, size_t n)
{
	MUST(s->total == n && s->n <= n);
	MUST((s->state == TLSA_USABLE) == (s->n > 0));
	MUST((s->state == TLSA_NONE) == (n == 0));
	MUST(s->text != NULL && strlen(s->text) < 1600);
	for (size_t i = 0; i < s->n; i++) {
		const struct tls_tlsa *r = &s->usable[i];
		char text[DANE_TEXT];

		MUST(r->usage == 2 || r->usage == 3);
		MUST(r->selector <= 1 && r->mtype <= 2 && r->n > 0);
		MUST(r->mtype == 0 || r->n == (r->mtype == 1 ? 32 : 64));
		dane_text(text, r);
		MUST(strlen(text) < DANE_TEXT - 1);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct dns_rr rr[100];
	struct dane_set *s;
	size_t nrr = 0;

	if (n > 65535)
		return 0;
	while (n > 0 && nrr < NELEMS(rr)) {
		size_t len = data[0] == 255 ? n - 1 : data[0];

		data++;
		n--;
		len = len > n ? n : len;
		rr[nrr++] = (struct dns_rr){ data, len };
		data += len;
		n -= len;
	}
	s = dane_set_new(rr, nrr);
	check(s, nrr);
	dane_set_free(s);
	return 0;
}
