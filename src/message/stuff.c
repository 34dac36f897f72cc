/* Dot-stuffing (RFC 5321 4.5.2, M-38): a line that begins with a dot gets one more. */
#include "config.h"

#include <string.h>

#include "message/message_int.h"

/* Octets up to and including the next LF after which a dot stands, or n. What comes back can be
 * copied as it is; glibc's memmem is slower here than looking for LF. */
static size_t
plain_run(const char *p, size_t n)
{
	const char *at = p, *end = p + n;

	while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
		at++;
		if (at == end || *at == '.')
			break;
	}
	return at == NULL ? n : (size_t)(at - p);
}

bool
dot_stuff(struct buf *out, const char *p, size_t n, bool *at_line_start)
{
	while (n > 0) {
		size_t run;

		if (*at_line_start && *p == '.' && !buf_addc(out, '.'))
			return false;
		/* The first octet is dealt with, whatever it is, and so is any line start before
		 * the run's end. */
		run = plain_run(p, n);
		if (!buf_add(out, p, run))
			return false;
		*at_line_start = p[run - 1] == '\n';
		p += run;
		n -= run;
	}
	return true;
}
