libsallyport_a_SOURCES += \
	src/gateway/confine.c src/gateway/confine.h src/gateway/confine_calls.c \
	src/gateway/crew.c \
	src/gateway/daemon.c src/gateway/gateway.h src/gateway/gateway_int.h \
	src/gateway/generations.c src/gateway/generations.h src/gateway/generations_int.h \
	src/gateway/generations_breaker.c \
	src/gateway/generations_canary.c \
	src/gateway/generations_show.c \
	src/gateway/memory.c src/gateway/memory.h \
	src/gateway/privileges.c src/gateway/privileges.h \
	src/gateway/metrics.c \
	src/gateway/reception.c src/gateway/reception.h \
	src/gateway/resolver.c src/gateway/resolver.h \
	src/gateway/sessions.c \
	src/gateway/setup.c \
	src/gateway/tracing.c \
	src/gateway/web.c \
	src/gateway/worker.c
check_PROGRAMS += tests/unit/test_confine tests/unit/test_sessions
TESTS += tests/unit/test_confine tests/unit/test_sessions
tests_unit_test_confine_SOURCES = tests/unit/test_confine.c tests/unit/unit.h
tests_unit_test_confine_LDADD = $(UNIT_LIBS)
tests_unit_test_sessions_SOURCES = tests/unit/test_sessions.c tests/unit/unit.h
tests_unit_test_sessions_LDADD = $(UNIT_LIBS)
