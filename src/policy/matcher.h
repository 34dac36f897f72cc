/* Matchers: conditions over a policy_subject, compiled when a bundle loads and evaluated in C.
 * Immutable and counted; one worker's, so the count is plain. What a matcher looks at must exist
 * at the hook it is used for: that is checked at load (matcher_fits), not found out with mail. */
#ifndef POLICY_MATCHER_H
#define POLICY_MATCHER_H

#include "policy/view.h"

enum match_op {
	MATCH_ALL, MATCH_ANY, MATCH_NO,
	MATCH_LISTENER, MATCH_LISTENER_ROLE, MATCH_CLIENT_IP, MATCH_HELO, MATCH_TLS_INBOUND, MATCH_AUTH,
	MATCH_SENDER, MATCH_SENDER_DOMAIN, MATCH_RCPT, MATCH_RCPT_DOMAIN,
	MATCH_SUBJECT_WORD, MATCH_HEADER, MATCH_HAS_HEADER,
	MATCH_TAG, MATCH_ATTACHMENT, MATCH_SIZE_OVER, MATCH_DIRECTION, MATCH_REQUIRETLS, MATCH_TLS_REQUIRED_NO,
	MATCH_TIME, MATCH_LUA,
	MATCH_OPS
};

/* What its constructor takes. */
enum match_shape {
	SHAPE_KIDS,		/* a list of matchers */
	SHAPE_KID,		/* one matcher */
	SHAPE_WORDS,		/* one string, several, or a list of them */
	SHAPE_NAME_WORDS,	/* a header's name, then strings or nothing */
	SHAPE_OPT_WORDS,	/* nothing or strings */
	SHAPE_SIZE,		/* octets, or "10M" */
	SHAPE_NONE,
	SHAPE_TIME,
	SHAPE_FUNCTION,
};
struct match_args {
	enum match_op op;
	struct matcher *const *kids;
	size_t nkids;
	const char *const *words;
	size_t nwords;
	const char *name;	/* of a header */
	uint64_t size;
	/* time */
	const char *days, *from, *to;	/* "mon-fri,sun", "08:00", "18:30"; NULL: all */
	bool utc;
	int fn_ref;		/* lua: view->call gets it */
};

struct matcher;
const char *match_op_name(enum match_op op);		/* "subject_word" */
enum match_shape match_op_shape(enum match_op op);
/* NULL with a sentence. Takes references of its own to the kids. */
struct matcher *matcher_new(const struct match_args *a, struct err *err);
struct matcher *matcher_ref(struct matcher *m);
void matcher_unref(struct matcher *m);			/* NULL is fine */
bool matcher_is_about_parts(const struct matcher *m);	/* itself, or one in it */
/* May it be used at this hook? The sentence says what is not known there. */
bool matcher_fits(const struct matcher *m, enum policy_hook hook, struct err *err);
enum match_result { MATCH_NOT, MATCH_YES, MATCH_FAILED };	/* FAILED: the header cannot be read, a function failed */
enum match_result matcher_eval(const struct matcher *m, struct policy_view *v);

/* "any { subject_word \"[secure]\", tag \"x\" }", for explain and logs. Heap. */
char *matcher_text(const struct matcher *m);
/* For one that holds: the parts that make it hold, one a line. Functions are not called again. Heap. */
char *matcher_reason(const struct matcher *m, struct policy_view *v);

/* Is this a header field name (RFC 5322 3.6.8)? */
bool policy_header_name_is_valid(struct slice name);
/* "10M", "64K", "1G" or digits: octets. */
bool matcher_size_parse(struct slice text, uint64_t *out);

#endif
