/* A connection and a loop without sockets and system calls, in place of src/net and libevent for
 * the harnesses of whole conversations: linked before them, it answers for net_*, tls_client_* and
 * event_*, under the promises of net/net.h. A harness holds the other end, struct fake_peer. */
#ifndef FUZZ_FAKE_NET_H
#define FUZZ_FAKE_NET_H

#include "net/net.h"

struct fake_peer {
	struct net_conn *conn;		/* NULL: not made yet, or gone */
	struct buf heard;		/* all that the gateway has sent */
	struct buf waiting;		/* sent to it and not read yet */
	bool is_deaf;			/* reads nothing: the gateway's output stays where it is */
	bool wants_tls;			/* a handshake is under way, see fake_secure */
	bool was_made;
	unsigned handshakes;
};

void fake_peer_init(struct fake_peer *p);	/* the next connection made has p as its other end */
void fake_peer_fini(struct fake_peer *p);
void fake_send(struct fake_peer *p, const void *data, size_t n);
void fake_secure(struct fake_peer *p, const struct tls_info *tls);
void fake_close(struct fake_peer *p, enum net_why why);	/* once what was sent has been read */
bool fake_has_deadline(const struct fake_peer *p);
bool fake_is_idle(const struct fake_peer *p);	/* nothing would happen in the next turn */
void fake_turn(void);			/* runs until nothing happens any more */
void fake_time(int64_t ms);		/* goes by, in clock_*, timers and deadlines */
void fake_quiet(void);			/* no log but of errors, and that to nowhere */

struct event_base;
extern struct event_base *const fake_base;

/* What reaches the other end must be replies or commands: CR LF ends each line and stands nowhere
 * else; printable ASCII (with 8-bit octets where `utf8`), at most `max` octets. */
void must_be_lines(struct slice text, size_t max, bool utf8);

#endif
