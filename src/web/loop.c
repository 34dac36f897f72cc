#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "web/web.h"

struct web_loop {
	struct event_base *base;
	CURLM *multi;
	struct event *timer;
	web_ended *ended;
};

struct watch {			/* of one of libcurl's sockets */
	struct web_loop *l;
	struct event *ev;
};

static void
look_for_ends(struct web_loop *l)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(l->multi, &left)) != NULL) {
		struct web_request *r = NULL;
		CURLcode rc = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
		l->ended(r, rc);
	}
}

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg;
	struct web_loop *l = w->l;
	int running;

	/* It may free w. */
	curl_multi_socket_action(l->multi, fd, (what & EV_READ ? CURL_CSELECT_IN : 0) |
	    (what & EV_WRITE ? CURL_CSELECT_OUT : 0), &running);
	look_for_ends(l);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct web_loop *l = arg;
	int running;

	curl_multi_socket_action(l->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	look_for_ends(l);
}

static int
watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *of_socket)
{
	struct web_loop *l = arg;
	struct watch *w = of_socket;

	if (w != NULL)
		event_free(w->ev);	/* before libcurl closes the descriptor */
	if (what == CURL_POLL_REMOVE) {
		free(w);
		curl_multi_assign(l->multi, fd, NULL);
		return 0;
	}
	if (w == NULL) {
		w = xcalloc(1, sizeof *w);
		w->l = l;
		curl_multi_assign(l->multi, fd, w);
	}
	w->ev = event_new(l->base, fd, EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) |
	    (what & CURL_POLL_OUT ? EV_WRITE : 0), on_socket, w);
	MUST(w->ev != NULL);
	event_add(w->ev, NULL);
	return 0;
}

static int
set_timer(CURLM *multi, long ms, void *arg)
{
	struct web_loop *l = arg;
	struct timeval t = { ms / 1000, ms % 1000 * 1000 };

	if (ms < 0)
		evtimer_del(l->timer);
	else
		evtimer_add(l->timer, &t);
	return 0;
}

void
web_init(void)
{
	MUST(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

struct web_loop *
web_loop_new(struct event_base *base, web_ended *ended, long connections_max, struct err *err)
{
	struct web_loop *l = xcalloc(1, sizeof *l);

	l->base = base;
	l->ended = ended;
	l->multi = curl_multi_init();
	l->timer = evtimer_new(base, on_timer, l);
	MUST(l->timer != NULL);
	if (l->multi == NULL) {
		err_set(err, "libcurl cannot be started");
		web_loop_free(l);
		return NULL;
	}
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l);
	curl_multi_setopt(l->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections_max);
	return l;
}

void
web_loop_free(struct web_loop *l)
{
	if (l == NULL)
		return;
	curl_multi_cleanup(l->multi);
	event_free(l->timer);
	free(l);
}

bool
web_loop_add(struct web_loop *l, CURL *easy)
{
	return curl_multi_add_handle(l->multi, easy) == CURLM_OK;
}

void
web_loop_remove(struct web_loop *l, CURL *easy)
{
	curl_multi_remove_handle(l->multi, easy);
}

/* ---- Options ---- */

/* In place of what libcurl would read from files on the loop; names by our rule, which is stricter
 * than its own about the common name and parts of labels (S-21). */
static CURLcode
use_trust(CURL *easy, void *ssl_ctx, void *arg)
{
	struct web_request *r = arg;

	return r->any_certificate || tls_client_lend(r->tls, ssl_ctx, r->host) ? CURLE_OK :
	    CURLE_SSL_CERTPROBLEM;
}

bool
web_request_set(CURL *e, struct web_request *r)
{
	bool ok = true;

#define SET(option, value) (ok = curl_easy_setopt(e, option, value) == CURLE_OK && ok)
	SET(CURLOPT_URL, r->url);
	SET(CURLOPT_PRIVATE, r);
	SET(CURLOPT_ERRORBUFFER, r->error);
	SET(CURLOPT_PROTOCOLS_STR, "https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);		/* S-24 */
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_USERAGENT, "sallyport");
	SET(CURLOPT_PROXY, "");				/* none, whatever the environment says */
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_FORBID_REUSE, 1L);
	SET(CURLOPT_FRESH_CONNECT, 1L);
	SET(CURLOPT_RESOLVE, r->resolve);
	SET(CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);	/* S-27 */
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)r->timeout_ms);
	SET(CURLOPT_SSL_VERIFYPEER, r->any_certificate ? 0L : 1L);
	SET(CURLOPT_SSL_VERIFYHOST, r->any_certificate ? 0L : 2L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
	SET(CURLOPT_CA_CACHE_TIMEOUT, 0L);
	SET(CURLOPT_CAINFO, NULL);
	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_SSL_CTX_FUNCTION, use_trust);
	SET(CURLOPT_SSL_CTX_DATA, r);
#undef SET
	return ok;
}

void
web_request_why(const struct web_request *r, CURLcode rc, char *dst, size_t size)
{
	const char *why = r->error[0] != '\0' ? r->error : curl_easy_strerror(rc);

	text_escape(dst, size, why, strlen(why), false);
}
