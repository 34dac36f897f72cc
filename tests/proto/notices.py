"""Notices about mail with REQUIRETLS: protected as the mail was, without its body, and not lost for
want of protection (RFC 8689 section 5); and what RFC 3461, 3464, 6522 and 6533 want of every notice.
a@back.example sends; mx.back.example is where notices go; mx1.good.example is what fails."""

import re

import case
import tagged
from tagged import H1, H2, H3, H4, H5, SENDER, TOKEN, Notice

GOOD = "mx1.good.example"
TO = "b@good.example"
NOBODY = "550 5.1.1 <b@good.example> nobody of that name"
NUMERIC_ZONE = re.compile(r"^\w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}$")
# What a host without DSN lists inside TLS.
WITHOUT_DSN = ["PIPELINING", "SIZE 10000000", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "REQUIRETLS"]
DAY_MS = 86400000


def refusing(state=None, reply=NOBODY, **more):
    """A host whose RCPT fails."""
    return dict(H5 if state is None else state, replies={"RCPT": reply}, **more)


def only_one(t, s, n=1):
    """Everything is done, and no further message went anywhere."""
    s.gw.wait_queue_empty()
    t.eq(len(s.back.messages), n, "messages at the sender's host")


# ---- Protection, R-88 ----

@case.register("notice-has-the-tag", "R-80", "R-81", "R-84", "R-88", "M-138", "M-187")
def has_the_tag(t):
    """An unknown user, nothing to do with TLS: the notice is tagged all the same, from <> to the
    reverse-path, without RET."""
    s = tagged.scene(t, {GOOD: refusing()})
    tagged.submit(t, s.gw, TO, params="REQUIRETLS RET=FULL ENVID=x1")
    n = tagged.failed(t, s, "5.1.1")
    words = n.received.mail.split()
    t.eq(words[:3], ["MAIL", "FROM:<>", words[2]], "MAIL")
    t.lacks(n.received.mail, "RET=", "MAIL")
    t.eq([r.split()[1] for r in n.received.rcpts], [f"TO:<{SENDER}>"], "RCPT")
    for r in n.received.rcpts:
        t.check("NOTIFY=" not in r or r.endswith("NOTIFY=NEVER"), r)
    only_one(t, s)


@case.register("notice-of-an-administrator", "R-81")
def by_administrator(t):
    """`sallyport queue bounce` ends a waiting message: that notice is protected as well."""
    s = tagged.scene(t, {GOOD: refusing(reply="450 4.2.1 later")}, over={"queue": {"retry": ["1h"]}})
    tagged.submit(t, s.gw, TO, params="REQUIRETLS RET=FULL")
    tagged.deferred(t, s.gw, TO, "4.2.1")
    done = s.gw.run("queue", "bounce", s.gw.queue()[0]["id"], "--reason", "not wanted any more")
    t.eq(done.returncode, 0, f"exit status, {done.stderr}")
    n = tagged.notice(t, s.back)
    t.check(n.received.has_requiretls, f"tag: {n.received.mail}")
    t.lacks(n.data.decode(), TOKEN, "the notice")
    only_one(t, s)


@case.register("notice-about-a-policys-tag", "R-80", "R-73", "R-110", "R-111")
def by_policy(t):
    """A rule asked for REQUIRETLS: when no host has it the sender hears at once, under the same tag."""
    s = tagged.scene(t, {GOOD: H4}, policy="""
gw.rule { name = "tag.it", at = "message", level = "mandatory", when = gw.match.subject_word "herring",
  act = gw.action.require_tls { level = "requiretls", reason = "red" } }
""")
    tagged.submit(t, s.gw, TO, params="RET=FULL")
    tagged.failed(t, s, "5.7.30")
    tagged.no_mail(t, s.hop[GOOD])
    only_one(t, s)


BODIES = {
    "plain": tagged.message(),
    "8bit": tagged.message(body=f"Grüße\n{TOKEN}\n"),
    "large": tagged.message(body=(f"{TOKEN} " + "x" * 60 + "\n") * 8000),
    "no-header": f"{TOKEN} this is no field\r\nSubject: {TOKEN}\r\n\r\nbody {TOKEN}\r\n".encode(),
    "broken-header": f"Subject: x\r\n{TOKEN} stands where the header is\r\nTo: b@good.example\r\n\r\n"
                     f"body {TOKEN}\r\n".encode(),
    "mime": tagged.message("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b",
                           f"--b\nContent-Type: message/rfc822\n\nSubject: {TOKEN}\n\n{TOKEN}\n--b--\n"),
}


@case.register("no-octet-of-the-body", "X-36", "R-82", "R-83", "M-141", "R-92")
def no_body(t):
    """RET=FULL counts for nothing beside REQUIRETLS: header fields come back, and no body, whatever
    the message looks like."""
    s = tagged.scene(t, {GOOD: refusing()}, over={"dsn": {"return_content": "full"}})
    for word, content in BODIES.items():
        tagged.submit(t, s.gw, TO, params="REQUIRETLS RET=FULL BODY=8BITMIME", content=content)
        number = list(BODIES).index(word) + 1
        n = tagged.notice(t, s.back, number)
        t.lacks(n.data.decode("utf-8", "replace"), TOKEN, f"notice about {word}")
        t.check(n.received.has_requiretls, f"tag of the notice about {word}")
        t.eq(n.types[:2], ["text/plain", "message/delivery-status"], word)
        t.check(n.types[2:] in (["text/rfc822-headers"], []), f"{word}: {n.types}")
        if word in ("plain", "mime"):
            t.has(n.returned.decode(), "Message-ID: <1@back.example>", f"returned of {word}")
    only_one(t, s, len(BODIES))


@case.register("hooks-cannot-add-the-body", "R-92", "R-117", "R-116")
def hooks(t):
    """A hook asks for all of it and for more fields: it gets the header; another one drops that, too."""
    s = tagged.scene(t, {GOOD: refusing()}, policy="""
gw.on("bounce", function(message, bounce)
  if message:has_header("X-None") then
    bounce.return_content = "none"
  else
    bounce.return_content = "full"
  end
  bounce.subject = "No luck"
  bounce.headers = { "X-Ticket: 4711" }
end, { name = "wants.all" })
""")
    tagged.submit(t, s.gw, TO, params="REQUIRETLS RET=FULL")
    n = tagged.failed(t, s, "5.1.1")
    t.eq(n.types, ["text/plain", "message/delivery-status", "text/rfc822-headers"], "parts")
    t.eq((n.top["Subject"], n.top["X-Ticket"], n.top["To"]), ("No luck", "4711", f"<{SENDER}>"), "fields")
    tagged.submit(t, s.gw, TO, params="REQUIRETLS RET=FULL", headers="X-None: x")
    n = tagged.failed(t, s, "5.1.1", 2)
    t.eq(n.types, ["text/plain", "message/delivery-status"], "parts")
    t.lacks(n.data.decode(), "red herring", "a notice without the original's fields")
    only_one(t, s, 2)


@case.register("failing-hook-keeps-the-rules", "R-92", "R-117", "R-118")
def failing_hook(t):
    """A hook that raises half way, or writes what only the gateway may: the notice goes, tagged, with the
    header and the built-in words."""
    for last in ('error("no more")', 'bounce.headers = { "Content-Type: text/plain" }',
                 'bounce.headers = { "To: c@elsewhere.example" }', 'bounce.sender = "c@elsewhere.example"'):
        s = tagged.scene(t, {GOOD: refusing()}, policy=f"""
gw.on("bounce", function(message, bounce)
  bounce.return_content = "full"
  bounce.subject = "half done"
  {last}
end, {{ name = "raises" }})
""")
        tagged.submit(t, s.gw, TO, params="REQUIRETLS RET=FULL")
        n = tagged.failed(t, s, "5.1.1")
        t.lacks(n.top["Subject"], "half done", "Subject")
        t.eq(n.top["To"], f"<{SENDER}>", f"To, after {last}")
        t.eq(n.types, ["text/plain", "message/delivery-status", "text/rfc822-headers"], f"parts, after {last}")
        only_one(t, s)


# ---- The way back has less, D3 ----

def way_back(state, protect, check):
    """Registers a case: the sender's host in this state, dsn.protect in this mode."""
    def one(t):
        s = tagged.scene(t, {GOOD: refusing()}, back=state, over={"dsn": {"protect": protect}})
        tagged.submit(t, s.gw, TO, params="REQUIRETLS RET=FULL")
        m = s.back.wait_messages(1)[0]
        n = Notice(m)
        t.has(m.mail, "MAIL FROM:<>", "MAIL")
        t.eq(n.status, "5.1.1", "Status")
        t.lacks(n.data.decode(), TOKEN, "the notice")
        check(t, m, n)
        only_one(t, s)

    return one


def whole_over_tls(t, m, n):
    t.check(not m.has_requiretls and m.tls is not None, f"{m.mail} {m.tls}")
    t.has(n.returned.decode(), "red herring", "what is returned over TLS")


def redacted_in_clear(t, m, n):
    t.check(not m.has_requiretls and m.tls is None, f"{m.mail} {m.tls}")
    t.eq(len(n.types), 2, "parts in clear")
    t.lacks(m.data.decode(), "red herring", "the notice in clear")


def protected(t, m, n):
    t.check(m.has_requiretls and m.tls is not None, f"{m.mail} {m.tls}")
    t.has(n.returned.decode(), "red herring", "what is returned")


def redacted(t, m, n):
    t.check(not m.has_requiretls, f"{m.mail}")
    t.lacks(m.data.decode(), "red herring", "the notice")
    t.lacks((n.returned or b"").decode(), "Received:", "what is returned")


for name, back_state, protect, look in (
        ("fallback-finds-requiretls", H5, "fallback", protected),
        ("fallback-over-verified-tls", H4, "fallback", whole_over_tls),
        ("fallback-over-any-tls", H3, "fallback", whole_over_tls),
        ("fallback-after-a-broken-handshake", H2, "fallback", redacted_in_clear),
        ("fallback-in-clear", H1, "fallback", redacted_in_clear),
        ("redact-goes-untagged", H5, "redact", redacted),
        ("redact-in-clear", H1, "redact", redacted),
        ("strict-finds-requiretls", H5, "strict", protected)):
    case.register(name, "R-85", "R-87", "D3")(way_back(back_state, protect, look))


@case.register("strict-waits-and-ends-in-the-log", "R-87", "R-94", "D3")
def strict(t):
    """dsn.protect = "strict": the notice waits for REQUIRETLS; when its time is up it ends in the log
    and the evidence, and nobody is told of it."""
    s = tagged.scene(t, {GOOD: refusing(), "inside.example": H5}, back=H4, over={"dsn": {"protect": "strict"}})
    tagged.submit(t, s.gw, TO, params="REQUIRETLS")
    last = tagged.deferred(t, s.gw, SENDER, "4.7.30")
    t.eq(last["stage"], "tls", f"stage of {last}")
    t.eq(s.back.commands("MAIL"), [], "MAIL at the sender's host")
    s.gw.env["SALLYPORT_CLOCK_SHIFT_MS"] = str(3 * DAY_MS)
    s.gw.restart()
    s.gw.wait_queue_empty()
    t.eq(tagged.evidence(s.gw, SENDER)[-1]["event"], "expired", "evidence")
    t.eq(len(s.gw.log_lines(r"message expired .*from=\"\"")), 1, "log lines of its end")
    t.eq(s.back.commands("MAIL") + s.hop["inside.example"].commands("MAIL"), [], "MAIL")


@case.register("notice-that-fails-has-no-notice", "R-94", "M-137", "M-187")
def failing_notice(t):
    """The sender's host refuses the notice for good: no third message, a line in the log, evidence."""
    s = tagged.scene(t, {GOOD: refusing(), "inside.example": H5}, back=refusing(reply="550 5.1.1 no such sender"))
    tagged.submit(t, s.gw, TO, params="REQUIRETLS")
    s.gw.wait_log(r"message failed .*from=\"\"")
    s.gw.wait_queue_empty()
    t.eq(len(s.back.commands("MAIL")), 1, "MAIL at the sender's host")
    t.eq(s.hop["inside.example"].commands("MAIL"), [], "MAIL at the postmaster's host")
    t.eq(tagged.evidence(s.gw, SENDER)[-1]["event"], "failed", "evidence")


@case.register("null-sender-gets-no-notice", "M-137", "R-94")
def null_sender(t):
    """Tagged mail from <> that fails for good: nobody is told, the evidence says so."""
    s = tagged.scene(t, {GOOD: refusing(), "inside.example": H5})
    tagged.submit(t, s.gw, TO, params="REQUIRETLS", sender="")
    s.gw.wait_log("message failed")
    s.gw.wait_queue_empty()
    t.eq(s.back.commands("MAIL") + s.hop["inside.example"].commands("MAIL"), [], "MAIL of a notice")
    t.eq(tagged.evidence(s.gw, TO)[-1]["event"], "failed", "evidence")


# ---- NOTIFY, RET, ENVID, ORCPT, M-130 to M-136 ----

@case.register("parameters-of-dsn", "M-130", "M-131", "M-132")
def syntax(t):
    """What is malformed or twice is 501 and leaves the transaction as it was."""
    s = tagged.scene(t, {}, over={"limits": {"errors": 100, "junk": 1000}})
    c = t.secure_client(s.gw, "relay")
    for params in ("RET=BODY", "RET=", "RET", "RET=FULL RET=HDRS", "ENVID=" + "x" * 101, "ENVID=", "ENVID=a+zz",
                   "ENVID=a+4", "ENVID=a ENVID=a", "ENVID=a=b"):
        r = c.mail(SENDER, params)
        t.eq((r.code, r.status), (501, "5.5.4"), f"MAIL {params}")
    for params in ("RET=full", "ret=HDRS envid=" + "x" * 100, "ENVID=a+2Bb+3D RET=FULL REQUIRETLS"):
        c.mail(SENDER, params, 250)
        c.cmd("RSET", 250)
    c.mail(SENDER, "", 250)
    for params in ("NOTIFY=", "NOTIFY", "NOTIFY=NEVER,FAILURE", "NOTIFY=SUCCESS,NEVER", "NOTIFY=SOMETIMES",
                   "NOTIFY=FAILURE,", "NOTIFY=FAILURE NOTIFY=DELAY", "ORCPT=rfc822", "ORCPT=rfc822;",
                   "ORCPT=rfc822;a+zz@x.example", "ORCPT=rfc822;a+2b@x.example", "ORCPT=;a@x.example",
                   "ORCPT=rfc822;a ORCPT=rfc822;a"):
        r = c.rcpt(TO, params)
        t.eq((r.code, r.status), (501, "5.5.4"), f"RCPT {params}")
    r = c.rcpt(TO, "REQUIRETLS")
    t.eq((r.code, r.status), (555, "5.5.4"), "RCPT REQUIRETLS")
    for params in ("NOTIFY=never", "notify=Success,FAILURE,delay", "ORCPT=rfc822;a+2B+3Db@x.example"):
        c.rcpt(TO, params, 250)
    c.cmd("RSET", 250)
    t.eq(s.gw.queue(), [], "queue")


def envelope(t, hop, number=1):
    """Parameters of MAIL and RCPT of a message, as sets."""
    m = hop.wait_messages(number)[number - 1]
    return set(m.mail.split()[2:]), [set(r.split()[2:]) for r in m.rcpts], m


@case.register("passed-on-unchanged", "R-90", "M-133")
def passed_on(t):
    """A host with DSN and REQUIRETLS gets RET, ENVID, NOTIFY and ORCPT as they came, RET=FULL
    included; none is invented; and then reporting is its affair."""
    s = tagged.scene(t, {GOOD: H5})
    tagged.submit(t, s.gw, TO, params="RET=FULL ENVID=a+2Bb REQUIRETLS",
                  rcpt_params="NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2By@z.example")
    mail, rcpts, m = envelope(t, s.hop[GOOD])
    t.eq({p for p in mail if not p.startswith("SIZE=")}, {"RET=FULL", "ENVID=a+2Bb", "REQUIRETLS"}, "MAIL")
    t.eq(rcpts, [{"NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;x+2By@z.example"}], "RCPT")
    t.has(m.data.decode(), TOKEN, "the message")
    tagged.submit(t, s.gw, TO, params="REQUIRETLS", rcpt_params="NOTIFY=NEVER")
    t.eq(envelope(t, s.hop[GOOD], 2)[1], [{"NOTIFY=NEVER"}], "RCPT")
    tagged.submit(t, s.gw, TO, params="REQUIRETLS")
    mail, rcpts, m = envelope(t, s.hop[GOOD], 3)
    t.eq({p for p in mail if not p.startswith("SIZE=")}, {"REQUIRETLS"}, "MAIL")
    t.check(all(not p or p.startswith("ORCPT=") for p in rcpts[0]), f"RCPT {rcpts}")
    only_one(t, s, 0)


@case.register("relayed-to-a-host-without-dsn", "M-134", "R-91", "R-82")
def relayed(t):
    """A host without DSN: its parameters stay here; NOTIFY=SUCCESS has a "relayed" notice, tagged and
    without body in spite of RET=FULL; NEVER, FAILURE and no NOTIFY have none."""
    s = tagged.scene(t, {GOOD: dict(H5, ehlo_tls=WITHOUT_DSN)})
    for number, notify in enumerate(("NOTIFY=NEVER", "", "NOTIFY=FAILURE", "NOTIFY=SUCCESS,FAILURE"), 1):
        tagged.submit(t, s.gw, TO, params="RET=FULL ENVID=e1 REQUIRETLS", rcpt_params=notify)
        mail, rcpts, _ = envelope(t, s.hop[GOOD], number)
        t.eq({p for p in mail if not p.startswith("SIZE=")}, {"REQUIRETLS"}, "MAIL")
        t.eq(rcpts, [set()], "RCPT")
    n = tagged.notice(t, s.back)
    t.eq((n.action, n.status[0]), ("relayed", "2"), "Action, Status")
    t.check(n.received.has_requiretls, f"tag: {n.received.mail}")
    t.eq(n.types, ["text/plain", "message/delivery-status", "text/rfc822-headers"], "parts")
    t.lacks(n.data.decode(), TOKEN, "the notice")
    only_one(t, s)


@case.register("who-hears-of-a-failure", "R-89", "M-135", "M-134", "D8")
def who_hears(t):
    """FAILURE or nothing in NOTIFY: a notice. Otherwise none, though RFC 8689 wants one, but the log and
    the evidence. Under REQUIRETLS as without."""
    s = tagged.scene(t, {GOOD: refusing()})
    number = 0
    for params in ("", "REQUIRETLS"):
        for notify, hears in (("", True), ("FAILURE", True), ("FAILURE,DELAY", True), ("SUCCESS,FAILURE", True),
                              ("NEVER", False), ("SUCCESS", False), ("DELAY", False), ("SUCCESS,DELAY", False)):
            before = len(s.gw.log_lines("message failed"))
            tagged.submit(t, s.gw, TO, params=params, rcpt_params=notify and f"NOTIFY={notify}")
            s.gw.wait_log("message failed", count=before + 1)
            number += hears
            s.gw.wait_queue_empty()
            t.eq(len(s.back.accepted), number, f"notices with {params} NOTIFY={notify}")
    t.eq(len(tagged.evidence(s.gw, TO)), 16, "evidence")


@case.register("delay-is-told-once", "R-91", "M-136", "M-144", "M-146")
def delay(t):
    """Late mail: a tagged, header-only notice with Will-Retry-Until; once; not where NOTIFY says no."""
    s = tagged.scene(t, {GOOD: refusing(reply="450 4.2.1 later")},
                     over={"queue": {"retry": ["1s"], "delay_notice": "1s"}})
    wanted = {"1@good.example": "", "2@good.example": "NOTIFY=DELAY", "3@good.example": "NOTIFY=FAILURE",
              "4@good.example": "NOTIFY=NEVER"}
    for address, params in wanted.items():
        tagged.submit(t, s.gw, address, params="RET=FULL REQUIRETLS", rcpt_params=params)
    notices = [Notice(m) for m in s.back.wait_messages(2)]
    s.gw.wait_for(lambda: all(r["attempts"] > 3 for m in s.gw.queue() for r in m["recipients"]),
                  what="further attempts")
    t.eq(len(s.back.messages), 2, "notices of delay")
    t.eq({n.recipients[0]["Final-Recipient"].partition(";")[2] for n in notices},
         {"1@good.example", "2@good.example"}, "whose delay is told")
    for n in notices:
        t.check(n.received.has_requiretls, f"tag: {n.received.mail}")
        t.eq((n.action, n.status), ("delayed", "4.2.1"), "Action, Status")
        t.check(NUMERIC_ZONE.match(n.recipients[0]["Will-Retry-Until"]), n.recipients[0])
        t.eq(n.types, ["text/plain", "message/delivery-status", "text/rfc822-headers"], "parts")
        t.lacks(n.data.decode(), TOKEN, "the notice")


@case.register("end-of-the-queues-patience", "D1", "R-51", "R-52", "R-81", "M-146", "row-52")
def expiry(t):
    """One host does not answer, one lacks the keyword: it waits, and after its time it is returned,
    tagged, with the last known code."""
    s = tagged.scene(t, {"mx2.two.example": H4}, over={"queue": {"retry": ["1h"], "delay_notice": "0s"}})
    tagged.submit(t, s.gw, "b@two.example", params="REQUIRETLS RET=FULL")
    tagged.deferred(t, s.gw, "b@two.example", "4.4.1")
    s.gw.env["SALLYPORT_CLOCK_SHIFT_MS"] = str(6 * DAY_MS)
    s.gw.restart()
    n = tagged.failed(t, s, "4.4.1")
    t.lacks(n.recipients[0], "Will-Retry-Until", "fields of a failure")
    tagged.no_mail(t, s.hop["mx2.two.example"])
    only_one(t, s)
    t.eq(tagged.evidence(s.gw, "b@two.example")[-1]["event"], "expired", "evidence")


@case.register("our-own-rule-waits-and-then-returns", "M-146", "row-50")
def own_rule_expires(t):
    """TLS that our configuration asks for: waits with 4.7.10, returned at the end of the queue's time."""
    s = tagged.scene(t, {GOOD: H1}, over={"queue": {"retry": ["1h"], "delay_notice": "0s"},
                                          "routes": {"internet": {"tls": "verify"}}})
    tagged.submit(t, s.gw, TO)
    tagged.deferred(t, s.gw, TO, "4.7.10")
    s.gw.env["SALLYPORT_CLOCK_SHIFT_MS"] = str(6 * DAY_MS)
    s.gw.restart()
    n = tagged.notice(t, s.back)
    t.eq((n.action, n.status), ("failed", "4.7.10"), "Action, Status")
    t.check(not n.received.has_requiretls, f"no tag out of nothing: {n.received.mail}")
    tagged.no_mail(t, s.hop[GOOD])
    only_one(t, s)


# ---- TLS-Required: No: R-93 ----

@case.register("no-is-copied", "R-93", "D12", "row-56")
def no_copied(t):
    """A notice about mail with TLS-Required: No has that field, and gets through where it waives; not
    when REQUIRETLS was there as well, or the field was malformed."""
    s = tagged.scene(t, {GOOD: refusing(H5)}, back=H1,
                     over={"routes": {"internet": {"tls": "verify", "waivable": True}}})
    tagged.submit(t, s.gw, TO, headers="TLS-Required: No")
    n = tagged.notice(t, s.back)
    t.eq(n.top.get_all("TLS-Required"), ["No"], "TLS-Required of the notice")
    t.check(n.received.tls is None and not n.received.has_requiretls, "clear text was good enough")
    only_one(t, s)
    s = tagged.scene(t, {GOOD: refusing(H5)})
    for number, (params, header) in enumerate((("REQUIRETLS", "No"), ("", "Yes"), ("", "No\nTLS-Required: Yes")), 1):
        tagged.submit(t, s.gw, TO, params=params, headers=f"TLS-Required: {header}")
        n = tagged.notice(t, s.back, number)
        t.eq(n.top.get_all("TLS-Required"), None, f"TLS-Required of the notice about {params} {header}")
        t.eq(n.received.has_requiretls, bool(params), "tag")


# ---- What every notice is: M-138 to M-147 ----

@case.register("parts-and-fields", "M-139", "M-140", "M-141", "M-143", "M-144", "M-191")
def parts_and_fields(t):
    """multipart/report in order; who, what, when, in the words of the host that refused."""
    reply = "550-5.1.1 nobody of that name\n550 5.1.1 but <c@good.example> is here"
    s = tagged.scene(t, {GOOD: refusing(reply=reply)})
    tagged.submit(t, s.gw, TO, params="REQUIRETLS ENVID=a+2Bb", rcpt_params="ORCPT=rfc822;x+2By@z.example")
    n = tagged.failed(t, s, "5.1.1")
    t.eq((n.top.get_content_type(), n.top.get_param("report-type")), ("multipart/report", "delivery-status"), "type")
    t.eq(n.types, ["text/plain", "message/delivery-status", "text/rfc822-headers"], "parts")
    t.eq(n.top["To"], f"<{SENDER}>", "To")
    t.check(re.search(r"<[^<>@]+@gw\.example>$", n.top["From"]), n.top["From"])
    t.eq(n.top["Auto-Submitted"], "auto-replied", "Auto-Submitted")
    t.check(n.top["Message-ID"] and NUMERIC_ZONE.match(n.top["Date"]), "Message-ID, Date")
    t.eq(n.about["Reporting-MTA"].replace(" ", ""), "dns;gw.example", "Reporting-MTA")
    t.eq(n.about["Original-Envelope-Id"], "a+b", "Original-Envelope-Id, decoded")
    t.check(NUMERIC_ZONE.match(n.about["Arrival-Date"]), n.about)
    r, = n.recipients
    t.eq(r["Original-Recipient"].replace(" ", ""), "rfc822;x+y@z.example", "Original-Recipient")
    t.eq(r["Final-Recipient"].replace(" ", ""), f"rfc822;{TO}", "Final-Recipient")
    t.eq(r["Remote-MTA"].replace(" ", ""), f"dns;{GOOD}", "Remote-MTA")
    t.check(NUMERIC_ZONE.match(r["Last-Attempt-Date"]), r)
    t.lacks(r, "Will-Retry-Until", "fields")
    kind, _, words = r["Diagnostic-Code"].partition(";")
    t.eq(kind, "smtp", "diagnostic type")
    words = re.sub(r"\s+", " ", words).strip()
    t.eq(words, "550-5.1.1 nobody of that name 550 5.1.1 but <c@good.example> is here", "Diagnostic-Code")
    t.has(n.data.decode(), "nobody of that name\r\n 550", "lines of the reply, folded")
    t.has(n.text, TO, "text")


@case.register("fields-only-where-they-are-true", "M-143", "M-144", "D15")
def fields_left_out(t):
    """Without ENVID, ORCPT and a host's reply: no such fields, and a diagnostic of our own."""
    s = tagged.scene(t, {GOOD: H4})
    tagged.submit(t, s.gw, TO, params="REQUIRETLS")
    n = tagged.failed(t, s, "5.7.30")
    t.lacks(n.about, "Original-Envelope-Id", "fields")
    t.lacks(n.recipients[0], "Original-Recipient", "fields")
    t.lacks(n.recipients[0], "Remote-MTA", "fields without a reply")
    t.has(n.recipients[0]["Diagnostic-Code"], "x-sallyport;", "Diagnostic-Code (D15)")


@case.register("only-those-who-want-to-be-named", "M-145", "M-138")
def only_wanted(t):
    """Three recipients fail; one is NOTIFY=NEVER, one at another domain: nobody else is in a notice."""
    s = tagged.scene(t, {GOOD: refusing(), "mx1.two.example": H5})
    c = t.secure_client(s.gw, "relay")
    c.mail(SENDER, "REQUIRETLS", 250)
    c.rcpt("told@good.example", "", 250)
    c.rcpt("secret@good.example", "NOTIFY=NEVER", 250)
    c.rcpt("too@good.example", "NOTIFY=FAILURE", 250)
    c.rcpt("fine@two.example", "", 250)
    c.data(tagged.message(), 250)
    c.quit()
    s.hop["mx1.two.example"].wait_messages(1)
    n = tagged.notice(t, s.back)
    t.eq(sorted(r["Final-Recipient"].partition(";")[2].strip() for r in n.recipients),
         ["told@good.example", "too@good.example"], "recipients in the notice")
    for address in ("secret@", "fine@"):
        t.lacks(n.data.decode(), address, "the notice")
    only_one(t, s)


@case.register("what-comes-back-without-the-tag", "M-142", "M-141")
def returned(t):
    """Untagged: RET=FULL has the message as it was, HDRS and nothing its header; a large one its header;
    dsn.return_content decides only where the sender did not."""
    original = tagged.message()
    for over, cases in (({}, (("RET=FULL", True), ("RET=HDRS", False), ("", False))),
                        ({"dsn": {"return_content": "full"}}, (("RET=HDRS", False), ("", True)))):
        s = tagged.scene(t, {GOOD: refusing()}, over=over)
        for number, (params, whole) in enumerate(cases, 1):
            tagged.submit(t, s.gw, TO, params=params)
            n = tagged.notice(t, s.back, number)
            t.eq(n.types[2], "message/rfc822" if whole else "text/rfc822-headers", f"third part for {params} {over}")
            t.eq(TOKEN in n.data.decode(), whole, f"body for {params} {over}")
            if whole:
                t.has(n.data, original, "the original in the notice")
            t.check(not n.received.has_requiretls, "no tag out of nothing")
    large = tagged.message(body=(TOKEN + " " + "x" * 60 + "\n") * 8000)
    tagged.submit(t, s.gw, TO, params="RET=FULL", content=large)
    n = tagged.notice(t, s.back, 3)
    t.eq(n.types[2], "text/rfc822-headers", "third part for a large message")


@case.register("addresses-outside-ascii", "M-147", "R-82")
def utf8(t):
    """SMTPUTF8: to an ASCII sender all of the notice is ASCII; to another it goes with SMTPUTF8 in the
    global types; tagged or not, without the body."""
    to = "jörg@good.example"
    # Whatever the RCPT, 550: the reply itself stays ASCII.
    s = tagged.scene(t, {GOOD: refusing(reply="550 5.1.1 nobody")}, back=dict(H5, smtputf8=True))
    tagged.submit(t, s.gw, to, params="SMTPUTF8 REQUIRETLS RET=FULL", headers="X-Name: Jörg")
    n = tagged.notice(t, s.back)
    t.check(n.received.has_requiretls, "tag")
    n.data.decode("ascii")
    t.lacks(n.received.mail, "SMTPUTF8", "MAIL to an ASCII address")
    t.eq(n.types, ["text/plain", "message/global-delivery-status", "message/global-headers"], "parts")
    t.eq(n.recipients[0]["Final-Recipient"].replace(" ", ""), f"utf-8;{to}", "Final-Recipient")
    tagged.submit(t, s.gw, to, params="SMTPUTF8 REQUIRETLS RET=FULL", sender="ä@back.example",
                  headers="X-Name: Jörg")
    n = tagged.notice(t, s.back, 2)
    t.has(n.received.mail.split(), "SMTPUTF8", "MAIL to an address outside ASCII")
    t.check(n.received.has_requiretls, "tag")
    t.eq(n.types[1], "message/global-delivery-status", "second part")
    t.has(n.data.decode("utf-8"), "To: <ä@back.example>", "the notice")
    t.lacks(n.data.decode("utf-8"), TOKEN, "the notice")
    only_one(t, s, 2)


case.main()
