"""The fault shim's walk (F-4, F-5, F-7 to F-9): three messages go through the real daemon to real next hops while the
n-th call of a kind fails, for n = 1, 2, 3, ... until they pass without the fault.

One message is plain and large enough for a spool file, one is tagged REQUIRETLS over TLS, one bounces.
Whatever fails: nothing that got its 250 is lost or changed, nothing tagged goes out in clear, a message
that was refused does not arrive, no descriptor and no memory leaks, and the daemon either goes on or
ends in the one way that is documented (out of memory, with a message and its status).

`make check` takes a sample of the indexes, `make soak` all of them; SHIM_KINDS=sync,open, SHIM_FROM=100 and
SHIM_WALKERS=4 choose. A line with the number of indexes of each kind is printed at the end.
"""

import contextlib
import errno
import os
import re
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "proto"))

import case                                                         # noqa: E402
from case import Client, Gateway, NextHop, basic_config             # noqa: E402
from lab.client import tls_context                                  # noqa: E402
from shim import EXIT_NO_MEMORY, Shim, is_sanitized                # noqa: E402

SOAK = os.environ.get("SOAK") == "1"
FROM = int(os.environ.get("SHIM_FROM", "1"))     # to go on where another run was ended

# kind, errno, how many indexes `make check` looks at
WALKS = {
    "sync": ("sync", errno.EIO, 3),
    "write": ("write", errno.EIO, 4),
    "write-full": ("write", errno.ENOSPC, 4),
    "open": ("open", errno.EMFILE, 3),
    "socket": ("socket", errno.EMFILE, 3),
    "accept": ("accept", errno.EMFILE, 2),
    "accept-enfile": ("accept", errno.ENFILE, 2),
    "malloc": ("malloc", errno.ENOMEM, 40),
    "read": ("read", errno.EIO, 4),
    "send": ("send", errno.ECONNRESET, 4),
    "recv": ("recv", errno.ECONNRESET, 4),
    "truncate": ("truncate", errno.EIO, 1),
    "connect": ("connect", errno.ENETUNREACH, 2),
}

POLICY = """
gw.on("message", function(session, message)
  message:add_header("X-Walk", message:subject())
  message.vars.walk = message:subject()
end, { name = "walk.mark" })
gw.on("attempt", function(message, hop)
  if message.vars.walk == nil and not message.from.is_null then error("vars lost") end
end, { name = "walk.attempt" })
"""
LARGE = b"".join(b"%05d 0123456789abcdefghijklmnopqrstuvwxyz .\r\n" % i for i in range(7000))


def body_of(token, which):
    return token.encode() + b"\r\n" + {"plain": LARGE, "tagged": b".dot\r\n..\r\n" + b"t" * 900 + b"\r\n",
                                       "bounce": b"small\r\n"}[which]


class Walker:
    """One daemon, its two next hops, and what was sent through it."""

    def __init__(self, t, number):
        self.t, self.number, self.seq = t, number, 0
        self.inside = t.nexthop(host="127.0.0.1", replies={"RCPT:bounce@": "550 5.1.1 no such user"})
        self.target = t.nexthop(host="127.0.0.12", cert=t.certs.issue("target.example"), requiretls=True)
        config = basic_config(t.certs, hop_port=self.inside.port, over={
            "domains": [{"match": ["dst.example"], "kind": "local", "route": "target"},
                        {"match": ["gw.example"], "kind": "local", "route": "inside"}],
            "routes": {"target": {"via": [f"127.0.0.12:{self.target.port}"], "tls": "may",
                                  "names": ["target.example"], "assert_secure_lookup": True}},
            # no connection is kept: each message makes its own, and with it its calls
            "queue": {"retry": ["1s"], "min_free": 0}, "delivery": {"idle": "1ms"}, "log": {"level": "info"},
            # The resolver's self-test would come in at any time, with calls of libunbound: not of the messages.
            "dns": {"anchor": "none"}})
        self.shim = Shim(t.path(f"shim{number}"))
        self.gw = Gateway(t.path(f"w{number}"), config, policy=POLICY, start=False, env=self.shim.env())
        t.gateways.append(self.gw)
        t.parts.append(lambda: self.gw.process is not None and self.gw.stop(check=not t.failed))
        self.acked, self.refused = {}, {}       # token: which
        self.position, self.done = {}, {}       # in a hop's messages; how often a token came to an end
        self.ends = {}                          # exit status: how often
        self.indexes, self.fired = {}, {}
        self.checked = 0
        self.is_ready = False
        self.start()
        self.fds = self.baseline = None

    # ---- one index ----

    def session(self, which, token):
        """The final reply's code; 0 when the connection was lost before one."""
        listener, rcpt = {"plain": ("inbound", "b@gw.example"), "tagged": ("relay", "b@dst.example"),
                          "bounce": ("inbound", "bounce@gw.example")}[which]
        content = f"From: a@gw.example\r\nSubject: {token}\r\n\r\n".encode() + body_of(token, which)
        c = None
        try:
            c = Client(self.gw.port(listener), timeout=20)
            if c.greeting.code != 220:
                return c.greeting.code
            c.ehlo()
            if which == "tagged":
                c.starttls(ctx=self.ctx)
                c.ehlo()
            # a notice about tagged mail may go out without its subject: ENVID stays
            reply = c.mail("a@gw.example", f"ENVID={token}" + (" REQUIRETLS" if which == "tagged" else ""))
            if reply.code == 250:
                reply = c.rcpt(rcpt)
            if reply.code == 250:
                reply = c.cmd("DATA")
            if reply.code == 354:
                c.raw(case_dot_stuff(content) + b".\r\n")
                reply = c.read_reply()
            return reply.code
        except case.Unexpected as e:
            found = re.search(r"got (\d{3})", str(e))
            if "no reply in time" in str(e):
                if self.gw.process.poll() is not None:      # connected to a process that was about to end
                    return 0
                raise AssertionError(f"{which} message {token}: {e}") from None
            return int(found.group(1)) if found else 0
        except (EOFError, ssl.SSLError, OSError) as e:
            if isinstance(e, TimeoutError):
                raise AssertionError(f"{which} message {token}: timed out") from None
            return 0
        finally:
            if c is not None:
                c.close()

    ctx = tls_context()

    def scenario(self):
        """Three messages at the same time; what has been acknowledged of them."""
        self.seq += 1
        sent = {f"w{self.number}-{self.seq}-{which}": which for which in ("plain", "tagged", "bounce")}
        acked = []
        for token, which in sent.items():
            code = self.session(which, token)
            if code == 250:
                self.acked[token] = which
                acked.append(token)
            elif code >= 400:
                self.refused[token] = (which, code)
        return acked

    def died(self):
        """Has it ended by itself? Then it is started again, without a fault."""
        process = self.gw.process
        if process.poll() is None:
            return False
        code = process.returncode
        self.ends[code] = self.ends.get(code, 0) + 1
        self.gw.process = None
        self.shim.disarm()
        if code != EXIT_NO_MEMORY:
            raise AssertionError(f"sallyportd ended with {code}\n{self.gw.log_tail()}")
        self.restarted()
        return True

    def restarted(self):
        self.baseline = None
        self.start()

    def start(self):
        """As Gateway.start, but asks the port only, which is quicker."""
        gw = self.gw
        with open(gw.log_path, "ab") as log:
            gw.process = subprocess.Popen([gw.daemon, "-c", gw.conf_path], cwd=gw.dir, stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, env=dict(os.environ, **gw.env))
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if gw.process.poll() is not None:
                code, gw.process = gw.process.returncode, None
                raise AssertionError(f"sallyportd ended at once with {code}\n{gw.log_tail()}")
            try:
                with Client(gw.port("inbound"), timeout=20) as c:
                    if c.greeting.code == 220:
                        self.is_ready = True
                        return
            except (OSError, EOFError):
                pass
            time.sleep(0.01)
        raise AssertionError(f"sallyportd does not get ready\n{gw.log_tail()}")

    def arrived(self, token):
        return token in self.seen()

    def seen(self):
        """Tokens that came to an end: at a hop, or in a notice."""
        for hop in (self.inside, self.target):
            messages = hop.accepted
            for m in messages[self.position.setdefault(id(hop), 0):]:
                self.take(hop, m)
            self.position[id(hop)] = len(messages)
        return self.done

    def take(self, hop, m):
        token = m.header("Subject")
        if m.mail.upper().startswith("MAIL FROM:<>"):
            for found in set(re.findall(rb"w\d+-\d+-\w+", m.data)):
                if not found.endswith(b"bounce"):
                    raise AssertionError(f"a fault on this side bounced a message: {m.data.decode()}")
                self.done[found.decode()] = self.done.get(found.decode(), 0) + 1
            if b"t" * 100 in m.data or b"small\r\n" in m.data:
                raise AssertionError(f"a notice shows a body: {m.data[-500:]}")
            return
        which = token.rpartition("-")[2]
        if m.body != body_of(token, which):
            raise AssertionError(f"{token}: body of {len(m.body)} octets is not what was sent")
        if m.header("X-Walk") != token:
            raise AssertionError(f"{token}: edits are lost, X-Walk is {m.header('X-Walk')}")
        if which == "tagged" and (m.tls is None or not m.has_requiretls or hop is not self.target):
            raise AssertionError(f"{token}: sent without protection: {m.mail} {m.tls}")
        self.done[token] = self.done.get(token, 0) + 1

    def quiet(self, acked, timeout=20):
        """Until what was acknowledged has arrived and nothing is written any more, or the fault came
        or the daemon ended. Leaves the count of calls in the shim."""
        until = time.monotonic() + timeout
        last, since = -1, 0.0
        while time.monotonic() < until:
            if self.gw.process.poll() is not None or self.shim.fired:
                return
            count = self.shim.count("sync") + self.shim.count("write")
            if count != last:
                last, since = count, time.monotonic()
            elif time.monotonic() - since > 0.04 and all(self.arrived(x) for x in acked):
                return
            time.sleep(0.004)

    def index(self, name, n):
        """True when the n-th call of that kind came and failed."""
        kind, error, _ = WALKS[name]
        self.wait_ready()
        self.shim.arm(kind, n, error)
        acked = self.scenario()
        self.quiet(acked)
        fired = self.shim.fired > 0
        self.shim.disarm()
        if fired and kind == "malloc":      # the call has failed, the end may be a moment away
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.gw.process.wait(0.2)
        self.died()
        if fired:
            self.fired[name] = self.fired.get(name, 0) + 1
        return fired

    def wait_ready(self):
        """The greeting is 220 again (a storage fault gives 421 until the queue is open again)."""
        if self.is_ready:
            self.is_ready = False
            return
        until = time.monotonic() + 30
        why = None
        while time.monotonic() < until:
            try:
                with Client(self.gw.port("inbound"), timeout=10) as c:
                    if c.greeting.code == 220 and c.ehlo() and c.mail("a@gw.example").code == 250:
                        return
                    why = c.transcript
            except (EOFError, OSError, case.Unexpected) as e:
                why = e
            if self.gw.process.poll() is not None:
                self.died()
            time.sleep(0.05)
        raise AssertionError(f"does not take mail again: {why}\n{self.gw.log_tail()}")

    # ---- from time to time ----

    def settle(self, restart=False):
        """Without faults, everything acknowledged arrives, and nothing that was refused does."""
        self.shim.disarm()
        if restart:
            self.gw.stop()
            self.restarted()
        self.wait_ready()
        until = time.monotonic() + 60
        asked = 0
        # One that arrived may be held all the same: the end came before that was on disk.
        while [x for x in self.acked if x not in self.seen()] or self.gw.queue():
            if time.monotonic() > until:
                lost = [x for x in self.acked if x not in self.seen()]
                raise AssertionError(f"acknowledged and not arrived: {lost}\nqueue: {self.gw.queue()}\n"
                                     f"{self.gw.log_tail()}")
            if time.monotonic() - asked > 1:
                asked = time.monotonic()
                self.gw.run("queue", "retry", "--to", "*", "--reason", "faults are over")
                # one that happened to be worked on at three ends in a row
                self.gw.run("queue", "release", "--to", "*", "--reason", "faults are over")
            self.died()
            time.sleep(0.05)
        self.seen()
        wrong = [(x, self.refused[x]) for x in self.refused if x in self.done]
        if wrong:
            raise AssertionError(f"refused, and arrived all the same: {wrong}\n{self.gw.log_tail()}")
        self.checked += len(self.acked)
        self.acked.clear()
        self.refused.clear()
        self.leaks()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.gw.process.pid}/fd"))

    def leaks(self):
        """Descriptors are as many as at first; allocations do not grow with the faults."""
        self.gw.wait_for(lambda: self.fds is None or self.descriptors() <= self.fds, 20,
                         f"at most {self.fds} descriptors again")
        if self.fds is None:
            self.gw.wait_for(lambda: self.descriptors() == (time.sleep(1.2), self.descriptors())[1], 20, "rest")
            self.fds = self.descriptors() + 1
        live = self.shim.live
        if self.baseline is None:
            self.baseline = (live, sum(self.fired.values()))
            return
        grown, faults = live - self.baseline[0], sum(self.fired.values()) - self.baseline[1]
        if grown > 2000 + faults * 4:
            raise AssertionError(f"{grown} allocations more after {faults} faults")


def case_dot_stuff(content):
    from lab.client import dot_stuff
    return dot_stuff(content)


def walk(w, name, numbers, stop):
    """Index after index; ends after three that did not come up, or when told to."""
    missed = 0
    for i, n in enumerate(numbers):
        if stop.is_set():
            return
        if w.index(name, n):
            missed = 0
            w.indexes[name] = max(w.indexes.get(name, 0), n)
        else:
            missed += 1
            if missed == 3:
                break
        if i % 40 == 39:
            w.settle()


def sampled(w, name):
    """As many indexes as `make check` has time for, over the whole range."""
    kind, _, many = WALKS[name]
    w.wait_ready()
    w.shim.arm(kind, 1 << 40)
    w.quiet(w.scenario())
    total = max(w.shim.count(kind), 1)
    return sorted({1 + i * total // many for i in range(many)})


def run(t, names, walkers):
    failures, stop = [], threading.Event()
    work = [Walker(t, i) for i in range(walkers)]

    def one(w):
        number = w.number
        try:
            w.scenario()
            w.settle()
            for name in names:
                if SOAK:
                    walk(w, name, range(FROM + number, 1_000_000, walkers), stop)
                elif names.index(name) % walkers == number or name == "malloc":
                    numbers = sampled(w, name)
                    walk(w, name, numbers[number::walkers] if name == "malloc" else numbers, stop)
                w.settle()
            w.settle(restart=True)
        except BaseException as e:      # told by the main thread, with the others ended
            failures.append(e)
            stop.set()

    threads = [threading.Thread(target=one, args=(w,)) for w in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    for name in names:
        print(f"# {name}: {sum(w.fired.get(name, 0) for w in work)} indexes failed, "
              f"the highest {max(w.indexes.get(name, 0) for w in work)}")
    ends = sum(sum(w.ends.values()) for w in work)
    twice = sum(1 for w in work for x in w.done.values() if x > 1)
    print(f"# {sum(w.checked for w in work)} acknowledged, none lost; {twice} arrived twice; "
          f"{ends} clean ends for want of memory, {sum(w.seq for w in work)} scenarios")


@case.register("every-index", "F-4", "F-5", "F-8", "F-9", "X-73", "I1", "I2", seconds=6 * 3600 if SOAK else 150)
def every_index(t):
    """No crash, no false 250, nothing tagged in clear, no leak, whichever call fails."""
    names = os.environ.get("SHIM_KINDS", ",".join(WALKS)).split(",")
    if is_sanitized():
        names = [x for x in names if x != "malloc"]     # the sanitizer's own allocator cannot be asked to fail
    run(t, names, int(os.environ.get("SHIM_WALKERS", "4" if SOAK else "2")))


@case.register("short-and-interrupted", "F-7", "I1")
def short_calls(t):
    """Short reads and writes, EINTR: invisible. Every message is taken and arrives once."""
    w = Walker(t, 9)
    for every in (2, 3, 5):
        w.shim.every(every)
        for _ in range(3):
            t.eq(len(w.scenario()), 3, f"taken while every call number {every} is cut short")
        t.check(w.shim.fired > 50, "hardly anything was cut short")
        w.gw.wait_queue_empty()
        w.settle()
        w.shim.every(0)
    t.eq([x for x, n in w.done.items() if n != 1 and x.endswith("plain")], [], "arrived twice")
    t.eq(len(w.gw.log_lines(" error ")), 0, "errors in the log")


case.main()
