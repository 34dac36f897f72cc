-- gw.test and what it makes: only in tests/*_test.lua, below `sallyport policy test`.
local contexts = "tests"
local function t(name, what, args, example, more)
  func("gw.test." .. name) { what, group = "test", contexts = contexts, only_tests = true, args = args, more = more,
    errors = "the test fails", example = testing(example) }
end
t("describe", "Tests that belong together.", { { "name", "string" }, { "f", "function" } }, [[
gw.test.describe("tagging", function() end)]])
t("it", "One test. It has the file to itself: all of the file runs anew for it.", { { "name", "string" }, { "f", "function" } }, [[
gw.test.it("tags by subject", function() end)]])
t("eq", "Equal; tables by content.", { { "got", "any" }, { "expected", "any" } }, [[
gw.test.eq(msg.reply.code, 250)]])
t("ne", "Not equal.", { { "got", "any" }, { "other", "any" } }, [[
gw.test.ne(msg.state, "queued")]])
t("has", "Each is an element or key, or part of a text.", { { "got", "any" }, { "list", "any" } }, [[
gw.test.has(msg.duties, { "encrypt", "propagate" })]])
t("lacks", "None is.", { { "got", "any" }, { "list", "any" } }, [[
gw.test.lacks(msg.tags, { "secure" })]])
t("match", "The text has this Lua pattern.", { { "text", "string" }, { "pattern", "string" } }, [[
gw.test.match(peer.transcript[1].mail, "REQUIRETLS")]])
t("nomatch", "It has not.", { { "text", "string" }, { "pattern", "string" } }, [[
gw.test.nomatch(notice.text, "corp%.example")]])
t("ok", "Something true.", { { "value", "any" } }, [[
gw.test.ok(msg.held)]])
t("fail", "Fails the test.", { { "text", "string" } }, [[
gw.test.fail("not here")]])
t("raises", "The function raises, with this pattern in the error.", { { "f", "function" }, { "pattern?", "string" } }, [[
gw.test.raises(function() error("no") end, "no")]])
local calls = { { "env", "gw.TestEnv" }, { "fields", "table", "`hook`, `handler`, `verdict`, `reason`, `status`, `text`, `where`, `level`." } }
t("trace", "Some handler did that.", calls, [[
gw.test.trace(env, { hook = "unmet", handler = "unmet.portal", verdict = "reroute" })]])
t("notrace", "No handler did that.", calls, [[
gw.test.notrace(env, { verdict = "error" })]])
func "gw.test.env" { "A gateway and the world around it: clients, DNS, MTA-STS, next hops, a clock. One at a time.", group = "test", contexts = contexts,
  only_tests = true, args = { { "opts?", "table", fields = { { "bundle?", "string" }, { "now?", "string", '"2026-03-02T10:00:00Z"' },
    { "config?", "table", "Laid over the configuration." }, { "seed?", "integer" } } } },
  returns = { { "env", "gw.TestEnv" } }, errors = "raised", example = testing [[
local env = gw.test.env { now = "2026-03-02T10:00:00Z" }]] }

object "test env" { "What `gw.test.env` makes.", class = "gw.TestEnv", in_lua = true,
  fields = { { "dns", "gw.TestDns" }, { "sts", "gw.TestSts" }, { "http", "gw.TestHttp" }, { "sql", "gw.TestSql" } }, methods = {
  peer = { "A next hop.", contexts = contexts, args = { { "host", "string" }, { "opts?", "table" } }, returns = { { "peer", "gw.TestPeer" } } },
  session = { "A client connects and says EHLO.", contexts = contexts, args = { { "opts?", "table" } }, returns = { { "session", "gw.TestSession" } } },
  run_queue = { "Delivers what is due.", contexts = contexts, args = {} },
  advance = { "Moves the clock.", contexts = contexts, args = { { "by", "gw.Duration" } } },
  now = { "Seconds since 1970.", contexts = contexts, args = {}, returns = { { "seconds", "number" } } },
  notices = { "Notices to senders.", contexts = contexts, args = {}, returns = { { "notices", "table[]" } } },
  call = { "One hook alone.", contexts = contexts, args = { { "hook", "gw.Hook" }, { "args?", "table" } },
    returns = { { "verdict", "table?" }, { "effects", "table" } } },
  trace = { "Every handler call.", contexts = contexts, args = {}, returns = { { "calls", "table[]" } } },
  log = { "Warnings and errors.", contexts = contexts, args = {}, returns = { { "lines", "table" } } } },
  more = "The options and what is in a peer, a session and a message stand in policy.md, Testing a policy.",
  example = testing [[
local env = gw.test.env()
env.dns:mx("clinic.example", { { 10, "mx.clinic.example" } }, { secure = true })
local peer = env:peer("mx.clinic.example", { caps = { "STARTTLS", "REQUIRETLS" }, tls = { verified = "pkix" } })
local msg = env:session { listener = "relay", tls = true }
  :send { from = "ann@acme.example", to = "bob@clinic.example", headers = { Subject = "x" } }
env:run_queue()]] }
local records = { { "name", "string" }, { "list?", "table" }, { "opts?", "table", "`secure`, `ttl`, or `bogus`, `nxdomain`, `servfail`, `timeout`." } }
local function says(what)
  return { what, contexts = contexts, args = records }
end
object "test dns" { "What the DNS says in a test.", class = "gw.TestDns", in_lua = true, methods = {
  mx = says "MX records.", a = says "IPv4 addresses.", aaaa = says "IPv6 addresses.", txt = says "Texts.", tlsa = says "TLSA records.",
  cname = says "Another name.", ptr = says "Names of an address.",
  nxdomain = { "There is no such name.", contexts = contexts, args = { { "name", "string" }, { "opts?", "table" } } },
  fail = { "It cannot be found out.", contexts = contexts, args = { { "name", "string" }, { "type", "string" },
    { "how", '"servfail"|"timeout"|"bogus"' } } } },
  example = testing [[
env.dns:a("2.0.0.127.list.example", { "127.0.0.2" })]] }
object "test sts" { "MTA-STS policies in a test.", class = "gw.TestSts", in_lua = true, methods = {
  policy = { "What a domain publishes.", contexts = contexts, args = { { "domain", "string" }, { "policy", "table", "`mode`, `mx`, `max_age`, `id`." } } },
  fail = { "It is announced and cannot be fetched.", contexts = contexts, args = { { "domain", "string" }, { "why?", "string" } } } },
  example = testing [[
env.sts:policy("clinic.example", { mode = "enforce", mx = { "mx.clinic.example" } })]] }
object "test http" { "What servers answer to `gw.http` in a test.", class = "gw.TestHttp", in_lua = true, methods = {
  answer = { "A server answers.", contexts = contexts, args = { { "url", "string" },
    { "answer", "table", "`method`, `status`, `headers`, `body`, `json`." } } },
  fail = { "It does not.", contexts = contexts, args = { { "url", "string" }, { "how?", '"timeout"|"tls"|"nxdomain"|"servfail"' } } },
  requests = { "What was asked: `request`, `body`.", contexts = contexts, args = {}, returns = { { "requests", "table[]" } } } },
  example = testing [[
env.http:answer("https://cmdb.acme.example/host?name=a", { json = { owner = "ann" } })]] }
object "test sql" { "What databases answer to `gw.sql`, and tables of SQLite to `get`, in a test.", class = "gw.TestSql", in_lua = true, methods = {
  answer = { "Rows, each by column.", contexts = contexts, args = { { "database", "string" }, { "statement", "string" }, { "rows", "table[]" },
    { "opts?", "table", "`values`: only with these for ?1, ?2 ...; `columns`: those that no row has." } } },
  fail = { "It cannot be asked.", contexts = contexts, args = { { "database", "string" }, { "statement", "string" },
    { "how?", '"servfail"|"timeout"|"malformed"|"limit"' }, { "opts?", "table", "`values`" } } },
  requests = { "What was asked: `database`, `statement`, `values`.", contexts = contexts, args = {}, returns = { { "requests", "table[]" } } } },
  more = "A database that is a file of the bundle is read where nothing was said; any other is never opened, and a question that nothing "
    .. "was said of fails the test.",
  example = testing [[
env.sql:answer("crm", "select status from customers where domain = ?1", { { status = "closed" } }, { values = { "x.example" } })]] }
object "test peer" { "A next hop of a test.", class = "gw.TestPeer", in_lua = true, fields = {
  { "transcript", "table[]", "Transactions: `mail`, `from`, `to`, `data`, `tls`, `complete`." }, { "connections", "integer" }, { "ip", "string" } },
  example = testing [[
gw.test.eq(#peer.transcript, 1)]] }
object "test session" { "A client of a test.", class = "gw.TestSession", in_lua = true,
  fields = { { "reply", "table" }, { "caps", "table" }, { "closed", "boolean" } }, methods = {
  send = { "Sends a message.", contexts = contexts, args = { { "message", "table", "`from`, `to`, `headers`, `body`, `raw`, `requiretls`, `params`." } },
    returns = { { "message", "gw.TestMessage" } } },
  say = { "Says a line.", contexts = contexts, args = { { "line", "string" } }, returns = { { "reply", "table" } } },
  quit = { "Says QUIT.", contexts = contexts, args = {} }, close = { "Goes away.", contexts = contexts, args = {} } },
  example = testing [[
local session = env:session { listener = "inbound", ip = "192.0.2.7" }]] }
object "test message" { "What became of a message of a test.", class = "gw.TestMessage", in_lua = true, fields = {
  { "reply", "table", "`code`, `status`, `text`, `stage`." },
  { "state", "string", '"queued", "held", "refused", "delivered", "failed", "expired", "discarded"' },
  { "held", "boolean" }, { "queued", "boolean" }, { "duties", "string[]" }, { "tags", "string[]" }, { "vars", "table" },
  { "recipients", "table" }, { "records", "table[]", "Its evidence." }, { "hold_reason", "string?" } }, methods = {
  header = { "A field as it is in the queue.", contexts = contexts, args = { { "name", "string" } }, returns = { { "value", "string?" } } } },
  example = testing [[
gw.test.eq(msg.state, "delivered")]] }
