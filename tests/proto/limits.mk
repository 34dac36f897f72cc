LIMITS_TESTS = \
	tests/proto/confinement.py
TESTS += $(LIMITS_TESTS)
EXTRA_DIST += $(LIMITS_TESTS)
