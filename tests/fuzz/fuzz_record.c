/* What strangers wrote, in log lines and in evidence: one line, no controls, valid JSON where it is
 * JSON, and the text that can be told apart again (X-71, I7). The input is cut in two at the first
 * NUL; log values may hold NUL, too. */
#include "config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "trust/evidence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool wants_json;

static void
must_be_one_line(const char *s)
{
	MUST(utf8_is_valid(s, strlen(s)));
	for (const unsigned char *p = (const unsigned char *)s; *p != '\0'; p++) {
		MUST(*p >= 0x20 && *p != 0x7F);
		MUST(p[0] != 0xC2 || p[1] < 0x80 || p[1] > 0x9F);	/* C1 */
		MUST(p[0] != 0xE2 || p[1] != 0x80 || (p[2] != 0xA8 && p[2] != 0xA9));
	}
}

static void
on_line(void *arg, const char *line)
{
	json_t *o;

	must_be_one_line(line);
	if (!wants_json)
		return;
	o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	MUST(json_is_object(o));
	json_decref(o);
}

static void
log_both(const uint8_t *data, size_t n, const char *text)
{
	static const struct log_conf conf[] = { { .level = LOG_LEVEL_INFO },
		{ .level = LOG_LEVEL_INFO, .json = true } };
	static bool is_open;
	struct err err;

	if (!is_open)
		log_capture(on_line, NULL);
	is_open = true;
	for (int i = 0; i < 2; i++) {
		wants_json = i == 1;
		MUST(log_open(&conf[i], &err) == 0);
		log_info("event", LOG_S("text", text), LOG_B("octets", (const char *)data, n), LOG_U("n", n));
	}
}

static void
evidence(const char *one, const char *two)
{
	struct evidence e = {
		.wall_ms = 1700000000000, .message = 7, .event = "failed", .from = one, .rcpt = two,
		.asked_by = one, .domain = two, .route = one, .mx = two, .sts_id = one, .tlsa = two,
		.host = one, .ip = two, .port = 25, .verified = one, .verify_error = two, .reply_code = 550,
		.reply_text = one, .hosts = two, .generation = one, .by = two, .why = one,
	};
	char *text = evidence_text(&e), hash[EVIDENCE_HASH], again[EVIDENCE_HASH], escaped[2048];
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	must_be_one_line(text);
	MUST(json_is_object(o));
	text_escape(escaped, sizeof escaped, one, strlen(one), true);
	MUST(strcmp(json_string_value(json_object_get(o, "reply_text")), escaped) == 0);
	MUST(json_object_get(o, "verdict") == NULL);
	evidence_hash(hash, "", text);
	evidence_hash(again, hash, text);
	MUST(strlen(hash) == 64 && strcmp(hash, again) != 0);
	json_decref(o);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const uint8_t *nul = memchr(data, '\0', n);
	size_t cut = nul == NULL ? n : (size_t)(nul - data);
	char *one = xstrndup((const char *)data, cut);
	char *two = xstrndup((const char *)data + cut + (nul != NULL), n - cut - (nul != NULL));
	char small[24];

	log_both(data, n, one);
	evidence(one, two);
	MUST(text_escape(small, sizeof small, (const char *)data, n, true) == strlen(small));
	must_be_one_line(small);
	free(one);
	free(two);
	return 0;
}
