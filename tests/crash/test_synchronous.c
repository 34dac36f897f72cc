/* Durability rule 1: what SQLite was told about syncing is read back, and a queue where it did not take
 * is refused. A connection hook makes the PRAGMA a word without effect, as another build of SQLite, a
 * file system or a shim might (F-3). */
#include "unit.h"

#include "store_rig.h"

static const char *before, *deaf_to;	/* SQL for each new connection; the PRAGMA that does nothing */

static int
authorize(void *arg, int action, const char *name, const char *value, const char *schema, const char *trigger)
{
	return action == SQLITE_PRAGMA && deaf_to != NULL && strcmp(name, deaf_to) == 0 && value != NULL ?
	    SQLITE_IGNORE : SQLITE_OK;
}

static int
on_connection(sqlite3 *h, const char **error, const struct sqlite3_api_routines *api)
{
	if (before != NULL)
		sqlite3_exec(h, before, NULL, NULL, NULL);
	return sqlite3_set_authorizer(h, authorize, NULL);
}

static int64_t
pragma_of(sqlite3 *h, const char *sql)
{
	sqlite3_stmt *st;
	int64_t v = -1;

	ck_assert_int_eq(sqlite3_prepare_v2(h, sql, -1, &st, NULL), SQLITE_OK);
	if (sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return v;
}

START_TEST(synchronous_is_full)
{
	struct rig r;

	/* From FULL, and from what somebody's build has for a default. */
	for (int i = 0; i < 2; i++) {
		before = i == 0 ? NULL : "PRAGMA synchronous = OFF";
		deaf_to = NULL;
		ck_assert_int_eq(sqlite3_auto_extension((void (*)(void))on_connection), SQLITE_OK);
		rig_init(&r);
		rig_open(&r);
		ck_assert_int_eq(pragma_of(r.s->db.h, "PRAGMA synchronous"), 2);
		ck_assert_int_eq(pragma_of(r.s->db.h, "PRAGMA wal_autocheckpoint"), 0);
		rig_fini(&r);
		sqlite3_reset_auto_extension();
	}
}
END_TEST

static const struct deaf_case {
	const char *pragma, *before, *says;
} deaf_cases[] = {
	{ "synchronous", "PRAGMA synchronous = NORMAL", "synchronous is 1, not 2 (FULL)" },
	{ "synchronous", "PRAGMA synchronous = OFF", "synchronous is 0, not 2 (FULL)" },
	{ "journal_mode", NULL, "journal mode is" },
};

START_TEST(one_that_did_not_take_is_refused)
{
	const struct deaf_case *c = &deaf_cases[_i];
	struct err err = { "" };
	struct rig r;

	rig_init(&r);
	if (strcmp(c->pragma, "synchronous") == 0) {	/* also where the queue is there already */
		rig_open(&r);
		rig_close(&r);
	}
	before = c->before;
	deaf_to = c->pragma;
	ck_assert_int_eq(sqlite3_auto_extension((void (*)(void))on_connection), SQLITE_OK);
	ck_assert_ptr_null(store_open(&r.conf, &err));
	ck_assert_msg(strstr(err.text, c->says) != NULL, "%s", err.text);
	sqlite3_reset_auto_extension();
	rig_fini(&r);
}
END_TEST

static void
no_log(void *arg, const char *line)
{
}

UNIT_MAIN("synchronous",
	log_capture(no_log, NULL);
	tcase_add_test(tc, synchronous_is_full);
	tcase_add_loop_test(tc, one_that_did_not_take_is_refused, 0, NELEMS(deaf_cases));
)
