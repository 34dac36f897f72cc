/* What another policy would have done with the mail of a journal: each recorded call of a hook is done again by two
 * policies, and the outcomes are compared (doc/journal.md). The engine, the objects and the duties are those of the
 * daemon; nothing is looked up, sent or stored. What a policy asks for and the journal does not have is unknown, and
 * said to be.
 *
 * A message goes its way on each side for itself: duties, tags, vars and header edits that a side made at one hook are
 * there at its next, and not those of the policy that made the record. Mail that a side refuses ends there on that
 * side. Hooks that were never called because of what the recorded policy said stay uncalled: the first difference of a
 * message is certain, later ones follow from what is known. */
#ifndef REPLAY_REPLAY_H
#define REPLAY_REPLAY_H

#include <jansson.h>

#include "policy/journal.h"

struct replay;
/* Two policies, each with its configuration; borrowed. A: as it is, B: as it would be. */
struct replay *replay_new(struct conf *a, struct policy_bundle *ba, struct conf *b, struct policy_bundle *bb,
    struct err *err);
void replay_free(struct replay *r);
/* A journal, or its parts, oldest first. False when it cannot be read at all; lines that make no sense are counted. */
bool replay_journal(struct replay *r, const char *path, struct err *err);
/* Each file of a directory as a message that comes in now, with hooks connect, helo, mail, rcpt and
 * message. */
bool replay_corpus(struct replay *r, const char *dir, struct err *err);
/* {"calls", "messages", "lines_skipped", "unreproduced", "groups": [{"handler", "hook", "weaker", "changes":
 *  [{"what", "a", "b", "weaker", "count", "examples": [id...]}...]}...], "unknown": [{"handler", "side", "what", "count"}...],
 *  "changed": n, "weaker": n}: a new reference. */
json_t *replay_report(struct replay *r);

#endif
