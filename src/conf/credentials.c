/* What routes log in with (RFC 4954): which route may use it and where, and the password, which is read
 * from its file, never shown, and wiped with the configuration. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf_int.h"

#define PASSWORD_MAX 1024u
#define USER_MAX 255u		/* RFC 4616 section 2 asks for no more */

const struct conf_credential *
conf_credential(const struct conf *c, const char *name)
{
	for (size_t i = 0; name != NULL && i < c->ncredentials; i++)
		if (strcmp(c->credentials[i].name, name) == 0)
			return &c->credentials[i];
	return NULL;
}

void
conf_free_credentials(struct conf *c)
{
	for (size_t i = 0; i < c->ncredentials; i++) {
		struct conf_credential *k = &c->credentials[i];

		if (k->loaded != NULL)
			OPENSSL_cleanse(k->loaded, strlen(k->loaded));
		free(k->loaded);
		OPENSSL_cleanse(k->stamp, sizeof k->stamp);
	}
}

void
credential_after(struct reader *r, void *item, const json_t *given)
{
	const struct conf_credential *k = item;
	size_t n = k->user == NULL ? 1 : strlen(k->user);
	bool ok = n >= 1 && n <= USER_MAX;

	for (size_t i = 0; k->user != NULL && i < n; i++)
		ok = ok && (unsigned char)k->user[i] >= 0x20 && k->user[i] != 0x7F;
	if (!ok)
		reader_error(r, "user is a text of 1 to %u octets without control characters", USER_MAX);
}

static void
add_host(struct conf_credential *k, const char *host)
{
	for (size_t i = 0; i < k->nhosts; i++)
		if (strcmp(k->hosts[i], host) == 0)
			return;
	k->hosts = xrealloc(k->hosts, (k->nhosts + 2) * sizeof *k->hosts);
	k->hosts[k->nhosts++] = xstrdup(host);
	k->hosts[k->nhosts] = NULL;
}

/* Where the operator's own routes take it, and nowhere else: a policy that makes routes of what it reads in a
 * message cannot send it to somebody else. */
void
conf_complete_credentials(struct conf *c)
{
	for (size_t i = 0; i < c->ncredentials; i++) {
		struct conf_credential *k = &c->credentials[i];

		for (size_t j = 0; k->nhosts == 0 && j < c->nroutes; j++) {
			const struct route *rt = c->routes[j];

			if (rt->auth == NULL || strcmp(rt->auth, k->name) != 0)
				continue;
			for (size_t h = 0; h < rt->nhosts; h++)
				add_host(k, rt->hosts[h].host);
		}
	}
}

static bool
is_for_host(const struct conf_credential *k, const char *host)
{
	for (size_t i = 0; i < k->nhosts; i++)
		if (strcasecmp(k->hosts[i], host) == 0)
			return true;
	return false;
}

static void
no_such(const struct conf *c, const char *name, struct err *err)
{
	const char *names[65] = { NULL }, *near;

	for (size_t i = 0; i < c->ncredentials && i + 1 < NELEMS(names); i++)
		names[i] = c->credentials[i].name;
	near = nearest_name(name, names);
	err_set(err, "the configuration has no credentials.%s%s%s", name, near == NULL ? "" : "; nearest: ",
	    near == NULL ? "" : near);
}

bool
conf_may_log_in(const struct conf *c, const struct route *r, struct err *err)
{
	const struct conf_credential *k = conf_credential(c, r->auth);

	if (k == NULL) {
		no_such(c, r->auth, err);
		return false;
	}
	/* Whoever can change an MX record would say who is told the password. */
	if (r->via_mx) {
		err_set(err, "a login wants a list of hosts in via; MX records may not say who is told a password");
		return false;
	}
	if (r->tls < TLS_VERIFY) {
		err_set(err, "a login wants tls = \"verify\" or more: a password goes to nobody whose certificate was "
		    "not verified");
		return false;
	}
	for (size_t i = 0; i < r->nhosts; i++) {
		if (!is_for_host(k, r->hosts[i].host)) {
			err_set(err, "credentials.%s is not for %s; list it in credentials.%s.hosts", k->name,
			    r->hosts[i].host, k->name);
			return false;
		}
	}
	return true;
}

void
conf_check_auth(struct reader *r, const struct route *route)
{
	struct err err;
	size_t mark;

	if (route->auth == NULL)
		return;
	mark = path_push(r, "auth");
	if (!conf_may_log_in(r->c, route, &err))
		reader_error(r, "%s", err.text);
	else if (route->waivable)
		reader_error(r, "waivable has no meaning with a login, which no TLS-Required: No may have in clear");
	path_pop(r, mark);
}

/* ---- The password ---- */

/* All of the file, which is one line. What a variable held is behind a descriptor of ours. */
static char *
read_password(const struct conf_secret *from, struct err *err)
{
	const char *path = from->fd > 0 ? from->ref : from->path;
	char text[PASSWORD_MAX + 3], *out = NULL;
	size_t n = 0;
	ssize_t got = 0;
	int fd = from->fd > 0 ? from->fd : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		err_set(err, "%s cannot be read: %s", path, fd < 0 ? strerror(errno) : "it is not a file");
		goto out;
	}
	while (n < sizeof text && ((got = pread(fd, text + n, sizeof text - n, (off_t)n)) > 0 ||
	    (got < 0 && errno == EINTR)))
		n += got > 0 ? (size_t)got : 0;
	if (got < 0) {
		err_set(err, "%s cannot be read: %s", path, strerror(errno));
		goto out;
	}
	if (n > 0 && text[n - 1] == '\n')
		n -= n > 1 && text[n - 2] == '\r' ? 2 : 1;
	if (n == 0)
		err_set(err, "%s is empty", path);
	else if (n > PASSWORD_MAX)
		err_set(err, "%s holds more than %u octets", path, PASSWORD_MAX);
	else if (memchr(text, '\0', n) != NULL || memchr(text, '\n', n) != NULL || memchr(text, '\r', n) != NULL)
		err_set(err, "%s is more than one line", path);
	else
		out = xstrndup(text, n);
out:
	OPENSSL_cleanse(text, sizeof text);
	if (fd >= 0 && fd != from->fd)
		close(fd);
	return out;
}

bool
conf_credential_load(struct conf_credential *k, struct err *err)
{
	EVP_MD_CTX *ctx;

	if (k->password.path == NULL || k->loaded != NULL)
		return true;
	k->loaded = read_password(&k->password, err);
	if (k->loaded == NULL)
		return false;
	ctx = EVP_MD_CTX_new();
	MUST(ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
	    EVP_DigestUpdate(ctx, k->user, strlen(k->user) + 1) == 1 &&
	    EVP_DigestUpdate(ctx, k->loaded, strlen(k->loaded)) == 1 &&
	    EVP_DigestFinal_ex(ctx, k->stamp, NULL) == 1);
	EVP_MD_CTX_free(ctx);
	return true;
}

void
conf_check_credential_files(struct reader *r)
{
	for (size_t i = 0; i < r->c->ncredentials; i++) {
		const struct conf_credential *k = &r->c->credentials[i];
		struct err err;
		char *text;

		if (k->password.path == NULL)
			continue;
		text = read_password(&k->password, &err);
		if (text == NULL) {
			problem_error(r->p, "credentials.%s.password: %s", k->name, err.text);
			continue;
		}
		if (secret_is_for_everybody(&k->password))
			problem_warn(r->p, "credentials.%s.password: %s can be read by everybody", k->name,
			    k->password.path);
		OPENSSL_cleanse(text, strlen(text));
		free(text);
	}
}
