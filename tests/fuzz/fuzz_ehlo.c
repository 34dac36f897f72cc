/* What an EHLO reply says. REQUIRETLS counts only when a line is that word and nothing else:
 * found here with string functions alone. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "smtp/client_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Does one of the lines behind the first begin with the word, and (`alone`) end with it? */
static bool
reference_lists(const char *text, const char *word, bool alone)
{
	char *copy = xstrdup(text), *rest = copy, *line = strsep(&rest, "\n");
	bool found = false;

	while ((line = strsep(&rest, "\n")) != NULL) {
		size_t n = strlen(word), tail;

		line += strspn(line, " \t");
		if (strncasecmp(line, word, n) != 0)
			continue;
		tail = strspn(line + n, " \t");
		if (line[n + tail] == '\0' || (!alone && line[n] == ' '))
			found = true;
	}
	free(copy);
	return found;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct smtp_client_info info = { .ext = ~0u, .size_max = 7, .rcpt_max = 7, .mail_max = 7,
		.rcpt_domain_max = 7 };
	char *text = xstrndup((const char *)data, n);

	client_read_ehlo(&info, (struct slice){ (const char *)data, n });
	MUST((info.ext & ~1023u) == 0);
	MUST(info.rcpt_max <= 999999 && info.mail_max <= 999999 && info.rcpt_domain_max <= 999999);
	MUST((info.ext & SMTP_EXT_SIZE) != 0 || info.size_max == 0);
	MUST((info.ext & SMTP_EXT_LIMITS) != 0 || (info.rcpt_max | info.mail_max) == 0);
	if (memchr(data, '\0', n) == NULL) {
		MUST(((info.ext & SMTP_EXT_REQUIRETLS) != 0) == reference_lists(text, "REQUIRETLS", true));
		MUST(((info.ext & SMTP_EXT_STARTTLS) != 0) == reference_lists(text, "STARTTLS", false));
	}
	free(text);
	return 0;
}
