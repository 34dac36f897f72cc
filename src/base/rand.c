#include "config.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/base.h"
#include "base/rand.h"

static _Atomic uint64_t state;		/* 0: not seeded */

void
rand_seed(uint64_t seed)
{
	atomic_store(&state, seed);
}

uint32_t
rand_u32(void)
{
	uint64_t z = atomic_load_explicit(&state, memory_order_relaxed);

	if (z == 0)
		return arc4random();
	z += 0x9E3779B97F4A7C15u;
	atomic_store_explicit(&state, z == 0 ? 1 : z, memory_order_relaxed);
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return (uint32_t)(z ^ z >> 31);
}

uint32_t
rand_below(uint32_t n)
{
	return n == 0 ? 0 : atomic_load_explicit(&state, memory_order_relaxed) == 0 ? arc4random_uniform(n) :
	    rand_u32() % n;
}
