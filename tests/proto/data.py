"""What policies look things up in: data tables of files that change under a running gateway, databases, HTTPS
servers; and what they count: limits for the node, counters, caches."""

import http.server
import json
import os
import re
import sqlite3
import ssl
import threading

import case
from case import Zone

# Says what the table has about the sender's domain.
PARTNERS = """
local partners = gw.table "partners"
gw.on("mail", function(session, message)
  local row = partners:get(message.from.domain)
  if row == nil then return gw.reject { text = "nobody v" .. partners.version } end
  return gw.reject { text = row.level .. " " .. #(row.names or {}) .. " v" .. partners.version }
end, { name = "partners" })
"""
CSV = "domain,level,names\n*.client.example,verify,a.example b.example\nx.example,secure,\n"


def replace(gw, name, text):
    """As an administrator should: a new file in the place of the old."""
    path = os.path.join(gw.dir, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w") as f:
        f.write(text)
    os.rename(path + ".new", path)


def says(t, gw, sender):
    c = t.client(gw)
    c.ehlo()
    reply = c.mail(sender)
    c.close()
    return reply.text.split(" ", 1)[1]


def tables(**table):
    return {"tables": {"partners": dict({"csv": "data/partners.csv", "columns": {
        "domain": "pattern", "level": "level", "names": "list"}}, **table)}, "service": {"workers": 2}}


@case.register("table-of-a-file", "I5")
def table_of_a_file(t):
    """Wrong data keeps the gateway from starting, and from reloading, and the message has file and line."""
    gw = t.gateway(policy=PARTNERS, over=tables(), files={"data/partners.csv": CSV})
    t.eq(says(t, gw, "a@a.client.example"), "verify 2 v1")
    t.eq(says(t, gw, "a@X.Example"), "secure 0 v1")
    t.eq(says(t, gw, "a@client.example"), "nobody v1")
    replace(gw, "data/partners.csv", CSV + "y.example,verfy,\n")
    r = gw.run("policy", "check", "gateway.lua")
    t.eq(r.returncode, 1, "policy check")
    t.has(r.stdout + r.stderr, 'data/partners.csv:4: column "level": "verfy" is none of may', "policy check")
    r = gw.run("reload")
    t.check(r.returncode != 0, "the reload is refused")
    t.has(r.stdout + r.stderr, "data/partners.csv:4:", "reload")
    t.eq(says(t, gw, "a@a.client.example"), "verify 2 v1", "the old data")
    gw.stop()
    try:
        gw.start(timeout=10)
    except Exception as e:
        t.has(str(e), "data/partners.csv:4:", "what it says")
    else:
        t.check(False, "it started")
    replace(gw, "data/partners.csv", CSV + "client.example,may,\n")
    gw.start()
    t.eq(says(t, gw, "a@client.example"), "may 0 v1")


@case.register("table-that-is-watched", "I5")
def table_watched(t):
    """A new file is taken without a reload, by all workers; a wrong one is not, and says so once."""
    gw = t.gateway(policy=PARTNERS, over=tables(reload="watch"), files={"data/partners.csv": CSV})
    t.eq(says(t, gw, "a@client.example"), "nobody v1")
    replace(gw, "data/partners.csv", CSV + "client.example,may,\n")
    gw.wait_log("table reloaded table=partners version=2 rows=3")
    t.eq({says(t, gw, "a@client.example") for _ in range(8)}, {"may 0 v2"}, "what the workers say")
    replace(gw, "data/partners.csv", CSV + "client.example\n")
    gw.wait_log("table not reloaded, the old one stays table=partners version=2 .*partners.csv:4: there are 1 fields and 3 columns")
    t.eq(says(t, gw, "a@client.example"), "may 0 v2", "the old data")
    t.has(gw.run("metrics").stdout, 'sallyport_table_stale{table="partners"} 1', "metrics")
    t.has(gw.run("metrics").stdout, 'sallyport_table_failures_total{table="partners"} 1', "metrics")
    os.unlink(os.path.join(gw.dir, "data/partners.csv"))
    gw.wait_log("table not reloaded, .*No such file")
    replace(gw, "data/partners.csv", CSV + "client.example,encrypt,\n")
    gw.wait_log("table reloaded table=partners version=3")
    t.eq(says(t, gw, "a@client.example"), "encrypt 0 v3")
    t.has(gw.run("metrics").stdout, 'sallyport_table_stale{table="partners"} 0', "metrics")
    t.eq(len(gw.log_lines("table not reloaded")), 2, "lines about wrong files")


@case.register("table-of-a-canary", "I5")
def table_of_a_canary(t):
    """What is tried out, and what old sessions still use, has the file of today as well."""
    gw = t.gateway(policy=PARTNERS, over=tables(reload="watch"), files={"data/partners.csv": CSV})
    t.eq(gw.run("policy", "load", gw.dir).returncode, 0, "load")
    t.eq(gw.run("policy", "canary", "2", "--percent", "100").returncode, 0, "canary")
    t.eq(says(t, gw, "a@client.example"), "nobody v1")
    replace(gw, "data/partners.csv", CSV + "client.example,may,\n")
    gw.wait_for(lambda: len(gw.log_lines("table reloaded table=partners version=2 rows=3")) == 2, what="both")
    t.eq(says(t, gw, "a@client.example"), "may 0 v2", "the canary")


# ---- Databases ----

ENDLESS = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) as n from c"
SQL = """
local crm, people = gw.sql "crm", gw.table "people"
gw.on("mail", function(session, message)
  local at = message.from.localpart
  gw.log.info("at " .. at)
  local row, err
  if at == "slow" then
    row, err = crm:query [[%s]]
  elseif at == "write" then
    row, err = crm:query "delete from people"
  elseif at == "count" then
    row, err = crm:row("select count(*) as dept from people where dept <> ?1", "x")
  else
    row, err = people:get(message.from)
  end
  if err then return gw.reject { text = err.kind .. " " .. tostring(err.temporary) } end
  return gw.reject { text = row and "found " .. row.dept or "nobody" }
end, { name = "sql" })
""" % ENDLESS


def fill(gw_dir, name, people):
    path = os.path.join(gw_dir, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path + ".new"):
        os.unlink(path + ".new")
    db = sqlite3.connect(path + ".new")
    db.execute("create table people (addr text, dept text)")
    db.executemany("insert into people values (?, ?)", people)
    db.commit()
    db.close()
    os.rename(path + ".new", path)


@case.register("databases", "I5")
def databases(t):
    """Read by threads of their own: slow questions of some make nobody else wait, and end when nobody waits for them."""
    fill(t.path("gw0"), "data/people.db", [("ann@client.example", "lab"), ("bob@client.example", "ops")])
    over = {"service": {"workers": 1}, "limits": {"shutdown": "1s"},
            "tables": {"people": {"sqlite": "data/people.db", "query": "select dept from people where addr = ?1"}},
            "databases": {"crm": {"file": "data/people.db", "timeout": "20s"}}}
    gw = t.gateway(policy=SQL, over=over)
    t.eq(says(t, gw, "ann@client.example"), "found lab")
    t.eq(says(t, gw, "eve@client.example"), "nobody")
    t.eq(says(t, gw, "write@client.example"), "malformed false")
    t.eq(says(t, gw, "count@client.example"), "found 2")
    # Two of the four threads are busy for as long as somebody waits.
    slow = []
    for n in range(2):
        c = t.client(gw)
        c.ehlo()
        c.raw(b"MAIL FROM:<slow@client.example>\r\n")
        slow.append(c)
        gw.wait_log("at slow", count=n + 1)
    t.eq({says(t, gw, "ann@client.example") for _ in range(4)}, {"found lab"}, "while others wait")
    for c in slow:
        c.close()
    gw.wait_for(lambda: re.search(r"^sallyport_policy_waiting 0$", gw.run("metrics").stdout, re.M),
                what="handlers whose client has left")
    fill(gw.dir, "data/people.db", [("ann@client.example", "new")])
    t.eq({says(t, gw, "ann@client.example") for _ in range(4)}, {"found new"}, "another file in its place")
    os.rename(os.path.join(gw.dir, "data/people.db"), os.path.join(gw.dir, "data/gone.db"))
    t.eq(says(t, gw, "ann@client.example"), "servfail true")
    r = gw.run("reload")
    t.has(r.stdout + r.stderr, "tables.people: ", "reload")
    os.rename(os.path.join(gw.dir, "data/gone.db"), os.path.join(gw.dir, "data/people.db"))
    # The end of the gateway does not wait for the answer.
    c = t.client(gw)
    c.ehlo()
    c.raw(b"MAIL FROM:<slow@client.example>\r\n")
    gw.wait_log("at slow", count=3)
    gw.stop(timeout=15)


# ---- HTTPS ----

class Web:
    """What is at /echo is what was sent; /wait is answered by nobody."""

    def __init__(self, t, cert, host="127.0.8.50"):
        web = self
        self.ended = threading.Event()
        self.waiting = threading.Semaphore(0)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path.startswith("/api/wait"):
                    web.waiting.release()
                    web.ended.wait(30)
                    return
                out, status = b"x" * 70000, 200
                if self.path.startswith("/api/echo"):
                    out = json.dumps({"method": self.command, "path": self.path, "body": body.decode(),
                                      "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
                elif self.path.startswith("/api/moved"):
                    status = 302
                elif self.path.startswith("/api/none"):
                    out, status = b"", 404
                self.send_response(status)
                if self.path.startswith("/api/echo"):
                    self.send_header("Content-Type", "application/json")
                self.send_header("X-Two", "a")
                self.send_header("x-two", "b")
                self.send_header("Location", "https://hr.acme.example/secret")
                self.send_header("Content-Length", str(len(out)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(out)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *unused):
                pass

        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(cert.cert, cert.key)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self):
                sock, peer = self.socket.accept()
                return ctx.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), peer

            def handle_error(self, request, peer):
                pass            # the client left, or did not want us

        self.server = Server((host, 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        t.parts.append(self.stop)

    def stop(self):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()


HTTP = """
local url = "https://cmdb.acme.example:%d/api/"
local asks = {
  get = { url = url .. "echo?a=b%%20c", headers = { ["X-Key"] = "k", Authorization = "Bearer t" } },
  post = { method = "POST", url = url .. "echo", body = '{"a":1}', headers = { ["Content-Type"] = "application/json" } },
  put = { method = "PUT", url = url .. "echo", body = "" },
  head = { method = "HEAD", url = url .. "big", max = 1000 },
  big = { url = url .. "big" }, small = { url = url .. "big", max = 1000 }, none = { url = url .. "none" },
  moved = { url = url .. "moved", max = 100000 }, wait = { url = url .. "wait", timeout = "30s" },
  late = { url = url .. "wait", timeout = "300ms" },
  off = { url = "https://hr.acme.example/secret" }, up = { url = url .. "../secret" }, port = { url = "https://cmdb.acme.example/api/" },
  dots = { url = url .. "%%2e%%2e/secret" }, plain = { url = "http://cmdb.acme.example/api/" }, user = { url = "https://a:b@cmdb.acme.example/api/" },
  wrong = { url = "https://wrong.acme.example:%d/api/echo" }, gone = { url = "https://gone.acme.example/" },
  split = { url = url, headers = { ["X-A"] = "b\\r\\nX-C: d" } }, host = { url = url, headers = { Host = "x" } },
}
gw.on("mail", function(session, message)
  local at = message.from.localpart
  gw.log.info("at " .. at)
  local ok, r, err = pcall(gw.http, asks[at])
  if not ok then return gw.reject { text = "raised" } end
  if err then return gw.reject { text = err.kind .. " " .. tostring(err.temporary) } end
  if r.headers["content-type"] == "application/json" then
    local e = gw.json.decode(r.body)
    local h = e.headers
    local function field(name) return rawequal(h[name], nil) and "-" or h[name] end
    return gw.reject { text = table.concat({ r.status, e.method, e.path, e.body, field "x-key", field "authorization",
      field "user-agent", field "content-type", field "content-length" }, " ") }
  end
  return gw.reject { text = r.status .. " " .. #r.body .. " " .. r.headers["x-two"] .. " " .. tostring(r.headers.location) }
end, { name = "http", wall = "20s" })
"""


@case.register("https-servers", "X-42", "I5")
def https_servers(t):
    """Only those that are listed, whatever the URL looks like, verified, bounded; no redirect is followed."""
    t.lab({"acme.example": Zone("cmdb A 127.0.8.50\nwrong A 127.0.8.50\nhr A 127.0.8.50\n")})
    web = Web(t, t.certs.issue("cmdb.acme.example"))
    other = Web(t, t.certs.issue("else.acme.example"))
    url = f"https://cmdb.acme.example:{web.port}/api/"
    over = {"service": {"workers": 1}, "limits": {"shutdown": "1s"}, "policy": {"network": {"http": [
        url, f"https://wrong.acme.example:{other.port}", "https://gone.acme.example/"]}}}
    gw = t.gateway(policy=HTTP % (web.port, other.port), over=over)
    location = "https://hr.acme.example/secret"
    for at, want in (("get", "200 GET /api/echo?a=b%20c  k Bearer t sallyport - -"),
                     ("post", '200 POST /api/echo {"a":1} - - sallyport application/json 7'),
                     ("put", "200 PUT /api/echo  - - sallyport - 0"), ("head", f"200 0 a, b {location}"),
                     ("big", f"200 70000 a, b {location}"), ("none", f"404 0 a, b {location}"),
                     ("moved", f"302 70000 a, b {location}"), ("small", "limit false"), ("late", "timeout true"),
                     ("off", "refused false"), ("up", "refused false"), ("port", "refused false"),
                     ("dots", "raised"), ("plain", "raised"), ("user", "raised"), ("wrong", "tls true"),
                     ("gone", "nxdomain false"), ("split", "raised"), ("host", "raised")):
        t.eq(says(t, gw, f"{at}@client.example"), want, at)
    # Nobody waits for the handler any more: the client leaves, and the gateway stops.
    while web.waiting.acquire(blocking=False):
        pass
    c = t.client(gw)
    c.ehlo()
    c.raw(b"MAIL FROM:<wait@client.example>\r\n")
    t.check(web.waiting.acquire(timeout=15), "the request has come")
    c.close()
    gw.wait_for(lambda: re.search(r"^sallyport_policy_waiting 0$", gw.run("metrics").stdout, re.M), what="its end")
    c = t.client(gw)
    c.ehlo()
    c.raw(b"MAIL FROM:<wait@client.example>\r\n")
    t.check(web.waiting.acquire(timeout=15), "the request has come")
    gw.stop(timeout=15)


RECORDED = """
local crm, people = gw.sql "crm", gw.table "people"
gw.on("mail", function(session, message)
  local row, err = crm:row("select dept from people where addr = ?1", message.from)
  if message.from.localpart == "odd" then row, err = crm:query "select nothing from people" end
  if err then return gw.defer { text = err.kind } end
  local same = people:get(message.from)
  if not row then return gw.reject { text = "nobody" } end
  message:tag("dept." .. row.dept .. "." .. same.dept)
end, { name = "crm" })
gw.on("rcpt", function(session, message, rcpt)
  local late = rcpt.localpart == "wait"
  local a, err = gw.http { method = "POST", url = "https://cmdb.acme.example:%d/api/" .. rcpt.localpart, body = "x",
                           timeout = late and "300ms" or "10s" }
  if err then return gw.defer { text = err.kind } end
  if a.status ~= 200 then return gw.reject { text = "not there" } end
  message:tag("octets." .. #a.body)
end, { name = "cmdb" })
"""


@case.register("what-was-asked-again-from-the-journal")
def asked_again(t):
    """Answers of databases, tables of SQLite and HTTPS servers come from the journal when its calls are made again, whatever
    would be the answer now; a policy that asks something else is told of."""
    t.lab({"acme.example": Zone("cmdb A 127.0.8.50\n")})
    web = Web(t, t.certs.issue("cmdb.acme.example"))
    fill(t.path("gw0"), "data/people.db", [("ann@client.example", "lab"), ("bob@client.example", "ops")])
    policy = RECORDED % web.port
    over = {"log": {"journal": "journal.jsonl"}, "policy": {"network": {"http": [f"https://cmdb.acme.example:{web.port}/api/"]}},
            "tables": {"people": {"sqlite": "data/people.db", "query": "select dept from people where addr = ?1"}},
            "databases": {"crm": {"file": "data/people.db"}}}
    gw = t.gateway(policy=policy, over=over)
    for at, want in (("ann", 250), ("bob", 250), ("eve", 550), ("odd", 450)):
        c = t.client(gw)
        c.ehlo()
        reply = c.mail(f"{at}@client.example")
        t.eq(reply.code // 100, want // 100, f"{at}: {reply.text}")
        if want == 250:
            replies = [c.cmd(f"RCPT TO:<{to}@gw.example>").text for to in ("big", "none", "wait")]
            t.check(replies[1].endswith("not there") and replies[2].endswith("timeout"), f"replies: {replies}")
        c.quit()
    gw.stop()
    web.stop()
    fill(gw.dir, "data/people.db", [("ann@client.example", "sold"), ("eve@client.example", "sold")])

    def simulate(name, *changes):
        text = policy
        for old, new in changes:
            t.check(old in text, f"{old} is in the policy")
            text = text.replace(old, new)
        with open(os.path.join(gw.dir, "policy.lua"), "w", encoding="utf-8") as f:
            f.write(policy)
        other = os.path.join(gw.dir, "other.lua")
        with open(other, "w", encoding="utf-8") as f:
            f.write(text)
        with open(gw.conf_path, encoding="utf-8") as f:
            conf = f.read()
        t.check('"policy.lua"' in conf, "the configuration names the policy")
        with open(os.path.join(gw.dir, "other-gateway.lua"), "w", encoding="utf-8") as f:
            f.write(conf.replace('"policy.lua"', '"other.lua"'))
        done = gw.run("policy", "simulate", "--journal", "journal.jsonl", "--against", "other-gateway.lua", "--json")
        t.check(done.stdout, f"{name}: {done.stderr}")
        return done.returncode, json.loads(done.stdout)

    rc, report = simulate("itself")
    t.eq((rc, report["changed"], report["unknown"], report["unreproduced"]), (0, 0, [], 0), f"itself: {report}")
    rc, report = simulate("verdict", ('text = "not there"', 'text = "gone"'), ('"dept."', '"of."'))
    t.eq(sorted((g["handler"], c["what"], c["count"]) for g in report["groups"] for c in g["changes"]),
         [("cmdb", "verdict", 2), ("crm", "tags", 1), ("crm", "tags", 1)], f"another use of the same answers: {report}")
    t.has(json.dumps(report["groups"]), "of.lab.lab", "an answer of the time of the record")
    rc, report = simulate("statement", ("select dept from people where addr", "select dept, 1 from people where addr"))
    t.eq({(u["handler"], u["side"], u["what"][:38], u["count"]) for u in report["unknown"]},
         {("crm", "against", "sql gw.sql crm select dept, 1 from peo", 4)}, "another statement")
    rc, report = simulate("address", ('/api/" .. rcpt.localpart, body = "x"', '/api/v2/" .. rcpt.localpart, body = "x"'))
    t.eq({(u["handler"], u["side"], u["what"][:10]) for u in report["unknown"]}, {("cmdb", "against", "http POST ")}, "another URL")
    rc, report = simulate("body", ('body = "x"', 'body = "y"'))
    t.eq({(u["handler"], u["count"]) for u in report["unknown"]}, {("cmdb", 2)},
         "the same URL, and something else is sent: after the first no call about the message is compared")


# ---- Limits ----

RATES = """
local out = gw.rate { name = "out", limit = "5/1h" }
local mine = gw.rate { name = "mine", limit = "100/1h", scope = "worker" }
local seen, cache = gw.counter "seen", gw.cache { name = "last", schema = "%s" }
gw.on("mail", function(session, message)
  seen:add()
  mine:take(session.peer.ip)
  local last = cache:get "last"
  cache:set("last", message.from.text)
  local ok, after = out:take(message.from)
  if not ok then return gw.defer { text = "again in " .. math.ceil(after) } end
  return gw.reject { text = "left " .. out:left(message.from) .. " last " .. tostring(last) }
end, { name = "rates" })
"""


@case.register("limits-of-the-node")
def limits_of_the_node(t):
    """All workers share a limit and a counter, which outlive a reload; each has a cache of its own."""
    gw = t.gateway(policy=RATES % "v1", over={"service": {"workers": 2}})
    left = [says(t, gw, "ann@client.example").split(" last")[0] for _ in range(5)]
    t.eq(left, ["left 4", "left 3", "left 2", "left 1", "left 0"])
    said = says(t, gw, "ann@client.example")
    t.check(re.fullmatch(r"again in 7[12]\d", said), said)
    t.has(says(t, gw, "bob@client.example"), "left 4")
    text = gw.run("rate", "list", "out").stdout
    t.has(text, "out  5/1h bucket, node  keys 2 of 16384  taken 6  refused 1\n", "rate list")
    t.check(re.search(r"^  ann@client.example +0 left  again in 7\d\d\.\d s\n  bob@client.example +4 left$", text, re.M), text)
    rates = json.loads(gw.run("rate", "list", "--json").stdout)["rates"]
    t.eq(sum(r["taken"] for r in rates if r["name"] == "mine"), 7, "taken in all workers")
    t.eq({r["scope"] for r in rates}, {"node", "worker 0", "worker 1"}, "scopes")
    t.eq(gw.run("rate", "list", "none").returncode, 1, "a name that is none")
    t.eq(gw.run("rate").returncode, 2, "wrong use")
    t.has(gw.run("metrics").stdout, 'sallyport_policy_counter_total{name="seen"} 7', "metrics")
    gw.run("reload")
    t.has(says(t, gw, "ann@client.example"), "again in", "after a reload")
    t.eq(gw.run("metrics").stdout.count("sallyport_policy_counter_total{"), 1, "counters")


@case.register("caches-and-reload")
def caches_and_reload(t):
    """The next generation finds what a cache of the same name and schema holds."""
    gw = t.gateway(policy=RATES % "v1", over={"service": {"workers": 1}})
    last = "nil"
    for n, schema in enumerate(("v1", "v1", "v2", "v2")):
        t.eq(says(t, gw, f"c{n}@client.example"), f"left 4 last {last}", schema)
        last = f"c{n}@client.example" if n != 1 else "nil"
        gw.policy = RATES % (("v1", "v2", "v2")[min(n, 2)])
        gw.write()
        t.eq(gw.run("reload").returncode, 0, "reload")


case.main()
