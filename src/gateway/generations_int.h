/* What the files of generations share: the list, and what is known of each. */
#ifndef GATEWAY_GENERATIONS_INT_H
#define GATEWAY_GENERATIONS_INT_H

#include "gateway/generations.h"

#define GEN_SLICES 6		/* of a minute, for errors in it */

enum gen_state { GEN_LOADED, GEN_CHECKED, GEN_CANARY, GEN_ACTIVE, GEN_DRAINING, GEN_RETIRED };
extern const char *const generation_states[];	/* their names */

struct failing {		/* one handler's errors */
	struct failing *next;
	char name[64];
	int64_t slice;			/* the newest, in 10 s */
	unsigned n[GEN_SLICES];
};
struct entry {
	TAILQ_ENTRY(entry) link;
	uint64_t num;
	enum gen_state state;
	struct gen_shared *shared;
	struct setup *setup;		/* NULL once it can no longer come back */
	char *file, *by;
	char *restart;			/* settings that differ from those of the start and need one; NULL */
	const struct entry *before;	/* whose place it took; NULL none, or no longer known */
	bool is_back;			/* by a rollback */
	int64_t loaded_ms, active_ms, ended_ms;	/* wall; 0 not yet */
	int64_t active_mono_ms;
	int64_t drain_until_ms, canary_until_ms;	/* mono; 0 none */
	bool is_cut;			/* its sessions were told to end */
	json_t *canary;			/* which sessions, as it was asked for */
	struct failing *failing;
	unsigned nfailing;
	int64_t degraded_ms;
	char degraded_by[64];
};
struct generations {
	struct crew *crew;
	struct mailbox *mb;
	const struct generations_ops *ops;
	void *owner;
	char *conf_file;
	struct conf *at_start;		/* what the daemon was started with */
	bool is_confined, is_closing;
	TAILQ_HEAD(entries, entry) entries;	/* oldest first */
	struct entry *active;
	uint64_t last;
	struct event *tick;
};

/* ---- generations.c ---- */
struct entry *generation_numbered(const struct generations *g, uint64_t num);	/* NULL: there is none */
/* An order to all workers about one generation, which is waited for. */
bool generation_tell(struct generations *g, enum order_kind what, uint64_t num);
void generation_watch(struct generations *g);		/* something ends by itself: look every second */
void generation_end_canary(struct generations *g, const char *why);
/* Activates the one whose place the active one took, as a new one. NULL with err. */
struct entry *generation_roll_back(struct generations *g, const char *by, struct err *err);
/* ---- generations_canary.c ---- */
bool generation_start_canary(struct generations *g, struct entry *e, const json_t *args, const char *by,
    struct err *err);
/* ---- generations_show.c: as the answers to requests have it ---- */
json_t *generation_json(const struct generations *g, const struct entry *e);
json_t *generation_list(struct generations *g);
json_t *generation_describe(const struct entry *e, struct err *err);	/* settings, files and handlers */
json_t *generation_files(const struct entry *e, struct err *err);	/* all of it, to be made again elsewhere */

#endif
