#!/usr/bin/env python3
"""Do the unit tests of the trust decision notice when it decides otherwise? Every condition of
src/trust/decide.c, conclude.c and duties.c is inverted, one at a time (the condition of an if, a
loop or a ?:, each side of && and ||, what a bool function returns), the test program is linked
with that one changed object, and has to fail. Prints the ones that nobody noticed.

What an assertion (MUST) says is left out: no input reaches it, so that no test can (base.h).

Conditions are found by clang's parser (python3-clang, libclang). Without it: SKIP.
MUTANTS=decide.c:120 tries those of one line.
"""

import os
import subprocess
import sys
import tempfile
import threading

try:
    from clang import cindex
    cindex.Index.create()
except Exception as e:
    print(f"skipped: {e}; on Debian: apt-get install python3-clang-14")
    sys.exit(77)

SRC = os.environ.get("srcdir", ".")
# Source, and the test programs that have to notice.
FILES = {
    "src/trust/decide.c": ["test_trust_decide"],
    "src/trust/conclude.c": ["test_trust_decide"],
    "src/trust/duties.c": ["test_trust_duties"],
}
TIMEOUT_S = 60      # an inverted loop may never end: that is noticed, too
AS_THEY_END = dict(os.environ, CK_FORK="no", CK_TAP_LOG_FILE_NAME="-")     # a line for each case

ASSERTIONS = ("MUST",)

# Nothing can tell these from the original, and why.
SAME = {
}


def make_variables():
    """How this build compiles and links."""
    rule = "mutant-variables:\n\t@echo '$(CC) $(AM_CPPFLAGS) $(CPPFLAGS) $(AM_CFLAGS) $(CFLAGS)'" \
           "\n\t@echo '$(UNIT_LIBS) $(LIBS)'\n"
    out = subprocess.run(["make", "-s", "-f", "Makefile", "-f", "-", "mutant-variables"], input=rule, text=True,
                         capture_output=True, check=True).stdout.splitlines()
    return out[0].split() + ["-O1", "-w"], out[1].split()


def extent(node):
    return node.extent.start.offset, node.extent.end.offset


def is_logical(node, text):
    if node.kind != cindex.CursorKind.BINARY_OPERATOR:
        return False
    left, right = list(node.get_children())
    between = text[left.extent.end.offset:right.extent.start.offset]
    return b"&&" in between or b"||" in between


def conditions(path, compile_args):
    """The text, (start, end, line) of each condition, once, and how many more are in assertions."""
    text = open(path, "rb").read()
    unit = cindex.Index.create().parse(path, args=compile_args,
                                       options=cindex.TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD)
    bad = [d for d in unit.diagnostics if d.severity >= cindex.Diagnostic.Error]
    assert not bad, f"{path}: {bad[0]}"
    asserted = [extent(c) for c in unit.cursor.get_children() if c.kind == cindex.CursorKind.MACRO_INSTANTIATION and
                c.spelling in ASSERTIONS and c.location.file and c.location.file.name == path]
    found = {}

    def add(node):
        start, end = extent(node)
        # Extents of what macros made do not lie in the text as written.
        if node.location.file and node.location.file.name == path and start < end:
            found[start, end] = node.extent.start.line

    def walk(node, in_bool):
        kind = node.kind
        children = list(node.get_children())
        if kind == cindex.CursorKind.FUNCTION_DECL:
            in_bool = node.result_type.spelling in ("bool", "_Bool")
        if kind in (cindex.CursorKind.IF_STMT, cindex.CursorKind.WHILE_STMT,
                    cindex.CursorKind.CONDITIONAL_OPERATOR):
            add(children[0])
        elif kind == cindex.CursorKind.FOR_STMT and len(children) == 4:
            add(children[1])
        elif is_logical(node, text):
            add(children[0])
            add(children[1])
        elif kind == cindex.CursorKind.RETURN_STMT and in_bool and children:
            add(children[0])
        for c in children:
            if c.location.file is None or c.location.file.name == path:
                walk(c, in_bool)

    walk(unit.cursor, False)
    left_out = [(s, e) for s, e in found if any(start <= s and e <= end for start, end in asserted)]
    return text, sorted((s, e, line) for (s, e), line in found.items() if (s, e) not in left_out), len(left_out)


def fails(program):
    """Does a case fail? The first one that does is enough."""
    with subprocess.Popen([program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          env=AS_THEY_END) as running:
        guard = threading.Timer(TIMEOUT_S, running.kill)
        guard.start()
        failed = any(line.startswith("not ok") for line in running.stdout)
        if failed:
            running.kill()
        running.wait()
        guard.cancel()
        return failed or running.returncode != 0


def notices(dir_, path, text, compile_cmd, libs, tests):
    """None: a test failed. Else what happened."""
    changed = os.path.join(dir_, "mutant.c")
    obj = os.path.join(dir_, "mutant.o")
    with open(changed, "wb") as f:
        f.write(text)
    done = subprocess.run([*compile_cmd, "-c", "-o", obj, changed], capture_output=True, text=True)
    if done.returncode != 0:
        return "does not compile: " + done.stderr.strip().splitlines()[0]
    for test in tests:
        program = os.path.join(dir_, test)
        subprocess.run([*compile_cmd, "-o", program, f"tests/unit/{test}.o", obj, *libs], check=True,
                       capture_output=True)
        if fails(program):
            return None
    return "no test failed"


def wanted(path, line):
    only = os.environ.get("MUTANTS")
    return not only or only == f"{os.path.basename(path)}:{line}"


def main():
    compile_cmd, libs = make_variables()
    args = [a for a in compile_cmd if a.startswith(("-I", "-D", "-std"))]
    resource = subprocess.run(["clang", "-print-resource-dir"], capture_output=True, text=True).stdout.strip()
    tried = missed = n = in_assertions = 0
    with tempfile.TemporaryDirectory() as dir_:
        for name, tests in FILES.items():
            path = os.path.join(SRC, name)
            text, all_, left_out = conditions(path, [*args, f"-I{resource}/include"])
            in_assertions += left_out
            for start, end, line in all_:
                n += 1
                what = " ".join(text[start:end].decode().split())
                if not wanted(path, line) or (name, what) in SAME:
                    continue
                tried += 1
                mutant = text[:start] + b"(!(" + text[start:end] + b"))" + text[end:]
                why = notices(dir_, path, mutant, compile_cmd, libs, tests)
                if why is not None:
                    missed += 1
                    print(f"not ok {name}:{line}: !({what}): {why}", flush=True)
    print(f"# {n} conditions, {tried} inverted, {len(SAME)} known to be the same, {missed} not noticed; "
          f"{in_assertions} more in {', '.join(ASSERTIONS)}() left out")
    sys.exit(1 if missed or not tried else 0)


main()
