#ifndef GATEWAY_PRIVILEGES_H
#define GATEWAY_PRIVILEGES_H

#include "base/base.h"

/* Makes the directory (0700) if it is not there, and gives it to the user when root runs this. One
 * that is there must be ours and closed to others. */
int privileges_own(const char *path, const char *user, struct err *err);
/* Makes `user` the owner, when root runs this. NULL path: nothing. */
int privileges_give(const char *path, const char *user, struct err *err);
/* From root to `user`, without capabilities, checked. NULL: stay. */
int privileges_drop(const char *user, struct err *err);
/* No core dumps, no new privileges, files private, as many descriptors as allowed. */
void privileges_harden(void);

#endif
