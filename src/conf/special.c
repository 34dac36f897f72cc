/* Types that are made of several fields: keys, handler levels, next hops, grants. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "conf/conf_int.h"

/* ---- service.http ---- */
bool
http_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	struct conf *c = base;
	char **list;
	size_t n;

	if (!json_is_string(v)) {
		reader_expects(r, "an address such as \"127.0.0.1:8025\"", v);
		return false;
	}
	if (!read_texts(r, &kind_bind, v, &list, &n))
		return false;
	c->service.http_text = list[0];
	free(list);
	MUST(net_addr_parse(&c->service.http, slice_of(c->service.http_text), 0, NULL) == 0);
	return true;
}

json_t *
http_get(const struct setting *s, const void *base)
{
	const struct conf *c = base;

	return c->service.http_text == NULL ? NULL : json_string(c->service.http_text);
}

void
http_fini(const struct setting *s, void *base)
{
	free(((struct conf *)base)->service.http_text);
}

/* ---- Keys ---- */

/* A key that a variable holds becomes a file that exists only in memory, so that whoever loads
 * keys knows files only. Its name works in this process alone. */
static char *
key_in_memory(const char *pem, int *fd_out, struct err *err)
{
	size_t n = strlen(pem), done = 0;
	int fd = memfd_create("key", MFD_CLOEXEC);

	while (fd >= 0 && done < n) {
		ssize_t got = write(fd, pem + done, n - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			close(fd);
			fd = -1;
		} else {
			done += (size_t)got;
		}
	}
	if (fd < 0) {
		err_set(err, "cannot keep the key in memory: %s", strerror(errno));
		return NULL;
	}
	*fd_out = fd;
	return xasprintf("/proc/self/fd/%d", fd);
}

static bool
env_key(struct reader *r, struct conf_secret *k, const char *var)
{
	const char *value = getenv(var);
	struct err err;

	if (value == NULL || *value == '\0') {
		if (!r->check_files)
			return true;	/* checked on another machine than it will run on */
		reader_error(r, "the environment variable %s is not set", var);
		return false;
	}
	if (strncmp(value, "-----BEGIN", 10) != 0) {
		k->path = path_below(r->dir, value);
		return true;
	}
	k->path = key_in_memory(value, &k->fd, &err);
	if (k->path == NULL)
		reader_error(r, "%s", err.text);
	return k->path != NULL;
}

bool
secret_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	struct conf_secret *k = setting_at(s, base);
	const json_t *ref = json_is_object(v) && json_object_size(v) == 1 ? json_object_get(v, "secret")
									   : NULL;
	const char *text = json_string_value(ref);
	char **list;
	size_t n;

	k->fd = -1;
	if (text == NULL) {
		if (!json_is_string(v)) {
			reader_expects(r, "a path or gw.secret", v);
			return false;
		}
		if (!read_texts(r, &kind_path, v, &list, &n))
			return false;
		k->path = list[0];
		free(list);
		return true;
	}
	if (strncmp(text, "file:", 5) == 0 && text[5] != '\0' && strlen(text) <= 4096) {
		k->path = path_below(r->dir, text + 5);
		k->ref = xasprintf("file:%s", k->path);
		return true;
	}
	if (strncmp(text, "env:", 4) != 0 || text[4] == '\0' || strlen(text) > 256) {
		reader_error(r, "a secret is \"file:PATH\" or \"env:NAME\"");
		return false;
	}
	if (!env_key(r, k, text + 4))
		return false;
	k->ref = xstrdup(text);
	return true;
}

/* Never a text: what stands in the configuration is shown, kept with generations, and copied about. */
bool
password_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	struct conf_secret *k = setting_at(s, base);
	const json_t *ref = json_is_object(v) && json_object_size(v) == 1 ? json_object_get(v, "secret") : NULL;
	const char *text = json_string_value(ref), *value;
	struct err err;

	k->fd = -1;
	if (text == NULL) {
		reader_error(r, "a password does not stand in the configuration: gw.secret \"file:PATH\", or gw.secret "
		    "\"env:NAME\"");
		return false;
	}
	if (strncmp(text, "env:", 4) != 0)
		return secret_set(r, s, base, v);
	value = getenv(text + 4);
	if (value != NULL && *value != '\0')
		k->path = key_in_memory(value, &k->fd, &err);
	if (k->path == NULL && (value != NULL || r->check_files)) {
		if (value == NULL || *value == '\0')
			reader_error(r, "the environment variable %s is not set", text + 4);
		else
			reader_error(r, "%s", err.text);
		return false;
	}
	k->ref = xstrdup(text);
	return true;
}

json_t *
secret_get(const struct setting *s, const void *base)
{
	const struct conf_secret *k = setting_at(s, base);

	if (k->ref != NULL)
		return json_pack("{s:s}", "secret", k->ref);
	return k->path == NULL ? NULL : json_string(k->path);
}

void
secret_fini(const struct setting *s, void *base)
{
	struct conf_secret *k = setting_at(s, base);

	/* The number is never 0 for a file of ours; one that was not given, or failed early, has 0 in it. */
	if (k->fd > 0)
		close(k->fd);
	free(k->path);
	free(k->ref);
}

/* ---- policy.levels ---- */
static int
level_order(const void *a, const void *b)
{
	return strcmp(((const struct conf_level *)a)->handler, ((const struct conf_level *)b)->handler);
}

bool
levels_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	struct conf *c = base;
	const char *handler;
	json_t *level;
	size_t mark;

	if (!json_is_object(v)) {
		if (json_is_array(v) && json_array_size(v) == 0)
			return true;
		reader_expects(r, "a table such as { [\"geo.block\"] = \"advisory\" }", v);
		return false;
	}
	c->policy.levels = xcalloc(json_object_size(v), sizeof *c->policy.levels);
	json_object_foreach((json_t *)v, handler, level) {
		int i = 0;

		mark = path_push(r, handler);
		while (conf_handler_levels[i] != NULL && (!json_is_string(level) ||
		    strcmp(json_string_value(level), conf_handler_levels[i]) != 0))
			i++;
		if (conf_handler_levels[i] == NULL)
			reader_expects(r, "\"advisory\", \"normal\" or \"mandatory\"", level);
		else
			c->policy.levels[c->policy.nlevels++] = (struct conf_level){ xstrdup(handler), i };
		path_pop(r, mark);
	}
	qsort(c->policy.levels, c->policy.nlevels, sizeof *c->policy.levels, level_order);
	return true;
}

json_t *
levels_get(const struct setting *s, const void *base)
{
	const struct conf *c = base;
	json_t *out = json_object();

	for (size_t i = 0; i < c->policy.nlevels; i++)
		json_object_set_new(out, c->policy.levels[i].handler,
		    json_string(conf_handler_levels[c->policy.levels[i].level]));
	return out;
}

void
levels_fini(const struct setting *s, void *base)
{
	struct conf *c = base;

	for (size_t i = 0; i < c->policy.nlevels; i++)
		free(c->policy.levels[i].handler);
	free(c->policy.levels);
}

/* ---- policy.options: what is in them the policies say, each for its own ---- */
#define OPTIONS_MAX (256u * 1024)

bool
options_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	struct conf *c = base;
	const char *name;
	json_t *options;
	bool ok = true;
	size_t mark;

	if (json_is_array(v) && json_array_size(v) == 0)
		return true;
	if (!json_is_object(v)) {
		reader_expects(r, "a table such as { subject_tag = { strip = true } }", v);
		return false;
	}
	json_object_foreach((json_t *)v, name, options) {
		mark = path_push(r, name);
		if (!json_is_object(options) && !(json_is_array(options) && json_array_size(options) == 0)) {
			reader_expects(r, "a table such as { strip = true }", options);
			ok = false;
		}
		path_pop(r, mark);
	}
	if (!ok)
		return false;
	c->policy.options = json_dumps(v, JSON_COMPACT | JSON_SORT_KEYS);
	if (c->policy.options != NULL && strlen(c->policy.options) <= OPTIONS_MAX)
		return true;
	reader_error(r, "the options are larger than 256 KiB; keep long lists in a data file");
	free(c->policy.options);
	c->policy.options = NULL;
	return false;
}

json_t *
options_get(const struct setting *s, const void *base)
{
	const struct conf *c = base;

	return c->policy.options == NULL ? json_object() : json_loads(c->policy.options, 0, NULL);
}

void
options_fini(const struct setting *s, void *base)
{
	free(((struct conf *)base)->policy.options);
}

/* ---- routes.*.via ---- */
static bool
read_hop(struct reader *r, struct route *route, const json_t *v)
{
	struct route_host *h = &route->hosts[route->nhosts];
	const char *text = json_string_value(v);
	struct err err = { "" };

	if (text == NULL || strlen(text) != json_string_length(v) || !route_host_parse(h, text, &err)) {
		if (err.text[0] != '\0')
			reader_error(r, "%s", err.text);
		else
			reader_expects(r, "a host such as \"ex1.acme.example:25\"", v);
		return false;
	}
	route->nhosts++;
	return true;
}

bool
via_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	struct route *route = base;
	size_t n = json_is_array(v) ? json_array_size(v) : 1, mark;
	bool ok = true;

	if (json_is_string(v) && strcmp(json_string_value(v), "mx") == 0) {
		route->via_mx = true;
		return true;
	}
	if (n == 0 || n > 100 || json_is_object(v)) {
		reader_expects(r, "\"mx\" or a list of 1 to 100 hosts", v);
		return false;
	}
	route->hosts = xcalloc(n, sizeof *route->hosts);
	if (!json_is_array(v))
		return read_hop(r, route, v);
	for (size_t i = 0; i < n; i++) {
		mark = path_push_index(r, i);
		ok = read_hop(r, route, json_array_get(v, i)) && ok;
		path_pop(r, mark);
	}
	return ok;
}

json_t *
via_get(const struct setting *s, const void *base)
{
	const struct route *route = base;
	json_t *out;

	if (route->via_mx)
		return json_string("mx");
	out = json_array();
	for (size_t i = 0; i < route->nhosts; i++) {
		char *text = route_host_text(&route->hosts[i]);

		json_array_append_new(out, json_string(text));
		free(text);
	}
	return out;
}

void
via_fini(const struct setting *s, void *base)
{
	struct route *route = base;

	for (size_t i = 0; i < route->nhosts; i++)
		free(route->hosts[i].host);
	free(route->hosts);
}

/* ---- policy.grants ---- */
bool
relaxes_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	struct conf_grant *g = base;
	enum tls_level level;

	if (!json_is_string(v) || !tls_level_parse(slice_of(json_string_value(v)), &level)) {
		reader_expects(r, "\"may\", \"encrypt\", \"verify\", \"secure\" or \"requiretls\"", v);
		return false;
	}
	g->relaxes = duties_bits(duties_of_level(level, DUTY_BY_ADMIN));
	return true;
}

json_t *
relaxes_get(const struct setting *s, const void *base)
{
	return json_string(tls_level_name(duties_level(((const struct conf_grant *)base)->relaxes)));
}

bool
date_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	static const unsigned days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	const char *text = json_string_value(v);
	struct tm tm = { .tm_isdst = 0 };
	unsigned y = 0, m = 0, d = 0, last;

	if (text == NULL || strlen(text) != 10 || strspn(text, "0123456789") != 4 || text[4] != '-' ||
	    strspn(text + 5, "0123456789") != 2 || text[7] != '-' || strspn(text + 8, "0123456789") != 2 ||
	    sscanf(text, "%4u-%2u-%2u", &y, &m, &d) != 3 || y < 1970 || m < 1 || m > 12)
		goto wrong;
	last = days[m - 1] + (m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0));
	if (d < 1 || d > last)
		goto wrong;
	tm.tm_year = (int)y - 1900;
	tm.tm_mon = (int)m - 1;
	tm.tm_mday = (int)d + 1;
	*(int64_t *)setting_at(s, base) = (int64_t)timegm(&tm) * 1000 - 1;
	return true;
wrong:
	reader_expects(r, "a date such as \"2027-06-30\"", v);
	return false;
}

json_t *
date_get(const struct setting *s, const void *base)
{
	char text[32];

	date_iso8601(text, sizeof text, *(const int64_t *)setting_at(s, base));
	text[10] = '\0';
	return json_string(text);
}
