/* gw.rule, gw.action, gw.match as policies write them, what they refuse while loading, and the two
 * ready-made policies that begin with them. */
#include "policy_fixture.h"

#include "policy/policy_int.h"

/* ---- Rules at work ---- */

static const struct rule_case {
	const char *name;
	enum policy_hook hook;
	const char *policy;
	enum verdict_kind kind;
	const char *text;	/* of the verdict; NULL: not looked at */
} rules[] = {
	{ "reject", HOOK_RCPT, "gw.rule { name = 'r', at = 'rcpt', when = gw.match.rcpt_domain 'clinic.example',\n"
	  "act = { gw.action.reject { code = 550, status = '5.7.1', text = 'no' } } }", VERDICT_REJECT, "no" },
	{ "another recipient", HOOK_RCPT, "gw.rule { name = 'r', at = 'rcpt',\n"
	  "when = gw.match.rcpt_domain 'other.example', act = gw.action.reject { text = 'no' } }",
	  VERDICT_NONE, NULL },
	{ "without when", HOOK_CONNECT, "gw.rule { name = 'r', at = 'connect', act = { gw.action.defer {} } }",
	  VERDICT_DEFER, NULL },
	{ "drop", HOOK_CONNECT, "gw.rule { name = 'r', at = 'connect', when = gw.match.client_ip '10.0.0.0/8',\n"
	  "act = { gw.action.drop { text = 'bye' } } }", VERDICT_DROP, "bye" },
	{ "hold", HOOK_MESSAGE, "gw.rule { name = 'r', at = 'message', when = gw.match.size_over(10),\n"
	  "act = { gw.action.hold { reason = 'look' } } }", VERDICT_HOLD, NULL },
	{ "size not over", HOOK_MESSAGE, "gw.rule { name = 'r', at = 'message', when = gw.match.size_over '1M',\n"
	  "act = { gw.action.hold { reason = 'look' } } }", VERDICT_NONE, NULL },
	{ "discard", HOOK_MESSAGE, "gw.rule { name = 'r', at = 'message', when = gw.match.sender '@acme.example',\n"
	  "act = { gw.action.discard { reason = 'x' } } }", VERDICT_DISCARD, NULL },
	{ "accept ends the normal part", HOOK_MESSAGE,
	  "gw.rule { name = 'a', at = 'message', priority = 5, act = { gw.action.accept {} } }\n"
	  "gw.rule { name = 'b', at = 'message', act = { gw.action.reject {} } }", VERDICT_ACCEPT, NULL },
	{ "mandatory all the same", HOOK_MESSAGE,
	  "gw.rule { name = 'a', at = 'message', act = { gw.action.accept {} } }\n"
	  "gw.rule { name = 'b', at = 'message', level = 'mandatory', act = { gw.action.reject {} } }",
	  VERDICT_REJECT, NULL },
	{ "advisory says only", HOOK_MESSAGE,
	  "gw.rule { name = 'a', at = 'message', level = 'advisory', act = { gw.action.reject {} } }",
	  VERDICT_NONE, NULL },
	{ "route", HOOK_ROUTE, "gw.rule { name = 'r', at = 'route', when = gw.match.rcpt 'bob@',\n"
	  "act = { gw.action.route { via = 'portal' } } }", VERDICT_ROUTE, NULL },
	{ "bounce", HOOK_ROUTE, "gw.rule { name = 'r', at = 'route',\n"
	  "act = { gw.action.bounce { status = '5.7.1', text = 'no' } } }", VERDICT_BOUNCE, "no" },
	{ "plain verdict as an action", HOOK_ROUTE,
	  "gw.rule { name = 'r', at = 'route', act = { gw.defer {} } }", VERDICT_DEFER, NULL },
	{ "suppress", HOOK_BOUNCE, "gw.rule { name = 'r', at = 'bounce',\n"
	  "when = gw.match.tls_required_no(), act = { gw.action.suppress { reason = 'x' } } }",
	  VERDICT_SUPPRESS, NULL },
	{ "any, no, not", HOOK_MESSAGE, "local m = gw.match gw.rule { name = 'r', at = 'message',\n"
	  "when = m.all { m.any { m.tag 'x', m.helo 'client.*' }, m.no(m.tag 'y'), m['not'](m.requiretls()) },\n"
	  "act = { gw.action.reject {} } }", VERDICT_REJECT, NULL },
	{ "arguments without a list", HOOK_MESSAGE, "local m = gw.match gw.rule { name = 'r', at = 'message',\n"
	  "when = m.all(m.direction('inbound', 'outbound'), m.tls_inbound '1.3', m.has_header 'To'),\n"
	  "act = { gw.action.reject {} } }", VERDICT_REJECT, NULL },
	{ "a set as words", HOOK_RCPT, "local s = gw.set { 'bob@', 'x@y.example' }\n"
	  "gw.rule { name = 'r', at = 'rcpt', when = gw.match.rcpt(s), act = { gw.action.reject {} } }",
	  VERDICT_REJECT, NULL },
	{ "listener and role", HOOK_CONNECT, "gw.rule { name = 'r', at = 'connect',\n"
	  "when = gw.match.all { gw.match.listener 'relay', gw.match.listener_role 'relay' },\n"
	  "act = { gw.action.reject {} } }", VERDICT_REJECT, NULL },
	{ "function as a matcher", HOOK_MESSAGE, "gw.rule { name = 'r', at = 'message',\n"
	  "when = gw.match.lua(function(session, message) return message.from.localpart == 'ann' end),\n"
	  "act = { gw.action.reject {} } }", VERDICT_REJECT, NULL },
	{ "function that says no", HOOK_MESSAGE, "gw.rule { name = 'r', at = 'message',\n"
	  "when = gw.match.lua(function(session, message) return false end),\n"
	  "act = { gw.action.reject {} } }", VERDICT_NONE, NULL },
	{ "time", HOOK_MESSAGE, "gw.rule { name = 'r', at = 'message',\n"
	  "when = gw.match.time { days = 'mon-sun', from = '00:00', to = '24:00', zone = 'utc' },\n"
	  "act = { gw.action.reject {} } }", VERDICT_REJECT, NULL },
	{ "matcher before a Lua handler", HOOK_MESSAGE,
	  "gw.on('message', function() return gw.reject {} end, { name = 'h', when = gw.match.tag 'x' })",
	  VERDICT_NONE, NULL },
	{ "a rule's tag is seen by the next", HOOK_MESSAGE,
	  "gw.rule { name = 'a', at = 'message', priority = 1, act = { gw.action.tag 'x' } }\n"
	  "gw.on('message', function() return gw.reject {} end, { name = 'h', when = gw.match.tag 'x' })",
	  VERDICT_REJECT, NULL },
};

START_TEST(rule)
{
	const struct rule_case *c = &rules[_i];
	struct fix f;
	struct world w;
	struct verdict v;

	fix_load(&f, c->policy);
	world_init(&w);
	fix_call(&f, c->hook, &w, &v);
	ck_assert_msg(!v.is_error, "%s: %s", c->name, fix_log);
	ck_assert_msg(v.kind == c->kind, "%s: %s", c->name, verdict_kind_name(v.kind));
	if (c->text != NULL)
		ck_assert_str_eq(v.text, c->text);
	if (c->kind == VERDICT_ROUTE)
		ck_assert_str_eq(v.route->name, "portal");
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

/* All that an action can change, at once. */
START_TEST(actions)
{
	struct fix f;
	struct world w;
	struct verdict v;

	fix_load(&f, "local a = gw.action gw.rule { name = 'all.of.them', at = 'message', act = {\n"
	    "a.require_tls { level = 'secure', reason = 'r', waivable = true }, a.tag 'x',\n"
	    "a.add_header('X-A', '1'), a.add_header('X-B', '2', 'end'), a.set_header('Subject', 's'),\n"
	    "a.remove_header 'X-Multi', a.ignore_tls_required_no { reason = 'r' }, a.note 'noted',\n"
	    "a.reject { text = 'end' } } }");
	world_init(&w);
	fix_call(&f, HOOK_MESSAGE, &w, &v);
	ck_assert_int_eq(v.kind, VERDICT_REJECT);
	ck_assert_str_eq(v.handler, "all.of.them");
	ck_assert_uint_eq(w.msg->duties, duties_of_level(TLS_SECURE, DUTY_BY_ADMIN_WAIVABLE));
	ck_assert_str_eq(w.msg->duty_note, "all.of.them policy.lua:1");
	ck_assert(msg_has_tag(w.msg, "x"));
	ck_assert_uint_eq(w.msg->nedits, 4);
	ck_assert_int_eq(w.msg->edits[0].op, EDIT_ADD_TOP);
	ck_assert_int_eq(w.msg->edits[1].op, EDIT_ADD_END);
	ck_assert_int_eq(w.msg->edits[2].op, EDIT_SET);
	ck_assert_int_eq(w.msg->edits[3].op, EDIT_REMOVE);
	ck_assert_str_eq(w.msg->edits[2].value, "s");
	ck_assert_ptr_null(w.msg->edits[3].value);
	ck_assert_int_eq(w.msg->tls_no, TLS_NO_IGNORED);
	ck_assert_ptr_nonnull(strstr(fix_log, "noted"));
	ck_assert_uint_eq(f.g->handlers[0]->calls, 1);
	ck_assert_uint_eq(f.g->handlers[0]->hits, 1);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

/* At rcpt one recipient owes, at attempt the hop. */
START_TEST(require_tls_where_it_stands)
{
	struct fix f;
	struct world w;
	struct verdict v;

	fix_load(&f, "local a = gw.action.require_tls { level = 'verify', reason = 'r' }\n"
	    "gw.rule { name = 'r', at = 'rcpt', act = { a } }\n"
	    "gw.rule { name = 'h', at = 'attempt', act = { a } }");
	world_init(&w);
	fix_call(&f, HOOK_RCPT, &w, &v);
	ck_assert_uint_eq(w.msg->duties, 0);
	ck_assert_uint_eq(w.msg->rcpts[0].duties, duties_of_level(TLS_VERIFY, DUTY_BY_ADMIN));
	ck_assert_uint_eq(w.msg->rcpts[1].duties, 0);
	fix_call(&f, HOOK_ATTEMPT, &w, &v);
	ck_assert_uint_eq(w.hop.added, duties_of_level(TLS_VERIFY, DUTY_BY_ADMIN));
	ck_assert_uint_eq(w.msg->duties, 0);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

/* What cannot be answered or carried out is a failure of the hook, not "no" (I5). */
static const struct fail_case {
	const char *name, *policy, *says;
} fails[] = {
	{ "no header", "gw.rule { name = 'r', at = 'message', when = gw.match.subject_word 'x',\n"
	  "act = { gw.action.tag 'x' } }", "header cannot be read" },
	{ "failing function", "gw.rule { name = 'r', at = 'message',\n"
	  "when = gw.match.lua(function() error 'oops' end), act = { gw.action.tag 'x' } }", "oops" },
	{ "function that changes something", "gw.rule { name = 'r', at = 'message',\n"
	  "when = gw.match.lua(function(s, m) m:tag 'y' end), act = { gw.action.tag 'x' } }",
	  "may not change anything" },
	{ "function that changes the session", "gw.rule { name = 'r', at = 'message',\n"
	  "when = gw.match.lua(function(s, m) s.vars.x = 1 end), act = { gw.action.tag 'x' } }",
	  "may not change anything" },
};

START_TEST(failure_is_no_answer)
{
	struct fix f;
	struct world w;
	struct verdict v;
	struct policy_subject *s;

	fix_load(&f, fails[_i].policy);
	world_init(&w);
	s = world_for(&w, HOOK_MESSAGE);
	s->header = (struct slice){ 0 };
	ck_assert_int_eq(policy_call(f.p, f.g, HOOK_MESSAGE, s, &v, fix_no_answer, NULL, NULL), POLICY_NOW);
	ck_assert_msg(v.is_error && v.kind == VERDICT_DEFER, "%s", fails[_i].name);
	ck_assert_msg(strstr(fix_log, fails[_i].says) != NULL, "%s: %s", fails[_i].name, fix_log);
	ck_assert(!msg_has_tag(w.msg, "x"));
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

/* ---- What does not load ---- */

static const struct load_case {
	const char *name, *policy, *says;
} loads[] = {
	{ "unknown hook", "gw.rule { name = 'r', at = 'mesage', act = { gw.action.tag 'x' } }",
	  "did you mean 'message'" },
	{ "unknown field", "gw.rule { name = 'r', at = 'message', wehn = 1, act = {} }", "did you mean 'when'" },
	{ "no name", "gw.rule { at = 'message', act = { gw.action.tag 'x' } }", "name" },
	{ "name used twice", "for i = 1, 2 do gw.rule { name = 'r', at = 'message', act = { gw.action.tag 'x' } } end",
	  "already used" },
	{ "no act", "gw.rule { name = 'r', at = 'message' }", "act is needed" },
	{ "empty act", "gw.rule { name = 'r', at = 'message', act = {} }", "1 to 32 actions" },
	{ "act of strings", "gw.rule { name = 'r', at = 'message', act = { 'tag' } }", "act[1] is a string" },
	{ "verdict not for the hook", "gw.rule { name = 'r', at = 'message', act = { gw.action.drop {} } }", "drop" },
	{ "verdict in the middle", "gw.rule { name = 'r', at = 'message',\n"
	  "act = { gw.action.reject {}, gw.action.tag 'x' } }", "after a verdict" },
	{ "action not for the hook", "gw.rule { name = 'r', at = 'connect', act = { gw.action.tag 'x' } }",
	  "cannot be used at hook connect" },
	{ "matcher not for the hook", "gw.rule { name = 'r', at = 'rcpt', when = gw.match.subject_word 'x',\n"
	  "act = { gw.action.reject {} } }", "matcher subject_word cannot be used at hook rcpt" },
	{ "matcher not for a handler's hook",
	  "gw.on('connect', function() end, { name = 'h', when = gw.match.no(gw.match.tag 'x') })",
	  "matcher tag cannot be used at hook connect" },
	{ "when is no matcher", "gw.rule { name = 'r', at = 'message', when = 'x', act = { gw.action.tag 'x' } }",
	  "a matcher is needed" },
	{ "level", "gw.rule { name = 'r', at = 'message', level = 'must', act = { gw.action.tag 'x' } }", "mandatory" },
	{ "unknown matcher", "gw.match.subjct_word 'x'", "did you mean 'subject_word'" },
	{ "unknown action", "gw.action.require_tsl {}", "did you mean 'require_tls'" },
	{ "unknown listener", "gw.match.listener 'inbuond'", "did you mean 'inbound'" },
	{ "cidr", "gw.match.client_ip '10.0.0.0/33'", "client_ip" },
	{ "domain", "gw.match.rcpt_domain 'a b'", "is not a domain" },
	{ "kids", "gw.match.all { 'x' }", "entry 1 is a string" },
	{ "no kids", "gw.match.any {}", "at least one matcher" },
	{ "two for no", "gw.match.no(gw.match.tag 'x', gw.match.tag 'y')", "takes one matcher" },
	{ "words", "gw.match.tag(5)", "strings are needed" },
	{ "size", "gw.match.size_over '10 MB'", "a size is octets" },
	{ "argument too many", "gw.match.requiretls(false)", "takes no argument" },
	{ "time option", "gw.match.time { day = 'mon' }", "did you mean 'days'" },
	{ "time zone", "gw.match.time { zone = 'cet' }", "local" },
	{ "header name", "gw.match.header('a b', 'c')", "not a header name" },
	{ "header injection", "gw.action.add_header('X-A', 'b\\r\\nBcc: x')", "line breaks" },
	{ "header name injection", "gw.action.set_header('X-A: b\\r\\nY', 'b')", "a header name is" },
	{ "weakening header", "gw.action.add_header('TLS-Required', 'No')", "never lowers" },
	{ "note with a line end", "gw.action.note 'a\\nb'", "control character" },
	{ "tag", "gw.action.tag 'a b'", "a tag is" },
	{ "level of require_tls", "gw.action.require_tls { level = 'high', reason = 'r' }", "level" },
	{ "reason of require_tls", "gw.action.require_tls { level = 'verify' }", "reason" },
	{ "verdict field", "gw.action.reject { txt = 'x' }", "did you mean 'text'" },
	{ "write to gw.match", "gw.rule.x = 1", "" },
};

START_TEST(does_not_load)
{
	struct fix f;
	char *text = xasprintf("\n%s", loads[_i].policy);

	ck_assert_msg(!fix_try(&f, text), "%s", loads[_i].name);
	ck_assert_msg(strstr(f.err.text, loads[_i].says) != NULL, "%s: %s", loads[_i].name, f.err.text);
	/* file and line lead the way */
	ck_assert_msg(strncmp(f.err.text, "policy.lua:", 11) == 0, "%s: %s", loads[_i].name, f.err.text);
	fix_fini(&f);
	free(text);
}
END_TEST

/* `policy check` reports every wrong rule, not the first alone. */
START_TEST(check_reports_all)
{
	struct fix f;
	char *text = NULL;

	ck_assert(!fix_try(&f, "gw.rule { name = 'a', at = 'mesage', act = {} }\n"
	    "gw.rule { name = 'b', at = 'connect', act = { gw.action.tag 'x' } }\n"
	    "gw.rule { name = 'c', at = 'message', act = { gw.action.tag 'x' } }"));
	ck_assert(!policy_check(f.bundle, f.conf, &text));
	ck_assert_msg(strstr(text, "policy.lua:1: ") != NULL && strstr(text, "did you mean 'message'") != NULL &&
	    strstr(text, "policy.lua:2: ") != NULL && strstr(text, "policy.lua:3: ") == NULL, "%s", text);
	free(text);
	fix_fini(&f);
}
END_TEST

/* A thousand domains in one rule. */
START_TEST(many_domains)
{
	struct fix f;
	struct world w;
	struct verdict v;

	fix_load(&f, "local d = {} for i = 1, 1000 do d[i] = 'd' .. i .. '.example' end d[500] = '*.example'\n"
	    "gw.rule { name = 'r', at = 'rcpt', when = gw.match.rcpt_domain(d), act = { gw.action.reject {} } }");
	world_init(&w);
	fix_call(&f, HOOK_RCPT, &w, &v);
	ck_assert_int_eq(v.kind, VERDICT_REJECT);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

/* ---- policies/ ---- */

static char *
read_policy(const char *name)
{
	const char *srcdir = getenv("srcdir");
	char *path = xasprintf("%s/policies/%s/policy.lua", srcdir == NULL ? "." : srcdir, name);
	FILE *f = fopen(path, "r");
	char *text = xcalloc(1, 65536);

	ck_assert_msg(f != NULL, "%s", path);
	ck_assert(fread(text, 1, 65535, f) > 0);
	fclose(f);
	free(path);
	return text;
}

/* With these options, as Lua text; NULL: none. */
static void
load_policy(struct fix *f, const char *name, const char *options)
{
	const char *srcdir = getenv("srcdir");
	char *text = read_policy(name), *lib = xasprintf("%s/lua", srcdir == NULL ? "." : srcdir);
	char *all = options == NULL ? NULL : xasprintf("{ %s = { %s } }", name, options);

	fix_libdir = lib;
	fix_options = all;
	fix_load(f, text);
	fix_libdir = fix_options = NULL;
	free(all);
	free(lib);
	free(text);
}

static const struct subject_case {
	const char *name, *options;
	const char *header;
	enum listener_role role;
	bool marked;
	const char *subject;	/* afterwards; NULL: no edit */
} subjects[] = {
	{ "keyword", NULL, "Subject: Re: [SECURE] results\r\n\r\n", ROLE_RELAY, true, NULL },
	{ "encoded keyword", NULL, "Subject: =?utf-8?b?W3NlY3VyZV0=?= x\r\n\r\n", ROLE_RELAY, true, NULL },
	{ "header", NULL, "Subject: x\r\nSensitivity: company-confidential\r\n\r\n", ROLE_RELAY, true, NULL },
	{ "no mark", NULL, "Subject: secure\r\nSensitivity: Personal\r\n\r\n", ROLE_RELAY, false, NULL },
	{ "keyword in the body only", NULL, "Subject: x\r\n\r\n[secure]", ROLE_RELAY, false, NULL },
	{ "from outside", NULL, "Subject: [secure]\r\n\r\n", ROLE_MX, false, NULL },
	{ "listed sender", "senders = { '@acme.example' }", "Subject: [secure]\r\n\r\n", ROLE_RELAY,
	  true, NULL },
	{ "sender not listed", "senders = { 'bob@acme.example' }", "Subject: [secure]\r\n\r\n",
	  ROLE_RELAY, false, NULL },
	{ "stripped", "strip = true", "Subject: Re: [Secure] results\r\n\r\n", ROLE_RELAY, true,
	  "Re: results" },
	{ "stripped at the front", "strip = true", "Subject: [secure] x\r\n\r\n", ROLE_RELAY, true,
	  "x" },
	{ "not UTF-8, not stripped", "strip = true", "Subject: [secure] \xFF\r\n\r\n", ROLE_RELAY,
	  true, NULL },
};

START_TEST(subject_tag)
{
	const struct subject_case *c = &subjects[_i];
	struct fix f;
	struct world w;
	struct verdict v;
	struct policy_subject *s;

	load_policy(&f, "subject_tag", c->options);
	world_init(&w);
	w.listener.role = c->role;
	s = world_for(&w, HOOK_MESSAGE);
	s->header = slice_of(c->header);
	policy_call(f.p, f.g, HOOK_MESSAGE, s, &v, fix_no_answer, NULL, NULL);
	ck_assert_msg(v.kind == VERDICT_NONE && !v.is_error, "%s: %s", c->name, fix_log);
	ck_assert_msg(w.msg->duties == (c->marked ? duties_of_level(TLS_REQUIRETLS, DUTY_BY_ADMIN) : 0), "%s",
	    c->name);
	ck_assert_msg(msg_has_tag(w.msg, "secure") == c->marked, "%s", c->name);
	ck_assert_msg(w.msg->nedits == (c->subject != NULL), "%s", c->name);
	if (c->subject != NULL)
		ck_assert_str_eq(w.msg->edits[0].value, c->subject);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

static const struct tlsno_case {
	const char *name, *a, *b;
	enum msg_tls_no before, after;
} tlsnos[] = {
	{ "role accounts", "Postmaster@x.example", "TLSRPT@y.example", TLS_NO_HONOURED, TLS_NO_HONOURED },
	{ "one other", "postmaster@x.example", "bob@x.example", TLS_NO_HONOURED, TLS_NO_IGNORED },
	{ "others", "a@x.example", "b@x.example", TLS_NO_HONOURED, TLS_NO_IGNORED },
	{ "absent", "a@x.example", "b@x.example", TLS_NO_ABSENT, TLS_NO_ABSENT },
	{ "overridden", "a@x.example", "b@x.example", TLS_NO_OVERRIDDEN, TLS_NO_OVERRIDDEN },
};

START_TEST(tlsno_roles)
{
	const struct tlsno_case *c = &tlsnos[_i];
	struct fix f;
	struct world w;
	struct verdict v;

	load_policy(&f, "tlsno_roles", NULL);
	world_init(&w);
	w.msg->tls_no = c->before;
	free(w.msg->rcpts[0].address);
	free(w.msg->rcpts[1].address);
	w.msg->rcpts[0].address = xstrdup(c->a);
	w.msg->rcpts[1].address = xstrdup(c->b);
	fix_call(&f, HOOK_MESSAGE, &w, &v);
	ck_assert_msg(v.kind == VERDICT_NONE && !v.is_error, "%s: %s", c->name, fix_log);
	ck_assert_msg(w.msg->tls_no == c->after, "%s", c->name);
	ck_assert_msg((strstr(fix_log, "ignored by policy") != NULL) == (c->before != c->after), "%s", fix_log);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

UNIT_MAIN("policy_rules",
	tcase_add_loop_test(tc, rule, 0, NELEMS(rules));
	tcase_add_test(tc, actions);
	tcase_add_test(tc, require_tls_where_it_stands);
	tcase_add_loop_test(tc, failure_is_no_answer, 0, NELEMS(fails));
	tcase_add_loop_test(tc, does_not_load, 0, NELEMS(loads));
	tcase_add_test(tc, check_reports_all);
	tcase_add_test(tc, many_domains);
	tcase_add_loop_test(tc, subject_tag, 0, NELEMS(subjects));
	tcase_add_loop_test(tc, tlsno_roles, 0, NELEMS(tlsnos));
)
