libsallyport_a_SOURCES += \
	src/sts/fetch.c src/sts/fetch.h \
	src/sts/find.c \
	src/sts/request.c \
	src/sts/serve.c src/sts/serve.h \
	src/sts/sts.h
check_PROGRAMS += tests/fuzz/replay_sts_request
TESTS += tests/fuzz/replay_sts_request
tests_fuzz_replay_sts_request_SOURCES = tests/fuzz/fuzz_sts_request.c tests/fuzz/replay.c
FUZZ_NAMES += sts_request
check_PROGRAMS += tests/unit/test_sts_find
TESTS += tests/unit/test_sts_find
tests_unit_test_sts_find_SOURCES = tests/unit/test_sts_find.c tests/unit/unit.h
tests_unit_test_sts_find_LDADD = $(UNIT_LIBS)
