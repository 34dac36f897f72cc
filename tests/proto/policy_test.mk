# Tests of policies: `sallyport policy test` and what runs in the same made-up world.
PROTO_TESTS += tests/proto/policy_test.py
