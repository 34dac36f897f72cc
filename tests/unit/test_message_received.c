#include "unit.h"

#include <string.h>
#include <time.h>

#include "message/message.h"

static const struct received plain = { .helo = "client.example", .peer_name = "host.client.example",
	.peer_ip = "192.0.2.7", .by = "mx.acme.example", .with = "ESMTP", .id = 42, .wall_ms = 1795468500000 };

/* The field unfolded, without its date, which depends on the zone. */
static char *
unfolded(const struct received *r)
{
	char *text = received_format(r), *out = text, *semicolon;

	ck_assert(strlen(text) > 2 && strcmp(text + strlen(text) - 2, "\r\n") == 0);
	for (char *p = text; *p != '\0'; p++) {
		if (*p == '\r' || *p == '\n')
			continue;
		*out++ = *p == '\t' ? ' ' : *p;
	}
	*out = '\0';
	semicolon = strrchr(text, ';');
	ck_assert_ptr_nonnull(semicolon);
	ck_assert_int_eq(semicolon[1], ' ');
	*semicolon = '\0';
	return text;
}

static void
expect(const struct received *r, const char *want)
{
	char *have = unfolded(r);

	ck_assert_str_eq(have, want);
	free(have);
}

START_TEST(clauses)
{
	struct received r = plain;

	expect(&r, "Received: from client.example (host.client.example [192.0.2.7]) by mx.acme.example with "
	    "ESMTP id 000000000001A");
	r.rcpt = "bob@acme.example";
	r.with = "ESMTPS";
	r.tls_version = "TLSv1.3";
	r.tls_cipher = "TLS_AES_256_GCM_SHA384";
	r.requiretls = true;
	/* M-183: via, with, id, for, then tls (RFC 8314 4.3, N-15); the rest are comments. */
	expect(&r, "Received: from client.example (host.client.example [192.0.2.7]) by mx.acme.example with "
	    "ESMTPS (version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384) (requiretls) id 000000000001A for "
	    "<bob@acme.example> tls TLS_AES_256_GCM_SHA384");
	r.tls_cipher = "ECDHE-RSA-AES256-GCM-SHA384";	/* not a registered name: no clause */
	r.requiretls = false;
	r.rcpt = NULL;
	expect(&r, "Received: from client.example (host.client.example [192.0.2.7]) by mx.acme.example with "
	    "ESMTPS (version=TLSv1.3 cipher=ECDHE-RSA-AES256-GCM-SHA384) id 000000000001A");
}
END_TEST

START_TEST(strange_peers)		/* I7 */
{
	struct received r = plain;

	r.helo = "evil (comment) for <x@y>;\r\nBcc: all@example.org";
	r.peer_name = NULL;
	r.peer_ip = "2001:db8::7";
	expect(&r, "Received: from evil__comment__for__x_y____Bcc__all_example.org (unknown [IPv6:2001:db8::7]) "
	    "by mx.acme.example with ESMTP id 000000000001A");
	r.helo = "[192.0.2.9]";
	r.rcpt = "a b@acme.example";	/* would break the path */
	expect(&r, "Received: from [192.0.2.9] (unknown [IPv6:2001:db8::7]) by mx.acme.example with ESMTP id "
	    "000000000001A");
	r.helo = "";
	r.rcpt = "x@y>\r\nEvil: z";
	expect(&r, "Received: from _ (unknown [IPv6:2001:db8::7]) by mx.acme.example with ESMTP id 000000000001A");
	r.helo = NULL;
	expect(&r, "Received: from _ (unknown [IPv6:2001:db8::7]) by mx.acme.example with ESMTP id 000000000001A");
	r.helo = "[IPv6:2001:db8::8]";
	expect(&r, "Received: from [IPv6:2001:db8::8] (unknown [IPv6:2001:db8::7]) by mx.acme.example with "
	    "ESMTP id 000000000001A");
}
END_TEST

START_TEST(long_helo_is_cut_and_lines_are_short)
{
	struct received r = plain;
	char helo[4000], *text, *line;

	memset(helo, 'h', sizeof helo);
	helo[sizeof helo - 1] = '\0';
	r.helo = helo;
	text = received_format(&r);
	ck_assert_uint_lt(strlen(text), 1000);
	free(text);
	r.helo = "a-rather-long-host-name.in-some-department.client.example";
	r.rcpt = "somebody.with.a.long.name@department.acme.example";
	text = received_format(&r);
	for (line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
		ck_assert_msg(strlen(line) <= 79 && (line == text || line[0] == '\t'), "%s", line);
	free(text);
}
END_TEST

START_TEST(date)
{
	char *text;

	setenv("TZ", "UTC", 1);
	tzset();
	text = received_format(&plain);
	ck_assert_ptr_nonnull(strchr(text, ';'));
	ck_assert_ptr_nonnull(strstr(text, "+0000\r\n"));	/* M-182 */
	ck_assert_ptr_nonnull(strstr(text, " 2026 "));
	free(text);
}
END_TEST

static const struct with_case {
	bool esmtp, tls, auth, utf8, lmtp;
	const char *with;
} withs[] = {	/* M-184 */
	{ false, false, false, false, false, "SMTP" },
	{ true, false, false, false, false, "ESMTP" },
	{ true, true, false, false, false, "ESMTPS" },
	{ true, false, true, false, false, "ESMTPA" },
	{ true, true, true, false, false, "ESMTPSA" },
	{ true, false, false, true, false, "UTF8SMTP" },
	{ true, true, true, true, false, "UTF8SMTPSA" },
	{ true, false, false, false, true, "LMTP" },
	{ true, true, false, false, true, "LMTPS" },
	{ true, true, true, true, true, "UTF8LMTPSA" },
};

START_TEST(with)
{
	const struct with_case *c = &withs[_i];

	ck_assert_str_eq(received_with(c->esmtp, c->tls, c->auth, c->utf8, c->lmtp), c->with);
}
END_TEST

UNIT_MAIN("message_received",
	tcase_add_test(tc, clauses);
	tcase_add_test(tc, strange_peers);
	tcase_add_test(tc, long_helo_is_cut_and_lines_are_short);
	tcase_add_test(tc, date);
	tcase_add_loop_test(tc, with, 0, NELEMS(withs));
)
