"""REQUIRETLS as a receiver hears it, and the tag it leaves: which sessions offer the keyword, which
parameters are refused, what clears the tag, and what the next hop sees of it (RFC 8689, 2 and 4.1)."""

import signal

import case
from case import Zone

SENDER = "a@gw.example"
BODY = b"hello\r\n.a dot\r\nPrivate-Token\r\n"
HEAD = b"From: a@gw.example\r\nTo: b@dst.example\r\nSubject: x\r\n"
MESSAGE = HEAD + b"\r\n" + BODY
NO = b"TLS-Required: No\r\n"


def setup(t, target=None, route=None, over=None, policy=None):
    """(gateway, target, inside): mail for dst.example goes to a fixed host, which is trusted as a
    choice and has target.example in its certificate; notices go to `inside` by a route of their own."""
    options = {"cert": t.certs.issue("target.example"), "requiretls": True, **(target or {})}
    hop, inside = t.nexthops({"host": "127.0.0.12", **options}, {"host": "127.0.0.1"})
    over = case.merge({
        "domains": [{"match": ["dst.example"], "kind": "local", "route": "target"},
                    {"match": ["gw.example"], "kind": "local", "route": "inside"}],
        "routes": {"target": {"via": [f"127.0.0.12:{hop.port}"], "tls": "may", "names": ["target.example"],
                              "assert_secure_lookup": True, **(route or {})}},
        "queue": {"retry": ["1s"]},
    }, over or {})
    return t.gateway(hop_port=hop.port, over=over, policy=policy), hop, inside


def never_delivered(t, gw, hop, inside, status):
    """Nothing of the message was said to the hop; the sender has a notice with this status."""
    notice = inside.wait_messages(1)[0]
    t.has(notice.mail, "MAIL FROM:<>", "MAIL of the notice")
    t.has(notice.data.decode(), f"Status: {status}", "the notice")
    t.lacks(notice.data.decode(), "Private-Token", "the notice holds no body")
    gw.wait_queue_empty()
    for verb in ("MAIL", "RCPT", "DATA", "BDAT"):
        t.eq(hop.commands(verb), [], f"{verb} at the host")
    return notice


# ---- The keyword and the parameter ----

@case.register("keyword-inside-tls-only", "R-01", "R-02", "R-06", "R-14")
def keyword(t):
    """Bare, once, inside TLS, by both kinds of listeners; no verb of that name."""
    gw = t.gateway()
    for listener in ("inbound", "relay"):
        c = t.client(gw, listener)
        t.lacks(c.ehlo(), "REQUIRETLS", f"{listener} in clear")
        c.starttls()
        reply = c.cmd("EHLO client.example", 250)
        t.eq([x for x in reply.lines if "REQUIRETLS" in x.upper()], ["REQUIRETLS"], listener)
        t.eq(c.cmd("REQUIRETLS").code in (500, 502), True, "REQUIRETLS as a verb")
        t.lacks(c.cmd("HELO client.example", 250).text, "REQUIRETLS", "HELO")


@case.register("implicit-tls-announces", "R-19", "R-06", "N-14")
def implicit_tls(t):
    """A listener that begins with TLS announces the keyword at the first EHLO and takes it."""
    port = case.free_port()
    gw, hop, _ = setup(t, over={"listeners": {"smtps": {
        "bind": [f"127.0.0.1:{port}"], "role": "relay", "clients": "lab", "tls": "gw",
        "implicit_tls": True, "requiretls": "announce"}}})
    c = t.client(gw, "smtps", implicit_tls=True)
    t.has(c.ehlo(), "REQUIRETLS", "capabilities")
    t.lacks(c.caps, "STARTTLS", "capabilities")
    c.send_message(SENDER, "b@dst.example", MESSAGE, params="REQUIRETLS")
    t.check(hop.wait_messages(1)[0].has_requiretls, "the tag is gone")


@case.register("parameter-syntax", "R-03", "R-04", "R-18", "R-00c")
def parameter_syntax(t):
    """A value or a second one is 501 and opens no transaction; the letters' case does not matter."""
    gw, hop, _ = setup(t)
    c = t.secure_client(gw)
    for params in ("REQUIRETLS=1", "REQUIRETLS=", "REQUIRETLS=yes", "REQUIRETLS REQUIRETLS",
                   "REQUIRETLS SIZE=10 requiretls"):
        reply = c.mail(SENDER, params)
        t.eq((reply.code, reply.status), (501, "5.5.4"), params)
        t.eq(c.rcpt("b@dst.example").code, 503, f"RCPT after {params}")
    for params in ("requiretls", "RequireTLS", "BODY=8BITMIME ReQuIrEtLs SIZE=100"):
        c.send_message(SENDER, "b@dst.example", MESSAGE, params=params)
    for m in hop.wait_messages(3):
        t.check(m.has_requiretls, f"no tag: {m.mail}")
        t.lacks(m.mail.upper(), "REQUIRETLS=", "what we send")


@case.register("parameter-on-the-longest-line", "R-05")
def longest_line(t):
    """The longest path with every other parameter leaves room for REQUIRETLS; a line of all that the
    extensions add to 512 octets is still read as a command."""
    gw, hop, _ = setup(t)
    c = t.secure_client(gw, timeout=5)
    sender = "l" * 64 + "@" + ".".join(("d" * 60, "d" * 60, "d" * 56)) + ".gw.example"
    t.eq(len(sender), 254, "length of the path")
    params = f"SIZE={1000:020d} BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID={'e' * 100} REQUIRETLS"
    c.send_message(sender, "b@dst.example", MESSAGE, params=params)
    t.check(hop.wait_messages(1)[0].has_requiretls, "the tag is gone")
    # 512, and SIZE 26, 8BITMIME 17, SMTPUTF8 10, DSN 500, AUTH 500, REQUIRETLS 11
    line = f"MAIL FROM:<{sender}> REQUIRETLS X="
    line += "x" * (512 + 26 + 17 + 10 + 500 + 500 + 11 - len(line) - 2)
    t.eq(c.cmd(line).code, 555, "reply to a long line with a parameter nobody knows")


@case.register("parameter-in-clear", "R-15", "D13")
def parameter_in_clear(t):
    """530 5.7.10, no transaction, nothing in the queue; the session goes on."""
    gw, hop, _ = setup(t)
    for listener in ("inbound", "relay"):
        c = t.client(gw, listener)
        c.ehlo()
        reply = c.mail(SENDER, "REQUIRETLS")
        t.eq((reply.code, reply.status), (530, "5.7.10"), listener)
        t.eq(c.rcpt("b@dst.example").code, 503, "RCPT")
        t.eq(c.cmd("DATA").code, 503, "DATA")
        t.eq(gw.queue(), [], "queue")
        c.starttls()
        c.ehlo()
        c.send_message(SENDER, "b@dst.example", MESSAGE, params="REQUIRETLS")
        gw.wait_queue_empty()
    t.eq([m.has_requiretls for m in hop.messages], [True, True], "tags")


@case.register("parameter-where-it-is-off", "R-15", "D13", "M-57")
def parameter_off(t):
    """A listener that does not announce it says 555 5.5.4 inside TLS, and never takes the mail."""
    gw, _, _ = setup(t, over={"listeners": {"inbound": {"requiretls": "off"}}})
    c = t.secure_client(gw)
    t.lacks(c.caps, "REQUIRETLS", "capabilities")
    reply = c.mail(SENDER, "REQUIRETLS")
    t.eq((reply.code, reply.status), (555, "5.5.4"), "MAIL")
    t.eq(c.rcpt("b@dst.example").code, 503, "RCPT")
    clear = t.client(gw)
    clear.ehlo()
    t.eq(clear.mail(SENDER, "REQUIRETLS").code // 100, 5, "MAIL in clear")
    t.has(t.secure_client(gw, "relay").caps, "REQUIRETLS", "the other listener")
    t.eq(gw.queue(), [], "queue")


@case.register("no-promise-that-cannot-be-kept", "R-13", "R-112")
def promise(t):
    """Configurations that announce REQUIRETLS without TLS, or set it aside for all mail, are refused."""
    gw = t.gateway()
    good = gw.config

    def refused(over, *parts):
        gw.config = case.merge(case.basic_config(t.certs), over)
        gw.write()
        done = gw.run("config", "check")
        t.eq(done.returncode, 1, f"config check of {over}")
        for part in parts:
            t.has(done.stdout + done.stderr, part, "config check")

    refused({"listeners": {"inbound": {"tls": None, "starttls": None}}}, "listeners.inbound.requiretls")
    refused({"listeners": {"inbound": {"starttls": "off"}}}, "listeners.inbound.requiretls")
    refused({"policy": {"grants": {"all": {"relaxes": "requiretls", "to": "may", "domains": ["*"],
                                           "owner": "a@gw.example", "expires": "2099-01-01"}}}}, "REQUIRETLS")
    gw.config = good
    gw.write()
    t.eq(gw.run("config", "check").returncode, 0, "the one that runs")


# ---- One transaction, one tag ----

@case.register("tag-ends-with-its-transaction", "R-16")
def tag_ends(t):
    """RSET, EHLO and the end of the message clear it; a second MAIL neither sets nor clears it."""
    gw, hop, _ = setup(t)
    c = t.secure_client(gw)

    def subject(name):
        return b"Subject: " + name + b"\r\n\r\nx\r\n"

    for verb in ("RSET", "EHLO client.example", "HELO client.example"):
        c.mail(SENDER, "REQUIRETLS", 250)
        c.rcpt("b@dst.example", code=250)
        c.cmd(verb, 250)
        t.eq(c.rcpt("b@dst.example").code, 503, f"RCPT after {verb}")
        c.send_message(SENDER, "b@dst.example", subject(verb[:4].encode()))
    c.ehlo()
    c.send_message(SENDER, "b@dst.example", subject(b"tagged"), params="REQUIRETLS")
    c.send_message(SENDER, "b@dst.example", subject(b"next"))
    c.mail(SENDER, "", 250)
    t.eq(c.mail(SENDER, "REQUIRETLS").code, 503, "MAIL within a transaction")
    c.rcpt("b@dst.example", code=250)
    c.data(subject(b"second"), 250)
    c.mail(SENDER, "REQUIRETLS", 250)
    t.eq(c.mail(SENDER).code, 503, "MAIL within a tagged transaction")
    c.rcpt("b@dst.example", code=250)
    c.data(subject(b"kept"), 250)
    got = {m.header("Subject"): m.has_requiretls for m in hop.wait_messages(7)}
    t.eq(got, {"RSET": False, "EHLO": False, "HELO": False, "tagged": True, "next": False,
               "second": False, "kept": True}, "tags")


@case.register("starttls-forgets-the-transaction", "R-16", "R-107")
def starttls_forgets(t):
    """STARTTLS does not run inside a transaction, and nothing said before it counts behind it; nor does
    what was sent in clear together with it."""
    gw, hop, _ = setup(t)
    c = t.client(gw)
    c.ehlo()
    c.mail(SENDER, "", 250)
    c.rcpt("b@dst.example", code=250)
    t.eq(c.cmd("STARTTLS").code, 503, "STARTTLS within a transaction")
    c.cmd("RSET", 250)
    c.starttls()
    t.eq(c.mail(SENDER, "REQUIRETLS").code // 100, 5, "MAIL before the EHLO inside TLS")
    t.eq(c.rcpt("b@dst.example").code, 503, "RCPT after STARTTLS")
    c.ehlo()
    c.send_message(SENDER, "b@dst.example", MESSAGE)
    t.check(not hop.wait_messages(1)[0].has_requiretls, "a tag out of nowhere")
    d = t.client(gw, timeout=5)
    d.ehlo()
    d.raw(b"STARTTLS\r\nMAIL FROM:<a@gw.example> REQUIRETLS\r\n")
    if d.read_reply().code == 220:
        try:
            d.handshake()
            t.eq(d.rcpt("b@dst.example").code, 503, "RCPT after an injected MAIL")
        except (OSError, EOFError):
            pass                # closed, which is as good


@case.register("tag-by-every-way-of-sending", "R-17")
def every_way(t):
    """DATA and BDAT, step by step, pipelined and octet by octet."""
    gw, hop, _ = setup(t)
    c = t.secure_client(gw)
    envelope = b"MAIL FROM:<a@gw.example> REQUIRETLS\r\nRCPT TO:<b@dst.example>\r\n"
    c.send_message(SENDER, "b@dst.example", MESSAGE, params="REQUIRETLS")
    c.raw(envelope + b"DATA\r\n")
    for code in (250, 250, 354):
        c.expect(code)
    c.raw(MESSAGE.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    c.expect(250)
    c.raw(envelope, chunk=1)
    for code in (250, 250):
        c.expect(code)
    c.cmd(b"BDAT %d LAST\r\n" % len(MESSAGE) + MESSAGE, 250)
    half = len(MESSAGE) // 2
    c.raw(envelope + b"BDAT %d\r\n" % half + MESSAGE[:half] +
          b"BDAT %d\r\n" % (len(MESSAGE) - half) + MESSAGE[half:] + b"BDAT 0 LAST\r\n")
    for code in (250, 250, 250, 250, 250):
        c.expect(code)
    for m in hop.wait_messages(4):
        t.check(m.has_requiretls, f"no tag: {m.mail}")
        t.eq(m.body, BODY, "body")


# ---- What the next hop has to have ----

def by_mx(t, hosts, zones, policy=None, over=None):
    """(gateway, {name: hop}, inside): hosts of the zone good.example, 127.0.0.11 and on."""
    hops = t.nexthops({"host": "127.0.0.1"}, *({"host": f"127.0.0.{i}", **o}
                                              for i, o in enumerate(hosts.values(), 11)))
    t.lab(zones)
    gw = t.gateway(hop_port=hops[0].port, policy=policy, over=over)
    return gw, dict(zip(hosts, hops[1:])), hops[0]


def send_tagged(t, gw, *rcpts):
    c = t.secure_client(gw, "relay")
    for r in rcpts:
        c.send_message(SENDER, r, MESSAGE, params="REQUIRETLS")
    c.quit()


def notices_by_rcpt(inside, n):
    """{address: status} of so many notices."""
    got = {}
    for m in inside.wait_messages(n):
        lines = m.data.decode().splitlines()
        rcpt = [x.partition(";")[2].strip() for x in lines if x.startswith("Final-Recipient:")]
        got.update(dict.fromkeys(rcpt, [x.partition(":")[2].strip() for x in lines if x.startswith("Status:")][0]))
    return got


@case.register("conditions-one-at-a-time", "R-07", "R-08", "R-10", "R-11", "R-50", "R-51", "R-52")
def conditions(t):
    """Only the host that meets all has MAIL; each of the others lacks one thing, and the sender hears."""
    def cert(name, kind="good"):
        return {"cert": t.certs.issue(f"mx.{name}.good.example", kind), "requiretls": True}

    hosts = {"ok": cert("ok"),
             "clear": {**cert("clear"), "starttls": False},
             "early": {**cert("early"), "ehlo": ["STARTTLS", "REQUIRETLS"], "ehlo_tls": ["PIPELINING"]},
             "always": {**cert("always"), "starttls": False, "requiretls": "always"},
             "helo": {**cert("helo"), "replies": {"EHLO": "502 5.5.1 what"}},
             **{kind: cert(kind, kind) for kind in ("self-signed", "expired", "future", "wrong-name",
                                                    "other-ca", "cn-only")}}
    zone = "\n".join(f"{n} MX 10 mx.{n}\nmx.{n} A 127.0.0.{i}" for i, n in enumerate(hosts, 11))
    gw, hops, inside = by_mx(t, hosts, {"good.example": Zone(zone)})
    send_tagged(t, gw, *(f"b@{n}.good.example" for n in hosts))
    t.check(hops["ok"].wait_messages(1)[0].has_requiretls, "no REQUIRETLS at the good host")
    want = {f"b@{n}.good.example": "5.7.30" if n == "early" else "5.7.10" for n in hosts if n != "ok"}
    t.eq(notices_by_rcpt(inside, len(hosts) - 1), want, "notices")
    gw.wait_queue_empty()
    for name, hop in hops.items():
        t.eq(len(hop.commands("MAIL")), 1 if name == "ok" else 0, f"MAIL at {name}")


@case.register("lookup-signed-or-not", "R-09", "R-07", "D10", "N-02", "R-103")
def lookup(t):
    """The same perfect host: by a signed MX it has MAIL with the parameter; by an unsigned one it is
    not even connected to; without MX, its own name is checked."""
    names = ["mx.good.example", "mx.plain.example", "good.example", "implicit.good.example"]
    perfect = {"cert": t.certs.issue("mx", names=names), "requiretls": True}
    gw, hops, inside = by_mx(t, {"signed": perfect, "unsigned": perfect, "implicit": perfect}, {
        "good.example": Zone("@ MX 10 mx\nmx A 127.0.0.11\nimplicit A 127.0.0.13"),
        "plain.example": Zone("@ MX 10 mx\nmx A 127.0.0.12", kind="unsigned")})
    send_tagged(t, gw, "b@good.example", "b@plain.example", "b@implicit.good.example")
    t.eq(notices_by_rcpt(inside, 1), {"b@plain.example": "5.7.10"}, "notices")
    for name in ("signed", "implicit"):
        t.check(hops[name].wait_messages(1)[0].has_requiretls, f"no REQUIRETLS: {name}")
    t.eq(hops["unsigned"].sessions, [], "sessions at the host found without DNSSEC")


@case.register("roots-are-the-clients-choice", "R-12", "R-10")
def roots(t):
    """With the other CA's file in tls.ca_file the verdicts over the same two hosts swap."""
    other = t.certs.issue("target.example", "other-ca")
    good = t.certs.issue("target.example")
    for n, (cert, ca, trusted) in enumerate((
            (good, t.certs.ca, True), (other, t.certs.ca, False),
            (good, t.certs.other.cert.cert, False), (other, t.certs.other.cert.cert, True))):
        gw, hop, inside = setup(t, {"cert": cert}, over={"tls": {"ca_file": ca}})
        case.send(gw.port("inbound"), SENDER, ["b@dst.example"], MESSAGE, params="REQUIRETLS")
        if trusted:
            t.check(hop.wait_messages(1)[0].has_requiretls, f"no REQUIRETLS in round {n}")
        else:
            never_delivered(t, gw, hop, inside, "5.7.10")
        gw.stop()


# ---- The tag ----

@case.register("tag-goes-out", "R-30", "R-34", "R-120")
def tag_goes_out(t):
    """REQUIRETLS in, REQUIRETLS out; nothing in, nothing out; the trace field names TLS."""
    gw, hop, _ = setup(t)
    c = t.secure_client(gw)
    c.send_message(SENDER, "b@dst.example", MESSAGE, params="REQUIRETLS")
    c.send_message(SENDER, "b@dst.example", HEAD.replace(b": x", b": plain") + b"\r\n" + BODY)
    got = {m.header("Subject"): m for m in hop.wait_messages(2)}
    t.eq({s: m.has_requiretls for s, m in got.items()}, {"x": True, "plain": False}, "tags")
    t.has(got["x"].header("Received"), " with ESMTPS", "trace field")
    t.eq(len(gw.wait_log(r"message accepted.*requiretls=\"?yes")), 1, "log lines of tagged mail")


@case.register("header-alone", "R-31", "R-33", "R-37")
def header_alone(t):
    """The header alone is the tag: noted as honoured, and left where it was."""
    gw, hop, _ = setup(t, {"starttls": False}, {"tls": "verify", "waivable": True})
    case.send(gw.port("inbound"), SENDER, ["b@dst.example"], NO + MESSAGE)
    m = hop.wait_messages(1)[0]
    t.eq((m.tls, m.has_requiretls), (None, False), "TLS and tag")
    t.check(m.data.endswith(NO + MESSAGE), f"content: {m.data!r}")
    gw.wait_log(r"message accepted.*tls_required_no=\"?honoured")


@case.register("parameter-beats-header", "R-32", "R-33", "R-114")
def parameter_beats_header(t):
    """Both: the header counts for nothing, whatever may be waived, and stays in the message."""
    gw, hop, inside = setup(t, {"starttls": False}, {"tls": "verify", "waivable": True})
    c = t.secure_client(gw)
    c.send_message(SENDER, "b@dst.example", NO + MESSAGE, params="REQUIRETLS")
    gw.wait_log(r"message accepted.*tls_required_no=\"?overridden")
    never_delivered(t, gw, hop, inside, "5.7.10")
    hop.starttls = True
    c.send_message(SENDER, "b@dst.example", NO + MESSAGE, params="REQUIRETLS")
    m = hop.wait_messages(1)[0]
    t.check(m.has_requiretls and m.tls is not None, f"not protected: {m.mail}")
    t.check(m.data.endswith(NO + MESSAGE), "the ignored header is gone")


@case.register("octets-in-octets-out", "R-37", "R-33", "I8", "R-71", "R-115")
def octets(t):
    """Whatever the header section looks like, only trace fields come before it."""
    gw, hop, _ = setup(t)
    c = t.secure_client(gw)
    odd = [b"tls-required:\r\n  no\r\nX:y\r\nSubject:  =?utf-8?q?x?=  \r\n\r\n..\r\n.\t\r\n" + b"z" * 998 + b"\r\n",
           b"TLS-Required: Yes\r\nTLS-Required: No\r\n\r\n\xff\xfe x\r\n",
           b"Received: from x by y; Mon, 1 Jan 2024 00:00:00 +0000\r\nsubject: a\r\n\r\n",
           b"\r\nno header at all\r\n"]
    for content in odd:
        for params in ("", "REQUIRETLS"):
            c.mail(SENDER, f"BODY=8BITMIME {params}".strip(), 250)
            c.rcpt("b@dst.example", code=250)
            c.cmd(b"BDAT %d LAST\r\n" % len(content) + content, 250)
    left = [x for x in odd for _ in range(2)]
    for m in hop.wait_messages(len(left)):
        fits = [x for x in left if m.data.endswith(x)]
        t.check(fits, f"content changed: {m.data!r}")
        left.remove(max(fits, key=len))
        trace = m.data[:-len(max(fits, key=len))].decode()
        for line in trace.split("\r\n")[:-1]:
            t.check(line.startswith(("Received:", "\t", " ")), f"added line: {line!r}")
    t.eq(left, [], "contents that did not arrive")


@case.register("tag-survives-a-kill", "R-36", "I1")
def survives_kill(t):
    """Deferred once, SIGKILL, start: the retry has the parameter still."""
    gw, hop, _ = setup(t, {"replies": {"MAIL": ["451 4.3.0 later"]}})
    case.send(gw.port("inbound"), SENDER, ["b@dst.example"], MESSAGE, params="REQUIRETLS")
    gw.kill()
    gw.start()
    t.check(hop.wait_messages(1)[0].has_requiretls, "the tag is gone")
    t.check(all("REQUIRETLS" in x for x in hop.commands("MAIL")), f"MAIL: {hop.commands('MAIL')}")


@case.register("tag-survives-retry-and-reload", "R-36", "R-118")
def survives_reload(t):
    """Deferred, a new policy and configuration, retried: still tagged, and the tag is in the list."""
    gw, hop, _ = setup(t, {"replies": {"MAIL": ["451 4.3.0 later"]}}, policy="-- first\n")
    case.send(gw.port("inbound"), SENDER, ["b@dst.example"], MESSAGE, params="REQUIRETLS")
    t.check(hop.wait(lambda: hop.commands("MAIL")), "no first attempt")
    gw.policy = 'gw.on("attempt", function(message, hop) end, { name = "nothing.much" })\n'
    gw.config["routes"]["target"]["tls"] = "encrypt"
    gw.write()
    before = len(gw.log_lines("configuration active"))
    gw.process.send_signal(signal.SIGHUP)
    gw.wait_log("configuration active", count=before + 1)
    t.check(hop.wait_messages(1)[0].has_requiretls, "the tag is gone")
    t.check(all("REQUIRETLS" in x for x in hop.commands("MAIL")), f"MAIL: {hop.commands('MAIL')}")


@case.register("two-domains-two-outcomes", "R-38", "R-36", "R-43")
def two_domains(t):
    """One message, one domain that can and one that cannot: one delivery, one notice about the other."""
    hosts = {"can": {"cert": t.certs.issue("mx.can.good.example"), "requiretls": True},
             "cannot": {"cert": t.certs.issue("mx.cannot.good.example")}}
    gw, hops, inside = by_mx(t, hosts, {"good.example": Zone(
        "can MX 10 mx.can\nmx.can A 127.0.0.11\ncannot MX 10 mx.cannot\nmx.cannot A 127.0.0.12")})
    c = t.secure_client(gw, "relay")
    c.send_message(SENDER, ["b@can.good.example", "b@cannot.good.example"], MESSAGE, params="REQUIRETLS")
    m = hops["can"].wait_messages(1)[0]
    t.check(m.has_requiretls, "no REQUIRETLS")
    t.eq(m.rcpts, [x for x in m.rcpts if "b@can.good.example" in x], "recipients")
    t.eq(notices_by_rcpt(inside, 1), {"b@cannot.good.example": "5.7.30"}, "notices")
    gw.wait_queue_empty()
    t.eq((len(hops["can"].messages), hops["cannot"].commands("MAIL"), len(inside.messages)), (1, [], 1),
         "messages in all")


@case.register("added-recipients-have-the-tag", "R-35")
def added_recipients(t):
    """What policy makes of one recipient goes out with the tag of the message, each copy."""
    policy = """
gw.on("message", function(session, message)
  message:add_recipient("second@dst.example")
end, { name = "alias.second" })
"""
    gw, hop, _ = setup(t, policy=policy)
    case.send(gw.port("inbound"), SENDER, ["b@dst.example"], MESSAGE, params="REQUIRETLS")
    t.check(hop.wait(lambda: sum(len(m.rcpts) for m in hop.messages) == 2), "not two recipients")
    t.check(all(m.has_requiretls for m in hop.messages), "a copy without the tag")


case.main()
