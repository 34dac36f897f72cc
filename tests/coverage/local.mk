# Every row of the lists of threats, faults and requirements has a test, or a reason.
TESTS += tests/coverage/rows.py
EXTRA_DIST += tests/coverage/rows.py tests/coverage/rows.txt tests/coverage/reasons.txt
# Every hook has a test for every end that a handler can come to.
check_PROGRAMS += tests/coverage/hook_table
tests_coverage_hook_table_SOURCES = tests/coverage/hook_table.c
tests_coverage_hook_table_LDADD = libsallyport.a $(DEPS_LIBS)
TESTS += tests/coverage/hooks.py
EXTRA_DIST += tests/coverage/hooks.py tests/coverage/hook_reasons.txt
