/* The control socket: frames cut anywhere, lengths that lie, JSON that is none, requests that
 * make no sense. The first octet seeds the cuts and says whether lines of the input are framed for
 * it (odd) or it is sent as it is. Each answer is a frame of JSON that can be shown; cut or whole,
 * the answers are the same. The store behind it is one that says what it was asked; libevent's
 * sockets are replaced by buffers, so that no system call slows it down. */
#include "config.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ctl/ctl_int.h"
#include "fuzz_random.h"
#include "queue/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct ctl *ctl;
static struct store_query *pending[64];	/* asked and not answered */
static size_t npending;

/* ---- In place of libevent and the C library ---- */
struct bufferevent {
	struct evbuffer *in, *out;
	bufferevent_data_cb read, written;
	bufferevent_event_cb event;
	void *arg;
	bool is_freed;
};
static struct bufferevent *made;		/* for the connection just accepted; the harness frees it */
static evconnlistener_cb on_accept;
static void *accept_arg;

struct evconnlistener *
evconnlistener_new(struct event_base *b, evconnlistener_cb cb, void *arg, unsigned flags, int backlog,
    evutil_socket_t fd)
{
	on_accept = cb;
	accept_arg = arg;
	return (struct evconnlistener *)"listener";
}

void
evconnlistener_set_error_cb(struct evconnlistener *l, evconnlistener_errorcb cb)
{
	(void)l;
}

void
evconnlistener_free(struct evconnlistener *l)
{
	(void)l;
}

struct bufferevent *
bufferevent_socket_new(struct event_base *b, evutil_socket_t fd, int options)
{
	made = xcalloc(1, sizeof *made);
	made->in = evbuffer_new();
	made->out = evbuffer_new();
	return made;
}

void
bufferevent_setcb(struct bufferevent *b, bufferevent_data_cb r, bufferevent_data_cb w,
    bufferevent_event_cb e, void *arg)
{
	b->read = r;
	b->written = w;
	b->event = e;
	b->arg = arg;
}

struct evbuffer *
bufferevent_get_input(struct bufferevent *b)
{
	MUST(!b->is_freed);
	return b->in;
}

struct evbuffer *
bufferevent_get_output(struct bufferevent *b)
{
	MUST(!b->is_freed);
	return b->out;
}

int
bufferevent_write(struct bufferevent *b, const void *p, size_t n)
{
	MUST(!b->is_freed);
	return evbuffer_add(b->out, p, n);
}

void
bufferevent_free(struct bufferevent *b)
{
	MUST(!b->is_freed);
	b->is_freed = true;
}

void
bufferevent_setwatermark(struct bufferevent *b, short events, size_t low, size_t high)
{
	(void)b;
}

int
bufferevent_set_timeouts(struct bufferevent *b, const struct timeval *r, const struct timeval *w)
{
	MUST(!b->is_freed);
	return 0;
}

int
bufferevent_enable(struct bufferevent *b, short event)
{
	return 0;
}

int
getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
	memset(value, 0, *n);	/* uid 0 */
	return 0;
}

struct passwd *
getpwuid(uid_t uid)
{
	return NULL;
}

/* ---- In place of src/queue ---- */
void
store_query(struct store *s, struct store_query *q)
{
	bool changes = q->verb >= STORE_HOLD;

	MUST(q->by != NULL && q->json == NULL);
	MUST(!changes || q->dry_run || q->reason != NULL);
	MUST(q->verb == STORE_REQUIRE_TLS || q->duties == 0);
	q->status = q->filter.limit % 3 == 1 ? STORE_NOT_FOUND : STORE_OK;
	if (q->filter.limit % 3 == 2)
		snprintf(q->text, sizeof q->text, "\x1b\xff \xe2\x80\xa8");
	else if (q->status == STORE_OK)
		q->json = xasprintf("{\"verb\":%d,\"id\":%llu,\"dry\":%d}", (int)q->verb,
		    (unsigned long long)q->filter.id, q->dry_run);
	MUST(npending < NELEMS(pending));
	pending[npending++] = q;
}

void
store_query_free(struct store_query *q)
{
	free(q->filter.from);
	free(q->filter.to);
	free(q->filter.domain);
	free(q->filter.route);
	free(q->filter.tag);
	free(q->filter.state);
	free(q->reason);
	free(q->by);
	free(q->json);
	free(q);
}

/* ---- In place of the daemon ---- */
static void
metrics(void *owner, void (*fn)(void *arg, const struct ctl_metric *m), void *arg)
{
	const struct ctl_metric m = { "a_total", "help", true, "x=\"y\"", 1 };

	fn(arg, &m);
}

static bool
reload(void *owner, const char *by, struct err *err)
{
	err_set(err, "gateway.lua:1: \x01 no");
	return false;
}

static json_t *
status(void *owner)
{
	return json_pack("{s:s}", "hostname", "x");
}

static bool
settle(void *owner)
{
	return true;
}

static json_t *
policy(void *owner, const char *verb, const json_t *args, const char *by, struct err *err, int *exit_status)
{
	*exit_status = 2;
	err_set(err, "%s: \x01 %s", verb, json_string_value(json_object_get(args, "gen")) == NULL ? "" :
	    json_string_value(json_object_get(args, "gen")));
	return NULL;
}

static json_t *
rates(void *owner, const char *name, size_t keys)
{
	(void)owner, (void)name, (void)keys;
	return json_array();
}

static json_t *
records(void *owner, uint64_t id)
{
	return json_pack("{s:[]}", "trace");
}

static void
watch(void *owner, bool on, const struct trace_filter *filter)
{
	MUST(strlen(filter->handler) < sizeof filter->handler);
}

static const struct ctl_ops ops = { metrics, reload, status, settle, policy, rates, records, watch };

static void
make_ctl(void)
{
	static const struct log_conf quiet = { .file = "/dev/null", .level = LOG_LEVEL_ERROR };
	const struct ctl_conf conf = { .socket_path = "fuzz-admin.sock" };
	struct err err;

	MUST(log_open(&quiet, &err) == 0);
	ctl = ctl_new(NULL, &conf, NULL, NULL, &ops, NULL, &err);
	MUST(ctl != NULL);
}

/* ---- The other end ---- */
static bool
answer_one(void)
{
	struct store_query *q;

	if (npending == 0)
		return false;
	q = pending[--npending];
	q->mail.run(NULL, &q->mail);
	return true;
}

static void
check_answers(struct slice heard)
{
	while (heard.n > 0) {
		uint32_t len;
		json_t *o;

		MUST(heard.n >= sizeof len);
		memcpy(&len, heard.p, sizeof len);
		len = ntohl(len);
		MUST(len <= heard.n - sizeof len);
		o = json_loadb(heard.p + sizeof len, len, JSON_REJECT_DUPLICATES, NULL);
		MUST(json_is_boolean(json_object_get(o, "ok")));
		MUST(json_is_true(json_object_get(o, "ok")) || json_is_string(json_object_get(o, "error")));
		for (uint32_t i = 0; i < len; i++)
			MUST((unsigned char)heard.p[sizeof len + i] >= 0x20);
		json_decref(o);
		heard.p += sizeof len + len;
		heard.n -= sizeof len + len;
	}
}

static void
hear(struct bufferevent *b, struct buf *heard)
{
	size_t n = evbuffer_get_length(b->out);

	if (n == 0)
		return;
	buf_add(heard, evbuffer_pullup(b->out, -1), n);
	evbuffer_drain(b->out, n);
	if (!b->is_freed && b->written != NULL)
		b->written(b, b->arg);
}

/* False when the connection was closed on us. */
static bool
play(const struct buf *in, uint32_t random, bool leaves, struct buf *heard)
{
	const char *p = buf_peek(in);
	struct bufferevent *b;
	bool is_open;

	buf_init(heard, 16 << 20);
	on_accept(NULL, -1, NULL, 0, accept_arg);
	b = made;
	for (size_t n = in->len, step; n > 0 && !b->is_freed; n -= step, p += step) {
		step = random == 0 ? n : 1 + fuzz_random(&random) % 40;
		step = step < n ? step : n;
		evbuffer_add(b->in, p, step);
		b->read(b, b->arg);
		if (random != 0 && (random & 0x300) == 0)
			answer_one();
		if (random != 0)
			hear(b, heard);
	}
	/* It may leave while the store still thinks. */
	while (!b->is_freed && !leaves && answer_one())
		continue;
	is_open = !b->is_freed;
	if (is_open)
		b->event(b, BEV_EVENT_EOF, b->arg);
	while (answer_one())
		continue;
	hear(b, heard);
	evbuffer_free(b->in);
	evbuffer_free(b->out);
	free(b);
	check_answers(buf_slice(heard));
	return is_open;
}

static void
frame_lines(struct buf *out, struct slice rest)
{
	struct slice line;

	while (slice_cut(&rest, '\n', &line)) {
		uint32_t len = htonl((uint32_t)line.n);

		buf_add(out, &len, sizeof len);
		buf_add(out, line.p, line.n);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf in, whole, cut;
	bool is_open, leaves;

	if (n < 1 || n > 60000)
		return 0;
	if (ctl == NULL)
		make_ctl();
	leaves = (data[0] & 4) != 0;
	buf_init(&in, 1 << 20);
	if (data[0] & 1)
		frame_lines(&in, (struct slice){ (const char *)data + 1, n - 1 });
	else
		buf_add(&in, data + 1, n - 1);
	is_open = play(&in, 0, leaves, &whole);
	if (data[0] & 2) {
		MUST(play(&in, data[0] * 2654435761u + 1, leaves, &cut) == is_open || leaves);
		MUST(leaves || slice_eq(buf_slice(&whole), buf_slice(&cut)));
		buf_fini(&cut);
	}
	buf_fini(&whole);
	buf_fini(&in);
	return 0;
}
