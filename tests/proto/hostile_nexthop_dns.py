"""DNS that fails on the way to a next hop (F-15): what cannot be found out defers with 4.4.3, nothing is
tried at a host that a spoilt answer names, and no answer is read beyond its end or its cap."""

import collections
import re
import socket
import struct
import threading

import case
from case import Zone, free_port

MX, A, AAAA = 15, 1, 28


def name(text):
    return b"".join(bytes([len(x)]) + x.encode() for x in text.split(".") if x) + b"\0"


class FaultyServer(threading.Thread):
    """DNS on UDP and TCP whose answers are functions: (server, qname, qtype, is_tcp) to octets behind
    the query's number, or None for silence. `answers` maps the first label of a name to one."""

    def __init__(self, answers):
        super().__init__(daemon=True)
        self.answers, self.ended, self.asked = answers, False, collections.Counter()
        self.port = free_port()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.udp.settimeout(0.2)
        self.tcp = socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind(("127.0.0.1", self.port))
        self.tcp.listen(64)
        threading.Thread(target=self.run_tcp, daemon=True).start()
        self.start()

    def reply(self, query, is_tcp):
        end = query.index(b"\0", 12) + 5
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += query[at] + 1
        self.question = query[12:end]
        qtype = struct.unpack(">H", query[end - 4:end - 2])[0]
        self.asked[".".join(labels), qtype] += 1
        known = [x for x in labels if x in self.answers]
        made = self.answers[known[-1]](self, labels, qtype, is_tcp) if known else self.nxdomain()
        return None if made is None else made if made[:2] == b"!!" else query[:2] + made

    def head(self, flags, answers, authority=0):
        return struct.pack(">HHHHH", flags, 1, answers, authority, 0) + self.question

    def records(self, rrs, flags=0x8400, ttl=1):
        """rrs: (type, rdata) for the name that was asked for."""
        return self.head(flags, len(rrs)) + b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", t, 1, ttl, len(d)) + d for t, d in rrs)

    def soa(self, rcode):
        data = name("ns.lab") + name("h.lab") + struct.pack(">5I", 1, 1, 1, 1, 0)
        return self.head(0x8400 | rcode, 0, 1) + name("f.example") + struct.pack(">HHIH", 6, 1, 0, len(data)) + data

    def nxdomain(self):
        return self.soa(3)

    def nodata(self):
        return self.soa(0)

    def run(self):
        while not self.ended:
            try:
                query, peer = self.udp.recvfrom(4096)
            except socket.timeout:
                continue
            except OSError:
                return
            made = self.reply(query, False)
            if made is not None:
                self.udp.sendto(made[2:] if made[:2] == b"!!" else made, peer)

    def run_tcp(self):
        while not self.ended:
            try:
                sock, unused = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self.serve_tcp, args=(sock,), daemon=True).start()

    def serve_tcp(self, sock):
        with sock:
            sock.settimeout(5)
            try:
                while True:     # a resolver keeps the connection for its next query
                    n = struct.unpack(">H", sock.recv(2))[0]
                    made = self.reply(sock.recv(n), True)
                    if made is not None:
                        sock.sendall(struct.pack(">H", len(made)) + made)
            except (OSError, struct.error):
                pass

    def close(self):
        self.ended = True
        self.join()
        self.udp.close()
        self.tcp.shutdown(socket.SHUT_RDWR)
        self.tcp.close()


HOST = "127.0.0.60"


def mx_to(host):
    return struct.pack(">H", 10) + name(host)


def normal(mx):
    """MX records as given; every name has the host's address."""
    def act(server, labels, qtype, is_tcp):
        if qtype == MX and labels[0] != "h":
            return mx(server, is_tcp) if callable(mx) else server.records([(MX, d) for d in mx])
        return server.records([(A, socket.inet_aton(HOST))]) if qtype == A else server.nodata()
    return act


def always(data):
    return lambda server, labels, qtype, is_tcp: data(server) if callable(data) else data


def truncated(then):
    """TC by UDP; by TCP what `then` says."""
    def act(server, is_tcp):
        return then(server) if is_tcp else server.head(0x8600, 0)
    return normal(act)


def thousand(server):
    return server.records([(MX, struct.pack(">H", i) + bytes([5]) + b"h%04d" % i + b"\xc0\x0c") for i in range(1, 1001)])


def with_ad(answer):
    """With the AD bit, which is nobody's to set but a validator's that one trusts."""
    return answer[:1] + bytes([answer[1] | 0x20]) + answer[2:]


# Name below f.example, what it does, what becomes of plain mail; tagged mail is as well off where
# mail waits, and is returned (5.7.10: no secure look-up) where plain mail goes.
FAULTS = {
    "good": (normal([mx_to("h.good.f.example")]), "D"),
    "says-that-it-is-secure": (lambda s, labels, qtype, is_tcp: with_ad(normal([mx_to(
        "h.says-that-it-is-secure.f.example")])(s, labels, qtype, is_tcp)), "D"),
    "silent": (always(None), "Q"),
    "refused": (always(lambda s: s.head(0x8405, 0)), "Q"),
    "servfail": (always(lambda s: s.head(0x8402, 0)), "Q"),
    "formerr": (always(lambda s: s.head(0x8401, 0)), "Q"),
    "garbage": (always(lambda s: b"\xff" * 40), "Q"),
    "empty": (always(lambda s: b"!!"), "Q"),
    "short": (always(lambda s: b"!!\x00\x01\x84"), "Q"),
    "other-number": (always(lambda s: b"!!\x00\x00" + s.records([(MX, mx_to("h.good.f.example"))])), "Q"),
    "cut-and-silent": (truncated(lambda s: None), "Q"),
    "cut-then-whole": (truncated(lambda s: s.records([(MX, mx_to("h.cut-then-whole.f.example"))])), "D"),
    "cut-twice": (truncated(lambda s: s.head(0x8600, 0)), "Q"),
    "thousand": (truncated(thousand), "D"),
    "mx-of-0": (normal([b""]), "Q"),
    "mx-of-1": (normal([b"\0"]), "Q"),
    "mx-of-2": (normal([b"\0\x0a"]), "Q"),
    "mx-past-its-end": (normal([b"\0\x0a\x3fabc"]), "Q"),
    "mx-ring": (normal([b"\0\x0a\xc0\x0c\xc0\x0c"]), "Q"),
    "host-silent": (lambda s, labels, qtype, is_tcp: None if labels[0] == "h" else
                    normal([mx_to("h.host-silent.f.example")])(s, labels, qtype, is_tcp), "Q"),
    "host-servfail": (lambda s, labels, qtype, is_tcp: s.head(0x8402, 0) if labels[0] == "h" else
                      normal([mx_to("h.host-servfail.f.example")])(s, labels, qtype, is_tcp), "Q"),
}
GATEWAY = "127.0.0.99"      # where the gateway listens on the port that is dialled
SIGNED = {      # zones of NSD: name, kind of zone, what becomes of plain and of tagged mail, records
    "sound.example": ("signed", "D", "D"), "bogus.example": ("bogus", "Q", "Q"),
    "expired.example": ("expired", "Q", "Q"), "servfail.example": ("servfail", "Q", "Q"),
    "slow.example": ("slow", "Q", "Q"), "lame.example": ("lame", "Q", "Q"),
    #
    "null.example": ("signed", "B5.1.10", "B5.1.10", "@ MX 0 ."),
    "self.example": ("signed", "B5.4.6", "B5.4.6", "@ MX 10 gw.example."),
    "here.example": ("signed", "B5.4.6", "B5.4.6", f"@ MX 10 mx\nmx A {GATEWAY}"),
    "alias.example": ("signed", "D", "D", "@ MX 10 mx.sound.example."),
    "cname.example": ("signed", "D", "B5.7.10", f"@ MX 10 mx\nmx CNAME other\nother A {HOST}"),     # names another host
    "ring.example": ("signed", "Q", "Q", "@ MX 10 mx\nmx CNAME xm\nxm CNAME mx"),
}


def setup(t, answers, zones, over=None):
    server = FaultyServer(answers)
    t.parts.append(server.close)
    lab = t.lab({**zones, "f.example": Zone(kind="slow")})
    lab.stubs["f.example"] = [f"127.0.0.1@{server.port}"]
    hop, inside = t.nexthops({"host": HOST, "cert": t.certs.issue("any", names=["mx.sound.example"]), "requiretls": True},
                             {"host": "127.0.0.1"})
    gw = t.gateway(hop_port=hop.port, over=case.merge({
        "queue": {"retry": ["1h"]}, "dns": {"timeout": "4s"}, "log": {"level": "info"},
        "listeners": {"here": {"bind": [f"{GATEWAY}:{hop.port}"], "role": "mx", "tls": "gw"}},
        "routes": {"inside": {"via": [f"127.0.0.1:{inside.port}"]}}}, over or {}))
    return gw, server, hop, inside


def send(t, gw, addresses, tagged=False):
    c = t.secure_client(gw, "relay", timeout=30)
    for a in addresses:
        c.send_message("a@gw.example", [a], f"Subject: {a}\r\n\r\nx\r\n".encode(), params="REQUIRETLS" if tagged else "")
    c.quit()


def rows(gw):
    return {r["address"]: r for m in gw.json("queue", "list", "--limit", "1000")["messages"] for r in m["recipients"]
            if not m["notice"]}


@case.register("every-fault", "F-15", "X-37", "X-38", "X-39", "D1", "D-02", "D-03", "D-06")
def every_fault(t):
    """Each fault with plain and tagged mail."""
    zones = {z: Zone(more[2] if len(more) > 2 else f"@ MX 10 mx\nmx A {HOST}", kind=kind)
             for z, (kind, *more) in SIGNED.items()}
    gw, server, hop, inside = setup(t, {k: v[0] for k, v in FAULTS.items()}, zones)
    want = {}
    for flavor in ("plain", "tagged"):
        for fault, (unused, what) in FAULTS.items():
            want[f"{flavor}@{fault}.f.example"] = "B5.7.10" if flavor == "tagged" and what == "D" else what
        for zone, (unused, *what) in SIGNED.items():
            want[f"{flavor}@{zone}"] = what[flavor == "tagged"]
        send(t, gw, [a for a in want if a.startswith(flavor)], flavor == "tagged")
    gw.wait_for(lambda: all(r["attempts"] for r in rows(gw).values()), 60, "a first attempt for all")
    waiting = rows(gw)
    wrong = []
    for a, what in want.items():
        failed = gw.log_lines(rf"message failed .*to={re.escape(a)} ")
        got = "D" if any(f"<{a}>" in r for r in gone_addresses(hop)) else "Q" if a in waiting else \
            "B" + re.search(r"status=(\S+)", failed[0]).group(1) if len(failed) == 1 else f"lost: {failed}"
        if got != what:
            wrong.append(f"{a}: {got} instead of {what}: {waiting.get(a, {}).get('last')}")
        elif got == "Q" and what == "Q" and waiting[a]["last"]["status"] not in ("4.4.3", "4.4.1"):
            wrong.append(f"{a}: {waiting[a]['last']}")
    t.eq(wrong, [], "outcomes")
    hosts = [n for n, qtype in server.asked if n.endswith("thousand.f.example") and qtype == A and n.startswith("h")]
    t.check(0 < len(hosts) <= 10, f"{len(hosts)} hosts of 1000 looked up")
    t.check(any(h.startswith("h0001.") for h in hosts), f"the best of them is not among {hosts}")
    for m in hop.messages:
        if "tagged@" in m.rcpts[0]:
            t.check(m.tls and m.has_requiretls, f"tagged mail without the tag: {m}")
    t.eq(gw.log_lines(" error "), [], "errors in the log")


@case.register("addresses-that-are-not-outside", "X-42")
def not_outside(t):
    """MX records and address literals that lead to this machine in one of its spellings, and a sender
    whose notice would go there: returned, and nobody is dialled."""
    answers, spellings = {}, {
        "loopback": (A, b"\x7f\0\0\1"), "far-loopback": (A, b"\x7f\xff\xff\xfe"), "zero": (A, b"\0\0\0\0"),
        "link": (A, b"\xa9\xfe\0\1"), "multicast": (A, b"\xe0\0\0\1"), "broadcast": (A, b"\xff\xff\xff\xff"),
        "six": (AAAA, b"\0" * 15 + b"\1"), "mapped": (AAAA, b"\0" * 10 + b"\xff\xff\x7f\0\0\1"),
        "nat64": (AAAA, bytes.fromhex("0064ff9b") + b"\0" * 8 + b"\x7f\0\0\1"),
        "sixtofour": (AAAA, bytes.fromhex("20027f000001") + b"\0" * 10), "link6": (AAAA, b"\xfe\x80" + b"\0" * 13 + b"\1")}

    def to(which):
        return lambda s, labels, qtype, is_tcp: s.records([(MX, mx_to(f"h.{which}.f.example"))]) if qtype == MX else \
            s.records([spellings[which]]) if qtype == spellings[which][0] else s.nodata()

    for which in spellings:
        answers[which] = to(which)
    answers["named"] = lambda s, labels, qtype, is_tcp: s.records([(MX, mx_to("localhost"))])
    gw, server, hop, inside = setup(t, answers, {}, {"delivery": {"allow_loopback": False}})
    literals = ["127.0.0.60", "0.0.0.0", "169.254.0.1", "IPv6:::1", "IPv6:::ffff:127.0.0.60", "IPv6:64:ff9b::7f00:3c"]
    to = [f"b@{which}.f.example" for which in answers] + [f"b@[{x}]" for x in literals]
    send(t, gw, to)
    lines = gw.wait_log(r"message failed .*status=5\.4\.4", 20, len(to))
    t.eq(len(lines), len(to), "returned")
    case.send(gw.port("relay"), "a@[127.0.0.60]", "b@zero.f.example", b"Subject: x\r\n\r\nx\r\n")
    gw.wait_log(r"message failed .*from=\"\" to=a@\[127\.0\.0\.60\] .*status=5\.4\.4")
    t.eq(len(hop.sessions), 0, "connections to the host")
    t.eq([c for c in inside.commands("RCPT") if "f.example" in c], [], "mail at 127.0.0.1")


def gone_addresses(hop):
    return [r for m in hop.accepted for r in m.rcpts]


@case.register("flapping-name", "F-15")
def flapping(t):
    """A name that is there, fails, is away and is there again: delivered, waits, returned with 5.1.2,
    delivered; no answer outlives its TTL."""
    state = ["there"]

    def flap(server, labels, qtype, is_tcp):
        if state[0] == "servfail":
            return server.head(0x8402, 0)
        if state[0] == "away":
            return server.nxdomain()
        return normal([mx_to("h.flap.f.example")])(server, labels, qtype, is_tcp)

    gw, server, hop, inside = setup(t, {"flap": flap}, {}, {"queue": {"retry": ["2s"]}})
    send(t, gw, ["one@flap.f.example"])
    hop.wait_messages(1)
    state[0] = "servfail"
    gw.wait_for(lambda: send(t, gw, ["two@flap.f.example"]) or
                gw.log_lines(r"message deferred .*to=two@flap\.f\.example .*status=4\.4\.3"), 15, "a deferral")
    state[0] = "there"
    gw.wait_for(lambda: not rows(gw), 30, "an empty queue")
    before = len(hop.accepted)
    t.check(before >= 2, f"{before} messages")
    state[0] = "away"
    gw.wait_for(lambda: send(t, gw, ["three@flap.f.example"]) or gw.log_lines(r"message failed .*status=5\.1\.2"),
                15, "a return")
    state[0] = "there"
    gw.wait_for(lambda: send(t, gw, ["four@flap.f.example"]) or
                [r for r in gone_addresses(hop) if "four@" in r], 15, "the name is back")


case.main()
