#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

#define LINE_MAX_BYTES 8192
#define VALUE_MAX_BYTES 1024
#define QUEUE_MAX_BYTES (4u << 20)
#define JOURNAL_MAX_BYTES (32u << 20)

enum target { TO_LOG, TO_JSON, TO_JOURNAL, TARGETS };
struct log_line {
	struct mail mail;
	enum target to;
	size_t n;
	char text[];
};

static struct {
	char *path[TARGETS];
	bool json;
	enum log_level level;
	int fd[TARGETS];		/* -1: none */
	pthread_t thread;
	bool running;
	struct mailbox *mb;
	_Atomic size_t queued_bytes, journal_bytes;
	_Atomic uint64_t dropped, journal_dropped;
	_Atomic bool reopen;
	_Atomic bool stop;
	void (*capture)(void *, const char *);
	void *capture_arg;
} lg = { .fd = { 2, -1, -1 }, .level = LOG_LEVEL_INFO };

static const char *const level_names[] = { "debug", "info", "warning", "error" };

/* Crockford's alphabet leaves out I, L, O and U, which people misread. */
static const char id_alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

void
id_format(char dst[ID_TEXT], uint64_t id)
{
	for (int i = 12; i >= 0; i--) {
		dst[i] = id_alphabet[id & 31];
		id >>= 5;
	}
	dst[13] = '\0';
}

bool
id_parse(const char *text, uint64_t *id_out)
{
	uint64_t id = 0;

	if (strlen(text) != 13)
		return false;
	for (int i = 0; i < 13; i++) {
		char c = text[i] >= 'a' && text[i] <= 'z' ? (char)(text[i] - 32) : text[i];
		const char *at = c == '\0' ? NULL : strchr(id_alphabet, c);

		if (at == NULL || id >> 59 != 0)
			return false;
		id = id << 5 | (uint64_t)(at - id_alphabet);
	}
	*id_out = id;
	return true;
}

static _Atomic uint64_t id_last[64];	/* 42 bits of time, 15 of counter */

void
id_seen(uint64_t id)
{
	uint64_t least = id >> 21 << 15 | 0x7FFF, was;

	for (size_t i = 0; i < NELEMS(id_last); i++) {
		was = atomic_load(&id_last[i]);
		while (was < least && !atomic_compare_exchange_weak(&id_last[i], &was, least))
			;
	}
}

int64_t
id_wall_ms(uint64_t id)
{
	return (int64_t)(id >> 21);
}

uint64_t
id_new(unsigned who)
{
	uint64_t now = (uint64_t)clock_wall_ms() << 15, was, next;

	MUST(who < 64);
	was = atomic_load(&id_last[who]);
	do {
		/* A clock that went back, or more than 2^15 in a millisecond, counts on instead. */
		next = now > was ? now : was + 1;
	} while (!atomic_compare_exchange_weak(&id_last[who], &was, next));
	/* 42 bits of time, 6 of who, 15 of counter, and one clear sign bit for SQLite. */
	return next >> 15 << 21 | (uint64_t)who << 15 | (next & 0x7FFF);
}

static void
add_json_string(struct buf *b, const char *p, size_t n)
{
	char small[VALUE_MAX_BYTES];
	size_t len = text_escape(small, sizeof small, p, n, true);

	buf_addc(b, '"');
	for (size_t i = 0; i < len; i++) {
		if (small[i] == '"' || small[i] == '\\')
			buf_addc(b, '\\');
		buf_addc(b, small[i]);
	}
	buf_addc(b, '"');
}

static void
add_text(struct buf *b, const char *p, size_t n)
{
	char small[VALUE_MAX_BYTES];
	size_t len = text_escape(small, sizeof small, p, n, true);
	bool quote = len == 0 || strpbrk(small, " \"=") != NULL;

	if (!quote) {
		buf_add(b, small, len);
		return;
	}
	buf_addc(b, '"');
	for (size_t i = 0; i < len; i++) {
		if (small[i] == '"')
			buf_addc(b, '\\');
		buf_addc(b, small[i]);
	}
	buf_addc(b, '"');
}

static void
add_value(struct buf *b, const struct log_kv *kv, bool json)
{
	char id[ID_TEXT];

	switch (kv->kind) {
	case LOG_KV_STR:
	case LOG_KV_BYTES: {
		size_t n = kv->kind == LOG_KV_STR ? strlen(kv->s) : kv->n;

		if (json)
			add_json_string(b, kv->s, n);
		else
			add_text(b, kv->s, n);
		break;
	}
	case LOG_KV_INT:
		buf_printf(b, "%" PRId64, kv->i);
		break;
	case LOG_KV_UINT:
		buf_printf(b, "%" PRIu64, kv->u);
		break;
	case LOG_KV_ID:
		id_format(id, kv->u);
		buf_printf(b, json ? "\"%s\"" : "%s", id);
		break;
	case LOG_KV_SKIP:
		break;
	}
}

static void
make_line(struct buf *b, enum log_level level, const char *phrase, const struct log_kv *kv, bool json)
{
	char when[32];

	date_iso8601(when, sizeof when, clock_wall_ms());
	if (json)
		buf_printf(b, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", when,
		    level_names[level], phrase);
	else
		buf_printf(b, "%s %s %s", when, level_names[level], phrase);
	for (; kv->key != NULL; kv++) {
		size_t before = b->len;

		if (kv->kind == LOG_KV_SKIP || (kv->kind == LOG_KV_STR && kv->s == NULL))
			continue;
		buf_printf(b, json ? ",\"%s\":" : " %s=", kv->key);
		add_value(b, kv, json);
		if (b->len + 64 > b->max)	/* keeps the line whole: the pair goes, not its tail */
			b->len = before;
	}
	if (json)
		buf_addc(b, '}');
}

static void
write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return;		/* nobody to tell; mail goes on (F-19) */
		p += w;
		n -= (size_t)w;
	}
}

static int
open_one(const char *path, int *fd, struct err *err)
{
	int now;

	if (path == NULL)
		return 0;
	now = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (now < 0) {
		err_set(err, "log file %s: %s", path, strerror(errno));
		return -1;
	}
	if (*fd > 2)
		close(*fd);
	*fd = now;
	return 0;
}

static int
open_file(struct err *err)
{
	int rc = 0;

	for (int i = 0; i < TARGETS; i++)
		if (open_one(lg.path[i], &lg.fd[i], err) != 0)
			rc = -1;
	return rc;
}

static void
write_note(const char *phrase, uint64_t n)
{
	struct buf b;

	buf_init(&b, LINE_MAX_BYTES);
	make_line(&b, LOG_LEVEL_WARN, phrase,
	    (const struct log_kv[]){ LOG_U("lines", n), { .key = NULL } }, lg.json);
	buf_addc(&b, '\n');
	write_all(lg.fd[TO_LOG], buf_peek(&b), b.len);
	buf_fini(&b);
}

/* Lines on their way to one file, so that a busy second costs a few writes and not thousands. */
struct batch {
	int fd;
	size_t n;
	char text[64 * 1024];
};

static void
batch_flush(struct batch *b)
{
	write_all(b->fd, b->text, b->n);
	b->n = 0;
}

static void
batch_add(struct batch *b, const struct log_line *l)
{
	if (b->n + l->n > sizeof b->text)
		batch_flush(b);
	if (l->n > sizeof b->text) {
		write_all(b->fd, l->text, l->n);
		return;
	}
	memcpy(b->text + b->n, l->text, l->n);
	b->n += l->n;
}

static void
write_lines(struct mail *m)
{
	static struct batch batch[TARGETS];
	size_t n[TARGETS] = { 0 };
	struct mail *next;

	for (int i = 0; i < TARGETS; i++)
		batch[i].fd = lg.fd[i];
	for (; m != NULL; m = next) {
		struct log_line *l = (struct log_line *)m;

		next = m->next;
		batch_add(&batch[l->to], l);
		n[l->to] += l->n;
		free(l);
	}
	for (int i = 0; i < TARGETS; i++)
		batch_flush(&batch[i]);
	atomic_fetch_sub(&lg.queued_bytes, n[TO_LOG] + n[TO_JSON]);
	atomic_fetch_sub(&lg.journal_bytes, n[TO_JOURNAL]);
}

static void *
log_main(void *arg)
{
	static const struct timespec gather = { 0, 5 * 1000 * 1000 };

	for (;;) {
		struct mail *m = mailbox_wait(lg.mb, 500);
		uint64_t lost;

		if (atomic_exchange(&lg.reopen, false))
			open_file(NULL);	/* on failure the old ones stay */
		if (m != NULL) {
			write_lines(m);
			/* More will come soon, and nobody needs to wake us for it. */
			nanosleep(&gather, NULL);
		}
		lost = atomic_exchange(&lg.dropped, 0);
		if (lost > 0)
			write_note("log lines dropped", lost);
		lost = atomic_exchange(&lg.journal_dropped, 0);
		if (lost > 0)
			write_note("journal lines dropped", lost);
		if (atomic_load(&lg.stop) && atomic_load(&lg.queued_bytes) == 0 && atomic_load(&lg.journal_bytes) == 0)
			return NULL;
	}
}

static void
put_line(const char *p, size_t len, enum target to)
{
	bool is_journal = to == TO_JOURNAL;
	_Atomic size_t *queued = is_journal ? &lg.journal_bytes : &lg.queued_bytes;
	size_t n = len + 1;
	struct log_line *l;

	if (atomic_fetch_add(queued, n) > (is_journal ? JOURNAL_MAX_BYTES : QUEUE_MAX_BYTES)) {
		atomic_fetch_sub(queued, n);
		atomic_fetch_add(is_journal ? &lg.journal_dropped : &lg.dropped, 1);
		return;
	}
	l = xmalloc(sizeof *l + n);
	memcpy(l->text, p, len);
	l->text[len] = '\n';
	l->n = n;
	l->to = to;
	mailbox_post(lg.mb, &l->mail);
}

void
log_journal(const char *line, size_t n)
{
	if (lg.running && lg.fd[TO_JOURNAL] >= 0)
		put_line(line, n, TO_JOURNAL);
}

void
log_write(enum log_level level, const char *phrase, const struct log_kv *kv)
{
	struct buf b;

	if (level < lg.level)
		return;
	buf_init(&b, LINE_MAX_BYTES);
	make_line(&b, level, phrase, kv, lg.json);
	if (lg.capture != NULL) {
		buf_addc(&b, '\0');
		lg.capture(lg.capture_arg, buf_peek(&b));
	} else if (!lg.running) {
		buf_addc(&b, '\n');
		write_all(lg.fd[TO_LOG], buf_peek(&b), b.len);
	} else {
		put_line(buf_peek(&b), b.len, TO_LOG);
		if (lg.fd[TO_JSON] >= 0) {
			buf_clear(&b);
			make_line(&b, level, phrase, kv, true);
			put_line(buf_peek(&b), b.len, TO_JSON);
		}
	}
	buf_fini(&b);
}

bool
log_may(struct log_gate *g)
{
	int64_t now = clock_mono_ms() / 1000, second = atomic_load(&g->second);
	uint64_t left_out;

	if (now != second && atomic_compare_exchange_strong(&g->second, &second, now)) {
		atomic_store(&g->lines, 0);
		left_out = atomic_exchange(&g->left_out, 0);
		if (left_out > 0)
			log_warn("lines left out", LOG_S("kind", g->kind), LOG_U("lines", left_out));
	}
	if (atomic_fetch_add(&g->lines, 1) < LOG_GATE_LINES)
		return true;
	atomic_fetch_add(&g->left_out, 1);
	return false;
}

int
log_open(const struct log_conf *conf, struct err *err)
{
	const char *const paths[TARGETS] = { conf->file, conf->json_file, conf->journal };
	char *old[TARGETS];

	memcpy(old, lg.path, sizeof old);
	for (int i = 0; i < TARGETS; i++)
		lg.path[i] = xstrdup(paths[i]);
	lg.json = conf->json;
	lg.level = conf->level;
	if (open_file(err) != 0) {
		for (int i = 0; i < TARGETS; i++) {
			free(lg.path[i]);
			lg.path[i] = old[i];
		}
		return -1;
	}
	for (int i = 0; i < TARGETS; i++)
		free(old[i]);
	return 0;
}

int
log_start(void)
{
	atomic_store(&lg.stop, false);
	lg.mb = mailbox_new(NULL, NULL);
	if (pthread_create(&lg.thread, NULL, log_main, NULL) != 0) {
		mailbox_free(lg.mb);
		return -1;
	}
	lg.running = true;
	return 0;
}

void
log_reopen(void)
{
	atomic_store(&lg.reopen, true);
}

void
log_stop(void)
{
	struct mail *m, *next;

	if (!lg.running)
		return;
	/* Other threads have ended by now; a writer that is stuck on its file is left behind. */
	atomic_store(&lg.stop, true);
	lg.running = false;
	struct log_line *l = xcalloc(1, sizeof *l + 1);
	mailbox_post(lg.mb, &l->mail);
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 2;
	if (pthread_timedjoin_np(lg.thread, NULL, &until) != 0) {
		pthread_detach(lg.thread);
		return;
	}
	for (m = mailbox_wait(lg.mb, 0); m != NULL; m = next) {
		next = m->next;
		free(m);
	}
	mailbox_free(lg.mb);
	for (int i = 0; i < TARGETS; i++) {
		free(lg.path[i]);
		lg.path[i] = NULL;
	}
}

void
log_capture(void (*fn)(void *arg, const char *line), void *arg)
{
	lg.capture = fn;
	lg.capture_arg = arg;
}
