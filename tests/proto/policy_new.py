#!/usr/bin/env python3
"""`sallyport policy new DIR`, as somebody does who begins.

What it writes passes `config check` and `policy check` without a warning, and `policy test` where there is that
command. It never writes over a file. The editor's settings name the types that are there; luacheck, if it is
there, finds nothing. `policy help` says what the reference says. Prints a line a check; ends with 0, 1 or 77.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

SRCDIR = os.path.abspath(os.environ.get("srcdir", os.path.join(os.path.dirname(__file__), "..", "..")))
BUILDDIR = os.path.abspath(os.environ.get("builddir", "."))
SALLYPORT = os.environ.get("SALLYPORT", os.path.join(BUILDDIR, "src", "sallyport"))
os.environ.setdefault("SALLYPORT_LUADIR", os.path.join(SRCDIR, "lua"))       # not installed

FILES = {"gateway.lua", "policy.lua", "tests/policy_test.lua", "README.md", ".luarc.json", ".luacheckrc",
         ".github/workflows/policy.yml", ".gitlab-ci.yml"}
failed = 0


def report(ok, name, detail=""):
    global failed
    failed += not ok
    print(("ok " if ok else "not ok ") + name, flush=True)
    if not ok and detail:
        print("\n".join("    " + line for line in detail.rstrip().split("\n")), flush=True)


def run(*args, cwd=None):
    p = subprocess.run(args, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    return p.returncode, p.stdout.decode("utf-8", "replace")


def files_below(directory):
    return {os.path.relpath(os.path.join(d, n), directory) for d, _, names in os.walk(directory) for n in names}


def check_new(work):
    directory = os.path.join(work, "mail")
    rc, out = run(SALLYPORT, "policy", "new", directory)
    there = files_below(directory)
    report(rc == 0 and there == FILES, "policy new writes its files", f"{out}\n{sorted(there ^ FILES)}")
    rc, out = run(SALLYPORT, "config", "check", "gateway.lua", cwd=directory)
    report(rc == 0 and "warning" not in out, "config check", out)
    rc, out = run(SALLYPORT, "policy", "check", ".", cwd=directory)
    report(rc == 0 and "(warning)" not in out, "policy check", out)
    rc, out = run(SALLYPORT, "--help")
    if "policy test" in out:
        rc, out = run(SALLYPORT, "policy", "test", ".", cwd=directory)
        report(rc == 0, "policy test", out)
    with open(os.path.join(directory, ".luarc.json"), encoding="utf-8") as f:
        library = json.load(f)["workspace.library"]
    report(all(os.path.exists(os.path.join(p, "gw.d.lua")) for p in library), "the editor finds the types", str(library))
    if shutil.which("luacheck"):
        rc, out = run("luacheck", "--no-color", ".", cwd=directory)
        report(rc == 0, "luacheck", out)
    return directory


def check_careful(work, directory):
    path = os.path.join(directory, "policy.lua")
    with open(path, "a", encoding="utf-8") as f:
        f.write("-- mine\n")
    os.unlink(os.path.join(directory, "gateway.lua"))
    rc, out = run(SALLYPORT, "policy", "new", directory)
    with open(path, encoding="utf-8") as f:
        kept = f.read().endswith("-- mine\n")
    report(rc == 1 and kept and "policy.lua is there already" in out and not os.path.exists(os.path.join(directory, "gateway.lua")),
           "nothing is written over, and nothing by halves", out)
    rc, out = run(SALLYPORT, "policy", "new", os.path.join(work, "no", "such", "folder"))
    report(rc == 1, "a folder that cannot be made", out)
    rc, out = run(SALLYPORT, "policy", "new")
    report(rc == 2, "without a folder: wrong use", out)


def check_help():
    rc, out = run(SALLYPORT, "policy", "help", "message:header")
    report(rc == 0 and "decoded" in out and "Since" in out, "policy help of a method", out)
    rc, out = run(SALLYPORT, "policy", "help", "hook", "unmet")
    report(rc == 0 and "gw.relax" in out, "policy help of a hook", out)
    rc, out = run(SALLYPORT, "policy", "help", "gw.rejct")
    report(rc == 1 and "did you mean 'gw.reject'?" in out, "policy help of a wrong name", out)
    rc, out = run(SALLYPORT, "policy", "help")
    report(rc == 0 and "gw.kv\n" in out and "hook rcpt\n" in out, "policy help lists the names", out[:300])


def main():
    if not os.access(SALLYPORT, os.X_OK):
        print(f"# SKIP {SALLYPORT} is not there")
        return 77
    with tempfile.TemporaryDirectory(prefix="new-", dir=os.environ.get("TMPDIR")) as work:
        directory = check_new(work)
        check_careful(work, directory)
        check_help()
    print(f"# {failed} failed" if failed else "# all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
