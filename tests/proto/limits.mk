LIMITS_TESTS = \
	tests/proto/admin_socket.py \
	tests/proto/confinement.py \
	tests/proto/idle.py \
	tests/proto/limits.py
TESTS += $(LIMITS_TESTS)
EXTRA_DIST += $(LIMITS_TESTS) tests/lab/process.py
SOAK_TESTS += tests/proto/idle.py
