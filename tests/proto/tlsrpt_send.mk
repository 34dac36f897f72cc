PROTO_TESTS += tests/proto/tlsrpt_send.py
EXTRA_DIST += tests/lab/receiver.py
