PROTO_TESTS += tests/proto/waits.py
