"""What a run of the tests says of each row of the decision table (RFC 8689 next to DANE and MTA-STS; section 11
of the requirements): where it has a unit case, which end-to-end cases it has, and whether they passed.

Read are the logs and results that `make check` leaves: a protocol case names its row as row-N, in its own
name or beside it; a unit case in a comment or string, as "row N". Fails when a row has no unit case, no
end-to-end case that passed, or one that failed. Protocol tests that were all skipped make it SKIP. -v
prints the names of the cases.
"""

import collections
import glob
import os
import re
import sys

SRCDIR = os.environ.get("srcdir", os.path.join(os.path.dirname(__file__), "..", ".."))
ROWS = range(1, 58)
# No message is sent there.
NOT_END_TO_END = {"probe"}
# Rows that no function decides by itself, and where their parts are decided.
NO_UNIT = {26: "as rows 19 to 25; that a kept policy still applies takes DNS, a policy host and the store"}


def unit_cases():
    """{row: {test program}}: "row 3", "rows 4 and 15", "rows 20 to 22"."""
    found = collections.defaultdict(set)
    for path in glob.glob(os.path.join(SRCDIR, "tests", "unit", "test_*.c")):
        with open(path, encoding="utf-8") as f:
            text = f.read()
        text = text[text.index("#include"):]        # what is said of a file as a whole is no case
        for first, word, last in re.findall(r"\brows? (\d+)(?:( to | and |, )(\d+))?", text):
            rows = [first, last or first] if word != " to " else range(int(first), int(last) + 1)
            for row in rows:
                found[int(row)].add(os.path.basename(path)[:-2])
    return found


def unit_result(name):
    try:
        with open(os.path.join("tests", "unit", f"{name}.trs"), encoding="utf-8") as f:
            return re.search(r":test-result: (\S+)", f.read()).group(1)
    except FileNotFoundError:
        return "not run"


def end_to_end_cases():
    """{row: [(file, title, "passed" or "skipped" or "FAILED")]}, from the logs of this build folder."""
    found = collections.defaultdict(list)
    for path in sorted(glob.glob(os.path.join("tests", "proto", "*.log"))):
        name = os.path.basename(path)[:-4]
        if name in NOT_END_TO_END:
            continue
        with open(path, encoding="utf-8", errors="replace") as f:
            for line in f:
                m = re.match(r"(not )?ok (.*)", line)
                if m is None:
                    continue
                result = "FAILED" if m[1] else "skipped" if " # SKIP " in line else "passed"
                for row in sorted({int(x) for x in re.findall(r"(?<!\S)row-(\d+)(?![^\s-])", m[2])}):
                    found[row].append((name, m[2].partition(" # ")[0], result))
    return found


def counted(cases):
    per_file = collections.Counter(name for name, _, _ in cases)
    return ", ".join(f"{name} {n}" for name, n in per_file.items())


def judge(row, units, cases):
    """A sentence, and whether it is bad."""
    results = collections.Counter(result for _, _, result in cases)
    tried = {unit_result(u) for u in units}
    if not units and row not in NO_UNIT:
        return "NO UNIT CASE", True
    if tried - {"PASS", "SKIP"}:
        return f"UNIT TEST: {', '.join(sorted(tried - {'PASS', 'SKIP'}))}", True
    if results["FAILED"]:
        return f"{results['FAILED']} FAILED", True
    if results["passed"]:
        return f"{results['passed']} passed", False
    return ("skipped", False) if results["skipped"] else ("NO END-TO-END CASE", True)


def main():
    units, cases = unit_cases(), end_to_end_cases()
    bad = skipped = 0
    print(f"{'row':>3}  {'unit':<36}  {'end to end':<60}  result")
    for row in ROWS:
        what, is_bad = judge(row, units[row], cases[row])
        bad += is_bad
        skipped += what == "skipped"
        print(f"{row:>3}  {', '.join(sorted(units[row])) or '-':<36}  {counted(cases[row]) or '-':<60}  {what}")
        if row in NO_UNIT and not units[row]:
            print(f"     no unit case: {NO_UNIT[row]}")
        if "-v" in sys.argv:
            for name, title, result in cases[row]:
                print(f"         {result} {name}: {title}")
    print(f"{len(ROWS)} rows: {len(ROWS) - bad - skipped} right, {skipped} skipped, {bad} wrong")
    return 1 if bad else 77 if skipped else 0


sys.exit(main())
