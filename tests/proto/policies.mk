# The ready-made policies: their own tests, and what is made from their options.
PROTO_TESTS += tests/proto/policies.py
