# The trust decision with one condition inverted at a time: some unit test has to fail each time.
SOAK_TESTS += tests/mutation/trust_decide.py
EXTRA_DIST += tests/mutation/trust_decide.py
