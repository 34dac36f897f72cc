"""What policies write down of their own: rows of evidence (gw.audit) and metrics (gw.metric)."""

import re

import case

POLICY = """
local seen = gw.metric { name = "seen_total", help = "Mail seen", labels = { "domain" }, series = 2 }
local size = gw.metric { name = "last_size_seconds_", kind = "gauge", help = "Size" }
gw.on("message", function(session, message)
  seen:add(1, { domain = message.from.domain })
  size:set(#message.recipients)
  local done, err = gw.audit("seen \\u{e4} by " .. message.from.text, { n = #message.recipients, to = message.recipients[1].address.text })
  if not done then return gw.defer { text = tostring(err) } end
  if message:has_header("X-No") then return gw.reject { text = "no" } end
end, { name = "audit.all" })
gw.on("connect", function() gw.audit("somebody is here") end, { name = "audit.connect", observe = true })
"""
MAIL = b"Subject: x\r\n%s\r\nbody\r\n"


def send(t, gw, sender, extra=b"", expect=250):
    c = t.client(gw)
    c.ehlo()
    c.mail(sender)
    c.rcpt("a@gw.example", "", 250)
    reply = c.data(MAIL % extra, expect)
    c.quit()
    return reply


@case.register("rows-and-series-of-a-policy", "I4", "I6")
def rows_and_series(t):
    """gw.audit before 250 and before a refusal, in one chain with the deliveries, over a restart; series are capped."""
    hop = t.nexthop(cert=t.certs.issue("inside.example"))
    gw = t.gateway(hop_port=hop.port, policy=POLICY)
    send(t, gw, "ann@a.example")
    send(t, gw, "bob@b.example", b"X-No: 1\r\n", 550)
    for d in ("c", "d", "e"):
        send(t, gw, f"x@{d}.example")
    hop.wait_messages(4)
    gw.wait_queue_empty()
    rows = [r["record"] for r in gw.json("evidence", "list")["evidence"]]
    own = [r for r in rows if r["event"] == "policy"]
    t.eq([r["why"] for r in own if "from" in r], [f"seen \u00e4 by {a}" for a in (
        "ann@a.example", "bob@b.example", "x@c.example", "x@d.example", "x@e.example")], "what the handler said")
    t.eq(len([r for r in own if r["why"] == "somebody is here" and "message" not in r]), 5, "rows without a message")
    r = next(r for r in own if "from" in r)
    t.eq((r["text"], r["from"]), ('{"n":1,"to":"a@gw.example"}', "ann@a.example"), "fields")
    t.check(re.fullmatch(r"audit.all policy.lua:\d+", r["by"]), r["by"])
    t.eq(len(r["generation"]), 64, "generation")
    t.eq(len([x for x in rows if x["event"] == "delivered"]), 4, "deliveries in the same chain")
    shown = gw.run("evidence", "show", r["message"]).stdout
    t.check(shown.index("seen \u00e4 by ann@a.example") < shown.index("delivered"), "evidence show: the row, then the delivery")
    text = gw.run("metrics").stdout
    t.has(text, "# HELP gw_metric_seen_total Mail seen\n# TYPE gw_metric_seen_total counter\n", "metrics")
    for line in ('{domain="a.example"} 1', '{domain="b.example"} 1', '{domain="_other"} 3'):
        t.has(text, f"gw_metric_seen_total{line}\n", "metrics")
    t.has(text, "# TYPE gw_metric_last_size_seconds_ gauge\ngw_metric_last_size_seconds_ 1\n", "metrics")
    t.eq(gw.run("reload").returncode, 0, "reload")
    t.has(gw.run("metrics").stdout, 'gw_metric_seen_total{domain="_other"} 3', "after a reload")
    t.has(gw.run("evidence", "verify").stdout, "chain intact", "verify")
    gw.stop()
    gw.start()
    t.has(gw.run("evidence", "verify").stdout, f"{len(rows)} rows, chain intact", "verify after a restart")
    t.lacks(gw.run("metrics").stdout, "gw_metric_seen_total{", "series after a restart")


case.main()
