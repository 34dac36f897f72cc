/* gw.mime: encoded words, parameters and lists of addresses of header fields, as message/ reads them. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message/mime.h"
#include "policy/lib.h"
#include "policy/objects.h"

#define VALUE_MAX (64u * 1024)
#define ADDRESSES_MAX 1000u

static struct slice
check_value(lua_State *L, const char *api)
{
	struct slice s;

	s.p = luaL_checklstring(L, 1, &s.n);
	if (s.n > VALUE_MAX)
		luaL_error(L, "%s: more than %d octets", api, (int)VALUE_MAX);
	policy_charge_lua(L, 4 * s.n);
	return s;
}

/* Pushes heap text, which is freed whatever happens. */
static int
push_heap(lua_State *L, char *text)
{
	struct buf *b = policy_push_buf(L, strlen(text) + 1);

	buf_adds(b, text);
	free(text);
	lua_pushlstring(L, buf_peek(b), b->len);
	return 1;
}

static int
mime_decode(lua_State *L)
{
	return push_heap(L, header_decode(check_value(L, "gw.mime.decode")));
}

static int
mime_encode(lua_State *L)
{
	size_t n;
	const char *s = luaL_checklstring(L, 1, &n);
	struct buf *b;

	policy_text_check(L, "gw.mime.encode", "text", s, n, 8000);
	policy_charge_lua(L, 4 * n);
	b = policy_push_buf(L, 8 * n + 128);
	header_encode(b, (struct slice){ s, n });
	lua_pushlstring(L, buf_peek(b), b->len);
	return 1;
}

/* Both read texts that follow each other, each with NUL behind. */
static const char *
next_text(const char *s, const char *end)
{
	const char *nul = s < end ? memchr(s, '\0', (size_t)(end - s)) : NULL;

	return nul == NULL ? end : nul + 1;
}

/* gw.mime.parameters(value) -> "text/plain", { charset = "utf-8" } */
static int
mime_parameters(lua_State *L)
{
	struct slice value = check_value(L, "gw.mime.parameters");
	struct buf *b = policy_push_buf(L, 8 * VALUE_MAX);
	const char *s, *end;

	mime_params(value, b);
	s = buf_peek(b);
	end = s + b->len;
	lua_pushstring(L, s);
	lua_newtable(L);
	for (s = next_text(s, end); s < end; s = next_text(next_text(s, end), end)) {
		lua_pushstring(L, next_text(s, end));
		lua_setfield(L, -2, s);
	}
	return 2;
}

/* gw.mime.addresses(value) -> { { name =, text =, address = }, ... } */
static int
mime_addresses(lua_State *L)
{
	struct slice value = check_value(L, "gw.mime.addresses");
	struct buf *b = policy_push_buf(L, 8 * VALUE_MAX);
	size_t n = header_mailboxes(value, ADDRESSES_MAX, b);
	const char *s = buf_peek(b), *end = s + b->len;

	lua_createtable(L, (int)n, 0);
	for (lua_Integer i = 1; s < end; i++, s = next_text(next_text(s, end), end)) {
		const char *written = next_text(s, end);
		struct smtp_path path;
		char text[sizeof path.local + sizeof path.domain + 2];

		policy_charge_lua(L, 64);
		lua_createtable(L, 0, 3);
		if (*s != '\0') {
			lua_pushstring(L, s);
			lua_setfield(L, -2, "name");
		}
		lua_pushstring(L, written);
		lua_setfield(L, -2, "text");
		if (smtp_address_parse(&path, slice_of(written), true, NULL) && !path.is_null) {
			snprintf(text, sizeof text, "%s%s%s", path.local, path.domain[0] == '\0' ? "" : "@", path.domain);
			obj_push_address(L, text);
			lua_setfield(L, -2, "address");
		}
		lua_rawseti(L, -2, i);
	}
	return 1;
}

void
policy_lib_mime_open(lua_State *L)
{
	static const luaL_Reg fns[] = { { "decode", mime_decode }, { "encode", mime_encode },
		{ "parameters", mime_parameters }, { "addresses", mime_addresses }, { NULL, NULL } };

	luaL_newlib(L, fns);
	lua_setfield(L, -2, "mime");
}
