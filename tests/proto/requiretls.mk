# RFC 8689 from outside: receipt and tag, the header, sending, notices.
PROTO_TESTS += tests/proto/requiretls_accept.py
PROTO_TESTS += tests/proto/tls_required_no.py
PROTO_TESTS += tests/proto/requiretls_send.py
PROTO_TESTS += tests/proto/decision_rows.py
PROTO_TESTS += tests/proto/decision_table.py
PROTO_TESTS += tests/proto/notices.py
EXTRA_DIST += tests/proto/tagged.py
PROTO_TESTS += tests/proto/notice_words.py
PROTO_TESTS += tests/proto/edges.py
PROTO_TESTS += tests/proto/edges_published.py
PROTO_TESTS += tests/proto/edges_tls.py
