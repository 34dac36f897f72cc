PROTO_TESTS += tests/proto/sts_serve.py tests/proto/dns_records.py
EXTRA_DIST += tests/proto/sts_serve_lab.py
