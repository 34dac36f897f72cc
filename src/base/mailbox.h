/* The only way from one thread to another: many writers, one reader. Posting takes no lock and
 * never blocks. What is posted belongs to the reader from then on. The reader either has a
 * libevent base (a worker) or waits itself (store, log).
 *
 * A request travels there and back in one struct: the sender embeds a struct mail, sets `run` to
 * what shall happen in its own thread when the answer comes back, and `reply_to` to its own
 * mailbox. The receiver looks at `kind`, does the work, fills in the answer and posts the same
 * struct to reply_to, where `run` is called. */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct mailbox;

struct mail {
	struct mail *next;		/* the mailbox's while the item is under way */
	/* Called in the thread that reads the mailbox. It owns `m`. */
	void (*run)(void *reader, struct mail *m);
	struct mailbox *reply_to;	/* whom the answer goes to; NULL: no answer is wanted */
	uint32_t kind;			/* for receivers that dispatch by kind, not by `run` */
};

/* `base`: items arrive as calls of item->run(reader, item) from that loop. NULL: the owner calls
 * mailbox_wait. */
struct mailbox *mailbox_new(struct event_base *base, void *reader);
void mailbox_free(struct mailbox *mb);		/* what is still in it is not looked at */
void mailbox_post(struct mailbox *mb, struct mail *m);	/* any thread */
/* All that is there, oldest first, linked by `next`; NULL when nothing came within timeout_ms
 * (-1: for ever). Only without a base. */
struct mail *mailbox_wait(struct mailbox *mb, int timeout_ms);
/* Runs what is there now, with a base; for the last turn before a thread ends. */
void mailbox_drain(struct mailbox *mb);

#endif
