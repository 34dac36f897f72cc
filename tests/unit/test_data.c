/* Tables from files: what they hold, what is wrong with them and where, what happens when they change. */
#include "unit.h"

#include <cdb.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf_int.h"
#include "data/data_int.h"
#include "data/pool.h"

static char dir[] = "data-test-XXXXXX";

static const char *
file(const char *name)
{
	static char path[4][200];
	static int at;

	at = (at + 1) % 4;
	snprintf(path[at], sizeof path[at], "%s/%s", dir, name);
	return path[at];
}

static void
put(const char *name, const char *text, size_t n)
{
	char next[200];
	FILE *f;

	snprintf(next, sizeof next, "%s.new", file(name));
	f = fopen(next, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(text, 1, n, f), n);
	fclose(f);
	ck_assert_int_eq(rename(next, file(name)), 0);
}

static void
set_up(void)
{
	strcpy(dir, "data-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void
tear_down(void)
{
	const char *const names[] = { "a.csv", "a.cdb", "a.json" };

	for (size_t i = 0; i < NELEMS(names); i++)
		unlink(file(names[i]));
	rmdir(dir);
}

static struct conf *
configure(const char *tables)
{
	char *errors = NULL, *cwd = getcwd(NULL, 0), *where = xasprintf("%s/%s", cwd, dir);
	char *text = xasprintf("return gw.config { identity = { hostname = 'a.example' }, tables = { %s } }", tables);
	struct conf *c = conf_load_text(text, strlen(text), "gateway.lua", where, false, &errors);

	ck_assert_msg(c != NULL, "%s", errors);
	free(text);
	free(where);
	free(cwd);
	return c;
}

/* The rows of the only table. */
static struct data *
load(const char *tables, struct err *err)
{
	struct conf *c = configure(tables);
	struct data *d = data_read(c, err);

	conf_unref(c);
	return d;
}

static char *
show(const struct rows *r, size_t row)
{
	struct buf b;

	buf_init(&b, 65536);
	for (size_t i = 0; i < rows_columns(r); i++) {
		const struct cell *c = rows_cell(r, row, i);

		buf_printf(&b, "%s%s=", i > 0 ? " " : "", rows_column(r, i));
		switch (c->kind) {
		case CELL_NIL: buf_adds(&b, "-"); break;
		case CELL_TEXT: buf_printf(&b, "'%.*s'", (int)c->text.n, c->text.p); break;
		case CELL_INTEGER: buf_printf(&b, "%lld", (long long)c->integer); break;
		case CELL_NUMBER: buf_printf(&b, "%g", c->number); break;
		case CELL_BOOLEAN: buf_printf(&b, "%s", c->boolean ? "yes" : "no"); break;
		case CELL_JSON: buf_adds(&b, "json"); break;
		case CELL_LIST:
			for (size_t k = 0; k < c->list.n; k++)
				buf_printf(&b, "[%.*s]", (int)c->list.v[k].n, c->list.v[k].p);
		}
	}
	return buf_take(&b);
}

#define ALL "columns = { i = 'integer', n = 'number', b = 'boolean', l = 'list', d = 'domain', p = 'pattern', " \
	"a = 'address', v = 'level', t = 'date', u = 'duration' }"
/* What stands in a file, and the first row or what is wrong. */
static const struct {
	const char *settings, *name, *text, *want;
} files[] = {
	{ "", "a.csv", "k,v\nx,1\n", "k='x' v='1'" },
	{ "", "a.csv", "\xEF\xBB\xBFk,v\r\n\r\nx,\"a \"\"b\"\", c\"\r\n", "k='x' v='a \"b\", c'" },
	{ "", "a.csv", "k,v\nx,\"two\nlines\"\n", "k='x' v='two\nlines'" },
	{ "", "a.csv", "k,v\nx,", "k='x' v=-" },
	{ "", "a.csv", "k\nx\n", "k='x'" },
	{ "key = 'v'", "a.csv", "k,v\nx,1\n", "k='x' v='1'" },
	{ ALL, "a.csv", "k,i,n,b,l,d,p,a,v,t,u\nx,-7,2.5,Yes,a b;c,B\xC3\xBC""cher.Example,*.X.example,A@B.Example,verify,2028-02-29,2h\n",
	  "k='x' i=-7 n=2.5 b=yes l=[a][b][c] d='xn--bcher-kva.example' p='*.x.example' a='A@b.example' v='verify' t=1835481599 u=7200" },
	{ "", "a.csv", "", "a.csv: is empty; its first line must name the columns" },
	{ "", "a.csv", "k,k\n", "a.csv: two columns are named \"k\"" },
	{ "", "a.csv", "k,\n", "a.csv: \"\" is no name for a column (1 to 64 octets of UTF-8)" },
	{ "", "a.csv", "k,v\na,1\nb\n", "a.csv:3: there are 1 fields and 2 columns" },
	{ "", "a.csv", "k,v\na,1,2\n", "a.csv:2: there are more fields than the 2 columns" },
	{ "", "a.csv", "k,v\n\"a\nb\",1\nc\"d,1\n", "a.csv:4: a quotation mark stands where none may (2 columns)" },
	{ "", "a.csv", "k,v\na,1\n\"b,2\n\n", "a.csv:3: a quotation mark is never closed" },
	{ "", "a.csv", "k,v\na,1\nb,2\n\nA,3\n", "a.csv:5: the key \"A\" is there already (line 2)" },
	{ "", "a.csv", "k,v\na,1\n,2\n", "a.csv:3: the key (column \"k\") is empty" },
	{ "", "a.csv", "k,v\na,\xFF\n", "a.csv:2: field 2 is not valid UTF-8" },
	{ "key = 'x'", "a.csv", "k,v\n", "a.csv: there is no column \"x\" (tables.a.key)" },
	{ "index = { 'v', 'w' }", "a.csv", "k,v\n", "a.csv: there is no column \"w\" (tables.a.index)" },
	{ "columns = { w = 'list' }", "a.csv", "k,v\n", "a.csv: there is no column \"w\" (tables.a.columns)" },
	{ "columns = { v = 'level' }", "a.csv", "k,v\na,may\n\nb,verfy\n",
	  "a.csv:4: column \"v\": \"verfy\" is none of may, encrypt, verify, secure, requiretls" },
	{ "columns = { v = 'integer' }", "a.csv", "k,v\na,12x\n", "a.csv:2: column \"v\": \"12x\" is no whole number" },
	{ "columns = { v = 'integer' }", "a.csv", "k,v\na,99999999999999999999\n",
	  "a.csv:2: column \"v\": \"99999999999999999999\" is no whole number" },
	{ "columns = { v = 'number' }", "a.csv", "k,v\na,inf\n", "a.csv:2: column \"v\": \"inf\" is no number" },
	{ "columns = { v = 'boolean' }", "a.csv", "k,v\na,maybe\n", "a.csv:2: column \"v\": \"maybe\" is neither true nor false" },
	{ "columns = { v = 'domain' }", "a.csv", "k,v\na,*.x.example\n", "a.csv:2: column \"v\": \"*.x.example\" is no domain" },
	{ "columns = { v = 'pattern' }", "a.csv", "k,v\na,*x.example\n", "a.csv:2: column \"v\": \"*x.example\" is no domain "
	  "pattern such as \"acme.example\" or \"*.acme.example\"" },
	{ "columns = { v = 'address' }", "a.csv", "k,v\na,b c@d\n", "a.csv:2: column \"v\": \"b c@d\" is no mail address" },
	{ "columns = { v = 'date' }", "a.csv", "k,v\na,2027-02-29\n",
	  "a.csv:2: column \"v\": \"2027-02-29\" is no date such as \"2027-06-30\"" },
	{ "columns = { v = 'duration' }", "a.csv", "k,v\na,2 hours\n",
	  "a.csv:2: column \"v\": \"2 hours\" is no duration such as \"90s\" or \"2h\"" },

	{ "", "a.json", "[{\"key\":\"x\",\"n\":1.5,\"o\":{\"a\":[1]}},{\"key\":\"y\",\"z\":true}]",
	  "key='x' n=1.5 o=json z=-" },
	{ "", "a.json", "{\"x\":{\"v\":[\"a\",\"b\"]}}", "key='x' v=json" },
	{ "key = 'd', columns = { v = 'list', d = 'domain' }", "a.json", "{\"X.example\":{\"v\":[\"a\",\"b\"]}}", "d='x.example' v=[a][b]" },
	{ "", "a.json", "[]", "" },
	{ "", "a.json", "{\n\"a\":\n}", "a.json:3: unexpected token near '}'" },
	{ "", "a.json", "[1]", "a.json: entry 1 is not an object" },
	{ "", "a.json", "{\"a\":{\"key\":1}}", "a.json: \"a\" has a member with the name of the key" },
	{ "", "a.json", "7", "a.json:1: '[' or '{' expected near '7'" },
	{ "", "a.json", "[{\"key\":1},{\"key\":\"1\"}]", "a.json: entry 2: the key \"1\" is there already (entry 1)" },
	{ "", "a.json", "[{\"key\":1},{\"x\":\"1\"}]", "a.json: entry 2: the key (column \"key\") is empty" },
	{ "columns = { v = 'integer' }", "a.json", "[{\"key\":1,\"v\":true}]",
	  "a.json: entry 1: column \"v\": \"(JSON)\" is of another type than columns says" },
	{ "", "a.cdb", "short", "a.cdb: is not a CDB file" },
	{ "", "a.gone", NULL, "a.gone: cannot be read: No such file or directory" },
};

START_TEST(files_as_they_are)
{
	const char *kind = strcmp(files[_i].name, "a.json") == 0 ? "json" : strcmp(files[_i].name, "a.cdb") == 0 ? "cdb" : "csv";
	char *tables = xasprintf("a = { %s = '%s', %s }", kind, files[_i].name, files[_i].settings), *row, *at;
	struct err err = { "" };
	struct rows *held = NULL;
	const struct rows *r;
	struct data *d;

	if (files[_i].text != NULL)
		put(files[_i].name, files[_i].text, strlen(files[_i].text));
	d = load(tables, &err);
	if (d == NULL) {
		at = strstr(err.text, "/a.");
		ck_assert_msg(at != NULL, "%s", err.text);
		ck_assert_str_eq(at + 1, files[_i].want);
	} else {
		r = table_rows(data_table(d, "a"), &held);
		row = rows_count(r) == 0 ? xstrdup("") : show(r, 0);
		ck_assert_str_eq(row, files[_i].want);
		free(row);
		rows_unref(held);
		data_unref(d);
	}
	free(tables);
}
END_TEST

static size_t
count(const struct rows *r, const char *column, const char *key)
{
	size_t at, n = 0;
	int c = rows_index_of(r, column);

	ck_assert_int_ge(c, 0);
	for (size_t row = rows_first(r, c, slice_of(key), &at); row != ROW_NONE; row = rows_next(r, c, &at))
		n++;
	return n;
}

START_TEST(looking_up)
{
	static const char text[] = "domain,region,names\nx.example,eu,a b\n*.x.example,us,b b c\n*,eu,\n*.deep.x.example,EU,a\n";
	struct err err = { "" };
	struct rows *held = NULL;
	const struct rows *r;
	struct data *d;
	struct slice empty = { "", 0 };

	put("a.csv", text, strlen(text));
	d = load("a = { csv = 'a.csv', index = { 'region', 'names' }, columns = { domain = 'pattern', names = 'list' } }", &err);
	ck_assert_msg(d != NULL, "%s", err.text);
	r = table_rows(data_table(d, "a"), &held);
	ck_assert_uint_eq(rows_get(r, SLICE("X.example")), 0);
	ck_assert_uint_eq(rows_get(r, SLICE("a.x.example")), 1);
	ck_assert_uint_eq(rows_get(r, SLICE("deep.x.example")), 1);
	ck_assert_uint_eq(rows_get(r, SLICE("a.b.DEEP.x.example")), 3);
	ck_assert_uint_eq(rows_get(r, SLICE("y.example")), 2);
	ck_assert_uint_eq(rows_get(r, SLICE("xx.example")), 2);
	ck_assert_uint_eq(rows_get(r, empty), ROW_NONE);
	ck_assert_uint_eq(count(r, "region", "eu"), 3);
	ck_assert_uint_eq(count(r, "names", "b"), 2);
	ck_assert_uint_eq(count(r, "names", "a"), 2);
	ck_assert_uint_eq(count(r, "names", "z"), 0);
	ck_assert_int_eq(rows_index_of(r, "nmes"), -1);
	ck_assert_ptr_null(data_table(d, "b"));
	rows_unref(held);
	data_unref(d);
}
END_TEST

START_TEST(cdb_files)
{
	struct cdb_make m;
	struct err err = { "" };
	struct rows *held = NULL;
	const struct rows *r;
	struct data *d;
	int fd = open(file("a.cdb"), O_RDWR | O_CREAT | O_TRUNC, 0600);

	cdb_make_start(&m, fd);
	cdb_make_add(&m, "eu", 2, "one", 3);
	cdb_make_add(&m, "eu", 2, "two", 3);
	cdb_make_add(&m, "us", 2, "", 0);
	cdb_make_finish(&m);
	d = load("a = { cdb = 'a.cdb' }", &err);
	ck_assert_msg(d != NULL, "%s", err.text);
	r = table_rows(data_table(d, "a"), &held);
	ck_assert_uint_eq(rows_count(r), 3);
	ck_assert_uint_eq(rows_get(r, SLICE("eu")), 0);
	ck_assert_uint_eq(count(r, "key", "eu"), 2);
	ck_assert_int_eq(rows_cell(r, rows_get(r, SLICE("us")), 1)->kind, CELL_NIL);
	rows_unref(held);
	data_unref(d);
	/* Cut short in the middle of the records. */
	ck_assert_int_eq(ftruncate(fd, 2060), 0);
	close(fd);
	d = load("a = { cdb = 'a.cdb' }", &err);
	ck_assert_ptr_null(d);
}
END_TEST

/* ---- Change ---- */

static void
change(struct data *d, const char *text)
{
	put("a.csv", text, strlen(text));
	data_look(d);		/* it is another file */
	data_look(d);		/* and has stayed so */
}

static char lines[8192];

static void
take_line(void *arg, const char *line)
{
	size_t n = strlen(lines);

	(void)arg;
	snprintf(lines + n, sizeof lines - n, "%s\n", line);
}

START_TEST(watching)
{
	struct data_stats st;
	struct err err = { "" };
	struct rows *held = NULL, *old = NULL;
	struct table *t;
	struct data *d;

	log_capture(take_line, NULL);
	put("a.csv", "k,v\na,1\n", 8);
	d = load("a = { csv = 'a.csv', reload = 'watch' }", &err);
	ck_assert_ptr_nonnull(d);
	ck_assert(data_is_watched(d));
	t = data_table(d, "a");
	ck_assert_uint_eq(rows_version(table_rows(t, &held)), 1);
	data_look(d);
	data_look(d);
	ck_assert_uint_eq(rows_version(table_rows(t, &held)), 1);
	old = rows_ref(held);

	put("a.csv", "k,v\na,2\n", 8);
	data_look(d);
	ck_assert_uint_eq(rows_version(table_rows(t, &held)), 1);	/* it may still be being written */
	data_look(d);
	ck_assert_uint_eq(rows_version(table_rows(t, &held)), 2);
	ck_assert(slice_is(rows_cell(held, 0, 1)->text, "2"));
	ck_assert(slice_is(rows_cell(old, 0, 1)->text, "1"));
	rows_free_unheld();
	rows_unref(old);
	ck_assert(rows_have_unheld());	/* whoever lets go last need not free them */
	rows_free_unheld();
	ck_assert(!rows_have_unheld());

	change(d, "k,v\na\n");
	ck_assert_uint_eq(rows_version(table_rows(t, &held)), 2);
	ck_assert(data_stats(d, 0, &st));
	ck_assert(st.is_stale && st.failures == 1 && st.reloads == 2 && st.version == 2);
	data_look(d);
	data_look(d);
	ck_assert(data_stats(d, 0, &st) && st.failures == 1);	/* said once */
	unlink(file("a.csv"));
	data_look(d);
	data_look(d);
	data_look(d);
	ck_assert(data_stats(d, 0, &st) && st.failures == 2);
	change(d, "k,v\na,3\nb,4\n");
	ck_assert_uint_eq(rows_version(table_rows(t, &held)), 3);
	ck_assert(data_stats(d, 0, &st) && !st.is_stale && st.rows == 2);
	log_capture(NULL, NULL);
	ck_assert_ptr_nonnull(strstr(lines, "table not reloaded, the old one stays table=a version=2"));
	ck_assert_ptr_nonnull(strstr(lines, "a.csv:2: there are 1 fields and 2 columns"));
	ck_assert_ptr_nonnull(strstr(lines, "table reloaded table=a version=3 rows=2"));
	ck_assert(!data_stats(d, 1, &st));
	rows_unref(held);
	data_unref(d);
}
END_TEST

/* Readers while the rows are exchanged: each reading is whole. */
static atomic_bool end;

static void *
reader(void *arg)
{
	struct table *t = arg;
	struct rows *held = NULL;
	size_t seen = 0;

	while (!atomic_load(&end)) {
		const struct rows *r = table_rows(t, &held);
		struct slice v = rows_cell(r, 0, 1)->text;

		ck_assert_uint_eq(v.n, 1);
		ck_assert_int_eq(v.p[0], '0' + (int)(rows_version(r) % 10));
		seen++;
	}
	rows_unref(held);
	return (void *)seen;
}

static void
no_line(void *arg, const char *line)
{
	(void)arg, (void)line;
}

START_TEST(readers_and_a_writer)
{
	struct err err = { "" };
	pthread_t th[2];
	struct data *d;
	char text[32];

	put("a.csv", "k,v\na,1\n", 8);
	d = load("a = { csv = 'a.csv', reload = 'watch' }", &err);
	log_capture(no_line, NULL);
	atomic_store(&end, false);
	for (int i = 0; i < 2; i++)
		pthread_create(&th[i], NULL, reader, data_table(d, "a"));
	for (int i = 2; i < 200; i++) {
		snprintf(text, sizeof text, "k,v\na,%d\n", i % 10);
		change(d, text);
	}
	atomic_store(&end, true);
	for (int i = 0; i < 2; i++) {
		void *seen;

		pthread_join(th[i], &seen);
		ck_assert_ptr_nonnull(seen);
	}
	log_capture(NULL, NULL);
	data_unref(d);
}
END_TEST

/* ---- The pool ---- */

struct work {
	struct job job;
	atomic_int *done;
	bool was_cancelled;
};

static void
work(struct job *j, unsigned thread)
{
	struct work *w = (struct work *)j;

	for (int i = 0; i < 30000 && !job_is_cancelled(j); i++)
		usleep(1000);
	w->was_cancelled = job_is_cancelled(j);
	atomic_fetch_add(w->done, 1);
}

START_TEST(pool_bounds_and_ends)
{
	enum { N = 20 };
	static struct work w[N + 1];
	struct mailbox *mb = mailbox_new(NULL, NULL);
	struct err err;
	struct pool *p = pool_new(3, N, &err);
	atomic_int done = 0;
	int back = 0;

	for (int i = 0; i <= N; i++) {
		w[i] = (struct work){ .job = { .work = work, .mail = { .reply_to = mb } }, .done = &done };
		ck_assert_int_eq(pool_do(p, &w[i].job), i < N);
	}
	ck_assert_uint_eq(pool_waiting(p), N);
	atomic_store(&w[0].job.is_cancelled, true);
	ck_assert_ptr_nonnull(mailbox_wait(mb, 5000));
	back++;
	pool_free(p);
	ck_assert_int_eq(atomic_load(&done), N);
	for (struct mail *m = mailbox_wait(mb, 0); m != NULL; m = m->next)
		back++;
	ck_assert_int_eq(back, N);
	for (int i = 0; i < N; i++)
		ck_assert(w[i].was_cancelled);
	mailbox_free(mb);
}
END_TEST

static void
quick(struct job *j, unsigned thread)
{
	(void)j, (void)thread;
}

/* One thread is busy for as long as nobody ends it; what comes after that goes by it, each time. */
START_TEST(pool_goes_by_slow_work)
{
	static struct work slow;
	static struct job q;
	struct mailbox *mb = mailbox_new(NULL, NULL);
	struct err err;
	struct pool *p = pool_new(2, 10, &err);
	atomic_int done = 0;

	slow = (struct work){ .job = { .work = work, .mail = { .reply_to = mb } }, .done = &done };
	ck_assert(pool_do(p, &slow.job));
	for (int i = 0; i < 300; i++) {
		q = (struct job){ .work = quick, .mail = { .reply_to = mb } };
		ck_assert(pool_do(p, &q));
		ck_assert_ptr_eq(mailbox_wait(mb, 30000), &q.mail);
	}
	atomic_store(&slow.job.is_cancelled, true);
	ck_assert_ptr_eq(mailbox_wait(mb, 30000), &slow.job.mail);
	pool_free(p);
	mailbox_free(mb);
}
END_TEST

UNIT_MAIN("data",
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, files_as_they_are, 0, NELEMS(files));
    tcase_add_test(tc, looking_up);
    tcase_add_test(tc, cdb_files);
    tcase_add_test(tc, watching);
    tcase_add_test(tc, readers_and_a_writer);
    tcase_add_test(tc, pool_bounds_and_ends);
    tcase_add_test(tc, pool_goes_by_slow_work);
)
