/* policy new DIR: a folder to begin with, which passes its own checks and tests; policy help NAME. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/cli_new.h"
#include "policy/api.h"

#define LUADIR "@LUADIR@"

/* The folders of a file below dir. */
static int
make_folders(const char *dir, const char *name)
{
	for (const char *p = strchr(name, '/'); p != NULL; p = strchr(p + 1, '/')) {
		char *sub = xasprintf("%s/%.*s", dir, (int)(p - name), name);
		int rc = mkdir(sub, 0777);

		if (rc != 0 && errno != EEXIST) {
			fprintf(stderr, "%s: %s\n", sub, strerror(errno));
			free(sub);
			return -1;
		}
		free(sub);
	}
	return 0;
}

/* Never writes over a file. */
static int
write_file(const char *dir, const struct cli_new_file *f)
{
	char *path = xasprintf("%s/%s", dir, f->name);
	int fd = make_folders(dir, f->name) == 0 ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	const char *p = f->text, *at;
	int rc = -1;

	if (out != NULL) {
		for (; (at = strstr(p, LUADIR)) != NULL; p = at + strlen(LUADIR))
			fprintf(out, "%.*s%s", (int)(at - p), p, policy_library_dir());
		fputs(p, out);
		rc = ferror(out) != 0 ? -1 : 0;
		if (fclose(out) != 0)
			rc = -1;
	}
	if (rc != 0)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	else
		printf("%s\n", path);
	free(path);
	return rc;
}

int
cli_policy_new(struct cli *c)
{
	const char *dir = c->argc > 2 ? c->argv[2] : "";

	if (dir[0] == '\0' || c->argc > 3)
		return cli_usage("policy new: a folder is expected");
	if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
		fprintf(stderr, "%s: %s\n", dir, strerror(errno));
		return EXIT_NO;
	}
	/* Before the first is written: half a folder would be in the way of the next try. */
	for (const struct cli_new_file *f = cli_new_files; f->name != NULL; f++) {
		char *path = xasprintf("%s/%s", dir, f->name);
		struct stat st;
		bool is_there = lstat(path, &st) == 0;

		if (is_there)
			fprintf(stderr, "%s is there already; nothing was written\n", path);
		free(path);
		if (is_there)
			return EXIT_NO;
	}
	for (const struct cli_new_file *f = cli_new_files; f->name != NULL; f++) {
		if (write_file(dir, f) != 0)
			return EXIT_NO;
	}
	return EXIT_OK;
}

int
cli_policy_help(struct cli *c)
{
	const char *near, *text;
	char name[128] = "";

	for (int i = 2; i < c->argc; i++) {	/* `policy help hook rcpt` */
		size_t n = strlen(name);

		snprintf(name + n, sizeof name - n, "%s%s", i > 2 ? " " : "", c->argv[i]);
	}
	if (name[0] == '\0') {
		for (size_t i = 0; i < policy_api_text_count; i++)
			printf("%s\n", policy_api_texts[i].name);
		return EXIT_OK;
	}
	text = policy_api_help(name, &near);
	if (text == NULL) {
		fprintf(stderr, "there is no help about '%s'%s%s%s\n", name, near == NULL ? "" : "; did you mean '",
		    near == NULL ? "" : near, near == NULL ? "" : "'?");
		return EXIT_NO;
	}
	puts(text);
	return EXIT_OK;
}
