#include "config.h"

#include <string.h>

#include "sts/serve.h"

/* RFC 9110 section 5.6.2 */
static bool
is_token(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || strchr("\"(),/:;<=>?@[\\]{}", s.p[i]) != NULL)
			return false;
	return s.n > 0;
}

static bool
is_visible(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return s.n > 0;
}

/* A line without its CR LF. A CR or LF elsewhere is nobody's line end here. */
static bool
take_line(struct slice *rest, struct slice *line)
{
	if (!slice_cut(rest, '\n', line) || line->n == 0 || line->p[line->n - 1] != '\r')
		return false;
	line->n--;
	return memchr(line->p, '\r', line->n) == NULL && memchr(line->p, 0, line->n) == NULL;
}

static void
cut_port(struct slice *host)
{
	const char *colon = memchr(host->p, ':', host->n);

	if (colon != NULL)
		host->n = (size_t)(colon - host->p);
	if (host->n > 0 && host->p[host->n - 1] == '.')
		host->n--;
}

/* RFC 9112 section 3: method, target, version, one space between them. */
static bool
read_first(struct slice line, struct sts_request *out, bool *is_1_1)
{
	static const char scheme[] = "https://";
	struct slice version;
	size_t end;

	if (!slice_cut(&line, ' ', &out->method) || line.p == NULL || !slice_cut(&line, ' ', &out->target) ||
	    line.p == NULL || !is_token(out->method) || !is_visible(out->target))
		return false;
	version = line;
	*is_1_1 = slice_is(version, "HTTP/1.1");
	if (!*is_1_1 && !slice_is(version, "HTTP/1.0"))
		return false;
	/* Section 3.2.2: the absolute form has its host in it, and that one counts. */
	if (slice_starts_nocase(out->target, scheme)) {
		out->host = (struct slice){ out->target.p + sizeof scheme - 1, out->target.n - (sizeof scheme - 1) };
		for (end = 0; end < out->host.n && out->host.p[end] != '/'; end++)
			;
		out->target = (struct slice){ out->host.p + end, out->host.n - end };
		out->host.n = end;
		cut_port(&out->host);
	}
	return true;
}

enum sts_request_state
sts_request_parse(struct slice in, struct sts_request *out)
{
	struct slice line, name, absolute;
	bool has_host = false, is_1_1 = false;

	memset(out, 0, sizeof *out);
	while (in.n >= 2 && memcmp(in.p, "\r\n", 2) == 0) {	/* section 2.2 */
		in.p += 2;
		in.n -= 2;
	}
	if (in.n == 0 || memmem(in.p, in.n, "\r\n\r\n", 4) == NULL)
		return STS_REQUEST_MORE;
	if (!take_line(&in, &line) || !read_first(line, out, &is_1_1))
		return STS_REQUEST_BAD;
	absolute = out->host;
	for (;;) {
		if (!take_line(&in, &line))
			return STS_REQUEST_BAD;
		if (line.n == 0)
			break;
		if (memchr(line.p, ':', line.n) == NULL || !slice_cut(&line, ':', &name) || !is_token(name))
			return STS_REQUEST_BAD;
		if (!slice_is_nocase(name, "host"))
			continue;
		if (has_host)
			return STS_REQUEST_BAD;
		has_host = true;
		out->host = slice_trim(line);
		cut_port(&out->host);
	}
	if (absolute.n > 0)
		out->host = absolute;
	out->needs_host = is_1_1 && !has_host;
	return STS_REQUEST_OK;
}
