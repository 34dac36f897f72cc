# policy: its sources, and below its unit tests
libsallyport_a_SOURCES += \
	src/policy/policy.h src/policy/policy_int.h \
	src/policy/await.c \
	src/policy/await_audit.c \
	src/policy/await_body.c \
	src/policy/await_dkim.c \
	src/policy/await_dns.c \
	src/policy/await_group.c src/policy/await_group.h \
	src/policy/await_http.c \
	src/policy/await_kv.c \
	src/policy/await_sql.c src/policy/await_sql.h \
	src/policy/await_sts.c \
	src/policy/bundle.c src/policy/bundle_pack.h \
	src/policy/await_tlsrpt.c \
	src/policy/change.c \
	src/policy/check.c src/policy/check_int.h src/policy/check_lints.c \
	src/policy/corolib.c \
	src/policy/counts.c \
	src/policy/describe.c \
	src/policy/engine.c \
	src/policy/fiber.c \
	src/policy/index.c \
	src/policy/journal.c src/policy/journal.h src/policy/journal_int.h \
	src/policy/journal_fields.c \
	src/policy/journal_lua.c \
	src/policy/json.c \
	src/policy/lib.c src/policy/lib.h \
	src/policy/lib_cidr.c \
	src/policy/lib_geo.c \
	src/policy/lib_mime.c \
	src/policy/lib_zone.c \
	src/policy/life.c \
	src/policy/lua_cache.c \
	src/policy/lua_rate.c \
	src/policy/lua_table.c \
	src/policy/limits.c \
	src/policy/load.c \
	src/policy/memo.c \
	src/policy/misc.c \
	src/policy/opts.c \
	src/policy/sandbox.c \
	src/policy/strmatch.c \
	src/policy/tablib.c \
	src/policy/timers.c \
	src/policy/trace.c src/policy/trace.h \
	src/policy/trace_filter.c \
	src/policy/trace_json.c \
	src/policy/verdict.c src/policy/verdict_int.h \
	src/policy/verdict_route.c
check_PROGRAMS += tests/unit/test_policy_engine
TESTS += tests/unit/test_policy_engine
tests_unit_test_policy_engine_SOURCES = tests/unit/test_policy_engine.c tests/unit/unit.h
tests_unit_test_policy_engine_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_policy_check
TESTS += tests/unit/test_policy_check
tests_unit_test_policy_check_SOURCES = tests/unit/test_policy_check.c tests/unit/policy_fixture.h tests/unit/unit.h
tests_unit_test_policy_check_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_policy_hooks
TESTS += tests/unit/test_policy_hooks
tests_unit_test_policy_hooks_SOURCES = tests/unit/test_policy_hooks.c tests/unit/policy_fixture.h \
	tests/unit/unit.h
tests_unit_test_policy_hooks_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_policy_matrix
TESTS += tests/unit/test_policy_matrix
tests_unit_test_policy_matrix_SOURCES = tests/unit/test_policy_matrix.c tests/unit/policy_fixture.h \
	tests/unit/unit.h
tests_unit_test_policy_matrix_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_policy_index
TESTS += tests/unit/test_policy_index
tests_unit_test_policy_index_SOURCES = tests/unit/test_policy_index.c tests/unit/policy_fixture.h \
	tests/fuzz/fuzz_random.h tests/unit/unit.h
tests_unit_test_policy_index_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_policy_escape
TESTS += tests/unit/test_policy_escape
tests_unit_test_policy_escape_SOURCES = tests/unit/test_policy_escape.c tests/unit/policy_fixture.h \
	tests/unit/unit.h
tests_unit_test_policy_escape_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_policy_await
TESTS += tests/unit/test_policy_await
tests_unit_test_policy_await_SOURCES = tests/unit/test_policy_await.c tests/unit/policy_fixture.h \
	tests/unit/store_rig.h tests/unit/unit.h
tests_unit_test_policy_await_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_policy_lib
TESTS += tests/unit/test_policy_lib
tests_unit_test_policy_lib_SOURCES = tests/unit/test_policy_lib.c tests/unit/policy_fixture.h tests/unit/unit.h
tests_unit_test_policy_lib_LDADD = $(UNIT_LIBS)
EXTRA_DIST += tests/unit/lib/auth.lua tests/unit/lib/calendar.lua tests/unit/lib/cidr.lua tests/unit/lib/dkim.lua \
	tests/unit/lib/geo.lua tests/unit/lib/parts.lua tests/unit/lib/country.mmdb tests/unit/lib/asn.mmdb tests/unit/lib/make_mmdb.py \
	tests/unit/lib/redact.lua tests/unit/lib/schema.lua tests/unit/lib/template.lua
check_PROGRAMS += tests/unit/test_policy_data
TESTS += tests/unit/test_policy_data
tests_unit_test_policy_data_SOURCES = tests/unit/test_policy_data.c tests/unit/policy_fixture.h tests/unit/unit.h
tests_unit_test_policy_data_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_policy_sql
TESTS += tests/unit/test_policy_sql
tests_unit_test_policy_sql_SOURCES = tests/unit/test_policy_sql.c tests/unit/policy_fixture.h tests/unit/unit.h
tests_unit_test_policy_sql_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_policy_strmatch
TESTS += tests/unit/test_policy_strmatch
tests_unit_test_policy_strmatch_SOURCES = tests/unit/test_policy_strmatch.c tests/unit/unit.h
tests_unit_test_policy_strmatch_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/fuzz/replay_policy_pattern
TESTS += tests/fuzz/replay_policy_pattern
tests_fuzz_replay_policy_pattern_SOURCES = tests/fuzz/fuzz_policy_pattern.c tests/fuzz/replay.c
tests_fuzz_replay_policy_pattern_LDADD = $(UNIT_LIBS)
FUZZ_NAMES += policy_pattern
check_PROGRAMS += tests/fuzz/replay_lua
TESTS += tests/fuzz/replay_lua
tests_fuzz_replay_lua_SOURCES = tests/fuzz/fuzz_lua.c tests/fuzz/lua_grammar.h tests/fuzz/fuzz_random.h \
	tests/fuzz/replay.c tests/unit/policy_fixture.h
tests_fuzz_replay_lua_LDADD = $(UNIT_LIBS)
FUZZ_NAMES += lua
noinst_PROGRAMS += tests/bench/bench_policy
tests_bench_bench_policy_SOURCES = tests/bench/bench_policy.c
tests_bench_bench_policy_LDADD = libsallyport.a $(DEPS_LIBS)
# objects
libsallyport_a_SOURCES += \
	src/policy/lua_match.c \
	src/policy/lua_metric.c \
	src/policy/matcher.c src/policy/matcher.h src/policy/matcher_int.h \
	src/policy/matcher_eval.c \
	src/policy/names.c src/policy/names.h \
	src/policy/obj_address.c \
	src/policy/obj_bounce.c \
	src/policy/obj_ctx.c \
	src/policy/obj_hop.c \
	src/policy/obj_message.c src/policy/obj_message.h \
	src/policy/obj_message_edit.c \
	src/policy/obj_notice.c \
	src/policy/obj_parts.c \
	src/policy/obj_rcpt.c \
	src/policy/obj_report.c \
	src/policy/obj_result.c \
	src/policy/obj_session.c \
	src/policy/obj_set.c \
	src/policy/obj_vars.c \
	src/policy/objects.c src/policy/objects.h \
	src/policy/rules.c src/policy/rules.h \
	src/policy/view.c src/policy/view.h
check_PROGRAMS += tests/unit/test_policy_match
TESTS += tests/unit/test_policy_match
tests_unit_test_policy_match_SOURCES = tests/unit/test_policy_match.c tests/unit/unit.h
tests_unit_test_policy_match_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_policy_objects
TESTS += tests/unit/test_policy_objects
tests_unit_test_policy_objects_SOURCES = tests/unit/test_policy_objects.c tests/unit/policy_fixture.h \
	tests/unit/unit.h
tests_unit_test_policy_objects_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_policy_rules
TESTS += tests/unit/test_policy_rules
tests_unit_test_policy_rules_SOURCES = tests/unit/test_policy_rules.c tests/unit/policy_fixture.h \
	tests/unit/unit.h
tests_unit_test_policy_rules_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/fuzz/replay_policy_text
TESTS += tests/fuzz/replay_policy_text
tests_fuzz_replay_policy_text_SOURCES = tests/fuzz/fuzz_policy_text.c tests/fuzz/replay.c
tests_fuzz_replay_policy_text_LDADD = $(UNIT_LIBS)
FUZZ_NAMES += policy_text
# objects: end
