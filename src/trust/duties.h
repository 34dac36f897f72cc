/* TLS duties: what a message, recipient, route or destination owes before MAIL may be sent.
 *
 * A set of duties is an integer mask: one bit for each (duty, source) pair, so that it is known
 * who asked for what and what `TLS-Required: No` may waive. The mask only grows: duties_join is
 * the only function here that changes one (I3, policy design section 5), and a trigger in the
 * database refuses an update that takes a bit out.
 *
 * Thread-free, no I/O. RFC 8689; design sections 1 and 6. */
#ifndef TRUST_DUTIES_H
#define TRUST_DUTIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum duty {
	DUTY_ENCRYPT = 1,	/* TLS up before MAIL */
	DUTY_AUTHENTICATE = 2,	/* peer verified: DANE, PKIX + name, or pin */
	DUTY_SECURE_LOOKUP = 4,	/* host chosen through DNSSEC, MTA-STS or an assertion */
	DUTY_PROPAGATE = 8,	/* peer lists REQUIRETLS, and it is sent */
};
#define DUTY_ALL 15u

enum duty_source {
	DUTY_BY_SENDER,		/* REQUIRETLS on MAIL */
	DUTY_BY_ADMIN,		/* configuration, policy, command line */
	DUTY_BY_STS,
	DUTY_BY_DANE,
	DUTY_BY_ADMIN_WAIVABLE,	/* an admin duty that TLS-Required: No may waive */
	DUTY_SOURCES
};

/* Levels for people: may {}, encrypt, verify, secure, requiretls. */
enum tls_level { TLS_MAY, TLS_ENCRYPT, TLS_VERIFY, TLS_SECURE, TLS_REQUIRETLS };
#define TLS_LEVELS 5

typedef uint32_t duty_mask;	/* 4 bits for each source; 20 in use */

/* The mask of `duties` (DUTY_* bits) asked for by `source`. */
duty_mask duties_of(unsigned duties, enum duty_source source);
duty_mask duties_of_level(enum tls_level level, enum duty_source source);
/* The only mutator: adds, never removes. */
void duties_join(duty_mask *mask, duty_mask add);
/* DUTY_* bits owed by any source. */
unsigned duties_bits(duty_mask mask);
/* DUTY_* bits owed by this source. */
unsigned duties_from(duty_mask mask, enum duty_source source);
/* DUTY_* bits owed when TLS-Required: No is honoured: without those whose only sources are STS,
 * DANE and waivable admin. With REQUIRETLS from the sender nothing is waived. */
unsigned duties_waived(duty_mask mask);
/* The smallest level that holds all of these bits. */
enum tls_level duties_level(unsigned duties);
bool tls_level_parse(struct slice text, enum tls_level *out);
const char *tls_level_name(enum tls_level level);
/* "encrypt[sender,dane] authenticate[admin]", for people; "none" when empty. */
void duties_format(char *dst, size_t size, duty_mask mask);
/* "encrypt,authenticate", "none". */
void duties_format_bits(char *dst, size_t size, unsigned duties);

#endif
