"""gw.match.attachment and messages of any size: what lies behind the part that is kept in memory is seen, too, and
what could not be looked at is not taken for good."""

import case

POLICY = """
gw.rule { name = "no.exe", at = "message", when = gw.match.attachment("*.exe"),
  act = gw.action.reject { text = "No programs, please" } }
"""
BIG = b"x" * 76 + b"\r\n"


def part(name, size, boundary=b"b"):
    return (b"--" + boundary + b"\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment;\r\n filename=\""
            + name + b"\"\r\n\r\n" + BIG * (size // len(BIG)))


def message(*parts, end=b"--b--\r\n"):
    return (b"From: a@client.example\r\nTo: b@gw.example\r\nMIME-Version: 1.0\r\n"
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
            + b"".join(parts) + end)


KB = 1024
CASES = [
    (message(part(b"a.pdf", 1000)), 250, "small"),
    (message(part(b"a.pdf", 1000), part(b"Tool.EXE", 100)), 550, "small, with a program"),
    (message(part(b"a.pdf", 600 * KB), part(b"b.pdf", 400 * KB)), 250, "large"),
    (message(part(b"a.pdf", 600 * KB), part(b"tool.exe", 100)), 550, "a program behind much else"),
    (message(part(b"a.pdf", 300 * KB), b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" +
             part(b"tool.exe", 300 * KB, b"c") + b"--c--\r\n"), 550, "a program in a part of parts"),
    (message(part(b"a.pdf", 600 * KB), b"--b\r\nContent-Type: message/rfc822\r\n\r\n" +
             b"Content-Type: application/x; name=tool.exe\r\n\r\nx\r\n"), 550, "a program in a message"),
    (message(part(b"a.pdf", 600 * KB), part(b"b.pdf", 100), end=b""), 250, "large, without an end"),
    (message(*[part(b"a.pdf", 10)] * 120, part(b"tool.exe", 100)), 451, "more parts than are looked at"),
    (message(part(b"a.pdf", 600 * KB), *[part(b"a.pdf", 10)] * 120, part(b"tool.exe", 100)), 451, "and large"),
]


@case.register("attachments-of-large-messages", "I5", "I6")
def large(t):
    hop = t.nexthop(cert=t.certs.issue("inside.example"))
    gw = t.gateway(hop_port=hop.port, policy=POLICY)
    c = t.client(gw)
    c.ehlo()
    for content, code, what in CASES:
        c.mail("a@client.example", code=250)
        c.rcpt("b@gw.example", code=250)
        t.eq(c.data(content).code, code, what)
    # The same in chunks, cut within the delimiter.
    content = CASES[3][0]
    at = content.rindex(b"--b\r\nContent-Type: application") + 2
    c.mail("a@client.example", code=250)
    c.rcpt("b@gw.example", code=250)
    for chunk, last in ((content[:at], ""), (content[at:], " LAST")):
        c.raw(f"BDAT {len(chunk)}{last}\r\n".encode() + chunk)
        reply = c.expect(None)
    t.eq(reply.code, 550, "in chunks")
    c.quit()
    good = [m for m, code, _ in CASES if code == 250]
    t.eq([len(m.body) for m in sorted(hop.wait_messages(len(good), 30), key=lambda m: len(m.body))],
         sorted(len(m) - m.index(b"\r\n\r\n") - 4 for m in good), "what arrived")


case.main()
