/* The queue of a rehearsal lives for a moment only, so that nothing of it needs to reach the disk: SQLite's
 * usual file system with xSync left out. */
#include "config.h"

#include <sqlite3.h>
#include <string.h>

#include "rehearsal/world_int.h"

static sqlite3_vfs vfs, *usual;
static struct methods {
	const sqlite3_io_methods *of;
	sqlite3_io_methods without;
} known[4];

static int
no_sync(sqlite3_file *f, int flags)
{
	return SQLITE_OK;
}

static int
open_file(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
	int rc = usual->xOpen(usual, name, f, flags, out);
	size_t i = 0;

	if (rc != SQLITE_OK || f->pMethods == NULL)
		return rc;
	while (i < NELEMS(known) && known[i].of != NULL && known[i].of != f->pMethods)
		i++;
	if (i == NELEMS(known))
		return rc;
	known[i].of = f->pMethods;
	known[i].without = *f->pMethods;
	known[i].without.xSync = no_sync;
	f->pMethods = &known[i].without;
	return rc;
}

void
sync_off(void)
{
	if (usual != NULL)
		return;
	usual = sqlite3_vfs_find(NULL);
	MUST(usual != NULL);
	vfs = *usual;
	vfs.zName = "rehearsal";
	vfs.xOpen = open_file;
	sqlite3_vfs_register(&vfs, 1);
}
