"""What the files of the hostile client share: scenarios that are replayed with their octets cut in
all ways, a next hop that keeps every octet it was sent, and readers of both streams that know
nothing but CR LF.

    play(t, gw, hop, [Scenario("name", [(octets, "250"), ...], ends=True), ...])

A scenario is a list of steps: what is sent in one go, then the beginnings of the replies that
must come, in order, and no others. `{me}` in the octets becomes a word that is different for each
replay; it is the local-part of the sender, so that what arrives can be told apart. Each is replayed whole,
octet by octet and cut at random, and what the server says must be the same each time. What it
accepts has to arrive once and as it was sent; nothing else may arrive."""

import collections
import concurrent.futures
import contextlib
import os
import random
import re
import ssl

import case
from lab.client import pieces, tls_context
from lab.nexthop import NextHop

SOAK = bool(os.environ.get("SOAK"))
CUTS = [None, 1, *range(2, 42 if SOAK else 4)]     # from 2 on: seeds
THREADS = 6

EHLO = (b"EHLO client.example\r\n", "250")
MAIL = (b"MAIL FROM:<{me}@client.example>\r\n", "250 2.1.0")
RCPT = (b"RCPT TO:<b@gw.example>\r\n", "250 2.1.5")
DATA = (b"DATA\r\n", "354")
OPEN = [EHLO, MAIL, RCPT]
QUEUED = "250 2.0.0 Ok: queued"
SYNTAX, UNKNOWN, TOO_LONG = "500 5.5.2 Control", "500 5.5.1 Command not", "500 5.5.2 Line too long"
BARE = "500 5.5.2 Lines end in CR LF"
EVIL = b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<b@gw.example>\r\nDATA\r\nSubject: evil\r\n\r\n.\r\n"


def room(over=None):
    """Configuration with room for replays, `over` merged in: limits have cases of their own."""
    return case.merge({"limits": {"errors": 10000, "soft_errors": 0, "junk": 10000, "sessions_per_address": 5000},
                       "listeners": {"inbound": {"max_size": "1M", "max_rcpts": 100}}}, over or {})


class Scenario:
    def __init__(self, name, steps, ends=False, cuts=None):
        """ends: the server closes after the last step. cuts: instead of all."""
        self.name, self.steps, self.ends, self.cuts = name, steps, ends, cuts or CUTS


# ---- Reading by the book ----

def split_data(stream):
    """Content and the rest (RFC 5321 4.1.1.4, 4.5.2). What a line is, only CR LF decides."""
    content, at = [], 0
    while True:
        end = stream.index(b"\r\n", at)
        line, at = stream[at:end], end + 2
        if line == b".":
            return b"".join(content), stream[at:]
        content.append((line[1:] if line.startswith(b".") else line) + b"\r\n")


def split_session(stream):
    """Command lines and contents of a client to which every reply was a yes."""
    commands, contents, chunks = [], [], b""
    while stream:
        line, _, stream = stream.partition(b"\r\n")
        commands.append(line)
        if line == b"DATA":
            content, stream = split_data(stream)
            contents.append(content)
        elif line.startswith(b"BDAT "):
            size = int(line.split()[1])
            chunks, stream = chunks + stream[:size], stream[size:]
            if line.endswith(b" LAST"):
                contents.append(chunks)
                chunks = b""
    return commands, contents


def without_trace(content):
    """Content behind the one field that the gateway puts on top."""
    found = re.match(rb"Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", content)
    if not found:
        raise AssertionError(f"no trace field on top: {content[:200]!r}")
    return content[found.end():]


BARE_CR_LF = re.compile(rb"(?<!\r)\n|\r(?!\n)")


# ---- The next hop ----

class Tap:
    """A socket whose received octets are kept."""

    def __init__(self, sock):
        self.sock, self.octets = sock, []

    def recv(self, n):
        data = self.sock.recv(n)
        self.octets.append(data)
        return data

    def __getattr__(self, name):
        return getattr(self.sock, name)


class RecordingHop(NextHop):
    def __init__(self, **options):
        self.taps = []
        super().__init__(**options)

    def serve(self, session):
        session.sock = Tap(session.sock)
        self.taps.append(session.sock)
        super().serve(session)

    def streams(self):
        return [b"".join(tap.octets) for tap in self.taps]


def recording_hop(t, **options):
    hop = RecordingHop(**options)
    t.hops.append(hop)
    t.parts.append(hop.stop)
    return hop


def transactions(t, hop):
    """(sender, recipients, content without trace) of all that arrived, read from the octets; they
    must be in order all by themselves."""
    found = []
    for stream in hop.streams():
        bare = BARE_CR_LF.search(stream)
        t.check(not bare, f"CR or LF alone on its way out: {bare and stream[bare.start() - 60:bare.end() + 60]!r}")
        t.check(b"\0" not in stream, "NUL on its way out")
        commands, contents = split_session(stream)
        sender, rcpts, at = None, [], 0
        for line in commands:
            t.check(re.match(rb"(EHLO|MAIL FROM:<|RCPT TO:<|DATA$|BDAT \d+|RSET$|QUIT$)", line),
                    f"what kind of command is {line[:200]!r}")
            if line.startswith(b"MAIL"):
                sender, rcpts = line, []
            elif line.startswith(b"RCPT"):
                rcpts.append(line)
            elif line == b"DATA" or line.endswith(b" LAST"):
                found.append((sender, rcpts, without_trace(contents[at])))
                at += 1
    return found


# ---- Replays ----

class Transcript:
    def __init__(self, scenario, cut, me):
        self.scenario, self.cut, self.me = scenario, cut, me
        self.said = []          # replies, queue numbers taken out
        self.accepted = []      # contents that got their 250
        self.heard = b""

    @property
    def label(self):
        how = {None: "whole", 1: "by octets"}.get(self.cut, f"cut with seed {self.cut}")
        return f"{self.scenario.name} ({how})"


def masked(reply):
    return re.sub(r"queued as \S+", "queued as ID", repr(reply))


def run_steps(t, c, run):
    in_data, chunks = False, b""
    for octets, *wanted in run.scenario.steps:
        octets = octets.replace(b"{me}", run.me)
        # Who was sent away reads what was said; the rest of what it had to say is lost.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            c.raw(octets)
        for want in wanted:
            try:
                reply = c.read_reply()
            except EOFError:
                raise AssertionError(f"{run.label}: closed instead of {want!r} to {octets[:300]!r}") from None
            run.said.append(masked(reply))
            if not repr(reply).startswith(want):
                raise AssertionError(f"{run.label}: {reply} instead of {want!r} to {octets[:300]!r}")
        chunk = None if in_data else re.search(rb"(?i)BDAT (\d+)(?: LAST)?\r\n", octets)
        if chunk:       # what was refused is not part of anything
            chunks += octets[chunk.end():chunk.end() + int(chunk.group(1))]
            chunks = chunks if wanted[-1].startswith("250") else b""
        if in_data and wanted:
            if wanted[0].startswith("250"):
                run.accepted.append(split_data(octets)[0])
        elif wanted and QUEUED in wanted[-1]:
            run.accepted.append(chunks if chunks.endswith(b"\r\n") else chunks + b"\r\n")
            chunks = b""
        if octets.startswith((b"RSET", b"EHLO")) and wanted[-1].startswith("250"):
            chunks = b""
        in_data = bool(wanted) and wanted[-1].startswith("354")


def replay(t, port, scenario, cut, me, listener_options):
    run = Transcript(scenario, cut, me)
    c = case.Client(port, cut=random.Random(f"{scenario.name} {cut}") if cut and cut > 1 else cut,
                    **listener_options)
    try:
        run_steps(t, c, run)
        if scenario.ends:
            t.check(c.is_closed(), f"{run.label}: the session goes on, with {c.buffer!r}")
        else:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                c.raw(b"QUIT\r\n")
            try:
                t.eq(c.read_reply().code, 221, f"{run.label}: reply to QUIT")
            except EOFError:
                raise AssertionError(f"{run.label}: closed before QUIT\n" + "\n".join(c.transcript)) from None
            t.check(c.is_closed(), f"{run.label}: open after QUIT, with {c.buffer!r}")
    finally:
        c.close()
        run.heard = c.heard
    check_words(t, run)
    return run


def check_words(t, run):
    """X-29: replies are lines of printable ASCII, and short ones."""
    for line in run.heard.split(b"\r\n"):
        t.check(re.fullmatch(rb"[ -~]{0,510}", line), f"{run.label}: said {line!r}")


def play(t, gw, hop, scenarios, cuts=None, listener="inbound", **options):
    """All replays of all scenarios, some at a time; then what arrived is compared with what was
    accepted. Gives the transcripts."""
    runs = []
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        jobs = []
        for number, s in enumerate(scenarios):
            for cut in cuts or s.cuts:
                me = b"s%dc%s" % (number, str(cut).encode())
                jobs.append(pool.submit(replay, t, gw.port(listener), s, cut, me, options))
        for job in jobs:
            runs.append(job.result())
    first = {}
    for run in runs:
        want = first.setdefault(run.scenario.name, run)
        t.eq(run.said, want.said, f"{run.label}: replies, against {want.label}")
    if hop is not None:
        compare(t, gw, hop, runs)
    check_log(t, gw)
    return runs


def compare(t, gw, hop, runs):
    want = collections.Counter()
    for run in runs:
        for content in run.accepted:
            want[b"<%s@client.example>" % run.me, content] += 1
    hop.wait(lambda: len(hop.accepted) >= sum(want.values()), 30)
    gw.wait_queue_empty()
    got = collections.Counter()
    for sender, rcpts, content in transactions(t, hop):
        t.check(rcpts and rcpts[0].startswith(b"RCPT TO:<b@gw.example>"), f"recipients of {sender}: {rcpts}")
        got[re.search(rb"<[^>]*>", sender).group(), content] += 1
    for key in sorted(set(want) | set(got)):
        t.eq(got[key], want[key], f"times that {key[0]} arrived with {key[1][:300]!r}")


# What no line of a log may hold: controls, C1, line separators, marks that reorder text.
UNFIT = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufffd]")


def check_log(t, gw):
    """One line an event, and each of them printable."""
    with open(gw.log_path, "rb") as f:
        lines = f.read().split(b"\n")
    for line in lines[:-1]:
        text = line.decode("utf-8", "replace")
        t.check(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|warning|error|notice) ", text),
                f"a log line of its own: {text!r}")
        t.check(not UNFIT.search(text), f"log: {text!r}")


# ---- TLS in pieces ----

class MemoryTls:
    """A TLS client whose octets the test moves, so that it can cut, keep or spoil them."""

    def __init__(self, sock, ctx=None, sni=None, session=None):
        self.sock = sock
        self.read, self.write = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (ctx or tls_context()).wrap_bio(self.read, self.write, server_hostname=sni, session=session)

    def flush(self, cut=None):
        for piece in pieces(self.write.read(), cut):
            self.sock.sendall(piece)

    def step(self, call, cut=None):
        """Repeats `call` until it is done; octets go out cut."""
        while True:
            try:
                value = call()
                self.flush(cut)
                return value
            except ssl.SSLWantReadError:
                self.flush(cut)
                data = self.sock.recv(65536)
                if data:
                    self.read.write(data)
                else:
                    self.read.write_eof()


def hello_octets(**ctx_options):
    """A ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_context(**ctx_options).wrap_bio(incoming, outgoing, server_hostname="gw.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def in_threads(work, items, threads=THREADS):
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def cpu_ticks(gw):
    """User and system time of the daemon, in ticks."""
    with open(f"/proc/{gw.process.pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def resident_kib(gw):
    with open(f"/proc/{gw.process.pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

