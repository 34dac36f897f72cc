# The specification of the API: what C needs of it is made here, what people read by `make api-docs`.
API_FILES = api/files.txt api/life.txt api/types.lua api/hooks.lua api/verdicts.lua api/rules.lua api/functions.lua \
	api/waiting.lua api/data.lua api/session.lua api/message.lua api/delivery.lua api/reports.lua api/values.lua api/library.lua api/tests.lua api/lua.lua
API_MAKERS = scripts/api/main.lua scripts/api/read.lua scripts/api/c.lua scripts/api/text.lua scripts/api/meta.lua \
	scripts/api/pages.lua
EXTRA_DIST += $(API_FILES) $(API_MAKERS)
nodist_libsallyport_a_SOURCES = src/policy/api_table.c src/policy/api_help.c
libsallyport_a_SOURCES += src/policy/api.c src/policy/api.h
CLEANFILES += src/policy/api_table.c src/policy/api_help.c
src/policy/api_table.c: $(API_FILES) $(API_MAKERS) src/policy/verdict.c src/policy/matcher.c src/policy/rules.c
	$(AM_V_GEN)$(MKDIR_P) src/policy && $(LUA) $(srcdir)/scripts/api/main.lua $(srcdir) . c >/dev/null
src/policy/api_help.c: src/policy/api_table.c
	@test -f $@ || { rm -f src/policy/api_table.c; $(MAKE) $(AM_MAKEFLAGS) src/policy/api_table.c; }
api-docs:
	$(LUA) $(srcdir)/scripts/api/main.lua $(srcdir) $(srcdir) docs
.PHONY: api-docs
luametadir = $(lualibdir)/meta
dist_luameta_DATA = lua/meta/gw.d.lua lua/meta/luacheckrc
include doc/reference/files.mk
check_PROGRAMS += tests/unit/test_policy_api
TESTS += tests/unit/test_policy_api
tests_unit_test_policy_api_SOURCES = tests/unit/test_policy_api.c tests/unit/policy_fixture.h tests/unit/unit.h
tests_unit_test_policy_api_LDADD = $(UNIT_LIBS)
TESTS += tests/proto/api_spec.py tests/proto/policy_new.py
EXTRA_DIST += tests/proto/api_spec.py tests/proto/policy_new.py
