/* xtext (RFC 3461 section 4): printable ASCII, with everything else, "+" and "=" written as "+"
 * and two upper-case hexadecimal digits. */
#include "config.h"

#include "smtp/smtp.h"

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')	/* lower case is no hexchar there (M-131) */
		return c - 'A' + 10;
	return -1;
}

bool
xtext_decode(struct slice in, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		unsigned char c = (unsigned char)in.p[i];

		if (c < 0x21 || c > 0x7E || c == '=')
			return false;
		if (c == '+') {
			int hi, lo;

			if (in.n - i < 3)
				return false;
			hi = hex_value(in.p[i + 1]);
			lo = hex_value(in.p[i + 2]);
			if (hi < 0 || lo < 0)
				return false;
			c = (unsigned char)(hi << 4 | lo);
			/* "+0D+0A" and "+00" are what injection looks like. */
			if (c < 0x20 || c == 0x7F)
				return false;
			i += 2;
		}
		if (!buf_addc(out, (char)c))
			return false;
	}
	return true;
}

bool
xtext_encode(struct slice in, struct buf *out)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < in.n; i++) {
		unsigned char c = (unsigned char)in.p[i];

		if (c >= 0x21 && c <= 0x7E && c != '+' && c != '=') {
			if (!buf_addc(out, (char)c))
				return false;
		} else {
			const char three[3] = { '+', hex[c >> 4], hex[c & 15] };

			if (!buf_add(out, three, sizeof three))
				return false;
		}
	}
	return true;
}
