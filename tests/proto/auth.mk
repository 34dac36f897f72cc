PROTO_TESTS += tests/proto/auth.py
