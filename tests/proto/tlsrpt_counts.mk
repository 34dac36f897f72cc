PROTO_TESTS += tests/proto/tlsrpt_counts.py
EXTRA_DIST += tests/lab/tlsrpt_schema.py
