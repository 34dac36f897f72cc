#include "config.h"

#include <stdlib.h>
#include <unistd.h>

#include "gateway/gateway_int.h"

#define ANSWER_MS 5000

struct web {
	pthread_t thread;
	struct event_base *base;
	struct mailbox *mb, *answers;
	struct sts_server *server;
	struct sts_served counts;
};

struct web_order {
	struct mail mail;		/* first */
	struct sts_pages *pages;	/* NULL: stop */
};

static void
take_order(void *reader, struct mail *m)
{
	struct web *w = reader;
	struct web_order *o = (struct web_order *)m;

	if (o->pages == NULL)
		event_base_loopbreak(w->base);
	else
		sts_server_use(w->server, o->pages);
	sts_pages_unref(o->pages);
	mailbox_post(m->reply_to, m);
}

static void
order(struct web *w, struct sts_pages *p)
{
	struct web_order *o = xcalloc(1, sizeof *o);
	struct mail *m, *next;

	o->mail.run = take_order;
	o->mail.reply_to = w->answers;
	o->pages = sts_pages_ref(p);
	mailbox_post(w->mb, &o->mail);
	for (m = mailbox_wait(w->answers, ANSWER_MS); m != NULL; m = next) {
		next = m->next;
		free(m);
	}
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	/* Keeps the loop from returning when it has nothing else. */
}

static void *
web_main(void *arg)
{
	struct web *w = arg;
	struct timeval long_time = { 3600, 0 };
	struct event *tick = event_new(w->base, -1, EV_PERSIST, on_tick, NULL);

	pthread_setname_np(pthread_self(), "sts-serve");
	event_add(tick, &long_time);
	event_base_dispatch(w->base);
	event_free(tick);
	sts_server_free(w->server);	/* here, where its connections are at home */
	return NULL;
}

struct web *
web_new(const int *fds, size_t n, struct err *err)
{
	struct web *w = xcalloc(1, sizeof *w);
	struct event_config *cfg = event_config_new();

	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	w->base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	MUST(w->base != NULL);
	w->mb = mailbox_new(w->base, w);
	w->answers = mailbox_new(NULL, NULL);
	w->server = sts_server_new(w->base, &w->counts);
	for (size_t i = 0; i < n; i++)
		sts_server_listen(w->server, fds[i]);
	if (pthread_create(&w->thread, NULL, web_main, w) == 0)
		return w;
	err_set(err, "cannot start the thread of sts_serve");
	sts_server_free(w->server);
	mailbox_free(w->mb);
	mailbox_free(w->answers);
	event_base_free(w->base);
	free(w);
	return NULL;
}

void
web_use(struct web *w, struct sts_pages *p)
{
	if (p != NULL)
		order(w, p);
}

const struct sts_served *
web_counts(const struct web *w)
{
	return &w->counts;
}

void
web_free(struct web *w)
{
	if (w == NULL)
		return;
	order(w, NULL);
	pthread_join(w->thread, NULL);
	mailbox_free(w->mb);
	mailbox_free(w->answers);
	event_base_free(w->base);
	free(w);
}
