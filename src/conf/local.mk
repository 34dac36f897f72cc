libsallyport_a_SOURCES += \
	src/conf/audit.c \
	src/conf/check.c \
	src/conf/conf.c src/conf/conf.h src/conf/conf_int.h \
	src/conf/credentials.c \
	src/conf/dump.c \
	src/conf/eval.c \
	src/conf/invariants.c \
	src/conf/man.c \
	src/conf/nets.c \
	src/conf/read.c \
	src/conf/route.c src/conf/route.h \
	src/conf/schema.c \
	src/conf/settings.c src/conf/settings.h \
	src/conf/special.c \
	src/conf/sts.c \
	src/conf/tables.c \
	src/conf/types.c \
	src/conf/values.c

check_PROGRAMS += tests/unit/test_conf tests/unit/test_conf_man tests/unit/test_conf_wrong \
	tests/unit/test_route
TESTS += tests/unit/test_conf tests/unit/test_conf_man tests/unit/test_conf_wrong \
	tests/unit/test_route
tests_unit_test_conf_SOURCES = tests/unit/test_conf.c tests/unit/unit.h
tests_unit_test_conf_LDADD = $(UNIT_LIBS)
tests_unit_test_conf_man_SOURCES = tests/unit/test_conf_man.c tests/unit/unit.h
tests_unit_test_conf_man_LDADD = $(UNIT_LIBS)
tests_unit_test_conf_wrong_SOURCES = tests/unit/test_conf_wrong.c tests/unit/unit.h
tests_unit_test_conf_wrong_LDADD = $(UNIT_LIBS)
tests_unit_test_route_SOURCES = tests/unit/test_route.c tests/unit/unit.h
tests_unit_test_route_LDADD = $(UNIT_LIBS)

check_PROGRAMS += tests/fuzz/replay_conf tests/fuzz/replay_route_json
TESTS += tests/fuzz/replay_conf tests/fuzz/replay_route_json
tests_fuzz_replay_conf_SOURCES = tests/fuzz/fuzz_conf.c tests/fuzz/replay.c
tests_fuzz_replay_route_json_SOURCES = tests/fuzz/fuzz_route_json.c tests/fuzz/replay.c
FUZZ_NAMES += conf route_json
