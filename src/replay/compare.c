/* Where two outcomes of one call differ, whose doing it is, and whether less protection comes of it. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay/replay_int.h"

#define EXAMPLES 5
#define GROUPS_MAX 2000
#define CHANGES_MAX 200		/* of one group */

static void
count_up(json_t *o, const char *key)
{
	json_object_set_new(o, key, json_integer(json_integer_value(json_object_get(o, key)) + 1));
}

static const char *
text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s == NULL ? "" : s;
}

/* ---- Whose doing ---- */

/* The first handler that did something else; it may be there on one side only. */
static const char *
who(const struct outcome *a, const struct outcome *b)
{
	const char *name;
	json_t *v;

	json_object_foreach(b->did, name, v)
		if (!json_equal(v, json_object_get(a->did, name)))
			return name;
	json_object_foreach(a->did, name, v)
		if (!json_equal(v, json_object_get(b->did, name)))
			return name;
	name = text_of(b->verdict, "handler");
	if (*name == '\0')
		name = text_of(a->verdict, "handler");
	return *name == '\0' ? "(nobody)" : name;
}

static json_t *
group_of(struct replay *r, enum policy_hook hook, const char *handler)
{
	char key[120];
	json_t *g;

	snprintf(key, sizeof key, "%02d %s", (int)hook, handler);
	g = json_object_get(r->groups, key);
	if (g != NULL)
		return g;
	if (json_object_size(r->groups) >= GROUPS_MAX) {
		snprintf(key, sizeof key, "99 others");
		g = json_object_get(r->groups, key);
		handler = "(others)";
	}
	if (g == NULL) {
		g = json_pack("{s:s, s:s, s:b, s:{}}", "handler", handler, "hook", policy_hook_name(hook), "weaker", 0, "changes");
		json_object_set_new(r->groups, key, g);
	}
	return g;
}

struct call {
	struct replay *r;
	enum policy_hook hook;
	const json_t *rec;
	const struct outcome *a, *b;
	bool any, any_weaker;
};

/* Takes a and b, which are heap texts. */
static void
note(struct call *c, const char *what, char *a, char *b, bool weaker)
{
	json_t *g = group_of(c->r, c->hook, who(c->a, c->b)), *changes = json_object_get(g, "changes"), *o;
	const char *id = json_string_value(json_object_get(json_object_get(json_object_get(c->rec, "in"), "msg"), "id"));
	char *key = xasprintf("%s\n%s\n%s", what, a, b);

	if (id == NULL)
		id = text_of(json_object_get(json_object_get(c->rec, "in"), "session"), "id");
	o = json_object_get(changes, key);
	if (o == NULL && json_object_size(changes) >= CHANGES_MAX) {
		free(key);
		key = xstrdup("others");
		o = json_object_get(changes, key);
	}
	if (o == NULL) {
		o = json_pack("{s:s, s:s, s:s, s:b, s:i, s:[]}", "what", what, "a", a, "b", b, "weaker", weaker, "count", 0,
		    "examples");
		if (o == NULL)	/* a text that is no UTF-8 */
			o = json_pack("{s:s, s:s, s:s, s:b, s:i, s:[]}", "what", what, "a", "?", "b", "?", "weaker", weaker,
			    "count", 0, "examples");
		json_object_set_new_nocheck(changes, key, o);
	}
	count_up(o, "count");
	if (json_array_size(json_object_get(o, "examples")) < EXAMPLES && *id != '\0')
		json_array_append_new(json_object_get(o, "examples"), json_string(id));
	if (weaker)
		json_object_set_new(g, "weaker", json_true());
	c->any = true;
	c->any_weaker = c->any_weaker || weaker;
	free(key);
	free(a);
	free(b);
}

/* ---- Verdicts ---- */

static bool
is_nothing(const json_t *v)
{
	return strcmp(text_of(v, "kind"), "none") == 0;
}

static char *
verdict_text(const json_t *v)
{
	const json_t *route = json_object_get(v, "route");
	const char *kind = text_of(v, "kind");
	struct buf b;

	buf_init(&b, 2000);
	buf_adds(&b, is_nothing(v) ? (json_is_true(json_object_get(v, "is_error")) ? "error" : "nil") : kind);
	if (json_is_true(json_object_get(v, "is_error")) && !is_nothing(v))
		buf_adds(&b, " (error)");
	if (json_object_get(v, "code") != NULL)
		buf_printf(&b, " %d %s", (int)json_integer_value(json_object_get(v, "code")), text_of(v, "status"));
	if (strcmp(kind, "tls") == 0)
		buf_printf(&b, " %s", tls_level_name((enum tls_level)json_integer_value(json_object_get(v, "level"))));
	if (route != NULL)
		buf_printf(&b, " %.100s", *text_of(route, "name") != '\0' ? text_of(route, "name") : "made by the policy");
	if (*text_of(v, "grant") != '\0')
		buf_printf(&b, " %.100s", text_of(v, "grant"));
	if (*text_of(v, "text") != '\0')
		buf_printf(&b, " %.200s", text_of(v, "text"));
	if (*text_of(v, "reason") != '\0')
		buf_printf(&b, " (%.200s)", text_of(v, "reason"));
	return buf_take(&b);
}

/* Without who said it: another handler may say the same. */
static bool
verdicts_are_same(const json_t *a, const json_t *b)
{
	json_t *x = json_copy((json_t *)a), *y = json_copy((json_t *)b);
	bool same;

	json_object_del(x, "handler");
	json_object_del(x, "where");
	json_object_del(y, "handler");
	json_object_del(y, "where");
	same = json_equal(x, y);
	json_decref(x);
	json_decref(y);
	return same;
}

static bool
list_lost(const json_t *a, const json_t *b, const char *key)
{
	return json_array_size(json_object_get(a, key)) > 0 && !json_equal(json_object_get(a, key), json_object_get(b, key));
}

/* A host that has to carry other names is not less, but nobody can tell: it counts as less. */
static bool
tls_is_weaker(const json_t *a, const json_t *b)
{
	if (strcmp(text_of(a, "kind"), "tls") != 0)
		return false;
	if (strcmp(text_of(b, "kind"), "tls") != 0)
		return strcmp(text_of(b, "kind"), "defer") != 0 &&
		    (json_integer_value(json_object_get(a, "level")) > TLS_MAY || json_array_size(json_object_get(a, "pins")) > 0 ||
		    json_array_size(json_object_get(a, "names")) > 0);
	return json_integer_value(json_object_get(a, "level")) > json_integer_value(json_object_get(b, "level")) ||
	    list_lost(a, b, "names") || list_lost(a, b, "pins") ||
	    strcmp(text_of(a, "min_version"), text_of(b, "min_version")) > 0 ||
	    (*text_of(a, "ca_file") != '\0' && strcmp(text_of(a, "ca_file"), text_of(b, "ca_file")) != 0);
}

static json_int_t
route_level(const json_t *v)
{
	const json_t *tls = json_object_get(json_object_get(v, "route"), "tls");
	enum tls_level l = TLS_MAY;

	if (json_is_string(tls))
		tls_level_parse(slice_of(json_string_value(tls)), &l);
	return json_is_integer(tls) ? json_integer_value(tls) : (json_int_t)l;
}

static bool
verdict_is_weaker(enum policy_hook hook, const struct outcome *a, const struct outcome *b)
{
	const json_t *x = a->verdict, *y = b->verdict;

	if (tls_is_weaker(x, y))
		return true;
	if (b->kind == VERDICT_RELAX)
		return a->kind != VERDICT_RELAX;
	if (hook == HOOK_ROUTE && (a->kind == VERDICT_ROUTE || a->kind == VERDICT_REROUTE))
		return (b->kind == VERDICT_ROUTE || b->kind == VERDICT_NONE) && route_level(x) > route_level(y);
	return false;
}

/* ---- Duties ---- */

static bool
is_sent(const struct outcome *o)
{
	return o->kind != VERDICT_REJECT && o->kind != VERDICT_DEFER && o->kind != VERDICT_DROP && o->kind != VERDICT_DISCARD &&
	    o->kind != VERDICT_BOUNCE;
}

static unsigned
owed_by(const json_t *own, size_t i)
{
	const json_t *r = json_array_get(json_object_get(own, "rcpts"), i);

	return duties_bits((duty_mask)json_integer_value(json_object_get(own, "duties")) |
	    (duty_mask)json_integer_value(json_object_get(r, "duties")));
}

static bool
duties_are_weaker(const struct outcome *a, const struct outcome *b)
{
	size_t n = json_array_size(json_object_get(a->own, "rcpts"));

	if (!is_sent(b) || !is_sent(a))
		return false;
	for (size_t i = 0; i < n || i == 0; i++)
		if ((owed_by(a->own, i) & ~owed_by(b->own, i)) != 0)
			return true;
	return false;
}

static char *
duties_text(duty_mask d)
{
	char text[200];

	if (d == 0)
		return xstrdup("none");
	duties_format(text, sizeof text, d);
	return xstrdup(text);
}

static duty_mask
added_by(const json_t *delta)
{
	duty_mask d = delta_duties(delta, NULL);
	const char *address;
	json_t *v;

	json_object_foreach(json_object_get(delta, "rcpts"), address, v)
		d |= delta_duties(delta, address);
	return d;
}

static bool
rcpt_duties_are_same(const json_t *x, const json_t *y)
{
	const char *address;
	json_t *v;

	json_object_foreach(json_object_get(x, "rcpts"), address, v)
		if (delta_duties(x, address) != delta_duties(y, address))
			return false;
	return true;
}

/* ---- What else was changed ---- */

static char *
dumped(const json_t *o)
{
	char *text = o == NULL ? NULL : json_dumps(o, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
	char *cut = text == NULL ? xstrdup("-") : xasprintf("%.300s", text);

	free(text);
	return cut;
}

static void
compare_key(struct call *c, const char *what, const json_t *x, const json_t *y)
{
	if (x != y && (x == NULL || y == NULL || !json_equal(x, y)))
		note(c, what, dumped(x), dumped(y), false);
}

static json_t *
addresses(const json_t *own)
{
	json_t *l = json_array();
	const json_t *v;
	size_t i;

	json_array_foreach(json_object_get(own, "rcpts"), i, v)
		json_array_append(l, json_object_get(v, "address"));
	return l;
}

static void
compare_message(struct call *c)
{
	const struct outcome *a = c->a, *b = c->b;
	json_t *x = json_object(), *y = json_object(), *ra = addresses(a->own), *rb = addresses(b->own);
	bool ignored_a, ignored_b;

	delta_add(x, a->before, a->own);
	delta_add(y, b->before, b->own);
	if (delta_duties(x, NULL) != delta_duties(y, NULL) || !rcpt_duties_are_same(x, y) || !rcpt_duties_are_same(y, x))
		note(c, "duties", duties_text(added_by(x)), duties_text(added_by(y)), duties_are_weaker(a, b));
	ignored_a = json_object_get(x, "ignored") != NULL;
	ignored_b = json_object_get(y, "ignored") != NULL;
	if (ignored_a != ignored_b)
		note(c, "TLS-Required: No", xstrdup(ignored_a ? "ignored" : "honoured"),
		    xstrdup(ignored_b ? "ignored" : "honoured"), ignored_a && is_sent(b));
	compare_key(c, "tags", json_object_get(x, "tags"), json_object_get(y, "tags"));
	compare_key(c, "vars", json_object_get(x, "vars"), json_object_get(y, "vars"));
	compare_key(c, "header", json_object_get(x, "edits"), json_object_get(y, "edits"));
	compare_key(c, "recipients", ra, rb);
	compare_key(c, "sender", json_object_get(a->own, "from"), json_object_get(b->own, "from"));
	json_decref(x);
	json_decref(y);
	json_decref(ra);
	json_decref(rb);
}

void
compare_outcomes(struct replay *r, enum policy_hook hook, const json_t *rec, const struct outcome *a,
    const struct outcome *b)
{
	struct call c = { .r = r, .hook = hook, .rec = rec, .a = a, .b = b };

	r->compared++;
	if (!verdicts_are_same(a->verdict, b->verdict))
		note(&c, "verdict", verdict_text(a->verdict), verdict_text(b->verdict), verdict_is_weaker(hook, a, b));
	if (a->own != NULL && b->own != NULL)
		compare_message(&c);
	if (a->added != b->added)
		note(&c, "duties at the hop", duties_text(a->added), duties_text(b->added), is_sent(b) &&
		    (duties_bits(a->hop | a->added) & ~duties_bits(b->hop | b->added)) != 0);
	compare_key(&c, "notice", a->words, b->words);
	r->changed += c.any;
	r->weaker += c.any_weaker;
}

void
note_unknown(struct replay *r, int which, const char *handler, const char *what)
{
	char *key = xasprintf("%d %s\n%s", which, handler, what);
	json_t *o = json_object_get(r->unknown, key);

	if (o == NULL && json_object_size(r->unknown) >= GROUPS_MAX) {
		free(key);
		key = xasprintf("%d others", which);
		o = json_object_get(r->unknown, key);
		handler = "(others)";
		what = "";
	}
	if (o == NULL) {
		o = json_pack("{s:s, s:s, s:s, s:i}", "handler", *handler == '\0' ? "(nobody)" : handler, "side",
		    which == 0 ? "with" : "against", "what", what, "count", 0);
		json_object_set_new_nocheck(r->unknown, key, o);
	}
	count_up(o, "count");
	free(key);
}
