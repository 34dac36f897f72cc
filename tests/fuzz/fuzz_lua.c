/* Random policies on random subjects, through the engine as the daemon has it. The octets
 * choose the policy (lua_grammar.h), then what is called with what, who leaves, and when time passes.
 * After every step:
 *   - no duty of a message, recipient or hop is smaller than it was (I3)
 *   - the verdict is one that the hook takes, or the fixed outcome of a failure, which never is "accept" (I5)
 *   - a relax names a grant of the configuration, at unmet
 *   - whatever trust_decide would send with this outcome has what was owed before the policy was asked (I2)
 *   - what the policy wrote into replies, headers and notices has no line break
 * and at the end nothing waits, no coroutine is left, and the heap is what it was after loading. */
#include "config.h"

#include <stdlib.h>

#define TESTS_UNIT_H		/* the fixture without Check */
#include "base/base.h"
#define ck_assert(x) MUST(x)
#define ck_assert_msg(x, ...) MUST(x)
#define ck_assert_int_eq(a, b) MUST((a) == (b))
#define ck_assert_ptr_nonnull(p) MUST((p) != NULL)
#include "../unit/policy_fixture.h"

#include "lua_grammar.h"
#include "policy/policy_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define WORLDS 4
#define CALLS_MAX 48
#define RCPTS_SEEN 64
/* A coroutine in the pool may keep so much, and the state's own tables may have grown by so much. */
#define HEAP_EACH (6u << 10)
#define HEAP_MORE (48u << 10)

static const struct expected {
	const char *takes;
	enum verdict_kind kind;
	int code;
} expected[HOOKS] = {
	[HOOK_CONNECT] = { " reject defer drop ", VERDICT_DROP, 421 },
	[HOOK_HELO] = { " reject defer drop caps ", VERDICT_DEFER, 451 },
	[HOOK_TLS] = { " reject drop ", VERDICT_DROP, 421 },
	[HOOK_AUTH] = { " identity reject defer ", VERDICT_DEFER, 454 },
	[HOOK_MAIL] = { " reject defer drop ", VERDICT_DEFER, 451 },
	[HOOK_RCPT] = { " reject defer discard accept ", VERDICT_DEFER, 451 },
	[HOOK_DATA] = { " reject defer ", VERDICT_DEFER, 451 },
	[HOOK_HEADER] = { " reject defer ", VERDICT_DEFER, 451 },
	[HOOK_MESSAGE] = { " reject defer hold discard accept ", VERDICT_DEFER, 451 },
	[HOOK_BOUNCE_IN] = { " hold discard accept ", VERDICT_DEFER, 451 },
	[HOOK_DISCONNECT] = { " ", VERDICT_NONE, 0 },
	[HOOK_ROUTE] = { " route bounce hold discard defer ", VERDICT_DEFER, 451 },
	[HOOK_TLS_POLICY] = { " tls defer ", VERDICT_DEFER, 451 },
	[HOOK_ATTEMPT] = { " defer hold bounce reroute skip_host ", VERDICT_DEFER, 451 },
	[HOOK_EHLO] = { " defer hold bounce reroute skip_host ", VERDICT_DEFER, 451 },
	[HOOK_UNMET] = { " bounce defer reroute skip_host hold relax ", VERDICT_NONE, 0 },
	[HOOK_RESULT] = { " retry fail hold reroute ", VERDICT_NONE, 0 },
	[HOOK_BOUNCE] = { " suppress ", VERDICT_NONE, 0 },
	[HOOK_DSN] = { " suppress ", VERDICT_NONE, 0 },
	[HOOK_LOG] = { " ", VERDICT_NONE, 0 },
	[HOOK_TLSRPT] = { " suppress report defer ", VERDICT_DEFER, 451 },
	[HOOK_INIT] = { " ", VERDICT_NONE, 0 },
	[HOOK_FINI] = { " ", VERDICT_NONE, 0 },
	[HOOK_EVERY] = { " ", VERDICT_NONE, 0 },
};

/* What is owed, as it was when it was looked at last. */
struct owed {
	duty_mask msg, rcpt[RCPTS_SEEN], hop_added;
	size_t nrcpts;
};
struct asked {
	struct world w;
	enum policy_hook hook;
	bool waits;
	uint64_t ticket;
	struct owed owed;
	duty_mask before;		/* all that stood against MAIL when the hook was asked */
	struct trust_facts facts;
};
static struct run {
	struct fix f;
	struct asked asked[WORLDS];
	unsigned waiting;
} run;

static struct {
	uint64_t policies, loaded, calls, waited, cancelled, errors, nothing, relaxed, sends, kinds[32];
	size_t heap_most;
} total;

/* ---- The configuration, read once ---- */

static char dir[] = "/tmp/fuzz-lua-XXXXXX";
static bool is_shown;		/* FUZZ_LUA_SHOW is set: policies and log */

static void
at_exit(void)
{
	char path[64];

	snprintf(path, sizeof path, "%s/gateway.lua", dir);
	unlink(path);
	snprintf(path, sizeof path, "%s/policy.lua", dir);
	unlink(path);
	rmdir(dir);
	if (getenv("FUZZ_LUA_STATS") == NULL)
		return;
	fprintf(stderr, "policies %llu loaded %llu calls %llu waited %llu cancelled %llu failed %llu "
	    "no opinion %llu relaxed %llu sends %llu heap +%zu\n", (unsigned long long)total.policies,
	    (unsigned long long)total.loaded, (unsigned long long)total.calls, (unsigned long long)total.waited,
	    (unsigned long long)total.cancelled, (unsigned long long)total.errors,
	    (unsigned long long)total.nothing, (unsigned long long)total.relaxed, (unsigned long long)total.sends,
	    total.heap_most);
	for (int k = 1; k <= VERDICT_IDENTITY; k++)
		fprintf(stderr, "%s %llu%s", verdict_kind_name((enum verdict_kind)k), (unsigned long long)total.kinds[k],
		    k == VERDICT_IDENTITY ? "\n" : ", ");
}

static struct conf *
configuration(void)
{
	static struct conf *conf;
	char path[64], *errors = NULL, *gateway;

	if (conf != NULL)
		return conf;
	MUST(mkdtemp(dir) != NULL);
	atexit(at_exit);
	is_shown = getenv("FUZZ_LUA_SHOW") != NULL;
	gateway = xasprintf(fix_gateway, "{}");
	fix_write(dir, "gateway.lua", gateway);
	free(gateway);
	fix_write(dir, "policy.lua", "");
	snprintf(path, sizeof path, "%s/gateway.lua", dir);
	conf = conf_load(path, false, &errors);
	MUST(conf != NULL && conf->policy.ngrants == 1);
	/* What a loop costs is not what is looked for. */
	conf->policy.instructions = 20000;
	conf->policy.memory = 32 << 20;
	return conf;
}

static void
no_log(void *arg, const char *line)
{
	(void)arg;
	/* One event, one line, and nothing in it that would be another's. */
	MUST(strpbrk(line, "\n\r") == NULL);
	if (is_shown)
		fprintf(stderr, "%s\n", line);
}

/* ---- Subjects ---- */

static duty_mask
some_duties(struct grammar *g)
{
	duty_mask m = 0;

	for (unsigned i = grammar_pick(g, 3); i-- > 0;)
		duties_join(&m, duties_of_level((enum tls_level)grammar_pick(g, TLS_LEVELS),
		    (enum duty_source)grammar_pick(g, DUTY_SOURCES)));
	return m;
}

static void
vary(struct asked *a, struct grammar *g)
{
	struct world *w = &a->w;
	struct msg *m = w->msg;

	m->duties = some_duties(g);
	for (size_t i = 0; i < m->nrcpts; i++)
		m->rcpts[i].duties = some_duties(g);
	m->tls_no = (enum msg_tls_no)grammar_pick(g, 5);
	m->flags = grammar_pick(g, 4) == 0 ? MSG_REQUIRETLS : grammar_pick(g, 8) == 0 ? MSG_NOTICE : 0;
	if (grammar_pick(g, 6) == 0) {
		free(m->from);
		free(m->from_domain);
		m->from = xstrdup("");
		m->from_domain = xstrdup("");
	}
	if (grammar_pick(g, 4) == 0)
		w->info.tls = NULL;
	if (grammar_pick(g, 4) == 0)
		w->session.listener = NULL;
	if (grammar_pick(g, 8) == 0)
		w->info.helo = NULL;
	if (grammar_pick(g, 4) == 0)
		w->info.auth_id = NULL;
	if (grammar_pick(g, 3) == 0)
		w->hop.tls = NULL;
	if (grammar_pick(g, 6) == 0)
		w->hop.route = NULL;
	if (grammar_pick(g, 4) == 0)
		w->result.hop = NULL;
	w->hop.mx = (enum mx_trust)grammar_pick(g, 5);
	w->hop.sts = (enum sts_mode)grammar_pick(g, 4);
	w->hop.tlsa = (enum tlsa_state)grammar_pick(g, 4);
	w->hop.verified = (enum peer_verified)grammar_pick(g, 4);
	w->hop.caps = SMTP_EXT_STARTTLS | (grammar_pick(g, 2) == 0 ? SMTP_EXT_REQUIRETLS : 0);
	w->hop.duties = some_duties(g);
	w->bounce.kind = grammar_pick(g, 2) == 0 ? DSN_FAILED : DSN_DELAYED;
	w->bounce.tagged = grammar_pick(g, 2) == 0;
	if (grammar_pick(g, 8) == 0)
		w->bounce.nrcpts = 0;
	a->facts = (struct trust_facts){ .stage = w->hop.tls == NULL ? HOP_NO_STARTTLS : HOP_TLS, .mx = w->hop.mx,
	    .verified = w->hop.tls == NULL ? PEER_UNVERIFIED : w->hop.verified, .pkix_ok = grammar_pick(g, 2) == 0,
	    .tls_is_modern = w->hop.tls != NULL, .lists_requiretls = (w->hop.caps & SMTP_EXT_REQUIRETLS) != 0,
	    .asserts_propagate = grammar_pick(g, 8) == 0, .tlsa = w->hop.tlsa, .sts = w->hop.sts,
	    .sts_matches = grammar_pick(g, 2) == 0 };
}

/* ---- What must hold ---- */

static void
look(struct owed *o, const struct asked *a)
{
	const struct msg *m = a->w.msg;

	o->msg = m->duties;
	o->nrcpts = m->nrcpts < RCPTS_SEEN ? m->nrcpts : RCPTS_SEEN;
	for (size_t i = 0; i < o->nrcpts; i++)
		o->rcpt[i] = m->rcpts[i].duties;
	o->hop_added = a->w.hop.added;
}

#define HAS(now, before) (((now) & (before)) == (before))

static void
duties_hold(struct asked *a)
{
	struct owed now;

	look(&now, a);
	MUST(HAS(now.msg, a->owed.msg));
	MUST(now.nrcpts >= a->owed.nrcpts);
	for (size_t i = 0; i < a->owed.nrcpts; i++)
		MUST(HAS(now.rcpt[i], a->owed.rcpt[i]));
	MUST(HAS(now.hop_added, a->owed.hop_added));
	a->owed = now;
}

static bool
is_one_line(const char *s)
{
	return s == NULL || strpbrk(s, "\r\n") == NULL;
}

static void
words_hold(const struct asked *a, const struct verdict *v)
{
	const struct msg *m = a->w.msg;
	const struct dsn_words *d = &a->w.words;

	/* What init says is for whoever asked for the reload, and escaped there. */
	MUST(is_one_line(v->reason) || (v->is_error && a->hook == HOOK_INIT));
	MUST(is_one_line(v->text) && is_one_line(v->queue) && is_one_line(v->identity));
	MUST(strlen(v->status) < sizeof v->status);
	for (size_t i = 0; i < m->nedits; i++)
		MUST(is_one_line(m->edits[i].name) && is_one_line(m->edits[i].value) && m->edits[i].name[0] != '\0');
	for (size_t i = 0; i < m->ntags; i++)
		MUST(is_one_line(m->tags[i]));
	for (size_t i = 0; i < m->nrcpts; i++)
		MUST(is_one_line(m->rcpts[i].address) && strpbrk(m->rcpts[i].domain, " \r\n<>") == NULL);
	MUST(is_one_line(m->from));
	MUST(is_one_line(d->subject) && is_one_line(d->from_header) && is_one_line(d->copy_to));
	for (size_t i = 0; i < d->nheaders; i++)
		MUST(is_one_line(d->headers[i]));
	for (size_t i = 0; i < d->nattached; i++)
		MUST(is_one_line(d->attached[i].name) && is_one_line(d->attached[i].type));
	MUST(d->nattached == 0 || !a->w.bounce.tagged);		/* */
	for (size_t i = 0; i < v->nnames; i++)
		MUST(is_one_line(v->names[i]));
}

/* All that stands against MAIL, as deliver/ puts it together. */
static duty_mask
all_owed(const struct asked *a)
{
	const struct msg *m = a->w.msg;
	duty_mask all = a->w.hop.duties;

	duties_join(&all, m->duties);
	for (size_t i = 0; i < m->nrcpts; i++)
		duties_join(&all, m->rcpts[i].duties);
	duties_join(&all, a->w.hop.added);
	return all;
}

static void
sends_hold(const struct asked *a, const struct verdict *v)
{
	const struct msg *m = a->w.msg;
	const struct trust_facts *f = &a->facts;
	struct trust_need need = { .duties = all_owed(a), .null_sender = m->from[0] == '\0',
	    .own_notice = (m->flags & MSG_NOTICE) != 0, .relaxed_to = DUTY_RELAX_NONE, .protect = DSN_PROTECT_STRICT,
	    .waived = m->tls_no == TLS_NO_HONOURED && (m->flags & MSG_REQUIRETLS) == 0 };
	struct trust_verdict out;
	unsigned met, before;

	MUST(HAS(need.duties, a->before));
	if (v->kind == VERDICT_RELAX) {
		need.relaxed_to = duties_bits(need.duties) & ~(unsigned)DUTY_PROPAGATE;	/* as the grant says */
		total.relaxed++;
	}
	trust_decide(&need, f, &out);
	if (out.action != TRUST_SEND || v->kind != (v->kind == VERDICT_RELAX ? VERDICT_RELAX : VERDICT_NONE))
		return;
	total.sends++;
	met = (f->stage == HOP_TLS ? DUTY_ENCRYPT : 0) |
	    (f->stage == HOP_TLS && (f->verified != PEER_UNVERIFIED || f->pkix_ok) ? DUTY_AUTHENTICATE : 0) |
	    (f->mx != MX_INSECURE ? DUTY_SECURE_LOOKUP : 0) |
	    (out.with_requiretls || f->asserts_propagate ? DUTY_PROPAGATE : 0);
	if (need.waived && f->lists_requiretls)		/* then without the keyword */
		met |= DUTY_PROPAGATE;
	before = need.waived ? duties_waived(a->before) : duties_bits(a->before);
	if (v->kind == VERDICT_RELAX)
		before &= ~(unsigned)DUTY_PROPAGATE;
	MUST((before & ~met) == 0);
}

static void
verdict_holds(struct asked *a, const struct verdict *v)
{
	const struct expected *e = &expected[a->hook];
	char word[32];

	duties_hold(a);
	snprintf(word, sizeof word, " %s ", verdict_kind_name(v->kind));
	if (v->is_error) {
		total.errors++;
		/* Where failing is as saying nothing, another handler may have said something. */
		MUST(v->kind == e->kind || (e->kind == VERDICT_NONE && strstr(e->takes, word) != NULL));
		MUST(v->kind != e->kind || v->code == e->code);
		MUST(v->kind != VERDICT_ACCEPT && v->kind != VERDICT_RELAX);
	} else if (v->kind == VERDICT_NONE) {
		total.nothing++;
	} else {
		MUST(strstr(e->takes, word) != NULL);
		MUST(v->handler[0] == 'h');
		total.kinds[v->kind]++;
	}
	MUST(v->kind != VERDICT_RELAX || (a->hook == HOOK_UNMET && strcmp(v->grant, "fax") == 0));
	MUST(!v->relay || (v->kind == VERDICT_ACCEPT && a->hook == HOOK_RCPT));
	MUST(v->kind != VERDICT_REJECT || (v->code >= 500 && v->code < 600));
	MUST(v->kind != VERDICT_DEFER || (v->code >= 400 && v->code < 500));
	MUST((v->kind != VERDICT_ROUTE && v->kind != VERDICT_REROUTE) || v->route != NULL);
	/* Nobody but the configuration vouches for a way. */
	MUST(v->route == NULL || (!v->route->assert_secure_lookup && !v->route->assert_propagate));
	words_hold(a, v);
	if (a->hook == HOOK_ATTEMPT || a->hook == HOOK_EHLO || a->hook == HOOK_UNMET)
		sends_hold(a, v);
}

static void
all_duties_hold(void)
{
	for (unsigned i = 0; i < WORLDS; i++)
		if (run.asked[i].waits)
			duties_hold(&run.asked[i]);
}

/* ---- Calls ---- */

static void
ended(struct asked *a)
{
	world_fini(&a->w, run.f.g);
	a->w.msg = NULL;
	a->waits = false;
}

static void
take(void *owner, uint64_t ticket, struct verdict *v)
{
	struct asked *a = owner;

	MUST(a->waits && a->ticket == ticket);
	run.waiting--;
	verdict_holds(a, v);
	ended(a);
}

static struct policy_subject *
subject_for(struct asked *a, struct grammar *g)
{
	struct policy_subject *s = world_for(&a->w, a->hook);

	if (a->hook == HOOK_INIT || a->hook == HOOK_FINI)
		s->reason = "test";
	if (a->hook == HOOK_EVERY)
		s->timer = run.f.g->timers[0];
	if (s->msg != NULL && s->rcpt >= 0)
		s->rcpt = (int)grammar_pick(g, (unsigned)s->msg->nrcpts);
	if (s->header.p != NULL && grammar_pick(g, 8) == 0)
		s->header = (struct slice){ NULL, 0 };
	return s;
}

static void
call(struct asked *a, enum policy_hook hook, struct grammar *g)
{
	struct policy_subject *s;
	struct verdict v;

	memset(a, 0, sizeof *a);
	a->hook = hook;
	world_init(&a->w);
	vary(a, g);
	s = subject_for(a, g);
	look(&a->owed, a);
	a->before = all_owed(a);
	total.calls++;
	if (policy_call(run.f.p, run.f.g, hook, s, &v, take, a, &a->ticket) == POLICY_LATER) {
		a->waits = true;
		run.waiting++;
		total.waited++;
		duties_hold(a);
		return;
	}
	verdict_holds(a, &v);
	verdict_fini(&v);
	ended(a);
}

static void
leave(struct asked *a)
{
	policy_cancel(run.f.p, a->ticket);
	total.cancelled++;
	run.waiting--;
	duties_hold(a);
	ended(a);
}

static void
pass_time(void)
{
	event_base_loop(run.f.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	all_duties_hold();
}

static void
until_answered(void)	/* or until it takes too long */
{
	for (int i = 0; run.waiting > 0 && i < 10; i++) {
		struct timeval tv = { 0, 1000 };

		event_base_loopexit(run.f.base, &tv);
		event_base_dispatch(run.f.base);
		all_duties_hold();
	}
	for (unsigned i = 0; i < WORLDS; i++)
		if (run.asked[i].waits)
			leave(&run.asked[i]);
}

/* ---- The end ---- */

static void
nothing_is_left(size_t heap, bool is_bounded)
{
	struct policy_gen *g = run.f.g;
	struct policy_stats st;
	size_t allowed;

	policy_stats(run.f.p, &st);
	MUST(st.waiting == 0 && st.in_flight == 0);
	MUST(run.f.p->runs.used == 0);
	for (struct policy_run *r = g->pool; r != NULL; r = r->next) {
		MUST(r->s == NULL && r->epoch == 0 && r->fibers == NULL && r->nfibers == 0 && r->in_flight == 0);
		MUST(r->root.state == FIBER_FREE && r->root.wait == NULL && r->awaiting == NULL);
	}
	for (struct policy_fiber *f = g->fibers; f != NULL; f = f->next)
		MUST(f->state == FIBER_FREE && f->wait == NULL && f->run == NULL);
	MUST(g->current == NULL && g->running == NULL);
	if (!is_bounded)
		return;
	for (int i = 0; i < 4; i++)
		lua_gc(g->L, LUA_GCCOLLECT);
	allowed = heap + HEAP_MORE + (g->npool + g->nfibers) * HEAP_EACH;
	if (g->mem_used > heap && g->mem_used - heap > total.heap_most)
		total.heap_most = g->mem_used - heap;
	MUST(g->mem_used <= allowed);
}

static void
call_everything(struct grammar *g, unsigned hooks)
{
	unsigned n = 4 + grammar_pick(g, CALLS_MAX);
	enum policy_hook of[HOOKS];
	unsigned nof = 0;

	for (int k = 0; k < HOOKS; k++)
		if ((hooks >> k & 1) != 0 && policy_gen_has(run.f.g, (enum policy_hook)k))
			of[nof++] = (enum policy_hook)k;
	for (unsigned i = 0; nof > 0 && i < n; i++) {
		struct asked *a = &run.asked[grammar_pick(g, WORLDS)];

		if (!a->waits)
			call(a, of[grammar_pick(g, nof)], g);
		else if (grammar_pick(g, 3) == 0)
			leave(a);
		else
			pass_time();
	}
}

static void
play(struct grammar *g, unsigned hooks)
{
	size_t heap;

	lua_gc(run.f.g->L, LUA_GCCOLLECT);
	heap = run.f.g->mem_used;
	call_everything(g, hooks);
	if (run.waiting > 0 && grammar_pick(g, 4) == 0) {	/* the engine goes first */
		policy_free(run.f.p);
		run.f.p = NULL;
		for (unsigned i = 0; i < WORLDS; i++)
			if (run.asked[i].waits)
				ended(&run.asked[i]);
		run.waiting = 0;
		return;
	}
	until_answered();
	call(&run.asked[0], HOOK_FINI, g);	/* the prelude's handler lets go of what was kept */
	until_answered();
	nothing_is_left(heap, true);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct grammar g = { .data = data, .n = n > 4 ? n - 4 : 0, .random = 1 };
	struct conf *conf = configuration();
	unsigned hooks = 0;
	struct err err = { "" };
	char *text;

	for (size_t i = 0; i < n; i++)
		g.random = (g.random ^ data[i]) * 16777619u;
	g.random |= 1;
	text = grammar_policy(&g, &hooks);
	if (is_shown)
		fprintf(stderr, "%s", text);
	fix_write(dir, "policy.lua", text);
	free(text);
	log_capture(no_log, NULL);
	memset(&run, 0, sizeof run);
	run.f.conf = conf_ref(conf);
	run.f.base = event_base_new();
	run.f.p = policy_new(run.f.base, NULL, 0);
	run.f.bundle = policy_bundle_read(conf, NULL, &err);
	MUST(run.f.bundle != NULL);
	run.f.g = policy_gen_new(run.f.p, run.f.bundle, conf, &err);
	total.policies++;
	if (run.f.g != NULL) {
		total.loaded++;
		run.f.g->steps_max = 200000;
		play(&g, hooks);
	} else if (is_shown) {
		fprintf(stderr, "does not load: %s\n", err.text);
	}
	fix_fini(&run.f);
	return 0;
}
