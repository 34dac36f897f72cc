# A harness `name` is tests/fuzz/fuzz_<name>.c with seeds in tests/fuzz/seeds/<name>/; it is
# listed by the folder whose parser it feeds (src/*/local.mk):
#   check_PROGRAMS += tests/fuzz/replay_name
#   TESTS += tests/fuzz/replay_name
#   tests_fuzz_replay_name_SOURCES = tests/fuzz/fuzz_name.c tests/fuzz/replay.c
#   FUZZ_NAMES += name
# (and $(FAKE_NET), when it includes fake_net.h). `make check` plays the seeds with any compiler. The libFuzzer programs are made by `make fuzzers`
# from objects of their own and need clang with its runtime (Debian: clang libclang-rt-14-dev):
#   make fuzz-run FUZZ_RUNS=10000000 FUZZ_ONLY="path session" FUZZ_JOBS=2
# runs them all, or those named; see tests/fuzz/run.
FUZZ_NAMES =
FAKE_NET = tests/fuzz/fake_net.c tests/fuzz/fake_net.h tests/fuzz/fuzz_random.h
FUZZ_RUNS = 10000000
FUZZ_JOBS = 1
FUZZ_ONLY =
FUZZ_CC = clang
FUZZ_CFLAGS = -g -O2 -std=gnu11 -pthread -fno-omit-frame-pointer -fno-sanitize-recover=all
FUZZ_SAN = address,undefined
FUZZ_COMPILE = $(FUZZ_CC) $(DEFS) $(DEFAULT_INCLUDES) $(AM_CPPFLAGS) $(FUZZ_CFLAGS)
FUZZ_OBJECTS = $(patsubst %.c,fuzz/%.o,$(filter %.c,$(libsallyport_a_SOURCES) $(nodist_libsallyport_a_SOURCES)))
# Comparisons are not traced: dictionaries and seeds name the words, and it costs a quarter of the speed.
fuzz/src/%.o: $(srcdir)/src/%.c
	@mkdir -p $(@D)
	$(AM_V_CC)$(FUZZ_COMPILE) -fsanitize=fuzzer-no-link,$(FUZZ_SAN) \
	  -fno-sanitize-coverage=trace-cmp -MMD -MP -c -o $@ $<
# What is generated lies in the build folder.
fuzz/src/%.o: src/%.c
	@mkdir -p $(@D)
	$(AM_V_CC)$(FUZZ_COMPILE) -fsanitize=fuzzer-no-link,$(FUZZ_SAN) \
	  -fno-sanitize-coverage=trace-cmp -MMD -MP -c -o $@ $<
# The harness's own branches are not what is to be covered, and counting them costs half the speed.
fuzz/tests/%.o: $(srcdir)/tests/%.c
	@mkdir -p $(@D)
	$(AM_V_CC)$(FUZZ_COMPILE) -fsanitize=$(FUZZ_SAN) -MMD -MP -c -o $@ $<
fuzz/libsallyport.a: $(FUZZ_OBJECTS)
	@rm -f $@
	$(AM_V_AR)$(AR) cr $@ $(FUZZ_OBJECTS)
fuzz/fuzz_%: fuzz/tests/fuzz/fuzz_%.o fuzz/tests/fuzz/fake_net.o fuzz/libsallyport.a
	$(AM_V_CCLD)$(FUZZ_CC) $(FUZZ_CFLAGS) -fsanitize=fuzzer,$(FUZZ_SAN) -o $@ $< \
	  $$(if grep -q fake_net.h $(<:.o=.d); then echo fuzz/tests/fuzz/fake_net.o; fi) \
	  fuzz/libsallyport.a $(DEPS_LIBS)
.SECONDARY: $(FUZZ_NAMES:%=fuzz/tests/fuzz/fuzz_%.o) fuzz/tests/fuzz/fake_net.o
-include $(wildcard fuzz/src/*/*.d fuzz/tests/fuzz/*.d)
fuzzers: $(BUILT_SOURCES) config.h
	@$(MAKE) $(AM_MAKEFLAGS) $(FUZZ_NAMES:%=fuzz/fuzz_%)
fuzz-run: fuzzers
	$(srcdir)/tests/fuzz/run --runs $(FUZZ_RUNS) --jobs $(FUZZ_JOBS) --seeds $(srcdir)/tests/fuzz \
	  --programs fuzz $(if $(FUZZ_ONLY),$(FUZZ_ONLY),$(FUZZ_NAMES))
.PHONY: fuzzers fuzz-run
EXTRA_DIST += tests/fuzz/seeds tests/fuzz/run $(FUZZ_DICTS)
FUZZ_DICTS = $(patsubst $(srcdir)/%,%,$(wildcard $(srcdir)/tests/fuzz/*.dict))
clean-local: clean-fuzz
clean-fuzz:
	rm -rf fuzz fuzz-rows-*
.PHONY: clean-fuzz
