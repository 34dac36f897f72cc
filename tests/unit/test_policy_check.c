/* What `sallyport policy check` finds beyond what loading finds, and what it leaves alone. */
#include "policy_fixture.h"

#define MSG(body) "gw.on('message', function(session, message)\n" body "\nend, { name = 'x' })"
#define RULE(name, when) "gw.rule { name = '" name "', at = 'message', when = " when ", act = gw.reject {} }\n"

static const struct {
	const char *name, *text, *says;		/* NULL: nothing at all */
} cases[] = {
	/* a verdict that is made and not returned */
	{ "forgotten return", MSG("if message.size then gw.reject { text = 'no' } end"),
	  "policy.lua:2: the verdict of gw.reject is thrown away: 'return' is missing" },
	{ "forgotten return in a function", "local function no()\n  gw.defer {}\nend\n" MSG("no()"),
	  "policy.lua:2: the verdict of gw.defer is thrown away" },
	{ "forgotten return among arguments", MSG("gw.reject { text = tostring(message.size or 0) }"), "is thrown away" },
	{ "returned", MSG("if message.size then return gw.reject { text = 'no' } end"), NULL },
	{ "returned, and another call behind it", MSG("if message.size then return gw.reject { text = 'no' } end\nmessage:note('x')\n"
	  "local s = message:subject()\nmessage:tag(s or 'x')"), NULL },
	{ "one of two", MSG("local v = message.size and gw.reject {} or gw.hold {}\nmessage:note('x')\nreturn v"), NULL },
	{ "kept and returned", MSG("local v = gw.reject { text = 'no' }\nreturn v"), NULL },
	{ "passed on", "local function say(v) return v end\n" MSG("return say(gw.reject { text = 'no' })"), NULL },

	/* verdicts of other hooks */
	{ "illegal verdict", MSG("return gw.relax { grant = 'x', reason = 'r' }"), "gw.relax is not a verdict for the hook 'message'" },
	{ "illegal in an inner function", MSG("local f = function() return gw.retry {} end return f()"),
	  "gw.retry is not a verdict for the hook 'message'" },

	/* names */
	{ "unknown global", MSG("foo(message)"), "unknown global 'foo'" },
	{ "unknown name in gw", MSG("return gw.rejct {}"), "policy.lua:2: gw has no field 'rejct' (did you mean 'reject'?)" },
	{ "unknown name below gw", MSG("gw.log.warm('x')"), "gw.log has no field 'warm' (did you mean 'warn'?)" },
	{ "known names", MSG("gw.log.warn('x', { n = gw.json.encode(message.id) })"), NULL },
	{ "unknown method of an argument", MSG("message:subjct()"), "message has no field 'subjct' (did you mean 'subject'?)" },
	{ "unknown field of an argument", MSG("return message.sise and nil"), "message has no field 'sise' (did you mean 'size'?)" },
	{ "unknown field that is written", "gw.on('bounce', function(message, bounce)\nbounce.subjct = 'x'\nend, { name = 'x' })",
	  "policy.lua:2: bounce has no field 'subjct'" },
	{ "unknown field of a domain", "gw.on('tls_policy', function(domain, route)\nreturn domain.nam and nil\nend, { name = 'x' })",
	  "domain has no field 'nam' (did you mean 'name'?)" },
	{ "an argument that is another now", MSG("message = { subjct = 1 }\nreturn message.subjct and nil"), NULL },

	/* arguments */
	{ "too many arguments", "gw.on('connect', function(session, message)\nend, { name = 'x' })",
	  "policy.lua:1: the handler 'x' takes 2 arguments, and the hook 'connect' gives 1" },
	{ "fewer arguments", "gw.on('rcpt', function(session) session:note('x') end, { name = 'x' })", NULL },

	/* state */
	{ "upvalue", "local n = 0\n" MSG("n = n + 1"), "writes to 'n' outside of it" },
	{ "upvalue in an inner function", "local n = 0\n" MSG("local f = function() n = n + 1 end f()"), "writes to 'n' outside of it" },
	{ "upvalue of its own", MSG("local n = 0\nlocal f = function() n = n + 1 end f()"), NULL },
	{ "upvalue of init", "local n = 0\ngw.on('init', function(ctx) n = 1 end, { name = 'x' })\n"
	  "gw.on('message', function(session, message) message:note('' .. n) end, { name = 'y' })", NULL },

	/* pairs */
	{ "pairs into headers", MSG("local t = { a = 1 }\nfor k, v in pairs(t) do message:add_header('X-' .. k, '' .. v) end"),
	  "policy.lua:3: the order of pairs differs from run to run, and it goes into add_header" },
	{ "pairs into the log", MSG("for k in pairs({ a = 1 }) do gw.log.info(k) end"), "it goes into gw.log" },
	{ "pairs into a text", MSG("local s = ''\nfor k in pairs({ a = 1 }) do s = s .. k end\nmessage:note(s)"),
	  "it goes into a text that grows" },
	{ "sorted", MSG("for k in gw.sorted_pairs({ a = 1 }) do message:note(k) end"), NULL },
	{ "pairs into a table", MSG("local t = {}\nfor k, v in pairs({ a = 1 }) do t[v] = k end\nmessage:note('' .. #t)"), NULL },
	{ "pairs over a set of the gateway", MSG("for tag in pairs(message.tags) do message:note(tag) end"), NULL },
	{ "ipairs", MSG("for i, v in ipairs({ 'a' }) do message:note(v) end"), NULL },

	/* rules that never hold */
	{ "two directions", RULE("a", "gw.match.all { gw.match.direction 'inbound', gw.match.direction 'outbound' }"),
	  "policy.lua:1: the rule 'a' is never used: its matchers exclude each other" },
	{ "two listeners", RULE("a", "gw.match.all { gw.match.listener 'inbound', gw.match.listener 'relay' }"), "is never used" },
	{ "listener and another role", RULE("a", "gw.match.all { gw.match.listener 'inbound', gw.match.listener_role 'relay' }"),
	  "is never used" },
	{ "x and not x", RULE("a", "gw.match.all { gw.match.tag 'a', gw.match.no(gw.match.tag('a', 'b')) }"), "is never used" },
	{ "handler", "gw.on('message', function() end, { name = 'a', when = gw.match.all { gw.match.listener_role 'mx', "
	  "gw.match.listener_role 'relay' } })", "the handler 'a' is never used" },
	{ "listener and its role", RULE("a", "gw.match.all { gw.match.listener 'inbound', gw.match.listener_role 'mx' }"), NULL },
	{ "x and not y", RULE("a", "gw.match.all { gw.match.tag 'a', gw.match.no(gw.match.tag 'b') }"), NULL },
	{ "any of both", RULE("a", "gw.match.any { gw.match.direction 'inbound', gw.match.direction 'outbound' }"), NULL },
	{ "no listener has auth", "gw.on('auth', function(session, cred) end, { name = 'a' })",
	  "the handler 'a' is never used: no listener has auth" },

	/* rules that are never reached */
	{ "behind one that always decides", "gw.rule { name = 'a', at = 'message', act = gw.reject {} }\n" RULE("b", "gw.match.tag 'x'"),
	  "policy.lua:2: the rule 'b' is never reached: rule 'a' (policy.lua:1) decides" },
	{ "behind the same", RULE("a", "gw.match.tag 'x'") RULE("b", "gw.match.tag 'x'"), "the rule 'b' is never reached" },
	{ "behind more words", RULE("a", "gw.match.tag('x', 'y')") RULE("b", "gw.match.tag 'y'"), "the rule 'b' is never reached" },
	{ "behind a wider domain", RULE("a", "gw.match.sender_domain '.x.example'") RULE("b", "gw.match.sender_domain 'a.x.example'"),
	  "the rule 'b' is never reached" },
	{ "behind all below", RULE("a", "gw.match.sender_domain '.x.example'") RULE("b", "gw.match.sender_domain '*.x.example'"),
	  "the rule 'b' is never reached" },
	{ "narrower with all", RULE("a", "gw.match.tag 'x'") RULE("b", "gw.match.all { gw.match.tag 'x', gw.match.size_over '1M' }"),
	  "the rule 'b' is never reached" },
	{ "one of any", RULE("a", "gw.match.any { gw.match.tag 'x', gw.match.size_over '1M' }") RULE("b", "gw.match.size_over '2M'"),
	  "the rule 'b' is never reached" },
	{ "handler behind a rule", RULE("a", "gw.match.tag 'x'")
	  "gw.on('message', function() end, { name = 'b', when = gw.match.tag 'x' })", "the handler 'b' is never reached" },
	{ "by priority", RULE("a", "gw.match.tag 'x'")
	  "gw.rule { name = 'b', at = 'message', priority = 5, when = gw.match.tag('x', 'y'), act = gw.reject {} }",
	  "the rule 'a' is never reached: rule 'b'" },
	{ "wider behind narrower", RULE("a", "gw.match.tag 'x'") RULE("b", "gw.match.tag('x', 'y')"), NULL },
	{ "other words", RULE("a", "gw.match.tag 'x'") RULE("b", "gw.match.tag 'y'"), NULL },
	{ "wider domain behind", RULE("a", "gw.match.sender_domain '*.x.example'") RULE("b", "gw.match.sender_domain '.x.example'"), NULL },
	{ "smaller size behind", RULE("a", "gw.match.size_over '2M'") RULE("b", "gw.match.size_over '1M'"), NULL },
	{ "mandatory ones always run", RULE("a", "gw.match.tag 'x'")
	  "gw.rule { name = 'b', at = 'message', level = 'mandatory', when = gw.match.tag 'x', act = gw.reject {} }", NULL },
	{ "behind one without verdict", "gw.rule { name = 'a', at = 'message', act = gw.action.tag 'x' }\n" RULE("b", "gw.match.tag 'x'"), NULL },
	{ "at another hook", "gw.rule { name = 'a', at = 'mail', act = gw.reject {} }\n" RULE("b", "gw.match.tag 'x'"), NULL },
	{ "functions are not looked into", RULE("a", "gw.match.lua(function() return true end)")
	  RULE("b", "gw.match.lua(function() return true end)"), NULL },
};

START_TEST(finds)
{
	struct fix f;
	char *text = NULL;
	bool ok;

	fix_try(&f, cases[_i].text);
	ok = policy_check(f.bundle, f.conf, &text);
	if (cases[_i].says == NULL)
		ck_assert_msg(ok && text == NULL, "%s: %s", cases[_i].name, text);
	else
		ck_assert_msg(text != NULL && strstr(text, cases[_i].says) != NULL, "%s:\n%s\nnot in:\n%s", cases[_i].name,
		    cases[_i].says, text == NULL ? "(nothing)" : text);
	free(text);
	fix_fini(&f);
}
END_TEST

UNIT_MAIN("policy_check",
	tcase_add_loop_test(tc, finds, 0, NELEMS(cases));
)
