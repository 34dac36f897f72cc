# Every row of the threat and fault lists has a test, or a reason.
TESTS += tests/coverage/rows.py
EXTRA_DIST += tests/coverage/rows.py tests/coverage/reasons.txt
