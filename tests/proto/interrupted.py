"""Things that end in the middle: clients and next hops that disconnect at every point, the daemon
killed again and again under load, the daemon told to stop while it delivers."""

import hashlib
import random
import signal
import socket
import struct
import threading
import time

import case
from lab.client import Client, tls_context
from lab.nexthop import Cut

MESSAGE = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: %s\r\n\r\nbody\r\n"


# ---- Clients ----

def points(name):
    """(name, octets to send one after the other with a reply read between; None: TLS handshake;
    may the message arrive?). The connection ends behind the last, without reading the reply."""
    mail = [b"EHLO c.example\r\n", b"MAIL FROM:<a@client.example>\r\n", b"RCPT TO:<b@gw.example>\r\n"]
    content = MESSAGE % name.encode()
    return [
        ("connect", [], False),
        ("half a command", [b"EHLO c.exa"], False),
        ("EHLO", mail[:1], False),
        ("STARTTLS", [mail[0], b"STARTTLS\r\n"], False),
        ("half a handshake", [mail[0], b"STARTTLS\r\n", b"\x16\x03\x01\x02\x00\x01\x00"], False),
        ("handshake", [mail[0], b"STARTTLS\r\n", None], False),
        ("EHLO in TLS", [mail[0], b"STARTTLS\r\n", None, mail[0]], False),
        ("MAIL", mail[:2], False),
        ("RCPT", mail, False),
        ("DATA", [*mail, b"DATA\r\n"], False),
        ("header", [*mail, b"DATA\r\n", b"From: a@cli"], False),
        ("body", [*mail, b"DATA\r\n", content], False),
        ("half a terminator", [*mail, b"DATA\r\n", content + b".\r"], False),
        ("large body", [*mail, b"DATA\r\n", content + b"0123456789\r\n" * 50000], False),
        ("terminator", [*mail, b"DATA\r\n", content + b".\r\n"], True),
        ("BDAT", [*mail, b"BDAT 100\r\n" + b"x" * 50], False),
        ("between chunks", [*mail, b"BDAT 10\r\nSubject: x"], False),
        ("last BDAT cut", [*mail, b"BDAT 100 LAST\r\n" + b"x" * 99], False),
        ("last BDAT", [*mail, b"BDAT %d LAST\r\n" % len(content) + content], True),
        ("next MAIL behind it", [mail[0], b"".join(mail[1:]) + b"DATA\r\n", content + b".\r\nMAIL FROM:<c@d.exam"], True),
        ("RSET", [*mail, b"RSET\r\n"], False),
        ("QUIT", [mail[0], b"QUIT\r\n"], False),
    ]


def leave(gw, steps, hard):
    """Goes through the steps and away: with FIN, or with RST."""
    c = Client(gw.port("inbound"))
    try:
        for i, octets in enumerate(steps):
            if octets is None:
                c.handshake(tls_context())
                continue
            c.raw(octets)
            if i + 1 < len(steps) and steps[i + 1] is not None:
                while c.read_reply().code not in (220, 250, 354):
                    pass
            elif i + 1 < len(steps):
                c.read_reply()
    finally:
        if hard:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()


@case.register("client-leaves-at-every-point", "X-28", "I1")
def client_leaves(t):
    """After each command and in the middle of each, with FIN and with RST: the session ends with a
    line in the log, and only complete messages were taken, each once at most."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, over={"limits": {"junk": 1000}})
    sessions, may_come = 0, set()
    for hard in (False, True):
        for k, (name, _, complete) in enumerate(points("")):
            tag = f"{k}-{'rst' if hard else 'fin'}"
            leave(gw, points(tag)[k][1], hard)
            sessions += 1
            if complete:
                may_come.add(tag)
    gw.wait_log("session ended", count=sessions)
    t.eq(len(gw.log_lines("session ended")), sessions, "sessions in the log")
    gw.wait_for(lambda: gw.json("status")["sessions"]["now"] == 0, 10, "no session is left")
    gw.wait_queue_empty()
    came = [m.header("Subject") for m in hop.accepted]
    t.eq(len(came), len(set(came)), f"doubles in {came}")
    t.eq(set(came) - may_come, set(), "messages that were not complete")
    # FIN does not undo what was sent before it
    t.check({x for x in may_come if x.endswith("fin")} <= set(came), f"complete messages among {came}")
    c = t.client(gw)
    c.ehlo()
    c.send_message("a@client.example", "b@gw.example", MESSAGE % b"after")


# ---- Next hops ----

def once(action):
    """A scripted reply that does something the first time, and is the ordinary one then."""
    done = []

    def reply(session, line):
        if done:
            return None
        done.append(line)
        return action(session)

    return reply


def cut(session):
    raise Cut("script")


def cut_in(*octets):
    def action(session):
        session.send(b"".join(octets))
        raise Cut("script")

    return action


def cut_in_data(session):
    session.send(b"354 go ahead\r\n")
    session.read_some()
    raise Cut("in the middle of DATA")


def cut_in_bdat(session):
    session.send(b"250 2.1.5 ok\r\n")
    while b"\n" not in session.buffer:
        session.read_some()
    raise Cut("in the middle of BDAT")


@case.register("next-hop-leaves-at-every-point", "F-13", "X-51", "I4")
def next_hop_leaves(t):
    """The message stays, is tried again and is delivered: once acknowledged by the hop, and twice at
    most where the hop kept it and said nothing (RFC 1047)."""
    cert = t.certs.issue("inside.example")
    scripts = {
        "greeting": {"replies": {"GREETING": once(cut)}},
        "half-greeting": {"replies": {"GREETING": once(cut_in(b"220-mx.exa"))}},
        "ehlo": {"replies": {"EHLO": once(cut)}},
        "half-ehlo": {"replies": {"EHLO": once(cut_in(b"250-mx.lab.example\r\n250-SI"))}},
        "starttls": {"cert": cert, "replies": {"STARTTLS": once(cut)}},
        "starttls-said": {"cert": cert, "replies": {"STARTTLS": once(cut_in(b"220 2.0.0 go\r\n"))}},
        "mail": {"replies": {"MAIL": once(cut)}},
        "rcpt": {"replies": {"RCPT": once(cut)}},
        "data": {"chunking": False, "replies": {"DATA": once(cut)}},
        "in-data": {"chunking": False, "replies": {"DATA": once(cut_in_data)}},
        "dot": {"chunking": False, "replies": {".": once(cut)}},
        "half-reply": {"chunking": False, "replies": {".": once(cut_in(b"250 2.0"))}},
        "in-bdat": {"replies": {"RCPT": once(cut_in_bdat)}},
        "last-bdat": {"replies": {".": once(cut)}},
        "reply-421": {"replies": {"MAIL": once(cut_in(b"421 4.3.2 closing\r\n"))}},
    }
    hops = {n: t.nexthop(**options) for n, options in scripts.items()}
    gw = t.gateway(over={
        "routes": {n: {"via": [f"127.0.0.1:{h.port}"], "tls": "may"} for n, h in hops.items()},
        "domains": [{"match": [f"{n}.example"], "kind": "local", "route": n} for n in hops],
        "queue": {"retry": ["1s"]}})
    c = t.client(gw)
    c.ehlo()
    filler = b"0123456789abcdef\r\n" * 40000        # several chunks
    for n in hops:
        c.send_message("a@client.example", f"b@{n}.example", MESSAGE % n.encode() + filler)
    for n, hop in hops.items():
        hop.wait_messages(1)
    gw.wait_queue_empty()
    for n, hop in hops.items():
        t.eq(len(hop.accepted), 1, f"acknowledged messages at {n}")
        t.eq(hop.accepted[0].body[-len(filler):], filler, f"content at {n}")
        t.check(len(hop.messages) <= (2 if n in ("dot", "half-reply", "last-bdat") else 1), f"doubles at {n}")
        t.check(len(hop.sessions) >= 2, f"{n} did not leave")
        t.check(gw.log_lines(rf"message deferred .*to=b@{n}\.example") or n.startswith("starttls"),
                f"no log line about {n}")


# ---- The daemon ----

class Writer(threading.Thread):
    """Sends one message after the other, whatever happens, and keeps the names of those that were
    acknowledged. `tagged`: with REQUIRETLS."""

    def __init__(self, number, port, tagged):
        super().__init__(daemon=True)
        self.number, self.port, self.tagged = number, port, tagged
        self.acked, self.tried, self.ended = [], 0, False
        self.rng = random.Random(number)
        self.start()

    def run(self):
        while not self.ended:
            try:
                with Client(self.port, timeout=5) as c:
                    c.ehlo()
                    if self.tagged:
                        c.starttls()
                        c.ehlo()
                    while not self.ended:
                        self.one(c)
            except (OSError, EOFError, AssertionError):
                time.sleep(0.02)

    def one(self, c):
        self.tried += 1
        name = f"{self.number}.{self.tried}"
        body = self.rng.randbytes(self.rng.choice((10, 2000, 20000))).hex().encode()
        body = b"\r\n".join(body[k:k + 76] for k in range(0, len(body), 76)) + b"\r\n"
        content = f"Subject: {name}\r\nX-Digest: {hashlib.sha256(body).hexdigest()}\r\n\r\n".encode() + body
        c.send_message("a@gw.example", "b@gw.example", content, params="REQUIRETLS" if self.tagged else "")
        self.acked.append(name)


@case.register("killed-again-and-again", "F-1", "X-34", "I1", "I4")
def killed(t):
    """20 kill -9 under 4 writers, two of them with REQUIRETLS: nothing acknowledged is lost, damaged
    or without its tag; doubles at most as many as deliveries were in flight."""
    kills, slots = 20, 4
    hop = t.nexthop(cert=t.certs.issue("in.example"), requiretls=True)
    gw = t.gateway(hop_port=hop.port, over={
        "routes": {"inside": {"assert_secure_lookup": True, "names": ["in.example"], "tls": "encrypt"}},
        "queue": {"concurrency": slots}, "log": {"level": "info"}, "service": {"workers": 2}})
    writers = [Writer(k, gw.port("inbound"), k < 2) for k in range(4)]
    rng = random.Random(8689)
    for _ in range(kills):
        time.sleep(rng.uniform(0.05, 0.2))
        gw.kill()
        gw.start()
    for w in writers:
        w.ended = True
    for w in writers:
        w.join(10)
    gw.wait_queue_empty(60)
    counts, acked = {}, {name for w in writers for name in w.acked}
    for m in hop.accepted:
        name = m.header("Subject")
        counts[name] = counts.get(name, 0) + 1
        t.eq(hashlib.sha256(m.body).hexdigest(), m.header("X-Digest"), f"digest of {name}")
        t.eq(m.has_requiretls, name[0] in "01", f"REQUIRETLS on {name}")
    doubles = sum(n - 1 for n in counts.values())
    print(f"# {len(acked)} acknowledged, {len(counts)} delivered, {doubles} doubles in {kills} kills")
    t.eq(acked - set(counts), set(), "acknowledged and lost")
    t.check(min(len(w.acked) for w in writers) > 5, f"writers: {[len(w.acked) for w in writers]}")
    t.check(doubles <= kills * slots, f"{doubles} doubles")
    verified = gw.json("evidence", "verify")
    t.check(verified["ok"], f"evidence: {verified}")


@case.register("stop-while-delivering", "X-74", "I1", "I4")
def stop_while_delivering(t):
    """SIGTERM: deliveries under way end well, an open session gets 421, status 0. What was not begun
    goes after the next start. Everything arrives once."""
    hop = t.nexthop(delay={".": 0.6})
    gw = t.gateway(hop_port=hop.port, over={"queue": {"concurrency": 2}, "limits": {"shutdown": "10s"}})
    c = t.client(gw)
    c.ehlo()
    for k in range(8):
        c.send_message("a@client.example", "b@gw.example", MESSAGE % b"%d" % k)
    gw.wait_for(lambda: hop.commands("DATA") or hop.commands("BDAT"), 10, "a delivery")
    began = time.monotonic()
    process = gw.process
    process.send_signal(signal.SIGTERM)
    gw.wait_log("info stopping")
    try:
        for _ in range(100):            # the line is logged before the workers hear of it
            code = c.cmd("NOOP").code
            if code == 421:
                break
            time.sleep(0.02)
        t.eq(code, 421, "reply to an open session")
    except (EOFError, OSError):
        t.has("\n".join(c.transcript), "421", "what an open session got")
    t.eq(gw.wait_exit(15), 0, "exit status")
    t.check(time.monotonic() - began < 10, "the stop took as long as it may")
    first = len(hop.accepted)
    t.check(1 <= first < 8, f"{first} delivered before the end")
    hop.delay.clear()
    gw.start()
    hop.wait_messages(8)
    gw.wait_queue_empty()
    t.eq(sorted(m.header("Subject") for m in hop.messages), [str(k) for k in range(8)], "messages")


@case.register("stop-does-not-wait-for-ever", "X-74", "I1")
def stop_is_bounded(t):
    """A next hop that does not answer: the stop ends with limits.shutdown, status 0, nothing lost."""
    hop = t.nexthop(delay={"MAIL": 20})
    gw = t.gateway(hop_port=hop.port, over={"limits": {"shutdown": "1s"}})
    c = t.client(gw)
    c.ehlo()
    c.send_message("a@client.example", "b@gw.example", MESSAGE % b"late")
    c.quit()
    gw.wait_for(lambda: hop.commands("MAIL"), 10, "a delivery")
    began = time.monotonic()
    gw.stop()
    t.check(0.5 < time.monotonic() - began < 4, f"the stop took {time.monotonic() - began:.1f} s")
    hop.delay.clear()
    gw.start()
    hop.wait_messages(1)
    gw.wait_queue_empty()
    t.eq(len(hop.accepted), 1, "messages")


@case.register("stop-in-the-middle-of-data", "X-74", "I1")
def stop_in_data(t):
    """A client in DATA when the daemon stops: no 250 for what is not queued, and a clean end."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, over={"limits": {"shutdown": "1s"}})
    c = t.client(gw)
    c.ehlo()
    c.mail("a@client.example", code=250)
    c.rcpt("b@gw.example", code=250)
    c.cmd("DATA", 354)
    c.raw(MESSAGE % b"cut")
    gw.stop()
    try:
        t.eq(c.read_reply().code, 421, "the only reply there may be")
    except (EOFError, OSError):
        pass
    gw.start()
    time.sleep(0.3)
    t.eq(gw.queue(), [], "queue")
    t.eq(hop.messages, [], "messages")


case.main()
