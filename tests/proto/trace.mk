PROTO_TESTS += tests/proto/trace.py
