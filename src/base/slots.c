#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

struct slot {
	void *obj;
	uint32_t uses;		/* the high half of the number in use now */
	uint32_t next_free;	/* place + 1 */
};

void
slots_init(struct slots *s)
{
	memset(s, 0, sizeof *s);
}

void
slots_fini(struct slots *s)
{
	free(s->v);
	slots_init(s);
}

uint64_t
slots_add(struct slots *s, void *obj)
{
	uint32_t i;

	MUST(obj != NULL);
	if (s->free_head == 0) {
		uint32_t cap = s->cap == 0 ? 16 : s->cap * 2;

		s->v = xrealloc(s->v, cap * sizeof *s->v);
		memset(s->v + s->cap, 0, (cap - s->cap) * sizeof *s->v);
		for (i = s->cap; i < cap; i++)
			s->v[i].next_free = i + 1 < cap ? i + 2 : 0;
		s->free_head = s->cap + 1;
		s->cap = cap;
	}
	i = s->free_head - 1;
	s->free_head = s->v[i].next_free;
	s->v[i].obj = obj;
	s->v[i].uses++;
	if (s->v[i].uses == 0)
		s->v[i].uses = 1;
	s->used++;
	return (uint64_t)s->v[i].uses << 32 | i;
}

void *
slots_get(const struct slots *s, uint64_t id)
{
	uint32_t i = (uint32_t)id;

	if (i >= s->cap || s->v[i].uses != (uint32_t)(id >> 32))
		return NULL;
	return s->v[i].obj;
}

void
slots_del(struct slots *s, uint64_t id)
{
	uint32_t i = (uint32_t)id;

	if (slots_get(s, id) == NULL)
		return;
	s->v[i].obj = NULL;
	s->v[i].next_free = s->free_head;
	s->free_head = i + 1;
	s->used--;
}

void
slots_each(struct slots *s, void (*fn)(void *obj, void *arg), void *arg)
{
	for (uint32_t i = 0; i < s->cap; i++)
		if (s->v[i].obj != NULL)
			fn(s->v[i].obj, arg);
}
