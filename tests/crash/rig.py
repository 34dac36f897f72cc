"""What the crash tests share: writers that keep a ledger of what was acknowledged, a next hop that
enters what arrived, and a look into the queue while no daemon has it.

Every message has a token of its own, in its sender and in its first header field. Its digest covers
everything from that field on, which no gateway may touch (I8).

    rig = Rig(t, writers=8, seed=1)
    rig.start(); rig.wait_acknowledged(100); rig.kill()
    rig.check_queue()           # what is acknowledged has arrived or is in the file
    rig.start(); rig.drain()    # all of it arrives
    rig.check_all()
"""

import hashlib
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "proto"))

from case import Client, Gateway, NextHop, basic_config     # noqa: E402

DUTY_PROPAGATE = 8              # src/trust/duties.h
BACKLOG = 150           # recipients that wait
PROMPT, SLOW = "prompt", "slow"


def soak():
    return os.environ.get("SOAK") == "1"


def body_pool():
    """Lines to take bodies from, dots at the beginning of some."""
    rng = random.Random(1)
    lines = []
    for k in range(9000):
        text = rng.randbytes(37).hex().encode()[:rng.choice((0, 1, 20, 72, 73))]
        lines.append((b"." if k % 11 == 0 else b"") + text + b"\r\n")
    return lines


POOL = body_pool()


class Sent:
    """A message as its writer knows it."""

    def __init__(self, token, rcpts, tagged, content):
        self.token, self.rcpts, self.tagged = token, rcpts, tagged
        self.digest = hashlib.sha256(content).digest()
        self.is_acknowledged = False
        self.queue_id = None


class Ledger:
    """Who said what; any thread."""

    def __init__(self):
        self.lock = threading.Condition()
        self.sent = {}          # token: Sent
        self.arrived = {}       # (token, recipient): lives of the daemon that brought it
        self.open = set()       # acknowledged, and not arrived: (token, recipient)
        self.problems = []
        self.doubled_by = {}    # life: deliveries that its end made come again
        self.acknowledged = self.doubles = self.arrivals = self.refused = self.tagged = 0

    def problem(self, text):
        with self.lock:
            self.problems.append(text)

    def will_send(self, sent):
        with self.lock:
            self.sent[sent.token] = sent

    def acknowledge(self, sent, text):
        with self.lock:
            sent.is_acknowledged = True
            sent.queue_id = text.split()[-1]
            self.acknowledged += 1
            self.tagged += sent.tagged
            self.open |= {(sent.token, r) for r in sent.rcpts if (sent.token, r) not in self.arrived}
            self.lock.notify_all()

    def arrive(self, token, rcpts, life, is_protected, digest):
        """One transaction of a next hop, with its recipients."""
        with self.lock:
            sent = self.sent.get(token)
            if sent is None or not set(rcpts) <= set(sent.rcpts):
                self.problems.append(f"{token} for {rcpts} arrived, which nobody has sent")
                return
            if digest != sent.digest:
                self.problems.append(f"{token} for {rcpts} is damaged")
            if is_protected != sent.tagged:
                self.problems.append(f"{token} for {rcpts}: tagged {sent.tagged}, sent as {is_protected}")
            before = [self.arrived.get((token, r)) for r in rcpts]
            before = [lives for lives in before if lives]
            # A delivery in flight at a kill may come again, once for each kill, and no other.
            if any(life in lives for lives in before):
                self.problems.append(f"{token} for {rcpts} arrived twice without a crash between")
            if before:
                self.doubles += 1
                crash = max(lives[-1] for lives in before)
                self.doubled_by[crash] = self.doubled_by.get(crash, 0) + 1
            self.arrivals += 1
            for r in rcpts:
                self.arrived.setdefault((token, r), []).append(life)
                self.open.discard((token, r))
            self.lock.notify_all()

    def wait_while_busy(self):
        """A queue that grows and grows would make every look at it longer than the one before."""
        with self.lock:
            self.lock.wait_for(lambda: len(self.open) < BACKLOG, 1)

    def forget(self):
        """All has been checked: the memory of a long run is that of one batch."""
        with self.lock:
            self.sent = {k: s for k, s in self.sent.items() if any(o[0] == k for o in self.open)}
            self.arrived = {}


class Sink(NextHop):
    """Quick, and remembers what the ledger needs only. A recipient whose name begins with "slow" is
    put off when it comes for the first time."""

    def __init__(self, rig, **options):
        self.rig = rig
        self.put_off = set()
        self.is_closed = False      # everybody is put off
        super().__init__(replies={"RCPT": self.rcpt}, **options)

    def rcpt(self, session, line):
        if self.is_closed:
            return "451 4.3.0 closed"
        if SLOW not in line:
            return None
        key = (session.mail, line)
        if key in self.put_off:
            return None
        self.put_off.add(key)
        return "451 4.3.0 later"

    def keep(self, message):
        found = re.match(r"MAIL FROM:<([^@]*)@", message.mail)
        token = found.group(1) if found else "?"
        at = message.data.find(b"X-Token: ")
        digest = hashlib.sha256(message.data[at:]).digest() if at >= 0 else b""
        life = self.rig.life_at(message.session.started)
        rcpts = [re.match(r"RCPT TO:<([^>]*)>", line).group(1) for line in message.rcpts]
        is_tagged = message.has_requiretls
        if is_tagged and not message.tls:
            self.rig.ledger.problem(f"{token} went out in clear")
        self.rig.ledger.arrive(token, rcpts, life, is_tagged and bool(message.tls), digest)
        message.session.transcript.clear()
        message.session.commands.clear()
        message.data = b""

    def forget(self):
        self.sessions = [s for s in self.sessions if not s.ended]
        self.put_off.clear()


def connect(port):
    """A client that was greeted. A listener that dies at the wrong instant leaves a connection that
    is never reset: seen on Linux 6.18 with SO_REUSEPORT and no program of ours."""
    c = Client(port, timeout=3, greet=False)
    try:
        c.greeting = c.read_reply()
    except AssertionError:
        c.close()
        raise EOFError from None
    except Exception:
        c.close()
        raise
    c.sock.settimeout(30)
    return c


class Writer(threading.Thread):
    """Sends one message after the other whenever there is a daemon. Tagged writers use REQUIRETLS."""

    def __init__(self, rig, number, tagged):
        super().__init__(daemon=True)
        self.rig, self.number, self.tagged = rig, number, tagged
        self.rng = random.Random(f"{rig.seed}-{number}")
        self.count = 0
        self.start()

    def run(self):
        rig = self.rig
        while not rig.ended:
            rig.writing.wait(1)
            if not rig.writing.is_set():
                continue
            try:
                with connect(rig.port) as c:
                    c.ehlo()
                    if self.tagged:
                        c.starttls()
                        c.ehlo()
                    while rig.writing.is_set() and not rig.ended:
                        rig.ledger.wait_while_busy()
                        self.one(c)
                        c.transcript.clear()
            except (OSError, EOFError):
                time.sleep(0.01)        # nobody listens yet
            except AssertionError as e:
                if "got 421" in str(e):     # told to stop
                    continue
                rig.ledger.problem(f"writer {self.number}: {e}")

    def rcpts(self):
        kind = self.rng.randrange(8)
        if kind < 4:
            return [f"{PROMPT}@gw.example"]
        if kind < 6:
            return [f"{PROMPT}@gw.example", f"{SLOW}@gw.example"]
        return [f"{PROMPT}@gw.example", f"{PROMPT}@two.example", f"{SLOW}@two.example"]

    def one(self, c):
        self.count += 1
        token = f"t{self.number}-{self.count}-{self.rng.randrange(1 << 40):010x}"
        lines = self.rng.choices(*self.rig.sizes)[0]
        at = self.rng.randrange(len(POOL) - lines)
        content = b"X-Token: %s\r\nSubject: crash\r\n\r\n" % token.encode() + b"".join(POOL[at:at + lines])
        sent = Sent(token, self.rcpts(), self.tagged, content)
        self.rig.ledger.will_send(sent)
        keyword = " REQUIRETLS" if self.tagged else ""
        c.raw(f"MAIL FROM:<{token}@client.example>{keyword}\r\n".encode()
              + b"".join(b"RCPT TO:<%s>\r\n" % r.encode() for r in sent.rcpts) + b"DATA\r\n")
        codes = [c.read_reply().code for _ in range(len(sent.rcpts) + 2)]
        if codes[-1] != 354:
            self.rig.ledger.refused += 1
            c.cmd("RSET")
            return
        c.raw(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        reply = c.read_reply()
        if reply.code == 250:
            self.rig.ledger.acknowledge(sent, reply.text)
        elif reply.code // 100 == 4:
            self.rig.ledger.refused += 1
        else:
            self.rig.ledger.problem(f"{token}: {reply}")


CUT_STATUS = 99          # of the daemon after a power cut, powercut.c


def preload(daemon):
    """powercut.so, behind the runtime of a sanitizer that must come first."""
    libs = subprocess.run(["ldd", daemon], capture_output=True, text=True, check=True).stdout
    asan = re.search(r"/\S*libasan\S*", libs)
    return ":".join(([asan.group(0)] if asan else []) + [os.path.abspath("tests/crash/powercut.so")])


# Deliveries at a time, to each of the two next hops. With each slot up to four more are over, and
# wait for the disk (src/deliver/dest.c); that is what can be in flight at a crash.
SLOTS = 4
IN_FLIGHT = 2 * SLOTS * (1 + 4)
# Lines a message: most are small, some need several chunks and a spool file.
MIXED = ((5, 60, 900, 7000), (60, 30, 8, 2))
SMALL = ((3, 10), (1, 1))


class Rig:
    def __init__(self, t, writers=8, seed=1, sizes=MIXED, env=None, daemon=None, over=None, policy=None):
        self.t, self.seed, self.sizes = t, seed, sizes
        self.ledger = Ledger()
        self.ended, self.images, self.released = False, 0, 0
        self.writing = threading.Event()
        self.lives = []
        cert = t.certs.issue("in.example")
        self.sinks = [Sink(self, cert=cert, requiretls=True) for _ in range(2)]
        route = {"assert_secure_lookup": True, "names": ["in.example"], "tls": "encrypt"}
        config = {
            "routes": {"inside": dict(route, via=[f"127.0.0.1:{self.sinks[0].port}"]),
                       "two": dict(route, via=[f"127.0.0.1:{self.sinks[1].port}"])},
            "domains": [{"match": ["gw.example"], "kind": "local", "route": "inside"},
                        {"match": ["two.example"], "kind": "local", "route": "two"}],
            "queue": {"concurrency": SLOTS, "retry": ["1s"]}, "log": {"level": "info"},
            "service": {"workers": 2}}
        for key, value in (over or {}).items():
            config[key] = dict(config.get(key, {}), **value)
        self.name = f"rig{len(t.gateways)}"
        self.gw = Gateway(t.path(self.name), basic_config(t.certs, over=config), policy=policy, env=env, start=False)
        t.gateways.append(self.gw)
        if daemon:
            self.gw.daemon = os.path.abspath(daemon)
        self.port = self.gw.port("inbound")
        self.db = os.path.join(self.gw.dir, "state", "queue.db")
        self.writers = [Writer(self, k, k % 3 == 0) for k in range(writers)]
        t.parts.append(self.close)

    def close(self):
        self.ended = True
        self.writing.clear()
        if self.gw.process is not None:
            self.gw.kill()
        for w in self.writers:
            w.join(25)
        for s in self.sinks:
            s.stop()

    # ---- lives of the daemon ----

    def life_at(self, when):
        return sum(1 for x in self.lives if x <= when)

    def launch(self, env=None):
        """Starts it and does not wait."""
        self.lives.append(time.time())
        gw = self.gw
        with open(gw.log_path, "ab") as log:
            gw.process = subprocess.Popen([*gw.wrap, gw.daemon, "-c", gw.conf_path], cwd=gw.dir,
                                          env=dict(os.environ, **gw.env, **(env or {})),
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_up(self, timeout=30):
        """Until it greets; False when it has ended before."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.gw.process.poll() is not None:
                return False
            try:
                connect(self.port).close()
                return True
            except (OSError, EOFError):
                time.sleep(0.01)
        raise AssertionError(f"sallyportd does not greet\n{self.gw.log_tail()}")

    def start(self, env=None):
        self.launch(env)
        if not self.wait_up():
            raise AssertionError(f"sallyportd has ended: {self.gw.process.returncode}\n{self.gw.log_tail()}")

    def kill(self):
        self.gw.kill()

    def wait_end(self, timeout=60):
        """Until it ends by itself; its status, None when it was still there."""
        try:
            status = self.gw.process.wait(timeout)
            self.gw.process = None
            return status
        except subprocess.TimeoutExpired:
            return None

    # ---- power cuts ----

    def shim(self, at=None, seed=1, keep=False, **more):
        """The environment for powercut.so, see there."""
        self.images += 1
        disk = self.t.path(f"{self.name}-disk{self.images}")
        os.makedirs(disk)
        self.disk = disk
        env = {"LD_PRELOAD": preload(self.gw.daemon), "POWERCUT_DIR": os.path.dirname(self.db),
               "POWERCUT_DISK": disk, "POWERCUT_SEED": str(seed)}
        if at:
            env["POWERCUT_AT"] = at
        if keep:
            env["POWERCUT_KEEP"] = "1"
        env.update({f"POWERCUT_{k.upper()}": str(v) for k, v in more.items()})
        return env

    def take_disk(self):
        """After a cut: the state directory is what the disk holds."""
        state = os.path.dirname(self.db)
        shutil.rmtree(state)
        os.makedirs(state, mode=0o700)
        with open(os.path.join(self.disk, "names"), encoding="utf-8") as f:
            for name, image in (line.split() for line in f):
                shutil.copyfile(os.path.join(self.disk, f"i{image}"), os.path.join(state, name))
                os.chmod(os.path.join(state, name), 0o600)
        shutil.rmtree(self.disk)

    # ---- what must be true ----

    def wait_for(self, condition, what, timeout=60):
        """A condition on the ledger."""
        with self.ledger.lock:
            if not self.ledger.lock.wait_for(lambda: condition() or self.ledger.problems, timeout):
                raise AssertionError(f"{what} did not come true\n{self.gw.log_tail()}")
        self.check_problems()

    def wait_acknowledged(self, more, timeout=60):
        until = self.ledger.acknowledged + more
        self.wait_for(lambda: self.ledger.acknowledged >= until, f"{more} more acknowledged", timeout)

    def check_problems(self):
        if self.ledger.problems:
            raise AssertionError("\n".join(self.ledger.problems[:20]))

    def copy_queue(self, source=None):
        """The database and its log, as they lie there; the daemon is dead."""
        to = self.t.path("copy")
        shutil.rmtree(to, ignore_errors=True)
        os.makedirs(to)
        for suffix in ("", "-wal"):
            if os.path.exists((source or self.db) + suffix):
                shutil.copyfile((source or self.db) + suffix, os.path.join(to, "queue.db" + suffix))
        return os.path.join(to, "queue.db")

    def check_queue(self):
        """Between two lives: the file is whole; what was acknowledged and has not arrived is in it,
        with its tag, its recipients and all of its content."""
        self.check_problems()
        with self.ledger.lock:
            missing = set(self.ledger.open)
            sent = dict(self.ledger.sent)
        if not os.path.exists(self.db):         # killed on the very first start
            self.t.eq(missing, set(), "acknowledged without a queue")
            return
        h = sqlite3.connect(self.copy_queue())
        try:
            self.t.eq(h.execute("PRAGMA integrity_check").fetchall(), [("ok",)], "integrity_check")
            with self.ledger.lock:
                arrived = set(self.ledger.arrived)
            for mid, sender, size, duties, address in h.execute(
                    "SELECT m.id, m.sender, m.size, m.duties | r.duties, r.address FROM message m"
                    " JOIN recipient r ON r.message = m.id").fetchall():
                token = sender.partition("@")[0]
                content = b"".join(x[0] for x in h.execute(
                    "SELECT bytes FROM content WHERE message = ? ORDER BY seq", (mid,)))
                if token not in sent:
                    continue            # begun after the look at the ledger
                self.t.eq(bool(duties & DUTY_PROPAGATE), sent[token].tagged, f"tag of {token}")
                self.t.eq(len(content), size, f"content of {token}")
                at = content.find(b"X-Token: ")
                self.t.eq(hashlib.sha256(content[at:]).digest(), sent[token].digest, f"digest of {token}")
                missing.discard((token, address))
            missing -= arrived
        finally:
            h.close()
        self.t.eq(missing, set(), "acknowledged and lost")

    def release(self):
        """What was being worked on at three ends of the daemon is on hold (X-65); it had no part in
        them, and goes on."""
        for m in self.gw.json("queue", "list", "--limit", "10000")["messages"]:
            held = [r["hold_reason"] for r in m["recipients"] if r["state"] == "held"]
            for reason in held:
                self.t.has(reason, "the daemon ended three times", m["id"])
            if held:
                self.t.eq(self.gw.run("queue", "release", m["id"], "--reason", "crash test").returncode, 0, "release")
                self.released += 1

    def drain(self, timeout=120):
        """Writers pause, and all that was acknowledged arrives; the queue gets empty."""
        self.writing.clear()
        self.release()
        self.wait_for(lambda: not self.ledger.open, "arrival of all that was acknowledged", timeout)
        self.gw.wait_queue_empty(timeout)
        verified = self.gw.json("evidence", "verify")
        self.t.check(verified["ok"], f"evidence: {verified}")
        self.check_problems()

    def stop(self):
        """A clean end, and a whole file after it."""
        process, self.gw.process = self.gw.process, None
        process.send_signal(signal.SIGTERM)
        self.t.eq(process.wait(60), 0, "exit status")
        self.check_queue()

    def forget(self):
        self.ledger.forget()
        for s in self.sinks:
            s.forget()

    def figures(self):
        led = self.ledger
        return (f"{led.acknowledged} acknowledged ({led.tagged} with REQUIRETLS), {led.arrivals} arrivals, "
                f"{led.doubles} doubles, {led.refused} refused for now, {self.released} released")
