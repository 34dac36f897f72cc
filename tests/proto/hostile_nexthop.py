"""Next hops that misbehave, one for each way of hostile_nexthop_ways.py, all in one gateway: plain
mail, mail with REQUIRETLS and, where TLS is what fails, mail with `TLS-Required: No`.

Whatever they do, nothing is lost (F-13): each message was delivered, waits, or was returned with a
notice, and its evidence says so; nothing was delivered twice that the next hop had taken; no tagged
message sent MAIL or a word of its body in clear, and no notice shows its body. Then all of them
behave, and what waits arrives."""

import collections
import json
import os
import quopri
import re
import sqlite3

import case
from case import Zone, free_port
from hostile_nexthop_ways import WAYS
from lab.certs import Cert, openssl
from lab.hostile import Hops

HOSTS, DOMAINS = "hosts.example", "w.example"
FLAVORS = {"plain": "p", "tagged": "t", "no": "n"}
DEADLINE = "6s"     # of the gateway; an honest exchange under a sanitizer takes less


def flavors(way):
    """[(flavor, what must become of it)]"""
    want = way.want
    return [("plain", want["plain"]), ("tagged", want.get("tagged", want["plain"]))] + \
        ([("no", want["no"])] if "no" in want else [])


def address(flavor, number):
    return f"127.{30 + list(FLAVORS).index(flavor)}.{number // 200}.{number % 200 + 1}"


class Mail:
    """One message of one flavor to one way."""

    def __init__(self, number, way, flavor, want):
        self.way, self.flavor, self.want = way, flavor, want
        self.label = f"{FLAVORS[flavor]}-{way.name.lower()}".replace(".", "")
        self.domain = f"{self.label}.{DOMAINS}"
        self.ip = address(flavor, number)
        self.token = f"token-{FLAVORS[flavor]}{number}-walrus"
        locals_ = {"three": ["ok", "bad", "later"], "utf8": ["ü"]}.get(way.message, ["b"])
        self.rcpts = [f"{x}@{self.domain}" for x in locals_]

    def content(self):
        kind = self.way.message
        body = f"{self.token} is in the body\r\n.leading dot\r\n".encode()
        if kind == "8bit":
            body += "ünïcödé\r\n".encode()
        body += b"all work and no play makes a dull next hop\r\n" * {"big": 600, "huge": 140000}.get(kind, 8)
        head = "" if self.flavor != "no" else "TLS-Required: No\r\n"
        return f"From: a@gw.example\r\n{head}Subject: {self.label}\r\n\r\n".encode() + body

    def send(self, client):
        params = ["REQUIRETLS"] if self.flavor == "tagged" else []
        params += {"8bit": ["BODY=8BITMIME"], "utf8": ["SMTPUTF8"], "dsn": ["RET=HDRS", "ENVID=e1"]}.get(self.way.message, [])
        rcpt = "NOTIFY=SUCCESS,FAILURE" if self.way.message == "dsn" else ""
        client.mail("a@gw.example", " ".join(params), code=250)
        for r in self.rcpts:
            client.rcpt(r, rcpt, code=250)
        client.data(self.content(), 250)


def certificates(certs, hosts):
    """A certificate of each kind that is good for none of `hosts` (kind to names and addresses)."""
    made = {kind: certs.issue(f"*.{HOSTS}", kind=kind) for kind in
            ("self-signed", "expired", "future", "wrong-name", "cn-only", "client", "other-ca")}
    made["deep-wildcard"] = certs.issue("deep", names=["*.example"])
    made["partial-wildcard"] = certs.issue("partial", names=[f"{x}-cert-part*.{HOSTS}" for x in FLAVORS.values()])
    made["bare-wildcard"] = certs.issue("bare", names=["*"])
    ca = certs.authority

    def key(name, *how):
        path = os.path.join(certs.dir, f"hostile-{name}.key")
        openssl("genpkey", *(how or ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")), "-out", path)
        return path[:-4]

    def sign(name, extensions, start=-1, end=365, how=()):
        base = key(name, *how)
        ca.sign(base, "/CN=lab", extensions, start, end)
        return Cert(base + ".pem", base + ".key")

    def san(text):
        return ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth", f"subjectAltName={text}"]

    def below(name, issuer, with_issuer=True):
        """A good certificate of an intermediate authority."""
        base = key(name)
        with open(base + ".ext", "w", encoding="ascii") as f:
            f.write("\n".join(san(f"DNS:*.{HOSTS}")) + "\n")
        openssl("req", "-new", "-key", base + ".key", "-subj", "/CN=lab", "-out", base + ".csr")
        pem = openssl("x509", "-req", "-in", base + ".csr", "-CA", issuer.cert, "-CAkey", issuer.key, "-days", "30",
                      "-extfile", base + ".ext", "-set_serial", str(1000 + len(made)))
        with open(base + ".pem", "wb") as f, open(issuer.cert, "rb") as i:
            f.write(pem + (i.read() if with_issuer else b""))
        return Cert(base + ".pem", base + ".key")

    nul = b"".join(b"\x82" + bytes([len(n)]) + n for n in
                   (h.encode() + b"\0.evil.example" for h, unused in hosts["nul-in-name"]))
    made["nul-in-name"] = sign("nul", san("DER:" + (b"\x30\x81" + bytes([len(nul)]) + nul).hex(":")))
    made["ip-san"] = sign("ip", san(",".join(f"IP:{ip}" for unused, ip in hosts["ip-san"])))
    made["uri-san"] = sign("uri", san(",".join(f"URI:smtp://{h}" for h, unused in hosts["uri-san"])))
    made["email-san"] = sign("email", san(",".join(f"email:a@{h}" for h, unused in hosts["email-san"])))
    made["weak-key"] = sign("weak", san(f"DNS:*.{HOSTS}"), how=("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:768"))
    authority = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"]
    good = sign("inter", authority)
    made["intermediate"] = below("below", good)
    made["missing-intermediate"] = below("alone", good, with_issuer=False)
    made["expired-intermediate"] = below("below-old", sign("inter-old", authority, -800, -10))
    made["intermediate-is-no-ca"] = below("below-leaf", sign("leaf", san(f"DNS:*.{HOSTS}")))
    return made


class Matrix:
    def __init__(self, t, ways):
        self.t = t
        self.mails = [Mail(i, way, flavor, want) for i, way in enumerate(ways) for flavor, want in flavors(way)]
        hosts = collections.defaultdict(list)
        for m in self.mails:
            if m.way.cert:
                hosts[m.way.cert].append((f"{m.label}.{HOSTS}", m.ip))
        made = certificates(t.certs, hosts) if hosts else {}
        self.hops = Hops(t.certs.issue("any", names=[f"*.{HOSTS}"]), made, port=free_port(["127.0.0.1", "127.30.0.1"]))
        t.parts.append(self.hops.stop)
        self.hop = {m.label: self.hops.add(m.ip, m.way) for m in self.mails}
        self.hops.start()
        self.inside = t.nexthop(host="127.0.0.1", port=self.hops.port, cert=t.certs.issue("inside.example"),
                                requiretls=True)
        t.lab({HOSTS: Zone("\n".join(f"{m.label} A {m.ip}" for m in self.mails)),
               DOMAINS: Zone("\n".join(f"{m.label} MX 10 {m.label}.{HOSTS}." for m in self.mails) +
                             f"\nother MX 10 other.{HOSTS}.")})
        self.gw = t.gateway(hop_port=self.hops.port, over={
            "service": {"workers": 2},
            "routes": {"inside": {"names": ["inside.example"], "assert_secure_lookup": True}},
            "queue": {"retry": ["2m"]}, "log": {"level": "info"}, "dns": {"timeout": "30s"},
            "delivery": {"idle": "1s", "connect": DEADLINE, "reply": DEADLINE, "handshake": DEADLINE,
                         "block": DEADLINE, "final": DEADLINE}})

    def waiting(self):
        """{address: recipient} of the messages in the queue, notices apart."""
        messages = self.gw.json("queue", "list", "--limit", "100000")["messages"]
        return {r["address"]: r for m in messages if not m["notice"] for r in m["recipients"]}

    def send_all(self):
        c = self.t.secure_client(self.gw, "relay", timeout=60)
        for m in self.mails:
            m.send(c)
        c.quit()
        self.t.clients.remove(c)        # its transcript would drown what is wrong

    def all_tried(self):
        waiting = self.waiting()
        return waiting if all(r["attempts"] > 0 for r in waiting.values()) else None

    def settled(self):
        return not self.gw.json("queue", "list", "--limit", "100000")["messages"]


def evidence(gw):
    """{address: [(event, record)]} of all recipients, from the database of a gateway that was stopped."""
    found = collections.defaultdict(list)
    db = sqlite3.connect(f"file:{os.path.join(gw.dir, 'state', 'queue.db')}?mode=ro", uri=True)
    for (text,) in db.execute("SELECT text FROM evidence ORDER BY id"):
        record = json.loads(text)
        if "rcpt" in record:
            found[record["rcpt"]].append((record["event"], record))
    db.close()
    return found


def outcome(address, waiting, proof):
    """D, Q or B with its status; what is none of these is lost."""
    ends = [(e, r) for e, r in proof.get(address, ()) if e in ("delivered", "failed", "expired")]
    if address in waiting:
        return "Q" if not ends else f"Q and {ends}"
    if len(ends) != 1:
        return f"lost: {proof.get(address)}"
    return "D" if ends[0][0] == "delivered" else "B" + ends[0][1].get("reply_status", "")


def unescaped(text):
    """Octets that may not stand in a log line or a notice (X-47)."""
    return re.search(rb"[\x00-\x08\x0b-\x1f\x7f-\xff]", text.replace(b"\r\n", b"\n"))


def told(hop, m):
    return [g for g in hop.got if g["told"] and m.token.encode() in g["data"]]


def check_hop(wrong, m, hop):
    """What the next hop saw of one message, now that all is over."""
    if m.flavor == "tagged":
        for leg in hop.legs:
            if re.search(rb"(?i)(^|\n)(MAIL|RCPT|DATA|BDAT)", leg.clear) or m.token.encode() in leg.clear:
                wrong.append(f"{m.label}: in clear: {bytes(leg.clear[:200])}")
        for g in hop.got:
            if "REQUIRETLS" not in g["mail"].upper().split() or not g["tls"]:
                wrong.append(f"{m.label}: sent without the tag: {g['mail']}")
    got = [g for g in hop.got if m.token.encode() in g["data"]]
    expected = "D" in m.want or "Q" in m.want
    if m.way.message == "three":
        rcpts = sorted(r.split("<")[1].split("@")[0] for g in told(hop, m) for r in g["rcpts"])
        if rcpts != ["later", "ok"]:
            wrong.append(f"{m.label}: taken for {rcpts}")
    elif len(told(hop, m)) != (1 if expected else 0):
        wrong.append(f"{m.label}: taken {len(told(hop, m))} times\n{hop.report()}")
    if not m.way.repeats and m.way.message != "three" and len(got) > 1:
        wrong.append(f"{m.label}: sent {len(got)} times\n{hop.report()}")
    for g in got:
        body = m.content().partition(b"\r\n\r\n")[2].replace(b"\r\n.", b"\r\n..")
        if not g["data"].replace(b"\r\n..", b"\r\n.").endswith(m.content().partition(b"\r\n\r\n")[2]) and \
                not g["data"].endswith(body):
            wrong.append(f"{m.label}: content is not what was sent")


def decoded(data):
    """A notice as it is and with quoted-printable undone: whatever is in there is in here."""
    return data + b"\n" + quopri.decodestring(data)


def check_notices(wrong, matrix):
    notices = collections.defaultdict(list)
    for n in matrix.inside.accepted:
        text = decoded(n.data)
        for label in set(re.findall(rb"Final-Recipient: *[a-z0-9-]+; *\S+@([a-z0-9-]+)\.w\.example", text)):
            notices[label.decode()].append(text)
        if unescaped(n.data):
            wrong.append(f"octets in a notice: {unescaped(n.data)} in {n.data[:400]}")
        if any(len(x) > 998 for x in n.data.split(b"\r\n")):
            wrong.append(f"a line over 998 octets in a notice: {n.data[:400]}")
        if re.search(rb"(?m)^X-Fake", n.data):
            wrong.append("a field of the next hop's making in a notice")
        if len(n.data) > 20000:
            wrong.append(f"a notice of {len(n.data)} octets")
        for token in re.findall(rb"token-t\d+-walrus", text):
            wrong.append(f"a tagged body in a notice: {token}")
    for m in matrix.mails:
        failed = [text for text in notices[m.label] if b"Action: failed" in text]
        if len(failed) != (1 if "B" in m.want else 0):
            wrong.append(f"{m.label}: {len(failed)} notices")


@case.register("every-way", "F-13", "X-34", "X-36", *sorted({row for way in WAYS for row in way.rows}), seconds=300)
def every_way(t):
    """Each way with each kind of mail; then all next hops behave."""
    x = Matrix(t, WAYS)
    x.send_all()
    waiting = x.gw.wait_for(x.all_tried, 120, "a first attempt for all")
    x.gw.wait_for(lambda: all(not m["notice"] for m in
                              x.gw.json("queue", "list", "--limit", "100000")["messages"]), 60, "notices that left")
    attempts = {a: (r["last"], r["attempts"]) for a, r in waiting.items()}
    for m in x.mails:
        if not m.way.listens:
            x.hops.listen(m.ip, x.hop[m.label])
        x.hop[m.label].heal()
    first = {a: dict(r) for a, r in waiting.items()}
    t.eq(x.gw.run("queue", "retry", "--to", "*", "--reason", "they behave now").returncode, 0, "retry")
    x.gw.wait_for(x.settled, 120, "an empty queue")
    x.gw.stop()
    proof = evidence(x.gw)
    wrong = []
    for m in x.mails:
        for i, address_ in enumerate(m.rcpts):
            want = "DBQ"[i] if m.way.message == "three" else m.want
            end = outcome(address_, {}, proof)
            if want == "Q":     # it waited, and went when it could
                got = "Q" if address_ in first and end == "D" else f"{end}, waited: {first.get(address_)}"
            else:
                got = end if address_ not in first else f"Q: {attempts[address_]}"
            if got != want and not (len(want) == 1 and got[:1] == want):
                wrong.append(f"{m.label} {address_}: {got} instead of {want}\n{x.hop[m.label].report()}")
            last = attempts.get(address_, ({}, 0))[0]
            if "X-32" in m.way.rows and (last.get("reason"), last.get("status")) != ("protocol", "4.5.0"):
                wrong.append(f"{m.label}: the reason is not the injection: {last}")
        check_hop(wrong, m, x.hop[m.label])
    check_notices(wrong, x)
    for line in x.gw.log_lines():       # what is no UTF-8 is U+FFFD by now
        if re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd]", line) or len(line) > 6000:
            wrong.append(f"log: {line[:300]!r}")
    wrong += [f"log: {line}" for line in x.gw.log_lines(" error ")]
    t.check(not wrong, f"{len(wrong)} things are wrong:\n" + "\n".join(wrong[:40]))


case.main()
