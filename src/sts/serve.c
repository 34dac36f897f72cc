#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#include "sts/serve.h"

#define PATH "/.well-known/mta-sts.txt"
#define LISTENERS_MAX 16u
#define FINISH_MS 5000

/* ---- Pages ---- */

struct page {
	char *host, *text;
};
struct sts_pages {
	atomic_int refs;
	struct tls_server *tls;
	struct page *v;
	size_t n;
};

struct sts_pages *
sts_pages_new(struct tls_server *tls)
{
	struct sts_pages *p = xcalloc(1, sizeof *p);

	atomic_init(&p->refs, 1);
	p->tls = tls;
	return p;
}

static int
by_host(const void *a, const void *b)
{
	return strcasecmp(((const struct page *)a)->host, ((const struct page *)b)->host);
}

void
sts_pages_add(struct sts_pages *p, const char *domain, const char *text)
{
	if ((p->n & (p->n - 1)) == 0)
		p->v = xrealloc(p->v, (p->n == 0 ? 1 : p->n * 2) * sizeof *p->v);
	p->v[p->n++] = (struct page){ xasprintf("mta-sts.%s", domain), xstrdup(text) };
	MUST(p->n < 2 || by_host(&p->v[p->n - 2], &p->v[p->n - 1]) < 0);
}

struct sts_pages *
sts_pages_ref(struct sts_pages *p)
{
	if (p != NULL)
		atomic_fetch_add(&p->refs, 1);
	return p;
}

void
sts_pages_unref(struct sts_pages *p)
{
	if (p == NULL || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	for (size_t i = 0; i < p->n; i++) {
		free(p->v[i].host);
		free(p->v[i].text);
	}
	free(p->v);
	tls_server_unref(p->tls);
	free(p);
}

const struct tls_server *
sts_pages_tls(const struct sts_pages *p)
{
	return p == NULL ? NULL : p->tls;
}

/* ---- A connection ---- */

struct visit {
	TAILQ_ENTRY(visit) link;
	struct sts_server *s;
	struct net_conn *c;
	struct sts_pages *pages;	/* those of when it began: certificate and text belong together */
};

struct sts_server {
	struct event_base *base;
	struct sts_served *counts;
	struct sts_pages *pages;
	TAILQ_HEAD(, visit) visits;	/* oldest first */
	size_t n;
	struct net_listener *listeners[LISTENERS_MAX];
	size_t nlisteners;
};

static void
visit_free(struct visit *v)
{
	TAILQ_REMOVE(&v->s->visits, v, link);
	v->s->n--;
	sts_pages_unref(v->pages);
	free(v);
}

/* The name in the handshake and the one in the request have to be the same: a certificate for one
 * domain says nothing about another. */
static const char *
text_for(const struct visit *v, const struct sts_request *r)
{
	const struct tls_info *tls = net_tls(v->c);
	char host[256];
	struct page key = { .host = host }, *found;

	if (tls == NULL || tls->sni == NULL || !slice_is(r->target, PATH) || r->host.n >= sizeof host ||
	    !slice_is_nocase(r->host, tls->sni))
		return NULL;
	snprintf(host, sizeof host, "%.*s", (int)r->host.n, r->host.p);
	found = v->pages->n == 0 ? NULL : bsearch(&key, v->pages->v, v->pages->n, sizeof key, by_host);
	return found == NULL ? NULL : found->text;
}

/* Takes the visit. */
static void
reply(struct visit *v, const char *status, const char *extra, const char *text, bool has_body)
{
	struct net_conn *c = v->c;
	char date[64];
	time_t now = (time_t)(clock_wall_ms() / 1000);
	struct tm tm;
	char *head;

	gmtime_r(&now, &tm);
	strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	head = xasprintf("HTTP/1.1 %s\r\nDate: %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
	    "X-Content-Type-Options: nosniff\r\n%sConnection: close\r\n\r\n", status, date, strlen(text), extra);
	net_write(c, head, strlen(head));
	if (has_body)
		net_write(c, text, strlen(text));
	free(head);
	visit_free(v);
	net_finish(c, FINISH_MS);
}

static void
refuse(struct visit *v, const char *status, const char *extra)
{
	char *text = xasprintf("%s\r\n", status);

	reply(v, status, extra, text, true);
	free(text);
}

static void
answer(struct visit *v, const struct sts_request *r)
{
	struct sts_served *n = v->s->counts;
	bool is_head = slice_is(r->method, "HEAD");
	const char *text;

	if (!is_head && !slice_is(r->method, "GET")) {
		atomic_fetch_add(&n->bad, 1);
		refuse(v, "405 Method Not Allowed", "Allow: GET, HEAD\r\n");
		return;
	}
	text = text_for(v, r);
	if (text == NULL) {
		atomic_fetch_add(&n->not_found, 1);
		reply(v, "404 Not Found", "", "404 Not Found\r\n", !is_head);
		return;
	}
	atomic_fetch_add(&n->pages, 1);
	log_debug("MTA-STS policy served", LOG_B("host", r->host.p, r->host.n));
	reply(v, "200 OK", "", text, !is_head);
}

static void
on_readable(void *owner)
{
	struct visit *v = owner;
	struct slice in = net_in(v->c);
	struct sts_request r;
	enum sts_request_state st = sts_request_parse(in, &r);
	struct sts_served *n = v->s->counts;

	if (in.n > STS_REQUEST_MAX) {
		atomic_fetch_add(&n->bad, 1);
		refuse(v, "431 Request Header Fields Too Large", "");
	} else if (st == STS_REQUEST_BAD || (st == STS_REQUEST_OK && r.needs_host)) {
		atomic_fetch_add(&n->bad, 1);
		refuse(v, "400 Bad Request", "");
	} else if (st == STS_REQUEST_OK) {
		answer(v, &r);
	}
}

static void
on_secured(void *owner)
{
	/* The first octets of the request are told of by themselves. */
}

static void
on_closed(void *owner, enum net_why why, const char *text)
{
	struct visit *v = owner;

	atomic_fetch_add(&v->s->counts->unfinished, 1);
	net_free(v->c);
	visit_free(v);
}

static const struct net_ops visit_ops = { .readable = on_readable, .secured = on_secured, .closed = on_closed };

static void
accepted(void *owner, int fd, const struct net_addr *peer)
{
	struct sts_server *s = owner;
	struct visit *v;
	struct err err;

	if (s->pages == NULL) {
		close(fd);
		return;
	}
	/* Who asks is served at once; who has been silent for longest makes room. */
	if (s->n >= STS_SERVE_CONNECTIONS) {
		v = TAILQ_FIRST(&s->visits);
		atomic_fetch_add(&s->counts->unfinished, 1);
		net_free(v->c);
		visit_free(v);
	}
	if (net_finishing() >= STS_SERVE_CONNECTIONS)
		net_finish_now();
	v = xcalloc(1, sizeof *v);
	v->s = s;
	v->c = net_accept(s->base, fd, peer, &visit_ops, v, &err);
	if (v->c == NULL) {
		free(v);
		return;
	}
	v->pages = sts_pages_ref(s->pages);
	TAILQ_INSERT_TAIL(&s->visits, v, link);
	s->n++;
	net_deadline(v->c, STS_SERVE_MS);
	if (!net_start_tls_server(v->c, v->pages->tls)) {
		net_free(v->c);
		visit_free(v);
	}
}

static const struct net_listener_ops listener_ops = { .accepted = accepted };

/* ---- Life ---- */

struct sts_server *
sts_server_new(struct event_base *base, struct sts_served *counts)
{
	struct sts_server *s = xcalloc(1, sizeof *s);

	s->base = base;
	s->counts = counts;
	TAILQ_INIT(&s->visits);
	return s;
}

void
sts_server_use(struct sts_server *s, struct sts_pages *p)
{
	struct sts_pages *old = s->pages;

	s->pages = sts_pages_ref(p);
	sts_pages_unref(old);
}

void
sts_server_listen(struct sts_server *s, int fd)
{
	MUST(s->nlisteners < NELEMS(s->listeners));
	s->listeners[s->nlisteners++] = net_listener_new(s->base, fd, &listener_ops, s);
}

void
sts_server_free(struct sts_server *s)
{
	struct visit *v;

	if (s == NULL)
		return;
	for (size_t i = 0; i < s->nlisteners; i++)
		net_listener_free(s->listeners[i]);
	while ((v = TAILQ_FIRST(&s->visits)) != NULL) {
		net_free(v->c);
		visit_free(v);
	}
	net_finish_now();
	sts_pages_unref(s->pages);
	free(s);
}
