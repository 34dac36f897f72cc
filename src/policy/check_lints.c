/* What `policy check` finds beyond what loading finds: in the bytecode of functions, and in the chains of
 * handlers and rules. Each is a plain case, seen without running anything: what is not plain is left
 * alone. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "policy/api.h"
#include "policy/check_int.h"
#include "policy/matcher_int.h"
#include "policy/rules.h"

/* ---- Names of the API ---- */

static int
by_text(const void *a, const void *b)
{
	return strcmp(a, *(const char *const *)b);
}

static size_t
count_names(void)
{
	static size_t n;	/* the same for ever */

	for (size_t i = n; n == 0 && policy_api_names[i] != NULL; i++)
		if (policy_api_names[i + 1] == NULL)
			n = i + 1;
	return n;
}

static bool
is_name(const char *text)
{
	return bsearch(text, policy_api_names, count_names(), sizeof *policy_api_names, by_text) != NULL;
}

/* The nearest name that begins with prefix, without it; NULL. */
static const char *
nearest_below(const char *prefix, const char *word)
{
	size_t n = strlen(prefix), k = 0;
	const char **list = xcalloc(count_names() + 1, sizeof *list), *near;

	for (size_t i = 0; i < count_names(); i++)
		if (strncmp(policy_api_names[i], prefix, n) == 0)
			list[k++] = policy_api_names[i] + n;
	near = policy_nearest(word, list);
	free(list);
	return near;
}

static bool
has_below(const char *prefix)
{
	size_t n = strlen(prefix);

	for (size_t i = 0; i < count_names(); i++)
		if (strncmp(policy_api_names[i], prefix, n) == 0)
			return true;
	return false;
}

/* "gw.log.warn" in the state itself: a library that is not the shipped one may bring more. */
static bool
is_registered(lua_State *L, const char *path)
{
	int top = lua_gettop(L);
	bool yes = true;

	luaL_checkstack(L, 8, "check");
	lua_pushglobaltable(L);
	for (const char *p = path; yes && p != NULL; p = strchr(p, '.'), p += p != NULL) {
		if (lua_type(L, -1) == LUA_TTABLE && policy_push_shadow(L, -1))
			lua_remove(L, -2);
		yes = lua_type(L, -1) == LUA_TTABLE;
		if (yes) {
			lua_pushlstring(L, p, strcspn(p, "."));
			yes = lua_rawget(L, -2) != LUA_TNIL;
		}
	}
	lua_settop(L, top);
	return yes;
}

/* Says so when there is no prefix..word. */
static void
check_name(struct policy_gen *g, const struct proto *f, size_t i, const char *what, const char *prefix,
    const char *word)
{
	char name[160];
	const char *near;

	snprintf(name, sizeof name, "%s%s", prefix, word);
	if (is_name(name) || (strncmp(name, "gw.", 3) == 0 && strchr(name, ':') == NULL && is_registered(g->L, name)))
		return;
	near = nearest_below(prefix, word);
	policy_problem(g, true, "%s:%d: %s has no field '%s'%s%s%s", f->source, f->lines[i], what, word,
	    near == NULL ? "" : " (did you mean '", near == NULL ? "" : near, near == NULL ? "" : "'?)");
}

/* gw.rejct, gw.log.warm: a handler would find out when it runs. */
static void
check_gw_names(struct policy_gen *g, const struct proto *f, size_t i)
{
	const char *name = check_gw_read(f, i);
	char prefix[80];
	uint32_t next;

	if (name == NULL || name[0] == '\0')
		return;
	snprintf(prefix, sizeof prefix, "gw.%s.", name);
	if (!has_below(prefix)) {
		check_name(g, f, i, "gw", "gw.", name);
		return;
	}
	next = i + 2 < f->ncode ? f->code[i + 2] : 0;
	if (INS_OP(next) == OP_GETFIELD && INS_B(next) == INS_A(f->code[i + 1]) &&
	    check_constant(f, INS_C(next))[0] != '\0') {
		char what[80];

		snprintf(what, sizeof what, "gw.%s", name);
		check_name(g, f, i, what, prefix, check_constant(f, INS_C(next)));
	}
}

/* Does it change the register? */
static bool
writes(uint32_t ins, unsigned reg)
{
	unsigned op = INS_OP(ins), a = INS_A(ins);

	if (op == OP_CALL || op == OP_TFORCALL || op == OP_VARARG)
		return reg >= a;
	return a == reg && (op <= OP_GETUPVAL || (op >= OP_GETTABUP && op <= OP_GETFIELD) ||
	    (op >= OP_NEWTABLE && op <= OP_SHR) || (op >= OP_UNM && op <= OP_CONCAT) || op == OP_TESTSET ||
	    op == OP_CLOSURE);
}

/* ---- Forgotten return ---- */

/* Where the function that was read into register r by instruction i is called; 0: nowhere plain. */
static size_t
call_of(const struct proto *f, size_t i, unsigned r)
{
	for (i++; i < f->ncode; i++) {
		if (INS_OP(f->code[i]) == OP_CALL && INS_A(f->code[i]) == r)
			return i;
		/* returned at once, or the register is something else by now */
		if ((INS_OP(f->code[i]) == OP_TAILCALL && INS_A(f->code[i]) <= r) || writes(f->code[i], r))
			return 0;
	}
	return 0;
}

static void
check_return(struct policy_gen *g, const struct proto *f, size_t i)
{
	const char *name = check_gw_read(f, i);
	size_t call;

	if (name == NULL || check_constructor(name) == VERDICT_NONE)
		return;
	call = call_of(f, i + 1, INS_A(f->code[i + 1]));
	if (call != 0 && INS_C(f->code[call]) == 1)	/* no results are wanted */
		policy_problem(g, true, "%s:%d: the verdict of gw.%s is thrown away: 'return' is missing in front of it",
		    f->source, f->lines[i], name);
}

/* ---- pairs into what has an order ---- */

static bool
is_ordered_output(const char *method)
{
	static const char *const list[] = {
		"add_header", "set_header", "add_recipient", "note", "redact_host", NULL
	};

	for (size_t i = 0; list[i] != NULL; i++)
		if (strcmp(list[i], method) == 0)
			return true;
	return false;
}

/* Sets of the gateway have an order. */
static bool
is_view(const char *field)
{
	static const char *const list[] = {
		"tags", "notify", "caps", "redact", "duties", "met", "unmet", "vars", NULL
	};

	for (size_t i = 0; list[i] != NULL; i++)
		if (strcmp(list[i], field) == 0)
			return true;
	return false;
}

/* `i` reads the global pairs. */
static void
check_pairs(struct policy_gen *g, const struct proto *f, size_t i)
{
	unsigned base = INS_A(f->code[i]);
	size_t at = i + 1, end;
	const char *what = NULL;

	while (at < f->ncode && INS_OP(f->code[at]) != OP_TFORPREP) {
		if (INS_OP(f->code[at]) == OP_GETFIELD && is_view(check_constant(f, INS_C(f->code[at]))))
			return;
		if (at++ > i + 40)
			return;
	}
	if (at >= f->ncode || INS_A(f->code[at]) != base)
		return;
	end = at + 1 + INS_BX(f->code[at]);
	for (size_t k = at + 1; k < end && k < f->ncode && what == NULL; k++) {
		uint32_t ins = f->code[k], next = k + 1 < f->ncode ? f->code[k + 1] : 0;
		const char *gw = check_gw_read(f, k);

		if (INS_OP(ins) == OP_SELF && is_ordered_output(check_constant(f, INS_C(ins))))
			what = check_constant(f, INS_C(ins));
		else if (gw != NULL && strcmp(gw, "log") == 0)
			what = "gw.log";
		else if (INS_OP(ins) == OP_CONCAT && INS_OP(next) == OP_MOVE && INS_B(next) == INS_A(ins) &&
		    INS_A(next) < base)
			what = "a text that grows";
	}
	if (what != NULL)
		policy_problem(g, false, "%s:%d: the order of pairs differs from run to run, and it goes into %s; use "
		    "gw.sorted_pairs", f->source, f->lines[i], what);
}

void
check_function(struct policy_gen *g, const struct proto *f)
{
	for (size_t i = 0; i < f->ncode; i++) {
		const char *global = check_global_read(f, i);

		check_gw_names(g, f, i);
		check_return(g, f, i);
		if (global != NULL && strcmp(global, "pairs") == 0)
			check_pairs(g, f, i);
	}
}

/* ---- Arguments of a handler ---- */

/* message:subjct(), rcpt.adress: of arguments that the handler leaves as they are. */
static void
check_argument(struct policy_gen *g, const struct proto *f, unsigned reg, const char *owner)
{
	const char *what = strncmp(owner, "gw.", 3) == 0 ? owner + 3 : owner;
	char prefix[80];

	snprintf(prefix, sizeof prefix, "%s:", owner);
	for (size_t i = 0; i < f->ncode; i++) {
		if (writes(f->code[i], reg))
			return;
	}
	for (size_t i = 0; i < f->ncode; i++) {
		uint32_t ins = f->code[i];
		const char *key = "";

		if (INS_OP(ins) == OP_GETFIELD && INS_B(ins) == reg)
			key = check_constant(f, INS_C(ins));
		else if (INS_OP(ins) == OP_SELF && INS_B(ins) == reg && INS_K(ins))
			key = check_constant(f, INS_C(ins));
		else if (INS_OP(ins) == OP_SETFIELD && INS_A(ins) == reg)
			key = check_constant(f, INS_B(ins));
		if (key[0] != '\0')
			check_name(g, f, i, what, prefix, key);
	}
}

void
check_handler_arguments(struct policy_gen *g, const struct proto *f, const struct handler *h)
{
	const char *const *args = policy_api_hook_args[h->hook];
	unsigned n = 0;

	while (args[n] != NULL)
		n++;
	if (f->nparams > n)
		policy_problem(g, true, "%s:%d: the handler '%s' takes %u arguments, and the hook '%s' gives %u",
		    f->source, f->line, h->name, f->nparams, policy_hook_name(h->hook), n);
	for (unsigned i = 0; i < f->nparams && i < n; i++) {
		if (args[i][0] != '\0')
			check_argument(g, f, i, args[i]);
	}
}

/* ---- Rules that can never hold, or are never reached ---- */

static bool
has_word(const struct matcher *m, const char *folded)
{
	for (size_t i = 0; i < m->nwords; i++)
		if (strcmp(m->folded[i], folded) == 0)
			return true;
	return false;
}

/* Of two matchers of one kind: is there nothing that fits both? Only where that can be seen. */
static bool
are_disjoint(const struct policy_gen *g, const struct matcher *a, const struct matcher *b)
{
	if (a->op == b->op) {
		switch (a->op) {
		case MATCH_DIRECTION: case MATCH_LISTENER_ROLE: case MATCH_TLS_REQUIRED_NO:
			return (a->bits & b->bits) == 0;
		case MATCH_LISTENER:
			for (size_t i = 0; i < a->nwords; i++)
				if (has_word(b, a->folded[i]))
					return false;
			return true;
		default:
			return false;
		}
	}
	if (a->op == MATCH_LISTENER && b->op == MATCH_LISTENER_ROLE) {
		for (size_t i = 0; i < a->nwords; i++) {
			const struct conf_listener *l = conf_listener(g->conf, a->words[i]);

			if (l == NULL || (b->bits >> (l->role == ROLE_MX ? 0 : l->role == ROLE_RELAY ? 1 : 2) & 1) != 0)
				return false;
		}
		return true;
	}
	return false;
}

static bool subsumes(const struct matcher *a, const struct matcher *b, int depth);

/* It can never hold. */
static bool
is_never(const struct policy_gen *g, const struct matcher *m, int depth)
{
	if (depth > 8)
		return false;
	if (m->op == MATCH_ANY) {
		for (size_t i = 0; i < m->nkids; i++)
			if (!is_never(g, m->kids[i], depth + 1))
				return false;
		return true;
	}
	if (m->op != MATCH_ALL)
		return false;
	for (size_t i = 0; i < m->nkids; i++) {
		if (is_never(g, m->kids[i], depth + 1))
			return true;
		for (size_t k = 0; k < m->nkids; k++) {
			const struct matcher *a = m->kids[i], *b = m->kids[k];

			if (i != k && are_disjoint(g, a, b))
				return true;
			/* x, and no(y) where y holds whenever x does */
			if (i != k && b->op == MATCH_NO && subsumes(b->kids[0], a, depth + 1))
				return true;
		}
	}
	return false;
}

static bool
all_words_in(const struct matcher *a, const struct matcher *b)
{
	for (size_t i = 0; i < b->nwords; i++)
		if (!has_word(a, b->folded[i]))
			return false;
	return true;
}

/* The domains of b are all among those of a. */
static bool
all_domains_in(const struct matcher *a, const struct matcher *b)
{
	for (size_t i = 0; i < b->nwords; i++) {
		const char *w = b->folded[i];

		if (has_word(a, w) || has_word(a, "*"))
			continue;
		if (w[0] == '*' || w[0] == '.') {
			const char *name = w[0] == '*' ? w + 2 : w + 1;
			char both[260];

			snprintf(both, sizeof both, ".%s", name);
			if (w[0] == '*' && strlen(w) > 2 && has_word(a, both))
				continue;
			return false;
		}
		if (!domain_set_has(&a->domains, slice_of(w)))
			return false;
	}
	return true;
}

/* Whenever b holds, a holds. False when that cannot be seen. NULL: always. */
static bool
subsumes(const struct matcher *a, const struct matcher *b, int depth)
{
	if (a == NULL)
		return true;
	if (b == NULL || depth > 8)
		return false;
	if (a == b)
		return true;
	if (b->op == MATCH_ANY) {
		for (size_t i = 0; i < b->nkids; i++)
			if (!subsumes(a, b->kids[i], depth + 1))
				return false;
		return true;
	}
	if (a->op == MATCH_ALL) {
		for (size_t i = 0; i < a->nkids; i++)
			if (!subsumes(a->kids[i], b, depth + 1))
				return false;
		return true;
	}
	if (a->op == MATCH_ANY) {
		for (size_t i = 0; i < a->nkids; i++)
			if (subsumes(a->kids[i], b, depth + 1))
				return true;
	}
	if (b->op == MATCH_ALL) {
		for (size_t i = 0; i < b->nkids; i++)
			if (subsumes(a, b->kids[i], depth + 1))
				return true;
		return false;
	}
	if (a->op != b->op)
		return false;
	switch (a->op) {
	case MATCH_LISTENER: case MATCH_CLIENT_IP: case MATCH_HELO: case MATCH_SENDER: case MATCH_RCPT:
	case MATCH_SUBJECT_WORD: case MATCH_HAS_HEADER: case MATCH_TAG:
		return all_words_in(a, b);
	case MATCH_SENDER_DOMAIN: case MATCH_RCPT_DOMAIN:
		return all_domains_in(a, b);
	case MATCH_DIRECTION: case MATCH_LISTENER_ROLE: case MATCH_TLS_REQUIRED_NO:
		return (b->bits & ~a->bits) == 0;
	case MATCH_TLS_INBOUND:
		return a->bits <= b->bits;
	case MATCH_SIZE_OVER:
		return a->size <= b->size;
	case MATCH_HEADER:
		return strcasecmp(a->name, b->name) == 0 && (a->nwords == 0 || (b->nwords > 0 && all_words_in(a, b)));
	case MATCH_REQUIRETLS:
		return true;
	case MATCH_NO:
		return subsumes(b->kids[0], a->kids[0], depth + 1);
	default:	/* time, lua: not seen from outside */
		return false;
	}
}

/* The hook is never called with this configuration. */
static const char *
why_never_called(const struct policy_gen *g, enum policy_hook hook)
{
	if (hook == HOOK_AUTH) {
		for (size_t i = 0; i < g->conf->nlisteners; i++)
			if (g->conf->listeners[i].nauth > 0)
				return NULL;
		return "no listener has auth";
	}
	return NULL;
}

void
check_chains(struct policy_gen *g)
{
	for (int hook = 0; hook < HOOKS; hook++) {
		const struct chain *c = &g->chains[hook];
		const char *why = why_never_called(g, (enum policy_hook)hook);

		for (size_t i = 0; i < c->n; i++) {
			const struct handler *h = c->v[i];
			const char *what = h->rule != NULL ? "rule" : "handler";

			if (why != NULL)
				policy_problem(g, false, "%s: the %s '%s' is never used: %s", h->where, what, h->name, why);
			if (h->when != NULL && is_never(g, h->when, 0))
				policy_problem(g, false, "%s: the %s '%s' is never used: its matchers exclude each other",
				    h->where, what, h->name);
			if (h->level != POLICY_NORMAL)
				continue;
			for (size_t k = 0; k < i; k++) {
				const struct handler *b = c->v[k];

				if (b->level != POLICY_NORMAL || b->observe || b->rule == NULL || !policy_rule_ends(b->rule) ||
				    !subsumes(b->when, h->when, 0))
					continue;
				policy_problem(g, false, "%s: the %s '%s' is never reached: rule '%s' (%s) decides whatever it "
				    "would match", h->where, what, h->name, b->name, b->where);
				break;
			}
		}
	}
}
