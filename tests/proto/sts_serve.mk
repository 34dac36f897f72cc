PROTO_TESTS += tests/proto/sts_serve.py
EXTRA_DIST += tests/proto/sts_serve_lab.py
