# The shipped library: found by require and as fields of gw (src/policy/bundle.c, lib.c).
gwluadir = $(lualibdir)/gw
dist_gwlua_DATA = \
	lua/gw/arc.lua \
	lua/gw/auth.lua \
	lua/gw/calendar.lua \
	lua/gw/dkim.lua \
	lua/gw/redact.lua \
	lua/gw/schema.lua \
	lua/gw/template.lua
