# What an administrator asks for while a message is on the wire.
PROTO_TESTS += tests/proto/recall.py
