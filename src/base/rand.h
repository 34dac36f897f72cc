/* Random numbers that nothing secret depends on: jitter, order among equals. */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stdint.h>

uint32_t rand_u32(void);
uint32_t rand_below(uint32_t n);	/* 0 for 0 */
/* From now on the same numbers each time, in one thread, for rehearsals; 0: the system's again. */
void rand_seed(uint64_t seed);

#endif
