/* The writer must see the same whether octets come whole, one by one, or cut by chance (W1), and
 * agree with header_parse about where the header ends. Dot-stuffing, too. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "message/message_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct outcome {
	enum write_status status;
	unsigned flags;
	uint64_t size, header_size;
	char *mem;
};

static struct outcome
run(const char *p, size_t n, size_t step, size_t memory)
{
	struct message_writer_limits lim = { .spool_dir = ".", .max_bytes = 5000, .memory_bytes = memory,
		.max_received = 5 };
	struct message_writer *w = message_writer_new(&lim);
	struct outcome o = { .flags = 0 };
	struct content *c;
	size_t cut = step;

	for (size_t at = 0; at < n; at += cut) {
		if (step == 0)
			cut = 1 + (at * 7 + n) % 13;
		message_writer_add(w, p + at, n - at < cut ? n - at : cut);
	}
	c = message_writer_finish(w, &o.flags, NULL);
	o.status = message_writer_status(w, NULL);
	MUST((c != NULL) == (o.status == WRITE_OK));
	MUST(message_writer_size(w) == n);
	if (c != NULL) {
		o.size = c->size;
		o.header_size = c->header_size;
		o.mem = xmalloc((size_t)c->size + 1);
		if (c->mem != NULL)
			memcpy(o.mem, c->mem, (size_t)c->size);
		else
			MUST(pread(c->fd, o.mem, (size_t)c->size, 0) == (ssize_t)c->size);
	}
	content_unref(c);
	message_writer_free(w);
	return o;
}

static void
check_stuffing(const char *p, size_t n)
{
	bool a = true, b = true;
	struct buf whole, split;

	buf_init(&whole, 2 * n + 1);
	buf_init(&split, 2 * n + 1);
	MUST(dot_stuff(&whole, p, n, &a));
	for (size_t i = 0; i < n; i++)
		MUST(dot_stuff(&split, p + i, 1, &b));
	MUST(a == b && slice_eq(buf_slice(&whole), buf_slice(&split)));
	MUST(memmem(buf_peek(&whole), whole.len, "\n.\r\n", 4) == NULL);
	buf_fini(&whole);
	buf_fini(&split);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *p = (const char *)data;
	struct outcome whole = run(p, n, n + 1, 100000), other;
	static const size_t steps[] = { 1, 0, 2 };
	struct header h;

	for (size_t i = 0; i < NELEMS(steps); i++) {
		other = run(p, n, steps[i], i == 1 ? 10 : 100000);
		MUST(other.status == whole.status && other.flags == whole.flags);
		MUST(other.size == whole.size && other.header_size == whole.header_size);
		MUST(whole.mem == NULL || memcmp(whole.mem, other.mem, (size_t)whole.size) == 0);
		free(other.mem);
	}
	if (whole.mem != NULL) {
		MUST(whole.size <= n + 2 && memcmp(whole.mem, p, n) == 0);
		MUST(header_parse(&h, (struct slice){ whole.mem, (size_t)whole.size }));
		MUST(h.end == whole.header_size);
		header_fini(&h);
	}
	check_stuffing(p, n);
	free(whole.mem);
	return 0;
}
