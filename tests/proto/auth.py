"""The gateway logs in at next hops (RFC 4954): with which mechanism, for which mail, on which connections; and to whom it
says nothing: in clear, to a certificate that was not verified, to hosts that a credential is not for."""

import base64
import json
import os
import subprocess
import threading

import case
from case import Lua, merge
from lab.gateway import find_program
from lab.nexthop import Cut

NAME = "smtp.provider.example"
SECRET, NEW = "walrus-4711-geheim", "walrus-0815-anders"
BODY = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: x\r\n\r\nbody\r\n"
FILE = Lua('gw.secret "file:secrets/provider"')


def scene(t, over=None, policy=None, files=None, hop=None, **options):
    """A next hop that wants a login, and a gateway whose route to it has one."""
    kind = options.pop("kind", "good")
    name = options.pop("cert_name", NAME)
    hop = hop or t.nexthop(**{"cert": t.certs.issue(name, kind=kind), "auth": {"acme": SECRET}, **options})
    config = {"routes": {"inside": {"via": [f"127.0.0.1:{hop.port}"], "names": [NAME], "tls": "verify",
                                    "auth": "provider"}},
              "credentials": {"provider": {"user": "acme", "password": FILE}},
              "delivery": {"idle": "60s"}}
    gw = t.gateway(over=merge(config, over or {}), policy=policy,
                   files={"secrets/provider": SECRET + "\n", **(files or {})})
    return hop, gw


def submit(t, gw, to="b@gw.example", sender="a@client.example", **options):
    c = t.secure_client(gw)
    reply = c.send_message(sender, to, BODY, **options)
    c.quit()
    return reply


def waits(gw, reason, n=1):
    """Until so many messages wait for this reason; the last outcome of the first."""
    def look():
        last = [r["last"] for m in gw.queue() for r in m["recipients"] if r.get("last")]
        last = [x for x in last if x["reason"] == reason]
        return last if len(last) >= n else None
    return gw.wait_for(look, what=f"mail that waits for {reason}")[0]


def set_password(gw, password):
    gw.files["secrets/provider"] = password + "\n"
    gw.write()
    reload(gw)


def reload(gw):
    before = len(gw.log_lines("configuration active"))
    gw.reload()
    gw.wait_log("configuration active", count=before + 1)


def auth_lines(hop):
    return [x for s in hop.sessions for x in s.commands if x.upper().startswith("AUTH")]


def logins(hop):
    return [s.user for s in hop.sessions if s.user]


def everything(top):
    """Whatever the gateway wrote, but for the file with the password."""
    for folder, unused, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not path.endswith("secrets/provider"):
                with open(path, "rb") as f:
                    yield path, f.read()


@case.register("login-plain", "X-34", "R-55")
def login_plain(t):
    """PLAIN inside TLS, once for two messages of one connection; name in log and evidence, the password nowhere."""
    hop, gw = scene(t)
    submit(t, gw)
    hop.wait_messages(1)
    submit(t, gw)
    two = hop.wait_messages(2)
    t.eq(logins(hop), ["acme"], "logins")
    t.check(two[0].session is two[1].session, "the connection was not kept")
    t.lacks(two[0].mail.upper(), "AUTH=", "MAIL")
    verbs = [x.split(" ")[0] for x in two[0].session.commands]
    t.eq(verbs[:5], ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL"], "order")
    t.eq(auth_lines(hop), ["AUTH PLAIN " + base64.b64encode(f"\0acme\0{SECRET}".encode()).decode()], "AUTH")
    gw.wait_queue_empty()
    rows = [x["record"] for x in map(json.loads, gw.run("evidence", "export").stdout.splitlines()) if "record" in x]
    t.eq([r.get("auth") for r in rows if r["event"] in ("delivered", "relayed")], ["provider"] * 2, "evidence")
    t.has(gw.wait_log("message delivered")[0], "auth=provider", "log")
    shown = gw.run("config", "dump").stdout
    t.has(shown, "secrets/provider", "configuration shown")
    for word in (SECRET, base64.b64encode(SECRET.encode()).decode(),
                 base64.b64encode(f"\0acme\0{SECRET}".encode()).decode()):
        t.lacks(shown, word, "configuration shown")
        for path, data in everything(gw.dir):
            t.check(word.encode() not in data, f"the password is in {path}")


@case.register("login-mechanisms")
def mechanisms(t):
    """LOGIN where that is all; PLAIN behind a 334 when the response is too long for the command."""
    hop, gw = scene(t, mechs=("CRAM-MD5", "LOGIN"))
    submit(t, gw)
    hop.wait_messages(1)
    t.eq((auth_lines(hop), logins(hop)), (["AUTH LOGIN"], ["acme"]), "LOGIN")
    long = "x" * 700
    hop.mechs, hop.auth = ("PLAIN",), {"acme": long}
    set_password(gw, long)
    submit(t, gw)
    hop.wait_messages(2)
    t.eq((auth_lines(hop)[1:], logins(hop)), (["AUTH PLAIN"], ["acme", "acme"]), "PLAIN")


@case.register("login-none-offered")
def none_offered(t):
    """No mechanism that we have, or no AUTH: the mail waits, and the reason names what is offered."""
    hop, gw = scene(t, mechs=("CRAM-MD5", "XOAUTH2"))
    submit(t, gw)
    last = waits(gw, "no-auth")
    t.eq((last["status"], last["stage"]), ("4.7.4", "auth"), "outcome")
    t.has(last["text"], "CRAM-MD5 XOAUTH2", "reason")
    hop.mechs = ()
    gw.run("queue", "retry", "--to", "*", "--reason", "test")
    gw.wait_for(lambda: "no AUTH" in waits(gw, "no-auth")["text"], what="a reason that says no AUTH")
    t.eq(auth_lines(hop), [], "AUTH")
    t.eq([x for s in hop.sessions for x in s.commands if x.startswith("MAIL")], [], "MAIL")


@case.register("login-never-in-clear", "I2")
def never_in_clear(t):
    """STARTTLS taken away while AUTH is offered in clear, a certificate of nobody, one of somebody else: no AUTH."""
    for what, reason, options in (("stripped", "no-starttls", {"starttls": False, "auth_in_clear": True}),
                                  ("self-signed", "unverified", {"kind": "self-signed"}),
                                  ("another's", "unverified", {"cert_name": "mx.evil.example"})):
        hop, gw = scene(t, **options)
        submit(t, gw)
        waits(gw, reason)
        t.eq(auth_lines(hop), [], f"{what}: AUTH")
        for s in hop.sessions:
            t.lacks("\n".join(s.transcript), "acme", f"{what}: what was said")


@case.register("login-not-relaxed", "I3", "R-64", "R-112")
def not_relaxed(t):
    """A grant that takes the certificate out of what is owed, and TLS-Required: No: the login still asks for it."""
    policy = 'gw.on("unmet", function(message, hop, unmet) return gw.relax { grant = "lab", reason = "try" } end, { name = "lax" })\n'
    grant = {"owner": "ops@gw.example", "relaxes": "verify", "to": "encrypt", "domains": ["gw.example"], "expires": "2099-12-31"}
    hop, gw = scene(t, kind="self-signed", policy=policy, over={"policy": {"grants": {"lab": grant}}})
    c = t.secure_client(gw)
    c.send_message("a@client.example", "b@gw.example", b"TLS-Required: No\r\n" + BODY)
    waits(gw, "unverified")
    gw.wait_log("relax refused")
    t.eq(auth_lines(hop), [], "AUTH")


@case.register("login-wrong-password", "I1")
def wrong_password(t):
    """535 bounces nothing, and is tried once for all mail; the right password after a reload is used at once."""
    hop, gw = scene(t, over={"queue": {"retry": ["60s"]}})
    hop.auth = {"acme": NEW}
    for i in range(5):
        submit(t, gw, f"b{i}@gw.example")
    last = waits(gw, "auth-refused", 5)
    t.eq((last["code"], last["status"], last["stage"]), (535, "4.7.8", "auth"), "outcome")
    t.has(last["reply"], "wrong user or password", "reply")
    submit(t, gw, "late@gw.example")
    waits(gw, "auth-refused", 6)
    t.eq(len(auth_lines(hop)), 1, "logins that were tried")
    set_password(gw, NEW)
    gw.run("queue", "retry", "--to", "*", "--reason", "new password")
    hop.wait_messages(6)
    gw.wait_queue_empty()


@case.register("login-tempfail", "X-53")
def tempfail(t):
    """454 at the first host: the second one; at all: later."""
    hop, gw = scene(t)
    other = t.nexthop(cert=hop.cert, auth={"acme": SECRET})
    gw.config["routes"]["inside"]["via"] = [f"127.0.0.1:{hop.port}", f"127.0.0.1:{other.port}"]
    reload_config(gw)
    hop.replies["AUTH"] = "454 4.7.0 later"
    submit(t, gw)
    other.wait_messages(1)
    t.eq((len(auth_lines(hop)), logins(other)), (1, ["acme"]), "logins")
    gw.config["routes"]["inside"]["via"] = [f"127.0.0.1:{hop.port}"]
    reload_config(gw)
    submit(t, gw)
    last = waits(gw, "auth-refused")
    t.eq((last["code"], last["status"]), (454, "4.7.0"), "outcome")
    hop.replies.clear()
    hop.wait_messages(1)


def reload_config(gw):
    gw.write()
    reload(gw)


@case.register("login-kept-connections", "X-34", "R-55", "F-17")
def kept_connections(t):
    """A connection serves mail of its own credential and password only, whatever a reload changes around it."""
    hop, gw = scene(t, files={"secrets/second": "other"})
    hop.auth["shop"] = "other"
    submit(t, gw)
    hop.wait_messages(1)
    submit(t, gw)
    two = hop.wait_messages(2)
    t.check(two[0].session is two[1].session, "the connection was not kept")
    hop.auth["acme"] = NEW
    set_password(gw, NEW)
    submit(t, gw)
    three = hop.wait_messages(3)
    t.check(three[2].session is not three[1].session, "the connection of the old password was used")
    gw.config["credentials"]["shop"] = {"user": "shop", "password": Lua('gw.secret "file:secrets/second"')}
    gw.config["routes"]["inside"]["auth"] = "shop"
    reload_config(gw)
    submit(t, gw)
    four = hop.wait_messages(4)
    t.eq([m.session.user for m in four], ["acme", "acme", "acme", "shop"], "who sent what")
    gw.config["credentials"]["shop"]["user"] = "acme"      # same name, another user
    gw.config["credentials"]["shop"]["password"] = FILE
    reload_config(gw)
    submit(t, gw)
    t.eq(hop.wait_messages(5)[4].session.user, "acme", "after another user")
    del gw.config["routes"]["inside"]["auth"]
    reload_config(gw)
    hop.auth = None
    submit(t, gw)
    t.eq(hop.wait_messages(6)[5].session.user, None, "a route without a login")
    hop.auth = {"acme": NEW}
    gw.config["routes"]["inside"]["auth"] = "provider"
    reload_config(gw)
    submit(t, gw)
    t.eq(hop.wait_messages(7)[6].session.user, "acme", "a route that has one again")
    busy, go_on = threading.Event(), threading.Event()      # in use while a reload comes, kept after it

    def slow(session, line):
        if not busy.is_set():
            busy.set()
            go_on.wait(15)

    hop.replies["."] = slow
    submit(t, gw)
    t.check(busy.wait(15), "a transaction under way")
    hop.auth = {"acme": SECRET}
    set_password(gw, SECRET)
    submit(t, gw)               # waits for the first to see whether the new password is right
    gw.wait_for(lambda: len(gw.queue()) == 2, what="two messages in the queue")
    go_on.set()
    nine = hop.wait_messages(9)
    t.check(nine[7].session is nine[6].session, "the connection of before the reload went on")
    t.check(nine[8].session is not nine[7].session, "a connection that was busy during the reload was used")
    t.check(all(not s.user or len([x for x in s.commands if x.startswith("AUTH")]) == 1 for s in hop.sessions),
            "a connection logged in twice")


ROUTES = """gw.on("route", function(message, rcpt)
  local user = rcpt.address.localpart
  if user == "good" then return gw.route { via = { "127.0.0.1:%d" }, names = { "%s" }, tls = "verify", auth = "provider" } end
  if user == "nobody" then return gw.route { via = { "127.0.0.1:%d" }, names = { "%s" }, tls = "verify", auth = "provide" } end
  if user == "evil" then return gw.route { via = { "127.0.0.2:%d" }, names = { "%s" }, tls = "verify", auth = "provider" } end
  if user == "clear" then return gw.route { via = { "127.0.0.1:%d" }, auth = "provider" } end
  if user == "mx" then return gw.route { via = "mx", domain = "evil.example", tls = "secure", auth = "provider" } end
end, { name = "made" })
"""


@case.register("login-of-policies", "I5", "I1")
def of_policies(t):
    """gw.route { auth = ... }: by name, for the credential's hosts; else 451. What waits in the queue has the name only, and
    waits on when the name is gone, through a restart, until it is back."""
    hop = t.nexthop(cert=t.certs.issue(NAME), auth={"acme": SECRET})
    policy = ROUTES % ((hop.port, NAME) * 3 + (hop.port,))
    unused, gw = scene(t, policy=policy, hop=hop)
    for who, why in (("nobody", "nearest: provider"), ("evil", "is not for 127.0.0.2"), ("clear", "verify"),
                     ("mx", "list of hosts")):
        c = t.secure_client(gw)
        c.mail("a@client.example")
        c.rcpt(f"{who}@gw.example")
        t.eq(c.data(BODY).code, 451, who)
        gw.wait_log(f"policy.lua:.*auth: .*{why}")
    hop.auth["acme"] = NEW
    submit(t, gw, "good@gw.example")
    waits(gw, "auth-refused")
    shown = gw.run("queue", "show", gw.queue()[0]["id"], "--json").stdout
    t.has(shown, "provider", "queue show")
    t.lacks(shown, SECRET, "queue show")
    gw.stop()
    kept = dict(gw.config["credentials"])
    gw.config["credentials"] = {}
    gw.config["routes"]["inside"].pop("auth")
    gw.write()
    gw.start()
    gw.run("queue", "retry", "--to", "*", "--reason", "test")
    last = waits(gw, "no-credential")
    t.eq(last["status"], "4.3.5", "status")
    t.has(last["text"], "no credentials.provider", "reason")
    t.eq(len(logins(hop)), 0, "logins")
    gw.config["credentials"] = kept
    gw.config["routes"]["inside"]["auth"] = "provider"
    hop.auth["acme"] = SECRET
    reload_config(gw)
    gw.run("queue", "retry", "--to", "*", "--reason", "test")
    hop.wait_messages(1)
    gw.wait_queue_empty()


@case.register("login-requiretls", "R-08", "R-11", "I2")
def requiretls(t):
    """REQUIRETLS mail by way of a provider that lists it; one that does not is told nothing."""
    over = {"routes": {"inside": {"assert_secure_lookup": True}}}
    hop, gw = scene(t, over, requiretls=True)
    submit(t, gw, params="REQUIRETLS")
    one = hop.wait_messages(1)[0]
    t.check(one.has_requiretls, "REQUIRETLS on MAIL")
    t.eq(one.session.user, "acme", "login")
    hop, gw = scene(t, over)
    submit(t, gw, params="REQUIRETLS")
    gw.wait_log("no-requiretls")
    t.eq(auth_lines(hop), [], "AUTH")


REHEARSAL_POLICY = """gw.on("route", function(message, rcpt)
  return gw.route { via = { "smtp.provider.example:587" }, tls = "verify", auth = "provider" }
end, { name = "out" })
"""
REHEARSAL = """
local t = gw.test
t.describe("logins", function()
  local env = t.env { config = { credentials = { provider = { user = "acme", password = { secret = "env:NOT_SET_HERE" },
                                                              hosts = { "smtp.provider.example" } } } } }
  local function peer(mechs, replies, verified)
    return env:peer("smtp.provider.example", { caps = { "STARTTLS", mechs }, replies = replies,
                                               tls = { verified = verified or "pkix" } })
  end
  local function send()
    local m = env:session { listener = "relay", tls = true, auth = "ann" }:send { from = "ann@acme.example", to = "b@x.example" }
    t.eq(m.reply.code, 250)
    t.eq(m.recipients[1].route.auth, "provider")
    env:run_queue()
    return m
  end
  for _, mechs in ipairs { "AUTH PLAIN", "AUTH LOGIN" } do
    t.it("are made: " .. mechs, function()
      peer(mechs)
      local m = send()
      t.eq(m.state, "delivered")
      t.eq(m.records[1].record.auth, "provider")
    end)
  end
  t.it("may be refused", function()
    local p = peer("AUTH PLAIN", { auth = "535 5.7.8 no" })
    t.eq(send().state, "queued")
    t.eq(#p.transcript, 0)
  end)
  t.it("want a certificate", function()
    local p = peer("AUTH PLAIN", nil, "no")
    t.eq(send().state, "queued")
    t.eq(#p.transcript, 0)
  end)
end)
"""


@case.register("login-rehearsed")
def rehearsed(t):
    """Tests of policies: made-up hosts that list AUTH, and no password. `policy explain` shows the login."""
    os.makedirs(t.path("bundle", "tests"))
    for name, text in (("policy.lua", REHEARSAL_POLICY), ("tests/auth_test.lua", REHEARSAL)):
        with open(t.path("bundle", name), "w", encoding="utf-8") as f:
            f.write(text)
    def policy(*args):
        return subprocess.run([find_program("sallyport"), "policy", *args], capture_output=True, text=True, timeout=60,
                              check=False)

    done = policy("test", t.path("bundle"))
    t.eq(done.returncode, 0, done.stdout + done.stderr)
    t.has(done.stdout, "4 tests, 4 passed, 0 failed", "the sum")
    gw = scene(t)[1]
    shown = policy("explain", "--from", "a@client.example", "--to", "b@gw.example", gw.dir)
    t.has(shown.stdout + shown.stderr, "  login: provider", "explain")


def says(data, end=None):
    """Raw octets in place of the reply to AUTH; then the connection goes, or it goes on."""
    def act(session, line):
        session.send(data)
        if end == "cut":
            raise Cut("AUTH")
        session.read_line() if end == "read" else None
        return act(session, line) if end == "read" else "500 5.5.1 what?"
    return act


def early(session, line):
    """The reply to AUTH behind that to EHLO, before anybody asked."""
    if session.tls is None:
        return None
    session.send(b"250-mx\r\n250 AUTH PLAIN\r\n235 2.7.0 you are welcome\r\n")
    raise Cut("EHLO")


# What the next hop does at AUTH, and why the mail waits; None: it does not.
HOSTILE = [
    ("early", {"EHLO": early}, "protocol"),
    ("endless-334", {"AUTH": says(b"334 \r\n", "read")}, "protocol"),
    ("junk-334", {"AUTH": says(b"334 !?\x00 no base64\r\n", "read")}, "protocol"),
    ("334-in-lines", {"AUTH": says(b"334-VXNlcg==\r\n334 VXNlcg==\r\n", "read")}, "protocol"),
    ("250", {"AUTH": says(b"250 2.0.0 fine\r\n")}, "protocol"),
    ("235-too-early", {"AUTH": says(b"235 2.7.0 no need for a password\r\n")}, "protocol"),
    ("half-reply", {"AUTH": says(b"23", "cut")}, "auth-refused"),
    ("cut", {"AUTH": says(b"", "cut")}, "auth-refused"),
    ("421", {"AUTH": says(b"421 4.7.0 go away\r\n", "cut")}, "auth-refused"),
    ("escapes", {"AUTH": "535 5.7.8 \x1b[2Jno\x07"}, "auth-refused"),
    ("235-in-lines", {"AUTH-END": "235-2.7.0 hello\n235 2.7.0 there"}, None),
    ("235-and-more", {"AUTH": says(b"235 2.7.0 ok\r\n250 2.1.0 ok\r\n250 2.1.5 ok\r\n")}, "protocol"),
]
LOGIN_ONLY = ("junk-334", "334-in-lines", "235-too-early")


@case.register("login-hostile-hops", "X-45", "X-32", "F-13", "I7")
def hostile_hops(t):
    """Whatever a next hop does at AUTH, mail waits, nobody is told a message, and it arrives once when all is well."""
    hops, over = {}, {"routes": {}, "domains": [], "queue": {"retry": ["1s"]}, "delivery": {"reply": "5s"},
                      "credentials": {"provider": {"hosts": ["127.0.0.1"]}}}
    for name, replies, unused in HOSTILE:
        hop = hops[name] = t.nexthop(cert=t.certs.issue(NAME), auth={"acme": SECRET}, replies=replies,
                                     mechs=("LOGIN",) if name in LOGIN_ONLY else ("PLAIN",))
        over["routes"][name] = {"via": [f"127.0.0.1:{hop.port}"], "names": [NAME], "tls": "verify", "auth": "provider"}
        over["domains"].append({"match": [f"{name}.example"], "kind": "local", "route": name})
    unused, gw = scene(t, over, hop=hop)
    for name, replies, unused in HOSTILE:
        submit(t, gw, f"b@{name}.example")
    for name, unused, reason in HOSTILE:
        if reason is None:
            continue
        found = gw.wait_log(f"message deferred.* to=b@{name}.example .*reason={reason} ")[0]
        t.check(found.isprintable(), "what the log shows")
        told = [x for s in hops[name].sessions for x in s.commands if x.startswith("MAIL")]
        t.eq(told, [], f"{name}: MAIL")
        if name in LOGIN_ONLY:
            t.lacks(hops[name].report(), base64.b64encode(SECRET.encode()).decode(), f"{name}: what was said")
    t.eq(auth_lines(hops["early"]), [], "AUTH behind an early reply")
    for name, replies, unused in HOSTILE:
        replies = hops[name].replies
        replies.clear()
    for name, unused, unused2 in HOSTILE:
        hops[name].wait_messages(1)
    gw.wait_queue_empty()
    t.eq({n: len(h.accepted) for n, h in hops.items()}, {n: 1 for n in hops}, "messages")


if __name__ == "__main__":
    case.main()
