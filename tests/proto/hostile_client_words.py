"""Words that should not get from where they come to where they mean something: a policy's text in replies,
headers, notices and the log, a client's in all of these; and the same message with and without REQUIRETLS."""

import email
import re

import case
from hostile_client_kit import BARE_CR_LF, check_log, recording_hop, room, split_session, without_trace

BODY = b"Subject: x\r\n\r\nbody\r\n"
# Line ends, an answer of its own, ESC, DEL, C1, a line separator, a letter, and much of it.
EVIL_LUA = r'''
local evil = "no\r\n250 2.0.0 Ok\r\n\r\n354 go\n.\r\n\27[31m\127\194\133\226\128\168\195\188\226\128\174" ..
    string.rep("x", 300)
-- The same without what a policy may not say at all.
local odd = "no \\ \127\194\133\226\128\168\195\188\226\128\174" .. string.rep("x", 300)
odd = odd:gsub("\127", "")
'''


@case.register("a-policy's-words-in-replies", "X-29", "X-62", "X-30", "M-06", "M-117")
def replies(t):
    """At every stage one reply, of printable ASCII, in lines that are not too long; the next command is
    answered next."""
    hop = recording_hop(t)
    gw = t.gateway(hop_port=hop.port, over=room(), policy=EVIL_LUA + r'''
gw.on("connect", function(session)
  if session.listener.name == "relay" then return gw.reject { text = odd } end
end, { name = "a.connect" })
gw.on("helo", function(session, name)
  if name == "odd" then return gw.reject { text = odd } end
  if name == "evil" then return gw.reject { text = evil } end
  if name == "nul" then return gw.reject { text = "a\0b" } end
  if name == "drop" then return gw.drop { text = odd } end
end, { name = "a.helo" })
local function at(stage, how)
  return function(session, message)
    if message.from.localpart == stage then return how { text = odd } end
    if message.from.localpart == "evil-" .. stage then return how { text = evil } end
  end
end
gw.on("mail", at("mail", gw.reject), { name = "a.mail" })
gw.on("rcpt", at("rcpt", gw.defer), { name = "a.rcpt" })
gw.on("data", at("data", gw.reject), { name = "a.data" })
gw.on("message", at("message", gw.defer), { name = "a.message" })
''')

    def one_reply(c, octets, code):
        c.raw(octets)
        reply = c.read_reply()
        t.eq(reply.code, code, f"reply to {octets}")
        t.check(all(re.match(rf"{code // 100}\.\d+\.\d+ ", line + " ") for line in reply.lines), f"{reply}")
        return reply

    c = t.client(gw)
    one_reply(c, b"EHLO odd\r\n", 550)
    for name in (b"evil", b"nul"):      # that is no text at all, so the policy has failed (I5)
        one_reply(c, b"EHLO " + name + b"\r\n", 451)
        c.cmd("NOOP", 250)
    c.ehlo()
    for stage, code, who in (("mail", 550, ""), ("rcpt", 451, ""), ("data", 550, ""), ("message", 451, ""),
                             ("mail", 451, "evil-"),
                             ("rcpt", 451, "evil-"), ("data", 451, "evil-"), ("message", 451, "evil-")):
        sender = f"MAIL FROM:<{who}{stage}@client.example>\r\n".encode()
        if stage == "mail":
            one_reply(c, sender, code)
        else:
            c.cmd(sender, 250)
        if stage == "rcpt":
            one_reply(c, b"RCPT TO:<b@gw.example>\r\n", code)
        elif stage != "mail":
            c.cmd("RCPT TO:<b@gw.example>", 250)
        if stage == "data":
            one_reply(c, b"DATA\r\n", code)
        if stage == "message":
            c.cmd("DATA", 354)
            one_reply(c, BODY + b".\r\n", code)
        t.eq(c.cmd("NOOP").text, "2.0.0 Ok", f"NOOP behind {stage}")
        c.cmd("RSET", 250)
    one_reply(c, b"EHLO drop\r\n", 421)
    t.check(c.is_closed(), "open after a drop")
    refused = t.client(gw, "relay")
    t.eq(refused.greeting.code, 550, "greeting")
    t.eq(refused.cmd("EHLO x").code, 503, "EHLO behind it")
    refused.cmd("QUIT", 221)
    for client in (c, refused):
        for line in client.heard.split(b"\r\n"):
            t.check(re.fullmatch(rb"([2-5]\d\d[ -][ -~]{0,506})?", line), f"said {line!r}")
    t.eq(hop.accepted, [], "what was accepted")
    check_log(t, gw)


@case.register("a-policy's-words-in-headers", "X-2", "X-3", "X-62", "M-32")
def headers(t):
    """Values and names that would make lines of their own are refused, also when they come from the message
    itself; what is added is one field, and the body begins where it began."""
    hop = recording_hop(t, chunking=False)
    gw = t.gateway(hop_port=hop.port, over=room(), policy=r'''
local values = { "a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\r\n\r\nevil",
    "a\r\n.\r\nMAIL FROM:<evil@x>", "a\n.\n",
    "a\0b", "a\27b", "a\127b", "\255\254", "\r", "\n", "\r\n X-Evil: 1", string.rep("x", 9000) }
local names = { "X-Evil: 1\r\nX", "X\r\nX-Evil", "X-Evil\n", "X Evil", "X:Evil", "", " X", "X\0Evil", "\195\188",
    string.rep("X", 100),
    "Received", "return-path", "TLS-Required", "Require-TLS" }
gw.on("message", function(session, message)
  local taken = {}
  local function try(what, call) if pcall(call) then taken[#taken + 1] = what end end
  for i, v in ipairs(values) do
    try("add value " .. i, function() message:add_header("X-Note", v) end)
    try("set value " .. i, function() message:set_header("X-Note", v, "end") end)
  end
  for i, n in ipairs(names) do
    try("add name " .. i, function() message:add_header(n, "X-Evil: 1") end)
    try("set name " .. i, function() message:set_header(n, "X-Evil: 1") end)
  end
  try("copy", function() message:add_header("X-Copy", message:subject()) end)
  message:add_header("X-Taken", table.concat(taken, ", "))
  message:add_header("X-Dots", ". .. ... ." .. string.rep(" .", 200))
  message:add_header("X-Long", string.rep("z", 3000))
  message:add_header("X-Letters", string.rep("\195\188\226\128\168 ", 200), "end")
  message:add_header("X-Blank", "   ")
  message:set_header("Subject", "changed")
end, { name = "add.all" })''')
    subjects = [b"=?utf-8?q?a=0D=0AX-Evil:_1?=", b"=?utf-8?b?YQ0KLg0KTUFJTA==?=", b"=?utf-8?q?a=00b?=",
                b"x\r\n y\r\n\tz", b"=?utf-8?q?=1B[31m?=",
                b"\xff\xfe", b"=?utf-8?q?a=0A?= =?utf-8?q?X-Evil:=20?="]
    body = b".\r\n..\r\nX-Evil: 2 is text here\r\n"
    c = t.client(gw)
    c.ehlo()
    for number, subject in enumerate(subjects):
        content = b"Subject: " + subject + b"\r\nX-Note: old\r\n\r\n" + body
        c.cmd(f"MAIL FROM:<a{number}@client.example> BODY=8BITMIME", 250)
        c.rcpt("b@gw.example", code=250)
        c.data(content, 250)
    c.quit()
    messages = hop.wait_messages(len(subjects))
    for stream in hop.streams():
        t.check(not BARE_CR_LF.search(stream) and b"\0" not in stream, "line ends on the way out")
        commands, contents = split_session(stream)
        t.check(not any(b"evil" in line for line in commands), f"{commands}")
        for content in contents:
            head, _, rest = content.partition(b"\r\n\r\n")
            t.eq(rest, body, "the body")
            t.check(b"\r\nX-Evil" not in head, f"{head}")
            t.check(all(re.match(rb"[!-9;-~]+:|[ \t]", line) for line in head.split(b"\r\n")), f"{head}")
            t.eq(head.count(b"\r\nSubject:"), 1, "subjects")
            t.eq(head.count(b"\r\nX-Note:"), 1, "notes")
    # The subject that is folded text is fit to be copied; those that hold controls are not.
    t.eq({m.header("X-Taken") or "" for m in messages} - {"", "copy"}, set(), "what was taken")
    t.eq(sum(m.header("X-Copy") is not None for m in messages),
         sum((m.header("X-Taken") or "") == "copy" for m in messages), "copies")
    check_log(t, gw)


@case.register("words-in-notices", "X-2", "X-62", "X-76", "X-31")
def notices(t):
    """What a policy and the sender put into a notice stays text: one report with its parts, no field and
    no line end that nobody asked for, no name of ours but the host's."""
    hop = recording_hop(t, replies={"RCPT:fail@": "550 5.1.1 no such user"})
    gw = t.gateway(hop_port=hop.port, over=room(), policy=EVIL_LUA + r'''
gw.on("bounce", function(message, bounce)
  local header = "X-Evil: 1\r\nX-Evil2: 2"
  local how = message.from.localpart
  local function try(field, value) pcall(function() bounce[field] = value end) end
  if how == "plain" then return end
  try("from_header", "Postmaster <p@gw.example>\r\n" .. header)
  try("subject", "failed\r\n" .. header .. "\r\n\r\nevil body")
  try("text", "first\n.\n\r.\r\nsecond\r\rthird\n\n--" .. evil)
  try("html", "<p>\n.\n\r</p>" .. evil)
  try("footer", "footer\n.\r" .. evil)
  try("headers", { header })
  try("headers", { "X-Good: 1", "X Evil: 1" })
  try("headers", { "X-Good: 1" })
  try("language", "de\r\n" .. header)
  try("copy_to", "evil@client.example\r\nRCPT TO:<evil2@client.example>")
  pcall(function() bounce:note(evil) end)
end, { name = "bounce.words" })''')
    c = t.client(gw)
    c.ehlo()
    subject = b"=?utf-8?q?a=0D=0AX-Evil:_1?= \xff\r\n folded"
    for sender in ("plain@gw.example", "words@gw.example", '"a b>c"@gw.example', '"\\"\\\\"@gw.example'):
        c.cmd(f"MAIL FROM:<{sender}> ENVID=a+2B+3D+28+29;<> RET=FULL", 250)
        c.cmd("RCPT TO:<fail@gw.example> ORCPT=rfc822;x+40y+20(;\"<", 250)
        c.data(b"Subject: " + subject + b"\r\nX-Odd:\r\n\r\n.\r\n..\r\nbody\r\n", 250)
    c.quit()
    gw.wait_log("info notice ", count=4)
    gw.wait_queue_empty()
    t.eq(len(hop.accepted), 4, "notices")
    for stream in hop.streams():
        t.check(not BARE_CR_LF.search(stream) and b"\0" not in stream, "line ends on the way out")
    for m in hop.accepted:
        t.has(m.mail, "FROM:<>", "sender of a notice")
        t.eq(len(m.rcpts), 1, f"recipients {m.rcpts}")
        head = m.data.partition(b"\r\n\r\n")[0]
        t.check(b"\r\nX-Evil" not in head, f"{head}")
        report = email.message_from_bytes(m.data)
        t.eq(report.get_content_type(), "multipart/report", "type")
        t.check(2 <= len(report.get_payload()) <= 3, f"parts: {[p.get_content_type() for p in report.get_payload()]}")
        kinds = [p.get_content_type() for p in report.walk()]
        t.eq(kinds.count("message/delivery-status"), 1, f"parts {kinds}")
        status = next(p for p in report.walk() if p.get_content_type() == "message/delivery-status")
        fields = {name.lower() for part in status.get_payload() for name in part.keys()}
        t.check(fields <= {"reporting-mta", "original-envelope-id", "arrival-date", "original-recipient",
                           "final-recipient", "action", "status",
                           "remote-mta", "diagnostic-code", "last-attempt-date", "will-retry-until"},
                f"fields {fields}")
        for word in (gw.dir.encode(), b"policy.lua", b"bounce.words", b"OpenSSL", b"libevent", b"Lua"):
            t.check(word not in m.data, f"{word} in a notice")
    check_log(t, gw)


@case.register("words-in-the-log", "X-71", "X-30", "I7")
def log(t):
    """A line for each event, whatever a client or a policy says; no body and no control in it."""
    hop = recording_hop(t)
    gw = t.gateway(hop_port=hop.port, over=room(), policy=EVIL_LUA + r'''
gw.on("message", function(session, message)
  message:note(evil .. "\n2026-01-01T00:00:00.000Z info forged x=y")
  message.vars.x = evil
  if message.from.localpart == "fail" then error(evil .. tostring(message:subject())) end
  if message.from.localpart == "no" then return gw.reject { text = evil, reason = evil } end
end, { name = "note.all" })''')
    c = t.client(gw)
    c.ehlo("[IPv6:::1]")
    token = "bodytoken4711"
    senders = ["a", '"a b=c\\" d"', "x=y", "用户", "fail", "no", "'${id}`"]
    for sender in senders:
        c.cmd(f"MAIL FROM:<{sender}@client.example> SMTPUTF8", 250)
        c.cmd(f"RCPT TO:<{sender}@gw.example>".replace("用户", "ñandú"), 250)
        c.data(b"Subject: a\r\n =?utf-8?q?=0D=0A2026-01-01T00:00:00.000Z_info_forged?=\r\n\r\n" +
               token.encode() + b"\x1b[31m\r\n")
    for bad in (b"EHLO \x1b[31m\r\n", b"\r\x1b]0;x\x07\r\n"[1:],
                "MAIL FROM:<\u202ea@b.example> SMTPUTF8\r\n".encode(), b"\xff" * 200 + b"\r\n"):
        c.cmd(bad)
    c.quit()
    gw.wait_log("message accepted", count=5)
    check_log(t, gw)
    text = "\n".join(gw.log_lines())
    for word in (token, "\ninfo forged"):
        t.lacks(text, word, "the log")
    for line in gw.log_lines("forged"):
        t.check(not line.startswith("2026-01-01"), f"forged: {line}")


@case.register("the-same-but-for-the-tag", "R-46", "R-120", "M-133")
def metamorphic(t):
    """A message with REQUIRETLS and the same without it arrive alike: the parameter and the comment in our
    trace field are all there is between them."""
    hop = t.nexthop(cert=t.certs.issue("in.example"), requiretls=True)
    gw = t.gateway(hop_port=hop.port, over=room({
        "routes": {"inside": {"assert_secure_lookup": True, "names": ["in.example"], "tls": "encrypt"}}}))
    contents = [BODY, b"Subject: x\r\n\r\n.\r\n..\r\n" + b"z" * 3000 + b"\r\n",
                b"X: y\r\n z\r\n\r\n" + b"\xff\r\n" * 100, b"\r\nno header\r\n"]
    c = t.secure_client(gw)
    for tag in ("", " REQUIRETLS"):
        for number, content in enumerate(contents):
            for by_chunks in (False, True):
                c.cmd(f"MAIL FROM:<m{number}{int(by_chunks)}@client.example> BODY=8BITMIME RET=HDRS "
                      f"ENVID=e{number}{tag}", 250)
                c.cmd("RCPT TO:<b@gw.example> NOTIFY=FAILURE ORCPT=rfc822;o@x.example", 250)
                if by_chunks:
                    c.cmd(b"BDAT %d LAST\r\n" % len(content) + content, 250)
                else:
                    c.data(content, 250)
    c.quit()
    messages = hop.wait_messages(4 * len(contents))
    gw.wait_queue_empty()

    def essence(m):
        content = without_trace(m.data)
        trace = re.sub(rb"id \w+|;[^;]*$|\(requiretls\)|\s", b"", m.data[:-len(content)])
        return re.sub(r" REQUIRETLS| SIZE=\d+", "", m.mail), m.rcpts, trace, content, m.tls["version"]

    tagged, plain = [sorted(map(essence, (m for m in messages if m.has_requiretls is want)), key=repr)
                     for want in (True, False)]
    t.eq(len(tagged), len(plain), "messages with and without")
    t.eq(tagged, plain, "messages")
    for m in messages:
        t.eq("(requiretls)" in m.header("Received"), m.has_requiretls, "comment in the trace field")


case.main()
