/* What the sessions of one worker share: their numbers, and the loop's next turn, on which new
 * sessions begin and ended ones are reclaimed. */
#include "config.h"

#include <stdlib.h>

#include "smtp/smtp_int.h"

/* Each session of the list at this moment; what they put in goes to the turn after. */
static void
take_turn(struct smtp_server *srv)
{
	struct smtp_session *s, *next;

	s = srv->turn;
	srv->turn = NULL;
	for (; s != NULL; s = next) {
		next = s->next_turn;
		s->in_turn = false;
		if (s->state == ST_GONE)
			session_reclaim(s);
		else
			session_begin(s);
	}
}

static void
on_turn(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	take_turn(arg);
}

void
server_next_turn(struct smtp_session *s)
{
	if (s->in_turn)
		return;
	s->in_turn = true;
	s->next_turn = s->server->turn;
	s->server->turn = s;
	event_active(s->server->turn_event, EV_TIMEOUT, 0);
}

struct smtp_server *
smtp_server_new(struct event_base *base, unsigned who)
{
	struct smtp_server *srv = xcalloc(1, sizeof *srv);

	srv->base = base;
	srv->who = who;
	srv->turn_event = event_new(base, -1, 0, on_turn, srv);
	MUST(srv->turn_event != NULL);
	return srv;
}

void
smtp_server_free(struct smtp_server *srv)
{
	struct smtp_session *s, *tmp;

	if (srv == NULL)
		return;
	srv->is_draining = true;
	HASH_ITER(hh, srv->sessions, s, tmp)
		session_bye(s, "4.3.2", "Service is shutting down");
	while (srv->turn != NULL)
		take_turn(srv);
	event_free(srv->turn_event);
	free(srv);
}

size_t
smtp_server_sessions(const struct smtp_server *srv)
{
	return HASH_COUNT(srv->sessions);
}

/* Sessions in the middle of something are told when it is done: session_run looks at is_draining
 * before each command. */
void
smtp_server_drain(struct smtp_server *srv)
{
	struct smtp_session *s, *tmp;

	srv->is_draining = true;
	HASH_ITER(hh, srv->sessions, s, tmp)
		session_run(s);
}

void
smtp_session_drain(struct smtp_server *srv, uint64_t id)
{
	struct smtp_session *s = session_find(srv, id);

	if (s == NULL)
		return;
	s->is_draining = true;
	session_run(s);
}

void
smtp_server_hurry(struct smtp_server *srv, int64_t command_ms)
{
	struct smtp_session *s, *tmp;
	bool begins = command_ms > 0 && srv->hurry_ms == 0;

	srv->hurry_ms = command_ms;
	if (!begins)
		return;
	HASH_ITER(hh, srv->sessions, s, tmp)
		session_hurry(s);
}

void
smtp_server_set_scarce(struct smtp_server *srv, int (*scarce)(void *owner, size_t holds),
    void *owner)
{
	srv->scarce = scarce;
	srv->scarce_owner = owner;
}

int
server_scarce(const struct smtp_server *srv, size_t holds)
{
	return srv->scarce == NULL ? 0 : srv->scarce(srv->scarce_owner, holds);
}

struct smtp_session *
session_find(struct smtp_server *srv, uint64_t id)
{
	struct smtp_session *s;

	HASH_FIND(hh, srv->sessions, &id, sizeof id, s);
	return s;
}

const struct smtp_session_info *
smtp_session_get_info(struct smtp_server *srv, uint64_t id)
{
	struct smtp_session *s = session_find(srv, id);

	return s == NULL ? NULL : &s->info;
}

void
smtp_session_set_data(struct smtp_session *s, void *data)
{
	s->data = data;
}

void *
smtp_session_data(const struct smtp_session *s)
{
	return s->data;
}
