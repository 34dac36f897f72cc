/* Wrong configurations and the exact lines that tell of them. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "conf/conf_int.h"

#define HEAD "return gw.config { identity = { hostname = 'mx1.acme.example' }, "
#define TLS1 "tls = { identities = { mx1 = { cert = 'c.pem', key = 'k.pem' } } }, "
#define IN "listeners = { inbound = { bind = '0.0.0.0:25', "
#define MX "routes = { out = { via = 'mx' } }, "
#define GRANT "relaxes = 'requiretls', to = 'verify', owner = 'a@b.example', expires = '2999-01-01'"

#define PW "password = gw.secret 'file:pw'"
#define CRED(text) "credentials = { p = { " text " } }"
#define SMART "routes = { out = { via = 'smtp.p.example:587', "

static const struct wrong_case {
	const char *text;	/* between HEAD and the closing brace */
	const char *want;	/* lines, without the last newline */
} wrongs[] = {
	/* unknown and missing */
	{ "hostname = 'x'", "hostname: unknown setting" },
	{ "listener = {}", "listener: unknown setting; did you mean \"listeners\"?" },
	{ TLS1 IN "tls = 'mx1', requirtls = 'announce' } }",
	  "listeners.inbound.requirtls: unknown setting; did you mean \"requiretls\"?" },
	{ "queue = { maxage = '5d' }", "queue.maxage: unknown setting; did you mean \"max_age\"?" },
	{ "['log.file'] = 'x'", "[\"log.file\"]: unknown setting" },
	{ "listeners = { a = { role = 'mx' } }", "listeners.a.bind: is missing" },
	{ "listeners = { a = { bind = {} } }", "listeners.a.bind: at least one is expected" },
	{ "tls = { identities = { a = { cert = 'c' } } }", "tls.identities.a.key: is missing" },
	{ "routes = { out = { tls = 'may' } }", "routes.out.via: is missing" },
	{ MX "domains = { { match = '*' } }", "domains[1].route: is missing" },
	{ MX "domains = { { route = 'out' } }", "domains[1].match: is missing" },
	{ "tlsrpt = { contact = 'a@b.example' }", "tlsrpt: organization and contact are needed both, or none of them" },
	{ "tlsrpt = { dkim = { domain = 'b.example', selector = 's' } }", "tlsrpt: dkim needs domain, selector and key" },
	{ "tlsrpt = { organization = 'B', contact = 'a@xb.example', dkim = { domain = 'b.example', selector = 's', "
	  "key = 'k' } }", "tlsrpt: dkim: b.example is not the domain of contact, nor one above it" },
	{ "tlsrpt = { organization = 'B', contact = 'a@b.example', dkim = { domain = 'a.b.example', selector = 's', "
	  "key = 'k' } }", "tlsrpt: dkim: a.b.example is not the domain of contact, nor one above it" },
	/* wrong types */
	{ "queue = { max_age = 5 }",
	  "queue.max_age: a duration such as \"5d\" is expected, got number 5" },
	{ "queue = { max_age = '5 days' }",
	  "queue.max_age: a duration such as \"5d\" is expected, got text \"5 days\"" },
	{ "queue = { max_age = '5d\\0' }", "queue.max_age: the text is not valid UTF-8 or has a NUL octet in it" },
	{ "queue = { max_age = '\\xff' }", "queue.max_age: the text is not valid UTF-8 or has a NUL octet in it" },
	{ "queue = 'fast'", "queue: a table of settings is expected, got text \"fast\"" },
	{ "queue = { retry = { '5m', 7 } }",
	  "queue.retry[2]: a duration such as \"5d\" is expected, got number 7" },
	{ "queue = { retry = {} }", "queue.retry: at least one is expected" },
	{ "queue = { min_free = 'much' }",
	  "queue.min_free: a share such as \"10%\" is expected, got text \"much\"" },
	{ "queue = { max_bytes = '10 GB' }",
	  "queue.max_bytes: a size such as \"50M\" is expected, got text \"10 GB\"" },
	{ "queue = { concurrency = '20' }",
	  "queue.concurrency: a whole number is expected, got text \"20\"" },
	{ "queue = { concurrency = 1.5 }",
	  "queue.concurrency: a whole number is expected, got number 1.5" },
	{ "queue = { concurrency = 1/0 }", "queue.concurrency: the number is not finite" },
	{ "delivery = { ipv6 = 'yes' }", "delivery.ipv6: true or false is expected, got text \"yes\"" },
	{ "listeners = { 'a' }", "listeners: a table of named tables is expected, got a list" },
	{ "listeners = { a = true }", "listeners.a: a table of settings is expected, got true" },
	{ "domains = { match = '*' }", "domains: a list of tables is expected, got a table of settings" },
	{ "log = { file = function() end }", "log.file: a value is expected, got a function" },
	{ "log = { file = gw.secret 'file:x' }", "log.file: a path is expected, got a secret" },
	{ "version = 2", "version: 1, the only version of this format, is expected, got number 2" },
	{ "networks = { office = { 5 } }",
	  "networks.office[1]: a network such as \"10.0.0.0/8\" is expected, got number 5" },
	/* mixed and strange tables */
	{ "dsn = { languages = { 'en', x = 'de' } }", "dsn.languages: a list with named settings or gaps in it" },
	{ "dsn = { languages = { 'en', nil, 'de' } }", "dsn.languages: a list with named settings or gaps in it" },
	{ "dsn = { [true] = 1 }", "dsn: names of settings are texts" },
	/* ranges and choices */
	{ "service = { workers = 0 }", "service.workers: 0 is out of range, 1 to 64 is allowed" },
	{ "service = { workers = 'all' }",
	  "service.workers: \"cores\" or a number is expected, got text \"all\"" },
	{ "queue = { max_age = '1s' }", "queue.max_age: 1s is out of range, 1m to 30d is allowed" },
	{ "queue = { max_messages = -1 }", "queue.max_messages: -1 is out of range, 0 or more is allowed" },
	{ "queue = { min_free = '95%' }", "queue.min_free: 95% is out of range, 0% to 90% is allowed" },
	{ "policy = { limits = { memory = '1K' } }",
	  "policy.limits.memory: 1K is out of range, 1M to 4G is allowed" },
	{ IN "max_size = 10 } }", "listeners.inbound.max_size: 10 is out of range, 64K to 2G is allowed" },
	{ IN "max_rcpts = 50 } }",
	  "listeners.inbound.max_rcpts: 50 is out of range, 100 to 50000 is allowed" },
	{ IN "role = 'msa' } }",
	  "listeners.inbound.role: \"mx\", \"relay\" or \"reinject\" is expected, got text \"msa\"" },
	{ "tls = { min_version = '1.0' }", "tls.min_version: \"1.2\" or \"1.3\" is expected, got text \"1.0\"" },
	{ "tls = { min_version = 1.2 }", "tls.min_version: \"1.2\" or \"1.3\" is expected, got number 1.2" },
	{ "tls = { dane = 'on' }", "tls.dane: \"off\" or \"auto\" is expected, got text \"on\"" },
	{ "log = { level = 'loud' }",
	  "log.level: \"debug\", \"info\", \"warn\" or \"error\" is expected, got text \"loud\"" },
	/* names and addresses */
	{ "dsn = { from = 'a\\nb' }", "dsn.from: a text has at most 4096 octets, none of them NUL, CR or LF" },
	{ "dsn = { from = 'Mail, Delivery <a@b.example>' }", "dsn.from: an address such as \"Mail Delivery "
	  "<postmaster@acme.example>\" is expected, got text \"Mail, Delivery <a@b.example>\"" },
	{ "listeners = { ['a b'] = { bind = '127.0.0.1:25' } }",
	  "listeners[\"a b\"]: a name has up to 64 letters, digits, \"_\", \"-\" and \".\"" },
	{ "dns = { forward = 'resolver' }", "dns.forward: a numeric address such as \"127.0.0.1\" or "
	  "\"127.0.0.1@53\" is expected, got text \"resolver\"" },
	{ "dns = { stub = { ['corp.example'] = {} } }",
	  "dns.stub[\"corp.example\"]: at least one server is expected" },
	{ "dns = { stub = { corp = { servers = '10.0.0.1', secure = true } } }",
	  "dns.stub.corp.secure: unknown setting; there are servers and insecure" },
	{ MX "domains = { { match = { 'a.example', '*x' }, route = 'out' } }",
	  "domains[1].match[2]: a domain such as \"acme.example\", \"*.acme.example\" or \"*\" is expected, "
	  "got text \"*x\"" },
	/* routes */
	{ "routes = { out = { via = 'ex1:0' } }", "routes.out.via: the port after \":\" is a number from 1 to 65535" },
	{ "routes = { out = { via = { '2001:db8::1' } } }",
	  "routes.out.via[1]: an IPv6 address stands in brackets: \"[2001:db8::1]:25\"" },
	{ "routes = { out = { via = {} } }", "routes.out.via: \"mx\" or a list of 1 to 100 hosts is expected, got {}" },
	{ "routes = { mx = { via = 'mx' } }", "routes.mx: the name \"mx\" is taken: it means the MX records" },
	{ "routes = { out = { via = 'ex1', domain = 'a.example' } }", "routes.out.domain: is only for via = \"mx\"" },
	{ "routes = { out = { via = 'mx', assert_secure_lookup = true } }", "routes.out.assert_secure_lookup: "
	  "is only for a list of hosts, not for via = \"mx\"" },
	{ "routes = { out = { via = 'mx', assert_propagate = true } }", "routes.out.assert_propagate: "
	  "with via = \"mx\" would be about all hosts; name your domain in domain" },
	{ "routes = { out = { via = '192.0.2.8', tls = 'verify' } }", "routes.out.names: "
	  "192.0.2.8 is an address; say which name or pin its certificate has" },
	{ "routes = { out = { via = 'mx', pins = 'sha256:12' } }",
	  "routes.out.pins: \"sha256:\" and 64 hexadecimal digits is expected, got text \"sha256:12\"" },
	{ "routes = { out = { via = 'mx', ipv4 = false, ipv6 = false } }",
	  "routes.out.ipv6: ipv4 and ipv6 are both off; nothing could be sent" },
	{ "routes = { out = { via = 'mx', source = '::1', ipv6 = false } }",
	  "routes.out.source: ::1 is of a kind that this route does not use" },
	{ MX "domains = { { match = '*', route = 'inside' } }", "domains[1].route: no route \"inside\"; there are \"out\"" },
	{ "domains = { { match = '*', route = 'out' } }", "domains[1].route: no route \"out\"; routes is empty" },
	/* listeners */
	{ TLS1 IN "tls = 'mx2' } }", "listeners.inbound.tls: no identity \"mx2\"; there are \"mx1\"" },
	{ IN "tls = 'mx2' } }", "listeners.inbound.tls: no identity \"mx2\"; tls.identities is empty" },
	{ IN "requiretls = 'announce' } }", "listeners.inbound.requiretls: cannot be announced without TLS; "
	  "name one of tls.identities in tls" },
	{ TLS1 IN "tls = 'mx1', starttls = 'off', requiretls = 'announce' } }",
	  "listeners.inbound.requiretls: cannot be announced with starttls = \"off\"" },
	{ IN "starttls = 'required' } }",
	  "listeners.inbound.starttls: needs a certificate; name one of tls.identities in tls" },
	{ IN "implicit_tls = true } }",
	  "listeners.inbound.implicit_tls: needs a certificate; name one of tls.identities in tls" },
	{ TLS1 IN "tls = 'mx1', implicit_tls = true, starttls = 'offer' } }",
	  "listeners.inbound.starttls: is not possible with implicit_tls; remove one" },
	{ IN "role = 'relay' } }", "listeners.inbound.clients: role \"relay\" needs to know who may relay" },
	{ IN "role = 'reinject' } }",
	  "listeners.inbound.clients: role \"reinject\" on 0.0.0.0:25 needs to know who may connect" },
	{ IN "peer = 'filter' } }", "listeners.inbound.peer: is for role \"reinject\" only" },
	{ "networks = { office = '10.0.0.0/8' }, " IN "clients = 'offce' } }",
	  "listeners.inbound.clients: no network \"offce\"; there are \"office\"" },
	{ "listeners = { a = { bind = '127.0.0.1:25' }, b = { bind = '127.0.0.1:25' } }",
	  "listeners.b.bind: 127.0.0.1:25 is bound already by listeners.a" },
	/* TLS, grants, policy */
	{ "tls = { trust = 'file' }", "tls: trust = \"file\" needs ca_file" },
	{ "tls = { trust = 'system', ca_file = 'x' }",
	  "tls: trust = \"system\" and ca_file exclude each other; remove one" },
	{ "tls = { tls_required_names = { 'a b' } }",
	  "tls.tls_required_names[1]: a header field name is expected, got text \"a b\"" },
	{ "policy = { grants = { g = { " GRANT " } } }", "policy.grants.g: domains or routes must say what it is for" },
	{ "policy = { grants = { g = { " GRANT ", routes = 'x' } } }",
	  "policy.grants.g.routes: no route \"x\"; routes is empty" },
	{ "policy = { grants = { g = { domains = 'x.example', relaxes = 'verify', to = 'verify', "
	  "owner = 'a@b.example', expires = '2999-01-01' } } }",
	  "policy.grants.g: \"to\" is a lower level than \"relaxes\"" },
	{ "policy = { grants = { g = { domains = 'x.example', relaxes = 'verify', to = 'may', "
	  "owner = 'secops', expires = '2999-02-29' } } }",
	  "policy.grants.g.owner: an address such as \"postmaster@acme.example\" is expected, got text \"secops\"\n"
	  "policy.grants.g.expires: a date such as \"2027-06-30\" is expected, got text \"2999-02-29\"" },
	{ "invariants = { { at_least = 'verify' } }", "invariants[1].domains: is missing" },
	{ "invariants = { { domains = 'b.example' } }", "invariants[1].at_least: is missing" },
	{ "invariants = { { domains = 'b.example', at_least = 'may' } }",
	  "invariants[1]: at_least = \"may\" asks for nothing" },
	{ "invariants = { { domains = '*.b.example', at_least = 'secure' } }, "
	  "policy = { grants = { g = { " GRANT ", domains = '*.x.b.example' } } }",
	  "policy.grants.g: would let mail to \"*.b.example\" go with less than invariants[1] asks for (\"secure\")" },
	{ TLS1 IN "tls = 'mx1', requiretls = 'announce' } }, policy = { grants = { g = { " GRANT
	  ", domains = '*' } } }", "policy.grants.g.domains: \"*\" sets REQUIRETLS aside for all mail while "
	  "listeners.inbound announces it" },
	{ "policy = { levels = { ['geo.block'] = 'loud' } }", "policy.levels[\"geo.block\"]: \"advisory\", "
	  "\"normal\" or \"mandatory\" is expected, got text \"loud\"" },
	/* policies of our own domains */
	{ "sts_serve = { domains = { ['a.example'] = { mx = 'm.a.example' } } }",
	  "sts_serve.domains[\"a.example\"].mode: is missing" },
	{ "sts_serve = { domains = { ['a.example'] = { mode = 'Enforce', mx = 'm.a.example' } } }",
	  "sts_serve.domains[\"a.example\"].mode: \"none\", \"testing\" or \"enforce\" is expected, got text \"Enforce\"" },
	{ "sts_serve = { domains = { ['a.example'] = { mode = 'testing' } } }",
	  "sts_serve.domains[\"a.example\"]: mx is missing: which hosts take mail for the domain?" },
	{ "sts_serve = { domains = { ['a.example'] = { mode = 'enforce', mx = 'a.*.example', max_age = '366d' } } }",
	  "sts_serve.domains[\"a.example\"].max_age: 366d is out of range, 1h to 8766h is allowed\n"
	  "sts_serve.domains[\"a.example\"].mx: a host name such as \"mx1.acme.example\" or \"*.acme.example\" is "
	  "expected, got text \"a.*.example\"\n"
	  "sts_serve.domains[\"a.example\"]: mx is missing: which hosts take mail for the domain?" },
	{ "sts_serve = { domains = { ['*.example'] = { mode = 'none' } } }",
	  "sts_serve.domains[\"*.example\"]: the name is a domain, such as [\"acme.example\"]" },
	{ "sts_serve = { domains = { ['a.example'] = { mode = 'none' }, ['A.example.'] = { mode = 'none' } } }",
	  "sts_serve.domains[\"a.example\"]: stands there twice" },
	{ "sts_serve = { domains = { ['a.example'] = { mode = 'none', reports = 'mailto:a@b.example;x' } } }",
	  "sts_serve.domains[\"a.example\"].reports: a URI such as \"mailto:tls-reports@acme.example\" or "
	  "\"https://acme.example/tls\" is expected, got text \"mailto:a@b.example;x\"" },
	{ "sts_serve = { bind = '0.0.0.0:443', domains = { ['a.example'] = { mode = 'none' } } }",
	  "sts_serve: needs a certificate; name some of tls.identities in tls" },
	{ TLS1 "sts_serve = { bind = '0.0.0.0:443', tls = 'web' }",
	  "sts_serve.tls: no identity \"web\"; there are \"mx1\"" },
	{ TLS1 IN "tls = 'mx1' } }, sts_serve = { tls = 'mx1', bind = { '0.0.0.0:25', 'unix:x' } }",
	  "sts_serve.bind: 0.0.0.0:25 is bound already by listeners.inbound\n"
	  "sts_serve.bind: a numeric address with port is expected, got unix:/srv/gw/x" },
	{ IN "auth = { 'PLAIN' } } }", "listeners.inbound.auth: would never be offered: the listener has no TLS, and "
	  "auth_in_clear is not set" },
	{ TLS1 IN "tls = 'mx1', auth = { 'plain', 'LOGIN' } } }",
	  "listeners.inbound.auth: \"plain\" is no mechanism of this version: PLAIN, EXTERNAL\n"
	  "listeners.inbound.auth: \"LOGIN\" is no mechanism of this version: PLAIN, EXTERNAL" },
	{ TLS1 IN "tls = 'mx1', auth = { 'EXTERNAL' }, client_certs = 'off' } }",
	  "listeners.inbound.auth: EXTERNAL needs client_certs = \"ask\"" },
	/* logging in at next hops */
	{ CRED("user = 'a'"), "credentials.p.password: is missing" },
	{ CRED("user = 'a', password = 'walrus'"), "credentials.p.password: a password does not stand in the configuration: "
	  "gw.secret \"file:PATH\", or gw.secret \"env:NAME\"" },
	{ CRED("user = '', " PW), "credentials.p: user is a text of 1 to 255 octets without control characters" },
	{ CRED("user = 'a', hosts = 'smtp.p.example:587', " PW), "credentials.p.hosts: a host such as "
	  "\"smtp.provider.example\", without a port is expected, got text \"smtp.p.example:587\"" },
	{ SMART "auth = 'p' } }", "routes.out.auth: the configuration has no credentials.p" },
	{ CRED("user = 'a', " PW) ", " SMART "tls = 'verify', auth = 'q' } }",
	  "routes.out.auth: the configuration has no credentials.q; nearest: p" },
	{ CRED("user = 'a', " PW) ", " SMART "tls = 'encrypt', auth = 'p' } }", "routes.out.auth: a login wants tls = \"verify\" "
	  "or more: a password goes to nobody whose certificate was not verified" },
	{ CRED("user = 'a', " PW) ", " SMART "tls = 'verify', waivable = true, auth = 'p' } }", "routes.out.auth: waivable has no "
	  "meaning with a login, which no TLS-Required: No may have in clear" },
	{ CRED("user = 'a', " PW) ", routes = { out = { via = 'mx', domain = 'p.example', tls = 'secure', auth = 'p' } }",
	  "routes.out.auth: a login wants a list of hosts in via; MX records may not say who is told a password" },
	{ CRED("user = 'a', hosts = 'smtp.q.example', " PW) ", " SMART "tls = 'verify', auth = 'p' } }",
	  "routes.out.auth: credentials.p is not for smtp.p.example; list it in credentials.p.hosts" },
	{ TLS1 IN "tls = 'mx1', auth_in_clear = true } }", "listeners.inbound.auth_in_clear: means nothing without auth" },
	{ "tables = { a = {}, b = { csv = 'x', cdb = 'y' }, c = { csv = 'x', columns = { l = 'levle', m = 'file', n = 1 } } }",
	  "tables.a: csv, cdb, json or sqlite must say which file it is\n"
	  "tables.b: only one of csv, cdb, json and sqlite is possible\n"
	  "tables.c.columns.l: there is no type \"levle\"; did you mean \"level\"?\n"
	  "tables.c.columns.m: a type such as \"text\", \"integer\", \"list\" or \"domain\" is expected, got text \"file\"\n"
	  "tables.c.columns.n: a type such as \"text\", \"integer\", \"list\" or \"domain\" is expected, got number 1" },
	{ "tables = { a = { csv = 'x', reload = 'often', index = { '' } } }",
	  "tables.a.index[1]: the name of a column is expected, got text \"\"\n"
	  "tables.a.reload: \"config\" or \"watch\" is expected, got text \"often\"" },
	{ "tables = { a = { sqlite = 'x' }, b = { csv = 'x', query = 'select' }, c = { sqlite = 'x', query = 'y', key = 'z' } }",
	  "tables.a: sqlite needs query, a statement with ?1 for the key\n"
	  "tables.b: query is for sqlite only\n"
	  "tables.c: key, columns, index and reload mean nothing with sqlite; remove them" },
	{ "databases = { a = {} }", "databases.a.file: is missing" },
	{ "policy = { network = { http = { 'http://x.example/', 'https://10.0.0.1/', 'https://x.example/?a', 'https://a@x.example/' } } }",
	  "policy.network.http[1]: the start of a URL such as \"https://cmdb.acme.example/\" is expected, got text \"http://x.example/\"\n"
	  "policy.network.http[2]: the start of a URL such as \"https://cmdb.acme.example/\" is expected, got text \"https://10.0.0.1/\"\n"
	  "policy.network.http[3]: the start of a URL such as \"https://cmdb.acme.example/\" is expected, got text \"https://x.example/?a\"\n"
	  "policy.network.http[4]: the start of a URL such as \"https://cmdb.acme.example/\" is expected, got text \"https://a@x.example/\"" },
	/* later versions */
	{ "policy = { canary = {} }",
	  "policy.canary: canaries are begun with sallyport policy canary; remove this setting" },
	{ "canary = { percent = 5 }",
	  "canary: canaries are begun with sallyport policy canary; remove this section" },
	/* several at once, in the order of the manual page */
	{ "queue = { max_age = 1, retry = 2 }, log = { level = 3 }",
	  "queue.max_age: a duration such as \"5d\" is expected, got number 1\n"
	  "queue.retry: a duration such as \"5d\" is expected, got number 2\n"
	  "log.level: \"debug\", \"info\", \"warn\" or \"error\" is expected, got number 3" },
};

/* Whole files. */
static const struct wrong_case files[] = {
	{ "return gw.config { version = 1 }", "identity.hostname: is missing" },
	{ "return gw.config {}", "identity.hostname: is missing" },
	{ "local t = {}; t.a = t; return gw.config { t = t }",
	  "t.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a: tables are nested too deeply here" },
	{ "return gw.config { identity = { hostname = 'mx_1' } }", "identity.hostname: a host name such as "
	  "\"mx1.acme.example\" is expected, got text \"mx_1\"" },
	{ "return gw.config { identity = { hostname = '192.0.2.1' } }", "identity.hostname: a host name such as "
	  "\"mx1.acme.example\" is expected, got text \"192.0.2.1\"" },
	{ "return gw.config {\n  version = 1,,\n}", "gateway.lua:2: unexpected symbol near ','" },
	{ "\n\nreturn gw.config { tls = mx1 }", "gateway.lua:3: \"mx1\" is not defined; a text stands in quotes" },
	{ "version = 1", "gateway.lua: must end with: return gw.config { ... }" },
	{ "return { version = 1 }", "gateway.lua: must end with: return gw.config { ... }" },
	{ "gw.config {} return {}", "gateway.lua: must end with: return gw.config { ... }" },
	{ "gw.config {}\nreturn gw.config {}", "gateway.lua:2: gw.config is called once" },
	{ "return gw.config(5)", "gateway.lua:1: bad argument #1 to 'config' (table expected, got number)" },
	{ "return gw.config { x = gw.secret 'plain' }",
	  "gateway.lua:1: gw.secret takes \"file:PATH\" or \"env:NAME\"" },
	{ "error('own words')", "gateway.lua:1: own words" },
	{ "error({})", "gateway.lua: ended with an error that is a table" },
};

static void
must_refuse(const struct wrong_case *w, const char *text)
{
	char *want = xasprintf("%s\n", w->want), *errors = NULL;
	struct conf *c = conf_load_text(text, strlen(text), "gateway.lua", "/srv/gw", false, &errors);

	ck_assert_msg(c == NULL, "accepted: %s", text);
	ck_assert_msg(errors != NULL && strcmp(errors, want) == 0, "%s\nwant: %s got: %s", text, want,
	    errors == NULL ? "nothing" : errors);
	free(errors);
	free(want);
}

START_TEST(wrong)
{
	char *text = xasprintf("%s%s }", HEAD, wrongs[_i].text);

	must_refuse(&wrongs[_i], text);
	free(text);
}
END_TEST

START_TEST(wrong_file)
{
	must_refuse(&files[_i], files[_i].text);
}
END_TEST

/* What a configuration file must not be able to do, and how it is told so. */
static const struct wrong_case escapes[] = {
	{ "io.open('/etc/passwd')", "gateway.lua:1: io is not available in the configuration" },
	{ "os.getenv('HOME')", "gateway.lua:1: os is not available in the configuration" },
	{ "load('return 1')()", "gateway.lua:1: load is not available in the configuration" },
	{ "loadfile('/etc/passwd')", "gateway.lua:1: loadfile is not available in the configuration" },
	{ "dofile('/etc/passwd')", "gateway.lua:1: dofile is not available in the configuration" },
	{ "require 'os'", "gateway.lua:1: require is not available in the configuration" },
	{ "package.loadlib('x', 'y')", "gateway.lua:1: package is not available in the configuration" },
	{ "debug.getregistry()", "gateway.lua:1: debug is not available in the configuration" },
	{ "pcall(error)", "gateway.lua:1: pcall is not available in the configuration" },
	{ "setmetatable({}, {})", "gateway.lua:1: setmetatable is not available in the configuration" },
	{ "getmetatable('').__index.x = 1", "gateway.lua:1: getmetatable is not available in the configuration" },
	{ "collectgarbage('stop')", "gateway.lua:1: collectgarbage is not available in the configuration" },
	{ "print(_G)", "gateway.lua:1: print is not available in the configuration" },
	{ "local x = math.random()", "gateway.lua:1: attempt to call a nil value (field 'random')" },
	{ "local x = ('x'):dump()", "gateway.lua:1: attempt to call a nil value (method 'dump')" },
	{ "string.dump(next)", "gateway.lua:1: attempt to call a nil value (field 'dump')" },
	{ "local s = ('a'):find(('a?'):rep(30))", "gateway.lua:1: attempt to call a nil value (method 'find')" },
	{ "while true do end", "gateway.lua:1: more than 10 million instructions; a configuration only states data" },
	{ "local t = { 1, 2, 3 }\ntable.sort(t, function() while true do end end)",
	  "gateway.lua:2: more than 10 million instructions; a configuration only states data" },
	{ "local t = {} while true do t[#t + 1] = {} end",
	  "gateway.lua: needs more than 64 MiB of memory; a configuration only states data" },
	{ "local s = ('x'):rep(1000000) while true do s = s .. s end",
	  "gateway.lua: needs more than 64 MiB of memory; a configuration only states data" },
	{ "local s = ('x'):rep(1 << 40)", "gateway.lua:1: string.rep makes at most 1 MiB" },
	{ "local s = (''):rep(1 << 62) table.move({}, 1, 1 << 62, 2)",
	  "gateway.lua:1: attempt to call a nil value (field 'move')" },
	{ "local t = {} table.insert(t, 1, 2)", "gateway.lua:1: table.insert takes a table and a value here" },
	{ "local function f() return f() + 1 end f()",
	  "gateway.lua: needs more than 64 MiB of memory; a configuration only states data" },
	{ "\x1bLua", "gateway.lua: attempt to load a binary chunk (mode is 't')" },
	{ "local a = {} for i = 1, 15 do a = { a, a, a, a } end return gw.config(a)",
	  "[1][1][1][1][1][2][2][3][4][3][1][4][2][1][1]: the configuration is too large" },
};

START_TEST(escape)
{
	const struct wrong_case *w = &escapes[_i];
	char *errors = NULL;
	struct conf *c = conf_load_text(w->text, strlen(w->text), "gateway.lua", "/srv/gw", false, &errors);

	ck_assert_msg(c == NULL && errors != NULL, "accepted: %s", w->text);
	ck_assert_msg(strncmp(errors, w->want, strlen(w->want)) == 0, "%s\nwant: %s\n got: %s", w->text,
	    w->want, errors);
	free(errors);
}
END_TEST

START_TEST(many_problems_are_cut)
{
	struct buf b;
	char *errors = NULL;
	size_t lines = 0;

	buf_init(&b, 1 << 20);
	buf_adds(&b, "return gw.config { routes = {");
	for (int i = 0; i < 5000; i++)
		buf_printf(&b, "r%d = { via = 5 },", i);
	buf_adds(&b, "} }");
	ck_assert_ptr_null(conf_load_text(buf_peek(&b), b.len, "gateway.lua", "/", false, &errors));
	for (const char *p = errors; *p != '\0'; p++)
		lines += *p == '\n';
	ck_assert_uint_eq(lines, PROBLEMS_MAX + 1);
	free(errors);
	buf_fini(&b);
}
END_TEST

START_TEST(missing_file)
{
	char *errors = NULL;

	ck_assert_ptr_null(conf_load("/nonexistent/gateway.lua", true, &errors));
	ck_assert_str_eq(errors, "/nonexistent/gateway.lua: cannot be read: No such file or directory\n");
	free(errors);
	ck_assert_ptr_null(conf_load("/", true, &errors));
	ck_assert_str_eq(errors, "/: is not a file\n");
	free(errors);
	ck_assert_ptr_null(conf_load("/nonexistent/gateway.lua", true, NULL));
}
END_TEST

UNIT_MAIN("conf_wrong",
	tcase_add_loop_test(tc, wrong, 0, NELEMS(wrongs));
	tcase_add_loop_test(tc, wrong_file, 0, NELEMS(files));
	tcase_add_loop_test(tc, escape, 0, NELEMS(escapes));
	tcase_add_test(tc, many_problems_are_cut);
	tcase_add_test(tc, missing_file);
)
