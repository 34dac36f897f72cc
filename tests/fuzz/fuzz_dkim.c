/* Signatures that strangers wrote, and keys that strangers published: any header, any body, any key. Whatever
 * they hold, each signature has a word for how it ended, and "pass" only with the key that was given. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/dkim_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct slice
cut(struct slice *rest)
{
	const char *nul = memchr(rest->p, '\0', rest->n);
	struct slice first = { rest->p, nul == NULL ? rest->n : (size_t)(nul - rest->p) };

	rest->p += first.n + (nul != NULL);
	rest->n -= first.n + (nul != NULL);
	return first;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice rest = { (const char *)data, n }, how = cut(&rest), key = cut(&rest), header = cut(&rest);
	struct dkim_check *c;
	struct dkim_result r;
	struct err err;

	c = dkim_check_new(header, &err);
	if (c == NULL)
		return 0;
	MUST(dkim_check_count(c) <= DKIM_CHECKS_MAX);
	for (size_t i = 0; i < dkim_check_count(c); i++) {
		const char *name = dkim_check_name(c, i);

		MUST(name == NULL || (strlen(name) <= 253 && strstr(name, "._domainkey.") != NULL &&
		    ascii_is_printable(name, strlen(name)) && strchr(name, ' ') == NULL));
		dkim_check_key(c, i, how.n > i ? (enum dkim_key_state)((unsigned char)how.p[i] % 3) : DKIM_KEY_FOUND, key, true);
	}
	for (size_t at = 0; at < rest.n; at += 7)
		dkim_check_add(c, rest.p + at, rest.n - at < 7 ? rest.n - at : 7);
	if (how.n == 0 || how.p[0] != 'x')
		dkim_check_end(c);
	for (size_t i = 0; i < dkim_check_count(c); i++) {
		dkim_check_result(c, i, &r);
		MUST(r.result != NULL && (r.reason == NULL) == (strcmp(r.result, "pass") == 0));
		MUST(strcmp(r.result, "pass") != 0 || (key.n > 0 && r.bits >= 1024));
	}
	dkim_check_free(c);
	return 0;
}
