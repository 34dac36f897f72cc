/* CDB, with libcdb: all records, in the order of the file. */
#include "config.h"

#include <cdb.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/data_int.h"

/* libcdb wants a descriptor: of the copy that was read, which nobody cuts short under its eyes. */
static int
in_memory(const char *p, size_t n, struct err *err)
{
	int fd = memfd_create("cdb", MFD_CLOEXEC);
	size_t done = 0;

	while (fd >= 0 && done < n) {
		ssize_t got = write(fd, p + done, n - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	if (fd < 0 || done < n)
		err_set(err, "memory for a table: %s", strerror(errno));
	if (fd >= 0 && done < n) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool
fill(struct build *b, struct cdb *c, const char *file, struct err *err)
{
	unsigned pos;
	size_t i = 0;
	int rc;

	if (!build_column(b, SLICE("key"), err) || !build_column(b, SLICE("value"), err))
		return false;
	cdb_seqinit(&pos, c);
	while ((rc = cdb_seqnext(&pos, c)) > 0) {
		const char *key = cdb_getkey(c), *value = cdb_getdata(c);

		i++;
		if (key == NULL || value == NULL)
			break;
		if (!build_row(b, 0, err) || !build_text(b, 0, (struct slice){ key, cdb_keylen(c) }, err) ||
		    !build_text(b, 1, (struct slice){ value, cdb_datalen(c) }, err))
			return false;
	}
	if (rc != 0) {
		err_set(err, "%s: is damaged behind record %zu", file, i);
		return false;
	}
	return true;
}

struct rows *
cdb_read_rows(const struct conf_table *conf, const char *file, const char *p, size_t n, struct err *err)
{
	int fd = in_memory(p, n, err);
	struct build *b;
	struct cdb c;
	bool ok;

	if (fd < 0)
		return NULL;
	if (cdb_init(&c, fd) != 0) {
		err_set(err, "%s: is not a CDB file", file);
		close(fd);
		return NULL;
	}
	b = build_new(conf, file);
	build_many(b);
	ok = fill(b, &c, file, err);
	cdb_free(&c);
	close(fd);
	if (!ok) {
		build_free(b);
		return NULL;
	}
	return build_end(b, err);
}
