/* TLS reports (RFC 8460) from the facts of a session to the file: what is said of it, how it is
 * counted in the queue database, what the report looks like. */
#include "unit.h"

#include <zlib.h>

#include "store_rig.h"
#include "tlsrpt/report.h"
#include "trust/tlsrpt.h"

/* ---- One session ---- */

#define TLS .stage = TLSRPT_IN_TLS
#define ENFORCE .sts = STS_ENFORCE, .sts_matches = true

static const struct judged {
	const char *name;
	struct tlsrpt_facts f;
	const char *want;	/* "type result reason" a policy, joined by "; "; "ok" for no result */
} judged[] = {
	/* T-18 */
	{ "no policy, TLS with any certificate", { TLS, .pkix = TLS_FAULT_CHAIN, .why = "self-signed" },
	  "no-policy-found ok" },
	{ "no policy, clear", { .stage = TLSRPT_IN_CLEAR }, "no-policy-found starttls-not-supported" },
	{ "no policy, handshake", { .stage = TLSRPT_NO_HANDSHAKE, .why = "alert 40" },
	  "no-policy-found validation-failure alert 40" },
	{ "mode none is no policy", { TLS, .sts = STS_NONE, .sts_matches = true }, "no-policy-found ok" },
	{ "a policy that could not be fetched was not applied", { TLS, .sts = STS_FETCH_FAILED },
	  "no-policy-found ok" },
	/* MTA-STS; S-65: testing is reported alike */
	{ "sts", { TLS, ENFORCE }, "sts ok" },
	{ "testing", { TLS, .sts = STS_TESTING, .sts_matches = true }, "sts ok" },
	{ "sts, clear", { .stage = TLSRPT_IN_CLEAR, ENFORCE }, "sts starttls-not-supported" },
	{ "testing, clear", { .stage = TLSRPT_IN_CLEAR, .sts = STS_TESTING, .sts_matches = true },
	  "sts starttls-not-supported" },
	{ "sts, handshake", { .stage = TLSRPT_NO_HANDSHAKE, ENFORCE }, "sts validation-failure the handshake failed" },
	{ "sts, expired", { TLS, ENFORCE, .pkix = TLS_FAULT_EXPIRED, .why = "x" }, "sts certificate-expired" },
	{ "sts, chain", { TLS, ENFORCE, .pkix = TLS_FAULT_CHAIN, .why = "self-signed" },
	  "sts certificate-not-trusted self-signed" },
	{ "sts, name", { TLS, ENFORCE, .pkix = TLS_FAULT_NAME, .why = "for b" },
	  "sts certificate-host-mismatch for b" },
	{ "host not in the policy", { TLS, .sts = STS_TESTING },
	  "sts certificate-host-mismatch the policy does not name this host" },
	{ "host not in the policy, untried", { .stage = TLSRPT_UNTRIED, .sts = STS_ENFORCE },
	  "sts certificate-host-mismatch the policy does not name this host" },
	{ "untried for another reason", { .stage = TLSRPT_UNTRIED, ENFORCE }, "" },
	{ "nothing tried, nothing known", { .stage = TLSRPT_UNTRIED }, "" },
	{ "our own names", { TLS, ENFORCE, .pkix = TLS_FAULT_NAME, .own_rules = true }, "" },
	{ "our own names fit", { TLS, ENFORCE, .own_rules = true }, "sts ok" },
	/* DANE */
	{ "tlsa", { TLS, .tlsa = TLSA_USABLE, .pkix = TLS_FAULT_CHAIN, .why = "self-signed" }, "tlsa ok" },
	{ "tlsa, clear", { .stage = TLSRPT_IN_CLEAR, .tlsa = TLSA_USABLE }, "tlsa starttls-not-supported" },
	{ "tlsa, no match", { TLS, .tlsa = TLSA_USABLE, .dane = TLS_FAULT_NO_MATCH },
	  "tlsa tlsa-invalid no TLSA record matches the certificate" },
	{ "tlsa, expired", { TLS, .tlsa = TLSA_USABLE, .dane = TLS_FAULT_EXPIRED }, "tlsa certificate-expired" },
	{ "tlsa, name", { TLS, .tlsa = TLSA_USABLE, .dane = TLS_FAULT_NAME },
	  "tlsa certificate-host-mismatch" },
	{ "tlsa, chain", { TLS, .tlsa = TLSA_USABLE, .dane = TLS_FAULT_CHAIN },
	  "tlsa certificate-not-trusted the certificate chain cannot be verified" },
	{ "tlsa, unusable", { TLS, .tlsa = TLSA_UNUSABLE }, "tlsa tlsa-invalid no TLSA record is usable" },
	{ "tlsa, failed", { .stage = TLSRPT_UNTRIED, .tlsa = TLSA_FAILED, .tlsa_why = "_25._tcp.a: bogus" },
	  "tlsa dnssec-invalid _25._tcp.a: bogus" },
	/* S-70, T-17 */
	{ "both", { TLS, ENFORCE, .tlsa = TLSA_USABLE }, "tlsa ok; sts ok" },
	{ "both, only DANE", { TLS, ENFORCE, .tlsa = TLSA_USABLE, .pkix = TLS_FAULT_CHAIN, .why = "y" },
	  "tlsa ok; sts certificate-not-trusted y" },
	{ "both, only MTA-STS", { TLS, ENFORCE, .tlsa = TLSA_USABLE, .dane = TLS_FAULT_NO_MATCH },
	  "tlsa tlsa-invalid no TLSA record matches the certificate; sts ok" },
	{ "both, clear", { .stage = TLSRPT_IN_CLEAR, ENFORCE, .tlsa = TLSA_USABLE },
	  "tlsa starttls-not-supported; sts starttls-not-supported" },
	{ "both, TLSA look-up failed", { .stage = TLSRPT_UNTRIED, .tlsa = TLSA_FAILED, .tlsa_why = "z",
	  .sts = STS_ENFORCE }, "tlsa dnssec-invalid z" },
};

START_TEST(judges)
{
	const struct judged *c = &judged[_i];
	struct tlsrpt_verdict v[TLSRPT_POLICIES];
	size_t n = tlsrpt_judge(&c->f, v);
	struct buf b;
	char *got;

	buf_init(&b, 1024);
	for (size_t i = 0; i < n; i++)
		buf_printf(&b, "%s%s %s%s%s", i > 0 ? "; " : "", v[i].type, v[i].result == NULL ? "ok" : v[i].result,
		    v[i].reason == NULL ? "" : " ", v[i].reason == NULL ? "" : v[i].reason);
	buf_addc(&b, '\0');
	got = buf_take(&b);
	ck_assert_msg(strcmp(got, c->want) == 0, "%s: %s", c->name, got);
	free(got);
}
END_TEST

START_TEST(lines)
{
	char *got = tlsrpt_lines("version: STSv1\r\nmode: enforce \n\nmx: a\x01\xff" "\nmax_age: x");

	ck_assert_str_eq(got, "[\"version: STSv1\",\"mode: enforce\",\"mx: a\\\\x01\\\\xFF\",\"max_age: x\"]");
	free(got);
	got = tlsrpt_lines("");
	ck_assert_str_eq(got, "[]");
	free(got);
}
END_TEST

/* ---- Counting ---- */

#define DAY 20786		/* 2026-11-29 */
#define HOUR_MS INT64_C(3600000)

static struct rig rig;
static char last_warning[1024];

static void
keep(void *arg, const char *line)
{
	if (strstr(line, " warning ") != NULL || strstr(line, " error ") != NULL)
		snprintf(last_warning, sizeof last_warning, "%s", line);
}

static void
at(int64_t wall_ms)
{
	clock_fake(wall_ms - (DAY - 1) * TLSRPT_DAY_MS, wall_ms);
}

static void
setup(void)
{
	log_capture(keep, NULL);
	last_warning[0] = '\0';
	at(DAY * TLSRPT_DAY_MS + HOUR_MS);
	rig_init(&rig);
	rig.conf.tlsrpt_max_domains = 3;
	rig.conf.tlsrpt_keep_ms = 5 * TLSRPT_DAY_MS;
	rig_open(&rig);
	rig_start(&rig);
}

static void
teardown(void)
{
	rig_fini(&rig);
	clock_real();
	log_capture(NULL, NULL);
	ck_assert_msg(last_warning[0] == '\0', "%s", last_warning);
}

/* `result` NULL: success. */
static void
session(const char *domain, int64_t day, const char *type, const char *strings, const char *result, const char *ip)
{
	struct store_result *q = xcalloc(1, sizeof *q);
	struct store_tlsrpt_count *c = xcalloc(1, sizeof *c);

	c->domain = xstrdup(domain);
	c->day = day;
	c->type = type;
	c->policy_domain = xstrdup(domain);
	c->strings = xstrdup(strings);
	c->result = result;
	if (result != NULL) {
		c->sending_ip = xstrdup("2001:db8::1");
		c->mx = xstrdup("mx.example.net");
		c->receiving_ip = xstrdup(ip);
	}
	q->counts = c;
	q->ncounts = 1;
	q->mail.reply_to = rig.mb;
	ck_assert_int_eq(rig_send_result(&rig, q), STORE_OK);
}

static struct store_result *
ask(const char *node, bool claims)
{
	struct store_result *q = xcalloc(1, sizeof *q);

	q->tlsrpt = xcalloc(1, sizeof *q->tlsrpt);
	q->tlsrpt->verb = claims ? STORE_TLSRPT_CLAIM : STORE_TLSRPT_MARK;
	q->tlsrpt->node = xstrdup(node);
	q->tlsrpt->limit = 10;
	q->tlsrpt->lease_until_ms = clock_wall_ms() + HOUR_MS;
	q->mail.reply_to = rig.mb;
	q->urgent = true;
	return q;
}

static struct store_result *
answer_to(struct store_result *q)
{
	store_result(rig.s, q);
	q = rig_answer(&rig);
	ck_assert_ptr_nonnull(q);
	ck_assert_int_eq(q->status, STORE_OK);
	return q;
}

static size_t
claim(const char *node)
{
	struct store_result *q = answer_to(ask(node, true));
	size_t n = q->tlsrpt->n;

	store_result_free(q);
	return n;
}

static size_t
mark(const char *node, const char *domain, int64_t day, enum store_tlsrpt_state state, int64_t next_ms)
{
	struct store_result *q = ask(node, false);
	size_t n;

	q->tlsrpt->domain = xstrdup(domain);
	q->tlsrpt->day = day;
	q->tlsrpt->state = state;
	q->tlsrpt->tries = 2;
	q->tlsrpt->first_ms = 77;
	q->tlsrpt->next_ms = next_ms;
	q = answer_to(q);
	n = q->tlsrpt->n;
	store_result_free(q);
	return n;
}

/* The policies of the one day that may be claimed. */
static json_t *
policies(int64_t *day_out)
{
	struct store_result *q = answer_to(ask("n", true));
	json_t *list;

	ck_assert_uint_eq(q->tlsrpt->n, 1);
	list = json_loads(q->tlsrpt->days[0].policies, 0, NULL);
	ck_assert_ptr_nonnull(list);
	if (day_out != NULL)
		*day_out = q->tlsrpt->days[0].day;
	store_result_free(q);
	return list;
}

static int64_t
number(const json_t *o, const char *outer, const char *key)
{
	return json_integer_value(json_object_get(json_object_get(o, outer), key));
}

#define OK "total-successful-session-count"
#define FAILED "total-failure-session-count"

START_TEST(counts_add_up)
{
	const char *p = "[\"version: STSv1\",\"mode: enforce\"]";
	json_t *list, *sts, *d;

	for (int i = 0; i < 3; i++)
		session("example.net", DAY, "sts", p, NULL, NULL);
	for (int i = 0; i < 2; i++)
		session("example.net", DAY, "sts", p, "certificate-expired", "192.0.2.1");
	session("example.net", DAY, "sts", p, "certificate-expired", "192.0.2.2");
	session("example.net", DAY, "no-policy-found", NULL, NULL, NULL);
	ck_assert_uint_eq(claim("n"), 0);		/* the day is not over (T-11) */
	at((DAY + 1) * TLSRPT_DAY_MS);
	list = policies(NULL);
	ck_assert_uint_eq(json_array_size(list), 2);
	sts = json_array_get(list, 1);
	ck_assert_int_eq(number(sts, "summary", OK), 3);
	ck_assert_int_eq(number(sts, "summary", FAILED), 3);
	d = json_object_get(sts, "failure-details");
	ck_assert_uint_eq(json_array_size(d), 2);
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(d, 0), "failed-session-count")), 2);
	ck_assert_uint_eq(json_array_size(json_object_get(json_object_get(sts, "policy"), "policy-string")), 2);
	ck_assert_ptr_null(json_object_get(json_array_get(list, 0), "failure-details"));
	json_decref(list);
}
END_TEST

/* The numbers of rows do not depend on what others send. */
START_TEST(rows_are_bounded)
{
	json_t *list, *p, *d;
	int64_t sum = 0;
	char text[64];

	for (int i = 0; i < 105; i++) {
		snprintf(text, sizeof text, "192.0.2.%d", i);
		session("example.net", DAY, "tlsa", "[]", "tlsa-invalid", text);
	}
	for (int i = 0; i < 40; i++) {
		snprintf(text, sizeof text, "[\"%d\"]", i);
		session("example.net", DAY, "sts", text, NULL, NULL);
	}
	at((DAY + 1) * TLSRPT_DAY_MS);
	list = policies(NULL);
	ck_assert_uint_eq(json_array_size(list), 32 + 1);	/* and the one for all others */
	for (size_t i = 0; i < json_array_size(list); i++) {
		p = json_array_get(list, i);
		sum += number(p, "summary", OK) + number(p, "summary", FAILED);
		d = json_object_get(p, "failure-details");
		if (d == NULL)
			continue;
		ck_assert_uint_eq(json_array_size(d), 100 + 1);
		ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(d, 0), "failed-session-count")), 5);
		ck_assert_ptr_null(json_object_get(json_array_get(d, 0), "receiving-ip"));
	}
	ck_assert_int_eq(sum, 145);
	json_decref(list);
}
END_TEST

START_TEST(domains_are_bounded)
{
	for (int i = 0; i < 6; i++) {
		char name[32];

		snprintf(name, sizeof name, "d%d.example", i);
		session(name, DAY, "no-policy-found", NULL, NULL, NULL);
	}
	ck_assert_ptr_nonnull(strstr(last_warning, "too many domains"));
	last_warning[0] = '\0';
	at((DAY + 1) * TLSRPT_DAY_MS);
	ck_assert_uint_eq(claim("n"), 3);
}
END_TEST

/* Of several that send, one gets a report, until it gives up or its lease is over. */
START_TEST(one_node_claims)
{
	session("example.net", DAY, "no-policy-found", NULL, NULL, NULL);
	at((DAY + 1) * TLSRPT_DAY_MS);
	ck_assert_uint_eq(claim("a"), 1);
	ck_assert_uint_eq(claim("b"), 0);
	ck_assert_uint_eq(claim("a"), 0);
	ck_assert_uint_eq(mark("b", "example.net", DAY, TLSRPT_DELIVERED, 0), 0);	/* not b's */
	at((DAY + 1) * TLSRPT_DAY_MS + HOUR_MS);
	ck_assert_uint_eq(claim("b"), 1);
	ck_assert_uint_eq(mark("a", "example.net", DAY, TLSRPT_DELIVERED, 0), 0);	/* a was too slow */
	ck_assert_uint_eq(mark("b", "example.net", DAY, TLSRPT_OPEN, clock_wall_ms() + HOUR_MS), 1);
	ck_assert_uint_eq(claim("a"), 0);
	at((DAY + 1) * TLSRPT_DAY_MS + 2 * HOUR_MS);
	ck_assert_uint_eq(claim("a"), 1);
	ck_assert_uint_eq(mark("a", "example.net", DAY, TLSRPT_DELIVERED, 0), 1);
	at((DAY + 1) * TLSRPT_DAY_MS + 9 * HOUR_MS);
	ck_assert_uint_eq(claim("a"), 0);
	ck_assert_uint_eq(claim("b"), 0);
}
END_TEST

/* The report that is being sent stays as it is: the same id must not come with other numbers. */
START_TEST(late_sessions_count_on_the_next_day)
{
	json_t *list;
	int64_t day;

	session("example.net", DAY, "no-policy-found", NULL, NULL, NULL);
	at((DAY + 1) * TLSRPT_DAY_MS);
	session("example.net", DAY, "no-policy-found", NULL, NULL, NULL);	/* late, but in time */
	list = policies(&day);
	ck_assert_int_eq(day, DAY);
	ck_assert_int_eq(number(json_array_get(list, 0), "summary", OK), 2);
	json_decref(list);
	session("example.net", DAY, "no-policy-found", NULL, NULL, NULL);
	ck_assert_uint_eq(mark("n", "example.net", DAY, TLSRPT_DELIVERED, 0), 1);
	session("example.net", DAY, "no-policy-found", NULL, NULL, NULL);
	at((DAY + 2) * TLSRPT_DAY_MS);
	list = policies(&day);
	ck_assert_int_eq(day, DAY + 1);
	ck_assert_int_eq(number(json_array_get(list, 0), "summary", OK), 2);
	json_decref(list);
}
END_TEST

START_TEST(old_days_go)
{
	struct store_query *q = rig_ask(STORE_TLSRPT, 0);
	json_t *o;

	for (int i = 0; i < 8; i++) {
		at((DAY + i) * TLSRPT_DAY_MS);
		session("example.net", DAY + i, "tlsa", "[]", "tlsa-invalid", "192.0.2.1");
	}
	q->filter.domain = xstrdup("EXAMPLE.*");
	o = rig_query(&rig, q, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(o, "days")), 6);
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(o, "days"), 0), "day")),
	    "2026-12-06");
	json_decref(o);
	rig_close(&rig);
	ck_assert_int_eq(rig_sql(&rig, "SELECT count(*) FROM tlsrpt_policy", NULL), 6);
	ck_assert_int_eq(rig_sql(&rig, "SELECT count(*) FROM tlsrpt_detail", NULL), 6);
}
END_TEST

/* Counts come with what they belong to, or not at all: a request that is refused counts nothing. */
START_TEST(counts_are_part_of_the_result)
{
	struct store_result *q = rig_result_new(&rig, 1, 0, (enum store_change)99);
	uint64_t id = rig_put(&rig, rig_msg("example.net", 100));

	q->message = id;
	q->counts = xcalloc(1, sizeof *q->counts);
	q->ncounts = 1;
	q->counts->domain = xstrdup("example.net");
	q->counts->type = "no-policy-found";
	q->counts->day = DAY;
	ck_assert_int_eq(rig_send_result(&rig, q), STORE_BAD);
	last_warning[0] = '\0';
	rig_close(&rig);
	ck_assert_int_eq(rig_sql(&rig, "SELECT count(*) FROM tlsrpt_day", NULL), 0);
}
END_TEST

/* ---- The report ---- */

#define POLICIES "[{\"policy\":{\"policy-type\":\"no-policy-found\",\"policy-domain\":\"example.net\"}," \
	"\"summary\":{\"total-successful-session-count\":1,\"total-failure-session-count\":0}}]"

static const struct tlsrpt_who who = { "Acme \"Ltd\" \xc3\xbc", "tls-reports@acme.example", "mx1.acme.example" };

START_TEST(report)
{
	struct err err;
	struct tlsrpt_report *r = tlsrpt_report_new(&who, "example.net", DAY, POLICIES, &err), *same;
	uint8_t out[4096];
	z_stream z = { .next_in = r->gz, .avail_in = (uInt)r->gz_len, .next_out = out, .avail_out = sizeof out };

	ck_assert_str_eq((char *)r->json, "{\"organization-name\":\"Acme \\\"Ltd\\\" \xc3\xbc\",\"date-range\":"
	    "{\"start-datetime\":\"2026-11-29T00:00:00Z\",\"end-datetime\":\"2026-11-29T23:59:59Z\"},"
	    "\"contact-info\":\"tls-reports@acme.example\",\"report-id\":"
	    "\"20261129.example.net@mx1.acme.example\",\"policies\":" POLICIES "}");
	ck_assert_uint_eq(r->json_len, strlen((char *)r->json));
	ck_assert_str_eq(r->submitter, "acme.example");
	/* T-19 */
	ck_assert_ptr_eq(strstr(r->file_name, "acme.example!example.net!1795910400!1795996799!"), r->file_name);
	ck_assert_str_eq(r->file_name + strlen(r->file_name) - 8, ".json.gz");
	ck_assert_int_eq(inflateInit2(&z, 15 + 16), Z_OK);
	ck_assert_int_eq(inflate(&z, Z_FINISH), Z_STREAM_END);
	ck_assert_uint_eq(z.total_out, r->json_len);
	ck_assert_mem_eq(out, r->json, r->json_len);
	inflateEnd(&z);
	same = tlsrpt_report_new(&who, "example.net", DAY, POLICIES, &err);
	ck_assert_uint_eq(same->gz_len, r->gz_len);
	ck_assert_mem_eq(same->gz, r->gz, r->gz_len);
	tlsrpt_report_free(same);
	tlsrpt_report_free(r);
	ck_assert_ptr_null(tlsrpt_report_new(&who, "example.net", DAY, "[]", &err));
	ck_assert_ptr_nonnull(strstr(err.text, "nothing was counted"));
	ck_assert_ptr_null(tlsrpt_report_new(&who, "example.net", DAY, "[{]", &err));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("tlsrpt");
	TCase *words = tcase_create("words"), *counts = tcase_create("counts");
	SRunner *r;
	int failed;

	tcase_set_timeout(counts, 60);
	tcase_add_loop_test(words, judges, 0, NELEMS(judged));
	tcase_add_test(words, lines);
	tcase_add_test(words, report);
	tcase_add_checked_fixture(counts, setup, teardown);
	tcase_add_test(counts, counts_add_up);
	tcase_add_test(counts, rows_are_bounded);
	tcase_add_test(counts, domains_are_bounded);
	tcase_add_test(counts, one_node_claims);
	tcase_add_test(counts, late_sessions_count_on_the_next_day);
	tcase_add_test(counts, old_days_go);
	tcase_add_test(counts, counts_are_part_of_the_result);
	suite_add_tcase(s, words);
	suite_add_tcase(s, counts);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
