"""What domains publish, where it overlaps: MTA-STS and DANE at once, policies that are stale, hosts that
differ, and the certificates that either of them wants. (edges.py says where the other edges are.)

One signed zone p.example and one unsigned u.example; a domain in them for each thing to look at."""

import copy
import sqlite3

import case
import tagged
from case import Zone, free_port
from dane_lab import outcome, record
from lab.certs import Cert, new_key, openssl
from lab.policyhost import PolicyHost, policy
from tagged import H1, H5

BACK, ONE, TWO, WEB = "127.0.9.1", "127.0.9.2", "127.0.9.3", "127.0.9.100"
COLUMNS = {"untagged": {}, "no": {"headers": "TLS-Required: No\n"}, "tag": {"params": "REQUIRETLS"}}


class World:
    """Hosts at ONE and TWO for all domains, on one port, and their zones. `names`: what the certificates of
    the two carry; `signed`, `plain`: records of the zones, with {port}; policies: domain to its MX patterns."""

    def __init__(self, t, signed="", plain="", policies=None, one=None, two=None, mode="enforce", names=None):
        self.t, self.hop = t, {}
        port = free_port([BACK, ONE, TWO])
        policies = policies or {}
        for domain in policies:
            lines = f"mta-sts.{domain}. A {WEB}\n"
            if f"_mta-sts.{domain}. " not in signed + plain:
                lines += f'_mta-sts.{domain}. TXT "v=STSv1; id=1"\n'
            if domain.endswith(".p.example"):
                signed += lines
            else:
                plain += lines
        t.lab({"p.example": Zone(signed.replace("PORT", f"_{port}._tcp")),
               "u.example": Zone(plain.replace("PORT", f"_{port}._tcp"), kind="unsigned"),
               "back.example": Zone(f"@ MX 10 mx\nmx A {BACK}")})
        self.web = PolicyHost(t.certs, WEB)
        t.parts.append(self.web.stop)
        for domain, patterns in policies.items():
            self.web.publish(domain, policy(mode, patterns))
        hosts = {"back": (BACK, H5), "one": (ONE, H5 if one is None else one), "two": (TWO, H5 if two is None else two)}
        for name, (address, options) in hosts.items():
            options = copy.copy(options)
            if "cert" not in options:
                options["cert"] = t.certs.issue(name, names=(names or {}).get(name) or [f"mx.{name}.example"])
            self.hop[name] = t.nexthop(port=port, host=address, **options)
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


def self_signed(t, name):
    return t.certs.issue(name, kind="self-signed")


# ---- MTA-STS and DANE at once ----

@case.register("dane-beats-the-policy", "S-69", "S-70", "D-51", "row-38")
def dane_beats(t):
    """Both, behind a signed MX: the certificate has to be that of the TLSA records, which the policy neither
    saves nor spoils; the host has to be one of the policy's."""
    own, other = self_signed(t, "mx.one.p.example"), self_signed(t, "other.example")
    w = World(t, signed=f"both MX 10 mx.both\nmx.both A {ONE}\nPORT.mx.both TLSA {own.tlsa('3 1 1')}\n"
                        f"bad MX 10 mx.bad\nmx.bad A {TWO}\nPORT.mx.bad TLSA {other.tlsa('3 1 1')}\n"
                        f"out MX 10 mx.out\nmx.out A {ONE}\nPORT.mx.out TLSA {own.tlsa('3 1 1')}\n",
              policies={"both.p.example": ["mx.both.p.example"], "bad.p.example": ["*.bad.p.example"],
                        "out.p.example": ["mx.elsewhere.example"]},
              one=dict(H5, cert=own), names={"two": ["mx.bad.p.example"]})
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
    other = self_signed(t, "other.example").tlsa("3 1 1")
    signed = "".join(f"{d} MX 10 one.{d}\n{d} MX 20 two.{d}\none.{d} A {ONE}\ntwo.{d} A {TWO}\n"
                     f"PORT.one.{d} TLSA {other}\n" for d in ("good", "poor", "none"))
    w = World(t, signed=signed, plain="mix MX 10 one.good.p.example.\nmix MX 20 two.good.p.example.\n"
                                      "far MX 10 one.good.p.example.\nfar MX 20 two.good.p.example.\n",
              policies={"good.p.example": ["*.good.p.example"], "poor.p.example": ["*.poor.p.example"],
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
    w = World(t, plain="".join(f"{d} MX 10 mx.{d}\nmx.{d} A {ONE}\n" for d in ("later", "gone")),
              policies={f"{d}.u.example": [f"mx.{d}.u.example"] for d in ("later", "gone")},
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
    w = World(t, plain=f"al MX 10 mx.al\nmx.al A {ONE}\n_mta-sts.al.u.example. CNAME hop.u.example.\n"
                       'hop CNAME record.p.example.\n', signed='record TXT "v=STSv1; id=7"\n',
              policies={"al.u.example": ["mx.al.u.example"]}, one=H1)
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
    w = World(t, plain=f"c MX 10 mx.c\nmx.c A {ONE}\n", policies={"c.u.example": ["*.c.u.example"]})
    hop = w.hop["one"]
    for name, (kind, names, goes) in STS_CERTS.items():
        hop.cert = t.certs.issue("mx.c.u.example", kind=kind, names=names)
        t.eq(w.send(f"{name}@c.u.example"), "T" if goes else "F 4.7.5", name)
    t.eq({s.sni for s in hop.sessions}, {"mx.c.u.example"}, "SNI")


# ---- DANE ----

@case.register("no-dane-for-addresses", "D-24", "row-43")
def no_dane(t):
    """An address literal and an MX record with an address have no TLSA records, whatever the host has by name."""
    other = self_signed(t, "other.example").tlsa("3 1 1")
    w = World(t, signed=f"name MX 10 mx.name\nmx.name A {ONE}\nPORT.mx.name TLSA {other}\nip MX 10 {ONE}.\n")
    t.eq(w.send("b@name.p.example"), "F 4.7.5", "by name")
    for to in (f"b@[{ONE}]", "b@ip.p.example"):
        t.eq(w.send(to), "U", to)
        t.check("3 1 1" not in record(w, to).get("tlsa", ""), f"records for {to}")


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
    """(certificate of the host with its chain): anchor, a CA below it, the host."""
    below = ca_cert(t.path(f"{name}-below"), f"{name} below", anchor)
    made = Cert(t.path(f"{name}-leaf.pem"), t.path(f"{name}-leaf.key"))
    new_key(made.key)
    with open(t.path(f"{name}.ext"), "w", encoding="ascii") as f:
        f.write(f"subjectAltName=DNS:mx.{name}.p.example\nextendedKeyUsage=serverAuth\n")
    openssl("req", "-new", "-key", made.key, "-subj", "/CN=x", "-out", t.path(f"{name}.csr"))
    openssl("x509", "-req", "-in", t.path(f"{name}.csr"), "-CA", below.cert, "-CAkey", below.key, "-CAcreateserial",
            "-days", "30", "-extfile", t.path(f"{name}.ext"), "-out", t.path(f"{name}-leaf1.pem"))
    with open(made.cert, "w", encoding="ascii") as out:
        for part in (t.path(f"{name}-leaf1.pem"), below.cert, anchor.cert):
            with open(part, encoding="ascii") as f:
                out.write(f.read())
    return made


@case.register("names-under-a-trust-anchor", "D-43", "D-44", "D-41", "N-04")
def anchor_names(t):
    """DANE-TA: the host's name stands in a subjectAltName; a wildcard is one label, at the left; a common name
    is none."""
    t.certs.issue("x.example", kind="other-ca")
    ca = t.certs.other.cert
    names = {"wild": "*.wild.p.example", "exact": "mx.exact.p.example", "deep": "*.deep.p.example",
             "part": "m*.part.p.example", "cn": None}
    text = ""
    for n in names:
        host = "mx.very.deep" if n == "deep" else f"mx.{n}"
        anchor = t.certs.authority.cert if n == "cn" else ca
        text += f"{n} MX 10 {host}\n{host} A {ONE}\nPORT.{host} TLSA {anchor.tlsa('2 0 1')}\n"
    w = World(t, signed=text)
    for name, certified in names.items():
        kind = "other-ca" if certified else "cn-only"
        w.hop["one"].cert = t.certs.issue(f"mx.{name}.p.example", names=[certified], kind=kind)
        t.eq(w.send(f"b@{name}.p.example"), "T" if name in ("wild", "exact") else "F 4.7.5", name)


@case.register("constraints-of-a-trust-anchor", "D-50", "D-49")
def constraints(t):
    """`2 0 0`: an anchor that allows no CA below it (pathlen:0) does not vouch for one; one that does, does."""
    loose, tight = (ca_cert(t.path(f"ta-{n}"), f"anchor {n}", constraints=c)
                    for n, c in (("loose", "CA:TRUE"), ("tight", "CA:TRUE,pathlen:0")))
    w = World(t, signed="".join(f"{n} MX 10 mx.{n}\nmx.{n} A {a}\nPORT.mx.{n} TLSA {ta.tlsa('2 0 0')}\n"
                                for n, a, ta in (("loose", ONE, loose), ("tight", TWO, tight))),
              one=dict(H5, cert=host_cert(t, "loose", loose)), two=dict(H5, cert=host_cert(t, "tight", tight)))
    t.eq(w.send("b@loose.p.example"), "T", "a CA below the anchor")
    t.has(record(w, "b@loose.p.example")["tlsa"], "matched 2 0 0", "tlsa")
    t.eq(w.send("b@tight.p.example"), "F 4.7.5", "a CA too many")


case.main()
