"""What becomes of every end of every hook, as the client, the next hop and the queue see it. The cases cite pairs
of hook and end, which tests/coverage/hooks.py counts."""

import case

# Said by word: what the handler does. `wrong` is a verdict that the hook does not take, hidden from the check.
ACT = """
local wrong, made = { %s }, {
  reject = function() return gw.reject { text = "said no" } end,
  defer = function() return gw.defer { text = "said later", after = "1h" } end,
  drop = function() return gw.drop { text = "said off" } end,
  caps = function() return gw.caps { hide = { "CHUNKING" } } end,
  discard = function() return gw.discard { reason = "said so" } end,
  accept = function() return gw.accept { reason = "said so" } end,
  hold = function() return gw.hold { reason = "said so" } end,
  bounce = function() return gw.bounce { text = "said back" } end,
  route = function() return gw.route { via = "other" } end,
  reroute = function() return gw.reroute { via = "other", reason = "said so" } end,
  skip_host = function() return gw.skip_host { reason = "said so" } end,
  relax = function() return gw.relax { grant = "any", reason = "said so" } end,
  retry = function() return gw.retry { after = "1h", reason = "said so" } end,
  fail = function() return gw.fail { text = "said enough" } end,
  suppress = function() return gw.suppress { reason = "said so" } end,
  tls = function() return gw.tls { level = "encrypt", on_unmet = "bounce" } end,
}
local function act(hook, word)
  if word == "error" then error("said to fail") end
  if word == "illegal" then return wrong[1]() end
  if word == "budget" then while true do end end
  if word == "disconnect" then
    gw.log.info(hook .. " begins")
    gw.sleep(9)
    gw.log.info(hook .. " goes on")
  end
  return made[word] and made[word]()
end
"""

COMING_IN = ACT % 'function() return gw.skip_host {} end' + """
local by_ip = { %s }
gw.on("connect", function(s) return act("connect", by_ip[s.peer.ip .. " connect"]) end, { name = "e.connect" })
gw.on("tls", function(s) return act("tls", by_ip[s.peer.ip .. " tls"]) end, { name = "e.tls" })
gw.on("disconnect", function(s)
  local word = by_ip[s.peer.ip .. " disconnect"]
  if word then gw.log.info("disconnect " .. word) end
  return act("disconnect", word)
end, { name = "e.disconnect" })
gw.on("helo", function(s, name) return act("helo", name:match("^helo%%-([%%a]+)%%.")) end, { name = "e.helo" })
gw.on("mail", function(s, m) return act("mail", m.from.localpart and m.from.localpart:match("^mail%%-(%%a+)")) end,
  { name = "e.mail" })
gw.on("rcpt", function(s, m, r)
  if r.localpart == "rcpt-relay" then return gw.accept { relay = true, reason = "said so" } end
  return act("rcpt", r.localpart:match("^rcpt%%-(%%a+)"))
end, { name = "e.rcpt" })
gw.on("data", function(s, m) return act("data", m.recipients[1].localpart:match("^data%%-(%%a+)")) end, { name = "e.data" })
gw.on("message", function(s, m) return act("message", m.recipients[1].localpart:match("^message%%-(%%a+)")) end,
  { name = "e.message" })
"""
# Each address is another client.
BY_IP = [(hook, word) for hook in ("connect", "tls", "disconnect")
         for word in ("nil", "reject", "defer", "drop", "error", "illegal", "budget", "disconnect")]
FAILURES = ("error", "illegal", "budget")


def address(hook, word):
    return f"127.0.2.{BY_IP.index((hook, word)) + 1}"


GRANT = {"relaxes": "requiretls", "to": "may", "routes": ["inside"], "owner": "o@gw.example", "expires": "2099-01-01"}


def world(hop, other):
    return {"routes": {"inside": {"via": [f"127.0.0.1:{hop.port}", f"127.0.0.1:{other.port}"]},
                       "other": {"via": [f"127.0.0.1:{other.port}"]}},
            "policy": {"grants": {"any": GRANT}}, "limits": {"errors": 1000, "soft_errors": 0}}


def coming_in(t):
    hop = t.nexthop()
    table = ", ".join(f'["{address(h, w)} {h}"] = "{w}"' for h, w in BY_IP)
    gw = t.gateway(hop_port=hop.port, policy=COMING_IN.replace("%%", "\0").replace("%s", table).replace("\0", "%"),
                   over=world(hop, hop))
    return gw, hop


def gone(t, gw, hook, c):
    """The client leaves while the hook waits: the handler never goes on."""
    gw.wait_log(f"{hook} begins")
    c.close()
    gw.wait_log("session ended|client gone|closed")
    t.eq(gw.log_lines(f"{hook} goes on"), [], "a handler whose client has gone")


@case.register("connect-helo-tls", "X-63", "I5", "connect/nil", "connect/reject", "connect/defer", "connect/drop",
               "connect/error", "connect/illegal", "connect/budget", "connect/disconnect", "helo/nil", "helo/reject",
               "helo/defer", "helo/drop", "helo/caps", "helo/error", "helo/illegal", "helo/budget", "helo/disconnect",
               "tls/nil", "tls/reject", "tls/drop", "tls/error", "tls/illegal", "tls/budget", "tls/disconnect",
               "disconnect/nil", "disconnect/error", "disconnect/illegal", "disconnect/budget",
               "disconnect/disconnect")
def sessions(t):
    """A session that the policy does not want does not begin; one whose policy fails is told to come back."""
    gw, _ = coming_in(t)

    def connect(hook, word, **options):
        return t.client(gw, source=address(hook, word), **options)

    for word, code in (("nil", 220), ("reject", 550), ("defer", 421), ("drop", 421), *((f, 421) for f in FAILURES)):
        c = connect("connect", word)
        t.eq(c.greeting.code, code, f"connect {word}: {c.greeting}")
        if code == 421:
            t.check(c.is_closed(), f"connect {word}: closed")
        else:       # a refused client may say QUIT (RFC 5321 3.1)
            t.eq(c.cmd("EHLO x.example").code, {220: 250}.get(code, 503), f"EHLO after connect {word}")
            t.eq(c.cmd("QUIT").code, 221, f"QUIT after connect {word}")
        c.close()
    c = connect("connect", "disconnect", greet=False)
    gone(t, gw, "connect", c)

    c = t.client(gw)
    for word, code in (("nil", 250), ("reject", 550), ("defer", 451), ("caps", 250), *((f, 451) for f in FAILURES),
                       ("nil", 250), ("drop", 421)):
        reply = c.cmd(f"EHLO helo-{word}.example")
        t.eq(reply.code, code, f"helo {word}: {reply}")
        t.eq("CHUNKING" in reply.text, code == 250 and word != "caps", f"helo {word}: {reply}")
    t.check(c.is_closed(), "helo drop")
    c = t.client(gw)
    c.raw(b"EHLO helo-disconnect.example\r\n")
    gone(t, gw, "helo", c)

    for word in ("nil", "reject", "drop", *FAILURES):
        c = connect("tls", word)
        c.ehlo()
        c.starttls(sni="gw.example")
        if word == "nil":
            t.eq(c.cmd("NOOP").code, 250, "tls nil")
        else:
            c.raw(b"EHLO x.example\r\n")
            reply = c.read_reply()
            t.eq(reply.code, 550 if word == "reject" else 421, f"tls {word}: {reply}")
            if word == "reject":        # and nothing but QUIT
                t.eq(c.cmd("MAIL FROM:<a@client.example>").code // 100, 5, "MAIL after tls reject")
                t.eq(c.cmd("QUIT").code, 221, "QUIT after tls reject")
            else:
                t.check(c.is_closed(), f"tls {word}: closed")
        c.close()
    c = connect("tls", "disconnect")
    c.ehlo()
    c.starttls(sni="gw.example")
    gone(t, gw, "tls", c)

    for word in ("nil", "disconnect", *FAILURES):
        c = connect("disconnect", word)
        c.quit()
        gw.wait_log(f"disconnect {word}")
    gw.wait_log("policy failed hook=disconnect", count=3)
    t.eq(gw.log_lines("disconnect goes on"), [], "disconnect cannot wait")
    t.eq(t.client(gw).greeting.code, 220, "the next client")


@case.register("mail-rcpt-data-message", "X-63", "I5", "mail/nil", "mail/reject", "mail/defer", "mail/drop", "mail/error",
               "mail/illegal", "mail/budget", "mail/disconnect", "rcpt/nil", "rcpt/reject", "rcpt/defer", "rcpt/discard",
               "rcpt/accept", "rcpt/error", "rcpt/illegal", "rcpt/budget", "rcpt/disconnect", "data/nil", "data/reject",
               "data/defer", "data/error", "data/illegal", "data/budget", "data/disconnect", "message/nil",
               "message/reject", "message/defer", "message/hold", "message/discard", "message/accept", "message/error",
               "message/illegal", "message/budget", "message/disconnect")
def transactions(t):
    """What the hook says is the reply to the command, and nothing of what was refused gets into the queue."""
    gw, hop = coming_in(t)
    refused = (("reject", 550, "5.7.1"), ("defer", 451, "4.7.1"), *((f, 451, "4.3.0") for f in FAILURES))
    content = b"Subject: x\r\n\r\nbody\r\n"
    c = t.client(gw)
    c.ehlo()
    for word, code, status in (("nil", 250, "2.1.0"), *refused, ("nil", 250, "2.1.0")):
        reply = c.cmd(f"MAIL FROM:<mail-{word}@client.example>")
        t.eq((reply.code, reply.status), (code, status), f"mail {word}: {reply}")
        c.cmd("RSET", 250)
    c.cmd("MAIL FROM:<a@client.example>", 250)
    for word, code, status in (("nil", 250, "2.1.5"), ("accept", 250, "2.1.5"), ("discard", 250, "2.1.5"), *refused):
        reply = c.cmd(f"RCPT TO:<rcpt-{word}@gw.example>")
        t.eq((reply.code, reply.status), (code, status), f"rcpt {word}: {reply}")
    t.eq(c.cmd("RCPT TO:<rcpt-other@far.example>").code, 550, "no relaying")
    t.eq(c.cmd("RCPT TO:<rcpt-relay@far.example>").code, 250, "relaying that the policy allows")
    c.cmd("RSET", 250)
    c.send_message("a@client.example", [f"rcpt-{w}@gw.example" for w in ("nil", "accept", "discard")], content)
    for word, code, status in (("nil", 354, None), *refused):
        c.cmd("MAIL FROM:<a@client.example>", 250)
        c.cmd(f"RCPT TO:<data-{word}@gw.example>", 250)
        reply = c.cmd("DATA")
        t.eq(reply.code, code, f"data {word}: {reply}")
        if code == 354:
            c.raw(content + b".\r\n")
            t.eq(c.read_reply().code, 250, "the end of data")
        else:
            t.eq(reply.status, status, f"data {word}: {reply}")
            c.cmd("RSET", 250)
    for word, code, status in (("nil", 250, "2.0.0"), ("accept", 250, "2.0.0"), ("hold", 250, "2.0.0"),
                               ("discard", 250, "2.0.0"), *refused):
        c.cmd("MAIL FROM:<a@client.example>", 250)
        c.cmd(f"RCPT TO:<message-{word}@gw.example>", 250)
        c.cmd("DATA", 354)
        c.raw(content + b".\r\n")
        reply = c.read_reply()
        t.eq((reply.code, reply.status), (code, status), f"message {word}: {reply}")
    t.eq(c.cmd("MAIL FROM:<mail-drop@client.example>").code, 421, "mail drop")
    t.check(c.is_closed(), "mail drop: closed")

    # Whoever leaves while the hook waits has sent nothing.
    for hook, lines in (("mail", [b"MAIL FROM:<mail-disconnect@client.example>"]),
                        ("rcpt", [b"MAIL FROM:<a@b.example>", b"RCPT TO:<rcpt-disconnect@gw.example>"]),
                        ("data", [b"MAIL FROM:<a@b.example>", b"RCPT TO:<data-disconnect@gw.example>", b"DATA"]),
                        ("message", [b"MAIL FROM:<a@b.example>", b"RCPT TO:<message-disconnect@gw.example>", b"DATA",
                                     b"Subject: x\r\n\r\nbody\r\n."])):
        c = t.client(gw)
        c.ehlo()
        for line in lines[:-1]:
            c.raw(line + b"\r\n")
            c.read_reply()
        c.raw(lines[-1] + b"\r\n")
        gone(t, gw, hook, c)
    arrived = ["data-nil", "message-accept", "message-nil", "rcpt-accept", "rcpt-nil"]
    gw.wait_for(lambda: sum(len(m.rcpts) for m in hop.accepted) >= len(arrived), what="what was taken")
    t.eq(sorted(r.split("<")[1].split("@")[0] for m in hop.accepted for r in m.rcpts), arrived, "what arrived")
    t.eq(len(gw.queue()), 1, "on hold")


# ---- On the way out ----

GOING_OUT = ACT % "function() return gw.drop {} end" + """
-- "attempt-hold@gw.example": at attempt, hold
local function word_of(hook, r) return r.localpart:match("^" .. hook .. "%-([%a_]+)") end
local function first(h) return h.host.port == FIRST end
gw.on("message", function(s, m)
  if word_of("unmet", m.recipients[1]) then m:require_tls { level = "encrypt", reason = "test" } end
end, { name = "e.require" })
gw.on("route", function(m, r) return act("route", word_of("route", r)) end, { name = "e.route" })
gw.on("tls_policy", function(d, route) return act("tls_policy", route.name:match("^tls%-(%a+)")) end, { name = "e.tls" })
for _, hook in ipairs { "attempt", "ehlo", "unmet" } do
  gw.on(hook, function(m, h) if first(h) then return act(hook, word_of(hook, m.recipients[1])) end end,
    { name = "e." .. hook, wall = 0.5 })
end
gw.on("result", function(m, r, result)
  if result.kind == "deferred" or result.kind == "failed" then return act("result", word_of("result", r)) end
end, { name = "e.result", wall = 0.5 })
gw.on("bounce", function(m, b) return act("bounce", m.recipients[1].localpart:match("^bounce%-(%a+)")) end,
  { name = "e.bounce", wall = 0.5 })
gw.on("dsn", function(m, b) return act("dsn", m.recipients[1].localpart:match("^dsn%-(%a+)")) end,
  { name = "e.dsn", wall = 0.5 })
gw.on("log", function(e) if e.event == "message accepted" then return act("log", LOG) end end, { name = "e.log", wall = 0.5 })
"""
LATER = "message deferred.*to={}@gw.example"
# hook: {word: what becomes of the message}: first host, other host, deferred, held, failed, gone.
ENDS = {
    "route": {"nil": "first", "route": "other", "bounce": "refused", "hold": "held", "discard": "gone", "defer": "queued",
              **{f: "451" for f in FAILURES}},
    "attempt": {"nil": "first", "defer": "deferred", "hold": "held", "bounce": "failed", "reroute": "other",
                "skip_host": "other", **{f: "deferred" for f in (*FAILURES, "disconnect")}},
    "ehlo": {"nil": "first", "defer": "deferred", "hold": "held", "bounce": "failed", "reroute": "other",
             "skip_host": "other", **{f: "deferred" for f in (*FAILURES, "disconnect")}},
    # The first host has no TLS, the other has.
    "unmet": {"nil": "other", "defer": "deferred", "hold": "held", "bounce": "failed", "reroute": "other",
              "skip_host": "other", "relax": "first", **{f: "other" for f in (*FAILURES, "disconnect")}},
    # Both refuse the recipient for now.
    "result": {"nil": "deferred", "retry": "deferred", "fail": "failed", "hold": "held", "reroute": "third",
               **{f: "deferred" for f in (*FAILURES, "disconnect")}},
}


@case.register("route-attempt-ehlo-unmet-result", "X-63", "I5", "I2", "route/nil", "route/route", "route/bounce",
               "route/hold", "route/discard", "route/defer", "route/error", "route/illegal", "route/budget",
               "attempt/nil", "attempt/defer", "attempt/hold", "attempt/bounce", "attempt/reroute",
               "attempt/skip_host", "attempt/error", "attempt/illegal", "attempt/budget", "attempt/disconnect",
               "ehlo/nil", "ehlo/defer", "ehlo/hold", "ehlo/bounce", "ehlo/reroute", "ehlo/skip_host",
               "ehlo/error", "ehlo/illegal", "ehlo/budget", "ehlo/disconnect", "unmet/nil", "unmet/defer",
               "unmet/hold", "unmet/bounce", "unmet/reroute", "unmet/skip_host", "unmet/relax", "unmet/error",
               "unmet/illegal", "unmet/budget", "unmet/disconnect", "result/nil", "result/retry", "result/fail",
               "result/hold", "result/reroute", "result/error", "result/illegal", "result/budget",
               "result/disconnect")
def deliveries(t):
    """What the hook says becomes of the message; a failure is never a delivery of what would not have gone."""
    refuse = {"RCPT:result-": "451 4.2.0 later"}
    hop, third = t.nexthop(starttls=False, replies=dict(refuse)), t.nexthop()
    other = t.nexthop(cert=t.certs.issue("mx.other.example"), replies=dict(refuse))
    over = world(hop, other)
    over["routes"]["third"] = {"via": [f"127.0.0.1:{third.port}"]}
    policy = GOING_OUT.replace("FIRST", str(hop.port)).replace("LOG", "nil").replace(
        'reroute = function() return gw.reroute { via = "other"', 'reroute = function() return gw.reroute { via = WHERE')
    policy = 'local WHERE = "other"\n' + policy.replace(
        'return act("result", word_of("result", r))',
        'WHERE = "third" local v = act("result", word_of("result", r)) WHERE = "other" return v')
    gw = t.gateway(hop_port=hop.port, policy=policy, over=over)
    c = t.client(gw)
    c.ehlo()
    for hook, words in ENDS.items():
        for word, end in words.items():
            who = f"{hook}-{word}"
            c.cmd("MAIL FROM:<a@gw.example>" if end != "failed" else "MAIL FROM:<back@gw.example>", 250)
            c.cmd(f"RCPT TO:<{who}@gw.example>", 250)
            c.cmd("DATA", 354)
            c.raw(b"Subject: x\r\n\r\nbody\r\n.\r\n")
            t.eq(c.read_reply().code, {"refused": 550, "451": 451}.get(end, 250), f"{who}: the end of data")

    def at(host, who):
        return any(f"<{who}@" in r for m in host.accepted for r in m.rcpts)

    places = {"first": hop, "other": other, "third": third}
    for hook, words in ENDS.items():
        for word, end in words.items():
            who = f"{hook}-{word}"
            if end in places:
                gw.wait_for(lambda: at(places[end], who), what=f"{who} at {end}")
            elif end == "deferred":
                gw.wait_log(LATER.format(who))
            elif end == "failed":
                gw.wait_log(f"message failed.*to={who}@gw.example")
            for name, host in places.items():
                t.check(name == end or not at(host, who), f"{who} at {name}, wanted {end}")
    waiting = " ".join(str(m) for m in gw.queue())
    for hook, words in ENDS.items():
        for word, end in words.items():
            who = f"{hook}-{word}@"
            t.eq(who in waiting, end in ("held", "queued", "deferred"), f"{who} in the queue ({end})")


COMES = {"nil": True, "suppress": False, **{f: True for f in (*FAILURES, "disconnect")}}
NOTICES = ("bounce", "dsn")


@case.register("tls_policy-bounce-dsn-log", "X-63", "I5", "tls_policy/nil", "tls_policy/tls", "tls_policy/defer",
               "tls_policy/error", "tls_policy/illegal", "tls_policy/budget", "tls_policy/disconnect",
               "bounce/nil", "bounce/suppress", "bounce/error", "bounce/illegal", "bounce/budget",
               "bounce/disconnect", "dsn/nil", "dsn/suppress", "dsn/error", "dsn/illegal", "dsn/budget",
               "dsn/disconnect", "log/nil", "log/error", "log/illegal", "log/budget", "log/disconnect")
def beside(t):
    """A destination whose policy fails gets nothing; a notice is lost only if the policy says so; what log does is
    nobody's loss."""
    hop = t.nexthop(replies={"RCPT:bounce-": "550 5.1.1 nobody"}, ehlo=["8BITMIME"])     # without DSN
    words = ("nil", "tls", "defer", *FAILURES, "disconnect")
    over = world(hop, hop)
    for w in words:
        over["routes"][f"tls-{w}"] = {"via": [f"127.0.0.1:{hop.port}"], "tls": "may"}
    over["domains"] = [*[{"match": [f"{w}.gw.example"], "kind": "local", "route": f"tls-{w}"} for w in words],
                       {"match": ["gw.example"], "kind": "local", "route": "inside"},
                       {"match": "*", "kind": "remote", "route": "internet"}]
    policy = GOING_OUT.replace("FIRST", "1").replace("{ name = \"e.tls\" }", "{ name = \"e.tls\", wall = 0.5 }")
    gw = t.gateway(hop_port=hop.port, policy=policy.replace('act("log", LOG)', "log_next()").replace(
                       'gw.on("log"', "local n, all = 0, { 'nil', 'error', 'illegal', 'budget', 'disconnect' }\n"
                       "local function log_next() n = n + 1 return act('log', all[n]) end\n" 'gw.on("log"'), over=over)
    c = t.client(gw)
    c.ehlo()
    content = b"Subject: x\r\n\r\nbody\r\n"
    for w in words:
        c.send_message("a@gw.example", [f"x@{w}.gw.example"], content)
    for hook in NOTICES:
        for w in COMES:
            c.send_message("back@gw.example", [f"{hook}-{w}@gw.example"], content,
                           rcpt_params="NOTIFY=SUCCESS,FAILURE")
    gw.wait_log("message delivered.*to=x@nil.gw.example")
    gw.wait_log("message failed.*to=x@tls.gw.example")
    for w in words[2:]:
        gw.wait_log(f"message deferred.*to=x@{w}.gw.example")
    t.eq([r for r in hop.commands("RCPT") if "<x@" in r], ["RCPT TO:<x@nil.gw.example>"], "who got something")
    wanted = sorted(f"{hook}-{w}" for hook in NOTICES for w, comes in COMES.items() if comes)

    def notices():
        got = [m for m in hop.accepted if "<>" in m.mail and "<back@" in m.rcpts[0]]
        return sorted(f"{h}-{w}" for h in NOTICES for w in COMES for m in got if f"{h}-{w}@gw.example".encode() in m.data)

    gw.wait_for(lambda: notices() == wanted, what=f"notices {wanted}, not {notices()}")
    gw.wait_log("policy failed hook=log", count=3)
    t.eq(gw.log_lines("log goes on"), [], "log cannot wait")


case.main()
