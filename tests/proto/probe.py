"""sallyport probe: what would become of mail to a domain, without a daemon and without a MAIL command.

Domains of the lab in every state that the decision table knows, each through real DNS and SMTP."""

import atexit
import json
import os
import shutil
import ssl
import tempfile

import case
from case import Gateway, Lab, Zone, basic_config, free_port
from lab.policyhost import PolicyHost, policy

YES, NO, USAGE, UNKNOWN = 0, 1, 2, 3

ZONES = {
    "example": Zone(),
    "good.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.11"),
    "keyless.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.12"),
    "unsigned.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.13", kind="unsigned"),
    "badcert.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.14"),
    "clear.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.15"),
    "away.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.16"),
    "two.example": Zone("@ MX 10 mx1\n@ MX 20 mx2\nmx1 A 127.0.0.17\nmx2 A 127.0.0.18\nmx2 A 127.0.0.19"),
    "solo.example": Zone("@ A 127.0.0.20", kind="unsigned"),
    "null.example": Zone("@ MX 0 ."),
    "nothing.example": Zone("@ TXT nothing"),
    "bogus.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.21", kind="bogus"),
    "broken.example": Zone(kind="servfail"),
}
ADDRESSES = [f"127.0.0.{n}" for n in range(11, 26)]
STS_MX, STS_WEB = "127.0.0.25", "127.0.8.100"
STS_DOMAINS = ["ok", "mismatch", "testing", "trouble", "gone", "unsure"]
MAILS = ("untagged", "tls_required_no", "requiretls")

PORT = free_port(ADDRESSES)       # TLSA records name it
lab = None


def zones(t):
    """With TLSA records for certificates of this run."""
    ours, other = (t.certs.issue("mx1.dane.example", kind=k).tlsa("3 1 1") for k in ("self-signed", "good"))
    at = f"_{PORT}._tcp.mx1 TLSA"
    return dict(ZONES, **{
        "dane.example": Zone(f"@ MX 10 mx1\nmx1 A 127.0.0.22\n{at} {ours}"),
        "danebad.example": Zone(f"@ MX 10 mx1\nmx1 A 127.0.0.23\n{at} {other}"),
        "sts.example": Zone("\n".join(
            f'{d} MX 10 mx.{d}\nmx.{d} A {STS_MX}\nmta-sts.{d} A {STS_WEB}\n_mta-sts.{d} TXT "v=STSv1; id=7"'
            for d in STS_DOMAINS if d != "unsure") + f'\nunsure MX 10 mx.unsure\nmx.unsure A {STS_MX}\n'
            '_mta-sts.unsure TXT "v=STSv1; id=1"\n_mta-sts.unsure TXT "v=STSv1; id=2"', kind="unsigned"),
        "daneodd.example": Zone(f"@ MX 10 mx1\nmx1 A 127.0.0.24\n{at} 1 1 1 {ours.split()[-1]}"),
    })


def stop_lab():
    lab.stop()
    shutil.rmtree(lab.dir, ignore_errors=True)


class Bench:
    """A configuration that no daemon runs with, and hosts {address: options of NextHop}."""

    def __init__(self, t, hosts):
        global lab
        if lab is None:
            lab = Lab(tempfile.mkdtemp(prefix="sp-dns-"), zones(t)).start()
            atexit.register(stop_lab)
        self.t = t
        self.hop = {}
        for host, options in hosts.items():
            options = dict(options)
            name, kind, names = options.pop("name"), options.pop("kind", "good"), options.pop("names", None)
            self.hop[host] = t.nexthop(host=host, port=PORT, name=name,
                                       cert=t.certs.issue(name, kind=kind, names=names), **options)
        self.gw = Gateway(t.path("gw"), basic_config(t.certs, lab, hop_port=PORT), start=False)

    def run(self, domain, *args, status):
        done = self.gw.run("probe", domain, *args)
        self.t.eq(done.returncode, status, f"exit status of probe {domain}: {done.stdout}{done.stderr}")
        return done.stdout

    def json(self, domain, status):
        found = json.loads(self.run(domain, "--json", status=status))
        self.polite()
        return found

    def polite(self):
        """Every host that was spoken to saw QUIT last, and neither MAIL nor RCPT."""
        for host, hop in self.hop.items():
            self.t.check(hop.sessions, f"{host} was not asked")
            for session in hop.sessions:
                verbs = [c.split()[0].upper() for c in session.commands]
                self.t.check(not {"MAIL", "RCPT", "DATA"} & set(verbs), f"{host}: {verbs}")
                if hop.handshake is None and hop.tls_max is None:     # else nothing can be said any more
                    self.t.eq(verbs[-1], "QUIT", f"{host}: the last of {verbs}")


def results(found):
    return [found["conclusion"][m]["result"] for m in MAILS]


@case.register("good", "row-18", "R-07")
def good(t):
    """Signed, verified, listed: all mail goes, tagged mail with REQUIRETLS."""
    b = Bench(t, {"127.0.0.11": {"name": "mx1.good.example", "requiretls": True}})
    found = b.json("good.example", YES)
    t.eq(results(found), ["delivered"] * 3, "results")
    t.eq(found["conclusion"]["requiretls"], {"result": "delivered", "host": "mx1.good.example",
                                             "protection": "tls-pkix", "with_requiretls": True}, "conclusion")
    t.check(not found["conclusion"]["untagged"]["with_requiretls"], "the keyword, unasked")
    host = found["hosts"][0]
    t.eq((host["authenticated_by"], host["addresses_secure"], host["requiretls"]["row"]), ("dnssec", True, 18), "host")
    t.eq(host["addresses"][0]["tls"]["names"], "mx1.good.example", "certificate")
    t.eq((found["dnssec"]["validated"], found["mx"]["secure"]), (True, True), "DNSSEC")
    session = b.hop["127.0.0.11"].sessions[0]
    t.eq([c.split()[0].upper() for c in session.commands], ["EHLO", "STARTTLS", "EHLO", "QUIT"], "commands")
    text = b.run("GOOD.example.", status=YES)
    for part in ("good.example: 1 mail host, by MX records, signed with DNSSEC",
                 "REQUIRETLS        yes, over TLS, certificate verified, with REQUIRETLS",
                 "REQUIRETLS        is delivered to mx1.good.example"):
        t.has(text, part)


# Name, domain, hosts, exit status, results, (status, reason) of tagged mail, what untagged mail gets, what
# tagged mail would need.
TABLE = [
    ("keyword-less", "keyless.example", {"127.0.0.12": {"name": "mx1.keyless.example"}}, NO,
     ["delivered", "delivered", "returned"], ("5.7.30", "no-requiretls"), "tls-pkix",
     ["mx1.keyless.example: list REQUIRETLS after STARTTLS"]),
    ("keyword-before-tls", "keyless.example",
     {"127.0.0.12": {"name": "mx1.keyless.example", "ehlo": ["STARTTLS", "REQUIRETLS"], "ehlo_tls": ["SIZE 1000"]}},
     NO, ["delivered", "delivered", "returned"], ("5.7.30", "no-requiretls"), "tls-pkix",
     ["mx1.keyless.example: list REQUIRETLS after STARTTLS; it is listed before, where it does not count"]),
    ("unsigned", "unsigned.example", {"127.0.0.13": {"name": "mx1.unsigned.example", "requiretls": True}}, NO,
     ["delivered", "delivered", "returned"], ("5.7.10", "mx-unauthenticated"), "tls-pkix",
     ["the domain: sign its MX records with DNSSEC, or publish an MTA-STS policy that names mx1.unsigned.example"]),
    ("unsigned-and-keyword-less", "unsigned.example",
     {"127.0.0.13": {"name": "mx1.unsigned.example", "kind": "wrong-name"}}, NO,
     ["delivered", "delivered", "returned"], ("5.7.10", "mx-unauthenticated"), "tls",
     ["the domain: sign its MX records with DNSSEC, or publish an MTA-STS policy that names mx1.unsigned.example",
      "mx1.unsigned.example: the certificate names elsewhere.invalid, not mx1.unsigned.example",
      "mx1.unsigned.example: list REQUIRETLS after STARTTLS"]),
    ("wrong-name", "badcert.example",
     {"127.0.0.14": {"name": "mx1.badcert.example", "kind": "wrong-name", "requiretls": True}}, NO,
     ["delivered", "delivered", "returned"], ("5.7.10", "unverified"), "tls",
     ["mx1.badcert.example: the certificate names elsewhere.invalid, not mx1.badcert.example"]),
    ("no-starttls", "clear.example", {"127.0.0.15": {"name": "mx1.clear.example", "starttls": False}}, NO,
     ["delivered", "delivered", "returned"], ("5.7.10", "no-starttls"), "clear",
     ["mx1.clear.example: offer STARTTLS"]),
    ("handshake", "clear.example", {"127.0.0.15": {"name": "mx1.clear.example", "handshake": "garbage"}}, NO,
     ["delivered", "delivered", "returned"], ("5.7.10", "handshake-failed"), "clear",
     ["mx1.clear.example: STARTTLS is offered and has to work"]),
    ("old-tls", "clear.example", {"127.0.0.15": {"name": "mx1.clear.example", "tls_max": ssl.TLSVersion.TLSv1_1}}, NO,
     ["delivered", "delivered", "returned"], ("5.7.10", "handshake-failed"), "clear",
     ["mx1.clear.example: STARTTLS is offered and has to work"]),
    ("starttls-454", "clear.example",
     {"127.0.0.15": {"name": "mx1.clear.example", "replies": {"STARTTLS": "454 4.7.0 not now"}}}, UNKNOWN,
     ["delivered", "delivered", "deferred"], ("4.7.0", "starttls-tempfail"), "clear",
     ["mx1.clear.example: STARTTLS is offered and has to work"]),
    ("unreachable", "away.example", {}, UNKNOWN,
     ["deferred"] * 3, ("4.4.1", "unreachable"), None, ["mx1.away.example: it has to answer"]),
    ("implicit-mx", "solo.example", {"127.0.0.20": {"name": "solo.example", "requiretls": True}}, YES,
     ["delivered"] * 3, None, "tls-pkix", []),
    ("null-mx", "null.example", {}, NO, ["returned"] * 3, ("5.1.10", "null-mx"), None, None),
    ("no-such-domain", "absent.example", {}, NO, ["returned"] * 3, ("5.1.2", "nxdomain"), None, None),
    ("no-address", "nothing.example", {}, NO, ["returned"] * 3, ("5.4.4", "no-address"), None, None),
    ("bogus", "bogus.example", {}, UNKNOWN, ["deferred"] * 3, ("4.4.3", "dns-failure"), None, None),
    ("servfail", "broken.example", {}, UNKNOWN, ["deferred"] * 3, ("4.4.3", "dns-failure"), None, None),
]


@case.register("each-state")
def table(t):
    """Domain after domain: result, reason, what would have to change, and the exit status."""
    for name, domain, hosts, status, want, tagged, untagged, changes in TABLE:
        b = Bench(t, hosts)
        found = b.json(domain, status)
        t.eq(results(found), want, f"{name}: results")
        end = found["conclusion"]["requiretls"]
        if tagged is not None:
            t.eq((end["status"], end["reason"]), tagged, f"{name}: tagged mail")
        if untagged is not None:
            t.eq(found["conclusion"]["untagged"]["protection"], untagged, f"{name}: untagged mail")
        t.eq(found["hosts"][0]["requiretls"].get("changes", []) if found["hosts"] else None, changes,
             f"{name}: changes")
        text = b.run(domain, status=status)
        for change in changes or []:
            t.has(text, f"to change: {change}\n", name)
        if tagged is not None:
            t.has(text.split("Mail to")[1], f"({tagged[0]})\n", name)
        for hop in b.hop.values():
            hop.stop()


@case.register("dane-good", "row-8", "D-22")
def dane_good(t):
    """A certificate that nobody signed and the domain's TLSA records name: all mail goes."""
    b = Bench(t, {"127.0.0.22": {"name": "mx1.dane.example", "kind": "self-signed", "requiretls": True}})
    found = b.json("dane.example", YES)
    t.eq([found["conclusion"][m]["protection"] for m in MAILS if m != "tls_required_no"], ["tls-dane"] * 2, "protection")
    host = found["hosts"][0]
    t.eq(host["requiretls"]["row"], 8, "row")
    t.has(host["tlsa"], "usable at mx1.dane.example: 3 1 1 ", "records")
    t.has(host["addresses"][0]["tls"]["tlsa"], "matched 3 1 1 ", "the one that matched")
    t.has(b.run("dane.example", status=YES), "TLSA records: usable at mx1.dane.example: 3 1 1 ", "for people")


@case.register("dane-broken", "row-6", "row-5")
def dane_broken(t):
    """A certificate that everybody trusts and the TLSA records do not name: no mail goes but what waives TLS."""
    b = Bench(t, {"127.0.0.23": {"name": "mx1.danebad.example", "requiretls": True}})
    found = b.json("danebad.example", NO)
    t.eq(results(found), ["deferred", "delivered", "returned"], "results")
    t.eq((found["conclusion"]["untagged"]["reason"], found["conclusion"]["requiretls"]["reason"]),
         ("dane-mismatch", "dane-mismatch"), "reasons")
    t.eq(found["hosts"][0]["requiretls"]["row"], 6, "row")
    t.has(found["hosts"][0]["requiretls"]["changes"][0],
          "mx1.danebad.example: a certificate that matches the TLSA records at mx1.danebad.example", "changes")


@case.register("dane-unusable", "row-12")
def dane_unusable(t):
    """Records that nobody can use ask for TLS and no more."""
    b = Bench(t, {"127.0.0.24": {"name": "mx1.daneodd.example", "requiretls": True}})
    found = b.json("daneodd.example", YES)
    t.eq((found["hosts"][0]["requiretls"]["row"], found["conclusion"]["requiretls"]["protection"]), (12, "tls-pkix"), "row")
    t.has(found["hosts"][0]["tlsa"], "unusable at mx1.daneodd.example: 1 1 1 ", "records")


class StsBench(Bench):
    """The same with a policy host, for domains below sts.example, whose mail host is one."""

    def __init__(self, t, over=None, **options):
        names = [f"mx.{d}.sts.example" for d in STS_DOMAINS]
        super().__init__(t, {STS_MX: dict({"name": names[0], "names": names, "requiretls": True}, **options)})
        self.web = PolicyHost(t.certs, STS_WEB)
        t.parts.append(self.web.stop)
        self.gw.config["tls"].update({"sts_port": self.web.port, "sts_timeout": "8s"}, **over or {})
        self.gw.write()

    def publish(self, name, mode="enforce", mx=None, **page):
        self.web.publish(f"{name}.sts.example", policy(mode, [mx or f"mx.{name}.sts.example"]), **page)

    def found(self, name, status):
        found = self.json(f"{name}.sts.example", status)
        verdict = found["hosts"][0]["requiretls"]
        return found, verdict, [found["conclusion"][m].get("status") for m in MAILS]


@case.register("sts-good", "row-24", "row-23", "S-60")
def sts_good(t):
    """An unsigned domain whose policy names the host: all mail goes; without the keyword it is that which lacks."""
    b = StsBench(t)
    b.publish("ok")
    found, verdict, unused = b.found("ok", YES)
    t.eq(results(found), ["delivered"] * 3, "results")
    t.eq((verdict["row"], verdict["with_requiretls"], found["hosts"][0]["authenticated_by"]), (24, True, "sts"), "host")
    t.eq(found["sts"], {"record": "found", "id": "7", "mode": "enforce", "why": None, "max_age": 86400,
                        "mx": ["mx.ok.sts.example"]}, "policy")
    t.eq((found["hosts"][0]["sts_match"], b.web.count("ok.sts.example")), (True, 1), "match, and fetches")
    text = b.run("ok.sts.example", status=YES)
    t.has(text, "MTA-STS: mode enforce, id 7, good for 86400 s, names mx.ok.sts.example\n", "policy, for people")
    t.has(text, "name authenticated by MTA-STS\n   MTA-STS policy: names this host\n", "host, for people")
    b.hop[STS_MX].stop()
    b = StsBench(t, requiretls=False)
    b.publish("ok")
    found, verdict, status = b.found("ok", NO)
    t.eq((results(found), status[2], verdict["row"]), (["delivered", "delivered", "returned"], "5.7.30", 23), "no keyword")
    t.eq(verdict["changes"], ["mx.ok.sts.example: list REQUIRETLS after STARTTLS"], "changes")


@case.register("sts-mismatch", "row-25")
def sts_mismatch(t):
    """The policy names another host: mail waits, goes when it waives TLS, and is returned with REQUIRETLS."""
    b = StsBench(t)
    b.publish("mismatch", mx="mx.elsewhere.example")
    found, verdict, status = b.found("mismatch", NO)
    t.eq((results(found), status), (["deferred", "delivered", "returned"], ["4.7.5", None, "5.7.10"]), "results")
    t.eq([found["conclusion"][m].get("reason") for m in MAILS], ["sts-mismatch", None, "sts-mismatch"], "reasons")
    t.eq(verdict["row"], 25, "row")
    t.eq((found["hosts"][0]["sts_match"], found["hosts"][0]["authenticated_by"]), (False, "no"), "host")
    t.eq(verdict["changes"], ["the domain: name mx.mismatch.sts.example in its MTA-STS policy"], "changes")
    text = b.run("mismatch.sts.example", status=NO)
    t.has(text, "   MTA-STS policy: does not name this host\n", "for people")
    t.has(text, "to change: the domain: name mx.mismatch.sts.example in its MTA-STS policy\n", "for people")


@case.register("sts-testing", "row-30", "row-31", "D2")
def sts_testing(t):
    """A policy of mode testing names the host, names another, and does not count."""
    b = StsBench(t)
    b.publish("testing", "testing")
    found, verdict, unused = b.found("testing", YES)
    t.eq((results(found), verdict["row"], found["sts"]["mode"]), (["delivered"] * 3, 30, "testing"), "it counts")
    b.publish("testing", "testing", mx="mx.elsewhere.example")
    found, verdict, status = b.found("testing", NO)
    t.eq((results(found), verdict["row"], status[2]), (["delivered", "delivered", "returned"], 31, "5.7.10"), "another host")
    t.eq(verdict["changes"], ["the domain: sign its MX records with DNSSEC, or name mx.testing.sts.example in its MTA-STS "
                              "policy"], "changes")
    b.gw.config["tls"]["sts_testing"] = "refuse"
    b.gw.write()
    b.publish("testing", "testing")
    found, verdict, status = b.found("testing", NO)
    t.eq((results(found), status[2]), (["delivered", "delivered", "returned"], "5.7.10"), "it does not count")
    t.eq(verdict["changes"], ["the domain: sign its MX records with DNSSEC, or set the mode of its MTA-STS policy to "
                              "enforce"], "changes")


@case.register("sts-no-policy", "row-36", "row-35", "S-23")
def sts_no_policy(t):
    """A record that announces what is not to be had: not now, not at all; and two records."""
    b = StsBench(t)
    b.publish("trouble", status="503 Not now")
    found, verdict, status = b.found("trouble", UNKNOWN)
    t.eq((results(found), status[2], verdict["row"]), (["delivered", "delivered", "deferred"], "4.7.5", 36), "503")
    t.eq(found["sts"], {"record": "found", "id": "7", "mode": "unknown", "why": "HTTP status 503"}, "policy")
    t.eq(verdict["changes"], ["the domain: the MTA-STS policy that its TXT record announces has to be there (HTTP status 503)"],
         "changes")
    t.has(b.run("trouble.sts.example", status=UNKNOWN), "MTA-STS: no policy to be had: HTTP status 503\n", "for people")
    b.publish("gone", status="404 Not found")
    found, verdict, status = b.found("gone", NO)
    t.eq((results(found), status[2], verdict["row"], found["sts"]["mode"], found["sts"]["why"]),
         (["delivered", "delivered", "returned"], "5.7.10", 35, "none", "HTTP status 404"), "nothing there")
    t.eq(verdict["changes"], ["the domain: sign its MX records with DNSSEC, or put the MTA-STS policy in place that its TXT "
                              "record announces (HTTP status 404)"], "changes")
    found, verdict, status = b.found("unsure", NO)
    t.eq((status[2], found["sts"]["record"], found["sts"]["mode"]), ("5.7.10", "broken", "none"), "two records")
    t.eq(verdict["changes"], ["the domain: sign its MX records with DNSSEC, or mend its MTA-STS record"], "changes")


@case.register("sts-off")
def sts_off(t):
    """With tls.sts off nobody asks for policies, and none counts."""
    b = StsBench(t, over={"sts": "off"})
    b.publish("ok")
    found, verdict, status = b.found("ok", NO)
    t.eq((found["sts"], found["hosts"][0]["sts_match"], status[2], b.web.hits), (None, None, "5.7.10", []), "policy")
    t.has(b.run("ok.sts.example", status=NO), "MTA-STS: off in this configuration\n", "for people")


@case.register("several-hosts", "R-48", "row-51")
def several(t):
    """Every address is asked; mail goes to the first host that will do, as in a delivery."""
    b = Bench(t, {"127.0.0.17": {"name": "mx1.two.example"},
                  "127.0.0.18": {"name": "mx2.two.example", "requiretls": True},
                  "127.0.0.19": {"name": "mx2.two.example", "requiretls": True}})
    found = b.json("two.example", YES)
    t.eq([found["conclusion"][m]["host"] for m in MAILS], ["mx1.two.example"] * 2 + ["mx2.two.example"], "hosts")
    t.eq([[a["ip"] for a in h["addresses"]].sort() for h in found["hosts"]], [None, None], "addresses")
    t.eq([len(h["addresses"]) for h in found["hosts"]], [1, 2], "addresses")
    t.eq([h["requiretls"]["sent"] for h in found["hosts"]], [False, True], "which would do")


@case.register("mixed-hosts", "row-52")
def mixed(t):
    """One lacks the keyword, the other does not answer: it cannot be found out."""
    b = Bench(t, {"127.0.0.17": {"name": "mx1.two.example"}})
    found = b.json("two.example", UNKNOWN)
    t.eq(results(found), ["delivered", "delivered", "deferred"], "results")
    t.eq([h["requiretls"]["reason"] for h in found["hosts"]], ["no-requiretls", "unreachable"], "reasons")


@case.register("hostile-words", "I7")
def hostile(t):
    """What a server says comes to the terminal escaped."""
    b = Bench(t, {"127.0.0.11": {"name": "mx1.good.example", "replies": {"GREETING": "554 5.0.0 \x1b[2Jgo away\x07"}}})
    text = b.run("good.example", status=UNKNOWN)
    t.has(text, "go away")
    t.check(not set(text) & {"\x1b", "\x07"}, "escapes")


@case.register("wrong-use")
def usage(t):
    """Exit status 2, and the reason; without a configuration the system's resolvers."""
    b = Bench(t, {})
    for args in ((), ("a.example", "b.example"), ("not a name",), ("a.example", "--port", "0"), ("a.example", "--port", "x")):
        done = b.gw.run("probe", *args)
        t.eq((done.returncode, done.stdout), (USAGE, ""), f"probe {args}")
    with open(b.gw.conf_path, "w", encoding="utf-8") as f:
        f.write("return gw.config { identity = 7 }\n")
    done = b.gw.run("probe", "good.example")
    t.eq(done.returncode, USAGE, "a configuration with problems")
    t.has(done.stderr, "gateway.lua", "which says so")
    os.unlink(b.gw.conf_path)
    t.eq(b.gw.run("probe", "good.example").returncode, USAGE, "a configuration that is not there")


@case.register("other-port")
def port(t):
    """--port beats the route's."""
    b = Bench(t, {"127.0.0.11": {"name": "mx1.good.example", "requiretls": True}})
    b.json("good.example", YES)
    found = json.loads(b.run("good.example", "--json", "--port", "9", status=UNKNOWN))
    t.eq((found["port"], found["hosts"][0]["addresses"][0]["stage"]), (9, "unreachable"), "port")


@case.register("no-trust-anchor", "D-14")
def no_anchor(t):
    """Who cannot validate does not say that a domain is unsigned: it cannot be found out."""
    b = Bench(t, {"127.0.0.11": {"name": "mx1.good.example", "requiretls": True}})
    b.gw.config["dns"]["anchor"] = "none"
    b.gw.write()
    found = b.json("good.example", UNKNOWN)
    t.check(not found["dnssec"]["validated"], "validated")
    t.has(b.run("good.example", status=UNKNOWN), "DNSSEC cannot be validated from here")


if __name__ == "__main__":
    case.main()
