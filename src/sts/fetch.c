/* libcurl does HTTP and nothing else: names are resolved here (its own resolver would block or start
 * threads), addresses are the ones that were checked, trust anchors come from memory. */
#include "config.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sts/fetch.h"

#define ADDRS_MAX 6u
#define HEADER_MAX (16u * 1024)
#define CONNECTIONS_MAX 20L

struct sts_fetcher {
	struct event_base *base;
	struct dns *dns;
	CURLM *multi;
	struct event *timer;
};

struct sts_fetch {
	struct sts_fetcher *f;
	sts_fetch_cb *cb;
	void *owner;
	char *host, *url;
	struct sts_how how;
	uint64_t queries[2];		/* AAAA, A */
	bool dns_failed;
	struct mx_addr addrs[ADDRS_MAX];
	size_t naddrs;
	CURL *easy;
	struct curl_slist *resolve;
	struct buf body;
	size_t header_n;
	bool is_too_much;
	char error[CURL_ERROR_SIZE];
};

struct watch {			/* of one of libcurl's sockets */
	struct sts_fetcher *f;
	struct event *ev;
};

static void
fetch_free(struct sts_fetch *g)
{
	for (size_t i = 0; i < NELEMS(g->queries); i++)
		if (g->queries[i] != 0)
			dns_cancel(g->f->dns, g->queries[i]);
	if (g->easy != NULL) {
		curl_multi_remove_handle(g->f->multi, g->easy);
		curl_easy_cleanup(g->easy);
	}
	curl_slist_free_all(g->resolve);
	tls_client_unref(g->how.tls);
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
transferred(struct sts_fetch *g, CURLcode rc)
{
	char why[160];
	const char *type = NULL;
	long code = 0;

	curl_easy_getinfo(g->easy, CURLINFO_RESPONSE_CODE, &code);
	curl_easy_getinfo(g->easy, CURLINFO_CONTENT_TYPE, &type);
	if (g->is_too_much || rc == CURLE_FILESIZE_EXCEEDED) {
		finish(g, STS_REFUSED, "more than 64 KiB");
	} else if (rc != CURLE_OK) {
		text_escape(why, sizeof why, g->error[0] != '\0' ? g->error : curl_easy_strerror(rc),
		    strlen(g->error[0] != '\0' ? g->error : curl_easy_strerror(rc)), false);
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

/* ---- libcurl on the loop ---- */

static void
look_for_ends(struct sts_fetcher *f)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(f->multi, &left)) != NULL) {
		struct sts_fetch *g = NULL;
		CURLcode rc = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&g);
		transferred(g, rc);
	}
}

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg;
	struct sts_fetcher *f = w->f;
	int running;

	/* It may free w. */
	curl_multi_socket_action(f->multi, fd, (what & EV_READ ? CURL_CSELECT_IN : 0) |
	    (what & EV_WRITE ? CURL_CSELECT_OUT : 0), &running);
	look_for_ends(f);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct sts_fetcher *f = arg;
	int running;

	curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	look_for_ends(f);
}

static int
watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *of_socket)
{
	struct sts_fetcher *f = arg;
	struct watch *w = of_socket;

	if (w != NULL)
		event_free(w->ev);	/* before libcurl closes the descriptor */
	if (what == CURL_POLL_REMOVE) {
		free(w);
		curl_multi_assign(f->multi, fd, NULL);
		return 0;
	}
	if (w == NULL) {
		w = xcalloc(1, sizeof *w);
		w->f = f;
		curl_multi_assign(f->multi, fd, w);
	}
	w->ev = event_new(f->base, fd, EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) |
	    (what & CURL_POLL_OUT ? EV_WRITE : 0), on_socket, w);
	MUST(w->ev != NULL);
	event_add(w->ev, NULL);
	return 0;
}

static int
set_timer(CURLM *multi, long ms, void *arg)
{
	struct sts_fetcher *f = arg;
	struct timeval t = { ms / 1000, ms % 1000 * 1000 };

	if (ms < 0)
		evtimer_del(f->timer);
	else
		evtimer_add(f->timer, &t);
	return 0;
}

void
sts_init(void)
{
	MUST(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

struct sts_fetcher *
sts_fetcher_new(struct event_base *base, struct dns *dns, struct err *err)
{
	struct sts_fetcher *f = xcalloc(1, sizeof *f);

	f->base = base;
	f->dns = dns;
	f->multi = curl_multi_init();
	f->timer = evtimer_new(base, on_timer, f);
	MUST(f->timer != NULL);
	if (f->multi == NULL) {
		err_set(err, "libcurl cannot be started");
		sts_fetcher_free(f);
		return NULL;
	}
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, CONNECTIONS_MAX);
	return f;
}

void
sts_fetcher_free(struct sts_fetcher *f)
{
	if (f == NULL)
		return;
	curl_multi_cleanup(f->multi);
	event_free(f->timer);
	free(f);
}

/* ---- Asking ---- */

/* In place of what libcurl would read from files on the loop; names by our rule, which is stricter
 * than its own about the common name and parts of labels (S-21). */
static CURLcode
use_trust(CURL *easy, void *ssl_ctx, void *arg)
{
	struct sts_fetch *g = arg;

	return tls_client_lend(g->how.tls, ssl_ctx, g->host) ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

/* "mta-sts.a.example:443:192.0.2.1,[2001:db8::1]": all that libcurl may connect to. */
static struct curl_slist *
addresses(const struct sts_fetch *g)
{
	struct curl_slist *list;
	struct buf b;
	char *text;

	buf_init(&b, 1024);
	buf_printf(&b, "%s:%u:", g->host, g->how.port);
	for (size_t i = 0; i < g->naddrs; i++) {
		char ip[INET6_ADDRSTRLEN];

		inet_ntop(g->addrs[i].family, g->addrs[i].ip, ip, sizeof ip);
		buf_printf(&b, g->addrs[i].family == AF_INET ? "%s%s" : "%s[%s]", i > 0 ? "," : "", ip);
	}
	text = buf_take(&b);
	list = curl_slist_append(NULL, text);
	free(text);
	return list;
}

static bool
set_options(struct sts_fetch *g)
{
	CURL *e = g->easy;
	bool ok = true;

#define SET(option, value) (ok = curl_easy_setopt(e, option, value) == CURLE_OK && ok)
	SET(CURLOPT_URL, g->url);
	SET(CURLOPT_PRIVATE, g);
	SET(CURLOPT_ERRORBUFFER, g->error);
	SET(CURLOPT_PROTOCOLS_STR, "https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);		/* S-24 */
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_HTTPGET, 1L);
	SET(CURLOPT_USERAGENT, "sallyport");
	SET(CURLOPT_PROXY, "");				/* none, whatever the environment says */
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_FORBID_REUSE, 1L);
	SET(CURLOPT_FRESH_CONNECT, 1L);
	SET(CURLOPT_RESOLVE, g->resolve);
	SET(CURLOPT_TIMEOUT_MS, (long)g->how.timeout_ms);	/* S-27 */
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)g->how.timeout_ms);
	SET(CURLOPT_MAXFILESIZE, (long)STS_TEXT_MAX);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, g);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, g);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
	SET(CURLOPT_CA_CACHE_TIMEOUT, 0L);
	SET(CURLOPT_CAINFO, NULL);
	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_SSL_CTX_FUNCTION, use_trust);
	SET(CURLOPT_SSL_CTX_DATA, g);
#undef SET
	return ok;
}

static void
resolved(struct sts_fetch *g)
{
	if (g->naddrs == 0) {
		finish(g, g->dns_failed ? STS_FAILED : STS_REFUSED, g->dns_failed ?
		    "the policy host's name could not be looked up" : "the policy host has no address");
		return;
	}
	g->resolve = addresses(g);
	g->easy = curl_easy_init();
	if (g->resolve == NULL || g->easy == NULL || !set_options(g)) {
		finish(g, STS_FAILED, "libcurl lacks what is needed");
		return;
	}
	if (curl_multi_add_handle(g->f->multi, g->easy) != CURLM_OK)
		finish(g, STS_FAILED, "libcurl takes no more");
}

static void
take_address(struct sts_fetch *g, int family, const struct dns_rr *rr)
{
	struct mx_addr a = { .family = family };

	if (rr->n != mx_addr_len(family) || g->naddrs >= ADDRS_MAX)
		return;
	memcpy(a.ip, rr->data, rr->n);
	mx_addr_unmap(&a);
	if (!mx_addr_is_special(&a, g->how.allow_loopback))
		g->addrs[g->naddrs++] = a;
}

static void
on_address(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct sts_fetch *g = owner;
	bool is_v4 = query == g->queries[1];

	g->queries[is_v4] = 0;
	g->dns_failed = g->dns_failed || dns_status_is_failure(a->status);
	if (a->status == DNS_OK)
		for (size_t i = 0; i < a->n && i < ADDRS_MAX / 2; i++)
			take_address(g, is_v4 ? AF_INET : AF_INET6, &a->rr[i]);
	if (g->queries[0] == 0 && g->queries[1] == 0)
		resolved(g);
}

struct sts_fetch *
sts_fetch_start(struct sts_fetcher *f, const char *domain, const struct sts_how *how, sts_fetch_cb *cb,
    void *owner)
{
	struct sts_fetch *g = xcalloc(1, sizeof *g);

	g->f = f;
	g->cb = cb;
	g->owner = owner;
	g->how = *how;
	g->how.tls = tls_client_ref(how->tls);
	g->host = xasprintf("mta-sts.%s", domain);
	g->url = how->port == 443 ? xasprintf("https://%s/.well-known/mta-sts.txt", g->host) :
	    xasprintf("https://%s:%u/.well-known/mta-sts.txt", g->host, how->port);	/* S-20 */
	buf_init(&g->body, STS_TEXT_MAX);
	g->queries[0] = dns_query(f->dns, g->host, DNS_AAAA, on_address, g);
	g->queries[1] = dns_query(f->dns, g->host, DNS_A, on_address, g);
	return g;
}

void
sts_fetch_cancel(struct sts_fetch *g)
{
	if (g != NULL)
		fetch_free(g);
}
