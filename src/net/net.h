/* Sockets: listeners and one connection type over plain TCP, Unix sockets or TLS, with deadlines
 * and byte limits. Everything runs on one event base (a worker's) and takes no lock. TLS contexts
 * are made once, are immutable and shared between threads by counted references, so a session
 * keeps the one it began with across a reload. No SMTP in here.
 *
 * RFC 3207 (what was read before a handshake is forgotten), RFC 8996/9325 (TLS 1.2 is the
 * floor), RFC 6125/9525 and 7672 for names. */
#ifndef NET_NET_H
#define NET_NET_H

#include <openssl/types.h>
#include <sys/socket.h>

#include "base/base.h"

struct event_base;

struct net_addr {
	struct sockaddr_storage ss;	/* AF_INET, AF_INET6, AF_UNIX, or AF_UNSPEC for none */
	socklen_t len;
};
/* "192.0.2.1:25", "[2001:db8::1]:25", "unix:/path". `default_port` when none is given; 0: one
 * must be given. Numeric only. */
int net_addr_parse(struct net_addr *a, struct slice text, uint16_t default_port, struct err *err);
void net_addr_set(struct net_addr *a, int family, const void *ip, uint16_t port);
#define NET_ADDR_TEXT 128
void net_addr_ip(const struct net_addr *a, char dst[NET_ADDR_TEXT]);	/* "unix" for AF_UNIX */
uint16_t net_addr_port(const struct net_addr *a);
bool net_addr_is_loopback(const struct net_addr *a);	/* also ::ffff:127.0.0.0/104, unspecified */
struct net_cidr {
	int family;
	uint8_t ip[16];
	unsigned bits;
};
/* "10.0.0.0/8", "fd00::/8", "192.0.2.1". Bits set beyond the prefix are an error. */
int net_cidr_parse(struct net_cidr *c, struct slice text, struct err *err);
bool net_cidr_has(const struct net_cidr *c, const struct net_addr *a);	/* IPv4-mapped IPv6 is IPv4 */

/* ---- TLS, server side ---- */
struct tls_server;
struct tls_server_identity {
	const char *name;		/* for messages */
	const char *cert_file, *key_file;	/* PEM; chain in the certificate file */
};
struct tls_server_conf {
	const struct tls_server_identity *identities;	/* the first is the fallback (no SNI, unknown SNI: S-71, S-72) */
	size_t nidentities;
	const char *min_version;	/* "1.2" or "1.3" */
	bool ask_client_cert;		/* ask, verify, never refuse: the policy looks at it */
	const char *client_ca_file;	/* NULL: the system's */
	const char *session_context;	/* tickets of one listener are refused by another */
	const char *alpn;		/* the protocol spoken here; NULL: "smtp" */
};
/* A key that does not fit its certificate, an unreadable or expired file: an error that names
 * the file (an expired one is only an alarm in the log). Identities are chosen by the dNSNames in
 * their certificates. ALPN: absent or `alpn`; anything else ends the handshake. No
 * renegotiation, no compression, security level 1 at least. One reference. */
struct tls_server *tls_server_new(const struct tls_server_conf *conf, struct err *err);
struct tls_server *tls_server_ref(struct tls_server *t);
/* Has the certificate of one of its identities run out by now? False for NULL. */
bool tls_server_has_expired(const struct tls_server *t);
void tls_server_unref(struct tls_server *t);

/* ---- TLS, client side ---- */
struct tls_client;	/* trust anchors and options, shared */
struct tls_client_conf {
	const char *ca_file;		/* only this file; NULL: the system's store */
	const char *min_version;
};
struct tls_client *tls_client_new(const struct tls_client_conf *conf, struct err *err);
struct tls_client *tls_client_ref(struct tls_client *t);
void tls_client_unref(struct tls_client *t);
/* For a library that makes its own handshake (libcurl): `ssl_ctx`, an SSL_CTX, gets these trust anchors,
 * and lets none pass whose SAN dNSName is not `name`. */
bool tls_client_lend(const struct tls_client *t, void *ssl_ctx, const char *name);

struct tls_tlsa {
	uint8_t usage, selector, mtype;
	const uint8_t *data;
	size_t n;
};
/* One handshake as a client. Verification never ends the handshake: its result is reported in
 * tls_info and trust_decide says what it means. Copied during the call. */
struct tls_want {
	const char *sni;		/* NULL: none */
	const char *const *names;	/* reference identifiers, any may match; only SAN dNSName */
	size_t nnames;
	const struct tls_tlsa *tlsa;	/* usable records; then DANE decides `verified` */
	size_t ntlsa;
	const char *const *dane_names;	/* as `names`, for DANE-TA (D-41); none: `names` */
	size_t ndane_names;
	const char *const *pins;	/* "sha256:<hex of the SPKI digest>" */
	size_t npins;
};

/* Why a certificate does not do; the first that was found. */
enum tls_fault {
	TLS_FAULT_NONE,
	TLS_FAULT_EXPIRED,
	TLS_FAULT_CHAIN,	/* no way to what is trusted, or one that is not allowed */
	TLS_FAULT_NAME,
	TLS_FAULT_NO_MATCH,	/* DANE: no record fits anything of it */
};
/* What a finished handshake is. Strings belong to the connection. */
struct tls_info {
	const char *version;	/* "TLSv1.3" */
	const char *cipher;	/* "TLS_AES_256_GCM_SHA384" */
	const char *group;	/* "x25519"; NULL unknown */
	const char *sni;	/* server: what the client sent; client: what we sent; NULL */
	bool resumed;
	bool is_modern;		/* TLS 1.2 or later with encryption and authentication */
	/* the peer's certificate; NULL when it sent none */
	const char *cert_sha256, *spki_sha256;	/* lower-case hex */
	const char *subject, *issuer;
	const char *names;	/* SAN dNSNames, comma separated, at most 1 KiB */
	const char *not_after;	/* ISO 8601 */
	bool chain_ok;		/* to a trust anchor, dates and purpose fit */
	bool name_ok;		/* and a reference identifier matches */
	bool name_matches;	/* that alone, whoever signed it: for reports, never a reason to trust */
	bool dane_ok, pin_ok;
	const struct tls_tlsa *tlsa;	/* the record that matched; NULL unless dane_ok */
	enum tls_fault pkix_fault, dane_fault;	/* client; NONE when chain_ok and name_ok, or dane_ok */
	const char *verify_error;	/* why not, NULL when all of chain and name fit */
};

/* ---- A connection ---- */
struct net_conn;
enum net_why {		/* why a connection ended or could not be made */
	NET_EOF, NET_RESET, NET_TIMEOUT, NET_TLS_ERROR, NET_TLS_TRUNCATED, NET_CONNECT_FAILED, NET_TOO_MUCH,
	NET_LOCAL	/* our own trouble, such as no buffers: says nothing of the peer */
};
struct net_ops {
	/* New octets are in net_in(), or more room to read into was made. Never called while reading
	 * is paused or a handshake is under way. May free the connection. */
	void (*readable)(void *owner);
	/* Output, having been above NET_OUT_HIGH, is below NET_OUT_LOW again. May be NULL. */
	void (*writable)(void *owner);
	/* Connected (net_connect only). May be NULL for accepted connections. */
	void (*connected)(void *owner);
	/* The handshake that was asked for is done; net_tls(c) tells the rest. */
	void (*secured)(void *owner);
	/* The connection is dead: nothing further is read, written or called. The owner must free
	 * it, now or later. `text` is a sentence for the log, and lives only during the call. */
	void (*closed)(void *owner, enum net_why why, const char *text);
};
#define NET_OUT_HIGH (64u * 1024)	/* above this the owner stops producing */
#define NET_OUT_LOW (16u * 1024)
#define NET_IN_MAX (64u * 1024)		/* reading stops by itself when so much is unread */

/* Takes fd, on failure too. `local` is filled from the socket. */
struct net_conn *net_accept(struct event_base *base, int fd, const struct net_addr *peer,
    const struct net_ops *ops, void *owner, struct err *err);
/* Begins to connect; `connected` or `closed` follows, never during the call. `source`: NULL any. */
struct net_conn *net_connect(struct event_base *base, const struct net_addr *to,
    const struct net_addr *source, const struct net_ops *ops, void *owner, struct err *err);
/* Closes at once. Safe inside a callback. NULL is fine. */
void net_free(struct net_conn *c);
/* Sends what is buffered (and close_notify), then closes and frees by itself, within `ms`. The
 * owner gets no more callbacks and must not use `c` again. */
void net_finish(struct net_conn *c, int64_t ms);
/* Closes what net_finish has under way in this thread: for a loop that will not run again, or that has
 * too many of them. */
void net_finish_now(void);
unsigned net_finishing(void);		/* how many there are */
void net_set_owner(struct net_conn *c, const struct net_ops *ops, void *owner);

struct slice net_in(const struct net_conn *c);		/* unread octets; borrowed */
void net_consume(struct net_conn *c, size_t n);
void net_pause(struct net_conn *c);	/* no `readable` until net_resume; TCP pushes back */
/* The same, for when nothing matters that the peer could still say: `closed` is called when it reset the
 * connection, or ended its side with nothing unread before that. */
void net_pause_watch(struct net_conn *c);
/* Reading goes on; if octets are already waiting, `readable` is called on the next turn. */
void net_resume(struct net_conn *c);
/* Buffers and sends. False when more than 1 MiB would be buffered or the connection is dead. */
bool net_write(struct net_conn *c, const void *p, size_t n);
/* The output buffer itself, for octets that are made in place (dot-stuffing): add to its end, then
 * call net_out_added, which gives what net_write gives. */
struct buf *net_out(struct net_conn *c);
bool net_out_added(struct net_conn *c);
size_t net_out_len(const struct net_conn *c);	/* octets not yet handed to the kernel */
/* One deadline at a time: `closed` with NET_TIMEOUT after ms, unless set anew before. 0: none. It
 * is for a whole line, reply or handshake, not for one read. */
void net_deadline(struct net_conn *c, int64_t ms);
/* Handshakes. Input that is unread at this moment was sent in clear ahead of the handshake: false,
 * nothing is done and the caller ends the session (X-4, X-32, M-150, N-21). */
bool net_start_tls_server(struct net_conn *c, struct tls_server *t);
bool net_start_tls_client(struct net_conn *c, struct tls_client *t, const struct tls_want *want);
const struct tls_info *net_tls(const struct net_conn *c);	/* NULL without TLS */
const struct net_addr *net_peer(const struct net_conn *c);
const struct net_addr *net_local(const struct net_conn *c);
uint64_t net_bytes_in(const struct net_conn *c);
uint64_t net_bytes_out(const struct net_conn *c);

/* ---- Listeners ---- */
struct net_listener;
struct net_listener_ops {
	/* Takes fd. */
	void (*accepted)(void *owner, int fd, const struct net_addr *peer);
	/* Descriptors have run out; this one, for which the last in reserve was given, is to be closed
	 * before the call returns. NULL: clients wait. */
	void (*no_descriptors)(void *owner, int fd);
};
/* Binds and listens without accepting; in the main thread, before privileges are dropped. With
 * `reuseport` the same address may be bound once for each worker. An address in use is an error
 * that names it. Returns the fd, -1. */
int net_listen(const struct net_addr *a, bool reuseport, struct err *err);
/* Accepts from fd (which it takes) on this base. When descriptors run out it pauses for 100 ms
 * instead of spinning, with one log line a minute. */
struct net_listener *net_listener_new(struct event_base *base, int fd,
    const struct net_listener_ops *ops, void *owner);
void net_listener_free(struct net_listener *l);		/* closes fd */
/* Checks without listening: reads the files, compares key and certificate. */
int tls_identity_check(const char *cert_file, const char *key_file, struct err *err);

/* ---- What a PEM file holds, for whoever checks or publishes it ---- */
struct tls_file;
/* The certificates in it, as a server would send them; NULL with `err` when there is none. */
struct tls_file *tls_file_certs(const char *file, struct err *err);
/* The key in it: public, private without a passphrase, or that of its first certificate. */
struct tls_file *tls_file_key(const char *file, struct err *err);
void tls_file_free(struct tls_file *f);
/* Has the first certificate this dNSName, as a name or under a wildcard? */
bool tls_file_has_name(const struct tls_file *f, const char *name);
#define TLS_DIGEST_TEXT 65
/* SHA-256 of its SubjectPublicKeyInfo, in lower-case hexadecimal: what a record "3 1 1" holds. */
void tls_file_spki(const struct tls_file *f, char dst[TLS_DIGEST_TEXT]);
/* D-56: does this record match the certificate, or the key (usage 3), or one of what comes behind (usage 2)? */
bool tls_file_matches(const struct tls_file *f, const struct tls_tlsa *r);
void net_tls_init(void);	/* once, before threads */

/* ---- A stage in place of the network (src/rehearsal) ---- */
struct net_stage {
	/* Who is at this address: 0 and a connected socket in *fd_out, or an errno. */
	int (*connect)(void *owner, const struct net_addr *to, int *fd_out);
	/* What a handshake with this peer comes to; `want` is NULL on the server's side. 0, and *info, whose
	 * strings the stage keeps until the connection is gone; -1 with `err`: it fails. */
	int (*handshake)(void *owner, const struct net_addr *peer, const struct tls_want *want,
	    struct tls_info *info, struct err *err);
	void *owner;
};
/* From now on no connection of this process leaves it, and no certificate is read: octets go in clear, and
 * what net_tls says of them is the stage's word. Never in a daemon. One thread; NULL: back. */
void net_set_stage(const struct net_stage *s);

#endif
