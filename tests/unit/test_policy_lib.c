/* The shipped library (lua/): each file of tests/unit/lib is a policy that checks one module with
 * assert, while it loads and, for what needs mail, in a handler at `message`. */
#include <stdlib.h>

#include "policy_fixture.h"

static char libdir[512];

static char *
read_text(const char *name)
{
	const char *srcdir = getenv("srcdir");
	char *path = xasprintf("%s/tests/unit/lib/%s.lua", srcdir == NULL ? "." : srcdir, name);
	FILE *f = fopen(path, "r");
	char *text = xcalloc(1, 65536);

	ck_assert_msg(f != NULL, "%s", path);
	ck_assert(fread(text, 1, 65535, f) > 0);
	fclose(f);
	free(path);
	return text;
}

static const struct module_case {
	const char *name, *options, *header;
} modules[] = {
	{ "schema", "{ demo = { words = { 'a', 'b' }, every = '3h' } }", NULL },
	{ "calendar", NULL, NULL },
	{ "template", NULL, NULL },
	{ "redact", NULL, NULL },
	{ "cidr", NULL, NULL },
	{ "auth", NULL,
	  "Authentication-Results: evil.example; dmarc=pass header.from=bank.example\r\n"
	  "Authentication-Results: mx1.acme.example 1;\r\n spf=fail (who=\"x;y\") smtp.mailfrom=spam.example;\r\n"
	  " dkim=pass header.d=\"one.example\" reason=\"good; signature\";\r\n dkim=fail header.d=two.example;\r\n"
	  " dmarc = Fail (p=none) header.from=bank.example\r\n"
	  "Authentication-Results: mx1.acme.example; none\r\n"
	  "Authentication-Results: mx1.acme.example; ((((\\) \"\r\n"
	  "From: x@bank.example\r\n\r\n" },
	{ "dkim", "{}, auth_servers = { 'mx1.acme.example' }",
	  "Authentication-Results: evil.example; dkim=pass header.d=bank.example\r\n"
	  "Authentication-Results: MX1.acme.example; dkim=pass header.d=one.example header.s=s1 header.a=rsa-sha256;\r\n"
	  " dkim=fail header.i=@two.example; dkim=none; arc=pass header.oldest-pass=0 smtp.remote-ip=192.0.2.1\r\n"
	  "ARC-Seal: i=2; a=rsa-sha256; cv=pass; d=second.example; s=b; b=abc\r\n def\r\n"
	  "ARC-Seal: i=x; d=odd.example\r\n"
	  "ARC-Seal: i=1; cv=none; d=first.example; d=other.example; s=a; b=\r\n\r\n" },
};

START_TEST(module)
{
	const struct module_case *c = &modules[_i];
	struct fix f;
	struct world w;
	struct verdict v;
	struct policy_subject *s;
	char *text = read_text(c->name);

	fix_options = c->options;
	fix_load(&f, text);
	fix_options = NULL;
	world_init(&w);
	s = world_for(&w, HOOK_MESSAGE);
	if (c->header != NULL)
		s->header = slice_of(c->header);
	policy_call(f.p, f.g, HOOK_MESSAGE, s, &v, fix_no_answer, NULL, NULL);
	ck_assert_msg(v.kind == VERDICT_NONE && !v.is_error, "%s: %s", c->name, fix_log);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
	free(text);
}
END_TEST

START_TEST(geo)
{
	const char *srcdir = getenv("srcdir");
	struct fix f;
	struct world w;
	struct verdict v;
	char *text = read_text("geo"), *dir = realpath(srcdir == NULL ? "." : srcdir, NULL), *options;

	options = xasprintf("{}, geo = { country = '%s/tests/unit/lib/country.mmdb', asn = '%s/tests/unit/lib/asn.mmdb' }",
	    dir, dir);
	fix_options = options;
	fix_load(&f, text);
	world_init(&w);
	w.hop.ip = "192.0.2.7";
	fix_call(&f, HOOK_EHLO, &w, &v);
	ck_assert_msg(v.kind == VERDICT_NONE && !v.is_error, "%s", fix_log);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
	/* A file that is none. */
	free(options);
	fix_options = options = xasprintf("{}, geo = { country = '%s/tests/unit/lib/geo.lua' }", dir);
	ck_assert(!fix_try(&f, text));
	ck_assert_msg(strstr(f.err.text, "policy.geo.country: ") != NULL, "%s", f.err.text);
	fix_fini(&f);
	fix_options = NULL;
	free(options);
	free(dir);
	free(text);
}
END_TEST

START_TEST(parts)
{
	static const char message[] = "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n"
	    "Content-Type: text/csv; charset=ISO-8859-15\r\nContent-Disposition: attachment; filename=cards.csv\r\n"
	    "Content-Transfer-Encoding: base64\r\n\r\nY2Fm6Q==\r\n--b--\r\n";
	struct fix f;
	struct world w;
	struct verdict v;
	char *text = read_text("parts");
	size_t header = (size_t)(strstr(message, "\r\n\r\n") + 4 - message);

	fix_load(&f, text);
	world_init(&w);
	content_unref(w.msg->content);
	w.msg->content = content_from_memory(xstrdup(message), sizeof message - 1, header);
	fix_call(&f, HOOK_MESSAGE, &w, &v);
	ck_assert_msg(v.kind == VERDICT_NONE && !v.is_error, "%s", fix_log);
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
	free(text);
}
END_TEST

/* What does not load, and what is said of it. */
static const struct load_case {
	const char *name, *options, *text, *words;
} loads[] = {
	{ "unknown option", "{ d = { wrds = {} } }", "gw.schema.options('d', { words = 'any' })",
	  "policy.options.d: there is no 'wrds' (did you mean 'words'?)" },
	{ "wrong type", "{ d = { n = 'x' } }", "gw.schema.options('d', { n = 'integer' })",
	  "policy.options.d.n: a whole number is expected, not \"x\"" },
	{ "all problems at once", "{ d = { n = 'x', level = 'full' } }",
	  "gw.schema.options('d', { n = 'integer', level = 'level' })", "policy.options.d.level: \"may\"" },
	{ "missing", NULL, "gw.schema.options('d', { n = { type = 'integer', required = true } })",
	  "policy.options.d.n: is required" },
	{ "nobody's options", "{ subjct = {} }", "gw.schema.options('subject', { n = 'integer' })",
	  "no policy that is loaded has the options \"subjct\"; nearest: subject" },
	{ "twice", NULL, "gw.schema.options('d', {}) gw.schema.options('d', {})", "declared twice" },
	{ "unknown type", NULL, "gw.schema.options('d', { n = 'intger' })", "there is no type 'intger' (did you mean 'integer'?)" },
	{ "zone", NULL, "gw.calendar { zone = 'Europe/Berlyn', windows = { {} } }", "knows no time zone \"Europe/Berlyn\"" },
	{ "zone as a path", NULL, "gw.calendar { zone = '../../etc/passwd', windows = { {} } }", "knows no time zone" },
	{ "zone with NUL", NULL, "gw.calendar { zone = 'UTC\\0', windows = { {} } }", "a text without line breaks" },
	{ "days", NULL, "gw.calendar { windows = { { days = 'mon-fry' } } }", "days \"mon-fry\" cannot be read" },
	{ "window", NULL, "gw.calendar { windows = { { from = '8' } } }", "gw.calendar.windows[1].from: a time of day" },
	{ "network", NULL, "gw.cidr { '10.0.0.1/8' }", "gw.cidr: " },
	{ "template", NULL, "gw.template { languages = { en = '{{#a}}' } }", "\"{{#a}}\" is not closed" },
	{ "template, language", NULL, "gw.template { languages = { de = 'x' } }", "no text in the default language \"en\"" },
	{ "template, code", NULL, "gw.template { languages = { en = '{{os.exit()}}' } }", "is no name" },
	{ "library is read-only", NULL, "gw.schema.check = 1", "read-only" },
};

START_TEST(load_error)
{
	const struct load_case *c = &loads[_i];
	struct fix f;
	bool ok;

	fix_options = c->options;
	ok = fix_try(&f, c->text);
	fix_options = NULL;
	ck_assert_msg(!ok, "%s", c->name);
	ck_assert_msg(strstr(f.err.text, c->words) != NULL, "%s: %s", c->name, f.err.text);
	fix_fini(&f);
}
END_TEST

START_TEST(options_text)
{
	struct fix f;
	struct err err = { "" };
	char *text;

	fix_load(&f, "gw.schema.options('demo', { n = { type = 'integer', min = 1, default = 2, doc = 'How many.' } })");
	text = policy_options_text(f.bundle, f.conf, "text", &err);
	ck_assert_msg(text != NULL && strstr(text, "| `n` | integer | `2` | How many. |") != NULL, "%s %s", text, err.text);
	free(text);
	text = policy_options_text(f.bundle, f.conf, "json", &err);
	ck_assert_msg(text != NULL && strstr(text, "\"n\":{\"default\":2,\"description\":\"How many.\",\"minimum\":1,"
	    "\"type\":\"integer\"}") != NULL, "%s %s", text, err.text);
	free(text);
	text = policy_options_text(f.bundle, f.conf, "types", &err);
	ck_assert_msg(text != NULL && strstr(text, "---@field n? integer How many.") != NULL, "%s %s", text, err.text);
	free(text);
	fix_fini(&f);
}
END_TEST

UNIT_MAIN("policy_lib",
	snprintf(libdir, sizeof libdir, "%s/lua", getenv("srcdir") == NULL ? "." : getenv("srcdir"));
	fix_libdir = libdir;
	tcase_add_loop_test(tc, module, 0, NELEMS(modules));
	tcase_add_loop_test(tc, load_error, 0, NELEMS(loads));
	tcase_add_test(tc, geo);
	tcase_add_test(tc, parts);
	tcase_add_test(tc, options_text);
)
