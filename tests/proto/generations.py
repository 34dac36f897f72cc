"""Generations of the policy: loaded beside the one that is active, tried with some sessions, activated,
left again. What is wrong with a new one never touches the one that runs."""

import json
import os
import subprocess
import sys

import case
from case import Lua, merge
from lab.gateway import lua

MESSAGE = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: x\r\n\r\nbody\r\n"

SAYS = """
gw.on("mail", function(session, message)
  if message.from.localpart == "who" then return gw.reject { text = "this is %s" } end
end, { name = "mail.who" })
gw.on("fini", function(ctx) gw.log.info("%s ends: " .. ctx.reason) end, { name = "life.fini" })
"""


def says(name):
    return SAYS % (name, name)


def bundle(gw, name, policy, over=None):
    """A directory with another configuration and policy; its path."""
    config = merge(json.loads(json.dumps(gw.config)), over or {})
    config["tls"] = gw.config["tls"]        # with its secret
    config["policy"] = merge(config.get("policy", {}), {"load": ["policy.lua"]})
    path = os.path.join(gw.dir, name)
    os.makedirs(path, exist_ok=True)
    for file, text in (("gateway.lua", f"return gw.config {lua(config)}\n"), ("policy.lua", policy)):
        with open(os.path.join(path, file), "w", encoding="utf-8") as f:
            f.write(text)
    return path


def who(t, gw, c=None, listener="inbound", source=None):
    """Which generation a session meets: the word it answers with."""
    mine = c is None
    if mine:
        c = t.client(gw, listener, **({"source": source} if source else {}))
        c.ehlo()
    reply = c.cmd("MAIL FROM:<who@client.example>")
    if mine:
        c.quit()
    return reply.text.rpartition(" ")[2]


def generations(gw):
    return gw.json("policy", "list")["generations"]


def states(gw):
    return [g["state"] for g in generations(gw)]


def ask(t, gw, *args):
    """A command that has to work; the generation it names."""
    done = gw.run("policy", *args, "--json")
    t.eq(done.returncode, 0, f"policy {' '.join(args)}: {done.stderr}")
    return json.loads(done.stdout)


def refused(t, gw, part, *args, code=1):
    done = gw.run("policy", *args)
    t.eq(done.returncode, code, f"policy {' '.join(args)}: {done.stdout}")
    t.has(done.stderr, part, f"policy {' '.join(args)}")


@case.register("load-activate-rollback", "X-74", "F-17")
def activate(t):
    """Nothing changes before activate; an open session keeps what it began with, and when it has gone its
    generation retires; rollback brings the files back even if they are gone from the disk."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, policy=says("one"), over={"service": {"workers": 2}})
    path = bundle(gw, "next", says("two"))
    second = ask(t, gw, "load", path)
    t.eq((second["number"], second["state"]), (2, "checked"), "what load says")
    t.eq(states(gw), ["active", "checked"], "states after load")
    t.eq(who(t, gw), "one", "before activate")
    c1 = t.client(gw)
    c1.ehlo()
    t.eq(ask(t, gw, "activate", second["id"][:8])["state"], "active", "activate by the name's beginning")
    t.eq((who(t, gw), who(t, gw, c1)), ("two", "one"), "a new session and an open one")
    first = generations(gw)[0]
    t.eq((first["state"], first["sessions"], first["errors"]), ("draining", 1, 0), "the first one")
    t.eq(gw.json("status")["policy"]["id"], second["id"], "status")
    c1.send_message("a@client.example", "b@gw.example", MESSAGE)
    line = gw.wait_log("message accepted .*a@client")[-1]
    t.has(line, f"gen={first['id']}", "who took it")
    hop.wait_messages(1)
    t.has(gw.wait_log("message delivered .*a@client")[-1], f"gen={second['id']}", "who delivered it")
    rows = gw.json("evidence", "list")["evidence"]
    t.has(json.dumps(rows), second["id"], "generation in the evidence")
    c1.quit()
    gw.wait_log("one ends: retired", count=2)
    gw.wait_for(lambda: states(gw) == ["retired", "active"], 10, "the first one retired")
    for file in os.listdir(path):
        os.unlink(os.path.join(path, file))
    ask(t, gw, "load", gw.dir)
    ask(t, gw, "activate", "3")
    t.eq(who(t, gw), "one", "the directory of the daemon")
    back = ask(t, gw, "rollback")
    t.eq((back["number"], back["id"]), (4, second["id"]), "rollback")
    t.eq(who(t, gw), "two", "after rollback")
    ask(t, gw, "rollback")
    t.eq(who(t, gw), "one", "after another rollback, to the first")
    refused(t, gw, "no earlier generation", "rollback")
    t.eq(gw.run("reload").returncode, 0, "reload")
    t.eq(generations(gw)[-1]["number"], 6, "what reload made")


TESTS = """
gw.test.it("says who", function()
  local session = gw.test.env():session { listener = "inbound", ip = "127.0.0.1" }
  gw.test.match(session:say("MAIL FROM:<who@client.example>").text, "this is two")
end)
"""


def with_tests(gw, name, policy, tests, over=None):
    path = bundle(gw, name, policy, over)
    os.makedirs(os.path.join(path, "tests"), exist_ok=True)
    if tests:
        with open(os.path.join(path, "tests", "who_test.lua"), "w", encoding="utf-8") as f:
            f.write(tests)
    return path


@case.register("load-after-tests", "X-74")
def after_tests(t):
    """policy.test_on_load: tests of the directory first, and nothing is loaded when one fails or there is none. Without
    it, load says how to run them."""
    gw = t.gateway(policy=says("one"))
    wanted = {"policy": {"test_on_load": True}}
    path = with_tests(gw, "unasked", says("three"), TESTS)
    done = gw.run("policy", "load", path)
    t.eq(done.returncode, 0, done.stderr)
    t.has(done.stdout, f"its tests were not run; to run them: sallyport policy test {path}\n", "load")
    t.lacks(done.stderr, "passed", "and they were not")
    t.lacks(gw.run("policy", "load", bundle(gw, "bare", says("four"))).stdout, "tests", "there is none")
    ask(t, gw, "discard", "2")
    ask(t, gw, "discard", "3")
    loaded = [g["number"] for g in generations(gw)]
    refused(t, gw, "policy.test_on_load wants tests that pass", "load", with_tests(gw, "fails", says("three"), TESTS, wanted))
    refused(t, gw, "there is no", "load", with_tests(gw, "none", says("two"), None, wanted))
    t.eq([g["number"] for g in generations(gw)], loaded, "nothing was loaded")
    path = with_tests(gw, "passes", says("two"), TESTS, wanted)
    done = gw.run("policy", "load", path, "--json")
    t.eq((done.returncode, json.loads(done.stdout)["state"]), (0, "checked"), done.stderr)
    t.has(done.stderr, "1 test, 1 passed, 0 failed", "what they print")


@case.register("load-of-a-wrong-one", "X-74", "F-17", "F-21")
def wrong_one(t):
    """Whatever is wrong with it, also in one worker's init alone, it is refused with the reason, and
    neither list nor sessions show anything of it."""
    gw = t.gateway(policy=says("one"), over={"service": {"workers": 2}})
    before = generations(gw)[0]["id"]
    for policy, over, part in (
            ("gw.on(\n", {}, "policy.lua:"),
            (says("two"), {"listeners": {"inbound": {"bind": ["127.0.0.1:9"]}}}, "restart"),
            (says("two"), {"routes": {"internet": {"tls": "some"}}}, "routes.internet.tls"),
            (says("two"), {"policy": {"levels": {"mail.hwo": "advisory"}}}, "mail.who"),
            (says("two") + 'gw.on("init", function(ctx) if ctx.worker == 1 then error("not here") end end, '
             '{ name = "i.i" })', {}, "not here")):
        refused(t, gw, part, "load", bundle(gw, "wrong", policy, over))
        t.eq([(g["state"], g["id"]) for g in generations(gw)], [("active", before)], f"the list after {part}")
        t.eq(who(t, gw), "one", f"policy after {part}")
    gw.wait_log("two ends: discarded")      # the worker whose init went well
    refused(t, gw, "cannot be read", "load", gw.dir + "/nothing")
    for n in (1, 2):
        ask(t, gw, "load", bundle(gw, f"good{n}", says(f"good{n}")))
    refused(t, gw, "discard one", "load", bundle(gw, "good3", says("good3")))
    number = str(generations(gw)[1]["number"])
    t.eq(ask(t, gw, "discard", number)["state"], "draining", "discard")
    gw.wait_log("good1 ends: discarded", count=2)
    refused(t, gw, "only one that was loaded", "discard", "1")
    refused(t, gw, "is active", "activate", "1")
    refused(t, gw, "no generation", "activate", "99")
    refused(t, gw, "no generation", "activate", "ffffffff")
    refused(t, gw, "too few", "activate", code=2)
    t.eq(gw.run("policy", "dance").returncode, 2, "an unknown word")


@case.register("canary-by-listener-cidr-and-percent", "X-74", "F-17")
def canary(t):
    """A loaded generation gets the sessions that are named and no others, for the time given."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, policy=says("one"))
    ask(t, gw, "load", bundle(gw, "next", says("two")))
    refused(t, gw, "which sessions", "canary", "2")
    refused(t, gw, "--percent", "canary", "2", "--percent", "101")
    refused(t, gw, "--cidr", "canary", "2", "--cidr", "10.0.0.0/40")
    refused(t, gw, "--listener", "canary", "2", "--listener", "nobody")
    refused(t, gw, "--for", "canary", "2", "--percent", "5", "--for", "soon")
    refused(t, gw, "is active", "canary", "1", "--percent", "5")
    t.eq(who(t, gw), "one", "before")

    ask(t, gw, "canary", "2", "--listener", "relay")
    t.eq((who(t, gw), who(t, gw, listener="relay")), ("one", "two"), "by listener")
    one = generations(gw)[1]
    t.eq((one["state"], one["canary"]["listener"]), ("canary", ["relay"]), "what list says")

    ask(t, gw, "canary", "2", "--cidr", "127.0.0.2/32", "--cidr", "127.0.7.0/24")
    t.eq([who(t, gw, source=s) for s in ("127.0.0.1", "127.0.0.2", "127.0.7.9")], ["one", "two", "two"], "by address")

    ask(t, gw, "canary", "2", "--percent", "50")
    got = [who(t, gw) for _ in range(40)]
    t.check(5 < got.count("two") < 35, f"by percent: {got}")

    ask(t, gw, "canary", "2", "--percent", "100", "--cidr", "127.0.0.2/32", "--listener", "relay")
    t.eq([who(t, gw, listener=x, source=s) for x in ("inbound", "relay") for s in ("127.0.0.1", "127.0.0.2")],
         ["one", "one", "one", "two"], "all that is given has to hold")

    # Taken by the canary, delivered by the active one.
    c = t.client(gw, "relay", source="127.0.0.2")
    c.ehlo()
    c.send_message("a@client.example", "b@gw.example", MESSAGE)
    hop.wait_messages(1)
    ids = [g["id"] for g in generations(gw)]
    t.has(gw.wait_log("message accepted .*a@client")[-1], f"gen={ids[1]}", "who took it")
    t.has(gw.wait_log("message delivered .*a@client")[-1], f"gen={ids[0]}", "who delivered it")

    ask(t, gw, "canary", "2", "--percent", "100", "--for", "1s")
    gw.wait_log("canary ended .*time is over")
    t.eq((who(t, gw), who(t, gw, c)), ("one", "two"), "after its time: a new session, and an open one")
    t.eq(states(gw), ["active", "checked"], "states after its time")
    ask(t, gw, "canary", "2", "--percent", "100")
    ask(t, gw, "activate", "2")
    t.eq((who(t, gw), states(gw)[-1]), ("two", "active"), "activated out of the canary")

    ask(t, gw, "load", bundle(gw, "more", says("three"), {"routes": {"portal": {"via": ["127.0.0.1:9"]}}}))
    refused(t, gw, "routes.portal", "canary", "3", "--percent", "5")


@case.register("drain-then-421", "X-74", "F-17")
def drain(t):
    """After policy.drain sessions of an old generation get 421 between two commands, and what is under way
    comes to its end; with a third old one the oldest ends at once."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, policy=says("one"), over={"policy": {"drain": "1s"}})
    idle, busy = t.client(gw), t.client(gw)
    for c in (idle, busy):
        c.ehlo()
    busy.cmd("MAIL FROM:<a@client.example>", 250)
    busy.cmd("RCPT TO:<b@gw.example>", 250)
    busy.cmd("DATA", 354)
    gw.policy = says("two")
    gw.write()
    t.eq(gw.run("reload").returncode, 0, "reload")
    reply = idle.read_reply()
    t.eq((reply.code, reply.status), (421, "4.3.2"), "the idle one")
    busy.raw(MESSAGE + b".\r\n")
    t.eq(busy.read_reply().code, 250, "content under way")
    t.eq(busy.read_reply().code, 421, "after it")
    hop.wait_messages(1)
    gw.wait_log("one ends: retired")

    over = {"policy": {"drain": "1h"}}
    merge(gw.config, over)
    held = []
    for n in range(4):
        gw.policy = says(f"more{n}")
        gw.write()
        t.eq(gw.run("reload").returncode, 0, "reload")
        c = t.client(gw)
        c.ehlo()
        held.append(c)
    t.eq(held[0].read_reply().code, 421, "the oldest of three")
    t.eq([who(t, gw, c) for c in held[1:]], ["more1", "more2", "more3"], "the others")
    gw.wait_for(lambda: states(gw)[-4:] == ["retired", "draining", "draining", "active"], 10, "two old ones")


FAILS = """
gw.on("mail", function(session, message)
  if message.from.localpart == "bad" then error("boom") end
  if message.from.localpart == "who" then return gw.reject { text = "this is %s" } end
end, { name = "mail.fails" })
"""


def fail(t, gw, times, listener="inbound"):
    c = t.client(gw, listener)
    c.ehlo()
    for _ in range(times):
        t.eq(c.cmd("MAIL FROM:<bad@client.example>").code, 451, "a handler that fails")
    c.quit()


@case.register("circuit-breaker", "X-63", "I5", "F-17")
def breaker(t):
    """Errors up to the limit are nothing; one more marks the generation, and with auto_rollback the one
    before is active again. What was gone back to is not left by itself."""
    over = {"policy": {"errors_per_minute": 5, "auto_rollback": True}, "limits": {"errors": 100, "soft_errors": 100}}
    gw = t.gateway(policy=FAILS % "one", over=over)
    fail(t, gw, 5)
    t.eq(generations(gw)[0]["errors"], 5, "errors")
    t.check(not generations(gw)[0]["degraded"], "degraded too early")
    fail(t, gw, 1)
    t.has(gw.wait_log("generation degraded")[-1], "handler=mail.fails", "log")
    one = gw.json("policy", "status")
    t.eq((one["state"], one["degraded"], one["degraded_by"]), ("active", True, "mail.fails"), "status")
    t.has(gw.run("metrics").stdout, 'sallyport_generation_degraded{gen="%s",number="1",state="active"} 1' % one["id"],
          "metrics")

    ask(t, gw, "load", bundle(gw, "two", FAILS % "two"))
    ask(t, gw, "canary", "2", "--listener", "relay")
    t.eq(who(t, gw, listener="relay"), "two", "canary")
    fail(t, gw, 6, "relay")
    gw.wait_log("canary ended .*circuit breaker")
    t.eq(who(t, gw, listener="relay"), "one", "the canary is given up")

    ask(t, gw, "load", bundle(gw, "three", FAILS % "three"))
    ask(t, gw, "activate", "3")
    t.eq(who(t, gw), "three", "the third one")
    fail(t, gw, 6)
    gw.wait_log("configuration active .*by=\"?circuit breaker")
    t.eq(who(t, gw), "one", "after the rollback")
    fail(t, gw, 6)
    gw.wait_log("generation degraded", count=4)
    t.eq(who(t, gw), "one", "where it went back to stays")


@case.register("resident-after-many-reloads", "X-74", "I6")
def many_reloads(t):
    """The bench of reloads, fewer of them: no Lua state or configuration stays behind."""
    bench = os.path.join(case.SRCDIR, "tests", "bench", "reload.py")
    done = subprocess.run([sys.executable, "-B", bench, "50"], capture_output=True, text=True, timeout=100, check=False)
    t.eq(done.returncode, 0, f"reload.py: {done.stdout} {done.stderr}")
    t.has(done.stdout, "generations left: 1\n", "what is left of them")


@case.register("what-differs", "X-74", "F-17")
def differs(t):
    """config diff and policy diff name files, handlers and settings; exit status 3 and a warning at load tell of what
    only a restart changes."""
    gw = t.gateway(policy=says("one"))
    same = gw.run("config", "diff")
    t.eq((same.returncode, same.stdout), (0, "no difference\n"), "nothing has changed")
    path = bundle(gw, "next", says("two") + 'gw.rule { name = "mail.new", at = "mail", act = { gw.action.note("x") } }\n',
                  {"routes": {"internet": {"tls": "encrypt"}}, "policy": {"levels": {"life.fini": "advisory"}}})
    for args in (("config", "diff", path + "/gateway.lua"), ("policy", "diff", "1", path),
                 ("policy", "diff", gw.dir, path)):
        done = gw.run(*args)
        t.eq(done.returncode, 0, f"{args}: {done.stderr}")
        for part in ("~ file policy.lua", "+ handler mail.new: rule at mail, normal",
                     "~ handler life.fini: handler at fini, normal, priority 0 -> handler at fini, advisory",
                     '~ routes.internet.tls: "may" -> "encrypt"'):
            t.has(done.stdout, part, f"{args}")
        t.lacks(done.stdout, "restart", f"{args}")
        t.lacks(done.stdout, "mail.who", f"{args}: a handler that is the same")
    over = {"log": {"level": "info"}, "listeners": {"extra": {"bind": ["127.0.0.1:9"]}}}
    wider = bundle(gw, "wider", says("one"), over)
    diff = gw.run("config", "diff", path + "/gateway.lua", wider + "/gateway.lua", "--json")
    t.eq(diff.returncode, 3, f"what needs a restart: {diff.stderr}")
    restart = {d["setting"] for d in json.loads(diff.stdout)["settings"] if d["restart"]}
    t.eq(restart, {"log.level", "listeners.extra.bind"}, "what needs a restart")
    t.has(gw.run("config", "diff", wider + "/gateway.lua").stdout, '! log.level: "debug" -> "info"', "text")
    gen = ask(t, gw, "load", bundle(gw, "quiet", says("one"), {"log": {"level": "info"}}))
    t.eq(gen["needs_restart"], "log.level", "what load says")
    t.has(gw.wait_log("settings wait for a restart")[-1], "log.level", "log")
    refused(t, gw, "no generation", "diff", "1", "77")


case.main()
