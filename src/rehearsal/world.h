/* A whole gateway inside one process, for rehearsing policies: the real reception, queue, delivery and
 * policy engine on one loop and in one thread, with only the edges made up. DNS answers and MTA-STS
 * policies come from a book, next hops are scripted peers, clients are driven from here, time passes only
 * when it is told to. What a policy asks for and the book does not have is written down as missing.
 *
 * Nothing here decides anything about mail. */
#ifndef REHEARSAL_WORLD_H
#define REHEARSAL_WORLD_H

#include <jansson.h>

#include "conf/conf.h"
#include "deliver/deliver.h"
#include "dns/dns.h"
#include "net/net.h"
#include "policy/policy.h"
#include "queue/store.h"

struct world;

/* ---- book.c: what DNS and policy hosts say ---- */
struct book;
struct book *book_new(void);
void book_free(struct book *b);
struct book_said {
	bool secure;
	uint32_t ttl;
	enum dns_status status;		/* DNS_OK: the records; NODATA and NXDOMAIN may be secure, too */
	char *why;			/* BOGUS; borrowed */
};
/* Takes the place of what was said of this name and type before. `type` 0 with NXDOMAIN: of the name. False
 * with `err`: `rr` is not as such a record is written. */
bool book_say(struct book *b, const char *name, uint16_t type, const char *const *rr, size_t n,
    const struct book_said *how, struct err *err);
/* Is anything said of this name? */
bool book_has(const struct book *b, const char *name, uint16_t type);
/* text NULL: the fetch fails, `why` says how. The TXT record is said as well. */
void book_sts(struct book *b, const char *domain, const char *id, const char *text, const char *why);
/* status 0: the request fails, `fail` says how ("timeout"). `headers`: "name: value\n" each. */
void book_http(struct book *b, const char *method, const char *url, long status, const char *headers, const char *body,
    const char *fail);
bool book_answer(void *book, const char *method, const char *url, struct slice sent, long *status, char **headers,
    char **body, const char **kind);
/* The n-th request of gw.http: "GET https://..." and what was sent; NULL at the end. */
const char *book_request(const struct book *b, size_t n, const char **sent);
/* ---- book_sql.c: what databases say ---- */
struct shelf;			/* their part of a book */
struct shelf *shelf_new(void);
void shelf_free(struct shelf *s);
struct shelf *book_shelf(const struct book *b);
struct sql_query;
/* What a statement gives: `said` has it, with its values (or whatever they are, with any_values), and the end, columns
 * and cells of the answer. Taken. It takes the place of what was said of the same before. Space in a statement counts
 * for nothing. */
void book_sql(struct book *b, const char *database, struct sql_query *said, bool any_values);
bool book_rows(void *book, const char *database, struct sql_query *q);
/* The n-th question that was asked, whoever answered; NULL at the end. */
const struct sql_query *book_question(const struct book *b, size_t n, const char **database);

/* What nothing was said of, a sentence each; NULL when there is none. Borrowed. */
const char *book_missing(const struct book *b);
void book_missing_add(struct book *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void book_missing_clear(struct book *b);
enum dns_status book_look(void *book, const char *name, uint16_t type, uint8_t **pkt, size_t *pkt_n,
    bool *secure, char **why);
/* Who is asked about what nothing is said of; as dns_fixture's `look`. */
void book_ask(struct book *b, enum dns_status (*look)(void *owner, const char *name, uint16_t type, uint8_t **pkt,
    size_t *pkt_n, bool *secure, char **why), void *owner);
bool book_fetch(void *book, const char *domain, char **text, char **why);
uint16_t book_type(const char *name);	/* "MX"; 0: not known here */

/* ---- peer.c: next hops ---- */
struct peer_mail {			/* a transaction, however far it came */
	char *mail;			/* the line */
	char *from;
	char **rcpts;			/* addresses that were taken */
	size_t nrcpts;
	struct buf data;		/* as sent, dots undone */
	bool in_tls, complete;
	char *reply;			/* to the content, or what ended it */
};
struct peer_script {			/* what is answered, in place of "250 ..." */
	char *verb;			/* "banner" "ehlo" "starttls" "auth" "mail" "rcpt" "data" "content" */
	char *of;			/* rcpt: only this address; NULL any */
	char **replies;			/* the n-th time the n-th; then the last */
	size_t n, at;
};
struct peer {
	struct peer *next;
	struct world *w;
	char *host;
	uint8_t ip[4];
	bool refuses;			/* connections */
	char **caps;
	size_t ncaps;
	bool implicit_tls;
	struct peer_tls {
		bool fails;
		char *why;
		enum peer_verified verified;
		char *version, *cipher;
		char **names;
		size_t nnames;
		char *pin;		/* spki, hex */
	} tls;
	struct peer_script *scripts;
	size_t nscripts;
	struct peer_mail **mails;
	size_t nmails;
	unsigned connections;
	uint8_t tlsa[64];		/* of the record that matched */
	struct tls_tlsa matched;
	struct visitor *conns;
	char names_text[512];
};
struct peer *peer_new(struct world *w, const char *host);	/* takes an older one's place */
void peers_free(struct world *w);
int peer_connect(void *world, const struct net_addr *to, int *fd_out);
int stage_handshake(void *world, const struct net_addr *peer, const struct tls_want *want,
    struct tls_info *info, struct err *err);
/* Reads what has come and answers; true when there was anything. */
bool peers_step(struct world *w);

/* ---- guest.c: clients ---- */
struct guest_reply {
	int code;			/* 0: the connection ended */
	char status[12];
	char text[1024];		/* lines by LF */
	const char *stage;		/* static: "connect" "helo" "tls" "auth" "mail" "rcpt" "data" "message" */
};
struct guest {
	struct guest *next;
	struct world *w;
	int fd;
	uint64_t sid;
	struct net_addr addr;
	struct buf in;
	bool eof;
	unsigned ext;			/* of the newest EHLO */
	char ehlo[2048];
	struct tls_info tls;
	char *tls_text[8];
	struct guest_reply last;
};
struct guest_conf {
	const char *listener, *ip, *helo;
	bool tls;
	const struct tls_info *tls_info;	/* NULL: usual ones */
	const char *auth, *auth_attrs;		/* who the client is taken for */
	const char *user, *password;		/* AUTH PLAIN, asked of the policy */
	bool stay_out;				/* connect alone: no HELO */
};
/* Connects, says EHLO, and what else is wanted; g->last says how far it came. */
struct guest *guest_new(struct world *w, const struct guest_conf *c, struct err *err);
/* One line, and the reply to it. */
const struct guest_reply *guest_say(struct guest *g, const char *stage, const char *line);
/* Octets as they are (content with its dot); the reply. */
const struct guest_reply *guest_send(struct guest *g, const char *stage, const char *p, size_t n);
void guest_close(struct guest *g);
void guest_starttls(struct guest *g);
void guest_assume(struct guest *g, const char *id, const char *attrs);
void guests_free(struct world *w);

/* ---- world.c ---- */
struct world_notice {
	struct msg *msg;
};
struct seen {				/* one handler call, kept */
	enum policy_hook hook;
	char *handler, *where, *verdict, *reason, *status, *text, *error, *added, *route, *tags, *matched;
	int level;
	bool is_rule;
	uint64_t message;
	int64_t at_ms;			/* wall */
	uint64_t instructions;
};
struct trace_ops;
struct world_conf {
	int64_t now_ms;			/* wall */
	uint64_t seed;
	policy_line_fn *lines;		/* told of lines that run; NULL: nobody */
	void *lines_owner;
	const struct trace_ops *records;	/* told of what handlers did; NULL: nobody */
	void *records_owner;
	bool counts_exactly;		/* their instructions */
};
/* Takes `conf`, on failure too. One world at a time in a process. */
struct world *world_new(struct conf *conf, const struct world_conf *wc, struct err *err);
void world_free(struct world *w);
/* The configuration of a bundle's folder: gateway.lua in it, or a small one for its policy.lua. `over`, Lua
 * text of a table or NULL, is laid over it. NULL with `err`. */
struct conf *world_conf_load(const char *dir, const char *over, struct err *err);
/* For tests: databases that are no files of the folder are not asked; what they say has to be said. */
void world_conf_own_databases(struct conf *c, const char *dir);
struct book *world_book(struct world *w);
struct peer **world_peers(struct world *w);
struct guest **world_guests(struct world *w);
const struct conf *world_configuration(struct world *w);
struct policy_gen *world_generation(struct world *w);
struct policy *world_policy(struct world *w);
struct worker *world_worker(struct world *w);
struct store *world_store(struct world *w);
struct deliver *world_deliver(struct world *w);
/* Everything that can be done now is done; no time passes. */
void world_settle(struct world *w);
/* The same until done() says so, letting time pass up to max_ms. False: it did not. */
bool world_until(struct world *w, bool (*done)(void *arg), void *arg, int64_t max_ms);
/* Delivers what is due, letting time pass where an attempt waits for something. */
void world_run_queue(struct world *w);
void world_advance(struct world *w, int64_t ms);
int64_t world_now_ms(const struct world *w);
/* An answer of the store as JSON, NULL when there is none. */
json_t *world_query(struct world *w, enum store_verb verb, uint64_t id);
const struct seen *world_seen(const struct world *w, size_t i);	/* NULL at the end */
void world_forget_seen(struct world *w);
/* Notices that delivery made, oldest first; they are kept, not sent. */
struct msg *world_notice(const struct world *w, size_t i);
/* Their text or a message's: what lies in the queue. Heap. */
char *world_content(struct world *w, uint64_t id, size_t *n_out);
const char *world_log(const struct world *w);	/* lines of policies that failed and the like */

#endif
