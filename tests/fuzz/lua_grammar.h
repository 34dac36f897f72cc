/* Random policies: text in Lua from a grammar over the API of policies. A template is text with
 * $x, a nonterminal, in it. Choices come from the fuzzer's octets while there are any, then from a
 * generator that they have seeded, so four octets are a whole policy. */
#ifndef LUA_GRAMMAR_H
#define LUA_GRAMMAR_H

#include <string.h>

#include "base/base.h"
#include "fuzz_random.h"
#include "policy/policy.h"

struct grammar {
	const uint8_t *data;
	size_t n;
	uint32_t random;
	struct buf out;
	enum policy_hook hook;		/* whose handler is being written */
	unsigned depth, left;		/* left: expansions of this handler */
	unsigned handlers;
	bool uses_memo, has_every;
};

static inline unsigned
grammar_pick(struct grammar *g, unsigned n)
{
	uint32_t k;

	if (g->n > 0) {
		k = *g->data++;
		g->n--;
	} else {
		k = fuzz_random(&g->random) >> 8;
	}
	return k % n;
}

/* ---- What there is ---- */

/* Of an object: what can be read, and what can be called or set. */
struct grammar_kind {
	const char *name;
	const char *const *paths, *const *calls;
};
#define LIST(...) (const char *const[]){ __VA_ARGS__, NULL }

static const struct grammar_kind grammar_kinds[] = {
	{ "s", LIST("s.id", "s.listener", "s.listener.name", "s.listener.role", "s.listener.trust", "s.peer", "s.peer.ip",
	    "s.peer.port", "s.peer.name", "s.peer.name_verified", "s.local_addr", "s.proto", "s.helo", "s.tls",
	    "s.tls.version", "s.tls.client", "s.tls.client.names", "s.tls.client.verified", "s.auth", "s.auth.id",
	    "s.auth.attrs", "s.started", "s.counts", "s.counts.messages", "s.vars", "s.vars.a", "s.vars[$s]", "s.$k"),
	    LIST("s:note($s)", "s.vars.$k = $e", "s.vars[$s] = $e", "s.vars.a = nil", "s.$k = $e") },
	{ "m", LIST("m.id", "m.session", "m.from", "m.from.text", "m.from.domain", "m.from.is_null", "m.recipients",
	    "#m.recipients", "m.recipients[$n]", "m.recipients[1].address.text", "m.size", "m.received_at", "m.direction",
	    "m.params", "m.params.body", "m.params.envid", "m.smtputf8", "m.requiretls", "m.tls_required_no", "m.duties",
	    "m.duties.level", "#m.duties", "m.auth_results", "gw.dkim.results(m)", "gw.arc.chain(m)", "m.tags", "#m.tags", "m.vars", "m.vars.a", "m.vars[$s]", "m.body_mode",
	    "m:each_recipient()", "m:header($H, $n)", "m:header($H)", "m:header_raw($H)", "m:headers($H)", "m:each_header()",
	    "m:has_header($H)", "m:header_address($H)", "m:subject()", "m:body_preview($n)", "m:body_preview(100)",
	    "m:hash('sha256')", "m:has_tag($T)", "m.duties:has($d)", "m.duties:list()", "m.tags:list()", "m.$k"),
	    LIST("m:tag($T)", "m:note($s)", "m:require_tls { level = $L, reason = $s }",
	    "m:require_tls { level = $L, reason = 'x', waivable = $b }",
	    "m:require_tls { level = $L, reason = 'x', recipients = { m.recipients[1] } }",
	    "m:require_tls { level = $L, reason = 'x', recipients = $t }", "m:add_header($H, $s)",
	    "m:add_header($H, $s, 'end')", "m:set_header($H, $s)", "m:remove_header($H)", "m:set_from($A)",
	    "m:add_recipient($A)", "m:remove_recipient(m.recipients[$n])", "m:remove_recipient($e)",
	    "m:ignore_tls_required_no { reason = $s }", "m.vars.$k = $e", "m.vars[$s] = $e", "m.vars.a = nil",
	    "m:dkim_sign { key = $T }", "m:dkim_sign($t)", "for c in m:body_chunks($n) do v1 = c $S end", "v2 = m:body_chunks()",
	    "v1 = gw.dkim.verify(m)", "m.body_mode = 'inspect'", "m.body_mode = $e", "m.duties = $e", "m.duties.level = $L", "m.requiretls = $b",
	    "m.tls_required_no = $e", "m.from = $A", "m.tags = $t", "m.tags[$n] = $s",
	    "for r in m:each_recipient() do r:require_tls { level = $L, reason = $s } $S end",
	    "for k, v in m:each_header() do v1 = k v2 = v $S end",
	    "for r in m:each_recipient() do m:remove_recipient(r) end",
	    "for r in m:each_recipient() do r:tag($T) m:add_recipient($A) end", "m:$k($e)", "m.$k($e)") },
	{ "r", LIST("r.address", "r.address.text", "r.domain", "r.localpart", "r.orcpt", "r.notify", "r.notify:list()",
	    "r.relay", "r.params", "r.params.notify", "r.tags", "r.vars", "r.vars.a", "r.route", "r.duties", "r.duties.level",
	    "r.state", "r.attempts", "r.last", "r.last.hop", "r:has_tag($T)", "r.$k"),
	    LIST("r:require_tls { level = $L, reason = $s }", "r:require_tls { level = $L, reason = 'x', waivable = $b }",
	    "r:rewrite($A)", "r:tag($T)", "r:note($s)", "r.vars.$k = $e", "r.duties = $e", "r.route = $s", "r:$k($e)") },
	{ "h", LIST("h.destination", "h.destination.name", "h.route", "h.route.name", "h.route.via", "h.route.hosts",
	    "h.host", "h.host.name", "h.host.ip", "h.attempt", "h.mx_secure", "h.sts", "h.sts.mode", "h.tlsa", "h.tlsa.count",
	    "h.caps", "h.caps:has('STARTTLS')", "h.tls", "h.tls.verified", "h.tls.names", "h.duties", "h.met", "h.unmet",
	    "h.relaxed", "h.seen", "h.worse", "h.worse.sts", "h.$k"),
	    LIST("h:require_tls { level = $L, reason = $s }", "h:require_tls { level = $L, reason = 'x' }", "h:note($s)",
	    "h.duties = $e", "h.relaxed = $s", "h.met = h.duties", "h.caps = $t", "h:$k($e)") },
	{ "u", LIST("u", "u:has($d)", "u:list()", "u.level", "#u"), LIST("u.level = $L", "u[$n] = $e", "u:$k($e)") },
	{ "res", LIST("res.kind", "res.code", "res.status", "res.text", "res.stage", "res.hop", "res.hop.tls", "res.duties",
	    "res.attempts", "res.first_attempt", "res.next_attempt", "res.cause", "#res.cause", "res.$k"),
	    LIST("res.kind = 'delivered'", "res.next_attempt = $n", "res:$k($e)") },
	{ "bo", LIST("bo.message", "bo.kind", "bo.to", "bo.to.domain", "bo.sender", "bo.requiretls", "bo.recipients",
	    "bo.recipients[$n]", "bo.recipients[1].diagnostic", "bo.original_return", "bo.subject", "bo.redact",
	    "bo.protect", "bo.headers", "bo.$k"),
	    LIST("bo.from_header = $s", "bo.subject = $s", "bo.language = 'de'", "bo.template = $T", "bo.text = $s",
	    "bo.html = $s", "bo.footer = $s", "bo.return_content = 'full'", "bo.return_content = $e", "bo.headers = { 'X-A: b' }",
	    "bo.headers = $t", "bo.redact = { 'received', 'subject' }", "bo.redact = $t", "bo.protect = 'redact'",
	    "bo.protect = $s", "bo.copy_to = $A", "bo:redact_host($s)", "bo:note($s)",
	    "bo:redact_text($s)", "bo:redact_text(function(a, b) v1 = a $S return $e end)", "bo:redact_text('%w')",
	    "bo:attach($s, 'text/plain', $s)", "bo:attach('a', $s, $s)", "bo:attach($e, $e, $e)", "bo.sender = $A", "bo:$k($e)") },
	{ "rep", LIST("rep.kind", "rep.recipients", "rep.recipients[$n]", "rep.recipients[1].status", "rep.reporting_mta",
	    "rep.envelope_id", "rep.truncated", "rep:field($H)", "rep:original($H)", "rep.recipients[1]:field($H)", "rep.$k"),
	    LIST("rep:note($s)", "rep.kind = $s", "rep:$k($e)") },
	{ "cred", LIST("cred.mech", "cred.id", "cred.authzid", "cred.password", "cred.$k"), LIST("cred.id = $s", "cred:$k($e)") },
	{ "ctx", LIST("ctx.reason", "ctx.worker", "ctx.generation", "ctx.$k"), LIST("ctx:note($s)", "ctx.reason = $s") },
	{ "tick", LIST("tick.name", "tick.missed", "tick.$k"), LIST("tick:note($s)", "tick.missed = $n") },
	{ "d", LIST("d.name", "d.unicode", "d:is_local()", "d:is_remote()", "d:under($D)", "d:registered()", "d == d", "d.$k"),
	    LIST("d.name = $s", "d:$k($e)") },
	{ "route", LIST("route.name", "route.via", "route.tls", "route.names", "route.$k"), LIST("route.tls = $L") },
	{ "event", LIST("event", "event.what", "event.n", "event[$s]"), LIST("event.$k = $e") },
	{ "name", LIST("name", "name .. 'x'"), LIST("v1 = name") },
	{ "day", LIST("day"), LIST("v2 = day") },
};
static const char *const grammar_params[HOOKS] = {
	[HOOK_CONNECT] = "s", [HOOK_HELO] = "s, name", [HOOK_TLS] = "s", [HOOK_AUTH] = "s, cred", [HOOK_MAIL] = "s, m",
	[HOOK_RCPT] = "s, m, r", [HOOK_DATA] = "s, m", [HOOK_HEADER] = "s, m", [HOOK_MESSAGE] = "s, m",
	[HOOK_BOUNCE_IN] = "s, m, rep", [HOOK_DISCONNECT] = "s", [HOOK_ROUTE] = "m, r", [HOOK_TLS_POLICY] = "d, route",
	[HOOK_ATTEMPT] = "m, h", [HOOK_EHLO] = "m, h", [HOOK_UNMET] = "m, h, u", [HOOK_RESULT] = "m, r, res",
	[HOOK_BOUNCE] = "m, bo", [HOOK_DSN] = "m, bo", [HOOK_LOG] = "event", [HOOK_TLSRPT] = "d, day", [HOOK_INIT] = "ctx",
	[HOOK_FINI] = "ctx", [HOOK_EVERY] = "tick",
};
static const char *const grammar_verdicts[] = {
	"gw.accept {}", "gw.accept { relay = true, reason = 'x' }", "gw.accept { reason = $s }", "gw.reject {}",
	"gw.reject { code = $n, text = $s }", "gw.reject { code = 554, status = '5.7.0', text = $s }", "gw.defer {}",
	"gw.defer { after = $n }", "gw.defer { text = $s, code = 452 }", "gw.drop {}", "gw.drop { text = $s }",
	"gw.discard { reason = 'x' }", "gw.discard { reason = $s }", "gw.hold {}", "gw.hold { expires = '1h', reason = $s }",
	"gw.bounce {}", "gw.bounce { status = '5.1.1', text = $s }", "gw.route { via = 'mx' }",
	"gw.route { via = 'portal', tls = $L }", "gw.route { via = $t, implicit_tls = $b, names = $t }",
	"gw.route { via = { $s } }", "gw.reroute { via = 'portal', reason = $s }", "gw.reroute { via = 'inside' }",
	"gw.reroute { via = 'inside', assert_secure_lookup = $b }", "gw.tls { level = $L }",
	"gw.tls { level = $L, names = { $D }, ttl = $n }", "gw.tls { level = 'may', on_unmet = 'bounce', min_version = '1.3' }",
	"gw.retry {}", "gw.retry { after = $n }", "gw.fail {}", "gw.fail { status = '5.4.7', text = $s }", "gw.skip_host {}",
	"gw.relax { grant = 'fax', reason = 'x' }", "gw.relax { grant = $s, reason = $s }", "gw.suppress { reason = 'x' }",
	"gw.report { to = { 'mailto:a@b.example' } }", "gw.report { to = $t }", "gw.caps { hide = { 'CHUNKING', 'DSN' } }",
	"gw.caps { hide = $t }", "gw.identity { id = 'ann' }", "gw.identity { id = $s, attrs = $t }",
};

static const struct grammar_set {
	char key;
	unsigned leaves;		/* so many of the first hold no nonterminal that goes on */
	const char *const *v;
} grammar_sets[] = {
	{ 'S', 4, LIST("$a", "$a", "v1 = $q", "keep($i, $o)", "$a", "$a", "$a", "try(function() $a end)",
	    "try(function() $B end)", "v$i = $e", "v$i = $q", "v$i = $w", "if $b then $B end", "if $b then $B else $B end",
	    "for i = 1, $i do $B end", "for i = 1, $n do $S if i > 5 then break end end", "while $b do $B break end",
	    "keep($i, $o)", "keep($i, $e)", "try(function() v1 = K[$i].id $S end)", "try(function() K[$i]:note($s) end)",
	    "try(function() K[$i].vars.a = $e end)", "try(function() K[$i]:require_tls { level = $L, reason = 'late' } end)",
	    "try(function() v2 = K[$i].$k v3 = tostring(K[$i]) end)", "try(K[$i], $e)", "do $x end", "$w", "$w",
	    "try(function() $w end)", "do return $V end", "if $b then return $V end", "if $b then return end", "error($e)",
	    "local t <close> = $e", "for k, v in pairs($t) do v1 = v $S end", "for k, v in pairs($o) do v1 = v $S end",
	    "for k, v in gw.sorted_pairs($t) do v4 = k end", "for i, v in ipairs($t) do v1 = v end", "v1, v2 = $e, $e",
	    "gw.log.info($s, $t)", "print($e, $e)", "assert($e)", "select($n, $e, $e)", "$f", "$o = $o",
	    "xpcall(function() $B end, function(e) $S return e end)", "local v = $V") },
	{ 'f', 0, LIST("do local f = function(...) $B end v3 = f end", "do local function f(x) $B return x end try(f, $e) end",
	    "v3 = function() $S end") },
	{ 'w', 3, LIST("gw.sleep(0)", "gw.sleep(0.001)", "try(gw.sleep, $n)", "gw.sleep($n / 1000000)",
	    "gw.all({ function() $B end, function() $w end }, { mode = 'collect' })",
	    "gw.all({ function() return $e end, function() $S return $w end })",
	    "gw.all({ function() $w end, function() $w end, function() $w end }, { parallel = $i })",
	    "gw.within(0.002, function() $B end)", "gw.within($n / 1000, function() return $w end)", "gw.all($t)",
	    "gw.within($n, $e)", "memo($s)", "memo($e)", "memo('k' .. $i)", "gw.kv('n'):get($s)", "gw.kv('n'):add($s, $n)",
	    "gw.dns.a($D)", "gw.sts.get($D)", "gw.audit($s)", "gw.tlsrpt($D)", "gw.tlsrpt($D, { days = $n })", "gw.audit($s, $t)", "gw.audit($e, $e)", "coroutine.wrap(function() $S $w end)()", "CO($i, function() $w $S end)",
	    "CO($i)", "coroutine.yield($e)") },
	{ 'x', 6, LIST("while true do end", "while true do pcall(function() while true do end end) end",
	    "local t = {} while true do t[#t + 1] = string.rep('x', 1000) end", "local s = 'x' while true do s = s .. s end",
	    "local function f() return f() end f()", "local function f() return 1 + f() end f()",
	    "for i = 1, 50 do pcall(function() while true do $S end end) end", "v1 = string.rep($s, $n)",
	    "v1 = string.rep('x', 1 << 40)", "v1 = string.rep('', 1 << 60)",
	    "v1 = string.find(string.rep('a', 30), string.rep('a?', 30) .. string.rep('a', 31))",
	    "v1 = string.gsub(string.rep('ab', 300), '(a*)(b*)', $e)", "v1 = string.format($s, $e, $e)",
	    "v1 = string.format('%q %s %5.2f %x', $s, $e, $n, $n)", "v1 = string.find($s, $s, $n)",
	    "for w in string.gmatch($s, $s) do v1 = w $S end", "v1 = table.concat($t, $s, $n, $n)", "table.move($t, 1, $n, $n)",
	    "table.insert($t, $n, $e)", "table.sort($t, function(a, b) $S return $b end)", "table.remove($t, $n)",
	    "v1 = table.unpack($t, $n, $n)", "v1 = table.pack($e, $e)", "v1 = setmetatable($t, $t)",
	    "v1 = setmetatable({}, { __index = function(t, k) $S return $e end, __len = function() return $n end })",
	    "v1 = setmetatable({}, { __gc = function() while true do end end })",
	    "v1 = setmetatable({}, { __close = function() $S end, __tostring = function() $S return $e end })",
	    "local m = setmetatable({}, { __eq = function() return $b end, __lt = function() $w end, __concat = function() "
	    "return $e end, __call = function() $S end }) v1 = m .. $s v2 = m == m m()",
	    "v1 = setmetatable({}, { __pairs = function() return $e, $e end }) for k in pairs(v1) do v2 = k end",
	    "getmetatable('').__index = $t", "getmetatable('').x = 1", "v1 = getmetatable($o)", "string.len = $e", "gw.on = $e",
	    "_G.x = $e", "gw.on('mail', function() return gw.accept {} end, { name = 'late' })", "v1 = _ENV",
	    "local _ENV = {} x = 1", "local c = coroutine.create(function(...) $S coroutine.yield($e) $S end) "
	    "coroutine.resume(c, $e) coroutine.resume(c) coroutine.resume(c)",
	    "local c = coroutine.wrap(function() for i = 1, $n do coroutine.yield(i) end end) v1 = c() v1 = c()",
	    "for i = 1, $n do local c = coroutine.create(function() $S coroutine.yield() end) coroutine.resume(c) end",
	    "local c c = coroutine.create(function() coroutine.resume(c) $S end) coroutine.resume(c)",
	    "local c = coroutine.create(function() $w end) coroutine.resume(c) coroutine.close(c)",
	    "local c = coroutine.create(function() local t <close> = setmetatable({}, {}) $w end) coroutine.resume(c) "
	    "v1 = coroutine.status(c) try(coroutine.close, c)",
	    "v1 = gw.json.decode($s)", "v1 = gw.json.decode('[' .. string.rep('[', $n))", "v1 = gw.json.encode($t)",
	    "local t = {} t[1] = t v1 = gw.json.encode(t)", "v1 = gw.json.decode(gw.json.encode($t))", "v1 = utf8.char($n, $n)",
	    "v1 = utf8.len($s)", "for p, c in utf8.codes($s) do v1 = c end", "v1 = tostring($e)", "v1 = tonumber($s, $n)",
	    "v1 = os.date('!%c', $n)", "v1 = os.date($s, $n)", "v1 = os.time({ year = $n, month = $n, day = 1 })",
	    "v1 = math.random($n, $n)", "v1 = gw.random($n)", "v1 = $n // $n", "v1 = $n % $n", "v1 = 1 << $n", "v1 = -($e)",
	    "v1 = #($e)", "v1 = $e < $e", "v1 = rawequal($o, $o)", "v1 = next($t, $e)", "v1 = rawlen($e)", "require($s)",
	    "v1 = gw.address($s)", "v1 = gw.domain($s)", "v1 = gw.set($t)", "v1 = gw.set({ $s, $D }):has($e)",
	    "v1 = doms:has($e)", "v1 = gw.match.tag('x')", "v1 = gw.help($s)", "v1 = gw.mime.decode($s)", "v1 = gw.mime.encode($s)", "v1, v2 = gw.mime.parameters($s)",
	    "v1 = gw.mime.addresses($s)", "v1 = met:add($n, { a = $s })", "met:set($n, { a = $e })", "met:add($e, $t)", "v1 = string.pack", "debug.sethook()",
	    "load('return 1')", "string.dump(function() end)", "collectgarbage()") },
	{ 'e', 12, LIST("nil", "true", "false", "1", "'x'", "{}", "v1", "v2", "K[3]", "gw", "0.5", "print", "$n", "$s", "$s",
	    "$t", "$q", "$q", "$o", "v$i", "K[$i]", "function(...) $S return $e end", "$V", "$n + $n", "$s .. $s", "not $e",
	    "($e == $e)", "gw.address($A)", "gw.domain($D)", "gw.now()", "({ $e, $e })[$n]", "string", "m", "s", "s.peer.ip") },
	{ 'q', 1, LIST("v1") },		/* a path of one of the hook's objects */
	{ 'a', 1, LIST("v1 = 1") },	/* a call of one */
	{ 'o', 1, LIST("v1") },		/* one of them */
	{ 'V', 1, LIST("nil") },
	{ 's', 8, LIST("'x'", "''", "'secure'", "'a.b'", "'\\0'", "'a\\r\\nb: c'", "'\\xff\\xfe'", "'Subject'", "$T", "$A", "$D",
	    "$H", "string.rep('ab', $i)", "tostring($n)", "string.rep('x', $n)", "('%s'):format($e)", "'[secure] ' .. $s",
	    "('x'):upper()", "string.char($i, 13, 10)", "'(.-)(%a+)$'", "'[a-z]*%f[%w]'", "'%b()'", "'{\"a\":[1,2]}'", "'%d%s%q'",
	    "'\\u{1F600}'", "($s):sub($n, $n)") },
	{ 'n', 12, LIST("0", "1", "2", "3", "7", "(-1)", "255", "1e9", "0.5", "100", "1 << 40", "math.huge", "$i", "$i", "-($n)",
	    "#($s)", "math.mininteger", "math.maxinteger", "0/0", "tonumber($s)", "gw.random($i)", "$n * $n", "3.7e18",
	    "1000", "65536", "'5m'", "'1h'") },
	{ 'i', 8, LIST("1", "2", "3", "4", "5", "6", "7", "8") },
	{ 'b', 4, LIST("true", "false", "v1", "true", "$e", "not $b", "$e == $e", "gw.random(2) == 1", "$n < $n") },
	{ 't', 4, LIST("{}", "{ 1, 2, 3 }", "{ a = 1 }", "{ 'x', 'y' }", "{ $e, $e }", "{ $s, $s }", "{ a = $e, [$n] = $e }",
	    "{ level = $L, reason = $s }", "{ $o }", "{ $A }", "{ $D, $D }", "{ f = function() $S end }", "{ [$e or 1] = $e }",
	    "m.recipients", "setmetatable({}, { __index = $t })", "{ function() $S end, function() $w end }",
	    "{ name = 'x', ttl = $n }", "v$i", "{ $t, $t }") },
	{ 'L', 5, LIST("'may'", "'encrypt'", "'verify'", "'secure'", "'requiretls'", "$s", "$e") },
	{ 'A', 5, LIST("'bob@clinic.example'", "'<>'", "'a@b'", "'postmaster'", "'x@fax.example'", "$s", "m.from", "$e",
	    "'\"q x\"@acme.example'", "'a@[192.0.2.1]'", "'r\\xc3\\xa9s@m\\xc3\\xbcnchen.example'", "r.address") },
	{ 'D', 5, LIST("'clinic.example'", "'acme.example'", "'x.co.uk'", "'fax.example'", "'.'", "$s", "'m\\xc3\\xbcnchen.example'",
	    "gw.domain('a.example')", "d", "$e") },
	{ 'H', 6, LIST("'Subject'", "'X-Multi'", "'From'", "'X-New'", "'TLS-Required'", "'Received'", "$s", "'X-Folded'", "'to'",
	    "'X Bad'", "'Return-Path'", "'DKIM-Signature'", "$e") },
	{ 'T', 4, LIST("'secure'", "'bulk'", "'x'", "'a:b.c'", "$s", "$e") },
	{ 'd', 4, LIST("'encrypt'", "'authenticate'", "'secure_lookup'", "'propagate'", "$s") },
	{ 'k', 8, LIST("a", "b", "id", "vars", "note", "duties", "from", "zz", "has", "list", "level", "tag", "text", "name",
	    "require_tls", "each_recipient", "_private", "recipients", "domain", "tls", "caps", "message") },
	{ 'B', 1, LIST("$S", "$S $S", "$S $S", "$S $S $S", "$S $S $S $S") },
	{ 'M', 3, LIST("gw.match.time {}", "gw.match.tls_inbound()", "gw.match.listener 'relay'", "gw.match.tag($T)",
	    "gw.match.sender_domain { $D, '.acme.example' }", "gw.match.rcpt_domain($D)", "gw.match.client_ip '10.0.0.0/8'",
	    "gw.match.subject_word($s)", "gw.match.header($H, $s)", "gw.match.has_header($H)", "gw.match.size_over($n)",
	    "gw.match.sender($A)", "gw.match.no($M)", "gw.match.all { $M, $M }", "gw.match.any { $M, $M }",
	    "gw.match.lua(function(...) $S return $b end)", "gw.match.requiretls()", "gw.match.tls_required_no()",
	    "gw.match.direction 'outbound'", "gw.match.helo($s)", "gw.match.listener_role 'mx'", "gw.match.rcpt($A)") },
	{ 'C', 3, LIST("gw.action.note 'x'", "gw.action.note 'y'", "gw.action.tag 'ruled'", "gw.action.tag($T)",
	    "gw.action.require_tls { level = $L, reason = 'rule' }", "gw.action.add_header($H, $s)",
	    "gw.action.set_header($H, $s)", "gw.action.remove_header($H)", "gw.action.ignore_tls_required_no { reason = 'x' }") },
};

/* ---- Writing ---- */

static void grammar_expand(struct grammar *g, const char *template);

static unsigned
grammar_count(const char *const *v)
{
	unsigned n = 0;

	while (v[n] != NULL)
		n++;
	return n;
}

/* One of the hook's objects, by its name. */
static const struct grammar_kind *
grammar_object(struct grammar *g)
{
	const char *p = grammar_params[g->hook];
	const struct grammar_kind *of[4];
	unsigned n = 0;

	for (size_t i = 0; i < NELEMS(grammar_kinds) && n < 4; i++) {
		const char *name = grammar_kinds[i].name, *at = strstr(p, name);
		size_t len = strlen(name);

		while (at != NULL && !((at == p || at[-1] == ' ') && (at[len] == ',' || at[len] == '\0')))
			at = strstr(at + 1, name);
		if (at != NULL)
			of[n++] = &grammar_kinds[i];
	}
	return of[grammar_pick(g, n)];
}

static void
grammar_verdict(struct grammar *g)
{
	unsigned k = grammar_pick(g, NELEMS(grammar_verdicts));
	static const char *const legal[HOOKS] = {	/* mostly; the rest is as it comes */
		[HOOK_CONNECT] = "reject drop defer", [HOOK_HELO] = "caps reject", [HOOK_TLS] = "drop reject",
		[HOOK_AUTH] = "identity reject", [HOOK_MAIL] = "reject defer drop", [HOOK_RCPT] = "accept reject discard",
		[HOOK_DATA] = "reject defer", [HOOK_HEADER] = "reject defer", [HOOK_MESSAGE] = "accept hold discard reject defer",
		[HOOK_BOUNCE_IN] = "accept hold discard", [HOOK_ROUTE] = "route bounce hold discard defer",
		[HOOK_TLS_POLICY] = "tls defer", [HOOK_ATTEMPT] = "defer hold bounce reroute skip_host",
		[HOOK_EHLO] = "defer hold bounce reroute skip_host", [HOOK_UNMET] = "relax reroute bounce skip_host relax",
		[HOOK_RESULT] = "retry fail hold reroute", [HOOK_BOUNCE] = "suppress", [HOOK_DSN] = "suppress",
		[HOOK_TLSRPT] = "report suppress defer",
	};

	for (unsigned i = 0; legal[g->hook] != NULL && grammar_pick(g, 8) != 0 && i < 20; i++) {
		const char *text = grammar_verdicts[k] + 3;
		size_t n = strcspn(text, " ");
		const char *at = memmem(legal[g->hook], strlen(legal[g->hook]), text, n);

		if (at != NULL && (at[n] == ' ' || at[n] == '\0') && (at == legal[g->hook] || at[-1] == ' '))
			break;
		k = grammar_pick(g, NELEMS(grammar_verdicts));
	}
	grammar_expand(g, grammar_verdicts[k]);
}

static void
grammar_symbol(struct grammar *g, char key)
{
	const struct grammar_kind *o;
	bool is_leaf = g->depth > 9 || g->left == 0;
	unsigned n;

	if (g->left > 0)
		g->left--;
	switch (key) {
	case 'q':
		o = grammar_object(g);
		grammar_expand(g, o->paths[grammar_pick(g, grammar_count(o->paths))]);
		return;
	case 'a':
		o = grammar_object(g);
		grammar_expand(g, o->calls[grammar_pick(g, grammar_count(o->calls))]);
		return;
	case 'o':
		buf_adds(&g->out, grammar_object(g)->name);
		return;
	case 'V':
		grammar_verdict(g);
		return;
	default:
		break;
	}
	for (size_t i = 0; i < NELEMS(grammar_sets); i++) {
		const struct grammar_set *set = &grammar_sets[i];

		if (set->key != key)
			continue;
		n = is_leaf && set->leaves > 0 ? set->leaves : grammar_count(set->v);
		n = grammar_pick(g, n);
		/* Most of it is wrong somewhere, and the handler should get further. */
		if (key == 'S' && strstr(set->v[n], "return $V") == NULL && grammar_pick(g, 5) != 0) {
			buf_adds(&g->out, "try(function() ");
			grammar_expand(g, set->v[n]);
			buf_adds(&g->out, " end)");
		} else {
			grammar_expand(g, set->v[n]);
		}
		return;
	}
	buf_printf(&g->out, "$%c", key);	/* the end of a pattern */
}

static void
grammar_expand(struct grammar *g, const char *t)
{
	bool is_statement = false;

	g->depth++;
	for (; *t != '\0'; t++) {
		if (*t != '$' || g->depth > 40) {
			buf_add(&g->out, t, 1);
			continue;
		}
		is_statement = *++t == 'S';
		grammar_symbol(g, *t);
		if (is_statement)
			buf_adds(&g->out, "\n");
	}
	g->depth--;
}

static const char *const grammar_prelude =
    "local K, CS, s, m, r, d = {}, {}, nil, nil, nil, nil\n"
    "local function keep(i, x) K[i] = x return x end\n"
    "local function try(f, ...) local ok, a, b = pcall(f, ...) if ok then return a, b end end\n"
    "local function CO(i, f) if f then CS[i] = coroutine.create(f) end if CS[i] then return coroutine.resume(CS[i]) end end\n"
    "local doms = gw.domains { 'a.example', '*.b.example' }\n"
    "local met = gw.metric { name = 'met', kind = 'gauge', labels = { 'a' }, series = 3 }\n"
    "local memo = gw.memo(function(k) gw.sleep(0.001) if k == 'x' then return nil, 'no' end return k .. 'y' end, "
    "{ name = 'm', ttl = 0.01, negative_ttl = 0.002, stale = 1, capacity = 4 })\n"
    "gw.on('fini', function() for i = 1, 8 do K[i] = nil CS[i] = nil end end, { name = 'zz.forget', level = 'mandatory', "
    "priority = -100 })\n";

static void
grammar_handler(struct grammar *g, enum policy_hook hook)
{
	static const char *const levels[] = { "normal", "normal", "normal", "mandatory", "advisory" };
	bool is_rule = grammar_pick(g, 6) == 0 && hook != HOOK_EVERY;

	g->hook = hook;
	g->depth = 0;
	g->left = 20 + grammar_pick(g, 100);
	g->handlers++;
	if (is_rule) {
		buf_printf(&g->out, "pcall(function() gw.rule { name = 'h%u', at = '%s', level = '%s', when = ", g->handlers,
		    policy_hook_name(hook), levels[grammar_pick(g, NELEMS(levels))]);
		grammar_expand(g, grammar_pick(g, 4) == 0 ? "nil" : "$M");
		grammar_expand(g, grammar_pick(g, 2) == 0 ? ", act = $C } end)\n" : ", act = { $C, $C, $V } } end)\n");
		return;
	}
	if (hook == HOOK_EVERY) {
		g->has_every = true;
		buf_printf(&g->out, "gw.every { name = 'h%u', interval = 3600, run = function(tick)\nlocal v1, v2, v3, v4, v5, v6, "
		    "v7, v8\n", g->handlers);
		grammar_expand(g, "do $B end end }\n");
		return;
	}
	buf_printf(&g->out, "gw.on('%s', function(%s)\nlocal v1, v2, v3, v4, v5, v6, v7, v8\ndo ", policy_hook_name(hook),
	    grammar_params[hook]);
	grammar_expand(g, "$B $B end");
	grammar_expand(g, grammar_pick(g, 2) == 0 ? " do return $V end" : "");
	buf_printf(&g->out, "\nend, { name = 'h%u', level = '%s', priority = %d%s%s", g->handlers,
	    levels[grammar_pick(g, NELEMS(levels))], (int)grammar_pick(g, 198) - 99,
	    grammar_pick(g, 8) == 0 ? ", observe = true" : "", grammar_pick(g, 6) == 0 ? ", wall = 0.004" : "");
	buf_adds(&g->out, " })\n");
}

/* The whole policy; `hooks` says which have something. Heap. */
static char *
grammar_policy(struct grammar *g, unsigned *hooks)
{
	unsigned n = 1 + grammar_pick(g, 8);

	buf_init(&g->out, 1 << 20);
	buf_adds(&g->out, grammar_prelude);
	for (unsigned i = 0; i < n; i++) {
		enum policy_hook hook = (enum policy_hook)grammar_pick(g, HOOKS);

		if (hook == HOOK_EVERY && g->has_every)
			hook = HOOK_MESSAGE;
		*hooks |= 1u << hook;
		grammar_handler(g, hook);
	}
	return buf_take(&g->out);
}

#endif
