#include "config.h"

#include <string.h>

#include "trust/offer.h"

static const char *const names[OFFERS] = { "dnssec", "sts", "tlsa", "starttls", "requiretls", "tls", "cert" };

const char *
offer_name(enum offer o)
{
	return (unsigned)o < OFFERS ? names[o] : "?";
}

bool
offer_parse(const char *name, enum offer *out)
{
	for (int i = 0; i < OFFERS; i++) {
		if (strcmp(names[i], name) == 0) {
			*out = (enum offer)i;
			return true;
		}
	}
	return false;
}

/* From the worst to the best; what is not in the list counts as the worst. */
static int
rank_in(const char *const *list, int n, const char *value)
{
	size_t len = strcspn(value, " ");	/* what follows does not count, such as "id=" */

	for (int i = n; i > 0; i--)
		if (strlen(list[i - 1]) == len && memcmp(list[i - 1], value, len) == 0)
			return i;
	return 1;
}

int
offer_rank(enum offer o, const char *value)
{
	static const char *const sts[] = { "testing", "enforce" };
	static const char *const tls[] = { "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3" };

	if (value == NULL || *value == '\0')
		return 0;
	switch (o) {
	case OFFER_STS:
		return rank_in(sts, NELEMS(sts), value);
	case OFFER_TLS:
		return rank_in(tls, NELEMS(tls), value);
	default:
		return 1;
	}
}
