/* Loading a configuration from end to end, its life, and look-ups in it. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "conf/conf_int.h"
#include "message/dkim.h"

#define FILE_MAX (4u << 20)

/* ---- Domains: one look-up for each label, however many entries there are ---- */
struct domain_entry {
	UT_hash_handle hh;
	size_t index;		/* of the first entry in conf->domains with this pattern */
	char key[];		/* "acme.example", or ".acme.example" for "*.acme.example" */
};

void
conf_index_domains(struct conf *c, struct problems *p)
{
	c->domain_any = c->ndomains;
	for (size_t i = 0; i < c->ndomains; i++) {
		if (c->domain_any < i && c->domain_any + 1 == i)
			problem_warn(p, "domains[%zu]: is never reached, \"*\" stands before it", i + 1);
		for (size_t k = 0; k < c->domains[i].nmatch; k++) {
			const char *pattern = c->domains[i].match[k];
			const char *key = pattern[0] == '*' ? pattern + 1 : pattern;
			struct domain_entry *e = NULL;

			if (*key == '\0') {
				if (c->domain_any == c->ndomains)
					c->domain_any = i;
				continue;
			}
			HASH_FIND_STR(c->domain_index, key, e);
			if (e != NULL) {
				problem_warn(p, "domains[%zu].match: \"%s\" already stands in domains[%zu]",
				    i + 1, pattern, e->index + 1);
				continue;
			}
			e = xcalloc(1, sizeof *e + strlen(key) + 1);
			strcpy(e->key, key);
			e->index = i;
			HASH_ADD_STR(c->domain_index, key, e);
		}
	}
}

void
conf_free_domain_index(struct conf *c)
{
	struct domain_entry *e, *next;

	HASH_ITER(hh, c->domain_index, e, next) {
		HASH_DEL(c->domain_index, e);
		free(e);
	}
}

const struct conf_domain *
conf_domain(const struct conf *c, const char *domain)
{
	struct domain_entry *e;
	size_t best = c->domain_any, n = strlen(domain);
	char name[256];

	if (n > 0 && n < sizeof name) {
		for (size_t i = 0; i <= n; i++)
			name[i] = domain[i] >= 'A' && domain[i] <= 'Z' ? (char)(domain[i] | 32) : domain[i];
		/* ".x" is the key of "*.x", and no domain. */
		HASH_FIND(hh, c->domain_index, name, (unsigned)n, e);
		if (e != NULL && name[0] != '.' && e->index < best)
			best = e->index;
		/* A parent needs something in front of its dot. */
		for (const char *dot = strchr(name + 1, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
			HASH_FIND(hh, c->domain_index, dot, (unsigned)(n - (size_t)(dot - name)), e);
			if (e != NULL && e->index < best)
				best = e->index;
		}
	}
	return best < c->ndomains ? &c->domains[best] : NULL;
}

const struct route *
conf_route(const struct conf *c, const char *name)
{
	size_t lo = 0, hi = c->nroutes;

	while (name != NULL && lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int cmp = strcmp(name, c->routes[mid]->name);

		if (cmp == 0)
			return c->routes[mid];
		if (cmp < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

const struct conf_listener *
conf_listener(const struct conf *c, const char *name)
{
	for (size_t i = 0; name != NULL && i < c->nlisteners; i++)
		if (strcmp(c->listeners[i].name, name) == 0)
			return &c->listeners[i];
	return NULL;
}

const struct conf_identity *
conf_identity(const struct conf *c, const char *name)
{
	for (size_t i = 0; name != NULL && i < c->tls.nidentities; i++)
		if (strcmp(c->tls.identities[i].name, name) == 0)
			return &c->tls.identities[i];
	return NULL;
}

const struct conf_dkim *
conf_dkim(const struct conf *c, const char *name)
{
	for (size_t i = 0; name != NULL && i < c->ndkim; i++)
		if (strcmp(c->dkim[i].name, name) == 0)
			return &c->dkim[i];
	return NULL;
}

/* ---- Life ---- */
static void
conf_free(struct conf *c)
{
	for (size_t i = 0; i < c->ndkim; i++)
		dkim_key_unref(c->dkim[i].loaded);
	conf_free_credentials(c);
	conf_free_domain_index(c);
	conf_free_invariant_index(c);
	free_section("", c);
	free(c->file);
	free(c->dir);
	free(c->warnings);
	free(c);
}

struct conf *
conf_ref(struct conf *c)
{
	if (c != NULL)
		atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void
conf_unref(struct conf *c)
{
	if (c != NULL && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
		conf_free(c);
}

/* ---- Loading ---- */
/* Takes what `p` holds: the errors for the caller, the warnings for the configuration. */
static struct conf *
finish(struct conf *c, struct problems *p, char **errors)
{
	if (errors != NULL)
		*errors = p->nerrors > 0 ? buf_take(&p->errors) : NULL;
	if (c != NULL && p->nerrors == 0 && p->warnings.len > 0)
		c->warnings = buf_take(&p->warnings);
	if (p->nerrors > 0) {
		conf_unref(c);
		c = NULL;
	}
	problems_fini(p);
	return c;
}

static struct conf *
from_tree(const json_t *root, const char *dir, bool check_files, struct problems *p)
{
	struct conf *c = xcalloc(1, sizeof *c);
	struct reader r = { .c = c, .p = p, .dir = dir, .check_files = check_files };

	atomic_init(&c->refs, 1);
	c->dir = xstrdup(dir);
	read_section(&r, "", c, root);
	conf_complete(c);
	conf_check(&r);
	conf_index_domains(c, p);
	conf_index_invariants(c);
	conf_check_invariants(&r);
	/* Only of a configuration that holds together: a wrong path would be told twice. */
	if (check_files && p->nerrors == 0)
		conf_check_files(&r);
	return c;
}

struct conf *
conf_load_json(const json_t *root, const char *dir, bool check_files, char **errors)
{
	struct problems p;

	problems_init(&p);
	return finish(from_tree(root, dir, check_files, &p), &p, errors);
}

struct conf *
conf_load_text(const char *text, size_t n, const char *name, const char *dir, bool check_files,
    char **errors)
{
	struct problems p;
	struct conf *c = NULL;
	json_t *root;

	problems_init(&p);
	root = conf_eval(text, n, name, &p);
	if (root != NULL)
		c = from_tree(root, dir, check_files, &p);
	json_decref(root);
	return finish(c, &p, errors);
}

/* The whole of a regular file, at most FILE_MAX. */
static bool
read_file(const char *file, struct buf *out, struct err *err)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t got = -1;

	if (fd < 0 || fstat(fd, &st) != 0) {
		err_set(err, "%s: cannot be read: %s", file, strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(err, "%s: is not a file", file);
		goto out;
	}
	do {
		char *room = buf_reserve(out, 16 * 1024);

		if (room == NULL) {
			err_set(err, "%s: is larger than 4 MiB", file);
			got = -1;
			goto out;
		}
		got = read(fd, room, 16 * 1024);
		if (got > 0)
			buf_commit(out, (size_t)got);
	} while (got > 0 || (got < 0 && errno == EINTR));
	if (got < 0)
		err_set(err, "%s: cannot be read: %s", file, strerror(errno));
out:
	if (fd >= 0)
		close(fd);
	return got == 0;
}

struct conf *
conf_load(const char *file, bool check_files, char **errors)
{
	struct conf *c = NULL;
	struct problems p;
	struct err err;
	struct buf text;
	char *full = realpath(file, NULL), *slash;

	buf_init(&text, FILE_MAX);
	if (full == NULL)
		err_set(&err, "%s: cannot be read: %s", file, strerror(errno));
	if (full == NULL || !read_file(full, &text, &err)) {
		problems_init(&p);
		problem_error(&p, "%s", err.text);
		finish(NULL, &p, errors);
	} else {
		slash = strrchr(full, '/');
		*slash = '\0';
		c = conf_load_text(buf_peek(&text), text.len, slash + 1, *full == '\0' ? "/" : full,
		    check_files, errors);
		*slash = '/';
	}
	if (c != NULL)
		c->file = xstrdup(full);
	buf_fini(&text);
	free(full);
	return c;
}
