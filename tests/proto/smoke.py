"""The shortest way through: client, gateway, next hop."""

import case
from case import Zone

MESSAGE = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: smoke\r\n\r\nhello\r\n.a dot\r\n"


@case.register("inbound-to-inside", "I1", "I8", "N-18")
def inbound_to_inside(t):
    """Mail for our domain in clear: same body at the next hop, then an empty queue."""
    hop = t.nexthop(cert=t.certs.issue("inside.example"))
    gw = t.gateway(hop_port=hop.port)
    c = t.client(gw)
    t.lacks(c.ehlo(), "REQUIRETLS", "capabilities in clear (R-14)")
    t.has(c.caps, "STARTTLS", "capabilities")
    c.send_message("a@client.example", ["b@gw.example"], MESSAGE)
    c.quit()
    m = hop.wait_messages(1)[0]
    t.eq(m.body, b"hello\r\n.a dot\r\n", "body")
    t.has(m.header("Received"), "gw.example", "trace field")
    t.has(m.mail, "MAIL FROM:<a@client.example>", "MAIL")
    gw.wait_queue_empty()
    t.eq(len(hop.messages), 1, "messages at the next hop")


@case.register("no-open-relay")
def no_open_relay(t):
    """The mx listener takes nothing for strangers' domains."""
    gw = t.gateway()
    c = t.client(gw)
    c.ehlo()
    c.mail("a@client.example", code=250)
    t.eq(c.rcpt("b@elsewhere.example").code // 100, 5, "reply to RCPT")


@case.register("requiretls-over-signed-mx", "R-09", "R-42", "D10")
def requiretls_over_signed_mx(t):
    """REQUIRETLS in; signed MX, valid certificate and the keyword listed: REQUIRETLS out."""
    hop, = t.nexthops({"host": "127.0.0.11", "cert": t.certs.issue("mx1.good.example"), "requiretls": True})
    t.lab({"good.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.11")})
    gw = t.gateway(hop_port=hop.port)
    c = t.secure_client(gw, "relay")
    t.has(c.caps, "REQUIRETLS", "capabilities inside TLS (R-14)")
    c.send_message("a@gw.example", ["b@good.example"], MESSAGE, params="REQUIRETLS")
    c.quit()
    m = hop.wait_messages(1)[0]
    t.check(m.has_requiretls, f"no REQUIRETLS: {m.mail}")
    t.check(m.tls["version"] in ("TLSv1.2", "TLSv1.3"), f"TLS: {m.tls}")
    gw.wait_queue_empty()


@case.register("requiretls-not-without-keyword", "R-43", "I2")
def requiretls_not_without_keyword(t):
    """The next hop does not list REQUIRETLS: no MAIL for that message, and a notice to the sender."""
    good = t.certs.issue("mx1.good.example")
    hop, inside = t.nexthops({"host": "127.0.0.11", "cert": good},
                             {"host": "127.0.0.1", "cert": t.certs.issue("127.0.0.1"), "requiretls": True})
    t.lab({"good.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.11")})
    gw = t.gateway(hop_port=hop.port)
    c = t.secure_client(gw, "relay")
    c.send_message("a@gw.example", ["b@good.example"], MESSAGE, params="REQUIRETLS")
    c.quit()
    notice = inside.wait_messages(1)[0]
    t.has(notice.mail, "MAIL FROM:<>", "MAIL of the notice")
    t.has(notice.data.decode(), "5.7.30", "the notice (D14)")
    t.lacks(notice.data.decode(), "a dot", "the notice holds no body")
    t.eq(hop.commands("MAIL"), [], "MAIL at the host without REQUIRETLS")


@case.register("mail-survives-kill", "I1")
def mail_survives_kill(t):
    """250, then a crash before delivery: it is delivered after the restart."""
    hop = t.nexthop(replies={"MAIL": ["451 4.3.0 later"] * 1})
    gw = t.gateway(hop_port=hop.port)
    c = t.client(gw)
    c.ehlo()
    c.send_message("a@client.example", ["b@gw.example"], MESSAGE)
    gw.kill()
    gw.start()
    t.eq(hop.wait_messages(1, 30)[0].body, b"hello\r\n.a dot\r\n", "body")


case.main()
