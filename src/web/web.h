/* HTTPS with libcurl on a worker's loop, for those who ask servers that strangers named: policy hosts of
 * MTA-STS, receivers of TLS reports. libcurl does HTTP and nothing else: names are resolved here (its own
 * resolver would block or start threads), addresses are the ones that were checked (X-42, T-30), trust
 * anchors come from memory, nothing is followed, kept or taken from the environment. What an answer means
 * is its user's. */
#ifndef WEB_WEB_H
#define WEB_WEB_H

#include <curl/curl.h>

#include "dns/dns.h"
#include "net/net.h"

void web_init(void);			/* once, before threads */

/* ---- Transfers ---- */
struct web_request;
struct web_loop;
/* `request` is what web_request_set was given. It may take the handle off and free everything. */
typedef void web_ended(struct web_request *request, CURLcode rc);
struct web_loop *web_loop_new(struct event_base *base, web_ended *ended, long connections_max,
    struct err *err);
void web_loop_free(struct web_loop *l);		/* every handle was taken off; NULL is fine */
bool web_loop_add(struct web_loop *l, CURL *easy);
void web_loop_remove(struct web_loop *l, CURL *easy);

struct web_request {		/* part of what the user allocates; lives as long as the handle */
	const char *url, *host;
	struct curl_slist *resolve;	/* from web_lookup; the user frees it after the handle */
	struct tls_client *tls;		/* borrowed */
	bool any_certificate;		/* T-10 */
	int64_t timeout_ms;		/* as a whole */
	char error[CURL_ERROR_SIZE];
};
/* All options but those about what is asked and where the answer goes. */
bool web_request_set(CURL *easy, struct web_request *r);
/* What went wrong, escaped. */
void web_request_why(const struct web_request *r, CURLcode rc, char *dst, size_t size);

/* ---- Addresses ---- */
enum web_found {
	WEB_FOUND,
	WEB_NO_ADDRESS,
	WEB_REFUSED,		/* there are some, and none that may be used */
	WEB_UNKNOWN,		/* DNS failed */
};
struct web_lookup;
/* With WEB_FOUND `resolve` is what libcurl may connect to, and the callee's. The look-up is gone. */
typedef void web_looked_up(void *owner, enum web_found found, struct curl_slist *resolve);
/* `may`: is this an address to connect to? Never calls back during the call. */
struct web_lookup *web_lookup_start(struct dns *dns, const char *host, uint16_t port,
    bool (*may)(void *owner, const struct mx_addr *a), web_looked_up *cb, void *owner);
void web_lookup_cancel(struct web_lookup *q);	/* NULL is fine */

#endif
