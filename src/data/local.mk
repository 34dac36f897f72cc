libsallyport_a_SOURCES += \
	src/data/build.c \
	src/data/cdb.c \
	src/data/csv.c \
	src/data/data.h src/data/data_int.h \
	src/data/json.c \
	src/data/metric.c src/data/metric.h \
	src/data/pool.c src/data/pool.h \
	src/data/rate.c src/data/rate.h \
	src/data/rows.c src/data/rows.h \
	src/data/sql.c src/data/sql.h \
	src/data/table.c
check_PROGRAMS += tests/unit/test_data
TESTS += tests/unit/test_data
tests_unit_test_data_SOURCES = tests/unit/test_data.c tests/unit/unit.h
tests_unit_test_data_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_data_rate
TESTS += tests/unit/test_data_rate
tests_unit_test_data_rate_SOURCES = tests/unit/test_data_rate.c tests/unit/unit.h
tests_unit_test_data_rate_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_data_metric
TESTS += tests/unit/test_data_metric
tests_unit_test_data_metric_SOURCES = tests/unit/test_data_metric.c tests/unit/unit.h
tests_unit_test_data_metric_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/fuzz/replay_table
TESTS += tests/fuzz/replay_table
tests_fuzz_replay_table_SOURCES = tests/fuzz/fuzz_table.c tests/fuzz/replay.c
FUZZ_NAMES += table
