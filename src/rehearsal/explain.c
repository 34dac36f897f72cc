/* policy explain and policy session: one message, or a dialogue, through the real gateway in a made-up world,
 * with what each handler said. */
#include "config.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "rehearsal/lua_int.h"

#define LIVE_MS 15000

/* ---- Live DNS: asked at once, and waited for ---- */

struct live {
	struct event_base *base;
	struct dns *dns;
	enum dns_status status;
	uint8_t *pkt;
	size_t n;
	bool secure, is_over;
	char *why;
};

static void
answered(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct live *l = owner;

	l->is_over = true;
	l->status = a->status;
	l->secure = a->secure;
	l->why = xstrdup(a->why);
	if (a->pkt == NULL || dns_status_is_failure(a->status))
		return;
	l->status = DNS_OK;
	l->n = a->pkt_n;
	l->pkt = xmalloc(l->n);
	memcpy(l->pkt, a->pkt, l->n);
}

static enum dns_status
live_look(void *owner, const char *name, uint16_t type, uint8_t **pkt, size_t *pkt_n, bool *secure, char **why)
{
	struct live *l = owner;

	l->is_over = false;
	l->pkt = NULL;
	l->n = 0;
	l->why = NULL;
	dns_query(l->dns, name, type, answered, l);
	while (!l->is_over)
		event_base_loop(l->base, EVLOOP_ONCE);
	*pkt = l->pkt;
	*pkt_n = l->n;
	*secure = l->secure;
	*why = l->why;
	return l->status;
}

static bool
live_open(struct live *l, const struct conf *conf, struct err *err)
{
	struct dns_conf dc;

	memset(l, 0, sizeof *l);
	l->base = event_base_new();
	conf_dns(conf, &dc);
	dc.timeout_ms = dc.timeout_ms > 0 && dc.timeout_ms < LIVE_MS ? dc.timeout_ms : LIVE_MS;
	l->dns = dns_new(l->base, &dc, err);
	conf_dns_fini(&dc);
	return l->dns != NULL;
}

static void
live_close(struct live *l)
{
	dns_free(l->dns);
	if (l->base != NULL) {
		event_base_loop(l->base, EVLOOP_NONBLOCK);
		event_base_free(l->base);
	}
}

/* ---- What was said ---- */

struct telling {
	struct world *w;
	FILE *to;
	size_t next;			/* of world_seen */
};

static void
tell_new(struct telling *t)
{
	const struct seen *s;

	for (; (s = world_seen(t->w, t->next)) != NULL; t->next++) {
		const char *level = s->level == POLICY_ADVISORY ? "  (advisory)" : s->level == POLICY_MANDATORY ? "  (mandatory)" : "";

		fprintf(t->to, "%-10s %-8s %-24s %-18s %s%s%s", policy_hook_name(s->hook), s->is_rule ? "rule" : "lua", s->handler,
		    s->where, strcmp(s->verdict, "nil") == 0 && s->is_rule ? "-" : s->verdict, s->status == NULL ? "" : " ",
		    s->status == NULL ? "" : s->status);
		if (s->matched != NULL)
			fprintf(t->to, "  matched %s", s->matched);
		if (s->reason != NULL)
			fprintf(t->to, "  \"%s\"", s->reason);
		if (s->text != NULL)
			fprintf(t->to, "  text \"%s\"", s->text);
		if (s->route != NULL)
			fprintf(t->to, "  %s", s->route);
		if (s->added[0] != '\0')
			fprintf(t->to, "  +%s", s->added);
		if (s->tags[0] != '\0')
			fprintf(t->to, "  tag=%s", s->tags);
		if (s->error != NULL)
			fprintf(t->to, "  %s", s->error);
		if (!s->is_rule && s->instructions > 0)
			fprintf(t->to, "  %llu instr", (unsigned long long)s->instructions);
		fprintf(t->to, "%s\n", level);
	}
}

static const char *
str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s == NULL ? "" : s;
}

/* ---- explain ---- */

static void
put_headers(struct buf *b, const struct explain_conf *ec, const char *to, int64_t now_ms)
{
	static const char *const usual[] = { "From", "To", "Date", "Message-ID" };
	char date[64];

	for (size_t i = 0; i < ec->nheaders; i++)
		buf_printf(b, "%s\r\n", ec->headers[i]);
	date_rfc5322(date, sizeof date, now_ms);
	for (size_t i = 0; i < NELEMS(usual); i++) {
		const char *values[] = { ec->from, to, date, "rehearsal@client.example" };
		bool has = false;

		for (size_t k = 0; k < ec->nheaders; k++)
			has = has || (strncasecmp(ec->headers[k], usual[i], strlen(usual[i])) == 0 &&
			    ec->headers[k][strlen(usual[i])] == ':');
		if (!has)
			buf_printf(b, i == 2 ? "%s: %s\r\n" : "%s: <%s>\r\n", usual[i], values[i]);
	}
	buf_adds(b, "\r\nA message of a rehearsal.\r\n");
}

static bool
read_eml(struct buf *b, const char *file)
{
	FILE *f = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
	int c, last = 0;

	if (f == NULL)
		return false;
	while ((c = getc(f)) != EOF) {
		if (c == '\n' && last != '\r')
			buf_addc(b, '\r');
		buf_addc(b, (char)c);
		last = c;
	}
	if (f != stdin)
		fclose(f);
	if (last != '\n')
		buf_adds(b, "\r\n");
	return true;
}

static void
put_stuffed(struct buf *out, const struct buf *b)
{
	const char *p = buf_peek(b);

	for (size_t i = 0; i < b->len; i++) {
		if (p[i] == '.' && (i == 0 || p[i - 1] == '\n'))
			buf_addc(out, '.');
		buf_addc(out, p[i]);
	}
	buf_adds(out, ".\r\n");
}

/* The envelope and content. True when the message was taken. */
static bool
hand_in(struct telling *t, struct guest *g, const struct explain_conf *ec, const struct buf *content)
{
	char *line = xasprintf("MAIL FROM:<%s>%s", ec->from, ec->requiretls ? " REQUIRETLS" : "");
	const struct guest_reply *r = guest_say(g, "mail", line);
	size_t good = 0;

	free(line);
	tell_new(t);
	for (size_t i = 0; r->code == 250 && i < ec->nto; i++) {
		struct guest_reply here;

		line = xasprintf("RCPT TO:<%s>", ec->to[i]);
		here = *guest_say(g, "rcpt", line);
		free(line);
		tell_new(t);
		good += here.code == 250;
		if (here.code != 250)
			printf("rcpt       reply    %-24s %d %s %s\n", ec->to[i], here.code, here.status, here.text);
	}
	if (good == 0)
		return false;
	r = guest_say(g, "data", "DATA");
	tell_new(t);
	if (r->code == 354)
		r = guest_send(g, "message", buf_peek(content), content->len);
	tell_new(t);
	return r->code == 250;
}

static uint64_t
newest_id(const struct guest_reply *r)
{
	const char *p = strstr(r->text, "queued as ");
	char word[ID_TEXT];
	uint64_t id = 0;

	if (p == NULL)
		return 0;
	snprintf(word, sizeof word, "%.13s", p + 10);
	return id_parse(word, &id) ? id : 0;
}

static const char *
login_of(struct world *w, const json_t *route)
{
	const struct route *r = conf_route(world_configuration(w), json_string_value(route));

	return r != NULL ? r->auth : json_string_value(json_object_get(route, "auth"));
}

static void
tell_routes(struct world *w, const json_t *m)
{
	const json_t *r;
	size_t i;

	json_array_foreach(json_object_get(m, "recipients"), i, r) {
		const json_t *route = json_object_get(r, "route");
		const char *login = login_of(w, route);
		char *text = json_is_string(route) ? xstrdup(json_string_value(route)) : json_dumps(route, JSON_COMPACT | JSON_ENCODE_ANY);

		printf("route      %-8s %-24s %s -> %s%s%s%s%s\n", json_is_string(route) ? "built-in" : "policy", str(r, "address"),
		    text == NULL ? "?" : text, str(r, "next_hop"), login == NULL ? "" : "  login: ", login == NULL ? "" : login,
		    str(r, "hold_reason")[0] == '\0' ? "" : "  held: ", str(r, "hold_reason"));
		free(text);
		if (strcmp(str(r, "duties"), "none") != 0)
			printf("duties     %-33s %s\n", str(r, "address"), str(r, "duties"));
	}
	printf("duties     %s\n", str(m, "duties"));
}

/* How the first attempt went, as far as it could go. */
static void
tell_hops(struct world *w, uint64_t id)
{
	json_t *m = world_query(w, STORE_SHOW, id), *r;
	size_t i;

	json_array_foreach(json_object_get(m, "recipients"), i, r) {
		const json_t *last = json_object_get(r, "last");

		/* Who is not there cannot be reached: tell_missing has said so. */
		if (!json_is_object(last) || strcmp(str(last, "stage"), "connect") == 0)
			continue;
		printf("hop        %s  %s %s %s\n", str(last, "host")[0] == '\0' ? str(r, "next_hop") : str(last, "host"),
		    str(last, "stage"), str(last, "status"), str(last, "text")[0] == '\0' ? str(last, "reply") : str(last, "text"));
	}
	json_decref(m);
}

static void
tell_verdict(struct world *w, const struct guest_reply *r, uint64_t id)
{
	json_t *m = id == 0 ? NULL : world_query(w, STORE_SHOW, id);

	if (r->code != 250)
		printf("verdict    refused at %s: %d %s %s\n", r->stage, r->code, r->status, r->text);
	else if (m != NULL)
		printf("verdict    %s\n", strcmp(str(m, "state"), "active") == 0 ? "queued" : str(m, "state"));
	else
		printf("verdict    accepted, and gone\n");
	json_decref(m);
}

static void
tell_missing(struct world *w)
{
	const char *text = book_missing(world_book(w));
	char name[300], type[10], port[10];

	while (text != NULL && *text != '\0') {
		if (sscanf(text, "DNS: %9s %299s was asked", type, name) == 2)
			printf("dns        %s %s -> needs --live-dns\n", type, name);
		else if (sscanf(text, "network: a connection was made to %299s port %9[0-9]", name, port) == 2)
			printf("hop        %s port %s -> nobody is connected to; what it offers is not known\n", name, port);
		else
			printf("hop        %.*s\n", (int)strcspn(text, ";\n"), text);
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
}

static struct world *
open_world(const struct explain_conf *ec, struct live *live, struct err *err)
{
	struct world_conf wc = { .now_ms = clock_wall_ms(), .seed = 1 };
	struct conf *conf = world_conf_load(ec->dir, NULL, err);
	struct world *w;

	if (conf == NULL)
		return NULL;
	if (ec->live_dns && !live_open(live, conf, err)) {
		conf_unref(conf);
		return NULL;
	}
	w = world_new(conf, &wc, err);
	if (w != NULL && ec->live_dns)
		book_ask(world_book(w), live_look, live);
	return w;
}

static void
tell_head(struct world *w, const struct explain_conf *ec)
{
	char now[32];

	date_iso8601(now, sizeof now, world_now_ms(w));
	printf("generation %.12s   message simulated   clock %s\n", policy_gen_id(world_generation(w)), now);
}

static struct guest *
open_guest(struct world *w, const struct explain_conf *ec, struct err *err)
{
	const struct conf *c = world_configuration(w);
	struct guest_conf gc = { .listener = ec->listener, .ip = ec->ip, .helo = ec->helo, .tls = ec->tls, .auth = ec->auth };

	/* Whoever has logged in, or sends from one of our own domains, comes through a relay listener. */
	for (size_t i = 0; gc.listener == NULL && i < c->nlisteners; i++) {
		const char *at = strrchr(ec->from == NULL ? "" : ec->from, '@');
		const struct conf_domain *d = at == NULL ? NULL : conf_domain(c, at + 1);
		bool ours = ec->auth != NULL || (d != NULL && d->local);

		if (c->listeners[i].role == (ours ? ROLE_RELAY : ROLE_MX))
			gc.listener = c->listeners[i].name;
	}
	return guest_new(w, &gc, err);
}

int
rehearsal_explain(const struct explain_conf *ec)
{
	struct live live = { NULL };
	struct err err = { "" };
	struct world *w = open_world(ec, &live, &err);
	struct telling t = { w, stdout, 0 };
	struct guest *g = w == NULL ? NULL : open_guest(w, ec, &err);
	struct buf plain, content;
	uint64_t id = 0;
	json_t *m;

	if (g == NULL) {
		fprintf(stderr, "%s\n", err.text);
		world_free(w);
		live_close(&live);
		return 1;
	}
	buf_init(&plain, 64u << 20);
	buf_init(&content, 65u << 20);
	if (ec->eml == NULL)
		put_headers(&plain, ec, ec->to[0], world_now_ms(w));
	else if (!read_eml(&plain, ec->eml))
		fprintf(stderr, "sallyport: %s cannot be read\n", ec->eml);
	put_stuffed(&content, &plain);
	tell_head(w, ec);
	tell_new(&t);
	if ((g->last.code == 250 || g->last.code == 235) && hand_in(&t, g, ec, &content))
		id = newest_id(&g->last);
	m = id == 0 ? NULL : world_query(w, STORE_SHOW, id);
	if (m != NULL) {
		tell_routes(w, m);
		if (json_array_size(json_object_get(m, "tags")) > 0) {
			char *tags = json_dumps(json_object_get(m, "tags"), JSON_COMPACT);

			printf("tags       %s\n", tags);
			free(tags);
		}
		json_decref(m);
		world_run_queue(w);
		tell_new(&t);
		tell_missing(w);
		tell_hops(w, id);
	}
	tell_verdict(w, &g->last, id);
	buf_fini(&plain);
	buf_fini(&content);
	world_free(w);
	live_close(&live);
	return 0;
}

/* ---- session ---- */

static void
put_reply(const struct guest_reply *r)
{
	const char *line = r->text, *nl;

	if (r->code == 0) {
		fprintf(stderr, "(the connection has ended)\n");
		return;
	}
	while ((nl = strchr(line, '\n')) != NULL) {
		printf("%d-%.*s\n", r->code, (int)(nl - line), line);
		line = nl + 1;
	}
	printf("%d %s%s%s\n", r->code, r->status, r->status[0] == '\0' ? "" : " ", line);
}

/* Lines up to the dot. False at the end of input. */
static bool
read_content(struct buf *b)
{
	char line[8192];

	while (fgets(line, sizeof line, stdin) != NULL) {
		line[strcspn(line, "\r\n")] = '\0';
		buf_printf(b, "%s\r\n", line);
		if (strcmp(line, ".") == 0)
			return true;
	}
	return false;
}

/* What is not SMTP: "!run" lets the queue go, "!wait 1h" lets time pass. */
static void
order(struct telling *t, const char *line)
{
	int64_t ms;

	if (strcmp(line, "!run") == 0)
		world_run_queue(t->w);
	else if (strncmp(line, "!wait ", 6) == 0 && duration_parse(slice_of(line + 6), &ms) && ms <= INT64_C(400) * 86400000)
		world_advance(t->w, ms);
	else
		fprintf(stderr, "!run delivers what is queued, !wait 1h lets time pass\n");
	tell_new(t);
	tell_missing(t->w);
	book_missing_clear(world_book(t->w));
}

int
rehearsal_session(const struct explain_conf *ec)
{
	struct live live = { NULL };
	struct err err = { "" };
	struct world *w = open_world(ec, &live, &err);
	struct telling t = { w, stderr, 0 };
	struct guest_conf gc = { .listener = ec->listener, .ip = ec->ip, .auth = ec->auth, .stay_out = true };
	struct guest *g = w == NULL ? NULL : guest_new(w, &gc, &err);
	char line[4096];

	if (g == NULL) {
		fprintf(stderr, "%s\n", err.text);
		world_free(w);
		live_close(&live);
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	tell_new(&t);
	put_reply(&g->last);
	while (!g->eof && fgets(line, sizeof line, stdin) != NULL) {
		line[strcspn(line, "\r\n")] = '\0';
		if (line[0] == '!') {
			order(&t, line);
			continue;
		}
		guest_say(g, "say", line);
		tell_new(&t);
		put_reply(&g->last);
		/* Who it is when the dialogue does not say: after the last EHLO, as after a login. */
		if (ec->auth != NULL && strncasecmp(line, "EHLO", 4) == 0 && g->last.code == 250)
			guest_assume(g, ec->auth, NULL);
		if (g->last.code == 354) {
			struct buf b;

			buf_init(&b, 64u << 20);
			if (read_content(&b))
				guest_send(g, "message", buf_peek(&b), b.len);
			buf_fini(&b);
			tell_new(&t);
			put_reply(&g->last);
		}
	}
	world_free(w);
	live_close(&live);
	return 0;
}
