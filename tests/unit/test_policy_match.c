/* Matchers, sets of names and folded text, without Lua: made-up subjects, every kind once, what
 * must not match as well. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "policy/matcher.h"
#include "policy/names.h"

/* ---- Text ---- */

static const struct fold_case {
	const char *name, *in, *out;
} folds[] = {
	{ "ascii", "Hello World", "hello world" },
	{ "white space", "  a \t\r\n b  ", "a b" },
	{ "umlauts", "VERTR\xC3\x84ULICH", "vertr\xC3\xA4ulich" },
	{ "greek and cyrillic", "\xCE\x91 \xD0\x94", "\xCE\xB1 \xD0\xB4" },
	{ "zero width", "se\xE2\x80\x8B" "cure", "secure" },
	{ "soft hyphen", "se\xC2\xAD" "cure", "secure" },
	{ "not utf-8 stays", "a\xFF\xC3(", "a\xFF\xC3(" },
	{ "cut sequence", "a\xE2\x80", "a\xE2\x80" },
	{ "empty", "", "" },
};

START_TEST(fold)
{
	char *out = text_fold(folds[_i].in);

	ck_assert_msg(strcmp(out, folds[_i].out) == 0, "%s: %s", folds[_i].name, out);
	free(out);
}
END_TEST

static const struct word_case {
	const char *name, *word, *text;
	bool yes;
} word_cases[] = {
	{ "bracketed, anywhere", "[secure]", "re: [secure] results", true },
	{ "bracketed, glued", "[secure]", "x[secure]y", true },
	{ "plain word", "secure", "this is secure.", true },
	{ "part of a word", "secure", "insecure", false },
	{ "start of a word", "secure", "securely", false },
	{ "second place", "secure", "insecure secure", true },
	{ "phrase", "top secret", "a top secret b", true },
	{ "absent", "x", "abc", false },
	{ "umlaut neighbour", "x", "\xC3\xA4x", false },
	{ "empty text", "x", "", false },
};

START_TEST(words)
{
	const struct word_case *c = &word_cases[_i];

	ck_assert_msg(text_has_word(c->text, c->word) == c->yes, "%s", c->name);
}
END_TEST

static const struct glob_case {
	const char *pattern, *text;
	bool yes;
} globs[] = {
	{ "abc", "abc", true }, { "abc", "abcd", false }, { "*", "", true }, { "a*c", "abbc", true },
	{ "a*c", "abcd", false }, { "*b*", "abc", true }, { "?", "\xC3\xA4", true }, { "?", "", false },
	{ "a?c", "abc", true }, { "*a*b*c", "xaybzc", true }, { "*ab", "aab", true }, { "", "", true },
	{ "", "a", false },
};

START_TEST(glob)
{
	ck_assert_msg(text_glob(globs[_i].pattern, globs[_i].text) == globs[_i].yes, "%s on %s",
	    globs[_i].pattern, globs[_i].text);
}
END_TEST

/* ---- Sets ---- */

static const struct dom_case {
	const char *form, *domain;
	bool yes;
} doms[] = {
	{ "x.example", "x.example", true },
	{ "X.Example", "x.example", true },
	{ "x.example", "a.x.example", false },
	{ "*.x.example", "a.x.example", true },
	{ "*.x.example", "b.a.x.example", true },
	{ "*.x.example", "x.example", false },
	{ "*.x.example", "ax.example", false },
	{ ".x.example", "x.example", true },
	{ ".x.example", "a.x.example", true },
	{ ".x.example", "ax.example", false },
	{ "*", "any.example", true },
	{ "*", "", false },
	{ "b\xC3\xBC" "cher.example", "xn--bcher-kva.example", true },
	{ "[192.0.2.1]", "[192.0.2.1]", true },
};

START_TEST(domains)
{
	struct domain_set d;
	struct err err = { "" };
	const char *form = doms[_i].form;

	ck_assert_msg(domain_set_init(&d, &form, 1, &err), "%s: %s", form, err.text);
	ck_assert_msg(domain_set_has(&d, slice_of(doms[_i].domain)) == doms[_i].yes, "%s has %s", form,
	    doms[_i].domain);
	domain_set_fini(&d);
}
END_TEST

START_TEST(bad_domains)
{
	static const char *const bad[] = { "a b", "*.", ".", "x.*.example", "*x.example", "" };
	struct domain_set d;
	struct err err = { "" };

	ck_assert_msg(!domain_set_init(&d, &bad[_i], 1, &err), "%s", bad[_i]);
	ck_assert_ptr_nonnull(strstr(err.text, "is not a domain"));
}
END_TEST

static const struct addr_case {
	const char *form, *address;
	bool yes;
} addrs[] = {
	{ "a@x.example", "a@x.example", true },
	{ "A@X.Example", "a@x.example", true },
	{ "a@x.example", "b@x.example", false },
	{ "a@x.example", "a@y.x.example", false },
	{ "a@", "a@any.example", true },
	{ "postmaster@", "postmaster", true },
	{ "a@", "ba@any.example", false },
	{ "@x.example", "b@x.example", true },
	{ "@*.x.example", "b@c.x.example", true },
	{ "x.example", "b@x.example", true },
	{ "<>", "", true },
	{ "x.example", "", false },
	{ "*", "", false },
	{ "*", "a@b.example", true },
	{ "\"a b\"@x.example", "\"a b\"@x.example", true },
};

START_TEST(addresses)
{
	struct address_set a;
	struct err err = { "" };
	const char *form = addrs[_i].form;

	ck_assert_msg(address_set_init(&a, &form, 1, &err), "%s: %s", form, err.text);
	ck_assert_msg(address_set_has(&a, slice_of(addrs[_i].address)) == addrs[_i].yes, "%s has %s", form,
	    addrs[_i].address);
	address_set_fini(&a);
}
END_TEST

/* A thousand entries: each is found, its neighbours are not. */
START_TEST(many_names)
{
	char text[1000][24];
	const char *v[1000];
	struct domain_set d;
	char probe[40];

	for (int i = 0; i < 1000; i++) {
		snprintf(text[i], sizeof text[i], i % 2 == 0 ? "d%d.example" : "*.d%d.example", i);
		v[i] = text[i];
	}
	ck_assert(domain_set_init(&d, v, 1000, NULL));
	for (int i = 0; i < 1000; i++) {
		snprintf(probe, sizeof probe, "d%d.example", i);
		ck_assert(domain_set_has(&d, slice_of(probe)) == (i % 2 == 0));
		snprintf(probe, sizeof probe, "a.d%d.example", i);
		ck_assert(domain_set_has(&d, slice_of(probe)) == (i % 2 == 1));
	}
	domain_set_fini(&d);
}
END_TEST

/* ---- Matchers on a subject ---- */

static const char header_text[] =
    "Received: from a by b; now\r\n"
    "Subject: =?utf-8?q?Fwd=3A_=5BSecure=5D?= results\r\n"
    "Sensitivity: Company-Confidential\r\n"
    "X-Folded: one\r\n two\r\n"
    "Subject: second\r\n"
    "\r\n";

static struct msg *
make_msg(void)
{
	struct msg *m = msg_new();
	struct msg_rcpt *r;

	m->from = xstrdup("ann@acme.example");
	m->from_domain = xstrdup("acme.example");
	m->direction = DIR_OUTBOUND;
	m->flags = MSG_REQUIRETLS;
	m->tls_no = TLS_NO_OVERRIDDEN;
	m->content_size = 5000;
	m->session = 7;
	m->peer_ip = xstrdup("10.1.2.3");
	m->helo = xstrdup("Mail.Acme.Example");
	m->listener = xstrdup("relay");
	m->tls_in = xstrdup("TLSv1.3");
	m->auth_id = xstrdup("Ann");
	msg_add_tag(m, "secure");
	r = msg_add_rcpt(m);
	r->address = xstrdup("bob@clinic.example");
	r->domain = xstrdup("clinic.example");
	r = msg_add_rcpt(m);
	r->address = xstrdup("eve@other.example");
	r->domain = xstrdup("other.example");
	return m;
}

static const struct match_case {
	const char *name;
	enum match_op op;
	const char *header, *a, *b;
	uint64_t size;
	bool yes;
} matches[] = {
	{ "subject word", MATCH_SUBJECT_WORD, NULL, "[secure]", NULL, 0, true },
	{ "subject word in the second subject", MATCH_SUBJECT_WORD, NULL, "second", NULL, 0, true },
	{ "subject word absent", MATCH_SUBJECT_WORD, NULL, "secret", NULL, 0, false },
	{ "subject, any of two", MATCH_SUBJECT_WORD, NULL, "secret", "results", 0, true },
	{ "header value", MATCH_HEADER, "sensitivity", "company-confidential", NULL, 0, true },
	{ "header glob", MATCH_HEADER, "Sensitivity", "company-*", NULL, 0, true },
	{ "header other", MATCH_HEADER, "Sensitivity", "personal", NULL, 0, false },
	{ "header folded", MATCH_HEADER, "X-Folded", "one two", NULL, 0, true },
	{ "header without value", MATCH_HEADER, "X-Folded", NULL, NULL, 0, true },
	{ "header absent", MATCH_HEADER, "X-None", NULL, NULL, 0, false },
	{ "has header", MATCH_HAS_HEADER, NULL, "x-folded", NULL, 0, true },
	{ "has no header", MATCH_HAS_HEADER, NULL, "x-fold", NULL, 0, false },
	{ "listener", MATCH_LISTENER, NULL, "inbound", "relay", 0, true },
	{ "other listener", MATCH_LISTENER, NULL, "inbound", NULL, 0, false },
	{ "listener role", MATCH_LISTENER_ROLE, NULL, "relay", NULL, 0, true },
	{ "other role", MATCH_LISTENER_ROLE, NULL, "mx", NULL, 0, false },
	{ "client in net", MATCH_CLIENT_IP, NULL, "10.0.0.0/8", NULL, 0, true },
	{ "client is host", MATCH_CLIENT_IP, NULL, "10.1.2.3", NULL, 0, true },
	{ "client in odd net", MATCH_CLIENT_IP, NULL, "10.1.2.2/31", NULL, 0, true },
	{ "client outside", MATCH_CLIENT_IP, NULL, "10.1.2.4/31", "fd00::/8", 0, false },
	{ "any address", MATCH_CLIENT_IP, NULL, "0.0.0.0/0", NULL, 0, true },
	{ "helo", MATCH_HELO, NULL, "mail.*", NULL, 0, true },
	{ "other helo", MATCH_HELO, NULL, "mx.*", NULL, 0, false },
	{ "tls", MATCH_TLS_INBOUND, NULL, NULL, NULL, 0, true },
	{ "tls 1.2", MATCH_TLS_INBOUND, NULL, "1.2", NULL, 0, true },
	{ "tls 1.3", MATCH_TLS_INBOUND, NULL, "1.3", NULL, 0, true },
	{ "auth", MATCH_AUTH, NULL, NULL, NULL, 0, true },
	{ "auth id", MATCH_AUTH, NULL, "bob", "an*", 0, true },
	{ "other auth id", MATCH_AUTH, NULL, "ann@*", NULL, 0, false },
	{ "sender", MATCH_SENDER, NULL, "ann@acme.example", NULL, 0, true },
	{ "sender at domain", MATCH_SENDER, NULL, "@acme.example", NULL, 0, true },
	{ "other sender", MATCH_SENDER, NULL, "<>", NULL, 0, false },
	{ "sender domain", MATCH_SENDER_DOMAIN, NULL, "*.example", NULL, 0, true },
	{ "other sender domain", MATCH_SENDER_DOMAIN, NULL, "*.acme.example", NULL, 0, false },
	{ "rcpt", MATCH_RCPT, NULL, "eve@", NULL, 0, true },
	{ "other rcpt", MATCH_RCPT, NULL, "ann@", NULL, 0, false },
	{ "rcpt domain", MATCH_RCPT_DOMAIN, NULL, "clinic.example", NULL, 0, true },
	{ "other rcpt domain", MATCH_RCPT_DOMAIN, NULL, "acme.example", NULL, 0, false },
	{ "tag", MATCH_TAG, NULL, "secure", NULL, 0, true },
	{ "other tag", MATCH_TAG, NULL, "secur", NULL, 0, false },
	{ "size over", MATCH_SIZE_OVER, NULL, NULL, NULL, 4999, true },
	{ "size not over", MATCH_SIZE_OVER, NULL, NULL, NULL, 5000, false },
	{ "direction", MATCH_DIRECTION, NULL, "internal", "outbound", 0, true },
	{ "other direction", MATCH_DIRECTION, NULL, "inbound", NULL, 0, false },
	{ "requiretls", MATCH_REQUIRETLS, NULL, NULL, NULL, 0, true },
	{ "tls-required honoured", MATCH_TLS_REQUIRED_NO, NULL, NULL, NULL, 0, false },
	{ "tls-required overridden", MATCH_TLS_REQUIRED_NO, NULL, "overridden", NULL, 0, true },
};

static struct matcher *
build(const struct match_case *c, struct err *err)
{
	const char *v[2] = { c->a, c->b };
	struct match_args a = { .op = c->op, .name = c->header, .words = v, .size = c->size,
	    .nwords = c->a == NULL ? 0 : c->b == NULL ? 1 : 2 };

	return matcher_new(&a, err);
}

static enum match_result
eval(const struct matcher *m, struct policy_subject *s)
{
	struct conf_listener listeners[] = { { .name = (char *)"inbound", .role = ROLE_MX },
		{ .name = (char *)"relay", .role = ROLE_RELAY } };
	struct conf conf = { .listeners = listeners, .nlisteners = NELEMS(listeners) };
	struct policy_view v;
	enum match_result r;

	view_init(&v, s);
	v.conf = &conf;
	r = matcher_eval(m, &v);
	view_fini(&v);
	return r;
}

START_TEST(match)
{
	const struct match_case *c = &matches[_i];
	struct err err = { "" };
	struct matcher *m = build(c, &err), *no;
	struct msg *msg = make_msg();
	struct policy_subject s = { .msg = msg, .rcpt = -1, .header = slice_of(header_text) };

	ck_assert_msg(m != NULL, "%s: %s", c->name, err.text);
	ck_assert_msg(eval(m, &s) == (c->yes ? MATCH_YES : MATCH_NOT), "%s", c->name);
	no = matcher_new(&(struct match_args){ .op = MATCH_NO, .kids = &m, .nkids = 1 }, NULL);
	ck_assert_msg(eval(no, &s) == (c->yes ? MATCH_NOT : MATCH_YES), "not %s", c->name);
	ck_assert(matcher_fits(no, HOOK_MESSAGE, NULL));
	matcher_unref(m);
	matcher_unref(no);
	msg_unref(msg);
}
END_TEST

static const struct bad_case {
	const char *name;
	struct match_case m;
	const char *says;
} bads[] = {
	{ "no words", { .op = MATCH_TAG }, "at least one value" },
	{ "empty word", { .op = MATCH_SUBJECT_WORD, .a = " " }, "empty string" },
	{ "cidr", { .op = MATCH_CLIENT_IP, .a = "10.0.0.300" }, "client_ip" },
	{ "cidr bits", { .op = MATCH_CLIENT_IP, .a = "10.0.0.1/8" }, "client_ip" },
	{ "direction", { .op = MATCH_DIRECTION, .a = "outwards" }, "inbound, outbound, internal" },
	{ "role", { .op = MATCH_LISTENER_ROLE, .a = "mail" }, "mx, relay, reinject" },
	{ "version", { .op = MATCH_TLS_INBOUND, .a = "1.1" }, "\"1.2\" or \"1.3\"" },
	{ "header name", { .op = MATCH_HEADER, .header = "a b" }, "not a header name" },
	{ "header name with colon", { .op = MATCH_HAS_HEADER, .a = "Subject:" }, "not a header name" },
	{ "domain", { .op = MATCH_RCPT_DOMAIN, .a = "a b" }, "is not a domain" },
	{ "address", { .op = MATCH_RCPT, .a = "a@b c" }, "is not an address" },
	{ "state", { .op = MATCH_TLS_REQUIRED_NO, .a = "yes" }, "honoured" },
};

START_TEST(bad_matcher)
{
	struct err err = { "" };

	ck_assert_msg(build(&bads[_i].m, &err) == NULL, "%s", bads[_i].name);
	ck_assert_msg(strstr(err.text, bads[_i].says) != NULL, "%s: %s", bads[_i].name, err.text);
}
END_TEST

START_TEST(combinations)
{
	struct msg *msg = make_msg();
	struct policy_subject s = { .msg = msg, .rcpt = -1, .header = slice_of(header_text) };
	struct matcher *yes = build(&(struct match_case){ .op = MATCH_TAG, .a = "secure" }, NULL);
	struct matcher *no = build(&(struct match_case){ .op = MATCH_TAG, .a = "x" }, NULL);
	struct matcher *both[] = { yes, no }, *none[] = { no, no }, *all[] = { yes, yes };
	struct {
		enum match_op op;
		struct matcher **kids;
		bool yes;
	} cases[] = {
		{ MATCH_ALL, both, false }, { MATCH_ALL, all, true }, { MATCH_ANY, both, true },
		{ MATCH_ANY, none, false },
	};

	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct matcher *m = matcher_new(&(struct match_args){ .op = cases[i].op,
		    .kids = cases[i].kids, .nkids = 2 }, NULL);
		char *text = matcher_text(m);

		ck_assert_int_eq(eval(m, &s), cases[i].yes ? MATCH_YES : MATCH_NOT);
		ck_assert_ptr_nonnull(strstr(text, "tag \""));
		free(text);
		matcher_unref(m);
	}
	matcher_unref(yes);
	matcher_unref(no);
	msg_unref(msg);
}
END_TEST

/* At a recipient's own hooks only that one counts; those taken out count nowhere. */
START_TEST(recipients)
{
	struct msg *msg = make_msg();
	struct policy_subject s = { .msg = msg, .rcpt = 0 };
	struct policy_subject bare = { .domain = "clinic.example", .rcpt = -1 };
	struct matcher *m = build(&(struct match_case){ .op = MATCH_RCPT_DOMAIN, .a = "other.example" }, NULL);
	struct matcher *c = build(&(struct match_case){ .op = MATCH_RCPT_DOMAIN, .a = "clinic.example" }, NULL);

	ck_assert_int_eq(eval(m, &s), MATCH_NOT);
	s.rcpt = 1;
	ck_assert_int_eq(eval(m, &s), MATCH_YES);
	s.rcpt = -1;
	ck_assert_int_eq(eval(m, &s), MATCH_YES);
	msg->rcpts[1].discarded = true;
	ck_assert_int_eq(eval(m, &s), MATCH_NOT);
	ck_assert_int_eq(eval(c, &bare), MATCH_YES);	/* tls_policy */
	ck_assert_int_eq(eval(m, &bare), MATCH_NOT);
	matcher_unref(m);
	matcher_unref(c);
	msg_unref(msg);
}
END_TEST

/* The live session comes before what the message says. */
START_TEST(live_session)
{
	struct conf_listener listener = { .name = (char *)"back", .role = ROLE_REINJECT };
	struct smtp_session_info info = { .helo = (char *)"x.example" };
	struct policy_session session = { .info = &info, .listener = &listener };
	struct policy_subject s = { .session = &session, .rcpt = -1 };
	struct match_case cases[] = {
		{ .op = MATCH_LISTENER, .a = "back", .yes = true },
		{ .op = MATCH_LISTENER_ROLE, .a = "reinject", .yes = true },
		{ .op = MATCH_CLIENT_IP, .a = "2001:db8::/32", .yes = true },
		{ .op = MATCH_CLIENT_IP, .a = "10.0.0.0/8", .yes = false },
		{ .op = MATCH_TLS_INBOUND, .yes = false },
		{ .op = MATCH_HELO, .a = "X.example", .yes = true },
		{ .op = MATCH_TAG, .a = "t", .yes = false },
	};

	snprintf(info.peer_ip, sizeof info.peer_ip, "2001:db8::1");
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct matcher *m = build(&cases[i], NULL);

		ck_assert_msg(eval(m, &s) == (cases[i].yes ? MATCH_YES : MATCH_NOT), "%zu", i);
		matcher_unref(m);
	}
	snprintf(info.peer_ip, sizeof info.peer_ip, "::ffff:10.1.1.1");
	struct matcher *m = build(&cases[3], NULL);
	ck_assert_int_eq(eval(m, &s), MATCH_YES);	/* a mapped address is IPv4 */
	matcher_unref(m);
}
END_TEST

/* No header to look at is not "no": the handler must fail (I5). */
START_TEST(no_header_is_no_answer)
{
	struct msg *msg = make_msg();
	struct policy_subject s = { .msg = msg, .rcpt = -1 };
	struct matcher *m = build(&(struct match_case){ .op = MATCH_SUBJECT_WORD, .a = "x" }, NULL);
	struct matcher *no = matcher_new(&(struct match_args){ .op = MATCH_NO, .kids = &m, .nkids = 1 }, NULL);

	ck_assert_int_eq(eval(m, &s), MATCH_FAILED);
	ck_assert_int_eq(eval(no, &s), MATCH_FAILED);
	matcher_unref(m);
	matcher_unref(no);
	msg_unref(msg);
}
END_TEST

static const struct fit_case {
	enum match_op op;
	const char *word;
	enum policy_hook hook;
	const char *says;	/* NULL: it fits */
} fits[] = {
	{ MATCH_TAG, "x", HOOK_CONNECT, "matcher tag cannot be used at hook connect: a message" },
	{ MATCH_TAG, "x", HOOK_MAIL, NULL },
	{ MATCH_SUBJECT_WORD, "x", HOOK_DATA, "the message header" },
	{ MATCH_SUBJECT_WORD, "x", HOOK_MESSAGE, NULL },
	{ MATCH_SUBJECT_WORD, "x", HOOK_ROUTE, "the message header" },
	{ MATCH_RCPT, "x@", HOOK_MAIL, "a recipient" },
	{ MATCH_RCPT_DOMAIN, "x", HOOK_TLS_POLICY, NULL },
	{ MATCH_RCPT, "x@", HOOK_TLS_POLICY, "a recipient's address" },
	{ MATCH_SENDER, "x@", HOOK_TLS_POLICY, "a message" },
	{ MATCH_HELO, "x", HOOK_CONNECT, "HELO" },
	{ MATCH_LISTENER, "x", HOOK_CONNECT, NULL },
	{ MATCH_LISTENER, "x", HOOK_LOG, "a connection" },
	{ MATCH_TAG, "x", HOOK_UNMET, NULL },
};

START_TEST(fit)
{
	const struct fit_case *c = &fits[_i];
	struct match_case mc = { .op = c->op, .a = c->word };
	struct matcher *kid = build(&mc, NULL);
	struct matcher *m = matcher_new(&(struct match_args){ .op = MATCH_ANY, .kids = &kid, .nkids = 1 }, NULL);
	struct err err = { "" };

	ck_assert_msg(matcher_fits(m, c->hook, &err) == (c->says == NULL), "%s", err.text);
	if (c->says != NULL)
		ck_assert_msg(strstr(err.text, c->says) != NULL, "%s", err.text);
	matcher_unref(kid);
	matcher_unref(m);
}
END_TEST

/* 2026-11-23 is a Monday. */
static const struct time_case {
	const char *name, *days, *from, *to;
	int hour;
	bool yes;
} times[] = {
	{ "always", NULL, NULL, NULL, 12, true },
	{ "day", "mon-fri", NULL, NULL, 12, true },
	{ "other day", "sat,sun", NULL, NULL, 12, false },
	{ "around the week", "sat-mon", NULL, NULL, 12, true },
	{ "inside", "mon", "08:00", "18:00", 8, true },
	{ "at the end", "mon", "08:00", "18:00", 18, false },
	{ "over midnight, evening", "mon", "22:00", "06:00", 23, true },
	{ "over midnight, morning of its second day", "sun", "22:00", "06:00", 5, true },
	{ "over midnight, morning before", "mon", "22:00", "06:00", 5, false },
};

START_TEST(time_window)
{
	const struct time_case *c = &times[_i];
	struct match_args a = { .op = MATCH_TIME, .days = c->days, .from = c->from, .to = c->to, .utc = true };
	struct err err = { "" };
	struct matcher *m = matcher_new(&a, &err);
	struct policy_subject s = { .rcpt = -1 };

	ck_assert_msg(m != NULL, "%s", err.text);
	clock_fake(1000, 1795392000000 + c->hour * INT64_C(3600000));
	ck_assert_msg(eval(m, &s) == (c->yes ? MATCH_YES : MATCH_NOT), "%s", c->name);
	clock_real();
	matcher_unref(m);
}
END_TEST

START_TEST(bad_time)
{
	static const struct match_args bad[] = {
		{ .op = MATCH_TIME, .days = "monday" }, { .op = MATCH_TIME, .days = "mon-" },
		{ .op = MATCH_TIME, .from = "8:00" }, { .op = MATCH_TIME, .to = "24:01" },
	};

	ck_assert_ptr_null(matcher_new(&bad[_i], NULL));
}
END_TEST

START_TEST(sizes)
{
	uint64_t n;

	ck_assert(matcher_size_parse(SLICE("10M"), &n) && n == 10u << 20);
	ck_assert(matcher_size_parse(SLICE("7"), &n) && n == 7);
	ck_assert(!matcher_size_parse(SLICE("M"), &n));
	ck_assert(!matcher_size_parse(SLICE("10X"), &n));
	ck_assert(!matcher_size_parse(SLICE("99999999999999999G"), &n));
}
END_TEST

UNIT_MAIN("policy_match",
	tcase_add_loop_test(tc, fold, 0, NELEMS(folds));
	tcase_add_loop_test(tc, words, 0, NELEMS(word_cases));
	tcase_add_loop_test(tc, glob, 0, NELEMS(globs));
	tcase_add_loop_test(tc, domains, 0, NELEMS(doms));
	tcase_add_loop_test(tc, bad_domains, 0, 6);
	tcase_add_loop_test(tc, addresses, 0, NELEMS(addrs));
	tcase_add_test(tc, many_names);
	tcase_add_loop_test(tc, match, 0, NELEMS(matches));
	tcase_add_loop_test(tc, bad_matcher, 0, NELEMS(bads));
	tcase_add_test(tc, combinations);
	tcase_add_test(tc, recipients);
	tcase_add_test(tc, live_session);
	tcase_add_test(tc, no_header_is_no_answer);
	tcase_add_loop_test(tc, fit, 0, NELEMS(fits));
	tcase_add_loop_test(tc, time_window, 0, NELEMS(times));
	tcase_add_loop_test(tc, bad_time, 0, 4);
	tcase_add_test(tc, sizes);
)
