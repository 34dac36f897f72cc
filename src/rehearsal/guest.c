/* Clients of the gateway, driven line by line. What they meet is the real server of src/smtp and the real
 * reception behind it. */
#include "config.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/gateway_int.h"
#include "gateway/reception.h"
#include "rehearsal/world_int.h"

#define PATIENCE_MS (15 * 60000)

static uint16_t next_port = 20000;

/* The first whole reply in g->in; its octets, 0 none. */
static size_t
reply_octets(const struct guest *g)
{
	const char *p = buf_peek(&g->in), *end = p + g->in.len, *at = p, *nl;

	while ((nl = memmem(at, (size_t)(end - at), "\r\n", 2)) != NULL) {
		if (nl - at < 4 || at[3] != '-')
			return (size_t)(nl + 2 - p);
		at = nl + 2;
	}
	return 0;
}

static void
read_some(struct guest *g)
{
	char some[8192];
	ssize_t n;

	while (!g->eof && (n = read(g->fd, some, sizeof some)) != -1) {
		if (n == 0)
			g->eof = true;
		else
			buf_add(&g->in, some, (size_t)n);
	}
}

static bool
has_reply(void *arg)
{
	struct guest *g = arg;

	read_some(g);
	return g->eof || reply_octets(g) > 0;
}

static void
take_reply(struct guest *g, const char *stage)
{
	struct guest_reply *r = &g->last;
	const char *p, *end;
	size_t n, out = 0;

	memset(r, 0, sizeof *r);
	r->stage = stage;
	n = reply_octets(g);
	if (n == 0)
		return;
	p = buf_peek(&g->in);
	end = p + n;
	r->code = n < 5 ? 0 : (p[0] - '0') * 100 + (p[1] - '0') * 10 + p[2] - '0';
	while (p < end) {
		const char *nl = memmem(p, (size_t)(end - p), "\r\n", 2), *text = nl - p > 4 ? p + 4 : nl;
		int used = 0;
		unsigned a, b, c;
		char head[16];	/* the buffer has no NUL */

		snprintf(head, sizeof head, "%.*s", (int)(nl - text), text);
		if (sscanf(head, "%1u.%3u.%3u %n", &a, &b, &c, &used) == 3 && used > 0) {
			snprintf(r->status, sizeof r->status, "%u.%u.%u", a, b, c);
			text += used;
		}
		out += (size_t)snprintf(r->text + out, sizeof r->text - out, "%s%.*s", out == 0 ? "" : "\n",
		    (int)(nl - text), text);
		if (out >= sizeof r->text)
			out = sizeof r->text - 1;
		p = nl + 2;
	}
	buf_consume(&g->in, n);
}

const struct guest_reply *
guest_send(struct guest *g, const char *stage, const char *p, size_t n)
{
	while (n > 0 && !g->eof) {
		ssize_t put = send(g->fd, p, n, MSG_NOSIGNAL);

		if (put > 0) {
			p += put;
			n -= (size_t)put;
		} else if (errno == EAGAIN) {
			world_settle(g->w);
			read_some(g);
		} else {
			break;
		}
	}
	world_until(g->w, has_reply, g, PATIENCE_MS);
	take_reply(g, stage);
	return &g->last;
}

const struct guest_reply *
guest_say(struct guest *g, const char *stage, const char *line)
{
	char *text = xasprintf("%s\r\n", line);

	guest_send(g, stage, text, strlen(text));
	free(text);
	return &g->last;
}

static bool
helo(struct guest *g, const char *name)
{
	char *line = xasprintf("EHLO %s", name);
	const struct guest_reply *r = guest_say(g, "helo", line);

	free(line);
	snprintf(g->ehlo, sizeof g->ehlo, "\n%s\n", r->text);
	return r->code == 250;
}

void
guest_starttls(struct guest *g)
{
	guest_say(g, "tls", "STARTTLS");
}

void
guest_assume(struct guest *g, const char *id, const char *attrs)
{
	struct reception *r = world_reception(g->w, g->sid);

	if (r != NULL)
		reception_assume_login(r, g->sid, id, attrs);
}

static bool
login(struct guest *g, const char *user, const char *password)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t nu = strlen(user), np = strlen(password), n = nu + np + 2;
	uint8_t *raw = xcalloc(n + 3, 1);
	struct buf line;

	memcpy(raw + 1, user, nu);
	memcpy(raw + 2 + nu, password, np);
	buf_init(&line, 8192);
	buf_adds(&line, "AUTH PLAIN ");
	for (size_t i = 0; i < n; i += 3) {
		unsigned v = (unsigned)raw[i] << 16 | (unsigned)raw[i + 1] << 8 | raw[i + 2];

		buf_addc(&line, alphabet[v >> 18]);
		buf_addc(&line, alphabet[v >> 12 & 63]);
		buf_addc(&line, i + 1 < n ? alphabet[v >> 6 & 63] : '=');
		buf_addc(&line, i + 2 < n ? alphabet[v & 63] : '=');
	}
	buf_addc(&line, '\0');
	free(raw);
	guest_say(g, "auth", buf_peek(&line));
	buf_fini(&line);
	return g->last.code == 235;
}

static void
usual_tls(struct guest *g, const struct tls_info *want)
{
	g->tls = (struct tls_info){ .version = "TLSv1.3", .cipher = "TLS_AES_256_GCM_SHA384", .group = "x25519",
		.is_modern = true };
	if (want == NULL)
		return;
	for (size_t i = 0; i < NELEMS(g->tls_text); i++) {
		const char *const from[] = { want->version, want->cipher, want->sni, want->subject, want->issuer,
			want->names, want->cert_sha256, want->verify_error };
		const char **const to[] = { &g->tls.version, &g->tls.cipher, &g->tls.sni, &g->tls.subject,
			&g->tls.issuer, &g->tls.names, &g->tls.cert_sha256, &g->tls.verify_error };

		if (from[i] != NULL)
			*to[i] = g->tls_text[i] = xstrdup(from[i]);
	}
	g->tls.chain_ok = want->chain_ok;
	g->tls.name_ok = want->name_ok;
	g->tls.spki_sha256 = g->tls.cert_sha256;
	if (strncmp(g->tls.version, "TLSv1.", 6) == 0 && g->tls.version[6] < '2')
		g->tls.is_modern = false;
}

static size_t
listener_of(const struct conf *c, const char *name, struct err *err)
{
	struct buf all;

	for (size_t i = 0; i < c->nlisteners; i++)
		if (name == NULL || strcmp(c->listeners[i].name, name) == 0)
			return i;
	buf_init(&all, 1000);
	for (size_t i = 0; i < c->nlisteners; i++)
		buf_printf(&all, "%s%s", i == 0 ? "" : ", ", c->listeners[i].name);
	err_set(err, "there is no listener \"%s\"; there are: %.*s", name, (int)all.len, buf_peek(&all));
	buf_fini(&all);
	return SIZE_MAX;
}

/* Where a client of this listener comes from when nobody says: from the first network that may. */
static void
usual_address(const struct conf_listener *l, struct net_addr *a, uint16_t port)
{
	static const uint8_t stranger[4] = { 192, 0, 2, 10 };
	uint8_t ip[16];

	net_addr_set(a, AF_INET, stranger, port);
	if (l->nclients == 0)
		return;
	memcpy(ip, l->clients[0].ip, sizeof ip);
	if (l->clients[0].family == AF_INET && l->clients[0].bits < 31)
		ip[3] |= 9;
	net_addr_set(a, l->clients[0].family, ip, port);
}

static bool
connect_to(struct guest *g, const struct guest_conf *c, struct err *err)
{
	const struct conf *conf = world_configuration(g->w);
	size_t at = listener_of(conf, c->listener, err);
	struct reception *r = NULL;
	uint16_t port = next_port++;
	int pair[2];

	if (next_port == 0)
		next_port = 20000;
	if (at == SIZE_MAX)
		return false;
	if (c->ip == NULL)
		usual_address(&conf->listeners[at], &g->addr, port);
	else if (net_addr_parse(&g->addr, slice_of(c->ip), port, err) != 0)
		return false;
	if (c->tls && !conf->listeners[at].implicit_tls && conf->listeners[at].starttls == STARTTLS_OFF) {
		err_set(err, "the listener \"%s\" offers no STARTTLS; without tls = true a session is in clear",
		    conf->listeners[at].name);
		return false;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
		err_set(err, "socketpair: %s", strerror(errno));
		return false;
	}
	g->fd = pair[1];
	usual_tls(g, c->tls_info);
	g->sid = worker_accept(world_worker(g->w), at, pair[0], &g->addr, &r);
	world_set_reception(g->w, g->sid, r);
	world_until(g->w, has_reply, g, PATIENCE_MS);
	take_reply(g, "connect");
	return true;
}

struct guest *
guest_new(struct world *w, const struct guest_conf *c, struct err *err)
{
	struct guest *g = xcalloc(1, sizeof *g);
	const char *name = c->helo == NULL ? "client.example" : c->helo;

	g->w = w;
	g->fd = -1;
	buf_init(&g->in, 1u << 20);
	g->next = *world_guests(w);
	*world_guests(w) = g;
	if (!connect_to(g, c, err))
		return NULL;
	if (g->last.code != 220 || c->stay_out || !helo(g, name))
		return g;
	if (c->tls && strstr(g->ehlo, "\nSTARTTLS\n") != NULL) {
		guest_starttls(g);
		if (g->last.code != 220 || !helo(g, name))
			return g;
	}
	if (c->auth != NULL)
		guest_assume(g, c->auth, c->auth_attrs);
	else if (c->user != NULL)
		login(g, c->user, c->password == NULL ? "" : c->password);
	return g;
}

void
guest_close(struct guest *g)
{
	if (g->fd != -1)
		close(g->fd);
	g->fd = -1;
	g->eof = true;
	world_settle(g->w);
}

void
guests_free(struct world *w)
{
	struct guest *g;

	while ((g = *world_guests(w)) != NULL) {
		*world_guests(w) = g->next;
		if (g->fd != -1)
			close(g->fd);
		for (size_t i = 0; i < NELEMS(g->tls_text); i++)
			free(g->tls_text[i]);
		buf_fini(&g->in);
		free(g);
	}
}
