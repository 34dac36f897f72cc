/* What the files of net/ share: the connection and the TLS state that hangs on it. */
#ifndef NET_NET_INT_H
#define NET_NET_INT_H

#include <sys/queue.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/ssl.h>

#include "net/net.h"

/*
 *  CONNECTING --on_write: connected--> CLEAR --net_start_tls_*--> HANDSHAKE --conn_handshake-->
 *  TLS; conn_fail takes any of them to DEAD. net_finish sets `finishing` instead of a state of
 *  its own: the transport stays what it is while the rest drains.
 */
enum conn_state { CONN_CONNECTING, CONN_CLEAR, CONN_HANDSHAKE, CONN_TLS, CONN_DEAD };

/* What one attempt to read or write came to. */
enum conn_io { IO_OK, IO_AGAIN, IO_EOF, IO_FAILED };

struct net_conn {
	LIST_ENTRY(net_conn) finishing_link;	/* while `finishing` */
	struct event_base *base;
	const struct net_ops *ops;	/* not looked at once `finishing` */
	void *owner;
	struct net_tls *tls;		/* NULL in clear */
	int fd;				/* -1 once dead */
	enum conn_state state;
	unsigned depth;			/* handlers of ours on the stack: no reclaim, no kick */
	bool freed : 1;			/* the owner let go: reclaim when depth is 0 */
	bool finishing : 1;		/* the owner let go, the rest drains */
	bool fin_sent : 1;
	bool paused : 1;
	bool watch : 1;			/* paused, and the peer's end is told */
	bool notify : 1;		/* net_resume with octets waiting: call readable */
	bool reading : 1;		/* ev_read is in the loop */
	bool wait_write : 1;		/* ev_write is in the loop: the kernel took no more */
	bool kicked : 1;
	bool more : 1;			/* there may be input that epoll will not tell of (TLS) */
	bool eof : 1;			/* seen, held back until the owner has read the rest */
	bool above_high : 1;
	bool has_local : 1;
	int early_errno;		/* connect failed at once; told on the next turn */
	uint32_t read_size;		/* what the next read asks for: follows the peer's habit */
	size_t clear_left;		/* octets of `out` written before the handshake was asked for */
	uint64_t bytes_in, bytes_out;
	uint64_t drained;		/* thrown away while finishing */
	int64_t deadline_ms, armed_ms;	/* coarse monotonic; 0 none */
	struct buf in, out;
	struct event ev_read, ev_write, ev_timer, ev_kick;
	struct net_addr peer, local;
	char fail_text[200];
};

struct net_tls {
	SSL *ssl;
	struct tls_server *server;	/* one of the two: keeps the contexts alive */
	struct tls_client *client;
	char **names;			/* the client's reference identifiers */
	size_t nnames;
	char **dane_names;		/* the same, for DANE-TA */
	size_t ndane_names;
	char **pins;
	size_t npins;
	char *sent_sni;
	bool uses_dane;			/* there were TLSA records */
	bool done;			/* the handshake is through */
	bool broken;			/* a fatal error: the SSL object is not touched again */
	bool is_staged, stage_failed;	/* no SSL object at all; why is in verify_error */
	/* from the verify callback, which runs in full handshakes only */
	bool was_verified, pkix_ok, dane_ok;
	int pkix_error;			/* X509_V_* */
	enum tls_fault dane_fault;
	bool has_info;
	struct tls_tlsa matched;	/* its data is the SSL object's */
	struct tls_info info;
	char *version, *cipher, *group, *sni, *subject, *issuer, *dns_names;
	char cert_sha256[65], spki_sha256[65], not_after[32];
	char verify_error[256];
};

#define READ_MIN 2048u			/* the first read asks for so much */

static inline bool
conn_is_live(const struct net_conn *c)
{
	return c->state != CONN_DEAD && !c->freed;
}

/* Is input wanted, and is there room for it? */
static inline bool
conn_may_read(const struct net_conn *c)
{
	if (c->state == CONN_HANDSHAKE)
		return true;
	if (c->state != CONN_CLEAR && c->state != CONN_TLS)
		return false;
	return !c->eof && (c->finishing || (!c->paused && buf_room(&c->in) > 0));
}

/* conn.c */
extern const struct net_stage *conn_stage;	/* NULL: a network */
void conn_fail(struct net_conn *c, enum net_why why, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void conn_kick(struct net_conn *c);
bool conn_want_write(struct net_conn *c);

/* conn_io.c */
bool conn_send(struct net_conn *c);	/* false: the connection ended over it */
void conn_output(struct net_conn *c);
void conn_finish_step(struct net_conn *c);
void conn_input(struct net_conn *c);
void conn_call_readable(struct net_conn *c);
void conn_tell_eof(struct net_conn *c);

/* conn_tls.c: the only file that moves octets through an SSL object */
void conn_handshake(struct net_conn *c);
enum conn_io conn_tls_read(struct net_conn *c, char *p, size_t n, size_t *got, enum net_why *why);
enum conn_io conn_tls_write(struct net_conn *c, const char *p, size_t n, size_t *put);
bool conn_tls_pending(const struct net_conn *c);
void conn_tls_close_notify(struct net_conn *c);
void conn_tls_free(struct net_tls *t);

/* tls_server.c, tls_client.c */
SSL *tls_server_ssl(struct tls_server *t);
SSL *tls_client_ssl(struct tls_client *t, const struct tls_want *want);
bool tls_client_needs_13(const struct tls_client *t);
/* Options and the cipher list that both sides share (N-09 to N-12). */
bool tls_common(SSL_CTX *ctx, const char *min_version, struct err *err);
void tls_err(struct err *err, const char *what);	/* "what: OpenSSL's reason" */
int tls_verify(X509_STORE_CTX *sc, void *arg);		/* records, and lets the handshake go on */

/* tls_info.c */
void tls_info_fill(struct net_tls *t);
char *tls_cert_dns_names(X509 *cert, size_t max);	/* comma separated, heap; NULL none */
enum tls_fault tls_pkix_fault(const struct net_tls *t);	/* when chain_ok and name_ok are known */
bool tls_cert_matches(X509 *cert, const char *name);

#endif
