/* The one table of settings. Order is the order of the manual page; networks stand before the
 * listeners that name them. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "conf/conf_int.h"
#include "trust/sts.h"

#define AT(st, f) .at = offsetof(struct st, f), .size = sizeof(((struct st *)0)->f)
#define ATN(st, f, n) AT(st, f), .n_at = offsetof(struct st, n)
#define ITEMS(st, f, n, it) ATN(st, f, n), .item = sizeof(struct it)
#define WORDS(...) .choices = (const char *const[]){ __VA_ARGS__, NULL }

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR };
#define KIB INT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

const char *const conf_level_names[] = { "may", "encrypt", "verify", "secure", "requiretls", NULL };
const char *const conf_handler_levels[] = { "advisory", "normal", "mandatory", NULL };
const char *const conf_column_types[] = { [COLUMN_TEXT] = "text", [COLUMN_INTEGER] = "integer",
	[COLUMN_NUMBER] = "number", [COLUMN_BOOLEAN] = "boolean", [COLUMN_LIST] = "list", [COLUMN_DOMAIN] = "domain",
	[COLUMN_PATTERN] = "pattern", [COLUMN_ADDRESS] = "address", [COLUMN_LEVEL] = "level", [COLUMN_DATE] = "date",
	[COLUMN_DURATION] = "duration", NULL };
const char *const conf_sts_modes[] = { [STS_NONE] = "none", [STS_TESTING] = "testing",
	[STS_ENFORCE] = "enforce", NULL };

const struct setting conf_schema[] = {
{ "version", T_VERSION, "1", .flags = S_IGNORED,
  .text = "Version of this file's format; 1 is the only one." },

{ "identity", T_SECTION, NULL, .text = "Who this gateway is." },
{ "identity.hostname", T_TEXT, NULL, .kind = &kind_host, AT(conf, identity.hostname),
  .flags = S_REQUIRED,
  .text = "The name in greetings, EHLO and Received; it should resolve to this machine and back." },
{ "identity.postmaster", T_TEXT, "(postmaster@ and identity.hostname)", .kind = &kind_mailbox,
  AT(conf, identity.postmaster), .text = "Where mail to postmaster without a domain goes." },

{ "service", T_SECTION, NULL, .text = "The daemon itself." },
{ "service.user", T_TEXT, NULL, .kind = &kind_user, AT(conf, service.user),
  .text = "The user to become after sockets are bound and keys are read; none: stay who started "
	  "it." },
{ "service.workers", T_WORKERS, "\"cores\"", .min = 1, .max = 64, AT(conf, service.workers),
  .text = "How many threads do mail: a number, or \"cores\" for one for each processor that may be "
	  "used." },
{ "service.state", T_TEXT, "\"state\"", .kind = &kind_path, AT(conf, service.state),
  .text = "Directory of the queue and of message bodies under way; made with mode 0700." },
{ "service.control", T_TEXT, "\"run/control.sock\"", .kind = &kind_path, AT(conf, service.control),
  .text = "The Unix socket through which sallyport(1) talks to the daemon." },
{ "service.http", T_HTTP, NULL, AT(conf, service.http),
  .text = "Numeric address and port, or unix:PATH, of the metrics and status page; it has no "
	  "password. None: no page." },

{ "service.seccomp", T_CHOICE, "\"on\"", WORDS("on", "log", "off"), AT(conf, service.seccomp),
  .text = "Which system calls the daemon may make: on refuses what it has no use for and ends it when "
	  "something only an intruder would do is tried, log writes that to the kernel's log." },
{ "service.landlock", T_CHOICE, "\"on\"", WORDS("on", "off"), AT(conf, service.landlock),
  .text = "Which files the daemon may use: on leaves the directories of state, queue, socket and log "
	  "to write, those of the files named here, /etc and /usr to read." },

{ "dns", T_SECTION, NULL, .text = "DNS, with DNSSEC validated in the daemon." },
{ "dns.forward", T_TEXTS, "(the system's resolvers)", .kind = &kind_server, AT(conf, dns.forward),
  .text = "Resolvers to ask, as ADDRESS or ADDRESS@PORT; they must pass DNSSEC records on." },
{ "dns.anchor", T_TEXT, "\"/usr/share/dns/root.key\"", .kind = &kind_anchor, AT(conf, dns.anchor),
  .text = "File with the trust anchor of the root; \"none\" turns validation off, and then no MX "
	  "lookup counts as secure." },
{ "dns.stub", T_STUBS, NULL, ATN(conf, dns.stubs, dns.nstubs),
  .text = "Private zones: [\"corp.example\"] = { \"10.0.0.53@53\" }, or { servers = { ... }, "
	  "insecure = true } for a zone that is not signed." },
{ "dns.timeout", T_DURATION, "\"30s\"", .min = SECOND, .max = 5 * MINUTE, AT(conf, dns.timeout_ms),
  .text = "How long one look-up may take as a whole." },
{ "dns.self_test_zone", T_TEXT, "\".\"", .kind = &kind_zone, AT(conf, dns.self_test_zone),
  .text = "Signed zone whose DNSKEY is asked for, at start and from time to time, to see whether validation "
	  "works (the self-test)." },
{ "dns.self_test_interval", T_DURATION, "\"1h\"", .min = SECOND, .max = 7 * DAY,
  AT(conf, dns.self_test_interval_ms), .text = "How long after a self-test the next one follows, ten per cent more "
	  "or less; after one that failed it is a minute, then two, then four, up to ten." },
{ "dns.self_test_secure", T_TEXTS, "[]", .kind = &kind_zone, AT(conf, dns.self_test_secure),
  .text = "Further names whose addresses, or their absence, have to be validated in a self-test." },
{ "dns.self_test_bogus", T_TEXTS, "[]", .kind = &kind_zone, AT(conf, dns.self_test_bogus),
  .text = "Names that are broken on purpose: a self-test fails when one of them is taken for good." },

{ "networks", T_NETWORKS, NULL, ATN(conf, networks, nnetworks),
  .text = "Names for lists of networks, to be used in listeners.*.clients: "
	  "office = { \"10.0.0.0/8\", \"fd00::/8\" }." },

{ "listeners", T_MAP, NULL, ITEMS(conf, listeners, nlisteners, conf_listener),
  .after = listener_after,
  .text = "Where mail comes in; each has a name of your choice." },
{ "listeners.*.bind", T_TEXTS, NULL, .kind = &kind_bind, ATN(conf_listener, bind, nbind),
  .flags = S_REQUIRED | S_SOME,
  .text = "Numeric addresses with port, or unix:PATH: \"0.0.0.0:25\", \"[::]:25\"." },
{ "listeners.*.role", T_CHOICE, "\"mx\"", WORDS("mx", "relay", "reinject"), AT(conf_listener, role),
  .text = "mx takes mail for domains of kind local from everybody; relay also takes mail for others "
	  "from its clients; reinject, for mail back from a content filter, refuses every message in this "
	  "version." },
{ "listeners.*.tls", T_TEXTS, NULL, .kind = &kind_name, ATN(conf_listener, identities, nidentities),
  .text = "Names in tls.identities; the first is used when the peer asks for none of the others." },
{ "listeners.*.implicit_tls", T_BOOL, "false", AT(conf_listener, implicit_tls),
  .text = "TLS begins with the connection, without STARTTLS (port 465)." },
{ "listeners.*.starttls", T_CHOICE, "(offer with tls, else off)", WORDS("off", "offer", "required"),
  AT(conf_listener, starttls),
  .text = "required refuses MAIL in clear with 530; not for a public MX (RFC 3207 section 4)." },
{ "listeners.*.requiretls", T_CHOICE, "\"off\"", WORDS("off", "announce"),
  AT(conf_listener, requiretls),
  .text = "announce lists REQUIRETLS (RFC 8689) inside TLS, which is a promise to keep it." },
{ "listeners.*.client_certs", T_CHOICE, "\"off\"", WORDS("off", "ask"),
  AT(conf_listener, client_certs),
  .text = "ask requests a certificate of the peer for policies to look at; nobody is refused for "
	  "having none." },
{ "listeners.*.max_size", T_SIZE, "\"50M\"", .min = 64 * KIB, .max = 2 * GIB,
  AT(conf_listener, max_size), .text = "The largest message taken; listed as SIZE (RFC 1870)." },
{ "listeners.*.max_rcpts", T_NUMBER, "1000", .min = 100, .max = 50000, AT(conf_listener, max_rcpts),
  .text = "Recipients of one message; more get 452." },
{ "listeners.*.max_messages", T_NUMBER, "0", .max = 1000000, AT(conf_listener, max_messages),
  .text = "Messages in one connection, then 421; 0: as many as come." },
{ "listeners.*.clients", T_NETS, NULL, ATN(conf_listener, clients, nclients),
  .text = "Who may connect, as names in networks or as networks; for role relay: who may relay." },
{ "listeners.*.peer", T_TEXT, NULL, .kind = &kind_name, AT(conf_listener, peer),
  .text = "For role reinject: the name of the content filter, for log and evidence." },
{ "listeners.*.auth", T_TEXTS, NULL, .kind = &kind_plain, ATN(conf_listener, auth, nauth),
  .text = "Mechanisms of SMTP AUTH (RFC 4954): PLAIN, EXTERNAL. Who a client is, the hook auth of a policy says; "
	  "without one every login fails. Who has logged in may relay where the role is relay. EXTERNAL takes a "
	  "certificate that client_certs asked for." },
{ "listeners.*.auth_in_clear", T_BOOL, "false", AT(conf_listener, auth_in_clear),
  .text = "true offers AUTH without TLS, too; passwords are then sent in clear." },

{ "tls", T_SECTION, NULL, .after = tls_after, .text = "Certificates, and what TLS counts for." },
{ "tls.identities", T_MAP, NULL, ITEMS(conf, tls.identities, tls.nidentities, conf_identity),
  .text = "Certificates of this gateway; each has a name of your choice." },
{ "tls.identities.*.cert", T_TEXT, NULL, .kind = &kind_path, AT(conf_identity, cert),
  .flags = S_REQUIRED, .text = "PEM file: the certificate, then its chain." },
{ "tls.identities.*.key", T_SECRET, NULL, AT(conf_identity, key), .flags = S_REQUIRED,
  .text = "Its key, a PEM file: a path, gw.secret \"file:PATH\", or gw.secret \"env:NAME\" for a "
	  "variable that holds the path or the key itself." },
{ "tls.identities.*.next_key", T_TEXT, NULL, .kind = &kind_path, AT(conf_identity, next_key),
  .text = "PEM file with the key that will take its place, or a certificate of that key; dns-records says "
	  "which TLSA record has to be published before (RFC 7672 section 4). Nothing else uses it." },
{ "tls.min_version", T_TEXT, "\"1.2\"", .kind = &kind_plain, WORDS("1.2", "1.3"),
  AT(conf, tls.min_version), .text = "The oldest protocol version, in and out (RFC 8996, RFC 9325)." },
{ "tls.trust", T_TEXT, "(file with tls.ca_file, else system)", .kind = &kind_plain,
  WORDS("system", "file"), .flags = S_IGNORED,
  .text = "Whom to trust for certificates of others: the system's store, or only tls.ca_file." },
{ "tls.ca_file", T_TEXT, NULL, .kind = &kind_path, AT(conf, tls.ca_file),
  .text = "PEM file with the authorities to trust instead of the system's." },
{ "tls.dane", T_CHOICE, "\"auto\"", WORDS("off", "auto"), AT(conf, tls.dane),
  .text = "Whether the TLSA records of mail hosts are looked up and binding (DANE, RFC 7672). They count "
	  "only where DNSSEC validates them, so with dns.anchor = \"none\" nothing is looked up either." },
{ "tls.sts", T_CHOICE, "\"auto\"", WORDS("off", "auto"), AT(conf, tls.sts),
  .text = "Whether policies of recipient domains (MTA-STS, RFC 8461) are looked up, fetched and obeyed." },
{ "tls.sts_ca_file", T_TEXT, "(as tls.trust)", .kind = &kind_path, AT(conf, tls.sts_ca_file),
  .text = "PEM file with the authorities to trust for the HTTPS servers of policies instead." },
{ "tls.sts_port", T_NUMBER, "443", .min = 1, .max = 65535, AT(conf, tls.sts_port),
  .text = "The port of those servers; the standard knows only 443, so this is for test labs." },
{ "tls.sts_timeout", T_DURATION, "\"60s\"", .min = SECOND, .max = 5 * MINUTE, AT(conf, tls.sts_timeout_ms),
  .text = "How long one fetch of a policy may take. Mail that waits for a first fetch waits a quarter "
	  "of that." },
{ "tls.sts_allow_private", T_BOOL, "false", AT(conf, tls.sts_allow_private),
  .text = "Fetch policies from private addresses, too, when the DNS says so; for closed networks. Otherwise a "
	  "stranger's record could make this gateway speak to your own servers, and such a domain counts as one "
	  "without a policy." },
{ "tls.tls_required_no", T_CHOICE, "\"honour\"", WORDS("ignore", "honour"), AT(conf, tls.honour_no),
  .text = "Whether the header field TLS-Required: No (RFC 8689 section 5) may waive what was asked "
	  "for by the recipient's side or by waivable routes; a policy may still ignore it." },
{ "tls.tls_required_names", T_TEXTS, "[\"TLS-Required\", \"Require-TLS\"]", .kind = &kind_field,
  AT(conf, tls.no_names), .flags = S_SOME,
  .text = "Header field names recognised for that; only TLS-Required is ever written." },
{ "tls.sts_testing", T_CHOICE, "\"accept\"", WORDS("refuse", "accept"),
  AT(conf, tls.sts_testing_counts),
  .text = "Whether an MTA-STS policy in mode testing is evidence for an MX name." },

{ "sts_serve", T_SECTION, NULL,
  .text = "The MTA-STS policies of your own domains (RFC 8461), served over HTTPS; dns-records prints what "
	  "to publish beside them." },
{ "sts_serve.bind", T_TEXTS, NULL, .kind = &kind_bind, ATN(conf, sts_serve.bind, sts_serve.nbind),
  .text = "Numeric addresses with port: \"0.0.0.0:443\", \"[::]:443\". None: no server; then another web "
	  "server has to answer." },
{ "sts_serve.tls", T_TEXTS, NULL, .kind = &kind_name,
  ATN(conf, sts_serve.identities, sts_serve.nidentities),
  .text = "Names in tls.identities, with certificates for mta-sts.DOMAIN; the first is used when the client "
	  "asks for none of the others." },
{ "sts_serve.domains", T_MAP, NULL, ITEMS(conf, sts_serve.domains, sts_serve.ndomains, conf_sts),
  .flags = S_DOMAINS, .after = sts_after,
  .text = "The policies, by domain: [\"acme.example\"] = { mode = \"testing\", mx = ... }." },
{ "sts_serve.domains.*.mode", T_CHOICE, NULL, .choices = conf_sts_modes, AT(conf_sts, mode),
  .flags = S_REQUIRED,
  .text = "enforce: senders that know the policy deliver only as it says; testing: they only report; none: "
	  "no policy any more." },
{ "sts_serve.domains.*.max_age", T_DURATION, "\"1w\"", .min = HOUR, .max = STS_MAX_AGE * SECOND,
  AT(conf_sts, max_age_ms),
  .text = "How long senders keep it. They may hold you to it for so long after it is withdrawn." },
{ "sts_serve.domains.*.mx", T_TEXTS, NULL, .kind = &kind_cert_name, ATN(conf_sts, mx, nmx),
  .text = "Names of all MX hosts of the domain: \"mx1.acme.example\", or \"*.acme.example\" for one label "
	  "before it. Needed unless mode is none." },
{ "sts_serve.domains.*.reports", T_TEXTS, "(mailto: and identity.postmaster)", .kind = &kind_report_uri,
  ATN(conf_sts, reports, nreports),
  .text = "Where TLS reports about the domain (RFC 8460) shall be sent, mailto: or https:; for dns-records "
	  "only. {}: nowhere." },

{ "domains", T_LIST, NULL, ITEMS(conf, domains, ndomains, conf_domain),
  .text = "What happens to mail for a domain; the first entry that matches decides." },
{ "domains.*.match", T_TEXTS, NULL, .kind = &kind_pattern, ATN(conf_domain, match, nmatch),
  .flags = S_REQUIRED | S_SOME,
  .text = "Domains: \"acme.example\", \"*.acme.example\" for any depth below it, \"*\" for all." },
{ "domains.*.kind", T_CHOICE, "\"remote\"", WORDS("remote", "local"), AT(conf_domain, local),
  .text = "local: anybody may send to it." },
{ "domains.*.route", T_TEXT, NULL, .kind = &kind_name, AT(conf_domain, route), .flags = S_REQUIRED,
  .text = "Name in routes." },

{ "invariants", T_LIST, NULL, ITEMS(conf, invariants, ninvariants, conf_invariant), .after = invariant_after,
  .text = "What mail to some domains owes at the least. No policy, route, grant or sender's TLS-Required: No makes "
	  "it less: it is written down when a message is taken and looked at again before each MAIL." },
{ "invariants.*.domains", T_TEXTS, NULL, .kind = &kind_pattern, ATN(conf_invariant, domains, ndomains),
  .flags = S_REQUIRED | S_SOME, .text = "Domains of recipients, as in domains.*.match." },
{ "invariants.*.at_least", T_CHOICE, NULL, .choices = conf_level_names, AT(conf_invariant, at_least),
  .flags = S_REQUIRED, .text = "The level that is always owed; of several for a domain the highest." },

{ "routes", T_MAP, NULL, ITEMS(conf, routes, nroutes, route), .flags = S_POINTERS,
  .after = route_after, .text = "Where mail goes next; each has a name of your choice." },
{ "routes.*.via", T_VIA, NULL, AT(route, via_mx), .flags = S_REQUIRED,
  .text = "\"mx\" for the MX records of the domain, or hosts in order: \"ex1.acme.example:25\", "
	  "\"192.0.2.8\", \"[2001:db8::1]:25\"." },
{ "routes.*.domain", T_TEXT, NULL, .kind = &kind_domain, AT(route, domain),
  .text = "With via = \"mx\": the domain to look up instead of the recipient's." },
{ "routes.*.port", T_NUMBER, "(25; 465 with implicit_tls)", .min = 1, .max = 65535, AT(route, port),
  .text = "Port of hosts that have none of their own." },
{ "routes.*.implicit_tls", T_BOOL, "false", AT(route, implicit_tls),
  .text = "TLS begins with the connection." },
{ "routes.*.tls", T_CHOICE, "\"may\"",
  .choices = conf_level_names, AT(route, tls),
  .text = "The least that mail over this route gets: may; encrypt; verify (the certificate too); "
	  "secure (also the way the host was found); requiretls (also RFC 8689 at the host)." },
{ "routes.*.waivable", T_BOOL, "false", AT(route, waivable),
  .text = "TLS-Required: No may waive what tls asks for." },
{ "routes.*.names", T_TEXTS, NULL, .kind = &kind_cert_name, ATN(route, names, nnames),
  .text = "Names one of which the host's certificate must carry instead of the host's own." },
{ "routes.*.pins", T_TEXTS, NULL, .kind = &kind_pin, ATN(route, pins, npins),
  .text = "Digests of public keys that are accepted instead of a verified name: "
	  "sha256: and 64 hexadecimal digits of the SubjectPublicKeyInfo." },
{ "routes.*.ca_file", T_TEXT, NULL, .kind = &kind_path, AT(route, ca_file),
  .text = "PEM file with the authorities to trust on this route only." },
{ "routes.*.source", T_TEXT, NULL, .kind = &kind_ip, AT(route, source),
  .text = "Numeric local address to connect from." },
{ "routes.*.assert_secure_lookup", T_BOOL, "false", AT(route, assert_secure_lookup),
  .text = "You vouch that this host list is a trusted choice; needed for secure and REQUIRETLS "
	  "mail to hosts that no DNSSEC or MTA-STS names." },
{ "routes.*.assert_propagate", T_BOOL, "false", AT(route, assert_propagate),
  .text = "You vouch that these hosts are yours and the end of SMTP relaying, so that they need not "
	  "list REQUIRETLS." },
{ "routes.*.ipv4", T_BOOL, "true", AT(route, ipv4), .text = "Use IPv4 addresses." },
{ "routes.*.ipv6", T_BOOL, "true", AT(route, ipv6), .text = "Use IPv6 addresses." },
{ "routes.*.auth", T_TEXT, NULL, .kind = &kind_name, AT(route, auth),
  .text = "Name in credentials: log in with it (SMTP AUTH, RFC 4954) before anything is sent. For a list of hosts, "
	  "and with tls = \"verify\" or more: a password goes to nobody whose certificate was not verified." },

{ "credentials", T_MAP, NULL, ITEMS(conf, credentials, ncredentials, conf_credential),
  .after = credential_after,
  .text = "What routes log in with at the hosts of a provider (routes.*.auth, gw.route { auth = ... }); each has a name of "
	  "your choice. A route or policy names one; no policy sees the password." },
{ "credentials.*.user", T_TEXT, NULL, .kind = &kind_plain, AT(conf_credential, user), .flags = S_REQUIRED,
  .text = "Who to log in as." },
{ "credentials.*.password", T_PASSWORD, NULL, AT(conf_credential, password), .flags = S_REQUIRED,
  .text = "gw.secret \"file:PATH\" for a file with the password in its only line, or gw.secret \"env:NAME\" for a variable "
	  "that holds it. Read at the start and with a reload." },
{ "credentials.*.hosts", T_TEXTS, "(those of the routes that name it)", .kind = &kind_route_host,
  ATN(conf_credential, hosts, nhosts), .flags = S_SOME,
  .text = "Hosts that it may be sent to, by name. A route with others is refused, also one that a policy makes." },

{ "tables", T_MAP, NULL, ITEMS(conf, tables, ntables, conf_table), .after = table_after,
  .text = "What policies look up with gw.table; each has a name of your choice, and one of csv, cdb, json and "
	  "sqlite. All but sqlite is kept in memory: at most 64 MiB and a million rows each." },
{ "tables.*.csv", T_TEXT, NULL, .kind = &kind_path, AT(conf_table, csv),
  .text = "CSV file (RFC 4180) in UTF-8; its first line names the columns." },
{ "tables.*.cdb", T_TEXT, NULL, .kind = &kind_path, AT(conf_table, cdb),
  .text = "CDB file, with the columns key and value." },
{ "tables.*.json", T_TEXT, NULL, .kind = &kind_path, AT(conf_table, json),
  .text = "JSON file: a list of objects, or an object of objects whose names become the column key." },
{ "tables.*.sqlite", T_TEXT, NULL, .kind = &kind_path, AT(conf_table, sqlite),
  .text = "SQLite database, which is asked query each time, read-only; get() then waits." },
{ "tables.*.query", T_TEXT, NULL, .kind = &kind_plain, AT(conf_table, query),
  .text = "With sqlite: the statement; ?1 is the key: \"select dept from people where addr = ?1\"." },
{ "tables.*.key", T_TEXT, "(the first column; key with cdb and json)", .kind = &kind_column, AT(conf_table, key),
  .text = "The column that get() looks in. In csv and json no two rows may have the same." },
{ "tables.*.columns", T_COLUMNS, NULL, ATN(conf_table, columns, ncolumns), .choices = conf_column_types,
  .text = "Types of columns, checked when the file is read: { level = \"level\", names = \"list\", until = \"date\" }; "
	  "text, integer, number, boolean, list (of words), domain, pattern (as domains.*.match), address, level (of TLS), "
	  "date, duration." },
{ "tables.*.index", T_TEXTS, NULL, .kind = &kind_column, ATN(conf_table, index, nindex),
  .text = "Further columns that find() may look in." },
{ "tables.*.reload", T_CHOICE, "\"config\"", WORDS("config", "watch"), AT(conf_table, watch),
  .text = "When the file is read again: config: with the configuration; watch: also when it has changed. Put a new "
	  "file in its place with rename, or it may be read half written." },

{ "databases", T_MAP, NULL, ITEMS(conf, databases, ndatabases, conf_database),
  .text = "SQLite databases that policies may read with gw.sql; each has a name of your choice." },
{ "databases.*.file", T_TEXT, NULL, .kind = &kind_path, AT(conf_database, file), .flags = S_REQUIRED,
  .text = "The database. It is only read; one in WAL mode needs its -shm file, which another program has open." },
{ "databases.*.timeout", T_DURATION, "\"2s\"", .min = 10, .max = 30 * SECOND, AT(conf_database, timeout_ms),
  .text = "How long a query may take as a whole." },
{ "databases.*.max_rows", T_NUMBER, "1000", .min = 1, .max = 10000, AT(conf_database, max_rows),
  .text = "The most rows of an answer; with more it is an error." },
{ "databases.*.max_bytes", T_SIZE, "\"1M\"", .min = KIB, .max = 4 * MIB, AT(conf_database, max_bytes),
  .text = "The same for its size." },

{ "dkim", T_MAP, NULL, ITEMS(conf, dkim, ndkim, conf_dkim),
  .text = "Keys that policies may sign mail with (message:dkim_sign); each has a name of your choice. A policy names "
	  "one; it never sees the key." },
{ "dkim.*.domain", T_TEXT, NULL, .kind = &kind_domain, AT(conf_dkim, domain), .flags = S_REQUIRED,
  .text = "Who signs (d=)." },
{ "dkim.*.selector", T_TEXT, NULL, .kind = &kind_host, AT(conf_dkim, selector), .flags = S_REQUIRED,
  .text = "Under which name below _domainkey the public key is found." },
{ "dkim.*.key", T_SECRET, NULL, AT(conf_dkim, key), .flags = S_REQUIRED,
  .text = "The private RSA key, as tlsrpt.dkim.key. Read at the start and with a reload." },

{ "queue", T_SECTION, NULL, .text = "Mail that waits." },
{ "queue.path", T_TEXT, "(queue.db in service.state)", .kind = &kind_path, AT(conf, queue.path),
  .text = "The queue's database." },
{ "queue.max_age", T_DURATION, "\"5d\"", .min = MINUTE, .max = 30 * (int64_t)DAY,
  AT(conf, queue.max_age_ms), .text = "How long delivery is tried before the message is returned." },
{ "queue.notice_max_age", T_DURATION, "\"2d\"", .min = MINUTE, .max = 30 * (int64_t)DAY,
  AT(conf, queue.notice_max_age_ms), .text = "The same for notices of our own." },
{ "queue.hold_unmet", T_DURATION, "\"0s\"", .max = 30 * (int64_t)DAY, AT(conf, queue.hold_unmet_ms),
  .text = "How long mail whose TLS duties cannot be met is kept and retried before it is returned." },
{ "queue.retry", T_DURATIONS, "[\"5m\", \"15m\", \"1h\", \"4h\"]", .min = SECOND, .max = DAY,
  ATN(conf, queue.retry_ms, queue.nretry), .flags = S_SOME,
  .text = "Gaps between attempts; the last one repeats." },
{ "queue.delay_notice", T_DURATION, "\"4h\"", .max = 30 * (int64_t)DAY,
  AT(conf, queue.delay_notice_ms),
  .text = "When the sender is told that a message is late; \"0s\": never." },
{ "queue.min_free", T_PERCENT, "\"10%\"", .max = 90, AT(conf, queue.min_free_percent),
  .text = "Below this much free space mail is refused with 452." },
{ "queue.max_bytes", T_SIZE, "0", AT(conf, queue.max_bytes),
  .text = "The largest size of the queue, then 452; 0: no limit but min_free." },
{ "queue.max_messages", T_NUMBER, "0", AT(conf, queue.max_messages),
  .text = "The most messages in the queue, then 452; 0: no limit." },
{ "queue.concurrency", T_NUMBER, "20", .min = 1, .max = 1000, AT(conf, queue.concurrency),
  .text = "Connections to one destination at a time." },
{ "queue.active", T_NUMBER, "2000", .min = 10, .max = 1000000, AT(conf, queue.active),
  .text = "Recipients that one worker has in hand for delivery; the rest waits in the database." },

{ "evidence", T_SECTION, NULL, .text = "The record of what was asked for and done." },
{ "evidence.keep", T_DURATION, "\"0s\"", .max = 36500 * (int64_t)DAY, AT(conf, evidence.keep_ms),
  .text = "How long evidence is kept; older rows are removed while the gateway is idle, and the rest can "
	  "still be verified. 0s: for ever. A change needs a restart." },

{ "tlsrpt", T_SECTION, NULL, .after = tlsrpt_after,
  .text = "Reports to recipient domains about TLS on the way to them (RFC 8460). Sessions are counted, and "
	  "reports made, when organization and contact are both given." },
{ "tlsrpt.organization", T_TEXT, NULL, .kind = &kind_plain, AT(conf, tlsrpt.organization),
  .text = "Who reports, as people call you: \"Acme Ltd\"." },
{ "tlsrpt.contact", T_TEXT, NULL, .kind = &kind_mailbox, AT(conf, tlsrpt.contact),
  .text = "Whom to ask about a report; its domain is the one that reports are submitted for." },
{ "tlsrpt.send", T_BOOL, "true", AT(conf, tlsrpt.send),
  .text = "Whether this gateway sends its reports. With several gateways on one queue, false on all but those "
	  "that may; each report is sent once all the same." },
{ "tlsrpt.delay", T_DURATION, "\"4h\"", .max = DAY, AT(conf, tlsrpt.delay_ms),
  .text = "How long after midnight (UTC) a report may be held back; each is for a random part of it, so that "
	  "receivers do not hear from everybody at once." },
{ "tlsrpt.rate", T_NUMBER, "600", .min = 1, .max = 100000, AT(conf, tlsrpt.rate),
  .text = "Domains a minute whose reports are begun." },
{ "tlsrpt.ca_file", T_TEXT, "(as tls.trust)", .kind = &kind_path, AT(conf, tlsrpt.ca_file),
  .text = "PEM file with the only authorities that receivers of reports by HTTPS are trusted by." },
{ "tlsrpt.verify", T_BOOL, "true", AT(conf, tlsrpt.verify),
  .text = "Whether a receiver of reports by HTTPS must have a certificate that verifies. RFC 8460 allows "
	  "false, so that domains hear of trouble with certificates; a report tells whom you send mail to." },
{ "tlsrpt.timeout", T_DURATION, "\"60s\"", .min = SECOND, .max = 5 * MINUTE, AT(conf, tlsrpt.timeout_ms),
  .text = "How long one report by HTTPS may take as a whole." },
{ "tlsrpt.allow_private", T_BOOL, "false", AT(conf, tlsrpt.allow_private),
  .text = "Send reports by HTTPS to loopback and private addresses, too, when the DNS says so; for tests and "
	  "closed networks. Otherwise a stranger's record could make this gateway speak to your own servers." },
{ "tlsrpt.dkim", T_SECTION, NULL,
  .text = "The DKIM signature of reports by mail; receivers may ignore reports without. All three, or none." },
{ "tlsrpt.dkim.domain", T_TEXT, NULL, .kind = &kind_domain, AT(conf, tlsrpt.dkim.domain),
  .text = "Who signs: the domain of contact or one above it." },
{ "tlsrpt.dkim.selector", T_TEXT, NULL, .kind = &kind_host, AT(conf, tlsrpt.dkim.selector),
  .text = "Under which name below _domainkey the public key is found." },
{ "tlsrpt.dkim.key", T_SECRET, NULL, AT(conf, tlsrpt.dkim.key),
  .text = "The private RSA key, a PEM file: a path, gw.secret \"file:PATH\", or gw.secret "
	  "\"env:NAME\" for a variable that holds the path or the key itself. Read at the start and with a "
	  "reload." },
{ "tlsrpt.keep", T_DURATION, "\"30d\"", .min = 2 * (int64_t)DAY, .max = 3650 * (int64_t)DAY,
  AT(conf, tlsrpt.keep_ms),
  .text = "How long the counts of a day are kept. A change needs a restart." },
{ "tlsrpt.max_domains", T_NUMBER, "10000", .min = 1, .max = 10000000, AT(conf, tlsrpt.max_domains),
  .text = "Domains that are counted in one day; the log says when more are left out. A change needs a "
	  "restart." },

{ "delivery", T_SECTION, NULL, .text = "Connections to other hosts." },
{ "delivery.ipv4", T_BOOL, "true", AT(conf, delivery.ipv4), .text = "Use IPv4." },
{ "delivery.ipv6", T_BOOL, "true", AT(conf, delivery.ipv6), .text = "Use IPv6." },
{ "delivery.allow_loopback", T_BOOL, "false", AT(conf, delivery.allow_loopback),
  .text = "Deliver to 127.0.0.0/8 and ::1 when the DNS says so; for tests." },
{ "delivery.connect", T_DURATION, "\"30s\"", .min = SECOND, .max = 10 * MINUTE,
  AT(conf, delivery.connect_ms), .text = "How long one address is tried." },
{ "delivery.reply", T_DURATION, "\"5m\"", .min = SECOND, .max = HOUR, AT(conf, delivery.reply_ms),
  .text = "How long the whole greeting, or the reply to one command, may take; 2m at most for the replies to "
      "STARTTLS and DATA." },
{ "delivery.handshake", T_DURATION, "\"1m\"", .min = SECOND, .max = HOUR, AT(conf, delivery.handshake_ms),
  .text = "How long a TLS handshake may take." },
{ "delivery.block", T_DURATION, "\"3m\"", .min = SECOND, .max = HOUR, AT(conf, delivery.block_ms),
  .text = "How long a server may take for 48 KiB of a message." },
{ "delivery.final", T_DURATION, "\"10m\"", .min = SECOND, .max = HOUR, AT(conf, delivery.final_ms),
  .text = "How long the reply to the end of a message may take. Less than 10m makes duplicates." },
{ "delivery.idle", T_DURATION, "\"5s\"", .max = 5 * MINUTE, AT(conf, delivery.idle_ms),
  .text = "How long a connection is kept for the next message." },
{ "delivery.max_hosts", T_NUMBER, "10", .min = 1, .max = 100, AT(conf, delivery.max_hosts),
  .text = "Hosts of an MX set that are looked up and tried in one attempt." },
{ "delivery.max_addrs", T_NUMBER, "5", .min = 1, .max = 100, AT(conf, delivery.max_addrs),
  .text = "Addresses of one host that are tried in one attempt." },
{ "delivery.connection_messages", T_NUMBER, "100", .min = 1, .max = 1000000,
  AT(conf, delivery.conn_messages), .text = "Messages sent over one connection." },

{ "limits", T_SECTION, NULL, .text = "What one peer, and all of them, may take of this machine." },
{ "limits.sessions", T_NUMBER, "10000", .min = 1, .max = 1000000, AT(conf, limits.sessions),
  .text = "Inbound connections; more get 421." },
{ "limits.sessions_per_address", T_NUMBER, "50", .min = 1, .max = 1000000,
  AT(conf, limits.sessions_per_address),
  .text = "The same for one address (IPv6: one /64 network)." },
{ "limits.memory", T_SIZE, "0", AT(conf, limits.memory),
  .text = "Memory of the daemon: at 75 % new sessions get 421, at 90 % MAIL gets 452; 0: what its "
	  "cgroup may use, or the machine has." },
{ "limits.errors", T_NUMBER, "20", .min = 1, .max = 10000, AT(conf, limits.errors),
  .text = "Refused commands in one session, then 421." },
{ "limits.soft_errors", T_NUMBER, "10", .max = 10000, AT(conf, limits.soft_errors),
  .text = "From so many refused commands on, the reply to each waits for limits.error_delay; 0: never." },
{ "limits.error_delay", T_DURATION, "\"1s\"", .max = MINUTE, AT(conf, limits.error_delay_ms),
  .text = "How long such a reply waits." },
{ "limits.junk", T_NUMBER, "100", .min = 1, .max = 10000, AT(conf, limits.junk),
  .text = "Commands in one session that get no mail through (NOOP, RSET, VRFY), then 421." },
{ "limits.command", T_DURATION, "\"300s\"", .min = SECOND, .max = HOUR, AT(conf, limits.command_ms),
  .text = "How long one whole command line may take." },
{ "limits.command_stress", T_DURATION, "\"10s\"", .min = SECOND, .max = HOUR,
  AT(conf, limits.command_stress_ms),
  .text = "The same while more than 75 % of limits.sessions are in use." },
{ "limits.handshake", T_DURATION, "\"30s\"", .min = SECOND, .max = 5 * MINUTE,
  AT(conf, limits.handshake_ms), .text = "How long a TLS handshake may take." },
{ "limits.session", T_DURATION, "\"1h\"", .min = SECOND, .max = DAY, AT(conf, limits.session_ms),
  .text = "How long a session may last." },
{ "limits.content", T_DURATION, "\"60s\"", .min = SECOND, .max = HOUR, AT(conf, limits.content_ms),
  .text = "Each time it is over, content must have come with limits.content_rate." },
{ "limits.content_rate", T_NUMBER, "100", .min = 1, .max = 1000000, AT(conf, limits.content_rate),
  .text = "Octets a second that content comes with at least; slower sessions get 421." },
{ "limits.shutdown", T_DURATION, "\"30s\"", .max = 10 * MINUTE, AT(conf, limits.shutdown_ms),
  .text = "How long sessions and deliveries under way may take to end when the daemon stops." },
{ "limits.received_hops", T_NUMBER, "100", .min = 100, .max = 1000, AT(conf, limits.received_hops),
  .text = "Received fields; a message with more is a loop and refused (RFC 5321 section 6.3)." },

{ "policy", T_SECTION, NULL, .text = "The Lua policies." },
{ "policy.load", T_TEXTS, NULL, .kind = &kind_path, ATN(conf, policy.load, policy.nload),
  .text = "Policy files, in the order in which their handlers run." },
{ "policy.levels", T_LEVELS, NULL, ATN(conf, policy.levels, policy.nlevels),
  .text = "Other levels for handlers, by name: [\"geo.block\"] = \"advisory\", \"normal\" or "
	  "\"mandatory\"." },
{ "policy.options", T_OPTIONS, NULL, AT(conf, policy.options),
  .text = "Options of ready-made policies, by the policy's name: subject_tag = { strip = true }. What there is "
	  "says sallyport policy options." },
{ "policy.geo", T_SECTION, NULL, .text = "Databases in the MaxMind format for gw.geo, hop.country and hop.asn. Put a "
	  "new file in the place of an old one with rename; it is read with the next reload." },
{ "policy.geo.country", T_TEXT, NULL, .kind = &kind_path, AT(conf, policy.geo_country),
  .text = "Country by address, such as GeoLite2-Country.mmdb." },
{ "policy.geo.asn", T_TEXT, NULL, .kind = &kind_path, AT(conf, policy.geo_asn),
  .text = "Network by address, such as GeoLite2-ASN.mmdb." },
{ "policy.limits", T_SECTION, NULL, .text = "What one call of a handler may use." },
{ "policy.limits.instructions", T_NUMBER, "1000000", .min = 10000, .max = 1000000000,
  AT(conf, policy.instructions), .text = "Lua instructions." },
{ "policy.limits.wall", T_DURATION, "\"10s\"", .min = 10, .max = 5 * MINUTE,
  AT(conf, policy.wall_ms), .text = "Time, waits included." },
{ "policy.limits.memory", T_SIZE, "\"64M\"", .min = MIB, .max = 4 * GIB, AT(conf, policy.memory),
  .text = "Memory of one worker's Lua state." },
{ "policy.auth_servers", T_TEXTS, NULL, .kind = &kind_host, ATN(conf, policy.auth_servers, policy.nauth_servers),
  .text = "Names of servers (authserv-id, RFC 8601) whose fields Authentication-Results are message.auth_results. Your "
	  "first server must remove fields with these names from what comes in, or anybody can write one." },
{ "policy.network", T_SECTION, NULL, .text = "What policies may reach." },
{ "policy.network.dns", T_BOOL, "false", AT(conf, policy.dns), .text = "DNS look-ups." },
{ "policy.network.http", T_TEXTS, NULL, .kind = &kind_origin, ATN(conf, policy.http, policy.nhttp),
  .text = "What URLs of gw.http may begin with: \"https://cmdb.acme.example/\", "
	  "\"https://hr.acme.example:8443/api/\"; the host is a name." },
{ "policy.network.http_ca_file", T_TEXT, "(as tls.trust)", .kind = &kind_path, AT(conf, policy.http_ca_file),
  .text = "PEM file with the only authorities that those servers are trusted by." },
{ "policy.drain", T_DURATION, "\"10m\"", .max = 7 * DAY, AT(conf, policy.drain_ms),
  .text = "How long sessions may go on that began with a generation which is not active any more; then they get "
	  "421 after the command that is under way." },
{ "policy.errors_per_minute", T_NUMBER, "60", .max = 1000, AT(conf, policy.errors_per_minute),
  .text = "More errors than this of one handler in a minute, in all workers together, mark the generation as "
	  "degraded; 0: never." },
{ "policy.auto_rollback", T_BOOL, "false", AT(conf, policy.auto_rollback),
  .text = "Whether a generation that is degraded within 10 minutes of its activation is replaced by the one before "
	  "it." },
{ "policy.test_on_load", T_BOOL, "false", AT(conf, policy.test_on_load),
  .text = "Whether sallyport policy load runs the tests of the directory (tests/*_test.lua) before it asks the "
	  "daemon, and loads nothing when one fails or there is none. The configuration of that directory decides." },
{ "policy.canary", T_REFUSED, NULL,
  .text = "canaries are begun with sallyport policy canary; remove this setting" },
{ "policy.grants", T_MAP, NULL, ITEMS(conf, policy.grants, policy.ngrants, conf_grant),
  .after = grant_after,
  .text = "Permission for policies to send with less than was asked for; each has a name of your "
	  "choice, and using one for a sender's REQUIRETLS departs from RFC 8689." },
{ "policy.grants.*.relaxes", T_RELAXES, NULL, AT(conf_grant, relaxes), .flags = S_REQUIRED,
  .choices = conf_level_names, .text = "The level that may be left." },
{ "policy.grants.*.to", T_CHOICE, NULL, AT(conf_grant, to), .flags = S_REQUIRED,
  .choices = conf_level_names, .text = "The level that is still demanded." },
{ "policy.grants.*.domains", T_TEXTS, NULL, .kind = &kind_pattern,
  ATN(conf_grant, domains, ndomains),
  .text = "Next-hop domains it is for, as in domains.*.match; this or routes is needed." },
{ "policy.grants.*.routes", T_TEXTS, NULL, .kind = &kind_name, ATN(conf_grant, routes, nroutes),
  .text = "Names in routes it is for." },
{ "policy.grants.*.owner", T_TEXT, NULL, .kind = &kind_mailbox, AT(conf_grant, owner),
  .flags = S_REQUIRED, .text = "Who answers for it." },
{ "policy.grants.*.expires", T_DATE, NULL, AT(conf_grant, expires_ms), .flags = S_REQUIRED,
  .text = "Last day, in UTC, on which it is valid." },
{ "policy.grants.*.max_per_day", T_NUMBER, "0", .max = 1000000000, AT(conf_grant, max_per_day),
  .text = "How often it may be used in a day; 0: no limit." },

{ "canary", T_REFUSED, NULL,
  .text = "canaries are begun with sallyport policy canary; remove this section" },

{ "dsn", T_SECTION, NULL, .text = "Notices about mail (RFC 3464)." },
{ "dsn.from", T_TEXT, "(Mail Delivery and identity.postmaster)", .kind = &kind_from,
  AT(conf, dsn.from), .text = "The From field." },
{ "dsn.return_content", T_CHOICE, "\"headers\"", WORDS("headers", "full"),
  AT(conf, dsn.return_full),
  .text = "How much of the message a notice carries when the sender did not say; mail that was sent "
	  "with REQUIRETLS never has more than its headers returned." },
{ "dsn.languages", T_TEXTS, "[\"en\"]", .kind = &kind_language, AT(conf, dsn.languages),
  .flags = S_SOME, .text = "Languages of the text, in order." },
{ "dsn.templates", T_TEXT, NULL, .kind = &kind_path, AT(conf, dsn.templates),
  .text = "Directory of texts that replace the built-in ones." },
{ "dsn.protect", T_CHOICE, "\"fallback\"", WORDS("fallback", "redact", "strict"),
  AT(conf, dsn.protect),
  .text = "Notices about REQUIRETLS mail: fallback sends with REQUIRETLS where the way back has it and "
	  "redacted otherwise, redact always redacts, strict keeps them until REQUIRETLS can be met." },

{ "log", T_SECTION, NULL, .text = "What happened." },
{ "log.file", T_TEXT, "(standard error)", .kind = &kind_path, AT(conf, log.file),
  .text = "The log." },
{ "log.format", T_CHOICE, "\"text\"", WORDS("text", "json"), AT(conf, log.json),
  .text = "Form of its lines." },
{ "log.level", T_CHOICE, "\"info\"", WORDS("debug", "info", "warn", "error"), AT(conf, log.level),
  .text = "The least important lines that are written." },
{ "log.json_file", T_TEXT, NULL, .kind = &kind_path, AT(conf, log.json_file),
  .text = "File that gets every line as a JSON object, in addition to the log." },
{ "log.journal", T_TEXT, NULL, .kind = &kind_path, AT(conf, log.journal),
  .text = "File that gets what policies decided and what they looked at, header fields and parts of bodies "
	  "included, so that sallyport policy simulate can do it again (doc/journal.md). A change takes effect with a "
	  "restart." },
{ "log.journal_body", T_SIZE, "0", .max = 64 * KIB, AT(conf, log.journal_body),
  .text = "So much of each body is in the journal even when no handler looked at it." },
{ "log.audit", T_TEXT, NULL, .kind = &kind_path, AT(conf, log.audit),
  .text = "Has no effect but a warning: evidence and audit rows are in queue.path, in one hash chain." },

{ "trace", T_SECTION, NULL, .text = "Records of what the policies' handlers did with each message." },
{ "trace.ring", T_NUMBER, "1000", .max = 100000, AT(conf, trace.ring),
  .text = "Records that each worker has in memory; 0: none, and no times in the metrics of handlers." },
{ "trace.keep", T_DURATION, "\"1w\"", .max = INT64_C(400) * DAY, AT(conf, trace.keep_ms),
  .text = "How long the records of messages for which a handler said or did something are stored in the queue's "
	  "database; \"0s\": none are stored. A change takes effect with a restart." },
{ "trace.max_rows", T_NUMBER, "100000", .min = 1000, .max = 100000000, AT(conf, trace.rows),
  .text = "Stored records; the oldest make room. A change takes effect with a restart." },
{ "trace.sample", T_NUMBER, "0", .max = 1000000, AT(conf, trace.sample),
  .text = "One message in so many is stored whatever became of it; 1: all, 0: none." },
};
const size_t conf_schema_n = NELEMS(conf_schema);

const char *
setting_below(const struct setting *s, const char *prefix)
{
	size_t n = strlen(prefix);
	const char *rest = s->path;

	if (n > 0) {
		if (strncmp(rest, prefix, n) != 0 || rest[n] != '.')
			return NULL;
		rest += n + 1;
	}
	return strchr(rest, '.') == NULL ? rest : NULL;
}

const char *
setting_type_name(const struct setting *s)
{
	if (s->type == T_TEXT)
		return s->choices != NULL ? "choice" : s->kind->name;
	return conf_types[s->type].name;
}
