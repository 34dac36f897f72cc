"""message:dkim_sign: what arrives is signed, over the edits of all handlers and the whole body, with keys of the
configuration; what cannot be signed waits. dkimpy verifies."""

import os
import sys

import case
from dkim_sign_keys import key
from lab.gateway import Lua

sys.path.append("/usr/lib/python3/dist-packages")       # Debian's, whichever Python this is
try:
    import dkim
except ImportError:
    dkim = None

POLICY = """
gw.on("message", function(session, message)
  message:dkim_sign { key = "acme" }
  if message:has_header("X-Two") then message:dkim_sign { key = "second" } message:dkim_sign { key = "acme" } end
  message:set_header("Subject", "Größe [ok]")
end, { name = "sign" })
gw.on("message", function(session, message)
  message:add_header("X-Late", "after the signature was asked for")
  message:add_header("Reply-To", "<late@gw.example>", "end")
end, { name = "late", priority = -10 })
"""
HEADER = b"From: Ann <ann@gw.example>\r\nTo: b@gw.example\r\nSubject: plain\r\nMIME-Version: 1.0\r\n%s\r\n"


def txt(name, timeout=5):
    return {b"s1._domainkey.acme.example.": key("acme")[1], b"s2._domainkey.second.example.": key("second")[1]}.get(name)


def scene(t, **options):
    if dkim is None:
        t.skip("python3-dkim is missing")
    hop = t.nexthop(cert=t.certs.issue("inside.example"), **options)
    keys = {n: {"domain": f"{n}.example", "selector": s, "key": Lua(f'gw.secret "file:{n}.pem"')}
            for n, s in (("acme", "s1"), ("second", "s2"))}
    gw = t.gateway(hop_port=hop.port, policy=POLICY, over={"dkim": keys, "queue": {"retry": ["1s"]}},
                   files={f"{n}.pem": key(n)[0].decode() for n in keys})
    return gw, hop


def send(t, gw, body, extra=b"", params=""):
    c = t.client(gw)
    c.ehlo()
    c.mail("ann@gw.example", params)
    c.rcpt("b@gw.example", "", 250)
    c.data(HEADER % extra + body, 250)
    c.quit()


def signatures(m):
    return [part.split(b";")[0] for part in m.data.replace(b" ", b"").split(b"DKIM-Signature:")[1:]]


def verifies(m, n=0):
    return dkim.DKIM(m.data).verify(idx=n, dnsfunc=txt)


@case.register("signed-as-it-arrives", "I8")
def as_it_arrives(t):
    """One and two signatures, over the edits of a later handler; small content, and content beyond what is kept in
    memory, with dots, blank lines and 8-bit octets; a change of either is noticed."""
    gw, hop = scene(t)
    long = b"".join(b"%d line \xc3\xa4 . \r\n.\r\n..dots\r\n" % i + b"\r\n" * (i % 3) for i in range(40000)) + b"end\r\n\r\n\r\n"
    for number, (body, extra) in enumerate(((b"body  of it\r\n.\r\n\r\n", b""), (b"", b"X-Two: 1\r\n"), (long, b"X-Two: 1\r\n")), 1):
        send(t, gw, body, extra, "BODY=8BITMIME")
        m = hop.wait_messages(number)[-1]
        count = 2 if extra else 1
        t.eq(m.data.lower().count(b"dkim-signature:"), count, f"signatures of message {number}")
        for n in range(count):
            t.check(verifies(m, n), f"signature {n} of message {number}")
        t.check(m.data.endswith(body), "the body as it came")
        for a, b in ((b"Reply-To: <late@", b"Reply-To: <1ate@"), (b"Subject: ", b"Subject: no "), (body[:30] or b"\r\n\r\n", b"\r\n\r\nother")):
            changed = m.data.replace(a, b, 1)
            t.check(changed != m.data and not dkim.verify(changed, dnsfunc=txt), f"a change of {a!r} in message {number}")
        t.check(dkim.verify(m.data.replace(b"X-Late: a", b"X-Late: b"), dnsfunc=txt), "fields that are not signed")
    t.eq(len(long) > 1 << 20, True, "so large that it is read by chunks")


@case.register("signed-after-a-restart-or-not-sent", "F-6", "I5")
def later(t):
    """What is to be signed is remembered in the queue. Without the key the message waits, and goes when it is back."""
    gw, hop = scene(t, replies={"MAIL": "451 4.3.0 later"})
    send(t, gw, b"body\r\n", b"X-Two: 1\r\n")
    hop.wait(lambda: hop.commands("MAIL"))
    gw.stop()
    keys = gw.config["dkim"]
    gw.config["dkim"] = {"acme": keys["acme"]}
    gw.policy = ""
    gw.write()
    hop.replies.clear()
    gw.start()
    gw.wait_log('message not signed .*key="?second"?.*no dkim.second')
    gw.wait_log("not-signed|could not be signed")
    t.eq(hop.messages, [], "messages before the key was back")
    gw.config["dkim"] = keys
    gw.write()
    t.eq(gw.run("reload").returncode, 0, "reload")
    m = hop.wait_messages(1)[0]
    t.check(verifies(m, 0) and verifies(m, 1), "both signatures")
    gw.wait_queue_empty()
    # A key that is none, and a name that is none.
    with open(os.path.join(gw.dir, "acme.pem"), "w", encoding="ascii") as f:
        f.write("nothing\n")
    r = gw.run("reload")
    t.check(r.returncode != 0, "a key that is none")
    t.has(r.stdout + r.stderr, "dkim.acme.key", "reload")


case.main()
