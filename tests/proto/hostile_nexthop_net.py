"""A bad network between the gateway and its next hop (F-14): loss and delay, a line of 1 KiB a second, a
black hole, before a connection and in the middle of one. The gateway runs in a network namespace of
its own, joined to this one by a pair of virtual interfaces. Needs root and iproute2; what the kernel
lacks (netem) is left out."""

import os
import shutil
import subprocess
import time

import case
from lab.hostile import Hops, Way

OURS, THEIRS = "10.213.77.1", "10.213.77.2"


def ip(*args, tool="ip", check=True):
    done = subprocess.run([tool, *args], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{tool} {' '.join(args)}: {done.stderr}")
    return done.returncode == 0


class Line:
    """The pair of interfaces; `ns` is the gateway's side."""

    def __init__(self, t):
        if not os.environ.get("SOAK"):
            t.skip("takes long: make soak runs it")
        if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc"):
            t.skip("needs root, ip and tc")
        self.ns, self.here, self.there = f"sp{os.getpid()}", f"spa{os.getpid()}"[:15], f"spb{os.getpid()}"[:15]
        if not ip("netns", "add", self.ns, check=False):
            t.skip("no network namespace can be made here")
        t.parts.append(lambda: ip("netns", "del", self.ns, check=False))
        if not ip("link", "add", self.here, "type", "veth", "peer", "name", self.there, "netns", self.ns, check=False):
            t.skip("no virtual interface can be made here")
        t.parts.append(lambda: ip("link", "del", self.here, check=False))
        ip("addr", "add", OURS + "/30", "dev", self.here)
        ip("link", "set", self.here, "up")
        for args in (("addr", "add", THEIRS + "/30", "dev", self.there), ("link", "set", self.there, "up"),
                     ("link", "set", "lo", "up")):
            ip("-n", self.ns, *args)

    def shape(self, *args):
        """A queueing discipline in both directions; False when the kernel has none of this kind."""
        self.clear()
        return ip("qdisc", "add", "dev", self.here, "root", *args, tool="tc", check=False) and \
            ip("-n", self.ns, "qdisc", "add", "dev", self.there, "root", *args, tool="tc", check=False)

    def clear(self):
        ip("qdisc", "del", "dev", self.here, "root", tool="tc", check=False)
        ip("-n", self.ns, "qdisc", "del", "dev", self.there, "root", tool="tc", check=False)

    def hole(self, on):
        """Every packet to the next hop goes to nobody, without a word."""
        if on:
            ip("-n", self.ns, "neigh", "replace", OURS, "lladdr", "02:00:00:00:00:63", "dev", self.there, "nud", "permanent")
        else:
            ip("-n", self.ns, "neigh", "del", OURS, "dev", self.there)


class Net:
    def __init__(self, t):
        self.t, self.line = t, Line(t)
        self.hops = Hops(t.certs.issue("inside.example"), port=2525)
        t.parts.append(self.hops.stop)
        self.hop = self.hops.add(OURS, Way("off", at={"MAIL": b"451 4.3.0 later\r\n"}))
        self.hops.start()
        self.gw = t.gateway(over={
            "listeners": {"inbound": {"bind": [f"{THEIRS}:2526"]}, "relay": {"bind": [f"{THEIRS}:2527"]}},
            "routes": {"inside": {"via": [f"{OURS}:2525"]}}, "queue": {"retry": ["1h"]}, "log": {"level": "info"},
            "delivery": {"connect": "3s", "reply": "4s", "handshake": "4s", "block": "4s", "final": "4s", "idle": "1s"}},
            wrap=["ip", "netns", "exec", self.line.ns])
        self.count = 0

    def fill(self, n, size=500):
        """n messages in the queue, each with one attempt behind it."""
        c = self.t.client(self.gw, host=THEIRS)
        c.ehlo()
        for _ in range(n):
            c.send_message("a@client.example", "b@gw.example",
                           f"Subject: m{self.count}\r\n\r\n".encode() + b"0123456789abcdef\r\n" * (size // 18))
            self.count += 1
        c.quit()
        self.gw.wait_for(lambda: all(r["attempts"] for r in self.rows()), 30, "a first attempt for all")

    def rows(self):
        return [r for m in self.gw.json("queue", "list", "--limit", "1000")["messages"] for r in m["recipients"]]

    def retry(self):
        self.gw.run("queue", "retry", "--to", "*", "--reason", "now")

    def all_tried(self, attempts, timeout=60):
        self.gw.wait_for(lambda: all(r["attempts"] > attempts for r in self.rows()), timeout, "an attempt for all that wait")

    def no_slot_is_stuck(self):
        """Nothing is under way any more, and everything arrives once the line is good."""
        self.gw.wait_for(lambda: all(r["state"] == "queued" for r in self.rows()), 30, "the end of all attempts")
        self.line.clear()
        self.hop.heal()
        self.gw.wait_for(lambda: self.retry() or not self.rows(), 60, "an empty queue")
        subjects = sorted(g["data"].split(b"Subject: m")[1].split(b"\r\n")[0].decode() for g in self.hop.got if g["told"])
        self.t.eq(sorted(set(subjects)), sorted(str(i) for i in range(self.count)), "messages")
        return len(subjects) - self.count


@case.register("loss-and-delay", "F-14")
def loss(t):
    """A fifth of all packets lost, 40 ms each way, out of order: all of it arrives, if not at once."""
    net = Net(t)
    net.fill(30)
    net.hop.heal()
    if not net.line.shape("netem", "delay", "40ms", "20ms", "loss", "20%", "reorder", "25%"):
        net.line.clear()
        t.skip("the kernel has no netem")
    net.retry()
    net.all_tried(1)
    doubled = net.no_slot_is_stuck()
    t.check(doubled <= 10, f"{doubled} messages twice")


@case.register("slow-line", "F-14")
def slow_line(t):
    """A kibibyte a second: what takes longer than its deadlines waits, and no slot with it."""
    net = Net(t)
    net.fill(8, size=6000)
    net.hop.heal()
    if not net.line.shape("tbf", "rate", "8kbit", "burst", "1600", "limit", "20000"):
        net.line.clear()
        t.skip("the kernel has no tbf")
    net.retry()
    net.all_tried(1, 90)
    t.check(net.rows(), "everything went through a line that is too slow: the case shows nothing")
    net.no_slot_is_stuck()


@case.register("black-hole", "F-14", "X-53")
def black_hole(t):
    """No packet arrives: connecting ends in time, what waits is deferred with it, nothing is stuck."""
    net = Net(t)
    net.fill(60)
    net.hop.heal()
    net.line.hole(True)
    legs = len(net.hop.legs)
    began = time.monotonic()
    net.retry()
    net.all_tried(1)
    t.check(time.monotonic() - began < 45, "one timeout after the other instead of one for all")
    t.eq(len(net.hop.legs), legs, "connections through a hole")
    net.line.hole(False)
    t.eq(net.no_slot_is_stuck(), 0, "messages twice")


@case.register("black-hole-in-the-middle", "F-14", "X-48")
def hole_in_the_middle(t):
    """The line goes while content is sent: each attempt ends by its deadline, and the mail arrives later."""
    net = Net(t)
    net.fill(5, size=200000)
    net.hop.now = Way("cuts the line", at={"DATA": lambda leg, line: (net.line.hole(True), b"354 go ahead\r\n")[1]})
    net.retry()
    net.all_tried(1)
    t.eq(len(net.rows()), 5, "messages that wait")
    t.has(net.rows()[0]["last"]["text"], "timed out", "why")
    net.line.hole(False)
    t.eq(net.no_slot_is_stuck(), 0, "messages twice")


case.main()
