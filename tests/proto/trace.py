"""What handlers did is recorded: shown for one message afterwards, with the daemon and without, streamed while it
happens, and counted in the metrics. A handler that is slow is told of in the log, with its place."""

import json
import re
import subprocess

import case

MESSAGE = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: %s\r\n\r\nbody\r\n"

POLICY = """local m, a = gw.match, gw.action
gw.on("connect", function(session) gw.log.info("hello") end, { name = "said" })
gw.rule {
  name = "tag.subject", at = "message", level = "mandatory",
  when = m.all { m.any { m.subject_word "[other]", m.subject_word "[secure]" }, m.direction "inbound" },
  act = { a.require_tls { level = "encrypt", reason = "marked" }, a.tag "secure" },
}
gw.on("message", function(session, message)
  local mx, err = gw.dns.mx("nothing.example", { timeout = 0.02 })
  gw.kv("seen"):get("a")
  gw.sleep(0.01)
  if message:subject():find "burn" then
    local x = 0
    for i = 1, 1000000 do x = x + i % 7 end
  end
  if message:subject():find "error" then error("on purpose") end
  if message:subject():find "hold" then return gw.hold { reason = "to be looked at" } end
end, { name = "looks", wall = "5s" })
gw.on("message", function() return gw.reject { text = "would not" } end, { name = "tried", level = "advisory" })
gw.on("data", function() end, { name = "silent" })
"""


def send(t, gw, subject):
    c = t.client(gw)
    c.ehlo()
    reply = c.send_message("a@client.example", ["b@gw.example"], MESSAGE % subject, code=None)
    c.quit()
    return reply


def queue_id(reply):
    return re.search(r"queued as ([0-9A-Z]{13})", reply.text).group(1)


def by_name(records):
    return {r["handler"]: r for r in records}


def why(gw, message, *options):
    done = gw.run(*options, "policy", "why", message, "--json")
    return json.loads(done.stdout)["trace"] if done.returncode in (0, 1) and done.stdout else []


def stored(gw, message, n):
    """From the database alone, once so many records are there."""
    db = gw.dir + "/state/queue.db"
    return gw.wait_for(lambda: len(r := why(gw, message, "--db", db)) >= n and r, what=f"{n} stored records")


def values(gw):
    """{name{labels}: value} of all metrics."""
    lines = gw.run("metrics").stdout.splitlines()
    return {x.rsplit(" ", 1)[0]: float(x.rsplit(" ", 1)[1]) for x in lines if x and not x.startswith("#")}


def scene(t, **over):
    hop = t.nexthop(cert=t.certs.issue("inside.example"))
    return t.gateway(hop_port=hop.port, policy=POLICY, over={"policy": {"network": {"dns": True}}, **over})


@case.register("why-of-a-message", "I5")
def why_of_a_message(t):
    """The decision path of a message with an outcome of its own, from memory and database; of one without, from
    memory alone; nothing of the second is stored."""
    gw = scene(t)
    message = queue_id(send(t, gw, b"[secure] x"))
    got = by_name(why(gw, message))
    t.eq(sorted(got), ["looks", "said", "silent", "tag.subject", "tried"], "handlers")
    rule = got["tag.subject"]
    t.eq(rule["matched"], ['subject_word "[secure]"', 'direction "inbound"'], "parts that matched")
    t.eq((rule["type"], rule["level"], rule["duties"]), ("rule", "mandatory", "encrypt[admin]"), "the rule")
    t.eq(rule["changed"], ["require tls encrypt", "tag secure"], "what it changed")
    t.eq(got["said"]["notes"], ["hello"], "what a handler said, before there was a message")
    t.eq((got["tried"]["level"], got["tried"]["verdict"]), ("advisory", "reject"), "an advisory handler")
    waits = got["looks"]["waits"]
    t.eq([(w["kind"], w["key"]) for w in waits], [("dns.mx", "nothing.example"), ("kv.get", "seen a"),
                                                    ("sleep", "0.01")], "waits")
    t.eq([w["outcome"] for w in waits], ["timeout", "ok", "ok"], "their outcomes")
    t.check(waits[2]["us"] >= 9000, f"a sleep: {waits[2]}")
    t.check(got["looks"]["wall_us"] >= waits[2]["us"] > got["looks"]["run_us"], f"times: {got['looks']}")
    t.eq(sorted(by_name(stored(gw, message, 5))), sorted(got), "stored: all of its path")
    text = gw.run("policy", "why", message).stdout
    t.check(re.search(r'^message +rule tag\.subject +policy\.lua:3 +matched subject_word "\[secure\]", direction '
                      r'"inbound" .*\+encrypt\[admin\]  require tls encrypt, tag secure$', text, re.M), text)
    t.check(re.search(r"^message +lua +tried .*would have: reject 550 5\.7\.1 would not", text, re.M), text)

    held = queue_id(send(t, gw, b"hold"))
    t.eq(by_name(why(gw, held))["looks"]["verdict"], "hold", "verdict")
    t.has(by_name(why(gw, held))["looks"]["why"], "to be looked at", "its reason")

    refused = send(t, gw, b"error")
    t.eq(refused.code, 451, "reply to an error")
    line = gw.wait_log("policy failed .*on purpose")[0]
    lost = re.search(r" message=([0-9A-Z]{13})", line).group(1)
    failed = by_name(why(gw, lost))["looks"]
    t.eq(failed["verdict"], "error", "a handler that failed")
    t.has(failed["error"], "policy.lua:16: on purpose", "why")

    # `said` is the connection's, and without an outcome of its own nothing is stored.
    gw.policy = POLICY.replace('name = "tried", level = "advisory"', 'name = "tried", when = m.tag "secure"')
    gw.write()
    gw.run("reload")
    plain = queue_id(send(t, gw, b"plain"))
    t.eq(sorted(by_name(why(gw, plain))), ["looks", "said", "silent"], "without an outcome: from memory")
    gw.stop()
    db = gw.dir + "/state/queue.db"
    t.eq(why(gw, plain, "--db", db), [], "and not stored")
    t.eq(gw.run("--db", db, "policy", "why", plain).returncode, 1, "exit status when nothing is known")
    t.eq(by_name(why(gw, held, "--db", db))["looks"]["verdict"], "hold", "stored and read without a daemon")


@case.register("trace-is-bounded-or-off", "I6")
def bounded(t):
    """The ring has its size; what is stored has its number; trace.keep = 0s stores nothing; trace.sample = 1 all."""
    gw = scene(t, trace={"ring": 3, "sample": 1})
    first = queue_id(send(t, gw, b"[secure] x"))
    stored(gw, first, 5)
    t.eq([r["handler"] for r in why(gw, first)], ["said", "silent", "looks", "tried", "tag.subject"], "its path")
    plain = POLICY.replace('name = "tried", level = "advisory"', 'name = "tried", when = m.tag "secure"')
    gw.policy = plain
    gw.write()
    gw.run("reload")
    second = queue_id(send(t, gw, b"plain"))
    t.eq(sorted(by_name(stored(gw, second, 2))), ["looks", "silent"], "a message without an outcome, sampled")
    t.eq(len(why(gw, second)), 3, "and with its connection's, from memory")
    gw.stop()
    gw.policy = POLICY
    gw.config["trace"] = {"ring": 0, "keep": "0s"}
    gw.write()
    gw.start()
    second = queue_id(send(t, gw, b"[secure] x"))
    t.eq(why(gw, second), [], "off")
    t.eq([x for x in values(gw) if x.startswith("gw_policy_seconds")], [], "and no times")
    t.eq(values(gw)['gw_rule_hits_total{rule="tag.subject"}'], 1, "but counted")


@case.register("trace-as-it-happens", "I6", "X-70")
def live(t):
    """`sallyport trace` shows what fits its filter; one that does not read is not waited for."""
    gw = scene(t, trace={"ring": 0, "keep": "0s"})
    watch = subprocess.Popen([gw.command, "-c", gw.conf_path, "trace", "--handler", "tag.subject", "--limit", "2", "--json"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    t.parts.append(lambda: (watch.kill(), watch.communicate()))
    other = subprocess.Popen([gw.command, "-c", gw.conf_path, "trace", "--ip", "192.0.2.9"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
    t.parts.append(lambda: (other.kill(), other.communicate()))
    t.has(watch.stderr.readline(), "watching", "first line")
    t.has(other.stderr.readline(), "watching", "first line of the other")
    ids = [queue_id(send(t, gw, b"[secure] %d" % i)) for i in range(2)]
    out, _ = watch.communicate(timeout=20)
    seen = [json.loads(x) for x in out.splitlines()]
    t.eq([(r["handler"], r["message"]) for r in seen], [("tag.subject", i) for i in ids], "records")
    t.eq(watch.returncode, 0, "exit status")
    other.kill()
    t.eq(other.communicate()[0], "", "another address")
    gw.wait_for(lambda: (send(t, gw, b"x"), "gw_policy_seconds" not in gw.run("metrics").stdout or True)[1],
                what="mail after the watchers have left")


@case.register("metrics-of-handlers", "I6")
def metrics(t):
    """Calls by verdict, errors by class, times, rules, generations; a reload keeps the counts."""
    gw = scene(t)
    for subject in (b"[secure] x", b"plain", b"hold", b"error"):
        send(t, gw, subject)
    got = values(gw)
    name = 'gw_policy_calls_total{hook="message",handler="looks",verdict="%s"}'
    t.eq([got.get(name % v) for v in ("nil", "hold", "error", "reject")], [2, 1, 1, None], "calls")
    t.eq(got['gw_policy_errors_total{class="lua"}'], 1, "errors")
    t.eq(got['gw_rule_hits_total{rule="tag.subject"}'], 1, "hits of a rule")
    h = 'hook="message",handler="looks"'
    t.eq((got[f"gw_policy_seconds_count{{{h}}}"], got[f'gw_policy_seconds_bucket{{{h},le="+Inf"}}']), (4, 4), "times")
    t.eq(got[f'gw_policy_seconds_bucket{{{h},le="0.001"}}'], 0, "none of them below the sleep")
    t.check(got[f"gw_policy_seconds_sum{{{h}}}"] >= 0.03, "their sum")
    t.eq(got["gw_policy_waiting"], 0, "waiting")
    gens = {k: v for k, v in got.items() if k.startswith("gw_generation_info")}
    t.eq(list(gens.values()), [1], "generations")
    t.check(any(k.startswith("gw_lua_heap_bytes") and v > 10000 for k, v in got.items()), "memory")
    gw.policy = POLICY + "\n-- another\n"
    gw.write()
    gw.run("reload")
    again = values(gw)
    t.eq(again[name % "hold"], 1, "after a reload")
    t.check([k for k, v in again.items() if k.startswith("gw_generation_info") and v == 1] != list(gens), "its number")
    text = gw.run("metrics").stdout
    t.eq(text.count("# TYPE gw_policy_seconds histogram"), 1, "one histogram")


@case.register("slow-handlers-are-told-of", "X-57")
def slow(t):
    """A handler that computes for long is in the log with a traceback, once."""
    gw = scene(t, policy={"network": {"dns": True}, "limits": {"instructions": 100000000}})
    for _ in range(3):
        send(t, gw, b"burn")
    line = gw.wait_log("policy handler is slow .*handler=looks")[0]
    t.has(line, "policy.lua:14", "where it was")
    t.eq(len(gw.log_lines("policy handler is slow")), 1, "once a minute")


case.main()
