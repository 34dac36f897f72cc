#include "config.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tlsrpt/post.h"

#define ANSWER_MAX (64u * 1024)		/* header and body, both unread */
#define CONNECTIONS_MAX 8L

struct tlsrpt_poster {
	struct dns *dns;
	struct web_loop *loop;
};

struct tlsrpt_post {
	struct web_request web;		/* first */
	struct tlsrpt_poster *p;
	tlsrpt_posted *cb;
	void *owner;
	const struct tlsrpt_report *report;
	bool allow_private;
	struct web_lookup *lookup;
	CURL *easy;
	struct curl_slist *fields;
	size_t answer_n;
};

static void
post_free(struct tlsrpt_post *g)
{
	web_lookup_cancel(g->lookup);
	if (g->easy != NULL) {
		web_loop_remove(g->p->loop, g->easy);
		curl_easy_cleanup(g->easy);
	}
	curl_slist_free_all(g->web.resolve);
	curl_slist_free_all(g->fields);
	tls_client_unref(g->web.tls);
	free(g);
}

static void
finish(struct tlsrpt_post *g, bool taken, const char *why)
{
	g->cb(g->owner, taken, why);
	post_free(g);
}

/* T-24: what was said with 2xx was taken, even if the rest of the answer is of no use. */
static void
transferred(struct web_request *r, CURLcode rc)
{
	struct tlsrpt_post *g = (struct tlsrpt_post *)r;
	char why[200];
	long code = 0;

	curl_easy_getinfo(g->easy, CURLINFO_RESPONSE_CODE, &code);
	if (code >= 200 && code < 300) {
		snprintf(why, sizeof why, "HTTP status %ld", code);
		finish(g, true, why);
	} else if (rc != CURLE_OK) {
		web_request_why(r, rc, why, sizeof why);
		finish(g, false, why);
	} else {
		snprintf(why, sizeof why, "HTTP status %ld", code);
		finish(g, false, why);
	}
}

static size_t
on_answer(char *p, size_t size, size_t n, void *arg)
{
	struct tlsrpt_post *g = arg;

	g->answer_n += size * n;
	return g->answer_n <= ANSWER_MAX ? size * n : 0;
}

/* ---- Where to ---- */

static bool
may_connect(void *owner, const struct mx_addr *a)
{
	return ((struct tlsrpt_post *)owner)->allow_private ? !mx_addr_is_special(a, true) :
	    !mx_addr_is_private(a);
}

/* T-30: the last word is about the address that is really connected to, whatever named it. */
static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct mx_addr a = { .family = to->family };

	if (to->family == AF_INET)
		memcpy(a.ip, &((struct sockaddr_in *)&to->addr)->sin_addr, 4);
	else if (to->family == AF_INET6)
		memcpy(a.ip, &((struct sockaddr_in6 *)&to->addr)->sin6_addr, 16);
	else
		return CURL_SOCKET_BAD;
	mx_addr_unmap(&a);
	if (!may_connect(arg, &a))
		return CURL_SOCKET_BAD;
	return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

static bool
set_options(struct tlsrpt_post *g)
{
	CURL *e = g->easy;
	bool ok = web_request_set(e, &g->web);

	g->fields = curl_slist_append(NULL, "Content-Type: application/tlsrpt+gzip");
	if (g->fields != NULL && curl_slist_append(g->fields, "Expect:") == NULL)
		ok = false;
#define SET(option, value) (ok = curl_easy_setopt(e, option, value) == CURLE_OK && ok)
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)g->report->gz_len);
	SET(CURLOPT_POSTFIELDS, g->report->gz);		/* not copied */
	SET(CURLOPT_HTTPHEADER, g->fields);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, g);
	SET(CURLOPT_WRITEFUNCTION, on_answer);
	SET(CURLOPT_WRITEDATA, g);
	SET(CURLOPT_HEADERFUNCTION, on_answer);
	SET(CURLOPT_HEADERDATA, g);
#undef SET
	return ok && g->fields != NULL;
}

static void
resolved(void *owner, enum web_found found, struct curl_slist *resolve)
{
	static const char *const whys[] = {
		[WEB_NO_ADDRESS] = "the receiver has no address",
		[WEB_REFUSED] = "the receiver has only addresses that reports are not sent to",
		[WEB_UNKNOWN] = "the receiver's name could not be looked up",
	};
	struct tlsrpt_post *g = owner;

	g->lookup = NULL;
	g->web.resolve = resolve;
	if (found != WEB_FOUND) {
		finish(g, false, whys[found]);
		return;
	}
	g->easy = curl_easy_init();
	if (g->easy == NULL || !set_options(g))
		finish(g, false, "libcurl lacks what is needed");
	else if (!web_loop_add(g->p->loop, g->easy))
		finish(g, false, "libcurl takes no more");
}

struct tlsrpt_post *
tlsrpt_post_start(struct tlsrpt_poster *p, const struct rua *to, const struct tlsrpt_report *report,
    const struct tlsrpt_post_how *how, tlsrpt_posted *cb, void *owner)
{
	struct tlsrpt_post *g = xcalloc(1, sizeof *g);

	g->p = p;
	g->cb = cb;
	g->owner = owner;
	g->report = report;
	g->allow_private = how->allow_private;
	g->web = (struct web_request){ .url = to->to, .host = to->domain, .tls = tls_client_ref(how->tls),
		.any_certificate = how->any_certificate, .timeout_ms = how->timeout_ms };
	g->lookup = web_lookup_start(p->dns, to->domain, to->port, may_connect, resolved, g);
	return g;
}

void
tlsrpt_post_cancel(struct tlsrpt_post *g)
{
	if (g != NULL)
		post_free(g);
}

/* ---- Life ---- */

struct tlsrpt_poster *
tlsrpt_poster_new(struct event_base *base, struct dns *dns, struct err *err)
{
	struct tlsrpt_poster *p = xcalloc(1, sizeof *p);

	p->dns = dns;
	p->loop = web_loop_new(base, transferred, CONNECTIONS_MAX, err);
	if (p->loop == NULL) {
		free(p);
		return NULL;
	}
	return p;
}

void
tlsrpt_poster_free(struct tlsrpt_poster *p)
{
	if (p == NULL)
		return;
	web_loop_free(p->loop);
	free(p);
}
