"""`TLS-Required: No`: what counts as it, what it sets aside and what it does not (RFC 8689, 3 and 4.2.2).

What may be set aside here is a route with tls = "verify" and waivable = true; policy that recipients'
domains publish goes the same way through the trust decision."""

import ssl

import case
from case import Zone

SENDER = "a@gw.example"
BODY = b"Date: in the body\r\n\r\nhello\r\n"


def message(subject, *fields, body=BODY):
    """Content with these fields (octets, without their line end) between From and Subject."""
    return b"".join(x + b"\r\n" for x in (b"From: a@gw.example", *fields, b"Subject: " + subject.encode())) + \
        b"\r\n" + body


NO = b"TLS-Required: No"
HEADER = message("no", NO)
PLAIN = message("plain")


def setup(t, target=None, over=None, policy=None, route=None):
    """(gateway, target, inside): "lax.example" and "strict.example" both end at `target`, by routes
    that ask for a verified host; only the first may be waived. Notices go to `inside`."""
    options = {"cert": t.certs.issue("target.example"), "requiretls": True, **(target or {})}
    hop, inside = t.nexthops({"host": "127.0.0.12", **options}, {"host": "127.0.0.1"})
    to = {"via": [f"127.0.0.12:{hop.port}"], "tls": "verify", "names": ["target.example"],
          "assert_secure_lookup": True, **(route or {})}
    over = case.merge({
        "domains": [{"match": ["lax.example"], "kind": "local", "route": "lax"},
                    {"match": ["strict.example"], "kind": "local", "route": "strict"},
                    {"match": ["gw.example"], "kind": "local", "route": "inside"}],
        "routes": {"lax": {**to, "waivable": True}, "strict": to},
        "queue": {"retry": ["1s"]},
    }, over or {})
    return t.gateway(hop_port=hop.port, over=over, policy=policy), hop, inside


def send(gw, content, to="b@lax.example", **options):
    case.send(gw.port("inbound"), SENDER, [to] if isinstance(to, str) else to, content, **options)


def deferred(t, gw, n=1):
    """{subject: last result} of messages that wait after an attempt."""
    def enough():
        rcpts = [r for m in gw.queue() for r in m["recipients"] if r["attempts"] > 0]
        return rcpts if len(rcpts) >= n else None

    return gw.wait_for(enough, 10, f"{n} deferred recipients")


@case.register("no-tls-offered", "R-21", "R-31", "R-61")
def no_tls_offered(t):
    """A host without STARTTLS has the message with the header; the other one waits, with no MAIL."""
    gw, hop, _ = setup(t, {"starttls": False})
    send(gw, PLAIN)
    send(gw, HEADER)
    m = hop.wait_messages(1)[0]
    t.eq((m.header("Subject"), m.tls), ("no", None), "what arrived")
    last = str(deferred(t, gw)[0]["last"])
    t.has(last, "4.7.10", "the message without the header")
    t.eq(len(hop.commands("MAIL")), 1, "MAIL commands")


@case.register("tls-used-where-offered", "R-22", "R-61", "R-67")
def tls_used(t):
    """STARTTLS is used still, whatever the certificate says; the parameter never goes out."""
    for kind in ("good", "self-signed", "expired", "wrong-name", "other-ca"):
        gw, hop, _ = setup(t, {"cert": t.certs.issue("target.example", kind)})
        send(gw, HEADER)
        m = hop.wait_messages(1)[0]
        t.check(m.tls is not None, f"in clear at a host with a certificate {kind}")
        t.lacks(m.mail.upper(), "REQUIRETLS", f"MAIL, {kind}")
        t.eq(len(hop.sessions), 1, f"sessions, {kind}")
        if kind == "self-signed":       # the same without the header
            send(gw, PLAIN)
            t.has(str(deferred(t, gw)[0]["last"]), "4.7.10", "the message without the header")
            t.eq(len(hop.commands("MAIL")), 1, "MAIL commands")
        gw.stop()


@case.register("handshake-breaks", "R-61", "R-65", "R-22")
def handshake_breaks(t):
    """The handshake fails: another connection, in clear, without STARTTLS."""
    for target in ({"handshake": "garbage"}, {"handshake": "close"},
                   {"tls_max": ssl.TLSVersion.TLSv1_1}):
        gw, hop, _ = setup(t, target)
        send(gw, HEADER)
        m = hop.wait_messages(1)[0]
        t.eq(m.tls, None, f"TLS with {target}")
        t.eq(len(hop.sessions), 2, f"sessions with {target}")
        t.eq((hop.sessions[0].commands.count("STARTTLS"), m.session.commands.count("STARTTLS")), (1, 0),
             f"STARTTLS with {target}")
        gw.wait_queue_empty()
        gw.stop()


@case.register("starttls-refused", "R-61", "R-21")
def starttls_refused(t):
    """STARTTLS is listed and then refused, for now or for good: delivered in clear."""
    for reply in ("454 4.7.0 TLS not available", "502 5.5.1 never heard of it"):
        gw, hop, _ = setup(t, {"replies": {"STARTTLS": reply}})
        send(gw, HEADER)
        t.eq(hop.wait_messages(1)[0].tls, None, f"TLS after {reply}")
        gw.wait_queue_empty()
        gw.stop()


# What the header section may look like, and whether it is the header.
SPELLINGS = (
    ("plain", True, NO),
    ("lower-case", True, b"tls-required: no"),
    ("upper-case", True, b"TLS-REQUIRED: NO"),
    ("no-space", True, b"TLS-Required:No"),
    ("tab", True, b"TLS-Required:\tNo"),
    ("folded", True, b"TLS-Required:\r\n No"),
    ("folded-twice", True, b"TLS-Required: \r\n \t No"),
    ("space-behind", True, b"TLS-Required: No "),
    ("tab-behind", True, b"TLS-Required: No \t"),
    ("twice-no", True, b"TLS-Required: No\r\nX: y\r\ntls-required: NO"),
    ("yes", False, b"TLS-Required: Yes"),
    ("empty", False, b"TLS-Required: "),
    ("comment", False, b"TLS-Required: No (x)"),
    ("comment-before", False, b"TLS-Required: (x) No"),
    ("semicolon", False, b"TLS-Required: No;"),
    ("quoted", False, b'TLS-Required: "No"'),
    ("dot", False, b"TLS-Required: No."),
    ("two-words", False, b"TLS-Required: No No"),
    ("longer-word", False, b"TLS-Required: Nope"),
    ("conflict", False, b"TLS-Required: No\r\nTLS-Required: Yes"),
    ("conflict-turned", False, b"TLS-Required: x\r\nTLS-Required: No\r\nTLS-Required: No"),
    ("longer-name", False, b"X-TLS-Required: No"),
    ("shorter-name", False, b"TLS-Require: No"),
    ("run-together", False, b"TLSRequired: No"),
    ("keyword", False, b"REQUIRETLS: No"),
    ("folded-into-another", False, b"X: y\r\n TLS-Required: No"),
)
PLACES = (      # of a perfect header where it does not count
    ("body", b"TLS-Required: No\r\n\r\nx\r\n"),
    ("body-later", b"hello\r\n\r\nTLS-Required: No\r\n\r\nx\r\n"),
    ("attached-message", b"--b\r\nContent-Type: message/rfc822\r\n\r\nTLS-Required: No\r\nSubject: z\r\n\r\nx\r\n--b--\r\n"),
    ("part", b"--b\r\nTLS-Required: No\r\n\r\nx\r\n--b--\r\n"),
)


@case.register("what-counts-as-the-header", "R-24", "R-25", "R-26", "R-27", "R-28", "R-23", "R-72", "R-00a")
def what_counts(t):
    """One message each to a host without TLS: those that are the header arrive, the others wait."""
    gw, hop, _ = setup(t, {"starttls": False}, over={"queue": {"retry": ["1h"]}})
    c = t.client(gw, "relay")
    c.ehlo()
    for name, _, field in SPELLINGS:
        c.send_message(SENDER, "b@lax.example", message(name, field))
    for name, body in PLACES:
        c.send_message(SENDER, "b@lax.example",
                       message(name, b'Content-Type: multipart/mixed; boundary="b"', body=body))
    want = {name for name, good, _ in SPELLINGS if good}
    waiting = len(SPELLINGS) - len(want) + len(PLACES)
    t.check(hop.wait(lambda: len(hop.messages) >= len(want)), "too few messages")
    deferred(t, gw, waiting)
    t.eq({m.header("Subject") for m in hop.messages}, want, "messages that arrived")
    t.eq(len(hop.messages), len(want), "how many")
    t.eq(len(gw.queue()), waiting, "messages that wait")
    t.eq(len(gw.wait_log(r"message accepted.*tls_required_no=\"?honoured")), len(want), "honoured ones in the log")
    malformed = [x for x, good, _ in SPELLINGS if not good][:-5]
    t.eq(len(gw.wait_log(r"message accepted.*tls_required_no=\"?malformed")), len(malformed), "malformed ones")


@case.register("blank-lines-and-their-like", "R-27")
def blank_lines(t):
    """The header section ends at the first empty line, by DATA and by BDAT, in pieces or not; one
    made of bare LF or CR is refused, or ends it too."""
    gw, hop, _ = setup(t, {"starttls": False}, over={"queue": {"retry": ["1h"]}})
    c = t.client(gw)
    c.ehlo()
    behind = b"Subject: behind\r\n\r\nTLS-Required: No\r\n\r\nx\r\n"
    first = b"\r\nTLS-Required: No\r\nSubject: first\r\n\r\nx\r\n"
    good = b"TLS-Required: No\r\nSubject: good\r\n\r\nx\r\n"
    for content in (behind, first, good):
        c.send_message(SENDER, "b@lax.example", content)
        c.mail(SENDER, "", 250)
        c.rcpt("b@lax.example", code=250)
        for at in range(len(content)):          # an octet a chunk
            c.cmd(b"BDAT 1\r\n" + content[at:at + 1], 250)
        c.cmd(b"BDAT 0 LAST\r\n", 250)
    refused = 0
    for end in (b"\n\n", b"\r\r", b"\r\n\n", b"\n\r\n", b"\r\n\r"):
        content = b"Subject: bare" + end + b"TLS-Required: No\r\n\r\nx\r\n"
        c.mail(SENDER, "", 250)
        c.rcpt("b@lax.example", code=250)
        refused += c.cmd(b"BDAT %d LAST\r\n" % len(content) + content).code != 250
    hop.wait_messages(2)
    deferred(t, gw, 4 + 5 - refused)
    t.eq([m.header("Subject") for m in hop.messages], ["good", "good"], "messages that arrived")


@case.register("other-names-by-configuration", "R-00b", "D5")
def other_names(t):
    """Names of drafts count where tls.tls_required_names has them, and nowhere else."""
    for names, arrives in ((["TLS-Required"], False), (["TLS-Required", "Require-TLS"], True)):
        gw, hop, _ = setup(t, {"starttls": False}, over={"tls": {"tls_required_names": names}})
        send(gw, message("draft", b"Require-TLS: No"))
        if arrives:
            t.check(hop.wait_messages(1)[0].data.endswith(message("draft", b"Require-TLS: No")), "content")
        else:
            deferred(t, gw)
            t.eq(hop.commands("MAIL"), [], "MAIL")
        gw.stop()


@case.register("same-hosts-in-the-same-order", "R-60", "R-41", "R-56")
def same_hosts(t):
    """MX by preference: the best host in clear, not the second with TLS; implicit MX; an alias."""
    bad, good, single = ({"starttls": False}, {"cert": t.certs.issue("mx2.good.example")}, {"starttls": False})
    hops = t.nexthops({"host": "127.0.0.11", **bad}, {"host": "127.0.0.12", **good}, {"host": "127.0.0.13", **single})
    t.lab({"good.example": Zone("@ MX 10 mx1\n@ MX 20 mx2\nmx1 A 127.0.0.11\nmx2 A 127.0.0.12\n"
                                "single A 127.0.0.13\nalias CNAME single")})
    gw = t.gateway(hop_port=hops[0].port, over={"routes": {"internet": {"tls": "verify", "waivable": True}}})
    c = t.client(gw, "relay")
    c.ehlo()
    for content in (HEADER, PLAIN):
        c.send_message(SENDER, "b@good.example", content)
    c.send_message(SENDER, "b@single.good.example", HEADER)
    c.send_message(SENDER, "b@alias.good.example", HEADER)
    t.eq([m.header("Subject") for m in hops[0].wait_messages(1)], ["no"], "at the best host")
    t.eq([m.header("Subject") for m in hops[1].wait_messages(1)], ["plain"], "at the second host")
    t.eq(len(hops[2].wait_messages(2)), 2, "at the domains without MX")
    gw.wait_queue_empty()


@case.register("the-host-itself-insists", "R-62", "R-20", "R-93", "R-51")
def host_insists(t):
    """MAIL in clear is refused with 530 and STARTTLS is broken: a notice at once, with the host's words
    and with one header of its own."""
    for target in ({"handshake": "garbage"}, {"replies": {"STARTTLS": "502 5.5.1 broken"}},
                   {"starttls": False}):
        target = {**target, "replies": {"MAIL": "530 5.7.0 Must issue STARTTLS", **target.get("replies", {})}}
        gw, hop, inside = setup(t, target)
        send(gw, HEADER)
        notice = inside.wait_messages(1, 5)[0]
        text = notice.data.decode()
        t.has(notice.mail, "MAIL FROM:<>", "MAIL of the notice")
        t.has(text, "Status: 5.7.0", "the notice")
        t.has(text, "Must issue STARTTLS", "the notice")
        head = text.partition("\r\n\r\n")[0].lower().split("\r\n")
        t.eq([x for x in head if x.startswith("tls-required:")], ["tls-required: no"], "header of the notice")
        gw.wait_queue_empty()
        t.eq(hop.messages, [], "messages at the host")
        gw.stop()


@case.register("failed-lookups-still-defer", "R-64")
def failed_lookups(t):
    """The header does not make up for a look-up that failed: MX SERVFAIL and bogus answers wait."""
    t.lab({"fail.example": Zone(kind="servfail"), "bogus.example": Zone("@ MX 10 mx\nmx A 127.0.0.11", kind="bogus")})
    hop = t.nexthop(host="127.0.0.11", starttls=False)
    gw = t.gateway(hop_port=hop.port, over={"routes": {"internet": {"tls": "verify", "waivable": True}}})
    c = t.client(gw, "relay")
    c.ehlo()
    c.send_message(SENDER, "b@fail.example", HEADER)
    c.send_message(SENDER, "b@bogus.example", HEADER)
    for r in deferred(t, gw, 2):
        t.has(str(r["last"]), "4.4.3", r["address"])
    t.eq(hop.sessions, [], "sessions")


@case.register("our-own-rule-stays", "R-66", "D11", "N-23")
def own_rule(t):
    """A route that is not waivable asks on, message by message and recipient by recipient."""
    gw, hop, _ = setup(t, {"starttls": False})
    send(gw, HEADER, "b@strict.example")
    t.has(str(deferred(t, gw)[0]["last"]), "4.7.10", "outcome")
    t.eq(hop.commands("MAIL"), [], "MAIL")
    send(gw, message("both", NO), ["b@strict.example", "b@lax.example"])
    m = hop.wait_messages(1)[0]
    t.check(len(m.rcpts) == 1 and "b@lax.example" in m.rcpts[0], f"recipients: {m.rcpts}")
    deferred(t, gw, 2)
    t.eq(len(hop.commands("MAIL")), 1, "MAIL commands")


@case.register("never-with-the-parameter", "R-67", "R-32")
def never_with_parameter(t):
    """A capable host: no REQUIRETLS for mail with the header, even by a route that asks for the keyword
    and puts the parameter on other mail."""
    for level in ("verify", "requiretls"):
        gw, hop, _ = setup(t, route={"tls": level})
        for to in ("b@lax.example", "b@strict.example"):
            send(gw, HEADER, to)
        for m in hop.wait_messages(2):
            t.check(m.tls is not None and not m.has_requiretls, f"{level}: {m.mail}")
        send(gw, PLAIN)
        t.eq(hop.wait_messages(3)[2].has_requiretls, level == "requiretls", f"mail without it, {level}")
        t.eq(len(hop.commands("MAIL")), 3, "MAIL commands")
        gw.stop()


@case.register("survives-a-kill", "R-31", "R-36", "I1")
def survives_kill(t):
    """Deferred once, SIGKILL, start: what the header said is known still."""
    gw, hop, _ = setup(t, {"starttls": False, "replies": {"MAIL": ["451 4.3.0 later"]}})
    send(gw, HEADER)
    t.check(hop.wait(lambda: hop.commands("MAIL")), "no first attempt")
    gw.kill()
    gw.start()
    t.eq(hop.wait_messages(1)[0].tls, None, "TLS")


@case.register("ignored-by-configuration-or-policy", "R-113", "R-31", "R-126")
def ignored(t):
    """tls_required_no = "ignore", or a policy's word: normal handling, and the log says so."""
    policy = """
gw.on("message", function(session, message)
  if message.tls_required_no == "honoured" then message:ignore_tls_required_no { reason = "not here" } end
end, { name = "tlsno.never" })
"""
    for options in ({"over": {"tls": {"tls_required_no": "ignore"}}}, {"policy": policy}):
        gw, hop, _ = setup(t, {"starttls": False}, **options)
        send(gw, HEADER)
        t.has(str(deferred(t, gw)[0]["last"]), "4.7.10", "outcome")
        t.eq(hop.commands("MAIL"), [], "MAIL")
        gw.wait_log(r"message accepted.*tls_required_no=\"?ignored")
        gw.stop()


case.main()
