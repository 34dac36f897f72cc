/* Numbers for objects: what outlives a turn of the loop is named by number, not by pointer
 * (design section 2). A number is never given out twice in the life of a table: half of it is the
 * place, half counts how often that place was used. 0 is never a number. */
#ifndef BASE_SLOTS_H
#define BASE_SLOTS_H

#include <stddef.h>
#include <stdint.h>

struct slots {
	struct slot *v;
	uint32_t cap;
	uint32_t used;		/* objects in it now */
	uint32_t free_head;	/* first free place + 1, 0 none */
};

void slots_init(struct slots *s);
void slots_fini(struct slots *s);
uint64_t slots_add(struct slots *s, void *obj);
void *slots_get(const struct slots *s, uint64_t id);	/* NULL when it is gone */
void slots_del(struct slots *s, uint64_t id);
/* Calls fn for each object that is in the table; fn may delete the one it is given. */
void slots_each(struct slots *s, void (*fn)(void *obj, void *arg), void *arg);

#endif
