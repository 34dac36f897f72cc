/* message:body_chunks(): the body piece by piece. What is in memory is there at once; the rest is in a file
 * of the spool, which a thread of the pool reads: a worker does not wait for a disk. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/pool.h"
#include "policy/objects.h"

#define CHUNKS_MT "gw.body.chunks"
#define CHUNK (256u * 1024)

struct body_read {
	struct job job;		/* first; it comes back even when nobody waits any more, and is freed then */
	struct policy_link *link;
	uint64_t ticket;
	struct content *content;
	uint64_t at;
	size_t n;		/* how many are wanted; then: how many there are */
	int error;
	char data[];
};
struct body_wait {
	struct policy_wait w;	/* first */
	struct body_read *r;
	bool is_over;
};
struct chunks {			/* userdata, the iterator's */
	uint64_t at, end;	/* octets of the content */
};

/* In a thread of the pool. */
static void
work(struct job *j, unsigned thread)
{
	struct body_read *r = (struct body_read *)j;
	size_t got = 0;
	ssize_t n = 1;

	while (got < r->n && n > 0) {
		n = pread(r->content->fd, r->data + got, r->n - got, (off_t)(r->at + got));
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			got += (size_t)n;
	}
	if (got < r->n)
		r->error = n < 0 ? errno : EIO;
}

static void
stop(struct policy_wait *pw)
{
	struct body_wait *w = (struct body_wait *)pw;

	if (!w->is_over)
		atomic_store(&w->r->job.is_cancelled, true);
}

static void
body_read_free(struct body_read *r)
{
	content_unref(r->content);
	policy_link_unref(r->link);
	free(r);
}

static void
answered(void *reader, struct mail *m)
{
	struct body_read *r = (struct body_read *)m;
	struct policy *p = policy_link_get(r->link);
	struct policy_wait *w = p == NULL ? NULL : policy_wait_find(p, r->ticket);

	if (w != NULL) {
		((struct body_wait *)w)->is_over = true;
		policy_wait_done(w);
	}
	body_read_free(r);
}

static int
resumed(lua_State *L, int status, lua_KContext ctx)
{
	struct body_wait *w = policy_wait_take(L);
	const struct body_read *r = w->r;

	policy_wait_free(&w->w);
	if (r->error != 0)	/* a loop must not end as if that were all */
		return luaL_error(L, "message:body_chunks: the body could not be read: %s", strerror(r->error));
	lua_pushlstring(L, r->data, r->n);
	return 1;
}

static int
read_chunk(lua_State *L, struct policy_run *r, const struct content *c, uint64_t at, size_t n)
{
	struct policy *p = r->gen->policy;
	struct body_read *b;
	struct body_wait *w;

	policy_wait_check(L, r, "message:body_chunks");
	if (p->services.pool == NULL || c->fd < 0)
		return luaL_error(L, "message:body_chunks: only the start of the body is at hand here");
	if (policy_wait_room(L, r) != 0)
		return luaL_error(L, "message:body_chunks: too much waits already");
	b = xcalloc(1, sizeof *b + n);
	b->content = content_ref((struct content *)c);
	b->at = at;
	b->n = n;
	b->job.work = work;
	b->job.mail.run = answered;
	b->job.mail.reply_to = p->services.mb;
	b->link = policy_link_ref(p->link);
	w = policy_wait_new(r, sizeof *w, -1, stop);
	w->w.counted = true;
	w->r = b;
	policy_wait_number(&w->w);
	b->ticket = w->w.ticket;
	if (!pool_do(p->services.pool, &b->job)) {
		w->is_over = true;
		policy_wait_over(&w->w);
		policy_wait_free(&w->w);
		body_read_free(b);
		return luaL_error(L, "message:body_chunks: too many files are read already");
	}
	return policy_wait_begin(L, r, &w->w, resumed);
}

/* Upvalues: the message, where it is. */
static int
next_chunk(lua_State *L)
{
	struct chunks *x = luaL_checkudata(L, lua_upvalueindex(2), CHUNKS_MT);
	const struct content *c;
	struct slice start;
	struct obj o;
	size_t n;

	lua_settop(L, 0);
	lua_pushvalue(L, lua_upvalueindex(1));
	o = obj_check(L, OBJ_MESSAGE);
	c = obj_content_of(L, &o, "body_chunks");
	if (x->at >= x->end) {
		lua_pushnil(L);
		return 1;
	}
	n = x->end - x->at < CHUNK ? (size_t)(x->end - x->at) : CHUNK;
	start = content_body_peek(c, (size_t)(x->at - c->header_size) + n);
	policy_charge_lua(L, n / 8 + 64);
	if (start.n >= x->at - c->header_size + n) {
		policy_body_read(o.r, (size_t)(x->at - c->header_size) + n);
		if (o.r->killed != KILL_NONE)
			return policy_kill(L, o.r->killed);
		lua_pushlstring(L, start.p + (x->at - c->header_size), n);
		x->at += n;
		return 1;
	}
	x->at += n;
	return read_chunk(L, o.r, c, x->at - n, n);
}

int
message_body_chunks(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const struct content *c = obj_content_of(L, &o, "body_chunks");
	lua_Integer max = luaL_optinteger(L, 2, INT32_MAX);
	struct chunks *x;

	luaL_argcheck(L, max >= 1, 2, "at least 1 octet");
	lua_pushvalue(L, 1);
	x = lua_newuserdatauv(L, sizeof *x, 0);
	*x = (struct chunks){ c->header_size, c->size };
	if (x->end - x->at > (uint64_t)max)
		x->end = x->at + (uint64_t)max;
	luaL_setmetatable(L, CHUNKS_MT);
	lua_pushcclosure(L, next_chunk, 2);
	return 1;
}

void
obj_chunks_register(lua_State *L)
{
	static const luaL_Reg mt[] = { { NULL, NULL } };

	policy_newmetatable(L, CHUNKS_MT, mt);
	lua_pop(L, 1);
}
