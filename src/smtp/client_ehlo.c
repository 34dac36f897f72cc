/* What an EHLO reply says: the extensions we know, and LIMITS. */
#include "config.h"

#include <string.h>

#include "smtp/client_int.h"

static const struct keyword {
	const char *name;
	unsigned ext;
	bool bare;		/* listed only when nothing follows it */
} keywords[] = {
	{ "PIPELINING", SMTP_EXT_PIPELINING, false },
	{ "SIZE", SMTP_EXT_SIZE, false },
	{ "8BITMIME", SMTP_EXT_8BITMIME, false },
	{ "SMTPUTF8", SMTP_EXT_SMTPUTF8, false },
	{ "CHUNKING", SMTP_EXT_CHUNKING, false },
	{ "ENHANCEDSTATUSCODES", SMTP_EXT_ENHANCEDSTATUSCODES, false },
	{ "DSN", SMTP_EXT_DSN, false },
	{ "STARTTLS", SMTP_EXT_STARTTLS, false },
	/* the keyword has no parameters. What has some is not the promise we need. */
	{ "REQUIRETLS", SMTP_EXT_REQUIRETLS, true },
	{ "LIMITS", SMTP_EXT_LIMITS, false },
	{ "AUTH", SMTP_EXT_AUTH, false },
};

static bool
is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* RFC 9422 3: a name is letters, digits and "-", beginning with a letter or digit. */
static bool
is_limit_name(struct slice name)
{
	if (name.n == 0 || !is_alnum(name.p[0]))
		return false;
	for (size_t i = 1; i < name.n; i++) {
		if (!is_alnum(name.p[i]) && name.p[i] != '-')
			return false;
	}
	return true;
}

/* Six digits at most, the first not 0 (M-119). */
static bool
limit_value(struct slice text, unsigned *out)
{
	uint64_t v;

	if (text.n == 0 || text.n > 6 || text.p[0] == '0' || !slice_u64(text, &v))
		return false;
	*out = (unsigned)v;
	return true;
}

/* M-120: one limit with a bad value is ignored, a line that is not of the form is ignored whole. */
static void
read_limits(struct smtp_client_info *info, struct slice params)
{
	unsigned rcpt = 0, mail = 0, domain = 0;
	struct slice item, name, value;

	while (slice_cut(&params, ' ', &item)) {
		value = item;
		if (!slice_cut(&value, '=', &name) || !is_limit_name(name))
			return;
		if (slice_is_nocase(name, "RCPTMAX"))
			limit_value(value, &rcpt);
		else if (slice_is_nocase(name, "MAILMAX"))
			limit_value(value, &mail);
		else if (slice_is_nocase(name, "RCPTDOMAINMAX"))
			limit_value(value, &domain);
	}
	info->rcpt_max = rcpt;
	info->mail_max = mail;
	info->rcpt_domain_max = domain;
}

static void
read_auth(struct smtp_client_info *info, struct slice params)
{
	struct slice name;

	text_escape(info->auth_listed, sizeof info->auth_listed, params.p, params.n, true);
	info->auth = 0;
	while (slice_cut(&params, ' ', &name)) {
		if (slice_is_nocase(name, "PLAIN"))
			info->auth |= SMTP_LOGIN_PLAIN;
		else if (slice_is_nocase(name, "LOGIN"))
			info->auth |= SMTP_LOGIN_LOGIN;
	}
}

static void
read_keyword(struct smtp_client_info *info, struct slice line)
{
	struct slice params = slice_trim(line), word;

	if (!slice_cut(&params, ' ', &word))
		return;
	params = slice_trim(params);
	for (size_t i = 0; i < NELEMS(keywords); i++) {
		const struct keyword *k = &keywords[i];

		if (!slice_is_nocase(word, k->name) || (k->bare && params.n > 0))
			continue;
		info->ext |= k->ext;
		if (k->ext == SMTP_EXT_SIZE && !slice_u64(params, &info->size_max))
			info->size_max = 0;
		else if (k->ext == SMTP_EXT_LIMITS)
			read_limits(info, params);
		else if (k->ext == SMTP_EXT_AUTH)
			read_auth(info, params);
		return;
	}
}

/* The newest reply replaces all that an older one said (M-120, R-11). */
void
client_read_ehlo(struct smtp_client_info *info, struct slice lines)
{
	struct slice line;

	info->ext = 0;
	info->size_max = 0;
	info->rcpt_max = info->mail_max = info->rcpt_domain_max = 0;
	info->auth = 0;
	info->auth_listed[0] = '\0';
	slice_cut(&lines, '\n', &line);		/* the server's name and a greeting */
	while (slice_cut(&lines, '\n', &line))
		read_keyword(info, line);
}
