/* Where mail goes next: a route of the configuration, or one that a policy made for a recipient.
 * Immutable once built. */
#ifndef CONF_ROUTE_H
#define CONF_ROUTE_H

#include "base/base.h"
#include "net/net.h"
#include "trust/duties.h"

struct route_host {
	char *host;		/* name or numeric address */
	uint16_t port;
};
struct route {
	char *name;		/* of the configuration's route it is or is based on; "" for an ad-hoc one */
	bool via_mx;		/* else the hosts below, in order */
	struct route_host *hosts;
	size_t nhosts;
	char *domain;		/* via_mx: look this domain up instead of the recipient's; NULL */
	uint16_t port;		/* via_mx: 25 */
	bool implicit_tls;
	char *source;		/* numeric local address; NULL */
	enum tls_level tls;
	bool waivable;		/* TLS-Required: No may waive what `tls` asks for (else D11) */
	char **names;		/* what the certificate must carry instead of the host's name */
	size_t nnames;
	char **pins;
	size_t npins;
	char *ca_file;		/* NULL: tls.trust */
	char *auth;		/* name in credentials, to log in with; NULL */
	bool assert_secure_lookup, assert_propagate;	/* configuration only */
	bool sticky;
	int64_t expires_ms;	/* of a stored route, wall; 0 never */
	bool ipv4, ipv6;
};
void route_free(struct route *r);
struct route *route_copy(const struct route *r);
/* JSON object with every field that is not at its default (heap), and back. A stored route's
 * asserts are taken from the named route of the configuration at the time of the attempt, never
 * from the JSON (policy design 5.11). */
char *route_to_json(const struct route *r);
struct route *route_from_json(const char *json, struct err *err);

#endif
