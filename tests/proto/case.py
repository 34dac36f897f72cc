"""Runs the cases of one protocol test file.

    import case

    @case.register("tag-survives", "R-30", "X-12")
    def tag_survives(t):
        \"\"\"What is checked, in a sentence.\"\"\"
        hop = t.nexthop(cert=t.certs.issue("mx1.good.example"))
        ...
    case.main()

Each case has a directory and parts of its own, all taken down at its end. Prints a line a case,
`ok R-30 X-12 tag-survives`, `not ok ...` with every transcript and the end of the gateway's log,
or `ok ... # SKIP why`; ends with 0, 1, or 77 when all were skipped. Arguments: names of the cases
to run; -k keeps the directories.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
SRCDIR = os.path.abspath(os.environ.get("srcdir", os.path.join(os.path.dirname(__file__), "..", "..")))
os.environ.setdefault("SALLYPORT_LUADIR", os.path.join(SRCDIR, "lua"))       # not installed
sys.path.insert(0, os.path.join(SRCDIR, "tests"))

from lab.certs import Certs                                         # noqa: E402
from lab.client import Client, Unexpected, send                    # noqa: E402,F401
from lab.gateway import Gateway, Lua, MissingProgram, basic_config, merge  # noqa: E402,F401
from lab.lab import Lab, MissingTool, Zone, free_port               # noqa: E402,F401
from lab.nexthop import NextHop                                     # noqa: E402

CASE_SECONDS = 120


class Skip(Exception):
    pass


cases = []


def register(name, *requirements, seconds=CASE_SECONDS):
    def wrap(fn):
        cases.append((name, requirements, seconds, fn))
        return fn

    return wrap


class Case:
    """What a case works with; the same calls in every file."""

    def __init__(self, directory, certs):
        self.dir, self.certs = directory, certs
        self.parts, self.hops, self.clients, self.gateways = [], [], [], []
        self.zones_lab = None

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def lab(self, zones):
        """DNS with these zones; a signed `example` above them is added."""
        zones = dict(zones)
        zones.setdefault("example", Zone())
        self.zones_lab = Lab(self.path("dns"), zones).start()
        self.parts.append(self.zones_lab.stop)
        return self.zones_lab

    def nexthop(self, **options):
        hop = NextHop(**options)
        self.hops.append(hop)
        self.parts.append(hop.stop)
        return hop

    def nexthops(self, *options):
        """Several hosts with the same port, as mail hosts of MX records have: a dict of options
        (with "host") each."""
        port = free_port([o["host"] for o in options])
        return [self.nexthop(port=port, **o) for o in options]

    def gateway(self, hop_port=25, over=None, policy=None, **options):
        """A running gateway (lab.gateway.basic_config with `over` merged in)."""
        config = basic_config(self.certs, self.zones_lab, hop_port=hop_port, over=over)
        gw = Gateway(self.path(f"gw{len(self.gateways)}"), config, policy=policy, start=False, **options)
        self.gateways.append(gw)
        self.parts.append(lambda: gw.process is not None and gw.stop(check=not self.failed))
        return gw.start()

    failed = False

    def client(self, gw, listener="inbound", **options):
        c = Client(gw.port(listener), **options)
        self.clients.append(c)
        self.parts.append(c.close)
        return c

    def secure_client(self, gw, listener="inbound", name="client.example", **options):
        """A client behind EHLO, STARTTLS and EHLO."""
        c = self.client(gw, listener, **options)
        c.ehlo(name)
        c.starttls(sni="gw.example")
        c.ehlo(name)
        return c

    def skip(self, why):
        raise Skip(why)

    def check(self, condition, what):
        if not condition:
            raise AssertionError(what)

    def eq(self, got, want, what="value"):
        if got != want:
            raise AssertionError(f"{what}: got {got!r}, wanted {want!r}")

    def has(self, text, part, what="text"):
        if part not in text:
            raise AssertionError(f"{what}: {part!r} is not in {text!r}")

    def lacks(self, text, part, what="text"):
        if part in text:
            raise AssertionError(f"{what}: {part!r} is in {text!r}")

    def close(self):
        """Takes all parts down, last first; the first failure among them is raised at the end."""
        first = None
        for part in reversed(self.parts):
            try:
                part()
            except Exception as e:
                first = first or e
        self.parts = []
        if first is not None:
            raise first

    def report(self):
        lines = []
        for i, c in enumerate(self.clients):
            lines += [f"--- client {i + 1}"] + c.transcript
        lines += [h.report() for h in self.hops]
        lines += [g.log_tail() for g in self.gateways]
        return "\n".join(lines)


def too_slow(*unused):
    raise AssertionError("the case took too long")


def run_one(fn, seconds, directory, certs):
    """(verdict, text): "ok", "skip" or "fail"."""
    os.makedirs(directory)
    t = Case(directory, certs)
    signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(seconds)
    verdict, text = "ok", ""
    try:
        fn(t)
    except (Skip, MissingTool, MissingProgram) as e:
        verdict, text = "skip", str(e)
    except Exception:
        verdict, text, t.failed = "fail", traceback.format_exc() + t.report(), True
    signal.alarm(0)
    try:
        t.close()
    except Exception:
        if verdict == "ok":
            verdict, text = "fail", traceback.format_exc() + t.report()
    return verdict, text


def work_directory(name):
    """Below the build folder, or in TMPDIR where a Unix socket's path would get too long."""
    below = os.path.abspath(os.path.join("tests", "proto", "work"))
    if len(below) < 50:
        os.makedirs(below, exist_ok=True)
        return tempfile.mkdtemp(prefix=name + "-", dir=below)
    return tempfile.mkdtemp(prefix="sp-" + name + "-")


def main():
    keep = "-k" in sys.argv[1:]
    wanted = [a for a in sys.argv[1:] if not a.startswith("-")]
    unknown = set(wanted) - {c[0] for c in cases}
    if unknown:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    name = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    top = work_directory(name)
    certs = Certs(os.path.join(top, "certs"))
    counts = {"ok": 0, "skip": 0, "fail": 0}
    for number, (label, requirements, seconds, fn) in enumerate(cases, 1):
        if wanted and label not in wanted:
            continue
        began = time.monotonic()
        verdict, text = run_one(fn, seconds, os.path.join(top, f"c{number}"), certs)
        counts[verdict] += 1
        title = " ".join([*requirements, label])
        if verdict == "skip":
            print(f"ok {title} # SKIP {text}")
        elif verdict == "ok":
            print(f"ok {title} ({time.monotonic() - began:.1f} s)")
        else:
            print(f"not ok {title}\n" + "\n".join("    " + x for x in text.splitlines()))
        sys.stdout.flush()
    print(f"{name}: {counts['ok']} ok, {counts['fail']} failed, {counts['skip']} skipped")
    if counts["fail"] == 0 and not keep:
        shutil.rmtree(top, ignore_errors=True)
    else:
        print(f"{name}: files are in {top}")
    if counts["fail"]:
        sys.exit(1)
    sys.exit(0 if counts["ok"] or not counts["skip"] else 77)
