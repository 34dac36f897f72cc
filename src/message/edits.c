/* Header edits of a policy over the stored original (I8). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/message_int.h"

/* A field of the result: octets of the original, or a new one. Linked by index, in the order of
 * the header; NONE ends the list. */
struct item {
	const struct header_field *old;
	const struct msg_edit *new;	/* when old is NULL */
	size_t next;
	bool gone;
};
#define NONE SIZE_MAX

struct item_list {
	struct item *v;
	size_t n, first, last;
};

static struct slice
item_name(const struct item *it)
{
	return it->old != NULL ? it->old->name : slice_of(it->new->name);
}

static void
list_add(struct item_list *l, struct item it, bool top)
{
	size_t at = l->n++;

	it.next = NONE;
	l->v[at] = it;
	if (l->first == NONE) {
		l->first = l->last = at;
	} else if (top) {
		l->v[at].next = l->first;
		l->first = at;
	} else {
		l->v[l->last].next = at;
		l->last = at;
	}
}

/* The first instance becomes the new field where it stands, the others go; true when there was
 * one. `with` NULL: all go. */
static bool
replace(struct item_list *l, const char *name, const struct msg_edit *with)
{
	bool found = false;

	for (size_t i = l->first; i != NONE; i = l->v[i].next) {
		struct item *it = &l->v[i];

		if (it->gone || !slice_is_nocase(item_name(it), name))
			continue;
		if (!found && with != NULL) {
			it->old = NULL;
			it->new = with;
		} else {
			it->gone = true;
		}
		found = true;
	}
	return found;
}

static void
apply(struct item_list *l, const struct msg_edit *e)
{
	struct item it = { .new = e };

	switch (e->op) {
	case EDIT_ADD_TOP:
		list_add(l, it, true);
		break;
	case EDIT_ADD_END:
		list_add(l, it, false);
		break;
	case EDIT_SET:
		if (!replace(l, e->name, e))
			list_add(l, it, false);
		break;
	case EDIT_REMOVE:
		replace(l, e->name, NULL);
		break;
	case EDIT_SIGN:
		break;
	}
}

static void
list_init(struct item_list *l, const struct header *h, const struct msg *m)
{
	l->v = xcalloc(h->n + m->nedits + 1, sizeof *l->v);
	l->n = 0;
	l->first = l->last = NONE;
	for (size_t i = 0; i < h->n; i++)
		list_add(l, (struct item){ .old = &h->fields[i] }, false);
	for (size_t i = 0; i < m->nedits; i++)
		apply(l, &m->edits[i]);
}

static void
list_render(const struct item_list *l, struct slice header, bool utf8, struct buf *out)
{
	for (size_t i = l->first; i != NONE; i = l->v[i].next) {
		const struct item *it = &l->v[i];

		if (it->gone)
			continue;
		if (it->old != NULL) {
			buf_add(out, header.p + it->old->at, it->old->n);
			if (out->len > 0 && buf_peek(out)[out->len - 1] != '\n')
				buf_adds(out, "\r\n");	/* the last one, cut off */
		} else {
			header_add_field(out, it->new->name, it->new->value == NULL ? "" : it->new->value,
			    utf8);
		}
	}
}

/* A body that follows a header without an empty line would grow into what we put on top when its
 * first line begins with white space. */
static bool
needs_empty_line(const struct msg *m, struct slice header)
{
	if (m->content_size <= header.n)
		return false;
	return !(header.n == 2 && memcmp(header.p, "\r\n", 2) == 0) &&
	    !(header.n >= 4 && memcmp(header.p + header.n - 4, "\r\n\r\n", 4) == 0);
}

char *
header_render(const struct msg *m, struct slice header, size_t *n_out)
{
	size_t added = 0, end = 0;
	struct item_list l;
	struct header h;
	struct buf out;
	char *mem;

	for (size_t i = 0; i < m->nedits; i++)
		added += 256 + strlen(m->edits[i].name) +
		    12 * (m->edits[i].value == NULL ? 0 : strlen(m->edits[i].value));
	buf_init(&out, header.n + added + 4);
	if (m->nedits == 0) {
		buf_add(&out, header.p, header.n);
	} else if (!header_parse(&h, header)) {
		/* Not one that we accepted; leave it alone rather than lose it. */
		buf_add(&out, header.p, header.n);
	} else {
		list_init(&l, &h, m);
		list_render(&l, header, (m->flags & MSG_SMTPUTF8) != 0, &out);
		if (h.n > 0)
			end = h.fields[h.n - 1].at + h.fields[h.n - 1].n;
		buf_add(&out, header.p + end, header.n - end);
		free(l.v);
		header_fini(&h);
	}
	if (needs_empty_line(m, header))
		buf_adds(&out, "\r\n");
	*n_out = out.len;
	MUST(out.at == 0);
	mem = out.mem != NULL ? out.mem : xstrdup("");
	return mem;
}
