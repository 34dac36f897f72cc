# net: its sources, and below its unit tests
libsallyport_a_SOURCES += \
	src/net/addr.c \
	src/net/conn.c \
	src/net/conn_io.c \
	src/net/conn_tls.c \
	src/net/listener.c \
	src/net/net.h src/net/net_int.h \
	src/net/tls_client.c \
	src/net/tls_file.c \
	src/net/tls_info.c \
	src/net/tls_server.c \
	src/net/tls_verify.c
check_PROGRAMS += tests/unit/test_net tests/unit/test_net_tls
TESTS += tests/unit/test_net tests/unit/test_net_tls
tests_unit_test_net_SOURCES = tests/unit/test_net.c tests/unit/net_rig.h tests/unit/unit.h
tests_unit_test_net_LDADD = $(UNIT_LIBS)
tests_unit_test_net_tls_SOURCES = tests/unit/test_net_tls.c tests/unit/net_rig.h tests/unit/unit.h
tests_unit_test_net_tls_LDADD = $(UNIT_LIBS)
