# All fuzz programs for a while, from the build folder. SKIP without clang and its fuzzing runtime.
probe=fuzz-probe.$$
trap 'rm -f $probe $probe.c' EXIT
echo 'int LLVMFuzzerTestOneInput(const unsigned char *p, unsigned long n) { return 0; }' >$probe.c
if ! clang -fsanitize=fuzzer -w -o $probe $probe.c 2>/dev/null; then
	echo "clang cannot build fuzz programs; on Debian: apt-get install clang libclang-rt-14-dev"
	exit 77
fi
log=fuzz-soak.$$
make -s fuzz-run FUZZ_RUNS="${FUZZ_RUNS:-100000}" >$log 2>&1
rc=$?
sed -n 's/^/# /;/^# harness/,$p' $log
rm -f $log
exit $rc
