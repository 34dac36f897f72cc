/* Addresses and domains as values: normalised, immutable, compared by value, never stale. */
#include "config.h"

#include <libpsl.h>
#include <string.h>

#include "policy/objects.h"

#define ADDRESS_MT "gw.address"
#define DOMAIN_MT "gw.domain"

struct address_value {
	size_t n, local;	/* octets of text; of them local-part. Both 0: the null sender */
	char text[];
};
struct domain_value {
	size_t n;
	char text[];
};

const char *
obj_address_peek(lua_State *L, int arg, size_t *n_out)
{
	const struct address_value *a = luaL_testudata(L, arg, ADDRESS_MT);

	if (a == NULL || lua_islightuserdata(L, arg))
		return NULL;
	*n_out = a->n;
	return a->text;
}

const char *
obj_domain_peek(lua_State *L, int arg, size_t *n_out)
{
	const struct domain_value *d = luaL_testudata(L, arg, DOMAIN_MT);

	if (d == NULL || lua_islightuserdata(L, arg))
		return NULL;
	*n_out = d->n;
	return d->text;
}

void
obj_push_address(lua_State *L, const char *address)
{
	size_t n = address == NULL ? 0 : strlen(address);
	const char *at = n == 0 ? NULL : strrchr(address, '@');
	struct address_value *a = lua_newuserdatauv(L, sizeof *a + n + 1, 0);

	a->n = n;
	a->local = at == NULL ? n : (size_t)(at - address);
	memcpy(a->text, n == 0 ? "" : address, n + 1);
	luaL_setmetatable(L, ADDRESS_MT);
}

void
obj_push_domain(lua_State *L, const char *domain)
{
	size_t n = domain == NULL ? 0 : strlen(domain);
	struct domain_value *d;

	if (n == 0) {
		lua_pushnil(L);
		return;
	}
	d = lua_newuserdatauv(L, sizeof *d + n + 1, 0);
	d->n = n;
	memcpy(d->text, domain, n + 1);
	luaL_setmetatable(L, DOMAIN_MT);
}

const char *
obj_check_address(lua_State *L, int arg, const char *api, bool may_be_null)
{
	size_t n;
	const char *p = obj_address_peek(L, arg, &n);
	struct smtp_path path;
	struct err err = { "" };
	char text[sizeof path.local + sizeof path.domain + 2];

	if (p == NULL)
		p = luaL_checklstring(L, arg, &n);
	if (n == 0 || (n == 2 && memcmp(p, "<>", 2) == 0)) {
		if (!may_be_null)
			luaL_error(L, "%s: an address is needed, not the null sender", api);
		lua_pushliteral(L, "");
		return lua_tostring(L, -1);
	}
	if (!smtp_address_parse(&path, (struct slice){ p, n }, true, &err) || path.is_null) {
		char shown[200];

		text_escape(shown, sizeof shown, p, n, true);
		luaL_error(L, "%s: \"%s\" is not an address: %s", api, shown, err.text);
	}
	snprintf(text, sizeof text, "%s%s%s", path.local, path.domain[0] == '\0' ? "" : "@", path.domain);
	lua_pushstring(L, text);
	return lua_tostring(L, -1);
}

/* ---- address ---- */

static const char *const address_fields[] = { "localpart", "domain", "is_null", "text", NULL };
static const char *const domain_fields[] = { "name", "unicode", NULL };

static const struct address_value *
check_address_value(lua_State *L, int arg)
{
	return luaL_checkudata(L, arg, ADDRESS_MT);
}

static bool
address_field(lua_State *L, const char *key)
{
	const struct address_value *a = check_address_value(L, 1);

	if (strcmp(key, "localpart") == 0)
		lua_pushlstring(L, a->text, a->local);
	else if (strcmp(key, "domain") == 0)
		obj_push_domain(L, a->local < a->n ? a->text + a->local + 1 : NULL);
	else if (strcmp(key, "is_null") == 0)
		lua_pushboolean(L, a->n == 0);
	else if (strcmp(key, "text") == 0)
		lua_pushlstring(L, a->text, a->n);
	else
		return false;
	return true;
}

static int
read_only(lua_State *L)
{
	return luaL_error(L, "addresses and domains are read-only values");
}

static int
address_tostring(lua_State *L)
{
	const struct address_value *a = check_address_value(L, 1);

	lua_pushlstring(L, a->n == 0 ? "<>" : a->text, a->n == 0 ? 2 : a->n);
	return 1;
}

/* Local-parts are compared as they are (RFC 5321 2.4), domains were normalised. */
static int
address_eq(lua_State *L)
{
	const struct address_value *a = luaL_testudata(L, 1, ADDRESS_MT);
	const struct address_value *b = luaL_testudata(L, 2, ADDRESS_MT);

	lua_pushboolean(L, a != NULL && b != NULL && a->n == b->n && memcmp(a->text, b->text, a->n) == 0);
	return 1;
}

/* gw.address(text) -> address, or nil and why not. */
static int
address_new(lua_State *L)
{
	size_t n;
	const char *p = luaL_checklstring(L, 1, &n);
	struct smtp_path path;
	struct err err = { "" };
	char text[sizeof path.local + sizeof path.domain + 2] = "";

	if (n != 0 && !(n == 2 && memcmp(p, "<>", 2) == 0)) {
		if (!smtp_address_parse(&path, (struct slice){ p, n }, true, &err) || path.is_null) {
			lua_pushnil(L);
			lua_pushstring(L, err.text);
			return 2;
		}
		snprintf(text, sizeof text, "%s%s%s", path.local, path.domain[0] == '\0' ? "" : "@",
		    path.domain);
	}
	obj_push_address(L, text);
	return 1;
}

/* ---- domain ---- */

static const struct domain_value *
check_domain_value(lua_State *L, int arg)
{
	return luaL_checkudata(L, arg, DOMAIN_MT);
}

static bool
is_local(lua_State *L, const struct domain_value *d)
{
	const struct conf_domain *c = conf_domain(policy_run_of(L)->gen->conf, d->text);

	return c != NULL && c->local;
}

static int
domain_is_local(lua_State *L)
{
	lua_pushboolean(L, is_local(L, check_domain_value(L, 1)));
	return 1;
}

static int
domain_is_remote(lua_State *L)
{
	lua_pushboolean(L, !is_local(L, check_domain_value(L, 1)));
	return 1;
}

/* d:under(other): is it `other` or below it? */
static int
domain_under(lua_State *L)
{
	const struct domain_value *d = check_domain_value(L, 1);
	size_t n;
	const char *top = obj_domain_peek(L, 2, &n);
	char ascii[256];

	if (top == NULL) {
		top = luaL_checklstring(L, 2, &n);
		if (!dns_to_ascii(ascii, (struct slice){ top, n }))
			return luaL_error(L, "domain:under: the argument is not a domain");
		top = ascii;
		n = strlen(ascii);
	}
	lua_pushboolean(L, d->n >= n && strcmp(d->text + d->n - n, top) == 0 &&
	    (d->n == n || d->text[d->n - n - 1] == '.'));
	return 1;
}

/* d:registered(): what was registered below the public suffix; nil for a suffix or a literal. */
static int
domain_registered(lua_State *L)
{
	const struct domain_value *d = check_domain_value(L, 1);

	obj_push_domain(L, d->text[0] == '[' ? NULL : psl_registrable_domain(psl_builtin(), d->text));
	return 1;
}

static const luaL_Reg domain_methods[] = {
	{ "is_local", domain_is_local },
	{ "is_remote", domain_is_remote },
	{ "under", domain_under },
	{ "registered", domain_registered },
	{ NULL, NULL }
};

static bool
domain_field(lua_State *L, const char *key)
{
	const struct domain_value *d = check_domain_value(L, 1);
	char unicode[1024];

	if (strcmp(key, "name") == 0) {
		lua_pushlstring(L, d->text, d->n);
		return true;
	}
	if (strcmp(key, "unicode") != 0)
		return false;
	dns_to_unicode(unicode, sizeof unicode, d->text);
	lua_pushstring(L, unicode);
	return true;
}

static int
domain_tostring(lua_State *L)
{
	const struct domain_value *d = check_domain_value(L, 1);

	lua_pushlstring(L, d->text, d->n);
	return 1;
}

static int
domain_eq(lua_State *L)
{
	const struct domain_value *a = luaL_testudata(L, 1, DOMAIN_MT);
	const struct domain_value *b = luaL_testudata(L, 2, DOMAIN_MT);

	lua_pushboolean(L, a != NULL && b != NULL && a->n == b->n && memcmp(a->text, b->text, a->n) == 0);
	return 1;
}

/* gw.domain(text) -> domain, or nil and why not. */
static int
domain_new(lua_State *L)
{
	size_t n;
	const char *p = luaL_checklstring(L, 1, &n);
	char ascii[256];

	if (!dns_to_ascii(ascii, (struct slice){ p, n }) || ascii[0] == '\0') {
		lua_pushnil(L);
		lua_pushliteral(L, "not a domain name");
		return 2;
	}
	obj_push_domain(L, ascii);
	return 1;
}

void
obj_address_register(lua_State *L)
{
	static const luaL_Reg address_mt[] = {
		{ "__newindex", read_only },
		{ "__tostring", address_tostring }, { "__eq", address_eq }, { NULL, NULL }
	};
	static const luaL_Reg domain_mt[] = {
		{ "__newindex", read_only },
		{ "__tostring", domain_tostring }, { "__eq", domain_eq }, { NULL, NULL }
	};

	static const struct policy_type address = { "address", NULL, address_field, address_fields };
	static const struct policy_type domain = { "domain", domain_methods, domain_field, domain_fields };

	policy_newmetatable(L, ADDRESS_MT, address_mt);
	policy_type_members(L, &address);
	policy_newmetatable(L, DOMAIN_MT, domain_mt);
	policy_type_members(L, &domain);
	lua_pop(L, 2);
	lua_pushcfunction(L, address_new);
	lua_setfield(L, -2, "address");
	lua_pushcfunction(L, domain_new);
	lua_setfield(L, -2, "domain");
}
