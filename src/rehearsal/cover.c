/* Coverage: which lines of a bundle's own files ran, and which rules and handlers did. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "rehearsal/lua_int.h"

enum { HAS_CODE = 1, WAS_RUN = 2 };

struct file {
	struct file *next;
	char *name;
	uint8_t *lines;
	int n;
};
struct ran {
	UT_hash_handle hh;
	char *where;
	bool is_rule;
	uint64_t hits;
	char name[];
};
struct cover {
	struct file *files, *newest;
	struct ran *handlers;		/* in the order of the file */
};

static struct file *
file_of(struct cover *c, const char *name, bool make)
{
	struct file *f = c->newest;

	if (f != NULL && strcmp(f->name, name) == 0)
		return f;
	for (f = c->files; f != NULL && strcmp(f->name, name) != 0; f = f->next)
		;
	if (f == NULL && make) {
		f = xcalloc(1, sizeof *f);
		f->name = xstrdup(name);
		f->next = c->files;
		c->files = f;
	}
	if (f != NULL)
		c->newest = f;
	return f;
}

static void
code_line(void *owner, const char *source, int line)
{
	struct file *f = file_of(owner, source, true);

	if (line >= f->n) {
		f->lines = xrealloc(f->lines, (size_t)line + 100);
		memset(f->lines + f->n, 0, (size_t)(line + 100 - f->n));
		f->n = line + 100;
	}
	f->lines[line] |= HAS_CODE;
}

void
cover_line(void *owner, const char *source, int line)
{
	struct file *f = file_of(owner, source, false);

	if (f != NULL && line > 0 && line < f->n)
		f->lines[line] |= WAS_RUN;
}

struct cover *
cover_new(const struct policy_bundle *b)
{
	struct cover *c = xcalloc(1, sizeof *c);

	policy_code_lines(b, code_line, c);
	return c;
}

void
cover_free(struct cover *c)
{
	struct file *f;
	struct ran *h, *next;

	if (c == NULL)
		return;
	while ((f = c->files) != NULL) {
		c->files = f->next;
		free(f->name);
		free(f->lines);
		free(f);
	}
	HASH_ITER(hh, c->handlers, h, next) {
		HASH_DEL(c->handlers, h);
		free(h->where);
		free(h);
	}
	free(c);
}

static void
take(void *owner, const char *name, const char *where, bool is_rule, uint64_t hits)
{
	struct cover *c = owner;
	struct ran *h;

	HASH_FIND_STR(c->handlers, name, h);
	if (h == NULL) {
		h = xcalloc(1, sizeof *h + strlen(name) + 1);
		memcpy(h->name, name, strlen(name) + 1);
		h->where = xstrdup(where);
		h->is_rule = is_rule;
		HASH_ADD_STR(c->handlers, name, h);
	}
	h->hits += hits;
}

void
cover_take(struct cover *c, const struct policy_gen *g)
{
	policy_each_handler(g, take, c);
}

/* "12 15-17" */
static void
put_missed(const struct file *f)
{
	for (int i = 1; i < f->n; i++) {
		int last = i;

		if (f->lines[i] != HAS_CODE)
			continue;
		/* Lines without code in between do not end a run. */
		for (int k = i + 1; k < f->n && (f->lines[k] & WAS_RUN) == 0; k++)
			if (f->lines[k] == HAS_CODE)
				last = k;
		if (last > i)
			printf(" %d-%d", i, last);
		else
			printf(" %d", i);
		i = last;
	}
}

static int
by_file(const void *a, const void *b)
{
	return strcmp((*(struct file *const *)a)->name, (*(struct file *const *)b)->name);
}

double
cover_print(const struct cover *c, bool tap)
{
	const struct file *v[1000];
	const char *mark = tap ? "# " : "";
	unsigned code = 0, run = 0, rules = 0, hit = 0;
	const struct ran *h, *next;
	size_t n = 0;
	bool any = false;

	for (const struct file *f = c->files; f != NULL && n < NELEMS(v); f = f->next)
		v[n++] = f;
	if (n > 1)
		qsort(v, n, sizeof *v, by_file);
	for (size_t i = 0; i < n; i++) {
		unsigned fc = 0, fr = 0;

		for (int k = 1; k < v[i]->n; k++) {
			fc += (v[i]->lines[k] & HAS_CODE) != 0;
			fr += v[i]->lines[k] == (HAS_CODE | WAS_RUN);
		}
		printf("%scoverage  %s  %.1f %% of %u lines", mark, v[i]->name, fc == 0 ? 100.0 : 100.0 * fr / fc, fc);
		if (fr < fc) {
			printf("; not reached:");
			put_missed(v[i]);
		}
		printf("\n");
		code += fc;
		run += fr;
	}
	HASH_ITER(hh, c->handlers, h, next) {
		rules++;
		hit += h->hits > 0;
	}
	printf("%scoverage  %u of %u rules and handlers ran", mark, hit, rules);
	HASH_ITER(hh, c->handlers, h, next) {
		if (h->hits == 0)
			printf("%s %s (%s)", any ? "," : "; not:", h->name, h->where);
		any = any || h->hits == 0;
	}
	printf("\n%scoverage  %.1f %% of all lines\n", mark, code == 0 ? 100.0 : 100.0 * run / code);
	return code == 0 ? 100.0 : 100.0 * run / code;
}
