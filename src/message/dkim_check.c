#include "config.h"

#include <sys/types.h>
#include <dkim.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message/dkim_check.h"
#include "message/message.h"

#define MIN_BITS 1024		/* RFC 8301 section 3.2 */
#define NAME_MAX_OCTETS 253u

struct signature {
	DKIM_SIGINFO *info;		/* the library's */
	char *domain, *selector, *identity;
	char name[NAME_MAX_OCTETS + 1];	/* "" will not be looked at */
	bool is_new_kind;		/* Ed25519 */
	enum dkim_key_state state;
	char *text;
	bool secure;
};
/* The library asks for all keys at the end of the header. So the header is read twice: to know what to ask
 * for, and, with the keys at hand, before the body. */
struct dkim_check {
	DKIM *d;
	struct signature v[DKIM_CHECKS_MAX];
	size_t n;
	char *header;
	size_t header_n;
	bool has_keys;			/* the second time */
	bool takes_body;
	bool is_over;
};

/* ---- The library ---- */

static DKIM_LIB *lib;

/* Nothing is looked up: what was found is put in. */
static DKIM_CBSTAT
on_key(DKIM *d, DKIM_SIGINFO *info, u_char *buf, size_t size)
{
	const struct dkim_check *c = dkim_get_user_context(d);

	for (size_t i = 0; c != NULL && c->has_keys && i < c->n; i++) {
		const struct signature *s = &c->v[i];

		if (s->name[0] == '\0' || strcmp(s->domain, (const char *)dkim_sig_getdomain(info)) != 0 ||
		    strcmp(s->selector, (const char *)dkim_sig_getselector(info)) != 0)
			continue;
		if (s->state == DKIM_KEY_NONE)
			return DKIM_CBSTAT_NOTFOUND;
		if (s->state == DKIM_KEY_FAILED || s->text == NULL)
			return DKIM_CBSTAT_TRYAGAIN;
		if (strlen(s->text) >= size)
			return DKIM_CBSTAT_ERROR;
		snprintf((char *)buf, size, "%s", s->text);
		return DKIM_CBSTAT_CONTINUE;
	}
	return DKIM_CBSTAT_NOTFOUND;
}

/* Before any key is asked for: only the first few, and no Ed25519, with which libopendkim 2.11 loses
 * memory each time. */
static DKIM_CBSTAT
on_signatures(DKIM *d, DKIM_SIGINFO **sigs, int n)
{
	for (int i = 0; i < n; i++) {
		dkim_alg_t alg = DKIM_SIGN_UNKNOWN;

		if (dkim_sig_getsignalg(sigs[i], &alg) != DKIM_STAT_OK)
			alg = DKIM_SIGN_UNKNOWN;
		if (i >= (int)DKIM_CHECKS_MAX || (alg != DKIM_SIGN_RSASHA256 && alg != DKIM_SIGN_RSASHA1))
			dkim_sig_ignore(sigs[i]);
	}
	return DKIM_CBSTAT_CONTINUE;
}

static void
open_library(void)
{
	unsigned bits = MIN_BITS;

	lib = dkim_init(NULL, NULL);
	if (lib == NULL)
		return;
	dkim_set_key_lookup(lib, on_key);
	dkim_set_prescreen(lib, on_signatures);
	dkim_options(lib, DKIM_OP_SETOPT, DKIM_OPTS_MINKEYBITS, &bits, sizeof bits);
}

/* ---- The header ---- */

static char *
shown(const unsigned char *s)
{
	char text[400];

	if (s == NULL)
		return NULL;
	text_escape(text, sizeof text, (const char *)s, strlen((const char *)s), false);
	return xstrdup(text);
}

static bool
is_name(const char *s)
{
	return s != NULL && *s != '\0' && *s != '.' &&
	    strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == strlen(s);
}

/* All is well but for the key, which nobody had yet. */
static bool
is_sound(int error)
{
	return error == DKIM_SIGERROR_OK || error == DKIM_SIGERROR_UNKNOWN || error == DKIM_SIGERROR_NOKEY ||
	    error == DKIM_SIGERROR_KEYFAIL;
}

static void
read_signature(struct dkim_check *c, DKIM_SIGINFO *info)
{
	struct signature *s = &c->v[c->n++];
	dkim_alg_t alg = DKIM_SIGN_UNKNOWN;
	unsigned char identity[400] = "";

	s->info = info;
	s->domain = shown(dkim_sig_getdomain(info));
	s->selector = shown(dkim_sig_getselector(info));
	if (dkim_sig_getidentity(c->d, info, identity, sizeof identity) == DKIM_STAT_OK)
		s->identity = shown(identity);
	s->is_new_kind = dkim_sig_getsignalg(info, &alg) == DKIM_STAT_OK && alg != DKIM_SIGN_RSASHA256 &&
	    alg != DKIM_SIGN_RSASHA1 && alg != DKIM_SIGN_UNKNOWN;
	if (!s->is_new_kind && is_sound(dkim_sig_geterror(info)) && is_name(s->domain) && is_name(s->selector) &&
	    strlen(s->domain) + strlen(s->selector) + sizeof "._domainkey." <= NAME_MAX_OCTETS)
		snprintf(s->name, sizeof s->name, "%s._domainkey.%s", s->selector, s->domain);
}

static bool
read_header(struct dkim_check *c, DKIM_STAT *st, struct err *err)
{
	struct slice header = { c->header, c->header_n };
	struct header h;

	c->d = lib == NULL ? NULL : dkim_verify(lib, (const unsigned char *)"sallyport", NULL, st);
	if (c->d == NULL || dkim_set_user_context(c->d, c) != DKIM_STAT_OK) {
		err_set(err, "libopendkim cannot be started");
		return false;
	}
	if (!header_parse(&h, header)) {
		err_set(err, "the header is too large");
		return false;
	}
	*st = DKIM_STAT_OK;
	for (size_t i = 0; i < h.n && *st == DKIM_STAT_OK; i++) {
		struct slice f = { header.p + h.fields[i].at, h.fields[i].n };

		while (f.n > 0 && (f.p[f.n - 1] == '\r' || f.p[f.n - 1] == '\n'))
			f.n--;
		*st = dkim_header(c->d, (unsigned char *)f.p, f.n);		/* copies */
		/* One that cannot be read is none, and does not hide the others (RFC 6376 6.1). */
		if (*st == DKIM_STAT_SYNTAX && slice_is_nocase(h.fields[i].name, "DKIM-Signature"))
			*st = DKIM_STAT_OK;
	}
	header_fini(&h);
	if (*st != DKIM_STAT_OK) {
		err_set(err, "%s", dkim_getresultstr(*st));
		return false;
	}
	*st = dkim_eoh(c->d);
	return true;
}

/* Once more, with keys. */
static void
begin_body(struct dkim_check *c)
{
	DKIM_SIGINFO **sigs;
	DKIM_STAT st;
	struct err err;
	int n = 0;

	c->has_keys = true;
	dkim_free(c->d);
	c->d = NULL;
	if (!read_header(c, &st, &err) || dkim_getsiglist(c->d, &sigs, &n) != DKIM_STAT_OK)
		n = 0;
	for (size_t i = 0; i < c->n; i++)
		c->v[i].info = (int)i < n ? sigs[i] : NULL;
	c->takes_body = c->d != NULL && st == DKIM_STAT_OK;
}

struct dkim_check *
dkim_check_new(struct slice header, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct dkim_check *c;
	DKIM_SIGINFO **sigs;
	DKIM_STAT st = DKIM_STAT_OK;
	int n = 0;

	pthread_once(&once, open_library);
	c = xcalloc(1, sizeof *c);
	c->header = slice_dup(header);
	c->header_n = header.n;
	if (!read_header(c, &st, err)) {
		dkim_check_free(c);
		ERR_clear_error();
		return NULL;
	}
	if (dkim_getsiglist(c->d, &sigs, &n) == DKIM_STAT_OK)
		for (int i = 0; i < n && i < (int)DKIM_CHECKS_MAX; i++)
			read_signature(c, sigs[i]);
	ERR_clear_error();
	return c;
}

size_t
dkim_check_count(const struct dkim_check *c)
{
	return c->n;
}

const char *
dkim_check_name(const struct dkim_check *c, size_t i)
{
	return c->v[i].name[0] == '\0' ? NULL : c->v[i].name;
}

void
dkim_check_key(struct dkim_check *c, size_t i, enum dkim_key_state state, struct slice text, bool secure)
{
	struct signature *s = &c->v[i];

	s->state = state;
	s->secure = secure;
	free(s->text);
	s->text = state == DKIM_KEY_FOUND ? xstrndup(text.p, text.n) : NULL;
}

/* ---- The body ---- */

bool
dkim_check_add(struct dkim_check *c, const char *p, size_t n)
{
	if (!c->has_keys)
		begin_body(c);
	return !c->takes_body || dkim_body(c->d, (unsigned char *)p, n) == DKIM_STAT_OK;
}

void
dkim_check_end(struct dkim_check *c)
{
	bool tested = false;

	if (!c->has_keys)
		begin_body(c);
	if (c->takes_body)
		(void)dkim_eom(c->d, &tested);	/* each signature knows for itself */
	c->is_over = true;
	ERR_clear_error();
}

static const char *
word(int error)
{
	switch (error) {
	case DKIM_SIGERROR_KEYFAIL:
		return "temperror";
	case DKIM_SIGERROR_BADSIG:
		return "fail";
	default:
		return "permerror";
	}
}

/* The library has no word for some. */
static const char *
reason(int error)
{
	const char *s = error == DKIM_SIGERROR_OK || error == DKIM_SIGERROR_UNKNOWN ? NULL : dkim_sig_geterrorstr(error);

	return s == NULL ? "not verified" : s;
}

void
dkim_check_result(const struct dkim_check *c, size_t i, struct dkim_result *out)
{
	const struct signature *s = &c->v[i];
	unsigned flags = s->info == NULL ? 0 : dkim_sig_getflags(s->info);
	int error = s->info == NULL ? DKIM_SIGERROR_UNKNOWN : dkim_sig_geterror(s->info);
	ssize_t all = 0, signed_ = -1;

	*out = (struct dkim_result){ .domain = s->domain, .selector = s->selector, .identity = s->identity,
		.secure = s->secure };
	if (s->info == NULL || dkim_sig_getkeysize(s->info, &out->bits) != DKIM_STAT_OK)
		out->bits = 0;
	if (s->is_new_kind) {
		out->result = "neutral";
		out->reason = "an algorithm that is not verified here";
	} else if (s->name[0] == '\0') {
		out->result = "permerror";
		out->reason = error == DKIM_SIGERROR_OK ? "no name of a key" : reason(error);
	} else if (!c->is_over) {
		out->result = "temperror";
		out->reason = "the body was not read";
	} else if (s->state == DKIM_KEY_FAILED) {
		out->result = "temperror";
		out->reason = "the key could not be looked up";
	} else if (s->state == DKIM_KEY_NONE) {
		out->result = "permerror";
		out->reason = "there is no key";
	} else if ((flags & DKIM_SIGFLAG_PASSED) != 0 && dkim_sig_getbh(s->info) == DKIM_SIGBH_MATCH) {
		out->result = "pass";
		out->partial = dkim_sig_getcanonlen(c->d, s->info, &all, NULL, &signed_) == DKIM_STAT_OK &&
		    signed_ >= 0 && signed_ < all;
	} else if (s->info != NULL && dkim_sig_getbh(s->info) == DKIM_SIGBH_MISMATCH) {
		out->result = "fail";
		out->reason = "the body was changed";
	} else {
		out->result = word(error);
		out->reason = reason(error);
	}
}

void
dkim_check_free(struct dkim_check *c)
{
	if (c == NULL)
		return;
	if (c->d != NULL)
		dkim_free(c->d);
	free(c->header);
	for (size_t i = 0; i < c->n; i++) {
		free(c->v[i].domain);
		free(c->v[i].selector);
		free(c->v[i].identity);
		free(c->v[i].text);
	}
	free(c);
}
