"""What an administrator asks for while a message is on the wire: what was sent has gone, and nothing else goes
with less than is owed now, neither to the next host nor in the next transaction."""

import os
import signal
import socket

import case
import tagged
from fault.shim import Shim
from lab.nexthop import Cut
from tagged import H1, H4, scene

FIRST, SECOND = "mx1.two.example", "mx2.two.example"


def while_at(box, *command, cut=True):
    """A reply that lets the administrator act first. What was posted to the workers before `status` is
    read before it is answered."""
    def act(session, line):
        gw = box[0]
        box.append(gw.run("queue", *command, "--reason", "test").returncode)
        gw.run("status")
        if cut:
            raise Cut("script")

    return [act]


@case.register("lost-after-require-tls", "I2", "I3")
def lost(t):
    """The first host goes away in the middle of a transaction: the second, which has no TLS, gets nothing."""
    box = []
    act = while_at(box, "require-tls", "--to", "b@two.example", "--level", "verify")
    s = scene(t, {FIRST: dict(H4, replies={"RCPT": act}), SECOND: H1})
    box.append(s.gw)
    tagged.submit(t, s.gw, "b@two.example")
    m = s.hop[FIRST].wait_messages(1, 30)[0]
    t.eq(box[1:], [0], "require-tls")
    t.check(m.tls is not None, "over TLS")
    s.gw.wait_queue_empty()
    t.eq(s.hop[SECOND].commands("MAIL"), [], "MAIL at the host without TLS")
    t.eq(tagged.evidence(s.gw, "b@two.example")[-1]["verified"], "pkix", "evidence")


@case.register("lost-after-hold", "I3")
def held(t):
    """The same with a hold: nobody gets it."""
    box = []
    s = scene(t, {FIRST: dict(H4, replies={"RCPT": while_at(box, "hold", "--to", "b@two.example")}), SECOND: H1})
    box.append(s.gw)
    tagged.submit(t, s.gw, "b@two.example")
    s.gw.wait_for(lambda: len(box) > 1 and s.gw.queue()[0]["recipients"][0]["state"] == "held", what="the hold")
    tagged.submit(t, s.gw, "c@two.example")     # comes behind it
    s.gw.wait_for(lambda: s.hop[FIRST].messages or s.hop[SECOND].messages, what="another message")
    t.lacks(str([m.rcpts for h in s.hop.values() for m in h.messages]), "b@two.example", "who got mail")


@case.register("the-rest-after-require-tls", "I2", "I3")
def rest(t):
    """More recipients than a transaction takes: those of the next one owe what was asked for meanwhile."""
    box = []
    act = while_at(box, "require-tls", "--to", "*@good.example", "--level", "verify", cut=False)
    s = scene(t, {"mx1.good.example": dict(H1, replies={".": act})})
    box.append(s.gw)
    c = t.secure_client(s.gw, "relay")
    c.send_message(tagged.SENDER, [f"b{n}@good.example" for n in range(120)], tagged.message())
    s.hop["mx1.good.example"].wait_messages(1, 30)
    tagged.deferred(t, s.gw, "b119@good.example", "4.7.10")
    t.eq(box[1:], [0], "require-tls")
    t.eq([len(m.rcpts) for m in s.hop["mx1.good.example"].messages], [100], "recipients in clear")
    t.eq(len(s.gw.json("evidence", "list", "--limit", "1000")["evidence"]), 100, "evidence")


@case.register("released-on-the-wire", "I1", "I4")
def released(t):
    """Held and released again while the host has all of it and has not answered: handed out anew at once, and
    all the same not sent a second time."""
    box = []

    def act(session, line):
        if len(box) != 1 or "b@two.example" not in str(session.rcpts):
            return None
        gw = box[0]
        for verb in ("hold", "release"):
            box.append(gw.run("queue", verb, "--to", "b@two.example", "--reason", "test").returncode)
        tagged.submit(t, gw, "c@two.example")   # comes behind it
        gw.wait_for(lambda: "c@two.example" not in str(gw.queue()), what="another message")
        return None

    s = scene(t, {FIRST: dict(H4, replies={".": [act] * 4})})
    box.append(s.gw)
    tagged.submit(t, s.gw, "b@two.example")
    s.gw.wait_queue_empty()
    t.eq(box[1:], [0, 0], "hold, release")
    t.eq(["b@two.example" in str(m.rcpts) for m in s.hop[FIRST].messages].count(True), 1, "how often it was sent")
    t.eq([e["event"] for e in tagged.evidence(s.gw, "b@two.example")], ["delivered"], "evidence")


class Pipe:
    """A client on a Unix socket: there all clients are worker 0's."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")
        self.reply()

    def reply(self):
        while (line := self.file.readline())[3:4] == b"-":
            pass
        return line.decode()

    def say(self, text):
        self.sock.sendall(text.encode() + b"\r\n")

    def cmd(self, text, code):
        self.say(text)
        reply = self.reply()
        if not reply.startswith(code):
            raise AssertionError(f"{text}: {reply}")


@case.register("recall-and-hand-over", "I2", "I3")
def overtaken(t):
    """The worker that accepted a message is slow to hand it to those that send it, over connections which are
    there already: MAIL could be written in the turn that hands over. What was asked for meanwhile holds."""
    n, shim = 6, Shim(t.path("shim"))
    hop = t.nexthop(starttls=False)
    gw = t.gateway(env=shim.env(), over={
        "service": {"workers": 2}, "delivery": {"idle": "60s"}, "listeners": {"pipe": {"bind": ["unix:run/in.sock"], "role": "mx"}},
        "domains": [{"match": [f"d{i}.example"], "kind": "local", "route": f"r{i}"} for i in range(n)],
        "routes": {f"r{i}": {"via": [f"127.0.0.1:{hop.port}"], "tls": "may"} for i in range(n)}})
    one, other = (Pipe(gw.dir + "/run/in.sock") for _ in range(2))
    for p in (one, other):
        p.cmd("EHLO a.example", "250")

    def begin(user):
        one.cmd("MAIL FROM:<a@client.example>", "250")
        for i in range(n):
            one.cmd(f"RCPT TO:<{user}@d{i}.example>", "250")
        one.cmd("DATA", "354")
        one.say("Subject: x\r\n\r\nbody")

    begin("first")
    one.cmd(".", "250")
    hop.wait_messages(n, 30)            # six connections are kept now
    gw.wait_queue_empty()
    for user in (f"u{i}" for i in range(20)):
        begin(user)
        shim.arm("recv", 1 << 30)
        other.cmd("NOOP", "250")
        calls = shim.count("recv")
        os.kill(gw.process.pid, signal.SIGSTOP)     # so that the worker finds both when it looks
        try:
            shim.arm("recv", calls + 1, 3000, how="slow")   # in the worker, while the store commits
            one.say(".")
            other.say("NOOP")
        finally:
            os.kill(gw.process.pid, signal.SIGCONT)
        gw.wait_for(lambda: [r for m in hop.messages for r in m.rcpts if f"<{user}@" in r] or
                    f"{user}@d5" in str(gw.queue()), what="a message")
        changed = gw.json("queue", "require-tls", "--to", f"{user}@*", "--reason", "x", "--level", "verify")
        t.check(one.reply().startswith("250") and other.reply().startswith("250"), "the worker goes on")
        if changed["changed"] == n:
            break
        # Another recv of the process was the slow one (its DNS), and the mail has gone.
    t.eq((changed["changed"], changed["in_delivery"], changed["settled"]), (n, n, True), "require-tls")
    for i in range(n):
        gw.wait_for(lambda a=f"{user}@d{i}.example": (tagged.last_of(gw, a) or {}).get("status", "").startswith("4.7."),
                    what=f"an attempt for the {i}th")
    t.eq([r for m in hop.messages for r in m.rcpts if f"<{user}@" in r], [], "mail in clear")


case.main()
