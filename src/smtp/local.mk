# server: addresses, parameters, the inbound conversation
libsallyport_a_SOURCES += \
	src/smtp/cmd_auth.c \
	src/smtp/cmd_bdat.c \
	src/smtp/cmd_data.c \
	src/smtp/cmd_hello.c \
	src/smtp/cmd_mail.c \
	src/smtp/cmd_misc.c \
	src/smtp/cmd_rcpt.c \
	src/smtp/command.c \
	src/smtp/data.c \
	src/smtp/params.c \
	src/smtp/path.c \
	src/smtp/reply_out.c \
	src/smtp/server.c \
	src/smtp/session.c \
	src/smtp/smtp.h src/smtp/smtp_int.h \
	src/smtp/xtext.c
check_PROGRAMS += tests/unit/test_smtp_path tests/unit/test_smtp_params tests/unit/test_smtp_data \
	tests/unit/test_smtp_session
TESTS += tests/unit/test_smtp_path tests/unit/test_smtp_params tests/unit/test_smtp_data \
	tests/unit/test_smtp_session
tests_unit_test_smtp_path_SOURCES = tests/unit/test_smtp_path.c tests/unit/unit.h
tests_unit_test_smtp_path_LDADD = $(UNIT_LIBS)
tests_unit_test_smtp_params_SOURCES = tests/unit/test_smtp_params.c tests/unit/unit.h
tests_unit_test_smtp_params_LDADD = $(UNIT_LIBS)
tests_unit_test_smtp_data_SOURCES = tests/unit/test_smtp_data.c tests/unit/unit.h
tests_unit_test_smtp_data_LDADD = $(UNIT_LIBS)
tests_unit_test_smtp_session_SOURCES = tests/unit/test_smtp_session.c tests/unit/unit.h
tests_unit_test_smtp_session_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/fuzz/replay_path tests/fuzz/replay_params tests/fuzz/replay_xtext \
	tests/fuzz/replay_data tests/fuzz/replay_session
TESTS += tests/fuzz/replay_path tests/fuzz/replay_params tests/fuzz/replay_xtext \
	tests/fuzz/replay_data tests/fuzz/replay_session
tests_fuzz_replay_path_SOURCES = tests/fuzz/fuzz_path.c tests/fuzz/replay.c
tests_fuzz_replay_params_SOURCES = tests/fuzz/fuzz_params.c tests/fuzz/replay.c
tests_fuzz_replay_xtext_SOURCES = tests/fuzz/fuzz_xtext.c tests/fuzz/replay.c
tests_fuzz_replay_data_SOURCES = tests/fuzz/fuzz_data.c tests/fuzz/fuzz_random.h tests/fuzz/replay.c
tests_fuzz_replay_session_SOURCES = tests/fuzz/fuzz_session.c $(FAKE_NET) tests/fuzz/replay.c
FUZZ_NAMES += path params xtext data session
# client
libsallyport_a_SOURCES += \
	src/smtp/client.c \
	src/smtp/client_auth.c \
	src/smtp/client_ehlo.c \
	src/smtp/client_int.h \
	src/smtp/client_txn.c \
	src/smtp/reply.c
check_PROGRAMS += tests/unit/test_smtp_reply tests/unit/test_smtp_client tests/fuzz/replay_reply \
	tests/fuzz/replay_client tests/fuzz/replay_ehlo
TESTS += tests/unit/test_smtp_reply tests/unit/test_smtp_client tests/fuzz/replay_reply \
	tests/fuzz/replay_client tests/fuzz/replay_ehlo
tests_unit_test_smtp_reply_SOURCES = tests/unit/test_smtp_reply.c tests/unit/unit.h
tests_unit_test_smtp_reply_LDADD = $(UNIT_LIBS)
tests_unit_test_smtp_client_SOURCES = tests/unit/test_smtp_client.c tests/unit/unit.h
tests_unit_test_smtp_client_LDADD = $(UNIT_LIBS)
tests_fuzz_replay_reply_SOURCES = tests/fuzz/fuzz_reply.c tests/fuzz/replay.c
tests_fuzz_replay_client_SOURCES = tests/fuzz/fuzz_client.c $(FAKE_NET) tests/fuzz/replay.c
tests_fuzz_replay_ehlo_SOURCES = tests/fuzz/fuzz_ehlo.c tests/fuzz/replay.c
FUZZ_NAMES += reply client ehlo
# end client
