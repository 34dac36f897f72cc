/* TXT records at _smtp._tls: records are cut at NUL. Whatever they hold, what is to be used is few, short
 * and printable, and there is some only where exactly one record announces reports (T-02, T-30). */
#include "config.h"

#include <string.h>

#include "tlsrpt/txt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice txt[8], rest = { (const char *)data, n };
	struct rua_list list;
	size_t ntxt = 0;

	while (ntxt < NELEMS(txt) && slice_cut(&rest, '\0', &txt[ntxt]))
		ntxt++;
	if (tlsrpt_txt_parse(txt, ntxt, &list) != TLSRPT_TXT_FOUND) {
		MUST(list.n == 0);
		return 0;
	}
	MUST(list.n >= 1 && list.n <= RUA_MAX);
	for (size_t i = 0; i < list.n; i++) {
		const struct rua *r = &list.rua[i];

		MUST(ascii_is_printable(r->to, strlen(r->to)) && r->domain[0] != '\0');
		MUST(r->kind == RUA_MAIL ? strchr(r->to, '@') != NULL :
		    strncmp(r->to, "https://", 8) == 0 && strchr(r->to, ' ') == NULL && r->port != 0);
	}
	rua_list_fini(&list);
	return 0;
}
