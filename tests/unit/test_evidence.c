#include "unit.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "trust/evidence.h"

static const struct evidence full = {
	.wall_ms = 1795468500123, .message = 123456789, .rcpt_num = 2, .event = "delivered",
	.from = "a@example.org", .rcpt = "b@example.net", .removed_to = 7, .removed_hash = "cc",
	.duties = DUTY_ALL, .asked_by = "sender",
	.tls_required_no = "honoured", .domain = "example.net", .route = "default", .mx = "dnssec",
	.sts_mode = "enforce", .sts_id = "20260101", .tlsa = "3 1 1", .host = "mx1.example.net",
	.ip = "192.0.2.1", .port = 25, .tls_version = "TLSv1.3", .tls_cipher = "TLS_AES_256_GCM_SHA384",
	.tls_group = "X25519", .cert_sha256 = "aa", .spki_sha256 = "bb", .verified = "dane",
	.verify_error = "none", .requiretls_listed = true, .requiretls_sent = true,
	.auth = "provider", .asserted = "propagate", .relaxed = "grant1", .verdict = "send", .reason = "ok", .row = 12,
	.reply_code = 250, .reply_status = "2.0.0", .reply_text = "queued", .text = "t", .hosts = "mx1=ok",
	.attempts = 3, .generation = "g7", .by = "root", .why = "because",
};

/* Order of keys and form of values are fixed: a hash covers them. */
START_TEST(canonical)
{
	struct evidence e = { .wall_ms = 1795468500123, .message = 1, .event = "deleted",
		.rcpt = "b@example.net", .by = "root", .why = "spam" };
	char *t = evidence_text(&e);

	ck_assert_str_eq(t, "{\"at\":\"2026-11-23T21:15:00.123Z\",\"event\":\"deleted\","
	    "\"message\":\"0000000000001\",\"rcpt_num\":0,\"rcpt\":\"b@example.net\","
	    "\"by\":\"root\",\"why\":\"spam\"}");
	free(t);
}
END_TEST

START_TEST(every_field_is_there)
{
	char *t = evidence_text(&full), *again = evidence_text(&full);
	json_t *o = json_loads(t, JSON_REJECT_DUPLICATES, NULL), *v;
	const char *key;
	size_t at = 0;

	ck_assert_ptr_nonnull(o);
	ck_assert_str_eq(t, again);
	/* All that are known to exports and to auditors, in their order. */
	json_object_foreach(o, key, v) {
		ck_assert_uint_lt(at, evidence_nfields);
		ck_assert_str_eq(key, evidence_fields[at]);
		at++;
	}
	ck_assert_uint_eq(at, evidence_nfields);
	ck_assert(json_is_true(json_object_get(o, "requiretls_sent")));
	ck_assert_int_eq(json_integer_value(json_object_get(o, "port")), 25);
	json_decref(o);
	free(t);
	free(again);
}
END_TEST

static const struct hostile_case {
	const char *name, *in, *out;
} hostile[] = {
	{ "line end", "a\r\nb", "a\\x0D\\x0Ab" },
	{ "quote", "say \"no\"", "say \"no\"" },
	{ "backslash", "a\\b", "a\\x5Cb" },
	{ "escape", "\x1b[2J", "\\x1B[2J" },
	{ "not UTF-8", "\xff\xfe", "\\xFF\\xFE" },
	{ "UTF-8", "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
	{ "ends the object", "\"},{\"event\":\"delivered", "\"},{\"event\":\"delivered" },
};

START_TEST(hostile_text)
{
	const struct hostile_case *c = &hostile[_i];
	struct evidence e = { .wall_ms = 1, .event = "failed", .reply_text = c->in };
	char *t = evidence_text(&e);
	json_t *o = json_loads(t, JSON_REJECT_DUPLICATES, NULL);

	ck_assert_msg(o != NULL, "%s: %s", c->name, t);
	ck_assert_str_eq(json_string_value(json_object_get(o, "reply_text")), c->out);
	json_decref(o);
	free(t);
}
END_TEST

START_TEST(long_text_stays_whole)
{
	char *big = xmalloc(100001), *t;
	struct evidence e = full;
	json_t *o;

	memset(big, '"', 100000);
	big[100000] = '\0';
	e.reply_text = e.hosts = e.why = e.asked_by = e.from = e.rcpt = e.reason = big;
	t = evidence_text(&e);
	o = json_loads(t, 0, NULL);
	ck_assert_ptr_nonnull(o);
	ck_assert_str_eq(json_string_value(json_object_get(o, "generation")), "g7");
	json_decref(o);
	free(t);
	free(big);
}
END_TEST

START_TEST(hashes)
{
	char a[EVIDENCE_HASH], b[EVIDENCE_HASH], c[EVIDENCE_HASH];

	/* printf '\nx' | sha256sum */
	evidence_hash(a, "", "x");
	ck_assert_str_eq(a, "bbe56d7c2d0f1f7271eb6f829800598a0a1c5a54f09cb49c47607e0698af7d6f");
	evidence_hash(b, a, "x");
	ck_assert_str_ne(a, b);
	evidence_hash(c, a, "x");
	ck_assert_str_eq(b, c);
}
END_TEST

UNIT_MAIN("evidence",
	tcase_add_test(tc, canonical);
	tcase_add_test(tc, every_field_is_there);
	tcase_add_loop_test(tc, hostile_text, 0, NELEMS(hostile));
	tcase_add_test(tc, long_text_stays_whole);
	tcase_add_test(tc, hashes);
)
