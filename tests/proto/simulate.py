"""The journal, and recorded mail through two policies: no difference against the same policy, the right one against a
changed one, unknown where the journal does not say, exit status 4 where less is asked for."""

import json
import os

import case

MESSAGE = "From: a@client.example\r\nTo: b@gw.example\r\nSubject: %s\r\n%s\r\nbody of %s\r\n"

POLICY = """local m, a = gw.match, gw.action
local seen = gw.memo(function(name)
  local mx, err = gw.dns.mx(name, { timeout = 0.02 })
  return err and err.kind or "found"
end, { name = "mx", ttl = "10m" })

gw.on("connect", function(session) session.vars.n = 1 end, { name = "first" })
gw.on("mail", function(session, message)
  session.vars.n = session.vars.n + 1
  message:tag("from." .. message.from.localpart)
  if message.from.localpart == "bad" then return gw.reject { text = "not you" } end
end, { name = "mail.tag" })
gw.on("rcpt", function(session, message, rcpt)
  if rcpt.localpart == "nobody" then return gw.reject { code = 550, status = "5.1.1", text = "no such user" } end
end, { name = "rcpt.known" })
gw.rule {
  name = "tag.subject", at = "message", level = "mandatory", when = m.subject_word "[secure]",
  act = { a.require_tls { level = "encrypt", reason = "marked" }, a.tag "secure" },
}
gw.on("message", function(session, message)
  local kind = seen "nothing.example"
  local n = gw.kv("count"):add("all", 1)
  gw.sleep(0.001)
  message:add_header("X-Seen", kind .. " " .. n .. " " .. gw.random(1000) .. " " .. math.floor(gw.now()) .. " " .. session.vars.n)
  if message:body_preview(100):find "virus" then return gw.hold { reason = "virus" } end
end, { name = "looks" })
gw.on("tls_policy", function(domain, route) return gw.tls { level = "encrypt" } end, { name = "floor" })
gw.on("attempt", function(message, hop)
  if message:has_tag "secure" then hop:require_tls { level = "encrypt", reason = "secure" } end
end, { name = "hop" })
gw.on("result", function(message, rcpt, result)
  gw.log.info("done", { kind = result.kind, tags = message:has_tag "secure" })
end, { name = "done" })
"""


def send(t, gw, sender, rcpts, subject, extra="", c=None):
    own = c is None
    if own:
        c = t.client(gw)
        c.ehlo()
    reply = c.send_message(sender, rcpts, (MESSAGE % (subject, extra, subject)).encode(), code=None)
    if own:
        c.quit()
    return reply


def traffic(t, gw):
    """Mail of many kinds, some of it in one session; until all of it has left."""
    for i in range(4):
        send(t, gw, "a@client.example", ["b@gw.example"], f"plain {i}")
        send(t, gw, "ann@client.example", ["b@gw.example", "nobody@gw.example", "c@gw.example"], f"[secure] {i}")
    send(t, gw, "bad@client.example", ["b@gw.example"], "refused")
    send(t, gw, "a@client.example", ["b@gw.example"], "a virus")
    send(t, gw, "a@client.example", ["b@gw.example"], "no", extra="TLS-Required: No\r\n")
    c = t.client(gw)
    c.ehlo()
    for i in range(3):
        send(t, gw, "bob@client.example", ["b@gw.example"], f"[secure] same {i}", c=c)
    c.quit()
    gw.wait_log("session ended", count=12)
    gw.wait_log("message delivered", count=16)


def scene(t, **over):
    hop = t.nexthop(cert=t.certs.issue("inside.example"))
    over.setdefault("log", {})["journal"] = "log/journal.jsonl"
    return t.gateway(hop_port=hop.port, policy=POLICY, over={"policy": {"network": {"dns": True}}, **over})


def lines(gw, name="log/journal.jsonl"):
    path = os.path.join(gw.dir, name)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        return [json.loads(x) for x in f]


def bundle(t, gw, name, *changes, below=None):
    """A directory with the gateway's configuration and a changed policy."""
    folder = os.path.join(below, name) if below else t.path(name)
    os.makedirs(folder, exist_ok=True)
    policy = POLICY
    for old, new in changes:
        t.check(old in policy, f"{old!r} is in the policy")
        policy = policy.replace(old, new)
    with open(gw.conf_path, encoding="utf-8") as f:
        text = f.read()
    for file, content in (("gateway.lua", text), ("policy.lua", policy)):
        with open(os.path.join(folder, file), "w", encoding="utf-8") as f:
            f.write(content)
    return folder


def simulate(gw, against, *options):
    done = gw.run("policy", "simulate", "--journal", "log/journal.jsonl", "--against", against, "--json", *options)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def changes(report):
    """{handler: [(what, a, b, weaker, count)]}"""
    return {g["handler"]: [(c["what"], c["a"], c["b"], c["weaker"], c["count"]) for c in g["changes"]]
            for g in report["groups"]}


@case.register("journal-against-itself", "F-19")
def itself(t):
    """What is in the journal, and that the same policy does the same with it: waits, memo, kv, random numbers, time,
    session variables and what one hook leaves for the next."""
    gw = scene(t, service={"workers": 2})
    traffic(t, gw)
    gw.stop()
    recs = lines(gw)
    hooks = {r["hook"] for r in recs if r["k"] == "call"}
    t.eq(sorted(hooks), ["attempt", "connect", "data", "ehlo", "helo", "mail", "message", "rcpt", "result", "route",
                         "tls_policy"], "hooks, with handlers and without")
    t.eq(len([r for r in recs if r["k"] == "end"]), 12, "ends of sessions")
    r = next(r for r in recs if r["k"] == "call" and r["hook"] == "message" and "a virus" in r["in"]["header"])
    t.eq(r["out"]["verdict"]["kind"], "hold", "verdict")
    t.eq((r["in"]["body"]["whole"], r["in"]["body"]["start"]), (True, "body of a virus\r\n"), "as much as was read")
    waits = [w for r in recs if r["k"] == "call" for w in r.get("waits", [])]
    t.check({"dns.mx", "kv.add", "sleep"} == {w["kind"] for w in waits}, f"waits: {waits[:5]}")
    t.check(all("r" in w for w in waits), "every answer")
    t.eq(os.stat(gw.dir + "/log/journal.jsonl").st_mode & 0o777, 0o640, "mode")
    rc, report = simulate(gw, gw.dir)
    t.eq((rc, report["changed"], report["unknown"], report["unreproduced"]), (0, 0, [], 0), f"report {report}")
    t.eq(report["reproduced"], len([r for r in recs if r["k"] == "call"]), "calls")
    t.has(gw.run("policy", "simulate", "--journal", "log/journal.jsonl", "--against", ".").stdout, "no difference", "text")

    # A policy that looks at what is not in the journal is told of; nothing is made up.
    other = bundle(t, gw, "asks", ('seen "nothing.example"', 'seen "other.example"'))
    rc, report = simulate(gw, other)
    t.eq({(u["handler"], u["side"], u["what"]) for u in report["unknown"]},
         {("looks", "against", "dns.mx other.example")}, "unknown")
    t.eq(report["groups"], [], "and nothing is compared of it")
    more = bundle(t, gw, "reads", ("body_preview(100)", "body_preview(200000)"))
    rc, report = simulate(gw, more)
    t.eq((rc, report["unknown"]), (0, []), "the whole body is there, so more of it is no question")


@case.register("journal-against-a-change", "I2", "I3")
def changed(t):
    """Each change shows under the handler that made it; exit status 4 exactly when less is asked for."""
    gw = scene(t)
    traffic(t, gw)
    gw.stop()

    weaker = bundle(t, gw, "weaker", ('m.subject_word "[secure]"', 'm.subject_word "[top secure]"'))
    rc, report = simulate(gw, weaker)
    t.eq(rc, 4, "exit status")
    got = changes(report)
    t.eq(sorted(got), ["hop", "tag.subject"], "handlers")
    t.check(("duties", "encrypt[admin]", "none", True, 7) in got["tag.subject"], f"duties: {got}")
    t.check(("tags", '{"secure":true}', "-", False, 7) in got["tag.subject"], f"tags: {got}")
    # The floor of tls_policy still asks for it: what the handler at the hop adds is no loss there.
    t.check(all(not w for _, _, _, w, _ in got["hop"]), f"hop: {got['hop']}")
    text = gw.run("policy", "simulate", "--journal", "log/journal.jsonl", "--against", weaker).stdout
    t.has(text, "duties: encrypt[admin] -> none   WEAKER", "text")

    rc, report = simulate(gw, gw.dir, "--with", weaker)
    t.eq((rc, report["weaker"]), (1, 0), "the other way round it is more")

    stronger = bundle(t, gw, "stronger", ('level = "encrypt", reason = "marked"', 'level = "verify", reason = "marked"'),
                      ('gw.tls { level = "encrypt" }', 'gw.tls { level = "verify" }'))
    rc, report = simulate(gw, stronger)
    t.eq(rc, 1, "exit status of more")
    t.eq(changes(report)["floor"], [("verdict", "tls encrypt", "tls verify", False, 1)], "floor")

    floor = bundle(t, gw, "floor", ('return gw.tls { level = "encrypt" }', ""))
    rc, report = simulate(gw, floor)
    t.eq((rc, changes(report)["floor"]), (4, [("verdict", "tls encrypt", "nil", True, 1)]), "a floor that is gone")

    renamed = bundle(t, gw, "renamed", ('a.tag "secure"', 'a.tag "sealed"'), ('has_tag "secure"', 'has_tag "sealed"'))
    rc, report = simulate(gw, renamed)
    t.eq((rc, sorted(changes(report))), (1, ["tag.subject"]), "a tag by another name reaches the later hooks")

    refuses = bundle(t, gw, "refuses", ('if message.from.localpart == "bad"', 'if message.from.localpart ~= "a"'))
    rc, report = simulate(gw, refuses)
    t.eq((rc, changes(report)), (1, {"mail.tag": [("verdict", "nil", "reject 550 5.7.1 not you", False, 7)]}), "refusals")
    t.check(report["not_reached"] > 20, f"what comes after them: {report['not_reached']}")

    broken = bundle(t, gw, "broken", ('gw.tls { level = "encrypt" }', 'gw.tls { level = nosuch }'))
    rc, report = simulate(gw, broken)
    t.eq([c[2][:13] for c in changes(report)["floor"]], ["defer (error)"], "an error defers, which is no less")
    t.eq(rc, 1, "exit status")


@case.register("journal-through-generations", "X-74")
def generations(t):
    """Generations that the running gateway knows, by number or name: what it has in memory, whatever has become of the
    files meanwhile; and what is said where there is no such generation, or no gateway."""
    gw = scene(t)
    traffic(t, gw)
    gw.wait_for(lambda: len([r for r in lines(gw) if r["k"] == "end"]) >= 12, what="all sessions in the journal")
    folder = bundle(t, gw, "next", ('m.subject_word "[secure]"', 'm.subject_word "[top secure]"'), below=gw.dir)
    with open(os.path.join(folder, "policy.lua"), "ab") as f:
        f.write(b"-- \xfcberall\n")
    loaded = json.loads(gw.run("policy", "load", folder, "--json").stdout)
    t.eq(loaded["number"], 2, "number")
    for name in (os.path.join(folder, "policy.lua"), os.path.join(gw.dir, "policy.lua")):
        with open(name, "w", encoding="utf-8") as f:
            f.write("nonsense(")
    rc, report = simulate(gw, "2", "--with", "1")
    t.eq((rc, sorted(changes(report))), (4, ["hop", "tag.subject"]), f"what the second would do: {report}")
    t.eq((report["against"], report["unreproduced"]), (loaded["id"], 0), "names")
    rc, report = simulate(gw, loaded["id"][:8], "--with", loaded["id"])
    t.eq((rc, report["changed"]), (0, 0), "against itself, by name")
    rc, text = simulate(gw, "99", "--with", "1")
    t.eq(rc, 2, "no such generation")
    t.has(text, '"99" is neither a directory here nor a generation that the daemon has in memory', "and why")
    t.has(text, "there is no generation 99", "what the daemon says")
    rc, text = simulate(gw, "./99", "--with", "1")
    t.eq((rc, "neither" in text), (2, False), "a path is one")
    rc, text = simulate(gw, "2")
    t.eq(rc, 2, "the configured one has a file that makes no sense")
    gw.stop()
    rc, text = simulate(gw, "2", "--with", "1")
    t.eq(rc, 3, "nobody to ask")
    t.has(text, "is sallyportd running?", "and that")


@case.register("journal-file", "X-55", "F-19")
def the_file(t):
    """Off unless named; moved away and opened anew; without passwords; lines that make no sense are left out."""
    gw = scene(t)
    send(t, gw, "a@client.example", ["b@gw.example"], "one")
    gw.wait_for(lambda: [r for r in lines(gw) if r["k"] == "end"], what="the first session's end")
    first = len(lines(gw))
    os.rename(gw.dir + "/log/journal.jsonl", gw.dir + "/log/journal.1")
    gw.run("reload")
    gw.reload()
    gw.wait_for(lambda: os.path.exists(gw.dir + "/log/journal.jsonl"), what="a new file")
    send(t, gw, "a@client.example", ["b@gw.example"], "two")
    gw.wait_for(lambda: [r for r in lines(gw) if r["k"] == "end"], what="the second session's end")
    gw.stop()
    t.check(len(lines(gw, "log/journal.1")) >= first, "what was moved away")
    with open(gw.dir + "/log/journal.jsonl", "a", encoding="utf-8") as f:
        f.write('{"k":"call","v":1,"at":1,"w":0,"hook":"message","in":{"msg":{"id":"x"}}}\n{"k":\nno\n[]\n'
                '{"k":"call","v":1,"at":5,"w":70,"hook":"mail","in":{}}\n{"k":"call","v":2}\n')
    rc, report = simulate(gw, gw.dir)
    t.eq((rc, report["changed"], report["messages"]), (0, 0, 1), "the rest is replayed")
    t.check(report["lines_skipped"] >= 5, f"left out: {report['lines_skipped']}")
    t.eq(gw.run("policy", "simulate", "--journal", "nothing", "--against", ".").returncode, 2, "no such file")

    mails = t.path("mails")
    os.makedirs(mails)
    for i, subject in enumerate(("[secure] x", "plain")):
        with open(os.path.join(mails, f"{i}.eml"), "w", encoding="utf-8") as f:
            f.write(f"From: Ann <ann@client.example>\nTo: b@gw.example\nSubject: {subject}\n\nhello\n")
    plain = bundle(t, gw, "plain", ('local kind = seen "nothing.example"\n', 'local kind = "x"\n'),
                   ('gw.kv("count"):add("all", 1)', "1"))
    other = bundle(t, gw, "other", ('local kind = seen "nothing.example"\n', 'local kind = "x"\n'),
                   ('gw.kv("count"):add("all", 1)', "1"), ('"[secure]"', '"[sec]"'))
    done = gw.run("policy", "simulate", "--corpus", mails, "--with", plain, "--against", other, "--json")
    t.eq(done.returncode, 4, "a directory of messages")
    t.eq(sorted(changes(json.loads(done.stdout))), ["tag.subject"], "handlers")

    gw.config["log"].pop("journal")
    os.remove(gw.dir + "/log/journal.jsonl")
    gw.write()
    gw.start()
    send(t, gw, "a@client.example", ["b@gw.example"], "three")
    gw.stop()
    t.eq(os.path.exists(gw.dir + "/log/journal.jsonl"), False, "without the setting")


if __name__ == "__main__":
    case.main()
