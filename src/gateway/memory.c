#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/memory.h"

#define TRIM_EVERY_MS 1000		/* it takes a while where much is held */
#define TRIM_HARD_MS 250

struct memory {
	int statm;			/* -1: cannot be measured, then all is fine */
	uint64_t page, found;		/* found: the limit when none is configured */
	_Atomic uint64_t limit, now;
	_Atomic uint64_t freed;		/* given back since the allocator was last trimmed */
	_Atomic int64_t next_ms, trim_ms;
	_Atomic int level;
};

static uint64_t
number_in(const char *path)
{
	char text[32] = "";
	FILE *f = fopen(path, "re");

	if (f == NULL)
		return UINT64_MAX;
	if (fgets(text, sizeof text, f) == NULL)
		text[0] = '\0';
	fclose(f);
	return text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX;	/* "max" */
}

/* The lowest limit on the way from `path` up to the mount point. */
static uint64_t
lowest_limit(const char *mount, char *path, const char *file)
{
	uint64_t lowest = UINT64_MAX, one;
	char *slash;

	for (;;) {
		char *name = xasprintf("%s%s/%s", mount, path, file);

		one = number_in(name);
		free(name);
		if (one < lowest)
			lowest = one;
		slash = strrchr(path, '/');
		if (slash == NULL)
			return lowest;
		*slash = '\0';
	}
}

/* Version 2 has one line "0::/path", version 1 one with the controller's name. */
static uint64_t
cgroup_limit(void)
{
	char line[4096];
	uint64_t lowest = UINT64_MAX, one = UINT64_MAX;
	FILE *f = fopen("/proc/self/cgroup", "re");

	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		char *controllers = strchr(line, ':'), *path = NULL;

		line[strcspn(line, "\n")] = '\0';
		if (controllers != NULL && (path = strchr(++controllers, ':')) != NULL)
			*path++ = '\0';
		if (path == NULL)
			continue;
		if (*controllers == '\0')
			one = lowest_limit("/sys/fs/cgroup", path, "memory.max");
		else if (strcmp(controllers, "memory") == 0)
			one = lowest_limit("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
		if (one < lowest)
			lowest = one;
	}
	if (f != NULL)
		fclose(f);
	return lowest;
}

struct memory *
memory_new(uint64_t limit_bytes)
{
	struct memory *m = xcalloc(1, sizeof *m);
	uint64_t cgroup = cgroup_limit();

	m->page = (uint64_t)sysconf(_SC_PAGESIZE);
	m->found = (uint64_t)sysconf(_SC_PHYS_PAGES) * m->page;
	if (cgroup < m->found)
		m->found = cgroup;
	m->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	memory_set_limit(m, limit_bytes);
	return m;
}

void
memory_free(struct memory *m)
{
	if (m == NULL)
		return;
	if (m->statm >= 0)
		close(m->statm);
	free(m);
}

void
memory_set_limit(struct memory *m, uint64_t limit_bytes)
{
	atomic_store(&m->limit, limit_bytes != 0 ? limit_bytes : m->found);
	atomic_store(&m->next_ms, 0);
}

/* Resident and not from a file: what only this process can give back. */
static uint64_t
measure(const struct memory *m)
{
	uint64_t resident, shared;
	char text[128];
	ssize_t n = m->statm < 0 ? -1 : pread(m->statm, text, sizeof text - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	if (sscanf(text, "%*u %" SCNu64 " %" SCNu64, &resident, &shared) != 2 || shared > resident)
		return 0;
	return (resident - shared) * m->page;
}

static enum memory_level
judge(uint64_t now, uint64_t limit)
{
	return now > limit / 10 * 9 ? MEMORY_HARD : now > limit / 4 * 3 ? MEMORY_SOFT : MEMORY_FINE;
}

static void
look(struct memory *m, int64_t now_ms)
{
	uint64_t limit = atomic_load(&m->limit), freed = atomic_load(&m->freed), now = measure(m);
	int64_t trim_ms = atomic_load(&m->trim_ms);
	int was = atomic_load(&m->level), is;

	now = now > freed ? now - freed : 0;
	is = judge(now, limit);
	/* The allocator keeps what was freed for later use. Counted as held it would shut the door for
	 * ever after one bad minute; and as it may not fit the next request, not too much of it may
	 * count as free either. */
	if ((is != MEMORY_FINE || freed > 0) && (now_ms >= trim_ms || freed > limit / 64) &&
	    atomic_compare_exchange_strong(&m->trim_ms, &trim_ms, now_ms + (is == MEMORY_HARD ? TRIM_HARD_MS : TRIM_EVERY_MS))) {
		atomic_store(&m->freed, 0);
		malloc_trim(0);
		now = measure(m);
		is = judge(now, limit);
	}
	atomic_store(&m->now, now);
	atomic_store(&m->level, is);
	if (is > was && is == MEMORY_HARD)
		log_warn("memory is nearly used up: no new messages", LOG_U("bytes", now), LOG_U("limit", limit));
	else if (is > was)
		log_warn("memory is getting short: no new sessions", LOG_U("bytes", now), LOG_U("limit", limit));
	else if (is < was && is == MEMORY_FINE)
		log_info("memory suffices again", LOG_U("bytes", now), LOG_U("limit", limit));
}

enum memory_level
memory_level(struct memory *m)
{
	int64_t now_ms = clock_mono_ms(), next = atomic_load(&m->next_ms);

	if (now_ms >= next &&
	    atomic_compare_exchange_strong(&m->next_ms, &next, now_ms + MEMORY_EVERY_MS))
		look(m, now_ms);
	return (enum memory_level)atomic_load(&m->level);
}

void
memory_given_back(struct memory *m, uint64_t bytes)
{
	uint64_t now = atomic_load(&m->now);

	atomic_fetch_add(&m->freed, bytes);
	now = now > bytes ? now - bytes : 0;
	atomic_store(&m->now, now);
	atomic_store(&m->level, judge(now, atomic_load(&m->limit)));
}

uint64_t
memory_now(const struct memory *m)
{
	return atomic_load(&m->now);
}

uint64_t
memory_limit(const struct memory *m)
{
	return atomic_load(&m->limit);
}
