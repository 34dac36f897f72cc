/* Matchers: compilation and the check against hooks. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/matcher_int.h"

/* What a hook can know. */
enum {
	KNOWS_CONN = 1,		/* listener, client address, inbound TLS: the session or the message */
	KNOWS_HELO = 2,
	KNOWS_ENVELOPE = 4,	/* sender, tags, direction, requiretls */
	KNOWS_RCPT = 8,
	KNOWS_RCPT_DOMAIN = 16,
	KNOWS_HEADER = 32,
	KNOWS_CONTENT = 64,	/* size, what became of TLS-Required: No */
	KNOWS_BODY = 128,
};
static const struct {
	unsigned bit;
	const char *what;
} knowledge[] = {
	{ KNOWS_CONN, "a connection" },
	{ KNOWS_HELO, "the client's HELO name" },
	{ KNOWS_ENVELOPE, "a message" },
	{ KNOWS_RCPT_DOMAIN, "a recipient" },
	{ KNOWS_RCPT, "a recipient's address" },
	{ KNOWS_HEADER, "the message header" },
	{ KNOWS_CONTENT, "the message content" },
	{ KNOWS_BODY, "the message body" },
};
#define SESSION (KNOWS_CONN | KNOWS_HELO)
#define STORED (SESSION | KNOWS_ENVELOPE | KNOWS_RCPT | KNOWS_RCPT_DOMAIN | KNOWS_CONTENT)
static const unsigned hook_knows[HOOKS] = {
	[HOOK_CONNECT] = KNOWS_CONN,
	[HOOK_HELO] = SESSION,
	[HOOK_TLS] = SESSION,
	[HOOK_AUTH] = SESSION,
	[HOOK_MAIL] = SESSION | KNOWS_ENVELOPE,
	[HOOK_RCPT] = SESSION | KNOWS_ENVELOPE | KNOWS_RCPT | KNOWS_RCPT_DOMAIN,
	[HOOK_DATA] = SESSION | KNOWS_ENVELOPE | KNOWS_RCPT | KNOWS_RCPT_DOMAIN,
	[HOOK_HEADER] = SESSION | KNOWS_ENVELOPE | KNOWS_RCPT | KNOWS_RCPT_DOMAIN | KNOWS_HEADER,
	[HOOK_MESSAGE] = STORED | KNOWS_HEADER | KNOWS_BODY,
	[HOOK_BOUNCE_IN] = STORED | KNOWS_HEADER | KNOWS_BODY,
	[HOOK_DISCONNECT] = SESSION,
	[HOOK_ROUTE] = STORED,
	[HOOK_TLS_POLICY] = KNOWS_RCPT_DOMAIN,
	[HOOK_ATTEMPT] = STORED,
	[HOOK_EHLO] = STORED,
	[HOOK_UNMET] = STORED,
	[HOOK_RESULT] = STORED,
	[HOOK_BOUNCE] = STORED | KNOWS_HEADER,
	[HOOK_DSN] = STORED | KNOWS_HEADER,
	[HOOK_LOG] = 0,
	[HOOK_TLSRPT] = KNOWS_RCPT_DOMAIN,
	[HOOK_INIT] = 0,
	[HOOK_FINI] = 0,
	[HOOK_EVERY] = 0,
};

static const struct {
	const char *name;
	enum match_shape shape;
	unsigned needs;
} ops[MATCH_OPS] = {
	[MATCH_ALL] = { "all", SHAPE_KIDS, 0 },
	[MATCH_ANY] = { "any", SHAPE_KIDS, 0 },
	[MATCH_NO] = { "no", SHAPE_KID, 0 },
	[MATCH_LISTENER] = { "listener", SHAPE_WORDS, KNOWS_CONN },
	[MATCH_LISTENER_ROLE] = { "listener_role", SHAPE_WORDS, KNOWS_CONN },
	[MATCH_CLIENT_IP] = { "client_ip", SHAPE_WORDS, KNOWS_CONN },
	[MATCH_HELO] = { "helo", SHAPE_WORDS, KNOWS_HELO },
	[MATCH_TLS_INBOUND] = { "tls_inbound", SHAPE_OPT_WORDS, KNOWS_CONN },
	[MATCH_AUTH] = { "auth", SHAPE_OPT_WORDS, KNOWS_HELO },
	[MATCH_SENDER] = { "sender", SHAPE_WORDS, KNOWS_ENVELOPE },
	[MATCH_SENDER_DOMAIN] = { "sender_domain", SHAPE_WORDS, KNOWS_ENVELOPE },
	[MATCH_RCPT] = { "rcpt", SHAPE_WORDS, KNOWS_RCPT },
	[MATCH_RCPT_DOMAIN] = { "rcpt_domain", SHAPE_WORDS, KNOWS_RCPT_DOMAIN },
	[MATCH_SUBJECT_WORD] = { "subject_word", SHAPE_WORDS, KNOWS_HEADER },
	[MATCH_HEADER] = { "header", SHAPE_NAME_WORDS, KNOWS_HEADER },
	[MATCH_HAS_HEADER] = { "has_header", SHAPE_WORDS, KNOWS_HEADER },
	[MATCH_TAG] = { "tag", SHAPE_WORDS, KNOWS_ENVELOPE },
	[MATCH_ATTACHMENT] = { "attachment", SHAPE_OPT_WORDS, KNOWS_BODY },
	[MATCH_SIZE_OVER] = { "size_over", SHAPE_SIZE, KNOWS_CONTENT },
	[MATCH_DIRECTION] = { "direction", SHAPE_WORDS, KNOWS_ENVELOPE },
	[MATCH_REQUIRETLS] = { "requiretls", SHAPE_NONE, KNOWS_ENVELOPE },
	[MATCH_TLS_REQUIRED_NO] = { "tls_required_no", SHAPE_OPT_WORDS, KNOWS_CONTENT },
	[MATCH_TIME] = { "time", SHAPE_TIME, 0 },
	[MATCH_LUA] = { "lua", SHAPE_FUNCTION, 0 },
};

static const char *const directions[] = { "inbound", "outbound", "internal", NULL };
static const char *const roles[] = { "mx", "relay", "reinject", NULL };
static const char *const tls_nos[] =
    { "absent", "honoured", "ignored", "overridden", "malformed", NULL };
static const char *const weekdays[] = { "sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL };

const char *
match_op_name(enum match_op op)
{
	return ops[op].name;
}

enum match_shape
match_op_shape(enum match_op op)
{
	return ops[op].shape;
}

/* ---- Compilation ---- */

bool
policy_header_name_is_valid(struct slice name)
{
	if (name.n == 0 || name.n > 76)
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || name.p[i] > '~' || name.p[i] == ':')
			return false;
	return true;
}

bool
matcher_size_parse(struct slice text, uint64_t *out)
{
	static const char units[] = "KMG";
	const char *u = text.n < 2 ? NULL : strchr(units, text.p[text.n - 1]);
	unsigned shift = u == NULL || *u == '\0' ? 0 : 10 * (unsigned)(u - units + 1);

	if (shift > 0)
		text.n--;
	if (!slice_u64(text, out) || *out > UINT64_MAX >> shift)
		return false;
	*out <<= shift;
	return true;
}

static int
index_of(const char *const *list, const char *word)
{
	for (int i = 0; list[i] != NULL; i++)
		if (strcmp(list[i], word) == 0)
			return i;
	return -1;
}

/* Words out of a fixed list become bits. */
static bool
words_to_bits(struct matcher *m, const char *const *list, struct err *err)
{
	for (size_t i = 0; i < m->nwords; i++) {
		int k = index_of(list, m->words[i]);

		if (k < 0) {
			char known[128] = "";

			for (size_t j = 0; list[j] != NULL; j++)
				snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s",
				    j == 0 ? "" : ", ", list[j]);
			err_set(err, "\"%.100s\" is not one of %s", m->words[i], known);
			return false;
		}
		m->bits |= 1u << k;
	}
	return true;
}

size_t
matcher_net_key(char key[18], int family, unsigned bits, const uint8_t *ip)
{
	size_t n = family == AF_INET ? 4 : 16;

	key[0] = family == AF_INET ? 4 : 6;
	key[1] = (char)bits;
	memcpy(key + 2, ip, n);
	for (size_t i = bits / 8; i < n; i++)
		key[2 + i] &= i > bits / 8 || bits % 8 == 0 ? 0 : (char)(0xFF << (8 - bits % 8));
	return n + 2;
}

static void
note_bits(uint8_t *list, unsigned *n, unsigned bits)
{
	if (memchr(list, (int)bits, *n) == NULL)
		list[(*n)++] = (uint8_t)bits;
}

static bool
compile_nets(struct matcher *m, struct err *err)
{
	m->nets = names_init(xmalloc(names_size(m->nwords, m->nwords * 18)), m->nwords, m->nwords * 18,
	    true);
	for (size_t i = 0; i < m->nwords; i++) {
		struct net_cidr c;
		char key[18];

		if (net_cidr_parse(&c, slice_of(m->words[i]), err) != 0)
			return false;
		if (c.family == AF_INET)
			note_bits(m->v4_bits, &m->nv4, c.bits);
		else
			note_bits(m->v6_bits, &m->nv6, c.bits);
		names_add(m->nets, key, matcher_net_key(key, c.family, c.bits, c.ip));
	}
	return true;
}

static bool
minutes_parse(const char *text, unsigned *out)
{
	if (strlen(text) != 5 || text[2] != ':' || text[0] < '0' || text[0] > '2' || text[1] < '0' ||
	    text[1] > '9' || text[3] < '0' || text[3] > '5' || text[4] < '0' || text[4] > '9')
		return false;
	*out = (unsigned)((text[0] - '0') * 10 + text[1] - '0') * 60 +
	    (unsigned)((text[3] - '0') * 10 + text[4] - '0');
	return *out <= 24 * 60;
}

static bool
days_parse(struct slice rest, unsigned *out)
{
	struct slice part, first;

	while (slice_cut(&rest, ',', &part)) {
		char a[4] = "", b[4] = "";
		int from, to;

		part = slice_trim(part);
		slice_cut(&part, '-', &first);
		if (part.p == NULL)
			part = first;
		if (first.n != 3 || part.n != 3)
			return false;
		memcpy(a, first.p, 3);
		memcpy(b, part.p, 3);
		from = index_of(weekdays, a);
		to = index_of(weekdays, b);
		if (from < 0 || to < 0)
			return false;
		for (int d = from;; d = (d + 1) % 7) {
			*out |= 1u << d;
			if (d == to)
				break;
		}
	}
	return *out != 0;
}

static bool
compile_time(struct matcher *m, const struct match_args *a, struct err *err)
{
	m->utc = a->utc;
	m->to_min = 24 * 60;
	m->bits = a->days == NULL ? 0x7F : 0;
	if (a->days != NULL && !days_parse(slice_of(a->days), &m->bits)) {
		err_set(err, "days \"%.100s\" cannot be read; write \"mon-fri,sun\"", a->days);
		return false;
	}
	if ((a->from != NULL && !minutes_parse(a->from, &m->from_min)) ||
	    (a->to != NULL && !minutes_parse(a->to, &m->to_min))) {
		err_set(err, "a time of day is written \"08:00\", up to \"24:00\"");
		return false;
	}
	return true;
}

/* The lists of words that must be something in particular. */
static bool
compile_words(struct matcher *m, struct err *err)
{
	const char *const *words = (const char *const *)m->words;

	switch (m->op) {
	case MATCH_SENDER:
	case MATCH_RCPT:
		return address_set_init(&m->addresses, words, m->nwords, err);
	case MATCH_SENDER_DOMAIN:
	case MATCH_RCPT_DOMAIN:
		return domain_set_init(&m->domains, words, m->nwords, err);
	case MATCH_CLIENT_IP:
		return compile_nets(m, err);
	case MATCH_DIRECTION:
		return words_to_bits(m, directions, err);
	case MATCH_LISTENER_ROLE:
		return words_to_bits(m, roles, err);
	case MATCH_TLS_REQUIRED_NO:
		m->bits = m->nwords == 0 ? 1u << TLS_NO_HONOURED : 0;
		return words_to_bits(m, tls_nos, err);
	case MATCH_TLS_INBOUND:
		m->bits = m->nwords == 0 ? 0 : strcmp(m->words[0], "1.3") == 0 ? 3 : 2;
		if (m->nwords > 1 || (m->bits == 2 && strcmp(m->words[0], "1.2") != 0)) {
			err_set(err, "write nothing, \"1.2\" or \"1.3\"");
			return false;
		}
		return true;
	case MATCH_HAS_HEADER:
		for (size_t i = 0; i < m->nwords; i++) {
			if (!policy_header_name_is_valid(slice_of(m->words[i]))) {
				err_set(err, "\"%.100s\" is not a header name", m->words[i]);
				return false;
			}
		}
		return true;
	default:
		return true;
	}
}

struct matcher *
matcher_new(const struct match_args *a, struct err *err)
{
	struct matcher *m = xcalloc(1, sizeof *m);

	m->refs = 1;
	m->op = a->op;
	m->needs = ops[a->op].needs;
	m->size = a->size;
	m->fn_ref = a->fn_ref;
	m->kids = xcalloc(a->nkids + 1, sizeof *m->kids);
	for (; m->nkids < a->nkids; m->nkids++) {
		m->kids[m->nkids] = matcher_ref(a->kids[m->nkids]);
		m->needs |= m->kids[m->nkids]->needs;
	}
	m->words = xcalloc(a->nwords + 1, sizeof *m->words);
	m->folded = xcalloc(a->nwords + 1, sizeof *m->folded);
	for (; m->nwords < a->nwords; m->nwords++) {
		m->words[m->nwords] = xstrdup(a->words[m->nwords]);
		m->folded[m->nwords] = text_fold(a->words[m->nwords]);
		if (*m->folded[m->nwords] == '\0' && m->op != MATCH_SENDER && m->op != MATCH_HEADER) {
			m->nwords++;
			err_set(err, "an empty string matches nothing");
			goto bad;
		}
	}
	m->name = xstrdup(a->name);
	if (ops[m->op].shape == SHAPE_NAME_WORDS && !policy_header_name_is_valid(slice_of(m->name))) {
		err_set(err, "\"%.100s\" is not a header name", m->name == NULL ? "" : m->name);
		goto bad;
	}
	if ((ops[m->op].shape == SHAPE_WORDS && m->nwords == 0) ||
	    (ops[m->op].shape == SHAPE_KIDS && m->nkids == 0)) {
		err_set(err, "it needs at least one %s", m->op <= MATCH_ANY ? "matcher" : "value");
		goto bad;
	}
	if (!compile_words(m, err) || (m->op == MATCH_TIME && !compile_time(m, a, err)))
		goto bad;
	return m;
bad:
	err_prefix(err, "%s", ops[a->op].name);
	matcher_unref(m);
	return NULL;
}

struct matcher *
matcher_ref(struct matcher *m)
{
	m->refs++;
	return m;
}

void
matcher_unref(struct matcher *m)
{
	if (m == NULL || --m->refs > 0)
		return;
	for (size_t i = 0; i < m->nkids; i++)
		matcher_unref(m->kids[i]);
	for (size_t i = 0; i < m->nwords; i++) {
		free(m->words[i]);
		free(m->folded[i]);
	}
	free(m->kids);
	free(m->words);
	free(m->folded);
	free(m->name);
	free(m->nets);
	domain_set_fini(&m->domains);
	address_set_fini(&m->addresses);
	free(m);
}

/* The matcher inside `m` that asks for `bit`. */
static const struct matcher *
who_needs(const struct matcher *m, unsigned bit)
{
	for (size_t i = 0; i < m->nkids; i++)
		if ((m->kids[i]->needs & bit) != 0)
			return who_needs(m->kids[i], bit);
	return m;
}

bool
matcher_fits(const struct matcher *m, enum policy_hook hook, struct err *err)
{
	unsigned missing = m->needs & ~hook_knows[hook];

	for (size_t i = 0; i < NELEMS(knowledge); i++) {
		if ((missing & knowledge[i].bit) == 0)
			continue;
		err_set(err, "matcher %s cannot be used at hook %s: %s is not known there",
		    ops[who_needs(m, knowledge[i].bit)->op].name, policy_hook_name(hook),
		    knowledge[i].what);
		return false;
	}
	return true;
}

bool
matcher_is_about_parts(const struct matcher *m)
{
	return (m->needs & KNOWS_BODY) != 0;
}

/* ---- For people ---- */

static void
text_add(const struct matcher *m, struct buf *out, unsigned depth)
{
	buf_adds(out, ops[m->op].name);
	if (m->nkids > 0 && depth < 8) {
		buf_adds(out, " { ");
		for (size_t i = 0; i < m->nkids; i++) {
			if (i > 0)
				buf_adds(out, ", ");
			text_add(m->kids[i], out, depth + 1);
		}
		buf_adds(out, " }");
	}
	if (m->name != NULL)
		buf_printf(out, " \"%s\"", m->name);
	for (size_t i = 0; i < m->nwords && i < 4; i++)
		buf_printf(out, "%s\"%s\"", i == 0 && m->name == NULL ? " " : ", ", m->words[i]);
	if (m->nwords > 4)
		buf_printf(out, " and %zu more", m->nwords - 4);
	if (m->op == MATCH_SIZE_OVER)
		buf_printf(out, " %llu", (unsigned long long)m->size);
}

char *
matcher_text(const struct matcher *m)
{
	struct buf out;

	buf_init(&out, 16384);
	text_add(m, &out, 0);
	return buf_take(&out);
}
