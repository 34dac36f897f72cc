/* A stored route: what is read is written the same way, and vouches for nothing. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "conf/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *json = xstrndup((const char *)data, n), *one, *two;
	struct err err = { "" };
	struct route *r = route_from_json(json, &err), *again;

	MUST((r == NULL) == (err.text[0] != '\0'));
	if (r != NULL) {
		MUST(!r->assert_secure_lookup && !r->assert_propagate);
		one = route_to_json(r);
		again = route_from_json(one, &err);
		MUST(again != NULL);
		two = route_to_json(again);
		MUST(strcmp(one, two) == 0);
		free(one);
		free(two);
		route_free(again);
	}
	route_free(r);
	free(json);
	return 0;
}
