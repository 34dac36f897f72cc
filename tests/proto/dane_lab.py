"""DNS, certificates and next hops for the cases of DANE (RFC 7672): one signed zone with a domain for
each way to publish TLSA records, all hosts on one port, which the records name.

    s = dane_lab.scene(t, {"ee": H5})       # the gateway, and the mail host of ee.d.example
    submit(t, s.gw, "b@ee.d.example")

`hosts` names mail hosts by the domain that they are made for; see HOSTS. The certificate of a host is
the one that its TLSA records are about, unless "cert" says otherwise."""

import atexit
import copy
import os
import shutil
import tempfile

import tagged
from case import Lab, Zone, free_port

# Host: address, and the name in its certificate. `kind` is that of the certificate.
HOSTS = {
    "back": ("127.0.7.1", "mx.back.d.example", "good"),
    "ee": ("127.0.7.2", "mx.ee.d.example", "self-signed"),
    "mis": ("127.0.7.3", "mx.mis.d.example", "good"),
    "un": ("127.0.7.4", "mx.un.d.example", "good"),
    "fail": ("127.0.7.5", "mx.fail.d.example", "good"),
    "bog": ("127.0.7.6", "mx.bog.d.example", "good"),
    "ta": ("127.0.7.7", "mx.ta.d.example", "other-ca"),
    "tad": ("127.0.7.8", "tad.d.example", "other-ca"),          # the domain's name
    "tax": ("127.0.7.9", "elsewhere.d.example", "other-ca"),
    "full": ("127.0.7.10", "mx.full.d.example", "other-ca"),    # sends its own certificate only
    "exp": ("127.0.7.11", "elsewhere.d.example", "self-expired"),
    "agile": ("127.0.7.12", "mx.agile.d.example", "good"),
    "al1": ("127.0.7.13", "real.al1.d.example", "other-ca"),
    "al2": ("127.0.7.14", "mx.al2.d.example", "other-ca"),
    "al3": ("127.0.7.15", "real.al3.d.example", "self-signed"),
    "al4": ("127.0.7.16", "mx.al4.d.example", "self-signed"),
    "al5": ("127.0.7.17", "alias.plain.example", "good"),
    "al6": ("127.0.7.18", "mx.al6.d.example", "self-signed"),
    "al7": ("127.0.7.19", "mx.al7.d.example", "other-ca"),
    "al8": ("127.0.7.20", "al8c.d.example", "other-ca"),
    "two": ("127.0.7.21", "mx.two.d.example", "good"),
    "none": ("127.0.7.22", "mx.none.d.example", "self-signed"),
    "unsigned": ("127.0.7.23", "mx.plain.example", "good"),
    "turn": ("127.0.7.24", "mx.turn.example", "self-signed"),
    "solo": ("127.0.7.25", "solo.d.example", "self-signed"),
    "tap": ("127.0.7.28", "tap.plain.example", "other-ca"),     # the name of an unsigned domain
    "slow": ("127.0.7.29", "mx.slow.d.example", "good"),
    "al9": ("127.0.7.26", "mx.al9.d.example", "good"),
    "al10": ("127.0.7.27", "mx.al10.d.example", "good"),
}

WEB = "127.0.7.100"         # policies of MTA-STS

lab = None
port = None


def cert(t, name):
    return t.certs.issue(HOSTS[name][1], kind=HOSTS[name][2])


def another(t):
    """A certificate that no host shows."""
    return t.certs.issue("unused.d.example", kind="self-signed")


def other_ca(t):
    t.certs.issue("mx.ta.d.example", kind="other-ca")       # brings that CA about
    return t.certs.other.cert


def leaf_only(t, made):
    """The same certificate without its issuer behind it."""
    short = copy.copy(made)
    short.cert = made.cert + ".leaf"
    with open(made.cert, encoding="ascii") as f, open(short.cert, "w", encoding="ascii") as out:
        out.write(f.read().partition("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n")
    return short


def mx(name, host=None):
    host = host or f"mx.{name}"
    return f"{name} MX 10 {host}\n{host} A {HOSTS[name][0]}\n"


def at(name, *records):
    return "".join(f"_{port}._tcp.{name} TLSA {r}\n" for r in records)


def alias(name, to):
    return f"_{port}._tcp.{name} CNAME {to}\n"


def zones(t):
    ee, good = cert(t, "ee"), another(t)
    ca = other_ca(t)
    ta = ca.tlsa("2 0 1")
    text = "".join(mx(x) for x in ("back", "ee", "mis", "un", "fail", "bog", "ta", "tad", "tax", "tap", "slow", "full",
                                   "exp", "agile", "two", "none"))
    text += at("mx.ee", ee.tlsa("3 1 1"))
    text += alias("mx.fail", "tlsa.fail.example.") + alias("mx.bog", "tlsa.bog.example.") + \
        alias("mx.slow", "tlsa.slow.example.")
    text += at("mx.mis", good.tlsa("3 1 1"))
    own = cert(t, "un")
    text += at("mx.un", own.tlsa("0 0 1"), own.tlsa("1 1 1"), own.tlsa("3 1 1")[:-2], own.tlsa("3 1 1").replace(
        "3 1 1", "3 1 9"), own.tlsa("3 1 1").replace("3 1 1", "3 7 1"), "3 0 0 3003020101")
    text += at("mx.ta", ta) + at("mx.tad", ta) + at("mx.tax", ta) + at("mx.tap", ta)
    text += at("mx.full", ca.tlsa("2 0 0"))
    text += at("mx.exp", cert(t, "exp").tlsa("3 1 1"))
    text += at("mx.agile", cert(t, "agile").tlsa("3 1 1"), good.tlsa("3 1 2"))
    text += at("mx.two", good.tlsa("2 0 1"), good.tlsa("3 0 2"), cert(t, "two").tlsa("3 1 2"))
    # Aliases (RFC 7672 2.2.2): al1 only the expanded name, al2 only the name in the MX record, al3
    # both, al4 an alias to an unsigned zone, al6 only the name in between, al7 an alias of the record.
    text += "al1 MX 10 mx.al1\nmx.al1 CNAME real.al1\nreal.al1 A 127.0.7.13\n" + at("real.al1", ta)
    text += "al2 MX 10 mx.al2\nmx.al2 CNAME real.al2\nreal.al2 A 127.0.7.14\n" + at("mx.al2", ta)
    text += "al3 MX 10 mx.al3\nmx.al3 CNAME real.al3\nreal.al3 A 127.0.7.15\n"
    text += at("real.al3", cert(t, "al3").tlsa("3 1 1")) + at("mx.al3", good.tlsa("3 1 1"))
    text += "al4 MX 10 mx.al4\nmx.al4 CNAME far.plain.example.\n" + at("mx.al4", cert(t, "al4").tlsa("3 1 1"))
    text += "al5 MX 10 alias.plain.example.\nreal.al5 A 127.0.7.17\n"
    text += alias("real.al5", "tlsa.al5.example.")
    text += "al6 MX 10 mx.al6\nmx.al6 CNAME mid.al6\nmid.al6 CNAME real.al6\nreal.al6 A 127.0.7.18\n"
    text += at("mid.al6", good.tlsa("3 1 1"))
    text += mx("al7") + alias("mx.al7", "shared") + f"shared TLSA {ta}\n"
    text += "al8 CNAME al8c\nal8c MX 10 mx.al8\nmx.al8 A 127.0.7.20\n" + at("mx.al8", ta)
    # al9: the query for the expanded name fails; al10: the record is behind an unsigned alias.
    text += "al9 MX 10 mx.al9\nmx.al9 CNAME real.al9\nreal.al9 A 127.0.7.26\n"
    text += alias("real.al9", "tlsa.fail.example.") + at("mx.al9", cert(t, "al9").tlsa("3 1 1"))
    text += mx("al10") + alias("mx.al10", "tlsa.plain.example.")
    text += "failfirst MX 10 mx.fail\nfailfirst MX 20 mx.ee\n"
    text += "both MX 10 mx.mis\nboth MX 20 mx.ee\nplainfirst MX 10 mx.none\nplainfirst MX 20 mx.ee\n"
    text += "solo A 127.0.7.25\n" + at("solo", cert(t, "solo").tlsa("3 1 1"))
    return {
        "example": Zone(),
        "d.example": Zone(text),
        # Records are behind an alias there (D-27), so that a server of its own answers for them.
        "fail.example": Zone(kind="servfail"),
        "slow.example": Zone(kind="slow"),
        "al5.example": Zone(kind="servfail"),
        "plainfail.example": Zone(kind="servfail"),
        "bog.example": Zone(f"tlsa TLSA {good.tlsa('3 1 1')}", kind="bogus"),
        "plain.example": Zone("@ MX 10 mx\nmx A 127.0.7.23\nfar A 127.0.7.16\n"
                              "alias CNAME real.al5.d.example.\nee MX 10 mx.ee.d.example.\n"
                              "sts MX 10 mx.ee.d.example.\nsts2 MX 10 mx.mis.d.example.\n" +
                              "".join(f"mta-sts.{x} A {WEB}\n_mta-sts.{x} TXT \"v=STSv1; id=1\"\n"
                                      for x in ("sts", "sts2")) +
                              "tap MX 10 mx.tap.d.example.\nfail MX 10 mx.fail.d.example.\n"
                              "mis MX 10 mx.mis.d.example.\n"
                              f"tlsa TLSA {good.tlsa('3 1 1')}\n" + alias("mx", "tlsa.plainfail.example.") +
                              alias("alias", "tlsa.al5.example."),
                              kind="unsigned"),
        "turn.example": Zone(turn(t, another(t).tlsa("3 1 1"))),
    }


def turn(t, *records):
    """Records of the zone turn.example, whose TLSA records change."""
    return "@ MX 10 mx\nmx A 127.0.7.24\n" + at("mx", *records).replace(" TLSA ", " 1 TLSA ")


def stop_lab():
    lab.stop()
    shutil.rmtree(lab.dir, ignore_errors=True)


def use_lab(t):
    global lab, port
    if lab is None:
        port = free_port(sorted(a for a, *_ in HOSTS.values()))
        lab = Lab(tempfile.mkdtemp(prefix="sp-dane-"), zones(t)).start()
        atexit.register(stop_lab)
    t.zones_lab = lab
    return lab


def domain(name):
    return f"{name}.d.example"


def scene(t, hosts, over=None, policy=None):
    """`hosts`: name to the options of a next hop."""
    use_lab(t)
    hosts = dict({"back": tagged.H5}, **hosts)
    hop = {}
    for name, options in hosts.items():
        options = copy.deepcopy(options)
        kind = options.pop("kind", None)
        if "cert" not in options:
            options["cert"] = another(t) if kind == "self-signed" else cert(t, name)
        hop[name] = t.nexthop(port=port, host=HOSTS[name][0], name=HOSTS[name][1], **options)
    s = tagged.Scene.__new__(tagged.Scene)
    s.hop, s.back = hop, hop["back"]
    s.gw = t.gateway(hop_port=port, over=over, policy=policy)
    return s


SENDER = "a@back.d.example"


def submit(t, s, to, **options):
    return tagged.submit(t, s.gw, to, sender=SENDER, **options)
