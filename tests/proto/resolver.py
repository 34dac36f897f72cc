"""Resolver honesty: the self-test of DNSSEC validation finds answers without signatures, a wrong clock, an
old trust anchor and a resolver that is silent, says so, and until it is over nothing counts as secure: mail
waits, and a domain that has DANE does not lose it."""

import http.client
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fault"))

import case                                                         # noqa: E402
import tagged                                                       # noqa: E402
from case import Zone, free_port                                    # noqa: E402
from shim import Shim                                               # noqa: E402

DAY = 86400
HOSTS = {"good": "127.0.9.1", "dane": "127.0.9.2", "back": "127.0.9.3"}


class Between(threading.Thread):
    """A forwarder in front of NSD that can be told what to do with the answers."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.mode = "pass"      # "strip", "alter", "drop"
        self.port, self.nsd = free_port(), ("127.0.0.1", port)
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", self.port))
        self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.settimeout(0.2)
        self.back.settimeout(2)
        self.ended = False
        self.start()

    def answer(self, query):
        if self.mode == "strip":        # what a resolver does that has never heard of DNSSEC
            at = query.rfind(b"\0\0\x29")
            query = query[:at + 7] + b"\0\0" + query[at + 9:]
        self.back.sendto(query, self.nsd)
        reply = self.back.recv(65535)
        if self.mode == "alter" and len(reply) > 100:    # one octet of the last signature; OPT is behind it
            at = len(reply) - 11 - 20
            reply = reply[:at] + bytes([reply[at] ^ 1]) + reply[at + 1:]
        return reply

    def run(self):
        while not self.ended:
            try:
                query, peer = self.front.recvfrom(4096)
                if self.mode != "drop":
                    self.front.sendto(self.answer(query), peer)
            except socket.timeout:
                continue
            except OSError:
                return

    def stop(self):
        self.ended = True
        self.join()
        self.front.close()
        self.back.close()


HEARS = """gw.on("log", function(event)
  if event.event:find("DNSSEC") then gw.log.info("a policy heard", { verdict = event.verdict }) end
end, { name = "hears" })
"""


class Scene:
    """A gateway that tests every second. good.example takes REQUIRETLS; dane.example has TLSA records, and
    its host offers no TLS."""

    def __init__(self, t, over=None, **options):
        port = free_port(sorted(HOSTS.values()))
        cert = {n: t.certs.issue(f"mx.{n}.example") for n in HOSTS}
        zones = {f"{n}.example": Zone(f"@ MX 10 mx\nmx A {a}") for n, a in HOSTS.items()}
        zones["dane.example"].text += f"\n_{port}._tcp.mx TLSA {cert['dane'].tlsa('3 1 1')}"
        self.lab = t.lab(zones)
        self.between = Between(self.lab.port)
        t.parts.append(self.between.stop)
        self.lab.stubs = {z: [f"127.0.0.1@{self.between.port}"] for z in self.lab.stubs}
        state = {"good": tagged.H5, "dane": tagged.H1, "back": tagged.H5}
        self.hop = {n: t.nexthop(port=port, host=a, name=f"mx.{n}.example", cert=cert[n], **state[n])
                    for n, a in HOSTS.items()}
        self.http = free_port()
        over = case.merge({"dns": {"self_test_interval": "1s", "timeout": "1s"}, "queue": {"retry": ["1s"]},
                           "delivery": {"idle": "0s"}, "service": {"http": f"127.0.0.1:{self.http}"}}, over or {})
        self.gw = t.gateway(hop_port=port, over=over, policy=HEARS, **options)
        self.t, self.sent = t, 0

    def submit(self, domain, params=""):
        self.sent += 1
        to = f"b{self.sent}@{domain}.example"
        tagged.submit(self.t, self.gw, to, params=params)
        return to

    def tagged_goes(self):
        """Tagged mail waits no longer than the next attempt."""
        to = self.submit("good", "REQUIRETLS")
        self.gw.wait_for(lambda: tagged.recipient(self.gw, to) is None, what=f"delivery to {to}")
        self.t.check(all(m.has_requiretls for m in self.hop["good"].accepted), "REQUIRETLS at the host")

    def held(self, domain, params=""):
        to = self.submit(domain, params)
        last = tagged.deferred(self.t, self.gw, to)
        self.t.check(last["status"].startswith("4."), f"status in {last}")
        return to, last

    def page(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.http, timeout=15)
        c.request("GET", path)
        return c.getresponse().read().decode()

    def metric(self, name):
        return [x.split()[1] for x in self.page("/metrics").splitlines() if x.startswith(name + " ")][0]

    def verdict(self, want):
        return self.gw.wait_for(lambda: (d := self.gw.json("status")["dnssec"])["verdict"] == want and d,
                                what=f"verdict {want}")

    def lost(self, verdict, *words):
        """It is said everywhere, and mail that wants a secure answer waits."""
        t, gw = self.t, self.gw
        line = gw.wait_log(f" error DNSSEC validation cannot be trusted: no answer counts as secure verdict={verdict} ")[-1]
        for word in words:
            t.has(line, word, "log line")
        found = self.verdict(verdict)
        t.eq((found["trusted"], found["nothing_secure"]), (False, True), "status")
        t.check(found["todo"] != "", "advice in the status")
        t.eq((self.metric("sallyport_dnssec_trusted"), self.metric("sallyport_dnssec_lost")), ("0", "1"), "metrics")
        page = self.page("/")
        t.has(page, f'<div class="card bad"><h2>DNSSEC validation</h2><b>{verdict}</b>: ', "page")
        t.has(page, "No answer counts as secure", "page")
        t.has(gw.run("status").stdout, verdict, "status for people")
        t.has(gw.wait_log(f"a policy heard .*{verdict}")[0], "hears", "a policy's line")
        before = len(self.hop["good"].accepted)
        self.waiting = [self.held("good", "REQUIRETLS")[0], self.held("dane")[0]]
        t.eq(len(self.hop["good"].accepted), before, "messages at the host of good.example")

    def well_again(self):
        gw, t = self.gw, self.t
        gw.wait_log("DNSSEC validation can be trusted again verdict=honest")
        self.verdict("honest")
        gw.wait_for(lambda: tagged.recipient(gw, self.waiting[0]) is None, what="delivery of what waited")
        t.check(tagged.recipient(gw, self.waiting[1]) is not None, "mail for dane.example still waits")
        self.tagged_goes()
        t.eq(self.hop["dane"].accepted, [], "mail at the host that lost its TLS")
        t.eq(self.metric("sallyport_dnssec_lost"), "0", "metric")


@case.register("answers-stripped", "D-04", "X-37", "D-02")
def stripped(t):
    """A resolver that strips signatures, while good answers are in the cache. What is silent then has not
    become honest; what alters signatures is told from a wrong anchor."""
    s = Scene(t)
    s.verdict("honest")
    s.tagged_goes()
    s.held("dane")
    s.between.mode = "strip"
    s.lost("stripped", "without signatures", "dns.forward")
    last = tagged.last_of(s.gw, s.waiting[0])
    t.has(last["text"], "stripped: answers about . come without signatures", "what the queue says")
    s.between.mode = "drop"
    found = s.verdict("unreachable")
    t.check(found["nothing_secure"], "silence is not honesty")
    s.held("good", "REQUIRETLS")
    s.between.mode = "alter"
    found = s.verdict("stripped")
    t.has(found["why"], "altered", "why")
    s.between.mode = "pass"
    s.well_again()


@case.register("clock-wrong", "D-04", "X-37", "X-75")
def clock_wrong(t):
    """The clock of the machine goes behind the end of all signatures, and comes back."""
    shim = Shim(t.path("shim"))
    s = Scene(t, env=shim.env())
    s.tagged_goes()
    s.verdict("honest")
    shim.jump(90 * DAY)
    s.lost("clock-wrong", "the clock says", "set the clock")
    shim.jump(0)
    s.well_again()


@case.register("anchor-outdated", "D-04", "X-37")
def anchor_outdated(t):
    """The root has a new key; the file with the new anchor is taken without a restart, also by workers that have
    begun with the old one."""
    s = Scene(t)
    s.verdict("honest")
    s.tagged_goes()
    del s.lab.keys["."]
    s.lab.update(".", "")
    s.lost("anchor-outdated", "keys that dns.anchor does not lead to", "bring the file")
    s.gw.restart()      # and nothing good is in a cache any more
    s.verdict("anchor-outdated")
    s.waiting += [s.held("good", "REQUIRETLS")[0]]
    with open(s.lab.key_of(".") + ".key", encoding="ascii") as f:
        text = f.read()
    with open(s.lab.anchor, "w", encoding="ascii") as f:
        f.write(text)
    s.well_again()


@case.register("silent-from-the-start", "D-04", "F-17")
def silent(t):
    """No answer says nothing about honesty: it is told, and what was validated stays so."""
    s = Scene(t, over={"dns": {"self_test_interval": "1h"}})
    s.verdict("honest")
    s.tagged_goes()
    s.between.mode = "drop"
    s.gw.restart()
    s.gw.wait_log(" error DNSSEC validation could not be tested verdict=unreachable ")
    found = s.verdict("unreachable")
    t.eq((found["trusted"], found["nothing_secure"]), (False, False), "status")
    t.has(s.page("/"), '<div class="card bad"><h2>DNSSEC validation</h2><b>unreachable</b>', "page")
    s.held("good", "REQUIRETLS")


@case.register("names-of-the-operator", "X-37")
def names(t):
    """Names that have to be secure, and such as must not be."""
    s = Scene(t, over={"dns": {"self_test_secure": ["good.example", "mx.good.example"]}})
    s.verdict("honest")
    s.gw.stop()
    s.gw.config["dns"]["self_test_bogus"] = ["mx.good.example"]
    s.gw.write()
    s.gw.start()
    s.lost("takes-bogus", "mx.good.example must not validate")


case.main()
