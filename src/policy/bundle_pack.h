/* A bundle on its way to another process: what the daemon has in memory may no longer be on any disk. */
#ifndef POLICY_BUNDLE_PACK_H
#define POLICY_BUNDLE_PACK_H

#include <jansson.h>

#include "policy/policy.h"

/* {"id", "config", "files": [{"path", "module", "order", "is_lib", "text"}]}; a text that JSON cannot hold is
 * {"hex"}. Data tables are not in it. */
json_t *policy_bundle_pack(const struct policy_bundle *b);
/* The text of gateway.lua. Heap; NULL: there is none. */
char *policy_bundle_packed_config(const json_t *packed, size_t *n_out);
/* `conf` is made from that text; its tables are read as they are now. One reference; NULL with err. */
struct policy_bundle *policy_bundle_unpack(const json_t *packed, const struct conf *conf, struct err *err);

#endif
