#include "unit.h"

#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct escape_case {
	const char *name, *in;
	size_t n;
	bool utf8;
	const char *out;
} escapes[] = {
	{ "plain", "hello", 5, false, "hello" },
	{ "crlf", "a\r\nb", 4, true, "a\\x0D\\x0Ab" },
	{ "nul", "a\0b", 3, true, "a\\x00b" },
	{ "backslash", "a\\b", 3, true, "a\\x5Cb" },
	{ "utf8 kept", "\xC3\xA4", 2, true, "\xC3\xA4" },
	{ "utf8 not wanted", "\xC3\xA4", 2, false, "\\xC3\\xA4" },
	{ "overlong", "\xC0\xAF", 2, true, "\\xC0\\xAF" },
	{ "C1", "\xC2\x9B", 2, true, "\\xC2\\x9B" },
	{ "line separator", "\xE2\x80\xA8", 3, true, "\\xE2\\x80\\xA8" },
	{ "bidi override", "\xE2\x80\xAE", 3, true, "\\xE2\\x80\\xAE" },
};

START_TEST(escape)
{
	const struct escape_case *c = &escapes[_i];
	char out[64];

	text_escape(out, sizeof out, c->in, c->n, c->utf8);
	ck_assert_msg(strcmp(out, c->out) == 0, "%s: %s", c->name, out);
}
END_TEST

START_TEST(escape_cuts)
{
	char out[8];

	ck_assert_uint_eq(text_escape(out, sizeof out, "0123456789", 10, false), 7);
	ck_assert_str_eq(out, "0123...");
	ck_assert_uint_eq(text_escape(out, sizeof out, "0123456", 7, false), 7);
	ck_assert_str_eq(out, "0123456");
}
END_TEST

START_TEST(buf_keeps_its_cap)
{
	struct buf b;

	buf_init(&b, 10);
	ck_assert(buf_add(&b, "12345678", 8));
	ck_assert(!buf_add(&b, "xyz", 3));
	ck_assert_uint_eq(b.len, 8);
	buf_consume(&b, 6);
	ck_assert(buf_add(&b, "abcdefgh", 8));
	ck_assert(slice_is(buf_slice(&b), "78abcdefgh"));
	ck_assert(!buf_addc(&b, 'x'));
	ck_assert(!buf_printf(&b, "%d", 1));
	buf_fini(&b);
	ck_assert(buf_printf(&b, "%s", "ok"));
	ck_assert(slice_is(buf_slice(&b), "ok"));
	buf_fini(&b);
}
END_TEST

START_TEST(slots_do_not_repeat)
{
	struct slots s;
	int a, b;
	uint64_t first, second;

	slots_init(&s);
	first = slots_add(&s, &a);
	ck_assert_ptr_eq(slots_get(&s, first), &a);
	slots_del(&s, first);
	second = slots_add(&s, &b);
	ck_assert_uint_ne(first, second);
	ck_assert_ptr_null(slots_get(&s, first));
	ck_assert_ptr_eq(slots_get(&s, second), &b);
	ck_assert_ptr_null(slots_get(&s, 0));
	for (int i = 0; i < 1000; i++)
		slots_add(&s, &a);
	ck_assert_ptr_eq(slots_get(&s, second), &b);
	slots_fini(&s);
}
END_TEST

START_TEST(durations)
{
	static const struct { const char *text; int64_t ms; } ok[] = {
		{ "5m", 300000 }, { "1h", 3600000 }, { "5d", 432000000 }, { "0s", 0 }, { "1500ms", 1500 },
	};
	static const char *const bad[] = { "", "5", "m", "-5m", "5 m", "5M", "1.5h", "99999999999999999d" };
	char out[32];
	int64_t ms;

	for (size_t i = 0; i < NELEMS(ok); i++) {
		ck_assert(duration_parse(slice_of(ok[i].text), &ms));
		ck_assert_int_eq(ms, ok[i].ms);
		duration_format(out, sizeof out, ms);
		ck_assert_str_eq(out, ok[i].text);
	}
	for (size_t i = 0; i < NELEMS(bad); i++)
		ck_assert_msg(!duration_parse(slice_of(bad[i]), &ms), "%s", bad[i]);
}
END_TEST

START_TEST(ids)
{
	char text[ID_TEXT], before[ID_TEXT] = "";
	uint64_t id, back;

	for (int i = 0; i < 100000; i++) {
		id = id_new(3);
		ck_assert(id >> 63 == 0);
		id_format(text, id);
		ck_assert_int_gt(strcmp(text, before), 0);
		strcpy(before, text);
	}
	ck_assert(id_parse(text, &back));
	ck_assert_uint_eq(id, back);
	ck_assert(!id_parse("short", &back));
	ck_assert(!id_parse("ZZZZZZZZZZZZZ", &back));
	ck_assert(!id_parse("0000000000U00", &back));
}
END_TEST

struct counted {
	struct mail mail;
	int writer, n;
};
static int seen[4], wrong;
static struct event_base *base;

static void
count(void *reader, struct mail *m)
{
	struct counted *c = (struct counted *)m;

	if (seen[c->writer]++ != c->n)
		wrong++;
	free(c);
	if (seen[0] + seen[1] + seen[2] + seen[3] == 40000)
		event_base_loopbreak(base);
}

static void *
write_many(void *arg)
{
	static _Atomic int next;
	int me = next++;

	for (int i = 0; i < 10000; i++) {
		struct counted *c = xcalloc(1, sizeof *c);

		c->mail.run = count;
		c->writer = me;
		c->n = i;
		mailbox_post(arg, &c->mail);
	}
	return NULL;
}

START_TEST(mailbox_keeps_order)
{
	struct mailbox *mb;
	pthread_t t[4];

	base = event_base_new();
	mb = mailbox_new(base, NULL);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, write_many, mb);
	event_base_dispatch(base);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	ck_assert_int_eq(wrong, 0);
	mailbox_free(mb);
	event_base_free(base);
}
END_TEST

static char logged[1024];

static void
keep(void *arg, const char *line)
{
	snprintf(logged, sizeof logged, "%s", line + 25);	/* without the time */
}

static unsigned gate_notes, gate_lines;

static void
count_gate(void *arg, const char *line)
{
	if (strstr(line, "lines left out kind=x lines=1500") != NULL)
		gate_notes++;
	else if (strstr(line, " x ") != NULL)
		gate_lines++;
}

/* a flood of one kind is cut, counted and told; the next second begins anew. */
START_TEST(log_flood)
{
	static struct log_gate gate = { .kind = "x" }, other = { .kind = "y" };

	clock_fake(10000, 0);
	log_capture(count_gate, NULL);
	for (unsigned i = 0; i < 2000; i++)
		if (log_may(&gate))
			log_info("x", LOG_U("n", i));
	ck_assert_uint_eq(gate_lines, LOG_GATE_LINES);
	ck_assert_uint_eq(gate_notes, 0);
	ck_assert(log_may(&other));
	clock_fake(11000, 0);
	ck_assert(log_may(&gate));
	ck_assert_uint_eq(gate_notes, 1);
	log_capture(NULL, NULL);
	clock_real();
}
END_TEST

START_TEST(log_lines)
{
	struct err err;

	log_capture(keep, NULL);
	log_info("session ended", LOG_S("why", "peer said \"no\"\r\n"), LOG_U("n", 3), LOG_S("gone", NULL));
	ck_assert_str_eq(logged, "info session ended why=\"peer said \\\"no\\\"\\x0D\\x0A\" n=3");
	ck_assert_int_eq(log_open(&(struct log_conf){ .json = true, .level = LOG_LEVEL_INFO }, &err), 0);
	log_info("x", LOG_B("k", "a\"\0", 3), LOG_I("i", -1));
	ck_assert_msg(strstr(logged, "\"event\":\"x\",\"k\":\"a\\\"\\\\x00\",\"i\":-1}") != NULL, "%s", logged);
	log_capture(NULL, NULL);
}
END_TEST

/* Sum of the numbers behind `phrase` in a file. */
static unsigned
said_in(const char *path, const char *phrase)
{
	FILE *f = fopen(path, "r");
	char line[1000], *at;
	unsigned n = 0;

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if ((at = strstr(line, phrase)) != NULL)
			n += (unsigned)strtoul(at + strlen(phrase), NULL, 10);
	if (f != NULL)
		fclose(f);
	return n;
}

/* Nobody reads the journal: what does not fit in memory is dropped and counted, and whoever writes never waits. */
START_TEST(journal_drops)
{
	enum { SENT = 60, OCTETS = 1 << 20 };
	char dir[] = "/tmp/test-journal-XXXXXX", fifo[100], file[100], *line = xmalloc(OCTETS), *got = xmalloc(OCTETS);
	struct pollfd p = { .events = POLLIN };
	unsigned came = 0, dropped = 0;
	struct err err;

	ck_assert(mkdtemp(dir) != NULL);
	snprintf(fifo, sizeof fifo, "%s/journal", dir);
	snprintf(file, sizeof file, "%s/log", dir);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	p.fd = open(fifo, O_RDONLY | O_NONBLOCK);
	ck_assert_int_eq(log_open(&(struct log_conf){ .file = file, .journal = fifo, .level = LOG_LEVEL_INFO }, &err), 0);
	ck_assert_int_eq(log_start(), 0);
	memset(line, 'x', OCTETS);
	for (int i = 0; i < SENT; i++)
		log_journal(line, OCTETS - 1);
	for (int i = 0; i < 300 && came + dropped < SENT; i++) {
		ssize_t n = poll(&p, 1, 100) == 1 ? read(p.fd, got, OCTETS) : 0;

		for (ssize_t k = 0; k < n; k++)
			came += got[k] == '\n';
		if (n > 0)
			i = 0;
		else
			dropped = said_in(file, "journal lines dropped lines=");
	}
	ck_assert_uint_eq(came + dropped, SENT);
	ck_assert_uint_ge(dropped, SENT - 35);
	ck_assert_uint_ge(came, 30);
	ck_assert_uint_eq(said_in(file, "log lines dropped lines="), 0);
	log_stop();
	close(p.fd);
	unlink(fifo);
	unlink(file);
	rmdir(dir);
	free(line);
	free(got);
}
END_TEST

START_TEST(dates)
{
	char out[64];

	setenv("TZ", "UTC-5:30", 1);
	date_rfc5322(out, sizeof out, 1795468500000);
	ck_assert_str_eq(out, "Tue, 24 Nov 2026 02:45:00 +0530");
	date_iso8601(out, sizeof out, 1795468500123);
	ck_assert_str_eq(out, "2026-11-23T21:15:00.123Z");
}
END_TEST

UNIT_MAIN("base",
	tcase_add_loop_test(tc, escape, 0, NELEMS(escapes));
	tcase_add_test(tc, escape_cuts);
	tcase_add_test(tc, buf_keeps_its_cap);
	tcase_add_test(tc, slots_do_not_repeat);
	tcase_add_test(tc, durations);
	tcase_add_test(tc, ids);
	tcase_add_test(tc, mailbox_keeps_order);
	tcase_add_test(tc, log_lines);
	tcase_add_test(tc, log_flood);
	tcase_add_test(tc, journal_drops);
	tcase_add_test(tc, dates);
)
