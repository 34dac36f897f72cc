#include "unit.h"

#include <pthread.h>
#include <string.h>

#include "message/message.h"

START_TEST(tags)
{
	struct msg *m = msg_new(), *back = msg_new();
	char *json;

	json = msg_tags_json(m);
	ck_assert_str_eq(json, "[]");
	free(json);
	msg_add_tag(m, "secure");
	msg_add_tag(m, "a \"quoted\" one");
	msg_add_tag(m, "secure");
	msg_add_tag(m, "\xFF");
	ck_assert_uint_eq(m->ntags, 3);
	ck_assert(msg_has_tag(m, "secure"));
	ck_assert(!msg_has_tag(m, "Secure"));
	json = msg_tags_json(m);
	ck_assert_str_eq(json, "[\"secure\",\"a \\\"quoted\\\" one\",\"\\\\xFF\"]");
	ck_assert(msg_tags_load(back, json));
	ck_assert_uint_eq(back->ntags, 3);
	ck_assert(msg_has_tag(back, "a \"quoted\" one"));
	free(json);
	ck_assert(msg_tags_load(back, NULL) && msg_tags_load(back, ""));
	ck_assert(!msg_tags_load(back, "[") && !msg_tags_load(back, "{}x") && !msg_tags_load(back, "[1]"));
	msg_unref(m);
	msg_unref(back);
}
END_TEST

START_TEST(vars)
{
	struct msg *m = msg_new(), *back = msg_new();
	char *json, big[17 * 1024];

	ck_assert(msg_set_var(m, "n", "42"));
	ck_assert(msg_set_var(m, "list", "[1,{\"a\":null}]"));
	ck_assert(msg_set_var(m, "n", "43"));
	ck_assert(!msg_set_var(m, "bad", "{"));
	ck_assert_str_eq(msg_get_var(m, "n"), "43");
	ck_assert_ptr_null(msg_get_var(m, "bad"));
	json = msg_vars_json(m);
	ck_assert_str_eq(json, "{\"n\":43,\"list\":[1,{\"a\":null}]}");
	ck_assert(msg_vars_load(back, json));
	ck_assert_str_eq(msg_get_var(back, "list"), "[1,{\"a\":null}]");
	free(json);
	ck_assert(msg_set_var(m, "n", NULL));
	ck_assert_ptr_null(msg_get_var(m, "n"));
	ck_assert_str_eq(msg_get_var(m, "list"), "[1,{\"a\":null}]");
	ck_assert(msg_set_var(m, "never there", NULL));
	memset(big, 'x', sizeof big);
	big[0] = big[sizeof big - 2] = '"';
	big[sizeof big - 1] = '\0';
	ck_assert(!msg_set_var(m, "big", big));
	big[15 * 1024] = '"', big[15 * 1024 + 1] = '\0';
	ck_assert(msg_set_var(m, "big", big));
	ck_assert(msg_set_var(m, "big", big));		/* in place of itself */
	ck_assert(!msg_set_var(m, "big2", big));
	ck_assert(!msg_vars_load(back, "[]x") && !msg_vars_load(back, "7"));
	msg_unref(m);
	msg_unref(back);
}
END_TEST

START_TEST(edits)
{
	struct msg *m = msg_new(), *back = msg_new();
	char *json;

	msg_add_edit(m, EDIT_ADD_TOP, "X-A", "one\r\nBcc: two");
	msg_add_edit(m, EDIT_REMOVE, "X-B", NULL);
	msg_add_edit(m, EDIT_SET, "Subject", "\xC3\xA4");
	ck_assert_str_eq(m->edits[0].value, "one  Bcc: two");
	ck_assert_ptr_null(m->edits[1].value);
	json = msg_edits_json(m);
	ck_assert(msg_edits_load(back, json));
	ck_assert_uint_eq(back->nedits, 3);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(back->edits[i].op, m->edits[i].op);
		ck_assert_str_eq(back->edits[i].name, m->edits[i].name);
	}
	ck_assert_str_eq(back->edits[2].value, "\xC3\xA4");
	free(json);
	ck_assert(!msg_edits_load(back, "[{\"op\":\"eat\",\"name\":\"x\"}]"));
	ck_assert(!msg_edits_load(back, "[{\"op\":\"set\",\"name\":\"x\"}]"));
	ck_assert(!msg_edits_load(back, "[1]"));
	msg_unref(m);
	msg_unref(back);
}
END_TEST

START_TEST(recipients)
{
	struct msg *m = msg_new();
	char *json;

	for (unsigned i = 0; i < 100; i++) {
		struct msg_rcpt *r = msg_add_rcpt(m);

		ck_assert_uint_eq(r->num, i);
		r->address = xasprintf("u%u@example.org", i);
	}
	msg_rcpt_add_tag(&m->rcpts[7], "x");
	msg_rcpt_add_tag(&m->rcpts[7], "x");
	ck_assert(msg_rcpt_has_tag(&m->rcpts[7], "x") && !msg_rcpt_has_tag(&m->rcpts[8], "x"));
	ck_assert(msg_rcpt_set_var(&m->rcpts[7], "k", "true"));
	ck_assert_str_eq(msg_rcpt_get_var(&m->rcpts[7], "k"), "true");
	json = msg_rcpt_tags_json(&m->rcpts[7]);
	ck_assert(msg_rcpt_tags_load(&m->rcpts[8], json) && msg_rcpt_has_tag(&m->rcpts[8], "x"));
	free(json);
	json = msg_rcpt_vars_json(&m->rcpts[7]);
	ck_assert(msg_rcpt_vars_load(&m->rcpts[8], json));
	ck_assert_str_eq(msg_rcpt_get_var(&m->rcpts[8], "k"), "true");
	free(json);
	msg_clear_rcpts(m);
	ck_assert_uint_eq(m->nrcpts, 0);
	ck_assert_uint_eq(msg_add_rcpt(m)->num, 0);
	msg_unref(m);
	msg_unref(NULL);
}
END_TEST

static void *
hold_and_let_go(void *arg)
{
	struct msg *m = arg;

	for (int i = 0; i < 10000; i++) {
		msg_unref(msg_ref(m));
		content_unref(content_ref(m->content));
	}
	msg_unref(m);
	return NULL;
}

START_TEST(shared_between_threads)
{
	struct msg *m = msg_new();
	pthread_t t[3];

	m->content = content_from_memory(xstrdup("A: b\r\n\r\nbody"), 12, 8);
	ck_assert(slice_is(content_body_peek(m->content, 100), "body"));
	ck_assert(slice_is(content_body_peek(m->content, 2), "bo"));
	ck_assert_uint_eq(content_body_peek(NULL, 2).n, 0);
	for (size_t i = 0; i < NELEMS(t); i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, hold_and_let_go, msg_ref(m)), 0);
	msg_unref(m);
	for (size_t i = 0; i < NELEMS(t); i++)
		pthread_join(t[i], NULL);
	content_unref(NULL);
}
END_TEST

UNIT_MAIN("message_msg",
	tcase_add_test(tc, tags);
	tcase_add_test(tc, vars);
	tcase_add_test(tc, edits);
	tcase_add_test(tc, recipients);
	tcase_add_test(tc, shared_between_threads);
)
