/* The daemon's threads and what ties the parts together: start-up, workers, reception, reload and
 * shutdown. (An addition to the folders of the design: start-up alone is sallyportd.c, and the
 * glue between session, policy, store and delivery needs a place that is none of theirs.)
 *
 * The main thread owns signals, reload and the control socket; each worker owns its event base and
 * all that runs on it. A `setup` is everything that one reading of the configuration made: it is
 * immutable and shared; a `generation` is a setup compiled in one worker, and sessions and
 * attempts keep the one they began with. */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "base/base.h"

/* Runs the daemon in the foreground until SIGTERM or SIGINT. Exit status: 0 stopped as asked, 1 it
 * could not start or had to give up; messages are in the log. */
int gateway_run(const char *conf_file);

#endif
