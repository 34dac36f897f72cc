"""Hooks of policies from outside: init and fini around a generation, timers, header,
auth and the AUTH command, bounce_in."""

import base64

import case
from lab.client import tls_context

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


@case.register("init-before-mail-and-fini-after", "F-17", "X-74", "init/nil", "init/error", "fini/nil")
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
    t.eq(len(gw.log_lines("two ends")), 2, "fini where init had failed")


@case.register("init-that-fails-at-the-start", "F-17", "init/error")
def no_start(t):
    """The daemon does not start, and says why; what loads is not what runs."""
    gw = t.gateway(policy=LIFE % ("0", "", "one", "one"))
    t.eq(gw.run("policy", "check", "gateway.lua").returncode, 0, "policy check")
    gw.stop()
    gw.policy = LIFE % ("0", "local k = 'reasn'; local x = ctx[k]", "one", "one")
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
  local what = "nothing"
  gw.dns[what](tick.name)
end }
"""


@case.register("timers-belong-to-a-generation", "F-17", "every/nil", "every/error")
def timers(t):
    """In every worker, or in one; they end when another generation becomes active."""
    gw = t.gateway(policy=TIMERS % ("one", "one"), over={"service": {"workers": 2}})
    gw.wait_log("one node 0", count=2)
    gw.wait_log("one worker 0", count=2)
    gw.wait_log("one worker 1", count=2)
    t.eq(gw.log_lines("one node 1"), [], "the worker that was not elected")
    gw.wait_log("policy timer failed, it goes on later timer=t.fails failures=2 interval_ms=800")
    held = t.client(gw)         # keeps the old generation in its worker
    held.ehlo()
    gw.policy = TIMERS % ("two", "two")
    gw.write()
    reload(gw, "configuration active")
    gw.wait_log("two worker 1", count=1)
    before = len(gw.log_lines("policy says.*one "))
    gw.wait_log("two worker 1", count=4)
    t.eq(len(gw.log_lines("policy says.*one ")), before, "ticks of the old generation")
    held.quit()


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


@case.register("header-refuses-before-the-body", "X-63", "I5", "header/nil", "header/reject", "header/defer",
               "header/error", "header/illegal", "header/budget")
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


@case.register("header-with-nobody-to-answer", "X-63", "header/disconnect")
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


AUTH = """
local accept = gw.accept       -- so that the check at loading does not see it
gw.on("auth", function(session, cred)
  if cred.mech == "EXTERNAL" then
    local client = session.tls.client
    if client.verified then
      return gw.identity { id = client.names[1], attrs = { zid = cred.authzid or "none" } }
    end
    return nil
  end
  local id = cred.id
  if id == "ann" and cred.password == "s3cret" then
    return gw.identity { id = "ann@gw.example", attrs = { groups = { "ops" }, zid = cred.authzid } }
  end
  if id == "locked" then return gw.reject { text = "Account locked" } end
  if id == "weak" then return gw.reject { code = 534, status = "5.7.9", text = "Too weak" } end
  if id == "later" then return gw.defer { text = "Not now" } end
  if id == "error" then error("no such thing") end
  if id == "loop" then while true do end end
  if id == "string" then return "yes" end
  if id == "accept" then return accept {} end
  if id == "wait" then gw.sleep(0.1) return gw.identity { id = id } end
  if id == "long" then gw.log.info("long begins") gw.sleep(3) gw.log.info("long ends") end
end, { name = "auth.who" })
gw.on("mail", function(session, message)
  local a = session.auth
  gw.log.info("mail by " .. (a and a.id .. " " .. a.mech .. " " .. gw.json.encode(a.attrs) or "nobody"))
end, { name = "auth.mail" })
"""


def plain(who, password="s3cret", zid=""):
    return base64.b64encode(f"{zid}\0{who}\0{password}".encode()).decode()


def auth_gateway(t, hop, policy=AUTH, shutdown="30s", **relay):
    over = {"listeners": {"relay": dict({"auth": ["PLAIN", "EXTERNAL"], "clients": ["192.0.2.0/24"]}, **relay)},
            "limits": {"soft_errors": 0, "errors": 1000, "shutdown": shutdown},
            "routes": {"internet": {"via": [f"127.0.0.1:{hop.port}"]}}}
    return t.gateway(hop_port=hop.port, policy=policy, over=over)


@case.register("auth-plain-inside-tls", "M-155", "M-156", "M-157", "M-160", "N-20", "auth/identity")
def auth_plain(t):
    """Offered inside TLS alone; once, outside a transaction; then relaying and Received know of it."""
    hop = t.nexthop()
    gw = auth_gateway(t, hop)
    c = t.client(gw, "relay")
    t.check("AUTH" not in c.ehlo(), "AUTH is offered in clear")
    t.eq(c.cmd("AUTH PLAIN " + plain("ann")).text, "5.7.11 Use STARTTLS first", "in clear")
    c.starttls(sni="gw.example")
    t.eq(c.cmd("AUTH PLAIN " + plain("ann")).code, 503, "before EHLO")
    caps = c.ehlo()
    t.eq(caps["AUTH"], "PLAIN", "mechanisms for a client without certificate")
    c.cmd("MAIL FROM:<ann@gw.example>", 250)
    t.eq(c.cmd("RCPT TO:<b@far.example>").text, "5.7.0 Authentication required", "relaying before")
    c.cmd("RCPT TO:<b@gw.example>", 250)
    t.eq(c.cmd("AUTH PLAIN " + plain("ann")).code, 503, "inside a transaction")
    c.cmd("RSET", 250)
    reply = c.cmd("AUTH plain")
    t.eq((reply.code, c.heard[-6:]), (334, b"334 \r\n"), "334 and its space")
    t.eq(c.cmd(plain("ann", zid="boss")).text, "2.7.0 Authentication successful", "with a line of its own")
    t.eq(c.cmd("AUTH PLAIN " + plain("ann")).code, 503, "a second time")
    c.ehlo()
    c.send_message("ann@gw.example", "b@far.example", MESSAGE)
    c.quit()
    hop.wait_messages(1)
    t.has(hop.messages[0].header("Received"), "with ESMTPSA", "Received")
    t.has(gw.wait_log("mail by ann@gw.example")[0].replace("\\", ""), 'PLAIN {"groups":["ops"],"zid":"boss"}', "session.auth")
    gw.wait_log("authenticated .*listener=relay .*mech=PLAIN id=ann@gw.example")
    # Who has not logged in may not relay, whatever somebody else did.
    c = t.secure_client(gw, "relay")
    c.cmd("MAIL FROM:<ann@gw.example>", 250)
    t.eq(c.cmd("RCPT TO:<b@far.example>").code, 530, "another session")
    text = "\n".join(gw.log_lines())
    t.lacks(text, "s3cret", "the log")
    t.lacks(text, plain("ann"), "the log")


@case.register("auth-refusals", "M-161", "X-63", "I5", "auth/nil", "auth/reject", "auth/defer", "auth/error",
               "auth/illegal", "auth/budget")
def auth_refusals(t):
    """What the hook says, or its fixed outcome; nobody else lets anybody in. Three failures are the end."""
    hop = t.nexthop()
    gw = auth_gateway(t, hop)
    says = (("bob", 535, "5.7.8"), ("locked", 535, "5.7.8"), ("weak", 534, "5.7.9"), ("later", 454, "4.7.0"),
            ("error", 454, "4.7.0"), ("loop", 454, "4.7.0"), ("string", 454, "4.7.0"), ("accept", 454, "4.7.0"))
    for who, code, status in says:
        c = t.secure_client(gw, "relay")
        reply = c.cmd("AUTH PLAIN " + plain(who))
        t.eq((reply.code, reply.status), (code, status), f"{who}: {reply}")
        c.cmd("MAIL FROM:<a@gw.example>", 250)
        t.eq(c.cmd("RCPT TO:<b@far.example>").code, 530, f"relaying after {who}")
        c.close()
    t.eq(c.transcript and gw.log_lines("authenticated"), [], "nobody got in")
    gw.wait_log("policy failed hook=auth .*gw.accept is not a verdict for the hook 'auth'")
    c = t.secure_client(gw, "relay")
    for i in range(4):
        t.eq(c.cmd("AUTH PLAIN " + plain("later")).code, 454, "a temporary failure costs nothing")
    t.eq(c.cmd("AUTH PLAIN " + plain("wait")).code, 235, "and a hook may wait")
    c.quit()
    c = t.secure_client(gw, "relay")
    for i in range(3):
        t.eq(c.cmd("AUTH PLAIN " + plain("bob")).code, 535, "a failure")
    t.eq(c.read_reply().code, 421, "after the third")
    t.check(c.is_closed(), "closed")
    # No policy at all.
    gw = auth_gateway(t, hop, policy="")
    c = t.secure_client(gw, "relay")
    t.eq(c.cmd("AUTH PLAIN " + plain("ann")).status, "5.7.8", "without the hook")


@case.register("auth-exchange-strictly", "M-12", "M-157", "M-158")
def auth_exchange(t):
    """Base64 without anything in it that is none, both names as they have to be, cancelling, mechanisms."""
    hop = t.nexthop()
    gw = auth_gateway(t, hop)
    c = t.secure_client(gw, "relay")
    good = plain("ann")
    for line, code, status in (
            ("AUTH", 501, "5.5.4"), ("AUTH PLAIN a b", 501, "5.5.4"), ("AUTH CRAM-MD5", 504, "5.5.4"),
            ("AUTH EXTERNAL", 504, "5.5.4"), ("AUTH PLAIN =", 501, "5.5.2"), ("AUTH PLAIN *", 501, "5.7.0"),
            ("AUTH PLAIN " + good[:-1], 501, "5.5.2"), ("AUTH PLAIN " + good + "=", 501, "5.5.2"),
            ("AUTH PLAIN =" + good[1:], 501, "5.5.2"), ("AUTH PLAIN " + good[:8] + "=" + good[9:], 501, "5.5.2"),
            ("AUTH PLAIN " + good[:8] + "-" + good[9:], 501, "5.5.2"),
            ("AUTH PLAIN " + good[:8] + "\xe4".encode().decode("latin-1") + good[10:], 501, "5.5.2"),
            ("AUTH PLAIN " + base64.b64encode(b"ann\0s3cret").decode(), 501, "5.5.2"),
            ("AUTH PLAIN " + base64.b64encode(b"\0\0s3cret").decode(), 501, "5.5.2"),
            ("AUTH PLAIN " + base64.b64encode(b"\0ann\0").decode(), 501, "5.5.2"),
            ("AUTH PLAIN " + base64.b64encode(b"\0ann\0s3\0cret").decode(), 501, "5.5.2"),
            ("AUTH PLAIN " + base64.b64encode(b"\0a\nn\0s3cret").decode(), 501, "5.5.2"),
            ("AUTH PLAIN " + base64.b64encode(b"\0a\xffn\0s3cret").decode(), 501, "5.5.2"),
            ("AUTH PLAIN " + base64.b64encode(b"\0" + b"a" * 256 + b"\0s3cret").decode(), 501, "5.5.2")):
        c.raw(line.encode("latin-1") + b"\r\n")
        reply = c.read_reply()
        t.eq((reply.code, reply.status), (code, status), f"{line}: {reply}")
    for line, code, status in (("*", 501, "5.7.0"), ("", 501, "5.5.2"), ("NOOP", 501, "5.5.2"),
                               ("a" * 3000, 500, "5.5.6")):
        c.cmd("AUTH PLAIN", 334)
        reply = c.cmd(line)
        t.eq((reply.code, reply.status), (code, status), f"{line[:20]}: {reply}")
        c.cmd("NOOP", 250)
    t.eq(gw.log_lines("authenticated|policy failed"), [], "nobody was asked")
    t.eq(c.cmd("AUTH PLAIN " + good).code, 235, "at last")


@case.register("auth-external", "M-156", "M-158")
def auth_external(t):
    """Offered to who has shown a certificate that verifies, with the name in it and an empty response."""
    hop = t.nexthop()
    gw = auth_gateway(t, hop)

    def client(cert):
        c = t.client(gw, "relay")
        c.ehlo()
        c.starttls(ctx=tls_context(cert=cert), sni="gw.example")
        return c, c.ehlo()

    c, caps = client(t.certs.issue("partner.example", kind="client"))
    t.eq(caps["AUTH"], "PLAIN EXTERNAL", "mechanisms")
    t.eq(c.cmd("AUTH EXTERNAL =").code, 235, "empty response")
    c.cmd("MAIL FROM:<a@partner.example>", 250)
    c.cmd("RCPT TO:<b@far.example>", 250)
    gw.wait_log("mail by partner.example EXTERNAL .*none")
    c, caps = client(t.certs.issue("partner.example", kind="client"))
    c.cmd("AUTH EXTERNAL", 334)
    t.eq(c.cmd(base64.b64encode(b"other.example").decode()).code, 235, "a name to act as")
    c.cmd("MAIL FROM:<a@partner.example>", 250)
    gw.wait_log("mail by partner.example EXTERNAL .*other.example")
    c, caps = client(t.certs.issue("partner.example", kind="self-signed"))
    t.eq(caps["AUTH"], "PLAIN", "a certificate that nobody vouches for")
    t.eq(c.cmd("AUTH EXTERNAL =").code, 504, "and tried all the same")


@case.register("auth-in-clear-if-so-configured", "M-156", "N-20", "M-152")
def auth_in_clear(t):
    """The listener may offer it without TLS; what was learned in clear is forgotten with STARTTLS."""
    hop = t.nexthop()
    gw = auth_gateway(t, hop, auth_in_clear=True, auth=["PLAIN"])
    c = t.client(gw, "relay")
    t.eq(c.ehlo()["AUTH"], "PLAIN", "in clear")
    t.eq(c.cmd("AUTH PLAIN " + plain("ann")).code, 235, "login")
    c.cmd("MAIL FROM:<ann@gw.example>", 250)
    c.cmd("RCPT TO:<b@far.example>", 250)
    c.cmd("RSET", 250)
    c.starttls(sni="gw.example")
    t.eq(c.ehlo()["AUTH"], "PLAIN", "inside TLS")
    c.cmd("MAIL FROM:<ann@gw.example>", 250)
    t.eq(c.cmd("RCPT TO:<b@far.example>").code, 530, "after STARTTLS")
    gw.wait_log("mail by nobody")
    c = t.client(gw, "relay")
    c.cmd("HELO client.example", 250)
    t.eq(c.cmd("AUTH PLAIN " + plain("ann")).code, 502, "after HELO")
    t.has(gw.run("config", "audit").stdout, "passwords are sent in clear", "config audit")


@case.register("auth-with-nobody-to-answer", "X-63", "auth/disconnect")
def auth_nobody(t):
    """The client leaves while the hook waits, or the gateway stops: nobody is let in."""
    gw = auth_gateway(t, t.nexthop(), shutdown="1s")

    def wait_in_hook(count):
        c = t.secure_client(gw, "relay")
        c.raw(b"AUTH PLAIN " + plain("long").encode() + b"\r\n")
        gw.wait_log("long begins", count=count)
        return c

    wait_in_hook(1).close()
    gw.wait_log("session ended")
    c = t.secure_client(gw, "relay")
    t.eq(c.cmd("AUTH PLAIN " + plain("ann")).code, 235, "the next client")
    c.quit()
    before = len(gw.log_lines("long ends"))
    wait_in_hook(2)
    gw.stop()
    t.eq(len(gw.log_lines("long ends")), before, "a handler that the end of the gateway met")
    t.eq(len(gw.log_lines("authenticated")), 1, "who was let in")


BOUNCE_IN = """
local reject = gw.reject       -- so that the check at loading does not see it
gw.on("message", function(session, message)
  local what = message:header("X-Message")
  if what == "reject" then return gw.reject {} end
  if what == "hold" then return gw.hold { reason = "by message" } end
  if what == "discard" then return gw.discard { reason = "by message" } end
end, { name = "b.message" })
gw.on("bounce_in", function(session, message, report)
  local what = message:subject()
  local r = report.recipients[1]
  gw.log.info("report " .. what .. " " .. report.kind .. " " .. (r and r.address .. " " .. r.status or
    report.feedback_type) .. " about " .. tostring(report:original("Message-ID")) .. " " .. tostring(report.truncated))
  if what == "hold" then return gw.hold { reason = "by bounce_in" } end
  if what == "discard" then return gw.discard { reason = "by bounce_in" } end
  if what == "accept" then return gw.accept {} end
  if what == "reject" then return reject {} end
  if what == "error" then error("cannot decide bounce") end
  if what == "loop" then while true do end end
  if what == "string" then return "x" end
  if what == "wait" then gw.sleep(0.1) end
  if what == "long" then gw.log.info("long begins") gw.sleep(3) gw.log.info("long ends") end
  message:tag("report")
  message:set_header("X-Seen", "by bounce_in")
end, { name = "b.bounce" })
"""


def report(subject, kind="dsn", extra="", padding=b""):
    type_, part = {
        "dsn": ("delivery-status", "message/delivery-status"),
        "feedback": ("feedback-report", "message/feedback-report"),
        "none": ("disposition-notification", "message/disposition-notification")}[kind]
    fields = ("Feedback-Type: abuse\n" if kind == "feedback" else
              "Reporting-MTA: dns; mx.far.example\n\nFinal-Recipient: rfc822; bob@far.example\n"
              "Action: failed\nStatus: 5.1.1\n")
    text = (f"From: MAILER-DAEMON@far.example\nTo: b@gw.example\nSubject: {subject}\n{extra}MIME-Version: 1.0\n"
            f"Content-Type: multipart/report; report-type={type_};\n boundary=\"b=1\"\n\n"
            f"--b=1\nContent-Type: text/plain\n\nsorry\n--b=1\nContent-Type: {part}\n\n{fields}\n"
            "--b=1\nContent-Type: message/rfc822\n\nMessage-ID: <1@gw.example>\nSubject: hello\n\n")
    return text.replace("\n", "\r\n").encode() + padding + b"\r\n--b=1--\r\n"


@case.register("bounce-in-sees-reports", "X-63", "I5", "bounce_in/nil", "bounce_in/hold", "bounce_in/discard",
               "bounce_in/accept", "bounce_in/error", "bounce_in/illegal", "bounce_in/budget")
def bounce_in(t):
    """Reports, and nothing else; each verdict and each way to fail; beside what `message` said."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, policy=BOUNCE_IN)
    c = t.client(gw)
    c.ehlo()

    def give(content, code=250):
        begin(c)
        c.cmd("DATA", 354)
        c.raw(content + b".\r\n")
        reply = c.read_reply()
        t.eq(reply.code, code, f"{content[:120]}: {reply}")
        return reply

    for what, code in (("nothing", 250), ("accept", 250), ("wait", 250), ("reject", 451), ("error", 451),
                       ("loop", 451), ("string", 451)):
        give(report(what), code)
    give(report("abuse", kind="feedback"))
    give(report("other", kind="none"))
    give(MESSAGE)
    give(report("refused", extra="X-Message: reject\n"), 550)
    give(report("large", padding=b"a line of text\r\n" * 30000))
    hop.wait_messages(7)
    t.eq(sorted(m.header("Subject") for m in hop.accepted if m.header("X-Seen")),
         ["abuse", "large", "nothing", "wait"], "what the hook has seen and changed")
    t.has(gw.wait_log("report nothing")[0], "dsn bob@far.example 5.1.1 about <1@gw.example> false", "a notice")
    t.has(gw.wait_log("report abuse")[0], "feedback abuse about <1@gw.example> false", "a complaint")
    t.has(gw.wait_log("report large")[0], "dsn bob@far.example 5.1.1 about <1@gw.example>", "a large one")
    t.eq(gw.log_lines("report (other|refused|x) "), [], "no report, or refused before")
    gw.wait_log("policy failed hook=bounce_in .*gw.reject is not a verdict for the hook 'bounce_in'")
    # hold, then discard, then the rest, whichever of the two hooks says so
    for subject, message, held in (("hold", "", True), ("hold", "discard", True), ("discard", "hold", True),
                                   ("discard", "", False), ("nothing", "discard", False), ("nothing", "hold", True)):
        give(report(subject, extra=f"X-Message: {message}\n" if message else ""))
        found = [m for m in gw.queue() if m["id"]]
        t.eq(bool(found), held, f"{subject} after {message}: {found}")
        for m in found:
            t.eq(gw.run("queue", "delete", m["id"], "--reason", "test").returncode, 0, "queue delete")
        gw.wait_queue_empty()
    t.eq(len(hop.messages), 7, "what was held or discarded has not gone")


@case.register("bounce-in-when-the-gateway-stops", "X-63", "bounce_in/disconnect")
def bounce_stop(t):
    """A handler that waits is ended; the client has no answer, and nothing is queued."""
    gw = t.gateway(hop_port=t.nexthop().port, policy=BOUNCE_IN, over={"limits": {"shutdown": "1s"}})
    c = t.client(gw)
    c.ehlo()
    begin(c)
    c.cmd("DATA", 354)
    c.raw(report("long") + b".\r\n")
    gw.wait_log("long begins")
    gw.stop()
    t.eq(gw.log_lines("long ends|policy failed|message accepted"), [], "the handler")
    t.eq(gw.start().queue(), [], "the queue")


case.main()
