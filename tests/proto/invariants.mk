# What the operator's invariants ask for is never less, whatever policies and routes say.
PROTO_TESTS += tests/proto/invariants.py
