"""A policy that tries to send a tagged message with less than it owes (X-35): every way that a script
has, each against a host that takes mail in clear and would be glad of it."""

import case
import tagged

TAKES_ALL = {"starttls": False}

CLEAR = 'if not m.from.is_null then return %s { via = "clear" } end end, { name = "w" })'

# What the policy says, the reply at the end of data, and what the log shows when it had its say.
WAYS = {
    "tls-may": ('gw.on("tls_policy", function() gw.log.info("asked"); return gw.tls { level = "may", '
                'on_unmet = "defer" } end, { name = "w" })', 250, "asked"),
    "route-with-may": ('gw.on("route", function(m, r) ' + CLEAR % "gw.route", 250, "route=clear"),
    "reroute-with-may": ('local n = 0 gw.on("attempt", function(m) n = n + 1; if n > 1 then return end; ' +
                         CLEAR % "gw.reroute", 250, "message failed.*route=clear"),
    "header-no-by-policy": ('gw.on("message", function(s, m) m:set_header("TLS-Required", "No") end, { name = "w" })',
                            451, "TLS-Required"),
    "accept-before-all": ('gw.on("message", function() gw.log.info("asked"); return gw.accept() end, '
                          '{ name = "w", priority = 100 })', 250, "asked"),
    "relax-without-grant": ('gw.on("unmet", function() return gw.relax { grant = "nobody", reason = "r" } end, '
                            '{ name = "w" })', None, "nobody"),
    "duties-written": ('gw.on("attempt", function(m) m.duties = 0; m.requiretls = false end, { name = "w" })',
                       250, "policy"),
}


def make(name, policy, code, shows):
    @case.register(f"weakened-by-{name}", "X-35", "I2", "I3")
    def weakened(t):
        """Not an octet of the message reaches the host that takes it in clear; the message waits or comes back."""
        over = {"policy": {"load": ["policy.lua"]}}
        try:
            s = tagged.scene(t, {"mx1.good.example": TAKES_ALL}, policy=policy, over=lambda port: case.merge(
                {"routes": {"clear": {"via": [f"127.0.0.11:{port}"], "tls": "may"}}}, over))
        except Exception as e:      # the check at start knows better
            t.eq(code, None, f"reply expected, but the daemon did not start: {e}")
            t.has(str(e), shows, "why the daemon did not start")
            return
        tagged.submit(t, s.gw, ["b@good.example"], params="REQUIRETLS", code=code)
        s.gw.wait_log(shows)
        host = s.hop["mx1.good.example"]
        if code == 250:
            s.gw.wait_for(lambda: s.back.accepted or
                          tagged.last_of(s.gw, "b@good.example"), what="an end or a deferral")
        for session in host.sessions:
            t.eq([c for c in session.commands if "b@good.example" in c], [], "RCPT at the host")
            t.check(not any(tagged.TOKEN in line for line in session.transcript), "content at the host")
        if s.back.accepted:
            tagged.failed(t, s, "5.7.10")


for each, way in WAYS.items():
    make(each, *way)
case.main()
