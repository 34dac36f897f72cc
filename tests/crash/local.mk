# Kill -9, named points, power cuts, syncs counted, the queue against a model.
CRASH_TESTS = tests/crash/kill.py
TESTS += $(CRASH_TESTS)
SOAK_TESTS += $(CRASH_TESTS)
EXTRA_DIST += $(CRASH_TESTS) tests/crash/rig.py
