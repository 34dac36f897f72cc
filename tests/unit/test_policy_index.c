/* A chain with an index answers and counts as one that asks every rule: random rules, random mail, both ways. */
#include "policy_fixture.h"

#include "../fuzz/fuzz_random.h"
#include "policy/policy_int.h"

static uint32_t state;

static unsigned
pick(unsigned n)
{
	return (fuzz_random(&state) >> 8) % n;
}

static const char *const domains[] = { "acme.example", "a.acme.example", "b.a.acme.example", "clinic.example",
	"x.clinic.example", "other.example", "bank.example", "example", "[192.0.2.1]", "BANK.example" };
static const char *const nets[] = { "10.0.0.0/8", "10.1.2.3", "10.1.2.0/24", "192.0.2.0/25", "2001:db8::/32", "::1",
	"2001:db8::7/128", "0.0.0.0/0" };
static const char *const clients[] = { "10.1.2.3", "10.9.9.9", "192.0.2.200", "192.0.2.7", "2001:db8::7", "::1",
	"::ffff:10.1.2.3", "" };
#define SOME(list) list[pick(NELEMS(list))]

static void
add_matcher(struct buf *out, enum policy_hook hook, unsigned depth)
{
	static const char *const forms[] = { "", "", "", "*.", "." };
	unsigned k = pick(depth > 2 ? 6 : 12);

	switch (k) {
	case 0:
	case 1:
	case 2:
		buf_printf(out, "m.%s { '%s%s', '%s%s' }", k == 2 && hook != HOOK_MAIL ? "rcpt_domain" : "sender_domain", SOME(forms),
		    domains[pick(8)], SOME(forms), domains[pick(8)]);
		break;
	case 3:
		buf_printf(out, "m.client_ip { '%s', '%s' }", SOME(nets), SOME(nets));
		break;
	case 4:
		buf_printf(out, "m.listener '%s'", pick(2) == 0 ? "relay" : "inbound");
		break;
	case 5:
		buf_adds(out, pick(3) == 0 ? "m.sender_domain '*'" : hook == HOOK_MESSAGE && pick(2) == 0 ? "m.subject_word 'secure'" :
		    pick(2) == 0 ? "m.tag 't3'" : "m.lua(function() if gw.random(9) == 1 then error('no') end return true end)");
		break;
	case 6:
	case 7:
		buf_adds(out, "m.no(");
		add_matcher(out, hook, depth + 1);
		buf_adds(out, ")");
		break;
	default:
		buf_printf(out, "m.%s { ", k < 10 ? "all" : "any");
		for (unsigned n = 1 + pick(3); n > 0; n--) {
			add_matcher(out, hook, depth + 1);
			buf_adds(out, ", ");
		}
		buf_adds(out, "}");
	}
}

static char *
make_rules(enum policy_hook hook)
{
	static const char *const levels[] = { "normal", "normal", "mandatory", "advisory" };
	static const char *const changes[] = { "message:set_from('x@clinic.example')", "message:set_from('<>')",
		"message:set_from('y@b.a.acme.example')", "message:add_recipient('z@bank.example')",
		"message:remove_recipient(message.recipients[1])", "gw.sleep(0)", "local x = 1", "message:tag 't3'",
		"error('boom')", "return gw.accept {}" };
	struct buf out;

	buf_init(&out, 1 << 20);
	buf_adds(&out, "local m, a = gw.match, gw.action\n");
	for (unsigned i = 0, n = 5 + pick(60); i < n; i++) {
		bool is_rule = pick(8) != 0;

		if (is_rule)
			buf_printf(&out, "gw.rule { name = 'r%u', at = '%s', act = %s,", i, policy_hook_name(hook),
			    pick(20) == 0 ? "gw.reject { reason = 'x' }" : pick(20) == 0 ? "gw.defer {}" : "a.tag 't3'");
		else
			buf_printf(&out, "gw.on('%s', function(session, message) pcall(function() %s end) %s end, { name = 'r%u',\n"
			    "  observe = %s,", policy_hook_name(hook), SOME(changes), pick(4) == 0 ? SOME(changes) : "", i,
			    pick(4) == 0 ? "true" : "false");
		buf_printf(&out, " level = '%s', priority = %d, when = ", SOME(levels), (int)pick(4));
		if (pick(10) == 0)
			buf_adds(&out, "nil");
		else
			add_matcher(&out, hook, 0);
		buf_adds(&out, is_rule ? " }\n" : " })\n");
	}
	return buf_take(&out);
}

/* ---- One call, with or without ---- */

struct seen {
	enum verdict_kind kind;
	bool is_error;
	char handler[64];
	char *tags;
	size_t nrcpts, nhandlers;
	char *from;
	uint64_t counts[128][3];
	unsigned indexed;
};

static void
take(void *owner, uint64_t ticket, struct verdict *v)
{
	verdict_move(owner, v);
}

static void
vary(struct world *w, uint32_t seed)
{
	struct msg *m = w->msg;

	state = seed | 1;
	for (unsigned i = pick(4); i > 0; i--)
		msg_add_rcpt(m)->address = xstrdup("n@x.example");
	for (size_t i = 0; i < m->nrcpts; i++) {
		free(m->rcpts[i].domain);
		m->rcpts[i].domain = xstrdup(SOME(domains));
		m->rcpts[i].discarded = pick(8) == 0;
	}
	free(m->from_domain);
	m->from_domain = xstrdup(pick(10) == 0 ? "" : SOME(domains));
	w->listener.name = (char *)(pick(2) == 0 ? "relay" : "inbound");
	snprintf(w->info.peer_ip, sizeof w->info.peer_ip, "%s", SOME(clients));
	if (pick(8) == 0)
		w->session.listener = NULL;
}

static void
look(struct seen *s, struct fix *f, enum policy_hook hook, const struct verdict *v, const struct msg *m)
{
	s->kind = v->kind;
	s->is_error = v->is_error;
	snprintf(s->handler, sizeof s->handler, "%s", v->handler);
	s->tags = msg_tags_json(m);
	s->from = xstrdup(m->from);
	s->nrcpts = m->nrcpts;
	policy_index_settle(&f->g->chains[hook]);
	s->nhandlers = f->g->nhandlers;
	for (size_t i = 0; i < f->g->nhandlers && i < 128; i++) {
		const struct handler *h = f->g->handlers[i];

		memcpy(s->counts[i], (uint64_t[3]){ h->calls, h->hits, h->errors }, sizeof s->counts[i]);
	}
}

static void
run(struct seen *s, const char *text, enum policy_hook hook, uint32_t seed, bool with_index)
{
	struct fix f;
	struct world w;
	struct verdict v;
	uint64_t ticket;

	memset(s, 0, sizeof *s);
	fix_load(&f, text);
	s->indexed = f.g->chains[hook].index != NULL;
	if (!with_index) {
		policy_index_free(f.g->chains[hook].index);
		f.g->chains[hook].index = NULL;
	}
	for (uint32_t i = 0; i < 8; i++) {
		struct policy_subject *subject;

		world_init(&w);
		vary(&w, seed * 31 + i);
		w.msg->id = 1000 + i;	/* gw.random is of the message */
		subject = world_for(&w, hook);
		if (pick(6) == 0)
			subject->header = (struct slice){ NULL, 0 };
		memset(&v, 0, sizeof v);
		if (policy_call(f.p, f.g, hook, subject, &v, take, &v, &ticket) == POLICY_LATER) {
			struct policy_stats st = { .waiting = 1 };

			for (int k = 0; st.waiting > 0 && k < 1000; k++) {
				event_base_loop(f.base, EVLOOP_ONCE);
				policy_stats(f.p, &st);
			}
			ck_assert_uint_eq(st.waiting, 0);
		}
		free(s->tags);
		free(s->from);
		look(s, &f, hook, &v, w.msg);
		verdict_fini(&v);
		world_fini(&w, f.g);
	}
	fix_fini(&f);
}

#define ROUNDS 30

START_TEST(same)
{
	static const enum policy_hook hooks[] = { HOOK_MESSAGE, HOOK_DATA, HOOK_MAIL, HOOK_RCPT };
	unsigned indexed = 0;

	for (uint32_t i = 0; i < ROUNDS; i++) {
		enum policy_hook hook = hooks[(unsigned)_i % NELEMS(hooks)];
		uint32_t seed = (uint32_t)(_i * ROUNDS) + i + 1;
		struct seen with, without;
		char *text;

		state = seed * 2654435761u | 1;
		text = make_rules(hook);
		run(&with, text, hook, seed, true);
		run(&without, text, hook, seed, false);
		ck_assert_msg(with.kind == without.kind && with.is_error == without.is_error, "%.1500s", text);
		ck_assert_msg(strcmp(with.handler, without.handler) == 0, "%s/%s\n%.1500s", with.handler, without.handler, text);
		ck_assert_msg(strcmp(with.tags, without.tags) == 0 && strcmp(with.from, without.from) == 0, "%.1500s", text);
		ck_assert_uint_eq(with.nrcpts, without.nrcpts);
		for (size_t k = 0; k < with.nhandlers; k++)
			for (int n = 0; n < 3; n++)
				ck_assert_msg(with.counts[k][n] == without.counts[k][n], "r%zu, %d: %llu %llu\n%.1500s", k, n,
				    (unsigned long long)with.counts[k][n], (unsigned long long)without.counts[k][n], text);
		indexed += with.indexed;
		free(text);
		free(with.tags);
		free(with.from);
		free(without.tags);
		free(without.from);
	}
	ck_assert_uint_ge(indexed, ROUNDS / 2);
}
END_TEST

/* A thousand rules are not asked one by one. */
START_TEST(left_out)
{
	struct fix f;
	struct world w;
	struct verdict v;

	fix_load(&f, "for i = 1, 1000 do gw.rule { name = 'r' .. i, at = 'message', act = gw.action.tag('t' .. i),\n"
	    "  when = gw.match.sender_domain(i == 700 and 'acme.example' or 'd' .. i .. '.example') } end\n"
	    "for i = 1, 1000 do gw.rule { name = 'n' .. i, at = 'message', act = gw.action.tag('n' .. i),\n"
	    "  when = gw.match.client_ip(i == 300 and '10.0.0.0/8' or '172.16.' .. i // 4 .. '.' .. i % 4 * 64 .. '/26') } end\n");
	world_init(&w);
	fix_call(&f, HOOK_MESSAGE, &w, &v);
	ck_assert(msg_has_tag(w.msg, "t700") && msg_has_tag(w.msg, "n300"));
	ck_assert_uint_eq(w.msg->ntags, 2);
	ck_assert_uint_eq(f.g->handlers[0]->calls, 0);
	policy_index_settle(&f.g->chains[HOOK_MESSAGE]);
	policy_index_settle(&f.g->chains[HOOK_MESSAGE]);
	for (size_t i = 0; i < f.g->nhandlers; i++) {
		ck_assert_uint_eq(f.g->handlers[i]->calls, 1);
		ck_assert_uint_eq(f.g->handlers[i]->hits, i == 699 || i == 1299);
	}
	verdict_fini(&v);
	world_fini(&w, f.g);
	fix_fini(&f);
}
END_TEST

UNIT_MAIN("policy_index",
	tcase_add_loop_test(tc, same, 0, 8);
	tcase_add_test(tc, left_out);)
