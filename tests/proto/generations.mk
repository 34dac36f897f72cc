# Generations of the policy: load, canary, activate, rollback, drain.
PROTO_TESTS += tests/proto/generations.py
