#include "config.h"

#include <stdatomic.h>

#include "base/base.h"

static uint64_t *slots_now;
static _Atomic unsigned taken;
static _Thread_local unsigned mine;	/* 0: none yet, else slot + 1 */

void
work_slots(uint64_t *slots)
{
	slots_now = slots;
}

static void
put(uint64_t id)
{
	if (slots_now == NULL)
		return;
	if (mine == 0)
		mine = atomic_fetch_add(&taken, 1) % WORK_SLOTS + 1;
	/* Before what follows, which may be the end. */
	*(volatile uint64_t *)&slots_now[mine - 1] = id;
}

static _Thread_local uint64_t current;

uint64_t
work_begin(uint64_t id)
{
	uint64_t before = current;

	current = id;
	put(id);
	return before;
}

void
work_end(uint64_t before)
{
	current = before;
	put(before);
}
