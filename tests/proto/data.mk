PROTO_TESTS += tests/proto/data.py
