"""SIGHUP: a better policy, a broken one, a new certificate, a log file that was renamed. All of it
becomes active or none of it; open sessions keep what they began with."""

import json
import os
import shutil
import signal
import threading

import case
from case import Lua, send

MESSAGE = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: x\r\n\r\nbody\r\n"
REFUSE = """
gw.on("mail", function(session, message)
  if message.from.localpart == "%s" then return gw.reject { text = "%s is not welcome" } end
end, { name = "mail.%s" })
"""


def policy_refusing(who):
    return REFUSE % (who, who, who)


def replies(c, *who):
    """The codes of MAIL from these."""
    got = []
    for x in who:
        got.append(c.mail(f"{x}@client.example").code)
        c.cmd("RSET", 250)
    return got


def reload(gw, log):
    """SIGHUP, and until this is in the log once more than before."""
    before = len(gw.log_lines(log))
    gw.reload()
    return gw.wait_log(log, count=before + 1)[-1]


@case.register("reload-a-better-policy", "X-74", "F-17")
def better_policy(t):
    """New sessions meet the new policy, an open one the old; the generation changes."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, policy=policy_refusing("ann"))
    old = gw.json("status")["generation"]
    c1 = t.client(gw)
    c1.ehlo()
    t.eq(replies(c1, "ann", "bob"), [550, 250], "the first policy")
    gw.policy = policy_refusing("bob")
    gw.write()
    reload(gw, "configuration active")
    new = gw.json("status")["generation"]
    t.check(new != old, "the generation stayed")
    c2 = t.client(gw)
    c2.ehlo()
    t.eq(replies(c2, "ann", "bob"), [250, 550], "the second policy")
    t.eq(replies(c1, "ann", "bob"), [550, 250], "an open session")
    c1.send_message("bob@client.example", "b@gw.example", MESSAGE)
    c2.send_message("ann@client.example", "b@gw.example", MESSAGE)
    hop.wait_messages(2)
    t.has(gw.wait_log("refused .*bob@client.example")[-1], new[:12], "generation in the log")
    t.eq(gw.run("reload").returncode, 0, "sallyport reload")


@case.register("reload-a-broken-one", "F-17", "F-21", "X-74")
def broken_one(t):
    """Whatever is wrong, the old configuration stays, and log and command say why."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, policy=policy_refusing("ann"))
    generation = gw.json("status")["generation"]
    text = json.dumps(gw.config, default=str)
    c1 = t.client(gw)
    c1.ehlo()

    def stays(*parts):
        line = reload(gw, "reload refused")
        for part in parts:
            t.has(line, part, "log")
        done = gw.run("reload")
        t.eq(done.returncode, 1, "sallyport reload")
        t.has(done.stderr, parts[0], "sallyport reload")
        t.eq(gw.json("status")["generation"], generation, "generation")
        c2 = t.client(gw)
        c2.ehlo()
        for c in (c1, c2):
            t.eq(replies(c, "ann", "bob"), [550, 250], f"policy, text {text[:20]}")
        c2.quit()

    for policy, part in (("gw.on(\n", "policy.lua:"), ('\nerror("no table")\n', "policy.lua:2"),
                         ('gw.on("male", function() end, { name = "a.b" })\n', "policy.lua:1")):
        gw.policy = policy
        gw.write()
        stays(part)
    gw.policy = policy_refusing("bob")
    for over, part in (({"log": {"level": "loud"}}, "log.level"),
                       ({"listeners": {"inbound": {"bind": ["127.0.0.1:9"]}}}, "listeners"),
                       ({"tls": {"identities": {"gw": {"key": "none.key"}}}}, "none.key")):
        keep, gw.config = gw.config, case.merge(json.loads(json.dumps(gw.config)), over)
        if "tls" not in over:
            gw.config["tls"] = keep["tls"]
        gw.write()
        gw.config = keep
        stays(part)
    os.rename(gw.conf_path, gw.conf_path + ".away")
    gw.reload()
    gw.wait_log("reload refused.*gateway.lua.*No such file")
    os.rename(gw.conf_path + ".away", gw.conf_path)
    gw.write()
    reload(gw, "configuration active")
    c2 = t.client(gw)
    c2.ehlo()
    t.eq(replies(c2, "ann", "bob"), [250, 550], "the good policy at last")


@case.register("reload-a-certificate", "F-21", "X-69", "X-7")
def certificate(t):
    """New sessions see the new certificate, an open one goes on; a key that does not fit leaves the
    old one in place, and STARTTLS stays offered."""
    hop = t.nexthop()
    first, second = t.certs.issue("gw.example"), t.certs.issue("gw.example", names=["gw.example", "new.example"])
    gw = t.gateway(hop_port=hop.port, files={"cert.pem": open(first.cert, encoding="ascii").read(),
                                             "gw.key": open(first.key, encoding="ascii").read()},
                   over={"tls": {"identities": {"gw": {"cert": "cert.pem", "key": Lua('gw.secret "file:gw.key"')}}}})

    def seen():
        c = t.client(gw)
        c.ehlo()
        t.has(c.caps, "STARTTLS", "capabilities")
        c.starttls(sni="gw.example")
        der = c.tls["cert"]
        c.quit()
        return der

    def place(cert, key):
        shutil.copyfile(cert.cert, os.path.join(gw.dir, "cert.pem"))
        shutil.copyfile(key.key, os.path.join(gw.dir, "gw.key"))

    t.check(seen() == first.der, "the first certificate")
    c = t.secure_client(gw)
    place(second, first)
    t.has(reload(gw, "reload refused"), "gw.key", "log")
    t.check(seen() == first.der, "the first certificate stays")
    place(second, second)
    reload(gw, "configuration active")
    t.check(seen() == second.der, "the second certificate")
    c.send_message("a@client.example", "b@gw.example", MESSAGE)
    c.quit()
    hop.wait_messages(1)
    os.unlink(os.path.join(gw.dir, "gw.key"))
    t.has(reload(gw, "reload refused"), "gw.key", "log")
    t.check(seen() == second.der, "the second certificate stays")


@case.register("reload-under-load", "X-74", "I1")
def under_load(t):
    """Ten reloads while four clients send: no message is lost, refused or sent twice."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, policy=policy_refusing("zoe"), over={"service": {"workers": 2}})
    wrong, sent, ended = [], [], threading.Event()

    def writer(k):
        try:
            while not ended.is_set():
                name = f"{k}.{len(sent)}"
                send(gw.port("inbound"), "a@client.example", "b@gw.example",
                     f"Subject: {name}\r\n\r\nx\r\n".encode(), tls=k % 2 == 0)
                sent.append(name)
        except Exception as e:      # seen by the case
            wrong.append(f"{type(e).__name__}: {e}")

    threads = [threading.Thread(target=writer, args=(k,), daemon=True) for k in range(4)]
    for x in threads:
        x.start()
    for k in range(10):
        gw.policy = policy_refusing("zoe") + f"-- {k}\n"
        gw.write()
        reload(gw, "configuration active")
    ended.set()
    for x in threads:
        x.join(10)
    t.eq(wrong, [], "what clients met")
    t.check(len(sent) > 10, f"{len(sent)} messages sent")
    hop.wait_messages(len(sent))
    gw.wait_queue_empty()
    t.eq(sorted(m.header("Subject") for m in hop.messages), sorted(sent), "messages")


@case.register("log-file-renamed", "X-71", "X-72")
def log_renamed(t):
    """The log goes on in the renamed file until SIGHUP (or SIGUSR1), then in a new one."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, over={"log": {"file": "log/gw.log"}})
    path = os.path.join(gw.dir, "log", "gw.log")
    gw.log_path = path

    def one(name):
        send(gw.port("inbound"), f"{name}@client.example", "b@gw.example", MESSAGE, tls=False)

    one("first")
    gw.wait_log("message delivered .*first@")
    t.eq(os.stat(path).st_mode & 0o077 & ~0o040, 0, "mode of the log for others")
    os.rename(path, path + ".1")
    one("second")
    gw.log_path = path + ".1"
    gw.wait_log("message delivered .*second@")
    gw.log_path = path
    gw.reload()
    gw.wait_log("configuration active")
    one("third")
    gw.wait_log("message delivered .*third@")
    t.eq(gw.log_lines("second@"), [], "the new file")
    os.rename(path, path + ".2")
    gw.process.send_signal(signal.SIGUSR1)
    gw.wait_for(lambda: os.path.exists(path), 10, "a new log")
    one("fourth")
    gw.wait_log("message delivered .*fourth@")
    gw.log_path = path + ".1"
    t.eq(gw.log_lines("third@"), [], "the old file")


@case.register("log-as-json", "X-71")
def log_json(t):
    """Every line is one JSON object with time, level and event, whatever the network sends."""
    hop = t.nexthop(replies={"RCPT": ["451 4.3.0 \x1b[31mlater\x07 \"quoted\" \\ \u00e9"]})
    gw = t.gateway(hop_port=hop.port, policy=policy_refusing("ann") + """
gw.on("helo", function(session, name)
  if name == "raise.example" then error("quote \\" and line\\nbreak") end
end, { name = "helo.raises" })""", over={"log": {"format": "json", "file": "log/gw.json"}})
    c = t.client(gw)
    c.cmd("EHLO raise.example", 451)
    c.ehlo()
    c.cmd(b"MAIL FROM:<\xff\xfe\x1b[31m@x.example>\r\n")
    replies(c, "ann")
    c.send_message("\"a b\\\\c\"@client.example", "b@gw.example", MESSAGE)
    c.quit()
    hop.wait_messages(1)
    gw.wait_queue_empty()
    gw.stop()
    with open(os.path.join(gw.dir, "log", "gw.json"), "rb") as f:
        lines = f.read().splitlines()
    t.check(len(lines) > 8, f"{len(lines)} lines")
    for line in lines:
        record = json.loads(line)
        t.check(isinstance(record, dict) and {"time", "level", "event"} <= set(record), f"keys of {line}")
        t.check(all(0x20 <= b < 0x7f or b >= 0x80 for b in line), f"control octets in {line}")
        line.decode("utf-8")
    events = {json.loads(line)["event"] for line in lines}
    for wanted in ("message accepted", "message delivered", "policy failed", "refused", "session ended"):
        t.has(events, wanted, "events")


case.main()
