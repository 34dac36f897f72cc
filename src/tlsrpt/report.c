#include "config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/slice.h"
#include "tlsrpt/report.h"

#define GZIP_WINDOW (15 + 16)		/* zlib: a gzip header instead of its own */

/* Whole seconds: some who read reports know no others. */
static void
rfc3339(char dst[32], int64_t wall_ms)
{
	date_iso8601(dst, 32, wall_ms);
	snprintf(dst + 19, 2, "Z");
}

static json_t *
date_range(int64_t day)
{
	char from[32], to[32];

	/* Whole UTC days (T-11); the last second is inside, as in the RFC's example. */
	rfc3339(from, day * TLSRPT_DAY_MS);
	rfc3339(to, (day + 1) * TLSRPT_DAY_MS - 1000);
	return json_pack("{s:s, s:s}", "start-datetime", from, "end-datetime", to);
}

/* RFC 8460 section 4.4, figure 1. */
static char *
make_json(const struct tlsrpt_who *who, const struct tlsrpt_report *r, const char *policies, struct err *err)
{
	json_error_t e;
	json_t *list = json_loads(policies, JSON_REJECT_DUPLICATES, &e), *top;
	char *text;

	if (!json_is_array(list) || json_array_size(list) == 0) {
		err_set(err, "report for %s: %s", r->domain, list == NULL ? e.text : "nothing was counted");
		json_decref(list);
		return NULL;
	}
	top = json_pack("{s:s, s:o, s:s, s:s, s:o}", "organization-name", who->organization, "date-range",
	    date_range(r->day), "contact-info", who->contact, "report-id", r->report_id, "policies", list);
	text = top == NULL ? NULL : json_dumps(top, JSON_COMPACT);
	json_decref(top);
	if (text == NULL)
		err_set(err, "report for %s: a name in tlsrpt is not UTF-8", r->domain);
	return text;
}

static bool
compress_json(struct tlsrpt_report *r)
{
	z_stream z = { .next_in = r->json, .avail_in = (uInt)r->json_len };
	size_t room;
	int rc;

	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	room = deflateBound(&z, (uLong)r->json_len);
	r->gz = xmalloc(room);
	z.next_out = r->gz;
	z.avail_out = (uInt)room;
	rc = deflate(&z, Z_FINISH);
	r->gz_len = room - z.avail_out;
	deflateEnd(&z);
	return rc == Z_STREAM_END;
}

/* RFC 8460 section 5.1. "!" cannot stand in a domain; the id is letters and digits. */
static char *
make_file_name(const struct tlsrpt_report *r)
{
	long long from = r->day * TLSRPT_DAY_MS / 1000;

	return xasprintf("%s!%s!%lld!%lld!%016llx.json.gz", r->submitter, r->domain, from, from + 86399,
	    (unsigned long long)hash64(r->report_id, strlen(r->report_id)));
}

struct tlsrpt_report *
tlsrpt_report_new(const struct tlsrpt_who *who, const char *domain, int64_t day, const char *policies,
    struct err *err)
{
	struct tlsrpt_report *r = xcalloc(1, sizeof *r);
	const char *at = strrchr(who->contact, '@');
	char date[32];

	date_iso8601(date, sizeof date, day * TLSRPT_DAY_MS);
	r->domain = xstrdup(domain);
	r->day = day;
	r->submitter = xstrdup(at == NULL ? who->contact : at + 1);
	r->report_id = xasprintf("%.4s%.2s%.2s.%s@%s", date, date + 5, date + 8, domain, who->node);
	r->file_name = make_file_name(r);
	r->json = (uint8_t *)make_json(who, r, policies, err);
	if (r->json == NULL)
		goto failed;
	r->json_len = strlen((char *)r->json);
	if (!compress_json(r)) {
		err_set(err, "report for %s: it cannot be compressed", domain);
		goto failed;
	}
	return r;
failed:
	tlsrpt_report_free(r);
	return NULL;
}

void
tlsrpt_report_free(struct tlsrpt_report *r)
{
	if (r == NULL)
		return;
	free(r->domain);
	free(r->report_id);
	free(r->submitter);
	free(r->file_name);
	free(r->json);
	free(r->gz);
	free(r);
}
