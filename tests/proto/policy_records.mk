PROTO_TESTS += tests/proto/policy_records.py
