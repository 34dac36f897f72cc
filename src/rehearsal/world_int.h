#ifndef REHEARSAL_WORLD_INT_H
#define REHEARSAL_WORLD_INT_H

#include "rehearsal/world.h"

struct reception;

void sync_off(void);
/* Whose session it is; NULL when it is over, or another one's. */
struct reception *world_reception(struct world *w, uint64_t sid);
void world_set_reception(struct world *w, uint64_t sid, struct reception *r);

#endif
