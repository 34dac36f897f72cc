libsallyport_a_SOURCES += \
	src/base/base.h \
	src/base/buf.c src/base/buf.h \
	src/base/clock.c src/base/clock.h \
	src/base/dir.c \
	src/base/err.c src/base/err.h \
	src/base/hash.h \
	src/base/log.c src/base/log.h \
	src/base/mailbox.c src/base/mailbox.h \
	src/base/rand.c src/base/rand.h \
	src/base/slice.c src/base/slice.h \
	src/base/slots.c src/base/slots.h \
	src/base/work.c
check_PROGRAMS += tests/unit/test_base
TESTS += tests/unit/test_base
tests_unit_test_base_SOURCES = tests/unit/test_base.c tests/unit/unit.h
tests_unit_test_base_LDADD = $(UNIT_LIBS)
