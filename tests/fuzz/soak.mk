# A round of each fuzz program in the long run; without clang it says SKIP.
SOAK_TESTS += tests/fuzz/soak.sh
EXTRA_DIST += tests/fuzz/soak.sh
