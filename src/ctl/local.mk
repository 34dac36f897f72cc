libsallyport_a_SOURCES += \
	src/ctl/cli.c src/ctl/cli_int.h \
	src/ctl/cli_conf.c \
	src/ctl/cli_evidence.c \
	src/ctl/cli_policy.c \
	src/ctl/cli_probe.c \
	src/ctl/cli_queue.c \
	src/ctl/cli_rate.c \
	src/ctl/cli_records.c \
	src/ctl/cli_rehearse.c \
	src/ctl/cli_seen.c \
	src/ctl/cli_show.c \
	src/ctl/cli_simulate.c \
	src/ctl/cli_tlsrpt.c \
	src/ctl/cli_trace.c \
	src/ctl/client.c \
	src/ctl/ctl.c src/ctl/ctl.h src/ctl/ctl_int.h \
	src/ctl/http.c \
	src/ctl/probe.c src/ctl/probe.h src/ctl/probe_say.c src/ctl/probe_sts.c \
	src/ctl/query.c \
	src/ctl/records.c src/ctl/records.h src/ctl/records_check.c
check_PROGRAMS += tests/fuzz/replay_admin
TESTS += tests/fuzz/replay_admin
tests_fuzz_replay_admin_SOURCES = tests/fuzz/fuzz_admin.c tests/fuzz/fuzz_random.h tests/fuzz/replay.c
FUZZ_NAMES += admin
CLEANFILES += fuzz-admin.sock
