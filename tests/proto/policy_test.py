"""`sallyport policy test`: bundles that pass, that fail, and that forget what the world is like."""

import os
import sqlite3
import subprocess
import xml.etree.ElementTree as ET

import case
from lab.gateway import find_program

POLICY = """
gw.rule {
  name = "tag.subject", at = "message", when = gw.match.subject_word { "[secure]" },
  act = { gw.action.require_tls { level = "requiretls", reason = "subject" }, gw.action.tag("secure") },
}
gw.on("unmet", function(message, hop, unmet)
  if message:has_tag("secure") then return gw.reroute { via = "portal", reason = "no REQUIRETLS there" } end
end, { name = "unmet.portal" })
gw.on("rcpt", function(session, message, rcpt)
  if rcpt.localpart == "slow" then
    gw.sleep(2)
    return gw.defer { text = "waited" }
  end
  if rcpt.localpart == "listed" then
    local txt, err = gw.dns.txt("listed.example")
    if err then return gw.defer { text = "no answer" } end
    return gw.reject { text = txt[1] }
  end
  if rcpt.localpart == "asked" then
    local a, err = gw.http { url = "https://cmdb.acme.example/host?name=" .. session.helo }
    if err then return gw.defer { text = err.kind } end
    return gw.reject { text = gw.json.decode(a.body).why .. a.headers["x-from"] }
  end
  if rcpt.localpart == "broken" then error("so it is") end
end, { name = "rcpt.words" })
"""

# The example of the policy design, with the route that it takes for granted.
CONFIG = """
local t = gw.test
local config = { routes = { portal = { via = { "portal.acme.example:465" }, implicit_tls = true,
                                       tls = "verify", assert_secure_lookup = true } } }
"""
EXAMPLE = CONFIG + """
t.describe("secure tag", function()
  local env = t.env { bundle = ".", now = "2026-03-02T10:00:00Z", config = config }
  env.dns:mx("clinic.example", { { 10, "mx.clinic.example" } }, { secure = true })
  env.dns:tlsa("_25._tcp.mx.clinic.example", { "3 1 1 ab12" }, { secure = true })

  t.it("adds REQUIRETLS and delivers when the peer supports it", function()
    local peer = env:peer("mx.clinic.example", { caps = { "STARTTLS", "REQUIRETLS" }, tls = { verified = "dane" } })
    local s = env:session { listener = "relay", ip = "10.1.2.3", tls = true, auth = "ann" }
    local msg = s:send { from = "ann@acme.example", to = "bob@clinic.example",
                         headers = { Subject = "[secure] results" }, body = "hello" }
    t.eq(msg.reply.code, 250)
    t.has(msg.duties, { "encrypt", "authenticate", "secure_lookup", "propagate" })
    t.eq(msg.tags, { "secure" })
    t.eq(#peer.transcript, 0)
    env:run_queue()
    t.match(peer.transcript[1].mail, "REQUIRETLS")
    t.ok(peer.transcript[1].tls)
    t.match(peer.transcript[1].data, "hello")
    t.eq(msg.state, "delivered")
  end)

  t.it("goes to the portal when the peer lacks REQUIRETLS", function()
    env:peer("mx.clinic.example", { caps = { "STARTTLS" }, tls = { verified = "dane" } })
    local portal = env:peer("portal.acme.example", { implicit_tls = true, caps = { "REQUIRETLS" },
                                                     tls = { verified = "pkix" } })
    env:session { listener = "relay", tls = true, auth = "ann" }
       :send { from = "ann@acme.example", to = "bob@clinic.example", headers = { Subject = "[secure] x" } }
    env:run_queue()
    t.eq(#portal.transcript, 1)
    t.trace(env, { hook = "unmet", handler = "unmet.portal", verdict = "reroute" })
  end)

  t.it("does not go to who cannot prove who it is", function()
    local peer = env:peer("mx.clinic.example", { caps = { "STARTTLS", "REQUIRETLS" }, tls = { verified = "no" } })
    env:peer("portal.acme.example", { refuses = true })
    local m = env:session { listener = "relay", auth = "ann" }
       :send { from = "ann@acme.example", to = "bob@clinic.example", headers = { Subject = "[secure] x" } }
    env:run_queue()
    t.eq(#peer.transcript, 0)
    t.eq(m.state, "queued")
  end)
end)
"""
WORLD = CONFIG + """
t.describe("the world", function()
  local env = t.env { config = config }
  env.dns:mx("x.example", "mx.x.example")

  t.it("lets time pass", function()
    local p = env:peer("mx.x.example", { replies = { content = "450 4.2.0 later" } })
    local m = env:session { listener = "relay", auth = "ann" }:send { from = "ann@acme.example", to = "bob@x.example" }
    env:run_queue()
    t.eq(#p.transcript, 1)
    t.eq(env:now(), "2026-03-02T10:00:00.000Z")
    env:advance("6d")
    t.ok(#p.transcript > 5)
    t.eq(m.state, "expired")
    local n = env:notices()
    t.eq(n[#n].to, "ann@acme.example")
    t.match(n[#n].text, "bob@x%.example")
    t.eq(n[#n].action, "failed")
  end)

  t.it("has handlers that wait", function()
    local s = env:session { listener = "inbound", ip = "192.0.2.77" }
    t.eq(s:send { from = "bob@x.example", to = "slow@acme.example" }.reply.text, "waited")
    t.eq(env:now(), "2026-03-02T10:00:02.000Z")
    env.dns:txt("listed.example", { "by hand" })
    t.eq(s:send { from = "bob@x.example", to = "listed@acme.example" }.reply,
         { code = 550, status = "5.7.1", text = "by hand", stage = "rcpt" })
    env.dns:fail("listed.example", "TXT", "bogus")
    t.eq(s:send { from = "bob@x.example", to = "listed@acme.example" }.reply.text, "no answer")
  end)

  t.it("answers HTTP", function()
    local env = t.env { config = { routes = config.routes, policy = { network = { http = { "https://cmdb.acme.example/" } } } } }
    env.http:answer("https://cmdb.acme.example/host?name=client.example", { json = { why = "by " }, headers = { ["X-From"] = "book" } })
    local s = env:session { listener = "inbound", ip = "192.0.2.77" }
    t.eq(s:send { from = "bob@x.example", to = "asked@acme.example" }.reply.text, "by book")
    t.eq(env.http:requests()[1].request, "GET https://cmdb.acme.example/host?name=client.example")
    env.http:fail("https://cmdb.acme.example/host?name=client.example", "timeout")
    t.eq(s:send { from = "bob@x.example", to = "asked@acme.example" }.reply.text, "timeout")
  end)

  t.it("knows MTA-STS", function()
    env.sts:policy("x.example", { mode = "enforce", mx = { "mx.x.example" } })
    local p = env:peer("mx.x.example", { caps = { "STARTTLS" }, tls = { verified = "no" } })
    local s = env:session { listener = "relay", auth = "ann" }
    local m = s:send { from = "ann@acme.example", to = "bob@x.example" }
    env:run_queue()
    t.eq(#p.transcript, 0)
    p = env:peer("mx.x.example", { caps = { "STARTTLS" }, tls = { verified = "pkix" } })
    env:advance("1h")
    t.eq(#p.transcript, 1)
    t.eq(m.state, "delivered")
  end)

  t.it("calls one hook", function()
    local v, fx = env:call("message", { message = { from = "a@acme.example", to = "b@x.example",
                                                    headers = { Subject = "[secure] x" } } })
    t.eq(v, nil)
    t.has(fx.duties, "propagate")
    v = env:call("unmet", { message = { from = "a@acme.example", to = "b@x.example", tags = { "secure" } },
                              hop = { unmet = { "encrypt" } } })
    t.eq(v.kind, "reroute")
    t.eq(v.route.name, "portal")
    v = env:call("rcpt", { message = { from = "a@x.example" }, rcpt = "broken@acme.example" })
    t.ok(v.is_error)
    t.eq(v.kind, "defer")
    t.raises(function() env:call("mesage") end, "did you mean 'message'")
  end)
end)
"""
WRONG = CONFIG + """
t.describe("wrong", function()
  local env = t.env { config = config }
  local function send(to)
    return env:session { listener = "relay", auth = "ann" }:send { from = "ann@acme.example", to = to }
  end
  t.it("expects something else", function()
    t.eq(send("bob@acme.example").reply.code, 550)
  end)
  t.it("forgets DNS", function()
    send("bob@nowhere.example")
    env:run_queue()
  end)
  t.it("forgets the host", function()
    env.dns:mx("x.example", "mx.x.example"):a("mx.x.example", "192.0.2.200")
    send("bob@x.example")
    env:run_queue()
  end)
  t.it("looks for a trace", function()
    send("bob@acme.example")
    t.trace(env, { handler = "rcpt.words", verdict = "reject" })
  end)
  t.it("has a broken handler", function()
    t.eq(send("broken@acme.example").reply.code, 250)
  end)
  t.it("reaches outside", function() io.open("/etc/passwd") end)
  t.it("is right", function() t.ok(true) end)
end)
"""


def bundle(t, name, **tests):
    where = t.path(name)
    os.makedirs(os.path.join(where, "tests"))
    with open(os.path.join(where, "policy.lua"), "w", encoding="utf-8") as f:
        f.write(POLICY)
    for key, text in tests.items():
        with open(os.path.join(where, "tests", key + "_test.lua"), "w", encoding="utf-8") as f:
            f.write(text)
    return where


def run(where, *args):
    return subprocess.run([find_program("sallyport"), "policy", "test", *args, where], capture_output=True, text=True,
                          timeout=100, check=False)


@case.register("a-bundle-that-passes")
def passes(t):
    """The example of the design runs as it stands; time, waiting handlers, MTA-STS and single hooks."""
    done = run(bundle(t, "good", example=EXAMPLE, world=WORLD))
    t.eq(done.returncode, 0, done.stdout + done.stderr)
    t.has(done.stdout, "8 tests, 8 passed, 0 failed", "the sum")
    t.has(done.stdout, "ok    tests/example_test.lua  secure tag: adds REQUIRETLS", "a line each")


@case.register("a-bundle-that-fails")
def fails(t):
    """Each failure says where, what was expected and what came; a look-up that nobody stubbed says how to."""
    done = run(bundle(t, "bad", wrong=WRONG))
    t.eq(done.returncode, 1, done.stdout + done.stderr)
    t.has(done.stdout, "7 tests, 1 passed, 6 failed", "the sum")
    t.has(done.stdout, "tests/wrong_test.lua:12: t.eq: not equal\n        expected: 550\n        got:      250",
          "place, expected and got")
    t.has(done.stdout, 'DNS: MX nowhere.example was asked for and nothing is said of it; say it with '
          'env.dns:mx("nowhere.example", ...)', "a name that is not known")
    t.has(done.stdout, "network: a connection was made to 192.0.2.200 port 25 and there is no such peer",
          "a host that is not there")
    t.has(done.stdout, "t.trace: no handler did that", "no such trace")
    t.has(done.stdout, "rcpt       rcpt.words               nil      policy.lua:", "what there is instead")
    t.has(done.stdout, "policy.lua:24: so it is", "the broken handler's own words")
    t.has(done.stdout, "unknown global 'io'", "nothing of the machine is in reach")


@case.register("coverage-and-formats")
def formats(t):
    """Lines and rules that no test reached; a threshold; TAP and JUnit; a choice of tests."""
    where = bundle(t, "some", example=EXAMPLE)
    done = run(where, "--coverage")
    t.eq(done.returncode, 0, done.stdout + done.stderr)
    t.has(done.stdout, "of 20 lines; not reached: 11-12 15-17 20-22", "lines")
    t.has(done.stdout, "3 of 3 rules and handlers ran", "rules")
    done = run(where, "--coverage=90", "--tap", "--junit", t.path("out.xml"))
    t.eq(done.returncode, 1, "below the threshold")
    t.has(done.stderr, "less than 90 % of the lines", "why")
    t.has(done.stdout, "TAP version 13\n1..3\nok 1 - ", "TAP")
    root = ET.parse(t.path("out.xml")).getroot()
    t.eq((root.get("tests"), root.get("failures")), ("3", "0"), "JUnit")
    done = run(where, "--coverage", "--only", "portal")
    t.has(done.stdout, "1 test, 1 passed", "one of them")


SQL_POLICY = """
local crm, own, people = gw.sql "crm", gw.sql "own", gw.table "people"
gw.on("rcpt", function(session, message, rcpt)
  local row, err = crm:row([[select status, since from customers
                              where domain = ?1]], rcpt.domain)
  if err then return gw.defer { text = err.kind } end
  if row and row.status == "closed" then return gw.reject { text = "closed since " .. tostring(row.since) } end
  local n = #own:query "select name from people"
  local person = people:get(message.from)
  message:tag("own." .. n .. (person and "." .. person.dept or ""))
  if rcpt.localpart == "all" then
    local rows, wrong = crm:query("select name from customers where age > ?1", 40)
    if wrong then return gw.reject { text = wrong.text } end
    for _, row in ipairs(rows) do message:tag("of." .. row.name) end
  end
  if rcpt.localpart == "ours" then
    return gw.reject { text = own:row("select name from people where name = ?1", "eve").name }
  end
end, { name = "rcpt.crm" })
gw.rule { name = "free", at = "message", when = gw.match.header("X-Free", "*"), act = gw.action.tag "free" }
"""
SQL_TESTS = """
local t = gw.test
local STATUS = "select status, since from customers where domain = ?1"
local function send(env, to)
  return env:session { listener = "relay", ip = "10.1.2.3" }
    :send { from = "ann@acme.example", to = to, headers = { ["X-Free"] = "yes" } }
end

t.describe("what databases say", function()
  t.it("is what a test says", function()
    local env = t.env()
    env.sql:answer("crm", STATUS, { { status = "open" } }, { columns = { "since" } })
       :answer("crm", STATUS, { { status = "closed", since = 2019 } }, { values = { "bad.example" } })
       :answer("crm", "select name from customers where age > ?1", { { name = "a" }, { name = "b" } }, { values = { 40 } })
       :answer("people", "select dept from people where addr = ?1", { { dept = "lab" } }, { values = { "ann@acme.example" } })
    t.eq(send(env, "bob@x.example").tags, { "own.2.lab", "free" })
    t.eq(send(env, "bob@bad.example").reply.text, "closed since 2019")
    t.eq(send(env, "all@x.example").tags, { "own.2.lab", "of.a", "of.b", "free" })
    local asked = env.sql:requests()
    t.eq({ asked[1].database, asked[1].values, asked[2].database, asked[3].database },
         { "crm", { "x.example" }, "own", "people" })
    env.sql:fail("crm", STATUS, "timeout")
    t.eq(send(env, "bob@x.example").reply.text, "timeout")
    t.eq(send(env, "bob@bad.example").reply.text, "closed since 2019")
  end)

  t.it("goes before what is in a file of the bundle", function()
    local env = t.env()
    env.sql:answer("crm", STATUS, {}):answer("people", "select dept from people where addr = ?1", {})
    t.eq(send(env, "ours@x.example").reply.text, "eve")
    env.sql:answer("own", "select name from people where name = ?1", { { name = "mallory" } })
    t.eq(send(env, "ours@x.example").reply.text, "mallory")
  end)

  t.it("has its limits, too", function()
    local env = t.env { config = { databases = { crm = { file = "/nonexistent/crm.db", max_rows = 2 } } } }
    env.sql:answer("crm", STATUS, {}):answer("people", "select dept from people where addr = ?1", {})
    env.sql:answer("crm", "select name from customers where age > ?1", { { name = "a" }, { name = "b" }, { name = "c" } })
    t.match(send(env, "all@x.example").reply.text, "more than 2 rows")
    t.raises(function() env.sql:answer("crn", STATUS, {}) end, 'no database "crn"')
    t.raises(function() env.sql:answer("crm", STATUS, { 1 }) end, "a row is a table")
  end)
end)
"""
FORGOTTEN = """
local t = gw.test
t.it("forgets the database", function()
  t.env():session { listener = "relay", ip = "10.1.2.3" }:send { from = "ann@acme.example", to = "bob@x.example" }
end)
"""


def data_bundle(t, name, **tests):
    """With a database of its own, and two that are elsewhere and not there."""
    where = bundle(t, name, **tests)
    db = sqlite3.connect(os.path.join(where, "own.db"))
    db.executescript("create table people (name text); insert into people values ('eve'), ('adam')")
    db.commit()
    db.close()
    with open(os.path.join(where, "policy.lua"), "w", encoding="utf-8") as f:
        f.write(SQL_POLICY)
    with open(os.path.join(where, "gateway.lua"), "w", encoding="utf-8") as f:
        f.write(GATEWAY.replace("  policy    =", """  databases = { crm = { file = "/nonexistent/crm.db" }, own = { file = "own.db" } },
  tables    = { people = { sqlite = "/nonexistent/people.db", query = "select dept from people where addr = ?1" } },
  policy    ="""))
    return where


@case.register("databases-in-tests")
def databases(t):
    """A test says what databases answer; the bundle's own are read, others never, and a question that nobody
    described fails the test."""
    done = run(data_bundle(t, "sql", says=SQL_TESTS))
    t.eq(done.returncode, 0, done.stdout + done.stderr)
    t.has(done.stdout, "3 tests, 3 passed", "all")
    done = run(data_bundle(t, "nosql", forgets=FORGOTTEN))
    t.eq(done.returncode, 1, done.stdout + done.stderr)
    t.has(done.stdout, 'SQL: crm was asked and nothing is said of it; say it with env.sql:answer("crm", [[select status, since from '
          'customers where domain = ?1]], { { column = value } })', "what is missing")


@case.register("what-handlers-cost")
def bench(t):
    """--bench: each handler with its calls in a round, time, instructions counted one by one, memory."""
    done = run(data_bundle(t, "cost", says=SQL_TESTS), "--bench=3", "--only", "a test says", "--coverage")
    t.eq(done.returncode, 0, done.stdout + done.stderr)
    rows = {r[2]: r[3:] for r in (line.split() for line in done.stdout.splitlines() if line.startswith("bench "))}
    t.eq(rows["rcpt.crm"][:2], ["handler", "5"], f"calls: {done.stdout}")
    t.eq(rows["free"][:2], ["rule", "2"], "calls of a rule past its matcher")
    mean, least, instructions, octets = map(float, rows["rcpt.crm"][2:])
    t.check(0 < least <= mean < 50000, f"times {least} {mean}")
    t.check(20 < instructions < 1000, f"instructions {instructions}")
    t.check(octets > 100, f"memory {octets}")
    t.eq(rows["free"][4], "0", "a rule runs no Lua")
    t.has(done.stdout, "1 test, 1 passed", "the results are those of one round")
    t.eq(done.stdout.count("coverage  own"), 0, "coverage")
    again = run(os.path.dirname(t.path("cost/x")), "--bench=1", "--tap", "--only", "a test says").stdout
    rows = [line.split() for line in again.splitlines() if line.startswith("# bench ") and "rcpt.crm" in line]
    t.eq(float(rows[0][8]), instructions, "instructions are the same each time")
    done = run(data_bundle(t, "none", forgets=FORGOTTEN), "--bench")
    t.eq((done.returncode, "bench" in done.stdout), (1, False), "tests that fail are not measured")
    t.has(done.stderr, "nothing is measured where tests fail", "and that is said")


def ask(where, command, *args, text=""):
    return subprocess.run([find_program("sallyport"), "policy", command, *args, where], input=text, capture_output=True,
                          text=True, timeout=100, check=False)


GATEWAY = '''return gw.config {
  identity  = { hostname = "gw.acme.example" },
  networks  = { office = { "10.0.0.0/8" } },
  listeners = {
    inbound = { bind = "192.0.2.25:25", role = "mx" },
    relay   = { bind = "192.0.2.25:587", role = "relay", clients = "office" },
  },
  domains   = { { match = "acme.example", kind = "local", route = "inside" }, { match = "*", route = "internet" } },
  routes    = { inside = { via = "10.1.1.1:25" }, internet = { via = "mx" }, portal = { via = "10.1.1.2:465" } },
  policy    = { load = "policy.lua", network = { dns = true } },
}
'''


def whole(t):
    where = bundle(t, "whole")
    with open(os.path.join(where, "gateway.lua"), "w", encoding="utf-8") as f:
        f.write(GATEWAY)
    return where


def words(text, first):
    return [" ".join(line.split()) for line in text.splitlines() if line.startswith(first)]


@case.register("explain-one-message")
def explain(t):
    """What each handler said, what is owed, where it would go, and what would have to be looked up."""
    where = whole(t)
    done = ask(where, "explain", "--from", "ann@acme.example", "--to", "bob@clinic.example", "--header",
               "Subject: [secure] x", "--ip", "10.1.2.3")
    t.eq(done.returncode, 0, done.stderr)
    t.has(done.stdout, "message simulated", "the head")
    t.eq(words(done.stdout, "message"), ['message rule tag.subject policy.lua:2 - matched subject_word "[secure]" +encrypt[admin] authenticate[admin] '
                                         'secure_lookup[admin] propagate[admin] tag=secure'], "the rule")
    t.eq(words(done.stdout, "route"), ["route built-in bob@clinic.example internet -> clinic.example"], "the route")
    t.has(done.stdout, "dns        MX clinic.example -> needs --live-dns", "what is not known")
    t.eq(words(done.stdout, "verdict"), ["verdict queued"], "the end")
    done = ask(where, "explain", "--from", "a@x.example", "--to", "broken@acme.example")
    t.eq(words(done.stdout, "verdict"), [words(done.stdout, "verdict")[0]], "one verdict")
    t.has(done.stdout, "verdict    refused at rcpt: 451 4.3.0 Local policy error", "a broken handler")
    t.has(done.stdout, "policy.lua:24: so it is", "and why")
    t.eq(ask(where, "explain").returncode, 2, "without a recipient")


@case.register("a-session-by-hand")
def by_hand(t):
    """Replies on standard output, decisions on standard error; waiting handlers take no real time."""
    done = ask(whole(t), "session", "--listener", "inbound", "--ip", "192.0.2.7", text="EHLO me\n"
               "MAIL FROM:<a@x.example>\nRCPT TO:<slow@acme.example>\nRCPT TO:<ann@acme.example>\nDATA\n"
               "Subject: [secure] hi\n\nhello\n.\n!wait 1h\nQUIT\n")
    t.eq(done.returncode, 0, done.stderr)
    replies = [line for line in done.stdout.splitlines() if line[3] == " "]
    t.eq([line[:9] for line in replies[2:5]], ["250 2.1.0", "451 4.7.1", "250 2.1.5"], done.stdout)
    t.has(replies[6], "queued as", "taken")
    t.has(" ".join(done.stderr.split()), 'rcpt lua rcpt.words policy.lua:12 defer 4.7.1 text "waited"', "decisions")
    t.has(done.stderr, "tag=secure", "decisions")


@case.register("lines-of-lua")
def repl(t):
    """The sandbox of tests, line by line; a chunk may go over several."""
    done = ask(whole(t), "repl", text="1 + 1\nfor i = 1, 2 do\nprint('line ' .. i)\nend\n"
               "env:call('rcpt', { message = { from = 'a@x.example' }, rcpt = 'slow@acme.example' })\nnope\n")
    t.eq(done.returncode, 0, done.stderr)
    t.eq(done.stdout.splitlines()[:3], ["2", "line 1", "line 2"], done.stdout)
    t.has(done.stdout, 'kind = "defer"', "a hook")
    t.has(done.stdout, "unknown global 'nope'", "an error does not end it")


case.main()
