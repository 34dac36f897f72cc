/* Reports that came in, taken apart. */
#include "unit.h"

#include <string.h>

#include "message/report.h"

#define DSN_TYPE "Content-Type: multipart/report; report-type=delivery-status; boundary=\"b=1\"\r\n"
#define STATUS "Reporting-MTA: dns; mx.far.example\r\nOriginal-Envelope-Id: QQ314\r\n\r\n" \
	"Final-Recipient: rfc822; bob@far.example\r\nAction: failed\r\nStatus: 5.1.1\r\n" \
	"Diagnostic-Code: smtp; 550 no\r\n such user\r\n\r\n" \
	"Final-Recipient: rfc822; eve@far.example\r\nAction: delayed\r\nStatus: 4.4.1\r\n"
#define PART(type, text) "--b=1\r\nContent-Type: " type "\r\n\r\n" text "\r\n"
#define ORIGINAL PART("text/rfc822-headers", "Message-ID: <1@gw.example>\r\nSubject: hello\r\n")
#define END "--b=1--\r\n"

static const struct report_case {
	const char *name, *header, *body;
	bool is_report, is_cut;
	size_t nrcpts;
	const char *first;		/* value of the first field of the first group */
	const char *message_id;		/* of the original; NULL none */
} cases[] = {
	{ "dsn", DSN_TYPE, "a preamble\r\n" PART("text/plain", "sorry") PART("message/delivery-status", STATUS)
	    ORIGINAL END, true, false, 2, "dns; mx.far.example", "<1@gw.example>" },
	{ "global", "Content-Type: multipart/report;\r\n\treport-type=\"Delivery-Status\";\r\n boundary=\"b=1\"\r\n",
	    PART("message/global-delivery-status", STATUS) PART("message/global", "Message-ID: <2>\r\n\r\nbody") END,
	    true, false, 2, "dns; mx.far.example", "<2>" },
	{ "comments and case", "Content-Type: (q) Multipart/Report (x (y) \\) ); REPORT-TYPE = delivery-status (c) ; "
	    "charset=x; boundary=\"b\\=1\"\r\n", PART("Message/Delivery-Status; charset=us-ascii", STATUS) END,
	    true, false, 2, "dns; mx.far.example", NULL },
	{ "quoted-printable", DSN_TYPE, "--b=1\r\nContent-Type: message/delivery-status\r\n"
	    "Content-Transfer-Encoding: Quoted-Printable\r\n\r\nReporting-MTA: dns; m=78.far.=\r\nexample\r\n\r\n"
	    "Final-Recipient: rfc822; a\r\n\r\n" END, true, false, 1, "dns; mx.far.example", NULL },
	{ "base64", DSN_TYPE, "--b=1\r\nContent-Type: message/delivery-status\r\n"
	    "Content-Transfer-Encoding: base64\r\n\r\n"
	    "UmVwb3J0aW5nLU1UQTogZG5zOyBteC5mYXIuZXhhbXBsZQ0KDQpGaW5hbC1SZWNpcGll\r\n"
	    "bnQ6IHJmYzgyMjsgYQ0K\r\n" END, true, false, 1, "dns; mx.far.example", NULL },
	{ "broken base64", DSN_TYPE, "--b=1\r\nContent-Type: message/delivery-status\r\n"
	    "Content-Transfer-Encoding: base64\r\n\r\n!!!!\r\n" END, false, false, 0, NULL, NULL },
	{ "no end", DSN_TYPE, PART("message/delivery-status", STATUS), true, true, 2, "dns; mx.far.example", NULL },
	{ "no recipients", DSN_TYPE, PART("message/delivery-status", "Reporting-MTA: dns; x\r\n") END, true, false, 0,
	    "dns; x", NULL },
	{ "many empty lines", DSN_TYPE, PART("message/delivery-status", "\r\n\r\nReporting-MTA: x\r\n\r\n\r\n\r\n"
	    "Action: failed\r\n\r\n\r\n") END, true, false, 1, "x", NULL },
	{ "no field", DSN_TYPE, PART("message/delivery-status", "what is this?\r\nReporting-MTA: x\r\n") END, false,
	    false, 0, NULL, NULL },
	{ "a line that is no field", DSN_TYPE, PART("message/delivery-status", "Reporting-MTA: x\r\n\r\n"
	    "Action: failed\r\nnonsense\r\nStatus: 5.0.0\r\n") END, true, false, 1, "x", NULL },
	{ "no machine part", DSN_TYPE, PART("text/plain", "sorry") ORIGINAL END, false, false, 0, NULL, NULL },
	{ "a longer boundary", DSN_TYPE, "--b=12\r\nContent-Type: message/delivery-status\r\n\r\n" STATUS END, false,
	    false, 0, NULL, NULL },
	{ "another multipart", "Content-Type: multipart/mixed; boundary=\"b=1\"\r\n",
	    PART("message/delivery-status", STATUS) END, false, false, 0, NULL, NULL },
	{ "disposition", "Content-Type: multipart/report; report-type=disposition-notification; boundary=\"b=1\"\r\n",
	    PART("message/disposition-notification", STATUS) END, false, false, 0, NULL, NULL },
	{ "no boundary", "Content-Type: multipart/report; report-type=delivery-status\r\n",
	    PART("message/delivery-status", STATUS) END, false, false, 0, NULL, NULL },
	{ "no type", "Subject: x\r\n", PART("message/delivery-status", STATUS) END, false, false, 0, NULL, NULL },
	{ "feedback", "Content-Type: multipart/report; report-type=feedback-report; boundary=\"b=1\"\r\n",
	    PART("text/plain", "complaint") PART("message/feedback-report", "Feedback-Type: abuse\r\n"
	    "Source-IP: 192.0.2.1\r\n\r\nNot: read\r\n") PART("message/rfc822", "Message-ID: <3>\r\n\r\nx") END,
	    true, false, 0, "abuse", "<3>" },
	{ "a boundary at the very end", DSN_TYPE, "--b=1", false, false, 0, NULL, NULL },
	{ "nothing", DSN_TYPE, "", false, false, 0, NULL, NULL },
	{ "only an end", DSN_TYPE, END, false, false, 0, NULL, NULL },
};

START_TEST(reports)
{
	const struct report_case *c = &cases[_i];
	const struct header_field *f;
	struct report r;
	struct header h;
	char *value;

	ck_assert(header_parse(&h, slice_of(c->header)));
	ck_assert_msg(report_parse(&r, &h, slice_of(c->body), true) == c->is_report, "%s", c->name);
	if (c->is_report) {
		ck_assert(report_is_announced(&h));
		ck_assert_msg(r.is_cut == c->is_cut, "%s", c->name);
		ck_assert_msg(r.nrcpts == c->nrcpts, "%s: %zu", c->name, r.nrcpts);
		value = header_decode(r.fields.fields[0].value);
		ck_assert_msg(strcmp(value, c->first) == 0, "%s: %s", c->name, value);
		free(value);
		f = header_find(&r.original, "Message-ID", 1);
		ck_assert_msg((f != NULL) == (c->message_id != NULL), "%s", c->name);
		if (f != NULL)
			ck_assert_msg(slice_is(slice_trim(f->value), c->message_id), "%s", c->name);
	}
	report_fini(&r);
	header_fini(&h);
}
END_TEST

/* Cut anywhere it is still no crash, and never more than was there. */
START_TEST(cut_reports)
{
	static const char body[] = PART("text/plain", "sorry") PART("message/delivery-status", STATUS) ORIGINAL END;
	struct header h;
	struct report r;

	ck_assert(header_parse(&h, SLICE(DSN_TYPE)));
	for (size_t n = 0; n < sizeof body; n++) {
		char *copy = xstrndup(body, n);

		if (report_parse(&r, &h, (struct slice){ copy, n }, false)) {
			ck_assert_uint_le(r.nrcpts, 2);
			ck_assert(r.is_cut || r.original.n > 0);
		}
		report_fini(&r);
		free(copy);
	}
	header_fini(&h);
}
END_TEST

START_TEST(many_recipients)
{
	struct buf b;
	struct header h;
	struct report r;

	buf_init(&b, 1u << 20);
	buf_adds(&b, "--b=1\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: x\r\n\r\n");
	for (int i = 0; i < 1500; i++)
		buf_printf(&b, "Final-Recipient: rfc822; u%d@far.example\r\nAction: failed\r\n\r\n", i);
	buf_adds(&b, END);
	ck_assert(header_parse(&h, SLICE(DSN_TYPE)));
	ck_assert(report_parse(&r, &h, buf_slice(&b), true));
	ck_assert_uint_eq(r.nrcpts, REPORT_RCPTS_MAX);
	ck_assert(r.is_cut);
	report_fini(&r);
	header_fini(&h);
	buf_fini(&b);
}
END_TEST

START_TEST(addresses)
{
	ck_assert(slice_is(report_address(SLICE(" rfc822; a@x.example ")), "a@x.example"));
	ck_assert(slice_is(report_address(SLICE("a@x.example")), "a@x.example"));
	ck_assert(slice_is(report_address(SLICE("dns;mx.example")), "mx.example"));
	ck_assert(slice_is(report_address(SLICE(";")), ""));
	ck_assert(slice_is(report_address(SLICE("")), ""));
}
END_TEST

UNIT_MAIN("message_report",
	tcase_add_loop_test(tc, reports, 0, NELEMS(cases));
	tcase_add_test(tc, cut_reports);
	tcase_add_test(tc, many_recipients);
	tcase_add_test(tc, addresses);
)
