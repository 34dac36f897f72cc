PROTO_TESTS += tests/proto/second_look.py
