/* Lines of a journal, which may be anybody's: each is done again by two policies whose handlers look at everything
 * that there is. Lines that make no sense are counted and leave nothing behind; no answer makes a policy more than a
 * policy; a line compared with itself makes no difference. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replay/replay_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char policy_text[] =
    "local function all(o, names)\n"
    "  for _, k in ipairs(names) do local ok, v = pcall(function() return tostring(o[k]) end) end\n"
    "end\n"
    "local function look(session, message)\n"
    "  if session then all(session, { 'id', 'helo', 'proto', 'started', 'tls', 'auth', 'local_addr' })\n"
    "    session.vars.n = 1 end\n"
    "  if message then all(message, { 'id', 'size', 'direction', 'params', 'duties', 'tags', 'from' })\n"
    "    pcall(function() message:subject() message:body_preview(100) message:hash() end) end\n"
    "end\n"
    "for _, h in ipairs { 'connect', 'helo', 'tls', 'mail', 'rcpt', 'data', 'header', 'message' } do\n"
    "  gw.on(h, function(session, message, rcpt)\n"
    "    if type(message) == 'string' then message = nil end\n"
    "    look(session, message)\n"
    "    local mx, err = gw.dns.mx 'a.example'\n"
    "    local v = gw.kv('x'):get 'k'\n"
    "    if message then message:tag 'seen' end\n"
    "    if rcpt then all(rcpt, { 'address', 'orcpt', 'notify', 'params', 'duties', 'state' }) end\n"
    "  end, { name = 'see.' .. h })\n"
    "end\n"
    "gw.rule { name = 'r', at = 'message', when = gw.match.subject_word 'x',\n"
    "  act = { gw.action.require_tls { level = 'verify', reason = 'x' } } }\n"
    "for _, h in ipairs { 'attempt', 'ehlo', 'unmet' } do\n"
    "  gw.on(h, function(message, hop)\n"
    "    all(hop, { 'destination', 'route', 'host', 'attempt', 'mx_secure', 'sts', 'tlsa', 'caps', 'tls', 'duties',\n"
    "      'met', 'unmet', 'relaxed', 'seen', 'worse' })\n"
    "    pcall(function() hop:require_tls { level = 'encrypt', reason = 'x' } end)\n"
    "  end, { name = 'see.' .. h })\n"
    "end\n"
    "gw.on('route', function(message, rcpt) look(nil, message) end, { name = 'see.route' })\n"
    "gw.on('result', function(message, rcpt, result)\n"
    "  all(result, { 'kind', 'code', 'status', 'text', 'stage', 'hop', 'attempts', 'cause' })\n"
    "end, { name = 'see.result' })\n"
    "gw.on('bounce', function(message, b)\n"
    "  all(b, { 'kind', 'to', 'recipients', 'subject', 'text', 'headers' }) b.subject = 'x'\n"
    "end, { name = 'see.bounce' })\n"
    "gw.on('tls_policy', function(d, r) return gw.tls { level = 'encrypt' } end, { name = 'see.floor' })\n";

static const char gateway_text[] =
    "return gw.config { version = 1, identity = { hostname = 'mx1.acme.example', postmaster = 'p@acme.example' },\n"
    "  service = { state = 'state' }, listeners = { inbound = { bind = { '127.0.0.1:2525' }, role = 'mx' } },\n"
    "  domains = { { match = '*', kind = 'remote', route = 'internet' } }, routes = { internet = { via = 'mx' } },\n"
    "  policy = { load = { 'policy.lua' }, network = { dns = true } } }\n";

static struct conf *conf;
static struct policy_bundle *bundle;

static void
write_file(const char *dir, const char *name, const char *text)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "w");
	MUST(f != NULL);
	fputs(text, f);
	fclose(f);
}

static void
make_bundle(void)
{
	static const struct log_conf quiet = { .file = "/dev/null", .level = LOG_LEVEL_ERROR };
	char dir[] = "fuzz-journal-XXXXXX", path[300], cwd[200], *errors = NULL;
	struct err err = { "" };

	MUST(log_open(&quiet, &err) == 0 && mkdtemp(dir) != NULL && getcwd(cwd, sizeof cwd) != NULL);
	write_file(dir, "gateway.lua", gateway_text);
	write_file(dir, "policy.lua", policy_text);
	snprintf(path, sizeof path, "%s/%s/gateway.lua", cwd, dir);
	conf = conf_load(path, false, &errors);
	MUST(conf != NULL);
	bundle = policy_bundle_read(conf, NULL, &err);
	MUST(bundle != NULL);
	unlink(path);
	snprintf(path, sizeof path, "%s/policy.lua", dir);
	unlink(path);
	rmdir(dir);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct replay *r;
	static unsigned runs;
	const char *p = (const char *)data, *end = p + n;
	struct err err = { "" };
	json_error_t je;

	if (conf == NULL)
		make_bundle();
	if (runs++ % 1000 == 0) {	/* what it remembers is bounded, but not small */
		replay_free(r);
		r = replay_new(conf, bundle, conf, bundle, &err);
		if (r == NULL)
			fprintf(stderr, "%s\n", err.text);
		MUST(r != NULL);
	}
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)((nl == NULL ? end : nl) - p);
		json_t *o = json_loadb(p, len, JSON_ALLOW_NUL, &je);

		if (json_is_object(o))
			replay_record(r, o);
		json_decref(o);
		p += len + 1;
	}
	MUST(r->changed == 0 && r->weaker == 0);
	json_decref(replay_report(r));
	return 0;
}
