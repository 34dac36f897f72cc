"""What domains and their hosts offered is remembered; less than before is said in the log, to policies and in the
metrics, across restarts. No decision asks for less because of it, and a policy may ask for more."""

import case
import sts_lab
import tagged
from case import Zone
from sts_lab import publish
from tagged import H5, outcome

GONE = " warning protection offered before is gone "
AGAIN = " info protection is offered again "

# Mail that owes REQUIRETLS would be returned; the one in charge wants to look at it first. What hooks see goes to
# the log.
POLICY = """local function words(set)
  local list = {}
  for word, at in pairs(set) do
    assert(at > 1600000000, "a time")
    list[#list + 1] = word
  end
  table.sort(list)
  return table.concat(list, "+")
end
gw.on("attempt", function(message, hop)
  gw.log.info("at attempt", { worse = words(hop.worse), seen = words(hop.seen) })
end, { name = "look" })
gw.on("ehlo", function(message, hop)
  gw.log.info("at ehlo", { worse = words(hop.worse) })
end, { name = "look.ehlo" })
gw.on("unmet", function(message, hop, unmet)
  if hop.worse.requiretls then return gw.hold { reason = "REQUIRETLS is gone at " .. hop.host.name } end
end, { name = "wait" })
gw.on("log", function(event)
  if event.what then gw.log.info("a policy heard", { event = event.event, what = event.what }) end
end, { name = "hears" })
"""


def rows(gw, domain, *options):
    """what (of a host: host/what) to the row."""
    found = gw.json("seen", domain, *options)["seen"]
    return {(f"{r['host']}/" if r["host"] else "") + r["what"]: r for r in found}


def kept(gw, domain, what, gone=False):
    """The row, once it is on disk."""
    return gw.wait_for(lambda: (r := rows(gw, domain).get(what)) and (r["gone"] is not None) == gone and r,
                       what=f"{what} of {domain} in the database")


def goes(t, s, address, want, **options):
    tagged.submit(t, s.gw, address, **options)
    t.eq(outcome(s, address), want, f"outcome of {address}")


def said(gw, pattern):
    """The newest line of a policy."""
    return gw.log_lines(pattern)[-1].replace('\\"', '"')


def metric(gw, what):
    text = gw.run("metrics").stdout
    return int([x for x in text.splitlines() if f'protection_gone_total{{what="{what}"}}' in x][0].split()[1])


@case.register("requiretls-gone", "R-48", "R-50")
def requiretls_gone(t):
    """A host that listed REQUIRETLS lists it no longer: said once, and a policy holds what would be returned. After a
    restart it is known at once; then the host lists it again."""
    s = tagged.scene(t, {"mx1.good.example": H5}, over={"delivery": {"idle": "0s"}}, policy=POLICY)
    hop = s.hop["mx1.good.example"]
    goes(t, s, "b1@good.example", "R", params="REQUIRETLS")
    first = kept(s.gw, "good.example", "mx1.good.example/requiretls")
    t.eq((first["value"], first["now"]), ("yes", None), "row")
    found = rows(s.gw, "good.example")
    t.eq(sorted(found), ["dnssec"] + [f"mx1.good.example/{x}" for x in ("cert", "requiretls", "starttls", "tls")], "rows")
    t.eq((found["mx1.good.example/tls"]["value"], found["mx1.good.example/cert"]["value"]), ("TLSv1.3", "pkix"), "TLS")
    t.eq(s.gw.log_lines(GONE), [], "lines before anything is gone")
    hop.requiretls = False
    goes(t, s, "b2@good.example", "T")
    goes(t, s, "b3@good.example", "T")
    line = s.gw.wait_log(GONE)[0]
    for part in ("domain=good.example", "host=mx1.good.example", "what=requiretls", "was=yes", "now=nothing",
                 f"since={first['first'][:19]}"):
        t.has(line, part, "log line")
    t.eq((len(s.gw.log_lines(GONE)), metric(s.gw, "requiretls"), metric(s.gw, "starttls")), (1, 1, 0), "said once")
    s.gw.wait_log("a policy heard .*is gone.*requiretls")
    t.has(said(s.gw, "at ehlo"), '"worse":"requiretls"', "what the ehlo hook saw")
    row = kept(s.gw, "good.example", "mx1.good.example/requiretls", gone=True)
    t.eq((row["first"], row["now"]), (first["first"], ""), "row")
    t.has(s.gw.run("seen", "GOOD.example").stdout, "GONE since", "for people")
    s.gw.restart()
    tagged.submit(t, s.gw, "b4@good.example", params="REQUIRETLS")
    held = s.gw.wait_for(lambda: (r := tagged.recipient(s.gw, "b4@good.example")) and r["state"] == "held" and r,
                         what="a held message")
    t.eq(held["hold_reason"], "REQUIRETLS is gone at mx1.good.example", "reason")
    t.has(said(s.gw, "at attempt"), '"worse":"requiretls"', "what the attempt hook saw after the restart")
    t.has(said(s.gw, "at attempt"), "cert+dnssec+requiretls+starttls+tls", "and what was seen")
    t.eq(len(s.gw.log_lines(GONE)), 1, "lines after the restart")
    hop.requiretls = True
    s.gw.run("queue", "release", "--to", "b4@good.example", "--reason", "test")
    t.eq(outcome(s, "b4@good.example"), "R", "outcome after the release")
    t.has(s.gw.wait_log(AGAIN)[0], "what=requiretls", "log line")
    kept(s.gw, "good.example", "mx1.good.example/requiretls")
    t.eq(rows(s.gw, "elsewhere.example"), {}, "another domain")
    s.gw.stop()
    done = s.gw.run("--db", s.gw.dir + "/state/queue.db", "seen", "good.example")
    t.has(done.stdout, "mx1.good.example", "without a daemon")


@case.register("starttls-gone", "R-66")
def starttls_gone(t):
    """STARTTLS is gone: mail that owes nothing goes in clear as it would anyway, and it is said."""
    s = tagged.scene(t, {"mx1.good.example": H5}, over={"delivery": {"idle": "0s"}}, policy=POLICY)
    goes(t, s, "b1@good.example", "T")
    kept(s.gw, "good.example", "mx1.good.example/starttls")
    s.hop["mx1.good.example"].starttls = False
    goes(t, s, "b2@good.example", "C")
    s.gw.wait_log(f"{GONE}.*what=starttls ")
    t.eq(sorted(x.split("what=")[1].split()[0] for x in s.gw.log_lines(GONE)), ["requiretls", "starttls"], "what is gone")
    s.gw.wait_log("at ehlo.*starttls")
    t.has(said(s.gw, "at ehlo"), '"worse":"requiretls+starttls"', "what the ehlo hook saw")
    tagged.submit(t, s.gw, "b3@good.example", params="REQUIRETLS")
    s.gw.wait_for(lambda: (r := tagged.recipient(s.gw, "b3@good.example")) and r["state"] == "held", what="a held message")


@case.register("dnssec-gone", "D-21", "X-37")
def dnssec_gone(t):
    """A domain that was signed at the last attempt and is not now, with a restart between: its validated MX record and
    its TLSA records are gone."""
    port = case.free_port(["127.0.9.11", "127.0.9.12"])
    cert = {n: t.certs.issue(f"mx.{n}.example") for n in ("good", "back")}
    t.lab({"good.example": Zone(f"@ MX 10 mx\nmx A 127.0.9.11\n_{port}._tcp.mx TLSA {cert['good'].tlsa('3 1 1')}"),
           "back.example": Zone("@ MX 10 mx\nmx A 127.0.9.12")})
    hop = {n: t.nexthop(port=port, host=a, name=f"mx.{n}.example", cert=cert[n], requiretls=True)
           for n, a in (("good", "127.0.9.11"), ("back", "127.0.9.12"))}
    s = tagged.Scene.__new__(tagged.Scene)
    s.hop, s.back = hop, hop["back"]
    s.gw = t.gateway(hop_port=port, policy=POLICY)
    goes(t, s, "b1@good.example", "R", params="REQUIRETLS")
    kept(s.gw, "good.example", "dnssec")
    kept(s.gw, "good.example", "tlsa")
    t.eq(kept(s.gw, "good.example", "mx.good.example/cert")["value"], "dane", "verified by")
    s.gw.stop()
    t.zones_lab.zones["good.example"].kind = "unsigned"
    t.zones_lab.update("example", "")
    t.zones_lab.update("good.example", t.zones_lab.zones["good.example"].text)
    s.gw.start()
    goes(t, s, "b2@good.example", "T")
    line = s.gw.wait_log(f"{GONE}.*what=dnssec ")[0]
    t.has(line, "domain=good.example what=dnssec was=yes now=nothing", "log line")
    s.gw.wait_log(f"{GONE}.*what=tlsa ")
    t.has(said(s.gw, "at attempt"), '"worse":"dnssec+tlsa"', "what the attempt hook saw")
    tagged.submit(t, s.gw, "b3@good.example", params="REQUIRETLS")
    t.check(outcome(s, "b3@good.example").startswith("B 5.7"), "REQUIRETLS mail is returned as ever (rows 17, 18)")
    t.eq(kept(s.gw, "good.example", "dnssec", gone=True)["now"], "", "row")


@case.register("sts-to-none", "S-47", "S-67")
def sts_to_none(t):
    """A domain goes from enforce to none by the book; it is said, and mail goes."""
    s = sts_lab.scene(t, {"a": H5}, policy_text=POLICY)
    publish(s, "a")
    goes(t, s, "b1@a.s.example", "T")
    t.eq(kept(s.gw, "a.s.example", "sts")["value"], "enforce id=1", "row")
    publish(s, "a", "testing")
    sts_lab.lab.update("s.example", sts_lab.records({"a": "2"}))

    def again():
        goes(t, s, "b2@a.s.example", "T")
        return s.gw.log_lines(f"{GONE}.*what=sts ")

    line = s.gw.wait_for(again, what="the new policy is taken")[0]
    t.has(line, 'was="enforce id=1" now="testing id=2"', "log line")
    publish(s, "a", "none")
    sts_lab.lab.update("s.example", sts_lab.records({"a": "3"}))
    s.gw.wait_for(lambda: len(again()) == 2, what="the third policy is taken")
    t.has(s.gw.log_lines(GONE)[-1], 'was="enforce id=1" now=nothing', "log line")
    t.eq(metric(s.gw, "sts"), 2, "metric")
    t.eq(kept(s.gw, "a.s.example", "sts", gone=True)["value"], "enforce id=1", "row")
    t.lacks(said(s.gw, "at attempt"), "dnssec", "seen of an unsigned domain")


@case.register("routes-hosts", "R-66")
def route_host(t):
    """A host that a route names is the route's, whoever the recipients are; a host that never offered anything is not
    mentioned."""
    hop = t.nexthop(cert=t.certs.issue("inside.example"), requiretls=True)
    gw = t.gateway(hop_port=hop.port, over={"delivery": {"idle": "0s"}})
    case.send(gw.port("inbound"), "a@x.example", "b@gw.example", tagged.message(), tls=False)
    kept(gw, "route inside", "127.0.0.1/requiretls")
    t.lacks(" ".join(rows(gw, "route inside")), "dnssec", "rows")
    hop.starttls = False
    case.send(gw.port("inbound"), "a@x.example", "b@gw.example", tagged.message(), tls=False)
    t.has(gw.wait_log(f"{GONE}.*what=starttls ")[0], 'domain="route inside" host=127.0.0.1', "log line")


case.main()
