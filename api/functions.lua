-- Functions of gw that are none of hooks, verdicts, matchers or actions. `group` is the page they stand on.

func "gw.version" { "Of the gateway.", group = "values", value = "string", contexts = "everywhere",
  example = file [[
gw.log.debug("loaded by " .. gw.version)]] }

func "gw.help" { "The text of this reference about a name.", group = "values", contexts = "everywhere",
  args = { { "name?", "string", 'Such as "gw.kv", "message.subject", "message:header" or "hook rcpt".' } },
  returns = { { "text", "string", "nil when there is nothing of that name." }, { "why", "string", "Then: the nearest name." } },
  example = file [[
gw.log.debug(gw.help "gw.reject")]] }

func "gw.now" { "Seconds since 1970 with fraction; the same until the handler waits.", group = "values", contexts = "handlers",
  args = {}, returns = { { "seconds", "number" } }, errors = "while the policy is being loaded",
  example = at("message", [[
message.vars.seen = math.floor(gw.now())]]) }

func "gw.random" { "As `math.random`; the same numbers for the same message and handler.", group = "values", contexts = "handlers",
  args = { { "m?", "integer" }, { "n?", "integer" } }, returns = { { "number", "number" } },
  errors = "an empty interval",
  example = at("message", [[
if gw.random(100) == 1 then
  message:tag("sampled")
end]]) }

func "gw.set" { "A set of texts, addresses and domains. Small and capital letters are the same.", group = "values", contexts = "everywhere",
  args = { { "values", "(string|gw.Address|gw.Domain)[]" } }, returns = { { "set", "gw.Set" } }, errors = "a value that is no text",
  example = file [[
local role = gw.set { "postmaster", "abuse" }
gw.on("rcpt", function(session, message, rcpt)
  if role:has(rcpt.localpart) then
    rcpt:tag("role")
  end
end, { name = "role" })]] }

func "gw.domains" { 'A set of domains in the forms of `gw.match.sender_domain`: `"x.example"`, `"*.x.example"`, `".x.example"`.', group = "values",
  contexts = "load", args = { { "...", "gw.Words" } }, returns = { { "domains", "gw.Domains" } }, errors = "a word that is no domain",
  example = file [[
local banks = gw.domains { ".bank.example", "*.credit.example" }
gw.on("tls_policy", function(domain, route)
  if banks:has(domain) then
    return gw.tls { level = "secure" }
  end
end, { name = "banks" })]] }

func "gw.address" { "Makes an address of a text.", group = "values", contexts = "everywhere",
  args = { { "text", "string" } }, returns = { { "address", "gw.Address", "nil when it is none." }, { "why", "string" } },
  example = at("message", [[
local a = gw.address(message:header("X-Original-To") or "")
if a and not a.is_null then
  message:add_recipient(a)
end]]) }

func "gw.domain" { "Makes a domain of a text.", group = "values", contexts = "everywhere",
  args = { { "text", "string" } }, returns = { { "domain", "gw.Domain", "nil when it is none." }, { "why", "string" } },
  example = at("helo", [[
local d = gw.domain(name)
if d and d:is_local() then
  return gw.reject { text = "That is our own name" }
end]]) }

func "gw.sorted_pairs" { "As `pairs`, in the order of the keys, which are texts and numbers.", group = "values", contexts = "everywhere",
  args = { { "table", "table" } }, returns = { { "next", "function" } }, errors = "a key that is neither text nor number",
  example = at("message", [[
local count = {}
for rcpt in message:each_recipient() do
  local name = rcpt.domain and rcpt.domain.name or ""
  count[name] = (count[name] or 0) + 1
end
for name, n in gw.sorted_pairs(count) do
  message:note(name .. " " .. n)
end]]) }

func "gw.json.encode" { "A value as JSON.", group = "values", contexts = "everywhere",
  args = { { "value", "any" } }, returns = { { "text", "string" } },
  errors = "cycles, functions, depth over 32, text that is not UTF-8, more than 1 MiB",
  example = at("message", [[
message:note(gw.json.encode { from = message.from.text, n = #message.recipients })]]) }
func "gw.json.decode" { "The value of a JSON text.", group = "values", contexts = "everywhere",
  args = { { "text", "string" } }, returns = { { "value", "any", "nil when it is not JSON." }, { "why", "string" } },
  example = at("message", [[
local v = gw.json.decode(message:header("X-Meta") or "{}")
if type(v) == "table" and v.class == "secret" then
  message:tag("secret")
end]]) }

local log = { { "text", "any" }, { "fields?", "table", "Added as JSON." } }
local line = at("message", [[
gw.log.info("seen", { from = message.from.text })]])
func "gw.log.debug" { "A line in the log, at level debug.", group = "log", contexts = "everywhere", args = log, example = line }
func "gw.log.info" { "A line in the log, at level info.", group = "log", contexts = "everywhere", args = log, example = line }
func "gw.log.warn" { "A line in the log, at level warn.", group = "log", contexts = "everywhere", args = log, example = line }
func "gw.log.error" { "A line in the log, at level error.", group = "log", contexts = "everywhere", args = log, example = line }
