/* gw.http: requests to the servers that the configuration lists (policy.network.http), with libcurl on the
 * worker's loop. No redirect is followed: where it leads to, the policy can ask itself, if that is on the list. */
#include "config.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "policy/objects.h"
#include "web/web.h"

#define CONNECTIONS_MAX 64
#define TIMEOUT_MS 5000
#define TIMEOUT_MAX_MS 60000
#define BODY_MAX (1 << 20)
#define BODY_DEFAULT (256 << 10)
#define HEADERS_MAX 32
#define HEADER_MAX (32u << 10)		/* of an answer */
#define URL_MAX 4096

struct http_wait {
	struct policy_wait w;		/* first */
	struct http *h;
	bool is_over;			/* h is freed by who ended it */
};
struct http {
	struct web_request web;		/* first */
	struct http_wait *wait;
	struct policy *policy;
	CURL *easy;
	struct web_lookup *lookup;
	struct curl_slist *headers;
	char *url, host[256];
	const char *method;		/* static */
	char *body;
	size_t nbody, body_max;
	struct buf answer, answer_headers;	/* headers: "name: value\n", of the last answer */
	size_t nheader;
	bool is_too_much;
	struct event *soon;		/* of a fixture: it answers on the next turn */
	/* the end */
	const char *kind;		/* NULL: an answer */
	bool temporary;
	char why[240];
	long status;
};

static void
http_free(struct http *h)
{
	if (h == NULL)
		return;
	web_lookup_cancel(h->lookup);
	if (h->soon != NULL)
		event_free(h->soon);
	if (h->easy != NULL) {
		web_loop_remove(h->policy->http, h->easy);
		curl_easy_cleanup(h->easy);
	}
	curl_slist_free_all(h->web.resolve);
	curl_slist_free_all(h->headers);
	tls_client_unref(h->web.tls);
	buf_fini(&h->answer);
	buf_fini(&h->answer_headers);
	free(h->body);
	free(h->url);
	free(h);
}

static void
stop(struct policy_wait *pw)
{
	struct http_wait *w = (struct http_wait *)pw;

	if (!w->is_over)
		http_free(w->h);
}

/* The handler goes on, and reads h. */
static void
finish(struct http *h, const char *kind, bool temporary, const char *why)
{
	h->kind = kind;
	h->temporary = temporary;
	snprintf(h->why, sizeof h->why, "%s", why);
	h->wait->is_over = true;
	policy_wait_done(&h->wait->w);
	http_free(h);
}

/* ---- The transfer ---- */

static void
transferred(struct web_request *r, CURLcode rc)
{
	struct http *h = (struct http *)r;
	char why[200];

	curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &h->status);
	if (h->is_too_much || rc == CURLE_FILESIZE_EXCEEDED) {
		finish(h, "limit", false, "the answer is larger than the limit");
		return;
	}
	if (rc == CURLE_OK) {
		finish(h, NULL, false, "");
		return;
	}
	web_request_why(r, rc, why, sizeof why);
	if (rc == CURLE_OPERATION_TIMEDOUT)
		finish(h, "timeout", true, "the server did not answer in time");
	else if (rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CERTPROBLEM || rc == CURLE_SSL_CONNECT_ERROR)
		finish(h, "tls", true, why);
	else
		finish(h, "servfail", true, why);
}

static size_t
on_body(char *p, size_t size, size_t n, void *arg)
{
	struct http *h = arg;

	if (buf_add(&h->answer, p, size * n))
		return size * n;
	h->is_too_much = true;
	return 0;
}

/* Each answer, also one with 100, begins with a line of status and ends with an empty one. */
static size_t
on_header(char *p, size_t size, size_t n, void *arg)
{
	struct http *h = arg;
	struct slice line = { p, size * n };

	h->nheader += line.n;
	if (h->nheader > HEADER_MAX) {
		h->is_too_much = true;
		return 0;
	}
	if (slice_starts_nocase(line, "HTTP/")) {
		buf_clear(&h->answer_headers);
		return size * n;
	}
	while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
		line.n--;
	if (line.n > 0 && memchr(line.p, ':', line.n) != NULL && utf8_is_valid(line.p, line.n)) {
		buf_add(&h->answer_headers, line.p, line.n);
		buf_addc(&h->answer_headers, '\n');
	}
	return size * n;
}

static bool
set_options(struct http *h)
{
	CURL *e = h->easy;
	bool ok = web_request_set(e, &h->web);

#define SET(option, value) (ok = curl_easy_setopt(e, option, value) == CURLE_OK && ok)
	if (h->body != NULL) {
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)h->nbody);
		SET(CURLOPT_POSTFIELDS, h->body);
	} else {
		SET(CURLOPT_HTTPGET, 1L);
	}
	if (strcmp(h->method, "HEAD") == 0)
		SET(CURLOPT_NOBODY, 1L);
	else
		SET(CURLOPT_CUSTOMREQUEST, h->method);
	SET(CURLOPT_HTTPHEADER, h->headers);
	if (strcmp(h->method, "HEAD") != 0)	/* which says how large a body is that does not come */
		SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)h->body_max);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, h);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, h);
#undef SET
	return ok;
}

static void
resolved(void *owner, enum web_found found, struct curl_slist *resolve)
{
	struct http *h = owner;

	h->lookup = NULL;
	h->web.resolve = resolve;
	if (found != WEB_FOUND) {
		finish(h, found == WEB_UNKNOWN ? "servfail" : "nxdomain", found == WEB_UNKNOWN, found == WEB_UNKNOWN ?
		    "the server's name could not be looked up" : "the server's name has no address");
		return;
	}
	h->easy = curl_easy_init();
	if (h->easy == NULL || !set_options(h) || !web_loop_add(h->policy->http, h->easy)) {
		curl_easy_cleanup(h->easy);
		h->easy = NULL;
		finish(h, "servfail", true, "libcurl takes no more");
	}
}

/* The operator listed the name: wherever it is, that is meant. */
static bool
may_connect(void *owner, const struct mx_addr *a)
{
	return true;
}

/* ---- The answer ---- */

/* Names in lower case; what comes more than once is joined. */
static void
push_headers(lua_State *L, const struct http *h)
{
	struct slice rest = buf_slice(&h->answer_headers), line, name;

	lua_newtable(L);
	while (rest.n > 0 && slice_cut(&rest, '\n', &line)) {
		char lower[128];
		struct slice value = line;

		if (!slice_cut(&value, ':', &name) || name.n == 0 || name.n >= sizeof lower || value.p == NULL)
			continue;
		for (size_t i = 0; i < name.n; i++)
			lower[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] | 32) : name.p[i];
		value = slice_trim(value);
		lua_pushlstring(L, lower, name.n);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, -3) == LUA_TSTRING) {
			lua_pushliteral(L, ", ");
			lua_pushlstring(L, value.p, value.n);
			lua_concat(L, 3);
		} else {
			lua_pop(L, 1);
			lua_pushlstring(L, value.p, value.n);
		}
		lua_rawset(L, -3);
	}
}

static int
resumed(lua_State *L, int status, lua_KContext ctx)
{
	struct http_wait *w = policy_wait_take(L);
	const struct http *h = w->h;
	bool timed_out = w->w.timed_out;

	policy_wait_free(&w->w);
	luaL_checkstack(L, 8, "gw.http");
	if (timed_out)
		return policy_push_error(L, "timeout", true, false, "gw.http: the server did not answer in time");
	if (h->kind != NULL)
		return policy_push_error(L, h->kind, h->temporary, false, "gw.http %s: %s", h->host, h->why);
	policy_charge_lua(L, h->answer.len / 16 + h->nheader);
	lua_createtable(L, 0, 3);
	lua_pushinteger(L, h->status);
	lua_setfield(L, -2, "status");
	push_headers(L, h);
	lua_setfield(L, -2, "headers");
	lua_pushlstring(L, buf_peek(&h->answer), h->answer.len);
	lua_setfield(L, -2, "body");
	return 1;
}

/* ---- The call ---- */

/* The URL as libcurl gets it, in `url` and its host; what is wrong, or NULL. Nobody reads the original again. */
static const char *
canonical(const char *text, char *url, size_t size, char host[256])
{
	char *part = NULL, *path = NULL, *query = NULL, *user = NULL, *port = NULL, *scheme = NULL;
	const char *why = NULL;
	CURLU *u = curl_url();

	if (u == NULL || curl_url_set(u, CURLUPART_URL, text, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_HOST, &part, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_PATH, &path, 0) != CURLUE_OK)
		why = "is no URL such as \"https://cmdb.acme.example/host?name=a\"";
	else if (strcmp(scheme, "https") != 0)
		why = "does not begin with https://";
	else if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK)
		why = "has a user name in it; use the header Authorization";
	else if (!dns_to_ascii(host, slice_of(part)))
		why = "has no host name";
	else if (strcasestr(path, "%2e") != NULL || strcasestr(path, "%2f") != NULL || strchr(path, '\\') != NULL)
		why = "has a dot or slash in hiding";
	curl_url_get(u, CURLUPART_QUERY, &query, 0);
	if (why == NULL && snprintf(url, size, "https://%s:%s%s%s%s", host, port, path, query == NULL ? "" : "?",
	    query == NULL ? "" : query) >= (int)size)
		why = "is too long";
	curl_free(part);
	curl_free(path);
	curl_free(query);
	curl_free(user);
	curl_free(port);
	curl_free(scheme);
	curl_url_cleanup(u);
	return why;
}

/* The list has "https://cmdb.acme.example:443/api". */
static bool
is_listed(const struct conf *c, const char *url)
{
	for (size_t i = 0; i < c->policy.nhttp; i++) {
		const char *start = c->policy.http[i];
		size_t n = strlen(start);

		if (strncmp(url, start, n) == 0 && (start[n - 1] == '/' || strchr("/?", url[n]) != NULL))
			return true;
	}
	return false;
}

static const char *
check_method(lua_State *L)
{
	static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", NULL };
	const char *s = policy_opt_string(L, 1, "gw.http", "method", false, 10);

	for (int i = 0; methods[i] != NULL; i++)
		if (s == NULL || strcmp(s, methods[i]) == 0)
			return methods[i];
	luaL_error(L, "gw.http: method = \"%s\" is none of GET, HEAD, POST, PUT, DELETE, PATCH", s);
	return NULL;
}

static bool
is_token(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] <= ' ' || p[i] > '~' || strchr("\"(),/:;<=>?@[\\]{}", p[i]) != NULL)
			return false;
	return n > 0 && n <= 64;
}

static bool
is_ours(const char *name)
{
	static const char *const names[] = { "host", "content-length", "transfer-encoding", "connection", "expect", "te",
		"upgrade", "trailer", "accept-encoding" };

	for (size_t i = 0; i < NELEMS(names); i++)
		if (strcasecmp(name, names[i]) == 0)
			return true;
	return strncasecmp(name, "proxy-", 6) == 0;
}

/* Pushes the fields as one text, "Name: value\n" each; raises. */
static void
push_request_headers(lua_State *L)
{
	struct buf *out;
	int table, count = 0;

	lua_getfield(L, 1, "headers");
	table = lua_gettop(L);
	out = policy_push_buf(L, HEADER_MAX);
	if (lua_isnil(L, table))
		return;
	luaL_checktype(L, table, LUA_TTABLE);
	if (policy_push_shadow(L, table))
		lua_replace(L, table);
	for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
		const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL, *value;
		size_t n;

		if (name == NULL || !is_token(name, lua_rawlen(L, -2)))
			luaL_error(L, "gw.http: headers: a name is a word such as \"Authorization\"");
		if (is_ours(name))
			luaL_error(L, "gw.http: headers: %s is set by the gateway", name);
		if (lua_type(L, -1) != LUA_TSTRING)
			luaL_error(L, "gw.http: headers: the value of %s is not a text", name);
		value = lua_tolstring(L, -1, &n);
		policy_text_check(L, "gw.http", name, value, n, 4096);
		if (++count > HEADERS_MAX || !buf_printf(out, "%s: %s\n", name, value))
			luaL_error(L, "gw.http: headers: there are too many");
	}
}

static void
set_headers(struct http *h, struct slice all)
{
	struct slice line;
	bool has_type = false;
	static const char *const off[] = { "Expect:", "Content-Type:" };

	while (all.n > 0 && slice_cut(&all, '\n', &line)) {
		char *text = slice_dup(line);
		struct curl_slist *more;

		/* "Name:" alone would take the field away, "Name;" sends it empty. */
		if (line.n > 2 && memcmp(line.p + line.n - 2, ": ", 2) == 0)
			memcpy(text + line.n - 2, ";", 2);
		has_type = has_type || slice_starts_nocase(line, "content-type:");
		more = curl_slist_append(h->headers, text);
		MUST(more != NULL);
		h->headers = more;
		free(text);
	}
	for (size_t i = 0; i < NELEMS(off) - has_type; i++) {
		struct curl_slist *more = curl_slist_append(h->headers, off[i]);

		MUST(more != NULL);
		h->headers = more;
	}
}

static void
on_fixture(evutil_socket_t fd, short what, void *arg)
{
	struct http *h = arg;
	const struct policy_http_fixture *x = h->policy->services.http;
	const char *kind = "servfail";
	char *headers = NULL, *body = NULL;
	bool ok = x->answer(x->owner, h->method, h->url, (struct slice){ h->body, h->nbody }, &h->status, &headers, &body,
	    &kind);

	ok = ok && buf_adds(&h->answer_headers, headers);
	if (ok && !buf_adds(&h->answer, body)) {
		ok = false;
		kind = "limit";
	}
	free(headers);
	free(body);
	finish(h, ok ? NULL : kind, true, ok ? "" : "as the test says");
}

static bool
has_loop(struct policy *p)
{
	struct err err;

	if (p->http == NULL && p->base != NULL)
		p->http = web_loop_new(p->base, transferred, CONNECTIONS_MAX, &err);
	return p->http != NULL;
}

static int
gw_http(lua_State *L)
{
	static const char *const fields[] = { "method", "url", "headers", "body", "timeout", "max", NULL };
	struct policy_run *r = policy_not_loading(L, "gw.http");
	struct policy *p = r->gen->policy;
	char url[URL_MAX], host[256];
	const char *method, *text, *why, *body;
	size_t nbody = 0, max;
	struct buf *headers;
	int64_t timeout;
	uint16_t port;
	struct http_wait *w;
	struct http *h;
	char question[URL_MAX + 40];
	int replayed;

	luaL_checktype(L, 1, LUA_TTABLE);
	policy_opts_check(L, 1, "gw.http", fields);
	if (r->gen->conf->policy.nhttp == 0)
		return luaL_error(L, "gw.http: HTTP is not allowed to policies (policy.network.http)");
	method = check_method(L);
	text = policy_opt_string(L, 1, "gw.http", "url", true, URL_MAX - 300);
	why = canonical(text, url, sizeof url, host);
	if (why != NULL)
		return luaL_error(L, "gw.http: url = \"%s\" %s", text, why);
	timeout = policy_opt_duration(L, 1, "gw.http", "timeout", TIMEOUT_MS);
	if (timeout <= 0 || timeout > TIMEOUT_MAX_MS)
		return luaL_error(L, "gw.http: timeout is more than nothing and at most 60 seconds");
	max = (size_t)policy_opt_integer(L, 1, "gw.http", "max", 1, BODY_MAX, BODY_DEFAULT);
	push_request_headers(L);
	headers = lua_touserdata(L, -1);
	if (lua_getfield(L, 1, "body") != LUA_TNIL && lua_type(L, -1) != LUA_TSTRING)
		return luaL_error(L, "gw.http: body is not a text");
	body = lua_tolstring(L, -1, &nbody);
	if (nbody > BODY_MAX)
		return luaL_error(L, "gw.http: body has at most 1 MiB");
	if (body != NULL && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0))
		return luaL_error(L, "gw.http: %s has no body", method);
	policy_wait_check(L, r, "gw.http");
	if (!is_listed(r->gen->conf, url))
		return policy_push_error(L, "refused", false, false, "gw.http: %s is not in policy.network.http", host);
	/* What is sent may be a secret: a number stands for it. */
	if (body == NULL)
		snprintf(question, sizeof question, "%s %s", method, url);
	else
		snprintf(question, sizeof question, "%s %s #%016llx", method, url, (unsigned long long)hash64(body, nbody));
	if ((replayed = policy_replayed(L, r, "http", question)) >= 0)
		return replayed;
	if (policy_wait_room(L, r) != 0)
		return 2;
	if (p->services.http == NULL && (p->dns == NULL || !has_loop(p)))
		return policy_push_error(L, "servfail", true, false, "gw.http: there is no network");
	port = (uint16_t)strtoul(url + strlen("https://") + strlen(host) + 1, NULL, 10);
	w = policy_wait_new(r, sizeof *w, timeout, stop);
	w->w.counted = true;
	policy_wait_name(&w->w, "http", question);
	w->h = h = xcalloc(1, sizeof *h);
	h->wait = w;
	h->policy = p;
	h->method = method;
	h->url = xstrdup(url);
	snprintf(h->host, sizeof h->host, "%s", host);
	if (body != NULL) {
		h->body = xmalloc(nbody + 1);
		memcpy(h->body, body, nbody);
		h->nbody = nbody;
	}
	h->body_max = max;
	set_headers(h, buf_slice(headers));
	buf_init(&h->answer, max);
	buf_init(&h->answer_headers, HEADER_MAX + 64);
	if (p->services.http != NULL) {
		h->soon = event_new(p->base, -1, 0, on_fixture, h);
		MUST(h->soon != NULL);
		event_active(h->soon, EV_TIMEOUT, 0);
		return policy_wait_begin(L, r, &w->w, resumed);
	}
	h->web = (struct web_request){ .url = h->url, .host = h->host,
		.tls = tls_client_ref(policy_bundle_tls(r->gen->bundle)), .timeout_ms = timeout };
	h->lookup = web_lookup_start(p->dns, h->host, port, may_connect, resolved, h);
	return policy_wait_begin(L, r, &w->w, resumed);
}

void
policy_http_open(lua_State *L)
{
	lua_pushcfunction(L, gw_http);
	lua_setfield(L, -2, "http");
}
