/* What matchers do with text from the network: folding, words, globs, sets of domains and addresses.
 * First line: the pattern; the rest: the text. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/names.h"
#include "policy/view.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nl = size == 0 || size > 4096 ? NULL : memchr(data, '\n', size);
	struct address_set set;
	char *pattern, *text, *p, *t, *again;
	const char *form;

	if (nl == NULL)
		return 0;
	pattern = xstrndup((const char *)data, (size_t)(nl - data));
	text = xstrndup((const char *)nl + 1, size - (size_t)(nl - data) - 1);
	p = text_fold(pattern);
	t = text_fold(text);
	again = text_fold(t);
	/* Never longer, and a word is found in itself. */
	MUST(strlen(t) <= strlen(text) && strlen(again) <= strlen(t));
	MUST(*t == '\0' || text_has_word(t, t));
	MUST(text_glob("*", t));
	text_has_word(t, p);
	text_glob(p, t);
	form = pattern;
	if (address_set_init(&set, &form, 1, NULL)) {
		address_set_has(&set, slice_of(text));
		domain_set_has(&set.domains, slice_of(text));
		address_set_fini(&set);
	}
	free(pattern);
	free(text);
	free(p);
	free(t);
	free(again);
	return 0;
}
