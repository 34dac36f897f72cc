/* A policy on made-up sessions, messages and hops, for unit tests: one text of Lua, loaded as the
 * daemon would, called through policy_call. */
#ifndef TESTS_POLICY_FIXTURE_H
#define TESTS_POLICY_FIXTURE_H

#include "unit.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/policy.h"

struct fix {
	struct event_base *base;
	struct policy *p;
	struct policy_bundle *bundle;
	struct policy_gen *g;
	struct conf *conf;
	struct err err;
};

static const char *fix_libdir;	/* of the shipped library; NULL: without */
static const char *fix_options;	/* Lua text of policy.options; NULL: none */
static char fix_log[16384];	/* what was logged, a line each */

static inline void
fix_line(void *arg, const char *line)
{
	size_t n = strlen(fix_log);

	(void)arg;
	snprintf(fix_log + n, sizeof fix_log - n, "%s\n", line);
}

static const char fix_gateway[] =
    "return gw.config { version = 1,\n"
    "  identity = { hostname = 'mx1.acme.example', postmaster = 'postmaster@acme.example' },\n"
    "  service = { state = 'state' },\n"
    "  listeners = {\n"
    "    inbound = { bind = { '127.0.0.1:2525' }, role = 'mx' },\n"
    "    relay = { bind = { '127.0.0.1:2587' }, role = 'relay', clients = { '10.0.0.0/8' } } },\n"
    "  domains = { { match = { 'acme.example', '*.acme.example' }, kind = 'local', route = 'inside' },\n"
    "    { match = '*', kind = 'remote', route = 'internet' } },\n"
    "  routes = { inside = { via = { 'ex1.acme.example:25' } }, internet = { via = 'mx' },\n"
    "    portal = { via = { '192.0.2.8:465' } } },\n"
    "  policy = { load = { 'policy.lua' }, options = %s,\n"
    "    grants = { fax = { relaxes = 'requiretls', to = 'verify', domains = { 'fax.example' },\n"
    "      owner = 'ops@acme.example', expires = '2099-12-31', max_per_day = 9 } } } }\n";

static const char *fix_more = "";	/* further settings: "tables = { ... }," */

static inline void
fix_write(const char *dir, const char *name, const char *text)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "w");
	ck_assert_msg(f != NULL, "%s", path);
	fputs(text, f);
	fclose(f);
}

/* False, with f->err, when the policy does not load. `policy` is Lua text. */
static inline bool
fix_try(struct fix *f, const char *policy)
{
	char dir[] = "policy-test-XXXXXX", file[300], *errors = NULL, *cwd = getcwd(NULL, 0), *gateway, *settings;

	memset(f, 0, sizeof *f);
	fix_log[0] = '\0';
	log_capture(fix_line, NULL);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	settings = xasprintf(fix_gateway, fix_options == NULL ? "{}" : fix_options);
	gateway = xasprintf("return gw.config { %s%s", fix_more, settings + strlen("return gw.config {"));
	free(settings);
	fix_write(dir, "gateway.lua", gateway);
	free(gateway);
	fix_write(dir, "policy.lua", policy);
	snprintf(file, sizeof file, "%s/%s/gateway.lua", cwd, dir);
	f->conf = conf_load(file, false, &errors);
	ck_assert_msg(f->conf != NULL, "%s", errors == NULL ? "?" : errors);
	f->base = event_base_new();
	f->p = policy_new(f->base, NULL, 0);
	f->bundle = policy_bundle_read(f->conf, fix_libdir, &f->err);
	ck_assert_msg(f->bundle != NULL, "%s", f->err.text);
	f->g = policy_gen_new(f->p, f->bundle, f->conf, &f->err);
	snprintf(file, sizeof file, "%s/gateway.lua", dir);
	unlink(file);
	snprintf(file, sizeof file, "%s/policy.lua", dir);
	unlink(file);
	rmdir(dir);
	free(cwd);
	free(errors);
	return f->g != NULL;
}

static inline void
fix_load(struct fix *f, const char *policy)
{
	bool ok = fix_try(f, policy);

	ck_assert_msg(ok, "%s", f->err.text);
}

static inline void
fix_fini(struct fix *f)
{
	policy_gen_unref(f->g);
	policy_bundle_unref(f->bundle);
	policy_free(f->p);
	event_base_free(f->base);
	conf_unref(f->conf);
	log_capture(NULL, NULL);
}

/* ---- Something to look at ---- */
struct world {
	struct msg *msg;
	struct conf_listener listener;
	struct smtp_session_info info;
	struct net_addr peer, local;
	struct tls_info tls_in, tls_out;
	struct smtp_cred cred;
	struct policy_session session;
	void *vars;
	struct policy_hop hop, old_hop;
	struct policy_result result, last;
	struct dsn_rcpt dsn_rcpts[2];
	struct report report;
	struct dsn_words words;
	struct policy_bounce bounce;
	struct route route;
	struct policy_subject s;
};

static const char world_header[] =
    "Received: from x by y; now\r\n"
    "From: \"Ann, of Acme\" <Ann@ACME.example>\r\n"
    "To: bob@clinic.example\r\n"
    "Subject: =?utf-8?q?=5BSecure=5D_r=C3=A9sum=C3=A9?=\r\n"
    "X-Multi: one\r\n"
    "X-Folded: a\r\n b\r\n"
    "X-Multi: two\r\n"
    "\r\n";
static const char world_body[] = "Hello there.\r\n";

static inline void
world_message(struct world *w)
{
	char *text = xasprintf("%s%s", world_header, world_body);
	struct msg *m = w->msg = msg_new();
	struct msg_rcpt *r;

	m->id = id_new(1);
	m->session = 7;
	m->received_ms = 1795392000500;
	m->from = xstrdup("ann@acme.example");
	m->from_domain = xstrdup("acme.example");
	m->direction = DIR_OUTBOUND;
	m->tls_no = TLS_NO_HONOURED;
	m->ret = RET_FULL;
	m->envid = xstrdup("QQ314");
	m->peer_ip = xstrdup("10.1.2.3");
	m->listener = xstrdup("relay");
	m->content = content_from_memory(text, strlen(text), sizeof world_header - 1);
	m->content_size = m->content->size;
	r = msg_add_rcpt(m);
	r->address = xstrdup("Bob@clinic.example");
	r->domain = xstrdup("clinic.example");
	r->orcpt = xstrdup("rfc822;bob@clinic.example");
	r->notify = NOTIFY_FAILURE | NOTIFY_DELAY;
	r = msg_add_rcpt(m);
	r->address = xstrdup("postmaster@other.example");
	r->domain = xstrdup("other.example");
}

/* Everything is there; world_for takes away what a hook does not have. */
static inline void
world_init(struct world *w)
{
	static const uint8_t ip[4] = { 10, 1, 2, 3 }, us[4] = { 10, 0, 0, 5 };

	memset(w, 0, sizeof *w);
	world_message(w);
	w->listener = (struct conf_listener){ .name = (char *)"relay", .role = ROLE_RELAY };
	net_addr_set(&w->peer, AF_INET, ip, 40001);
	net_addr_set(&w->local, AF_INET, us, 587);
	w->tls_in = (struct tls_info){ .version = "TLSv1.3", .cipher = "TLS_AES_256_GCM_SHA384",
	    .sni = "mx1.acme.example", .cert_sha256 = "ab12", .subject = "CN=ann", .issuer = "CN=ca",
	    .names = "ann.acme.example, b.acme.example", .chain_ok = true };
	w->cred = (struct smtp_cred){ .mech = "PLAIN", .authzid = "", .authcid = "ann", .password = "secret" };
	w->info = (struct smtp_session_info){ .id = id_new(2), .peer = &w->peer, .local = &w->local,
	    .tls = &w->tls_in, .helo = (char *)"client.acme.example", .esmtp = true,
	    .started_ms = 1795392000000, .messages = 1, .recipients = 2, .errors = 3 };
	snprintf(w->info.peer_ip, sizeof w->info.peer_ip, "10.1.2.3");
	w->session = (struct policy_session){ .info = &w->info, .listener = &w->listener,
	    .peer_name = "client.acme.example", .vars = &w->vars };
	w->route = (struct route){ .name = (char *)"internet", .via_mx = true, .port = 25,
	    .tls = TLS_ENCRYPT, .ipv4 = true };
	w->tls_out = (struct tls_info){ .version = "TLSv1.2", .cipher = "ECDHE", .names = "mx.clinic.example",
	    .verify_error = "self-signed certificate" };
	w->hop = (struct policy_hop){ .destination = "clinic.example", .route = &w->route,
	    .host = "mx.clinic.example", .ip = "192.0.2.7", .port = 25, .preference = 10, .attempt = 2,
	    .mx = MX_DNSSEC, .sts = STS_ENFORCE, .tlsa = TLSA_USABLE, .tlsa_count = 1,
	    .caps = SMTP_EXT_STARTTLS | SMTP_EXT_SIZE, .tls = &w->tls_out, .verified = PEER_DANE,
	    .duties = duties_of_level(TLS_REQUIRETLS, DUTY_BY_SENDER),
	    .met = DUTY_ENCRYPT | DUTY_AUTHENTICATE, .unmet = DUTY_PROPAGATE };
	w->old_hop = w->hop;
	w->old_hop.host = "old.clinic.example";
	static const char *const cause[] = { "mx.clinic.example: timeout" };
	w->result = (struct policy_result){ .kind = "deferred", .code = 451, .status = "4.4.2",
	    .text = "try later", .stage = "data", .attempts = 3, .first_attempt_ms = 1795392000000,
	    .next_attempt_ms = 1795392060000, .hop = &w->hop, .cause = cause, .ncause = 1 };
	w->last = w->result;
	w->last.hop = &w->old_hop;
	w->last.attempts = 2;
	w->dsn_rcpts[0] = (struct dsn_rcpt){ .address = "bob@clinic.example", .action = DSN_FAILED,
	    .status = "5.7.30", .remote_mta = "mx.clinic.example", .diagnostic = "x-sallyport; no REQUIRETLS",
	    .last_attempt_ms = 1795392000000 };
	w->dsn_rcpts[1] = (struct dsn_rcpt){ .address = "eve@other.example", .action = DSN_FAILED,
	    .status = "5.1.1", .reply = "550 5.1.1 no such user" };
	w->words = (struct dsn_words){ .subject = xstrdup("Undeliverable"), .return_content = RET_HDRS };
	static const char report_text[] = "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
	    "Reporting-MTA: dns; mx.far.example\r\nOriginal-Envelope-Id: QQ314\r\nX-More: =?utf-8?q?=C3=A4?=\r\n\r\n"
	    "Final-Recipient: rfc822; bob@clinic.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
	    "Diagnostic-Code: smtp; 550 no\r\n such user\r\nRemote-MTA: dns; mx.clinic.example\r\n"
	    "--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <1@acme.example>\r\n--b--\r\n";
	struct header report_header;
	header_parse(&report_header, SLICE("Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n"));
	ck_assert(report_parse(&w->report, &report_header, slice_of(report_text), true));
	header_fini(&report_header);
	w->bounce = (struct policy_bounce){ .kind = DSN_FAILED, .rcpts = w->dsn_rcpts, .nrcpts = 2,
	    .words = &w->words };
}

static inline struct policy_subject *
world_for(struct world *w, enum policy_hook hook)
{
	struct policy_subject *s = &w->s;
	bool live = hook <= HOOK_DISCONNECT;

	*s = (struct policy_subject){ .rcpt = -1 };
	if (live)
		s->session = &w->session;
	if (hook == HOOK_AUTH)
		s->cred = &w->cred;
	if (hook == HOOK_HELO)
		s->name = w->info.helo;
	if (hook == HOOK_TLS_POLICY) {
		s->domain = "clinic.example";
		s->route = &w->route;
		return s;
	}
	if (hook == HOOK_TLSRPT) {
		s->domain = "clinic.example";
		s->day = "2026-11-29";
		return s;
	}
	if (hook >= HOOK_MAIL && hook != HOOK_DISCONNECT && hook < HOOK_LOG) {
		s->msg = w->msg;
		s->may_edit = live;
	}
	if (hook == HOOK_RCPT || hook == HOOK_ROUTE || hook == HOOK_RESULT)
		s->rcpt = 0;
	if (hook == HOOK_RCPT)
		s->relay = "allowed";
	if (hook == HOOK_BOUNCE_IN)
		s->report = &w->report;
	if (hook == HOOK_BOUNCE_IN || hook == HOOK_HEADER || hook == HOOK_MESSAGE || hook == HOOK_BOUNCE || hook == HOOK_DSN)
		s->header = slice_of(world_header);
	if (hook == HOOK_MESSAGE)
		s->content = w->msg->content;
	if (hook == HOOK_ROUTE)
		s->route = &w->route;
	if (hook == HOOK_ATTEMPT || hook == HOOK_EHLO || hook == HOOK_UNMET)
		s->hop = &w->hop;
	if (hook == HOOK_RESULT) {
		s->result = &w->result;
		s->last = &w->last;
		s->rcpt_state = "active";
	}
	if (hook == HOOK_BOUNCE || hook == HOOK_DSN)
		s->bounce = &w->bounce;
	if (hook == HOOK_LOG)
		s->event_json = "{\"what\":\"delivered\",\"n\":[1,2]}";
	return s;
}

static inline void
world_fini(struct world *w, struct policy_gen *g)
{
	policy_session_end(g, &w->vars);
	dsn_words_fini(&w->words);
	report_fini(&w->report);
	msg_unref(w->msg);
}

static inline void
fix_no_answer(void *owner, uint64_t ticket, struct verdict *v)
{
	(void)owner, (void)ticket, (void)v;
}

/* Calls the hook, which must not wait. */
static inline void
fix_call(struct fix *f, enum policy_hook hook, struct world *w, struct verdict *v)
{
	uint64_t ticket;

	ck_assert_int_eq(policy_call(f->p, f->g, hook, world_for(w, hook), v, fix_no_answer, NULL, &ticket),
	    POLICY_NOW);
}

#endif
