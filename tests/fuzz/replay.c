/* Runs a fuzz harness over its kept seeds, with any compiler. Built as replay_<name>, it reads
 * every file of tests/fuzz/seeds/<name>; an empty or missing folder is a failure. */
#include "config.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int
replay(const char *path)
{
	FILE *f = fopen(path, "rb");
	static uint8_t data[1 << 20];
	uint8_t *exact;
	size_t n;

	if (f == NULL)
		return 0;
	n = fread(data, 1, sizeof data, f);
	fclose(f);
	exact = malloc(n == 0 ? 1 : n);	/* so that a read past the end is seen */
	memcpy(exact, data, n);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	return 1;
}

int
main(int argc, char **argv)
{
	const char *srcdir = getenv("srcdir"), *name;
	char dir[4096], path[8192];
	struct dirent *e;
	int count = 0;
	DIR *d;

	name = strstr(argv[0], "replay_");
	if (name == NULL)
		return 2;
	snprintf(dir, sizeof dir, "%s/tests/fuzz/seeds/%s", srcdir == NULL ? "." : srcdir,
	    name + strlen("replay_"));
	d = opendir(dir);
	while (d != NULL && (e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		count += replay(path);
	}
	if (d != NULL)
		closedir(d);
	printf("%s: %d seeds\n", dir, count);
	return count > 0 ? 0 : 1;
}
