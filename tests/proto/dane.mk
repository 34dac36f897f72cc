PROTO_TESTS += tests/proto/dane.py
PROTO_TESTS += tests/proto/dane_rows.py
EXTRA_DIST += tests/proto/dane_lab.py
