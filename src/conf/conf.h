/* The configuration: gateway.lua, evaluated in a sandbox that has no hooks, network, clock or
 * randomness, checked against one schema table (schema.c), held as an immutable struct that all
 * threads share by counted reference. Every setting's name, unit, default, range and description
 * is in that table, and the manual page gateway.lua(5) is made from it. */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include <stdatomic.h>

#include "conf/route.h"

struct conf_secret {		/* a file with a key */
	char *path;		/* absolute; NULL: not given, or a variable names it that is not set, which
				 * only passes when files are not checked */
	char *ref;		/* "file:/..." or "env:NAME" when gw.secret named it, else NULL */
	int fd;			/* behind `path` when a variable held the key itself; -1 */
};
struct conf_identity {		/* tls.identities */
	char *name, *cert;	/* absolute path */
	struct conf_secret key;
	char *next_key;		/* what will take its place; NULL */
};
struct conf_network {		/* networks */
	char *name;
	struct net_cidr *v;
	size_t n;
};
enum listener_role { ROLE_MX, ROLE_RELAY, ROLE_REINJECT };
enum conf_starttls { STARTTLS_OFF, STARTTLS_OFFER, STARTTLS_REQUIRED };
struct conf_listener {
	char *name;
	char **bind;		/* checked: net_addr_parse takes each; "unix:" paths made absolute */
	size_t nbind;
	enum listener_role role;
	char **identities;	/* names in tls.identities, first is the fallback */
	size_t nidentities;
	bool implicit_tls;
	enum conf_starttls starttls;
	bool requiretls;	/* "announce" */
	bool client_certs;	/* ask for one */
	char **auth;		/* "PLAIN", "EXTERNAL" */
	size_t nauth;
	bool auth_in_clear;
	uint64_t max_size;
	unsigned max_rcpts, max_messages;
	struct net_cidr *clients;	/* who may connect (role relay: who may relay) */
	size_t nclients;
	bool has_clients;
	char *peer;		/* role reinject */
};
struct conf_domain {		/* domains, in order; first match wins */
	char **match;		/* "acme.example", "*.acme.example", "*"; A-labels */
	size_t nmatch;
	bool local;		/* kind = "local": relay to it is for everybody */
	char *route;
};
#define CONF_STS_BINDS 16u
struct conf_sts {		/* sts_serve.domains: a domain of our own */
	char *name;		/* A-labels */
	int mode;		/* enum sts_mode */
	int64_t max_age_ms;
	char **mx;		/* as in the policy */
	size_t nmx;
	char **reports;		/* where TLS reports (RFC 8460) shall go: URIs */
	size_t nreports;
	bool has_reports;	/* given, be it none */
};
struct conf_grant {
	char *name, *owner;
	unsigned relaxes;	/* DUTY_* bits of the level */
	enum tls_level to;
	char **domains, **routes;
	size_t ndomains, nroutes;
	int64_t expires_ms;	/* wall, last millisecond of that day UTC; may be past: checked at use */
	unsigned max_per_day;	/* 0 none */
};
struct conf_invariant {	/* invariants: what no policy, route or grant can weaken */
	char **domains;
	size_t ndomains;
	enum tls_level at_least;
};
struct conf_stub {
	char *zone;
	char **servers;		/* NULL-terminated */
	bool insecure;
};
enum column_type { COLUMN_TEXT, COLUMN_INTEGER, COLUMN_NUMBER, COLUMN_BOOLEAN, COLUMN_LIST, COLUMN_DOMAIN,
	COLUMN_PATTERN, COLUMN_ADDRESS, COLUMN_LEVEL, COLUMN_DATE, COLUMN_DURATION };
struct conf_column {
	char *name;
	enum column_type type;
};
struct conf_table {		/* tables; one of the files is given */
	char *name;
	char *csv, *cdb, *json, *sqlite;	/* absolute paths */
	char *query;			/* sqlite: the row of ?1 */
	char *key;			/* column; NULL: the first */
	struct conf_column *columns;	/* those with a type of their own */
	size_t ncolumns;
	char **index;			/* columns that find() may ask for */
	size_t nindex;
	int watch;
	bool is_made_up;		/* a rehearsal's: its sqlite is not opened */
};
struct conf_database {		/* databases */
	char *name, *file;
	bool is_made_up;		/* a rehearsal's: the file is not opened */
	int64_t timeout_ms;
	unsigned max_rows;
	uint64_t max_bytes;
};
struct dkim_key;
struct conf_dkim {		/* dkim: keys that policies sign with */
	char *name, *domain, *selector;
	struct conf_secret key;
	struct dkim_key *loaded;	/* by whoever sends mail with it, before it is shared; else NULL */
};
struct conf_credential {	/* credentials: what routes log in with */
	char *name, *user;
	struct conf_secret password;
	char **hosts;			/* where it may be used; NULL-terminated */
	size_t nhosts;
	char *loaded;			/* the password, by whoever sends mail with it, before it is shared; wiped */
	uint8_t stamp[32];		/* differs when user or password do */
};
struct conf_level {		/* policy.levels */
	char *handler;
	int level;		/* POLICY_ADVISORY ... (policy.h) */
};

struct conf {
	atomic_int refs;
	char *file, *dir;	/* of gateway.lua, absolute; relative paths in it are below dir */
	struct { char *hostname, *postmaster; } identity;
	struct {
		char *user;		/* NULL: stay */
		unsigned workers;
		char *state, *control;	/* absolute */
		struct net_addr http;	/* AF_UNSPEC: none */
		char *http_text;
		int seccomp;		/* 0 on, 1 log, 2 off */
		int landlock;		/* 0 on, 1 off */
	} service;
	struct {
		char **forward;		/* NULL-terminated, NULL: system's */
		char *anchor;
		struct conf_stub *stubs;
		size_t nstubs;
		int64_t timeout_ms;
		char *self_test_zone;	/* "." */
		char **self_test_secure, **self_test_bogus;	/* NULL-terminated, or NULL */
		int64_t self_test_interval_ms;
	} dns;
	struct conf_network *networks;	/* sorted by name, as listeners, routes and grants are */
	size_t nnetworks;
	struct conf_listener *listeners;
	size_t nlisteners;
	struct {
		struct conf_identity *identities;
		size_t nidentities;
		char *min_version;	/* "1.2" "1.3" */
		char *ca_file;		/* NULL: the system's store */
		bool dane, sts, sts_allow_private;
		char *sts_ca_file;	/* NULL: as ca_file */
		uint16_t sts_port;
		int64_t sts_timeout_ms;
		bool honour_no;		/* tls_required_no */
		char **no_names;	/* NULL-terminated */
		bool sts_testing_counts;
	} tls;
	struct {
		char **bind, **identities;	/* as of a listener; none: no server */
		size_t nbind, nidentities;
		struct conf_sts *domains;	/* sorted by name */
		size_t ndomains;
	} sts_serve;
	struct conf_domain *domains;
	size_t ndomains;
	struct conf_invariant *invariants;
	size_t ninvariants;
	struct route **routes;
	size_t nroutes;
	struct conf_table *tables;	/* sorted by name */
	size_t ntables;
	struct conf_database *databases;	/* sorted by name */
	size_t ndatabases;
	struct conf_dkim *dkim;		/* sorted by name */
	size_t ndkim;
	struct conf_credential *credentials;	/* sorted by name */
	size_t ncredentials;
	struct {
		char *path;
		int64_t max_age_ms, hold_unmet_ms, delay_notice_ms, notice_max_age_ms;
		int64_t *retry_ms;
		size_t nretry;
		unsigned min_free_percent;
		uint64_t max_bytes, max_messages;
		unsigned concurrency;		/* connections to one destination: 20 */
		unsigned active;		/* messages in memory for delivery, a worker: 2000 */
	} queue;
	struct {
		int64_t keep_ms;	/* 0: for ever */
	} evidence;
	struct {			/* reports of TLS results; nothing is counted without the first two */
		char *organization, *contact;
		bool send;
		int64_t keep_ms;
		unsigned max_domains;
		int64_t delay_ms, timeout_ms;
		unsigned rate;
		char *ca_file;		/* NULL: as tls.ca_file */
		bool verify, allow_private;
		struct {
			char *domain, *selector;	/* NULL: reports are not signed */
			struct conf_secret key;
		} dkim;
	} tlsrpt;
	struct {
		char **load;		/* absolute paths */
		size_t nload;
		struct conf_level *levels;
		size_t nlevels;
		char *geo_country, *geo_asn;	/* files; NULL: none */
		char *options;		/* an object of JSON; NULL: none */
		uint64_t instructions, memory;
		int64_t wall_ms;
		char **auth_servers;	/* whose Authentication-Results count */
		size_t nauth_servers;
		bool dns;
		char **http;		/* "https://cmdb.acme.example:443/api": what a URL begins with */
		size_t nhttp;
		char *http_ca_file;	/* NULL: as tls.ca_file */
		int64_t drain_ms;		/* how long sessions of an old generation may go on */
		unsigned errors_per_minute;	/* of a handler, more are too many; 0: never */
		bool auto_rollback;
		bool test_on_load;	/* sallyport policy load runs tests first */
		struct conf_grant *grants;
		size_t ngrants;
	} policy;
	struct {
		char *from;
		int return_full;	/* return_content = "full" */
		char **languages;	/* NULL-terminated */
		char *templates;	/* directory or NULL */
		int protect;		/* enum dsn_protect */
	} dsn;
	struct { char *file, *json_file, *journal, *audit; bool json; int level; uint64_t journal_body; } log;
	struct {			/* records of handlers */
		unsigned ring, sample, rows;
		int64_t keep_ms;	/* 0: none are stored */
	} trace;
	struct {			/* limits (spec security.md section 4) */
		unsigned sessions, sessions_per_address, errors, soft_errors, junk;
		int64_t error_delay_ms, command_ms, command_stress_ms, handshake_ms, session_ms;
		int64_t shutdown_ms, content_ms;
		unsigned content_rate, received_hops;
		uint64_t memory;	/* 0: found out */
	} limits;
	struct {			/* delivery */
		bool ipv4, ipv6, allow_loopback;
		int64_t connect_ms, idle_ms;	/* idle_ms: how long a connection is kept for reuse */
		int64_t reply_ms, handshake_ms, block_ms, final_ms;
		unsigned max_hosts, max_addrs, conn_messages;
	} delivery;
	char *warnings;			/* what conf_load accepted but an operator should hear of, a
					 * line each (an expired grant); NULL when nothing */
	struct domain_entry *domain_index;	/* conf_domain's */
	struct invariant_entry *invariant_index;	/* conf_invariant's */
	size_t invariant_any;		/* for "*"; ninvariants: none */
	size_t domain_any;		/* first entry that matches "*"; ndomains: none */
};

/* Reads, evaluates and checks. Every problem found is one line in `errors` (heap text, to be
 * freed, NULL when none): "gateway.lua:12: ..." or "listeners.inbound.tls: ...". NULL when there
 * was any. One reference. Files that it names are checked to exist and be readable, and keys to
 * fit their certificates, when `check_files`. */
struct conf *conf_load(const char *file, bool check_files, char **errors);
struct conf *conf_ref(struct conf *c);
void conf_unref(struct conf *c);
/* The effective configuration as JSON, defaults filled in, secrets as references only. Heap. */
char *conf_dump(const struct conf *c);
char *conf_schema_json(void);	/* every setting with type, unit, default, range, sentence */
char *conf_man_page(void);	/* the SETTINGS section of gateway.lua(5), roff */
/* Asserted trust, grants, waivable levels, assert_*: what an auditor asks for. Human text, heap. */
char *conf_audit(const struct conf *c, bool json);

/* Settings of dns as src/dns wants them; borrows from `c`. */
struct dns_conf;
void conf_dns(const struct conf *c, struct dns_conf *out);
void conf_dns_fini(struct dns_conf *d);

const struct route *conf_route(const struct conf *c, const char *name);	/* NULL unknown */
/* The domains entry for this domain (A-labels), NULL when nothing matches. "*.x" is any depth
 * below x. One look-up for each label. */
const struct conf_domain *conf_domain(const struct conf *c, const char *domain);
/* The strictest invariant for mail to this domain: its place; ninvariants: there is none. */
size_t conf_invariant(const struct conf *c, const char *domain);
duty_mask conf_invariant_duties(const struct conf *c, const char *domain);	/* what it asks for; 0: nothing */
const struct conf_listener *conf_listener(const struct conf *c, const char *name);
const struct conf_dkim *conf_dkim(const struct conf *c, const char *name);	/* NULL */
const struct conf_credential *conf_credential(const struct conf *c, const char *name);	/* NULL */
/* May this route log in with what it names, as this configuration has it? `err` says why not. */
bool conf_may_log_in(const struct conf *c, const struct route *r, struct err *err);
/* Reads the password; nothing to do when no file is given. False: `err`. */
bool conf_credential_load(struct conf_credential *k, struct err *err);
const struct conf_identity *conf_identity(const struct conf *c, const char *name);
const struct conf_sts *conf_sts(const struct conf *c, const char *domain);	/* NULL: no policy */
char *conf_sts_text(const struct conf_sts *s);		/* the policy as it is served. Heap */

#endif
