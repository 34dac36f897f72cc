"""What domains publish, where it overlaps: MTA-STS and DANE at once, policies that are stale, hosts that
differ, and the certificates that either of them wants. (edges.py says where the other edges are.)

One signed zone p.example and one unsigned u.example; a domain in them for each thing to look at."""

import atexit
import os
import shutil
import sqlite3
import tempfile

import case
import tagged
from case import Lab, Zone, free_port
from lab.certs import Cert, new_key, openssl
from lab.policyhost import PolicyHost, policy
from tagged import H1, H5, outcome, record

BACK, ONE, TWO, WEB = "127.0.9.1", "127.0.9.2", "127.0.9.3", "127.0.9.100"
COLUMNS = {"untagged": {}, "no": {"headers": "TLS-Required: No\n"}, "tag": {"params": "REQUIRETLS"}}


def self_signed(t, name):
    return t.certs.issue(name, kind="self-signed")


def ca_cert(path, subject, issuer=None, constraints="CA:TRUE"):
    """A CA's certificate, by its own key or by the issuer's."""
    made = Cert(path + ".pem", path + ".key")
    new_key(made.key)
    extensions = ["-addext", f"basicConstraints=critical,{constraints}", "-addext", "keyUsage=critical,keyCertSign"]
    if issuer is None:
        openssl("req", "-x509", "-new", "-key", made.key, "-subj", f"/CN={subject}", "-days", "30", *extensions,
                "-out", made.cert)
        return made
    with open(path + ".ext", "w", encoding="ascii") as f:
        f.write(f"basicConstraints=critical,{constraints}\nkeyUsage=critical,keyCertSign\n")
    openssl("req", "-new", "-key", made.key, "-subj", f"/CN={subject}", "-out", path + ".csr")
    openssl("x509", "-req", "-in", path + ".csr", "-CA", issuer.cert, "-CAkey", issuer.key, "-CAcreateserial",
            "-days", "30", "-extfile", path + ".ext", "-out", made.cert)
    return made


def host_cert(t, name, anchor):
    """A host's certificate with its chain: the host, a CA, the anchor."""
    def path(kind):
        return os.path.join(t.certs.dir, f"{name}-{kind}")

    below = ca_cert(path("below"), f"{name} below", anchor)
    leaf = Cert(path("leaf.pem"), path("leaf.key"))
    new_key(leaf.key)
    with open(path("leaf.ext"), "w", encoding="ascii") as f:
        f.write(f"subjectAltName=DNS:mx.{name}.p.example\nextendedKeyUsage=serverAuth\n")
    openssl("req", "-new", "-key", leaf.key, "-subj", "/CN=x", "-out", path("leaf.csr"))
    openssl("x509", "-req", "-in", path("leaf.csr"), "-CA", below.cert, "-CAkey", below.key, "-CAcreateserial",
            "-days", "30", "-extfile", path("leaf.ext"), "-out", path("alone.pem"))
    with open(leaf.cert, "w", encoding="ascii") as out:
        for part in (path("alone.pem"), below.cert, anchor.cert):
            with open(part, encoding="ascii") as f:
                out.write(f.read())
    return leaf


lab = None
port = None
made = {}       # certificates that records are about


def other_ca(t):
    t.certs.issue("x.example", kind="other-ca")         # brings that CA about
    return t.certs.other.cert


def zones(t):
    own, other = self_signed(t, "mx.one.p.example"), self_signed(t, "other.example")
    loose, tight = (ca_cert(os.path.join(t.certs.dir, f"ta-{n}"), f"anchor {n}", constraints=c)
                    for n, c in (("loose", "CA:TRUE"), ("tight", "CA:TRUE,pathlen:0")))
    made.update(own=own, loose=host_cert(t, "loose", loose), tight=host_cert(t, "tight", tight))
    signed, plain = 'record TXT "v=STSv1; id=7"\n', ""
    tlsa = {**dict.fromkeys(("both", "out"), own.tlsa("3 1 1")), **dict.fromkeys(("bad", "name"), other.tlsa("3 1 1")),
            "loose": loose.tlsa("2 0 0"), "tight": tight.tlsa("2 0 0"),
            **dict.fromkeys(("wild", "exact", "part"), other_ca(t).tlsa("2 0 1")),
            "cn": t.certs.authority.cert.tlsa("2 0 1"), "very.deep": other_ca(t).tlsa("2 0 1")}
    for name, rdata in tlsa.items():
        address = TWO if name in ("bad", "tight") else ONE
        signed += (f"{name.rpartition('.')[2]} MX 10 mx.{name}\nmx.{name} A {address}\n"
                   f"_{port}._tcp.mx.{name} TLSA {rdata}\n")
    for name in ("good", "poor", "none"):
        signed += (f"{name} MX 10 one.{name}\n{name} MX 20 two.{name}\none.{name} A {ONE}\ntwo.{name} A {TWO}\n"
                   f"_{port}._tcp.one.{name} TLSA {other.tlsa('3 1 1')}\n")
    signed += f"ip MX 10 {ONE}.\n"
    for name in ("mix", "far"):
        plain += f"{name} MX 10 one.good.p.example.\n{name} MX 20 two.good.p.example.\n"
    for name in ("later", "gone", "al", "c"):
        plain += f"{name} MX 10 mx.{name}\nmx.{name} A {ONE}\n"
    plain += "_mta-sts.al CNAME hop\nhop CNAME record.p.example.\n"
    for name in ("both", "bad", "out", "good", "poor", "mix", "far", "later", "gone", "al", "c"):
        text = f"mta-sts.{name} A {WEB}\n" + (f'_mta-sts.{name} TXT "v=STSv1; id=1"\n' if name != "al" else "")
        if name in ("both", "bad", "out", "good", "poor"):
            signed += text
        else:
            plain += text
    return {"example": Zone(), "p.example": Zone(signed), "u.example": Zone(plain, kind="unsigned"),
            "back.example": Zone(f"@ MX 10 mx\nmx A {BACK}")}


def stop_lab():
    lab.stop()
    shutil.rmtree(lab.dir, ignore_errors=True)


def use_lab(t):
    global lab, port
    if lab is None:
        port = free_port([BACK, ONE, TWO])
        lab = Lab(tempfile.mkdtemp(prefix="sp-edges-"), zones(t)).start()
        atexit.register(stop_lab)
    t.zones_lab = lab


class World:
    """Hosts at ONE and TWO for all domains, on one port. `names`: what the certificates of the two carry;
    `certs`: the certificates themselves; `policies`: domain to the MX patterns of its policy in mode enforce."""

    def __init__(self, t, policies=None, one=H5, names=None, certs=None):
        use_lab(t)
        self.t, self.hop = t, {}
        self.web = PolicyHost(t.certs, WEB)
        t.parts.append(self.web.stop)
        for domain, patterns in (policies or {}).items():
            self.web.publish(domain, policy("enforce", patterns))
        for name, address, options in (("back", BACK, H5), ("one", ONE, one), ("two", TWO, H5)):
            cert = (certs or {}).get(name) or \
                t.certs.issue(name, names=(names or {}).get(name) or [f"mx.{name}.example"])
            self.hop[name] = t.nexthop(port=port, host=address, cert=cert, **options)
        self.back = self.hop["back"]
        self.gw = t.gateway(hop_port=port, over={"tls": {"sts_port": self.web.port}, "delivery": {"idle": "0s"}})

    def send(self, to, column="untagged"):
        tagged.submit(self.t, self.gw, to, **COLUMNS[column])
        return outcome(self, to)

    def sent(self, domain, *wants):
        """A message for each column; what becomes of them, in that order."""
        for column, want in zip(COLUMNS, wants):
            self.t.eq(self.send(f"{column}@{domain}", column), want, f"{column}@{domain}")

    def mail_at(self, name, domain):
        return [r for r in self.hop[name].commands("RCPT") if f"@{domain}>" in r]


# ---- MTA-STS and DANE at once ----

@case.register("dane-beats-the-policy", "S-69", "S-70", "D-51", "row-38")
def dane_beats(t):
    """Both, behind a signed MX: the certificate has to be that of the TLSA records, which the policy neither
    saves nor spoils; the host has to be one of the policy's."""
    use_lab(t)
    w = World(t, policies={"both.p.example": ["mx.both.p.example"], "bad.p.example": ["*.bad.p.example"],
                           "out.p.example": ["mx.elsewhere.example"]},
              certs={"one": made["own"]}, names={"two": ["mx.bad.p.example"]})
    w.sent("both.p.example", "T", "T", "R")
    r = record(w, "tag@both.p.example")
    t.eq((r["verified"], r["sts_mode"], r["mx"]), ("dane", "enforce", "dnssec"), "evidence")
    w.sent("bad.p.example", "F 4.7.5", "T", "B 5.7.10")
    t.eq(len(w.mail_at("two", "bad.p.example")), 1, "recipients at a host with the wrong certificate")
    w.sent("out.p.example", "F 4.7.5", "T", "B 5.7.10")


@case.register("half-of-the-hosts", "S-70", "D-21", "D-31", "S-68", "R-48")
def half(t):
    """The first host has TLSA records that do not match, the second has none: for that one the policy, or any
    certificate that can be checked, decides. Behind an insecure MX a host has to be in the policy."""
    w = World(t, policies={"good.p.example": ["*.good.p.example"], "poor.p.example": ["*.poor.p.example"],
                           "mix.u.example": ["*.good.p.example"], "far.u.example": ["one.good.p.example"]},
              names={"one": ["one.good.p.example", "one.poor.p.example", "one.none.p.example"],
                     "two": ["two.good.p.example"]})
    w.sent("good.p.example", "T", "T", "R")
    t.eq(len(w.mail_at("one", "good.p.example")), 1, "at the first host, whose records only the header waives")
    w.sent("poor.p.example", "F 4.7.5", "T", "B 5.7.10")     # the second's certificate has another name
    w.sent("none.p.example", "U", "T", "B 5.7.10")           # the same without a policy
    w.sent("mix.u.example", "T", "T", "R")
    w.sent("far.u.example", "F 4.7.5", "T", "B 5.7.10")      # the second is not in the policy


# ---- MTA-STS ----

def expire(w):
    """As if a day were over; policies kept."""
    w.gw.stop()
    db = sqlite3.connect(w.gw.dir + "/state/queue.db")
    with db:
        n = db.execute("UPDATE sts_policy SET fetched_ms = fetched_ms - 90000000, "
                       "expires_ms = expires_ms - 90000000").rowcount
    db.close()
    w.gw.start()
    return n


@case.register("stale-policy-and-a-tag", "S-43", "S-29", "R-42", "R-09", "row-36")
def stale(t):
    """A policy that has run out vouches for nobody: tagged mail waits while a new one may be had, and is
    returned when there is none; other mail goes on."""
    w = World(t, policies={f"{d}.u.example": [f"mx.{d}.u.example"] for d in ("later", "gone")},
              names={"one": ["mx.later.u.example", "mx.gone.u.example"]})
    w.sent("later.u.example", "T", "T", "R")
    w.sent("gone.u.example", "T", "T", "R")
    w.web.publish("later.u.example", "", status="503 Later")
    w.web.publish("gone.u.example", "", status="404 Gone")
    t.eq(expire(w), 2, "policies kept")
    for domain, want in (("later", "F 4.7.5"), ("gone", "B 5.7.10")):
        t.eq(w.send(f"late@{domain}.u.example", "tag"), want, f"tagged mail for {domain}")
        t.eq(w.send(f"plain@{domain}.u.example"), "T", f"mail for {domain} that owes nothing")
    t.eq(w.web.count("later.u.example"), 2, "fetches, one of them in vain")


@case.register("record-is-an-alias", "S-03", "S-13")
def alias(t):
    """_mta-sts is an alias of a provider's record, whose policy host is that of the domain still."""
    w = World(t, policies={"al.u.example": ["mx.al.u.example"]}, one=H1)
    t.eq(w.send("b@al.u.example"), "F 4.7.10", "the policy counts")
    t.eq(w.web.names, ["mta-sts.al.u.example"], "policy hosts asked")
    t.eq(w.send(f"b@[{ONE}]"), "C", "the same host by its address")


# name: (kind of certificate, names in it, goes?)
STS_CERTS = {
    "good": ("good", ["mx.c.u.example"], True),
    "wildcard": ("good", ["*.c.u.example"], True),
    "second": ("good", ["elsewhere.example", "MX.C.u.example"], True),
    "pattern-of-the-policy": ("good", ["*.u.example"], False),       # the host's name counts, not what it matched
    "recipient-domain": ("good", ["c.u.example"], False),
    "cn-only": ("cn-only", ["mx.c.u.example"], False),
    "partial": ("good", ["m*.c.u.example"], False),
    "wrong-name": ("wrong-name", None, False),
    "expired": ("expired", ["mx.c.u.example"], False),
    "future": ("future", ["mx.c.u.example"], False),
    "self-signed": ("self-signed", ["mx.c.u.example"], False),
    "other-ca": ("other-ca", ["mx.c.u.example"], False),
    "client": ("client", ["mx.c.u.example"], False),
}


@case.register("certificates-under-a-policy", "S-61", "S-62", "N-01", "N-03", "N-04")
def sts_certificates(t):
    """Enforce: the certificate is for the MX host's name, in time and from somebody trusted; that name is what
    is asked for by SNI."""
    w = World(t, policies={"c.u.example": ["*.c.u.example"]})
    hop = w.hop["one"]
    for name, (kind, names, goes) in STS_CERTS.items():
        hop.cert = t.certs.issue("mx.c.u.example", kind=kind, names=names)
        t.eq(w.send(f"{name}@c.u.example"), "T" if goes else "F 4.7.5", name)
    t.eq({s.sni for s in hop.sessions if s.tls}, {"mx.c.u.example"}, "SNI")


# ---- DANE ----

@case.register("no-dane-for-addresses", "D-24", "row-43")
def no_dane(t):
    """An address literal and an MX record with an address have no TLSA records, whatever the host has by name."""
    w = World(t)
    t.eq(w.send("b@name.p.example"), "F 4.7.5", "by name")
    for to in (f"b@[{ONE}]", "b@ip.p.example"):
        t.eq(w.send(to), "U", to)
        t.check("3 1 1" not in record(w, to).get("tlsa", ""), f"records for {to}")


@case.register("names-under-a-trust-anchor", "D-43", "D-44", "D-41", "N-04")
def anchor_names(t):
    """DANE-TA: the host's name stands in a subjectAltName; a wildcard is one label, at the left; a common name
    is none."""
    names = {"wild": "*.wild.p.example", "exact": "mx.exact.p.example", "deep": "*.deep.p.example",
             "part": "m*.part.p.example", "cn": None}
    w = World(t)
    for name, certified in names.items():
        kind = "other-ca" if certified else "cn-only"
        w.hop["one"].cert = t.certs.issue(f"mx.{name}.p.example", names=[certified], kind=kind)
        t.eq(w.send(f"b@{name}.p.example"), "T" if name in ("wild", "exact") else "F 4.7.5", name)


@case.register("constraints-of-a-trust-anchor", "D-50", "D-49")
def constraints(t):
    """`2 0 0`: an anchor that allows no CA below it (pathlen:0) does not vouch for one; one that does, does."""
    use_lab(t)
    w = World(t, certs={"one": made["loose"], "two": made["tight"]})
    t.eq(w.send("b@loose.p.example"), "T", "a CA below the anchor")
    t.has(record(w, "b@loose.p.example")["tlsa"], "matched 2 0 0", "tlsa")
    t.eq(w.send("b@tight.p.example"), "F 4.7.5", "a CA too many")


case.main()
