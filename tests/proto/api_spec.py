#!/usr/bin/env python3
"""The specification of the API (api/) and what is made from it.

- lua/meta and doc/reference are what scripts/api/main.lua makes today.
- What C reads of tables of options is what the specification lists.
- lua/meta/gw.d.lua is Lua, and whoever loads it gets an error.
- luacheck with lua/meta/luacheckrc finds nothing in the shipped policies, and finds a wrong name.

That the specification and a living state are the same is tests/unit/test_policy_api.c; the examples run with the other
blocks in docs_blocks.py. Prints a line a check; ends with 0, 1, or 77 when a program that is needed is missing.
"""

import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile

SRCDIR = os.path.abspath(os.environ.get("srcdir", os.path.join(os.path.dirname(__file__), "..", "..")))
LUA = shutil.which("lua5.4")

failed = 0


def report(ok, name, detail=""):
    global failed
    failed += not ok
    print(("ok " if ok else "not ok ") + name, flush=True)
    if not ok and detail:
        print("\n".join("    " + line for line in detail.rstrip().split("\n")), flush=True)


def read(path):
    with open(os.path.join(SRCDIR, path), encoding="utf-8") as f:
        return f.read()


def run(*args):
    p = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return p.returncode, p.stdout.decode("utf-8", "replace")


def check_made(work):
    for d in ("lua/meta", "doc/reference", "src/policy"):
        os.makedirs(os.path.join(work, d))
    rc, out = run(LUA, os.path.join(SRCDIR, "scripts/api/main.lua"), SRCDIR, work)
    report(rc == 0, "scripts/api/main.lua runs", out)
    made = {p for p in out.split("\n") if p and not p.startswith("src/")} if rc == 0 else set()
    old = sorted(p for p in made if not os.path.exists(os.path.join(SRCDIR, p)) or
                 not filecmp.cmp(os.path.join(SRCDIR, p), os.path.join(work, p), shallow=False))
    there = {d + "/" + n for d in ("lua/meta", "doc/reference") for n in os.listdir(os.path.join(SRCDIR, d))}
    text = "".join(f"{p} is not what api/ says\n" for p in old) + \
           "".join(f"{p} is not made from api/ any more\n" for p in sorted(there - made))
    report(not text, "lua/meta and doc/reference are up to date", text +
           "make them anew: lua5.4 scripts/api/main.lua . . docs")
    return os.path.join(work, "src/policy/api_table.c")


def check_options(table):
    """policy_opt_*(L, n, "gw.reject", "text" ...) in C, and the fields that its entry has."""
    with open(table, encoding="utf-8") as f:
        text = f.read()
    lists = dict(re.findall(r"const (f\d+)\[\] = \{ (.*?), NULL \}", text))
    args = dict(re.findall(r"api_arg (a\d+)\[\] = \{ (.*?) \};", text))
    known = {}
    for shown, a in re.findall(r'\{ "[^"]*", "[^"]*", "([^"]*)", (a\d+),', text):
        known[shown] = {w for f in re.findall(r"\bf\d+\b", args[a]) for w in re.findall(r'"(\w+)"', lists[f])}
    wrong, n = [], 0
    for name in sorted(os.listdir(os.path.join(SRCDIR, "src/policy"))):
        if not name.endswith(".c"):
            continue
        for api, key in re.findall(r'policy_opt_\w+\(L, \w+, "([\w.:]+)", "(\w+)"', read("src/policy/" + name)):
            n += 1
            if api in known and key not in known[api]:
                wrong.append(f"src/policy/{name}: {api} reads '{key}', which is not in api/")
    report(n > 20 and not wrong, "options that C reads are in the specification", "\n".join(wrong) or f"{n} found")


def check_meta(work):
    rc, out = run(LUA, os.path.join(SRCDIR, "lua/meta/gw.d.lua"))
    report(rc != 0 and "for editors" in out, "lua/meta/gw.d.lua raises when it is loaded", out)
    text = read("lua/meta/gw.d.lua")
    report(text.startswith("---@meta"), "lua/meta/gw.d.lua begins with ---@meta")
    hooks = set(re.findall(r'^---@overload fun\(hook: "(\w+)"', text, re.M))
    report(len(hooks) >= 20 and {"message", "tls_policy"} <= hooks, "gw.on has an overload for each hook", str(sorted(hooks)))
    m = re.search(r"^---@alias gw.MessageVerdict (.*)$", text, re.M)
    report(bool(m) and "gw.verdict.Reject" in m.group(1) and "Relax" not in m.group(1), "gw.relax is no verdict of message",
           m.group(1) if m else "")
    # What the classes name is there.
    names = set(re.findall(r"\bgw\.[A-Z]\w*|\bgw\.verdict\.\w+", text))
    made = set(re.findall(r"^---@(?:class|alias) (gw[\w.]*)", text, re.M))
    report(not names - made, "types are defined", ", ".join(sorted(names - made)))


def check_luacheck(work):
    tool = shutil.which("luacheck")
    if tool is None:
        print("# luacheck(1) is not there: not tried")
        return
    config = os.path.join(SRCDIR, "lua/meta/luacheckrc")
    policies = [os.path.join(d, n) for d, _, files in os.walk(os.path.join(SRCDIR, "policies")) for n in files
                if n.endswith(".lua") and n == "policy.lua"]
    rc, out = run(tool, "--no-cache", "--no-color", "--only", "1", "--config", config, *policies)
    report(rc == 0, "luacheck finds no unknown name in the shipped policies", out)
    wrong = os.path.join(work, "wrong.lua")
    with open(wrong, "w", encoding="utf-8") as f:
        f.write('local a = gw.match.subjct_word("x")\nio.write(a)\n')
    rc, out = run(tool, "--no-cache", "--no-color", "--config", config, wrong)
    report(rc != 0 and "subjct_word" in out and "'io'" in out, "luacheck finds wrong names", out)


def main():
    if LUA is None:
        print("# SKIP lua5.4(1) is not there")
        return 77
    with tempfile.TemporaryDirectory(prefix="api-", dir=os.environ.get("TMPDIR")) as work:
        table = check_made(work)
        check_options(table)
        check_meta(work)
        check_luacheck(work)
    print(f"# {failed} failed" if failed else "# all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
