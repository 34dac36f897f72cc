# The resolver and what is made of its answers, from outside.
PROTO_TESTS += tests/proto/resolver.py tests/proto/seen.py
