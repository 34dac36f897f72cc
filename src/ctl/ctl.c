/* The control socket. One request, one answer, as often as the client likes. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/ctl_int.h"

#define RATE_KEYS 20		/* that rate list shows */
#define CLIENTS_MAX 32
#define IDLE_S 30			/* also what a whole request may take */
#define OUT_MAX (1u << 20)		/* answers that are not read: no further request is looked at */

struct client {
	struct client *next, **prev;
	struct ctl *ctl;
	struct bufferevent *bev;
	char *user;
	struct question *question;	/* under way */
	struct trace_filter *watch;	/* it watches handlers; NULL */
	uint64_t left_out;		/* records that it was too slow for */
	int64_t frame_ms;		/* when the request that is not whole began to come; 0 none */
};

struct question {
	struct store_query req;
	struct ctl *ctl;
	struct client *client;		/* NULL once it left */
};

/* Workers look through one filter: several clients want all, and it is looked at here. */
static void
watch_anew(struct ctl *c)
{
	static const struct trace_filter all;
	const struct trace_filter *f = NULL;
	unsigned n = 0;

	for (struct client *k = c->clients; k != NULL; k = k->next) {
		if (k->watch == NULL)
			continue;
		f = k->watch;
		n++;
	}
	c->ops->watch(c->owner, n > 0, n == 1 ? f : &all);
}

static void
client_free(struct client *k)
{
	struct ctl *c = k->ctl;
	bool watched = k->watch != NULL;

	free(k->watch);
	if (k->question != NULL)
		k->question->client = NULL;
	if (k->next != NULL)
		k->next->prev = k->prev;
	*k->prev = k->next;
	bufferevent_free(k->bev);
	free(k->user);
	free(k);
	if (watched && !c->freed)
		watch_anew(c);
}

/* ---- Answers ---- */

/* Takes `answer`. */
static void
reply(struct client *k, json_t *answer)
{
	char *text = answer == NULL ? NULL : json_dumps(answer, JSON_COMPACT);
	uint32_t n;

	if (text == NULL)	/* text from outside that is no UTF-8, which is escaped where it comes in */
		text = xstrdup("{\"ok\":false,\"error\":\"the answer cannot be shown\",\"exit\":1}");
	n = htonl((uint32_t)strlen(text));

	bufferevent_write(k->bev, &n, sizeof n);
	bufferevent_write(k->bev, text, strlen(text));
	free(text);
	json_decref(answer);
}

static void
reply_error(struct client *k, const char *text, int exit_status)
{
	char safe[1200];

	text_escape(safe, sizeof safe, text, strlen(text), true);
	reply(k, json_pack("{s:b, s:s, s:i}", "ok", 0, "error", safe, "exit", exit_status));
}

static void on_read(struct bufferevent *bev, void *arg);

static void
answered(void *reader, struct mail *m)
{
	struct question *q = (struct question *)m;
	struct client *k = q->client;
	struct ctl *c = q->ctl;
	struct timeval idle = { IDLE_S, 0 };
	json_error_t je;

	c->outstanding--;
	if (k != NULL) {
		json_t *result = q->req.json == NULL ? NULL : json_loads(q->req.json, 0, &je);

		if (json_integer_value(json_object_get(result, "in_delivery")) > 0)
			json_object_set_new(result, "settled", json_boolean(c->ops->settle(c->owner)));
		k->question = NULL;
		bufferevent_set_timeouts(k->bev, &idle, &idle);
		if (q->req.status == STORE_OK && result != NULL)
			reply(k, json_pack("{s:b, s:o}", "ok", 1, "result", result));
		else
			reply_error(k, q->req.text[0] != '\0' ? q->req.text :
			    q->req.status == STORE_NOT_FOUND ? "no such message" : "the queue cannot answer",
			    q->req.status == STORE_BAD ? 2 : 1);
	}
	store_query_free(&q->req);
	if (c->freed && c->outstanding == 0)
		free(c);
	else if (k != NULL)
		on_read(k->bev, k);	/* what it sent meanwhile; may free k */
}

/* ---- Those who watch ---- */

static bool
fits(const struct client *k, const json_t *record)
{
	const char *ip = json_string_value(json_object_get(record, "ip"));
	const char *domain = json_string_value(json_object_get(record, "domain"));
	const char *handler = json_string_value(json_object_get(record, "handler"));

	return k->watch != NULL && trace_filter_fits(k->watch, ip == NULL ? "" : ip, domain == NULL ? "" : domain,
	    handler == NULL ? "" : handler);
}

void
ctl_record(struct ctl *c, json_t *record, uint64_t left_out)
{
	for (struct client *k = c->clients; k != NULL; k = k->next) {
		if (k->watch == NULL)
			continue;
		k->left_out += left_out;
		if (!fits(k, record))
			continue;
		if (evbuffer_get_length(bufferevent_get_output(k->bev)) > OUT_MAX) {
			k->left_out++;
			continue;
		}
		reply(k, json_pack("{s:b, s:{s:O, s:I}}", "ok", 1, "result", "record", record, "left_out",
		    (json_int_t)k->left_out));
		k->left_out = 0;
	}
}

static void
set_word(char *dst, size_t size, const json_t *filter, const char *key)
{
	const char *s = json_string_value(json_object_get(filter, key));

	snprintf(dst, size, "%s", s == NULL ? "" : s);
}

static void
watch(struct client *k, const json_t *request)
{
	const json_t *filter = json_object_get(request, "filter");

	if (k->watch == NULL)
		k->watch = xcalloc(1, sizeof *k->watch);
	set_word(k->watch->ip, sizeof k->watch->ip, filter, "ip");
	set_word(k->watch->domain, sizeof k->watch->domain, filter, "domain");
	set_word(k->watch->handler, sizeof k->watch->handler, filter, "handler");
	bufferevent_set_timeouts(k->bev, NULL, NULL);	/* it only listens now */
	watch_anew(k->ctl);
	reply(k, json_pack("{s:b, s:{s:b}}", "ok", 1, "result", "watching", 1));
}

/* ---- Requests ---- */

static void
ask_store(struct client *k, const json_t *request)
{
	struct question *q = xcalloc(1, sizeof *q);
	struct err err;

	q->ctl = k->ctl;
	q->client = k;
	if (!ctl_query_parse(request, &q->req, &err)) {
		store_query_free(&q->req);
		reply_error(k, err.text, 2);
		return;
	}
	q->req.by = xstrdup(k->user);
	q->req.mail.run = answered;
	q->req.mail.reply_to = k->ctl->mb;
	k->question = q;
	bufferevent_set_timeouts(k->bev, NULL, NULL);	/* the store takes the time it needs */
	k->ctl->outstanding++;
	store_query(k->ctl->store, &q->req);
}

static void
ask_policy(struct client *k, const char *verb, const json_t *args)
{
	struct ctl *c = k->ctl;
	struct err err = { "" };
	int exit_status = 1;
	json_t *result = c->ops->policy(c->owner, verb, args, k->user, &err, &exit_status);

	if (result != NULL)
		reply(k, json_pack("{s:b, s:o}", "ok", 1, "result", result));
	else
		reply_error(k, err.text, exit_status);
}

static void
handle(struct client *k, const char *p, size_t n)
{
	json_error_t je;
	json_t *request = json_loadb(p, n, JSON_REJECT_DUPLICATES, &je);
	const char *verb = json_string_value(json_object_get(request, "verb"));
	struct ctl *c = k->ctl;
	struct err err = { "" };

	if (verb == NULL) {
		reply_error(k, "a request is a JSON object with \"verb\"", 2);
	} else if (strcmp(verb, "status") == 0) {
		reply(k, json_pack("{s:b, s:o}", "ok", 1, "result", c->ops->status(c->owner)));
	} else if (strcmp(verb, "trace.watch") == 0) {
		watch(k, request);
	} else if (strcmp(verb, "trace.ring") == 0) {
		const char *id = json_string_value(json_object_get(json_object_get(request, "filter"), "id"));
		uint64_t number;

		if (id == NULL || !id_parse(id, &number))
			reply_error(k, "that is not a message id (13 letters and digits, as the log shows them)", 2);
		else
			reply(k, json_pack("{s:b, s:o}", "ok", 1, "result", c->ops->records(c->owner, number)));
	} else if (strcmp(verb, "metrics") == 0) {
		char *text = ctl_metrics_text(c);

		reply(k, json_pack("{s:b, s:{s:s}}", "ok", 1, "result", "text", text));
		free(text);
	} else if (strcmp(verb, "reload") == 0) {
		log_info("reload asked for", LOG_S("by", k->user));
		if (c->ops->reload(c->owner, k->user, &err))
			reply(k, json_pack("{s:b, s:{}}", "ok", 1, "result"));
		else
			reply_error(k, err.text, 1);
	} else if (strncmp(verb, "policy.", 7) == 0) {
		ask_policy(k, verb, json_object_get(request, "args"));
	} else if (strcmp(verb, "rate.list") == 0) {
		const json_t *f = json_object_get(request, "filter"), *limit = json_object_get(f, "limit");

		reply(k, json_pack("{s:b, s:{s:o}}", "ok", 1, "result", "rates", c->ops->rates(c->owner,
		    json_string_value(json_object_get(f, "name")), limit == NULL ? RATE_KEYS : (size_t)json_integer_value(limit))));
	} else {
		ask_store(k, request);
	}
	json_decref(request);
}

/* A request that comes an octet at a time does not move its deadline. May free k. */
static void
wait_for_rest(struct client *k)
{
	int64_t now = clock_mono_ms();

	if (evbuffer_get_length(bufferevent_get_input(k->bev)) == 0)
		k->frame_ms = 0;
	else if (k->frame_ms == 0)
		k->frame_ms = now;
	else if (now - k->frame_ms > IDLE_S * 1000)
		client_free(k);
}

static void
on_read(struct bufferevent *bev, void *arg)
{
	struct client *k = arg;
	struct evbuffer *in = bufferevent_get_input(bev);

	while (k->question == NULL && evbuffer_get_length(bufferevent_get_output(bev)) < OUT_MAX) {
		uint32_t n;
		char *p;

		if (evbuffer_get_length(in) < sizeof n) {
			wait_for_rest(k);
			return;
		}
		evbuffer_copyout(in, &n, sizeof n);
		n = ntohl(n);
		if (n == 0 || n > CTL_FRAME_MAX) {
			log_warn("control connection dropped", LOG_S("why", "frame too long"), LOG_S("user", k->user));
			client_free(k);
			return;
		}
		if (evbuffer_get_length(in) < sizeof n + n) {
			wait_for_rest(k);
			return;
		}
		k->frame_ms = 0;
		evbuffer_drain(in, sizeof n);
		p = xmalloc(n);
		evbuffer_remove(in, p, n);
		handle(k, p, n);
		free(p);
	}
}

/* The answers were read: on with what was sent meanwhile. */
static void
on_written(struct bufferevent *bev, void *arg)
{
	on_read(bev, arg);
}

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
	client_free(arg);
}

static void
on_listen_again(evutil_socket_t fd, short what, void *arg)
{
	evconnlistener_enable(arg);
}

static void
on_accept_error(struct evconnlistener *l, void *arg)
{
	static const struct timeval pause = { 0, 100 * 1000 };

	if (event_base_once(evconnlistener_get_base(l), -1, EV_TIMEOUT, on_listen_again, l, &pause) == 0)
		evconnlistener_disable(l);
}

void
ctl_listener_waits(struct evconnlistener *l)
{
	evconnlistener_set_error_cb(l, on_accept_error);
}

static void
on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int salen, void *arg)
{
	struct ctl *c = arg;
	struct timeval idle = { IDLE_S, 0 };
	struct ucred who;
	socklen_t n = sizeof who;
	struct passwd *pw;
	struct client *k;
	size_t open = 0;

	for (k = c->clients; k != NULL; k = k->next)
		open++;
	/* root and the daemon's own user, nobody else. */
	if (open >= CLIENTS_MAX || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) != 0 ||
	    (who.uid != 0 && who.uid != geteuid())) {
		log_warn("control connection refused", LOG_I("uid", open >= CLIENTS_MAX ? -1 : (int64_t)who.uid));
		close(fd);
		return;
	}
	k = xcalloc(1, sizeof *k);
	k->ctl = c;
	k->bev = bufferevent_socket_new(c->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (k->bev == NULL) {
		close(fd);
		free(k);
		return;
	}
	pw = getpwuid(who.uid);
	k->user = pw != NULL ? xstrdup(pw->pw_name) : xasprintf("uid %u", (unsigned)who.uid);
	k->next = c->clients;
	k->prev = &c->clients;
	if (k->next != NULL)
		k->next->prev = &k->next;
	c->clients = k;
	bufferevent_setcb(k->bev, on_read, on_written, on_event, k);
	bufferevent_setwatermark(k->bev, EV_READ, 0, 2 * CTL_FRAME_MAX);
	bufferevent_set_timeouts(k->bev, &idle, &idle);
	bufferevent_enable(k->bev, EV_READ | EV_WRITE);
}

static int
listen_unix(struct ctl *c, struct err *err)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct stat st;
	mode_t old;
	int fd, rc;

	if (strlen(c->socket_path) >= sizeof un.sun_path) {
		err_set(err, "service.control: %s is longer than the %zu octets a socket path may have",
		    c->socket_path, sizeof un.sun_path - 1);
		return -1;
	}
	strcpy(un.sun_path, c->socket_path);
	/* What an earlier run left behind; the queue's lock has shown that no other daemon runs. */
	if (lstat(c->socket_path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(c->socket_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	old = umask(0177);
	rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&un, sizeof un);
	umask(old);
	if (rc != 0) {
		err_set(err, "service.control: %s: %s", c->socket_path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	c->listener = evconnlistener_new(c->base, on_accept, c, LEV_OPT_CLOSE_ON_FREE, 16, fd);
	if (c->listener == NULL) {
		err_set(err, "service.control: cannot listen on %s", c->socket_path);
		close(fd);
		return -1;
	}
	ctl_listener_waits(c->listener);
	return 0;
}

struct ctl *
ctl_new(struct event_base *base, const struct ctl_conf *conf, struct store *store, struct mailbox *mb,
    const struct ctl_ops *ops, void *owner, struct err *err)
{
	struct ctl *c = xcalloc(1, sizeof *c);

	c->base = base;
	c->store = store;
	c->mb = mb;
	c->ops = ops;
	c->owner = owner;
	c->socket_path = xstrdup(conf->socket_path);
	if (listen_unix(c, err) != 0 ||
	    (conf->http != NULL && ctl_http_start(c, conf->http, err) != 0)) {
		ctl_free(c);
		return NULL;
	}
	return c;
}

void
ctl_free(struct ctl *c)
{
	if (c == NULL)
		return;
	ctl_http_stop(c);
	for (struct client *k = c->clients; k != NULL; k = k->next) {
		free(k->watch);		/* the workers are about to end: nobody tells them */
		k->watch = NULL;
	}
	while (c->clients != NULL)
		client_free(c->clients);
	if (c->listener != NULL) {
		evconnlistener_free(c->listener);
		unlink(c->socket_path);
	}
	free(c->socket_path);
	c->socket_path = NULL;
	c->freed = true;
	if (c->outstanding == 0)
		free(c);
}
