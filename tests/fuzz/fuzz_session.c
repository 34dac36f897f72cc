/* A whole session with an owner that says yes to all. The first octet chooses how the rest is cut
 * into sends and whether the owner answers later. What the owner is asked, and in which order, must
 * not depend on that: the same octets are also played whole, and both must end alike. */
#include "config.h"

#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "smtp/smtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct run {
	struct smtp_server *server;
	bool later, has_question, is_closed;
	uint64_t id;
	uint32_t ticket;
	struct buf story;	/* stages asked about, messages accepted */
};

static struct event_base *base;

static enum smtp_ask
on_ask(void *owner, uint64_t id, uint32_t ticket, const struct smtp_question *q,
    struct smtp_verdict *v)
{
	struct run *r = owner;

	MUST(!r->has_question && !r->is_closed);
	buf_printf(&r->story, "%d ", (int)q->stage);
	if (q->stage >= SMTP_ASK_MAIL)
		MUST(q->msg != NULL && q->msg->from != NULL);
	if (q->stage >= SMTP_ASK_RCPT)
		MUST(q->msg->nrcpts > 0);
	if (q->stage == SMTP_ASK_MESSAGE) {
		const struct content *c = q->msg->content;

		MUST(c != NULL && q->msg->trace != NULL);
		buf_printf(&r->story, "[%s %zu %llu]", q->msg->from, q->msg->nrcpts,
		    (unsigned long long)c->size);
		MUST(c->size == 0 || c->mem != NULL);
		for (uint64_t i = 0; i < c->size; i++) {	/* */
			MUST(c->mem[i] != '\0');
			MUST(c->mem[i] != '\n' || (i > 0 && c->mem[i - 1] == '\r'));
			MUST(c->mem[i] != '\r' || (i + 1 < c->size && c->mem[i + 1] == '\n'));
		}
	}
	v->what = SMTP_GO;
	r->ticket = ticket;
	r->has_question = r->later;
	return r->later ? SMTP_LATER : SMTP_NOW;
}

static void
on_cancelled(void *owner, uint64_t id, uint32_t ticket)
{
	((struct run *)owner)->has_question = false;
}

static void
on_reset(void *owner, uint64_t id)
{
	buf_adds(&((struct run *)owner)->story, "reset ");
}

static void
on_closed(void *owner, uint64_t id, const char *why)
{
	struct run *r = owner;

	MUST(!r->is_closed);
	r->is_closed = true;
}

static const struct smtp_session_ops ops = { on_ask, on_cancelled, on_reset, on_closed };

static void
turn(struct run *r, int fd)
{
	static const struct smtp_verdict yes = { .what = SMTP_GO };
	char sink[8192];

	for (int i = 0; i < 4; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		while (read(fd, sink, sizeof sink) > 0)
			continue;
		while (r->has_question) {
			r->has_question = false;
			smtp_session_verdict(r->server, r->id, r->ticket, &yes);
			i = 0;
		}
	}
}

static void
play(struct run *r, const uint8_t *data, size_t n, size_t step)
{
	const struct smtp_server_conf conf = {
		.hostname = "mx.example", .listener = "fuzz", .max_size = 4096, .max_rcpts = 10,
		.max_errors = 20, .max_junk = 100, .command_ms = 300000, .handshake_ms = 30000,
		.session_ms = 3600000, .data_ms = 60000, .spool_dir = "/tmp", .max_received = 100,
	};
	const uint8_t ip[4] = { 192, 0, 2, 7 };
	struct net_addr peer;
	struct err err;
	int pair[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	net_addr_set(&peer, AF_INET, ip, 1);
	r->server = smtp_server_new(base, 0);
	buf_init(&r->story, 1 << 20);
	r->id = smtp_session_new(r->server, pair[1], &peer, &conf, &ops, r, &err);
	MUST(r->id != 0);
	turn(r, pair[0]);
	while (n > 0 && !r->is_closed) {
		ssize_t put = send(pair[0], data, n < step ? n : step, MSG_NOSIGNAL);

		if (put > 0) {
			data += put;
			n -= (size_t)put;
		}
		turn(r, pair[0]);
	}
	close(pair[0]);
	turn(r, -1);
	smtp_server_free(r->server);
	MUST(r->is_closed);
	turn(r, -1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const size_t steps[] = { 1, 2, 3, 7, 16, 100, 1000, 4096 };
	static const struct log_conf quiet = { .file = "/dev/null", .level = LOG_LEVEL_ERROR };
	struct run whole = { 0 }, cut = { 0 };
	struct err err;

	if (n == 0 || n > 32768)	/* as much as a socket takes at once */
		return 0;
	if (base == NULL) {
		log_open(&quiet, &err);
		base = event_base_new();
	}
	cut.later = (data[0] & 8) != 0;
	play(&whole, data + 1, n - 1, SIZE_MAX);
	play(&cut, data + 1, n - 1, steps[data[0] & 7]);
	MUST(slice_eq(buf_slice(&whole.story), buf_slice(&cut.story)));
	buf_fini(&whole.story);
	buf_fini(&cut.story);
	return 0;
}
