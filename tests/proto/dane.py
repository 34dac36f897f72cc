"""DANE for SMTP from outside (RFC 7672): which records count, under which name they are looked for, which
certificate they want, and what a change of them does. dane_rows.py has the decision table."""

import case
import dane_lab
import tagged
from dane_lab import cert, domain, scene, submit
from tagged import H4, outcome, record

def goes(name, *requirements, host, to=None, want="T", sni=None, verified="dane", has=(), over=None, policy=None,
         state=None, lacks=()):
    """One untagged message to one host, and what evidence says of it."""
    def run(t):
        s = scene(t, {host: dict(state or H4, **({"cert": dane_lab.leaf_only(t, cert(t, host))} if name == "ta-in-dns"
                                                 else {}))}, over=over, policy=policy)
        address = f"b@{to or domain(host)}"
        submit(t, s, address)
        t.eq(outcome(s, address), want, name)
        if want[0] == "F":
            return
        r = record(s, address)
        t.eq(r["verified"], verified, f"verified in {r}")
        for part in has:
            t.has(r.get("tlsa", "-"), part, "tlsa")
        for part in lacks:
            t.lacks(r.get("tlsa", "-"), part, "tlsa")
        if sni is not None:
            t.eq(s.hop[host].sessions[0].sni, sni, "SNI (D-52)")

    run.__doc__ = f"{name}: {want}."
    case.register(name, *requirements)(run)


# ---- Which records, which certificate ----

goes("end-entity", "D-40", host="ee", has=["matched 3 1 1 ", " at mx.ee.d.example: 3 1 1 "], sni="mx.ee.d.example")
goes("expired-wrong-name", "D-40", host="exp", has=["matched 3 1 1 "])
goes("trust-anchor", "D-41", host="ta", has=["matched 2 0 1 "])
goes("trust-anchor-names-domain", "D-41", host="tad", has=["matched 2 0 1 "])
goes("trust-anchor-names-expanded-domain", "D-41", host="al8", to="al8.d.example", has=["matched 2 0 1 "])
goes("trust-anchor-names-neither", "D-41", host="tax", want="F 4.7.5")
goes("trust-anchor-insecure-mx", "D-42", host="tap", to="tap.plain.example", want="U", verified="no",
     has=["usable at mx.tap.d.example: 2 0 1 "])
goes("ta-in-dns", "D-49", host="full", has=["matched 2 0 0 sha256:"])
goes("digest-agility", "D-48", host="agile", want="F 4.7.5")
goes("two-usages", "D-47", host="two", has=["matched 3 1 2 ", ": 2 0 1 ", ", 3 0 2 "])
goes("none-usable", "D-45", "D-46", host="un", verified="pkix", has=["unusable at mx.un.d.example: 0 0 1 ", ", 3 7 1 "])
goes("no-records", "D-30", host="none", want="U", verified="no", has=["none"])
goes("no-mx-record", "D-26", host="solo", has=["matched 3 1 1 ", " at solo.d.example"])

# ---- Under which name ----

goes("alias-expanded", "D-26", "D-52", host="al1", sni="real.al1.d.example", has=[" at real.al1.d.example:"])
goes("alias-as-in-mx", "D-26", "D-52", host="al2", sni="mx.al2.d.example", has=[" at mx.al2.d.example:"])
goes("alias-expanded-first", "D-26", host="al3", sni="real.al3.d.example", has=[" at real.al3.d.example:"])
goes("alias-to-unsigned", "D-11", host="al4", sni="mx.al4.d.example", has=["matched 3 1 1 "])
goes("alias-in-between", "D-26", host="al6", want="U", verified="no", has=["none"])
goes("alias-failing-lookup", "D-08", host="al9", want="F 4.4.3")
goes("record-behind-unsigned-alias", "D-05", "D-09", host="al10", verified="pkix", has=["none"])
goes("record-is-alias", "D-27", host="al7", sni="mx.al7.d.example", has=["matched 2 0 1 ", " at mx.al7.d.example:"])


@case.register("unsigned-host-not-asked", "D-13")
def unsigned_host(t):
    """Broken servers would fail the query; behind unsigned addresses, or an unsigned alias, there is none."""
    s = scene(t, {"unsigned": H4, "al5": H4, "fail": H4})
    submit(t, s, "b@plain.example")
    submit(t, s, "b@al5.d.example")
    t.eq(outcome(s, "b@plain.example"), "T", "delivery to an unsigned host")
    t.eq(outcome(s, "b@al5.d.example"), "T", "delivery through an unsigned alias")
    for zone in ("plainfail.example", "al5.example"):
        t.eq(dane_lab.lab.dumb[zone].queries, 0, f"queries for {zone}")
    submit(t, s, "b@fail.d.example")
    t.eq(outcome(s, "b@fail.d.example"), "F 4.4.3", "a signed host")
    t.check(dane_lab.lab.dumb["fail.example"].queries > 0, "queries are counted")
    t.eq(tagged.evidence(s.gw, "b@plain.example")[0].get("tlsa"), None, "tlsa in the evidence")


# ---- Several hosts ----

@case.register("next-host", "D-31", "D-51")
def next_host(t):
    """A host whose certificate does not match is passed over; the next one matches."""
    s = scene(t, {"mis": H4, "ee": H4})
    submit(t, s, "b@both.d.example")
    t.eq(outcome(s, "b@both.d.example"), "T", "outcome")
    t.eq(s.hop["mis"].commands("MAIL"), [], "MAIL at the first")
    t.eq(record(s, "b@both.d.example")["hosts"], "mx.mis.d.example=dane-mismatch", "hosts in the evidence")


@case.register("order-stays", "D-20")
def order(t):
    """A host with TLSA records is not preferred to a better one without."""
    s = scene(t, {"none": H4, "ee": H4})
    submit(t, s, "b@plainfirst.d.example")
    t.eq(outcome(s, "b@plainfirst.d.example"), "U", "outcome")
    t.eq(s.hop["ee"].sessions, [], "connections to the second")


@case.register("next-host-of-failing-lookup", "D-31", "D-59")
def next_host_of_failing(t):
    """A host whose records cannot be looked up is passed over without a connection."""
    s = scene(t, {"fail": H4, "ee": H4})
    submit(t, s, "b@failfirst.d.example")
    t.eq(outcome(s, "b@failfirst.d.example"), "T", "outcome")
    t.eq(s.hop["fail"].sessions, [], "connections to the first")
    t.eq(record(s, "b@failfirst.d.example")["hosts"], "mx.fail.d.example=tlsa-lookup-failed", "hosts in the evidence")


@case.register("silent-server", "D-08", "D-04")
def silent_server(t):
    """No answer in dns.timeout is a failed look-up; other destinations do not wait for it."""
    s = scene(t, {"slow": H4, "ee": H4}, over={"dns": {"timeout": "2s"}})
    submit(t, s, "b@slow.d.example")
    submit(t, s, "b@ee.d.example")
    t.eq(outcome(s, "b@ee.d.example"), "T", "another destination")
    t.eq(outcome(s, "b@slow.d.example"), "F 4.4.3", "outcome")
    t.has(tagged.last_of(s.gw, "b@slow.d.example")["text"], "timeout", "last")


@case.register("stop-while-looking-up", "D-08")
def stop_while_looking_up(t):
    """The daemon ends while a look-up is under way, and the message is there again."""
    s = scene(t, {"slow": H4}, over={"dns": {"timeout": "60s"}})
    asked = dane_lab.lab.dumb["slow.example"]
    before = asked.queries
    submit(t, s, "b@slow.d.example")
    s.gw.wait_for(lambda: asked.queries > before, what="a query for TLSA records")
    s.gw.stop()
    s.gw.start()
    t.check(tagged.recipient(s.gw, "b@slow.d.example") is not None, "the message waits")


# ---- An insecure MX record (D-22) ----

goes("insecure-mx-failing-lookup", "D-22", host="fail", to="fail.plain.example", verified="pkix", has=["failed: _"])
goes("insecure-mx-mismatch", "D-22", host="mis", to="mis.plain.example", verified="pkix", has=["usable at mx.mis.d.example"])
goes("insecure-mx-mismatch-verify", "D-22", "D-51", host="mis", to="mis.plain.example", want="F 4.7.10",
     over={"routes": {"internet": {"tls": "verify"}}})


@case.register("insecure-mx-in-the-log", "D-22")
def insecure_mx_log(t):
    """What DANE verified there is the host, not the domain: the line of a delivery says so."""
    s = scene(t, {"ee": H4})
    submit(t, s, "b@ee.plain.example")
    submit(t, s, "c@ee.d.example")
    line = s.gw.wait_log("message delivered .*to=b@ee.plain.example")[0]
    t.has(line, " verified=dane mx=no ", "log line")
    line = s.gw.wait_log("message delivered .*to=c@ee.d.example")[0]
    t.has(line, " verified=dane mx=dnssec ", "log line")


# ---- Configuration and policy ----

OFF = {"tls": {"dane": "off"}}
goes("off", "X-37", host="mis", verified="pkix", over=OFF, lacks=["3 1 1"])
goes("off-failing-lookup", "X-37", host="fail", verified="pkix", over=OFF)
NAMES = """gw.on("tls_policy", function(domain, route)
  return gw.tls { level = "verify", names = { "partner.example" } }
end, { name = "partner" })
"""
goes("own-names-too", "D-51", host="ee", policy=NAMES, want="F 4.7.5")


def pinned(name, pin, want, host="ee"):
    @case.register(name, "D-51")
    def run(t):
        """Pins of a policy and the records of the domain both have to match."""
        policy = NAMES.replace('names = { "partner.example" }', f'pins = {{ "{pin(t).pin}" }}')
        s = scene(t, {host: H4}, policy=policy)
        submit(t, s, f"b@{domain(host)}")
        t.eq(outcome(s, f"b@{domain(host)}"), want, "outcome")


pinned("own-pin-matches", lambda t: cert(t, "ee"), "T")
pinned("own-pin-does-not-match", dane_lab.another, "F 4.7.5")
pinned("own-pin-is-no-rescue", lambda t: cert(t, "mis"), "F 4.7.5", host="mis")


def fixed(host):
    def over():
        return {"routes": {"fixed": {"via": [f"{host}:{dane_lab.port}"], "tls": "may"}},
                "domains": [{"match": ["gw.example"], "kind": "local", "route": "inside"},
                            {"match": ["fixed.example"], "route": "fixed"},
                            {"match": "*", "kind": "remote", "route": "internet"}]}

    return over


@case.register("fixed-host", "D-28")
def fixed_host(t):
    """A host that the configuration names has its records looked up, too."""
    dane_lab.use_lab(t)
    s = scene(t, {"ee": H4}, over=fixed("mx.ee.d.example")())
    submit(t, s, "b@fixed.example")
    t.eq(outcome(s, "b@fixed.example"), "T", "a match")
    t.has(record(s, "b@fixed.example")["tlsa"], "matched 3 1 1 ", "tlsa")


@case.register("fixed-host-mismatch", "D-51")
def fixed_host_mismatch(t):
    """Mail does not go to such a host when its certificate is another."""
    dane_lab.use_lab(t)
    s = scene(t, {"mis": H4}, over=fixed("mx.mis.d.example")())
    submit(t, s, "b@fixed.example")
    t.eq(outcome(s, "b@fixed.example"), "F 4.7.5", "no match")


@case.register("fixed-host-failing-lookup", "D-08")
def fixed_host_failing(t):
    """Nor when its records cannot be looked up."""
    dane_lab.use_lab(t)
    s = scene(t, {"fail": H4}, over=fixed("mx.fail.d.example")())
    submit(t, s, "b@fixed.example")
    t.eq(outcome(s, "b@fixed.example"), "F 4.4.3", "outcome")
    t.eq(s.hop["fail"].sessions, [], "connections")


@case.register("policy-sees-records", "R-70")
def policy_sees(t):
    """hop.tlsa in hooks."""
    policy = """gw.on("ehlo", function(message, hop)
  gw.log.info("tlsa of " .. hop.host.name, { count = hop.tlsa.count, usable = hop.tlsa.usable, secure = hop.tlsa.secure })
end, { name = "look" })
"""
    s = scene(t, {"two": H4, "un": H4, "none": H4}, policy=policy)
    for name in ("two", "un", "none"):
        submit(t, s, f"b@{domain(name)}")
        outcome(s, f"b@{domain(name)}")
    for name, count, usable, secure in (("two", 3, "true", "true"), ("un", 6, "false", "true"),
                                        ("none", 0, "false", "false")):
        line = s.gw.wait_log(f"tlsa of mx.{name}.d.example")[0].replace("\\", "")
        for part in (f'"count":{count}', f'"usable":{usable}', f'"secure":{secure}'):
            t.has(line, part, "log line")


# ---- Change ----

@case.register("new-records-count", "D-57")
def new_records(t):
    """Records are kept for their TTL and no longer."""
    s = scene(t, {"turn": H4})
    submit(t, s, "b@turn.example")
    t.eq(outcome(s, "b@turn.example"), "F 4.7.5", "with the old record")
    dane_lab.lab.update("turn.example", dane_lab.turn(t, cert(t, "turn").tlsa("3 1 1")))
    s.hop["turn"].wait_messages(1)
    t.eq(record(s, "b@turn.example")["verified"], "dane", "verified")


@case.register("kept-connection-of-old-records", "R-55")
def kept_connection(t):
    """A connection that was made under other records is not used again."""
    own = cert(t, "turn")
    dane_lab.use_lab(t).update("turn.example", dane_lab.turn(t, own.tlsa("3 1 1")))
    s = scene(t, {"turn": H4}, over={"delivery": {"idle": "60s"}})
    turn = s.hop["turn"]
    for i in (1, 2):
        submit(t, s, f"b{i}@turn.example")
        turn.wait_messages(i)
    t.eq(len(turn.sessions), 1, "connections while nothing changed")
    dane_lab.lab.update("turn.example", dane_lab.turn(t, own.tlsa("3 0 1")))
    sent = 2

    def one_more():
        nonlocal sent
        sent += 1
        submit(t, s, f"b{sent}@turn.example")
        turn.wait_messages(sent)
        return "matched 3 0 1 " in record(s, f"b{sent}@turn.example")["tlsa"]

    s.gw.wait_for(one_more, what="a delivery under the new record")
    t.eq(len(turn.sessions), 2, "connections")
    t.has(turn.sessions[1].commands[-4:], f"RCPT TO:<b{sent}@turn.example>", "the second connection")


case.main()
