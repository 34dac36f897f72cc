/* What the files of this folder share. */
#ifndef DNS_DNS_INT_H
#define DNS_DNS_INT_H

#include <event2/util.h>

#include "dns/dns.h"

#define DNS_MAX_RECORDS 100	/* */
#define DNS_MAX_CNAMES 16	/* D-10: alias chains are bounded */
#define DNS_SOA 6
#define DNS_RRSIG 46

struct ub_ctx;
struct event;

/* libunbound with its caches. After dns_reopen an old one lives on until its last query has ended. */
struct context {
	struct ub_ctx *ub;
	size_t pending;		/* queries that libunbound has in hand */
	struct context *older;
};

struct query;
struct mx_job;
struct mx_addr;

struct dns {
	struct event_base *base;
	struct context *ctx;	/* for new queries; NULL with a fixture */
	struct dns_fixture fixture;
	bool is_distrusted;	/* dns_distrust: no answer counts as secure */
	char distrust_why[256];
	bool closing;		/* dns_free was called */
	unsigned depth;		/* callbacks on the stack: memory is given back when they return */
	struct timeval timeout_store;
	const struct timeval *timeout;	/* the base's common timeout: adding one costs O(1) */
	struct slots queries;	/* struct query */
	struct slots jobs;	/* struct mx_job */
	struct slots tlsa_jobs;	/* struct tlsa_job; they end with their queries */
	struct query *ready, **ready_end;	/* answered, to be delivered on the next turn */
	struct event *ready_ev;
	struct mx_addr *local;	/* addresses of this machine's interfaces, for the loop rule */
	size_t nlocal;
	int64_t local_until_ms;
};

/* A query that nobody is asked for: `cb` gets `status` on the next turn. */
uint64_t dns_query_preset(struct dns *d, const char *name, enum dns_status status, dns_cb *cb, void *owner);
/* Ends every job that is under way; its callback says MX_TEMPFAIL. */
void mx_end_all(struct dns *d);

/* ---- context.c ---- */
struct context *dns_context_open(struct event_base *base, const struct dns_conf *conf, struct err *err);
void dns_context_close(struct context *x);

/* ---- mx_addr.c ---- */
bool mx_addr_parse(struct mx_addr *a, const char *text);
bool mx_addr_same(const struct mx_addr *a, const struct mx_addr *b);
bool mx_addr_is_self(struct dns *d, const struct mx_conf *conf, const struct mx_addr *a);

/* ---- wire.c ---- */
struct dns_reply {
	enum dns_status status;	/* DNS_OK, DNS_NODATA, DNS_NXDOMAIN, or DNS_SERVFAIL for nonsense */
	uint32_t ttl;
	char canon[256];	/* "" when it cannot be written as text */
	size_t n;
	struct dns_rr rr[DNS_MAX_RECORDS];		/* points into the packet or into names */
	uint8_t names[DNS_MAX_RECORDS][2 + 255];	/* rdata whose names were compressed */
};
/* One DNS message, its question and answer sections, following CNAMEs from the question. */
void dns_reply_parse(struct dns_reply *r, const uint8_t *pkt, size_t n, uint16_t type);
/* The name at p[at] with compression undone; returns the place behind it, 0 when malformed. */
size_t dns_wire_name(const uint8_t *p, size_t n, size_t at, uint8_t dst[255], size_t *dst_n);
/* When the signatures in a message hold, all sections (RFC 4034 3.1.5). */
struct dns_signed {
	size_t n;			/* RRSIG records */
	size_t n_now;			/* of these, at the time asked about */
	int64_t from_s, until_s;	/* of the one that comes next to it */
};
/* False when the message is malformed. */
bool dns_signed_parse(struct dns_signed *out, const uint8_t *pkt, size_t n, int64_t now_s);
/* Lower-case text without final dot, "" for the root. False for octets that are not plain. */
bool dns_wire_text(const uint8_t *name, size_t n, char dst[256]);

/* ---- name.c ---- */
/* Copies without final dot; false when it cannot be asked for. */
bool dns_name_check(char dst[256], const char *name);

#endif
