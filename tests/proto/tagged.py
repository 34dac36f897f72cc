"""What the cases of RFC 8689 share: one DNS for all cases of a file, next hops by the names that
this DNS has, and notices taken apart.

    s = tagged.scene(t, {"mx1.good.example": tagged.H5})
    tagged.submit(t, s.gw, "b@good.example", params="REQUIRETLS")
    s.hop["mx1.good.example"].wait_messages(1)
    tagged.notice(t, s.back).status         # what came back to a@back.example

H1 to H5 are the states of a host in the decision table (section 11 of the requirements)."""

import atexit
import base64
import copy
import email
import quopri
import re
import shutil
import tempfile

import case
from case import Lab, Zone, free_port

# Host name to its address; the zones below say the same.
ADDRESSES = {
    "mx1.good.example": "127.0.0.11",
    "mx1.two.example": "127.0.0.12",
    "mx2.two.example": "127.0.0.13",
    "mx.back.example": "127.0.0.21",
    "mx1.plain.example": "127.0.0.22",
    "solo.example": "127.0.0.23",
    "bare.example": "127.0.0.24",
    "127.0.0.25": "127.0.0.25",
    "inside.example": "127.0.0.1",
}

ZONES = {
    "example": Zone(),
    "good.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.11"),
    "two.example": Zone("@ MX 20 mx2\n@ MX 10 mx1\nmx1 A 127.0.0.12\nmx2 A 127.0.0.13"),
    "back.example": Zone("@ MX 10 mx\nmx A 127.0.0.21"),
    "plain.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.22", kind="unsigned"),
    "solo.example": Zone("@ A 127.0.0.23"),
    "bare.example": Zone("@ A 127.0.0.24", kind="unsigned"),
    "ip.example": Zone("@ MX 10 127.0.0.25."),
    "null.example": Zone("@ MX 0 ."),
    "bogus.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.22", kind="bogus"),
    "broken.example": Zone(kind="servfail"),
}

H1 = {"starttls": False}
H2 = {"handshake": "garbage"}
H2_454 = {"replies": {"STARTTLS": "454 4.7.0 not now"}}
H3 = {"kind": "self-signed", "requiretls": True}
H4 = {}
H5 = {"requiretls": True}

SENDER = "a@back.example"
TOKEN = "walrus-4711"       # in every body, and nowhere else

lab = None


def stop_lab():
    lab.stop()
    shutil.rmtree(lab.dir, ignore_errors=True)


def use_lab(t):
    """The DNS above for this case; started with the first one that asks, stopped at the end."""
    global lab
    if lab is None:
        lab = Lab(tempfile.mkdtemp(prefix="sp-dns-"), ZONES).start()
        atexit.register(stop_lab)
    t.zones_lab = lab
    return lab


class Scene:
    def __init__(self, gw, hop):
        self.gw, self.hop = gw, hop
        self.back = hop["mx.back.example"]


def hop_options(t, name, options):
    options = copy.deepcopy(options)
    kind = options.pop("kind", "good")
    options.setdefault("cert", t.certs.issue(name, kind=kind))
    return dict(options, host=ADDRESSES[name], name=name)


def scene(t, hosts, over=None, policy=None, back=None, **options):
    """A gateway and these hosts, all on one port. `back` is the host of the sender's domain, H5
    unless it is said otherwise. `over` may be a function of the port."""
    use_lab(t)
    hosts = dict({"mx.back.example": H5 if back is None else back}, **hosts)
    port = free_port(sorted(set(ADDRESSES.values())))
    hop = {name: t.nexthop(port=port, **hop_options(t, name, o)) for name, o in hosts.items()}
    if callable(over):
        over = over(port)
    return Scene(t.gateway(hop_port=port, over=over, policy=policy, **options), hop)


# ---- Mail ----

def message(headers="", body=None):
    """CRLF after each line; `headers` are lines with LF or CRLF."""
    text = (f"From: {SENDER}\nTo: b@good.example\nSubject: red herring\nMessage-ID: <1@back.example>\n"
            f"{headers}\n{body or 'first line' + chr(10) + TOKEN + chr(10)}")
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode()


def submit(t, gw, to, params="", sender=SENDER, rcpt_params="", headers="", content=None,
           listener="relay", code=250):
    """One message over TLS; the final reply."""
    c = t.secure_client(gw, listener)
    reply = c.send_message(sender, to, content or message(headers), params=params,
                           rcpt_params=rcpt_params, code=code)
    c.quit()
    return reply


def recipient(gw, address):
    """The queue's view of a recipient, None when it is gone."""
    for m in gw.queue():
        for r in m["recipients"]:
            if r["address"] == address:
                return r
    return None


def last_of(gw, address):
    r = recipient(gw, address)
    return r["last"] if r is not None else None


def deferred(t, gw, address, status=None):
    """Waits until an attempt for this recipient was put off; what the queue says of it."""
    last = gw.wait_for(lambda: last_of(gw, address), what=f"a first attempt for {address}")
    t.eq(last["kind"], "deferred", "outcome")
    if status is not None:
        t.eq(last["status"], status, f"status of {last}")
    return last


def no_mail(t, *hops):
    """Not one octet of a message came here, nor that there is one."""
    for hop in hops:
        for verb in ("MAIL", "RCPT", "DATA", "BDAT"):
            t.eq(hop.commands(verb), [], f"{verb} at {hop.name}")


def evidence(gw, address):
    """Records about this recipient, oldest first."""
    rows = gw.json("evidence", "list")["evidence"]
    return [r["record"] for r in rows if r["record"].get("rcpt") == address]


# ---- What became of a message: the decision table's words ----

# A message's column in the table, and what makes it belong there.
COLUMNS = {
    "untagged": {},
    "no": {"headers": "TLS-Required: No\n"},
    "requiretls": {"params": "REQUIRETLS"},
}


def delivered(s, address):
    """How some host of the scene took it; None: none has.

    C clear text   U TLS, not verified   T TLS, verified   R with REQUIRETLS"""
    for hop in s.hop.values():
        for m in hop.accepted:
            if not any(f"<{address}>" in r for r in m.rcpts):
                continue
            if m.has_requiretls:
                return "R"
            if m.tls is None:
                return "C"
            found = evidence(s.gw, address)
            if found:       # written when the store has it, a moment after the reply
                return "U" if found[-1]["verified"] == "no" else "T"
    return None


def notice_about(s, address):
    """The notice about this recipient, as it came to the sender's host; None without."""
    for m in s.back.accepted:
        n = Notice(m)
        if n.recipients[0]["Final-Recipient"].partition(";")[2] == address:
            return n
    return None


def end(s, address):
    """What became of the message, and the notice if there was one: as above, or

    F x put off with status x   B x returned with status x   - no notice, and gone"""
    def look():
        way = delivered(s, address)
        if way is not None:
            return way, None
        n = notice_about(s, address)
        if n is not None:
            return f"B {n.status}", n
        last = last_of(s.gw, address)
        if last is not None:
            return (f"F {last['status']}" if last["kind"] == "deferred" else last["kind"]), None
        # A notice is stored together with the end of what it is about, so the queue is asked first.
        if not s.gw.queue() and any(r["event"] == "failed" for r in evidence(s.gw, address)) and \
                notice_about(s, address) is None:
            return "-", None
        return None

    return s.gw.wait_for(look, what=f"an end for {address}")


def outcome(s, address):
    return end(s, address)[0]


def record(s, address):
    """The newest evidence about this recipient."""
    return s.gw.wait_for(lambda: evidence(s.gw, address), what=f"evidence about {address}")[-1]


def nothing_handed_over(t, s, address):
    """No host was told of the message (R-50). A notice about it has another recipient."""
    t.check(all(f"<{address}>" not in r for h in s.hop.values() for m in h.messages for r in m.rcpts),
            "nothing was handed over (R-50)")


def row_name(row, *what):
    """Of a case for a row of the decision table; tests/coverage/decision_rows.py reads it in the log."""
    return "-".join(["row", str(row), *what])


# ---- Notices ----

class Notice:
    """A multipart/report as it came to a next hop. Taken apart here: the parser of the library does not
    know encoded parts of message types (RFC 6533)."""

    def __init__(self, m):
        self.received, self.data = m, m.data
        self.top = email.message_from_bytes(m.data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        pieces = m.data.split(b"\r\n--" + self.top.get_boundary().encode())
        if pieces[-1].strip() != b"--":
            raise AssertionError(f"the last boundary is not the end: {pieces[-1]!r}")
        self.parts = [self.part(x) for x in pieces[1:-1]]
        self.types = [head.get_content_type() for head, _ in self.parts]
        self.text = self.parts[0][1].decode("utf-8")
        blocks = self.parts[1][1].decode("utf-8").replace("\r\n", "\n").strip().split("\n\n")
        self.about, *self.recipients = [self.fields(b) for b in blocks]

    @staticmethod
    def part(piece):
        head, _, body = piece.lstrip(b"\r\n").partition(b"\r\n\r\n")
        head = email.message_from_bytes(head + b"\r\n\r\n")
        decode = {"quoted-printable": quopri.decodestring, "base64": base64.b64decode}
        return head, decode.get(head["Content-Transfer-Encoding"], bytes)(body)

    @staticmethod
    def fields(block):
        found = [re.split(r":\s*", x, maxsplit=1) for x in re.sub(r"\n[ \t]+", " ", block).split("\n")]
        if len({x[0] for x in found}) != len(found):
            raise AssertionError(f"a field twice in {block!r}")
        return {x[0]: x[1] for x in found}

    @property
    def returned(self):
        """The third part, decoded; None without."""
        return self.parts[2][1] if len(self.parts) > 2 else None

    @property
    def status(self):
        return self.recipients[0]["Status"]

    @property
    def action(self):
        return self.recipients[0]["Action"]


def notice(t, hop, number=1, timeout=15):
    return Notice(hop.wait_messages(number, timeout)[number - 1])


def failed(t, s, status, number=1):
    """The notice about a REQUIRETLS message, protected as that was (R-80 to R-84)."""
    n = notice(t, s.back, number)
    t.has(n.received.mail, "MAIL FROM:<>", "MAIL of the notice (R-84)")
    t.check(n.received.has_requiretls, f"the notice goes with REQUIRETLS (R-81): {n.received.mail}")
    t.eq(n.action, "failed", "Action")
    t.eq(n.status, status, f"Status of {n.recipients}")
    t.lacks(n.data.decode("utf-8", "replace"), TOKEN, "the notice (R-82)")
    return n
