"""Which rows have a test, and which have none: of the threat list (X), of the fault list (F), and of the
requirements in rows.txt.

A test cites a row by its number: a protocol test where it registers its case or lists its ways, as a
string of its own, a C test or a fuzz harness in a comment or in the name of a case. The file must be
one that the build runs. A row without a test needs a line in reasons.txt; a reason for a row that has
a test is stale. Both are failures. -v prints the tests of each row.
"""

import ast
import os
import re
import sys

SRCDIR = os.path.abspath(os.environ.get("srcdir", os.path.join(os.path.dirname(__file__), "..", "..")))
TESTS = os.path.join(SRCDIR, "tests")
HERE = os.path.join(TESTS, "coverage")
ROW = re.compile(r"(?<![\w-])[DFNRSTXZ]-\d+[a-d]?\b")     # no UTF-8
C_TEXT = re.compile(r'/\*.*?\*/|"(?:[^"\\\n]|\\.)*"', re.S)


def numbers(name):
    """[(row, what it is about)] of a list: a row a line, # before a comment."""
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        lines = [x.strip().partition(" ") for x in f]
    return [(row, text.strip()) for row, _, text in lines if row and not row.startswith("#")]


SOURCES = dict(numbers("rows.txt"))
ROWS = [f"X-{n}" for n in range(1, 79)] + [f"F-{n}" for n in range(1, 23)] + list(SOURCES)


def built():
    """The text of all makefile fragments: what is not named there is not run."""
    text = ""
    for folder, _, names in os.walk(SRCDIR):
        if os.path.basename(folder).startswith(("build", ".")):
            continue
        for name in names:
            if name.endswith(".mk") or name == "Makefile.am":
                with open(os.path.join(folder, name), encoding="utf-8") as f:
                    text += f.read()
    return text


def cited_in_python(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ROW.fullmatch(node.value):
            yield node.value


def cited_in_c(text):
    for piece in C_TEXT.findall(text):
        yield from ROW.findall(piece)


def citations():
    """{row: {file, ...}}, and the files that cite and are in no makefile."""
    found, stray, makefiles = {}, set(), built()
    for folder, dirs, names in os.walk(TESTS):
        dirs[:] = [d for d in dirs if d not in ("lab", "work", "seeds", "coverage", "__pycache__")]
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), SRCDIR)
            reader = {".py": cited_in_python, ".c": cited_in_c}.get(os.path.splitext(name)[1])
            if reader is None:
                continue
            with open(os.path.join(SRCDIR, path), encoding="utf-8") as f:
                rows = set(reader(f.read()))
            # A harness is named in its folder's makefile by what comes after fuzz_.
            named = path in makefiles or name.removesuffix(".c").replace("fuzz_", "replay_", 1) in makefiles
            if rows and not named:
                stray.add(path)
                continue
            for row in rows:
                found.setdefault(row, set()).add(path)
    return found, stray


def main():
    found, stray = citations()
    excused = dict(numbers("reasons.txt"))
    bad = 0
    for row in ROWS:
        source = f" ({SOURCES[row]})" if row in SOURCES else ""
        if row in found and "-v" in sys.argv:
            print(f"{row:5} {' '.join(sorted(found[row]))}")
        elif row not in found and row in excused:
            print(f"{row:5} no test: {excused[row]}")
        elif row not in found:
            print(f"{row:5} HAS NO TEST and no line in tests/coverage/reasons.txt{source}")
            bad += 1
    for row in sorted(excused):
        if row not in ROWS:
            print(f"{row:5} in reasons.txt is no row of the lists")
            bad += 1
        elif not excused[row] or row in found:
            print(f"{row:5} in reasons.txt {'has a test now' if row in found else 'has no reason'}: take the line out")
            bad += 1
    for row in sorted(x for x in set(found) - set(ROWS) if x[0] in "XF"):      # rows.txt has not all of the others
        print(f"{row:5} is no row of the lists: {' '.join(sorted(found[row]))}")
        bad += 1
    for path in sorted(stray):
        print(f"{path} cites rows and is in no makefile: it never runs")
        bad += 1
    tested = sum(row in found for row in ROWS)
    reasoned = sum(row in excused and row not in found for row in ROWS)
    print(f"{len(ROWS)} rows: {tested} with a test, {reasoned} with a reason, {len(ROWS) - tested - reasoned} with neither")
    return 1 if bad else 0


sys.exit(main())
