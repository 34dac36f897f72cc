/* Sets of duties. Nothing here takes a bit away but duties_waived, which changes no mask (I3). */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "trust/duties.h"

#define BITS 4		/* duties for each source */

static const char *const duty_names[BITS] = { "encrypt", "authenticate", "secure_lookup", "propagate" };
static const char *const source_names[DUTY_SOURCES] = {
	[DUTY_BY_SENDER] = "sender",
	[DUTY_BY_ADMIN] = "admin",
	[DUTY_BY_STS] = "sts",
	[DUTY_BY_DANE] = "dane",
	[DUTY_BY_ADMIN_WAIVABLE] = "admin-waivable",
};
static const struct level {
	const char *name;
	unsigned duties;
} levels[TLS_LEVELS] = {	/* each holds the one before */
	[TLS_MAY] = { "may", 0 },
	[TLS_ENCRYPT] = { "encrypt", DUTY_ENCRYPT },
	[TLS_VERIFY] = { "verify", DUTY_ENCRYPT | DUTY_AUTHENTICATE },
	[TLS_SECURE] = { "secure", DUTY_ENCRYPT | DUTY_AUTHENTICATE | DUTY_SECURE_LOOKUP },
	[TLS_REQUIRETLS] = { "requiretls", DUTY_ALL },
};

duty_mask
duties_of(unsigned duties, enum duty_source source)
{
	return (duty_mask)(duties & DUTY_ALL) << (BITS * (unsigned)source);
}

duty_mask
duties_of_level(enum tls_level level, enum duty_source source)
{
	return duties_of(levels[level].duties, source);
}

void
duties_join(duty_mask *mask, duty_mask add)
{
	*mask |= add;
}

unsigned
duties_from(duty_mask mask, enum duty_source source)
{
	return mask >> (BITS * (unsigned)source) & DUTY_ALL;
}

unsigned
duties_bits(duty_mask mask)
{
	unsigned bits = 0;

	for (unsigned s = 0; s < DUTY_SOURCES; s++)
		bits |= duties_from(mask, (enum duty_source)s);
	return bits;
}

unsigned
duties_waived(duty_mask mask)
{
	if (duties_from(mask, DUTY_BY_SENDER) != 0)
		return duties_bits(mask);	/* the parameter beats the header */
	return duties_from(mask, DUTY_BY_ADMIN);	/* D11 */
}

enum tls_level
duties_level(unsigned duties)
{
	unsigned l = TLS_MAY;

	while (l < TLS_REQUIRETLS && (duties & DUTY_ALL & ~levels[l].duties) != 0)
		l++;
	return (enum tls_level)l;
}

bool
tls_level_parse(struct slice text, enum tls_level *out)
{
	for (unsigned l = 0; l < TLS_LEVELS; l++) {
		if (slice_is(text, levels[l].name)) {
			*out = (enum tls_level)l;
			return true;
		}
	}
	return false;
}

const char *
tls_level_name(enum tls_level level)
{
	return levels[level].name;
}

/* Appends, cut at the end of dst. */
static void
append(char *dst, size_t size, const char *s)
{
	size_t at = strlen(dst);

	if (at + 1 < size)
		snprintf(dst + at, size - at, "%s", s);
}

void
duties_format(char *dst, size_t size, duty_mask mask)
{
	dst[0] = '\0';
	for (unsigned b = 0; b < BITS; b++) {
		bool first = true;

		for (unsigned s = 0; s < DUTY_SOURCES; s++) {
			if ((duties_from(mask, (enum duty_source)s) & 1u << b) == 0)
				continue;
			if (first) {
				append(dst, size, dst[0] == '\0' ? "" : " ");
				append(dst, size, duty_names[b]);
			}
			append(dst, size, first ? "[" : ",");
			append(dst, size, source_names[s]);
			first = false;
		}
		if (!first)
			append(dst, size, "]");
	}
	if (dst[0] == '\0')
		append(dst, size, "none");
}

void
duties_format_bits(char *dst, size_t size, unsigned duties)
{
	dst[0] = '\0';
	for (unsigned b = 0; b < BITS; b++) {
		if ((duties & 1u << b) == 0)
			continue;
		append(dst, size, dst[0] == '\0' ? "" : ",");
		append(dst, size, duty_names[b]);
	}
	if (dst[0] == '\0')
		append(dst, size, "none");
}
