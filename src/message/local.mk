# message: its sources, and below its unit tests
libsallyport_a_SOURCES += \
	src/message/addresses.c \
	src/message/decode.c \
	src/message/dsn.c \
	src/message/dsn_mime.c \
	src/message/dsn_phrases.c \
	src/message/dsn_reduce.c \
	src/message/dsn_text.c \
	src/message/dsn_words.c \
	src/message/edits.c \
	src/message/fields.c \
	src/message/header.c \
	src/message/message.h src/message/message_int.h \
	src/message/mime.c src/message/mime.h \
	src/message/mime_scan.c \
	src/message/msg.c src/message/msg.h \
	src/message/received.c \
	src/message/report.c src/message/report.h \
	src/message/stuff.c \
	src/message/writer.c
check_PROGRAMS += tests/unit/test_message_dsn tests/unit/test_message_edit tests/unit/test_message_header \
	tests/unit/test_message_msg tests/unit/test_message_received tests/unit/test_message_writer
TESTS += tests/unit/test_message_dsn tests/unit/test_message_edit tests/unit/test_message_header \
	tests/unit/test_message_msg tests/unit/test_message_received tests/unit/test_message_writer
tests_unit_test_message_dsn_SOURCES = tests/unit/test_message_dsn.c tests/unit/unit.h
tests_unit_test_message_dsn_LDADD = $(UNIT_LIBS)
tests_unit_test_message_edit_SOURCES = tests/unit/test_message_edit.c tests/unit/unit.h
tests_unit_test_message_edit_LDADD = $(UNIT_LIBS)
tests_unit_test_message_header_SOURCES = tests/unit/test_message_header.c tests/unit/unit.h
tests_unit_test_message_header_LDADD = $(UNIT_LIBS)
tests_unit_test_message_msg_SOURCES = tests/unit/test_message_msg.c tests/unit/unit.h
tests_unit_test_message_msg_LDADD = $(UNIT_LIBS)
tests_unit_test_message_received_SOURCES = tests/unit/test_message_received.c tests/unit/unit.h
tests_unit_test_message_received_LDADD = $(UNIT_LIBS)
tests_unit_test_message_writer_SOURCES = tests/unit/test_message_writer.c tests/unit/unit.h
tests_unit_test_message_writer_LDADD = $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_message_mime tests/fuzz/replay_mime
TESTS += tests/unit/test_message_mime tests/fuzz/replay_mime
tests_unit_test_message_mime_SOURCES = tests/unit/test_message_mime.c tests/unit/unit.h
tests_unit_test_message_mime_LDADD = $(UNIT_LIBS)
tests_fuzz_replay_mime_SOURCES = tests/fuzz/fuzz_mime.c tests/fuzz/replay.c
tests_fuzz_replay_mime_LDADD = $(UNIT_LIBS)
FUZZ_NAMES += mime
check_PROGRAMS += tests/fuzz/replay_header tests/fuzz/replay_writer tests/fuzz/replay_decode
TESTS += tests/fuzz/replay_header tests/fuzz/replay_writer tests/fuzz/replay_decode
tests_fuzz_replay_header_SOURCES = tests/fuzz/fuzz_header.c tests/fuzz/replay.c
tests_fuzz_replay_writer_SOURCES = tests/fuzz/fuzz_writer.c tests/fuzz/replay.c
tests_fuzz_replay_decode_SOURCES = tests/fuzz/fuzz_decode.c tests/fuzz/replay.c
FUZZ_NAMES += header writer decode
check_PROGRAMS += tests/unit/test_message_report tests/fuzz/replay_report
TESTS += tests/unit/test_message_report tests/fuzz/replay_report
tests_unit_test_message_report_SOURCES = tests/unit/test_message_report.c tests/unit/unit.h
tests_unit_test_message_report_LDADD = $(UNIT_LIBS)
tests_fuzz_replay_report_SOURCES = tests/fuzz/fuzz_report.c tests/fuzz/replay.c
FUZZ_NAMES += report
check_PROGRAMS += tests/fuzz/replay_dsn
TESTS += tests/fuzz/replay_dsn
tests_fuzz_replay_dsn_SOURCES = tests/fuzz/fuzz_dsn.c tests/fuzz/replay.c
FUZZ_NAMES += dsn
# DKIM
libsallyport_a_SOURCES += src/message/dkim.c src/message/dkim.h src/message/dkim_check.c src/message/dkim_check.h \
	src/message/tlsrpt_mail.c src/message/tlsrpt_mail.h
check_PROGRAMS += tests/unit/test_message_dkim
TESTS += tests/unit/test_message_dkim
tests_unit_test_message_dkim_SOURCES = tests/unit/test_message_dkim.c tests/unit/unit.h
tests_unit_test_message_dkim_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/fuzz/replay_dkim
TESTS += tests/fuzz/replay_dkim
tests_fuzz_replay_dkim_SOURCES = tests/fuzz/fuzz_dkim.c tests/fuzz/replay.c
FUZZ_NAMES += dkim
