# Every row of the lists of threats, faults and requirements has a test, or a reason.
TESTS += tests/coverage/rows.py
EXTRA_DIST += tests/coverage/rows.py tests/coverage/rows.txt tests/coverage/reasons.txt
