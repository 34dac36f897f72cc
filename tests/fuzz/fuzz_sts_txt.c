/* TXT records at _mta-sts: records are cut at NUL. Whatever they hold, an id is 1 to 32 letters and
 * digits, and there is one only where exactly one record announces a policy (S-04, S-05). */
#include "config.h"

#include <string.h>

#include "trust/sts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice txt[8], rest = { (const char *)data, n };
	char id[STS_ID_SIZE];
	size_t ntxt = 0, announcing = 0;

	while (ntxt < NELEMS(txt) && slice_cut(&rest, '\0', &txt[ntxt])) {
		announcing += txt[ntxt].n >= 8 && memcmp(txt[ntxt].p, "v=STSv1", 7) == 0;
		ntxt++;
	}
	if (sts_txt_id(txt, ntxt, id) != STS_TXT_ID) {
		MUST(id[0] == '\0');
		return 0;
	}
	MUST(announcing >= 1 && strlen(id) >= 1 && strlen(id) <= 32);
	for (const char *p = id; *p != '\0'; p++)
		MUST((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'));
	return 0;
}
