/* Named networks, who may connect, and private DNS zones. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "conf/conf_int.h"
#include "dns/dns.h"

/* ---- networks, listeners.*.clients ---- */
static void
list_names(struct buf *out, const struct conf *c)
{
	for (size_t i = 0; i < c->nnetworks; i++)
		buf_printf(out, "%s\"%s\"", i == 0 ? "" : ", ", c->networks[i].name);
}

/* Adds the networks that one text stands for: a name, where names are allowed, or a network. */
static bool
add_net(struct reader *r, const json_t *v, bool names, struct net_cidr **list, size_t *n)
{
	const char *text = json_string_value(v);
	const struct conf_network *net = NULL;
	struct net_cidr one;
	struct err err;
	struct buf known;

	if (text == NULL || strlen(text) != json_string_length(v)) {
		reader_expects(r, names ? "a name in networks or a network such as \"10.0.0.0/8\""
					: "a network such as \"10.0.0.0/8\"", v);
		return false;
	}
	for (size_t i = 0; names && i < r->c->nnetworks; i++)
		if (strcmp(r->c->networks[i].name, text) == 0)
			net = &r->c->networks[i];
	if (net != NULL) {
		*list = xrealloc(*list, (*n + net->n + 1) * sizeof **list);
		if (net->n > 0)
			memcpy(*list + *n, net->v, net->n * sizeof **list);
		*n += net->n;
		return true;
	}
	if (names && name_is_ok(text) && text[strspn(text, "0123456789.")] != '\0') {
		buf_init(&known, 512);
		list_names(&known, r->c);
		reader_error(r, "no network \"%s\"; %s%.*s", text, known.len == 0 ? "networks is empty"
		    : "there are ", (int)known.len, buf_peek(&known));
		buf_fini(&known);
		return false;
	}
	if (net_cidr_parse(&one, slice_of(text), &err) != 0) {
		reader_error(r, "%s", err.text);
		return false;
	}
	*list = xrealloc(*list, (*n + 1) * sizeof **list);
	(*list)[(*n)++] = one;
	return true;
}

static bool
read_nets(struct reader *r, const json_t *v, bool names, struct net_cidr **out, size_t *n_out)
{
	size_t n = 0, mark;
	struct net_cidr *list = NULL;
	bool ok = true;

	if (json_is_array(v)) {
		for (size_t i = 0; i < json_array_size(v) && n < 100000; i++) {
			mark = path_push_index(r, i);
			ok = add_net(r, json_array_get(v, i), names, &list, &n) && ok;
			path_pop(r, mark);
		}
	} else {
		ok = add_net(r, v, names, &list, &n);
	}
	if (!ok) {
		free(list);
		return false;
	}
	*out = list;
	*n_out = n;
	return true;
}

static json_t *
show_nets(const struct net_cidr *v, size_t n)
{
	json_t *out = json_array();
	char text[64];

	for (size_t i = 0; i < n; i++) {
		cidr_format(text, sizeof text, &v[i]);
		json_array_append_new(out, json_string(text));
	}
	return out;
}

bool
nets_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	struct conf_listener *l = base;

	/* An empty list is a list: nobody may. */
	l->has_clients = read_nets(r, v, true, &l->clients, &l->nclients);
	return l->has_clients;
}

json_t *
nets_get(const struct setting *s, const void *base)
{
	const struct conf_listener *l = base;

	return l->has_clients ? show_nets(l->clients, l->nclients) : NULL;
}

void
nets_fini(const struct setting *s, void *base)
{
	free(((struct conf_listener *)base)->clients);
}

static int
network_order(const void *a, const void *b)
{
	return strcmp(((const struct conf_network *)a)->name, ((const struct conf_network *)b)->name);
}

bool
networks_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	struct conf *c = base;
	const char *name;
	json_t *nets;
	size_t mark;

	if (!json_is_object(v)) {
		if (json_is_array(v) && json_array_size(v) == 0)
			return true;
		reader_expects(r, "a table of named lists", v);
		return false;
	}
	c->networks = xcalloc(json_object_size(v), sizeof *c->networks);
	json_object_foreach((json_t *)v, name, nets) {
		struct conf_network *net = &c->networks[c->nnetworks];

		mark = path_push(r, name);
		if (!name_is_ok(name))
			reader_error(r, "a name has up to 64 letters, digits, \"_\", \"-\" and \".\"");
		/* The name counts even when its networks are wrong: one problem, not two. */
		read_nets(r, nets, false, &net->v, &net->n);
		net->name = xstrdup(name);
		c->nnetworks++;
		path_pop(r, mark);
	}
	qsort(c->networks, c->nnetworks, sizeof *c->networks, network_order);
	return true;
}

json_t *
networks_get(const struct setting *s, const void *base)
{
	const struct conf *c = base;
	json_t *out = json_object();

	for (size_t i = 0; i < c->nnetworks; i++)
		json_object_set_new(out, c->networks[i].name, show_nets(c->networks[i].v, c->networks[i].n));
	return out;
}

void
networks_fini(const struct setting *s, void *base)
{
	struct conf *c = base;

	for (size_t i = 0; i < c->nnetworks; i++) {
		free(c->networks[i].name);
		free(c->networks[i].v);
	}
	free(c->networks);
}

/* ---- dns.stub ---- */
static bool
read_stub(struct reader *r, struct conf_stub *stub, const char *zone, const json_t *v)
{
	const json_t *servers = v, *insecure = NULL;
	char ascii[256], **list = NULL;
	const char *key;
	json_t *each;
	size_t n = 0, mark;

	/* "." is everything: resolve from there, without forwarders. */
	if (strcmp(zone, ".") == 0) {
		strcpy(ascii, ".");
	} else if (!host_to_ascii(ascii, zone)) {
		reader_error(r, "the name of a zone is expected, such as [\"corp.example\"]");
		return false;
	}
	if (json_is_object(v)) {
		servers = json_object_get(v, "servers");
		insecure = json_object_get(v, "insecure");
		json_object_foreach((json_t *)v, key, each) {
			if (strcmp(key, "servers") != 0 && strcmp(key, "insecure") != 0) {
				mark = path_push(r, key);
				reader_error(r, "unknown setting; there are servers and insecure");
				path_pop(r, mark);
			}
		}
	}
	if (insecure != NULL && !json_is_boolean(insecure)) {
		mark = path_push(r, "insecure");
		reader_expects(r, "true or false", insecure);
		path_pop(r, mark);
	}
	if (servers == NULL || (json_is_array(servers) && json_array_size(servers) == 0)) {
		reader_error(r, "at least one server is expected");
		return false;
	}
	if (!read_texts(r, &kind_server, servers, &list, &n))
		return false;
	*stub = (struct conf_stub){ xstrdup(ascii), list, json_is_true(insecure) };
	return true;
}

bool
stubs_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	struct conf *c = base;
	const char *zone;
	json_t *stub;
	size_t mark;

	if (!json_is_object(v)) {
		if (json_is_array(v) && json_array_size(v) == 0)
			return true;
		reader_expects(r, "a table such as { [\"corp.example\"] = { \"10.0.0.53@53\" } }", v);
		return false;
	}
	c->dns.stubs = xcalloc(json_object_size(v), sizeof *c->dns.stubs);
	json_object_foreach((json_t *)v, zone, stub) {
		mark = path_push(r, zone);
		if (read_stub(r, &c->dns.stubs[c->dns.nstubs], zone, stub))
			c->dns.nstubs++;
		path_pop(r, mark);
	}
	return true;
}

json_t *
stubs_get(const struct setting *s, const void *base)
{
	const struct conf *c = base;
	json_t *out = json_object();

	for (size_t i = 0; i < c->dns.nstubs; i++) {
		const struct conf_stub *stub = &c->dns.stubs[i];
		size_t n = 0;

		while (stub->servers[n] != NULL)
			n++;
		json_object_set_new(out, stub->zone, json_pack("{s:o, s:b}",
		    "servers", texts_to_json(stub->servers, n), "insecure", stub->insecure));
	}
	return out;
}

void
stubs_fini(const struct setting *s, void *base)
{
	struct conf *c = base;

	for (size_t i = 0; i < c->dns.nstubs; i++) {
		size_t n = 0;

		while (c->dns.stubs[i].servers[n] != NULL)
			n++;
		texts_free(c->dns.stubs[i].servers, n);
		free(c->dns.stubs[i].zone);
	}
	free(c->dns.stubs);
}

void
conf_dns(const struct conf *c, struct dns_conf *out)
{
	struct dns_stub *stubs = xcalloc(c->dns.nstubs, sizeof *stubs);

	for (size_t i = 0; i < c->dns.nstubs; i++)
		stubs[i] = (struct dns_stub){ c->dns.stubs[i].zone, (const char *const *)c->dns.stubs[i].servers,
			c->dns.stubs[i].insecure };
	*out = (struct dns_conf){ .forward = (const char *const *)c->dns.forward, .anchor_file = c->dns.anchor,
		.stubs = stubs, .nstubs = c->dns.nstubs, .timeout_ms = c->dns.timeout_ms };
}

void
conf_dns_fini(struct dns_conf *d)
{
	free((void *)d->stubs);
}
