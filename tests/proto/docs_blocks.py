#!/usr/bin/env python3
"""Keeps the documents true.

doc/tutorial.md and doc/policy.md:

Every block that is marked as Lua goes through the program:

    ```lua gateway          a whole gateway.lua       sallyport config check says yes
    ```lua policy           a whole policy file       sallyport policy check says yes, without warning
    ```lua wrong            a whole policy file       sallyport policy check says no
    ```lua test             a test of the policy that stands before it: sallyport policy test passes
    ```lua fragment HOOK    what stands in a handler of HOOK

and the reference is compared with the source: hooks and their verdicts, fields and methods of every
object, matchers, actions, functions. doc/operations.md is compared with the settings and metrics, and what the
other documents name of the source has to be there. Prints a line a check; ends with 0, 1, or 77 when a program that
is needed is missing.
"""

import functools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile

SRCDIR = os.path.abspath(os.environ.get("srcdir", os.path.join(os.path.dirname(__file__), "..", "..")))
BUILDDIR = os.path.abspath(os.environ.get("builddir", "."))
SALLYPORT = os.environ.get("SALLYPORT", os.path.join(BUILDDIR, "src", "sallyport"))
os.environ.setdefault("SALLYPORT_LUADIR", os.path.join(SRCDIR, "lua"))       # not installed
DOCS = ("doc/tutorial.md", "doc/policy.md", "doc/lua.md", "doc/migration.md")     # and doc/reference/*.md

ARGUMENTS = {
    "connect": "session", "helo": "session, name", "tls": "session", "auth": "session, cred", "mail": "session, message",
    "rcpt": "session, message, rcpt", "data": "session, message", "header": "session, message", "message": "session, message",
    "bounce_in": "session, message, report",
    "disconnect": "session", "route": "message, rcpt", "tls_policy": "domain, route",
    "attempt": "message, hop", "ehlo": "message, hop", "unmet": "message, hop, unmet",
    "result": "message, rcpt, result", "bounce": "message, bounce", "dsn": "message, bounce",
    "log": "event", "tlsrpt": "domain, day", "init": "ctx", "fini": "ctx",
}

# What the documents take for granted around a policy.
CONFIG = """return gw.config {
  identity  = { hostname = "gw.acme.example" },
  listeners = {
    inbound = { bind = "127.0.0.1:2501", role = "mx" },
    relay   = { bind = "127.0.0.1:2502", role = "relay", clients = "127.0.0.0/8",
                auth = "PLAIN", auth_in_clear = true },
  },
  domains   = {
    { match = { "acme.example", "*.acme.example" }, kind = "local", route = "inside" },
    { match = "*", route = "internet" },
  },
  routes    = {
    inside   = { via = "127.0.0.1:2503" },
    partner  = { via = "127.0.0.1:2504" },
    portal   = { via = "127.0.0.1:2505", tls = "verify", names = "portal.acme.example" },
    internet = { via = "mx" },
  },
  policy    = { load = "policy.lua", network = { dns = true, http = "https://cmdb.acme.example/" }, grants = {
    ["legacy-fax"] = { relaxes = "requiretls", to = "verify", domains = "fax.partner.example", owner = "secops@acme.example",
                       expires = "2099-06-30", max_per_day = 200 },
  } },
  databases = { crm = { file = "crm.db" } },
  tables    = {
    partners = { csv = "partners.csv", key = "domain", columns = { domain = "pattern", level = "level", names = "list" } },
    people   = { json = "people.json", key = "who", index = "dept" },
  },
}
"""
DATA = {"partners.csv": "domain,level,names,until\n*.clinic.example,verify,mx.clinic.example,2027-06-30\n",
        "people.json": '{ "ann@acme.example": { "dept": "lab" } }\n'}

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


# ---- The blocks ----

class Block:
    def __init__(self, doc, line, kind, hook, text):
        self.doc, self.line, self.kind, self.hook, self.text = doc, line, kind, hook, text
        self.name = f"{doc}:{line} {kind}"


def blocks(doc):
    lines = read(doc).split("\n")
    at = 0
    while at < len(lines):
        m = re.match(r"^```(\S*)\s*(.*)$", lines[at])
        if m is None:
            at += 1
            continue
        end = at + 1
        while end < len(lines) and lines[end] != "```":
            end += 1
        if end == len(lines):
            report(False, f"{doc}:{at + 1} block", "it has no end")
            return
        words = m.group(2).split()
        if m.group(1) == "lua":
            yield Block(doc, at + 1, words[0] if words else "", words[1] if len(words) > 1 else None,
                        "\n".join(lines[at + 1:end]) + "\n")
        at = end + 1


def program(*args):
    p = subprocess.run([SALLYPORT, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=60)
    return p.returncode, p.stdout.decode("utf-8", "replace")


def write(directory, name, text):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
        f.write(text)


def check_gateway(b, directory, cert, key):
    """The files that it names are there."""
    for name in re.findall(r'"([\w./-]+\.pem)"', b.text):
        os.makedirs(os.path.dirname(os.path.join(directory, name)), exist_ok=True)
        shutil.copy(key if "key" in name else cert, os.path.join(directory, name))
    for name in re.findall(r'"([\w./-]+\.lua)"', b.text):
        write(directory, name, "")
    for name, content in DATA.items():
        write(directory, name, content)
    write(directory, "gateway.lua", b.text)
    rc, out = program("config", "check", os.path.join(directory, "gateway.lua"))
    report(rc == 0, b.name, out)


def surround(directory):
    for name, content in {"gateway.lua": CONFIG, **DATA}.items():
        write(directory, name, content)
    with sqlite3.connect(os.path.join(directory, "crm.db")) as db:
        db.execute("create table customers (domain text, status text)")
    db.close()


def check_policy(b, directory, text, want):
    surround(directory)
    write(directory, "policy.lua", text)
    rc, out = program("policy", "check", directory)
    # A wrong one is wrong for what it says, not for what is around it.
    ok = "(warning)" not in out if want == 0 else re.search(r"^policy\.lua:\d+: ", out, re.M)
    report(rc == want and bool(ok), b.name, f"exit {rc}, {want} was expected\n{out}")


def check_test(b, directory, policy):
    os.mkdir(os.path.join(directory, "tests"))
    write(directory, "policy.lua", policy)
    write(directory, os.path.join("tests", "block_test.lua"), b.text)
    rc, out = program("policy", "test", directory)
    report(rc == 0, b.name, out)


def check_together(work, docs):
    """The many short blocks of the reference: a file each, with names of their own, and one run for all."""
    directory = os.path.join(work, "reference")
    os.mkdir(directory)
    files = []
    for doc in docs:
        for b in blocks(doc):
            page = os.path.basename(doc)[:-3]
            text = b.text
            if b.kind == "fragment" and b.hook in ARGUMENTS:
                text = f'gw.on("{b.hook}", function({ARGUMENTS[b.hook]})\n{b.text}end, {{ name = "fragment" }})\n'
            elif b.kind != "policy":
                report(False, b.name, "a block of the reference is one of lua policy, fragment HOOK")
            files.append(f"{page}-{b.line}.lua")
            own = f"p{len(files)}."
            write(directory, files[-1], re.sub(r'(?<!gw\.metric \{ )\b(name\s*=\s*|gw\.schema\.options\()"', lambda m: m.group(0) + own, text))
    surround(directory)
    loads = ", ".join(f'"{name}"' for name in files)
    write(directory, "gateway.lua", CONFIG.replace('load = "policy.lua"', f"load = {{ {loads} }}"))
    rc, out = program("policy", "check", directory)
    report(len(files) > 100 and rc == 0 and "(warning)" not in out, f"doc/reference: {len(files)} blocks", out)


def check_blocks(work, cert, key):
    surround(work)
    write(work, "policy.lua", "")
    rc, out = program("policy", "check", work)
    report(rc == 0, "the configuration around the blocks", out)
    reference = sorted("doc/reference/" + n for n in os.listdir(os.path.join(SRCDIR, "doc/reference")) if n.endswith(".md"))
    report(len(reference) > 50, "doc/reference has its pages")
    check_together(work, reference)
    for doc in DOCS:
        n = 0
        before = ""
        for b in blocks(doc):
            directory = os.path.join(work, f"{os.path.basename(doc)}-{b.line}")
            os.mkdir(directory)
            n += 1
            if b.kind == "gateway":
                check_gateway(b, directory, cert, key)
            elif b.kind == "policy":
                check_policy(b, directory, b.text, 0)
                before = b.text
            elif b.kind == "test" and doc == "doc/tutorial.md":
                pass            # tutorial.py runs it, with the policy that has grown by then
            elif b.kind == "test":
                check_test(b, directory, before)
            elif b.kind == "wrong":
                check_policy(b, directory, b.text, 1)
            elif b.kind == "fragment" and (b.hook or "message") in ARGUMENTS:
                hook = b.hook or "message"
                check_policy(b, directory, f'gw.on("{hook}", function({ARGUMENTS[hook]})\n{b.text}end, '
                             '{ name = "fragment" })\n', 0)
            else:
                report(False, b.name, "a block is one of lua gateway, policy, wrong, test, fragment HOOK")
        report(n > 0, f"{doc} has blocks")


# ---- The reference and the source ----

def same(name, documented, real, doc="doc/policy.md"):
    missing, extra = sorted(real - documented), sorted(documented - real)
    text = (f"not in the document: {', '.join(missing)}\n" if missing else "") + \
           (f"not in the source: {', '.join(extra)}\n" if extra else "")
    report(not text, f"{doc} {name}", text)


def first_words(table, pattern=r"^\| `(\w+)"):
    return set(re.findall(pattern, table, re.M))


def section(text, heading):
    """From this heading to the next of any level."""
    m = re.search(r"^#+ " + re.escape(heading) + r"\n(.*?)(?=^#|\Z)", text, re.M | re.S)
    return m.group(1) if m else ""


def check_objects(reference):
    for name in sorted(os.listdir(os.path.join(SRCDIR, "src/policy"))):
        if not re.match(r"obj_\w+\.c$", name):
            continue
        for m in re.finditer(r"const struct obj_class \w+ = \{\n\t\.what = \"([^\"]+)\",\n(.*?)^\};",
                             read("src/policy/" + name), re.M | re.S):
            fields = set(re.findall(r'^\t\t\{ "(\w+)",', m.group(2), re.M))
            if fields:
                same(f"object {m.group(1)}", first_words(section(reference, f"`{m.group(1)}`")), fields)


def check_hooks(reference):
    source = read("src/policy/verdict.c")
    legal = source[source.index("legal[HOOKS]"):source.index("outcomes[HOOKS]")]
    real, documented = {}, {}
    for hook, bits in re.findall(r"\[HOOK_(\w+)\] = ([^,]*),", legal):
        real[hook.lower()] = {v.lower() for v in re.findall(r"V\((\w+)\)", bits)}
    for row in re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|([^|]*)\|", section(reference, "While mail comes in") +
                          section(reference, "While mail is routed and sent") +
                          section(reference, "Around a generation"), re.M):
        documented[row[0]] = set(re.findall(r"`(\w+)`", row[2]))
        report(row[1].strip() == ARGUMENTS.get(row[0], ""), f"doc/policy.md arguments of {row[0]}", row[1])
    del real["every"]       # of gw.every: nobody registers for it
    same("hooks", set(documented), set(real))
    for hook in sorted(set(real) & set(documented)):
        same(f"verdicts of {hook}", documented[hook], real[hook])


def check_functions(reference):
    matchers = re.findall(r'^\t\[MATCH_\w+\] = \{ "(\w+)",', read("src/policy/matcher.c"), re.M)
    same("matchers", first_words(section(reference, "Matchers").split("A matcher that needs")[0]), set(matchers))
    rules = read("src/policy/rules.c")
    makers = rules[rules.index("luaL_Reg makers[]"):]
    same("actions", first_words(section(reference, "Actions")),
         set(re.findall(r'\{ "(\w+)", a_\w+ \}', makers[:makers.index("};")])))
    verdicts = re.findall(r'\{ "(\w+)", gw_\w+ \}', read("src/policy/verdict.c"))
    same("verdicts", set(re.findall(r"`gw\.(\w+)`", "".join(
        row for row in section(reference, "Verdicts").split("\n") if row.startswith("| `gw.")).split("`gw.caps {")[0])),
        set(verdicts))


# ---- Documents for those who run it or read it ----

# Settings of delivery that limit nothing.
NO_LIMITS = {"delivery", "delivery.ipv4", "delivery.ipv6", "delivery.allow_loopback", "limits"}
SECTIONS = "service|dns|listeners|tls|routes|queue|evidence|delivery|limits|policy|dsn|log"


@functools.lru_cache
def sources():
    names = (os.path.join(d, n) for d, _, files in os.walk(os.path.join(SRCDIR, "src")) for n in files)
    return "".join(read(n) for n in names if n.endswith((".c", ".h")))


def short(value):
    """10 min, 64 MiB, 1,000,000 as the configuration writes them."""
    value = re.sub(r"(?<=\d),(?=\d{3})", "", str(value)).replace(" ", "")
    return value.replace("min", "m").replace("MiB", "M").replace("octets/s", "")


def check_defaults(text, real):
    """The columns Setting and Default of the tables of limits; several in one cell stand in the same order."""
    wrong, n = [], 0
    for cells in (row.split("|")[2:4] for row in section(text, "1. Limits").split("\n") if row.count("|") > 3):
        names = re.findall(r"`([a-z_.*]+)`", cells[0])
        for name, value in zip(names, re.sub(r"(?<=\d),(?=\d{3})", "", cells[1]).split(",")):
            if re.match(r" *\d", value):
                n += 1
                if short(value).split(";")[0] != short(real.get(name)):
                    wrong.append(f"{name}: {value.strip()}, in the program {real.get(name)}")
    report(n > 20 and not wrong, "doc/operations.md defaults", "\n".join(wrong) or f"{n} found")


def check_operations():
    text = read("doc/operations.md")
    rc, out = program("config", "schema")
    rows = json.loads(out) if rc == 0 else []
    settings = {row["path"] for row in rows}
    report(bool(settings), "sallyport config schema", out)
    check_defaults(text, {row["path"]: row.get("default") for row in rows})
    named = {n for n in re.findall(rf"`((?:{SECTIONS})\.[a-z_.*]+)", text)
             if not n.startswith("queue.db") and not n.endswith(".lua")}
    unknown = sorted(named - settings)
    report(not unknown, "doc/operations.md settings", ", ".join(unknown))
    same("limits", {n for n in named if n.startswith(("limits.", "delivery."))},
         {n for n in settings if n.startswith(("limits.", "delivery."))} - NO_LIMITS, "doc/operations.md")
    same("metrics", set(re.findall(r"`(?:sallyport)?(_\w+)", section(text, "14. Monitoring"))),
         set(re.findall(r'"sallyport(_\w+)",', read("src/gateway/daemon.c") + read("src/gateway/generations_show.c"))),
         "doc/operations.md")


def check_phrases():
    """What the log is said to say, it can say."""
    table = section(read("doc/operations.md"), "16. What the log says when something is wrong")
    phrases = {p for row in re.findall(r"^\| (`.*?) \|", table, re.M) for p in re.findall(r"`([^`]+)`", row)}
    gone = sorted(p for p in phrases if f'"{p}' not in sources())
    report(phrases and not gone, "doc/operations.md log lines", ", ".join(gone))


def is_there(path):
    """A file or folder of the tree, or a program that is made from one."""
    if "NAME" in path or "FILE" in path:
        return True
    return any(os.path.exists(os.path.join(SRCDIR, path + end)) for end in ("", ".c"))


def check_names():
    """Files and functions that the documents name are there."""
    words = {"bench_store", "bench_policy"} | set(re.findall(r"\w+", sources()))
    for doc in ("README", "doc/tour.md", "doc/evidence.md", "doc/operations.md", "doc/performance.md", "doc/threat-model.md"):
        text = read(doc)
        gone = {p for p in re.findall(r"\b((?:src|tests|doc|scripts|policies)/[\w./-]*\w)", text) if not is_there(p)}
        text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        if doc in ("doc/tour.md", "doc/performance.md"):
            gone |= set(re.findall(r"`([a-z][a-z\d]*_[a-z\d_]+)(?:\(\))?`", text)) - words
        report(not gone, f"{doc} names what is there", ", ".join(sorted(gone)))


def main():
    if not os.access(SALLYPORT, os.X_OK):
        print(f"# SKIP {SALLYPORT} is not there")
        return 77
    if shutil.which("openssl") is None:
        print("# SKIP openssl(1) is not there")
        return 77
    with tempfile.TemporaryDirectory(prefix="docs-", dir=os.environ.get("TMPDIR")) as work:
        cert, key = os.path.join(work, "cert.pem"), os.path.join(work, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "2", "-subj", "/CN=mx.acme.example", "-keyout", key, "-out", cert],
                       check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=60)
        check_blocks(work, cert, key)
    reference = read("doc/policy.md")
    check_objects(reference)
    check_hooks(reference)
    check_functions(reference)
    check_operations()
    check_phrases()
    check_names()
    print(f"# {failed} failed" if failed else "# all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
