"""gw.dkim.verify and message:body_chunks: messages that dkimpy signs, small and beyond what is kept in memory; keys that
are there, are not, or cannot be asked for; and gw.tlsrpt."""

import sys

import case
from case import Zone
from dkim_sign_keys import key

sys.path.append("/usr/lib/python3/dist-packages")       # Debian's, whichever Python this is
try:
    import dkim
except ImportError:
    dkim = None

POLICY = """
gw.on("message", function(session, message)
  local out, err = gw.dkim.verify(message)
  if not out then return gw.defer { text = tostring(err) } end
  local words = {}
  for _, one in ipairs(out) do
    words[#words + 1] = ("%s/%s/%s/%s%s"):format(one.result, one.domain or "", one.selector or "", one.bits, one.partial and "/partial" or "")
    message:note(tostring(one.reason))
  end
  local n, last = 0, ""
  for piece in message:body_chunks() do n = n + #piece last = (last .. piece):sub(-8) end
  return gw.reject { text = ("[%s] %d %q"):format(table.concat(words, " "), n, last:gsub("%W", ".")) }
end, { name = "verify" })
"""
HEADER = b"From: Ann <ann@acme.t.example>\r\nTo: b@gw.example\r\nSubject: x\r\n"


def txt(record):
    text = record.decode()
    return "TXT " + " ".join('"' + text[i:i + 200] + '"' for i in range(0, len(text), 200))


def sign(body, domain=b"acme.t.example", selector=b"s1", **options):
    message = HEADER + b"\r\n" + body
    return dkim.sign(message, selector, domain, key("acme")[0], include_headers=[b"from", b"to", b"subject"], **options) + message


def says(t, gw, content):
    c = t.client(gw)
    c.ehlo()
    c.mail("ann@acme.t.example", "BODY=8BITMIME")
    c.rcpt("b@gw.example", "", 250)
    reply = c.data(content, 550)
    c.quit()
    return reply.text.split(" ", 1)[1]


@case.register("dkim-as-it-came", "X-38", "I5", "I6")
def as_it_came(t):
    """pass, fail, permerror, temperror, neutral and l=; the body of a large message from its file."""
    if dkim is None:
        t.skip("python3-dkim is missing")
    record = key("acme")[1]
    t.lab({"t.example": Zone(f"s1._domainkey.acme {txt(record)}\nnone A 127.0.0.9\nbad._domainkey.acme TXT \"v=DKIM1; p=AAAA\"\n"
                                   f"two._domainkey.acme TXT \"other\"\ntwo._domainkey.acme {txt(record)}\n"),
                 "fail.example": Zone(kind="servfail")})
    gw = t.gateway(policy=POLICY, over={"policy": {"network": {"dns": True}}})
    small = b"body  of it\r\n.\r\n\r\n"
    end = b"the end\r\n"
    large = b"".join(b"%d line \xc3\xa4 . \r\n.\r\n\r\n" % i for i in range(60000)) + end
    good = "pass/acme.t.example/s1/2048"
    for body in (small, large):
        tail = "".join(chr(c) if chr(c).isalnum() and c < 128 else "." for c in body[-8:])
        t.eq(says(t, gw, sign(body)), f'[{good}] {len(body)} "{tail}"', f"{len(body)} octets")
    for content, want in (
            (HEADER + b"\r\nx\r\n", "[]"),
            (sign(small).replace(b"body  of", b"body 0f"), "[fail/acme.t.example/s1/2048]"),
            (sign(large).replace(end, b"another\r\n"), "[fail/acme.t.example/s1/2048]"),
            (sign(small).replace(b"Subject: x", b"Subject: y"), "[fail/acme.t.example/s1/2048]"),
            (sign(small, selector=b"gone"), "[permerror/acme.t.example/gone/0]"),
            (sign(small, selector=b"bad"), "[permerror/acme.t.example/bad/0]"),
            (sign(small, selector=b"two"), "[pass/acme.t.example/two/2048]"),
            (sign(small, domain=b"fail.example"), "[temperror/fail.example/s1/0]"),
            (sign(small, length=True) + b"added\r\n", "[pass/acme.t.example/s1/2048/partial]"),
            (sign(small).replace(b"a=rsa-sha256", b"a=ed25519-sha256"), "[neutral/acme.t.example/s1/0]"),
            (b"DKIM-Signature: v=1; a=rsa-sha256; nonsense\r\n" + sign(small), "[pass/acme.t.example/s1/2048]"),
            (b"DKIM-Signature: v=1; d=..; s=\x01; b=; bh=; h=from; a=rsa-sha256\r\n" * 20 + HEADER + b"\r\nx\r\n", None)):
        got = says(t, gw, content)
        if want is None:
            t.check(got.startswith("["), got)
        else:
            t.eq(got.split("]")[0] + "]", want, content[:200].decode("latin-1"))
    t.eq(gw.log_lines("policy failed"), [], "failures")


@case.register("gw-tlsrpt-counts", "I5")
def counts(t):
    """gw.tlsrpt is empty for a domain that nothing was counted about, and an error for what is no domain."""
    gw = t.gateway(policy='''
gw.on("mail", function(session, message)
  local days, err = gw.tlsrpt("d.example", { days = 3 })
  local none, why = gw.tlsrpt("a..b")
  return gw.reject { text = ("%s %s %s"):format(days and #days or tostring(err), tostring(none), why.kind) }
end, { name = "tlsrpt" })''')
    c = t.client(gw)
    c.ehlo()
    t.has(c.mail("a@b.example", "", 550).text, "0 nil bad_name")
    c.quit()


case.main()
