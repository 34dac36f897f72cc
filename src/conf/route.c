/* Routes: copies, and the JSON form in which a route is kept with its recipient. */
#include "config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "conf/route.h"

#define JSON_MAX (64u << 10)
#define LIST_MAX 100
#define TEXT_MAX 1024

static char **
copy_list(char *const *v, size_t n)
{
	char **out = n == 0 ? NULL : xcalloc(n + 1, sizeof *out);

	for (size_t i = 0; i < n; i++)
		out[i] = xstrdup(v[i]);
	return out;
}

static void
free_list(char **v, size_t n)
{
	for (size_t i = 0; v != NULL && i < n; i++)
		free(v[i]);
	free(v);
}

void
route_free(struct route *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->nhosts; i++)
		free(r->hosts[i].host);
	free(r->hosts);
	free_list(r->names, r->nnames);
	free_list(r->pins, r->npins);
	free(r->name);
	free(r->domain);
	free(r->source);
	free(r->ca_file);
	free(r->auth);
	free(r);
}

struct route *
route_copy(const struct route *r)
{
	struct route *c = xmalloc(sizeof *c);

	*c = *r;
	c->name = xstrdup(r->name == NULL ? "" : r->name);
	c->hosts = r->nhosts == 0 ? NULL : xcalloc(r->nhosts, sizeof *c->hosts);
	for (size_t i = 0; i < r->nhosts; i++)
		c->hosts[i] = (struct route_host){ xstrdup(r->hosts[i].host), r->hosts[i].port };
	c->domain = xstrdup(r->domain);
	c->source = xstrdup(r->source);
	c->names = copy_list(r->names, r->nnames);
	c->pins = copy_list(r->pins, r->npins);
	c->ca_file = xstrdup(r->ca_file);
	c->auth = xstrdup(r->auth);
	return c;
}

/* ---- To JSON ---- */
static void
put_text(json_t *o, const char *key, const char *text)
{
	if (text != NULL)
		json_object_set_new(o, key, json_string(text));
}

static void
put_list(json_t *o, const char *key, char *const *v, size_t n)
{
	json_t *list;

	if (n == 0)
		return;
	list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(v[i]));
	json_object_set_new(o, key, list);
}

static void
put_flag(json_t *o, const char *key, bool v, bool dflt)
{
	if (v != dflt)
		json_object_set_new(o, key, json_boolean(v));
}

char *
route_to_json(const struct route *r)
{
	json_t *o = json_object(), *hosts;
	char *text;

	if (r->name != NULL && r->name[0] != '\0')
		put_text(o, "name", r->name);
	put_flag(o, "mx", r->via_mx, false);
	if (r->nhosts > 0) {
		hosts = json_array();
		for (size_t i = 0; i < r->nhosts; i++)
			json_array_append_new(hosts, json_pack("[s, i]", r->hosts[i].host,
			    (int)r->hosts[i].port));
		json_object_set_new(o, "hosts", hosts);
	}
	put_text(o, "domain", r->domain);
	if (r->port != 25)
		json_object_set_new(o, "port", json_integer(r->port));
	put_flag(o, "implicit_tls", r->implicit_tls, false);
	put_text(o, "source", r->source);
	if (r->tls != TLS_MAY)
		put_text(o, "tls", tls_level_name(r->tls));
	put_flag(o, "waivable", r->waivable, false);
	put_list(o, "names", r->names, r->nnames);
	put_list(o, "pins", r->pins, r->npins);
	put_text(o, "ca_file", r->ca_file);
	put_text(o, "auth", r->auth);
	put_flag(o, "sticky", r->sticky, false);
	if (r->expires_ms != 0)
		json_object_set_new(o, "expires", json_integer(r->expires_ms));
	put_flag(o, "ipv4", r->ipv4, true);
	put_flag(o, "ipv6", r->ipv6, true);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

/* ---- And back. It was written by route_to_json, but has lain on a disk since. ---- */
static bool
text_is_ok(const json_t *v)
{
	return json_is_string(v) && json_string_length(v) <= TEXT_MAX &&
	    strlen(json_string_value(v)) == json_string_length(v);
}

static bool
get_text(const json_t *v, char **out)
{
	if (!text_is_ok(v))
		return false;
	free(*out);
	*out = xstrdup(json_string_value(v));
	return true;
}

static bool
get_list(const json_t *v, char ***out, size_t *n_out)
{
	size_t n = json_array_size(v);

	if (!json_is_array(v) || n > LIST_MAX || *out != NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!text_is_ok(json_array_get(v, i)))
			return false;
	*out = xcalloc(n + 1, sizeof **out);
	for (size_t i = 0; i < n; i++)
		(*out)[i] = xstrdup(json_string_value(json_array_get(v, i)));
	*n_out = n;
	return true;
}

static bool
get_port(const json_t *v, uint16_t *out)
{
	if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > 65535)
		return false;
	*out = (uint16_t)json_integer_value(v);
	return true;
}

static bool
get_hosts(const json_t *v, struct route *r)
{
	size_t n = json_array_size(v);

	if (!json_is_array(v) || n > LIST_MAX || r->hosts != NULL)
		return false;
	r->hosts = xcalloc(n, sizeof *r->hosts);
	for (size_t i = 0; i < n; i++) {
		const json_t *h = json_array_get(v, i);

		if (!json_is_array(h) || json_array_size(h) != 2 || !text_is_ok(json_array_get(h, 0)) ||
		    !get_port(json_array_get(h, 1), &r->hosts[i].port))
			return false;
		r->hosts[i].host = xstrdup(json_string_value(json_array_get(h, 0)));
		r->nhosts++;
	}
	return true;
}

static bool
get_flag(const json_t *v, bool *out)
{
	*out = json_is_true(v);
	return json_is_boolean(v);
}

static bool
get_field(struct route *r, const char *key, const json_t *v)
{
#define IS(name) (strcmp(key, name) == 0)
	if (IS("name"))
		return get_text(v, &r->name);
	if (IS("mx"))
		return get_flag(v, &r->via_mx);
	if (IS("hosts"))
		return get_hosts(v, r);
	if (IS("domain"))
		return get_text(v, &r->domain);
	if (IS("port"))
		return get_port(v, &r->port);
	if (IS("implicit_tls"))
		return get_flag(v, &r->implicit_tls);
	if (IS("source"))
		return get_text(v, &r->source);
	if (IS("tls"))
		return text_is_ok(v) && tls_level_parse(slice_of(json_string_value(v)), &r->tls);
	if (IS("waivable"))
		return get_flag(v, &r->waivable);
	if (IS("names"))
		return get_list(v, &r->names, &r->nnames);
	if (IS("pins"))
		return get_list(v, &r->pins, &r->npins);
	if (IS("ca_file"))
		return get_text(v, &r->ca_file);
	if (IS("auth"))
		return get_text(v, &r->auth);
	if (IS("sticky"))
		return get_flag(v, &r->sticky);
	if (IS("expires")) {
		r->expires_ms = json_integer_value(v);
		return json_is_integer(v) && r->expires_ms >= 0;
	}
	if (IS("ipv4"))
		return get_flag(v, &r->ipv4);
	if (IS("ipv6"))
		return get_flag(v, &r->ipv6);
#undef IS
	/* A field that we do not know may be one that makes delivery stricter: do not guess. */
	return false;
}

struct route *
route_from_json(const char *json, struct err *err)
{
	struct route *r;
	json_error_t jerr;
	json_t *o, *v;
	const char *key;
	char shown[80];
	bool ok = true;

	if (strlen(json) > JSON_MAX) {
		err_set(err, "the stored route is larger than 64 KiB");
		return NULL;
	}
	o = json_loads(json, JSON_REJECT_DUPLICATES, &jerr);
	if (!json_is_object(o)) {
		err_set(err, "the stored route is not a JSON object: %s", o == NULL ? jerr.text : "wrong type");
		json_decref(o);
		return NULL;
	}
	r = xcalloc(1, sizeof *r);
	r->name = xstrdup("");
	r->port = 25;
	r->ipv4 = r->ipv6 = true;
	json_object_foreach(o, key, v) {
		ok = get_field(r, key, v);
		if (!ok) {
			text_escape(shown, sizeof shown, key, strlen(key), true);
			err_set(err, "the stored route's field \"%s\" is unknown or has a wrong value", shown);
			break;
		}
	}
	if (ok && r->via_mx == (r->nhosts > 0)) {
		err_set(err, "the stored route has neither or both of mx and hosts");
		ok = false;
	}
	json_decref(o);
	if (!ok) {
		route_free(r);
		return NULL;
	}
	return r;
}
