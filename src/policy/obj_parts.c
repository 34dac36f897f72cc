/* message:parts(): the MIME parts of what is in memory, taken apart when they are asked for. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/mime.h"
#include "policy/objects.h"

#define MIME_MT "gw.mime.parts"
#define TEXT_MAX (256u * 1024)

static int
mime_gc(lua_State *L)
{
	mime_fini(luaL_checkudata(L, 1, MIME_MT));
	return 0;
}

/* part:text(max) -> decoded content, at most max octets (65536). Upvalues: the parts, the number of this one. */
static int
part_text(lua_State *L)
{
	const struct mime *m = luaL_checkudata(L, lua_upvalueindex(1), MIME_MT);
	const struct mime_part *p = &m->v[lua_tointeger(L, lua_upvalueindex(2))];
	lua_Integer max = luaL_optinteger(L, 2, 65536);
	struct buf *b;
	size_t n;
	char *text;

	luaL_argcheck(L, max >= 1 && max <= (lua_Integer)TEXT_MAX, 2, "1 to 262144 octets");
	policy_charge_lua(L, 2 * p->octets.n);
	b = policy_push_buf(L, 4 * TEXT_MAX + 64);	/* freed with the stack if what follows raises */
	text = mime_text(p, (size_t)max, &n);
	buf_add(b, text, n);
	free(text);
	lua_pushlstring(L, buf_peek(b), b->len);
	buf_fini(b);
	return 1;
}

static void
push_part(lua_State *L, const struct mime_part *p, int parts, lua_Integer i)
{
	lua_createtable(L, 0, 8);
	lua_pushstring(L, p->type);
	lua_setfield(L, -2, "type");
	if (p->charset[0] != '\0') {
		lua_pushstring(L, p->charset);
		lua_setfield(L, -2, "charset");
	}
	if (p->disposition[0] != '\0') {
		lua_pushstring(L, p->disposition);
		lua_setfield(L, -2, "disposition");
	}
	if (p->filename != NULL) {
		lua_pushstring(L, p->filename);
		lua_setfield(L, -2, "filename");
	}
	lua_pushinteger(L, p->level);
	lua_setfield(L, -2, "level");
	lua_pushinteger(L, (lua_Integer)p->octets.n);
	lua_setfield(L, -2, "size");
	lua_pushvalue(L, parts);
	lua_pushinteger(L, i);
	lua_pushcclosure(L, part_text, 2);
	lua_setfield(L, -2, "text");
}

int
obj_push_parts(lua_State *L, struct slice header, struct slice body, bool whole)
{
	const char *octets;
	struct mime *m;
	int top = lua_gettop(L);

	policy_charge_lua(L, 2 * (header.n + body.n));
	/* A copy under Lua's memory limit: parts may be kept for longer than the hook. */
	m = lua_newuserdatauv(L, sizeof *m, 1);
	*m = (struct mime){ .v = NULL };
	luaL_setmetatable(L, MIME_MT);
	lua_pushlstring(L, header.p, header.n);
	lua_pushlstring(L, body.p, body.n);
	lua_concat(L, 2);
	octets = lua_tostring(L, -1);
	lua_setiuservalue(L, top + 1, 1);
	mime_parse(m, (struct slice){ octets, header.n }, (struct slice){ octets + header.n, body.n });
	lua_createtable(L, (int)m->n, 1);
	for (size_t i = 0; i < m->n; i++) {
		push_part(L, &m->v[i], top + 1, (lua_Integer)i);
		lua_rawseti(L, top + 2, (lua_Integer)i + 1);
	}
	lua_pushboolean(L, m->truncated || !whole);
	lua_setfield(L, top + 2, "truncated");
	return 1;
}

void
obj_parts_register(lua_State *L)
{
	static const luaL_Reg mt[] = { { "__gc", mime_gc }, { NULL, NULL } };

	policy_newmetatable(L, MIME_MT, mt);
	lua_pop(L, 1);
}
