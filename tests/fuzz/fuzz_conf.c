/* The text of gateway.lua: any text gives a configuration or problems, never both or neither. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "conf/conf_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *errors = NULL, *dump, *again;
	struct conf *c, *d;
	json_t *root;

	clock_fake(1, INT64_C(1800000000000));	/* no time limit, and dates that stay */
	c = conf_load_text((const char *)data, n, "gateway.lua", "/srv/gw", false, &errors);
	MUST((c == NULL) == (errors != NULL));
	if (c != NULL) {
		conf_domain(c, "a.b.example");
		free(conf_audit(c, false));
		dump = conf_dump(c);
		root = json_loads(dump, 0, NULL);
		MUST(root != NULL);
		d = conf_load_json(root, "/elsewhere", false, &errors);
		MUST(d != NULL);
		again = conf_dump(d);
		MUST(strcmp(dump, again) == 0);
		free(again);
		free(dump);
		json_decref(root);
		conf_unref(d);
	}
	conf_unref(c);
	free(errors);
	return 0;
}
