"""Which ends of which hooks have a test, and which have none.

The pairs are the hooks and verdicts of the engine's own table (hook_table prints it), and for each hook: nil,
a verdict that it does not take (illegal), error, an exceeded budget, and a caller who leaves while it waits
(disconnect). A pair needs two tests: one on the engine, in tests/unit/test_policy_matrix.c, whose rows name
verdicts and whose loops over all rows name the rest, and one that sees on the wire, or in the queue, what
became of it: a protocol test cites the pair as a string of its own, "rcpt/reject". What has no wire needs a
line in hook_reasons.txt; a reason for a pair that has a test is stale. All of these are failures. -v prints
the tests of each pair.
"""

import ast
import fnmatch
import os
import re
import subprocess
import sys

SRCDIR = os.path.abspath(os.environ.get("srcdir", os.path.join(os.path.dirname(__file__), "..", "..")))
HERE = os.path.join(SRCDIR, "tests", "coverage")
MATRIX = os.path.join(SRCDIR, "tests", "unit", "test_policy_matrix.c")
ENDS = ("nil", "illegal", "error", "budget", "disconnect")


def engine():
    """{hook: [verdict, ...]} as the engine says."""
    said = subprocess.run([os.path.join("tests", "coverage", "hook_table")], capture_output=True, text=True,
                          check=True).stdout
    return {words[0]: words[1:] for words in map(str.split, said.splitlines())}


def on_engine():
    """The pairs that the unit test walks."""
    with open(MATRIX, encoding="utf-8") as f:
        text = f.read()
    rows = re.findall(r'^\t\{ HOOK_(\w+), "([a-z_ ]*)"', text, re.M)
    loops = set(re.findall(r"tcase_add_loop_test\(tc, (\w+), 0, NELEMS\(rows\)\)", text))
    for hook, verdicts in rows:
        hook = hook.lower()
        if "verdicts" in loops:
            yield from ((hook, v) for v in (*verdicts.split(), "illegal"))
        yield from ((hook, end) for end in ENDS if end in loops)


def on_wire(pairs):
    """{pair: {file, ...}}"""
    found, folder = {}, os.path.join(SRCDIR, "tests", "proto")
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".py"):
            continue
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            tree = ast.parse(f.read())
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                pair = tuple(node.value.split("/")) if node.value.count("/") == 1 else None
                if pair in pairs:
                    found.setdefault(pair, set()).add(name)
    return found


def reasons():
    """[(pattern, why)] in order: a pair a line, with * in it, # before a comment."""
    with open(os.path.join(HERE, "hook_reasons.txt"), encoding="utf-8") as f:
        lines = [x.strip().partition(" ") for x in f]
    return [(pair, why.strip()) for pair, _, why in lines if pair and not pair.startswith("#")]


def main():
    table = engine()
    pairs = [(hook, end) for hook, verdicts in table.items() for end in (*verdicts, *ENDS)]
    unit, wire, excused = set(on_engine()), on_wire(set(pairs)), reasons()
    used, bad, reasoned = set(), 0, 0
    for pair in pairs:
        name = "/".join(pair)
        why = next(((p, w) for p, w in excused if fnmatch.fnmatchcase(name, p)), None)
        if pair not in unit:
            print(f"{name:24} HAS NO ROW in tests/unit/test_policy_matrix.c")
            bad += 1
        if pair in wire:
            if "-v" in sys.argv:
                print(f"{name:24} {' '.join(sorted(wire[pair]))}")
        elif why is not None and why[1]:
            used.add(why[0])
            reasoned += 1
            if "-v" in sys.argv:
                print(f"{name:24} not on the wire: {why[1]}")
        else:
            print(f"{name:24} HAS NO TEST on the wire and no line in tests/coverage/hook_reasons.txt")
            bad += 1
    for pattern, _ in excused:
        if pattern not in used:
            print(f"{pattern:24} in hook_reasons.txt stands for no pair: take the line out")
            bad += 1
    for pair in sorted(unit - set(pairs)):
        print(f"{'/'.join(pair):24} has a row, and the engine does not take it")
        bad += 1
    print(f"{len(table)} hooks, {len(pairs)} pairs: {len(unit & set(pairs))} on the engine, {len(wire)} on the wire, "
          f"{reasoned} not there for a reason, {bad} wrong")
    return 1 if bad else 0


sys.exit(main())
