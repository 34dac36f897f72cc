/* What a hook costs, in ns a call. Usage: bench_policy [rounds [part of a name]].
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "policy/policy.h"

static const struct bench {
	const char *name;
	enum policy_hook hook;
	const char *text;
} benches[] = {
	{ "no handler", HOOK_MESSAGE, "" },
	{ "empty handler", HOOK_MESSAGE, "gw.on('message', function(session, message) end, { name = 'x' })" },
	{ "12 empty handlers", HOOK_MESSAGE,
	    "for i = 1, 12 do gw.on('message', function(session, message) end, { name = 'x' .. i }) end" },
	{ "rule, does not match", HOOK_MESSAGE,
	    "gw.rule { name = 'x', at = 'message', when = gw.match.subject_word '[other]',\n"
	    "  act = { gw.action.tag 'x' } }" },
	{ "rule, matches", HOOK_MESSAGE,
	    "gw.rule { name = 'x', at = 'message', when = gw.match.subject_word '[secure]',\n"
	    "  act = { gw.action.tag 'secure' } }" },
	{ "handler behind a matcher", HOOK_MESSAGE,
	    "gw.on('message', function() end, { name = 'x', when = gw.match.subject_word '[other]' })" },
	{ "tag by subject", HOOK_MESSAGE,
	    "gw.on('message', function(session, message)\n"
	    "  local subject = message:subject()\n"
	    "  if subject and subject:lower():find('[secure]', 1, true) then\n"
	    "    message:tag 'secure'\n"
	    "    message:require_tls { level = 'requiretls', reason = 'sender marked secure' }\n"
	    "  end\n"
	    "end, { name = 'x' })" },
	{ "three fields read", HOOK_MESSAGE,
	    "gw.on('message', function(session, message)\n"
	    "  return message.id == 'x' and message.requiretls and session.id == '' and gw.reject {} or nil\n"
	    "end, { name = 'x' })" },
	{ "verdict returned", HOOK_MESSAGE,
	    "gw.on('message', function() return gw.reject { text = 'no' } end, { name = 'x' })" },
};

static struct policy_subject subject;

static int64_t
cpu_ns(void)	/* not wall time: others use this machine, too */
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void
measure(struct policy *p, struct policy_gen *g, const struct bench *b, long rounds)
{
	int64_t best = INT64_MAX;
	struct verdict v;

	for (int k = 0; k < 5; k++) {
		int64_t t = cpu_ns();

		for (long i = 0; i < rounds; i++) {
			if (policy_call(p, g, b->hook, &subject, &v, NULL, NULL, NULL) != POLICY_NOW || v.is_error) {
				fprintf(stderr, "%s: failed\n", b->name);
				exit(1);
			}
			if (v.kind != VERDICT_NONE)
				verdict_fini(&v);
		}
		t = cpu_ns() - t;
		best = t < best ? t : best;
	}
	printf("%-28s %8.1f ns\n", b->name, (double)best / (double)rounds);
}

/* Loads the text as a site would; ends the program when it cannot. */
static struct policy_gen *
load(struct policy *p, const char *text)
{
	static char dir[] = "bench-policy-XXXXXX", path[64];
	static char *list[] = { path };
	static struct conf conf = { .policy = { .nload = 1, .load = list } };
	struct policy_bundle *b;
	struct policy_gen *g;
	struct err err = { "" };
	FILE *f;

	snprintf(dir, sizeof dir, "bench-policy-XXXXXX");
	if (mkdtemp(dir) == NULL)
		exit(1);
	snprintf(path, sizeof path, "%s/policy.lua", dir);
	f = fopen(path, "w");
	if (f == NULL)
		exit(1);
	fputs(text, f);
	fclose(f);
	atomic_store(&conf.refs, 100);
	conf.dir = dir;
	b = policy_bundle_read(&conf, NULL, &err);
	g = b == NULL ? NULL : policy_gen_new(p, b, &conf, &err);
	unlink(path);
	rmdir(dir);
	if (g == NULL) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	policy_bundle_unref(b);
	return g;
}

int
main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 200000;
	struct smtp_session_info info = { .id = 1 };
	void *vars = NULL;
	struct policy_session session = { .info = &info, .vars = &vars };
	struct policy *p = policy_new(NULL, NULL, 0);
	struct msg_rcpt *r;

	subject = (struct policy_subject){ .session = &session, .msg = msg_new(), .may_edit = true, .rcpt = 0,
		.name = "client.example", .relay = "local", .rcpt_state = "new",
		.header = SLICE("Received: from a (b [192.0.2.1]) by c; Mon, 2 Mar 2026 10:00:00 +0000\r\n"
		    "From: ann@acme.example\r\nTo: bob@clinic.example\r\nSubject: [secure] results\r\n\r\n") };
	subject.msg->id = 1;
	subject.msg->from = xstrdup("ann@acme.example");
	subject.msg->from_domain = xstrdup("acme.example");
	r = msg_add_rcpt(subject.msg);
	r->address = xstrdup("bob@clinic.example");
	r->domain = xstrdup("clinic.example");
	for (size_t i = 0; i < NELEMS(benches) && rounds > 0; i++) {
		struct policy_gen *g;

		if (argc > 2 && strstr(benches[i].name, argv[2]) == NULL)
			continue;
		g = load(p, benches[i].text);
		measure(p, g, &benches[i], rounds);
		policy_gen_unref(g);
	}
	msg_unref(subject.msg);
	policy_free(p);
	return 0;
}
