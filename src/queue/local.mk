libsallyport_a_SOURCES += \
	src/queue/clock.c \
	src/queue/db.c \
	src/queue/db_admin.c \
	src/queue/db_due.c \
	src/queue/db_evidence.c \
	src/queue/db_offer.c \
	src/queue/db_query.c \
	src/queue/db_sql.c \
	src/queue/db_status.c \
	src/queue/db_sts.c \
	src/queue/db_tlsrpt.c \
	src/queue/db_trace.c \
	src/queue/db_kv.c \
	src/queue/db_write.c \
	src/queue/evidence_keep.c \
	src/queue/files.c \
	src/queue/group.c \
	src/queue/open.c \
	src/queue/reader.c \
	src/queue/recover.c \
	src/queue/room.c \
	src/queue/store.c src/queue/store.h src/queue/store_int.h \
	src/queue/suspects.c
check_PROGRAMS += tests/unit/test_store tests/unit/test_store_crash
TESTS += tests/unit/test_store tests/unit/test_store_crash
tests_unit_test_store_SOURCES = tests/unit/test_store.c tests/unit/store_rig.h tests/unit/unit.h
tests_unit_test_store_LDADD = $(UNIT_LIBS)
tests_unit_test_store_crash_SOURCES = tests/unit/test_store_crash.c tests/unit/store_rig.h tests/unit/unit.h
tests_unit_test_store_crash_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_store_offers
TESTS += tests/unit/test_store_offers
tests_unit_test_store_offers_SOURCES = tests/unit/test_store_offers.c tests/unit/store_rig.h tests/unit/unit.h
tests_unit_test_store_offers_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_store_lease
TESTS += tests/unit/test_store_lease
tests_unit_test_store_lease_SOURCES = tests/unit/test_store_lease.c tests/unit/store_rig.h tests/unit/unit.h
tests_unit_test_store_lease_LDADD = $(UNIT_LIBS)
# Not a test: prints figures.
check_PROGRAMS += tests/bench/bench_store
tests_bench_bench_store_SOURCES = tests/bench/bench_store.c tests/unit/store_rig.h
check_PROGRAMS += tests/fuzz/replay_rows
TESTS += tests/fuzz/replay_rows
tests_fuzz_replay_rows_SOURCES = tests/fuzz/fuzz_rows.c tests/fuzz/replay.c
FUZZ_NAMES += rows
