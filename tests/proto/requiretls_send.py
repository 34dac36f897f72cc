"""Sending with REQUIRETLS (RFC 8689 section 4.2.1; requiretls.md, R-40 to R-57), without DANE and MTA-STS:
which hosts are tried, what each must show before MAIL, and what the sender is told otherwise."""

import re
import ssl
import time

import case
from case import Zone, free_port

HOSTS = "hosts.example"
GOOD = {"requiretls": True}
TLS11, TLS12 = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2


def mx(*hosts):
    """A domain's MX records: names of World's hosts, best first."""
    return "\n".join(f"@ MX {10 * (i + 1)} {h}.{HOSTS}." for i, h in enumerate(hosts))


class World:
    """Next hops NAME.hosts.example at addresses of their own and one port, the zones, a gateway whose
    notices go to `inside`. Options of a host: those of NextHop, and "kind" and "names" of its
    certificate; "cert": None for a host without TLS."""

    def __init__(self, t, zones, hosts, over=None):
        self.t, self.hops = t, {}
        ips = {name: f"127.0.2.{i + 1}" for i, name in enumerate(hosts)}
        self.ips = ips
        zones = {z: Zone(v.text.format(**ips), kind=v.kind) if isinstance(v, Zone) else Zone(v.format(**ips))
                 for z, v in zones.items()}
        zones[HOSTS] = Zone("\n".join(f"{name} A {ip}" for name, ip in ips.items()))
        t.lab(zones)
        self.port = free_port([*ips.values(), "127.0.0.1"])
        for name, options in hosts.items():
            options = dict(options)
            kind, names = options.pop("kind", "good"), options.pop("names", None)
            if "cert" not in options:
                options["cert"] = t.certs.issue(f"{name}.{HOSTS}", kind=kind, names=names)
            self.hops[name] = t.nexthop(host=ips[name], port=self.port, name=f"{name}.{HOSTS}", **options)
        self.inside = t.nexthop(host="127.0.0.1", port=self.port, cert=t.certs.issue("inside.example"),
                                requiretls=True)
        config = {"routes": {"inside": {"names": ["inside.example"], "assert_secure_lookup": True}},
                  "queue": {"retry": ["1h"]}, "delivery": {"idle": "20s"}}
        self.gw = t.gateway(hop_port=self.port, over=case.merge(config, over or {}))
        self.relay = t.secure_client(self.gw, "relay")

    def __getitem__(self, name):
        return self.hops[name]

    def send(self, domain, subject="s1", tagged=True, body="text\r\n"):
        content = f"From: a@gw.example\r\nSubject: {subject}\r\n\r\n{body}".encode()
        self.relay.send_message("a@gw.example", [f"{subject}@{domain}"], content, params="REQUIRETLS" if tagged else "")

    def notice(self, subject="s1", timeout=15):
        """The notice about a message."""
        def found():
            return [m for m in self.inside.accepted if f"\nSubject: {subject}\r" in m.data.decode()]

        if not self.inside.wait(found, timeout):
            raise AssertionError(f"no notice about {subject}: {[m.data for m in self.inside.accepted]}; queue: "
                                 f"{self.gw.queue()}")
        return found()[0]

    def bounced(self, status, subject="s1", hops=None):
        """Returned with this status, and no host of `hops` (all) saw a word of it (R-50)."""
        notice = self.notice(subject).data.decode()
        self.t.has(notice, f"Status: {status}", f"the notice about {subject}")
        self.t.has(notice, "Action: failed", f"the notice about {subject}")
        for hop in self.hops.values() if hops is None else [self.hops[h] for h in hops]:
            self.nothing_of(hop, subject)

    def nothing_of(self, hop, subject):
        for s in hop.sessions:
            self.t.eq([c for c in s.commands if f"{subject}@" in c], [], f"RCPT for {subject} at {hop.name}")
            # MAIL is alike for all: each one there belongs to a message that came (some just now).
            even = hop.wait(lambda s=s: len([c for c in s.commands if c.upper().startswith("MAIL")]) ==
                            len([m for m in hop.messages if m.session is s]), 5)
            self.t.check(even, f"MAIL for a message that never came at {hop.name}\n{hop.report()}")
        self.t.eq([m for m in hop.messages if m.header("Subject") == subject], [], f"{subject} at {hop.name}")

    def took(self, host, subject="s1", tagged=True, timeout=15):
        """The host took the message: with the parameter when it is tagged."""
        hop = self.hops[host]

        def found():
            return [m for m in hop.accepted if m.header("Subject") == subject]

        if not hop.wait(found, timeout):
            raise AssertionError(f"{subject} is not at {host}\n{hop.report()}\nqueue: {self.gw.queue()}")
        m = found()[0]
        self.t.eq(m.has_requiretls, tagged, f"the parameter: {m.mail}")
        if tagged:
            self.t.check(m.tls is not None, f"{subject} came in clear")
        return m

    def idle(self, host):
        """Until the host's connection rests after a message."""
        self.gw.wait_for(lambda: not self.gw.queue(), what="an empty queue")
        time.sleep(0.1)
        return self.hops[host].sessions[-1]


# ---- where it goes ----

@case.register("cname-is-followed", "R-41")
def cname(t):
    """A domain that is an alias: its target's MX records count."""
    w = World(t, {"good.example": mx("m1").replace("@", "real") + "\nalias CNAME real"}, {"m1": GOOD})
    w.send("alias.good.example")
    m = w.took("m1")
    t.has(m.rcpts[0], "@alias.good.example", "the recipient stays as it was")


@case.register("no-mx-is-the-domain-itself", "R-41", "R-45")
def implicit(t):
    """No MX records: the certificate must name the domain, and nothing else will do."""
    w = World(t, {"good.example": "@ A {own}\nother A {rdns}\nplainly A {m3}"},
              {"own": dict(GOOD, names=["good.example"]), "rdns": GOOD, "m3": dict(GOOD, kind="wrong-name")})
    w.send("good.example")
    w.took("own")
    t.eq(w["own"].sessions[0].tls["sni"], "good.example", "server name asked for")
    w.send("other.good.example", "s2")      # the certificate names rdns.hosts.example
    w.bounced("5.7.10", "s2")
    w.send("plainly.good.example", "s3")
    w.bounced("5.7.10", "s3")


@case.register("no-mx-in-an-unsigned-zone", "R-09", "R-45")
def implicit_unsigned(t):
    """Without an MX look-up that names hosts there is no MX answer to validate: the domain's certificate does."""
    w = World(t, {"plain.example": Zone("@ A {own}", kind="unsigned")}, {"own": dict(GOOD, names=["plain.example"])})
    w.send("plain.example")
    w.took("own")


@case.register("best-preference-first", "R-41", "R-56")
def preference(t):
    """Hosts that all qualify: the best preference gets everything."""
    w = World(t, {"good.example": f"@ MX 30 m3.{HOSTS}.\n@ MX 10 m1.{HOSTS}.\n@ MX 20 m2.{HOSTS}."},
              {"m1": GOOD, "m2": GOOD, "m3": GOOD})
    for i in range(4):
        w.send("good.example", f"s{i}")
        w.took("m1", f"s{i}")
    t.eq(len(w["m2"].sessions) + len(w["m3"].sessions), 0, "connections elsewhere")


@case.register("unsigned-mx-is-not-dialled", "R-42", "R-50")
def unsigned_mx(t):
    """An MX answer without a signature: not even a connection."""
    w = World(t, {"plain.example": Zone(mx("m1"), kind="unsigned")}, {"m1": GOOD})
    w.send("plain.example")
    w.bounced("5.7.10")
    t.eq(len(w["m1"].sessions), 0, "connections")


@case.register("every-host-is-tried", "R-48", "R-43", "R-46")
def every_host(t):
    """One host for each way to fail ahead of the one that qualifies; each gets QUIT and no MAIL."""
    w = World(t, {"good.example": mx("none", "noehlo", "cert", "word", "good")},
              {"none": {"cert": None}, "noehlo": {"replies": {"EHLO": "502 5.5.1 no"}, "requiretls": True},
               "cert": dict(GOOD, kind="expired"), "word": {}, "good": GOOD})
    w.send("good.example")
    w.took("good")
    for name in ("none", "noehlo", "cert", "word"):
        s = w[name].wait_sessions(1)[0]
        t.eq(s.commands[-1].upper(), "QUIT", f"last command at {name}\n{w[name].report()}")
        w.nothing_of(w[name], "s1")
    t.eq(w.inside.messages, [], "notices")


@case.register("address-by-address-then-host-by-host", "R-48")
def unreachable_first(t):
    """A host that cannot be reached and one that hangs up come first."""
    w = World(t, {"good.example": f"@ MX 5 dead\ndead A 127.0.2.250\n{mx('cut', 'good')}"},
              {"cut": {"cut": {"GREETING": True}}, "good": GOOD})
    w.send("good.example")
    w.took("good")


@case.register("untagged-mail-stays-at-the-first-host", "R-48", "R-49")
def untagged_flows(t):
    """The best host lists no REQUIRETLS: untagged mail goes there, tagged mail past it."""
    w = World(t, {"good.example": mx("m1", "m2")}, {"m1": {}, "m2": GOOD})
    w.send("good.example", "u1", tagged=False)
    w.send("good.example", "t1")
    w.send("good.example", "u2", tagged=False)
    w.took("m2", "t1")
    w.took("m1", "u1", tagged=False)
    w.took("m1", "u2", tagged=False)
    w.nothing_of(w["m1"], "t1")
    t.eq(len(w["m2"].messages), 1, "messages at the second host")


@case.register("our-own-name-ends-the-list", "R-56")
def loop_rule(t):
    """We are the MX at 20: the better-equipped host at 30 is not ours to use."""
    w = World(t, {"good.example": f"@ MX 10 m1.{HOSTS}.\n@ MX 20 gw.example.\n@ MX 30 m3.{HOSTS}.",
                  "gw.example": "@ A 127.0.0.99"}, {"m1": {}, "m3": GOOD})
    w.send("good.example")
    w.bounced("5.7.30")
    t.eq(len(w["m3"].sessions), 0, "connections to the host behind us")


@case.register("our-own-name-is-best", "R-56")
def loop_best(t):
    """We are the best MX, and not the destination: returned as a loop, tagged or not."""
    w = World(t, {"good.example": f"@ MX 10 gw.example.\n@ MX 20 m1.{HOSTS}.", "gw.example": "@ A 127.0.0.99"},
              {"m1": GOOD})
    w.send("good.example")
    w.bounced("5.4.6")
    t.eq(len(w["m1"].sessions), 0, "connections")


# ---- what a host must show ----

@case.register("helo-never-qualifies", "R-43", "R-52")
def helo(t):
    """EHLO is refused and HELO taken: good for untagged mail only."""
    w = World(t, {"good.example": mx("m1")}, {"m1": {"replies": {"EHLO": "500 5.5.1 what?"}, "requiretls": "always"}})
    w.send("good.example")
    w.bounced("5.7.10")
    w.send("good.example", "u1", tagged=False)
    w.took("m1", "u1", tagged=False)


@case.register("ehlo-and-helo-refused", "R-43", "D1")
def no_hello(t):
    """A host that takes no greeting at all gets nothing, and the next one is tried."""
    w = World(t, {"good.example": mx("m1", "m2")},
              {"m1": {"replies": {"EHLO": "550 5.7.1 go away", "HELO": "550 5.7.1 go away"}}, "m2": GOOD})
    w.send("good.example")
    w.took("m2")
    w.nothing_of(w["m1"], "s1")


@case.register("refused-before-any-transaction", "R-43", "D1")
def refused_early(t):
    """5yz to the greeting, and to EHLO and HELO: said of the host, not of the message. Mail without duties
    waits, with a status of class 4; a host without EHLO fails tagged mail for good."""
    w = World(t, {"greeting.example": mx("m1"), "hello.example": mx("m2")},
              {"m1": dict(GOOD, replies={"GREETING": "554 5.3.2 no"}),
               "m2": {"replies": {"EHLO": "550 5.7.1 go away", "HELO": "550 5.7.1 go away"}}})
    for host, tagged in (("greeting", True), ("greeting", False), ("hello", True), ("hello", False)):
        w.send(f"{host}.example", f"{host}-{tagged}", tagged=tagged)
    w.bounced("5.7.10", "hello-True")
    statuses = w.gw.wait_for(lambda: {r["address"].partition("@")[0]: r["last"]["status"] for m in w.gw.queue()
                                      for r in m["recipients"] if not m["notice"] and r["attempts"]}
                             if all(r["attempts"] for m in w.gw.queue() for r in m["recipients"]) else None)
    t.eq(statuses, {"greeting-True": "4.3.2", "greeting-False": "4.3.2", "hello-False": "4.7.1"}, "statuses")


CERTIFICATES = {
    "good": ("good", ["{h}"], "R"),
    "wildcard": ("good", ["*.hosts.example"], "R"),
    "second": ("good", ["elsewhere.invalid", "{h}"], "R"),
    "deep": ("good", ["*.example"], "5.7.10"),                  # a wildcard is for one label
    "partial": ("good", ["part*.hosts.example"], "5.7.10"),
    "parent": ("good", ["hosts.example"], "5.7.10"),
    "domain": ("good", ["domain.good.example"], "5.7.10"),      # the MX host counts, not the domain
    "expired": ("expired", None, "5.7.10"),
    "future": ("future", None, "5.7.10"),
    "other-ca": ("other-ca", None, "5.7.10"),
    "self-signed": ("self-signed", None, "5.7.10"),
    "wrong-name": ("wrong-name", None, "5.7.10"),
    "cn-only": ("cn-only", None, "5.7.10"),                     # D9
    "client": ("client", None, "5.7.10"),
}


@case.register("certificates", "R-10", "R-44", "R-45", "D9", "R-102")
def certificates(t):
    """Every kind of certificate, each at a host of its own."""
    hosts, records = {}, []
    for name, (kind, names, unused) in CERTIFICATES.items():
        hosts[name] = dict(GOOD, kind=kind)
        if names is not None:
            hosts[name]["names"] = [n.replace("{h}", f"{name}.{HOSTS}") for n in names]
        records.append(mx(name).replace("@", name))
    w = World(t, {"good.example": "\n".join(records)}, hosts)
    for name in CERTIFICATES:
        w.send(f"{name}.good.example", f"c-{name}")
    wrong = []
    for name, (unused, unused2, want) in CERTIFICATES.items():
        try:
            if want == "R":
                w.took(name, f"c-{name}", timeout=5)
            else:
                w.bounced(want, f"c-{name}")
        except AssertionError as e:
            wrong.append(f"{name}: {e}")
    t.eq(wrong, [], "certificates")


@case.register("root-store-decides", "R-12")
def root_store(t):
    """The same host and certificate, trusted by another CA file: the outcome flips."""
    t.certs.issue("m1.hosts.example", kind="other-ca")
    w = World(t, {"good.example": mx("m1")}, {"m1": dict(GOOD, kind="other-ca")},
              over={"tls": {"ca_file": t.certs.other.cert.cert} if t.certs.other else {}})
    t.check(t.certs.other is not None, "the other CA was made")
    w.send("good.example")
    w.took("m1")


@case.register("keyword-before-tls-only", "R-11", "R-46")
def keyword_before(t):
    """Listed in clear and not inside TLS; and not at all."""
    before = ["PIPELINING", "STARTTLS", "REQUIRETLS", "ENHANCEDSTATUSCODES"]
    w = World(t, {"good.example": mx("m1"), "absent.example": mx("m2"), "like.example": mx("m3")},
              {"m1": {"ehlo": before}, "m2": {}, "m3": {"ehlo_tls": ["PIPELINING", "XREQUIRETLS", "REQUIRETLSX"]}})
    w.send("good.example")
    w.bounced("5.7.30")
    w.send("absent.example", "s2")
    w.bounced("5.7.30", "s2")
    w.send("like.example", "s3")
    w.bounced("5.7.30", "s3")


@case.register("keyword-in-any-case", "R-04", "R-46")
def keyword_case(t):
    """EHLO keywords have no case."""
    w = World(t, {"good.example": mx("m1")}, {"m1": {"ehlo_tls": ["pipelining", "RequireTLS"]}})
    w.send("good.example")
    w.took("m1")


@case.register("tls-versions", "R-47", "R-57", "S-63", "N-10")
def versions(t):
    """TLS 1.1 is none; TLS 1.2 will do."""
    w = World(t, {"old.example": mx("m1"), "good.example": mx("m2"), "new.example": mx("m3")},
              {"m1": dict(GOOD, tls_max=TLS11), "m2": dict(GOOD, tls_max=TLS12),
               "m3": dict(GOOD, tls_min=ssl.TLSVersion.TLSv1_3)})
    w.send("old.example")
    w.bounced("5.7.10")
    w.send("good.example", "s2")
    t.eq(w.took("m2", "s2").tls["version"], "TLSv1.2", "version")
    w.send("new.example", "s3")
    t.eq(w.took("m3", "s3").tls["version"], "TLSv1.3", "version")


@case.register("starttls-stripped", "R-08", "R-101")
def stripped(t):
    """STARTTLS overwritten on its way, in the list and in the reply."""
    w = World(t, {"good.example": mx("m1"), "reply.example": mx("m2")},
              {"m1": {"ehlo": ["PIPELINING", "XXXXXXXX", "REQUIRETLS"]},
               "m2": dict(GOOD, replies={"STARTTLS": "502 5.5.1 no such command"})})
    w.send("good.example")
    w.bounced("5.7.10")
    w.send("reply.example", "s2")
    w.bounced("5.7.10", "s2")


# ---- when none qualifies ----

@case.register("nothing-is-transmitted", "R-50", "R-51", "R-52")
def nothing_sent(t):
    """No host qualifies: no MAIL, RCPT, DATA or BDAT anywhere, and one notice at once."""
    w = World(t, {"good.example": mx("m1", "m2", "m3")},
              {"m1": {"cert": None}, "m2": dict(GOOD, kind="wrong-name"), "m3": {"handshake": "close"}})
    w.send("good.example", body="unrepeatable\r\n")
    w.bounced("5.7.10")
    w.gw.wait_queue_empty()
    for name, hop in w.hops.items():
        for verb in ("MAIL", "RCPT", "DATA", "BDAT"):
            t.eq(hop.commands(verb), [], f"{verb} at {name}")
        t.check(not any("unrepeatable" in line for s in hop.sessions for line in s.transcript), f"content at {name}")
    notice = w.notice()
    text = notice.data.decode()
    t.eq(len(w.inside.messages), 1, "notices")
    t.has(notice.mail, "MAIL FROM:<>", "reverse-path of the notice")
    t.has(notice.rcpts[0], "<a@gw.example>", "recipient of the notice")
    t.check(notice.has_requiretls, "the notice is not tagged (R-81)")
    t.has(text, "Content-Type: multipart/report", "type")
    t.check(re.search(r"(?mi)^Final-Recipient: *rfc822; *s1@good\.example", text), "Final-Recipient")
    t.lacks(text, "unrepeatable", "the notice")


@case.register("part-of-the-recipients", "R-38", "R-51")
def partly(t):
    """Two domains, one capable: one delivery, one notice about the other recipient only."""
    w = World(t, {"good.example": mx("m1"), "poor.example": mx("m2")}, {"m1": GOOD, "m2": {}})
    w.relay.send_message("a@gw.example", ["s1@good.example", "s1@poor.example"],
                         b"Subject: s1\r\n\r\ntext\r\n", params="REQUIRETLS")
    w.took("m1")
    w.bounced("5.7.30", hops=["m2"])
    t.lacks(w.notice().data.decode(), "Final-Recipient: rfc822; s1@good.example", "the notice")


@case.register("transient-failure-is-retried", "R-48", "D1")
def transient(t):
    """454 to STARTTLS at the only host: tried again, and then it goes with the parameter."""
    w = World(t, {"good.example": mx("m1")}, {"m1": dict(GOOD, replies={"STARTTLS": ["454 4.7.0 later"]})},
              over={"queue": {"retry": ["1s"]}})
    w.send("good.example")
    w.took("m1")
    t.eq(len(w["m1"].commands("MAIL")), 1, "MAIL commands")
    t.eq(w.inside.messages, [], "notices")


@case.register("worse-at-the-second-try", "R-50", "I2", "R-100")
def worse_later(t):
    """The host had all, and failed for the moment; at the next try it offers no TLS: nothing is sent."""
    w = World(t, {"good.example": mx("m1")}, {"m1": dict(GOOD, replies={"MAIL": "451 4.3.0 later"})},
              over={"queue": {"retry": ["1s"]}, "delivery": {"idle": "0s"}})

    def no_more(session, unused):
        session.hop.starttls = False
        return "451 4.3.0 later"

    w["m1"].replies["MAIL"] = no_more
    w.send("good.example")
    t.has(w.notice().data.decode(), "Status: 5.7.10", "the notice")
    t.eq(len(w["m1"].commands("MAIL")), 1, "MAIL commands")
    t.check(not any(c.upper().startswith("MAIL") for s in w["m1"].sessions if s.tls is None for c in s.commands),
            "MAIL in clear")


# ---- how it is sent ----

@case.register("parameter-is-bare", "R-03", "R-53")
def bare(t):
    """The parameter has no value, stands once, and beside others; RCPT has none."""
    w = World(t, {"good.example": mx("m1")}, {"m1": GOOD})
    w.relay.send_message("a@gw.example", ["s1@good.example"], b"Subject: s1\r\n\r\ntext\r\n",
                         params="requiretls BODY=8BITMIME RET=FULL ENVID=x1")
    m = w.took("m1")
    words = m.mail.split()[1:]
    t.eq([x for x in words if "REQUIRETLS" in x.upper()], ["REQUIRETLS"], "parameter")
    t.has(m.mail, "ENVID=x1", "MAIL")
    t.has(m.mail, "RET=FULL", "MAIL (R-90)")
    t.lacks(" ".join(m.rcpts), "REQUIRETLS", "RCPT")


@case.register("never-ahead-of-a-reply", "R-54", "N-22")
def slow_ehlo(t):
    """Nothing arrives while EHLO, STARTTLS or the second EHLO is waiting for its answer."""
    early = []

    def listen(session, line):
        old = session.sock.gettimeout()
        early.append(("buffered", line, session.buffer)) if session.buffer else None
        session.sock.settimeout(0.7)
        try:
            early.append(("read", line, session.sock.recv(4096)))
        except (TimeoutError, ssl.SSLError):
            pass
        finally:
            session.sock.settimeout(old)

    w = World(t, {"good.example": mx("m1")}, {"m1": dict(GOOD, replies={"EHLO": listen, "STARTTLS": listen})})
    w.send("good.example")
    w.took("m1")
    t.eq(early, [], "octets ahead of a reply")
    t.eq(len(w["m1"].commands("EHLO")), 2, "EHLO commands")


# ---- kept connections ----

@case.register("shared-host-other-evidence", "R-55")
def shared_host(t):
    """Two domains share a host, one look-up is not signed: its tagged mail rides on nothing."""
    w = World(t, {"good.example": mx("m1"), "plain.example": Zone(mx("m1"), kind="unsigned")}, {"m1": GOOD})
    w.send("good.example", "g1")
    w.took("m1", "g1")
    w.idle("m1")
    w.send("plain.example", "p1")
    w.bounced("5.7.10", "p1")
    w.send("plain.example", "p2", tagged=False)         # a connection of that domain, kept
    w.took("m1", "p2", tagged=False)
    w.idle("m1")
    w.send("plain.example", "p3")
    w.bounced("5.7.10", "p3")
    for s in w["m1"].sessions:
        domains = {c.rpartition("@")[2] for c in s.commands if c.upper().startswith("RCPT")}
        t.check(len(domains) < 2, f"one connection carried {domains}")


KEPT = {
    "clear": ({"cert": None}, "5.7.10"),
    "unverified": (dict(GOOD, kind="other-ca"), "5.7.10"),
    "wrong-name": (dict(GOOD, kind="wrong-name"), "5.7.10"),
    "no-keyword": ({}, "5.7.30"),
    "helo": ({"replies": {"EHLO": "500 5.5.1 what?"}}, "5.7.10"),
    "handshake": (dict(GOOD, handshake="close"), "5.7.10"),
}


@case.register("kept-connection-does-not-qualify", "R-55", "R-07")
def kept_poor(t):
    """Untagged mail left a connection behind that is not good enough: tagged mail does not use it."""
    w = World(t, {f"{name}.example": mx(name) for name in KEPT}, {name: options for name, (options, unused) in KEPT.items()})
    for name in KEPT:
        w.send(f"{name}.example", f"u-{name}", tagged=False)
        w.took(name, f"u-{name}", tagged=False)
    w.gw.wait_queue_empty()
    for name, (unused, status) in KEPT.items():
        w.send(f"{name}.example", f"t-{name}")
        w.bounced(status, f"t-{name}")


@case.register("kept-clear-connection-and-better-host", "R-55", "R-65")
def kept_clear_then_good(t):
    """A handshake failed once and left a clear connection; the host is well again: TLS for tagged mail."""
    w = World(t, {"good.example": mx("m1")}, {"m1": dict(GOOD, handshake="close")})
    w.send("good.example", "u1", tagged=False)
    t.eq(w.took("m1", "u1", tagged=False).tls, None, "TLS of the first message")
    w.idle("m1")
    w["m1"].handshake = None
    w.send("good.example", "t1")
    w.took("m1", "t1")


@case.register("kept-connection-qualifies", "R-55", "R-53")
def kept_good(t):
    """A verified connection of the same domain is used again, with the parameter where it belongs."""
    w = World(t, {"good.example": mx("m1")}, {"m1": GOOD})
    w.send("good.example", "u1", tagged=False)
    w.took("m1", "u1", tagged=False)
    w.idle("m1")
    w.send("good.example", "t1")
    w.took("m1", "t1")
    w.idle("m1")
    w.send("good.example", "u2", tagged=False)
    w.took("m1", "u2", tagged=False)
    t.eq(len(w["m1"].sessions), 1, "connections")


@case.register("resumed-session-is-verified-again", "R-55")
def resumed(t):
    """A second connection to a host whose certificate turned bad meanwhile does not qualify."""
    w = World(t, {"good.example": mx("m1")}, {"m1": GOOD}, over={"delivery": {"idle": "0s"}})
    w.send("good.example", "t1")
    w.took("m1", "t1")
    w["m1"].wait_sessions(1)
    w["m1"].cert = t.certs.issue(f"m1.{HOSTS}", kind="expired")
    w.send("good.example", "t2")
    w.bounced("5.7.10", "t2")


case.main()
