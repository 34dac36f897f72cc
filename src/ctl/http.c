/* Metrics and the status page. Read-only, loopback unless the configuration says otherwise. */
#include "config.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/ctl_int.h"
#include "net/net.h"

/* ---- Metrics (Prometheus text format 0.0.4) ---- */

struct metrics_text {
	struct buf out;
	const char *last;
};

static void
add_metric(void *arg, const struct ctl_metric *m)
{
	struct metrics_text *t = arg;

	const char *part = strncmp(m->name, "gw_metric_", 10) == 0 ? NULL : strstr(m->name, "_seconds_");
	size_t n = part == NULL ? strlen(m->name) : (size_t)(part - m->name) + strlen("_seconds");

	if (t->last == NULL || strncmp(t->last, m->name, n) != 0 || (t->last[n] != '\0' && part == NULL))
		buf_printf(&t->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)n, m->name, m->help, (int)n, m->name,
		    part != NULL ? "histogram" : m->is_counter ? "counter" : "gauge");
	t->last = m->name;
	if (m->labels != NULL)
		buf_printf(&t->out, "%s{%s} %.17g\n", m->name, m->labels, m->value);
	else
		buf_printf(&t->out, "%s %.17g\n", m->name, m->value);
}

char *
ctl_metrics_text(struct ctl *c)
{
	struct metrics_text t = { .last = NULL };

	buf_init(&t.out, 4 << 20);
	c->ops->metrics(c->owner, add_metric, &t);
	return buf_take(&t.out);
}

/* ---- The page ---- */

static const char page_head[] =
    "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>"
    "<meta name=viewport content=\"width=device-width\"><title>sallyport</title><style>"
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#1c2733}"
    "h1{font-size:1.4em;margin:0}p.sub{color:#5a6b7b;margin:.2em 0 1.5em}"
    "section{display:grid;grid-template-columns:repeat(auto-fit,minmax(16em,1fr));gap:1em}"
    "div.card{border:1px solid #d5dde5;border-radius:8px;padding:.8em 1em}"
    "h2{font-size:1em;margin:0 0 .4em}table{border-collapse:collapse;width:100%}"
    "td{padding:.1em 0}td:last-child{text-align:right;font-variant-numeric:tabular-nums}"
    ".bad{background:#fdecea;border-color:#e0a19b}.ok{background:#eef8f0;border-color:#a9d3b3}"
    "</style>";

static void
add_escaped(struct evbuffer *out, const char *s)
{
	char *h = evhttp_htmlescape(s == NULL ? "" : s);

	evbuffer_add_printf(out, "%s", h);
	free(h);
}

static void
add_card(struct evbuffer *out, const char *title, const json_t *o)
{
	const char *key;
	json_t *v;

	evbuffer_add_printf(out, "<div class=card><h2>%s</h2><table>", title);
	json_object_foreach((json_t *)o, key, v) {
		evbuffer_add_printf(out, "<tr><td>%s<td>", key);
		if (json_is_integer(v))
			evbuffer_add_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
		else
			add_escaped(out, json_string_value(v));
	}
	evbuffer_add_printf(out, "</table></div>");
}

static void
add_health(struct evbuffer *out, const json_t *st)
{
	const json_t *dnssec = json_object_get(st, "dnssec");
	const char *storage = json_string_value(json_object_get(st, "storage"));
	bool dns_ok = json_is_true(json_object_get(dnssec, "trusted"));
	bool store_ok = storage != NULL && strcmp(storage, "ok") == 0;

	evbuffer_add_printf(out, "<div class=\"card %s\"><h2>Storage</h2>", store_ok ? "ok" : "bad");
	add_escaped(out, storage);
	evbuffer_add_printf(out, "</div><div class=\"card %s\"><h2>DNSSEC validation</h2>", dns_ok ? "ok" : "bad");
	if (dns_ok) {
		add_escaped(out, "self-test passed");
	} else {
		evbuffer_add_printf(out, "<b>%s</b>: ", json_string_value(json_object_get(dnssec, "verdict")));
		add_escaped(out, json_string_value(json_object_get(dnssec, "why")));
		if (json_is_true(json_object_get(dnssec, "nothing_secure")))
			evbuffer_add_printf(out, ".<br>No answer counts as secure, and mail that needs one waits");
		evbuffer_add_printf(out, ".<br>");
		add_escaped(out, json_string_value(json_object_get(dnssec, "todo")));
	}
	evbuffer_add_printf(out, "</div>");
}

static void
fill_page(struct evbuffer *out, const json_t *st)
{
	evbuffer_add_printf(out, "%s<h1>", page_head);
	add_escaped(out, json_string_value(json_object_get(st, "hostname")));
	evbuffer_add_printf(out, "</h1><p class=sub>sallyport %s, up since ",
	    json_string_value(json_object_get(st, "version")));
	add_escaped(out, json_string_value(json_object_get(st, "since")));
	evbuffer_add_printf(out, ", policy generation <code>%.12s</code></p><section>",
	    json_string_value(json_object_get(st, "generation")));
	add_health(out, st);
	add_card(out, "Queue", json_object_get(st, "queue"));
	add_card(out, "Messages", json_object_get(st, "messages"));
	add_card(out, "Sent, by protection", json_object_get(st, "sent"));
	add_card(out, "Sessions", json_object_get(st, "sessions"));
	evbuffer_add_printf(out, "</section><p class=sub><a href=/metrics>metrics</a> &middot; "
	    "<a href=/status.json>status.json</a></p>");
}

/* ---- Requests ---- */

/* A page in somebody's browser must not reach this by a name of its own (DNS rebinding). */
static bool
host_is_ours(struct evhttp_request *req)
{
	const char *host = evhttp_request_get_host(req);
	struct in6_addr six;
	struct in_addr four;

	if (host == NULL || strcasecmp(host, "localhost") == 0)
		return true;
	if (host[0] == '[') {
		char inner[64];

		snprintf(inner, sizeof inner, "%.*s", (int)strcspn(host + 1, "]"), host + 1);
		return inet_pton(AF_INET6, inner, &six) == 1;
	}
	return inet_pton(AF_INET, host, &four) == 1 || inet_pton(AF_INET6, host, &six) == 1;
}

static void
send_answer(struct evhttp_request *req, const char *type, struct evbuffer *out)
{
	struct evkeyvalq *h = evhttp_request_get_output_headers(req);

	evhttp_add_header(h, "Content-Type", type);
	evhttp_add_header(h, "Connection", "close");
	evhttp_add_header(h, "Cache-Control", "no-store");
	evhttp_add_header(h, "X-Content-Type-Options", "nosniff");
	evhttp_add_header(h, "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
	evhttp_send_reply(req, 200, "OK", out);
}

static void
on_request(struct evhttp_request *req, void *arg)
{
	struct ctl *c = arg;
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(req));
	struct evbuffer *out;

	if (!host_is_ours(req)) {
		evhttp_send_error(req, 403, "Ask by address");
		return;
	}
	out = evbuffer_new();
	if (path != NULL && strcmp(path, "/metrics") == 0) {
		char *text = ctl_metrics_text(c);

		evbuffer_add(out, text, strlen(text));
		free(text);
		send_answer(req, "text/plain; version=0.0.4; charset=utf-8", out);
	} else if (path != NULL && strcmp(path, "/status.json") == 0) {
		json_t *st = c->ops->status(c->owner);
		char *text = json_dumps(st, JSON_INDENT(2));

		evbuffer_add_printf(out, "%s\n", text);
		free(text);
		json_decref(st);
		send_answer(req, "application/json", out);
	} else if (path == NULL || strcmp(path, "/") == 0 || *path == '\0') {
		json_t *st = c->ops->status(c->owner);

		fill_page(out, st);
		json_decref(st);
		send_answer(req, "text/html; charset=utf-8", out);
	} else {
		evhttp_send_error(req, 404, "Not here");
	}
	evbuffer_free(out);
}

int
ctl_http_start(struct ctl *c, const char *address, struct err *err)
{
	struct evhttp_bound_socket *bound;
	struct net_addr a;
	mode_t old;
	int fd;

	if (net_addr_parse(&a, slice_of(address), 0, err) != 0)
		return -1;
	c->http = evhttp_new(c->base);
	if (c->http == NULL) {
		err_set(err, "service.http: out of memory");
		return -1;
	}
	evhttp_set_allowed_methods(c->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_max_headers_size(c->http, 16384);
	evhttp_set_max_body_size(c->http, 1024);
	evhttp_set_timeout(c->http, 15);
	evhttp_set_gencb(c->http, on_request, c);
	old = umask(0177);
	fd = net_listen(&a, false, err);
	umask(old);
	if (fd < 0) {
		err_prefix(err, "service.http");
		return -1;
	}
	bound = evhttp_accept_socket_with_handle(c->http, fd);
	if (bound == NULL) {
		close(fd);
		err_set(err, "service.http: cannot listen on %s", address);
		return -1;
	}
	ctl_listener_waits(evhttp_bound_socket_get_listener(bound));
	return 0;
}

void
ctl_http_stop(struct ctl *c)
{
	if (c->http != NULL)
		evhttp_free(c->http);
	c->http = NULL;
}
