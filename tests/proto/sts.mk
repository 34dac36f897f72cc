PROTO_TESTS += tests/proto/sts.py tests/proto/sts_rows.py
EXTRA_DIST += tests/proto/sts_lab.py tests/lab/policyhost.py
