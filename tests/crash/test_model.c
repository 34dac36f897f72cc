/* The queue against a model of it: accept, hand out, defer, deliver, fail with a notice, hold, release,
 * retry, delete, bounce, require TLS, in random order, the process killed at random moments and in the
 * middle of a request (F-1, X-34; model-based test of the queue). The store runs in a child, the model
 * here; after each death the file is compared with the model, row by row.
 *
 * A request that was under way at a kill was done or not: the file must fit one of the two, whole.
 * SOAK=1: many more steps; CRASH_SEED: another sequence. */
#include "unit.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "store_rig.h"

#define STEPS 400
#define SOAK_STEPS 6000
#define RCPTS 3
#define LIVING 40		/* messages; beyond that they are rather removed than added */
#define LATER_MS 86400000	/* of what is put off; a start of the child lets so much time pass, or not */
#define RECALL_MS 2000		/* after a lease was taken away, db_admin.c */

enum op_kind { OP_PUT, OP_RESULT, OP_ADMIN, OP_DUE, OP_STATUS, OP_CLOSE };

struct op {
	enum op_kind kind;
	uint64_t id;
	uint32_t num, duties, nrcpts, size, attempts;
	bool held;
	enum store_change change;
	enum store_verb verb;
	int64_t next_ms, at_ms;	/* at_ms: not before it was asked */
	uint64_t notice;	/* one that goes with a result */
};
struct said {			/* what the child answers; OP_DUE: one for each, `last` ends it */
	enum store_status status;
	bool last;
	uint64_t id;
	uint32_t num, duties, attempts, active;
	bool has_bounce;
	int64_t messages, recipients, held;
};

/* ---- The child ---- */

static void
tell(int fd, const struct said *a)
{
	MUST(write(fd, a, sizeof *a) == sizeof *a);
}

static char
octet(uint64_t id, size_t i)
{
	return (char)('a' + (id * 11 + i * 7 + i / 1000) % 26);
}

static struct msg *
make(uint64_t id, const struct op *o)
{
	struct msg *m = rig_msg("d0.example", o->size);
	char *body = (char *)m->content->mem;

	for (size_t i = 0; i < o->size; i++)
		body[i] = octet(id, i);
	m->id = id;
	m->duties = o->duties;
	for (uint32_t i = 1; i < o->nrcpts; i++) {
		struct msg_rcpt *r = msg_add_rcpt(m);

		r->num = i;
		r->domain = xasprintf("d%u.example", i);
		r->address = xasprintf("user@%s", r->domain);
		r->route = xstrdup("default");
		r->next_hop = xstrdup(r->domain);
	}
	for (size_t i = 0; i < m->nrcpts; i++) {
		m->rcpts[i].held = o->held;
		m->rcpts[i].hold_reason = o->held ? xstrdup("model") : NULL;
	}
	return m;
}

static void
do_put(struct rig *r, int fd, const struct op *o)
{
	struct store_submit *q = rig_submit(r, make(o->id, o));
	struct said a = { .status = q->status, .last = true };

	for (uint32_t i = 0; q->active != NULL && i < o->nrcpts; i++)
		a.active |= (uint32_t)q->active[i] << i;
	store_submit_free(q);
	tell(fd, &a);
}

static void
do_result(struct rig *r, int fd, const struct op *o)
{
	struct store_result *q = rig_result_new(r, o->id, o->num, o->change);
	struct store_rcpt_change *c = &q->changes[0];
	struct said a = { .last = true };

	c->next_ms = o->next_ms;
	c->attempts = o->attempts;
	c->duties = o->duties;
	if (o->change == CHANGE_HOLD)
		c->hold_reason = xstrdup("model");
	if (o->change == CHANGE_ROUTE) {
		c->route = xstrdup("other");
		c->next_hop = xasprintf("hop%u.example", o->attempts);
	}
	if (o->notice != 0) {
		struct op n = { .nrcpts = 1, .size = 500 };

		q->nnotices = 1;
		q->notices = xcalloc(1, sizeof *q->notices);
		q->notices[0].msg = make(o->notice, &n);
	}
	q->urgent = true;
	store_result(r->s, q);
	q = rig_answer(r);
	a.status = q->status;
	if (q->nnotices == 1 && q->notices[0].status == STORE_OK)
		a.active = q->notices[0].active[0];
	store_result_free(q);
	tell(fd, &a);
}

static void
do_admin(struct rig *r, int fd, const struct op *o)
{
	struct store_query *q = rig_ask(o->verb, o->id);
	struct said a = { .last = true };

	q->duties = o->duties;
	q->reason = xstrdup("model");
	q->by = xstrdup("test");
	json_decref(rig_query(r, q, &a.status));
	tell(fd, &a);
}

static void
do_due(struct rig *r, int fd)
{
	struct said a = { .status = STORE_OK };
	struct mail *m;

	/* What the first makes the store hand out has been posted when the second is answered. */
	rig_sync(r);
	rig_sync(r);
	for (unsigned w = 0; w < RIG_WORKERS; w++) {
		while ((m = rig_due(r, w, false)) != NULL) {
			struct store_due *d = (struct store_due *)m;

			if (m->kind != STORE_KIND_DUE) {
				free(m);
				continue;
			}
			for (size_t i = 0; i < d->nrcpts; i++) {
				a.id = d->msg->id;
				a.num = d->msg->rcpts[i].num;
				a.duties = d->msg->duties | d->msg->rcpts[i].duties;
				a.attempts = d->rcpts[i].attempts;
				a.has_bounce = d->rcpts[i].bounce_reason != NULL;
				tell(fd, &a);
			}
			store_due_free(d);
		}
	}
	a.last = true;
	tell(fd, &a);
}

static void
do_status(struct rig *r, int fd)
{
	struct said a = { .status = STORE_OK, .last = true };
	json_t *o = rig_query(r, rig_ask(STORE_EVIDENCE_VERIFY, 0), NULL);

	MUST(json_is_true(json_object_get(o, "ok")));
	json_decref(o);
	a.messages = rig_number(r, "messages");
	a.recipients = rig_number(r, "recipients");
	a.held = rig_number(r, "held");
	tell(fd, &a);
}

static void
child(struct rig *r, int fd)
{
	struct op o;

	r->conf.max_active = 100000;
	rig_open(r);
	rig_start(r);
	while (read(fd, &o, sizeof o) == sizeof o) {
		struct said done = { .last = true };

		switch (o.kind) {
		case OP_PUT: do_put(r, fd, &o); break;
		case OP_RESULT: do_result(r, fd, &o); break;
		case OP_ADMIN: do_admin(r, fd, &o); break;
		case OP_DUE: do_due(r, fd); break;
		case OP_STATUS: do_status(r, fd); break;
		case OP_CLOSE:
			rig_close(r);
			tell(fd, &done);
			_exit(0);
		}
	}
	_exit(0);
}

/* ---- The model ---- */

struct mrcpt {
	bool is_there, in_hand, has_bounce;
	enum rcpt_state state;
	int64_t next_ms, latest_ms;	/* due: the store's clock read something between these */
	uint32_t duties, attempts;
	unsigned evidence;	/* rows that say how it left */
};
struct mmsg {
	uint64_t id;
	uint32_t duties, size, nrcpts;
	struct mrcpt r[RCPTS];
};
struct model {
	struct mmsg *v;
	size_t n;
};

static int64_t shift_ms;	/* of the child's clock */

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 + shift_ms;
}

static struct mmsg *
find(struct model *m, uint64_t id)
{
	for (size_t i = m->n; i-- > 0;)
		if (m->v[i].id == id)
			return &m->v[i];
	return NULL;
}

static bool
is_living(const struct mmsg *g)
{
	bool any = false;

	for (uint32_t i = 0; i < g->nrcpts; i++)
		any = any || g->r[i].is_there;
	return any;
}

static void
set_due(struct mrcpt *r, int64_t from, int64_t to)
{
	r->next_ms = from;
	r->latest_ms = to;
}

static void
add(struct model *m, uint64_t id, const struct op *o, uint32_t active)
{
	struct mmsg *g;

	m->v = xrealloc(m->v, (m->n + 1) * sizeof *m->v);
	g = &m->v[m->n++];
	*g = (struct mmsg){ .id = id, .duties = o->duties, .size = o->size, .nrcpts = o->nrcpts };
	for (uint32_t i = 0; i < o->nrcpts; i++) {
		g->r[i].is_there = true;
		g->r[i].state = o->held ? RCPT_HELD : active >> i & 1 ? RCPT_ACTIVE : RCPT_QUEUED;
		g->r[i].in_hand = g->r[i].state == RCPT_ACTIVE;
		set_due(&g->r[i], 0, 0);	/* due, or held for ever */
	}
}

static void
apply_result(struct model *m, const struct op *o, uint32_t active)
{
	struct mrcpt *r = &find(m, o->id)->r[o->num];
	bool was_there = r->is_there;

	r->in_hand = false;
	if (o->change == CHANGE_DONE) {
		r->is_there = false;
		r->evidence++;
	} else if (was_there) {
		r->duties |= o->duties;
		r->attempts = o->attempts;
		if (r->state == RCPT_ACTIVE) {	/* else an administrator was quicker */
			r->state = o->change == CHANGE_HOLD ? RCPT_HELD : RCPT_QUEUED;
			set_due(r, o->next_ms, o->next_ms);
		}
	}
	if (o->notice != 0 && was_there) {
		struct op n = { .nrcpts = 1, .size = 500 };

		add(m, o->notice, &n, active);
	}
}

static void
apply_admin(struct mrcpt *r, const struct op *o)
{
	bool is_leased = r->state == RCPT_ACTIVE;
	int64_t from = is_leased ? o->at_ms + RECALL_MS : 0, to = is_leased ? now_ms() + RECALL_MS : 0;

	switch (o->verb) {
	case STORE_HOLD:
		if (r->state != RCPT_HELD)
			set_due(r, 0, 0);
		r->state = RCPT_HELD;
		break;
	case STORE_RELEASE:
		if (r->state != RCPT_HELD)
			return;
		r->state = RCPT_QUEUED;
		set_due(r, 0, 0);
		break;
	case STORE_RETRY:
		if (r->state == RCPT_QUEUED)
			set_due(r, 0, 0);
		break;
	case STORE_DELETE:
		r->is_there = false;
		r->evidence++;
		break;
	case STORE_BOUNCE:
		r->has_bounce = true;
		r->state = RCPT_QUEUED;
		set_due(r, from, to);
		break;
	default:
		r->duties |= o->duties;
		if (is_leased) {
			r->state = RCPT_QUEUED;
			set_due(r, from, to);
		}
	}
}

static void
apply(struct model *m, const struct op *o, uint32_t active)
{
	struct mmsg *g;

	switch (o->kind) {
	case OP_PUT:
		add(m, o->id, o, active);
		break;
	case OP_RESULT:
		apply_result(m, o, active);
		break;
	case OP_ADMIN:
		g = find(m, o->id);
		for (uint32_t i = 0; i < g->nrcpts; i++)
			if (g->r[i].is_there)
				apply_admin(&g->r[i], o);
		break;
	default:
		break;
	}
}

/* ---- The file ---- */

static int64_t
sql_int(sqlite3 *h, const char *sql, uint64_t id, uint32_t num)
{
	sqlite3_stmt *st;
	int64_t v;

	ck_assert_int_eq(sqlite3_prepare_v2(h, sql, -1, &st, NULL), SQLITE_OK);
	sqlite3_bind_int64(st, 1, (int64_t)id);
	sqlite3_bind_int64(st, 2, num);
	v = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
	sqlite3_finalize(st);
	return v;
}

static bool
content_fits(sqlite3 *h, const struct mmsg *g)
{
	sqlite3_stmt *st;
	size_t at = 0;
	bool ok = true;

	ck_assert_int_eq(sqlite3_prepare_v2(h, "SELECT bytes FROM content WHERE message = ?1 ORDER BY seq", -1,
	    &st, NULL), SQLITE_OK);
	sqlite3_bind_int64(st, 1, (int64_t)g->id);
	while (sqlite3_step(st) == SQLITE_ROW) {
		const char *p = sqlite3_column_blob(st, 0);
		size_t n = (size_t)sqlite3_column_bytes(st, 0);

		for (size_t i = 0; i < n; i++, at++)
			ok = ok && p[i] == octet(g->id, at);
	}
	sqlite3_finalize(st);
	return ok && at == g->size;
}

/* Why the row does not fit, or NULL. */
static const char *
rcpt_misfit(sqlite3 *h, const struct mmsg *g, uint32_t num)
{
	const struct mrcpt *r = &g->r[num];
	sqlite3_stmt *st;
	const char *why = NULL;
	int64_t state, next;

	if (sql_int(h, "SELECT count(*) FROM evidence WHERE message = ?1 AND rcpt = ?2", g->id, num) != r->evidence)
		return "evidence";
	ck_assert_int_eq(sqlite3_prepare_v2(h, "SELECT state, next_ms, duties, attempts, bounce_reason IS NOT NULL"
	    " FROM recipient WHERE message = ?1 AND num = ?2", -1, &st, NULL), SQLITE_OK);
	sqlite3_bind_int64(st, 1, (int64_t)g->id);
	sqlite3_bind_int64(st, 2, num);
	if ((sqlite3_step(st) == SQLITE_ROW) != r->is_there) {
		why = r->is_there ? "missing" : "came back";
	} else if (r->is_there) {
		state = sqlite3_column_int64(st, 0);
		next = sqlite3_column_int64(st, 1);
		/* What is due may have been handed out without our having looked. */
		if (state != r->state && !(r->state == RCPT_QUEUED && r->next_ms <= now_ms() && state == RCPT_ACTIVE))
			why = "state";
		else if (r->latest_ms <= now_ms() ? next > now_ms() : next < r->next_ms || next > r->latest_ms)
			why = "time";
		else if (sqlite3_column_int64(st, 2) != r->duties)
			why = "duties";
		else if (sqlite3_column_int64(st, 3) != r->attempts)
			why = "attempts";
		else if (sqlite3_column_int(st, 4) != r->has_bounce)
			why = "bounce";
	}
	sqlite3_finalize(st);
	return why;
}

static const char *
misfit(struct rig *r, const struct model *m, uint64_t *id_out)
{
	const char *why = NULL;
	int64_t living = 0, rcpts = 0;
	sqlite3 *h;

	ck_assert_int_eq(sqlite3_open_v2(r->path, &h, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	for (size_t i = 0; i < m->n && why == NULL; i++) {
		const struct mmsg *g = &m->v[i];

		*id_out = g->id;
		for (uint32_t k = 0; k < g->nrcpts && why == NULL; k++) {
			why = rcpt_misfit(h, g, k);
			rcpts += g->r[k].is_there;
		}
		living += is_living(g);
		if (why == NULL && is_living(g) &&
		    sql_int(h, "SELECT duties FROM message WHERE id = ?1", g->id, 0) != g->duties)
			why = "message";
		if (why == NULL && is_living(g) && !content_fits(h, g))
			why = "content";
	}
	if (why == NULL && (sql_int(h, "SELECT count(*) FROM message", 0, 0) != living ||
	    sql_int(h, "SELECT count(*) FROM recipient", 0, 0) != rcpts ||
	    sql_int(h, "SELECT count(*) FROM content c WHERE NOT EXISTS"
	        " (SELECT 1 FROM message WHERE id = c.message)", 0, 0) != 0))
		why = "something that nobody put there";
	sqlite3_close(h);
	return why;
}

/* ---- The play ---- */

struct play {
	struct rig r;
	struct model m;
	pid_t pid;
	int fd;
	unsigned seed, crashes, closes, torn, torn_done;
	uint64_t next_id;
};

static unsigned
pick(struct play *p, unsigned n)
{
	return (unsigned)rand_r(&p->seed) % n;
}

static void
born(struct play *p)
{
	char text[32];
	int s[2];

	snprintf(text, sizeof text, "%lld", (long long)shift_ms);
	setenv("SALLYPORT_CLOCK_SHIFT_MS", text, 1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	p->pid = fork();
	ck_assert_int_ge(p->pid, 0);
	if (p->pid == 0) {
		close(s[0]);
		child(&p->r, s[1]);
	}
	close(s[1]);
	p->fd = s[0];
}

static bool
hear(struct play *p, struct said *a)
{
	return recv(p->fd, a, sizeof *a, MSG_WAITALL) == (ssize_t)sizeof *a;
}

static void
order(struct play *p, const struct op *o)
{
	ck_assert_int_eq(write(p->fd, o, sizeof *o), sizeof *o);
}

/* Leases end with the process (Q3); so does what a worker had in its hand. */
static void
buried(struct play *p)
{
	int status;

	waitpid(p->pid, &status, 0);
	close(p->fd);
	for (size_t i = 0; i < p->m.n; i++) {
		for (uint32_t k = 0; k < p->m.v[i].nrcpts; k++) {
			struct mrcpt *r = &p->m.v[i].r[k];

			r->in_hand = false;
			if (r->state == RCPT_ACTIVE)
				r->state = RCPT_QUEUED;
		}
	}
	if (pick(p, 4) == 0)
		shift_ms += LATER_MS + 10000;
}

static void
fits(struct play *p)
{
	uint64_t id = 0;
	const char *why = misfit(&p->r, &p->m, &id);

	ck_assert_msg(why == NULL, "message %llx: %s", (unsigned long long)id, why);
}

/* Killed while `o` is under way: afterwards it was done, or it was not. */
static void
crash_in(struct play *p, const struct op *o)
{
	struct model after = { xmalloc((p->m.n + 2) * sizeof *after.v), p->m.n };
	struct said a = { .active = 0 };
	uint64_t id = 0;

	memcpy(after.v, p->m.v, p->m.n * sizeof *after.v);
	order(p, o);
	usleep(pick(p, 4000));
	kill(p->pid, SIGKILL);
	apply(&after, o, 0);
	p->torn++;
	if (hear(p, &a)) {
		ck_assert_int_eq(a.status, STORE_OK);
		free(after.v);
		apply(&p->m, o, a.active);
		fits(p);
	} else if (misfit(&p->r, &p->m, &id) != NULL) {
		free(p->m.v);
		p->m = after;
		p->torn_done++;
		fits(p);
	} else {
		free(after.v);
	}
	buried(p);
	born(p);
}

static void
crash(struct play *p)
{
	kill(p->pid, SIGKILL);
	p->crashes++;
	fits(p);
	buried(p);
	born(p);
}

static void
close_and_open(struct play *p)
{
	struct op o = { .kind = OP_CLOSE };
	struct said a;

	order(p, &o);
	ck_assert(hear(p, &a));
	p->closes++;
	fits(p);
	buried(p);
	born(p);
}

static void
look_at_status(struct play *p)
{
	struct op o = { .kind = OP_STATUS };
	int64_t messages = 0, recipients = 0, held = 0;
	struct said a;

	order(p, &o);
	ck_assert(hear(p, &a));
	for (size_t i = 0; i < p->m.n; i++) {
		messages += is_living(&p->m.v[i]);
		for (uint32_t k = 0; k < p->m.v[i].nrcpts; k++) {
			recipients += p->m.v[i].r[k].is_there;
			held += p->m.v[i].r[k].is_there && p->m.v[i].r[k].state == RCPT_HELD;
		}
	}
	ck_assert_int_eq(a.messages, messages);
	ck_assert_int_eq(a.recipients, recipients);
	ck_assert_int_eq(a.held, held);
}

/* Everything that is due comes out, once, with what is known of it; nothing else does. */
static void
take_due(struct play *p)
{
	struct op o = { .kind = OP_DUE };
	int64_t before = now_ms();
	struct said a;

	order(p, &o);
	while (ck_assert(hear(p, &a)), !a.last) {
		struct mmsg *g = find(&p->m, a.id);
		struct mrcpt *r;

		ck_assert(g != NULL && a.num < g->nrcpts);
		r = &g->r[a.num];
		ck_assert_msg(r->is_there && r->state == RCPT_QUEUED, "%llx/%u handed out: %s, state %d, in hand %d,"
		    " due %lld ms ago", (unsigned long long)a.id, a.num, r->is_there ? "there" : "gone", r->state,
		    r->in_hand, (long long)(now_ms() - r->next_ms));
		ck_assert_int_le(r->next_ms, now_ms());
		ck_assert_uint_eq(a.duties, g->duties | r->duties);
		ck_assert_uint_eq(a.attempts, r->attempts);
		ck_assert(a.has_bounce == r->has_bounce);
		r->state = RCPT_ACTIVE;
		r->in_hand = true;
	}
	for (size_t i = 0; i < p->m.n; i++)
		for (uint32_t k = 0; k < p->m.v[i].nrcpts; k++)
			ck_assert(!p->m.v[i].r[k].is_there || p->m.v[i].r[k].state != RCPT_QUEUED ||
			    p->m.v[i].r[k].latest_ms > before);
}

/* ---- What comes next ---- */

static bool
pick_rcpt(struct play *p, bool in_hand, struct op *o)
{
	for (int tries = 0; tries < 200 && p->m.n > 0; tries++) {
		size_t back = pick(p, 3 * LIVING);
		const struct mmsg *g = &p->m.v[p->m.n - 1 - back % p->m.n];
		uint32_t num = pick(p, g->nrcpts);

		if (in_hand ? !g->r[num].in_hand : !g->r[num].is_there)
			continue;
		o->id = g->id;
		o->num = num;
		o->attempts = g->r[num].attempts + 1;
		return true;
	}
	return false;
}

static size_t
count_living(const struct play *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->m.n; i++)
		n += is_living(&p->m.v[i]);
	return n;
}

static void
make_put(struct play *p, struct op *o)
{
	static const uint32_t sizes[] = { 0, 300, 5000, 40000, STORE_CHUNK, STORE_CHUNK + 1, 600000 };

	*o = (struct op){ .kind = OP_PUT, .id = p->next_id++, .nrcpts = 1 + pick(p, RCPTS),
		.size = sizes[pick(p, 10) < 8 ? pick(p, 4) : pick(p, NELEMS(sizes))], .duties = pick(p, 16),
		.held = pick(p, 6) == 0 };
}

static bool
make_result(struct play *p, struct op *o)
{
	static const enum store_change kinds[] = { CHANGE_DONE, CHANGE_DONE, CHANGE_DONE, CHANGE_DEFER,
		CHANGE_DEFER, CHANGE_HOLD, CHANGE_ROUTE };

	*o = (struct op){ .kind = OP_RESULT };
	if (!pick_rcpt(p, true, o))
		return false;
	o->change = kinds[pick(p, NELEMS(kinds))];
	o->next_ms = o->change == CHANGE_HOLD || o->change == CHANGE_DONE || pick(p, 2) ? 0 : now_ms() + LATER_MS;
	if (o->change != CHANGE_DONE)
		o->duties = pick(p, 4) == 0 ? 1u << pick(p, 20) : 0;
	else if (pick(p, 4) == 0)
		o->notice = p->next_id++;
	return true;
}

static bool
make_admin(struct play *p, struct op *o)
{
	static const enum store_verb verbs[] = { STORE_HOLD, STORE_HOLD, STORE_RELEASE, STORE_RELEASE, STORE_RETRY,
		STORE_RETRY, STORE_DELETE, STORE_BOUNCE, STORE_REQUIRE_TLS };

	*o = (struct op){ .kind = OP_ADMIN };
	if (!pick_rcpt(p, false, o))
		return false;
	o->verb = verbs[pick(p, NELEMS(verbs))];
	if (o->verb == STORE_REQUIRE_TLS)
		o->duties = 15u << 4;
	return true;
}

/* The store may hand a row out between any two requests; what it posted then was true then. So nothing
 * is asked about a row of which the model cannot know whether that has happened. */
static bool
is_certain(const struct play *p, const struct op *o)
{
	const struct mmsg *g = find((struct model *)&p->m, o->id);

	for (uint32_t i = 0; i < g->nrcpts; i++)
		if ((o->kind == OP_ADMIN || i == o->num) && g->r[i].is_there && g->r[i].state == RCPT_QUEUED &&
		    g->r[i].next_ms < now_ms() + 10 * RECALL_MS)
			return false;
	return true;
}

static void
step(struct play *p)
{
	size_t living = count_living(p);
	struct said a;
	struct op o;
	bool any = true;

	if (pick(p, 100) < (living < LIVING ? 45u : 5u))
		make_put(p, &o);
	else if (pick(p, 4) == 0)
		any = make_admin(p, &o);
	else
		any = make_result(p, &o);
	if (!any) {
		take_due(p);
		return;
	}
	if (o.kind != OP_PUT && (o.kind == OP_ADMIN || !is_certain(p, &o))) {
		take_due(p);	/* so that the model knows which rows are leased */
		if (!is_certain(p, &o))
			return;
	}
	o.at_ms = now_ms();
	if (pick(p, 25) == 0) {
		crash_in(p, &o);
		return;
	}
	order(p, &o);
	ck_assert(hear(p, &a));
	ck_assert_int_eq(a.status, STORE_OK);
	apply(&p->m, &o, a.active);
}

static void
no_log(void *arg, const char *line)
{
}

START_TEST(queue_does_what_the_model_does)
{
	bool is_soak = getenv("SOAK") != NULL;
	struct play p = { .next_id = 1 << 20 };
	int steps = is_soak ? SOAK_STEPS : STEPS;

	log_capture(no_log, NULL);
	p.seed = getenv("CRASH_SEED") != NULL ? (unsigned)atol(getenv("CRASH_SEED")) : 34;
	rig_init(&p.r);
	born(&p);
	for (int i = 0; i < steps; i++) {
		step(&p);
		if (pick(&p, 30) == 0)
			crash(&p);
		if (pick(&p, 60) == 0)
			close_and_open(&p);
		if (pick(&p, 8) == 0)
			take_due(&p);
		if (pick(&p, 20) == 0)
			look_at_status(&p);
	}
	close_and_open(&p);
	crash(&p);
	close(p.fd);		/* the last child ends by itself */
	waitpid(p.pid, NULL, 0);
	printf("# %d steps, %zu messages, %u kills between requests, %u in one (%u of those done), %u clean stops\n",
	    steps, p.m.n, p.crashes, p.torn, p.torn_done, p.closes);
	free(p.m.v);
	rig_fini(&p.r);
}
END_TEST

UNIT_MAIN("queue against a model",
	tcase_set_timeout(tc, 3600);
	tcase_add_test(tc, queue_does_what_the_model_does);
)
