# Runs that take too long for `make check`: each program of SOAK_TESTS is started from the build folder
# with SOAK=1 and does then what its own file says. A program may be in TESTS too, where it does less.
# `make soak SOAK_TESTS=tests/crash/kill.py` runs one.
SOAK_TESTS =
EXTRA_DIST += tests/soak.sh
soak: all $(check_PROGRAMS)
	@srcdir='$(srcdir)' $(SHELL) $(srcdir)/tests/soak.sh $(SOAK_TESTS)
.PHONY: soak
