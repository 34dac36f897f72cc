#include "unit.h"

#include <string.h>

#include "conf/route.h"

static struct route *
full_route(void)
{
	struct route *r = xcalloc(1, sizeof *r);

	r->name = xstrdup("portal");
	r->hosts = xcalloc(2, sizeof *r->hosts);
	r->hosts[0] = (struct route_host){ xstrdup("a.example"), 465 };
	r->hosts[1] = (struct route_host){ xstrdup("2001:db8::1"), 26 };
	r->nhosts = 2;
	r->domain = xstrdup("d.example");
	r->port = 26;
	r->implicit_tls = r->waivable = r->sticky = r->ipv4 = true;
	r->source = xstrdup("192.0.2.1");
	r->tls = TLS_SECURE;
	r->names = xcalloc(2, sizeof *r->names);
	r->names[0] = xstrdup("n.example");
	r->nnames = 1;
	r->pins = xcalloc(2, sizeof *r->pins);
	r->pins[0] = xstrdup("sha256:00");
	r->npins = 1;
	r->ca_file = xstrdup("/ca.pem");
	r->auth = xstrdup("provider");
	r->assert_secure_lookup = r->assert_propagate = true;
	r->expires_ms = 1234567890123;
	return r;
}

static const char full_json[] = "{\"name\":\"portal\",\"hosts\":[[\"a.example\",465],[\"2001:db8::1\",26]],"
    "\"domain\":\"d.example\",\"port\":26,\"implicit_tls\":true,\"source\":\"192.0.2.1\",\"tls\":\"secure\","
    "\"waivable\":true,\"names\":[\"n.example\"],\"pins\":[\"sha256:00\"],\"ca_file\":\"/ca.pem\","
    "\"auth\":\"provider\","
    "\"sticky\":true,\"expires\":1234567890123,\"ipv6\":false}";

START_TEST(copy_and_json)
{
	struct route *r = full_route(), *c = route_copy(r), *back;
	char *one = route_to_json(r), *two = route_to_json(c), *three;
	struct err err;

	ck_assert_str_eq(one, full_json);
	ck_assert_str_eq(two, full_json);
	ck_assert(c->assert_secure_lookup && c->assert_propagate);
	route_free(r);
	back = route_from_json(one, &err);
	ck_assert_msg(back != NULL, "%s", err.text);
	three = route_to_json(back);
	ck_assert_str_eq(three, full_json);
	/* Whoever can write the database must not be able to vouch for a host (policy design 5.11). */
	ck_assert(!back->assert_secure_lookup && !back->assert_propagate);
	route_free(c);
	route_free(back);
	free(one);
	free(two);
	free(three);
	route_free(NULL);
}
END_TEST

START_TEST(smallest)
{
	struct err err;
	struct route *r = route_from_json("{\"mx\":true}", &err);
	char *text = route_to_json(r);

	ck_assert(r->via_mx && r->ipv4 && r->ipv6 && r->port == 25 && r->tls == TLS_MAY && !r->waivable);
	ck_assert_str_eq(r->name, "");
	ck_assert_str_eq(text, "{\"mx\":true}");
	free(text);
	route_free(r);
}
END_TEST

static const struct bad_case {
	const char *json, *why;
} bads[] = {
	{ "", "not a JSON object" },
	{ "[]", "not a JSON object: wrong type" },
	{ "{\"mx\":true", "not a JSON object" },
	{ "{\"mx\":true,\"mx\":true}", "duplicate" },
	{ "{}", "neither or both" },
	{ "{\"mx\":true,\"hosts\":[[\"a\",25]]}", "neither or both" },
	{ "{\"hosts\":[]}", "neither or both" },
	{ "{\"hosts\":[[\"a\",25,1]]}", "\"hosts\"" },
	{ "{\"hosts\":[[\"a\",0]]}", "\"hosts\"" },
	{ "{\"hosts\":[[\"a\",65536]]}", "\"hosts\"" },
	{ "{\"hosts\":[[\"a\",25],[5,25]]}", "\"hosts\"" },
	{ "{\"mx\":1}", "\"mx\"" },
	{ "{\"mx\":true,\"tls\":\"none\"}", "\"tls\"" },
	{ "{\"mx\":true,\"tls\":2}", "\"tls\"" },
	{ "{\"mx\":true,\"names\":[\"a\",null]}", "\"names\"" },
	{ "{\"mx\":true,\"names\":\"a\"}", "\"names\"" },
	{ "{\"mx\":true,\"expires\":-1}", "\"expires\"" },
	{ "{\"mx\":true,\"assert_propagate\":true}", "\"assert_propagate\" is unknown" },
	{ "{\"mx\":true,\"assert_secure_lookup\":true}", "\"assert_secure_lookup\" is unknown" },
	{ "{\"mx\":true,\"name\":\"a\\u0000b\"}", "NUL" },
};

START_TEST(bad)
{
	const struct bad_case *b = &bads[_i];
	struct err err = { "" };
	struct route *r = route_from_json(b->json, &err);

	ck_assert_msg(r == NULL, "accepted: %s", b->json);
	ck_assert_msg(strstr(err.text, b->why) != NULL, "%s: %s", b->json, err.text);
}
END_TEST

START_TEST(every_prefix_is_refused)
{
	char text[sizeof full_json];

	for (size_t n = 0; n + 1 < sizeof full_json; n++) {
		memcpy(text, full_json, n);
		text[n] = '\0';
		ck_assert_ptr_null(route_from_json(text, NULL));
	}
}
END_TEST

UNIT_MAIN("route",
	tcase_add_test(tc, copy_and_json);
	tcase_add_test(tc, smallest);
	tcase_add_loop_test(tc, bad, 0, NELEMS(bads));
	tcase_add_test(tc, every_prefix_is_refused);
)
