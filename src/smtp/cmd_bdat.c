/* BDAT (RFC 3030). A chunk's octets follow its command whatever we think of it, so a refused one
 * is read away to the last octet before its reply (M-112): lost count would turn content into
 * commands. There is no dot logic here, but the same care about line ends (M-35). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "smtp/smtp_int.h"

/* Octets of a refused chunk that are still worth reading. */
static uint64_t
swallow_max(const struct smtp_session *s)
{
	uint64_t max = s->conf->max_size;

	return max > SWALLOW_MIN / 2 ? (max > UINT64_MAX / 2 ? UINT64_MAX : max * 2) : SWALLOW_MIN;
}

/* Reads a->chunk octets away, then says `reply`. A transaction whose content has begun, or was
 * refused, is of no use any more: further chunks get 503 until RSET. */
static void
chunk_swallow(struct smtp_session *s, uint64_t size, const char *reply, enum smtp_state back)
{
	if (size > swallow_max(s)) {	/* M-113 */
		say(s, "552 5.3.4 Chunk far too big");
		session_end_politely(s, "a refused chunk too big to be skipped");
		return;
	}
	free(s->chunk.reply);
	s->chunk = (struct smtp_chunk){ .left = size, .back = back, .reply = xstrdup(reply) };
	session_state(s, ST_CHUNK);
}

static void
chunk_spoil(struct smtp_session *s)
{
	message_writer_free(s->tx.writer);
	s->tx.writer = NULL;
	s->tx.is_spoiled = true;
}

/* What speaks against a chunk here and now; NULL: nothing. */
static const char *
bdat_error(struct smtp_session *s, const struct smtp_args *a)
{
	uint64_t max = s->conf->max_size;

	if (s->state == ST_REFUSED)
		return s->refusal != NULL ? s->refusal : "503 5.5.1 No service here, please QUIT";
	if (s->info.tls == NULL && s->conf->starttls == SMTP_STARTTLS_REQUIRED)
		return "530 5.7.0 Use STARTTLS first";
	if (s->state == ST_GREETED)
		return "503 5.5.1 Send EHLO first";
	if ((s->offered & SMTP_EXT_CHUNKING) == 0)
		return "502 5.5.1 BDAT is not offered";
	if (s->state == ST_READY)
		return "503 5.5.1 Send MAIL first";
	if (s->state == ST_MAIL)
		return "554 5.5.1 No valid recipients";
	if (s->tx.is_spoiled)
		return "503 5.5.1 A chunk was refused, RSET first";
	if (a->chunk > UINT64_MAX - s->tx.octets || (max > 0 && s->tx.octets + a->chunk > max))
		return "552 5.3.4 Message too big";
	return NULL;
}

bool
bdat_check(struct smtp_session *s, struct smtp_args *a)
{
	struct slice rest = a->text, size;
	const char *error = NULL;
	bool digits = true;

	s->is_urgent = true;
	if (a->text.n == 0) {
		say(s, "501 5.5.4 BDAT needs a size");
		return false;
	}
	slice_cut(&rest, ' ', &size);
	rest = slice_trim(rest.p == NULL ? SLICE("") : rest);
	for (size_t i = 0; i < size.n; i++)
		digits = digits && size.p[i] >= '0' && size.p[i] <= '9';
	if (!digits || !slice_u64(size, &a->chunk)) {
		/* How many octets follow nobody knows (M-113). */
		say(s, digits ? "552 5.3.4 Chunk far too big" : "501 5.5.4 BDAT needs a size");
		session_end_politely(s, "BDAT without a usable size");
		return false;
	}
	a->last = slice_is_nocase(rest, "LAST");
	if (rest.n > 0 && !a->last)
		error = "501 5.5.4 After the size only LAST may stand";
	if (error == NULL)
		error = bdat_error(s, a);
	if (a->chunk == 0 && !a->last)
		s->junk++;	/* */
	if (error == NULL)
		return true;
	/* Also before the first recipient: what this chunk holds would be missing from a message
	 * that later ones made. */
	if (s->tx.is_open) {
		chunk_spoil(s);
		chunk_swallow(s, a->chunk, error, ST_BDAT);
	} else {
		chunk_swallow(s, a->chunk, error, s->state);
	}
	return false;
}

void
bdat_proceed(struct smtp_session *s, struct smtp_args *a)
{
	free(s->chunk.reply);
	s->chunk = (struct smtp_chunk){ .left = a->chunk, .last = a->last };
	if (s->tx.writer != NULL) {
		chunk_begin(s);
		return;
	}
	s->tx.is_bdat = true;
	session_ask(s, &data_step, SLICE(""));
}

void
chunk_begin(struct smtp_session *s)
{
	session_state(s, ST_CHUNK);
}

void
chunk_refuse_by(struct smtp_session *s, const struct smtp_verdict *v)
{
	char *text = refusal_text(v);

	chunk_spoil(s);
	chunk_swallow(s, s->chunk.left, text, ST_BDAT);
	free(text);
}

static void
chunk_end(struct smtp_session *s)
{
	const char *error;

	if (s->chunk.reply != NULL) {
		char *reply = s->chunk.reply;

		s->chunk.reply = NULL;
		session_state(s, s->chunk.back);
		say(s, reply);
		free(reply);
		return;
	}
	if (s->chunk.last) {
		message_end(s);
		return;
	}
	session_state(s, ST_BDAT);
	error = content_error(s);
	if (error != NULL) {
		say(s, error);
		chunk_spoil(s);
		return;
	}
	say(s, "250 2.0.0 Chunk received");
}

bool
chunk_step_input(struct smtp_session *s)
{
	struct slice in = net_in(s->conn);
	size_t n = s->chunk.left < in.n ? (size_t)s->chunk.left : in.n;

	if (s->chunk.left > 0) {
		if (n == 0 || !content_has_memory(s))
			return false;
		if (s->chunk.reply == NULL) {
			s->tx.octets += n;
			if (s->tx.refusal == NULL)
				message_writer_add(s->tx.writer, in.p, n);
		}
		net_consume(s->conn, n);
		s->window_octets += n;
		s->chunk.left -= n;
	}
	if (s->chunk.reply == NULL && header_ask(s, s->chunk.left == 0 && s->chunk.last))
		return true;
	if (s->chunk.left == 0)
		chunk_end(s);
	return true;
}
