-- What policies look up, count and keep: tables, databases, HTTPS servers, limits, counters, caches.
local handlers = "handlers; not in matchers"

func "gw.table" { "A data table of the configuration.", group = "data", contexts = "everywhere",
  args = { { "name", "string", "In `tables`." } }, returns = { { "table", "gw.Table" } }, errors = "raises when the configuration has no such table",
  example = file [[
local partners = gw.table "partners"
gw.on("tls_policy", function(domain, route)
  local row = partners:get(domain)
  if row then
    return gw.tls { level = row.level, names = row.names }
  end
end, { name = "partners" })]] }
object "gw.table" { "A table. `#` is the number of its rows.", class = "gw.Table", metatable = "gw.table", fields = {
  { "name", "string" }, { "version", "integer", "How often it was read, from 1." }, { "hash", "string", "SHA-256 of the file." } }, methods = {
  get = { "The row with this key, or nil. In a column of type pattern the closest pattern counts.", contexts = 'everywhere; with `reload = "watch"` and with sqlite, handlers',
    yields = "with sqlite", args = { { "key", "string|number|boolean|gw.Domain|gw.Address" } },
    returns = { { "row", "table<string, any>", "A copy; asking it for a column that does not exist raises." }, { "error", "gw.Error", "With sqlite." } },
    errors = "none; with sqlite those of `gw.sql`" },
  find = { "The rows in which a column has this value.", contexts = 'everywhere; with `reload = "watch"`, handlers',
    args = { { "column", "string", "The key, or one in `index`." }, { "value", "string|number|boolean|gw.Domain|gw.Address" } },
    returns = { { "rows", "table[]" } }, errors = "raises without an index; not with sqlite" },
  each = { "For loops: all rows, as they were when it began.", contexts = 'everywhere; with `reload = "watch"`, handlers', args = {},
    returns = { { "next", "fun(): table" } }, errors = "not with sqlite" } },
  example = at("rcpt", [[
local people = gw.table "people"
for _, row in ipairs(people:find("dept", "lab")) do
  rcpt:note(row.who)
end]]) }

func "gw.sql" { "A SQLite database of the configuration. It is only read.", group = "data", contexts = "everywhere",
  args = { { "name", "string", "In `databases`." } }, returns = { { "sql", "gw.Sql" } }, errors = "raises when the configuration has no such database",
  example = file [[
local crm = gw.sql "crm"
gw.on("rcpt", function(session, message, rcpt)
  local row, err = crm:row("select status from customers where domain = ?1", rcpt.domain)
  if err then
    return gw.defer { text = "Cannot look you up just now", reason = err.text }
  end
end, { name = "crm" })]] }
local sql_errors = "malformed (it is wrong, or would change something), timeout, limit, servfail, cancelled"
local sql_args = { { "statement", "string", "One that only reads." }, { "...", "any", "What `?1`, `?2` and so on stand for." } }
object "gw.sql" { "A database.", class = "gw.Sql", metatable = "gw.sql", fields = { { "name", "string" } }, methods = {
  query = { "All rows.", yields = true, contexts = handlers, args = sql_args, returns = { { "rows", "table[]" }, { "error", "gw.Error" } }, errors = sql_errors },
  row = { "The first row, or nil.", yields = true, contexts = handlers, args = sql_args,
    returns = { { "row", "table<string, any>" }, { "error", "gw.Error" } }, errors = sql_errors } },
  example = at("rcpt", [[
local rows, err = gw.sql("crm"):query("select status from customers where domain = ?1", rcpt.domain)
if rows and #rows > 1 then
  rcpt:note("more than one")
end]]) }

func "gw.http" { "A request to a server that the configuration lists, over HTTPS. No redirect is followed.", group = "data", contexts = handlers, yields = true,
  args = { { "request", "table", fields = { { "url", "string", "Begins with one of `policy.network.http`." }, { "method?", "string", '`"GET"`' },
    { "headers?", "table<string, string>" }, { "body?", "string", "At most 1 MiB." }, { "timeout?", "gw.Duration", "5 seconds, at most 60." },
    { "max?", "integer", "Octets of the answer, 262144, at most 1 MiB." } } } },
  returns = { { "answer", "table", "`status`, `headers` (names in small letters), `body`." }, { "error", "gw.Error" } },
  errors = "refused (the URL is not listed), tls, timeout, limit, nxdomain, servfail; raises without `policy.network.http`",
  example = at("rcpt", [[
local answer, err = gw.http { url = "https://cmdb.acme.example/mailbox", timeout = "2s" }
if err or answer.status >= 500 then
  return gw.defer { text = "Cannot check you just now", reason = err and err.text }
end]]) }

func "gw.rate" { "A limit for each key.", group = "data", contexts = "load",
  args = { { "opts", "table", fields = { { "name", "string" }, { "limit", "string", 'Such as `"100/1h"`.' },
    { "scope?", '"node"|"worker"', '`"node"`: all workers share it.' }, { "kind?", '"bucket"|"window"', '`"bucket"`' },
    { "keys?", "integer", "How many are remembered, 16384." } } } },
  returns = { { "rate", "gw.Rate" } },
  example = file [[
local out = gw.rate { name = "per.sender", limit = "200/1h" }
gw.on("mail", function(session, message)
  local ok, after = out:take(message.from)
  if not ok then
    return gw.defer { text = "Come back in " .. math.ceil(after / 60) .. " minutes" }
  end
end, { name = "per.sender" })]] }
local key = { "key", "string|number|boolean|gw.Domain|gw.Address" }
object "gw.rate" { "A limit.", class = "gw.Rate", metatable = "gw.rate", fields = { { "name", "string" } }, methods = {
  take = { "Takes n, or nothing.", contexts = "handlers", args = { key, { "n?", "integer", "1" } },
    returns = { { "ok", "boolean" }, { "retry_after", "number", "When not: in how many seconds there would be enough." } } },
  left = { "How many could be taken.", contexts = "handlers", args = { key }, returns = { { "n", "integer" } } },
  forget = { "The key begins anew.", contexts = "handlers", args = { key }, returns = {} } },
  example = file [[
local logins = gw.rate { name = "logins", limit = "10/10m", kind = "window" }
gw.on("connect", function(session)
  if logins:left(session.peer.ip) == 0 then
    return gw.defer { text = "Later" }
  end
end, { name = "logins" })]] }

func "gw.counter" { "A counter of the node, which is also a metric.", group = "data", contexts = "load", args = { { "name", "string" } },
  returns = { { "counter", "gw.Counter" } },
  example = file [[
local seen = gw.counter "seen.mail"
gw.on("mail", function(session, message)
  seen:add()
end, { name = "seen" })]] }
object "gw.counter" { "A counter. It begins at 0 with a restart.", class = "gw.Counter", metatable = "gw.counter",
  fields = { { "name", "string" }, { "value", "integer" } }, methods = {
  add = { "Adds n, and returns the sum.", contexts = "handlers", args = { { "n?", "integer", "1" } }, returns = { { "sum", "integer" } } } },
  example = file [[
local tagged = gw.counter "tagged"
gw.on("message", function(session, message)
  if message:has_tag "secure" then
    message:note("number " .. tagged:add())
  end
end, { name = "tagged" })]] }

func "gw.metric" { "A counter or a gauge of the node with labels, on the page of metrics as `gw_metric_<name>`.", group = "data", contexts = "load",
  args = { { "opts", "table", fields = { { "name", "string", "1 to 50 letters a-z, digits and `_`." }, { "kind?", '"counter"|"gauge"', '"counter".' },
    { "help?", "string", "For people." }, { "labels?", "string[]", "Up to 4 names." },
    { "series?", "integer", "How many different values of the labels are counted apart: 100, at most 1000. The rest is counted together." } } } },
  returns = { { "metric", "gw.Metric" } }, errors = "the name is there with another kind or other labels; more than 200 metrics",
  example = file [[
local invoices = gw.metric { name = "invoices_total", help = "Mail with an invoice", labels = { "domain" } }
gw.on("message", function(session, message)
  if (message:subject() or ""):find("invoice", 1, true) then
    invoices:add(1, { domain = message.from.domain or "" })
  end
end, { name = "invoices" })]] }
object "gw.metric" { "A metric. It begins anew with a restart, not with a reload.", class = "gw.Metric", metatable = "gw.metric",
  fields = { { "name", "string", "With `gw_metric_` in front." }, { "kind", '"counter"|"gauge"' } }, methods = {
  add = { "Adds n, and returns the value. A counter only grows.", contexts = "handlers", args = { { "n?", "number", "1" },
    { "labels?", "table", "A value for each label; the first 64 octets count." } },
    returns = { { "value", "number" } }, errors = "a label is missing or unknown" },
  set = { "Sets a gauge.", contexts = "handlers", args = { { "value", "number" }, { "labels?", "table" } }, returns = {},
    errors = "it is a counter; a label is missing or unknown" } },
  example = file [[
local size = gw.metric { name = "last_size_bytes", kind = "gauge", labels = { "direction" } }
gw.on("message", function(session, message)
  size:set(message.size, { direction = message.direction })
end, { name = "last.size" })]] }

func "gw.cache" { "Values that a worker keeps; a reload keeps them if name and schema are the same.", group = "data", contexts = "load",
  args = { { "opts", "table", fields = { { "name", "string" }, { "schema?", "string|integer", "What the values look like." },
    { "capacity?", "integer", "1000, at most 100,000." }, { "ttl?", "gw.Duration", '`"1h"`, at most 31 days.' } } } },
  returns = { { "cache", "gw.Cache" } },
  example = file [[
local last = gw.cache { name = "last", ttl = "10m" }
gw.on("connect", function(session)
  session:note(last:get(session.peer.ip) and "again" or "new")
  last:set(session.peer.ip, true)
end, { name = "last" })]] }
object "gw.cache" { "A cache. `#` is the number of its entries.", class = "gw.Cache", metatable = "gw.cache", fields = { { "name", "string" } }, methods = {
  get = { "The value of a key, or nil.", contexts = "handlers", args = { key }, returns = { { "value", "any" } } },
  set = { "Keeps a value.", contexts = "handlers", args = { key, { "value", "any", "What JSON can say, at most 16 KiB." },
    { "opts?", "table", fields = { { "ttl?", "gw.Duration" } } } }, returns = { { "done", "boolean" } }, errors = "raises when the value is nil" },
  delete = { "Removes a key.", contexts = "handlers", args = { key }, returns = { { "was", "boolean", "Was it there?" } } } },
  example = file [[
local names = gw.cache { name = "names", schema = 2 }
gw.on("helo", function(session, name)
  names:set(session.peer.ip, name, { ttl = "5m" })
end, { name = "names" })]] }
