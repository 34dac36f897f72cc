/* Apart from the rest: who watches has no engine. */
#include "config.h"

#include <string.h>
#include <strings.h>

#include "policy/trace.h"

bool
trace_filter_fits(const struct trace_filter *f, const char *ip, const char *domain, const char *handler)
{
	return (f->ip[0] == '\0' || strcmp(f->ip, ip) == 0) &&
	    (f->domain[0] == '\0' || strcasecmp(f->domain, domain) == 0) &&
	    (f->handler[0] == '\0' || strcmp(f->handler, handler) == 0);
}
