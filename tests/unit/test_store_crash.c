/* Kill -9 at random moments: nothing that was acknowledged is lost (I1), nothing that left comes
 * back without evidence (I4), and the file is whole each time (F-1). */
#include "unit.h"

#include <signal.h>
#include <sys/wait.h>

#include "store_rig.h"

#define CYCLES 30
#define MESSAGES 4000
#define IN_FLIGHT 20

enum said { SAID_PUT = 1, SAID_DONE = 2 };
struct word {			/* what the child says through the pipe, once it knows */
	uint64_t id;
	uint32_t duties, what;
};

static void
say(int fd, uint64_t id, uint32_t duties, enum said what)
{
	struct word w = { id, duties, what };

	MUST(write(fd, &w, sizeof w) == sizeof w);
}

/* Submits and removes two of three, until it is killed. */
static void
child(struct rig *r, int fd)
{
	rig_open(r);
	rig_start(r);
	for (int i = 0; i < IN_FLIGHT; i++)
		rig_post(r, rig_msg("example.net", 4000));
	for (int n = 0; n < MESSAGES;) {
		struct mail *m = rig_answer(r);

		if (m->kind == KIND_SUBMIT) {
			struct store_submit *q = (struct store_submit *)m;
			uint64_t id = q->msg->id;
			struct msg *next = rig_msg("example.net", (size_t)(n % 7) * 60000);

			MUST(q->status == STORE_OK);
			say(fd, id, q->msg->duties, SAID_PUT);
			store_submit_free(q);
			if (n % 3 != 0)
				store_result(r->s, rig_result_new(r, id, 0, CHANGE_DONE));
			next->duties = (uint32_t)++n & 15;
			rig_post(r, next);
		} else {
			struct store_result *q = (struct store_result *)m;

			MUST(q->status == STORE_OK);
			say(fd, q->message, 0, SAID_DONE);
			store_result_free(q);
		}
		rig_drop_due(r);
	}
	pause();
}

static struct word words[100000];
static size_t nwords;

/* Every message that was said to be in is there with its duties, unless it has evidence. */
static void
compare(struct rig *r)
{
	sqlite3 *h;
	sqlite3_stmt *in, *ev;

	ck_assert_int_eq(sqlite3_open_v2(r->path, &h, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(h, "SELECT m.duties, m.size, (SELECT sum(length(bytes)) FROM"
	    " content WHERE message = m.id), (SELECT count(*) FROM recipient WHERE message = m.id)"
	    " FROM message m WHERE m.id = ?1", -1, &in, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(h, "SELECT 1 FROM evidence WHERE message = ?1", -1, &ev, NULL),
	    SQLITE_OK);
	for (size_t i = 0; i < nwords; i++) {
		bool is_in, has_evidence;

		sqlite3_bind_int64(in, 1, (int64_t)words[i].id);
		is_in = sqlite3_step(in) == SQLITE_ROW;
		sqlite3_bind_int64(ev, 1, (int64_t)words[i].id);
		has_evidence = sqlite3_step(ev) == SQLITE_ROW;
		ck_assert(is_in != has_evidence);
		if (words[i].what == SAID_DONE)
			ck_assert(has_evidence);
		else if (is_in) {
			ck_assert_int_eq(sqlite3_column_int64(in, 0), words[i].duties);
			ck_assert_int_eq(sqlite3_column_int64(in, 1), sqlite3_column_int64(in, 2));
			ck_assert_int_eq(sqlite3_column_int64(in, 3), 1);
		}
		sqlite3_reset(in);
		sqlite3_reset(ev);
	}
	sqlite3_finalize(in);
	sqlite3_finalize(ev);
	sqlite3_close(h);
}

static void
listen_to(int fd, int ms, pid_t pid)
{
	int64_t until = clock_mono_ms() + ms;
	bool killed = false;
	struct word w;

	/* The pipe is read all the time, so that the child is never stopped by it. */
	for (;;) {
		ssize_t n = read(fd, &w, sizeof w);

		if (n == 0)
			return;
		ck_assert_int_eq(n, sizeof w);
		ck_assert_uint_lt(nwords, NELEMS(words));
		words[nwords++] = w;
		if (!killed && clock_mono_ms() >= until) {
			kill(pid, SIGKILL);
			killed = true;
		}
	}
}

static void
no_log(void *arg, const char *line)
{
}

START_TEST(nothing_acknowledged_is_lost)
{
	unsigned seed = 4711;
	struct rig r;
	json_t *o;

	log_capture(no_log, NULL);
	rig_init(&r);
	r.conf.max_active = 100000;
	r.conf.yield_ms = 5;
	for (int i = 0; i < CYCLES; i++) {
		int p[2], status;
		pid_t pid;

		ck_assert_int_eq(pipe(p), 0);
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			close(p[0]);
			child(&r, p[1]);
			_exit(0);
		}
		close(p[1]);
		listen_to(p[0], rand_r(&seed) % 100, pid);
		close(p[0]);
		waitpid(pid, &status, 0);
		ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

		/* Opening checks the file, and recovers. */
		rig_open(&r);
		rig_start(&r);
		ck_assert_uint_eq(atomic_load(&r.s->n.recipients), atomic_load(&r.s->n.messages));
		o = rig_query(&r, rig_ask(STORE_EVIDENCE_VERIFY, 0), NULL);
		ck_assert(json_is_true(json_object_get(o, "ok")));
		json_decref(o);
		compare(&r);
		/* Every other start follows an unclean stop and a clean one. */
		rig_close(&r);
		rig_drop_due(&r);
	}
	ck_assert_uint_gt(nwords, CYCLES);
	rig_fini(&r);
}
END_TEST

UNIT_MAIN("store crash",
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, nothing_acknowledged_is_lost);
)
