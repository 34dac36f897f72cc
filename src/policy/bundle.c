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
#include "policy/bundle_pack.h"
#include "policy/policy_int.h"

#define FILE_MAX (1u << 20)
#define TOTAL_MAX (16u << 20)
#define FILES_MAX 1000
#define DEPTH_MAX 8

struct policy_bundle {
	atomic_int refs;
	struct policy_source *v;
	size_t n, total;
	char *config;			/* the text of gateway.lua; NULL: none was read */
	size_t nconfig;
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

/* Takes what `s` has (heap). A text that is NULL could not be read. */
static int
add_source(struct policy_bundle *b, const char *file, struct policy_source *s, struct err *err)
{
	bool fits = b->n < FILES_MAX && b->total + s->n <= TOTAL_MAX;

	if (b->n >= FILES_MAX)
		err_set(err, "%s: the policy has more than %d files", file, FILES_MAX);
	else if (!fits)
		err_set(err, "%s: the policy's files are larger than 16 MiB together", file);
	if (!fits || s->text == NULL) {
		free(s->path);
		free(s->module);
		free(s->text);
		return -1;
	}
	b->total += s->n;
	hash_hex(s->hash, s->text, s->n);
	b->v = xrealloc(b->v, (b->n + 1) * sizeof *b->v);
	b->v[b->n++] = *s;
	return 0;
}

/* Takes path and module (heap). */
static int
add_file(struct policy_bundle *b, const char *file, char *path, char *module, int order, bool is_lib,
    struct err *err)
{
	struct policy_source s = { .path = path, .module = module, .load_order = order, .is_lib = is_lib };

	s.text = read_file(file, &s.n, err);
	return add_source(b, file, &s, err);
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
make_id(struct policy_bundle *b)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	unsigned char md[32];
	char config_hash[65] = "";

	if (b->config != NULL)
		hash_hex(config_hash, b->config, b->nconfig);
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

static struct policy_bundle *
bundle_new(void)
{
	struct policy_bundle *b = xcalloc(1, sizeof *b);

	atomic_init(&b->refs, 1);
	return b;
}

/* What is not text, and the name. Takes `b`: NULL when it cannot be done. */
static struct policy_bundle *
finish(struct policy_bundle *b, const struct conf *conf, struct err *err)
{
	b->data = data_read((struct conf *)conf, err);	/* shared by count and not changed otherwise */
	if (b->data == NULL || (conf->policy.nhttp > 0 && (b->tls = make_tls(conf, err)) == NULL)) {
		policy_bundle_unref(b);
		return NULL;
	}
	if (b->n > 0)
		qsort(b->v, b->n, sizeof *b->v, by_path);
	make_id(b);
	return b;
}

struct policy_bundle *
policy_bundle_read(const struct conf *conf, const char *libdir, struct err *err)
{
	struct policy_bundle *b = bundle_new();
	size_t dirlen = conf->dir == NULL ? 0 : strlen(conf->dir);
	char *lua = NULL;
	int rc = 0;

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
	if (rc == 0 && conf->file != NULL && (b->config = read_file(conf->file, &b->nconfig, err)) == NULL)
		rc = -1;
	free(lua);
	if (rc != 0) {
		policy_bundle_unref(b);
		return NULL;
	}
	return finish(b, conf, err);
}

/* ---- The same for another process ---- */

/* Lua may hold any octets, JSON not. */
static json_t *
pack_text(const char *p, size_t n)
{
	json_t *s = memchr(p, '\0', n) != NULL ? NULL : json_stringn(p, n), *hex;
	char *digits;

	if (s != NULL)
		return s;
	digits = xmalloc(2 * n + 1);
	hex_encode(digits, (const uint8_t *)p, n);
	hex = json_pack("{s:s}", "hex", digits);
	free(digits);
	return hex;
}

/* Heap, with a NUL; NULL: it is not one of pack_text. */
static char *
unpack_text(const json_t *j, size_t *n_out)
{
	const char *digits = json_string_value(json_object_get(j, "hex"));
	char *text;

	if (json_is_string(j)) {
		*n_out = json_string_length(j);
		return xstrndup(json_string_value(j), *n_out);
	}
	if (digits == NULL || strspn(digits, "0123456789abcdef") != strlen(digits) || strlen(digits) % 2 != 0)
		return NULL;
	*n_out = strlen(digits) / 2;
	text = xmalloc(*n_out + 1);
	for (size_t i = 0; i < *n_out; i++) {
		unsigned v = 0;

		sscanf(digits + 2 * i, "%2x", &v);
		text[i] = (char)v;
	}
	text[*n_out] = '\0';
	return text;
}

json_t *
policy_bundle_pack(const struct policy_bundle *b)
{
	json_t *files = json_array();

	for (size_t i = 0; i < b->n; i++) {
		const struct policy_source *s = &b->v[i];

		json_array_append_new(files, json_pack("{s:s, s:s?, s:i, s:b, s:o}", "path", s->path, "module", s->module,
		    "order", s->load_order, "is_lib", s->is_lib, "text", pack_text(s->text, s->n)));
	}
	return json_pack("{s:s, s:o, s:o}", "id", b->id, "config",
	    b->config == NULL ? json_null() : pack_text(b->config, b->nconfig), "files", files);
}

char *
policy_bundle_packed_config(const json_t *packed, size_t *n_out)
{
	return unpack_text(json_object_get(packed, "config"), n_out);
}

struct policy_bundle *
policy_bundle_unpack(const json_t *packed, const struct conf *conf, struct err *err)
{
	struct policy_bundle *b = bundle_new();
	const char *id = json_string_value(json_object_get(packed, "id"));
	const json_t *file;
	size_t i;

	b->config = policy_bundle_packed_config(packed, &b->nconfig);
	json_array_foreach(json_object_get(packed, "files"), i, file) {
		const char *path = json_string_value(json_object_get(file, "path"));
		struct policy_source s = { .path = xstrdup(path == NULL ? "?" : path),
			.module = xstrdup(json_string_value(json_object_get(file, "module"))),
			.load_order = (int)json_integer_value(json_object_get(file, "order")),
			.is_lib = json_is_true(json_object_get(file, "is_lib")) };

		s.text = unpack_text(json_object_get(file, "text"), &s.n);
		err_set(err, "%s has no text", s.path);
		if (add_source(b, path, &s, err) != 0) {
			policy_bundle_unref(b);
			return NULL;
		}
	}
	b = finish(b, conf, err);
	if (b != NULL && (id == NULL || strcmp(b->id, id) != 0)) {
		err_set(err, "what came is not what the name %.12s stands for", id == NULL ? "?" : id);
		policy_bundle_unref(b);
		return NULL;
	}
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
	free(b->config);
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
