#ifndef CTL_CTL_INT_H
#define CTL_CTL_INT_H

#include "ctl/ctl.h"

struct evhttp;

struct ctl {
	struct event_base *base;
	struct store *store;
	struct mailbox *mb;
	const struct ctl_ops *ops;
	void *owner;
	char *socket_path;
	struct evconnlistener *listener;
	struct evhttp *http;
	struct client *clients;		/* open control connections */
	size_t outstanding;		/* questions to the store without an answer */
	bool freed;
};

/* ctl.c: a listener of libevent's that has no descriptors left waits, where it would spin */
struct evconnlistener;
void ctl_listener_waits(struct evconnlistener *l);

/* http.c */
int ctl_http_start(struct ctl *c, const char *address, struct err *err);
void ctl_http_stop(struct ctl *c);
char *ctl_metrics_text(struct ctl *c);	/* Prometheus text format, heap */
/* query.c: a request about the queue or evidence as a question to the store */
struct store_query;
/* False with `err` when the request makes no sense. Fills in verb, filter, reason, dry_run. */
bool ctl_query_parse(const json_t *request, struct store_query *q, struct err *err);

#endif
