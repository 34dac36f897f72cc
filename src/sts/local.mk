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
