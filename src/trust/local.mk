# trust: its sources, and below its unit tests
libsallyport_a_SOURCES += \
	src/trust/conclude.c \
	src/trust/dane.c src/trust/dane.h \
	src/trust/decide.c \
	src/trust/duties.c src/trust/duties.h \
	src/trust/names.c \
	src/trust/offer.c src/trust/offer.h \
	src/trust/trust.h
check_PROGRAMS += tests/unit/test_trust_decide tests/unit/test_trust_duties
TESTS += tests/unit/test_trust_decide tests/unit/test_trust_duties
tests_unit_test_trust_decide_SOURCES = tests/unit/test_trust_decide.c tests/unit/unit.h
tests_unit_test_trust_decide_LDADD = $(UNIT_LIBS)
tests_unit_test_trust_duties_SOURCES = tests/unit/test_trust_duties.c tests/unit/unit.h
tests_unit_test_trust_duties_LDADD = $(UNIT_LIBS)
# evidence
libsallyport_a_SOURCES += src/trust/evidence.c src/trust/evidence.h
check_PROGRAMS += tests/unit/test_evidence
TESTS += tests/unit/test_evidence
tests_unit_test_evidence_SOURCES = tests/unit/test_evidence.c tests/unit/unit.h
tests_unit_test_evidence_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/fuzz/replay_record
TESTS += tests/fuzz/replay_record
tests_fuzz_replay_record_SOURCES = tests/fuzz/fuzz_record.c tests/fuzz/replay.c
FUZZ_NAMES += record
# DANE
check_PROGRAMS += tests/unit/test_dane tests/fuzz/replay_tlsa
TESTS += tests/unit/test_dane tests/fuzz/replay_tlsa
tests_unit_test_dane_SOURCES = tests/unit/test_dane.c tests/unit/unit.h
tests_unit_test_dane_LDADD = $(UNIT_LIBS)
tests_fuzz_replay_tlsa_SOURCES = tests/fuzz/fuzz_tlsa.c tests/fuzz/replay.c
FUZZ_NAMES += tlsa
# TLSRPT
libsallyport_a_SOURCES += src/trust/tlsrpt.c src/trust/tlsrpt.h
check_PROGRAMS += tests/unit/test_tlsrpt
TESTS += tests/unit/test_tlsrpt
tests_unit_test_tlsrpt_SOURCES = tests/unit/test_tlsrpt.c tests/unit/unit.h tests/unit/store_rig.h
tests_unit_test_tlsrpt_LDADD = $(UNIT_LIBS)
# MTA-STS as text
libsallyport_a_SOURCES += src/trust/sts.c src/trust/sts.h
check_PROGRAMS += tests/unit/test_sts tests/fuzz/replay_sts_txt tests/fuzz/replay_sts_policy
TESTS += tests/unit/test_sts tests/fuzz/replay_sts_txt tests/fuzz/replay_sts_policy
tests_unit_test_sts_SOURCES = tests/unit/test_sts.c tests/unit/unit.h
tests_unit_test_sts_LDADD = $(UNIT_LIBS)
tests_fuzz_replay_sts_txt_SOURCES = tests/fuzz/fuzz_sts_txt.c tests/fuzz/replay.c
tests_fuzz_replay_sts_policy_SOURCES = tests/fuzz/fuzz_sts_policy.c tests/fuzz/replay.c
FUZZ_NAMES += sts_txt sts_policy
# offers
check_PROGRAMS += tests/unit/test_offer
TESTS += tests/unit/test_offer
tests_unit_test_offer_SOURCES = tests/unit/test_offer.c tests/unit/unit.h
tests_unit_test_offer_LDADD = $(UNIT_LIBS)
