libsallyport_a_SOURCES += \
	src/replay/compare.c \
	src/replay/delta.c \
	src/replay/replay.c src/replay/replay.h src/replay/replay_int.h \
	src/replay/side.c
check_PROGRAMS += tests/fuzz/replay_journal
TESTS += tests/fuzz/replay_journal
tests_fuzz_replay_journal_SOURCES = tests/fuzz/fuzz_journal.c tests/fuzz/replay.c
tests_fuzz_replay_journal_LDADD = $(UNIT_LIBS)
FUZZ_NAMES += journal
