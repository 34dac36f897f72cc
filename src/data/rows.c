/* Rows: cells in one array, texts in blocks behind it, and an index for each column that has one. */
#include "config.h"

#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/data_int.h"
#include "data/rows.h"

/* ---- Folding ---- */

static unsigned char
fold(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c | 32 : c);
}

static uint32_t
fold_hash(struct slice s)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ fold(s.p[i])) * 16777619u;
	return h;
}

static bool
same_folded(struct slice a, struct slice b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (fold(a.p[i]) != fold(b.p[i]))
			return false;
	return true;
}

/* ---- Indexes ---- */

struct entry {
	struct slice key;
	uint32_t row, next;		/* next: of the same key, + 1 */
};
struct index {
	uint32_t mask, n;
	uint32_t *slots;		/* entry + 1, 0 empty */
	struct entry *v;
};

static void
index_free(struct index *x)
{
	if (x == NULL)
		return;
	free(x->slots);
	free(x->v);
	free(x);
}

static uint32_t *
index_slot(const struct index *x, struct slice key)
{
	uint32_t at = fold_hash(key) & x->mask;

	while (x->slots[at] != 0 && !same_folded(x->v[x->slots[at] - 1].key, key))
		at = (at + 1) & x->mask;
	return &x->slots[at];
}

static void
index_add(struct index *x, struct slice key, size_t row)
{
	uint32_t *slot = index_slot(x, key);

	x->v[x->n] = (struct entry){ key, (uint32_t)row, *slot };
	*slot = ++x->n;
}

static size_t
count_keys(const struct rows *r, size_t column)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++) {
		const struct cell *c = rows_cell(r, i, column);

		n += c->kind == CELL_LIST ? c->list.n : c->kind != CELL_NIL && c->kind != CELL_JSON;
	}
	return n;
}

/* From the last row to the first, so that equal keys come out in the order of the file. */
static struct index *
index_new(struct rows *r, size_t column)
{
	size_t n = count_keys(r, column), slots = 8;
	struct index *x;

	if (n > CELLS_MAX)
		return NULL;
	while (slots < n * 2)
		slots *= 2;
	x = xcalloc(1, sizeof *x);
	x->mask = (uint32_t)slots - 1;
	x->slots = xcalloc(slots, sizeof *x->slots);
	x->v = xcalloc(n + 1, sizeof *x->v);
	for (size_t i = r->n; i-- > 0;) {
		const struct cell *c = rows_cell(r, i, column);
		struct slice text;

		if (c->kind == CELL_LIST) {
			for (size_t k = c->list.n; k-- > 0;)
				index_add(x, c->list.v[k], i);
		} else if (rows_cell_text(r, c, &text)) {
			index_add(x, text, i);
		}
	}
	return x;
}

bool
rows_make_index(struct rows *r, size_t column)
{
	if (r->index[column] == NULL)
		r->index[column] = index_new(r, column);
	return r->index[column] != NULL;
}

/* ---- Texts ---- */
#define BLOCK (256u << 10)
struct block {
	struct block *next;
	size_t used, size;
	char mem[];
};

void *
rows_alloc(struct rows *r, size_t n)
{
	struct block *b = r->blocks;
	void *p;

	n = (n + 7) & ~(size_t)7;
	if (b == NULL || b->size - b->used < n) {
		size_t size = n > BLOCK ? n : BLOCK;

		b = xmalloc(sizeof *b + size);
		*b = (struct block){ .next = r->blocks, .size = size };
		r->blocks = b;
	}
	p = b->mem + b->used;
	b->used += n;
	return p;
}

struct slice
rows_keep(struct rows *r, struct slice s)
{
	char *p = rows_alloc(r, s.n + 1);

	if (s.n > 0)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return (struct slice){ p, s.n };
}

/* What an index knows a cell by. */
bool
rows_cell_text(struct rows *r, const struct cell *c, struct slice *out)
{
	char text[64];

	switch (c->kind) {
	case CELL_TEXT:
		*out = c->text;
		return true;
	case CELL_INTEGER:
		snprintf(text, sizeof text, "%lld", (long long)c->integer);
		break;
	case CELL_NUMBER:
		snprintf(text, sizeof text, "%.14g", c->number);
		break;
	case CELL_BOOLEAN:
		snprintf(text, sizeof text, "%s", c->boolean ? "true" : "false");
		break;
	default:
		return false;
	}
	*out = rows_keep(r, slice_of(text));
	return true;
}

/* ---- Life ---- */

struct rows *
rows_new(void)
{
	struct rows *r = xcalloc(1, sizeof *r);

	atomic_init(&r->refs, 1);
	return r;
}

struct rows *
rows_ref(struct rows *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

/* Those that nobody holds any more. To free a million JSON values takes a large part of a second, and the
 * last holder may be a worker. */
static _Atomic(struct rows *) unheld;

void
rows_unref(struct rows *r)
{
	if (r == NULL || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	r->next = atomic_load(&unheld);
	while (!atomic_compare_exchange_weak(&unheld, &r->next, r))
		;
}

static void
rows_free(struct rows *r)
{
	struct block *b, *next;

	for (size_t i = 0; i < r->ncolumns; i++)
		index_free(r->index[i]);
	for (b = r->blocks; b != NULL; b = next) {
		next = b->next;
		free(b);
	}
	json_decref(r->root);
	free(r->cells);
	free(r);
}

bool
rows_have_unheld(void)
{
	return atomic_load(&unheld) != NULL;
}

void
rows_free_unheld(void)
{
	struct rows *r = atomic_exchange(&unheld, NULL), *next;

	for (; r != NULL; r = next) {
		next = r->next;
		rows_free(r);
	}
}

void
rows_set_source(struct rows *r, uint64_t version, const void *p, size_t n)
{
	unsigned char md[32];

	MUST(EVP_Digest(p, n, md, NULL, EVP_sha256(), NULL) == 1);
	hex_encode(r->hash, md, sizeof md);
	r->version = version;
}

/* ---- Looking ---- */

uint64_t
rows_version(const struct rows *r)
{
	return r->version;
}

const char *
rows_hash(const struct rows *r)
{
	return r->hash;
}

size_t
rows_count(const struct rows *r)
{
	return r->n;
}

size_t
rows_columns(const struct rows *r)
{
	return r->ncolumns;
}

const char *
rows_column(const struct rows *r, size_t column)
{
	return r->columns[column].name;
}

const struct cell *
rows_cell(const struct rows *r, size_t row, size_t column)
{
	return &r->cells[row * r->ncolumns + column];
}

int
rows_index_of(const struct rows *r, const char *column)
{
	for (size_t i = 0; i < r->ncolumns; i++)
		if (strcmp(r->columns[i].name, column) == 0)
			return r->index[i] != NULL ? (int)i : -2;
	return -1;
}

size_t
rows_first(const struct rows *r, int column, struct slice key, size_t *at)
{
	const struct index *x = r->index[column];
	uint32_t e = *index_slot(x, key);

	*at = e;
	return e == 0 ? ROW_NONE : x->v[e - 1].row;
}

/* A list may name the same twice: the row counts once. */
size_t
rows_next(const struct rows *r, int column, size_t *at)
{
	const struct index *x = r->index[column];
	uint32_t row = x->v[*at - 1].row;

	do {
		*at = x->v[*at - 1].next;
	} while (*at != 0 && x->v[*at - 1].row == row);
	return *at == 0 ? ROW_NONE : x->v[*at - 1].row;
}

/* "a.x.example" is matched by itself, then "*.x.example", "*.example" and "*". */
static size_t
get_pattern(const struct rows *r, struct slice key)
{
	char wild[260] = "*";
	size_t at, row = rows_first(r, (int)r->key, key, &at);

	for (const char *dot = key.p, *end = key.p + key.n; row == ROW_NONE && dot != NULL && dot < end;) {
		dot = memchr(dot + 1, '.', (size_t)(end - dot - 1));
		if (dot == NULL || (size_t)(end - dot) >= sizeof wild - 1)
			continue;
		memcpy(wild + 1, dot, (size_t)(end - dot));
		row = rows_first(r, (int)r->key, (struct slice){ wild, (size_t)(end - dot) + 1 }, &at);
	}
	return row != ROW_NONE ? row : rows_first(r, (int)r->key, SLICE("*"), &at);
}

size_t
rows_get(const struct rows *r, struct slice key)
{
	size_t at;

	if (r->columns[r->key].type == COLUMN_PATTERN && key.n > 0)
		return get_pattern(r, key);
	return rows_first(r, (int)r->key, key, &at);
}
