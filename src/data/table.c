/* Tables: which file, the rows that hold now, and when to read it again. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/data_int.h"
#include "data/sql.h"

/* As far as a file's look tells whether it is another one. */
struct look {
	ino_t ino;
	dev_t dev;
	off_t size;
	struct timespec mtime, ctime;
};
struct table {
	const struct conf_table *conf;
	const char *file;
	pthread_mutex_t lock;		/* for `rows`, as long as it takes to copy a pointer */
	struct rows *rows;
	atomic_uint_fast64_t version, reloads, failures;
	atomic_bool is_stale;
	/* the watching thread's */
	struct look read, seen;		/* what was read, or tried; what was there at the last look */
};
struct data {
	atomic_int refs;
	struct conf *conf;
	struct table *v;
	size_t n;
};

static void
look_at(const struct stat *st, struct look *out)
{
	memset(out, 0, sizeof *out);
	out->ino = st->st_ino;
	out->dev = st->st_dev;
	out->size = st->st_size;
	out->mtime = st->st_mtim;
	out->ctime = st->st_ctim;
}

static bool
looks_same(const struct look *a, const struct look *b)
{
	return a->ino == b->ino && a->dev == b->dev && a->size == b->size && a->mtime.tv_sec == b->mtime.tv_sec &&
	    a->mtime.tv_nsec == b->mtime.tv_nsec && a->ctime.tv_sec == b->ctime.tv_sec &&
	    a->ctime.tv_nsec == b->ctime.tv_nsec;
}

/* Heap, or NULL. `look` is what was read. */
static char *
slurp(const char *file, size_t *n_out, struct look *look, struct err *err)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	char *text = NULL;
	size_t n = 0;
	ssize_t got = 0;

	memset(look, 0, sizeof *look);
	if (fd < 0 || fstat(fd, &st) != 0) {
		err_set(err, "%s: cannot be read: %s", file, strerror(errno));
		goto out;
	}
	look_at(&st, look);
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_MAX) {
		err_set(err, "%s: is not a file of at most 64 MiB", file);
		goto out;
	}
	text = malloc((size_t)st.st_size + 1);
	if (text == NULL) {
		err_set(err, "%s: there is not enough memory for it", file);
		goto out;
	}
	while (n < (size_t)st.st_size && (got = read(fd, text + n, (size_t)st.st_size - n)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			break;
		n += (size_t)got;
	}
	if (got < 0) {
		err_set(err, "%s: cannot be read: %s", file, strerror(errno));
		free(text);
		text = NULL;
		goto out;
	}
	text[n] = '\0';
	*n_out = n;
out:
	if (fd >= 0)
		close(fd);
	return text;
}

static struct rows *
read_rows(struct table *t, struct err *err)
{
	size_t n = 0;
	char *text = slurp(t->file, &n, &t->read, err);
	struct rows *r;

	if (text == NULL)
		return NULL;
	if (t->conf->csv != NULL)
		r = csv_read(t->conf, t->file, text, n, err);
	else if (t->conf->json != NULL)
		r = json_read(t->conf, t->file, text, n, err);
	else
		r = cdb_read_rows(t->conf, t->file, text, n, err);
	if (r != NULL)
		rows_set_source(r, atomic_load(&t->version) + 1, text, n);
	free(text);
	return r;
}

static void
exchange(struct table *t, struct rows *r)
{
	struct rows *old;

	pthread_mutex_lock(&t->lock);
	old = t->rows;
	t->rows = r;
	atomic_store(&t->version, rows_version(r));
	pthread_mutex_unlock(&t->lock);
	rows_unref(old);
}

const struct rows *
table_rows(struct table *t, struct rows **held)
{
	struct rows *newer;

	if (*held != NULL && rows_version(*held) == atomic_load_explicit(&t->version, memory_order_relaxed))
		return *held;
	/* Without one in hand there is nothing else to do, and the others hold it for a moment only. */
	if (*held != NULL && pthread_mutex_trylock(&t->lock) != 0)
		return *held;
	if (*held == NULL)
		pthread_mutex_lock(&t->lock);
	newer = rows_ref(t->rows);
	pthread_mutex_unlock(&t->lock);
	rows_unref(*held);
	*held = newer;
	return newer;
}

const struct conf_table *
table_conf(const struct table *t)
{
	return t->conf;
}

/* ---- All of them ---- */

struct data *
data_read(struct conf *conf, struct err *err)
{
	struct data *d = xcalloc(1, sizeof *d);

	atomic_init(&d->refs, 1);
	d->conf = conf_ref(conf);
	d->v = xcalloc(conf->ntables + 1, sizeof *d->v);
	for (size_t i = 0; i < conf->ntables; i++) {
		struct table *t = &d->v[d->n++];
		struct rows *r;

		t->conf = &conf->tables[i];
		pthread_mutex_init(&t->lock, NULL);
		if (t->conf->sqlite != NULL) {
			if (t->conf->is_made_up || sql_check(t->conf->sqlite, t->conf->query, 1, err))
				continue;
			err_prefix(err, "tables.%s", t->conf->name);
			data_unref(d);
			return NULL;
		}
		t->file = t->conf->csv != NULL ? t->conf->csv : t->conf->json != NULL ? t->conf->json : t->conf->cdb;
		r = read_rows(t, err);
		if (r == NULL) {
			data_unref(d);
			return NULL;
		}
		exchange(t, r);
		t->seen = t->read;
	}
	for (size_t i = 0; i < conf->ndatabases; i++) {
		if (conf->databases[i].is_made_up || sql_check(conf->databases[i].file, NULL, 0, err))
			continue;
		err_prefix(err, "databases.%s", conf->databases[i].name);
		data_unref(d);
		return NULL;
	}
	return d;
}

struct data *
data_ref(struct data *d)
{
	atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
	return d;
}

void
data_unref(struct data *d)
{
	if (d == NULL || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < d->n; i++) {
		rows_unref(d->v[i].rows);
		pthread_mutex_destroy(&d->v[i].lock);
	}
	free(d->v);
	conf_unref(d->conf);
	free(d);
}

struct table *
data_table(const struct data *d, const char *name)
{
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->v[i].conf->name, name) == 0)
			return &d->v[i];
	return NULL;
}

/* ---- Watching ---- */

static void
reload(struct table *t)
{
	struct err err = { "" };
	struct rows *r = read_rows(t, &err);

	atomic_fetch_add(&t->reloads, 1);
	atomic_store(&t->is_stale, r == NULL);
	if (r == NULL) {
		atomic_fetch_add(&t->failures, 1);
		log_error("table not reloaded, the old one stays", LOG_S("table", t->conf->name),
		    LOG_U("version", atomic_load(&t->version)), LOG_S("why", err.text));
		return;
	}
	log_info("table reloaded", LOG_S("table", t->conf->name), LOG_U("version", rows_version(r)),
	    LOG_U("rows", rows_count(r)), LOG_B("hash", rows_hash(r), 12));
	exchange(t, r);
}

/* One that is being written looks different every time. */
static void
look(struct table *t)
{
	struct stat st;
	struct look now;
	bool is_settled;

	if (stat(t->file, &st) == 0)
		look_at(&st, &now);
	else
		memset(&now, 0, sizeof now);
	is_settled = looks_same(&now, &t->seen);
	t->seen = now;
	if (!is_settled || looks_same(&now, &t->read))
		return;
	reload(t);
}

bool
data_is_watched(const struct data *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i].conf->watch)
			return true;
	return false;
}

void
data_look(struct data *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i].conf->watch)
			look(&d->v[i]);
}

bool
data_stats(const struct data *d, size_t i, struct data_stats *out)
{
	struct table *t = i < d->n ? &d->v[i] : NULL;

	if (t == NULL)
		return false;
	pthread_mutex_lock(&t->lock);
	*out = (struct data_stats){ t->conf->name, atomic_load(&t->version), atomic_load(&t->reloads),
		atomic_load(&t->failures), t->rows == NULL ? 0 : rows_count(t->rows), atomic_load(&t->is_stale) };
	pthread_mutex_unlock(&t->lock);
	return true;
}
