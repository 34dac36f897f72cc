/* Where a domain wants its TLS reports (RFC 8460 section 3): the TXT record at _smtp._tls and the
 * addresses in it. They come from strangers: what is not plainly a mail address or an https URL is
 * left out, and there are bounds on how many and how long. */
#ifndef TLSRPT_TXT_H
#define TLSRPT_TXT_H

#include "base/base.h"

#define RUA_MAX 8u			/* of one record; more are not looked at (T-30) */
#define RUA_TEXT_MAX 1000u		/* octets */

enum rua_kind { RUA_MAIL, RUA_HTTPS };
struct rua {
	enum rua_kind kind;
	char *to;		/* user@domain, or the URL as it will be used; printable ASCII */
	char *domain;		/* of the address, or the URL's host; lower case */
	uint16_t port;		/* HTTPS */
};
/* "mailto:reports@a.example", "https://a.example/v1". False with a reason, and nothing to free. */
bool rua_parse(struct rua *out, struct slice uri, struct err *err);
void rua_fini(struct rua *r);

enum tlsrpt_txt {
	TLSRPT_TXT_NONE,	/* nobody asks for reports */
	TLSRPT_TXT_FOUND,
	TLSRPT_TXT_BROKEN,	/* more than one record, not by the grammar, or no rua of use (T-02) */
};
struct rua_list {
	struct rua rua[RUA_MAX];
	size_t n;
	size_t skipped;		/* of another scheme, too long, or too many */
};
/* `txt`: each a TXT record with its strings joined. The list is empty unless FOUND. */
enum tlsrpt_txt tlsrpt_txt_parse(const struct slice *txt, size_t n, struct rua_list *out);
void rua_list_fini(struct rua_list *l);
/* False when it is full; `r` is taken in either case. */
bool rua_list_add(struct rua_list *l, struct rua *r);

#endif
