"""The operator's invariants: mail to some domains owes at least so much, whatever a policy, a route, a
grant or the sender says. Here hosts would be glad to take it in clear."""

import json
import os

import case
import tagged

INVARIANTS = [{"domains": ["good.example", "*.two.example"], "at_least": "verify"}]

POLICY = """
local function is(m, word)
  for r in m:each_recipient() do if r.localpart == word then return true end end
end
gw.on("tls_policy", function() return gw.tls { level = "may", on_unmet = "defer", ttl = 1 } end, { name = "w.tls" })
gw.on("route", function(m, r)
  if r.localpart == "route" or r.localpart == "relax" then return gw.route { via = "clear" } end
end, { name = "w.route" })
gw.on("attempt", function(m, hop)
  if is(m, "reroute") and hop.route.name ~= "clear" then return gw.reroute { via = "clear", reason = "r" } end
end, { name = "w.reroute" })
gw.on("unmet", function(m) if is(m, "relax") then return gw.relax { grant = "fax", reason = "r" } end end,
  { name = "w.relax" })
gw.on("rcpt", function(s, m, r)
  if r.localpart == "rewrite" then r:rewrite("rewritten@good.example") end
end, { name = "w.rewrite" })
"""


def over(port):
    return {"invariants": INVARIANTS,
            "routes": {"clear": {"via": [f"127.0.0.11:{port}"], "tls": "may"}},
            "policy": {"grants": {"fax": {"relaxes": "requiretls", "to": "may", "routes": ["clear"],
                                          "owner": "ops@gw.example", "expires": "2999-01-01"}}}}


@case.register("invariant-beats-policy-route-and-relax", "I2", "I3", "X-35")
def beats(t):
    """Not a word of such a message reaches a host that takes it in clear, by none of the ways that a policy
    has; mail to another domain goes to the same kind of host as before."""
    s = tagged.scene(t, {"mx1.good.example": tagged.H1, "mx1.plain.example": tagged.H1, "mx2.two.example": tagged.H1},
                     policy=POLICY, over=over)
    for word in ("tls", "route", "reroute", "relax"):
        tagged.submit(t, s.gw, [f"{word}@good.example"])
    tagged.submit(t, s.gw, ["rewrite@plain.example"])
    tagged.submit(t, s.gw, ["no@good.example"], headers="TLS-Required: No\n")
    tagged.submit(t, s.gw, ["null@good.example"], sender="")
    tagged.submit(t, s.gw, ["other@plain.example", "both@good.example"])
    for word in ("tls", "route", "relax", "rewritten", "no", "null", "both"):
        s.gw.wait_for(lambda w=word: tagged.last_of(s.gw, f"{w}@good.example"), what=f"a deferral of {word}")
    s.gw.wait_log("message .*reroute@good.example.*route=clear.*reason=")
    t.has(s.gw.wait_log("relax refused")[-1], "invariant", "log")
    s.hop["mx1.plain.example"].wait_messages(1)
    t.eq(s.hop["mx1.plain.example"].messages[0].tls, None, "mail to another domain")
    tagged.no_mail(t, s.hop["mx1.good.example"], s.hop["mx2.two.example"])
    t.check(not [r for w in ("relax", "tls") for r in tagged.evidence(s.gw, f"{w}@good.example")
                 if r["event"] == "relaxed"], "a relax was recorded")
    shown = s.gw.run("queue", "show", s.gw.wait_log("message accepted .*to=tls@")[-1].partition("message=")[2]
                     .split()[0], "--json").stdout
    t.has(shown, "invariants[1]", "who asked")


@case.register("invariant-is-met", "I2", "R-48")
def met(t):
    """Over verified TLS it goes, and the evidence says who asked for that; the level is a floor for what the
    domain publishes, not a substitute."""
    s = tagged.scene(t, {"mx1.good.example": tagged.H4, "mx1.plain.example": tagged.H3},
                     over=lambda port: {"invariants": INVARIANTS + [{"domains": ["*"], "at_least": "encrypt"}]})
    tagged.submit(t, s.gw, ["b@good.example", "c@plain.example"])
    t.eq(tagged.outcome(s, "b@good.example"), "T", "verified")
    t.eq(tagged.outcome(s, "c@plain.example"), "U", "the invariant for all: encrypted, not verified")
    t.has(tagged.record(s, "b@good.example")["asked_by"], "invariants[1]", "evidence")
    t.has(tagged.record(s, "c@plain.example")["asked_by"], "invariants[2]", "evidence")


@case.register("invariant-for-mail-that-waits", "I2", "I3", "X-74")
def waits(t):
    """One that comes with a reload holds for mail that was taken before, too."""
    s = tagged.scene(t, {"mx1.good.example": {"starttls": False, "replies": {"RCPT": "451 4.2.0 later"}}})
    tagged.submit(t, s.gw, ["b@good.example"])
    host = s.hop["mx1.good.example"]
    tagged.deferred(t, s.gw, "b@good.example", "4.2.0")
    case.merge(s.gw.config, {"invariants": INVARIANTS})
    s.gw.write()
    t.eq(s.gw.run("reload").returncode, 0, "reload")
    before = len(host.commands("MAIL"))
    host.replies.clear()
    last = s.gw.wait_for(lambda: (tagged.last_of(s.gw, "b@good.example") or {}).get("stage") != "rcpt" and
                         tagged.last_of(s.gw, "b@good.example"), what="an attempt after the reload")
    t.eq((last["kind"], last["status"][0]), ("deferred", "4"), f"{last}")
    t.eq(len(host.commands("MAIL")), before, "MAIL after the reload")
    s.gw.run("queue", "bounce", "--to", "b@good.example", "--reason", "test")
    t.has(tagged.record(s, "b@good.example")["asked_by"], "invariants", "evidence")


@case.register("invariant-in-the-configuration", "F-17")
def configured(t):
    """A grant that would let such mail go with less is an error at load; audit lists what holds."""
    gw = t.gateway(over={"invariants": INVARIANTS, "routes": {"good": {"via": "mx", "tls": "encrypt"}},
                         "domains": [{"match": ["*.good.example", "good.example"], "route": "good"},
                                     {"match": "*", "route": "internet"}]})
    t.has(gw.wait_log("configuration")[0], "routes.good.tls", "a warning")
    t.has(gw.run("config", "audit").stdout, 'invariants[1]: mail to good.example *.two.example owes at least "verify"',
          "audit")
    grant = {"relaxes": "requiretls", "to": "encrypt", "owner": "ops@gw.example", "expires": "2999-01-01"}
    for which in ({"domains": ["good.example"]}, {"domains": ["x.two.example"]}, {"domains": ["*"]},
                  {"domains": ["*.example"]}, {"routes": ["good"]}):
        gw.config["policy"] = {"grants": {"fax": dict(grant, **which)}}
        gw.write()
        done = gw.run("reload")
        t.eq(done.returncode, 1, f"a grant for {json.dumps(which)}")
        t.has(done.stderr, "policy.grants.fax", "why")
    for which in ({"domains": ["better.example"]}, {"domains": ["two.example"]}, {"routes": ["inside"]},
                  {"domains": ["good.example"], "to": "verify"}):
        gw.config["policy"] = {"grants": {"fax": dict(grant, **which)}}
        gw.write()
        done = gw.run("reload")
        t.eq(done.returncode, 0, f"a grant for {json.dumps(which)}: {done.stderr}")


@case.register("decided-again-before-mail", "I2", "X-34", "R-43")
def decided_again(t):
    """In a daemon that takes every connection for good at first, nothing of a tagged message is said to hosts that do
    not give what it owes: the decision right before MAIL is one of its own. What owes nothing goes."""
    s = tagged.scene(t, {"mx1.good.example": tagged.H4, "mx1.plain.example": tagged.H3})
    s.gw.stop()
    s.gw.daemon = os.path.abspath(os.path.join(os.environ.get("builddir", "."), "tests", "proto", "sallyportd-hasty"))
    s.gw.start()
    for to in ("b@good.example", "c@plain.example"):
        tagged.submit(t, s.gw, [to], "REQUIRETLS")
        t.check(tagged.outcome(s, to)[0] in "FB", f"{to}: {tagged.outcome(s, to)}")
        tagged.nothing_handed_over(t, s, to)
    tagged.submit(t, s.gw, ["d@good.example"])
    t.eq(tagged.outcome(s, "d@good.example"), "T", "what owes nothing")


case.main()
