/* Matchers: the answer for one subject. No Lua but for gw.match.lua. */
#include "config.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "message/mime.h"
#include "policy/matcher_int.h"

const char *
matcher_listener(const struct policy_subject *s)
{
	if (s->session != NULL && s->session->listener != NULL)
		return s->session->listener->name;
	return s->msg == NULL ? NULL : s->msg->listener;
}

static bool
has_word(const struct matcher *m, const char *text)
{
	for (size_t i = 0; text != NULL && i < m->nwords; i++)
		if (strcmp(m->words[i], text) == 0)
			return true;
	return false;
}

static bool
eval_role(const struct matcher *m, const struct policy_view *v)
{
	const struct policy_subject *s = v->s;
	const struct conf_listener *l;

	if (s->session != NULL && s->session->listener != NULL)
		return (m->bits >> s->session->listener->role & 1) != 0;
	l = s->msg == NULL || v->conf == NULL ? NULL : conf_listener(v->conf, s->msg->listener);
	return l != NULL && (m->bits >> l->role & 1) != 0;
}

bool
matcher_client_ip(const struct policy_subject *s, uint8_t ip[16], int *family)
{
	const char *text = s->session != NULL ? s->session->info->peer_ip :
	    s->msg == NULL ? NULL : s->msg->peer_ip;
	static const uint8_t mapped[12] = { [10] = 0xFF, [11] = 0xFF };

	if (text == NULL)
		return false;
	*family = AF_INET;
	if (inet_pton(AF_INET, text, ip) == 1)
		return true;
	if (inet_pton(AF_INET6, text, ip) != 1)
		return false;
	*family = AF_INET6;
	if (memcmp(ip, mapped, sizeof mapped) == 0) {
		*family = AF_INET;
		memmove(ip, ip + 12, 4);
	}
	return true;
}

static bool
eval_client_ip(const struct matcher *m, const struct policy_subject *s)
{
	uint8_t ip[16];
	char key[18];
	int family;

	if (!matcher_client_ip(s, ip, &family))
		return false;
	for (unsigned i = 0; i < (family == AF_INET ? m->nv4 : m->nv6); i++) {
		unsigned bits = family == AF_INET ? m->v4_bits[i] : m->v6_bits[i];

		if (names_has(m->nets, key, matcher_net_key(key, family, bits, ip)))
			return true;
	}
	return false;
}

static bool
eval_helo(const struct matcher *m, const struct policy_subject *s)
{
	const char *helo = s->name != NULL ? s->name : s->session != NULL ? s->session->info->helo :
	    s->msg == NULL ? NULL : s->msg->helo;
	char *folded;
	bool yes = false;

	if (helo == NULL)
		return false;
	folded = text_fold(helo);
	for (size_t i = 0; !yes && i < m->nwords; i++)
		yes = text_glob(m->folded[i], folded);
	free(folded);
	return yes;
}

static bool
eval_tls(const struct matcher *m, const struct policy_subject *s)
{
	const char *version = NULL;

	if (s->session != NULL)
		version = s->session->info->tls == NULL ? NULL : s->session->info->tls->version;
	else if (s->msg != NULL)
		version = s->msg->tls_in;
	if (version == NULL)
		return false;
	/* msg->tls_in may say more than the version: "TLSv1.3 TLS_AES_..." */
	return m->bits == 0 || strncmp(version, "TLSv1.3", 7) == 0 ||
	    (m->bits == 2 && strncmp(version, "TLSv1.2", 7) == 0);
}

/* Somebody has logged in, one of these if any are named. */
static bool
eval_auth(const struct matcher *m, const struct policy_subject *s)
{
	const char *id = s->session != NULL ? s->session->info->auth_id : s->msg == NULL ? NULL : s->msg->auth_id;
	bool yes = m->nwords == 0;
	char *folded;

	if (id == NULL)
		return false;
	folded = text_fold(id);
	for (size_t i = 0; !yes && i < m->nwords; i++)
		yes = text_glob(m->folded[i], folded);
	free(folded);
	return yes;
}

/* A part with a file name, or that says it is an attachment; with words, one with such a name. */
static enum match_result
eval_attachment(const struct matcher *m, struct policy_view *v)
{
	const struct mime *mime = view_mime(v);

	if (mime == NULL)
		return MATCH_FAILED;
	for (size_t i = 0; i < mime->n; i++) {
		const struct mime_part *p = &mime->v[i];
		bool yes = m->nwords == 0 && (p->filename != NULL || strcmp(p->disposition, "attachment") == 0);
		char *folded = p->filename == NULL || m->nwords == 0 ? NULL : text_fold(p->filename);

		for (size_t k = 0; folded != NULL && !yes && k < m->nwords; k++)
			yes = text_glob(m->folded[k], folded);
		free(folded);
		if (yes)
			return MATCH_YES;
	}
	return mime->hidden ? MATCH_FAILED : MATCH_NOT;		/* I5: what was not seen is not known to be good */
}

static bool
rcpt_is(const struct matcher *m, const struct msg_rcpt *r)
{
	return m->op == MATCH_RCPT ? address_set_has(&m->addresses, slice_of(r->address)) :
	    domain_set_has(&m->domains, slice_of(r->domain));
}

/* The recipient the hook is about, or any that is left. */
static bool
eval_rcpt(const struct matcher *m, const struct policy_subject *s)
{
	if (s->domain != NULL && s->msg == NULL)
		return domain_set_has(&m->domains, slice_of(s->domain));
	if (s->msg == NULL)
		return false;
	if (s->rcpt >= 0 && (size_t)s->rcpt < s->msg->nrcpts)
		return rcpt_is(m, &s->msg->rcpts[s->rcpt]);
	for (size_t i = 0; i < s->msg->nrcpts; i++)
		if (!s->msg->rcpts[i].discarded && rcpt_is(m, &s->msg->rcpts[i]))
			return true;
	return false;
}

static bool
eval_tag(const struct matcher *m, const struct policy_subject *s)
{
	for (size_t i = 0; s->msg != NULL && i < m->nwords; i++)
		if (msg_has_tag(s->msg, m->words[i]))
			return true;
	return false;
}

/* Every instance of a field counts: a second Subject must not hide the first. */
static enum match_result
eval_header(const struct matcher *m, struct policy_view *v)
{
	const struct header *h = view_header(v);
	const char *name = m->op == MATCH_SUBJECT_WORD ? "Subject" : m->name;

	if (h == NULL)
		return MATCH_FAILED;
	for (size_t i = 0; i < h->n; i++) {
		if (m->op == MATCH_HAS_HEADER) {
			for (size_t k = 0; k < m->nwords; k++)
				if (slice_is_nocase(h->fields[i].name, m->words[k]))
					return MATCH_YES;
			continue;
		}
		if (!slice_is_nocase(h->fields[i].name, name))
			continue;
		if (m->nwords == 0)
			return MATCH_YES;
		for (size_t k = 0; k < m->nwords; k++)
			if (m->op == MATCH_SUBJECT_WORD ? text_has_word(view_folded(v, i), m->folded[k]) :
			    text_glob(m->folded[k], view_folded(v, i)))
				return MATCH_YES;
	}
	return MATCH_NOT;
}

/* A window that ends before it begins goes over midnight and belongs to the day it began on. */
static bool
eval_time(const struct matcher *m)
{
	time_t now = (time_t)(clock_wall_ms() / 1000);
	struct tm tm;
	unsigned min, day;

	if ((m->utc ? gmtime_r(&now, &tm) : localtime_r(&now, &tm)) == NULL)
		return false;
	min = (unsigned)(tm.tm_hour * 60 + tm.tm_min);
	day = (unsigned)tm.tm_wday;
	if (m->from_min < m->to_min)
		return min >= m->from_min && min < m->to_min && (m->bits >> day & 1) != 0;
	if (min >= m->from_min)
		return (m->bits >> day & 1) != 0;
	return min < m->to_min && (m->bits >> (day + 6) % 7 & 1) != 0;
}

static enum match_result
eval_function(const struct matcher *m, struct policy_view *v)
{
	int r = v->call == NULL ? -1 : v->call(v->owner, m->fn_ref);

	return r < 0 ? MATCH_FAILED : r > 0 ? MATCH_YES : MATCH_NOT;
}

static enum match_result
eval_kids(const struct matcher *m, struct policy_view *v)
{
	enum match_result stop = m->op == MATCH_ALL ? MATCH_NOT : MATCH_YES;

	for (size_t i = 0; i < m->nkids; i++) {
		enum match_result r = matcher_eval(m->kids[i], v);

		if (r == stop || r == MATCH_FAILED)
			return r;
	}
	return m->op == MATCH_ALL ? MATCH_YES : MATCH_NOT;
}

enum match_result
matcher_eval(const struct matcher *m, struct policy_view *v)
{
	const struct policy_subject *s = v->s;
	const struct msg *msg = s->msg;
	enum match_result r;

	switch (m->op) {
	case MATCH_ALL:
	case MATCH_ANY:
		return eval_kids(m, v);
	case MATCH_NO:
		r = matcher_eval(m->kids[0], v);
		return r == MATCH_FAILED ? r : r == MATCH_YES ? MATCH_NOT : MATCH_YES;
	case MATCH_SUBJECT_WORD:
	case MATCH_HEADER:
	case MATCH_HAS_HEADER:
		return eval_header(m, v);
	case MATCH_LISTENER:
		return has_word(m, matcher_listener(s)) ? MATCH_YES : MATCH_NOT;
	case MATCH_LISTENER_ROLE:
		return eval_role(m, v) ? MATCH_YES : MATCH_NOT;
	case MATCH_CLIENT_IP:
		return eval_client_ip(m, s) ? MATCH_YES : MATCH_NOT;
	case MATCH_HELO:
		return eval_helo(m, s) ? MATCH_YES : MATCH_NOT;
	case MATCH_TLS_INBOUND:
		return eval_tls(m, s) ? MATCH_YES : MATCH_NOT;
	case MATCH_ATTACHMENT:
		return eval_attachment(m, v);
	case MATCH_AUTH:
		return eval_auth(m, s) ? MATCH_YES : MATCH_NOT;
	case MATCH_RCPT:
	case MATCH_RCPT_DOMAIN:
		return eval_rcpt(m, s) ? MATCH_YES : MATCH_NOT;
	case MATCH_TAG:
		return eval_tag(m, s) ? MATCH_YES : MATCH_NOT;
	case MATCH_LUA:
		return eval_function(m, v);
	case MATCH_TIME:
		return eval_time(m) ? MATCH_YES : MATCH_NOT;
	default:
		break;
	}
	if (msg == NULL)
		return MATCH_NOT;
	switch (m->op) {
	case MATCH_SENDER:
		return address_set_has(&m->addresses, slice_of(msg->from)) ? MATCH_YES : MATCH_NOT;
	case MATCH_SENDER_DOMAIN:
		return domain_set_has(&m->domains, slice_of(msg->from_domain)) ? MATCH_YES : MATCH_NOT;
	case MATCH_SIZE_OVER:
		return msg->content_size > m->size ? MATCH_YES : MATCH_NOT;
	case MATCH_DIRECTION:
		return (m->bits >> msg->direction & 1) != 0 ? MATCH_YES : MATCH_NOT;
	case MATCH_REQUIRETLS:
		return (msg->flags & MSG_REQUIRETLS) != 0 ? MATCH_YES : MATCH_NOT;
	case MATCH_TLS_REQUIRED_NO:
		return (m->bits >> msg->tls_no & 1) != 0 ? MATCH_YES : MATCH_NOT;
	default:
		return MATCH_NOT;
	}
}

/* ---- Why ---- */

/* Does it hold, as far as can be said without calling a policy's function a second time? */
static bool
holds(const struct matcher *m, struct policy_view *v)
{
	int (*call)(void *owner, int ref) = v->call;
	enum match_result r;

	v->call = NULL;
	r = matcher_eval(m, v);
	v->call = call;
	return r == MATCH_YES;
}

static void
add_reason(const struct matcher *m, struct policy_view *v, struct buf *out)
{
	char *text;
	size_t i;

	if (m->op == MATCH_ALL) {
		for (i = 0; i < m->nkids; i++)
			add_reason(m->kids[i], v, out);
		return;
	}
	for (i = 0; m->op == MATCH_ANY && i < m->nkids; i++) {
		if (!holds(m->kids[i], v))
			continue;
		add_reason(m->kids[i], v, out);
		return;
	}
	text = matcher_text(m);
	buf_printf(out, "%s%s", out->len > 0 ? "\n" : "", text);
	free(text);
}

char *
matcher_reason(const struct matcher *m, struct policy_view *v)
{
	struct buf out;

	buf_init(&out, 4096);
	add_reason(m, v, &out);
	return buf_take(&out);
}
