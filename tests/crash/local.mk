# Kill -9, named points, power cuts, syncs counted, the queue against a model.
CRASH_TESTS = tests/crash/kill.py tests/crash/points.py tests/crash/powercut.py
TESTS += $(CRASH_TESTS)
SOAK_TESTS += $(CRASH_TESTS)
EXTRA_DIST += $(CRASH_TESTS) tests/crash/rig.py tests/crash/powercut.c

# The daemon with its failpoints: the files that have some are compiled for it once more, all else comes
# from the library. It is never installed.
check_PROGRAMS += tests/crash/sallyportd-failpoints
tests_crash_sallyportd_failpoints_SOURCES = src/sallyportd.c src/base/err.c src/deliver/outcome.c \
	src/deliver/send.c src/gateway/generations.c src/gateway/reception.c src/queue/group.c src/queue/open.c
tests_crash_sallyportd_failpoints_CPPFLAGS = $(AM_CPPFLAGS) -DFAILPOINTS=1

check_DATA += tests/crash/powercut.so
tests/crash/powercut.so: tests/crash/powercut.c
	$(AM_V_CC)$(MKDIR_P) tests/crash && $(CC) -std=gnu11 $(WARN_CFLAGS) -O2 -g -fPIC -shared -o $@ \
	  $(srcdir)/tests/crash/powercut.c -ldl -pthread
CLEANFILES += tests/crash/powercut.so

check_PROGRAMS += tests/crash/test_model
TESTS += tests/crash/test_model
SOAK_TESTS += tests/crash/test_model
tests_crash_test_model_SOURCES = tests/crash/test_model.c tests/unit/store_rig.h tests/unit/unit.h
tests_crash_test_model_LDADD = $(UNIT_LIBS)

check_PROGRAMS += tests/crash/test_synchronous
TESTS += tests/crash/test_synchronous
tests_crash_test_synchronous_SOURCES = tests/crash/test_synchronous.c tests/unit/store_rig.h tests/unit/unit.h
tests_crash_test_synchronous_LDADD = $(UNIT_LIBS)
