# Sending reports
libsallyport_a_SOURCES += \
	src/tlsrpt/post.c src/tlsrpt/post.h \
	src/tlsrpt/send.c src/tlsrpt/send.h \
	src/tlsrpt/txt.c src/tlsrpt/txt.h
check_PROGRAMS += tests/unit/test_tlsrpt_txt tests/fuzz/replay_tlsrpt_txt
TESTS += tests/unit/test_tlsrpt_txt tests/fuzz/replay_tlsrpt_txt
tests_unit_test_tlsrpt_txt_SOURCES = tests/unit/test_tlsrpt_txt.c tests/unit/unit.h
tests_unit_test_tlsrpt_txt_LDADD = $(UNIT_LIBS)
tests_fuzz_replay_tlsrpt_txt_SOURCES = tests/fuzz/fuzz_tlsrpt_txt.c tests/fuzz/replay.c
FUZZ_NAMES += tlsrpt_txt
check_PROGRAMS += tests/unit/test_tlsrpt_send
TESTS += tests/unit/test_tlsrpt_send
tests_unit_test_tlsrpt_send_SOURCES = tests/unit/test_tlsrpt_send.c tests/unit/unit.h tests/unit/store_rig.h
tests_unit_test_tlsrpt_send_LDADD = $(UNIT_LIBS)
