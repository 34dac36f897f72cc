libsallyport_a_SOURCES += \
	src/ctl/cli.c src/ctl/cli_int.h \
	src/ctl/cli_conf.c \
	src/ctl/cli_diff.c \
	src/ctl/cli_evidence.c \
	src/ctl/cli_new.c src/ctl/cli_new.h \
	src/ctl/cli_policy.c \
	src/ctl/cli_probe.c \
	src/ctl/cli_queue.c \
	src/ctl/cli_rate.c \
	src/ctl/cli_records.c \
	src/ctl/cli_rehearse.c \
	src/ctl/cli_seen.c \
	src/ctl/cli_show.c \
	src/ctl/cli_simulate.c \
	src/ctl/cli_tlsrpt.c \
	src/ctl/cli_trace.c \
	src/ctl/client.c \
	src/ctl/ctl.c src/ctl/ctl.h src/ctl/ctl_int.h \
	src/ctl/http.c \
	src/ctl/probe.c src/ctl/probe.h src/ctl/probe_say.c src/ctl/probe_sts.c \
	src/ctl/query.c \
	src/ctl/records.c src/ctl/records.h src/ctl/records_check.c
nodist_libsallyport_a_SOURCES += src/ctl/new_files.c
CLEANFILES += src/ctl/new_files.c
NEW_FILES = src/ctl/new/gateway.lua src/ctl/new/policy.lua src/ctl/new/tests/policy_test.lua src/ctl/new/README.md \
	src/ctl/new/luarc.json src/ctl/new/luacheckrc src/ctl/new/github/policy.yml src/ctl/new/gitlab-ci.yml
EXTRA_DIST += scripts/embed.lua $(NEW_FILES)
src/ctl/new_files.c: $(NEW_FILES) scripts/embed.lua
	$(AM_V_GEN)$(MKDIR_P) src/ctl && new=$(srcdir)/src/ctl/new && $(LUA) $(srcdir)/scripts/embed.lua $@ cli_new_files \
	    gateway.lua $$new/gateway.lua policy.lua $$new/policy.lua tests/policy_test.lua $$new/tests/policy_test.lua \
	    README.md $$new/README.md .luarc.json $$new/luarc.json .luacheckrc $$new/luacheckrc \
	    .github/workflows/policy.yml $$new/github/policy.yml .gitlab-ci.yml $$new/gitlab-ci.yml
check_PROGRAMS += tests/fuzz/replay_admin
TESTS += tests/fuzz/replay_admin
tests_fuzz_replay_admin_SOURCES = tests/fuzz/fuzz_admin.c tests/fuzz/fuzz_random.h tests/fuzz/replay.c
FUZZ_NAMES += admin
CLEANFILES += fuzz-admin.sock
