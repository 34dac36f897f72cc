/* Content on its way in. Octets are looked at once, as they come; the header section stays in one
 * piece in memory, the body too while it is small, and goes to an unlinked file when it is not.
 *
 * W1  The verdict does not depend on how the octets were cut (fuzz_writer checks it). So a problem
 *     counts from the octet that shows it, and the earliest one stays.
 * W2  Memory is at most max(memory_bytes, header) + one write buffer, whatever the peer sends (I6), and what
 *     mime_scan.c has of the parts where somebody asked for them.
 * W3  Nothing here waits for a disk: the file is never synced, it is a place to put things until
 *     the store has them. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "message/message_int.h"
#include "message/mime.h"

#define MEMORY_DEFAULT (256u * 1024)
#define FILE_BUFFER (64u * 1024)
#define LINE_MAX 998u		/* RFC 5321 4.5.3.1.6, without CRLF */

struct message_writer {
	char *spool_dir;
	uint64_t max_bytes;
	size_t memory_bytes;
	unsigned max_received;

	enum write_status status;
	struct err err;
	uint64_t size;		/* as received, dropped ones too */
	uint64_t stored;
	char last;

	char *mem;		/* all of it; with a file: the header section */
	size_t len, cap;

	bool has_header, keeps_start, notes_parts;
	size_t header_size;
	size_t line_at;		/* header: where the line that is not complete begins, in mem */
	size_t seen;		/* header: mem before this has been searched for LF */
	size_t fields;
	unsigned received;

	uint64_t line_len;	/* body: octets of the line so far, its CR too */
	bool prev_cr;
	unsigned flags;

	struct mime_scan *scan;	/* with a file, and notes_parts; NULL */
	int fd;			/* -1: in memory */
	char *out;		/* waits to be written */
	size_t out_len, out_cap;
};

struct message_writer *
message_writer_new(const struct message_writer_limits *lim)
{
	struct message_writer *w = xcalloc(1, sizeof *w);

	w->spool_dir = xstrdup(lim->spool_dir == NULL ? "." : lim->spool_dir);
	w->max_bytes = lim->max_bytes == 0 ? UINT64_MAX : lim->max_bytes;
	w->memory_bytes = lim->memory_bytes == 0 ? MEMORY_DEFAULT : lim->memory_bytes;
	w->max_received = lim->max_received;
	w->fd = -1;
	return w;
}

void
message_writer_free(struct message_writer *w)
{
	if (w == NULL)
		return;
	if (w->fd >= 0)
		close(w->fd);
	mime_scan_free(w->scan);
	free(w->spool_dir);
	free(w->mem);
	free(w->out);
	free(w);
}

static bool
fail(struct message_writer *w, enum write_status why, const char *text)
{
	if (w->status == WRITE_OK) {
		w->status = why;
		err_set(&w->err, "%s", text);
	}
	return false;
}

static bool
fail_io(struct message_writer *w, const char *what)
{
	if (w->status == WRITE_OK) {
		w->status = WRITE_IO;
		err_set(&w->err, "%s: cannot %s a message file: %s", w->spool_dir, what, strerror(errno));
	}
	return false;
}

static bool
fail_line_end(struct message_writer *w)
{
	return fail(w, WRITE_BARE_CR_LF, "a CR or LF stands alone");
}

/* ---- keeping ---- */

static bool
mem_add(struct message_writer *w, const char *p, size_t n)
{
	if (w->len + n > w->cap) {
		size_t cap = w->cap == 0 ? 4096 : w->cap;
		char *mem;

		while (cap < w->len + n)
			cap *= 2;
		mem = realloc(w->mem, cap);
		if (mem == NULL)
			return fail(w, WRITE_IO, "no memory for a message");
		w->mem = mem;
		w->cap = cap;
	}
	memcpy(w->mem + w->len, p, n);
	w->len += n;
	w->stored += n;
	return true;
}

static bool
write_all(struct message_writer *w, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t k = write(w->fd, p, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0) {
			if (k == 0)
				errno = ENOSPC;
			return fail_io(w, "write");
		}
		p += k;
		n -= (size_t)k;
	}
	return true;
}

/* A file without a name, so that nothing is left behind by a crash. Not every file system has
 * O_TMPFILE. */
static int
open_unlinked(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char *name;

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	name = xasprintf("%s/in.XXXXXX", dir);
	fd = mkostemp(name, O_CLOEXEC);		/* 0600 */
	if (fd >= 0)
		unlink(name);
	free(name);
	return fd;
}

/* From memory to a file; the header stays where it is, too, and with keeps_start what is there of the
 * body. */
static bool
spill(struct message_writer *w)
{
	char *mem;

	w->fd = open_unlinked(w->spool_dir);
	if (w->fd < 0)
		return fail_io(w, "create");
	if (!write_all(w, w->mem, w->len))
		return false;
	w->out_cap = w->memory_bytes < FILE_BUFFER ? w->memory_bytes : FILE_BUFFER;
	w->out = xmalloc(w->out_cap);
	if (w->notes_parts) {
		w->scan = mime_scan_new((struct slice){ w->mem, w->header_size });
		mime_scan_add(w->scan, w->mem + w->header_size, w->len - w->header_size);
	}
	if (!w->keeps_start)
		w->len = w->header_size;
	w->cap = w->len;
	mem = realloc(w->mem, w->cap == 0 ? 1 : w->cap);
	if (mem != NULL)
		w->mem = mem;
	return true;
}

static bool
file_add(struct message_writer *w, const char *p, size_t n)
{
	w->stored += n;
	if (w->scan != NULL)
		mime_scan_add(w->scan, p, n);
	if (w->out_len + n > w->out_cap) {
		if (!write_all(w, w->out, w->out_len))
			return false;
		w->out_len = 0;
		if (n > w->out_cap / 2)
			return write_all(w, p, n);
	}
	memcpy(w->out + w->out_len, p, n);
	w->out_len += n;
	return true;
}

static bool
keep(struct message_writer *w, const char *p, size_t n)
{
	if (w->fd < 0) {
		if (w->len + n <= w->memory_bytes)
			return mem_add(w, p, n);
		if (!spill(w))
			return false;
	}
	return file_add(w, p, n);
}

/* ---- looking ---- */

static bool
has_8bit(const char *p, size_t n)
{
	uint64_t any = 0, word;

	for (; n >= sizeof word; p += sizeof word, n -= sizeof word) {
		memcpy(&word, p, sizeof word);
		any |= word;
	}
	for (; n > 0; p++, n--)
		any |= (uint64_t)(unsigned char)*p;
	return (any & 0x8080808080808080u) != 0;
}

static void
header_ends(struct message_writer *w, size_t at)
{
	w->has_header = true;
	w->header_size = at;
	if (has_8bit(w->mem, at))
		w->flags |= MSG_HAS_8BIT | MSG_UTF8_HEADER;
}

/* A complete line of the header section, without its CRLF; `next` is where the one after begins. */
static bool
header_line(struct message_writer *w, const char *line, size_t n, size_t next)
{
	size_t colon, name;

	if (n == 0) {
		header_ends(w, next);
		return true;
	}
	if (n > LINE_MAX)
		w->flags |= MSG_LONG_LINES;
	if ((line[0] == ' ' || line[0] == '\t') && w->fields > 0)
		return true;
	name = header_name_length(line, n, &colon);
	if (name == 0) {	/* the same end as header_parse sees */
		header_ends(w, w->line_at);
		return true;
	}
	if (++w->fields > HEADER_MAX_FIELDS)
		return fail(w, WRITE_HEADER_TOO_BIG, "the header has too many fields");
	/* M-186, X-24 */
	if (slice_is_nocase((struct slice){ line, name }, "Received") &&
	    ++w->received > w->max_received && w->max_received > 0)
		return fail(w, WRITE_LOOP, "the message has passed too many hosts");
	return true;
}

/* Reads the lines that are complete in memory, until the header ends. */
static bool
header_scan(struct message_writer *w)
{
	while (!w->has_header) {
		char *line = w->mem + w->line_at;
		char *lf = memchr(w->mem + w->seen, '\n', w->len - w->seen);
		size_t n;

		if (lf == NULL) {
			w->seen = w->len;
			return true;
		}
		n = (size_t)(lf - line);
		if (n == 0 || memchr(line, '\r', n) != lf - 1)
			return fail_line_end(w);
		w->seen = (size_t)(lf + 1 - w->mem);
		if (!header_line(w, line, n - 1, w->seen))
			return false;
		w->line_at = w->has_header ? w->header_size : w->seen;
	}
	return true;
}

static bool
body_scan(struct message_writer *w, const char *p, size_t n)
{
	const char *end = p + n;

	if ((w->flags & MSG_HAS_8BIT) == 0 && has_8bit(p, n))
		w->flags |= MSG_HAS_8BIT;
	while (p < end) {
		const char *lf = memchr(p, '\n', (size_t)(end - p));
		size_t seg = (size_t)((lf == NULL ? end : lf) - p);
		bool cr_last = w->prev_cr;

		if (seg > 0) {
			const char *cr = memchr(p, '\r', seg);

			if (w->prev_cr || (cr != NULL && cr != p + seg - 1))
				return fail_line_end(w);
			cr_last = cr != NULL;
		}
		w->line_len += seg;
		w->prev_cr = cr_last;
		if (lf == NULL)
			break;
		if (!cr_last)
			return fail_line_end(w);
		if (w->line_len - 1 > LINE_MAX)
			w->flags |= MSG_LONG_LINES;
		w->line_len = 0;
		w->prev_cr = false;
		p = lf + 1;
	}
	return true;
}

static bool
feed(struct message_writer *w, const char *p, size_t n)
{
	if (n == 0)
		return true;
	if (!w->has_header) {
		size_t room = HEADER_MAX_BYTES - w->len;
		size_t take = n < room ? n : room;

		if (!mem_add(w, p, take) || !header_scan(w))
			return false;
		p += take;
		n -= take;
		if (!w->has_header)
			return n == 0 || fail(w, WRITE_HEADER_TOO_BIG, "the header is too large");
		if (!body_scan(w, w->mem + w->header_size, w->len - w->header_size))
			return false;
		if (w->len > w->memory_bytes && !spill(w))
			return false;
	}
	return n == 0 || (body_scan(w, p, n) && keep(w, p, n));
}

void
message_writer_add(struct message_writer *w, const char *p, size_t n)
{
	enum write_status after = WRITE_OK;
	const char *nul;

	if (n == 0)
		return;
	if (w->status == WRITE_OK) {
		uint64_t room = w->max_bytes - w->size;
		size_t good = n;

		if (good > room) {
			good = (size_t)room;
			after = WRITE_TOO_BIG;
		}
		nul = memchr(p, '\0', good);
		if (nul != NULL) {
			good = (size_t)(nul - p);
			after = WRITE_NUL;
		}
		/* What shows in the octets before comes first (W1). */
		if (feed(w, p, good) && after != WRITE_OK)
			fail(w, after, after == WRITE_NUL ? "a NUL octet" : "the message is too large");
	}
	w->size += n;
	w->last = p[n - 1];
}

void
message_writer_keep_start(struct message_writer *w)
{
	w->keeps_start = true;
}

void
message_writer_note_parts(struct message_writer *w)
{
	w->notes_parts = true;
}

enum write_status
message_writer_status(const struct message_writer *w, struct err *err)
{
	if (w->status != WRITE_OK)
		err_set(err, "%s", w->err.text);
	return w->status;
}

size_t
message_writer_memory(const struct message_writer *w)
{
	return w->cap + w->out_cap + (w->scan == NULL ? 0 : mime_scan_memory(w->scan));
}

uint64_t
message_writer_size(const struct message_writer *w)
{
	return w->size;
}

bool
message_writer_has_header(const struct message_writer *w)
{
	return w->has_header;
}

struct slice
message_writer_header(const struct message_writer *w)
{
	if (w->mem == NULL)
		return (struct slice){ "", 0 };
	return (struct slice){ w->mem, w->has_header ? w->header_size : w->line_at };
}

/* M-39: the last line gets its CRLF, and never a second one. */
static bool
end_last_line(struct message_writer *w)
{
	if (w->size == 0 || w->last == '\n')
		return true;
	if (w->last == '\r')
		return fail_line_end(w);
	return feed(w, "\r\n", 2);
}

struct content *
message_writer_finish(struct message_writer *w, unsigned *flags_out, struct err *err)
{
	struct content *c;

	if (w->status == WRITE_OK && end_last_line(w) && !w->has_header)
		header_ends(w, w->len);
	if (w->status == WRITE_OK && w->fd >= 0)
		write_all(w, w->out, w->out_len);
	if (w->status != WRITE_OK) {
		err_set(err, "%s", w->err.text);
		return NULL;
	}
	*flags_out = w->flags;
	if (w->fd < 0) {
		/* What is queued is counted by its size: no half empty buffers. */
		if (w->cap - w->len > 4096 && w->len > 0) {
			char *mem = realloc(w->mem, w->len);

			if (mem != NULL)
				w->mem = mem;
		}
		c = content_from_memory(w->mem != NULL ? w->mem : xstrdup(""), w->len, w->header_size);
		w->mem = NULL;
		w->len = w->cap = 0;
	} else {
		c = content_from_memory(NULL, 0, 0);
		c->size = w->stored;
		c->header_size = w->header_size;
		c->fd = w->fd;
		w->fd = -1;
		c->parts = w->scan == NULL ? NULL : mime_scan_end(w->scan);
		w->scan = NULL;
		/* Policies look at the header of a message of any size. */
		c->head = w->mem;
		c->head_size = w->len;
		w->mem = NULL;
		w->len = w->cap = 0;
	}
	return c;
}
