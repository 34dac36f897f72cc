#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

int
dir_make(const char *path)
{
	char parent[PATH_MAX];
	const char *end = path + strlen(path), *slash;
	bool is_new = mkdir(path, 0700) == 0;
	int fd, rc;

	if (!is_new && errno != EEXIST)
		return -1;
	while (end > path + 1 && end[-1] == '/')
		end--;
	for (slash = end; slash > path && slash[-1] != '/'; slash--)
		;
	snprintf(parent, sizeof parent, "%.*s", slash == path ? 1 : (int)(slash - path), slash == path ? "." : path);
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* One that is there may be of a start that ended between the two. Whoever may not open the parent
	 * did not make it either. */
	if (fd < 0)
		return is_new ? -1 : 0;
	rc = fsync(fd);
	close(fd);
	return is_new ? rc : 0;
}
