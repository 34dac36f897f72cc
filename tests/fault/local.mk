# Faults (spec security.md 3): calls that fail by a preloaded library, damaged and full disks, clocks,
# signals. walk.py does a sample of its indexes in `make check` and all of them in `make soak`.
FAULT_TESTS = \
	tests/fault/storage.py \
	tests/fault/walk.py \
	tests/fault/world.py
TESTS += $(FAULT_TESTS)
SOAK_TESTS += $(FAULT_TESTS)
EXTRA_DIST += $(FAULT_TESTS) tests/fault/shim.c tests/fault/shim.py
# Only ever preloaded, so neither libtool nor the library of all objects comes into it.
check_DATA += tests/fault/shim.so
CLEANFILES += tests/fault/shim.so
tests/fault/shim.so: tests/fault/shim.c
	$(AM_V_CCLD)$(MKDIR_P) tests/fault && $(CC) -std=gnu11 -O1 -g $(WARN_CFLAGS) \
	$$(case '$(SAN_CFLAGS)' in *address*) echo -DNO_MALLOC;; esac) -shared -fPIC -o $@ $(srcdir)/tests/fault/shim.c -ldl
