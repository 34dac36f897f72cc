/* DNS with DNSSEC validation in process (libunbound on the worker's event base). Every answer says
 * whether it is secure; a bogus or failed answer is never an empty one (D-01, D-04, D-14, X-37).
 * One struct dns for each worker; no locks.
 *
 * RFC 1034/1035, 4033 to 4035, 5321 section 5.1, 6698, 7505, 7672. */
#ifndef DNS_DNS_H
#define DNS_DNS_H

#include "base/base.h"

struct event_base;
struct dns;

enum { DNS_A = 1, DNS_CNAME = 5, DNS_PTR = 12, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28, DNS_DNSKEY = 48, DNS_TLSA = 52 };

enum dns_status {
	DNS_OK,			/* records */
	DNS_NODATA,		/* the name exists, no such records */
	DNS_NXDOMAIN,
	DNS_SERVFAIL,
	DNS_BOGUS,		/* validation failed */
	DNS_TIMEOUT,
	DNS_BAD_NAME,		/* not a name that can be asked for */
	DNS_CANCELLED,
};
const char *dns_status_name(enum dns_status s);	/* "ok" "nodata" "nxdomain" ... */
static inline bool
dns_status_is_failure(enum dns_status s)	/* says nothing about what exists: defer */
{
	return s == DNS_SERVFAIL || s == DNS_BOGUS || s == DNS_TIMEOUT || s == DNS_CANCELLED;
}

struct dns_rr {
	const uint8_t *data;	/* rdata in wire form, names uncompressed */
	size_t n;
};
/* Lives during the callback only. */
struct dns_answer {
	enum dns_status status;
	bool secure;		/* DNSSEC-validated (for NODATA and NXDOMAIN: the denial was) */
	uint32_t ttl;
	const char *qname;	/* as asked */
	const char *canon;	/* after CNAMEs, lower case; same as qname without */
	const char *why;	/* for BOGUS: libunbound's reason; else NULL */
	const struct dns_rr *rr;
	size_t n;		/* at most 100 */
	const uint8_t *pkt;	/* the whole message; NULL when none came */
	size_t pkt_n;
};
typedef void dns_cb(void *owner, uint64_t query, const struct dns_answer *a);

/* Answers from a book (src/rehearsal). `look` gives DNS_OK with a whole message (heap) and what validation
 * says of it, or a status that is none of OK, NODATA and NXDOMAIN, perhaps with `why` (heap). */
struct dns_fixture {
	enum dns_status (*look)(void *owner, const char *name, uint16_t type, uint8_t **pkt, size_t *pkt_n,
	    bool *secure, char **why);
	void *owner;
};
struct dns_conf {
	const char *const *forward;	/* "127.0.0.1", "127.0.0.1@5353"; NULL-terminated; NULL: resolv.conf */
	const char *anchor_file;	/* root.key or DS/DNSKEY lines; NULL: no validation, all insecure */
	const char *const *anchor_keys;	/* more of them, a record each, as text */
	size_t nanchor_keys;
	const struct dns_stub {
		const char *zone;
		const char *const *servers;	/* "10.0.0.53@53", NULL-terminated */
		bool insecure;			/* domain-insecure: unsigned private zone */
	} *stubs;	/* one for "." makes it resolve from there by itself, without forwarders */
	size_t nstubs;
	int64_t timeout_ms;		/* for one query as a whole; then DNS_TIMEOUT. 0: 30 s */
	const struct dns_fixture *fixture;	/* asked instead of servers, none of which is; NULL */
	bool allow_loopback_servers;	/* ask servers on loopback that DNS points to; those named here
					 * as forwarders or stubs are asked in any case */
};
struct dns *dns_new(struct event_base *base, const struct dns_conf *conf, struct err *err);
/* Pending queries end with DNS_CANCELLED, pending MX resolutions with MX_TEMPFAIL; nothing may be
 * asked from those callbacks. Safe inside a callback. NULL is fine. */
void dns_free(struct dns *d);
/* One callback for each query, never during the call, unless it is cancelled. `name` is text with
 * or without a final dot, at most 253 octets, A-labels only. Returns a number, never 0. */
uint64_t dns_query(struct dns *d, const char *name, uint16_t type, dns_cb *cb, void *owner);
void dns_cancel(struct dns *d, uint64_t query);	/* no callback comes; a stale number is fine */
/* New queries begin with empty caches and with anchor_file (and resolv.conf) read anew; what is under
 * way ends as it was begun. Reads files, so it is for rare occasions. On failure nothing changes. */
int dns_reopen(struct dns *d, const struct dns_conf *conf, struct err *err);
/* From now on no answer counts as secure: what would have been is DNS_BOGUS, with `why` as its reason,
 * also when it is in a cache. An error, not "insecure": that would take DANE away from a domain that
 * has it (D-04, X-37). NULL ends it. */
void dns_distrust(struct dns *d, const char *why);

/* ---- Self-test (selftest.c): can validation be trusted? ---- */
enum dns_trust {
	DNS_UNTESTED,
	DNS_HONEST,
	DNS_OFF,		/* no trust anchor is configured */
	DNS_UNREACHABLE,	/* no answer that says anything */
	DNS_STRIPPED,		/* signatures are missing, or altered */
	DNS_CLOCK_WRONG,	/* no signature holds at our time */
	DNS_ANCHOR_OUTDATED,	/* the zone signs with keys that the anchor does not know */
	DNS_TAKES_BOGUS,	/* what has to fail was taken */
};
#define DNS_TRUSTS 8
const char *dns_trust_name(enum dns_trust t);		/* "honest" "stripped" ... */
const char *dns_trust_advice(enum dns_trust t);		/* what to do, a sentence; "" when nothing is */
/* Validation was seen not to work. Nobody having answered shows nothing of the kind. */
static inline bool
dns_trust_is_lost(enum dns_trust t)
{
	return t >= DNS_STRIPPED;
}
struct dns_self_test_conf {
	const char *zone;			/* its DNSKEY has to be secure: "." */
	const char *const *secure, *const *bogus;	/* names whose addresses have to be secure, and must not
						 * be had at all; NULL-terminated, or NULL */
};
/* `why` is a sentence for anything but DNS_HONEST. The test is over and gone when it is called. */
typedef void dns_self_test_cb(void *owner, enum dns_trust t, const char *why);
/* Asks with caches of its own, empty at first, so that what was true yesterday is no answer. Both
 * structs are borrowed until the callback, which never comes during the call. */
struct dns_self_test *dns_self_test(struct event_base *base, const struct dns_conf *conf,
    const struct dns_self_test_conf *what, dns_self_test_cb *cb, void *owner);
void dns_self_test_cancel(struct dns_self_test *t);	/* NULL is fine */

/* ---- Records ---- */
struct dns_mx {
	uint16_t preference;
	char host[256];		/* lower case, no final dot; "" for the root (null MX) */
};
/* False when the rdata is malformed; nothing is read beyond it. */
bool dns_mx_parse(const struct dns_rr *rr, struct dns_mx *out);
bool dns_name_parse(const struct dns_rr *rr, char dst[256]);	/* PTR, CNAME */
bool dns_txt_parse(const struct dns_rr *rr, struct buf *out);	/* strings joined (S-02) */
struct dns_tlsa {
	uint8_t usage, selector, mtype;
	const uint8_t *data;
	size_t n;
};
bool dns_tlsa_parse(const struct dns_rr *rr, struct dns_tlsa *out);
/* Reverse name of an address ("4.3.2.1.in-addr.arpa"); ip of 4 or 16 octets. */
void dns_reverse_name(char dst[80], int family, const void *ip);
/* U-labels or A-labels to lower-case A-labels without final dot (IDNA2008, libidn2); false when it
 * is not a domain name. dst of 256. */
bool dns_to_ascii(char dst[256], struct slice name);
/* For people; falls back to the A-label form. */
void dns_to_unicode(char *dst, size_t size, const char *ascii);

/* ---- Where mail for a domain goes (RFC 5321 5.1, M-80 to M-83) ---- */
enum mx_status {
	MX_OK,
	MX_NXDOMAIN,		/* 5.1.2 */
	MX_NULL,		/* RFC 7505: 5.1.10 */
	MX_TEMPFAIL,		/* 4.4.3: SERVFAIL, bogus, timeout */
	MX_ONLY_SELF,		/* the loop rule left nothing: 5.4.6 */
	MX_NO_ADDRESS,		/* hosts, but none of them has an address: 5.4.4 */
};
struct mx_addr {
	int family;
	uint8_t ip[16];
};
size_t mx_addr_len(int family);
void mx_addr_unmap(struct mx_addr *a);		/* ::ffff:192.0.2.1 becomes 192.0.2.1 */
bool mx_addr_is_special(const struct mx_addr *a, bool allow_loopback);	/* nothing to dial */
bool mx_addr_is_private(const struct mx_addr *a);	/* that, or of one's own network (T-30) */
struct mx_host {
	char name[256];		/* as in the MX record; the domain itself for implicit MX */
	uint16_t preference;
	bool secure;		/* its address records were DNSSEC-validated */
	bool is_address;	/* "MX" that is an IP address written as a name (row 43) */
	enum dns_status addr_status;	/* DNS_OK, or why this host has no addresses */
	struct mx_addr *addrs;		/* resolver order, IPv6 and IPv4 by turns */
	size_t naddrs;
	char canon[256];		/* the name after CNAMEs (D-26); "" when it is the same */
};
struct mx_result {		/* immutable, counted; may be kept beyond the callback */
	int refs;		/* one thread only */
	enum mx_status status;
	char why[256];		/* a sentence for anything but MX_OK */
	bool secure;		/* the MX RRset (for implicit MX: the addresses and the denial) */
	bool implicit;		/* no MX record: the domain's own addresses */
	char canon[256];	/* the domain after CNAMEs (D-41); "" when it is the same */
	uint32_t ttl;		/* of the shortest answer, at least 1 */
	struct mx_host *hosts;	/* by preference; equals in random order (M-81) */
	size_t n;
};
struct mx_result *mx_result_ref(struct mx_result *r);
void mx_result_unref(struct mx_result *r);
struct mx_conf {	/* copied; the two lists must outlive the answer */
	const char *const *self_names;	/* our host names, NULL-terminated: loop rule (R-56, M-82) */
	const struct net_addr *self_addrs;	/* our listeners' addresses and ports */
	size_t nself_addrs;
	size_t max_hosts;		/* of the MX set that are looked up; 0: 10 */
	size_t max_addrs;		/* for each host; 0: 5 */
	bool ipv4, ipv6;		/* neither: both */
	bool allow_loopback;		/* deliver to 127/8 and ::1 (tests, X-42) */
	uint16_t port;			/* that will be dialled: own addresses count when we listen
					 * there; 0: 25 */
};
typedef void mx_cb(void *owner, uint64_t ticket, struct mx_result *r);	/* r borrowed: ref to keep */
/* Never calls back during the call. Addresses that are unspecified, link-local or multicast, and
 * loopback unless allowed, are left out. */
uint64_t mx_resolve(struct dns *d, const char *domain, const struct mx_conf *conf, mx_cb *cb, void *owner);
/* A named host without MX lookup (static routes): one mx_host; secure as its addresses are. A
 * numeric address is taken as it is, and loopback is fine: the operator wrote it. */
uint64_t mx_resolve_host(struct dns *d, const char *host, const struct mx_conf *conf, mx_cb *cb, void *owner);
/* The address of an address literal: as above, but anybody may have written it, so loopback is as in
 * mx_resolve. */
uint64_t mx_resolve_literal(struct dns *d, const char *ip, const struct mx_conf *conf, mx_cb *cb, void *owner);
void mx_cancel(struct dns *d, uint64_t ticket);

#endif
