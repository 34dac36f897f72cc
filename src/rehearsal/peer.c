/* Scripted next hops: what they offer and answer is what a test says. The other end is the real client of
 * src/smtp; only the network between is missing. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "gateway/gateway_int.h"
#include "rehearsal/world.h"

#define LINE_MAX_OCTETS (1u << 20)

struct visitor {			/* one connection to a peer */
	struct visitor *next;
	int fd;
	bool in_tls, in_data, over;
	unsigned prompts;		/* of AUTH LOGIN that are still to be answered */
	uint64_t bdat_left;
	bool bdat_last;
	struct buf in;
	struct peer_mail *mail;
};

static void
mail_free(struct peer_mail *m)
{
	free(m->mail);
	free(m->from);
	for (size_t i = 0; i < m->nrcpts; i++)
		free(m->rcpts[i]);
	free(m->rcpts);
	free(m->reply);
	buf_fini(&m->data);
	free(m);
}

static void
visitor_end(struct visitor *v)
{
	if (v->fd != -1)
		close(v->fd);
	v->fd = -1;
	v->over = true;
}

static void
peer_free(struct peer *p)
{
	struct visitor *v;

	while ((v = p->conns) != NULL) {
		p->conns = v->next;
		visitor_end(v);
		buf_fini(&v->in);
		free(v);
	}
	for (size_t i = 0; i < p->nmails; i++)
		mail_free(p->mails[i]);
	for (size_t i = 0; i < p->nscripts; i++) {
		for (size_t k = 0; k < p->scripts[i].n; k++)
			free(p->scripts[i].replies[k]);
		free(p->scripts[i].replies);
		free(p->scripts[i].verb);
		free(p->scripts[i].of);
	}
	for (size_t i = 0; i < p->ncaps; i++)
		free(p->caps[i]);
	for (size_t i = 0; i < p->tls.nnames; i++)
		free(p->tls.names[i]);
	free(p->tls.names);
	free(p->tls.why);
	free(p->tls.version);
	free(p->tls.cipher);
	free(p->tls.pin);
	free(p->scripts);
	free(p->caps);
	free(p->mails);
	free(p->host);
	free(p);
}

void
peers_free(struct world *w)
{
	struct peer *p;

	while ((p = *world_peers(w)) != NULL) {
		*world_peers(w) = p->next;
		peer_free(p);
	}
}

/* An address of its own in 198.51.100.0/24 and 203.0.113.0/24, unless the host is an address, or the book
 * already says where it is. */
static void
give_address(struct peer *p)
{
	struct book *b = world_book(p->w);
	struct book_said how = { .status = DNS_OK, .secure = true };
	static const uint8_t nets[][3] = { { 198, 51, 100 }, { 203, 0, 113 } };
	unsigned n = 0;
	char text[INET_ADDRSTRLEN];
	const char *rr[1] = { text };
	struct err err;
	enum dns_status got;
	uint8_t *pkt = NULL;
	size_t pkt_n = 0;
	bool secure;
	char *why = NULL;

	if (inet_pton(AF_INET, p->host, p->ip) == 1)
		return;
	if (book_has(b, p->host, DNS_A)) {
		got = book_look(b, p->host, DNS_A, &pkt, &pkt_n, &secure, &why);
		if (got == DNS_OK && pkt_n >= 4)
			memcpy(p->ip, pkt + pkt_n - 4, 4);
		free(pkt);
		free(why);
		return;
	}
	for (const struct peer *q = *world_peers(p->w); q != NULL; q = q->next)
		n++;
	memcpy(p->ip, nets[n / 250 % 2], 3);
	p->ip[3] = (uint8_t)(1 + n % 250);
	inet_ntop(AF_INET, p->ip, text, sizeof text);
	book_say(b, p->host, DNS_A, rr, 1, &how, &err);
}

struct peer *
peer_new(struct world *w, const char *host)
{
	struct peer *p = xcalloc(1, sizeof *p), **at = world_peers(w);

	p->w = w;
	p->host = xstrdup(host);
	while (*at != NULL && strcasecmp((*at)->host, host) != 0)
		at = &(*at)->next;
	if (*at != NULL) {
		/* It stays for who looks at its transcript; nobody reaches it any more. */
		memcpy(p->ip, (*at)->ip, 4);
		for (struct visitor *v = (*at)->conns; v != NULL; v = v->next)
			visitor_end(v);
		memset((*at)->ip, 0, 4);
		(*at)->host[0] = '\0';
	} else {
		give_address(p);
	}
	p->next = *world_peers(w);
	*world_peers(w) = p;
	p->tls.verified = PEER_PKIX;
	return p;
}

/* ---- The stage ---- */

static struct peer *
peer_at(struct world *w, const struct net_addr *to)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&to->ss;
	struct peer *p;

	if (to->ss.ss_family != AF_INET)
		return NULL;
	for (p = *world_peers(w); p != NULL; p = p->next)
		if (memcmp(p->ip, &in->sin_addr, 4) == 0)
			return p;
	return NULL;
}

static void say(struct visitor *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void
say(struct visitor *v, const char *fmt, ...)
{
	char text[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text - 2, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof text - 3)
		n = (int)sizeof text - 3;
	memcpy(text + n, "\r\n", 2);
	if (v->fd != -1 && send(v->fd, text, (size_t)n + 2, MSG_NOSIGNAL) < 0)
		visitor_end(v);
}

/* What the script has for this; NULL: nothing, the usual reply. */
static const char *
scripted(struct peer *p, const char *verb, const char *of)
{
	struct peer_script *any = NULL;

	for (size_t i = 0; i < p->nscripts; i++) {
		struct peer_script *s = &p->scripts[i];

		if (strcmp(s->verb, verb) != 0 || s->n == 0)
			continue;
		if (s->of != NULL && (of == NULL || strcasecmp(s->of, of) != 0))
			continue;
		if (s->of != NULL || any == NULL)
			any = s;
	}
	return any == NULL ? NULL : any->replies[any->at + 1 < any->n ? any->at++ : any->n - 1];
}

static bool
is_bad(const char *reply)
{
	return reply != NULL && (reply[0] == '4' || reply[0] == '5');
}

/* A reply, several lines by LF; "close" ends the connection instead. True when it is not 4yz or 5yz. */
static bool
answer(struct peer *p, struct visitor *v, const char *verb, const char *of, const char *usual)
{
	const char *r = scripted(p, verb, of), *line = r == NULL ? usual : r;

	if (strcmp(line, "close") == 0) {
		visitor_end(v);
		return false;
	}
	for (const char *nl; (nl = strchr(line, '\n')) != NULL; line = nl + 1)
		say(v, "%.3s-%.*s", line, (int)(nl - line) > 4 ? (int)(nl - line) - 4 : 0, line + 4);
	say(v, "%s", line);
	if (strncmp(line, "421", 3) == 0)
		visitor_end(v);
	return !is_bad(line);
}

int
peer_connect(void *world, const struct net_addr *to, int *fd_out)
{
	struct world *w = world;
	struct peer *p = peer_at(w, to);
	struct visitor *v;
	char ip[NET_ADDR_TEXT], banner[300];
	int pair[2];

	if (p == NULL) {
		net_addr_ip(to, ip);
		book_missing_add(world_book(w), "network: a connection was made to %s port %u and there is no such peer; "
		    "make it with env:peer(\"%s\", { caps = { ... } })", ip, net_addr_port(to), ip);
		return ECONNREFUSED;
	}
	p->connections++;
	if (p->refuses)
		return ECONNREFUSED;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
		return errno;
	v = xcalloc(1, sizeof *v);
	v->fd = pair[1];
	v->in_tls = p->implicit_tls;
	buf_init(&v->in, 64u << 20);
	v->next = p->conns;
	p->conns = v;
	*fd_out = pair[0];
	snprintf(banner, sizeof banner, "220 %.255s ESMTP", p->host);
	answer(p, v, "banner", NULL, banner);
	return 0;
}

static bool
name_fits(const struct peer_tls *t, const struct tls_want *want)
{
	if (t->nnames == 0)
		return true;
	for (size_t i = 0; i < want->nnames; i++)
		for (size_t k = 0; k < t->nnames; k++) {
			const char *have = t->names[k], *dot = strchr(want->names[i], '.');

			if (strcasecmp(have, want->names[i]) == 0 ||
			    (strncmp(have, "*.", 2) == 0 && dot != NULL && strcasecmp(have + 1, dot) == 0))
				return true;
		}
	return false;
}

static bool
pin_fits(const struct peer_tls *t, const struct tls_want *want)
{
	if (t->pin == NULL)
		return t->verified == PEER_PIN && want->npins > 0;
	for (size_t i = 0; i < want->npins; i++)
		if (strcasecmp(want->pins[i], t->pin) == 0 || (strncmp(want->pins[i], "sha256:", 7) == 0 &&
		    strcasecmp(want->pins[i] + 7, t->pin) == 0))
			return true;
	return false;
}

static int
as_client(struct peer *p, const struct tls_want *want, struct tls_info *info, struct err *err)
{
	struct peer_tls *t = &p->tls;
	bool fits = name_fits(t, want);
	struct buf names;

	if (t->fails) {
		err_set(err, "%s", t->why == NULL ? "handshake failure" : t->why);
		return -1;
	}
	buf_init(&names, sizeof p->names_text - 1);
	for (size_t i = 0; i < t->nnames; i++)
		buf_printf(&names, "%s%s", i == 0 ? "" : ",", t->names[i]);
	snprintf(p->names_text, sizeof p->names_text, "%.*s", (int)names.len, buf_peek(&names));
	buf_fini(&names);
	*info = (struct tls_info){
		.version = t->version == NULL ? "TLSv1.3" : t->version,
		.cipher = t->cipher == NULL ? "TLS_AES_256_GCM_SHA384" : t->cipher, .group = "x25519",
		.sni = p->host, .is_modern = true,
		.cert_sha256 = "0000000000000000000000000000000000000000000000000000000000000000",
		.spki_sha256 = t->pin != NULL ? t->pin :
		    "1111111111111111111111111111111111111111111111111111111111111111",
		.subject = p->host, .issuer = "rehearsal", .not_after = "2099-12-31T23:59:59.000Z",
		.names = t->nnames > 0 ? p->names_text : p->host,
		.chain_ok = t->verified == PEER_PKIX, .name_matches = fits,
	};
	if (strncmp(info->version, "TLSv1.", 6) == 0 && info->version[6] < '2')
		info->is_modern = false;
	info->name_ok = info->chain_ok && fits;
	info->pin_ok = pin_fits(t, want);
	info->dane_ok = t->verified == PEER_DANE && want->ntlsa > 0;
	if (info->dane_ok) {
		p->matched = want->tlsa[0];
		p->matched.n = want->tlsa[0].n > sizeof p->tlsa ? sizeof p->tlsa : want->tlsa[0].n;
		memcpy(p->tlsa, want->tlsa[0].data, p->matched.n);
		p->matched.data = p->tlsa;
		info->tlsa = &p->matched;
	} else if (want->ntlsa > 0) {
		info->dane_fault = TLS_FAULT_NO_MATCH;
	}
	if (!info->name_ok) {
		info->pkix_fault = info->chain_ok ? TLS_FAULT_NAME : TLS_FAULT_CHAIN;
		if (!info->dane_ok && !info->pin_ok)
			info->verify_error = t->why != NULL ? t->why : info->chain_ok ?
			    "the certificate is for another name" : "self-signed certificate";
	}
	return 0;
}

static int
as_server(struct world *w, const struct net_addr *peer, struct tls_info *info)
{
	for (struct guest *g = *world_guests(w); g != NULL; g = g->next) {
		if (net_addr_port(&g->addr) == net_addr_port(peer)) {
			*info = g->tls;
			return 0;
		}
	}
	return -1;
}

int
stage_handshake(void *world, const struct net_addr *peer, const struct tls_want *want, struct tls_info *info,
    struct err *err)
{
	struct peer *p;

	if (want == NULL)
		return as_server(world, peer, info);
	p = peer_at(world, peer);
	if (p == NULL) {
		err_set(err, "the peer is gone");
		return -1;
	}
	return as_client(p, want, info, err);
}

/* ---- Their side of SMTP ---- */

static bool
is_word(const char *line, const char *word)
{
	size_t n = strlen(word);

	return strncasecmp(line, word, n) == 0 && (line[n] == '\0' || line[n] == ' ' || line[n] == ':');
}

static char *
address_of(const char *line)
{
	const char *lt = strchr(line, '<'), *gt = lt == NULL ? NULL : strchr(lt, '>');

	return gt == NULL ? xstrdup("") : xstrndup(lt + 1, (size_t)(gt - lt - 1));
}

static void
ehlo(struct peer *p, struct visitor *v)
{
	const char *r = scripted(p, "ehlo", NULL);

	if (r != NULL) {
		say(v, "%s", r);
		return;
	}
	say(v, "250-%s", p->host);
	for (size_t i = 0; i < p->ncaps; i++)
		if (!v->in_tls || strcasecmp(p->caps[i], "STARTTLS") != 0)
			say(v, "250-%s", p->caps[i]);
	say(v, "250 HELP");
}

static void
begin_mail(struct peer *p, struct visitor *v, const char *line)
{
	struct peer_mail *m = xcalloc(1, sizeof *m);

	m->mail = xstrdup(line);
	m->from = address_of(line);
	m->in_tls = v->in_tls;
	buf_init(&m->data, 64u << 20);
	p->mails = xrealloc(p->mails, (p->nmails + 1) * sizeof *p->mails);
	p->mails[p->nmails++] = m;
	v->mail = m;
	if (!answer(p, v, "mail", NULL, "250 2.1.0 OK"))
		v->mail = NULL;
}

static void
take_rcpt(struct peer *p, struct visitor *v, const char *line)
{
	char *a = address_of(line);

	if (v->mail == NULL) {
		say(v, "503 5.5.1 MAIL first");
		free(a);
	} else if (answer(p, v, "rcpt", a, "250 2.1.5 OK")) {
		v->mail->rcpts = xrealloc(v->mail->rcpts, (v->mail->nrcpts + 1) * sizeof *v->mail->rcpts);
		v->mail->rcpts[v->mail->nrcpts++] = a;
	} else {
		free(a);
	}
}

static void
content_end(struct peer *p, struct visitor *v)
{
	struct peer_mail *m = v->mail;

	v->in_data = false;
	v->mail = NULL;
	m->complete = answer(p, v, "content", NULL, "250 2.0.0 Taken");
}

static void
command(struct peer *p, struct visitor *v, char *line)
{
	if (v->prompts > 0) {
		if (--v->prompts > 0)
			say(v, "334 UGFzc3dvcmQ6");
		else
			answer(p, v, "auth", NULL, "235 2.7.0 Logged in");
	} else if (is_word(line, "EHLO") || is_word(line, "HELO")) {
		v->mail = NULL;
		ehlo(p, v);
	} else if (is_word(line, "STARTTLS")) {
		if (answer(p, v, "starttls", NULL, "220 2.0.0 Go ahead"))
			v->in_tls = true;
	} else if (is_word(line, "AUTH") && strcasecmp(line, "AUTH LOGIN") == 0) {
		v->prompts = 2;
		say(v, "334 VXNlcm5hbWU6");
	} else if (is_word(line, "AUTH")) {
		answer(p, v, "auth", NULL, "235 2.7.0 Logged in");
	} else if (is_word(line, "MAIL")) {
		begin_mail(p, v, line);
	} else if (is_word(line, "RCPT")) {
		take_rcpt(p, v, line);
	} else if (is_word(line, "DATA")) {
		if (v->mail == NULL || v->mail->nrcpts == 0)
			say(v, "503 5.5.1 No valid recipients");
		else if (answer(p, v, "data", NULL, "354 Go ahead"))
			v->in_data = true;
	} else if (is_word(line, "BDAT")) {
		char *end;

		v->bdat_left = strtoull(line + 5, &end, 10);
		v->bdat_last = strcasestr(end, "LAST") != NULL;
		if (v->bdat_left == 0 && v->bdat_last && v->mail != NULL)
			content_end(p, v);
	} else if (is_word(line, "RSET")) {
		v->mail = NULL;
		say(v, "250 2.0.0 OK");
	} else if (is_word(line, "QUIT")) {
		say(v, "221 2.0.0 Bye");
		visitor_end(v);
	} else {
		say(v, "%s", is_word(line, "NOOP") ? "250 2.0.0 OK" : "502 5.5.1 Not here");
	}
}

/* A chunk of BDAT; false when more of it has to come. */
static bool
take_chunk(struct peer *p, struct visitor *v)
{
	size_t n = v->in.len < v->bdat_left ? v->in.len : (size_t)v->bdat_left;

	if (n == 0)
		return false;
	if (v->mail != NULL)
		buf_add(&v->mail->data, buf_peek(&v->in), n);
	buf_consume(&v->in, n);
	v->bdat_left -= n;
	if (v->bdat_left > 0)
		return false;
	if (v->mail == NULL)
		say(v, "503 5.5.1 MAIL first");
	else if (v->bdat_last)
		content_end(p, v);
	else
		say(v, "250 2.0.0 Chunk taken");
	return true;
}

static void
run(struct peer *p, struct visitor *v)
{
	const char *at, *nl;
	char *line;

	while (!v->over && v->in.len > 0) {
		if (v->bdat_left > 0) {
			if (!take_chunk(p, v))
				return;
			continue;
		}
		at = buf_peek(&v->in);
		nl = memmem(at, v->in.len, "\r\n", 2);
		if (nl == NULL)
			return;
		line = xstrndup(at, (size_t)(nl - at));
		buf_consume(&v->in, (size_t)(nl - at) + 2);
		if (!v->in_data) {
			command(p, v, line);
		} else if (strcmp(line, ".") == 0) {
			content_end(p, v);
		} else {
			buf_adds(&v->mail->data, line[0] == '.' ? line + 1 : line);
			buf_adds(&v->mail->data, "\r\n");
		}
		free(line);
	}
}

static bool
visitor_step(struct peer *p, struct visitor *v)
{
	char some[16384];
	ssize_t n;
	bool any = false;

	while (!v->over && (n = read(v->fd, some, sizeof some)) != -1) {
		any = true;
		if (n == 0) {
			visitor_end(v);
			break;
		}
		buf_add(&v->in, some, (size_t)n);
		run(p, v);
	}
	return any;
}

bool
peers_step(struct world *w)
{
	bool any = false;

	for (struct peer *p = *world_peers(w); p != NULL; p = p->next)
		for (struct visitor *v = p->conns; v != NULL; v = v->next)
			any |= visitor_step(p, v);
	return any;
}
