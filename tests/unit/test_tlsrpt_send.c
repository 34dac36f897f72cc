/* What a report sets out with: the message, and the addresses that it may not go to. */
#include "unit.h"

#include <arpa/inet.h>
#include <string.h>

#include "store_rig.h"
#include "dns/dns.h"
#include "message/tlsrpt_mail.h"

static struct rig rig;

/* T-30 */
static const struct {
	const char *text;
	bool is_private;
} addrs[] = {
	{ "127.0.0.1", true }, { "0.0.0.0", true }, { "10.1.2.3", true }, { "172.16.0.1", true },
	{ "172.31.255.255", true }, { "172.32.0.1", false }, { "172.15.0.1", false }, { "192.168.1.1", true },
	{ "192.169.0.1", false }, { "100.64.0.1", true }, { "100.127.0.1", true }, { "100.128.0.1", false },
	{ "169.254.169.254", true }, { "198.18.0.1", true }, { "198.20.0.1", false }, { "192.0.0.8", true },
	{ "224.0.0.1", true }, { "255.255.255.255", true }, { "9.9.9.9", false }, { "193.0.0.1", false },
	{ "::1", true }, { "::", true }, { "fe80::1", true }, { "fec0::1", true }, { "fc00::1", true },
	{ "fdff::1", true }, { "ff02::1", true }, { "::ffff:10.0.0.1", true }, { "::ffff:9.9.9.9", false },
	{ "64:ff9b::10.0.0.1", true }, { "64:ff9b::9.9.9.9", false }, { "64:ff9b:1::9.9.9.9", true },
	{ "2002:a00:1::", true }, { "2002:909:909::", false }, { "2001:0:1::", true }, { "2001:4860::1", false },
	{ "2a00::1", false },
};

START_TEST(private_addresses)
{
	struct mx_addr a = { .family = strchr(addrs[_i].text, ':') != NULL ? AF_INET6 : AF_INET };

	ck_assert_int_eq(inet_pton(a.family, addrs[_i].text, a.ip), 1);
	mx_addr_unmap(&a);
	ck_assert_msg(mx_addr_is_private(&a) == addrs[_i].is_private, "%s", addrs[_i].text);
}
END_TEST

static struct msg *
build(const char *organization)
{
	static const char *const to[] = { "a@one.example", "b@two.example" };
	struct tlsrpt_mail q = { .id = id_new(0), .wall_ms = INT64_C(1796000000000), .hostname = "mx1.acme.example",
		.organization = organization, .contact = "tls@acme.example", .domain = "one.example",
		.submitter = "acme.example", .report_id = "20261129.one.example@mx1.acme.example",
		.file_name = "acme.example!one.example!1!2!3.json.gz", .day = "2026-11-29", .gz = SLICE("\x1f\x8b\0x"),
		.to = to, .nto = NELEMS(to) };
	struct err err = { "" };
	struct msg *m = tlsrpt_mail_build(&q, &err);

	ck_assert_msg(m != NULL, "%s", err.text);
	return m;
}

START_TEST(mail)
{
	struct msg *m = build("Acme \"TLS\" Ltd");
	char *text = slice_dup((struct slice){ m->content->mem, m->content->size });

	ck_assert_str_eq(m->from, "");
	ck_assert_uint_eq(m->flags, MSG_REPORT);
	ck_assert_int_eq(m->tls_no, TLS_NO_HONOURED);
	ck_assert_uint_eq(m->duties, 0);
	ck_assert_uint_eq(m->nrcpts, 2);
	ck_assert_str_eq(m->rcpts[1].domain, "two.example");
	ck_assert_uint_eq(m->rcpts[1].notify, NOTIFY_NEVER);
	ck_assert_ptr_nonnull(strstr(text, "From: \"Acme \\\"TLS\\\" Ltd\" <tls@acme.example>\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "\r\nTLS-Required: No\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "\r\n\r\nH4sAeA==\r\n"));
	ck_assert_ptr_null(strstr(text, "DKIM-Signature"));
	ck_assert_mem_eq(m->content->mem + m->header_size - 4, "\r\n\r\n", 4);
	free(text);
	msg_unref(m);
	m = build("B\xc3\xa4ume");
	ck_assert_ptr_nonnull(memmem(m->content->mem, m->header_size, "From: =?", 8));
	msg_unref(m);
}
END_TEST

static void
keep(void *arg, const char *line)
{
	if (strstr(line, " warning ") != NULL || strstr(line, " error ") != NULL)
		ck_abort_msg("%s", line);
}

/* The mail is queued with the mark that it was sent, or not at all. */
START_TEST(mark_and_mail)
{
	struct store_result *q;

	log_capture(keep, NULL);
	clock_fake(1000, INT64_C(20000) * 86400000);
	rig_init(&rig);
	rig.conf.tlsrpt_max_domains = 9;
	rig.conf.tlsrpt_keep_ms = INT64_C(9) * 86400000;
	rig_open(&rig);
	rig_start(&rig);
	for (int held = 0; held < 2; held++) {
		struct store_stats st;

		q = xcalloc(1, sizeof *q);
		q->counts = xcalloc(1, sizeof *q->counts);
		q->ncounts = 1;
		*q->counts = (struct store_tlsrpt_count){ .domain = xstrdup("a.example"), .day = 19999 - held,
			.type = "no-policy-found" };
		q->mail.reply_to = rig.mb;
		ck_assert_int_eq(rig_send_result(&rig, q), STORE_OK);
		q = xcalloc(1, sizeof *q);
		q->tlsrpt = xcalloc(1, sizeof *q->tlsrpt);
		q->tlsrpt->verb = STORE_TLSRPT_CLAIM;
		q->tlsrpt->node = xstrdup("a");
		q->tlsrpt->limit = 10;
		q->tlsrpt->lease_until_ms = clock_wall_ms() + 60000;
		q->mail.reply_to = rig.mb;
		ck_assert_int_eq(rig_send_result(&rig, q), STORE_OK);
		q = xcalloc(1, sizeof *q);
		q->tlsrpt = xcalloc(1, sizeof *q->tlsrpt);
		q->tlsrpt->verb = STORE_TLSRPT_MARK;
		q->tlsrpt->node = xstrdup(held ? "a" : "b");
		q->tlsrpt->domain = xstrdup("a.example");
		q->tlsrpt->day = 19999 - held;
		q->tlsrpt->state = TLSRPT_DELIVERED;
		q->notices = xcalloc(1, sizeof *q->notices);
		q->nnotices = 1;
		q->notices[0].msg = rig_msg("r.example", 100);
		q->urgent = true;
		q->mail.reply_to = rig.mb;
		ck_assert_int_eq(rig_send_result(&rig, q), STORE_OK);
		store_stats(rig.s, &st);
		ck_assert_uint_eq(st.messages, (uint64_t)held);
	}
	rig_fini(&rig);
	clock_real();
	log_capture(NULL, NULL);
}
END_TEST

UNIT_MAIN("tlsrpt_send",
    tcase_add_loop_test(tc, private_addresses, 0, NELEMS(addrs));
    tcase_add_test(tc, mail);
    tcase_add_test(tc, mark_and_mail);)
