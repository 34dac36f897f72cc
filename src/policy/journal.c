/* Lines of the journal, and calls that are done again. A call's line is begun when its chain begins, gets the answers
 * as the policy gets them, and is given away when the chain has ended; one that was cancelled leaves none. */
#include "config.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "policy/journal_int.h"

#define HOOKBIT(h) (1u << HOOK_##h)
/* Those that decide something, and can be done again. auth sees passwords. */
#define DECIDES (HOOKBIT(CONNECT) | HOOKBIT(HELO) | HOOKBIT(TLS) | HOOKBIT(MAIL) | HOOKBIT(RCPT) | HOOKBIT(DATA) | \
	HOOKBIT(MESSAGE) | HOOKBIT(ROUTE) | HOOKBIT(TLS_POLICY) | HOOKBIT(ATTEMPT) | HOOKBIT(EHLO) | \
	HOOKBIT(UNMET) | HOOKBIT(RESULT) | HOOKBIT(BOUNCE) | HOOKBIT(DSN))
/* These are only called, and cost memory, when a handler wants them. */
#define IF_ANY (HOOKBIT(HEADER) | HOOKBIT(BOUNCE_IN))

struct policy_journal {
	policy_journal_line *line;
	size_t body;
	uint64_t n;		/* calls so far */
};
struct journal_call {
	json_t *in, *own, *words, *waits;
	uint64_t n;
	int64_t at_ms;
	size_t body;		/* octets of it that handlers asked for */
};

bool
policy_journal_wants(const struct policy *p, enum policy_hook hook)
{
	return p != NULL && p->journal != NULL && (DECIDES >> hook & 1) != 0;
}

void
policy_journal_use(struct policy *p, policy_journal_line *fn, size_t body)
{
	if (fn == NULL) {
		free(p->journal);
		p->journal = NULL;
		return;
	}
	if (p->journal == NULL)
		p->journal = xcalloc(1, sizeof *p->journal);
	p->journal->line = fn;
	p->journal->body = body < JOURNAL_BODY_MAX ? body : JOURNAL_BODY_MAX;
}

/* ---- One call ---- */

struct journal_call *
policy_journal_begin(struct policy *p, enum policy_hook hook, const struct policy_subject *s)
{
	struct journal_call *c;

	if (((DECIDES | IF_ANY) >> hook & 1) == 0)
		return NULL;
	c = xcalloc(1, sizeof *c);
	c->in = journal_subject_write(s, hook);
	c->own = journal_own(s->msg);
	if (s->bounce != NULL && s->bounce->words != NULL)
		c->words = journal_words(s->bounce->words);
	c->n = ++p->journal->n;
	c->at_ms = clock_wall_ms();
	return c;
}

void
policy_journal_drop(struct journal_call *c)
{
	if (c == NULL)
		return;
	json_decref(c->in);
	json_decref(c->own);
	json_decref(c->words);
	json_decref(c->waits);
	free(c);
}

/* The digest of all of it, and its beginning as far as it was looked at. */
static json_t *
body_of(const struct journal_call *c, const struct policy_subject *s, size_t least)
{
	const struct content *ct = s->content != NULL ? s->content : s->msg == NULL ? NULL : s->msg->content;
	size_t want = c->body > least ? c->body : least;
	struct slice all, start;
	unsigned char digest[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE + 1];
	unsigned n = 0;
	json_t *o;

	if (ct == NULL || ct->header_size > ct->size)
		return NULL;
	all = content_body_peek(ct, SIZE_MAX);
	start = all;
	if (start.n > want)
		start.n = want;
	if (start.n > JOURNAL_BODY_MAX)
		start.n = JOURNAL_BODY_MAX;
	o = json_pack("{s:I, s:b}", "size", (json_int_t)(ct->size - ct->header_size), "whole", start.n == all.n);
	if (start.n > 0)
		json_object_set_new(o, "start", journal_text(start.p, start.n));
	if (ct->mem != NULL && EVP_Digest(ct->mem, (size_t)ct->size, digest, &n, EVP_sha256(), NULL) == 1) {
		hex_encode(hex, digest, n);
		json_object_set_new(o, "sha256", json_string(hex));
	}
	return o;
}

static void
put_line(struct policy *p, json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	if (text != NULL)
		p->journal->line(text, strlen(text));
	free(text);
	json_decref(o);
}

/* Takes c, which may be NULL. */
void
policy_journal_end(struct policy_gen *g, struct journal_call *c, enum policy_hook hook, const struct policy_subject *s,
    const struct verdict *v)
{
	struct policy *p = g->policy;
	json_t *o, *out, *own, *words = NULL, *body;

	if (c == NULL || p->journal == NULL) {
		policy_journal_drop(c);
		return;
	}
	out = json_pack("{s:o}", "verdict", journal_verdict(v));
	own = journal_own(s->msg);
	if (own != NULL && !json_equal(own, c->own))
		json_object_set(out, "own", own);
	json_decref(own);
	if (s->hop != NULL && s->hop->added != 0)
		json_object_set_new(out, "added", json_integer(s->hop->added));
	if (c->words != NULL)
		words = journal_words(s->bounce->words);
	if (words != NULL && !json_equal(words, c->words))
		json_object_set(out, "words", words);
	json_decref(words);
	if (json_object_get(c->in, "header") != NULL && (body = body_of(c, s, p->journal->body)) != NULL)
		json_object_set_new(c->in, "body", body);
	o = json_pack("{s:s, s:i, s:I, s:i, s:s%, s:I, s:s, s:o, s:o}", "k", "call", "v", JOURNAL_VERSION,
	    "n", (json_int_t)c->n, "w", (int)p->worker, "gen", policy_gen_id(g), (size_t)12, "at", (json_int_t)c->at_ms,
	    "hook", policy_hook_name(hook), "in", c->in, "out", out);
	c->in = NULL;
	if (c->waits != NULL)
		json_object_set(o, "waits", c->waits);
	policy_journal_drop(c);
	put_line(p, o);
}

void
policy_journal_session_end(struct policy *p, uint64_t session)
{
	char id[ID_TEXT];

	if (p->journal == NULL)
		return;
	id_format(id, session);
	put_line(p, json_pack("{s:s, s:i, s:I, s:i, s:s, s:I}", "k", "end", "v", JOURNAL_VERSION,
	    "n", (json_int_t)++p->journal->n, "w", (int)p->worker, "session", id, "at", (json_int_t)clock_wall_ms()));
}

/* ---- What was waited for ---- */

static json_t *
add_wait(struct policy_run *r, const char *kind, const char *key)
{
	struct journal_call *c = r->journal;
	json_t *o = json_pack("{s:s, s:o, s:I}", "kind", kind, "key", journal_text(key, strlen(key)), "at",
	    (json_int_t)clock_wall_ms());

	if (c->waits == NULL)
		c->waits = json_array();
	json_array_append_new(c->waits, o);
	return o;
}

/* In the continuation of a wait: the topmost n values are what the policy gets. */
void
policy_journal_answer(struct policy_run *r, lua_State *L, int n, const char *kind, const char *key)
{
	if (r->journal != NULL)
		json_object_set_new(add_wait(r, kind, key), "r", journal_lua(L, lua_gettop(L) - n + 1, n));
}

/* It ended without an answer. */
void
policy_journal_no_answer(struct policy_run *r, const char *kind, const char *key)
{
	if (r->journal != NULL && kind != NULL && key != NULL)
		json_object_set_new(add_wait(r, kind, key), "ended", json_true());
}

void
policy_body_read(struct policy_run *r, size_t n)
{
	const struct policy_replay *rp = r->gen->policy == NULL ? NULL : r->gen->policy->replay;

	if (r->journal != NULL && n > r->journal->body)
		r->journal->body = n;
	if (rp != NULL && rp->subject != NULL && rp->subject->content != NULL && !rp->subject->body_is_whole &&
	    n > content_body_peek(rp->subject->content, SIZE_MAX).n)
		policy_unknown(r, "body", "more of it than was recorded");
}

/* ---- Doing it again ---- */

void
policy_replay_use(struct policy *p, struct policy_replay *r)
{
	p->replay = r;
}

void
policy_unknown(struct policy_run *r, const char *kind, const char *key)
{
	struct policy_replay *rp = r->gen->policy->replay;

	if (rp->unknown[0] == '\0') {
		char shown[160];

		text_escape(shown, sizeof shown, key, strlen(key), true);
		snprintf(rp->unknown, sizeof rp->unknown, "%s %s", kind, shown);
		snprintf(rp->unknown_handler, sizeof rp->unknown_handler, "%s", r->h == NULL ? "" : r->h->name);
	}
	if (r->killed == KILL_NONE)
		r->killed = KILL_CANCEL;
}

/* May the same question be answered twice in one call? What changes nothing and was asked at the same time. */
static bool
is_lookup(const char *kind)
{
	return strncmp(kind, "dns.", 4) == 0 || strncmp(kind, "sts.", 4) == 0;
}

static const json_t *
find_wait(struct policy_replay *rp, const char *kind, const char *key)
{
	const json_t *o, *again = NULL;
	size_t i;

	json_array_foreach(rp->waits, i, o) {
		const char *k = json_string_value(json_object_get(o, "kind"));
		char *text;
		bool same;

		if (k == NULL || strcmp(k, kind) != 0 || i >= NELEMS(rp->used))
			continue;
		text = journal_text_read(json_object_get(o, "key"), NULL);
		same = text != NULL && strcmp(text, key) == 0;
		free(text);
		if (!same)
			continue;
		if (!rp->used[i]) {
			rp->used[i] = true;
			return o;
		}
		again = o;
	}
	return is_lookup(kind) ? again : NULL;
}

static void
set_time(struct policy_run *r, const json_t *o)
{
	int64_t at = json_integer_value(json_object_get(o, "at"));

	if (at <= clock_wall_ms())
		return;
	clock_fake(at, at);
	r->gen->now_ms = 0;
}

int
policy_replayed(lua_State *L, struct policy_run *r, const char *kind, const char *key)
{
	struct policy_replay *rp = r->gen->policy == NULL ? NULL : r->gen->policy->replay;
	const json_t *o;

	if (rp == NULL)
		return -1;
	r->waits++;
	o = find_wait(rp, kind, key);
	if (o == NULL && strcmp(kind, "sleep") == 0) {
		lua_pushboolean(L, 1);
		return 1;
	}
	if (o == NULL) {
		policy_unknown(r, kind, key);
		return policy_kill(L, KILL_CANCEL);
	}
	set_time(r, o);
	if (json_object_get(o, "r") == NULL)	/* its time was up, or gw.within's */
		return policy_push_error(L, "timeout", true, false, "%s: no answer was recorded", kind);
	return journal_lua_push(L, json_object_get(o, "r"));
}

const char *
policy_question(lua_State *L, struct policy_run *r, const char *what, struct slice text, int first)
{
	int n = lua_gettop(L) - first + 1;
	struct buf *b;
	json_t *args;
	char *dump;

	luaL_checkstack(L, 2, "question");
	if (r->journal == NULL && r->trace == NULL && r->gen->policy->replay == NULL) {
		lua_pushliteral(L, "");
		return "";
	}
	b = policy_push_buf(L, 256 * 1024);
	args = n > 0 ? journal_lua(L, first, n) : NULL;
	dump = args == NULL ? NULL : json_dumps(args, JSON_COMPACT | JSON_SORT_KEYS);
	buf_adds(b, what);
	buf_addc(b, ' ');
	buf_add(b, text.p, text.n);
	if (dump != NULL && (buf_room(b) <= strlen(dump) + 2 || !(buf_addc(b, ' ') && buf_adds(b, dump))))
		buf_printf(b, " #%016llx", (unsigned long long)hash64(dump, strlen(dump)));
	buf_addc(b, '\0');
	free(dump);
	json_decref(args);
	return buf_peek(b);
}

const char *
policy_replay_digest(const struct policy_run *r)
{
	const struct policy_replay *rp = r->gen->policy == NULL ? NULL : r->gen->policy->replay;

	return rp == NULL || rp->subject == NULL ? NULL : rp->subject->sha256;
}
