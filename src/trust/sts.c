#include "config.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "trust/sts.h"

static bool
is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

static bool
is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Of a field in either text: sts-ext-name of RFC 8461. */
static bool
is_field_name(struct slice s)
{
	if (s.n == 0 || s.n > 32 || !is_alnum(s.p[0]))
		return false;
	for (size_t i = 1; i < s.n; i++)
		if (!is_alnum(s.p[i]) && s.p[i] != '_' && s.p[i] != '-' && s.p[i] != '.')
			return false;
	return true;
}

/* ---- The TXT record ---- */

/* What follows "v=STSv1" and a semicolon, before which there may be white space: the grammar has it,
 * the rule for what to discard does not, and we go by the grammar (S-06). */
static bool
announces(struct slice txt, struct slice *rest)
{
	size_t at = 7;

	if (txt.n < 8 || memcmp(txt.p, "v=STSv1", 7) != 0)
		return false;
	while (at < txt.n && is_wsp(txt.p[at]))
		at++;
	if (at >= txt.n || txt.p[at] != ';')
		return false;
	*rest = (struct slice){ txt.p + at + 1, txt.n - at - 1 };
	return true;
}

static bool
take_id(struct slice value, char id[STS_ID_SIZE])
{
	if (value.n == 0 || value.n >= STS_ID_SIZE)
		return false;
	for (size_t i = 0; i < value.n; i++)
		if (!is_alnum(value.p[i]))
			return false;
	memcpy(id, value.p, value.n);
	id[value.n] = '\0';
	return true;
}

static bool
is_txt_value(struct slice v)
{
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] < 0x21 || v.p[i] > 0x7E || v.p[i] == '=')
			return false;
	return v.n > 0;
}

static bool
read_fields(struct slice rest, char id[STS_ID_SIZE])
{
	struct slice field, name;

	id[0] = '\0';
	while (slice_cut(&rest, ';', &field)) {
		field = slice_trim(field);
		if (field.n == 0 && rest.p == NULL)
			break;		/* the last semicolon ends the record */
		if (memchr(field.p, '=', field.n) == NULL || !slice_cut(&field, '=', &name) ||
		    !is_field_name(name))
			return false;
		if (slice_is(name, "id") ? id[0] == '\0' && !take_id(field, id) : !is_txt_value(field))
			return false;
	}
	return id[0] != '\0';
}

enum sts_txt
sts_txt_id(const struct slice *txt, size_t n, char id_out[STS_ID_SIZE])
{
	struct slice found = { NULL, 0 }, rest;
	size_t nfound = 0;

	id_out[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		if (announces(txt[i], &rest)) {
			found = rest;
			nfound++;
		}
	}
	if (nfound == 0)
		return STS_TXT_NONE;
	if (nfound == 1 && read_fields(found, id_out))
		return STS_TXT_ID;
	id_out[0] = '\0';
	return STS_TXT_BROKEN;
}

/* ---- The policy ---- */

void
sts_policy_fini(struct sts_policy *p)
{
	for (size_t i = 0; i < p->nmx; i++)
		free(p->mx[i]);
	free(p->mx);
	memset(p, 0, sizeof *p);
}

/* A name of ASCII labels, and "*" as its whole first label. U-labels are no names here (S-44). */
static bool
take_mx(struct sts_policy *p, struct slice v)
{
	size_t label = 0, from = v.n > 2 && v.p[0] == '*' && v.p[1] == '.' ? 2 : 0;
	char *mx;

	if (v.n == 0 || v.n > 255 || p->nmx >= STS_MX_MAX)
		return false;
	for (size_t i = from; i < v.n; i++) {
		if (v.p[i] == '.') {
			if (label == 0)
				return false;
			label = 0;
			continue;
		}
		if ((!is_alnum(v.p[i]) && v.p[i] != '-' && v.p[i] != '_') || ++label > 63)
			return false;
	}
	if (label == 0)
		return false;
	mx = slice_dup(v);
	for (char *c = mx; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c += 'a' - 'A';
	/* 64 KiB of text bound this: it grows by doubling. */
	if ((p->nmx & (p->nmx - 1)) == 0)
		p->mx = xrealloc(p->mx, (p->nmx == 0 ? 1 : p->nmx * 2) * sizeof *p->mx);
	p->mx[p->nmx++] = mx;
	return true;
}

static bool
take_mode(struct sts_policy *p, struct slice v)
{
	static const char *const modes[] = { [STS_NONE] = "none", [STS_TESTING] = "testing",
		[STS_ENFORCE] = "enforce" };

	for (size_t i = 0; i < NELEMS(modes); i++) {
		if (slice_is(v, modes[i])) {
			p->mode = (enum sts_mode)i;
			return true;
		}
	}
	return false;
}

static bool
take_max_age(struct sts_policy *p, struct slice v)
{
	uint64_t n;

	if (v.n == 0 || v.n > 10 || !slice_u64(v, &n))
		return false;
	p->max_age_s = n > (uint64_t)STS_MAX_AGE ? STS_MAX_AGE : (int64_t)n;
	return true;
}

static bool
has_control(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7F)
			return true;
	return false;
}

enum { HAS_VERSION = 1, HAS_MODE = 2, HAS_MAX_AGE = 4, HAS_ALL = 7 };

/* S-08: of a field that comes twice the first counts, `mx` apart. */
static bool
take_field(struct sts_policy *p, struct slice name, struct slice v, unsigned *seen)
{
	unsigned bit = slice_is(name, "version") ? HAS_VERSION : slice_is(name, "mode") ? HAS_MODE :
	    slice_is(name, "max_age") ? HAS_MAX_AGE : 0;

	if (slice_is(name, "mx"))
		return take_mx(p, v);
	if (bit == 0 || (*seen & bit) != 0)
		return true;		/* S-07 */
	*seen |= bit;
	return bit == HAS_VERSION ? slice_is(v, "STSv1") : bit == HAS_MODE ? take_mode(p, v) :
	    take_max_age(p, v);
}

bool
sts_policy_parse(struct slice text, struct sts_policy *out, struct err *err)
{
	struct slice line, name;
	unsigned seen = 0, number = 0;

	memset(out, 0, sizeof *out);
	if (text.n > STS_TEXT_MAX) {
		err_set(err, "longer than %u octets", STS_TEXT_MAX);
		return false;
	}
	while (slice_cut(&text, '\n', &line)) {
		number++;
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		line = slice_trim(line);
		if (line.n == 0)
			continue;
		if (has_control(line) || memchr(line.p, ':', line.n) == NULL ||
		    !slice_cut(&line, ':', &name) || !is_field_name(name) ||
		    !take_field(out, name, slice_trim(line), &seen)) {
			err_set(err, "line %u is not what RFC 8461 section 3.2 allows", number);
			sts_policy_fini(out);
			return false;
		}
	}
	if (seen == HAS_ALL && (out->nmx > 0 || out->mode == STS_NONE))
		return true;
	err_set(err, "%s is missing", !(seen & HAS_VERSION) ? "version" : !(seen & HAS_MODE) ? "mode" :
	    !(seen & HAS_MAX_AGE) ? "max_age" : "mx");
	sts_policy_fini(out);
	return false;
}

bool
sts_policy_has(const struct sts_policy *p, const char *host)
{
	const char *dot = strchr(host, '.');

	for (size_t i = 0; i < p->nmx; i++) {
		const char *mx = p->mx[i];

		if (mx[0] == '*' ? dot != NULL && dot != host && strcasecmp(mx + 1, dot) == 0 :
		    strcasecmp(mx, host) == 0)
			return true;
	}
	return false;
}

/* ---- Publishing ---- */

#define ID_OCTETS 10u

char *
sts_policy_text(enum sts_mode mode, int64_t max_age_s, char *const *mx, size_t nmx)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	buf_printf(&b, "version: STSv1\r\nmode: %s\r\n", sts_mode_name(mode));
	for (size_t i = 0; i < nmx; i++)
		buf_printf(&b, "mx: %s\r\n", mx[i]);
	buf_printf(&b, "max_age: %lld\r\n", (long long)max_age_s);
	return buf_take(&b);
}

void
sts_policy_id(char id_out[STS_ID_SIZE], const char *text)
{
	uint8_t digest[EVP_MAX_MD_SIZE];

	MUST(EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL) == 1);
	hex_encode(id_out, digest, ID_OCTETS);
}
