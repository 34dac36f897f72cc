# Black-box tests: the built programs on loopback. Each file runs its cases and ends with 0, 1 or 77
# (SKIP); what they share is tests/proto/case.py and the lab of real parts in tests/lab.
PROTO_TESTS = \
	tests/proto/example.py \
	tests/proto/parts.py \
	tests/proto/smoke.py \
	tests/proto/valgrind.py
TESTS += $(PROTO_TESTS)
PY_LOG_COMPILER = python3
# no __pycache__ in the source folder
AM_PY_LOG_FLAGS = -B
EXTRA_DIST += $(PROTO_TESTS) tests/proto/case.py \
	tests/lab/__init__.py \
	tests/lab/certs.py \
	tests/lab/client.py \
	tests/lab/gateway.py \
	tests/lab/lab.py \
	tests/lab/nexthop.py
clean-local: clean-proto
clean-proto:
	rm -rf tests/proto/work
.PHONY: clean-proto
