# What the operator's invariants ask for is never less, whatever policies and routes say.
PROTO_TESTS += tests/proto/invariants.py
# A daemon whose first decision about a connection is wrong; never installed.
check_PROGRAMS += tests/proto/sallyportd-hasty
tests_proto_sallyportd_hasty_SOURCES = src/sallyportd.c tests/proto/hasty.c
tests_proto_sallyportd_hasty_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=trust_decide,--wrap=smtp_client_send
