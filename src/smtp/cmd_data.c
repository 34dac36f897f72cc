/* DATA, and the end of a message however it came (RFC 5321 4.1.1.4). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "smtp/smtp_int.h"

#define CONTENT_MEMORY (256u * 1024)	/* of a message; what comes then goes to a file */
#define CONTENT_LITTLE (16u * 1024)	/* the same while memory is scarce */
#define CONTENT_SMALL (96u * 1024)	/* what a message may hold when there is none */

void
data_proceed(struct smtp_session *s, struct smtp_args *a)
{
	(void)a;
	session_ask(s, &data_step, SLICE(""));
}

void
data_open(struct smtp_session *s)
{
	const struct message_writer_limits lim = {
		.spool_dir = s->conf->spool_dir, .max_bytes = s->conf->max_size,
		.memory_bytes = server_scarce(s->server, 0) > 0 ? CONTENT_LITTLE : CONTENT_MEMORY,
		.max_received = s->conf->max_received,
	};

	s->tx.writer = message_writer_new(&lim);
	smtp_data_init(&s->tx.split);
}

static void
data_go(struct smtp_session *s, const struct smtp_verdict *v)
{
	s->tx.wants_header = v->wants_header;
	data_open(s);
	if (v->wants_parts)
		message_writer_note_parts(s->tx.writer);
	if (s->tx.is_bdat) {
		chunk_begin(s);
		return;
	}
	session_state(s, ST_DATA);
	s->is_urgent = true;
	say(s, "354 End with CR LF . CR LF");
}

static void
data_no(struct smtp_session *s, const struct smtp_verdict *v)
{
	if (s->tx.is_bdat)
		chunk_refuse_by(s, v);
	else
		say_refusal(s, v);
}

const struct smtp_step data_step = { SMTP_ASK_DATA, data_go, data_no };

/* ---- Content ---- */
static void
keep(void *arg, const char *p, size_t n)
{
	struct smtp_session *s = arg;

	s->tx.octets += n;
	if (s->tx.refusal == NULL)
		message_writer_add(s->tx.writer, p, n);
}

/* Nothing was kept since the limit, and the client had its chance to finish. */
void
session_too_big(struct smtp_session *s)
{
	say(s, "552 5.3.4 Message too big");
	session_end_politely(s, "message far above the size limit");
}

/* With no memory left, those go that hold much of it: each is one client that tries again (I6). */
bool
content_has_memory(struct smtp_session *s)
{
	size_t holds = s->tx.writer == NULL ? 0 : message_writer_memory(s->tx.writer);

	if (holds <= CONTENT_SMALL || server_scarce(s->server, holds) < 2)
		return true;
	session_bye(s, "4.3.1", "Not enough memory, try again later");
	return false;
}

bool
data_step_input(struct smtp_session *s)
{
	struct slice in = net_in(s->conn);
	uint64_t max = s->conf->max_size;
	size_t used;
	bool done;

	if (in.n == 0 || !content_has_memory(s))
		return false;
	used = smtp_data_feed(&s->tx.split, in, keep, s, &done);
	net_consume(s->conn, used);
	s->window_octets += used;
	if (max > 0 && s->tx.octets > max && s->tx.octets - max > max) {
		session_too_big(s);
		return false;
	}
	if (!header_ask(s, done) && done)
		message_end(s);
	return true;
}

const char *
content_error(struct smtp_session *s)
{
	struct err err = { "" };

	switch (message_writer_status(s->tx.writer, &err)) {
	case WRITE_OK:
		return NULL;
	case WRITE_TOO_BIG:
		return "552 5.3.4 Message too big";
	case WRITE_BARE_CR_LF:
		return "550 5.6.0 Message has CR or LF alone, lines end in CR LF";
	case WRITE_NUL:
		return "550 5.6.0 Message has NUL octets";
	case WRITE_HEADER_TOO_BIG:
		return "552 5.3.4 Message header too big";
	case WRITE_LOOP:
		return "554 5.4.6 Too many Received fields, this looks like a loop";
	case WRITE_IO:
		break;
	}
	log_error("content cannot be stored", LOG_ID("session", s->info.id), LOG_S("error", err.text));
	return "452 4.3.1 No room to store the message, try again later";
}

/* ---- The header, with the body still to come ---- */

/* What is wrong with the body does not matter here, or it would matter how the octets came. */
bool
header_ask(struct smtp_session *s, bool at_end)
{
	struct err err;

	if (!s->tx.wants_header || s->tx.header_asked)
		return false;
	if (!message_writer_has_header(s->tx.writer) &&
	    (!at_end || message_writer_status(s->tx.writer, &err) != WRITE_OK))
		return false;
	s->tx.header_asked = true;
	s->tx.at_end = at_end;
	session_ask(s, &header_step, SLICE(""));
	return true;
}

static void
header_go(struct smtp_session *s, const struct smtp_verdict *v)
{
	if (v->wants_body)
		message_writer_keep_start(s->tx.writer);
	if (s->tx.at_end)
		message_end(s);
}

/* Told now, it would be taken for the reply to something else (RFC 5321 4.1.1.4). A chunk that is not
 * the last has a reply of its own. */
static void
header_no(struct smtp_session *s, const struct smtp_verdict *v)
{
	if (s->tx.is_bdat && !s->chunk.last) {
		chunk_refuse_by(s, v);
		return;
	}
	s->tx.refusal = refusal_text(v);
	if (s->tx.at_end)
		message_end(s);
}

const struct smtp_step header_step = { SMTP_ASK_HEADER, header_go, header_no };

/* ---- The end of a message ---- */
static char *
make_trace(struct smtp_session *s)
{
	const struct msg *m = s->tx.msg;
	const struct tls_info *tls = s->info.tls;
	const struct received r = {
		.helo = m->helo, .peer_name = m->peer_name, .peer_ip = m->peer_ip,
		.by = s->conf->hostname, .with = m->proto, .id = m->id,
		/* One recipient only: the others are nobody's business (M-181, M-194). */
		.rcpt = m->nrcpts == 1 ? m->rcpts[0].address : NULL,
		.tls_version = tls == NULL ? NULL : tls->version,
		.tls_cipher = tls == NULL ? NULL : tls->cipher,
		.requiretls = (m->flags & MSG_REQUIRETLS) != 0,
		.wall_ms = m->received_ms,
	};

	return received_format(&r);
}

void
message_end(struct smtp_session *s)
{
	struct msg *m = s->tx.msg;
	const char *error = s->tx.refusal != NULL ? s->tx.refusal : content_error(s);
	struct err err = { "" };
	unsigned flags = 0;

	if (error == NULL) {
		m->content = message_writer_finish(s->tx.writer, &flags, &err);
		if (m->content == NULL && (error = content_error(s)) == NULL) {
			log_error("content cannot be stored", LOG_ID("session", s->info.id),
			    LOG_S("error", err.text));
			error = "451 4.3.0 The message cannot be stored, try again later";
		}
	}
	s->is_urgent = true;
	if (error != NULL) {
		say(s, error);
		tx_reset(s);
		return;
	}
	message_writer_free(s->tx.writer);
	s->tx.writer = NULL;
	m->flags |= flags;
	m->content_size = m->content->size;
	m->header_size = m->content->header_size;
	m->received_ms = clock_wall_ms();
	m->trace = make_trace(s);
	session_state(s, ST_END);
	session_ask(s, &message_step, SLICE(""));
}

static void
message_go(struct smtp_session *s, const struct smtp_verdict *v)
{
	struct smtp_reply r;
	char id[ID_TEXT];

	id_format(id, s->tx.msg->id);
	s->info.messages++;
	s->strikes = s->junk = 0;
	s->tx.is_open = false;	/* it did not end without an answer: no ops->reset */
	tx_reset(s);
	if (v->reply.code >= 200 && v->reply.code <= 299) {
		verdict_reply(&r, v);
		say_reply(s, &r);
	} else {
		sayf(s, "250 2.0.0 Ok: queued as %s", id);
	}
}

static void
message_no(struct smtp_session *s, const struct smtp_verdict *v)
{
	tx_reset(s);
	say_refusal(s, v);
}

const struct smtp_step message_step = { SMTP_ASK_MESSAGE, message_go, message_no };
