# Evidence: the chain against somebody who has sqlite3, exports, rows that are too old, doc/evidence.md.
PROTO_TESTS += tests/proto/evidence.py
