/* How many messages a second go into the queue and out of it again, and whether that changes with
 * what is in it already. One client thread, so the figure is the store's, not a client's.
 *
 *   bench_store [messages [octets [backlog]]]      in the current directory */
#include "config.h"

#include <sys/resource.h>

#include "../unit/store_rig.h"

static double
cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	    (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void
run(struct rig *r, const char *what, int total, size_t octets, int in_flight)
{
	struct store_stats before, after;
	int put = 0, done = 0;
	int64_t from = clock_mono_ns();
	double cpu = cpu_s(), s;

	store_stats(r->s, &before);
	for (; put < in_flight && put < total; put++)
		rig_post(r, rig_msg("example.net", octets));
	while (done < total) {
		struct mail *m = rig_answer(r);

		if (m->kind == KIND_RESULT) {
			struct store_result *q = (struct store_result *)m;

			MUST(q->status == STORE_OK);
			store_result_free(q);
			done++;
			continue;
		}
		struct store_submit *q = (struct store_submit *)m;
		struct evidence e = { .wall_ms = clock_wall_ms(), .message = q->msg->id, .event = "delivered",
			.from = q->msg->from, .rcpt = q->msg->rcpts[0].address, .domain = "example.net",
			.route = "default", .mx = "dnssec", .sts_mode = "none", .tlsa = "3 1 1 usable",
			.host = "mx1.example.net", .ip = "192.0.2.1", .port = 25, .tls_version = "TLSv1.3",
			.tls_cipher = "TLS_AES_256_GCM_SHA384", .tls_group = "X25519", .verified = "dane",
			.cert_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
			.verdict = "send", .reason = "ok", .reply_code = 250, .reply_text = "2.0.0 queued",
			.attempts = 1, .generation = "g1" };
		struct store_result *n;

		MUST(q->status == STORE_OK);
		n = rig_result_new(r, q->msg->id, 0, CHANGE_DEFER);
		n->changes[0].what = CHANGE_DONE;
		n->changes[0].evidence = evidence_text(&e);
		store_result(r->s, n);
		store_submit_free(q);
		/* A client that has its 250 goes on at once. */
		if (put < total) {
			rig_post(r, rig_msg("example.net", octets));
			put++;
		}
	}
	s = (double)(clock_mono_ns() - from) / 1e9;
	store_stats(r->s, &after);
	printf("%-24s %3d in flight  %6.0f messages/s  %6.3f CPU s per 1,000  %5.1f a commit  longest %.1f ms\n",
	    what, in_flight, total / s, (cpu_s() - cpu) / total * 1000,
	    (double)total / (double)(after.commits - before.commits), (double)after.longest_commit_us / 1000);
	fflush(stdout);
}

/* Messages that are due later, 50 recipients each. */
static void
fill(struct rig *r, int recipients)
{
	int64_t from = clock_mono_ns();
	int waiting = 0;

	for (int i = 0; i < recipients; i += 50) {
		struct msg *m = rig_msg("example.com", 200);

		for (int k = 1; k < 50; k++) {
			struct msg_rcpt *c = msg_add_rcpt(m);

			c->address = xasprintf("u%d@d%d.example", k, i % 997);
			c->domain = xasprintf("d%d.example", i % 997);
			c->next_hop = xasprintf("d%d.example", i % 997);
			c->route = xstrdup("default");
		}
		for (size_t k = 0; k < m->nrcpts; k++)
			m->rcpts[k].not_before_ms = clock_wall_ms() + 3600000 + i;
		rig_post(r, m);
		if (++waiting == 200)
			for (; waiting > 0; waiting--)
				store_submit_free(rig_answer(r));
	}
	for (; waiting > 0; waiting--)
		store_submit_free(rig_answer(r));
	printf("%d recipients put aside in %.1f s\n", recipients, (double)(clock_mono_ns() - from) / 1e9);
}

/* Everything put aside becomes due: what a worker gets for each answer it gives. */
static void
drain(struct rig *r, int deferred)
{
	int64_t from = clock_mono_ns();
	struct store_query *q = rig_ask(STORE_RETRY, 0);
	int seen = 0, answered = 0, posted = 0;
	double cpu = cpu_s();

	q->filter.state = xstrdup("queued");
	json_decref(rig_query(r, q, NULL));
	printf("retry of all of them in %.2f s\n", (double)(clock_mono_ns() - from) / 1e9);
	from = clock_mono_ns();
	cpu = cpu_s();
	while (seen < deferred) {
		struct mail *m;

		for (unsigned w = 0; w < RIG_WORKERS; w++)
			while ((m = rig_due(r, w, false)) != NULL) {
				struct store_due *d = (struct store_due *)m;
				struct store_result *n = xcalloc(1, sizeof *n);

				n->mail.reply_to = r->mb;
				n->message = d->msg->id;
				n->n = d->msg->nrcpts;
				n->changes = xcalloc(n->n, sizeof *n->changes);
				for (size_t i = 0; i < n->n; i++) {
					n->changes[i].num = d->msg->rcpts[i].num;
					n->changes[i].what = CHANGE_DEFER;
					n->changes[i].next_ms = clock_wall_ms() + 3600000;
				}
				seen += (int)n->n;
				store_due_free(d);
				store_result(r->s, n);
				posted++;
			}
		for (; answered < posted; answered++)
			store_result_free(rig_answer(r));
	}
	printf("handed out and deferred: %.0f recipients/s, %.3f CPU s per 1,000\n",
	    seen / ((double)(clock_mono_ns() - from) / 1e9), (cpu_s() - cpu) / seen * 1000);
}

int
main(int argc, char **argv)
{
	int total = argc > 1 ? atoi(argv[1]) : 20000;
	size_t octets = argc > 2 ? (size_t)atol(argv[2]) : 10240;
	int backlog = argc > 3 ? atoi(argv[3]) : 200000;
	int64_t from;
	struct rig r;

	rig_init(&r);
	r.conf.max_active = 1000;
	r.conf.yield_ms = 5;
	rig_open(&r);
	rig_start(&r);
	run(&r, "empty queue", total / 20, octets, 1);
	run(&r, "empty queue", total, octets, 50);
	run(&r, "empty queue", total, octets, 200);
	if (backlog > 0) {
		fill(&r, backlog);
		run(&r, "with a backlog", total / 20, octets, 1);
		run(&r, "with a backlog", total, octets, 50);
		drain(&r, backlog);
		rig_close(&r);
		from = clock_mono_ns();
		rig_open(&r);
		printf("opened after a clean stop in %.3f s\n", (double)(clock_mono_ns() - from) / 1e9);
		rig_start(&r);
	}
	rig_fini(&r);
	return 0;
}
