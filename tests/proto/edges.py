"""The edges of TLS duties, and the cases that were missing; where the others are:

listeners that begin with TLS, or have none   here: listener-without-tls; requiretls_accept:
                                              keyword-inside-tls-only, implicit-tls-announces, no-promise-...
STARTTLS offered to some only                 here: starttls-for-everybody
EHLO anew behind STARTTLS                     here: only-the-second-ehlo-counts; requiretls_send:
                                              keyword-before-tls-only; hostile_client_tls: what-was-said-...
parameter with a value, or twice              requiretls_accept: parameter-syntax, parameter-on-the-longest-line;
                                              requiretls_send: parameter-is-bare
insecure MX, perfect certificate              requiretls_accept: lookup-signed-or-not; decision_rows: row-35;
                                              requiretls_send: unsigned-mx-is-not-dialled
hosts that differ                             decision_rows: row-51, row-52; decision_table: 51, 52; dane: next-host,
                                              order-stays, next-host-of-failing-lookup; sts: hosts-in-order;
                                              requiretls_send: every-host-is-tried; edges_published: half-of-the-hosts
MTA-STS stale, absent, and with DANE          sts: expired-policy-is-none, restart-keeps-the-policy, new-id-new-policy;
                                              sts_rows: row-26, row-32 to row-36; dane_rows: row-38;
                                              edges_published: stale-policy-and-a-tag, dane-beats-the-policy
tag and null sender                           here: steps-for-a-sender-and-for-none; decision_rows: row-53 to row-56;
                                              notices: null-sender-gets-no-notice; second_look: notice-waits-for-...
tag and RET=FULL                              notices: no-octet-of-the-body, passed-on-unchanged,
                                              hooks-cannot-add-the-body; second_look: tagged-by-policy-notice-...
delay, success and copies without the body    here: every-notice-of-one-message; notices: delay-is-told-once,
                                              relayed-to-a-host-without-dsn; notice_words: copy-to-the-helpdesk
header folded, doubled, Yes, with a comment   tls_required_no: what-counts-as-the-header, blank-lines-and-their-like
header and parameter together                 requiretls_accept: parameter-beats-header; notices: no-is-copied
header from outside                           here: headers-of-others-are-no-tag, policies-do-not-write-the-header;
                                              requiretls_accept: header-alone; tls_required_no: our-own-rule-stays
kept connections                              requiretls_send: shared-host-other-evidence, kept-connection-...,
                                              resumed-session-is-verified-again; dane: kept-connection-of-old-records;
                                              second_look: kept-connection-ends-with-its-trust
recipients that fare differently              here: four-recipients-four-ends, copies-carry-both-requests;
                                              requiretls_accept: two-domains-two-outcomes; notices: only-those-who-...
smart host                                    here: smart-host-by-mx, smart-host-by-name, host-by-address;
                                              decision_rows: row-41, row-42; sts: smart-host; dane: fixed-host
asked for while the message is under way      second_look: require-tls-by-hand-...; crash tests
reload between acceptance and delivery        here: reload-while-mail-waits; requiretls_accept:
                                              tag-survives-retry-and-reload; second_look: reload-forbids-loopback
keyword listed, parameter refused             decision_rows: row-49; second_look: parameter-refused-...
no mail there at all                          here: null-mx, greeted-with-521, null-mx-in-a-policy"""

import case
import tagged
from tagged import H1, H4, H5, SENDER, TOKEN, Notice

GOOD = "mx1.good.example"
TO = "b@good.example"


# ---- Our side ----

@case.register("listener-without-tls", "R-13", "R-14", "R-15", "N-19")
def without_tls(t):
    """No certificate, or STARTTLS switched off: neither STARTTLS nor REQUIRETLS is listed or taken."""
    ports = case.free_port(), case.free_port()
    s = tagged.scene(t, {}, over={"listeners": {
        "bare": {"bind": [f"127.0.0.1:{ports[0]}"], "role": "mx"},
        "off": {"bind": [f"127.0.0.1:{ports[1]}"], "role": "mx", "tls": "gw", "starttls": "off"}}})
    for listener in ("bare", "off"):
        c = t.client(s.gw, listener)
        caps = c.ehlo()
        t.lacks(caps, "STARTTLS", listener)
        t.lacks(caps, "REQUIRETLS", listener)
        t.eq(c.cmd("STARTTLS").code, 502, f"STARTTLS at {listener}")
        t.eq(c.mail(SENDER, "REQUIRETLS").code // 100, 5, f"MAIL at {listener}")
        t.eq(c.rcpt("b@gw.example").code, 503, f"RCPT at {listener}")
        c.mail(SENDER, code=250)
    t.eq(s.gw.queue(), [], "queue")


GREYLIST = """
gw.on("rcpt", function(session, message, rcpt)
  if rcpt.localpart == "grey" then return gw.defer { text = "come again" } end
end, { name = "grey.list" })
"""


@case.register("starttls-for-everybody", "D-55", "S-71", "D-54")
def for_everybody(t):
    """STARTTLS is listed and works for strangers and for those who came before, ahead of and behind a
    deferral or an error, whatever server name the client asks for, or none."""
    s = tagged.scene(t, {}, policy=GREYLIST)
    for listener in ("inbound", "relay"):
        c = t.client(s.gw, listener)
        t.has(c.ehlo(), "STARTTLS", "a stranger")
        for _ in range(2):
            c.mail(SENDER, code=250)
            t.eq(c.rcpt("grey@gw.example").code // 100, 4, "RCPT")
            t.has(c.ehlo(), "STARTTLS", "behind a deferral")
        c.cmd("WHAT")
        t.has(c.ehlo(), "STARTTLS", "behind an error")
        c.starttls()
        c.ehlo()
    for sni in ("gw.example", "unknown.example", "GW.EXAMPLE", None):
        c = t.client(s.gw)
        c.ehlo()
        c.starttls(sni=sni)
        t.eq(c.tls["cert"], t.certs.issue("gw.example").der, f"certificate for {sni}")
        c.ehlo()


# ---- What the host says ----

@case.register("only-the-second-ehlo-counts", "R-11", "R-46", "N-20")
def second_ehlo(t):
    """What a host listed in clear is forgotten inside TLS: a limit that is gone, parameters that are gone."""
    most = ["PIPELINING", "STARTTLS", "DSN", "8BITMIME", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES"]
    s = tagged.scene(t, {GOOD: {"ehlo": [*most, "SIZE 20"], "ehlo_tls": ["REQUIRETLS"]},
                         "mx1.two.example": {"ehlo": [*most, "REQUIRETLS", "SIZE 100000"], "ehlo_tls": most[2:]}})
    tagged.submit(t, s.gw, TO, params="REQUIRETLS RET=HDRS ENVID=x BODY=8BITMIME", rcpt_params="NOTIFY=FAILURE")
    m = s.hop[GOOD].wait_messages(1)[0]
    t.eq((m.mail.split()[2:], m.rcpts), (["REQUIRETLS"], [f"RCPT TO:<{TO}>"]), "MAIL and RCPT")
    t.eq([x.split()[0] for x in m.session.commands],
         ["EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "DATA"], "commands")
    tagged.submit(t, s.gw, "b@two.example", params="REQUIRETLS")
    tagged.deferred(t, s.gw, "b@two.example", "4.4.1")     # the second host is not there
    tagged.no_mail(t, s.hop["mx1.two.example"])


@case.register("steps-for-a-sender-and-for-none", "R-40", "R-85")
def sender_and_none(t):
    """The same host, without the keyword: mail with a sender goes back, a notice of others goes on."""
    s = tagged.scene(t, {GOOD: H4})
    tagged.submit(t, s.gw, TO, params="REQUIRETLS")
    tagged.failed(t, s, "5.7.30")
    tagged.no_mail(t, s.hop[GOOD])
    tagged.submit(t, s.gw, TO, params="REQUIRETLS", sender="")
    m = s.hop[GOOD].wait_messages(1)[0]
    t.eq((m.tls is not None, m.has_requiretls), (True, False), "TLS and parameter")


# ---- Headers ----

@case.register("headers-of-others-are-no-tag", "R-00d", "R-25", "R-115")
def others_headers(t):
    """Fields by which other programs pass the tag on mean nothing here, come through unchanged, and are
    never written; a tag is in the envelope alone."""
    s = tagged.scene(t, {GOOD: H5})
    fields = "Require-TLS-ESMTP: yes\nRequireTLS: YES\nREQUIRETLS: yes\n"
    tagged.submit(t, s.gw, TO, headers=fields)
    m = s.hop[GOOD].wait_messages(1)[0]
    t.check(not m.has_requiretls, f"a tag out of a field: {m.mail}")
    t.check(m.data.endswith(tagged.message(fields)), "the message is as it was")
    tagged.submit(t, s.gw, TO, params="REQUIRETLS")
    m = s.hop[GOOD].wait_messages(2)[1]
    t.check(m.has_requiretls, f"no tag: {m.mail}")
    head = m.data.partition(b"\r\n\r\n")[0].lower()
    for word in (b"\ntls-required", b"\nrequire"):
        t.lacks(head, word, "fields of a tagged message")


@case.register("policies-do-not-write-the-header", "R-115", "R-71", "I3", "I5")
def policy_writes(t):
    """A policy that writes TLS-Required: No under any of its names fails, and the mail is put off."""
    calls = ('add_header("TLS-Required", "No")', 'set_header("tls-required", "No")',
             'add_header("Require-TLS", "No", "end")')
    s = tagged.scene(t, {GOOD: H5}, policy="".join(f"""
gw.on("message", function(session, message)
  if message.from.localpart == "a{i}" then message:{call} end
end, {{ name = "writes.it{i}" }})
""" for i, call in enumerate(calls)))
    for i, call in enumerate(calls):
        reply = tagged.submit(t, s.gw, TO, sender=f"a{i}@back.example", code=4)
        t.eq(reply.code, 451, call)
    t.eq((s.gw.queue(), s.hop[GOOD].sessions), ([], []), "queue and connections")
    tagged.submit(t, s.gw, TO)
    s.hop[GOOD].wait_messages(1)


# ---- One message, several ends ----

@case.register("four-recipients-four-ends", "R-38", "R-50", "R-81", "R-82", "M-145")
def four_ends(t):
    """Tagged, to one host that takes one, refuses one, puts one off, and to a domain that is not able: each
    recipient has its own end, both notices are tagged and without the body, and nobody has it twice."""
    s = tagged.scene(t, {GOOD: dict(H5, replies={"RCPT:no@": "550 5.1.1 nobody", "RCPT:later@": "451 4.2.1 later"}),
                         "mx1.plain.example": H5}, over={"queue": {"retry": ["1h"]}})
    c = t.secure_client(s.gw, "relay")
    c.send_message(SENDER, ["yes@good.example", "no@good.example", "later@good.example", "b@plain.example"],
                   tagged.message(), params="REQUIRETLS RET=FULL")
    m = s.hop[GOOD].wait_messages(1)[0]
    t.eq([r.split()[1] for r in m.rcpts], ["TO:<yes@good.example>"], "recipients")
    t.check(m.has_requiretls, "no tag")
    ends = {}
    for n in map(Notice, s.back.wait_messages(2)):
        t.check(n.received.has_requiretls, f"tag of the notice: {n.received.mail}")
        t.lacks(n.data.decode(), TOKEN, "the notice")
        ends.update({r["Final-Recipient"].partition(";")[2]: r["Status"] for r in n.recipients})
    t.eq(ends, {"no@good.example": "5.1.1", "b@plain.example": "5.7.10"}, "returned")
    t.eq([[r["address"] for r in m["recipients"]] for m in s.gw.queue()], [["later@good.example"]], "waiting")
    t.eq(s.hop["mx1.plain.example"].sessions, [], "connections to the host that nobody vouches for")


@case.register("copies-carry-both-requests", "R-35", "R-76", "R-77")
def copies(t):
    """Recipients that a policy adds: the tag and the header go with each; the one that cannot have it fails
    alone, and its sender hears of it."""
    s = tagged.scene(t, {GOOD: H5, "solo.example": H1, "mx1.plain.example": H5}, policy="""
gw.on("message", function(session, message)
  message:add_recipient("copy@solo.example")
  message:add_recipient("copy@plain.example")
end, { name = "list.expand" })
""")
    tagged.submit(t, s.gw, TO, params="REQUIRETLS")
    t.check(s.hop[GOOD].wait_messages(1)[0].has_requiretls, "no tag")
    ends = {}
    for n in map(Notice, s.back.wait_messages(2)):
        ends.update({r["Final-Recipient"].partition(";")[2]: r["Status"] for r in n.recipients})
    t.eq(ends, {"copy@solo.example": "5.7.10", "copy@plain.example": "5.7.10"}, "returned")
    tagged.no_mail(t, s.hop["solo.example"], s.hop["mx1.plain.example"])
    tagged.submit(t, s.gw, TO, headers="TLS-Required: No")
    for host in (GOOD, "solo.example", "mx1.plain.example"):
        m = s.hop[host].wait_messages(2 if host == GOOD else 1)[-1]
        t.eq((m.header("TLS-Required"), m.has_requiretls), ("No", False), f"header and tag at {host}")


@case.register("every-notice-of-one-message", "R-82", "R-83", "R-91", "R-80", "M-146")
def every_notice(t):
    """Late, then returned, one recipient relayed to a host without DSN, a copy of each notice for the
    postmaster: four kinds of notices, RET=FULL, and no octet of the body in any of them."""
    s = tagged.scene(t, {GOOD: dict(H5, replies={"RCPT": ["450 4.2.1 later"] * 3 + ["550 5.2.1 no more"]}),
                         "solo.example": dict(H5, ehlo_tls=["REQUIRETLS", "8BITMIME"]), "inside.example": H5},
                     over={"queue": {"retry": ["1s"], "delay_notice": "1s"}, "dsn": {"return_content": "full"},
                           "routes": {"inside": {"names": ["inside.example"], "assert_secure_lookup": True}}},
                     policy="""
for _, hook in ipairs { "bounce", "dsn" } do
  gw.on(hook, function(message, notice)
    notice.return_content = "full"
    notice.copy_to = "postmaster@gw.example"
  end, { name = hook .. ".copy" })
end
""")
    c = t.secure_client(s.gw, "relay")
    c.mail(SENDER, "REQUIRETLS RET=FULL", 250)
    c.rcpt(TO, "NOTIFY=SUCCESS,FAILURE,DELAY", 250)
    c.rcpt("b@solo.example", "NOTIFY=SUCCESS,FAILURE,DELAY", 250)
    c.data(tagged.message(), 250)
    actions = {}
    for where, hop in (("sender", s.back), ("postmaster", s.hop["inside.example"])):
        for n in map(Notice, hop.wait_messages(3)):
            actions.setdefault(where, set()).add(n.action)
            t.check(n.received.has_requiretls, f"tag of {n.action} to the {where}: {n.received.mail}")
            t.lacks(n.data.decode("utf-8", "replace"), TOKEN, f"{n.action} to the {where}")
            t.check(all(TOKEN.encode() not in data for _, data in n.parts), f"{n.action} to the {where}, decoded")
    t.eq(actions, dict.fromkeys(("sender", "postmaster"), {"delayed", "failed", "relayed"}), "notices")
    s.gw.wait_queue_empty()


# ---- Smart hosts ----

def through(domain):
    return {"routes": {"internet": {"via": "mx", "domain": domain, "tls": "may"}}}


@case.register("smart-host-by-mx", "R-42", "R-09", "S-12")
def smart_mx(t):
    """All mail through another domain's hosts: its look-up has to be secure, not the recipient's."""
    s = tagged.scene(t, {GOOD: H5, "mx1.plain.example": H5}, over=through("good.example"))
    tagged.submit(t, s.gw, "b@plain.example", params="REQUIRETLS")
    t.check(s.hop[GOOD].wait_messages(1)[0].has_requiretls, "no tag at the smart host")
    t.eq(s.hop["mx1.plain.example"].sessions, [], "connections to the recipient's own host")
    s.gw.stop()
    s = tagged.scene(t, {GOOD: H5, "mx1.plain.example": H5}, over=through("plain.example"))
    # The sender's host is behind the smart host, too; it takes what owes nothing.
    tagged.submit(t, s.gw, TO, params="REQUIRETLS")
    s.gw.wait_log("message failed.*to=b@good.example.*status=5.7.10")
    s.gw.wait_queue_empty()
    t.check(not any(f"<{TO}>" in r for h in s.hop.values() for m in h.messages for r in m.rcpts), "it was sent")


def by_name(host, **more):
    def over(port):
        return {"routes": {"smart": {"via": [f"{host}:{port}"], "tls": "verify", "assert_secure_lookup": True, **more}},
                "domains": [{"match": ["gw.example"], "kind": "local", "route": "inside"},
                            {"match": ["smart.example"], "route": "smart"},
                            {"match": "*", "kind": "remote", "route": "internet"}]}

    return over


@case.register("smart-host-by-name", "N-08", "N-14", "N-02")
def smart_name(t):
    """Submission to a host that the configuration names, TLS from the first octet on: a name in the
    certificate has to be that one; not what it is an alias of, not the mail domain, no URI."""
    certs = [t.certs.issue("relay.good.example", names=names) for names in (
        ["relay.good.example"], ["*.good.example"],
        [GOOD], ["good.example", "smart.example"], ["elsewhere.example,URI:smtp://relay.good.example"])]
    s = tagged.scene(t, {GOOD: dict(H5, implicit_tls=True)}, over=lambda port: dict(
        by_name("relay.good.example", implicit_tls=True)(port), delivery={"idle": "0s"}))
    hop = s.hop[GOOD]
    for i, hop.cert in enumerate(certs):
        to = f"b{i}@smart.example"
        tagged.submit(t, s.gw, to, params="REQUIRETLS" if i < 2 else "")
        if i < 2:
            t.check(hop.wait_messages(i + 1)[i].has_requiretls, f"no tag at certificate {i}")
            t.eq(hop.sessions[i].tls["sni"], "relay.good.example", "server name asked for")
        else:
            tagged.deferred(t, s.gw, to, "4.7.10")
    t.eq(len(hop.commands("MAIL")), 2, "MAIL commands")


@case.register("host-by-address", "N-05", "N-06")
def by_address(t):
    """A host that is an address has no name: no certificate proves it, not even one with that address, but
    by the names that the route gives. A route that asks for the impossible is refused at the start."""
    address = tagged.ADDRESSES[GOOD]
    cert = t.certs.issue("relay.example", names=[f"relay.example,IP:{address}"])
    for more, goes in (({"tls": "may"}, False), ({"names": ["relay.example"]}, True)):
        s = tagged.scene(t, {GOOD: dict(H5, cert=cert)}, over=by_name(address, **more))
        tagged.submit(t, s.gw, "b@smart.example", params="REQUIRETLS")
        if goes:
            t.check(s.hop[GOOD].wait_messages(1)[0].has_requiretls, "no tag")
            s.gw.stop()
            continue
        tagged.failed(t, s, "5.7.10")
        tagged.no_mail(t, s.hop[GOOD])
        t.has(s.gw.wait_log("message failed.*to=b@smart.example")[0], "reason=no-name", "the log")
        s.gw.stop()
        s.gw.config["routes"]["smart"]["tls"] = "verify"
        s.gw.write()
        done = s.gw.run("config", "check")
        t.eq(done.returncode, 1, "config check")
        t.has(done.stdout + done.stderr, "routes.smart.names", "config check")


# ---- Reload ----

ASKS = """
gw.on("message", function(session, message)
  if message:subject() == "asked" then message:require_tls { level = "verify", reason = "it is asked" } end
end, { name = "asks.tls" })
"""


@case.register("reload-while-mail-waits", "I2", "I3", "R-36", "X-74")
def reload_waits(t):
    """What a route asks for is the active configuration's, be it more or less; what a policy asked for when
    the mail came stays with it, whatever the new policy says."""
    s = tagged.scene(t, {GOOD: dict(H1, replies={"MAIL": "451 4.3.0 later"})}, policy=ASKS,
                     over={"queue": {"retry": ["1s"]}})
    for name in ("plain", "asked"):
        content = tagged.message().replace(b"red herring", name.encode())
        tagged.submit(t, s.gw, f"{name}@good.example", content=content)
    s.gw.wait_log("message deferred.*to=plain@good.example.*status=4.3.0")
    s.gw.wait_log("message deferred.*to=asked@good.example.*status=4.7.10")
    s.gw.config["routes"]["internet"]["tls"] = "encrypt"
    s.gw.policy = "-- asks for nothing\n"

    def reload(number):
        s.gw.write()
        s.gw.reload()
        s.gw.wait_log("configuration active", count=number)

    before = len(s.gw.log_lines("configuration active"))
    reload(before + 1)
    s.gw.wait_log("message deferred.*to=plain@good.example.*status=4.7.10")
    s.hop[GOOD].replies.clear()         # from here on it would take anything
    s.gw.wait_log("message deferred.*to=plain@good.example.*status=4.7.10", count=2)
    t.eq(s.hop[GOOD].messages, [], "messages in clear")
    s.gw.config["routes"]["internet"]["tls"] = "may"
    reload(before + 2)
    t.eq([m.header("Subject") for m in s.hop[GOOD].wait_messages(1)], ["plain"], "what goes in clear")
    s.gw.wait_log("message deferred.*to=asked@good.example.*status=4.7.10", count=3)
    t.eq(len(s.hop[GOOD].messages), 1, "messages in clear")


# ---- No mail there ----

@case.register("null-mx", "Z-01", "Z-03", "Z-09")
def null_mx(t):
    """A null MX, signed or not: returned at once with 5.1.10, and the domain's address is not dialled."""
    s = tagged.scene(t, {"solo.example": H5})
    for number, to in enumerate(("b@null.example", "b@void.example"), 1):
        tagged.submit(t, s.gw, to)
        t.eq(tagged.notice(t, s.back, number).status, "5.1.10", to)
    t.eq(s.hop["solo.example"].sessions, [], "connections to the address")
    t.eq(s.gw.log_lines("message deferred"), [], "deferrals")


@case.register("greeted-with-521", "Z-08")
def greeted_521(t):
    """A host that never takes mail is passed over; when all are such, mail is returned at once with their
    words; with one that may come back it waits."""
    never = {"replies": {"GREETING": "521 5.3.2 no mail here, ever"}}
    s = tagged.scene(t, {"mx1.two.example": never, "mx2.two.example": H4, GOOD: never},
                     over={"queue": {"retry": ["1s"]}, "delivery": {"idle": "0s"}})
    tagged.submit(t, s.gw, "b@two.example")
    s.hop["mx2.two.example"].wait_messages(1)
    s.hop["mx2.two.example"].replies["GREETING"] = "421 4.3.2 later"
    tagged.submit(t, s.gw, "c@two.example")
    tagged.deferred(t, s.gw, "c@two.example", "4.3.2")
    tagged.submit(t, s.gw, TO)
    n = tagged.notice(t, s.back)
    t.eq((n.status, n.recipients[0]["Final-Recipient"].partition(";")[2]), ("5.3.2", TO), "the notice")
    t.has(n.recipients[0]["Diagnostic-Code"], "no mail here, ever", "the notice")
    t.eq(s.hop[GOOD].sessions[0].commands, ["QUIT"], "what it was told")
    s.hop["mx2.two.example"].replies["GREETING"] = "521 no"
    t.eq(tagged.notice(t, s.back, 2).recipients[0]["Final-Recipient"].partition(";")[2], "c@two.example", "returned")


NULL_MX = """
local function is_null(domain)
  local mx = gw.dns.mx(domain)
  return mx and #mx == 1 and mx[1].preference == 0 and (mx[1].host == "" or mx[1].host == ".")
end
gw.on("mail", function(session, message)
  if message.from.domain and is_null(message.from.domain) then
    return gw.reject { code = 550, status = "5.7.27", text = "Your domain takes no mail" }
  end
end, { name = "null.from" })
gw.on("rcpt", function(session, message, rcpt)
  if is_null(rcpt.domain) then return gw.reject { code = 556, status = "5.1.10", text = "It takes no mail" } end
end, { name = "null.to" })
"""


@case.register("null-mx-in-a-policy", "Z-04", "Z-05")
def null_in_policy(t):
    """A policy that looks says so with the codes of RFC 7505."""
    s = tagged.scene(t, {}, policy=NULL_MX, over={"policy": {"network": {"dns": True}}})
    c = t.secure_client(s.gw, "relay")
    r = c.mail("a@null.example")
    t.eq((r.code, r.status), (550, "5.7.27"), "MAIL")
    c.mail(SENDER, code=250)
    r = c.rcpt("b@void.example")
    t.eq((r.code, r.status), (556, "5.1.10"), "RCPT")
    c.rcpt(TO, code=250)


case.main()
