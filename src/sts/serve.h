/* The MTA-STS policies of our own domains over HTTPS (RFC 8461 sections 3.2 and 3.3): one GET of
 * /.well-known/mta-sts.txt a connection, at mta-sts.DOMAIN, by SNI and Host. All else is 404; there are no
 * redirects. In a thread of its own, which the gateway makes: whoever floods it takes no worker's time. */
#ifndef STS_SERVE_H
#define STS_SERVE_H

#include <stdatomic.h>

#include "net/net.h"

/* ---- What is served ---- */
struct sts_pages;		/* counted, any thread; immutable once handed over */
struct sts_pages *sts_pages_new(struct tls_server *tls);	/* takes over a reference */
void sts_pages_add(struct sts_pages *p, const char *domain, const char *text);	/* sorted by domain */
struct sts_pages *sts_pages_ref(struct sts_pages *p);
void sts_pages_unref(struct sts_pages *p);
const struct tls_server *sts_pages_tls(const struct sts_pages *p);	/* NULL for NULL */

/* ---- A request ---- */
enum sts_request_state { STS_REQUEST_MORE, STS_REQUEST_OK, STS_REQUEST_BAD };
struct sts_request {		/* borrowed from the octets */
	struct slice method, target, host;	/* host: without a port; empty when there is none */
	bool needs_host;	/* HTTP/1.1, and none came */
};
#define STS_REQUEST_MAX 8192u
/* The head of a request (RFC 9112), fed from its start each time. */
enum sts_request_state sts_request_parse(struct slice in, struct sts_request *out);

/* ---- The server ---- */
#define STS_SERVE_CONNECTIONS 256u	/* more: the oldest is closed for the newest */
#define STS_SERVE_MS 10000		/* from accept to the end of the request */
struct sts_served {		/* read from any thread */
	atomic_ullong pages, not_found, bad, unfinished;
};
struct sts_server;
struct sts_server *sts_server_new(struct event_base *base, struct sts_served *counts);
void sts_server_free(struct sts_server *s);
void sts_server_use(struct sts_server *s, struct sts_pages *p);	/* for connections from now on */
void sts_server_listen(struct sts_server *s, int fd);		/* takes fd */

#endif
