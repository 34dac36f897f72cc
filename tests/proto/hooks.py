"""Hooks of policies from outside: init and fini around a generation, timers, header."""

import case

MESSAGE = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: x\r\n\r\nbody\r\n"

LIFE = """
local words = {}
gw.on("init", function(ctx)
  gw.sleep(%s)
  words.reason = ctx.reason
  %s
end, { name = "life.init" })
gw.on("fini", function(ctx) gw.sleep(0.05) gw.log.info("%s ends: " .. ctx.reason) end, { name = "life.fini" })
gw.on("mail", function(session, message)
  return gw.reject { text = "%s began with " .. tostring(words.reason) }
end, { name = "life.mail" })
"""


def reload(gw, log):
    before = len(gw.log_lines(log))
    gw.reload()
    return gw.wait_log(log, count=before + 1)[-1]


def mail_reply(t, gw, c=None):
    if c is not None:
        return c.cmd("MAIL FROM:<a@client.example>")
    c = t.client(gw)
    c.ehlo()
    reply = c.cmd("MAIL FROM:<a@client.example>")
    c.quit()
    return reply


@case.register("init-before-mail-and-fini-after", "F-17", "X-74")
def life(t):
    """No session meets a generation whose init has not ended; one that fails in any worker is refused
    in all; fini comes when the last session has gone, and at the end."""
    gw = t.gateway(policy=LIFE % ("0.3", "", "one", "one"), over={"service": {"workers": 2}})
    c1 = t.client(gw)
    c1.ehlo()
    t.has(mail_reply(t, gw, c1).text, "one began with start", "after the start")

    gw.policy = LIFE % ("0.1", 'if ctx.worker == 1 then error("not here") end', "two", "two")
    gw.write()
    line = reload(gw, "reload refused")
    t.has(line, "init handler 'life.init' failed: policy.lua:6: not here", "log")
    done = gw.run("reload")
    t.eq(done.returncode, 1, "sallyport reload")
    t.has(done.stderr + done.stdout, "not here", "what it says")
    # The worker whose init went well is told; the other is not.
    gw.wait_log("two ends: discarded", count=2)
    t.eq(len(gw.log_lines("two ends")), 2, "fini of what was refused twice")
    t.has(mail_reply(t, gw).text, "one began with start", "after a refused reload")

    gw.policy = LIFE % ("0.1", "", "three", "three")
    gw.write()
    reload(gw, "configuration active")
    t.has(mail_reply(t, gw).text, "three began with reload", "a new session")
    t.has(mail_reply(t, gw, c1).text, "one began with start", "the session that is older")
    gw.wait_log("one ends: retired")        # the worker without that session
    t.eq(len(gw.log_lines("one ends")), 1, "fini while a session is left")
    c1.quit()
    gw.wait_log("one ends: retired", count=2)
    gw.stop()
    t.eq(len(gw.log_lines("three ends: stop")), 2, "fini at the end")


@case.register("init-that-fails-at-the-start", "F-17")
def no_start(t):
    """The daemon does not start, and says why; what loads is not what runs."""
    gw = t.gateway(policy=LIFE % ("0", "", "one", "one"))
    t.eq(gw.run("policy", "check", "gateway.lua").returncode, 0, "policy check")
    gw.stop()
    gw.policy = LIFE % ("0", "local x = ctx.reasn", "one", "one")
    gw.write()
    t.eq(gw.run("policy", "check", "gateway.lua").returncode, 0, "policy check does not run it")
    try:
        gw.start(timeout=10)
    except Exception as e:
        t.has(str(e) + "\n".join(gw.log_lines("cannot start")), "did you mean 'reason'?", "what it says")
    else:
        t.check(False, "it started")


TIMERS = """
gw.every { name = "t.node", interval = 0.2, scope = "node", run = function(tick)
  gw.log.info("%s node " .. tick.worker)
end }
gw.every { name = "t.worker", interval = 0.2, jitter = 0.1, run = function(tick)
  gw.sleep(0.05)
  gw.log.info("%s worker " .. tick.worker)
end }
gw.every { name = "t.fails", interval = 0.2, run = function(tick)
  gw.dns.nothing(tick.name)
end }
"""


@case.register("timers-belong-to-a-generation", "F-17")
def timers(t):
    """In every worker, or in one; they end when another generation becomes active."""
    gw = t.gateway(policy=TIMERS % ("one", "one"), over={"service": {"workers": 2}})
    gw.wait_log("one node 0", count=2)
    gw.wait_log("one worker 0", count=2)
    gw.wait_log("one worker 1", count=2)
    t.eq(gw.log_lines("one node 1"), [], "the worker that was not elected")
    gw.wait_log("policy timer failed, it goes on later timer=t.fails failures=2 interval_ms=800")
    gw.policy = TIMERS % ("two", "two")
    gw.write()
    reload(gw, "configuration active")
    gw.wait_log("two worker 1", count=1)
    before = len(gw.log_lines("policy says.*one "))
    gw.wait_log("two worker 1", count=4)
    t.eq(len(gw.log_lines("policy says.*one ")), before, "ticks of the old generation")


HEADER = """
local drop = gw.drop       -- so that the check at loading does not see it
gw.on("header", function(session, message)
  local what = message:header("X-Do")
  if what == "reject" then return gw.reject { text = "Not this header" } end
  if what == "defer" then return gw.defer { text = "Not now" } end
  if what == "error" then error("cannot decide header") end
  if what == "loop" then while true do end end
  if what == "drop" then return drop {} end
  if what == "string" then return "reject" end
  if what == "wait" then gw.sleep(0.1) end
  if what == "long" then gw.log.info("long begins") gw.sleep(3) gw.log.info("long ends") end
  if what == "body" then message:body_preview(1) end
  if what == "inspect" then message.body_mode = "inspect" end
  message:set_header("X-Seen", "by header: " .. message:subject())
end, { name = "header.do" })
gw.on("message", function(session, message)
  if message.size > 300000 then
    gw.log.info("preview of " .. message:header("X-Do") .. " " .. #message:body_preview(262144))
  end
end, { name = "header.look" })
"""
# What X-Do says to what comes back.
HEADER_SAYS = (("reject", 550, "5.7.1"), ("defer", 451, "4.7.1"), ("error", 451, "4.3.0"), ("loop", 451, "4.3.0"),
               ("drop", 451, "4.3.0"), ("string", 451, "4.3.0"), ("body", 451, "4.3.0"), ("nothing", 250, "2.0.0"),
               ("wait", 250, "2.0.0"))


def with_do(what, body=b"body\r\n"):
    return (f"From: a@client.example\r\nTo: b@gw.example\r\nSubject: {what}\r\nX-Do: {what}\r\n\r\n").encode() + body


def begin(c):
    c.cmd("MAIL FROM:<a@client.example>", 250)
    c.cmd("RCPT TO:<b@gw.example>", 250)


def by_data(t, c, content, cut=None):
    begin(c)
    c.cmd("DATA", 354)
    c.raw(content + b".\r\n", chunk=cut)
    return c.read_reply()


def by_one_chunk(t, c, content, cut=None):
    begin(c)
    c.raw(b"BDAT %d LAST\r\n" % len(content) + content, chunk=cut)
    return c.read_reply()


def by_chunks(t, c, content, cut=None):
    """The header and the first octet of the body in one chunk, the rest in another."""
    begin(c)
    n = content.index(b"\r\n\r\n") + 5
    c.raw(b"BDAT %d\r\n" % n + content[:n], chunk=cut)
    reply = c.read_reply()
    c.raw(b"BDAT %d LAST\r\n" % (len(content) - n) + content[n:], chunk=cut)
    last = c.read_reply()
    if reply.code != 250:
        t.eq(last.code, 503, "the chunk behind a refused one")
        c.cmd("RSET", 250)
        return reply
    return last


@case.register("header-refuses-before-the-body", "X-63", "I5")
def header_refuses(t):
    """What the hook says is the reply to the end of data, or to the chunk; the session goes on."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, policy=HEADER, over={"limits": {"errors": 1000, "soft_errors": 0}})
    c = t.client(gw)
    c.ehlo()
    good = 0
    for way in (by_data, by_one_chunk, by_chunks):
        for cut in (None, 1):
            for what, code, status in HEADER_SAYS:
                reply = way(t, c, with_do(what), cut)
                t.eq((reply.code, reply.status), (code, status), f"{what} {way.__name__} {cut}: {reply}")
                good += code == 250
    t.eq(by_data(t, c, with_do("reject", b"")).code, 550, "without a body")
    t.eq(by_data(t, c, b"Subject: x\r\nX-Do: reject\r\n").code, 550, "without the empty line")
    # The refusal is made when the header is there, and said when the body has been.
    begin(c)
    c.cmd("DATA", 354)
    before = len(gw.log_lines("refused .*stage=header"))
    c.raw(with_do("reject"))
    gw.wait_log("refused .*stage=header", count=before + 1)
    c.raw(b"more\r\n" * 1000 + b".\r\nNOOP\r\n")
    t.eq(c.read_reply().text, "5.7.1 Not this header", "the reply to the end of data")
    t.eq(c.read_reply().code, 250, "the reply to NOOP")
    c.quit()
    hop.wait_messages(good)
    gw.wait_queue_empty()
    t.eq(len(hop.messages), good, "messages that went through")
    t.eq({m.header("X-Seen") for m in hop.accepted}, {"by header: nothing", "by header: wait"}, "the change")
    gw.wait_log("policy failed hook=header .*cannot decide header")
    gw.wait_log("policy failed hook=header .*gw.drop is not a verdict for the hook 'header'")


@case.register("header-with-nobody-to-answer", "X-63")
def header_nobody(t):
    """The client leaves while the hook waits, or the gateway stops: nothing is queued, nothing goes on."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, policy=HEADER, over={"limits": {"shutdown": "1s"}})

    def wait_in_hook(count):
        c = t.client(gw)
        c.ehlo()
        begin(c)
        c.cmd("DATA", 354)
        c.raw(with_do("long"))
        gw.wait_log("long begins", count=count)
        return c

    wait_in_hook(1).close()
    gw.wait_log("session ended")
    t.eq(gw.queue(), [], "the queue")
    c = t.client(gw)
    c.ehlo()
    t.eq(by_data(t, c, with_do("nothing")).code, 250, "the next client")
    before = len(gw.log_lines("long ends"))
    wait_in_hook(2)
    gw.stop()
    t.eq(len(gw.log_lines("long ends")), before, "a handler that the end of the gateway met")
    t.eq(gw.log_lines("policy failed"), [], "failures")


@case.register("body-mode-keeps-the-start", "X-63")
def body_mode(t):
    """Of a message too large for memory nothing can be looked at, unless the header hook wants to."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, policy=HEADER)
    c = t.client(gw)
    c.ehlo()
    for what in ("nothing", "inspect"):
        t.eq(by_data(t, c, with_do(what, b"a line of text\r\n" * 30000)).code, 250, what)
    t.has(gw.wait_log("preview of nothing")[0], "preview of nothing 0", "as always")
    found = int(gw.wait_log("preview of inspect")[0].split("inspect ")[1].split('"')[0])
    t.check(100000 < found <= 262144, f"{found} octets with inspect")
    hop.wait_messages(2)
    t.eq({len(m.data) > 480000 for m in hop.accepted}, {True}, "both are whole")


case.main()
