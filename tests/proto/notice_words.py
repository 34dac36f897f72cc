"""What policies may do to notices (hooks bounce and dsn, RFC 3464 reports): words, languages, templates,
redaction, copies, suppression; and what none of them can undo (RFC 8689 section 5)."""

import email
import email.policy
import re

import case
import tagged
from tagged import H1, H4, H5, SENDER, TOKEN, Notice

GOOD = "mx1.good.example"
TO = "b@good.example"
NOBODY = "550 5.1.1 <b@good.example> nobody of that name at store7.corp.example"
WITHOUT_DSN = ["PIPELINING", "SIZE 10000000", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "REQUIRETLS"]
TAG_RULE = """
gw.rule { name = "tag.it", at = "message", level = "mandatory", when = gw.match.subject_word "herring",
  act = gw.action.require_tls { level = "requiretls", reason = "red" } }
"""


def refusing(reply=NOBODY, state=None):
    return dict(H5 if state is None else state, replies={"RCPT": reply})


def on_bounce(lines, hook="bounce"):
    return f'gw.on("{hook}", function(message, bounce)\n{lines}\nend, {{ name = "words.{hook}" }})\n'


def parsed(m):
    """The notice as Python's own mail parser has it."""
    return email.message_from_bytes(m.data, policy=email.policy.default)


def one_notice(t, policy, params="", rcpt_params="", headers="", content=None, **options):
    """Sends one message that fails; the scene and its notice."""
    s = tagged.scene(t, {GOOD: refusing()}, policy=policy, **options)
    tagged.submit(t, s.gw, TO, params=params, rcpt_params=rcpt_params, headers=headers, content=content)
    n = tagged.notice(t, s.back)
    t.eq((n.action, n.status), ("failed", "5.1.1"), "Action, Status")
    return s, n


# ---- Words ----

@case.register("hook-sets-the-words", "R-92", "R-116", "M-140", "M-139")
def words(t):
    """Subject, text, HTML, footer and From of a policy; the other parts and the way back stay."""
    s, n = one_notice(t, on_bounce("""
  bounce.subject = "Zurück an Sie"
  bounce.text = "Ask the Ärzte.\\n.\\nFrom here on nothing.\\n"
  bounce.html = "<p>Ask the Ärzte.</p>"
  bounce.footer = "Room 101"
  bounce.from_header = "Post Office <post@gw.example>"
"""), params="REQUIRETLS")
    m = parsed(n.received)
    t.eq(m["Subject"], "Zurück an Sie", "Subject")
    t.eq(m["From"].addresses[0].addr_spec, "post@gw.example", "From")
    t.eq(m["To"].addresses[0].addr_spec, SENDER, "To")
    report, status, fields = m.iter_parts()
    t.eq([report.get_content_type(), status.get_content_type(), fields.get_content_type()],
         ["multipart/alternative", "message/delivery-status", "text/rfc822-headers"], "parts")
    plain, html = report.iter_parts()
    t.eq((plain.get_content_type(), html.get_content_type()), ("text/plain", "text/html"), "alternatives")
    t.eq(plain.get_content().replace("\r\n", "\n"), "Ask the Ärzte.\n.\nFrom here on nothing.\n\nRoom 101\n", "text")
    t.has(html.get_content(), "<p>Ask the Ärzte.</p>", "HTML")
    t.check(n.received.has_requiretls, f"tag: {n.received.mail}")
    n.data.decode("ascii")


@case.register("hook-sees-the-notice", "R-116", "M-143")
def sees(t):
    """What a hook is told of the notice."""
    s, n = one_notice(t, on_bounce("""
  local r = bounce.recipients[1]
  bounce.text = table.concat({ bounce.kind, tostring(bounce.to), "[" .. tostring(bounce.sender) .. "]",
    tostring(bounce.requiretls), bounce.original_return, tostring(#bounce.recipients), tostring(r.address),
    r.action, r.status, r.remote_mta, r.diagnostic }, "|")
"""), params="REQUIRETLS RET=FULL")
    seen = n.text.strip().split("|")
    t.check(seen[2] in ("[]", "[<>]"), f"sender: {seen}")
    t.eq(seen[:2] + seen[3:10], ["failed", SENDER, "true", "full", "1", TO, "failed", "5.1.1", GOOD], "fields")
    t.has(seen[10], "nobody of that name", "diagnostic")


@case.register("german-by-hook", "R-116", "M-147")
def german(t):
    """bounce.language = "de": subject, words and Content-Language; 7 bits on the wire."""
    s, n = one_notice(t, on_bounce('  bounce.language = "de"'), params="REQUIRETLS")
    t.eq(parsed(n.received)["Subject"], "Ihre Nachricht konnte nicht zugestellt werden", "Subject")
    t.eq(n.top["Content-Language"], "de", "Content-Language")
    t.has(n.text, "Der andere Server antwortete:", "text")
    t.has(" ".join(n.text.split()), "Bitte prüfen Sie die Schreibweise.", "text")
    n.data.decode("ascii")


@case.register("language-of-the-sender", "R-116")
def of_the_sender(t):
    """The first of the message's languages that dsn.languages has; else the first of those."""
    s = tagged.scene(t, {GOOD: refusing()}, over={"dsn": {"languages": ["en", "de"]}})
    cases = (("Accept-Language: fr, de-AT;q=0.9, en", "de"), ("Content-Language: de", "de"),
             ("Accept-Language: fr", "en"), ("Accept-Language: den", "en"), ("", "en"))
    for number, (headers, want) in enumerate(cases, 1):
        tagged.submit(t, s.gw, TO, headers=headers)
        t.eq(tagged.notice(t, s.back, number).top["Content-Language"], want, headers or "nothing")


@case.register("templates", "R-92", "R-116")
def templates(t):
    """A template's names are filled in once: what a stranger wrote is never one, and of tagged mail not
    even the Subject is said."""
    text = "To {{ recipient }}: {{status}} {{action}}, [{{subject}}], {{nonsense}}, by {{hostname}}\n"
    s = tagged.scene(t, {GOOD: refusing()}, over={"dsn": {"templates": "words"}},
                     files={"words/external.en.txt": text},
                     policy=on_bounce('  bounce.template = "external"'))
    content = tagged.message().replace(b"red herring", b"{{hostname}} and {{status}}")
    tagged.submit(t, s.gw, TO, content=content)
    t.eq(tagged.notice(t, s.back).text.strip(), f"To {TO}: 5.1.1 failed, [{{{{hostname}}}} and {{{{status}}}}], "
         "{{nonsense}}, by gw.example", "text")
    tagged.submit(t, s.gw, TO, params="REQUIRETLS")
    n = tagged.failed(t, s, "5.1.1", 2)
    t.eq(n.text.strip(), f"To {TO}: 5.1.1 failed, [], {{{{nonsense}}}}, by gw.example", "text about tagged mail")


# ---- Redaction ----

def everything(n):
    """All of a notice, parts decoded."""
    return n.data.decode("utf-8", "replace") + "".join(body.decode("utf-8", "replace") for _, body in n.parts)


HEADERS = "Received: from desk9.corp.example by store7.corp.example; Mon, 1 Jan 2024 10:00:00 +0000\nCc: d@good.example"
FULL_VIEW = ("store7.corp.example", "nobody of that name", "Subject: red herring", "Cc: d@good.example",
             "desk9.corp.example", f"Remote-MTA: dns;{GOOD}", TO)


def redaction(kind, gone, kept):
    def one(t):
        for params in ("", "REQUIRETLS"):
            s, n = one_notice(t, on_bounce(f'  bounce.redact = {{ "{kind}" }}'), headers=HEADERS, params=params,
                              rcpt_params="ORCPT=rfc822;list@z.example")
            text = everything(n)
            for x in gone:
                t.lacks(text, x, f"the notice without {kind}")
            for x in kept:
                t.has(text, x, f"the notice without {kind}")
            t.eq(n.received.has_requiretls, bool(params), "tag")

    case.register(f"redacted-{kind.replace('_', '-')}", "R-92")(one)


redaction("diagnostic_text", ["nobody of that name", "Diagnostic-Code"], ["Subject: red herring", "Status: 5.1.1"])
redaction("internal_hosts", ["store7.corp.example", "desk9.corp.example", "Remote-MTA", GOOD],
          ["nobody of that name", "Subject: red herring", "gw.example"])
redaction("recipient_list", ["Cc: d@good.example", "To: b@good.example", f"Final-Recipient: rfc822;{TO}"],
          ["Subject: red herring", "list@z.example"])
redaction("received", ["desk9.corp.example", "\r\nReceived:"], ["Subject: red herring", "nobody of that name"])
redaction("subject", ["red herring"], ["Cc: d@good.example", "nobody of that name"])


@case.register("nothing-redacted-unasked", "R-92", "M-141")
def not_redacted(t):
    """The same message without a hook: all of it is there, so that the cases above mean something."""
    s, n = one_notice(t, None, headers=HEADERS)
    for x in FULL_VIEW:
        t.has(everything(n), x, "the notice")


@case.register("redacted-hosts-by-pattern", "R-92")
def pattern(t):
    """redact_host hides the hosts it names, in the reply and in Received, and no others."""
    s, n = one_notice(t, on_bounce('  bounce:redact_host("*.corp.example")'), headers=HEADERS, params="REQUIRETLS")
    text = everything(n)
    t.lacks(text, "corp.example", "the notice")
    for x in ("nobody of that name", f"Remote-MTA: dns;{GOOD}"):
        t.has(text, x, "the notice")


@case.register("redacted-texts", "R-92")
def texts(t):
    """redact_text with a pattern and with a function: in the reply, in both parts that show it, and in the fields."""
    s, n = one_notice(t, on_bounce('''
  bounce:redact_text("store%d+%.[%w.]+")
  bounce:redact_text(function(text, what)
    if what == "Subject" then return (text:gsub("herring", "fish")) end
    if what == "diagnostic" then return text .. " indeed" end
  end)
'''), headers=HEADERS + "\nX-Store: =?utf-8?q?s?=\n =?utf-8?q?tore12=2Ecorp=2Eexample?=")
    text = everything(n)
    for x in ("store7", "store12", "herring", "=2E"):
        t.lacks(text, x, "the notice")
    t.has(n.text, "nobody of that name at (hidden) indeed", "text")
    t.has(text, "Diagnostic-Code: smtp; 550 5.1.1 <b@good.example> nobody of that name at (hidden) indeed", "status")
    for x in ("Subject: red fish", "X-Store: (hidden)", "Cc: d@good.example", "by (hidden); Mon, 1 Jan 2024"):
        t.has(n.returned.decode(), x, "what is returned")
    t.eq(parsed(n.received).defects, [], "defects")


@case.register("redacted-texts-stay-so-when-the-hook-fails", "R-92", "R-117")
def texts_then_error(t):
    """What was hidden before the hook failed is not shown by the minimal notice."""
    s, n = one_notice(t, on_bounce('  bounce:redact_text("store%d+")\n  bounce:redact_host("desk*")\n'
                                   '  bounce:attach("a", "text/plain", "x")\n  error("no")'), headers=HEADERS)
    text = everything(n)
    t.lacks(text, "store7", "the notice")
    t.lacks(text, "desk9", "the notice")
    t.eq(len(n.types), 3, "parts")


# ---- Attachments ----

@case.register("attached-parts", "R-92", "M-140")
def attached(t):
    """bounce:attach: parts behind the three, with name and type; octets arrive as they were."""
    s, n = one_notice(t, on_bounce('''
  assert(bounce:attach("Zürich 'a\\"b\\" " .. ("lang"):rep(20) .. ".csv", "text/csv", "Größe;1\\n.\\nFrom x\\n"))
  assert(bounce:attach("x.bin", "application/octet-stream", "\\0\\255\\r\\n" .. ("ab"):rep(500)))
'''), params="RET=HDRS")
    m = parsed(n.received)
    t.eq(m.defects, [], "defects")
    parts = list(m.iter_parts())
    t.eq([p.get_content_type() for p in parts], ["text/plain", "message/delivery-status", "text/rfc822-headers",
                                                 "text/csv", "application/octet-stream"], "parts")
    t.eq([p.get_filename() for p in parts[3:]], ["Zürich 'a\"b\" " + "lang" * 20 + ".csv", "x.bin"], "names")
    t.eq(parts[3].get_content(), "Größe;1\n.\nFrom x\n", "the text")
    t.eq(parts[4].get_content(), b"\0\xff\r\n" + b"ab" * 500, "the octets")
    t.eq([p.defects for p in parts], [[]] * 5, "defects of the parts")
    n.data.decode("ascii")
    t.check(max(map(len, n.data.split(b"\r\n"))) <= 78 + 50, "long lines")


@case.register("nothing-attached-about-tagged-mail", "R-82", "R-83")
def not_attached(t):
    """REQUIRETLS mail: attach says no, and nothing but the header comes back."""
    s, n = one_notice(t, on_bounce('''
  local ok, why = bounce:attach("a.txt", "text/plain", "smuggled")
  bounce.text = tostring(ok) .. ": " .. why
'''), params="REQUIRETLS")
    t.eq(n.types, ["text/plain", "message/delivery-status", "text/rfc822-headers"], "parts")
    t.has(n.text, "nil: the message came with REQUIRETLS", "what the hook was told")
    t.lacks(everything(n), "smuggled", "the notice")


# ---- Protection chosen for one notice ----

@case.register("hook-redacts-instead", "R-81", "R-87", "D3")
def redacts(t):
    """bounce.protect = "redact": this notice goes untagged, without Subject, Received and body."""
    s, n = one_notice(t, on_bounce('  bounce.protect = "redact"'), params="REQUIRETLS RET=FULL")
    t.check(not n.received.has_requiretls, f"MAIL: {n.received.mail}")
    text = everything(n)
    for x in ("red herring", TOKEN, "\r\nReceived:"):
        t.lacks(text, x, "the notice")


@case.register("hook-protects-in-spite-of-redact", "R-81", "D3")
def protects(t):
    """bounce.protect = "requiretls" where the configuration says "redact"."""
    s, n = one_notice(t, on_bounce('  bounce.protect = "requiretls"'), params="REQUIRETLS",
                      over={"dsn": {"protect": "redact"}})
    t.check(n.received.has_requiretls, f"MAIL: {n.received.mail}")
    t.has(n.returned.decode(), "red herring", "what is returned")


@case.register("hook-cannot-protect-the-untagged", "R-117")
def untagged(t):
    """protect is for mail with REQUIRETLS: the hook raises, the minimal notice goes, nothing is tagged."""
    s, n = one_notice(t, on_bounce('  bounce.subject = "half done"\n  bounce.protect = "requiretls"'),
                      params="RET=FULL")
    t.check(not n.received.has_requiretls, f"MAIL: {n.received.mail}")
    t.lacks(n.top["Subject"], "half done", "Subject")
    t.eq(n.types[2:], ["text/rfc822-headers"], "a minimal notice has the header only")


@case.register("policys-tag-counts-in-the-hook", "R-81", "R-82", "R-110")
def policy_tagged(t):
    """Mail that a policy tagged: the hook hears so, gets no body and may choose the protection."""
    s, n = one_notice(t, TAG_RULE + on_bounce("""
  bounce.return_content = "full"
  bounce.text = "tagged " .. tostring(bounce.requiretls)
  bounce.protect = "requiretls"
"""), params="RET=FULL")
    t.lacks(everything(n), TOKEN, "the notice")
    t.check(n.received.has_requiretls, f"MAIL: {n.received.mail}")
    t.eq(n.text.strip(), "tagged true", "what the hook was told")


# ---- Suppressed, copied, broken ----

@case.register("suppressed-failure", "R-51", "R-116")
def suppressed(t):
    """gw.suppress: no notice; the log says who and why, the evidence stays."""
    s = tagged.scene(t, {GOOD: refusing()}, policy=on_bounce('  return gw.suppress { reason = "no backscatter" }'))
    tagged.submit(t, s.gw, TO, params="REQUIRETLS")
    s.gw.wait_log("notice suppressed.*no backscatter")
    s.gw.wait_queue_empty()
    t.eq(s.back.commands("MAIL"), [], "MAIL at the sender's host")
    t.eq(tagged.evidence(s.gw, TO)[-1]["event"], "failed", "evidence")


@case.register("suppressed-delay-is-no-suppressed-failure", "R-116", "M-136")
def suppressed_delay(t):
    """The dsn hook suppresses the notice of delay; the failure is told all the same."""
    s = tagged.scene(t, {GOOD: {**H5, "replies": {"RCPT": ["450 4.2.1 later", "450 4.2.1 later", "450 4.2.1 later",
                                                           "550 5.2.1 no more"]}}},
                     over={"queue": {"retry": ["1s"], "delay_notice": "1s"}},
                     policy=on_bounce('  return gw.suppress { reason = "patience" }', "dsn"))
    tagged.submit(t, s.gw, TO, params="REQUIRETLS")
    tagged.failed(t, s, "5.2.1")
    s.gw.wait_queue_empty()
    t.eq(len(s.back.messages), 1, "notices")
    t.check(s.gw.log_lines("notice suppressed.*patience"), "log")


@case.register("copy-to-the-helpdesk", "R-82", "R-84", "M-138")
def copy(t):
    """copy_to: a second notice, from <>, to our own host, without the body either."""
    s = tagged.scene(t, {GOOD: refusing(), "inside.example": H5},
                     policy=on_bounce('  bounce.copy_to = "helpdesk@gw.example"'))
    tagged.submit(t, s.gw, TO, params="REQUIRETLS RET=FULL")
    tagged.failed(t, s, "5.1.1")
    n = tagged.notice(t, s.hop["inside.example"])
    t.has(n.received.mail, "MAIL FROM:<>", "MAIL of the copy")
    t.eq([r.split()[1] for r in n.received.rcpts], ["TO:<helpdesk@gw.example>"], "RCPT of the copy")
    t.lacks(everything(n), TOKEN, "the copy")
    s.gw.wait_queue_empty()
    t.eq((len(s.back.messages), len(s.hop["inside.example"].messages)), (1, 1), "messages")


@case.register("copy-keeps-the-choice-of-protection", "R-81", "R-94")
def copy_fails(t):
    """A copy that nobody takes is nobody's notice again."""
    s = tagged.scene(t, {GOOD: refusing(), "inside.example": refusing("550 5.1.1 no helpdesk")},
                     policy=on_bounce('  bounce.copy_to = "helpdesk@gw.example"'))
    tagged.submit(t, s.gw, TO, params="REQUIRETLS")
    tagged.failed(t, s, "5.1.1")
    s.gw.wait_log(r"message failed .*from=\"\"")
    s.gw.wait_queue_empty()
    t.eq((len(s.back.messages), len(s.hop["inside.example"].messages)), (1, 0), "messages")


@case.register("hook-without-end", "R-117", "R-118")
def endless(t):
    """A hook that loops is stopped; the minimal notice goes, header only."""
    s, n = one_notice(t, on_bounce("  while true do end"), params="RET=FULL",
                      over={"policy": {"limits": {"instructions": 100000}}})
    t.eq(n.types, ["text/plain", "message/delivery-status", "text/rfc822-headers"], "parts")
    t.lacks(everything(n), TOKEN, "the notice")


@case.register("broken-dsn-hook", "R-91", "R-117", "M-134")
def broken_dsn(t):
    """A dsn hook that raises: "relayed" goes with the built-in words, tagged; the bounce hook has no say."""
    s = tagged.scene(t, {GOOD: dict(H5, ehlo_tls=WITHOUT_DSN)},
                     policy=on_bounce('  bounce.subject = "half done"\n  error("no")', "dsn") +
                     on_bounce('  bounce.subject = "wrong hook"'))
    tagged.submit(t, s.gw, TO, params="REQUIRETLS RET=FULL", rcpt_params="NOTIFY=SUCCESS")
    n = tagged.notice(t, s.back)
    t.eq((n.action, n.top["Subject"]), ("relayed", "Your message was passed on"), "Action, Subject")
    t.check(n.received.has_requiretls, f"tag: {n.received.mail}")
    t.lacks(everything(n), TOKEN, "the notice")


# ---- Reports, what else they must be ----

@case.register("one-notice-for-each-outcome", "M-134", "M-145", "M-146")
def outcomes(t):
    """One message: one recipient relayed, one failed. Two notices, each about its own."""
    s = tagged.scene(t, {GOOD: refusing(), "mx1.two.example": dict(H5, ehlo_tls=WITHOUT_DSN)})
    c = t.secure_client(s.gw, "relay")
    c.mail(SENDER, "REQUIRETLS ENVID=e+2B1", 250)
    c.rcpt(TO, "", 250)
    c.rcpt("fine@two.example", "NOTIFY=SUCCESS", 250)
    c.data(tagged.message(), 250)
    c.quit()
    notices = {n.action: n for n in map(Notice, s.back.wait_messages(2))}
    t.eq(sorted(notices), ["failed", "relayed"], "actions")
    for action, address in (("failed", TO), ("relayed", "fine@two.example")):
        n = notices[action]
        t.eq([r["Final-Recipient"].replace(" ", "") for r in n.recipients], [f"rfc822;{address}"], action)
        t.eq(n.about["Original-Envelope-Id"], "e+1", f"Original-Envelope-Id of {action}")
        t.check(n.received.has_requiretls, f"tag of {action}")
    t.check("fine@two.example" not in everything(notices["failed"]), "the failure names the other")


@case.register("report-for-the-library", "M-140", "M-143", "M-144")
def library(t):
    """Python's own parser reads the status part: a block for the message and one for a recipient."""
    s, n = one_notice(t, None, params="REQUIRETLS ENVID=e1", rcpt_params="ORCPT=rfc822;x@z.example")
    m = parsed(n.received)
    t.eq(m.defects, [], "defects")
    status = list(m.iter_parts())[1]
    about, rcpt = status.get_payload()
    t.eq(about["Original-Envelope-Id"], "e1", "Original-Envelope-Id")
    t.eq((rcpt["Action"], rcpt["Status"]), ("failed", "5.1.1"), "Action, Status")
    for block, name in ((about, "Arrival-Date"), (rcpt, "Last-Attempt-Date")):
        t.check(re.search(r" [+-]\d{4}$", block[name]), f"{name}: {block[name]}")


@case.register("orcpt-of-type-utf-8", "M-148", "M-131")
def orcpt_utf8(t):
    """ORCPT=utf-8 in its ASCII form: unchanged to the next hop; decoded, or left so, in a notice."""
    s = tagged.scene(t, {GOOD: {**H5, "replies": {"RCPT": [None, "550 5.1.1 no"]}}})
    value = r"ORCPT=utf-8;j\x{F6}rg@z.example"
    tagged.submit(t, s.gw, TO, params="REQUIRETLS", rcpt_params=value)
    m = s.hop[GOOD].wait_messages(1)[0]
    t.eq(m.rcpts[0].split()[2:], [value], "RCPT")
    tagged.submit(t, s.gw, TO, params="REQUIRETLS", rcpt_params=value)
    n = tagged.failed(t, s, "5.1.1")
    t.check(n.recipients[0]["Original-Recipient"].replace(" ", "") in
            ("utf-8;jörg@z.example", r"utf-8;j\x{F6}rg@z.example"), n.recipients[0])


@case.register("words-of-tagged-mail-in-clear", "R-85", "R-92", "D3")
def in_clear(t):
    """The way back has no TLS: what a hook wrote still goes, nothing of the original does."""
    s, n = one_notice(t, on_bounce('  bounce.footer = "Room 101"\n  bounce.return_content = "full"'),
                      params="REQUIRETLS RET=FULL", back=H1)
    t.check(n.received.tls is None and not n.received.has_requiretls, f"{n.received.mail} {n.received.tls}")
    t.eq(n.types, ["text/plain", "message/delivery-status"], "parts")
    t.has(n.text, "Room 101", "text")
    t.lacks(everything(n), "red herring", "the notice")


@case.register("way-back-has-only-tls", "R-85", "D3")
def only_tls(t):
    """TLS without the keyword: untagged, with the header of the original and the hook's words."""
    s, n = one_notice(t, on_bounce('  bounce.footer = "Room 101"'), params="REQUIRETLS", back=H4)
    t.check(n.received.tls is not None and not n.received.has_requiretls, f"{n.received.mail}")
    t.has(n.text, "Room 101", "text")
    t.has(n.returned.decode(), "red herring", "what is returned")


case.main()
