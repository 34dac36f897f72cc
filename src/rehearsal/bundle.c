/* The configuration that a rehearsal runs under: the bundle's own, or a small one. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/conf_int.h"
#include "rehearsal/world.h"

#define FILE_MAX (4u << 20)

/* For a folder with a policy.lua and no gateway.lua. Everything in it can be laid over. */
static const char small[] =
	"return gw.config {"
	" identity = { hostname = 'gw.acme.example', postmaster = 'postmaster@acme.example' },"
	" service = { state = 'state', control = 'run/control.sock' },"
	" networks = { office = { '10.0.0.0/8' } },"
	" listeners = {"
	"  inbound = { bind = { '192.0.2.25:25' }, role = 'mx', tls = 'gw', starttls = 'offer', requiretls = 'announce' },"
	"  relay = { bind = { '192.0.2.25:587' }, role = 'relay', tls = 'gw', clients = 'office', starttls = 'offer',"
	"   requiretls = 'announce', auth = { 'PLAIN' } },"
	" },"
	" tls = { identities = { gw = { cert = 'gw.pem', key = gw.secret 'file:gw.key' } } },"
	" domains = {"
	"  { match = { 'acme.example' }, kind = 'local', route = 'inside' },"
	"  { match = '*', kind = 'remote', route = 'internet' },"
	" },"
	" routes = {"
	"  inside = { via = { 'mail.acme.example:25' }, tls = 'may' },"
	"  internet = { via = 'mx', tls = 'may' },"
	" },"
	" policy = { load = { 'policy.lua' }, network = { dns = true } },"
	"}\n";

/* On one line, so that problems keep their line numbers. A list takes the place of what was there, a table of
 * settings is merged into it. */
static const char before[] =
	"local gw = (function(real, over) "
	"local function merge(a, b) "
	"if type(a) ~= 'table' or type(b) ~= 'table' or b[1] ~= nil or a[1] ~= nil then return b end "
	"local t = {} for k, v in pairs(a) do t[k] = v end "
	"for k, v in pairs(b) do if t[k] == nil then t[k] = v else t[k] = merge(t[k], v) end end return t end "
	"local t = {} for k, v in pairs(real) do t[k] = v end "
	"t.config = function(c) return real.config(merge(c, over)) end return t end)(gw, ";

static bool
read_all(const char *path, struct buf *out)
{
	FILE *f = fopen(path, "re");
	char some[8192];
	size_t n;

	if (f == NULL)
		return false;
	while ((n = fread(some, 1, sizeof some, f)) > 0)
		buf_add(out, some, n);
	n = (size_t)ferror(f);
	fclose(f);
	return n == 0;
}

struct conf *
world_conf_load(const char *dir, const char *over, struct err *err)
{
	char *full = realpath(dir, NULL), *file, *errors = NULL;
	struct conf *c = NULL;
	struct buf text;
	struct stat st;
	bool own;

	if (full == NULL) {
		err_set(err, "%s: %s", dir, strerror(errno));
		return NULL;
	}
	buf_init(&text, FILE_MAX);
	file = xasprintf("%s/gateway.lua", full);
	if (over != NULL)
		buf_printf(&text, "%s%s) ", before, over);
	own = stat(file, &st) == 0;
	if (!own) {	/* a policy that is not a whole configuration may bring one for its tests */
		free(file);
		file = xasprintf("%s/tests/gateway.lua", full);
		own = stat(file, &st) == 0;
	}
	if (own ? !read_all(file, &text) : !buf_adds(&text, small)) {
		err_set(err, "%s cannot be read: %s", file, strerror(errno));
		goto out;
	}
	c = conf_load_text(buf_peek(&text), text.len, own ? "gateway.lua" : "(the usual gateway.lua)", full, false,
	    &errors);
	if (c == NULL) {
		size_t n = errors == NULL ? 0 : strlen(errors);

		err_set(err, "%.*s", (int)(n > 0 && errors[n - 1] == '\n' ? n - 1 : n), errors == NULL ? "?" : errors);
	} else if (own) {
		c->file = xstrdup(file);
	}
out:
	free(errors);
	free(file);
	free(full);
	buf_fini(&text);
	return c;
}

/* Is this a file of the folder, links followed? */
static bool
is_below(const char *file, const char *dir)
{
	char *full = realpath(dir, NULL), *real = realpath(file, NULL);
	size_t n = full == NULL ? 0 : strlen(full);
	bool ok = full != NULL && real != NULL && strncmp(real, full, n) == 0 && real[n] == '/';

	free(full);
	free(real);
	return ok;
}

void
world_conf_own_databases(struct conf *c, const char *dir)
{
	for (size_t i = 0; i < c->ndatabases; i++)
		c->databases[i].is_made_up = !is_below(c->databases[i].file, dir);
	for (size_t i = 0; i < c->ntables; i++)
		c->tables[i].is_made_up = c->tables[i].sqlite != NULL && !is_below(c->tables[i].sqlite, dir);
}
