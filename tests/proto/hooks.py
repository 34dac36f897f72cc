"""Hooks of policies from outside: init and fini around a generation, timers."""

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


case.main()
