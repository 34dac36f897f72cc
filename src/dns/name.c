/* Domain names as text: what may be asked for, IDNA, reverse names. */
#include "config.h"

#include <idn2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "dns/dns_int.h"

static bool
is_label_octet(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	    c == '-' || c == '_';
}

/* Copies in lower case without the final dot. RFC 1035 2.3.4: labels of 1 to 63 octets, 253 as
 * text. `extra`: one more octet that may stand in a label (the slash of RFC 2317). */
static bool
plain_name(char dst[256], const char *p, size_t n, char extra)
{
	size_t i, label = 0;

	if (n > 0 && p[n - 1] == '.')
		n--;
	if (n == 0 || n > 253)
		return false;
	for (i = 0; i < n; i++) {
		char c = p[i];

		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
		} else if (!is_label_octet(c) && (extra == '\0' || c != extra)) {
			return false;
		} else if (++label > 63) {
			return false;
		}
		dst[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
	}
	dst[n] = '\0';
	return label > 0;
}

bool
dns_name_check(char dst[256], const char *name)
{
	if (strcmp(name, ".") == 0) {
		memcpy(dst, ".", 2);
		return true;
	}
	return plain_name(dst, name, strnlen(name, 256), '/');
}

/* The domain of a mail address has no label that begins or ends with a hyphen (RFC 5321 4.1.2);
 * underscores are not allowed there either, but exist. */
static bool
has_odd_hyphen(const char *name)
{
	size_t n = strlen(name);

	return name[0] == '-' || name[n - 1] == '-' || strstr(name, ".-") != NULL ||
	    strstr(name, "-.") != NULL;
}

bool
dns_to_ascii(char dst[256], struct slice name)
{
	uint8_t *ascii = NULL;
	char *text;
	size_t i;
	bool ok = false;

	for (i = 0; i < name.n && (unsigned char)name.p[i] < 0x80; i++)
		;
	/* ASCII needs no table: most names, and A-labels as they are. */
	if (i == name.n)
		return plain_name(dst, name.p, name.n, '\0') && !has_odd_hyphen(dst);
	if (name.n > 1000 || !utf8_is_valid(name.p, name.n) || memchr(name.p, '\0', name.n) != NULL)
		return false;
	text = slice_dup(name);
	if (idn2_lookup_u8((const uint8_t *)text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK)
		ok = plain_name(dst, (char *)ascii, strlen((char *)ascii), '\0') && !has_odd_hyphen(dst);
	idn2_free(ascii);
	free(text);
	return ok;
}

void
dns_to_unicode(char *dst, size_t size, const char *ascii)
{
	char *text = NULL, back[256];

	if (size == 0)
		return;
	/* Only when it comes back as the same name: what cannot is shown in the form that is safe. */
	if (strstr(ascii, "xn--") != NULL && idn2_to_unicode_8z8z(ascii, &text, 0) == IDN2_OK &&
	    strlen(text) < size && dns_to_ascii(back, slice_of(text)) && strcmp(back, ascii) == 0)
		memcpy(dst, text, strlen(text) + 1);
	else
		snprintf(dst, size, "%s", ascii);
	idn2_free(text);
}

void
dns_reverse_name(char dst[80], int family, const void *ip)
{
	const uint8_t *p = ip;
	char *out = dst;
	int i;

	if (family == AF_INET) {
		snprintf(dst, 80, "%u.%u.%u.%u.in-addr.arpa", p[3], p[2], p[1], p[0]);
		return;
	}
	MUST(family == AF_INET6);
	for (i = 15; i >= 0; i--) {	/* RFC 3596 2.5 */
		*out++ = "0123456789abcdef"[p[i] & 15];
		*out++ = '.';
		*out++ = "0123456789abcdef"[p[i] >> 4];
		*out++ = '.';
	}
	memcpy(out, "ip6.arpa", 9);
}
