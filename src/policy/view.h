/* What one run of a chain may look at, read at most once: the header section as it stands with the
 * edits made so far, its fields decoded, and their text folded for comparison. */
#ifndef POLICY_VIEW_H
#define POLICY_VIEW_H

#include "policy/policy.h"

struct policy_view {
	struct policy_subject *s;
	struct header header;
	enum { VIEW_UNREAD, VIEW_READ, VIEW_NONE } state;
	size_t edits;		/* of msg->edits that `header` shows */
	char *rendered;		/* heap, when there are edits */
	char **decoded;		/* for each field, NULL until asked for */
	char **folded;
	struct mime *mime;	/* heap, of what is in memory of the body; NULL until asked for */
	size_t nth, nth_at;	/* the recipient that was found last, see obj_set.c */
	const struct conf *conf;	/* for roles of listeners that are gone; NULL: unknown */
	/* For matchers that are Lua functions: 1, 0, -1; set by who evaluates. */
	int (*call)(void *owner, int ref);
	void *owner;
};
void view_init(struct policy_view *v, struct policy_subject *s);
void view_fini(struct policy_view *v);
/* The parts of the message as it came, as far as it is in memory; NULL when this hook has no body. */
const struct mime *view_mime(struct policy_view *v);
/* The header now; NULL when this hook has none. Fields move when an edit was made in between. */
const struct header *view_header(struct policy_view *v);
/* Unfolded and decoded to UTF-8 (RFC 2047); the view's. `i` indexes view_header()->fields. */
const char *view_decoded(struct policy_view *v, size_t i);
/* That text for comparison, see text_fold; the view's. */
const char *view_folded(struct policy_view *v, size_t i);

/* Lower case (ASCII, Latin, Greek, Cyrillic), white space runs as one space and none at the ends,
 * invisible characters gone. Heap. */
char *text_fold(const char *s);
/* `*` any run, `?` one character; both sides folded. */
bool text_glob(const char *pattern, const char *text);
/* Both folded: is `word` in `text`, not as a part of a longer word? Only an end of `word` that is a
 * letter or digit must be a word's end in `text`: "[secure]" is found anywhere. */
bool text_has_word(const char *text, const char *word);

#endif
