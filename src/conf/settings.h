/* Settings as JSON, for those who compare configurations. */
#ifndef CONF_SETTINGS_H
#define CONF_SETTINGS_H

#include <jansson.h>

#include "conf/conf.h"

/* {"queue.retry": {"value": ..., "restart": false}, ...}, defaults filled in; paths below the configuration's
 * directory are relative to it. A new reference. */
json_t *conf_settings(const struct conf *c);
/* [{"setting", "from", "to", "restart"}] of two of these; null where one has it not. */
json_t *conf_settings_diff(const json_t *a, const json_t *b);
/* Those that a reload from one to the other would leave as they are: "service.workers, log.level". Heap; NULL:
 * none. */
char *conf_needs_restart(const struct conf *running, const struct conf *wanted);

#endif
