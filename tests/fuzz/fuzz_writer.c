/* The writer must see the same whether octets come whole, one by one, or cut by chance (W1), in
 * memory or in a file, and agree with header_parse about where the header ends and how many hosts
 * it has passed. */
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
check_header(const char *p, size_t n, const struct outcome *o)
{
	struct header h;

	MUST(o->size <= n + 2 && memcmp(o->mem, p, n) == 0);
	MUST(header_parse(&h, (struct slice){ o->mem, (size_t)o->size }));
	MUST(h.end == o->header_size);
	MUST(header_count(&h, "Received") <= 5);
	header_fini(&h);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *p = (const char *)data;
	struct outcome whole = run(p, n, n + 1, 100000), other;
	static const size_t steps[] = { 1, 0, 2 };

	for (size_t i = 0; i < NELEMS(steps); i++) {
		/* Files cost system calls: not each time. */
		other = run(p, n, steps[i], i == 1 && n % 16 == 0 ? 10 : 100000);
		MUST(other.status == whole.status && other.flags == whole.flags);
		MUST(other.size == whole.size && other.header_size == whole.header_size);
		MUST(whole.mem == NULL || memcmp(whole.mem, other.mem, (size_t)whole.size) == 0);
		free(other.mem);
	}
	if (whole.mem != NULL)
		check_header(p, n, &whole);
	free(whole.mem);
	return 0;
}
