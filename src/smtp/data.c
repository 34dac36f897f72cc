/* The end of a DATA stream and its dot-stuffing (RFC 5321 4.1.1.4, 4.5.2). Only CRLF ends a line,
 * so only CRLF.CRLF ends the data (M-30, M-31, X-1): a dot behind a lone CR or LF is text. The
 * result does not depend on how the octets were cut into reads. */
#include "config.h"

#include <string.h>

#include "smtp/smtp_int.h"

void
smtp_data_init(struct smtp_data *d)
{
	d->at = DATA_LINE_START;
}

size_t
smtp_data_feed(struct smtp_data *d, struct slice in,
    void (*sink)(void *arg, const char *p, size_t n), void *arg, bool *done_out)
{
	const char *p = in.p, *lf;
	size_t i = 0, run = 0;	/* [run, i) is text not yet given away */

	*done_out = false;
	while (i < in.n) {
		switch (d->at) {
		case DATA_TEXT:
			lf = memchr(p + i, '\n', in.n - i);
			if (lf == NULL) {
				d->at = p[in.n - 1] == '\r' ? DATA_CR : DATA_TEXT;
				i = in.n;
				break;
			}
			/* A CR at the end of the last read would have left us in DATA_CR. */
			d->at = lf > p + i && lf[-1] == '\r' ? DATA_LINE_START : DATA_TEXT;
			i = (size_t)(lf - p) + 1;
			break;
		case DATA_CR:
			if (p[i] == '\n')
				d->at = DATA_LINE_START;
			else if (p[i] != '\r')
				d->at = DATA_TEXT;
			i++;
			break;
		case DATA_LINE_START:
			if (p[i] != '.') {
				d->at = DATA_TEXT;
				break;
			}
			if (i > run)
				sink(arg, p + run, i - run);
			run = ++i;
			d->at = DATA_DOT;
			break;
		case DATA_DOT:	/* the dot itself is dropped, whatever follows (M-38) */
			d->at = DATA_TEXT;
			if (p[i] == '\r') {
				run = ++i;
				d->at = DATA_DOT_CR;
			}
			break;
		case DATA_DOT_CR:	/* this CR was held back */
			if (p[i] == '\n') {
				*done_out = true;
				smtp_data_init(d);
				return i + 1;
			}
			sink(arg, "\r", 1);
			d->at = DATA_CR;
			break;
		}
	}
	if (i > run)
		sink(arg, p + run, i - run);
	return i;
}
