PROTO_TESTS += tests/proto/second_look.py
PROTO_TESTS += tests/proto/policy_weakens.py
