"""The lab's own parts against each other, without a gateway: when these fail, look here first."""

import ssl

import case
from case import Unexpected, Zone, send
from lab.client import tls_context

MESSAGE = b"Subject: x\r\n\r\n.dot\r\n..two\r\nend\r\n"


@case.register("nexthop-takes-data-and-bdat")
def takes_data_and_bdat(t):
    """Content arrives octet for octet, however it is cut."""
    hop = t.nexthop(cert=t.certs.issue("mx.lab.example"), requiretls=True)
    with case.Client(hop.port) as c:
        t.lacks(c.ehlo(), "REQUIRETLS", "capabilities in clear")
        c.starttls(ctx=tls_context(ca=t.certs.ca), sni="mx.lab.example")
        t.has(c.ehlo(), "REQUIRETLS", "capabilities in TLS")
        c.send_message("a@x.example", ["b@y.example"], MESSAGE, params="REQUIRETLS")
        c.mail("a@x.example")
        c.rcpt("b@y.example")
        c.data(MESSAGE, 250, chunk=1)
        c.mail("a@x.example")
        c.rcpt("b@y.example")
        c.raw(b"BDAT 3\r\nabcBDAT 2 LAST\r\nde", chunk=4)
        c.expect(250)
        c.expect(250)
        c.quit()
    t.eq([m.data for m in hop.wait_messages(3)], [MESSAGE, MESSAGE, b"abcde"], "data")
    t.check(hop.messages[0].has_requiretls and not hop.messages[1].has_requiretls, "REQUIRETLS on MAIL")
    t.eq(hop.messages[0].tls["sni"], "mx.lab.example", "SNI")


@case.register("nexthop-follows-its-script")
def follows_its_script(t):
    """Replies by place and text, lists, cuts, a close after n messages."""
    hop = t.nexthop(replies={"RCPT:user2@": "550 5.1.1 no", "MAIL": ["451 4.3.0 later"], ".": [None, "452 full"]},
                    cut={"RCPT:cut@": b"421"}, close_after=2)
    with case.Client(hop.port) as c:
        c.ehlo()
        c.mail("a@x.example", code="4.3.0")
        c.mail("a@x.example", code=250)
        c.rcpt("user2@y.example", code="5.1.1")
        c.rcpt("user3@y.example", code=250)
        c.data("x\n", 250)
        c.send_message("a@x.example", "b@y.example", b"x", code=452)
        t.check(c.is_closed(), "closed after two")
    with case.Client(hop.port) as c:
        c.ehlo()
        c.mail("a@x.example", code=250)
        try:
            c.rcpt("cut@y.example")
            t.check(False, "not cut")
        except EOFError:
            pass
    t.eq(len(hop.wait_messages(1)), 1, "accepted messages")
    t.eq([s.ended for s in hop.wait_sessions(2)], ["close_after", "cut at RCPT"], "ends")


@case.register("nexthop-breaks-tls")
def breaks_tls(t):
    """454, injected octets, garbage for a handshake, an old version only."""
    cert = t.certs.issue("mx.lab.example")
    hop = t.nexthop(cert=cert, replies={"STARTTLS": "454 4.7.0 not now"})
    with case.Client(hop.port) as c:
        c.ehlo()
        c.cmd("STARTTLS", 454)
    hop = t.nexthop(cert=cert, inject=b"250 evil\r\n")
    with case.Client(hop.port) as c:
        c.ehlo()
        c.cmd("STARTTLS", 220)
        t.eq(c.read_line(), "250 evil", "injected line")
    for options in ({"handshake": "garbage"}, {"handshake": "close"}):
        hop = t.nexthop(cert=cert, **options)
        with case.Client(hop.port) as c:
            c.ehlo()
            try:
                c.starttls()
                t.check(False, f"handshake with {options}")
            except (ssl.SSLError, OSError):
                pass
    hop = t.nexthop(cert=cert, tls_min=ssl.TLSVersion.TLSv1_1, tls_max=ssl.TLSVersion.TLSv1_1)
    ctx = tls_context(minimum=ssl.TLSVersion.TLSv1)
    ctx.set_ciphers("DEFAULT:@SECLEVEL=0")
    with case.Client(hop.port) as c:
        c.ehlo()
        c.starttls(ctx=ctx)
        t.eq(c.tls["version"], "TLSv1.1", "version")


@case.register("certificates-are-what-they-say")
def certificates(t):
    """A checking client takes the good ones and names what is wrong with the others."""
    wanted = {"good": None, "wrong-name": "mismatch", "expired": "expired", "future": "not yet valid",
              "self-signed": "self-signed", "other-ca": "certificate", "cn-only": "mismatch"}
    for kind, error in wanted.items():
        hop = t.nexthop(cert=t.certs.issue("mx.lab.example", kind=kind), implicit_tls=True)
        try:
            send(hop.port, "a@x.example", "b@y.example", b"x", implicit_tls=True,
                 ctx=tls_context(ca=t.certs.ca), sni="mx.lab.example")
            t.eq(None, error, kind)
        except ssl.SSLError as e:
            t.check(error is not None and error in str(e).lower().replace("self signed", "self-signed"),
                    f"{kind}: {e}")
    wild = t.certs.issue("wild", names=["*.lab.example"])
    hop = t.nexthop(cert=wild, implicit_tls=True)
    send(hop.port, "a@x.example", "b@y.example", b"x", implicit_tls=True,
         ctx=tls_context(ca=t.certs.ca), sni="mx.lab.example")
    t.eq(len(wild.tlsa("3 1 1").split()[3]), 64, "digits of a SHA-256")
    t.check(t.certs.issue("wild", names=["*.lab.example"]).pin == wild.pin, "cached")


@case.register("client-says-what-was-wrong")
def client_reports(t):
    """An unexpected reply comes with the transcript."""
    hop = t.nexthop()
    with case.Client(hop.port) as c:
        try:
            c.cmd("BOGUS", 250)
            t.check(False, "not noticed")
        except Unexpected as e:
            t.has(str(e), "C: BOGUS", "message")


@case.register("zones-can-change")
def zones_can_change(t):
    """An update is served when update() returns."""
    lab = t.lab({"good.example": Zone("@ MX 10 mx1"), "plain.example": Zone("a A 127.0.0.1", kind="unsigned")})
    before = lab.ask_serial("good.example")
    lab.update("good.example", "@ MX 10 mx2")
    lab.update("plain.example", "a A 127.0.0.2")
    t.check(lab.ask_serial("good.example") > before, "serial")


case.main()
