PROTO_TESTS += tests/proto/dkim_sign.py tests/proto/dkim_verify.py
EXTRA_DIST += tests/proto/dkim_sign_keys.py
