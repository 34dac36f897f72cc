/* A DATA stream through splitter, writer and dot-stuffing, against a reference that knows nothing
 * of states. The first octet seeds the cuts; any cut gives the same message, and what
 * goes out again means the same to the reference as what came in. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz_random.h"
#include "message/message_int.h"
#include "smtp/smtp_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* ---- The reference: RFC 5321 4.1.1.4 and 4.5.2, read aloud ---- */

/* Where the content ends: behind the CR LF in front of the first line that is a dot alone. */
static bool
reference_end(const char *p, size_t n, size_t *content, size_t *used)
{
	for (size_t at = 0; at + 3 <= n; at++) {
		bool begins = at == 0 || (at >= 2 && memcmp(p + at - 2, "\r\n", 2) == 0);

		if (begins && memcmp(p + at, ".\r\n", 3) == 0) {
			*content = at;
			*used = at + 3;
			return true;
		}
	}
	*content = *used = n;
	return false;
}

/* The first dot of each line away. */
static size_t
reference_unstuff(char *to, const char *p, size_t n)
{
	size_t len = 0;

	for (size_t at = 0; at < n; at++)
		if (p[at] != '.' || (at > 0 && (at < 2 || memcmp(p + at - 2, "\r\n", 2) != 0)))
			to[len++] = p[at];
	return len;
}

static bool
has_lone_line_end(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((p[i] == '\r' && (i + 1 == n || p[i + 1] != '\n')) ||
		    (p[i] == '\n' && (i == 0 || p[i - 1] != '\r')))
			return true;
	return false;
}

/* ---- What is tested ---- */
struct sink {
	struct buf got;
	struct message_writer *writer;
};

static void
take(void *arg, const char *p, size_t n)
{
	struct sink *s = arg;

	buf_add(&s->got, p, n);
	message_writer_add(s->writer, p, n);
}

static size_t
next_cut(uint32_t *random, size_t left)
{
	size_t step = *random == 0 ? left : 1 + fuzz_random(random) % 9;

	return step < left ? step : left;
}

/* The wire in pieces; the content and the verdict on it. */
static struct content *
receive(const char *p, size_t n, uint32_t random, struct sink *s, size_t *used, bool *done,
    enum write_status *status)
{
	const struct message_writer_limits lim = { .spool_dir = ".", .max_bytes = 3000 };
	struct smtp_data d;
	struct content *c;
	unsigned flags;

	buf_init(&s->got, n + 2);
	s->writer = message_writer_new(&lim);
	smtp_data_init(&d);
	*used = 0;
	*done = false;
	while (*used < n && !*done) {
		size_t step = next_cut(&random, n - *used);
		size_t took = smtp_data_feed(&d, (struct slice){ p + *used, step }, take, s, done);

		MUST(took == step || *done);
		*used += took;
	}
	c = message_writer_finish(s->writer, &flags, NULL);
	*status = message_writer_status(s->writer, NULL);
	MUST((c != NULL) == (*status == WRITE_OK));
	message_writer_free(s->writer);
	return c;
}

/* Out again, in pieces. */
static void
send_out(struct buf *out, const char *p, size_t n, uint32_t random)
{
	bool at_line_start = true;

	buf_init(out, 2 * n + 4);
	for (size_t at = 0, step; at < n; at += step) {
		step = next_cut(&random, n - at);
		MUST(dot_stuff(out, p + at, step, &at_line_start));
	}
	MUST(at_line_start == (n == 0 || p[n - 1] == '\n'));
	MUST(buf_adds(out, ".\r\n"));
}

static void
check_way_out(const struct content *c, uint32_t random)
{
	size_t n = (size_t)c->size, content, used;
	struct buf out, again;
	char *plain;

	MUST(!has_lone_line_end(c->mem, n) && memchr(c->mem, '\0', n) == NULL);
	send_out(&out, c->mem, n, random);
	/* Nobody on the way sees an end before the end, whatever ends a line for him. */
	MUST(!has_lone_line_end(buf_peek(&out), out.len));
	MUST(reference_end(buf_peek(&out), out.len, &content, &used) && used == out.len);
	plain = xmalloc(content + 1);
	MUST(reference_unstuff(plain, buf_peek(&out), content) == n && memcmp(plain, c->mem, n) == 0);
	send_out(&again, plain, n, 0);
	MUST(slice_eq(buf_slice(&out), buf_slice(&again)));
	free(plain);
	buf_fini(&out);
	buf_fini(&again);
}

static void
check_reference(const char *p, size_t n, const struct sink *s, size_t used, bool done)
{
	size_t content, end;
	bool ends = reference_end(p, n, &content, &end);
	char *plain = xmalloc(n + 1);
	size_t len = reference_unstuff(plain, p, content);

	MUST(done == ends && used == end);
	/* Without the end, what may be part of it is still held back. */
	MUST(s->got.len <= len && memcmp(buf_peek(&s->got), plain, s->got.len) == 0);
	MUST(ends ? s->got.len == len : s->got.len + 1 >= len);
	free(plain);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *p = (const char *)data + 1;
	uint32_t random;
	struct sink whole, cut;
	struct content *one, *two;
	enum write_status s1, s2;
	size_t u1, u2;
	bool d1, d2;

	if (n < 1)
		return 0;
	random = data[0] * 2654435761u + 1;
	one = receive(p, n - 1, 0, &whole, &u1, &d1, &s1);
	two = receive(p, n - 1, random, &cut, &u2, &d2, &s2);
	MUST(u1 == u2 && d1 == d2 && slice_eq(buf_slice(&whole.got), buf_slice(&cut.got)));
	check_reference(p, n - 1, &whole, u1, d1);
	if (d1) {
		MUST(s1 == s2);
		MUST(s1 != WRITE_OK || !has_lone_line_end(buf_peek(&whole.got), whole.got.len));
	}
	if (one != NULL && d1) {
		MUST(one->size == whole.got.len && memcmp(one->mem, buf_peek(&whole.got), one->size) == 0);
		MUST(two->size == one->size && two->header_size == one->header_size);
		MUST(memcmp(two->mem, one->mem, one->size) == 0);
		check_way_out(one, random);
	}
	content_unref(one);
	content_unref(two);
	buf_fini(&whole.got);
	buf_fini(&cut.got);
	return 0;
}
