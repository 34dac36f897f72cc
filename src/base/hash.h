/* uthash.h, with this program's way of running out of memory: its own would run exit handlers in one of
 * many threads. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/base.h"

#define uthash_malloc(n) xmalloc(n)
#define uthash_fatal(why) out_of_memory(0)
#include <uthash.h>

#endif
