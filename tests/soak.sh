#!/bin/sh
# Runs the programs it is given from the build folder, one after the other, with SOAK=1; their output
# goes to tests/soak-logs. A line for each, then the count line. Status 1 when one failed.
srcdir=${srcdir:-.}
export srcdir
SOAK=1
export SOAK
logs=tests/soak-logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0
for t in "$@"; do
	log=$logs/$(echo "$t" | tr / -).log
	began=$(date +%s)
	case $t in
	*.py) python3 -B "$srcdir/$t" >"$log" 2>&1 ;;
	*.sh) sh "$srcdir/$t" >"$log" 2>&1 ;;
	*) "./$t" >"$log" 2>&1 ;;
	esac
	rc=$?
	took=$(($(date +%s) - began))
	case $rc in
	0) passed=$((passed + 1)) verdict=PASS ;;
	77) skipped=$((skipped + 1)) verdict=SKIP ;;
	*) failed=$((failed + 1)) verdict=FAIL ;;
	esac
	echo "$verdict: $t ($took s, $log)"
	# What it measured, or why not.
	if [ $rc = 0 ]; then
		grep '^#' "$log" | tail -n 40
	else
		tail -n 60 "$log"
	fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
