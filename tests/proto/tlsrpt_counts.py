"""What is counted for reports about TLS (RFC 8460): each type of result that this gateway can meet,
through real DNS, HTTPS and SMTP, read with `sallyport tlsrpt show`. dane-required is not among them:
nothing makes DANE mandatory here."""

import json
import sqlite3

import case
import dane_lab
import sts_lab
import tagged
from lab import tlsrpt_schema
from lab.policyhost import PolicyHost, policy
from tagged import H1, H4, outcome

OVER = {"tlsrpt": {"organization": "The Lab", "contact": "tls-reports@gw.example"}, "queue": {"retry": ["1h"]},
        "delivery": {"idle": "0s"}}
HOST = "sts certificate-host-mismatch"


def over(**more):
    return dict({k: dict(v) for k, v in OVER.items()}, **more)


def show(gw, domain):
    """The days of a domain, each a whole report."""
    done = gw.run("tlsrpt", "show", domain, "--json")
    return json.loads(done.stdout)["days"] if done.returncode == 0 else []


def summary(t, gw, domain):
    """{"type result": sessions, "type ok": sessions} over all days, in a report that is one."""
    found = {}
    for day in show(gw, domain):
        t.eq(tlsrpt_schema.problems(json.dumps(day["report"])), [], f"problems of the report for {domain}")
        for p in day["report"]["policies"]:
            kind, ok = p["policy"]["policy-type"], p["summary"]["total-successful-session-count"]
            if ok:
                found[f"{kind} ok"] = found.get(f"{kind} ok", 0) + ok
            for d in p.get("failure-details", []):
                key = f"{kind} {d['result-type']}"
                found[key] = found.get(key, 0) + d["failed-session-count"]
    return found


def part(gw, domain, kind, result=None):
    """The policy of a type in the newest report, or its failure of a type."""
    for p in show(gw, domain)[0]["report"]["policies"]:
        if p["policy"]["policy-type"] == kind:
            if result is None:
                return p["policy"]
            for d in p.get("failure-details", []):
                if d["result-type"] == result:
                    return d
    return {}


def counted(t, gw, domain, want):
    """Waits until the result is on disk, which comes with the counts."""
    def look():
        got = summary(t, gw, domain)
        return got if got == want else None

    try:
        gw.wait_for(look, what=f"the counts of {domain}")
    except AssertionError:
        t.eq(summary(t, gw, domain), want, domain)


def at(name):
    return f"b@{sts_lab.domain(name)}"


@case.register("sts-results", "T-05", "T-11", "T-12", "T-13", "T-14", "T-15", "T-17", "T-18", "T-28", "S-65", "S-74",
               "S-49")
def sts_results(t):
    """MTA-STS and no policy at all: what a session and what a fetch can end with."""
    s = sts_lab.scene(t, {"a": H4}, over=over())
    hop, names = s.hop["a"], [f"mx.{sts_lab.domain(n)}" for n in sts_lab.DOMAINS]
    good = t.certs.issue("every.s.example", names=names)
    certs = {n: t.certs.issue(f"mx.{sts_lab.domain(n)}", kind=kind) for n, kind in
             (("wild", "expired"), ("partial", "self-signed"), ("moved", "wrong-name"))}
    elsewhere = ["elsewhere.example"]
    sts_lab.publish(s, "other", "testing", mx=elsewhere)
    sts_lab.publish(s, "chunked", mx=elsewhere)
    for name in ("ok", "wild", "partial", "moved", "gone", "empty"):
        sts_lab.publish(s, name)
    sts_lab.publish(s, "part", "none")
    sts_lab.publish(s, "wrongname", cert="wrong-name")
    sts_lab.publish(s, "trouble", status="500 Trouble")
    s.web.publish(sts_lab.domain("broken"), "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: soon\n")
    cases = [
        # domain, the host's way, the message's end, what is counted
        ("ok", {}, "T", {"sts ok": 1}),
        ("other", {}, "T", {HOST: 1}),
        ("chunked", {}, "F", {HOST: 1}),
        ("wild", {}, "F", {"sts certificate-expired": 1}),
        ("partial", {}, "F", {"sts certificate-not-trusted": 1}),
        ("moved", {}, "F", {HOST: 1}),
        ("gone", {"starttls": False}, "F", {"sts starttls-not-supported": 1}),
        ("empty", {"handshake": "garbage"}, "F", {"sts validation-failure": 1}),
        ("part", {}, "T", {"no-policy-found ok": 1}),
        ("wrongname", {}, "T", {"no-policy-found ok": 1, "sts sts-webpki-invalid": 1}),
        ("trouble", {}, "T", {"no-policy-found ok": 1, "sts sts-policy-fetch-error": 1}),
        ("broken", {}, "T", {"no-policy-found ok": 1, "sts sts-policy-invalid": 1}),
        ("noweb", {}, "T", {"no-policy-found ok": 1, "sts sts-policy-fetch-error": 1}),
        ("norecord", {"starttls": False}, "C", {"no-policy-found starttls-not-supported": 1}),
    ]
    for name, how, want, _ in cases:
        hop.cert = certs.get(name, good)
        hop.starttls, hop.handshake = how.get("starttls", True), how.get("handshake")
        tagged.submit(t, s.gw, at(name))
        got = outcome(s, at(name))
        t.eq("T" if got == "U" else got[0], want, f"what becomes of mail to {name}")
    for name, _, _, want in cases:
        counted(t, s.gw, sts_lab.domain(name), want)
    mx = f"mx.{sts_lab.domain('partial')}"
    d = part(s.gw, sts_lab.domain("partial"), "sts", "certificate-not-trusted")
    t.eq((d["receiving-ip"], d["receiving-mx-hostname"], d["receiving-mx-helo"]), (sts_lab.MX, mx, hop.name),
         "who received")
    t.check(d["sending-mta-ip"].startswith("127."), "who sent")
    p = part(s.gw, sts_lab.domain("partial"), "sts")
    t.eq(p["policy-string"], ["version: STSv1", "mode: enforce", f"mx: {mx}", "max_age: 86400"], "policy-string")
    t.eq((p["mx-host"], p["policy-domain"]), ([mx], sts_lab.domain("partial")), "mx-host, policy-domain")
    d = part(s.gw, sts_lab.domain("chunked"), "sts", "certificate-host-mismatch")
    t.check("receiving-ip" not in d, "no connection was made, and none is reported")
    t.check("receiving-ip" in part(s.gw, sts_lab.domain("other"), "sts", "certificate-host-mismatch"), "testing")
    t.has(part(s.gw, sts_lab.domain("broken"), "sts")["policy-string"], "max_age: soon", "the broken policy")
    day = show(s.gw, sts_lab.domain("ok"))[0]
    t.check(day["file"].startswith(f"gw.example!{sts_lab.domain('ok')}!") and day["file"].endswith(".json.gz"),
            day["file"])
    t.eq(day["report"]["contact-info"], "tls-reports@gw.example", "contact")
    table = s.gw.run("tlsrpt", "show", sts_lab.domain("wild"), "--day", day["day"]).stdout
    t.has(table, "certificate-expired", "the table")
    t.eq(s.gw.run("tlsrpt", "show", "--day", "2020-01-01").returncode, 1, "a day without sessions")


@case.register("dane-results", "T-05", "T-14", "T-16", "T-17", "T-29", "S-70")
def dane_results(t):
    """DANE; and DANE beside MTA-STS, where both are reported."""
    web = PolicyHost(t.certs, dane_lab.WEB)
    t.parts.append(web.stop)
    web.publish("sts.plain.example", policy("enforce", ["mx.ee.d.example"]))
    s = dane_lab.scene(t, {"ee": H4, "mis": H4, "un": H4, "fail": H4, "two": H1, "tax": H4, "none": H4},
                       over=over(tls={"sts_port": web.port, "sts_timeout": "8s"}))
    cases = [
        ("ee.d.example", "T", {"tlsa ok": 1}),
        ("mis.d.example", "F", {"tlsa tlsa-invalid": 1}),
        ("un.d.example", "T", {"tlsa tlsa-invalid": 1}),
        ("fail.d.example", "F", {"tlsa dnssec-invalid": 1}),
        ("two.d.example", "F", {"tlsa starttls-not-supported": 1}),
        ("tax.d.example", "F", {"tlsa certificate-host-mismatch": 1}),
        ("none.d.example", "U", {"no-policy-found ok": 1}),
        ("sts.plain.example", "T", {"tlsa ok": 1, "sts certificate-not-trusted": 1}),
        ("solo.d.example", "F", {}),        # nobody listens there (T-16)
        ("both.d.example", "T", {"tlsa tlsa-invalid": 1, "tlsa ok": 1}),
    ]
    for name, _, _ in cases:
        dane_lab.submit(t, s, f"b@{name}")
    for name, want, _ in cases:
        t.eq(outcome(s, f"b@{name}")[0], want, f"what becomes of mail to {name}")
    for name, _, want in cases:
        counted(t, s.gw, name, want)
    p = part(s.gw, "ee.d.example", "tlsa")
    t.eq(p["policy-domain"], "mx.ee.d.example", "policy-domain of DANE: the TLSA base domain")
    t.eq(p["policy-string"], [dane_lab.cert(t, "ee").tlsa("3 1 1").lower()], "policy-string")
    t.check(len(part(s.gw, "un.d.example", "tlsa")["policy-string"]) > 1, "records that are not usable are shown")
    # A host that cannot take a REQUIRETLS message was reached by the rules of its domain.
    dane_lab.submit(t, s, "r@ee.d.example", params="REQUIRETLS")
    t.eq(outcome(s, "r@ee.d.example")[0], "B", "REQUIRETLS without the keyword")
    counted(t, s.gw, "ee.d.example", {"tlsa ok": 2})


@case.register("sessions-not-messages", "T-07", "T-18")
def sessions(t):
    """Messages that share a connection are one session; the way of a report is none."""
    s = dane_lab.scene(t, {"ee": H4, "none": dict(H4, replies={"RCPT": ["450 4.2.0 later"]})},
                       over=over(delivery={"idle": "60s"}))
    for user in "bcde":
        dane_lab.submit(t, s, f"{user}@ee.d.example")
        t.eq(outcome(s, f"{user}@ee.d.example"), "T", user)
    counted(t, s.gw, "ee.d.example", {"tlsa ok": len(s.hop["ee"].sessions)})
    t.check(len(s.hop["ee"].sessions) < 4, "connections are used again")
    dane_lab.submit(t, s, "b@none.d.example")
    t.eq(outcome(s, "b@none.d.example")[0], "F", "the first attempt")
    counted(t, s.gw, "none.d.example", {"no-policy-found ok": 1})
    s.gw.stop()
    db = sqlite3.connect(s.gw.dir + "/state/queue.db")
    with db:
        db.execute("UPDATE message SET flags = flags | 64")     # MSG_REPORT
        db.execute("UPDATE recipient SET next_ms = 0")
    db.close()
    s.gw.start()
    t.eq(outcome(s, "b@none.d.example"), "U", "the second attempt")
    s.gw.wait_queue_empty()
    t.eq(len(s.hop["none"].sessions), 2, "sessions")
    t.eq(summary(t, s.gw, "none.d.example"), {"no-policy-found ok": 1}, "what is counted of them")


@case.register("kill", "T-18")
def kill(t):
    """Counts are in the transaction of the result: after kill -9 there is one for each result that was
    recorded, whatever was sent twice."""
    s = dane_lab.scene(t, {"ee": H4}, over=over())
    for i in range(20):
        dane_lab.submit(t, s, f"k{i}@ee.d.example")
        if i in (5, 12):
            s.gw.kill()
            s.gw.start()
    s.gw.wait_queue_empty(30)
    rows = sum(len(tagged.evidence(s.gw, f"k{i}@ee.d.example")) for i in range(20))
    t.eq(rows, 20, "deliveries on record")
    t.eq(summary(t, s.gw, "ee.d.example"), {"tlsa ok": 20}, "counts")


@case.register("off", "T-18")
def off(t):
    """Without organization and contact nothing is counted."""
    s = dane_lab.scene(t, {"ee": H4}, over={"delivery": {"idle": "0s"}})
    dane_lab.submit(t, s, "b@ee.d.example")
    t.eq(outcome(s, "b@ee.d.example"), "T", "outcome")
    s.gw.wait_queue_empty()
    t.eq(s.gw.run("tlsrpt", "show").returncode, 1, "sallyport tlsrpt show")


if __name__ == "__main__":
    case.main()
