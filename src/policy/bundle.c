/* The files that make a generation, read once: those of policy.load, the modules in lua/ beside
 * gateway.lua, and the shipped library. Immutable afterwards and shared between threads. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/data.h"
#include "net/net.h"
#include "policy/policy_int.h"

#define FILE_MAX (1u << 20)
#define TOTAL_MAX (16u << 20)
#define FILES_MAX 1000
#define DEPTH_MAX 8

struct policy_bundle {
	atomic_int refs;
	struct policy_source *v;
	size_t n, total;
	char id[65];
	struct data *data;		/* not part of the id: it changes by itself */
	struct tls_client *tls;		/* for policy.network.http; NULL */
};

static void
hash_hex(char dst[65], const void *p, size_t n)
{
	unsigned char md[32];

	MUST(EVP_Digest(p, n, md, NULL, EVP_sha256(), NULL) == 1);
	hex_encode(dst, md, sizeof md);
}

static char *
read_file(const char *path, size_t *n_out, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *text = NULL;
	size_t n = 0;
	ssize_t got;

	if (fd < 0 || fstat(fd, &st) != 0) {
		err_set(err, "%s: cannot be read: %s", path, strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
		err_set(err, "%s: is not a file of at most 1 MiB", path);
		goto out;
	}
	text = xmalloc((size_t)st.st_size + 1);
	while (n < (size_t)st.st_size && (got = read(fd, text + n, (size_t)st.st_size - n)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			err_set(err, "%s: cannot be read: %s", path, strerror(errno));
			free(text);
			text = NULL;
			goto out;
		}
		n += (size_t)got;
	}
	text[n] = '\0';
	*n_out = n;
out:
	if (fd >= 0)
		close(fd);
	return text;
}

/* Takes path and module (heap). */
static int
add_file(struct policy_bundle *b, const char *file, char *path, char *module, int order, bool is_lib,
    struct err *err)
{
	struct policy_source s = { .path = path, .module = module, .load_order = order, .is_lib = is_lib };

	s.text = b->n < FILES_MAX ? read_file(file, &s.n, err) : NULL;
	if (b->n >= FILES_MAX)
		err_set(err, "%s: the policy has more than %d files", file, FILES_MAX);
	if (s.text != NULL && b->total + s.n > TOTAL_MAX) {
		err_set(err, "%s: the policy's files are larger than 16 MiB together", file);
		free(s.text);
		s.text = NULL;
	}
	if (s.text == NULL) {
		free(path);
		free(module);
		return -1;
	}
	b->total += s.n;
	hash_hex(s.hash, s.text, s.n);
	b->v = xrealloc(b->v, (b->n + 1) * sizeof *b->v);
	b->v[b->n++] = s;
	return 0;
}

/* "a/b.lua" and "a/b/init.lua" are both "a.b". */
static char *
module_name(const char *rel)
{
	char *m = xstrdup(rel);
	size_t n = strlen(m) - 4;

	m[n] = '\0';
	if (n > 5 && strcmp(m + n - 5, "/init") == 0)
		m[n - 5] = '\0';
	for (char *p = m; *p != '\0'; p++) {
		if (*p == '/')
			*p = '.';
	}
	return m;
}

/* Every *.lua below `dir`; a folder that is not there holds none. Editor types (meta/) are no code. */
static int
add_tree(struct policy_bundle *b, const char *dir, const char *rel, const char *prefix, bool is_lib,
    int depth, struct err *err)
{
	char *full = rel[0] == '\0' ? xstrdup(dir) : xasprintf("%s/%s", dir, rel);
	DIR *d = depth > DEPTH_MAX ? NULL : opendir(full);
	struct dirent *e;
	int rc = 0;

	while (d != NULL && rc == 0 && (e = readdir(d)) != NULL) {
		size_t n = strlen(e->d_name);
		char *sub, *file;
		struct stat st;

		if (e->d_name[0] == '.' || (depth == 0 && strcmp(e->d_name, "meta") == 0))
			continue;
		sub = rel[0] == '\0' ? xstrdup(e->d_name) : xasprintf("%s/%s", rel, e->d_name);
		file = xasprintf("%s/%s", dir, sub);
		if (stat(file, &st) == 0 && S_ISDIR(st.st_mode))
			rc = add_tree(b, dir, sub, prefix, is_lib, depth + 1, err);
		else if (n > 4 && strcmp(e->d_name + n - 4, ".lua") == 0)
			rc = add_file(b, file, xasprintf("%s/%s", prefix, sub), module_name(sub), -1, is_lib,
			    err);
		free(sub);
		free(file);
	}
	if (d != NULL)
		closedir(d);
	free(full);
	return rc;
}

static int
by_path(const void *a, const void *b)
{
	const struct policy_source *x = a, *y = b;

	return strcmp(x->path, y->path);
}

static void
make_id(struct policy_bundle *b, const char *config_hash)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	unsigned char md[32];

	MUST(c != NULL && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1);
	for (size_t i = 0; i < b->n; i++) {
		EVP_DigestUpdate(c, b->v[i].path, strlen(b->v[i].path) + 1);
		EVP_DigestUpdate(c, b->v[i].hash, 64);
	}
	EVP_DigestUpdate(c, "gateway.lua", sizeof "gateway.lua");
	EVP_DigestUpdate(c, config_hash, strlen(config_hash));
	MUST(EVP_DigestFinal_ex(c, md, NULL) == 1);
	EVP_MD_CTX_free(c);
	hex_encode(b->id, md, sizeof md);
}

static struct tls_client *
make_tls(const struct conf *conf, struct err *err)
{
	struct tls_client_conf tc = { conf->policy.http_ca_file != NULL ? conf->policy.http_ca_file : conf->tls.ca_file,
		conf->tls.min_version };
	struct tls_client *tls = tls_client_new(&tc, err);

	if (tls == NULL)
		err_prefix(err, "policy.network.http_ca_file");
	return tls;
}

struct policy_bundle *
policy_bundle_read(const struct conf *conf, const char *libdir, struct err *err)
{
	struct policy_bundle *b = xcalloc(1, sizeof *b);
	size_t dirlen = conf->dir == NULL ? 0 : strlen(conf->dir), n = 0;
	char *lua = NULL, *config = NULL, config_hash[65] = "";
	int rc = 0;

	atomic_init(&b->refs, 1);
	for (size_t i = 0; rc == 0 && i < conf->policy.nload; i++) {
		const char *file = conf->policy.load[i], *rel = file;

		if (dirlen > 0 && strncmp(file, conf->dir, dirlen) == 0 && file[dirlen] == '/')
			rel = file + dirlen + 1;
		rc = add_file(b, file, xstrdup(rel), NULL, (int)i, false, err);
	}
	if (rc == 0 && conf->dir != NULL) {
		lua = xasprintf("%s/lua", conf->dir);
		rc = add_tree(b, lua, "", "lua", false, 0, err);
	}
	if (rc == 0 && libdir != NULL)
		rc = add_tree(b, libdir, "", "lib", true, 0, err);
	if (rc == 0 && conf->file != NULL) {
		config = read_file(conf->file, &n, err);
		if (config == NULL)
			rc = -1;
		else
			hash_hex(config_hash, config, n);
	}
	free(config);
	free(lua);
	if (rc == 0)
		b->data = data_read((struct conf *)conf, err);	/* shared by count and not changed otherwise */
	if (rc == 0 && b->data != NULL && conf->policy.nhttp > 0) {
		b->tls = make_tls(conf, err);
		rc = b->tls == NULL ? -1 : 0;
	}
	if (rc != 0 || b->data == NULL) {
		policy_bundle_unref(b);
		return NULL;
	}
	if (b->n > 0)
		qsort(b->v, b->n, sizeof *b->v, by_path);
	make_id(b, config_hash);
	return b;
}

const char *
policy_library_dir(void)
{
	const char *dir = getenv("SALLYPORT_LUADIR");

	return dir != NULL && dir[0] != '\0' ? dir : LUALIBDIR;
}

struct policy_bundle *
policy_bundle_ref(struct policy_bundle *b)
{
	atomic_fetch_add(&b->refs, 1);
	return b;
}

void
policy_bundle_unref(struct policy_bundle *b)
{
	if (b == NULL || atomic_fetch_sub(&b->refs, 1) != 1)
		return;
	for (size_t i = 0; i < b->n; i++) {
		free(b->v[i].path);
		free(b->v[i].module);
		free(b->v[i].text);
	}
	free(b->v);
	data_unref(b->data);
	tls_client_unref(b->tls);
	free(b);
}

struct tls_client *
policy_bundle_tls(const struct policy_bundle *b)
{
	return b->tls;
}

struct data *
policy_bundle_data(const struct policy_bundle *b)
{
	return b->data;
}

const char *
policy_bundle_id(const struct policy_bundle *b)
{
	return b->id;
}

size_t
policy_bundle_count(const struct policy_bundle *b)
{
	return b->n;
}

const struct policy_source *
policy_bundle_source(const struct policy_bundle *b, size_t i)
{
	return &b->v[i];
}

/* The site's own module hides the shipped one of the same name. */
const struct policy_source *
policy_bundle_module(const struct policy_bundle *b, const char *name)
{
	const struct policy_source *found = NULL;

	for (size_t i = 0; i < b->n; i++) {
		const struct policy_source *s = &b->v[i];

		if (s->module != NULL && strcmp(s->module, name) == 0 && (found == NULL || found->is_lib))
			found = s;
	}
	return found;
}
