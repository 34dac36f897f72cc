"""sallyport dns-records: what it prints goes into a zone as it is, and --check says what is there and what is
not, against real zones."""

import atexit
import hashlib
import json
import re
import shutil
import tempfile

import case
from case import Gateway, Lab, Zone, basic_config
from lab.certs import openssl

OK, NO, USAGE, UNKNOWN = 0, 1, 2, 3
ACME, GW = "acme.example", "gw.example"
ADDRESSES = f"@ MX 10 {GW}.\nmta-sts A 127.0.0.1\n"
HOST = "@ A 127.0.0.1\n"

lab = None


def stop_lab():
    lab.stop()
    shutil.rmtree(lab.dir, ignore_errors=True)


def use_lab(t):
    global lab
    if lab is None:
        lab = Lab(tempfile.mkdtemp(prefix="sp-rec-"), {
            "example": Zone(), ACME: Zone(ADDRESSES, kind="unsigned", ttl=0), GW: Zone(HOST, ttl=0),
            "plain.example": Zone("@ A 127.0.0.1", kind="unsigned", ttl=0),
            "broken.example": Zone(kind="servfail")}).start()
        atexit.register(stop_lab)
    t.zones_lab = lab


def publish(acme="", gw=""):
    for zone, text in ((ACME, ADDRESSES + acme), (GW, HOST + gw)):
        if lab.zones[zone].text != text:
            lab.update(zone, text)


class Bench:
    """A configuration, and no daemon."""

    def __init__(self, t, over=None, domains=None, start=False):
        use_lab(t)
        self.t = t
        config = basic_config(t.certs, lab, over={"sts_serve": {"domains": domains or {
            ACME: {"mode": "enforce", "max_age": "2w", "mx": [GW], "reports": ["mailto:tls@acme.example"]}}}})
        self.gw = Gateway(t.path("gw"), case.merge(config, over or {}), start=start)
        if start:
            t.parts.append(self.gw.stop)
            t.gateways.append(self.gw)

    def run(self, *args, status=OK, port="25"):
        done = self.gw.run("dns-records", *args, *(["--port", port] if port else []))
        self.t.eq(done.returncode, status, f"exit status of dns-records {args}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def state(self, *args, status):
        found = json.loads(self.run("--check", "--json", *args, status=status))["records"]
        return {(r["name"], r["type"], "next" in r["about"]): r["state"] for r in found}


POLICY = "version: STSv1\r\nmode: enforce\r\nmx: gw.example\r\nmax_age: 1209600\r\n"
ID = hashlib.sha256(POLICY.encode()).hexdigest()[:20]
STS = f'_mta-sts TXT "v=STSv1; id={ID};"\n'
REPORTS = '_smtp._tls TXT "v=TLSRPTv1; rua=mailto:tls@acme.example"\n'
NAMES = {"sts": (f"_mta-sts.{ACME}", "TXT", False), "host": (f"mta-sts.{ACME}", "CNAME", False), "mx": (ACME, "MX", False),
         "rpt": (f"_smtp._tls.{ACME}", "TXT", False), "tlsa": (f"_25._tcp.{GW}", "TLSA", False),
         "next": (f"_25._tcp.{GW}", "TLSA", True)}


def tlsa(rdata, port=25):
    return f"_{port}._tcp TLSA {rdata}\n"


def own(t):
    return t.certs.issue(GW)


@case.register("prints-what-to-publish", "S-01", "S-05", "S-44", "T-01", "D-56", "D-58")
def prints(t):
    """Records as they go into a zone; with them in it, --check is content, and a handshake agrees."""
    b = Bench(t, start=True)
    port = str(b.gw.port("inbound"))
    text = b.run(port=None)
    records = [x for x in text.splitlines() if not x.startswith(";")]
    t.eq(records, [f'_mta-sts.{ACME}. IN TXT "v=STSv1; id={ID};"', f"mta-sts.{ACME}. IN CNAME {GW}.",
                   f'_smtp._tls.{ACME}. IN TXT "v=TLSRPTv1; rua=mailto:tls@acme.example"',
                   f"_{port}._tcp.{GW}. IN TLSA {own(t).tlsa()}"], "records")
    lab.update(ACME, f"@ MX 10 {GW}.\n" + "\n".join(x for x in records if ACME in x.split()[0]))
    lab.update(GW, HOST + "\n".join(x for x in records if "TLSA" in x))
    t.lacks(b.run("--check", port=None), "publish")
    done = b.gw.run("probe", ACME, "--port", port, "--json")
    t.eq(done.returncode, 3, "exit status of probe: nobody serves the policy")
    found = json.loads(done.stdout)
    t.eq(found["hosts"][0]["addresses"][0]["tls"]["verified"], "dane", "in a handshake")


@case.register("check-each-record", "S-04", "S-40", "S-60", "T-02", "T-03", "D-56", "D-46", "D-48")
def each(t):
    """Right, missing and wrong, for each record by itself."""
    b = Bench(t)
    mine, other = own(t).tlsa(), t.certs.issue("other.example").tlsa()
    right = dict.fromkeys(["sts", "host", "mx", "rpt", "tlsa"], "ok")

    def check(acme, gw, status, says="", **states):
        publish(acme, gw)
        text = b.run("--check", status=status)
        found = {(name, kind): state for state, name, kind in re.findall(r"^(\w+) +(\S+) (\S+)$", text, re.M)}
        t.eq({k: found[NAMES[k][:2]] for k in right}, dict(right, **states), f"{acme} {gw}")
        t.has(text, says)

    good = STS + REPORTS
    check(good, tlsa(mine), OK)
    check(REPORTS, tlsa(mine), NO, f'publish: _mta-sts.{ACME}. IN TXT "v=STSv1; id={ID};"', sts="missing")
    check(good.replace(ID, "0" + ID[1:] if ID[0] != "0" else "1" + ID[1:]), tlsa(mine), NO, "announces id", sts="wrong")
    check(good + STS.replace("STSv1;", "STSv1; x=y;"), tlsa(mine), NO, "or more than one", sts="wrong")
    check(STS, tlsa(mine), NO, "no record asks for reports", rpt="missing")
    check(STS + REPORTS.replace("tls@", "old@"), tlsa(mine), NO, "not sent to mailto:tls@acme.example", rpt="wrong")
    check(good + '_smtp._tls TXT "v=TLSRPTv1; rua=mailto:x@y.example"\n', tlsa(mine), NO, "2 records", rpt="wrong")
    check(STS + REPORTS.replace("rua=", "rua=https://a.example/b, "), tlsa(mine), OK)
    check(good + "@ MX 20 backup.example.\n", tlsa(mine), NO, "does not name the MX host backup.example", mx="wrong")
    check(good, "", NO, f"publish: _25._tcp.{GW}. IN TLSA {mine}", tlsa="missing")
    check(good, tlsa(other), NO, "whoever does DANE sends no mail", tlsa="wrong")
    check(good, tlsa(mine.replace("3 1 1", "1 1 1")), NO, "none of what is published is usable", tlsa="wrong")
    check(good, tlsa(other) + tlsa(mine), OK)
    # Of two digests of a key only the stronger one counts (RFC 7671 section 9).
    check(good, tlsa(mine) + tlsa(t.certs.issue("other.example").tlsa("3 1 2")), NO, tlsa="wrong")
    check(good, tlsa(t.certs.authority.cert.tlsa("2 0 1")), OK)
    check(good, tlsa(own(t).tlsa("2 0 1")), NO, tlsa="wrong")       # no authority
    lab.update(ACME, good + f"@ MX 10 {GW}.\n")
    t.eq(b.state(status=NO)[NAMES["host"]], "missing", "no address")


@case.register("next-key", "D-57")
def next_key(t):
    """The next key is printed and missed until it is published, be it a certificate, a private or a public key."""
    new = t.certs.issue("gw.example", names=[GW, "new.example"])
    public = t.path("next.pub")
    with open(public, "wb") as f:
        f.write(openssl("pkey", "-in", new.key, "-pubout"))
    for file in (new.key, new.cert, public):
        b = Bench(t, over={"tls": {"identities": {"gw": {"next_key": file}}}})
        t.has(b.run(), f"_25._tcp.{GW}. IN TLSA {new.tlsa()}")
        publish(STS + REPORTS, tlsa(own(t).tlsa()))
        found = b.state(status=NO)
        t.eq((found[NAMES["tlsa"]], found[NAMES["next"]]), ("ok", "missing"), file)
        t.has(b.run("--check", status=NO), "do not change over yet")
        publish(STS + REPORTS, tlsa(own(t).tlsa()) + tlsa(new.tlsa()))
        t.eq(b.state(status=OK)[NAMES["next"]], "ok", file)
    publish(STS + REPORTS, tlsa(t.certs.authority.cert.tlsa("2 0 1")))
    t.eq(b.state(status=OK)[NAMES["next"]], "ok", "the authority is named")


@case.register("unsigned-and-unknown", "D-08", "D-13")
def unsigned(t):
    """Without DNSSEC records of TLSA are nobody's duty; a look-up that fails is neither yes nor no."""
    publish_all = STS + REPORTS
    b = Bench(t, over={"identity": {"hostname": "plain.example"}}, domains={
        ACME: {"mode": "enforce", "max_age": "2w", "mx": [GW], "reports": []}})
    publish(publish_all, tlsa(own(t).tlsa()))
    found = b.state(status=OK)
    t.eq((found[("_25._tcp.plain.example", "TLSA", False)], found[NAMES["tlsa"]]), ("unsigned", "ok"), "unsigned")
    t.check(NAMES["rpt"] not in found, "reports are not wanted")
    b = Bench(t, over={"identity": {"hostname": "x.broken.example"}})
    t.eq(b.state(status=UNKNOWN)[("_25._tcp.x.broken.example", "TLSA", False)], "unknown", "broken")
    t.has(b.run("--check", status=UNKNOWN), "the look-up failed: servfail")


@case.register("which-domain", "S-11")
def which(t):
    """One domain, all of them, and one that is not ours."""
    b = Bench(t, domains={ACME: {"mode": "none"}, "bücher.example": {"mode": "testing", "mx": ["*.acme.example"]}})
    t.check("bcher" not in b.run(ACME) and "mx" not in b.run(ACME), "only one")
    t.has(b.run("BÜCHER.example"), '_mta-sts.xn--bcher-kva.example. IN TXT "v=STSv1; id=')
    t.has(b.run("bücher.example"), '"v=TLSRPTv1; rua=mailto:postmaster@gw.example"')
    t.has(b.run(GW), "TLSA")        # local, without a policy
    t.has(b.run("other.example", status=USAGE), "no domain of this configuration")
    b.run("a", "b", status=USAGE)
    b.run("a b", status=USAGE)


case.main()
