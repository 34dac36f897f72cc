/* Records of handler calls (trace.h). A record is filled in while its handler runs and changes places with
 * the oldest of the ring when it has ended, so that nothing is copied and, once the ring is full, nothing
 * allocated.
 *
 * A message is kept from the first record on that says something of its own (a verdict, an error, a duty):
 * what the ring still has of it goes to the store then, and what follows as it comes. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "policy/matcher.h"
#include "policy/policy_int.h"
#include "policy/rules.h"

#define TEXT_MAX 2048
#define WATCHED 256		/* messages whose further records are kept */
#define SLOW_RUN_NS 5000000
#define SLOW_WALL_MS 1000
#define SLOW_PAUSE_MS 60000

struct policy_trace {
	struct trace_conf conf;
	const struct trace_ops *ops;
	void *owner;
	bool live;
	struct trace_rec **ring;	/* conf.ring of them; NULL: not used yet */
	size_t next;			/* the oldest, or the first that is not used */
	uint64_t seq, kept;
	uint64_t watched[WATCHED];	/* by number */
};

/* ---- Records ---- */

static struct trace_rec *
rec_new(void)
{
	struct trace_rec *t = xcalloc(1, sizeof *t);

	buf_init(&t->matched, TEXT_MAX);
	buf_init(&t->changed, TEXT_MAX);
	buf_init(&t->notes, TEXT_MAX);
	buf_init(&t->why, TEXT_MAX);
	return t;
}

void
policy_trace_rec_free(struct trace_rec *t)
{
	if (t == NULL)
		return;
	buf_fini(&t->matched);
	buf_fini(&t->changed);
	buf_fini(&t->notes);
	buf_fini(&t->why);
	free(t);
}

static void
rec_clear(struct trace_rec *t)
{
	buf_clear(&t->matched);
	buf_clear(&t->changed);
	buf_clear(&t->notes);
	buf_clear(&t->why);
	t->is_error = t->is_kept = false;
	t->verdict = VERDICT_NONE;
	t->nwaits = 0;
	t->duties = 0;
	t->run_ns = 0;
}

/* Cut where it is full. */
static void
add_part(struct buf *b, const char *p, size_t n)
{
	size_t room = b->max - b->len;

	if (b->len > 0 && room > 0) {
		buf_addc(b, '\n');
		room--;
	}
	buf_add(b, p, n < room ? n : room);
}

static void
set_text(char *dst, size_t size, const char *s)
{
	size_t n = s == NULL ? 0 : strlen(s);

	if (n >= size)
		n = size - 1;
	if (n > 0)
		memcpy(dst, s, n);
	dst[n] = '\0';
}

/* What the call is about, so that one can look for it. */
static void
set_subject(struct trace_rec *t, const struct policy_subject *s)
{
	const struct smtp_session_info *info = s->session == NULL ? NULL : s->session->info;
	const struct msg *m = s->msg;
	const char *domain = s->hop != NULL ? s->hop->destination : s->domain;

	t->session = info != NULL ? info->id : m != NULL ? m->session : 0;
	t->message = m == NULL ? 0 : m->id;
	t->rcpt = -1;
	if (m != NULL && s->rcpt >= 0 && (size_t)s->rcpt < m->nrcpts) {
		t->rcpt = (int)m->rcpts[s->rcpt].num;
		if (domain == NULL)
			domain = m->rcpts[s->rcpt].domain;
	}
	if (domain == NULL && m != NULL)
		domain = m->from_domain;
	set_text(t->domain, sizeof t->domain, domain);
	set_text(t->ip, sizeof t->ip, info != NULL ? info->peer_ip : m != NULL ? m->peer_ip : NULL);
}

void
policy_trace_begin(struct policy_run *r)
{
	const struct handler *h = r->h;
	struct trace_rec *t = r->spare != NULL ? r->spare : rec_new();

	r->spare = NULL;
	rec_clear(t);
	set_subject(t, r->s);
	t->at_ms = clock_wall_ms();
	t->hook = r->hook;
	t->level = h->level;
	t->is_rule = h->rule != NULL;
	t->observe = h->observe;
	memcpy(t->gen, policy_gen_id(r->gen), sizeof t->gen - 1);
	memcpy(t->handler, h->name, sizeof t->handler);
	memcpy(t->where, h->where, sizeof t->where);
	t->begun_ns = clock_mono_ns();
	t->slice_ns = clock_run_ns(t->begun_ns);
	r->trace = t;
}

void
policy_trace_matched(struct policy_run *r, const struct matcher *m)
{
	char *text = m == NULL ? NULL : matcher_reason(m, policy_run_view(r));

	if (text != NULL)
		add_part(&r->trace->matched, text, strlen(text));
	free(text);
}

void
policy_trace_pause(struct policy_run *r)
{
	struct trace_rec *t = r->trace;

	t->run_ns += clock_run_ns(clock_mono_ns()) - t->slice_ns;
	t->slice_ns = 0;
}

void
policy_trace_go(struct policy_run *r)
{
	if (r->trace->slice_ns == 0)
		r->trace->slice_ns = clock_run_ns(clock_mono_ns());
}

void
policy_trace_change(struct policy_run *r, const char *what)
{
	if (r->trace != NULL)
		add_part(&r->trace->changed, what, strlen(what));
}

void
policy_trace_note(struct policy_run *r, const char *text, size_t n)
{
	if (r->trace != NULL)
		add_part(&r->trace->notes, text, n);
}

/* ---- Waits ---- */

void
policy_wait_name(struct policy_wait *w, const char *kind, const char *key)
{
	struct policy_run *r = w->fiber->run;
	struct trace_rec *t = r->trace;

	w->kind = kind;
	if (r->journal != NULL)
		w->key = xstrdup(key);
	if (t == NULL)
		return;
	if (t->nwaits < TRACE_WAITS) {
		struct trace_wait *tw = &t->waits[t->nwaits];

		tw->kind = kind;
		set_text(tw->key, sizeof tw->key, key);
		tw->ns = clock_mono_ns();
		tw->outcome = NULL;
		w->traced = t->nwaits + 1;
	}
	t->nwaits++;
}

void
policy_trace_waited(struct policy_run *r, unsigned at, const char *outcome)
{
	struct trace_wait *tw;

	if (r->trace == NULL || at == 0 || at > TRACE_WAITS)
		return;
	tw = &r->trace->waits[at - 1];
	if (tw->outcome != NULL)
		return;
	tw->ns = clock_mono_ns() - tw->ns;
	tw->outcome = outcome;
}

/* The answer was given to the policy: what it was. */
void
policy_trace_outcome(struct policy_run *r, unsigned at, const char *outcome)
{
	if (r->trace != NULL && at > 0 && at <= TRACE_WAITS)
		r->trace->waits[at - 1].outcome = outcome;
}

/* ---- Keeping ---- */

static bool
is_watched(const struct policy_trace *pt, uint64_t message)
{
	return message != 0 && pt->watched[hash64(&message, sizeof message) % WATCHED] == message;
}

static bool
is_sampled(const struct policy_trace *pt, uint64_t message)
{
	return pt->conf.sample > 0 && message != 0 &&
	    hash64(&message, sizeof message) / WATCHED % pt->conf.sample == 0;
}

static bool
says_something(const struct trace_rec *t)
{
	return t->verdict != VERDICT_NONE || t->is_error || t->duties != 0;
}

static void
keep(struct policy_trace *pt, struct trace_rec *t)
{
	if (t->is_kept)
		return;
	t->is_kept = true;
	pt->kept++;
	pt->ops->keep(pt->owner, t);
}

static void
keep_earlier(struct policy_trace *pt, uint64_t message, uint64_t session)
{
	for (size_t k = 0; k < pt->conf.ring; k++) {
		struct trace_rec *t = pt->ring[(pt->next + k) % pt->conf.ring];

		if (t != NULL && (t->message == message || (t->message == 0 && t->session == session)) &&
		    (t->message != 0 || t->session != 0))
			keep(pt, t);
	}
}

static void
decide(struct policy_trace *pt, struct trace_rec *t)
{
	if (pt->ops == NULL)
		return;
	if (pt->conf.keep && says_something(t) && !is_watched(pt, t->message)) {
		if (t->message != 0)
			pt->watched[hash64(&t->message, sizeof t->message) % WATCHED] = t->message;
		keep_earlier(pt, t->message, t->session);
		keep(pt, t);
	} else if (is_sampled(pt, t->message) || (pt->conf.keep && is_watched(pt, t->message))) {
		keep(pt, t);
	}
	if (pt->live)
		pt->ops->live(pt->owner, t);
}

/* ---- Ends ---- */

static void
add_words(struct buf *b, const char *before, const char *text, const char *after)
{
	char shown[300];

	if (text == NULL || *text == '\0')
		return;
	text_escape(shown, sizeof shown, text, strlen(text), true);
	buf_printf(b, "%s%s%s%s", b->len > 0 ? " " : "", before, shown, after);
}

/* What matters of it, in a line. */
void
policy_trace_verdict(struct policy_run *r, const struct verdict *v)
{
	struct buf *b = &r->trace->why;

	if (v->code != 0)
		buf_printf(b, "%d %s", v->code, v->status);
	if (v->kind == VERDICT_TLS)
		add_words(b, "level=", tls_level_name(v->level), "");
	if (v->route != NULL)
		add_words(b, "via ", v->route->name[0] != '\0' ? v->route->name : v->route->via_mx ? "mx" :
		    v->route->nhosts > 0 ? v->route->hosts[0].host : "", "");
	add_words(b, "grant=", v->grant, "");
	add_words(b, "", v->text, "");
	add_words(b, "(", v->reason, ")");
	if (v->where[0] != '\0' && strcmp(v->where, r->h->where) != 0)
		add_words(b, "at ", v->where, "");
}

static unsigned
bucket_of(int64_t ns)
{
	unsigned b = 0;

	while (b < TRACE_BUCKETS - 1 && (double)ns > trace_bucket_s[b] * 1e9)
		b++;
	return b;
}

void
policy_trace_end(struct policy_run *r, enum verdict_kind kind, bool is_error)
{
	struct policy_trace *pt = r->gen->policy->trace;
	struct trace_rec *t = r->trace;
	int64_t now = clock_mono_ns();
	struct handler_count *c = r->h->count;

	t->wall_ns = now - t->begun_ns;
	if (t->slice_ns != 0)
		t->run_ns += clock_run_ns(now) - t->slice_ns;
	for (unsigned i = 0; i < t->nwaits && i < TRACE_WAITS; i++)
		policy_trace_waited(r, i + 1, "ended");
	t->verdict = kind;
	t->is_error = is_error;
	if (is_error)
		add_part(&t->why, r->gen->err.text, strlen(r->gen->err.text));
	t->instructions = r->instructions;
	t->grown = r->mem_grown;
	t->seq = ++pt->seq;
	c->timed++;
	c->wall_ns += t->wall_ns;
	c->buckets[bucket_of(t->wall_ns)]++;
	r->trace = NULL;
	decide(pt, t);
	if (pt->ring == NULL) {
		r->spare = t;
		return;
	}
	r->spare = pt->ring[pt->next];
	pt->ring[pt->next] = t;
	pt->next = (pt->next + 1) % pt->conf.ring;
}

void
policy_trace_drop(struct policy_run *r)
{
	if (r->trace == NULL)
		return;
	policy_trace_rec_free(r->spare);
	r->spare = r->trace;
	r->trace = NULL;
}

/* ---- Who wants them ---- */

static void
ring_free(struct policy_trace *pt)
{
	for (size_t i = 0; pt->ring != NULL && i < pt->conf.ring; i++)
		policy_trace_rec_free(pt->ring[i]);
	free(pt->ring);
	pt->ring = NULL;
}

/* What is there moves on, the newest of it. */
static void
ring_resize(struct policy_trace *pt, unsigned n)
{
	struct trace_rec **ring = n == 0 ? NULL : xcalloc(n, sizeof *ring);
	size_t old = pt->ring == NULL ? 0 : pt->conf.ring, at = 0, there = 0;

	for (size_t k = 0; k < old; k++)
		there += pt->ring[k] != NULL;
	for (size_t k = 0; k < old; k++) {
		size_t from = (pt->next + k) % old;

		if (pt->ring[from] == NULL)
			continue;
		if (there <= n) {
			ring[at++] = pt->ring[from];
			pt->ring[from] = NULL;
		}
		there -= there > n;
	}
	ring_free(pt);
	pt->ring = ring;
	pt->conf.ring = n;
	pt->next = n == 0 ? 0 : at % n;
}

void
policy_trace_use(struct policy *p, const struct trace_conf *c, const struct trace_ops *ops, void *owner)
{
	struct policy_trace *pt = p->trace;

	if (pt == NULL)
		pt = p->trace = xcalloc(1, sizeof *pt);
	if (c->ring != pt->conf.ring)
		ring_resize(pt, c->ring);
	pt->conf = *c;
	pt->ops = ops;
	pt->owner = owner;
	p->tracing = c->ring > 0 || (ops != NULL && (pt->live || c->sample > 0 || c->keep));
}

void
policy_trace_watch(struct policy *p, bool live)
{
	struct trace_conf none = { 0 };

	if (p->trace == NULL)
		policy_trace_use(p, &none, NULL, NULL);
	p->trace->live = live;
	p->tracing = p->trace->conf.ring > 0 || (p->trace->ops != NULL &&
	    (live || p->trace->conf.sample > 0 || p->trace->conf.keep));
}

void
policy_trace_free(struct policy *p)
{
	if (p->trace == NULL)
		return;
	ring_free(p->trace);
	free(p->trace);
	p->trace = NULL;
	p->tracing = false;
}

void
policy_trace_each(const struct policy *p, uint64_t id, void (*fn)(void *arg, const struct trace_rec *t),
    void *arg)
{
	const struct policy_trace *pt = p->trace;
	uint64_t session = 0;

	if (pt == NULL || pt->ring == NULL)
		return;
	for (size_t k = 0; k < pt->conf.ring && session == 0; k++)
		if (pt->ring[k] != NULL && pt->ring[k]->message == id)
			session = pt->ring[k]->session;
	for (size_t k = 0; k < pt->conf.ring; k++) {
		const struct trace_rec *t = pt->ring[(pt->next + k) % pt->conf.ring];

		if (t != NULL && (t->message == id || t->session == id ||
		    (session != 0 && t->session == session && t->message == 0)))
			fn(arg, t);
	}
}

/* ---- Slow handlers ---- */

/* In a protected call on the main state. Pushes the text. */
static int
describe(lua_State *L)
{
	luaL_traceback(L, lua_touserdata(L, 1), "", 0);
	return 1;
}

static void
log_slow(struct policy_run *r, lua_State *co, const char *phrase, int64_t ms)
{
	struct handler *h = r->h;
	lua_State *L = r->gen->L;
	int64_t now = clock_mono_ms();
	const char *trace = NULL, *nl;

	if (h->slow_ms != 0 && now - h->slow_ms < SLOW_PAUSE_MS)
		return;
	h->slow_ms = now;
	lua_pushcfunction(L, describe);
	lua_pushlightuserdata(L, co);
	if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_type(L, -1) == LUA_TSTRING) {
		nl = strchr(lua_tostring(L, -1), '\n');
		trace = nl == NULL ? NULL : nl + 1;
	}
	log_warn(phrase, LOG_S("hook", policy_hook_name(r->hook)), LOG_S("handler", h->name),
	    LOG_S("where", h->where), LOG_I("ms", ms), LOG_B("gen", policy_gen_id(r->gen), 12),
	    r->s->session != NULL && r->s->session->info != NULL ?
	    LOG_ID("session", r->s->session->info->id) : LOG_S("session", NULL),
	    r->s->msg != NULL ? LOG_ID("message", r->s->msg->id) : LOG_S("message", NULL),
	    LOG_S("trace", trace));
	lua_pop(L, 1);
}

/* From the count hook: `L` runs. Nothing may be allocated in vain there: the traceback is made only once a
 * minute for a handler. */
void
policy_slow_run(struct policy_run *r, lua_State *L, int64_t run_ns, int64_t (*cpu_ns)(struct policy_run *))
{
	if (run_ns < SLOW_RUN_NS || r->h == NULL ||
	    (r->h->slow_ms != 0 && clock_mono_ms() - r->h->slow_ms < SLOW_PAUSE_MS) || cpu_ns(r) < SLOW_RUN_NS)
		return;
	log_slow(r, L, "policy handler is slow", cpu_ns(r) / 1000000);
}

void
policy_slow_wait(struct policy_run *r, lua_State *co)
{
	int64_t ms = clock_mono_ms() - r->wait_began_ms;

	if (r->wait_began_ms != 0 && ms > SLOW_WALL_MS && r->h != NULL)
		log_slow(r, co, "policy handler waited for long", ms);
}
