PROTO_TESTS += tests/proto/simulate.py
# Ten thousand messages.
EXTRA_DIST += tests/proto/simulate_soak.py
SOAK_TESTS += tests/proto/simulate_soak.py
