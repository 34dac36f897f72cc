"""Goes through doc/tutorial.md as its reader would, in a network namespace of its own: writes the files, types the
commands, and compares what they print. Comments in the document, which a reader does not see, say what the
sentences around them say:

    <!-- file: NAME -->         the next block is this file
    <!-- append: NAME -->       ... is added to it
    <!-- run: COMMAND -->       an edit that the text asks for
    <!-- background: NAME -->   the next block runs in a terminal of its own, its output in NAME
    <!-- output: COMMAND -->    the next block is what this prints
    <!-- inside -->             ... what the company's server printed last

Times, ids, digests, paths and names of people may differ, fields of the log be left out; `...` stands for anything.
"""

import html
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SRCDIR = os.path.abspath(os.environ.get("srcdir", os.path.join(os.path.dirname(__file__), "..", "..")))
BUILDDIR = os.path.abspath(os.environ.get("builddir", "."))
DOC = os.path.join(SRCDIR, "doc", "tutorial.md")
WAIT_S = 40             # for what comes by itself: a delivery, the next try
AGAIN = re.compile(r"^(grep|cat|sed|sallyport( -c \S+)? (queue (list|show)|evidence|status|policy (list|status|why)))\b")

# What may differ. The first group that matches decides.
DIFFERS = [
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", r"\d{4}-\d\d-\d\dT[\d:.]+Z"),
    (r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d{4} [\d:]+ [+-]\d{4}", r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d{4} [\d:]+ [+-]\d{4}"),
    (r"\b38[0-9A-Z]{11}\b", None),      # an id: the same each time it is named
    (r"(?<![0-9a-f])(?:[0-9a-f]{24}|[0-9a-f]{12})(?![0-9a-f])", "[0-9a-f]+"),
    (r"\[[0-9A-Z]{4}\]$", r"\[[0-9A-Z]{4}\]"),
    (r"ref=[0-9A-Z]{4}", "ref=[0-9A-Z]{4}"),
    (r"/home/ann/tour", None),
    (r"\bby=ann\b", r"by=\\S+"),
    (r"Landlock, ABI \d+|sqlite=[\d.]+|schema=\d+", ".*"),
    (r"\bseccomp$", ".*"),             # not with sanitizers
    (r"limit\.(?:cpu|instructions)", r"limit\.(?:cpu|instructions)"),
    (r" +\d+s\b", r" +\\d+s"),          # ages
    (r"\.\.\.", ".*"),
]
TOKEN = re.compile("|".join(f"({p})" for p, _ in DIFFERS))


class Tour:
    def __init__(self, work):
        self.work, self.ids = work, {}
        env = dict(os.environ, PATH=os.path.join(BUILDDIR, "src") + ":" + os.environ["PATH"], LC_ALL="C.UTF-8", HOME=work)
        env.setdefault("SALLYPORT_LUADIR", os.path.join(SRCDIR, "lua"))
        self.shell = subprocess.Popen(["unshare", "-n", "bash", "--norc"], cwd=work, env=env, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        self.shell_run("ip link set lo up || python3 -c 'import fcntl,socket,struct; s=socket.socket(); "
                       "fcntl.ioctl(s, 0x8914, struct.pack(\"16sh14x\", b\"lo\", 0x41))'")

    def end(self):
        try:
            os.killpg(self.shell.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.shell.wait()

    def shell_run(self, command):
        """What it prints, and its exit status."""
        mark = f"--end-{time.monotonic_ns()}--"
        self.shell.stdin.write(f"{command}\necho {mark} $?\n".encode())
        self.shell.stdin.flush()
        got, until = b"", time.monotonic() + 120
        while not (m := re.search(rf"{mark} (\d+)\n".encode(), got)):
            if not select.select([self.shell.stdout], [], [], max(0, until - time.monotonic()))[0]:
                raise AssertionError(f"no end of: {command}\n{got.decode('utf-8', 'replace')}")
            more = os.read(self.shell.stdout.fileno(), 65536)
            if not more:
                raise AssertionError(f"the shell ended at: {command}")
            got += more
        return got[:m.start()].decode("utf-8", "replace"), int(m.group(1))

    def real(self, text):
        """A command of the document with the ids of this run."""
        for theirs, ours in self.ids.items():
            text = text.replace(theirs, ours)
        return text

    def pattern(self, line, names):
        out, at = "", 0
        line, cut = (line[:-4], "(?: .*)?") if line.endswith(" ...") else (line, "")
        for m in TOKEN.finditer(line):
            out += re.escape(line[at:m.start()])
            at = m.end()
            word = m.group(0)
            k = next(i for i, g in enumerate(m.groups()) if g is not None)
            if DIFFERS[k][1] is not None:
                out += DIFFERS[k][1].replace("\\\\", "\\")
            elif word.startswith("/home"):
                out += re.escape(os.path.join(self.work, "tour"))
            elif word in self.ids:
                out += self.ids[word]
            elif word in names:
                out += f"(?P=i{names.index(word)})"
            else:
                names.append(word)
                out += rf"(?P<i{len(names) - 1}>[0-9A-Z]{{13}})"
        out += re.escape(line[at:])
        if re.match(r"\d{4}-\d\d-\d\dT\S+ (info|warning|error) ", line):
            out = re.sub(r"\\ (?=[a-z_]+=)", r"[^\\n]* ", out)       # fields may be left out
        return out + cut

    def compare(self, want, got):
        """True when it fits; remembers the ids."""
        names, parts = [], []
        for line in want.rstrip("\n").split("\n"):
            parts.append(r"(?:[^\n]*\n)*?" if line == "..." else self.pattern(line.rstrip(), names) + r"[ \t]*\n")
        m = re.fullmatch("".join(parts), got.rstrip("\n") + "\n")
        if m is None:
            return False
        self.ids.update({name: m.group(f"i{k}") for k, name in enumerate(names)})
        return True

    def step(self, command, want):
        command = self.real(command)
        again = AGAIN.match(command)
        until = time.monotonic() + WAIT_S
        while True:
            got, _ = self.shell_run(command)
            if want is None or self.compare(want, got):
                return
            if not again or time.monotonic() > until:
                raise AssertionError(f"$ {command}\n--- the document\n{want}\n--- it printed\n{got}")
            time.sleep(0.3)


def blocks(text):
    """(line, language, notes before it, text)"""
    notes, at, lines = [], 0, text.split("\n")
    while at < len(lines):
        m = re.match(r"^<!-- (\w+)(?:: (.*?))? -->$", lines[at])
        if m:
            notes.append((m.group(1), html.unescape(m.group(2) or "")))
        m = re.match(r"^```(\w*)", lines[at])
        if m:
            end = lines.index("```", at + 1)
            yield at + 1, m.group(1), notes, "\n".join(lines[at + 1:end]) + "\n"
            notes, at = [], end
        at += 1
    yield len(lines), "", notes, ""


def typed(text):
    """The commands of a console block with what each prints."""
    parts = re.split(r"^\$ ", text, flags=re.M)[1:]
    for part in parts:
        command, _, want = part.partition("\n")
        while command.endswith("\\"):
            more, _, want = want.partition("\n")
            command += "\n" + more
        yield command, want


def play(tour, language, notes, text):
    into = None
    for note, value in notes:
        if note == "run":
            got, rc = tour.shell_run(tour.real(value))
            if rc != 0:
                raise AssertionError(f"run: {value}\n{got}")
        elif note in ("file", "append"):
            into = value, "w" if note == "file" else "a"
        elif note == "output":
            tour.step(value, text)
            return 1
        elif note == "inside":
            tour.step("sed -n \"$(grep -n ^Date: inside.out | tail -n 1 | cut -d: -f1),\\$p\" inside.out", text)
            return 1
        elif note == "background":
            tour.shell_run(f"{text.strip()} >{value} 2>&1 &")
            return 1
    if into is not None:
        path, how = into
        with open(os.path.join(tour.work, "tour", path), how, encoding="utf-8") as f:
            f.write(("\n" if how == "a" else "") + text)
        return 0
    if language == "sh":
        got, rc = tour.shell_run(text)
        if rc != 0:
            raise AssertionError(f"{text}\nexit {rc}\n{got}")
        return 1
    if language == "console":
        n = 0
        for command, want in typed(text):
            if command.endswith("&"):
                tour.shell_run(command[:-1] + ">/dev/null 2>&1 &")
            else:
                tour.step(command, want)
            n += 1
        return n
    if language not in ("", "lua"):
        raise AssertionError(f"nothing says what to do with this block of {language}")
    return 0


def main():
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-n", "true"], stderr=subprocess.DEVNULL,
                                                         check=False).returncode != 0:
        print("# SKIP no network namespace can be made (root, unshare(1))")
        return 77
    if shutil.which("openssl") is None:
        print("# SKIP openssl(1) is not there")
        return 77
    with open(DOC, encoding="utf-8") as f:
        text = f.read()
    steps = 0
    with tempfile.TemporaryDirectory(prefix="tutorial-", dir=os.environ.get("TMPDIR")) as work:
        tour = Tour(work)
        try:
            for line, language, notes, block in blocks(text):
                try:
                    steps += play(tour, language, notes, block)
                except (AssertionError, OSError) as e:
                    print(f"not ok doc/tutorial.md:{line}\n{e}")
                    log = os.path.join(work, "tour", "gateway.log")
                    if os.path.exists(log):
                        with open(log, encoding="utf-8", errors="replace") as f:
                            print("--- gateway.log\n" + "".join(f.readlines()[-30:]))
                    return 1
        finally:
            tour.end()
    print(f"ok tutorial: {steps} commands print what the document says")
    return 0 if steps > 60 else 1


sys.exit(main())
