#!/usr/bin/env python3
"""The ready-made policies, one line each.

For every folder of policies/: its tests pass (sallyport policy test) with at least 90 % of its lines run, and what is made from its
schema of options is what the folder has: the table in README.md, options.schema.json (JSON Schema), options.d.lua (for the Lua
language server). POLICIES_UPDATE=1 writes these anew. Arguments: names of policies.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

SRCDIR = os.path.abspath(os.environ.get("srcdir", os.path.join(os.path.dirname(__file__), "..", "..")))
BUILDDIR = os.path.abspath(os.environ.get("builddir", "."))
SALLYPORT = os.environ.get("SALLYPORT", os.path.join(BUILDDIR, "src", "sallyport"))
POLICIES = os.path.join(SRCDIR, "policies")
os.environ.setdefault("SALLYPORT_LUADIR", os.path.join(SRCDIR, "lua"))       # not installed
COVERAGE = 90
SECONDS = 100       # for one policy

CONFIG = """return gw.config {
  identity  = { hostname = "gw.acme.example", postmaster = "postmaster@acme.example" },
  service   = { state = "state" },
  listeners = { inbound = { bind = "127.0.0.1:2501", role = "mx" } },
  domains   = { { match = "*", route = "internet" } },
  routes    = { internet = { via = "mx" } },
%s
  policy    = { load = "%s", network = { dns = true } },
}
"""
# What a policy cannot load without.
TABLES = {"partner_tls": '  tables    = { partners = { csv = "%s", key = "domain" } },' % os.path.join(POLICIES, "partner_tls", "tests", "partners.csv")}
README = re.compile(r"(## Options\n\n).*?(\n## )", re.S)


class Wrong(Exception):
    pass


def run(*args, seconds=SECONDS):
    try:
        p = subprocess.run([SALLYPORT, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Wrong(f"sallyport {' '.join(args)}: not done after {seconds} s") from None
    return p.returncode, p.stdout.decode(errors="replace")


def says(*args):
    code, text = run(*args)
    if code != 0:
        raise Wrong(text)
    return text


def same(path, text, what):
    """The file has this text; or gets it."""
    old = ""
    if os.path.exists(path):
        with open(path) as f:
            old = f.read()
    if old == text:
        return
    if os.environ.get("POLICIES_UPDATE"):
        with open(path, "w") as f:
            f.write(text)
        return
    raise Wrong(f"{os.path.relpath(path, SRCDIR)}: {what} is not that of the schema; run with POLICIES_UPDATE=1")


def made(name, folder):
    with tempfile.TemporaryDirectory(dir=".") as d:
        with open(os.path.join(d, "gateway.lua"), "w") as f:
            f.write(CONFIG % (TABLES.get(name, ""), os.path.join(folder, "policy.lua")))
        text = says("policy", "options", d)
        schema = json.loads(says("--json", "policy", "options", d))
        types = says("policy", "types", d)
        checked = says("policy", "check", d)
    if re.search(r"warning|error", checked):
        raise Wrong(checked)
    if list(schema["properties"]) != [name]:
        raise Wrong(f"the options are named {list(schema['properties'])}")
    if any("description" not in p for p in schema["properties"][name]["properties"].values()):
        raise Wrong("an option has no text")
    readme = os.path.join(folder, "README.md")
    with open(readme) as f:
        old = f.read()
    if not README.search(old):
        raise Wrong("README.md has no section Options")
    table = text.split("\n\n", 1)[1]
    same(readme, README.sub(lambda m: m.group(1) + table + m.group(2), old), "the table of options")
    same(os.path.join(folder, "options.schema.json"), json.dumps(schema, indent=2, ensure_ascii=False) + "\n", "JSON Schema")
    same(os.path.join(folder, "options.d.lua"), types, "the class of options")


def tested(folder):
    code, text = run("policy", "test", f"--coverage={COVERAGE}", folder)
    if code != 0:
        raise Wrong(text)
    m = re.search(r"(\d+) (?:tests|passed)", text)
    if m is None or int(m.group(1)) == 0:
        raise Wrong("there are no tests in what it says:\n" + text)
    percent = re.findall(r"(\d+(?:\.\d+)?) ?%", text)
    return f"{m.group(1)} tests, {percent[-1] if percent else '?'} % of lines"


def listed(names):
    """doc/policies.md has a heading for each policy."""
    with open(os.path.join(SRCDIR, "doc", "policies.md")) as f:
        have = re.findall(r"^### `(\w+)`", f.read(), re.M)
    if sorted(have) != sorted(names):
        raise Wrong(f"doc/policies.md lists {sorted(set(have) ^ set(names))} differently")


def main():
    names = sorted(n for n in os.listdir(POLICIES) if os.path.isdir(os.path.join(POLICIES, n)))
    failed = 0
    checks = [(n, lambda n=n: (made(n, os.path.join(POLICIES, n)), tested(os.path.join(POLICIES, n)))[1])
              for n in names if len(sys.argv) < 2 or n in sys.argv[1:]]
    if len(sys.argv) < 2:
        checks.append(("doc/policies.md", lambda: listed(names) or f"{len(names)} policies"))
    for name, check in checks:
        try:
            print(f"ok {name}: {check()}", flush=True)
        except Wrong as e:
            failed += 1
            print(f"not ok {name}\n    " + str(e).rstrip().replace("\n", "\n    "), flush=True)
    if failed:
        print(f"# {failed} failed")
    return 1 if failed else 0


if not os.access(SALLYPORT, os.X_OK):
    print(f"SKIP: {SALLYPORT} is not there")
    sys.exit(77)
sys.exit(main())
