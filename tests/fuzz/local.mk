# A harness `name` is tests/fuzz/fuzz_<name>.c with seeds in tests/fuzz/seeds/<name>/; it is
# listed by the folder whose parser it feeds (src/*/local.mk):
#   check_PROGRAMS += tests/fuzz/replay_name
#   TESTS += tests/fuzz/replay_name
#   tests_fuzz_replay_name_SOURCES = tests/fuzz/fuzz_name.c tests/fuzz/replay.c
#   FUZZ_NAMES += name
# and, with --enable-fuzzers (CC=clang), also built as a libFuzzer program by `make fuzzers`.
FUZZ_NAMES =
EXTRA_DIST += tests/fuzz/seeds
FUZZ_FLAGS = -g -O1 -fsanitize=fuzzer,address,undefined
fuzzers: libsallyport.a
	@for n in $(FUZZ_NAMES); do \
	  echo "  FUZZ     fuzz_$$n"; \
	  $(CC) $(DEFS) $(DEFAULT_INCLUDES) $(AM_CPPFLAGS) -std=gnu11 $(FUZZ_FLAGS) -pthread \
	    -o fuzz_$$n $(srcdir)/tests/fuzz/fuzz_$$n.c $(filter %.c,$(libsallyport_a_SOURCES:%=$(srcdir)/%)) $(DEPS_LIBS) || exit 1; \
	done
.PHONY: fuzzers
CLEANFILES += $(FUZZ_NAMES:%=fuzz_%)
