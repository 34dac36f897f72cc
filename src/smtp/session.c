/* One inbound conversation: beginning, questions to the owner, time, end. Commands are read in
 * command.c, content in cmd_data.c and cmd_bdat.c. The machine is drawn in smtp_int.h. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "smtp/smtp_int.h"

static const char *const state_names[] = {
	"new", "handshake", "refused", "greeted", "ready", "mail", "rcpt", "data", "chunk", "bdat",
	"end", "gone",
};

/* ---- Time ---- */
static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct smtp_session *s = arg;
	(void)fd;
	(void)what;

	s->armed_ms = 0;
	session_timeout(s);
}

/* The event is left alone while it fires no later than wanted: most deadlines only move away. */
static void
arm(struct smtp_session *s, int64_t now)
{
	int64_t wait = s->due_ms - now;
	struct timeval tv;

	if (s->due_ms == 0 || (s->armed_ms != 0 && s->armed_ms <= s->due_ms))
		return;
	if (wait < 1)
		wait = 1;
	tv.tv_sec = wait / 1000;
	tv.tv_usec = wait % 1000 * 1000;
	evtimer_add(&s->timer, &tv);
	s->armed_ms = s->due_ms;
}

static int64_t
command_ms(const struct smtp_session *s)
{
	int64_t ms = s->conf->command_ms, hurry_ms = s->server->hurry_ms;

	return hurry_ms > 0 && (ms == 0 || hurry_ms < ms) ? hurry_ms : ms;
}

/* Who waits for a command already has the time of one who begins to wait now. */
void
session_hurry(struct smtp_session *s)
{
	int64_t now = clock_mono_ms(), due = now + command_ms(s);

	if (s->state == ST_GONE || s->state == ST_NEW || s->state == ST_HANDSHAKE || s->state == ST_DATA ||
	    s->state == ST_CHUNK || s->question != NULL || s->held_ms != 0)
		return;
	if (s->due_ms == 0 || s->due_ms > due) {
		s->due_ms = due;
		arm(s, now);
	}
}

void
session_restart_timer(struct smtp_session *s)
{
	int64_t now = clock_mono_ms(), ms;

	if (s->state == ST_GONE)
		return;
	if (s->question != NULL)
		ms = QUESTION_MS;
	else if (s->held_ms != 0)
		ms = s->held_ms > now ? s->held_ms - now : 1;
	else if (s->state == ST_HANDSHAKE)
		ms = s->conf->handshake_ms;
	else if (s->state == ST_DATA || s->state == ST_CHUNK)
		ms = s->conf->data_ms;
	else
		ms = command_ms(s);
	s->due_ms = ms > 0 ? now + ms : 0;
	/* While the owner thinks, the session's age does not count: a message that is being
	 * committed would be cut off from its 250. */
	if (s->question == NULL && s->ends_ms != 0 && (s->due_ms == 0 || s->due_ms > s->ends_ms))
		s->due_ms = s->ends_ms;
	s->window_octets = 0;
	arm(s, now);
}

void
session_timeout(struct smtp_session *s)
{
	int64_t now = clock_mono_ms();

	if (s->state == ST_GONE || s->due_ms == 0)
		return;
	if (now < s->due_ms) {
		arm(s, now);
		return;
	}
	if (s->held_ms != 0 && now >= s->held_ms) {
		s->held_ms = 0;
		session_restart_timer(s);
		session_flush(s);	/* before the next error holds it back again */
		session_run(s);
		return;
	}
	if (s->question != NULL)
		session_bye(s, "4.3.0", "No decision in time, try again later");
	else if (s->state == ST_HANDSHAKE)
		session_end(s, "the TLS handshake took too long");
	else if (s->ends_ms != 0 && now >= s->ends_ms)
		session_bye(s, "4.4.2", "This session has lasted too long");
	else if (s->state != ST_DATA && s->state != ST_CHUNK)
		session_bye(s, "4.4.2", "Timeout waiting for a command");
	else if (s->conf->max_size > 0 && s->tx.octets > s->conf->max_size)
		session_too_big(s);
	else if (s->window_octets < (uint64_t)s->conf->data_ms * s->conf->data_rate / 1000)
		session_bye(s, "4.4.2", "Content comes too slowly");
	else
		session_restart_timer(s);
}

/* ---- State ---- */
void
session_state(struct smtp_session *s, enum smtp_state to)
{
	log_debug("session state", LOG_ID("session", s->info.id), LOG_S("from", state_names[s->state]),
	    LOG_S("to", state_names[to]));
	s->state = to;
	session_restart_timer(s);
}

void
tx_reset(struct smtp_session *s)
{
	struct smtp_tx *tx = &s->tx;
	bool was_open = tx->is_open;

	message_writer_free(tx->writer);
	msg_unref(tx->msg);
	free(tx->refusal);
	memset(tx, 0, sizeof *tx);
	if (was_open)
		s->ops->reset(s->owner, s->info.id);
	if (s->state >= ST_MAIL && s->state <= ST_END)
		session_state(s, ST_READY);
}

/* Reading stops while nothing can be done with what is read: a question is open, replies pile up
 * or are held back, or a handshake has the connection. */
static void
sync_reading(struct smtp_session *s)
{
	bool pause = s->question != NULL || s->is_blocked || s->held_ms != 0 || s->state == ST_NEW ||
	    s->state == ST_HANDSHAKE;

	if (s->conn == NULL || pause == s->is_paused)
		return;
	s->is_paused = pause;
	/* Who has gone need not be asked about. But at the end of data the message may be on its way to
	 * the disk, and one that only ended its side wants to hear of it. */
	if (pause && s->question != NULL && s->question->stage != SMTP_ASK_MESSAGE)
		net_pause_watch(s->conn);
	else if (pause)
		net_pause(s->conn);
	else
		net_resume(s->conn);
}

/* ---- The end ---- */
static void
cancel_question(struct smtp_session *s)
{
	if (s->question == NULL)
		return;
	s->question = NULL;
	s->ops->cancelled(s->owner, s->info.id, s->ticket);
}

/* One that brought mail is always told of: its messages' lines refer to it. */
static bool
may_log_end(const struct smtp_session *s)
{
	static struct log_gate gate = { .kind = "session ended" };

	return s->info.messages > 0 || log_may(&gate);
}

static void
end_with(struct smtp_session *s, const char *why, int64_t finish_ms)
{
	struct net_conn *conn = s->conn;
	uint64_t in, out;

	if (s->state == ST_GONE)
		return;
	in = net_bytes_in(conn);
	out = net_bytes_out(conn);
	cancel_question(s);
	auth_forget(s);
	session_state(s, ST_GONE);
	tx_reset(s);
	if (may_log_end(s))
		log_info("session ended", LOG_ID("session", s->info.id), LOG_S("peer", s->info.peer_ip),
		    LOG_S("listener", s->conf->listener), LOG_S("why", why),
		    LOG_U("messages", s->info.messages), LOG_U("recipients", s->info.recipients),
		    LOG_U("errors", s->info.errors), LOG_U("octets_in", in), LOG_U("octets_out", out));
	s->ops->closed(s->owner, s->info.id, why);
	/* Last: what info points to lives as long as the connection. */
	s->conn = NULL;
	s->info.tls = NULL;
	if (finish_ms > 0)
		net_finish(conn, finish_ms);
	else
		net_free(conn);
	evtimer_del(&s->timer);
	HASH_DEL(s->server->sessions, s);
	server_next_turn(s);
}

void
session_end(struct smtp_session *s, const char *why)
{
	end_with(s, why, 0);
}

void
session_end_politely(struct smtp_session *s, const char *why)
{
	session_flush(s);
	end_with(s, why, 5000);
}

void
session_bye(struct smtp_session *s, const char *status, const char *text)
{
	if (s->state == ST_GONE)
		return;
	/* Where TLS comes first there is nobody to say it to. */
	if (s->state != ST_HANDSHAKE && !(s->state == ST_NEW && s->conf->implicit_tls))
		sayf(s, "421 %s %s %s", status, s->conf->hostname, text);
	session_end_politely(s, text);
}

void
session_reclaim(struct smtp_session *s)
{
	buf_fini(&s->out);
	free(s->info.helo);
	free(s->info.auth_id);
	free(s->pending_helo);
	free(s->refusal);
	free(s->chunk.reply);
	free(s->early);
	free(s);
}

/* ---- Questions ---- */
static void
settle(struct smtp_session *s, const struct smtp_step *step, const struct smtp_verdict *v)
{
	if (v->what == SMTP_GO) {
		step->go(s, v);
	} else if (v->what == SMTP_DROP || v->reply.code == 421) {
		say_refusal(s, v);
		session_end_politely(s, "dropped by policy");
	} else {
		step->no(s, v);
	}
}

void
session_ask(struct smtp_session *s, const struct smtp_step *step, struct slice helo)
{
	struct smtp_question q = {
		.stage = step->stage, .session = s, .info = &s->info, .helo = helo,
		/* A second EHLO may come inside a transaction, which then is none of its business. */
		.msg = step->stage >= SMTP_ASK_MAIL ? s->tx.msg : NULL,
		.cred = step->stage == SMTP_ASK_AUTH ? &s->cred : NULL,
		.header = step->stage == SMTP_ASK_HEADER ? message_writer_header(s->tx.writer) : SLICE(""),
	};
	struct smtp_verdict v, *early;
	enum smtp_ask when;

	MUST(s->question == NULL);
	/* An owner that forgets to fill it in has not said yes (I5). The text, a kilobyte, is not
	 * worth clearing. */
	v.what = SMTP_REFUSE;
	v.hide_ext = 0;
	v.auth_id = NULL;
	v.wants_header = v.wants_parts = v.wants_body = false;
	v.reply.code = 0;
	v.reply.status[0] = v.reply.text[0] = '\0';
	s->question = step;
	s->ticket++;
	s->in_ask = true;
	when = s->ops->ask(s->owner, s->info.id, s->ticket, &q, &v);
	s->in_ask = false;
	early = s->early;
	s->early = NULL;
	if (when == SMTP_NOW || early != NULL) {
		s->question = NULL;
		settle(s, step, when == SMTP_NOW ? &v : early);
		free(early);
		return;
	}
	session_restart_timer(s);
}

void
smtp_session_verdict(struct smtp_server *srv, uint64_t session_id, uint32_t ticket,
    const struct smtp_verdict *v)
{
	struct smtp_session *s = session_find(srv, session_id);
	const struct smtp_step *step;

	if (s == NULL || s->question == NULL || s->ticket != ticket)
		return;		/* the peer left, or this question was cancelled */
	if (s->in_ask) {	/* answered before ask() returned: wait for it to return */
		if (s->early == NULL) {
			s->early = xmalloc(sizeof *s->early);
			*s->early = *v;
		}
		return;
	}
	step = s->question;
	s->question = NULL;
	settle(s, step, v);
	session_restart_timer(s);
	session_run(s);
}

/* ---- Running ---- */
static bool
may_read(struct smtp_session *s)
{
	if (s->question != NULL || s->is_blocked || s->held_ms != 0)
		return false;
	if (s->state == ST_NEW || s->state == ST_HANDSHAKE || s->state == ST_GONE ||
	    s->state == ST_END)
		return false;
	if (s->state == ST_DATA || s->state == ST_CHUNK)
		return true;
	/* Between commands. A transaction has a sender and an owner who knows of it. */
	MUST((s->state >= ST_MAIL) == s->tx.is_open);
	if (s->server->is_draining) {
		session_bye(s, "4.3.2", "Service is shutting down");
		return false;
	}
	if (s->is_draining) {
		session_bye(s, "4.3.2", "Service has new rules, please connect again");
		return false;
	}
	if ((s->conf->max_errors > 0 && s->strikes >= s->conf->max_errors) ||
	    (s->conf->max_junk > 0 && s->junk >= s->conf->max_junk)) {
		session_bye(s, "4.7.0", "Too many errors");
		return false;
	}
	return true;
}

static bool
step_once(struct smtp_session *s)
{
	if (s->state == ST_DATA)
		return data_step_input(s);
	if (s->state == ST_CHUNK)
		return chunk_step_input(s);
	return command_step(s);
}

/* Whether replies wait: for the end of a delay, or for those of commands that are already here; for
 * these only while the input buffer has another whole line, and not those that end a group (M-96). */
static bool
holds_replies(const struct smtp_session *s)
{
	struct slice in = net_in(s->conn);

	if (s->held_ms != 0)
		return true;
	return s->question != NULL && !s->is_urgent && in.n > 0 && memchr(in.p, '\n', in.n) != NULL;
}

void
session_run(struct smtp_session *s)
{
	if (s->is_running)
		return;
	s->is_running = true;
	while (may_read(s) && step_once(s))
		if (s->out.len >= OUT_FLUSH_BYTES && s->held_ms == 0)
			session_flush(s);
	if (s->conn != NULL && !holds_replies(s))
		session_flush(s);
	s->is_running = false;
	if (s->conn != NULL)
		sync_reading(s);
}

static void
on_readable(void *owner)
{
	session_run(owner);
}

/* The client reads again. */
static void
on_writable(void *owner)
{
	struct smtp_session *s = owner;

	s->is_blocked = false;
	session_run(s);
}

static void
on_secured(void *owner)
{
	struct smtp_session *s = owner;

	session_secured(s);
	session_run(s);
}

static void
on_closed(void *owner, enum net_why why, const char *text)
{
	(void)why;
	session_end(owner, text);
}

static const struct net_ops conn_ops = {
	.readable = on_readable, .writable = on_writable, .secured = on_secured, .closed = on_closed,
};

/* ---- The beginning ---- */
uint64_t
smtp_session_new(struct smtp_server *srv, int fd, const struct net_addr *peer,
    const struct smtp_server_conf *conf, const struct smtp_session_ops *ops, void *owner,
    struct err *err)
{
	struct smtp_session *s = xcalloc(1, sizeof *s);

	s->conn = net_accept(srv->base, fd, peer, &conn_ops, s, err);
	if (s->conn == NULL) {
		free(s);
		return 0;
	}
	s->server = srv;
	s->conf = conf;
	s->ops = ops;
	s->owner = owner;
	s->peer = *peer;
	s->local = *net_local(s->conn);
	s->info.id = id_new(srv->who);
	s->info.conf = conf;
	s->info.peer = &s->peer;
	s->info.local = &s->local;
	net_addr_ip(peer, s->info.peer_ip);
	s->info.started_ms = clock_wall_ms();
	s->ends_ms = conf->session_ms > 0 ? clock_mono_ms() + conf->session_ms : 0;
	buf_init(&s->out, OUT_MAX_BYTES);
	evtimer_assign(&s->timer, srv->base, on_timer, s);
	HASH_ADD(hh, srv->sessions, info.id, sizeof s->info.id, s);
	s->is_paused = true;
	net_pause(s->conn);
	server_next_turn(s);
	return s->info.id;
}
