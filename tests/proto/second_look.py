"""Corners where several parts meet: a relax and what comes behind it, changes by hand and reloads that
meet an attempt under way, policies that ask for the same thing for ever."""

import datetime
import os
import re
import shutil

import case
from case import Zone
from lab.certs import Certs

SENDER = "a@gw.example"
BODY = b"only-in-the-body\r\n"
CONTENT = b"From: a@gw.example\r\nSubject: x\r\n\r\n" + BODY
GRANT = {"relaxes": "requiretls", "owner": "o@gw.example", "expires": "2099-01-01", "routes": ["internet"]}
GRANTS = {"policy": {"grants": {"encrypted": {**GRANT, "to": "encrypt"}, "all": {**GRANT, "to": "may"}}}}
RELAX = 'gw.on("unmet", function(m, h, u) return gw.relax { grant = "%s", reason = "r" } end, ' \
    '{ name = "unmet.relax" })\n'
TLS = 'gw.on("tls_policy", function(d, r) if d.name == "good.example" then return gw.tls { %s } end end, ' \
    '{ name = "tls.good" })\n'
REFUSES_PARAMETER = {"requiretls": True, "replies": {"MAIL:REQUIRETLS": "555 5.5.4 no"}}


def setup(t, cert=True, kind="signed", over=None, policy=None, zones=None, env=None, **host):
    """(gateway, host, inside): good.example with one mail host; notices go to `inside`."""
    if cert:
        host["cert"] = t.certs.issue("mx1.good.example")
    hop, inside = t.nexthops({"host": "127.0.0.11", **host}, {"host": "127.0.0.1"})
    t.lab({"good.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.11", kind=kind), **(zones or {})})
    return t.gateway(hop_port=hop.port, over=over, policy=policy, env=env), hop, inside


def send_tagged(t, gw, sender=SENDER):
    t.secure_client(gw, "relay").send_message(sender, ["b@good.example"], CONTENT, params="REQUIRETLS")


def send_plain(gw, to="b@good.example", listener="relay"):
    case.send(gw.port(listener), SENDER, [to], CONTENT)


def relaxed(gw):
    """{grant: uses}, without those that were never used."""
    text = gw.run("metrics").stdout
    uses = {name: int(n) for name, n in re.findall(r'^gw_relax_total{grant="(.*?)"} (\d+)$', text, re.M)}
    return {name: n for name, n in uses.items() if n}


def apart(t, lines, least):
    """Each of these log lines is at least so many seconds behind the one before."""
    times = [datetime.datetime.fromisoformat(x.split(" ")[0].replace("Z", "+00:00")) for x in lines]
    for one, two in zip(times, times[1:]):
        t.check((two - one).total_seconds() >= least, f"{two - one} between attempts:\n" + "\n".join(lines))


# ---- a relax and what comes behind it ----

@case.register("relax-that-is-not-enough", "I2", "I3", "R-112")
def relax_not_enough(t):
    """A grant down to encryption, and a host without STARTTLS: it waits, attempt by attempt, with no MAIL."""
    gw, hop, _ = setup(t, cert=False, requiretls=True, over=GRANTS, policy=RELAX % "encrypted")
    send_tagged(t, gw)
    for line in gw.wait_log("message deferred.*to=b@good.example", count=2):
        t.has(line, "status=4.7.10", "the log")
    t.eq(hop.commands("MAIL"), [], "MAIL commands")
    t.eq(len(gw.queue()), 1, "waiting messages")


@case.register("parameter-refused-then-relaxed", "I3", "R-46", "R-112")
def refused_then_relaxed(t):
    """The host lists the keyword, refuses the parameter, and a grant allows to go without: on the same
    connection, once, inside TLS, whole, with the grant in the evidence; a slow last reply changes nothing."""
    gw, hop, _ = setup(t, over=GRANTS, policy=RELAX % "all", delay={".": 0.5}, **REFUSES_PARAMETER)
    send_tagged(t, gw)
    m = hop.wait_messages(1)[0]
    t.check(m.tls is not None and m.data.endswith(CONTENT), f"what arrived: {m}")
    t.eq(["REQUIRETLS" in x for x in m.session.commands if x.startswith("MAIL")], [True, False], "parameters")
    t.has(gw.wait_log("message delivered.*to=b@good.example")[0], "relaxed=all", "the log")
    gw.wait_queue_empty()
    t.eq((len(hop.sessions), len(hop.messages)), (1, 1), "sessions and messages")
    t.eq(relaxed(gw), {"all": 1}, "uses of grants in the metrics")
    send_tagged(t, gw)
    hop.wait_messages(2)
    send_plain(gw)
    hop.wait_messages(3)
    gw.wait_queue_empty()
    t.eq(relaxed(gw), {"all": 2}, "another one, and mail that needs none")


@case.register("parameter-refused-while-the-policy-thinks", "I2", "R-46", "R-50", "R-52")
def refused_policy_waits(t):
    """The policy that is asked then looks something up and has no answer: a failure with 5.7.30, and no
    second MAIL command."""
    policy = 'gw.on("unmet", function(m, h, u) gw.dns.a("x.slow.example") return nil end, { name = "unmet.wait" })'
    gw, hop, _ = setup(t, policy=policy, zones={"slow.example": Zone(kind="slow")}, **REFUSES_PARAMETER,
                       over={"policy": {"network": {"dns": True}}, "dns": {"timeout": "1s"}})
    send_tagged(t, gw)
    line = gw.wait_log("message failed.*to=b@good.example")[0]
    t.has(line, "reason=parameter-refused status=5.7.30", "the log")
    t.eq(len(hop.commands("MAIL")), 1, "MAIL commands")
    t.eq(hop.messages, [], "messages")


@case.register("ehlo-hook-asks-behind-a-relax", "I2", "I3")
def ehlo_hook_asks(t):
    """What the ehlo hook requires after a relax is not relaxed: no MAIL."""
    gw, hop, _ = setup(t, kind="unsigned", over=GRANTS, policy=RELAX % "all" + """
gw.on("ehlo", function(m, h) h:require_tls { level = "requiretls", reason = "x" } end, { name = "ehlo.ask" })""")
    send_tagged(t, gw)
    gw.wait_log("message (deferred|failed).*to=b@good.example.*stage=tls")
    t.check(hop.sessions, "the host was not asked")
    t.eq(hop.commands("MAIL"), [], "MAIL commands")


# ---- hosts that cannot just now ----

@case.register("lost-while-the-content-is-fetched", "I1", "I8")
def lost_while_fetching(t):
    """Both hosts of a route end the connection in the reply to EHLO: it waits with a class 4 status, and
    arrives whole and once when they have recovered."""
    hops = [t.nexthop(cut={"EHLO": b"250 hi\r\n"}), t.nexthop(cut={"EHLO": b"250 hi\r\n"}, delay={"GREETING": 0.2})]
    gw = t.gateway(over={"routes": {"inside": {"via": [f"127.0.0.1:{h.port}" for h in hops]}}})
    send_plain(gw, "b@gw.example", "inbound")
    t.has(gw.wait_log("message deferred")[0], "status=4.4.", "the log")
    for h in hops:
        h.cut.clear()
    gw.wait_queue_empty()
    arrived = hops[0].messages + hops[1].messages
    t.eq([m.data.endswith(CONTENT) for m in arrived], [True], "what arrived")


@case.register("starttls-454-and-no-duties", "N-13")
def starttls_454(t):
    """STARTTLS refused for the moment: mail that owes nothing goes in clear, once."""
    gw, hop, _ = setup(t, replies={"STARTTLS": "454 4.7.0 not now"})
    send_plain(gw)
    t.eq(hop.wait_messages(1)[0].tls, None, "TLS")
    gw.wait_queue_empty()
    t.eq(len(hop.messages), 1, "messages")


@case.register("starttls-454-is-no-failure", "I2")
def starttls_454_no_failure(t):
    """on_unmet = "bounce" is about what a host cannot do, not about 454: it waits, with no MAIL."""
    gw, hop, _ = setup(t, replies={"STARTTLS": "454 4.7.0 not now"},
                       policy=TLS % 'level = "encrypt", on_unmet = "bounce"')
    send_plain(gw)
    t.has(gw.wait_log("message deferred", count=2)[0], "status=4.7.0", "the log")
    t.eq(gw.log_lines("message failed"), [], "failures")
    t.eq(hop.commands("MAIL"), [], "MAIL commands")


@case.register("notice-waits-for-the-better-host", "R-48", "R-85", "D1")
def better_host_down(t):
    """Null sender, tagged; the best host is unreachable, the second has no TLS: row 52, it waits."""
    hop = t.nexthop(host="127.0.0.12")
    t.lab({"good.example": Zone("@ MX 10 mx1\n@ MX 20 mx2\nmx1 A 127.0.0.11\nmx2 A 127.0.0.12")})
    gw = t.gateway(hop_port=hop.port)
    send_tagged(t, gw, sender="")
    t.has(gw.wait_log("message deferred.*to=b@good.example")[0], "status=4.4.1", "the log")
    t.eq(hop.commands("MAIL"), [], "MAIL commands")
    t.eq(len(gw.queue()), 1, "waiting messages")


@case.register("greeting-of-5yz-defers-with-class-4")
def greeting_5yz(t):
    """554 as a greeting: the next try is later, and no deferral is logged with a class 5 status."""
    hop = t.nexthop(replies={"GREETING": "554 5.7.1 go away"})
    gw = t.gateway(hop_port=hop.port)
    send_plain(gw, "b@gw.example", "inbound")
    for line in gw.wait_log("message deferred", count=2):
        t.has(line, "status=4.7.1", "the log")
    t.eq(len(gw.queue()), 1, "waiting messages")


# ---- trust ----

@case.register("minimum-version-keeps-the-trust-file", "R-44")
def minimum_version(t):
    """gw.tls { min_version } checks certificates against tls.ca_file still."""
    gw, hop, _ = setup(t, policy=TLS % 'level = "verify", min_version = "1.3"')
    send_plain(gw)
    t.eq(hop.wait_messages(1)[0].tls["version"], "TLSv1.3", "version")
    t.has(gw.wait_log("message delivered")[0], "verified=pkix", "the log")


@case.register("kept-connection-ends-with-its-trust", "I2", "R-55", "N-06")
def reload_trust(t):
    """The CA is taken out by a reload: a kept connection that it vouched for carries no more tagged mail."""
    gw, hop, _ = setup(t, requiretls=True, over={"delivery": {"idle": "30s"}})
    send_tagged(t, gw)
    hop.wait_messages(1)
    # Beside gateway.lua: a confined daemon may read there (service.landlock).
    gw.config["tls"]["ca_file"] = shutil.copy(Certs(t.path("other")).ca, os.path.join(gw.dir, "other.pem"))
    gw.write()
    gw.reload()
    gw.wait_log("configuration active")
    send_tagged(t, gw)
    t.has(gw.wait_log("message failed.*to=b@good.example")[0], "reason=unverified status=5.7.10", "the log")
    t.eq(len(hop.commands("MAIL")), 1, "MAIL commands")


@case.register("reload-forbids-loopback")
def reload_loopback(t):
    """delivery.allow_loopback taken away: the next message makes no connection there."""
    gw, hop, _ = setup(t)
    gw.config["delivery"]["allow_loopback"] = False
    gw.write()
    gw.reload()
    gw.wait_log("configuration active")
    send_plain(gw)
    t.has(gw.wait_log("message failed.*to=b@good.example")[0], "status=5.4.4", "the log")
    t.eq(hop.sessions, [], "sessions")


# ---- changes by hand ----

@case.register("hold-one-of-two-that-wait-for-a-connection", "I4")
def hold_one(t):
    """Two recipients wait for the one connection and the first is held: the other one goes, it stays."""
    hop = t.nexthop(delay={".": 1.5})
    gw = t.gateway(hop_port=hop.port, over={"queue": {"concurrency": 1}})
    send_plain(gw, "x@gw.example", "inbound")
    hop.wait_sessions(1, ended=False)
    case.send(gw.port("inbound"), SENDER, ["b@gw.example", "c@gw.example"], CONTENT)
    t.has(gw.run("queue", "hold", "--to", "b@*", "--reason", "t").stdout, "1 changed", "hold")
    t.eq([m.rcpts for m in hop.wait_messages(2)], [["RCPT TO:<x@gw.example>"], ["RCPT TO:<c@gw.example>"]],
         "recipients")
    left = gw.wait_for(lambda: [[r["address"] for r in m["recipients"] if r["state"] == "held"]
                                for m in gw.queue()], what="a held recipient")
    t.eq(left, [["b@gw.example"]], "held ones")


def change_under_way(t, verb):
    """(gateway, host): x@gw.example, changed by hand while the host has not greeted yet; afterwards."""
    hop = t.nexthop(delay={"GREETING": 1})
    gw = t.gateway(hop_port=hop.port)
    send_plain(gw, "x@gw.example", "inbound")
    hop.wait_sessions(1, ended=False)
    t.has(gw.run("queue", verb, "--to", "x@*", "--reason", "t").stdout, "1 changed", verb)
    return gw, hop


@case.register("require-tls-by-hand-reaches-an-attempt-under-way", "I2", "I3")
def require_under_way(t):
    """Acknowledged before MAIL: nothing of the message goes out in clear."""
    gw, hop = change_under_way(t, "require-tls")
    gw.wait_log("message (deferred|failed).*to=x@gw.example")
    hop.wait_sessions(1)
    t.eq([x for x in hop.commands("RCPT") if "x@gw.example" in x], [], "RCPT commands")
    t.eq([m for m in hop.messages if "MAIL FROM:<>" not in m.mail], [], "messages other than notices")


@case.register("delete-by-hand-reaches-an-attempt-under-way", "I4")
def delete_under_way(t):
    """Acknowledged before MAIL: the message is gone and is not sent."""
    gw, hop = change_under_way(t, "delete")
    hop.wait_sessions(1)
    gw.wait_queue_empty()
    t.eq(hop.commands("MAIL"), [], "MAIL commands")
    t.eq(gw.log_lines("message delivered"), [], "deliveries")


# ---- policies that ask for the same thing for ever ----

@case.register("ttl-of-nothing", "I6")
def ttl_of_nothing(t):
    """gw.tls { ttl = "0s" } holds for the attempt it was asked for: delivered, inside TLS, in one session."""
    gw, hop, _ = setup(t, policy=TLS % 'level = "encrypt", ttl = "0s"')
    send_plain(gw)
    t.check(hop.wait_messages(1, 5)[0].tls is not None, "in clear")
    gw.wait_queue_empty()
    t.eq(len(hop.sessions), 1, "sessions")


@case.register("reroute-to-itself-is-paced", "I1", "I6")
def reroute_paced(t):
    """A hook that reroutes every attempt: the schedule holds between them and the message stays."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, policy="""
gw.on("attempt", function(m, h) return gw.reroute { via = "inside", reason = "r" } end, { name = "attempt.re" })""")
    send_plain(gw, "x@gw.example", "inbound")
    apart(t, gw.wait_log("message rerouted", count=3)[1:], 0.5)
    t.eq(len(gw.queue()), 1, "waiting messages")
    t.eq(hop.messages, [], "messages")


@case.register("retry-at-once-is-paced", "I6")
def retry_paced(t):
    """gw.retry { after = "0s" } behind every refusal: attempts are some time apart still."""
    hop = t.nexthop(replies={"RCPT": "550 5.1.1 no"})
    gw = t.gateway(hop_port=hop.port, policy="""
gw.on("result", function(m, r, res) return gw.retry { after = "0s", reason = "x" } end, { name = "result.again" })""")
    send_plain(gw, "b@gw.example", "inbound")
    apart(t, gw.wait_log("message deferred", count=3), 0.5)
    t.eq(len(gw.queue()), 1, "waiting messages")


# ---- notices ----

@case.register("tagged-by-policy-notice-has-no-body", "R-80", "R-82", "R-52")
def policy_tag_notice(t):
    """REQUIRETLS asked for by tls_policy alone, dsn.return_content = "full": 5.7.30 and headers only."""
    gw, hop, inside = setup(t, over={"dsn": {"return_content": "full"}}, policy=TLS % 'level = "requiretls"')
    send_plain(gw)
    notice = inside.wait_messages(1)[0]
    t.has(notice.data, b"Status: 5.7.30", "the notice")
    t.lacks(notice.data, BODY.strip(), "the notice")
    t.eq(hop.commands("MAIL"), [], "MAIL commands")


@case.register("held-for-unmet-duties-is-class-4", "R-50", "R-82")
def hold_unmet(t):
    """queue.hold_unmet: deferrals have class 4 statuses, in the log and in the delay notice."""
    gw, hop, inside = setup(t, cert=False, over={"queue": {"hold_unmet": "1h", "delay_notice": "1s"}})
    send_tagged(t, gw)
    for line in gw.wait_log("message deferred.*to=b@good.example", count=2):
        t.has(line, "status=4.7.10", "the log")
    notice = inside.wait_messages(1)[0].data
    t.has(notice, b"Action: delayed", "the notice")
    t.has(notice, b"Status: 4.", "the notice")
    t.lacks(notice, BODY.strip(), "the notice")
    t.eq(hop.commands("MAIL"), [], "MAIL commands")


# ---- the end ----

@case.register("stop-while-the-result-hook-waits", "I1", "I4")
def stop_in_result_hook(t):
    """The host has taken the message, the result hook waits and the gateway is stopped: it is not sent again."""
    hop = t.nexthop()
    t.lab({"slow.example": Zone(kind="slow")})
    gw = t.gateway(hop_port=hop.port, policy="""
gw.on("result", function(m, r, res) gw.dns.a("x.slow.example") return nil end, { name = "result.wait" })""",
                   over={"policy": {"network": {"dns": True}}, "dns": {"timeout": "8s"}, "limits": {"shutdown": "1s"}})
    send_plain(gw, "b@gw.example", "inbound")
    hop.wait_messages(1)
    gw.restart()
    gw.wait_queue_empty()
    t.eq(len(hop.messages), 1, "messages at the host")


@case.register("nothing-left-behind-at-the-end")
def nothing_left(t):
    """Kept connections, failed look-ups and a hold: the end is clean (a leak fails a sanitizer build)."""
    gw, hop, _ = setup(t, env={"ASAN_OPTIONS": "detect_leaks=1"}, over={"delivery": {"idle": "30s"}}, policy="""
gw.on("message", function(s, m) if m.from.localpart == "h" then return gw.hold { reason = "x" } end end,
  { name = "message.hold" })""")
    c = t.client(gw, "relay")
    c.ehlo()
    for i in range(5):
        c.send_message(SENDER, ["b@good.example", f"c@d{i}.invalid"], CONTENT)
    c.send_message("h@gw.example", ["b@good.example"], CONTENT)
    hop.wait_messages(5)
    gw.wait_log(r"message (failed|deferred).*to=c@d\d.invalid", count=5)
    t.eq(gw.stop(check=False), 0, "exit status")


case.main()
