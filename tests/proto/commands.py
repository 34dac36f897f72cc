"""The command line as a user meets it: what it prints, what it changes, how it ends (0 done, 1 the
answer is no, 2 wrong use, 3 not reachable)."""

import http.client
import json
import os
import re
import shutil
import sqlite3

import case

DONE, NO, USAGE, UNREACHABLE = 0, 1, 2, 3
MESSAGE = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: queued\r\n\r\nbody\r\n"


def queued(t, over=None, **options):
    """A gateway with four messages that wait: (gateway, hop, {name: id})."""
    hop = t.nexthop(replies={"RCPT": "451 4.3.0 later"}, **options)
    gw = t.gateway(hop_port=hop.port, over=case.merge({"queue": {"retry": ["1h"]}}, over or {}), policy="""
gw.on("message", function(session, message)
  if message.from.localpart == "ann" then message:tag("vip") end
end, { name = "tag.vip" })""")
    ids = {}
    c = t.client(gw)
    c.ehlo()
    for name, sender, rcpts in (("ann", "ann@client.example", ["x@gw.example"]),
                                ("bob", "bob@client.example", ["y@gw.example", "z@gw.example"]),
                                ("eve", "eve@other.example", ["x@gw.example"]),
                                ("null", "", ["x@gw.example"])):
        ids[name] = c.send_message(sender, rcpts, MESSAGE).text.split()[-1]
    c.quit()
    gw.wait_log("message deferred", count=5)
    gw.wait_for(lambda: all(r["state"] == "queued" for m in gw.queue() for r in m["recipients"]), 10, "rest")
    return gw, hop, ids


def run(t, gw, *args, status=DONE, out=(), err=()):
    """One command, its exit status, and what its output must hold."""
    done = gw.run(*args)
    t.eq(done.returncode, status, f"exit status of {args} with {done.stdout!r} {done.stderr!r}")
    for part in out:
        t.has(done.stdout, part, f"output of {args}")
    for part in err:
        t.has(done.stderr, part, f"standard error of {args}")
    if status in (USAGE, UNREACHABLE):
        t.eq(done.stdout, "", f"output of {args}")
    t.lacks(done.stdout + done.stderr, "\x1b", "escapes")
    return done.stdout


def found(gw, *filters):
    return sorted(m["id"] for m in gw.json("queue", "list", *filters)["messages"])


def state(gw, message):
    for m in gw.queue():
        if m["id"] == message:
            return m["recipients"][0]["state"]
    return None


# ---- Wrong use ----

@case.register("wrong-use")
def wrong_use(t):
    """Exit 2, one sentence on standard error, nothing done; without a daemon 3."""
    gw = t.gateway()
    for args, part in (((), "usage"), (("frobnicate",), "not known"), (("queue",), "expected"),
                       (("queue", "lost"), "expected"), (("queue", "show"), "id"),
                       (("queue", "hold"), "which messages"), (("queue", "hold", "--reason", "x"), "which messages"),
                       (("queue", "delete", "--to", "*"), "--reason"),
                       (("queue", "hold", "NOTANID", "--reason", "x"), "not a message id"),
                       (("queue", "list", "--state", "asleep"), "queued, active, held"),
                       (("queue", "list", "--since", "yesterday"), "neither a time"),
                       (("queue", "list", "--limit", "0"), "--limit"),
                       (("queue", "list", "--frob"), "option"),
                       (("queue", "require-tls", "--to", "*", "--reason", "x", "--level", "strong"), "level"),
                       (("queue", "show", "38GAHY3KT0000", "38GAHY3KT0001"), "one message id"),
                       (("evidence",), "expected"), (("evidence", "show"), "id"),
                       (("config",), "expected"), (("policy", "frob"), "expected")):
        run(t, gw, *args, status=USAGE, err=[part])
    text = run(t, gw, "--help", out=["usage:", "Exit status"])
    run(t, gw, "--version", out=["sallyport"])
    run(t, gw, "-V", out=["sallyport"])
    # What the help names is taken, and wants a value where it shows one.
    own = {"--coverage", "--bench", "--tap", "--junit", "--seed", "--only", "--header", "--eml"}    # of policy test and explain
    alone = {"--json", "--csv", "--check", "--dry-run"}
    named = set(re.findall(r"--[a-z]+(?:-[a-z]+)*", text)) - own
    t.check(len(named) > 25, f"options: {named}")
    words = [w for name in sorted(named) for w in ([name] if name in alone else [name, "7"])]
    run(t, gw, *words, "--version", out=["sallyport"])
    run(t, gw, *words, status=USAGE, err=["usage"])     # no word is left for a command
    for args in (("--limit", "x"), ("--port", "65536"), ("--port", "0")):
        run(t, gw, *args, "status", status=USAGE, err=[args[0]])
    t.eq(gw.run("-c", "/nonexistent/gateway.lua", "status").returncode, USAGE, "no configuration")
    gw.stop()
    for args in (("status",), ("metrics",), ("queue", "list"), ("queue", "retry", "--to", "*", "--reason", "x"),
                 ("evidence", "list"), ("reload",)):
        run(t, gw, *args, status=UNREACHABLE, err=["is sallyportd running?"])


# ---- Queue ----

@case.register("queue-list-and-show", "X-47")
def list_and_show(t):
    """Filters, JSON, tables, one message in full, unknown ids."""
    gw, _, ids = queued(t)
    everything = sorted(ids.values())
    t.eq(found(gw), everything, "all")
    for filters, names in ((("--from", "ann@client.example"), ["ann"]),
                           (("--from", "*@client.example"), ["ann", "bob"]),
                           (("--from", "<>"), ["null"]),
                           (("--to", "x@gw.example"), ["ann", "eve", "null"]),
                           (("--to", "Z@GW.example"), ["bob"]), (("--to", "nobody@*"), []),
                           (("--domain", "gw.example"), ["ann", "bob", "eve", "null"]),
                           (("--domain", "other.example"), []), (("--route", "inside"), list(ids)),
                           (("--tag", "vip"), ["ann"]), (("--state", "queued"), list(ids)),
                           (("--state", "held"), []), (("--since", "1h"), list(ids)),
                           (("--until", "2020-01-01"), []), (("--since", "2020-01-01T00:00:00Z"), list(ids)),
                           (("--from", "bob*", "--to", "y@*"), ["bob"]), (("--from", "bob*", "--tag", "vip"), [])):
        t.eq(found(gw, *filters), sorted(ids[n] for n in names), f"list {' '.join(filters)}")
    page = gw.json("queue", "list", "--limit", "2")
    t.eq((len(page["messages"]), page["more"]), (2, True), "limit")
    text = run(t, gw, "queue", "list", out=[*everything, "later", "x@gw.example"])
    t.check(len(text.splitlines()) >= 9, f"table {text}")
    run(t, gw, "queue", "list", "--to", "nobody@*", out=["no messages"])
    shown = gw.json("queue", "show", ids["ann"])
    t.eq((shown["id"], shown["from"], shown["tags"]), (ids["ann"], "ann@client.example", ["vip"]), "show")
    t.eq(shown["recipients"][0]["address"], "x@gw.example", "recipient")
    t.eq(shown["recipients"][0]["last"]["status"], "4.3.0", "last result")
    run(t, gw, "queue", "show", ids["bob"], out=["bob@client.example", "z@gw.example"])
    run(t, gw, "queue", "show", "38GAHY3KT0000", status=NO, err=["no such message"])
    run(t, gw, "queue", "show", ids["bob"].lower(), out=["bob@client.example"])
    database = os.path.join(gw.dir, "state", "queue.db")
    gw.stop()
    copy = shutil.copyfile(database, t.path("copy.db"))
    t.eq(sorted(m["id"] for m in gw.json("queue", "list", "--db", copy)["messages"]), everything, "offline")
    t.eq(gw.json("queue", "show", ids["ann"], "--db", copy)["from"], "ann@client.example", "show offline")
    run(t, gw, "queue", "list", "--db", t.path("none.db"), status=NO, err=["none.db"])


@case.register("queue-changes", "I3", "I4")
def changes(t):
    """hold, release, retry, require-tls, delete, bounce; --dry-run changes nothing, the reason is
    kept, what left has evidence of who and why."""
    gw, hop, ids = queued(t)
    for verb in ("hold", "release", "retry", "delete", "bounce", "require-tls"):
        result = gw.json("queue", verb, "--from", "*@client.example", "--dry-run")
        t.eq((result["matched"], result["dry_run"]), (3, True), f"{verb} --dry-run")
        t.eq(result.get("changed", 0), 0, f"changed by {verb} --dry-run")
        run(t, gw, "queue", verb, "--from", "bob*", "--dry-run", out=["2 matched, 2 would change", "z@gw.example"])
    t.eq([state(gw, i) for i in ids.values()], ["queued"] * 4, "states after --dry-run")

    run(t, gw, "queue", "hold", ids["ann"], "--reason", "ticket 4711", out=["1 matched, 1 changed"])
    t.eq(state(gw, ids["ann"]), "held", "state")
    t.eq(found(gw, "--state", "held"), [ids["ann"]], "held")
    run(t, gw, "queue", "show", ids["ann"], out=["ticket 4711"])
    gw.wait_log('queue changed by hand verb=hold .*reason="ticket 4711"')
    t.eq(gw.json("queue", "retry", ids["ann"], "--reason", "x")["changed"], 0, "retry of one that is held")
    run(t, gw, "queue", "hold", "38GAHY3KT0000", "--reason", "x", status=NO, out=["0 matched"])

    t.eq(gw.json("queue", "require-tls", ids["ann"], "--reason", "asked by phone", "--level", "verify")["changed"],
         1, "require-tls")
    t.has(json.dumps(gw.json("queue", "show", ids["ann"])), "authenticate", "duties after require-tls")
    run(t, gw, "queue", "require-tls", ids["ann"], "--reason", "less", "--level", "encrypt")
    t.has(json.dumps(gw.json("queue", "show", ids["ann"])), "authenticate", "duties are not lowered")

    run(t, gw, "queue", "delete", ids["eve"], "--reason", "spam wave", out=["1 matched, 1 changed"])
    t.eq(state(gw, ids["eve"]), None, "deleted")
    record = gw.json("evidence", "show", ids["eve"])["evidence"][-1]["record"]
    t.has(json.dumps(record), "spam wave", "evidence of the deletion")

    hop.replies.clear()
    run(t, gw, "queue", "bounce", "--to", "y@gw.example", "--reason", "no such office", out=["1 matched, 1 changed"])
    notice = gw.wait_log("info notice .*to=bob@client.example")
    t.check(notice, "a notice")
    record = gw.wait_for(lambda: gw.json("evidence", "show", ids["bob"])["evidence"], 10, "evidence")[-1]["record"]
    t.has(json.dumps(record), "no such office", "evidence of the bounce")

    t.eq(gw.json("queue", "retry", ids["null"], "--reason", "hop is back")["changed"], 1, "retry")
    hop.wait_messages(1)
    t.has(hop.accepted[0].mail, "<>", "what was retried")
    run(t, gw, "queue", "release", ids["ann"], "--reason", "ticket closed", out=["1 matched, 1 changed"])
    gw.wait_log(f"message deferred message={ids['ann']} .*")
    run(t, gw, "queue", "retry", "--from", "bob*", "--reason", "now")
    hop.wait_messages(2)
    t.eq([m.mail.split()[1] for m in hop.accepted], ["FROM:<>", "FROM:<bob@client.example>"], "delivered")


# ---- Evidence ----

def delivered(t, n=6):
    """A gateway that has delivered n messages and was stopped: (gateway, ids, database)."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port)
    c = t.client(gw)
    c.ehlo()
    ids = [c.send_message("a@client.example", "b@gw.example", MESSAGE).text.split()[-1] for _ in range(n)]
    c.quit()
    hop.wait_messages(n)
    gw.wait_queue_empty()
    return gw, ids, os.path.join(gw.dir, "state", "queue.db")


@case.register("evidence-show-list-export", "I4")
def evidence(t):
    """From the daemon and from a copy of its database: the same rows."""
    gw, ids, database = delivered(t)
    rows = gw.json("evidence", "list")["evidence"]
    t.eq([r["message"] for r in sorted(rows, key=lambda r: r["id"])], [r["message"] for r in rows], "order")
    t.eq(sorted(r["message"] for r in rows), sorted(ids), "messages in the list")
    one = gw.json("evidence", "show", ids[2])["evidence"]
    t.eq([r["message"] for r in one], [ids[2]], "show")
    t.eq(one[0]["record"]["rcpt"], "b@gw.example", "recipient")
    run(t, gw, "evidence", "show", ids[2], out=[ids[2], "b@gw.example", "delivered"])
    run(t, gw, "evidence", "show", "38GAHY3KT0000", status=NO)
    t.eq(gw.json("evidence", "list", "--until", "2020-01-01")["evidence"], [], "rows of long ago")
    t.eq(len(gw.json("evidence", "list", "--since", "1h", "--limit", "2")["evidence"]), 2, "limit")
    exported = run(t, gw, "evidence", "export")
    t.eq([json.loads(line)["record"] for line in exported.splitlines()[1:]], [r["record"] for r in rows], "export")
    head = gw.json("evidence", "verify")
    t.eq((head["ok"], head["rows"]), (True, len(ids)), "verify")
    run(t, gw, "evidence", "verify", out=[f"{len(ids)} rows, chain intact", head["head"]])
    gw.stop()
    copy = shutil.copyfile(database, t.path("copy.db"))
    t.eq(gw.json("evidence", "list", "--db", copy)["evidence"], rows, "list of a copy")
    t.eq(gw.json("evidence", "verify", "--db", copy)["head"], head["head"], "verify of a copy")
    t.eq(run(t, gw, "evidence", "export", "--db", copy), exported, "export of a copy")
    run(t, gw, "evidence", "show", ids[0], "--db", copy, out=[ids[0]])


@case.register("evidence-that-was-changed", "I4")
def tampered(t):
    """An altered, a removed and a reordered row are found, offline and by the daemon; the row is named."""
    gw, ids, database = delivered(t)
    gw.stop()
    with open(database, "rb") as f:
        t.eq(f.read(16), b"SQLite format 3\0", "database")

    def verify(*changes):
        copy = shutil.copyfile(database, t.path("copy.db"))
        os.chmod(copy, 0o600)
        db = sqlite3.connect(copy)
        for name in ("evidence_update", "evidence_delete"):
            db.execute(f"DROP TRIGGER {name}")
        for change in changes:
            db.execute(change)
        db.commit()
        db.close()
        return gw.json("evidence", "verify", "--db", copy), copy

    t.check(verify()[0]["ok"], "an untouched copy")
    swap = ["UPDATE evidence SET id = 1000 WHERE id = 2", "UPDATE evidence SET id = 2 WHERE id = 3",
            "UPDATE evidence SET id = 3 WHERE id = 1000"]
    for what, broken_at, changes in (
            ("altered text", 3, ["UPDATE evidence SET text = replace(text, 'delivered', 'bounced') WHERE id = 3"]),
            ("altered hash", 3, ["UPDATE evidence SET hash = (SELECT hash FROM evidence WHERE id = 1) WHERE id = 3"]),
            ("removed", 3, ["DELETE FROM evidence WHERE id = 3"]),
            ("removed, the rest moved up", 3, ["DELETE FROM evidence WHERE id = 3",
                                               "UPDATE evidence SET id = id - 1 WHERE id > 3"]),
            ("reordered", 2, swap),
            ("put under another message", 3,
             ["UPDATE evidence SET message = (SELECT message FROM evidence WHERE id = 1) WHERE id = 3"]),
            ("first row removed", 1, ["DELETE FROM evidence WHERE id = 1"])):
        result, copy = verify(*changes)
        t.eq((result["ok"], result["broken_at"]), (False, broken_at), f"verify with a row {what}")
        run(t, gw, "evidence", "verify", "--db", copy, status=NO, out=[f"BROKEN at row {broken_at}"])
    shutil.copyfile(verify("DELETE FROM evidence WHERE id = 3")[1], database)
    gw.start()
    run(t, gw, "evidence", "verify", status=NO, out=["BROKEN at row 3"])


# ---- Configuration and policy ----

@case.register("config-commands")
def config(t):
    """check, dump, audit and schema, without a daemon."""
    gw = t.gateway(over={
        "routes": {"inside": {"assert_secure_lookup": True, "assert_propagate": True}},
        "policy": {"grants": {"old-partner": {"relaxes": "requiretls", "to": "verify", "owner": "ann@gw.example",
                                              "domains": ["old.example"], "expires": "2099-12-31"}}}})
    gw.stop()
    run(t, gw, "config", "check", out=["gateway.lua: ok"])
    dump = json.loads(run(t, gw, "config", "dump"))
    t.eq(dump["identity"]["hostname"], "gw.example", "dump")
    t.has(json.dumps(dump["tls"]), "file:", "the key's reference")
    t.lacks(json.dumps(dump), "PRIVATE KEY", "dump")
    t.eq(dump["queue"]["concurrency"], 20, "a default")
    audit = run(t, gw, "config", "audit", out=["inside", "assert_secure_lookup", "old-partner", "ann@gw.example"])
    t.check(json.loads(run(t, gw, "config", "audit", "--json")), audit)
    schema = json.loads(run(t, gw, "config", "schema"))
    t.has(json.dumps(schema), "identity.hostname", "schema")
    t.eq(gw.run("config", "check", t.path("none.lua")).returncode, NO, "a missing file")
    gw.config["queue"]["retry"] = "soon"
    gw.write()
    run(t, gw, "config", "check", status=NO, err=["queue.retry"])
    run(t, gw, "config", "dump", status=NO, err=["queue.retry"])


@case.register("policy-check")
def policy_check(t):
    """A good bundle, and broken ones with file and line."""
    gw = case.Gateway(t.path("gw"), case.basic_config(t.certs), policy="""
local vip = gw.set { "ann@gw.example" }
gw.on("message", function(session, message)
  if vip:has(message.from) then message:require_tls { level = "verify", reason = "vip" } end
end, { name = "vip.verify" })
""", start=False)
    run(t, gw, "policy", "check", out=["policy ok: 1 file", "generation"])
    run(t, gw, "policy", "check", gw.dir, out=["policy ok"])
    for text, where in (("gw.on(\n", "policy.lua:"),
                        ('\n\ngw.on("mail", function(s, m) return gw.relax { grant = "x", reason = "y" } end,'
                         ' { name = "a.b" })\n', "policy.lua:3"),
                        ('gw.on("mail", function(s, m) return undefined_thing end, { name = "a.b" })\n', "policy.lua:1"),
                        ('gw.on("mail", function() end, { name = "a.b" })\n' * 2, "policy.lua:2"),
                        ('gw.on("route", function() return gw.route { via = "nowhere" } end, { name = "a.b" })\n',
                         "policy.lua:1")):
        gw.policy = text
        gw.write()
        run(t, gw, "policy", "check", status=NO, err=[where])
    gw.config["policy"] = {"load": ["absent.lua"]}
    gw.policy = None
    gw.write()
    run(t, gw, "policy", "check", status=NO, err=["absent.lua"])


# ---- Status ----

def metrics_of(t, text):
    """{name with labels: value}; every line must be what Prometheus reads (format 0.0.4)."""
    values, typed = {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            t.check(re.fullmatch(r"# HELP [a-zA-Z_:][\w:]* .+", line), line)
        elif line.startswith("# TYPE "):
            found_ = re.fullmatch(r"# TYPE ([a-zA-Z_:][\w:]*) (counter|gauge|histogram)", line)
            t.check(found_, line)
            t.check(found_.group(1) not in typed, f"typed twice: {line}")
            typed[found_.group(1)] = found_.group(2)
        else:
            found_ = re.fullmatch(r'(([a-zA-Z_:][\w:]*)(?:\{(?:\w+="[^"]*",?)*\})?) (\S+)', line)
            t.check(found_, line)
            of = re.sub(r"_(bucket|sum|count)$", "", found_.group(2))
            t.check(found_.group(2) in typed or typed.get(of) == "histogram", line)
            t.check(found_.group(1) not in values, f"twice: {line}")
            values[found_.group(1)] = float(found_.group(3))
    t.check(all(n.endswith("_total") for n, kind in typed.items() if kind == "counter"), f"names: {typed}")
    return values


def ask(port, path="/", method="GET", **headers):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    c.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        if value is not None:
            c.putheader(name, value)
    c.endheaders()
    answer = c.getresponse()
    body = answer.read().decode()
    c.close()
    return answer, body


@case.register("status-metrics-and-page", "X-42")
def status(t):
    """status, metrics and the page agree with what happened; the page is shown by address only."""
    http_port = case.free_port()
    gw, _, _ = queued(t, over={"service": {"http": f"127.0.0.1:{http_port}"}})
    st = gw.json("status")
    t.eq((st["queue"]["messages"], st["messages"]["accepted"], st["storage"]), (4, 4, "ok"), "status")
    run(t, gw, "status", out=["gw.example", "generation"])
    values = metrics_of(t, run(t, gw, "metrics"))
    t.eq(values["sallyport_messages_accepted_total"], 4, "accepted")
    t.eq(values["sallyport_queue_recipients"], 5, "recipients in the queue")
    t.eq(values['sallyport_deliveries_total{outcome="deferred"}'], 5, "deferred")
    t.eq(values["sallyport_sessions_total"], 1, "sessions")
    answer, body = ask(http_port)
    t.eq(answer.status, 200, "page")
    t.has(answer.headers["Content-Type"], "text/html", "type")
    for part in ("gw.example", "Queue", "Storage"):
        t.has(body, part, "page")
    t.eq(metrics_of(t, ask(http_port, "/metrics")[1]).keys(), values.keys(), "metrics by HTTP")
    t.eq(json.loads(ask(http_port, "/status.json")[1])["queue"], st["queue"], "status.json")
    for host, code in (("localhost", 200), (f"localhost:{http_port}", 200), (f"127.0.0.1:{http_port}", 200),
                       ("[::1]", 200), ("evil.example", 403), ("evil.example:80", 403),
                       ("127.0.0.1.evil.example", 403), ("localhost.evil.example", 403), ("", 403)):
        answer, body = ask(http_port, Host=host)
        t.eq(answer.status, code, f"Host: {host}")
        if code != 200:
            t.lacks(body, "gw.example", f"answer to Host: {host}")
    t.eq(ask(http_port, "/etc/passwd")[0].status, 404, "another path")
    t.check(ask(http_port, "/", method="POST")[0].status >= 400, "POST")
    t.check(ask(http_port, "/", method="DELETE")[0].status >= 400, "DELETE")
    t.eq(gw.run("status").returncode, 0, "status afterwards")


case.main()
