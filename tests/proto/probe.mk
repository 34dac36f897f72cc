# sallyport probe against domains in every state.
PROTO_TESTS += tests/proto/probe.py
