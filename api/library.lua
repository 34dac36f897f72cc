-- The shipped library (lua/gw): functions in Lua, so nothing in C stands in front of them.
local loading = "load; not in a handler"

func "gw.cidr" { "A set of networks, or a map from networks to values.", group = "library", contexts = "load",
  args = { { "networks", "table", '`{ "10.0.0.0/8" }`, or `{ ["10.0.0.0/8"] = "office" }`; at most 100,000.' } },
  returns = { { "cidr", "gw.Cidr" } }, errors = "what is no network",
  example = file [[
local where = gw.cidr { ["10.1.0.0/16"] = "berlin", ["10.0.0.0/8"] = "office" }
gw.on("mail", function(session, message)
  message:tag(where:get(session.peer.ip) or "elsewhere")
end, { name = "where" })]] }
object "cidr" { "Networks, made by `gw.cidr`. `#` is their number.", class = "gw.Cidr", metatable = "gw.cidr", methods = {
  has = { "Is the address in one of them?", args = { { "ip", "string?" } }, returns = { { "yes", "boolean" } } },
  get = { "The value of the longest network.", args = { { "ip", "string?" } }, returns = { { "value", "any" } } } },
  example = file [[
local office = gw.cidr { "10.0.0.0/8", "fd00::/8" }
gw.on("mail", function(session, message)
  if office:has(session.peer.ip) then
    message:tag("office")
  end
end, { name = "office" })]] }

func "gw.geo" { "Country and network of an address, out of the databases that `policy.geo` names.", group = "library", contexts = "everywhere",
  args = { { "ip", "string" } }, returns = { { "where", "table", '`country` ("DE"), `asn`, `organization`; what is not known is nil.' } },
  more = "Whose address it is does not prove where the server is.",
  example = at("attempt", [[
if hop.host.ip and gw.geo(hop.host.ip).country == "XX" then
  return gw.hold { reason = "not to that country" }
end]]) }

func "gw.schema.options" { "What the configuration says in `policy.options`, checked, with the defaults filled in.", group = "library",
  contexts = loading, in_lua = true, args = { { "name", "string" }, { "fields", "table<string, any>", "A spec for each: see policy.md." } },
  returns = { { "options", "table" } }, errors = "raised; all problems together",
  example = file [[
local options = gw.schema.options("night", { after = { type = "duration", default = "30m" } })
gw.rule { name = "night.wait", at = "attempt", when = gw.match.time { from = "06:00", to = "22:00" },
          act = gw.defer { after = options.after } }]] }
func "gw.schema.check" { "Checks a value.", group = "library", contexts = "everywhere", in_lua = true,
  args = { { "spec", "any" }, { "value", "any" }, { "where?", "string" } },
  returns = { { "copy", "any", "With defaults; nil when it does not fit." }, { "problems", "string[]" } },
  example = file [[
local v, problems = gw.schema.check({ type = "integer", min = 1 }, 7)
assert(v == 7, problems)]] }
func "gw.schema.table" { "The spec of a table that has these fields and no others.", group = "library", contexts = "everywhere", in_lua = true,
  args = { { "fields", "table<string, any>" } }, returns = { { "spec", "table" } },
  example = file [[
local row = gw.schema.table { domain = { type = "domain", required = true }, level = "level" }
assert(gw.schema.check(row, { domain = "bank.example", level = "verify" }))]] }
func "gw.schema.seconds" { "A duration in seconds.", group = "library", contexts = "everywhere", in_lua = true,
  args = { { "duration", "gw.Duration" } }, returns = { { "seconds", "number?" } },
  example = file [[
assert(gw.schema.seconds "4h" == 14400)]] }
func "gw.schema.doc" { "A table of Markdown about a spec.", group = "library", contexts = "everywhere", in_lua = true,
  args = { { "spec", "any" } }, returns = { { "text", "string" } },
  example = file [[
gw.log.debug(gw.schema.doc(gw.schema.table { n = { type = "integer", doc = "How many." } }))]] }
func "gw.schema.json_schema" { "A JSON Schema of a spec.", group = "library", contexts = "everywhere", in_lua = true,
  args = { { "spec", "any" } }, returns = { { "schema", "table" } },
  example = file [[
gw.log.debug(gw.json.encode(gw.schema.json_schema(gw.schema.table { n = "integer" })))]] }
func "gw.schema.luals" { "A class for the Lua language server.", group = "library", contexts = "everywhere", in_lua = true,
  args = { { "name", "string" }, { "spec", "any" } }, returns = { { "text", "string" } },
  example = file [[
gw.log.debug(gw.schema.luals("Options", gw.schema.table { n = "integer" }))]] }
func "gw.schema.export" { "What `sallyport policy options` prints.", group = "library", contexts = "everywhere", in_lua = true,
  args = { { "declared", "table<string, any>" }, { "as", "string" } }, returns = { { "text", "string" } },
  example = file [[
gw.log.debug(gw.schema.export({ night = gw.schema.table { n = "integer" } }, "markdown"))]] }

func "gw.calendar" { "Windows of time, holidays, time zones.", group = "library", contexts = "load", in_lua = true,
  args = { { "opts", "table", fields = { { "zone?", "string", "A name of the system's zoneinfo, UTC without it." },
    { "holidays?", "string[]", '"2026-12-25", or "12-25" for every year.' },
    { "windows", "table", "A list of tables of `days`, `from`, `to`, `holidays`." } } } },
  returns = { { "calendar", "gw.Calendar" } }, errors = "raised",
  example = file [[
local bank = gw.calendar { zone = "Europe/Berlin", windows = { { days = "mon-fri", from = "08:00", to = "18:00" } } }
gw.on("attempt", function(message, hop)
  if not bank:open() then
    return gw.defer { after = (bank:next_open() or gw.now() + 86400) - gw.now(), reason = "the bank is closed" }
  end
end, { name = "bank.hours", when = gw.match.rcpt_domain "bank.example" })]] }
local t = { { "t?", "number", "Seconds since 1970; now without it." } }
object "calendar" { "Made by `gw.calendar`.", class = "gw.Calendar", in_lua = true, methods = {
  open = { "Is a window open?", args = t, returns = { { "yes", "boolean" } } },
  next_open = { "When the next opens: `t` itself when it is open; nil: not within a year.", args = t, returns = { { "t", "number?" } } },
  next_close = { "When it closes; nil: it is closed, or never closes.", args = t, returns = { { "t", "number?" } } },
  is_holiday = { "Is it a holiday?", args = t, returns = { { "yes", "boolean" } } },
  date = { "A table of `year`, `month`, `day`, `hour`, `min`, `sec`, `wday`, `date`, `offset`, `zone`, `summer`.", args = t,
    returns = { { "date", "table" } } } },
  example = file [[
local days = gw.calendar { zone = "Europe/Berlin", holidays = { "12-25" },
  windows = { { days = "mon-fri", from = "08:00", to = "18:00" } } }
assert(days:is_holiday(1798200000))]] }

func "gw.template" { "Texts with places for values.", group = "library", contexts = "load", in_lua = true,
  args = { { "opts", "table", fields = { { "name?", "string" }, { "format?", '"text"|"html"|"header"' }, { "width?", "integer", "76" },
    { "default?", "string", '"en"' }, { "languages", "table<string, string>" } } } },
  returns = { { "template", "gw.Template" } }, errors = "raised",
  example = file [[
local words = gw.template { languages = { en = "To {{rcpt}}: no.", de = "An {{rcpt}}: nein." } }
gw.on("bounce", function(message, bounce)
  bounce.text = words:render({ rcpt = bounce.recipients[1].address }, "de")
end, { name = "own.words" })]] }
object "template" { "Made by `gw.template`.", class = "gw.Template", in_lua = true, methods = {
  render = { "The text, and the language it is in.", args = { { "values", "table" }, { "language?", "string" } },
    returns = { { "text", "string" }, { "language", "string" } }, errors = "a value that is not there" } },
  example = file [[
local hello = gw.template { languages = { en = "Hello {{name}}" } }
local text = hello:render { name = "Ann" }
gw.log.debug(text)]] }

local text = { { "text", "string" } }
func "gw.redact.luhn" { "Is the check digit right?", group = "library", contexts = "everywhere", in_lua = true,
  args = { { "digits", "string" } }, returns = { { "yes", "boolean" } },
  example = file [[
assert(gw.redact.luhn "4111111111111111")]] }
func "gw.redact.cards" { "Of card numbers all digits but the last four become `*`.", group = "library", contexts = "everywhere", in_lua = true,
  args = text, returns = { { "text", "string" } },
  example = file [[
gw.log.debug(gw.redact.cards "card 4111 1111 1111 1111")]] }
func "gw.redact.count_cards" { "How many card numbers there are.", group = "library", contexts = "everywhere", in_lua = true,
  args = { { "text", "string" }, { "enough?", "integer", "It stops counting there." } }, returns = { { "n", "integer" } },
  example = at("message", [[
if gw.redact.count_cards(message:body_preview(65536) or "", 1) > 0 then
  return gw.hold { reason = "a card number" }
end]]) }
func "gw.redact.addresses" { '"ann@x.example" becomes "a***@x.example".', group = "library", contexts = "everywhere", in_lua = true,
  args = text, returns = { { "text", "string" } },
  example = file [[
gw.log.debug(gw.redact.addresses "from ann@acme.example")]] }
func "gw.redact.ips" { 'IP addresses become "[address]".', group = "library", contexts = "everywhere", in_lua = true,
  args = { { "text", "string" }, { "with?", "string" } }, returns = { { "text", "string" } },
  example = file [[
gw.log.debug(gw.redact.ips "from 192.0.2.1")]] }
func "gw.redact.hosts" { 'Names at or below these domains become "[host]".', group = "library", contexts = "everywhere", in_lua = true,
  args = { { "text", "string" }, { "domains", "string[]" }, { "with?", "string" } }, returns = { { "text", "string" } },
  example = file [[
gw.log.debug(gw.redact.hosts("at db1.corp.example", { "corp.example" }))]] }

func "gw.auth" { "Reads what a server of yours found out about SPF, DKIM, DMARC and ARC.", group = "library", contexts = "load", in_lua = true,
  args = { { "opts", "table", fields = { { "trust", "string[]", "Names of servers; they must remove such fields from what comes in." } } } },
  returns = { { "auth", "gw.AuthResults" } }, errors = "raised",
  example = file [[
local auth = gw.auth { trust = { "mx1.acme.example" } }
gw.on("message", function(session, message)
  if auth:result(message, "dmarc") == "fail" then
    message:tag("dmarc-fail")
  end
end, { name = "dmarc" })]] }
object "auth" { "Made by `gw.auth`.", class = "gw.AuthResults", in_lua = true, methods = {
  results = { "A list of tables of `method`, `result`, `reason`, `props`.", args = { { "message", "gw.Message" } },
    returns = { { "results", "table" } } },
  result = { 'One word: "pass", "fail", ...; nil when nobody says.', args = { { "message", "gw.Message" }, { "method", "string" } },
    returns = { { "result", "string?" } } },
  passes = { "Does it pass?", args = { { "message", "gw.Message" }, { "method", "string" } }, returns = { { "yes", "boolean" } } } },
  example = file [[
local auth = gw.auth { trust = { "mx1.acme.example" } }
gw.on("message", function(session, message)
  if auth:passes(message, "dkim") then
    message:tag("signed")
  end
end, { name = "dkim" })]] }

func "gw.mime.decode" { "A field's value in UTF-8, encoded words (RFC 2047) decoded.", group = "library", contexts = "everywhere",
  args = { { "value", "string", "At most 65536 octets." } }, returns = { { "text", "string" } },
  example = file [[
gw.log.debug(gw.mime.decode "=?utf-8?q?Gr=C3=BC=C3=9Fe?=")]] }
func "gw.mime.encode" { "Encoded words for what is not ASCII. Header edits do so by themselves.", group = "library", contexts = "everywhere",
  args = { { "text", "string", "One line of UTF-8, at most 8000 octets." } }, returns = { { "value", "string" } },
  example = file [[
gw.log.debug(gw.mime.encode "Gr\u{fc}\u{df}e")]] }
func "gw.mime.parameters" { "The word in front and the parameters of a field such as Content-Type; pieces are put together (RFC 2231).", group = "library",
  contexts = "everywhere", args = { { "value", "string" } },
  returns = { { "first", "string", "In small letters." }, { "parameters", "table", "By name in small letters; at most 64." } },
  example = at("message", [[
local kind, p = gw.mime.parameters(message:header_raw("Content-Type") or "text/plain")
if kind == "text/plain" and p.charset == "utf-7" then
  return gw.reject { text = "No UTF-7" }
end]]) }
func "gw.mime.addresses" { "All addresses of a field such as To, without the names of groups.", group = "library", contexts = "everywhere",
  args = { { "value", "string", "As `header_raw` gives it." } },
  returns = { { "addresses", "table", "At most 1000 tables of `text` (as it was written), `address` (a gw.Address; nil when the text is none) and `name`." } },
  example = at("message", [[
for _, one in ipairs(gw.mime.addresses(message:header_raw("To") or "")) do
  if one.address and one.address.domain and one.address.domain:under("clinic.example") then
    message:tag("clinic")
  end
end]]) }

func "gw.dkim.results" { "What the servers of `policy.auth_servers` say about the signatures.", group = "library", contexts = "where the header is known",
  in_lua = true, args = { { "message", "gw.Message" } },
  returns = { { "results", "table", "A list of tables of `result`, `reason`, `domain`, `selector`, `identity`, `algorithm`, `server`." } },
  example = at("message", [[
for _, one in ipairs(gw.dkim.results(message)) do
  message:note(one.result .. " " .. (one.domain or "?"))
end]]) }
func "gw.dkim.verify" { "Verifies the first 8 signatures (RFC 6376) with keys from the DNS.", group = "library", contexts = "message, bounce_in", yields = true,
  in_lua = true, args = { { "message", "gw.Message" } },
  returns = { { "results", "table", "A list of tables of `result` (\"pass\", \"fail\", \"neutral\", \"temperror\", \"permerror\"), `reason`, `domain`, `selector`, `identity`, `bits` of the key, `partial` (there is more body than was signed) and `secure` (DNSSEC)." },
    { "error", "gw.Error" } }, errors = "limit, servfail, malformed; raises without policy.network.dns",
  more = "It is the message as it came that is looked at. Ed25519 is \"neutral\": only RSA is verified.",
  example = at("message", [[
for _, one in ipairs(gw.dkim.verify(message) or {}) do
  if one.result == "pass" and one.domain == "partner.example" and not one.partial then
    message:tag("partner")
  end
end]]) }
func "gw.arc.results" { "What the servers of `policy.auth_servers` say about the chain (RFC 8617).", group = "library", contexts = "where the header is known",
  in_lua = true, args = { { "message", "gw.Message" } },
  returns = { { "results", "table", "A list of tables of `result`, `reason`, `oldest_pass`, `remote_ip`, `server`." } },
  more = "The gateway does not verify a chain itself.",
  example = at("message", [[
local arc = gw.arc.results(message)[1]
if arc and arc.result == "pass" then
  message:tag("arc")
end]]) }
func "gw.arc.chain" { "What the fields ARC-Seal claim, oldest first. Nobody has verified it.", group = "library", contexts = "where the header is known",
  in_lua = true, args = { { "message", "gw.Message" } },
  returns = { { "chain", "table", "At most 50 tables of `instance`, `result`, `domain`, `selector`." } },
  example = at("message", [[
for _, hand in ipairs(gw.arc.chain(message)) do
  message:note(hand.instance .. " " .. (hand.domain or "?"))
end]]) }
