libsallyport_a_SOURCES += \
	src/dns/context.c \
	src/dns/dns.c src/dns/dns.h src/dns/dns_int.h \
	src/dns/mx.c \
	src/dns/mx_addr.c \
	src/dns/name.c \
	src/dns/parse.c \
	src/dns/selftest.c \
	src/dns/tlsa.c src/dns/tlsa.h \
	src/dns/wire.c
check_PROGRAMS += tests/unit/test_dns tests/unit/test_dns_live tests/fuzz/replay_dns_rr
TESTS += tests/unit/test_dns tests/unit/test_dns_live tests/fuzz/replay_dns_rr
tests_unit_test_dns_SOURCES = tests/unit/test_dns.c tests/unit/unit.h
tests_unit_test_dns_LDADD = $(UNIT_LIBS)
tests_unit_test_dns_live_SOURCES = tests/unit/test_dns_live.c tests/unit/unit.h
tests_unit_test_dns_live_LDADD = $(UNIT_LIBS)
tests_fuzz_replay_dns_rr_SOURCES = tests/fuzz/fuzz_dns_rr.c tests/fuzz/replay.c
FUZZ_NAMES += dns_rr
