/* Every field and method of the objects of policy design section 4, as policies see them; typing
 * mistakes; writing where nothing is to be written; handles that outlive their call. */
#include "policy_fixture.h"

static const char prelude[] =
    "local function eq(a, b, what)\n"
    "  if a ~= b then error(tostring(a) .. ' ~= ' .. tostring(b) .. ' ' .. (what or ''), 2) end\n"
    "end\n"
    "local function list(t) local r = {} for i = 1, #t do r[i] = tostring(t[i]) end\n"
    "  return table.concat(r, ' ') end\n";
static const char *const arguments[HOOKS] = {
	[HOOK_CONNECT] = "session", [HOOK_HELO] = "session, name", [HOOK_TLS] = "session",
	[HOOK_AUTH] = "session, cred",
	[HOOK_MAIL] = "session, message", [HOOK_RCPT] = "session, message, rcpt",
	[HOOK_DATA] = "session, message", [HOOK_HEADER] = "session, message",
	[HOOK_BOUNCE_IN] = "session, message, report", [HOOK_MESSAGE] = "session, message",
	[HOOK_DISCONNECT] = "session", [HOOK_ROUTE] = "message, rcpt",
	[HOOK_TLS_POLICY] = "domain, route", [HOOK_ATTEMPT] = "message, hop",
	[HOOK_EHLO] = "message, hop", [HOOK_UNMET] = "message, hop, unmet",
	[HOOK_RESULT] = "message, rcpt, result", [HOOK_BOUNCE] = "message, bounce",
	[HOOK_DSN] = "message, report", [HOOK_LOG] = "event",
	[HOOK_TLSRPT] = "domain, day",
	[HOOK_INIT] = "ctx", [HOOK_FINI] = "ctx",
};

/* Loads a handler with this body, with options such as "level = 'advisory'". */
static void
load_body(struct fix *f, enum policy_hook hook, const char *body, const char *opts)
{
	char *text = xasprintf("%sgw.on('%s', function(%s)\n%s\nend, { name = 'test', %s })\n", prelude,
	    policy_hook_name(hook), arguments[hook], body, opts);

	fix_load(f, text);
	free(text);
}

/* `says` NULL: the body must come to its end; else it must fail with these words in the log. */
static void
run_case(const char *name, enum policy_hook hook, const char *body, const char *says)
{
	struct fix f;
	struct world w;
	struct verdict v;

	load_body(&f, hook, body, "");
	world_init(&w);
	fix_call(&f, hook, &w, &v);
	if (says == NULL)
		ck_assert_msg(strstr(fix_log, "policy failed") == NULL, "%s: %s", name, fix_log);
	else
		ck_assert_msg(strstr(fix_log, says) != NULL && strstr(fix_log, "policy failed") != NULL,
		    "%s: %s", name, fix_log);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}

static const struct body_case {
	const char *name;
	enum policy_hook hook;
	const char *body;
} good[] = {
	{ "session", HOOK_CONNECT,
	  "eq(#session.id, 13) eq(session.listener.name, 'relay') eq(session.listener.role, 'relay')\n"
	  "eq(session.listener.trust, 'clients') eq(session.peer.ip, '10.1.2.3') eq(session.peer.port, 40001)\n"
	  "eq(session.peer.name, 'client.acme.example') eq(session.peer.name_verified, true)\n"
	  "eq(session.local_addr, '10.0.0.5:587') eq(session.proto, 'ESMTP')\n"
	  "eq(session.helo, 'client.acme.example') eq(session.auth, nil) eq(session.started, 1795392000.0)\n"
	  "eq(session.counts.messages, 1) eq(session.counts.recipients, 2) eq(session.counts.errors, 3)\n"
	  "eq(tostring(session):sub(1, 8), 'session ') session:note('hello')" },
	{ "session tls", HOOK_TLS,
	  "local t = session.tls eq(t.version, 'TLSv1.3') eq(t.cipher, 'TLS_AES_256_GCM_SHA384')\n"
	  "eq(t.sni, 'mx1.acme.example') local c = t.client eq(c.subject, 'CN=ann') eq(c.issuer, 'CN=ca')\n"
	  "eq(list(c.names), 'ann.acme.example b.acme.example') eq(c.fingerprint, 'ab12')\n"
	  "eq(c.verified, true)" },
	{ "session vars", HOOK_MAIL,
	  "eq(session.vars.n, nil) session.vars.n = 3 eq(session.vars.n, 3)\n"
	  "session.vars.t = { a = { 1, 2 } } eq(session.vars.t.a[2], 2)\n"
	  "session.vars.n = nil eq(session.vars.n, nil)\n"
	  "local n = 0 for k, v in pairs(session.vars) do n = n + 1 eq(k, 't') end eq(n, 1)" },
	{ "helo", HOOK_HELO, "eq(name, 'client.acme.example')" },
	{ "disconnect", HOOK_DISCONNECT, "eq(session.counts.messages, 1)" },
	{ "message", HOOK_MESSAGE,
	  "eq(#message.id, 13) eq(message.session, session) eq(message.from.text, 'ann@acme.example')\n"
	  "eq(message.from.is_null, false) eq(#message.recipients, 2)\n"
	  "eq(message.recipients[1].domain.name, 'clinic.example') eq(message.recipients[3], nil)\n"
	  "eq(message.received_at, 1795392000.5) eq(message.direction, 'outbound')\n"
	  "eq(message.smtputf8, false) eq(message.requiretls, false)\n"
	  "eq(message.tls_required_no, 'honoured') assert(message.size > 100)\n"
	  "eq(message.params.ret, 'full') eq(message.params.envid, 'QQ314') eq(message.params.body, '7BIT')\n"
	  "eq(message.params.auth, nil) eq(message.params.smtputf8, false) eq(message.params.requiretls, false)\n"
	  "eq(#message.duties, 0) eq(tostring(message.duties), 'none') eq(#message.tags, 0)" },
	{ "message outside reception", HOOK_ATTEMPT, "eq(message.session, nil)" },
	{ "recipients by iterator, ipairs, pairs", HOOK_MESSAGE,
	  "local a, b, c = '', '', '' for r in message:each_recipient() do a = a .. r.localpart end\n"
	  "for _, r in ipairs(message.recipients) do b = b .. r.localpart end\n"
	  "for i, r in pairs(message.recipients) do c = c .. r.localpart end\n"
	  "for i = 1, 5 do message:add_recipient('r' .. i .. '@x.example') end local d, l = '', message.recipients\n"
	  "eq(l[4].localpart, 'r2') message:remove_recipient(l[3]) eq(l[4].localpart, 'r3') eq(l[1].localpart, 'Bob')\n"
	  "for _, r in ipairs(l) do d = d .. r.localpart end eq(d, 'Bobpostmasterr2r3r4r5')\n"
	  "eq(a, 'Bobpostmaster') eq(b, a) eq(c, a)" },
	{ "header", HOOK_MESSAGE,
	  "eq(message:subject(), '[Secure] r\\u{e9}sum\\u{e9}') eq(message:header('subject'), message:subject())\n"
	  "eq(message:header('X-Multi', 2), 'two') eq(message:header('X-Multi', 3), nil)\n"
	  "eq(message:header('X-Multi', 0), nil) eq(message:header_raw('X-Folded'), ' a\\r\\n b')\n"
	  "eq(message:header('X-Folded'), 'a b') eq(list(message:headers('x-multi')), 'one two')\n"
	  "eq(#message:headers('none'), 0) eq(message:has_header('to'), true) eq(message:has_header('t'), false)\n"
	  "eq(message:header_address('From'), gw.address('Ann@acme.example'))\n"
	  "eq(message:header_address('Subject'), nil) local n, last = 0\n"
	  "for name, value in message:each_header() do n = n + 1 last = name .. '=' .. value end\n"
	  "eq(n, 7) eq(last, 'X-Multi=two')" },
	{ "header after edits", HOOK_MESSAGE,
	  "message:set_header('Subject', 'plain') eq(message:subject(), 'plain')\n"
	  "message:add_header('X-New', 'v', 'end') eq(message:header('X-New'), 'v')\n"
	  "message:remove_header('X-Multi') eq(message:has_header('X-Multi'), false)\n"
	  "eq(message:header('To'), 'bob@clinic.example')" },
	{ "content", HOOK_MESSAGE,
	  "eq(message:body_preview(5), 'Hello') eq(message:body_preview(1000), 'Hello there.\\r\\n')\n"
	  "eq(#message:hash('sha256'), 64) eq(message:hash(), message:hash('sha256'))" },
	{ "body chunks", HOOK_MESSAGE,
	  "local n, all = 0, '' for piece in message:body_chunks() do n = n + 1 all = all .. piece end\n"
	  "eq(n, 1) eq(all, 'Hello there.\\r\\n') for piece in message:body_chunks(5) do eq(piece, 'Hello') end\n"
	  "local f = message:body_chunks(1) eq(f(), 'H') eq(f(), nil) eq(f(), nil)" },
	{ "mime", HOOK_MESSAGE,
	  "eq(gw.mime.decode('=?utf-8?q?Gr=C3=BC=C3=9Fe?= an'), 'Gr\\u{fc}\\u{df}e an') eq(gw.mime.decode(''), '')\n"
	  "eq(gw.mime.decode(gw.mime.encode('x Gr\\u{fc}\\u{df}e y')), 'x Gr\\u{fc}\\u{df}e y') eq(gw.mime.encode('plain'), 'plain')\n"
	  "local t, p = gw.mime.parameters(' Multipart/Mixed; (x) Boundary=\"a;\\\\\"b\"; name*0*=utf-8\\'\\'%C3%BC; name*1=x; charset=UTF-8')\n"
	  "eq(t, 'multipart/mixed') eq(p.boundary, 'a;\"b') eq(p.name, '\\u{fc}x') eq(p.charset, 'UTF-8') eq(p.none, nil)\n"
	  "t, p = gw.mime.parameters('') eq(t, '') eq(next(p), nil)\n"
	  "local a = gw.mime.addresses('Team: \"Ann, of Acme\" <ann@ACME.example>, bob@x.example (Bob \\\\) B),\\r\\n =?utf-8?q?J=C3=BCrg?= <j@y.example>;"
	  " <@a,@b:c@d.example>, \"q x\"@z.example, nobody, <>, (only)')\n"
	  "eq(#a, 6) eq(a[1].name, 'Ann, of Acme') eq(a[1].address, gw.address 'ann@acme.example') eq(a[1].text, 'ann@ACME.example')\n"
	  "eq(a[2].name, 'Bob ) B') eq(a[2].address.text, 'bob@x.example') eq(a[3].name, 'J\\u{fc}rg') eq(a[4].text, 'c@d.example')\n"
	  "eq(a[4].name, nil) eq(a[5].text, '\"q x\"@z.example') eq(a[6].text, 'nobody') eq(a[6].address, nil)\n"
	  "eq(#gw.mime.addresses(('a@b.example,'):rep(1500)), 1000) eq(#gw.mime.addresses(''), 0)" },
	{ "tags", HOOK_MESSAGE,
	  "message:tag 'secure' message:tag 'b' message:tag 'b' eq(message:has_tag('secure'), true)\n"
	  "eq(message:has_tag('x'), false) eq(message.tags:has 'b', true) eq(#message.tags, 2)\n"
	  "eq(list(message.tags:list()), 'secure b') for t in pairs(message.tags) do assert(t) end\n"
	  "eq(tostring(message.tags), 'secure, b')" },
	{ "vars", HOOK_MESSAGE,
	  "message.vars.a = { x = 1.5, s = 'y', l = { true, false } } eq(message.vars.a.l[1], true)\n"
	  "eq(message.vars.a.x, 1.5) eq(message.vars.none, nil)\n"
	  "message.recipients[1].vars.q = 'z' eq(message.recipients[1].vars.q, 'z')\n"
	  "eq(message.recipients[2].vars.q, nil)" },
	{ "envelope", HOOK_MESSAGE,
	  "message:set_from('B@Other.Example') eq(message.from.text, 'B@other.example')\n"
	  "eq(message.from.domain.name, 'other.example') message:set_from('<>') eq(message.from.is_null, true)\n"
	  "local r = message:add_recipient('New@x.example') eq(r.address.text, 'New@x.example')\n"
	  "eq(#message.recipients, 3) eq(message:add_recipient('New@x.example').address, r.address)\n"
	  "eq(#message.recipients, 3) message:remove_recipient(message.recipients[1])\n"
	  "eq(#message.recipients, 2) eq(message.recipients[1].localpart, 'postmaster')\n"
	  "local a = '' for x in message:each_recipient() do a = a .. x.localpart .. ' ' end\n"
	  "eq(a, 'postmaster New ')" },
	{ "duties", HOOK_MESSAGE,
	  "message:require_tls { level = 'verify', reason = 'r' } local d = message.duties\n"
	  "eq(d:has 'encrypt', true) eq(d:has 'propagate', false) eq(d.level, 'verify') eq(#d, 2)\n"
	  "eq(list(d:list()), 'encrypt authenticate') eq(tostring(d), 'encrypt[admin] authenticate[admin]')\n"
	  "message:require_tls { level = 'requiretls', reason = 'r', recipients = { message.recipients[1] } }\n"
	  "eq(#message.duties, 2) eq(#message.recipients[1].duties, 4) eq(#message.recipients[2].duties, 2)\n"
	  "message.recipients[2]:require_tls { level = 'secure', reason = 'r', waivable = true }\n"
	  "eq(message.recipients[2].duties:has 'secure_lookup', true)\n"
	  "for k in pairs(d) do assert(d:has(k)) end" },
	{ "ignore TLS-Required: No", HOOK_MESSAGE,
	  "message:ignore_tls_required_no { reason = 'r' } eq(message.tls_required_no, 'ignored')\n"
	  "message:ignore_tls_required_no { reason = 'again' } message:note('done')" },
	{ "rcpt", HOOK_RCPT,
	  "eq(rcpt.address.text, 'Bob@clinic.example') eq(rcpt.domain.name, 'clinic.example')\n"
	  "eq(rcpt.localpart, 'Bob') eq(rcpt.orcpt, 'rfc822;bob@clinic.example') eq(rcpt.relay, 'allowed')\n"
	  "eq(rcpt.notify:has 'failure', true) eq(rcpt.notify:has 'never', false)\n"
	  "eq(tostring(rcpt.notify), 'failure, delay') eq(rcpt.params.orcpt, rcpt.orcpt)\n"
	  "eq(#rcpt.params.notify, 2) eq(rcpt.state, 'new') eq(rcpt.attempts, 0) eq(rcpt.last, nil)\n"
	  "eq(rcpt.route, nil) rcpt:tag 'x' eq(rcpt:has_tag 'x', true) eq(rcpt.tags:has 'x', true)\n"
	  "eq(message.recipients[2].relay, nil) eq(tostring(rcpt), 'Bob@clinic.example') rcpt:note 'n'" },
	{ "rcpt rewrite", HOOK_DATA,
	  "local r = message.recipients[1] r:require_tls { level = 'encrypt', reason = 'r' }\n"
	  "r:rewrite 'carl@Third.example' eq(r.address.text, 'carl@third.example')\n"
	  "eq(r.duties:has 'encrypt', true) eq(r.notify:has 'delay', true)" },
	{ "route", HOOK_ROUTE, "eq(rcpt.route, 'internet') eq(rcpt.domain.name, 'clinic.example')" },
	{ "tls_policy", HOOK_TLS_POLICY,
	  "eq(domain.name, 'clinic.example') eq(route.name, 'internet') eq(route.via, 'mx') eq(route.port, 25)\n"
	  "eq(route.domain, nil) eq(route.implicit_tls, false) eq(route.tls, 'encrypt') eq(#route.names, 0)\n"
	  "eq(#route.pins, 0) eq(route.source, nil) eq(route.sticky, false)\n"
	  "eq(route.assert_secure_lookup, false) eq(route.assert_propagate, false)\n"
	  "eq(tostring(route), 'internet')" },
	{ "hop", HOOK_EHLO,
	  "eq(hop.destination.name, 'clinic.example') eq(hop.route.name, 'internet')\n"
	  "eq(hop.host.name, 'mx.clinic.example') eq(hop.host.ip, '192.0.2.7') eq(hop.host.port, 25)\n"
	  "eq(hop.host.preference, 10) eq(hop.attempt, 2) eq(hop.mx_secure, 'dnssec')\n"
	  "eq(hop.sts.mode, 'enforce') eq(hop.sts.match, false) eq(hop.tlsa.usable, true)\n"
	  "eq(hop.tlsa.count, 1) eq(hop.tlsa.secure, true) eq(hop.caps:has 'starttls', true)\n"
	  "eq(hop.caps:has 'REQUIRETLS', false) eq(hop.tls.version, 'TLSv1.2') eq(hop.tls.cipher, 'ECDHE')\n"
	  "eq(hop.tls.verified, 'dane') eq(hop.tls.names[1], 'mx.clinic.example')\n"
	  "eq(hop.tls.error, 'self-signed certificate') eq(#hop.duties, 4) eq(hop.met:has 'encrypt', true)\n"
	  "eq(hop.met:has 'propagate', false) eq(hop.unmet:has 'propagate', true) eq(hop.relaxed, nil)\n"
	  "eq(tostring(hop.unmet), 'propagate') hop:note 'n'" },
	{ "unmet", HOOK_UNMET, "eq(unmet:has 'propagate', true) eq(unmet:has 'encrypt', false) eq(#unmet, 1)" },
	{ "result", HOOK_RESULT,
	  "eq(result.kind, 'deferred') eq(result.code, 451) eq(result.status, '4.4.2')\n"
	  "eq(result.text, 'try later') eq(result.stage, 'data') eq(result.attempts, 3)\n"
	  "eq(result.first_attempt, 1795392000.0) eq(result.next_attempt, 1795392060.0)\n"
	  "eq(list(result.cause), 'mx.clinic.example: timeout') eq(result.hop.host.name, 'mx.clinic.example')\n"
	  "eq(#result.duties, 4) eq(rcpt.state, 'active') eq(rcpt.attempts, 3)\n"
	  "eq(rcpt.last.attempts, 2) eq(rcpt.last.hop.host.name, 'old.clinic.example')\n"
	  "eq(rcpt.last.hop.route.name, 'internet') eq(tostring(result), 'deferred')" },
	{ "bounce, read", HOOK_BOUNCE,
	  "eq(bounce.message, message) eq(bounce.kind, 'failed') eq(bounce.to.text, 'ann@acme.example')\n"
	  "eq(bounce.sender.is_null, true) eq(bounce.requiretls, false) eq(bounce.tls_required_no, 'honoured')\n"
	  "eq(#bounce.recipients, 2) local r = bounce.recipients[1] eq(r.address.text, 'bob@clinic.example')\n"
	  "eq(r.action, 'failed') eq(r.status, '5.7.30') eq(r.diagnostic, 'x-sallyport; no REQUIRETLS')\n"
	  "eq(r.remote_mta, 'mx.clinic.example') eq(r.last_attempt, 1795392000.0)\n"
	  "eq(bounce.recipients[2].diagnostic, '550 5.1.1 no such user') eq(bounce.recipients[3], nil)\n"
	  "for i, x in ipairs(bounce.recipients) do assert(x.status) end\n"
	  "eq(bounce.original_return, 'full') eq(bounce.to.domain:is_remote(), false)" },
	{ "bounce, written", HOOK_BOUNCE,
	  "bounce.from_header = 'Mail <pm@acme.example>' eq(bounce.from_header, 'Mail <pm@acme.example>')\n"
	  "bounce.subject = 'Z\\u{fc}rich' eq(bounce.subject, 'Z\\u{fc}rich') bounce.language = 'de'\n"
	  "eq(bounce.language, 'de') bounce.template = 'external' eq(bounce.template, 'external')\n"
	  "bounce.text = 'a\\nb' eq(bounce.text, 'a\\nb') bounce.html = '<p>' eq(bounce.html, '<p>')\n"
	  "bounce.footer = 'f' eq(bounce.footer, 'f') bounce.footer = nil eq(bounce.footer, nil)\n"
	  "bounce.return_content = 'full' eq(bounce.return_content, 'full')\n"
	  "bounce.return_content = 'none' eq(bounce.return_content, 'none')\n"
	  "bounce.headers = { 'X-A: 1', 'X-B: 2' } eq(list(bounce.headers), 'X-A: 1 X-B: 2')\n"
	  "bounce.redact = { 'internal_hosts', 'received' } eq(bounce.redact:has 'received', true)\n"
	  "eq(#bounce.redact, 2) bounce.redact = {} eq(#bounce.redact, 0) eq(bounce.protect, nil)\n"
	  "bounce.copy_to = 'help@acme.example' eq(bounce.copy_to.text, 'help@acme.example')\n"
	  "bounce:redact_host '*.corp.example' bounce:note 'n'" },
	{ "bounce, redacted", HOOK_BOUNCE,
	  "local seen = {} bounce:redact_text(function(text, what) seen[#seen + 1] = what .. '=' .. text end)\n"
	  "eq(seen[1], 'diagnostic=no REQUIRETLS') eq(seen[2], 'diagnostic=550 5.1.1 no such user')\n"
	  "eq(seen[4], 'From=\"Ann, of Acme\" <Ann@ACME.example>') eq(#seen, 9)\n"
	  "bounce:redact_text('such%s') bounce:redact_text('^[Nn]o ') bounce:redact_text('%d*')\n"
	  "bounce:redact_text(function(text, what) if what == 'Subject' then return 'x' end end)\n"
	  "seen = {} bounce:redact_text(function(text, what) seen[what] = text seen[#seen + 1] = text end)\n"
	  "eq(seen[1], '(hidden)REQUIRETLS') eq(seen[2], '(hidden) (hidden).(hidden).(hidden) no (hidden)user')\n"
	  "eq(seen.Subject, 'x') eq(bounce.recipients[2].diagnostic, '550 5.1.1 no such user')" },
	{ "bounce, attached", HOOK_BOUNCE,
	  "eq(bounce:attach('a.txt', 'text/plain', 'x\\0y'), true) eq(bounce:attach('\\u{e4}', 'a/b', ''), true)" },
	{ "dsn", HOOK_DSN, "eq(report.kind, 'failed') report.subject = 'x' eq(report.subject, 'x')" },
	{ "tlsrpt", HOOK_TLSRPT, "eq(domain.name, 'clinic.example') eq(day, '2026-11-29')" },
	{ "auth", HOOK_AUTH, "eq(cred.mech, 'PLAIN') eq(cred.id, 'ann') eq(cred.authzid, nil)\n"
	  "eq(cred.password, 'secret') eq(session.auth, nil)" },
	{ "session.auth", HOOK_MAIL, "eq(session.auth, nil)" },
	{ "bounce_in", HOOK_BOUNCE_IN, "eq(report.kind, 'dsn') eq(report.reporting_mta, 'mx.far.example')\n"
	  "eq(report.envelope_id, 'QQ314') eq(report.arrival_date, nil) eq(report.truncated, false)\n"
	  "eq(report:field 'x-more', '\\u{e4}') eq(report:original 'message-id', '<1@acme.example>')\n"
	  "eq(report:original 'Subject', nil) eq(report.feedback_type, nil) eq(report.source_ip, nil)\n"
	  "eq(report.user_agent, nil) eq(#report.recipients, 1) eq(report.recipients[2], nil)\n"
	  "local r = report.recipients[1] eq(r.address, 'bob@clinic.example') eq(r.action, 'failed')\n"
	  "eq(r.status, '5.1.1') eq(r.diagnostic, 'smtp; 550 no such user') eq(r.remote_mta, 'mx.clinic.example')\n"
	  "eq(r.original, nil) eq(r:field 'Status', '5.1.1') message:tag 'bounced' report:note 'n'\n"
	  "for i, x in ipairs(report.recipients) do assert(x.status) end" },
	{ "log", HOOK_LOG, "eq(event.what, 'delivered') eq(event.n[2], 2)" },
	{ "address", HOOK_MAIL,
	  "local a = gw.address('Ann@ACME.Example') eq(a.localpart, 'Ann') eq(a.domain.name, 'acme.example')\n"
	  "eq(a.text, 'Ann@acme.example') eq(a, gw.address('Ann@acme.example')) eq(tostring(a), a.text)\n"
	  "assert(a ~= gw.address('ann@acme.example')) eq(gw.address('<>').is_null, true)\n"
	  "eq(tostring(gw.address('')), '<>') local n, why = gw.address('a b@c') eq(n, nil) assert(#why > 0)" },
	{ "domain", HOOK_MAIL,
	  "local d = gw.domain('B\\u{fc}cher.Acme.Example') eq(d.name, 'xn--bcher-kva.acme.example')\n"
	  "eq(d.unicode, 'b\\u{fc}cher.acme.example') eq(d:is_local(), true) eq(d:is_remote(), false)\n"
	  "eq(d:under('acme.example'), true) eq(d:under(gw.domain('example')), true)\n"
	  "eq(d:under('cme.example'), false) eq(gw.domain('x.example'):under('x.example'), true)\n"
	  "eq(gw.domain('a.b.co.uk'):registered(), gw.domain('b.co.uk')) eq(gw.domain('co.uk'):registered(), nil)\n"
	  "eq(gw.domain('other.example'):is_remote(), true) eq(gw.domain('a..b'), nil)\n"
	  "eq(tostring(d), d.name)" },
	{ "sets", HOOK_RCPT,
	  "local s = gw.set { 'Postmaster', 'abuse', gw.domain('clinic.example'), gw.address('bob@clinic.example') }\n"
	  "eq(#s, 4) eq(s:has 'postmaster', true) eq(s:has 'ABUSE', true) eq(s:has 'abus', false)\n"
	  "eq(s:has(rcpt.domain), true) eq(s:has(rcpt.address), true) eq(s:has(nil), false)\n"
	  "eq(s:list()[2], 'abuse') eq(#gw.set {}, 0) eq(gw.set {}:has 'x', false)" },
	{ "domain sets", HOOK_RCPT, "eq(own:has(rcpt.domain), true) eq(own:has('a.x.example'), true)\n"
	  "eq(own:has('x.example'), false) eq(own:has(rcpt.address), true) eq(own:has(nil), false)" },
};

START_TEST(works)
{
	const struct body_case *c = &good[_i];
	char *body = strcmp(c->name, "domain sets") != 0 ? xstrdup(c->body) : NULL;

	if (body != NULL) {
		run_case(c->name, c->hook, body, NULL);
		free(body);
		return;
	}
	/* gw.domains is made while the bundle loads. */
	struct fix f;
	struct world w;
	struct verdict v;
	char *text = xasprintf("%slocal own = gw.domains { 'clinic.example', '*.x.example' }\n"
	    "gw.on('rcpt', function(session, message, rcpt)\n%s\nend, { name = 'test' })", prelude, c->body);

	fix_load(&f, text);
	world_init(&w);
	fix_call(&f, HOOK_RCPT, &w, &v);
	ck_assert_msg(!v.is_error, "%s", fix_log);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
	free(text);
}
END_TEST

static const struct error_case {
	const char *name;
	enum policy_hook hook;
	const char *body, *says;
} wrong[] = {
	{ "typo in a field", HOOK_MESSAGE, "return message.subjct", "did you mean 'subject'" },
	{ "typo in a method", HOOK_MESSAGE, "message:requiretls_x()", "did you mean 'requiretls'" },
	{ "typo in session", HOOK_CONNECT, "return session.hello", "did you mean 'helo'" },
	{ "typo in tls", HOOK_TLS, "return session.tls.versoin", "did you mean 'version'" },
	{ "typo in rcpt", HOOK_RCPT, "return rcpt.adress", "did you mean 'address'" },
	{ "typo in hop", HOOK_EHLO, "return hop.hosts", "did you mean 'host'" },
	{ "typo in result", HOOK_RESULT, "return result.sate", "did you mean 'stage'" },
	{ "typo in bounce", HOOK_BOUNCE, "bounce.langauge = 'de'", "did you mean 'language'" },
	{ "typo in address", HOOK_MAIL, "return message.from.local_part", "did you mean 'localpart'" },
	{ "typo in domain", HOOK_MAIL, "return message.from.domain:registred()", "did you mean 'registered'" },
	{ "typo in a duty", HOOK_MESSAGE, "return message.duties:has 'encrypted'", "did you mean 'encrypt'" },
	{ "typo in redact", HOOK_BOUNCE, "bounce.redact = { 'recieved' }", "did you mean 'received'" },
	{ "number as a field", HOOK_MESSAGE, "return message[1]", "cannot be indexed with a number" },
	{ "write read-only", HOOK_MESSAGE, "message.requiretls = true", "message.requiretls is read-only" },
	{ "write from", HOOK_MESSAGE, "message.from = 'x@y.example'", "message.from is read-only" },
	{ "write a method", HOOK_MESSAGE, "message.tag = 1", "message.tag is read-only" },
	{ "write duties", HOOK_MESSAGE, "message.duties = {}", "read-only" },
	{ "write into duties", HOOK_MESSAGE, "message.duties.level = 'may'", "read-only" },
	{ "write tags", HOOK_MESSAGE, "message.tags.x = true", "has no field" },
	{ "write recipients", HOOK_MESSAGE, "message.recipients[1] = nil", "read-only" },
	{ "write a session field", HOOK_CONNECT, "session.helo = 'x'", "session.helo is read-only" },
	{ "write an address", HOOK_MAIL, "message.from.localpart = 'x'", "read-only" },
	{ "write a set", HOOK_MAIL, "gw.set { 'a' }.b = 1", "read-only" },
	{ "write bounce.to", HOOK_BOUNCE, "bounce.to = 'x@y.example'", "bounce.to is read-only" },
	{ "write bounce.sender", HOOK_BOUNCE, "bounce.sender = 'x@y.example'", "bounce.sender is read-only" },
	{ "write into a read value", HOOK_MESSAGE,
	  "message.vars.a = { 1 } message.vars.a[1] = 2", "read-only" },
	{ "dot for colon", HOOK_MESSAGE, "message.tag('x')", "called with ':'" },
	{ "method of another", HOOK_MESSAGE, "message.tag(session, 'x')", "expected a message" },
	{ "no header yet", HOOK_MAIL, "return message:subject()", "not there at hook mail" },
	{ "no chunks", HOOK_MESSAGE, "return message:body_chunks(0)", "at least 1 octet" },
	{ "dkim without a key", HOOK_MESSAGE, "return message:dkim_sign {}", "key" },
	{ "dkim with a key of a policy", HOOK_MESSAGE, "return message:dkim_sign { key = 'x', pem = 'y' }", "no field 'pem'" },
	{ "dkim with another key", HOOK_MESSAGE, "return message:dkim_sign { key = 'acme' }", "the configuration has no dkim.acme" },
	{ "mime.encode with CR LF", HOOK_MESSAGE, "return gw.mime.encode('a\\r\\nb')", "control character" },
	{ "mime.decode of much", HOOK_MESSAGE, "return gw.mime.decode(('x'):rep(65537))", "65536" },
	{ "tlsrpt without a queue", HOOK_MESSAGE, "return gw.tlsrpt('x.example')", "there is no queue yet" },
	{ "body_mode", HOOK_MESSAGE, "message.body_mode = 'inspect'", "is set at hook header, not at message" },
	{ "body_mode", HOOK_HEADER, "message.body_mode = 'all'", "invalid option" },
	{ "attach: type", HOOK_BOUNCE, "bounce:attach('a', 'b', 'c')", "text/csv" },
	{ "attach: type with a parameter", HOOK_BOUNCE, "bounce:attach('a', 'text/plain; a=b', 'c')", "text/csv" },
	{ "attach: type with CR LF", HOOK_BOUNCE, "bounce:attach('a', 'text/plain\\r\\nX: y', 'c')", "text/csv" },
	{ "attach: type with NUL", HOOK_BOUNCE, "bounce:attach('a', 'text/plain\\0', 'c')", "text/csv" },
	{ "attach: message", HOOK_BOUNCE, "bounce:attach('a', 'Message/rfc822', 'c')", "not a message" },
	{ "attach: multipart", HOOK_BOUNCE, "bounce:attach('a', 'multipart/mixed', 'c')", "not a message" },
	{ "attach: name with CR LF", HOOK_BOUNCE, "bounce:attach('a\\r\\nX: y', 'text/plain', 'c')", "control character" },
	{ "attach: name with NUL", HOOK_BOUNCE, "bounce:attach('a\\0b', 'text/plain', 'c')", "control character" },
	{ "attach: path", HOOK_BOUNCE, "bounce:attach('../a', 'text/plain', 'c')", "without a path" },
	{ "attach: no name", HOOK_BOUNCE, "bounce:attach('', 'text/plain', 'c')", "without a path" },
	{ "attach: long name", HOOK_BOUNCE, "bounce:attach(('x'):rep(121), 'text/plain', 'c')", "120" },
	{ "attach: too much", HOOK_BOUNCE, "bounce:attach('a', 'text/plain', ('x'):rep(200000))\n"
	  "bounce:attach('b', 'text/plain', ('x'):rep(62145))", "262144 octets in all" },
	{ "attach: too many", HOOK_BOUNCE, "for i = 1, 9 do bounce:attach('a', 'text/plain', 'c') end", "at most 8" },
	{ "redact_text: bad pattern", HOOK_BOUNCE, "bounce:redact_text('(x')", "pattern" },
	{ "redact_text: empty", HOOK_BOUNCE, "bounce:redact_text('')", "it is empty" },
	{ "redact_text: too often", HOOK_BOUNCE, "for i = 1, 17 do bounce:redact_text('x') end", "at most 16" },
	{ "redact_text: function gives a table", HOOK_BOUNCE, "bounce:redact_text(function() return {} end)", "gave a table" },
	{ "redact_text: function gives octets", HOOK_BOUNCE, "bounce:redact_text(function() return '\\xff' end)", "not UTF-8" },
	{ "redact_text: function gives NUL", HOOK_BOUNCE, "bounce:redact_text(function() return '\\0' end)", "not UTF-8" },
	{ "redact_text: function gives much", HOOK_BOUNCE,
	  "bounce:redact_text(function() return ('x'):rep(8001) end)", "more than 8000" },
	{ "redact_text: function waits", HOOK_BOUNCE, "bounce:redact_text(function() gw.sleep(0) end)", "cannot wait" },
	{ "redact_text: function fails", HOOK_BOUNCE, "bounce:redact_text(function() error('no') end)", "no" },
	{ "redact_text: pattern without end", HOOK_BOUNCE,
	  "bounce:redact_text(function(s, w) return ('a'):rep(200) end)\n"
	  "bounce:redact_text(('a?'):rep(60) .. ('a'):rep(60) .. 'b')", "too many steps" },
	{ "other hash", HOOK_MESSAGE, "return message:hash('md5')", "sha256" },
	/* nothing from Lua becomes a line of its own */
	{ "CR LF in a value", HOOK_MESSAGE, "message:add_header('X-A', 'b\\r\\n\\r\\nbody')", "line breaks" },
	{ "LF in a value", HOOK_MESSAGE, "message:set_header('Subject', 'b\\nBcc: x')", "line breaks" },
	{ "NUL in a value", HOOK_MESSAGE, "message:add_header('X-A', 'b\\0c')", "control characters" },
	{ "bad UTF-8 in a value", HOOK_MESSAGE, "message:add_header('X-A', '\\xff')", "UTF-8" },
	{ "colon in a name", HOOK_MESSAGE, "message:add_header('X: y', 'b')", "a header name is" },
	{ "CR LF in a name", HOOK_MESSAGE, "message:add_header('X\\r\\nY', 'b')", "a header name is" },
	{ "NUL in a name", HOOK_MESSAGE, "message:add_header('X\\0', 'b')", "a header name is" },
	{ "space in a name", HOOK_MESSAGE, "message:remove_header('X Y')", "a header name is" },
	{ "long value", HOOK_MESSAGE, "message:add_header('X-A', ('x'):rep(8001))", "8000 octets" },
	{ "trace field", HOOK_MESSAGE, "message:remove_header('Received')", "trace fields" },
	{ "TLS-Required", HOOK_MESSAGE, "message:set_header('TLS-Required', 'No')", "never lowers" },
	{ "Require-TLS", HOOK_MESSAGE, "message:add_header('require-tls', 'NO')", "never lowers" },
	{ "too many edits", HOOK_MESSAGE, "for i = 1, 201 do message:add_header('X-A', 'b') end", "200 header edits" },
	{ "CR in an address", HOOK_MESSAGE, "message:add_recipient('a@x.example\\r\\nRCPT')", "is not an address" },
	{ "null recipient", HOOK_MESSAGE, "message:add_recipient('')", "not the null sender" },
	{ "bad sender", HOOK_MESSAGE, "message:set_from('a b')", "is not an address" },
	{ "bad tag", HOOK_MESSAGE, "message:tag('a b')", "a tag is" },
	{ "too many tags", HOOK_MESSAGE, "for i = 1, 65 do message:tag('t' .. i) end", "64 tags" },
	{ "vars too big", HOOK_MESSAGE, "message.vars.a = ('x'):rep(17000)", "larger than" },
	{ "vars too big together", HOOK_MESSAGE,
	  "for i = 1, 9 do message.vars['k' .. i] = ('x'):rep(2000) end", "16384 octets" },
	{ "rcpt vars too big together", HOOK_MESSAGE,
	  "for i = 1, 9 do message.recipients[1].vars['k' .. i] = ('x'):rep(2000) end", "16384 octets" },
	{ "session vars too big", HOOK_MAIL,
	  "for i = 1, 9 do session.vars['k' .. i] = ('x'):rep(500) end", "4096 octets" },
	{ "function in vars", HOOK_MESSAGE, "message.vars.f = print", "function" },
	{ "key of vars", HOOK_MESSAGE, "message.vars['a b'] = 1", "a key is" },
	{ "level", HOOK_MESSAGE, "message:require_tls { level = 'verfy', reason = 'r' }", "verify" },
	{ "no level", HOOK_MESSAGE, "message:require_tls { reason = 'r' }", "level" },
	{ "no reason", HOOK_MESSAGE, "message:require_tls { level = 'verify' }", "reason" },
	{ "unknown option", HOOK_MESSAGE, "message:require_tls { level = 'verify', reason = 'r', recipient = 1 }",
	  "did you mean 'recipients'" },
	{ "wrong recipients", HOOK_MESSAGE,
	  "message:require_tls { level = 'verify', reason = 'r', recipients = { 'a@b.example' } }", "expected a rcpt" },
	{ "no reason to ignore", HOOK_MESSAGE, "message:ignore_tls_required_no {}", "reason" },
	{ "edit of a stored message", HOOK_ATTEMPT, "message:tag 'x'", "cannot be changed at hook attempt" },
	{ "vars of a stored message", HOOK_ATTEMPT, "message.vars.x = 1", "cannot be changed at hook attempt" },
	{ "duties of a stored message", HOOK_ATTEMPT,
	  "message:require_tls { level = 'verify', reason = 'r' }", "hop:require_tls" },
	{ "rewrite of a stored one", HOOK_RESULT, "rcpt:rewrite 'a@b.example'", "cannot be changed at hook result" },
	{ "duties after the fact", HOOK_RESULT,
	  "result.hop:require_tls { level = 'verify', reason = 'r' }", "this hop is over" },
	{ "recipients too early", HOOK_MAIL, "message:add_recipient 'a@b.example'", "not before hook data" },
	{ "preview too long", HOOK_MESSAGE, "message:body_preview(1 << 30)", "262144" },
	{ "bounce subject with LF", HOOK_BOUNCE, "bounce.subject = 'a\\nb'", "control character" },
	{ "bounce from without address", HOOK_BOUNCE, "bounce.from_header = 'Nobody'", "no address" },
	{ "bounce from with CR LF", HOOK_BOUNCE, "bounce.from_header = 'a@b.example\\r\\nX: y'", "control character" },
	{ "bounce template path", HOOK_BOUNCE, "bounce.template = '../x'", "letters, digits" },
	{ "bounce language path", HOOK_BOUNCE, "bounce.language = 'de/x'", "letters, digits" },
	{ "bounce text with NUL", HOOK_BOUNCE, "bounce.text = 'a\\0b'", "control character" },
	{ "bounce text too long", HOOK_BOUNCE, "bounce.text = ('x'):rep(70000)", "65536" },
	{ "bounce header injection", HOOK_BOUNCE, "bounce.headers = { 'X: a\\r\\nY: b' }", "line breaks" },
	{ "bounce header without colon", HOOK_BOUNCE, "bounce.headers = { 'X' }", "Name: value" },
	{ "bounce header of ours", HOOK_BOUNCE, "bounce.headers = { 'Auto-Submitted: no' }", "writes this field itself" },
	{ "bounce return_content", HOOK_BOUNCE, "bounce.return_content = 'all'", "invalid option" },
	{ "bounce protect without requiretls", HOOK_BOUNCE, "bounce.protect = 'redact'", "REQUIRETLS only" },
	{ "bounce copy", HOOK_BOUNCE, "bounce.copy_to = 'x y'", "is not an address" },
	{ "bounce host pattern", HOOK_BOUNCE, "bounce:redact_host 'a b'", "host name" },
	{ "bounce text of another type", HOOK_BOUNCE, "bounce.text = 5", "a string is needed" },
	{ "set of tables", HOOK_MAIL, "gw.set { {} }", "a set holds" },
	{ "set asked for a number", HOOK_MAIL, "return gw.set { 'a' }:has(5)", "set:has takes" },
	{ "domains at run time", HOOK_MAIL, "gw.domains { 'a' }", "while the policy is being loaded" },
	{ "matcher at run time", HOOK_MAIL, "gw.match.tag 'a'", "while the policy is being loaded" },
};

START_TEST(fails)
{
	run_case(wrong[_i].name, wrong[_i].hook, wrong[_i].body, wrong[_i].says);
}
END_TEST

/* A handle kept from one call is of no use in the next, nor is what hangs off it. */
static const char *const kept[] = {
	"return kept.message.id", "return kept.message:subject()", "kept.message:tag 'x'",
	"return kept.session.helo", "return kept.rcpt.address", "return kept.duties.level",
	"return #kept.message.recipients", "kept.vars.x = 1", "return kept.iterator()",
	"return kept.headers()", "return kept.tag(message, 'x') or kept.message.id",
	"for _ in pairs(kept.vars) do end", "return kept.tags:has 'x'",
};

START_TEST(stale_handles)
{
	struct fix f;
	struct world w;
	struct verdict v;
	char *text = xasprintf("local kept\n"
	    "gw.on('message', function(session, message)\n"
	    "  if kept then %s end\n"
	    "  kept = { message = message, session = session, rcpt = message.recipients[1],\n"
	    "    duties = message.duties, vars = message.vars, iterator = message:each_recipient(),\n"
	    "    headers = message:each_header(), tag = message.tag, tags = message.tags }\n"
	    "end, { name = 'test' })", kept[_i]);

	fix_load(&f, text);
	world_init(&w);
	fix_call(&f, HOOK_MESSAGE, &w, &v);
	ck_assert_msg(!v.is_error, "%s", fix_log);
	fix_call(&f, HOOK_MESSAGE, &w, &v);
	ck_assert_msg(v.is_error && v.kind == VERDICT_DEFER, "%s", kept[_i]);
	ck_assert_msg(strstr(fix_log, "stale handle") != NULL, "%s: %s", kept[_i], fix_log);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
	free(text);
}
END_TEST

/* An advisory handler says what it would do and does nothing of it. */
START_TEST(advisory_changes_nothing)
{
	struct fix f;
	struct world w;
	struct verdict v;

	load_body(&f, HOOK_MESSAGE,
	    "message:tag 'x' message:add_header('X-A', 'b') message.vars.a = 1 message:set_from ''\n"
	    "message:require_tls { level = 'requiretls', reason = 'r' } message:add_recipient 'a@b.example'\n"
	    "message:remove_recipient(message.recipients[1]) message.recipients[1]:rewrite 'c@d.example'\n"
	    "message.recipients[1]:tag 'y' message:ignore_tls_required_no { reason = 'r' }",
	    "level = 'advisory'");
	world_init(&w);
	fix_call(&f, HOOK_MESSAGE, &w, &v);
	ck_assert_ptr_null(strstr(fix_log, "policy failed"));
	ck_assert_ptr_nonnull(strstr(fix_log, "would have"));
	ck_assert_uint_eq(w.msg->ntags + w.msg->nedits + w.msg->nvars + w.msg->duties, 0);
	ck_assert_uint_eq(w.msg->nrcpts, 2);
	ck_assert(!w.msg->rcpts[0].discarded);
	ck_assert_str_eq(w.msg->rcpts[0].address, "Bob@clinic.example");
	ck_assert_str_eq(w.msg->from, "ann@acme.example");
	ck_assert_int_eq(w.msg->tls_no, TLS_NO_HONOURED);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

/* a REQUIRETLS message never comes back in full. */
START_TEST(bounce_of_requiretls_is_clamped)
{
	struct fix f;
	struct world w;
	struct verdict v;

	load_body(&f, HOOK_BOUNCE, "bounce.return_content = 'full' bounce.protect = 'redact'\n"
	    "eq(bounce.return_content, 'headers') eq(bounce.protect, 'redact') eq(bounce.requiretls, true)", "");
	world_init(&w);
	w.msg->flags |= MSG_REQUIRETLS;
	w.words.return_content = RET_NONE;
	fix_call(&f, HOOK_BOUNCE, &w, &v);
	ck_assert_ptr_null(strstr(fix_log, "policy failed"));
	ck_assert_ptr_nonnull(strstr(fix_log, "clamped"));
	ck_assert_int_eq(w.words.return_content, RET_HDRS);
	ck_assert_int_eq(w.words.protect, DSN_REDACTED);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

/* Removing a recipient is a recorded decision: it stays, marked, with a reason (I1, I4). */
START_TEST(removed_recipient_is_recorded)
{
	struct fix f;
	struct world w;
	struct verdict v;

	load_body(&f, HOOK_MESSAGE, "message:remove_recipient(message.recipients[2])", "");
	world_init(&w);
	fix_call(&f, HOOK_MESSAGE, &w, &v);
	ck_assert_uint_eq(w.msg->nrcpts, 2);
	ck_assert(!w.msg->rcpts[0].discarded);
	ck_assert(w.msg->rcpts[1].discarded);
	ck_assert_str_eq(w.msg->rcpts[1].discard_reason, "removed by test");
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

START_TEST(duty_note_says_who)
{
	struct fix f;
	struct world w;
	struct verdict v;

	load_body(&f, HOOK_MESSAGE, "message:require_tls { level = 'verify', reason = 'r' }", "");
	world_init(&w);
	w.msg->duty_note = xstrdup("sender");
	fix_call(&f, HOOK_MESSAGE, &w, &v);
	ck_assert_msg(strncmp(w.msg->duty_note, "sender;test policy.lua:", 23) == 0, "%s", w.msg->duty_note);
	ck_assert_uint_eq(w.msg->duties, duties_of_level(TLS_VERIFY, DUTY_BY_ADMIN));
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

START_TEST(hop_duties_are_added)
{
	struct fix f;
	struct world w;
	struct verdict v;

	load_body(&f, HOOK_ATTEMPT, "hop:require_tls { level = 'verify', reason = 'r' }\n"
	    "eq(hop.duties:has 'authenticate', true)", "");
	world_init(&w);
	w.hop.duties = 0;
	fix_call(&f, HOOK_ATTEMPT, &w, &v);
	ck_assert_msg(!v.is_error, "%s", fix_log);
	ck_assert_uint_eq(w.hop.duties, 0);
	ck_assert_uint_eq(w.hop.added, duties_of_level(TLS_VERIFY, DUTY_BY_ADMIN));
	ck_assert_uint_eq(w.msg->duties, 0);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

START_TEST(session_vars_last_as_long_as_the_session)
{
	struct fix f;
	struct world w, other;
	struct verdict v;

	load_body(&f, HOOK_MAIL, "session.vars.n = (session.vars.n or 0) + 1\n"
	    "if session.vars.n == 3 then return gw.reject { text = 'third' } end", "");
	world_init(&w);
	world_init(&other);
	for (int i = 0; i < 3; i++) {
		fix_call(&f, HOOK_MAIL, &w, &v);
		ck_assert_int_eq(v.kind, i == 2 ? VERDICT_REJECT : VERDICT_NONE);
		verdict_fini(&v);
		fix_call(&f, HOOK_MAIL, &other, &v);
		verdict_fini(&v);
		if (i == 1)
			policy_session_end(f.g, &other.vars);
	}
	ck_assert_ptr_nonnull(w.vars);
	world_fini(&w, f.g);
	ck_assert_ptr_null(w.vars);
	world_fini(&other, f.g);
	fix_fini(&f);
}
END_TEST

/* Policy design 5.13: whatever a script calls, in whatever order, no mask gets smaller. */
START_TEST(duties_only_grow)
{
	static const char *const steps[] = {
		"message:require_tls { level = 'may', reason = 'r' }",
		"message:require_tls { level = 'encrypt', reason = 'r' }",
		"message:require_tls { level = 'verify', reason = 'r', waivable = true }",
		"message:require_tls { level = 'secure', reason = 'r', recipients = { rcpt } }",
		"message:require_tls { level = 'requiretls', reason = 'r' }",
		"rcpt:require_tls { level = 'encrypt', reason = 'r', waivable = true }",
		"rcpt:rewrite 'x@y.example'", "message:set_from ''", "message:set_from 'q@r.example'",
		"message:add_recipient 'new@z.example'", "message:remove_recipient(rcpt)",
		"message:ignore_tls_required_no { reason = 'r' }", "message:remove_header 'TLS-Required'",
		"message.duties = {}", "message.duties.encrypt = false", "rcpt.duties = nil",
		"message.requiretls = false", "message:require_tls { level = 'none', reason = 'r' }",
		"message.tags.x = 1", "message.vars.duties = 0",
	};
	unsigned seed = (unsigned)_i * 7919u + 1;

	for (int round = 0; round < 4; round++) {
		struct fix f;
		struct world w;
		struct verdict v;
		char body[4096] = "local rcpt = message.recipients[1]\n";
		uint32_t m0, r0;

		for (int k = 0; k < 12; k++) {
			size_t n = strlen(body);

			seed = seed * 1103515245u + 12345u;
			snprintf(body + n, sizeof body - n, "pcall(function() %s end)\n",
			    steps[(seed >> 16) % NELEMS(steps)]);
		}
		load_body(&f, HOOK_MESSAGE, body, "");
		world_init(&w);
		seed = seed * 1103515245u + 12345u;
		m0 = w.msg->duties = seed >> 12 & 0xFFFFF;
		r0 = w.msg->rcpts[0].duties = seed >> 4 & 0xFFFFF;
		fix_call(&f, HOOK_MESSAGE, &w, &v);
		ck_assert_msg((w.msg->duties & m0) == m0, "%s", body);
		ck_assert_msg((w.msg->rcpts[0].duties & r0) == r0, "%s", body);
		verdict_fini(&v);
		world_fini(&w, f.g);
		fix_fini(&f);
	}
}
END_TEST

UNIT_MAIN("policy_objects",
	tcase_add_loop_test(tc, works, 0, NELEMS(good));
	tcase_add_loop_test(tc, fails, 0, NELEMS(wrong));
	tcase_add_loop_test(tc, stale_handles, 0, NELEMS(kept));
	tcase_add_test(tc, advisory_changes_nothing);
	tcase_add_test(tc, bounce_of_requiretls_is_clamped);
	tcase_add_test(tc, removed_recipient_is_recorded);
	tcase_add_test(tc, duty_note_says_who);
	tcase_add_test(tc, hop_duties_are_added);
	tcase_add_test(tc, session_vars_last_as_long_as_the_session);
	tcase_add_loop_test(tc, duties_only_grow, 0, 12);
)
