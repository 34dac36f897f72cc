/* The poison message: one over which the daemon dies would be the first thing that the next
 * start stumbles over, for ever. Whoever works on a message writes its number into a small mapped file
 * (work_begin, base/base.h), which costs a store to memory and outlives the process however it ends.
 * After an unclean end the numbers found there are counted, and the third time all recipients of that
 * message are put on hold, where an administrator finds them with the reason. A clean stop forgets. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/store_int.h"

#define CRASHES_MAX 3

static uint64_t *map;

static bool
hold_all(struct store *s, uint64_t id)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_HOLD_ALL);

	db_bind_int(st, 1, (int64_t)id);
	db_bind_text(st, 2, "the daemon ended three times while it worked on this message");
	return db_run(&s->db, st);
}

static bool
accuse(struct store *s, uint64_t id)
{
	char name[8 + ID_TEXT], text[ID_TEXT];
	int64_t times;
	sqlite3_stmt *st;
	int got;

	st = db_use(&s->db, SQL_RCPT_LEFT);
	db_bind_int(st, 1, (int64_t)id);
	got = db_row(&s->db, st);
	if (got <= 0)
		return got == 0;	/* not in the queue, or no longer */
	sqlite3_reset(st);
	id_format(text, id);
	snprintf(name, sizeof name, "crashes:%s", text);
	times = db_meta(&s->db, name) + 1;
	if (times < CRASHES_MAX) {
		log_warn("message was being worked on when the daemon died", LOG_ID("message", id),
		    LOG_I("times", times));
		return db_meta_set(&s->db, name, times);
	}
	log_error("message put on hold: the daemon died over it again", LOG_ID("message", id),
	    LOG_I("times", times));
	/* From nought again, so that one that is released has as many tries. */
	return hold_all(s, id) && db_meta_set(&s->db, name, 0);
}

static int
open_map(const char *name, struct err *err)
{
	bool exists;
	int fd;
	void *p;

	if (files_check(name, &exists, err) != 0)
		return -1;
	fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, WORK_SLOTS * sizeof *map) != 0 ||
	    /* or a full disk would be a SIGBUS at some store to memory */
	    (errno = posix_fallocate(fd, 0, WORK_SLOTS * sizeof *map)) != 0) {
		err_set(err, "%s: %s", name, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	p = mmap(NULL, WORK_SLOTS * sizeof *map, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED) {
		err_set(err, "%s: %s", name, strerror(errno));
		return -1;
	}
	map = p;
	return 0;
}

int
suspects_read(struct store *s, bool was_clean, struct err *err)
{
	uint64_t found[WORK_SLOTS];
	char name[PATH_MAX];
	bool ok = true;

	suspects_close();
	snprintf(name, sizeof name, "%s.work", s->path);
	if (open_map(name, err) != 0)
		return -1;
	memcpy(found, map, sizeof found);
	memset(map, 0, sizeof found);
	work_slots(map);
	if (!db_do(&s->db, SQL_BEGIN))
		goto failed;
	if (was_clean) {
		ok = db_do(&s->db, SQL_CRASHES_FORGET);
	} else {
		for (size_t i = 0; i < WORK_SLOTS && ok; i++) {
			bool again = found[i] == 0;

			for (size_t k = 0; k < i; k++)
				again = again || found[k] == found[i];
			ok = again || accuse(s, found[i]);
		}
	}
	if (ok && db_do(&s->db, SQL_COMMIT))
		return 0;
	if (!sqlite3_get_autocommit(s->db.h))
		sqlite3_exec(s->db.h, "ROLLBACK", NULL, NULL, NULL);
failed:
	err_set(err, "queue %s: %s", s->path, s->db.text);
	return -1;
}

void
suspects_close(void)
{
	work_slots(NULL);
	if (map != NULL)
		munmap(map, WORK_SLOTS * sizeof *map);
	map = NULL;
}
