#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sts/fetch.h"
#include "web/web.h"

#define HEADER_MAX (16u * 1024)
#define CONNECTIONS_MAX 20L

struct sts_fetcher {
	struct event_base *base;
	struct dns *dns;
	struct web_loop *loop;
	const struct sts_fixture *fixture;
};

struct sts_fetch {
	struct web_request web;		/* first */
	struct sts_fetcher *f;
	sts_fetch_cb *cb;
	void *owner;
	char *host, *url;
	bool allow_loopback, allow_private;
	struct web_lookup *lookup;
	CURL *easy;
	struct event *soon;		/* of the fixture: it answers on the next turn */
	struct buf body;
	size_t header_n;
	bool is_too_much;
};

static void
fetch_free(struct sts_fetch *g)
{
	web_lookup_cancel(g->lookup);
	if (g->soon != NULL)
		event_free(g->soon);
	if (g->easy != NULL) {
		web_loop_remove(g->f->loop, g->easy);
		curl_easy_cleanup(g->easy);
	}
	curl_slist_free_all(g->web.resolve);
	tls_client_unref(g->web.tls);
	buf_fini(&g->body);
	free(g->host);
	free(g->url);
	free(g);
}

static void
finish(struct sts_fetch *g, enum sts_fetched got, const char *why)
{
	struct slice none = { NULL, 0 };

	g->cb(g->owner, got, got == STS_FETCHED ? buf_slice(&g->body) : none, why);
	fetch_free(g);
}

/* ---- The answer ---- */

static bool
is_plain_text(const char *type)
{
	size_t n = strlen("text/plain");

	return type != NULL && strncasecmp(type, "text/plain", n) == 0 &&
	    (type[n] == '\0' || type[n] == ';' || type[n] == ' ' || type[n] == '\t');
}

/* S-23, S-24: only 200. What says so had a certificate, so that it counts as said by the domain, but
 * for the codes that speak of a passing trouble. */
static void
transferred(struct web_request *r, CURLcode rc)
{
	struct sts_fetch *g = (struct sts_fetch *)r;
	char why[160];
	const char *type = NULL;
	long code = 0;

	curl_easy_getinfo(g->easy, CURLINFO_RESPONSE_CODE, &code);
	curl_easy_getinfo(g->easy, CURLINFO_CONTENT_TYPE, &type);
	if (g->is_too_much || rc == CURLE_FILESIZE_EXCEEDED) {
		finish(g, STS_REFUSED, "more than 64 KiB");
	} else if (rc != CURLE_OK) {
		web_request_why(r, rc, why, sizeof why);
		finish(g, rc == CURLE_PEER_FAILED_VERIFICATION ? STS_UNTRUSTED : STS_FAILED, why);
	} else if (code != 200) {
		snprintf(why, sizeof why, "HTTP status %ld", code);
		finish(g, code >= 500 || code == 429 || code == 408 ? STS_FAILED : STS_REFUSED, why);
	} else if (!is_plain_text(type)) {
		finish(g, STS_REFUSED, "not text/plain");
	} else {
		finish(g, STS_FETCHED, "");
	}
}

static size_t
on_body(char *p, size_t size, size_t n, void *arg)
{
	struct sts_fetch *g = arg;

	if (buf_add(&g->body, p, size * n))
		return size * n;
	g->is_too_much = true;		/* libcurl's own limit does not see bodies of unknown length */
	return 0;
}

static size_t
on_header(char *p, size_t size, size_t n, void *arg)
{
	struct sts_fetch *g = arg;

	g->header_n += size * n;
	if (g->header_n <= HEADER_MAX)
		return size * n;
	g->is_too_much = true;
	return 0;
}

struct sts_fetcher *
sts_fetcher_new(struct event_base *base, struct dns *dns, const struct sts_fixture *fixture, struct err *err)
{
	struct sts_fetcher *f = xcalloc(1, sizeof *f);

	f->base = base;
	f->dns = dns;
	f->fixture = fixture;
	f->loop = web_loop_new(base, transferred, CONNECTIONS_MAX, err);
	if (f->loop == NULL) {
		free(f);
		return NULL;
	}
	return f;
}

void
sts_fetcher_free(struct sts_fetcher *f)
{
	if (f == NULL)
		return;
	web_loop_free(f->loop);
	free(f);
}

/* ---- Asking ---- */

static bool
set_options(struct sts_fetch *g)
{
	CURL *e = g->easy;
	bool ok = web_request_set(e, &g->web);

#define SET(option, value) (ok = curl_easy_setopt(e, option, value) == CURLE_OK && ok)
	SET(CURLOPT_HTTPGET, 1L);
	SET(CURLOPT_MAXFILESIZE, (long)STS_TEXT_MAX);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, g);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, g);
#undef SET
	return ok;
}

static void
resolved(void *owner, enum web_found found, struct curl_slist *resolve)
{
	struct sts_fetch *g = owner;

	g->lookup = NULL;
	g->web.resolve = resolve;
	if (found != WEB_FOUND) {
		finish(g, found == WEB_UNKNOWN ? STS_FAILED : STS_REFUSED, found == WEB_UNKNOWN ?
		    "the policy host's name could not be looked up" : found == WEB_REFUSED ?
		    "the policy host has only addresses that policies are not fetched from" :
		    "the policy host has no address");
		return;
	}
	g->easy = curl_easy_init();
	if (g->easy == NULL || !set_options(g)) {
		finish(g, STS_FAILED, "libcurl lacks what is needed");
		return;
	}
	if (!web_loop_add(g->f->loop, g->easy))
		finish(g, STS_FAILED, "libcurl takes no more");
}

/* Loopback is private too, and has a switch of its own. */
static bool
may_connect(void *owner, const struct mx_addr *a)
{
	const struct sts_fetch *g = owner;
	bool is_loopback = mx_addr_is_special(a, false) && !mx_addr_is_special(a, true);

	return is_loopback ? g->allow_loopback : g->allow_private ? !mx_addr_is_special(a, true) :
	    !mx_addr_is_private(a);
}

static void
on_fixture(evutil_socket_t fd, short what, void *arg)
{
	struct sts_fetch *g = arg;
	const struct sts_fixture *x = g->f->fixture;
	char *text = NULL, *why = NULL, *domain = xstrdup(strchr(g->host, '.') + 1);
	bool ok = x->fetch(x->owner, domain, &text, &why) && buf_add(&g->body, text, strlen(text));
	char shown[160];

	snprintf(shown, sizeof shown, "%s", why == NULL ? "" : why);
	free(domain);
	free(text);
	free(why);
	finish(g, ok ? STS_FETCHED : STS_FAILED, shown);
}

struct sts_fetch *
sts_fetch_start(struct sts_fetcher *f, const char *domain, const struct sts_how *how, sts_fetch_cb *cb,
    void *owner)
{
	struct sts_fetch *g = xcalloc(1, sizeof *g);

	g->f = f;
	g->cb = cb;
	g->owner = owner;
	g->allow_loopback = how->allow_loopback;
	g->allow_private = how->allow_private;
	g->host = xasprintf("mta-sts.%s", domain);
	g->url = how->port == 443 ? xasprintf("https://%s/.well-known/mta-sts.txt", g->host) :
	    xasprintf("https://%s:%u/.well-known/mta-sts.txt", g->host, how->port);	/* S-20 */
	g->web = (struct web_request){ .url = g->url, .host = g->host, .tls = tls_client_ref(how->tls),
		.timeout_ms = how->timeout_ms };
	buf_init(&g->body, STS_TEXT_MAX);
	if (f->fixture != NULL) {
		g->soon = evtimer_new(f->base, on_fixture, g);
		MUST(g->soon != NULL);
		event_active(g->soon, EV_TIMEOUT, 0);
		return g;
	}
	g->lookup = web_lookup_start(f->dns, g->host, how->port, may_connect, resolved, g);
	return g;
}

void
sts_fetch_cancel(struct sts_fetch *g)
{
	if (g != NULL)
		fetch_free(g);
}
