-- Values that are not bound to a call, and views. `metatable` is the name under which C registers the type.

object "address" { "An address. Compares with `==`; `tostring` gives the text.", class = "gw.Address", metatable = "gw.address", fields = {
  { "localpart", "string" }, { "domain", "gw.Domain?", "nil for the null sender and `<postmaster>`." }, { "is_null", "boolean" }, { "text", "string" } },
  example = at("mail", [[
if message.from.is_null then
  message:tag("notice")
end]]) }
object "domain" { "A domain in small letters and ASCII form. Compares with `==`; `tostring` gives the name.", class = "gw.Domain", metatable = "gw.domain",
  fields = { { "name", "string" }, { "unicode", "string", "The form for people." } }, methods = {
  is_local = { 'The configuration says `kind = "local"`.', args = {}, returns = { { "yes", "boolean" } } },
  is_remote = { "The opposite.", args = {}, returns = { { "yes", "boolean" } } },
  under = { "It is that domain or below it.", args = { { "domain", "string|gw.Domain" } }, returns = { { "yes", "boolean" } } },
  registered = { "What was registered below a public suffix: acme.co.uk for mail.acme.co.uk.", args = {}, returns = { { "domain", "gw.Domain?" } } } },
  example = at("rcpt", [[
if rcpt.domain and rcpt.domain:registered() == gw.domain("clinic.example") then
  rcpt:tag("clinic")
end]]) }
object "set" { "A set: `#set`, `for x in pairs(set)`. Small and capital letters are the same.", class = "gw.Set", metatable = "gw.set", view = true, methods = {
  has = { "Is it in the set?", args = { { "x", "string|gw.Address|gw.Domain|nil" } }, returns = { { "yes", "boolean" } } },
  list = { "All of it.", args = {}, returns = { { "list", "string[]" } } } },
  example = at("rcpt", [[
if rcpt.notify:has("success") then
  rcpt:note("wants to know")
end]]) }
object "domains" { "A set of domains, made by `gw.domains`.", class = "gw.Domains", metatable = "gw.domains", methods = {
  has = { "Is it in the set?", args = { { "x", "string|gw.Address|gw.Domain|nil" } }, returns = { { "yes", "boolean" } } } },
  example = file [[
local banks = gw.domains { ".bank.example" }
gw.on("rcpt", function(session, message, rcpt)
  if banks:has(rcpt.address) then
    rcpt:tag("bank")
  end
end, { name = "banks" })]] }
object "duties" { 'What is owed. `tostring` gives "encrypt[sender] authenticate[sender]", with who asked. `#` and `pairs` work.', class = "gw.Duties",
  fields = { { "level", "gw.Level", "The smallest level that holds them all." } }, methods = {
  has = { "Is this duty owed?", args = { { "name", "gw.Duty" } }, returns = { { "yes", "boolean" } } },
  list = { "The names.", args = {}, returns = { { "list", "gw.Duty[]" } } } },
  example = at("message", [[
if not message.duties:has("encrypt") then
  message:require_tls { level = "encrypt", reason = "all of ours" }
end]]) }
object "verdict" { "What a verdict constructor returns. It can be read and not changed.", class = "gw.Verdict", metatable = "gw.verdict", fields = {
  { "kind", "string" }, { "code", "integer" }, { "status", "string" }, { "text", "string?" }, { "reason", "string?" },
  { "where", "string", "The line that made it." } },
  example = at("rcpt", [[
local no = gw.reject { text = "Not here" }
rcpt:note(no.kind .. " " .. no.code)
return no]]) }
object "error" { "What comes with nil when the world failed. `tostring` gives the text.", class = "gw.Error", metatable = "gw.error", fields = {
  { "kind", "string", "One word, as each function lists them." }, { "temporary", "boolean", "It may be otherwise in a while." },
  { "secure", "boolean", "DNSSEC says so." }, { "text", "string" } },
  example = at("rcpt", [[
local mx, err = gw.dns.mx(rcpt.domain or "acme.example")
if not mx and err.kind == "bogus" then
  return gw.defer { text = "Your DNS is broken", reason = tostring(err) }
end]]) }
object "gw.kv" { "A store of values.", class = "gw.Kv", metatable = "gw.kv", methods = {
  get = { "The value of a key, or nil.", yields = true, contexts = "handlers", args = { { "key", "string" } },
    returns = { { "value", "any" }, { "error", "gw.Error" } }, errors = "limit, servfail" },
  set = { "Writes a value.", yields = true, contexts = "handlers",
    args = { { "key", "string" }, { "value", "any" }, { "opts?", "table", fields = { { "ttl?", "gw.Duration" } } } },
    returns = { { "done", "boolean" }, { "error", "gw.Error" } }, errors = "limit, servfail; raises when the value is nil" },
  add = { "Adds a whole number, 1 if there is none, and returns the sum.", yields = true, contexts = "handlers",
    args = { { "key", "string" }, { "n?", "integer" }, { "opts?", "table", fields = { { "ttl?", "gw.Duration" } } } },
    returns = { { "sum", "integer" }, { "error", "gw.Error" } }, errors = "limit, servfail, not_a_number",
    more = "The `ttl` of the first one holds: the count of a time window begins anew when it is over." },
  cas = { "Writes `new` if `old` is there.", yields = true, contexts = "handlers",
    args = { { "key", "string" }, { "old", "any" }, { "new", "any" }, { "opts?", "table", fields = { { "ttl?", "gw.Duration" } } } },
    returns = { { "done", "boolean" }, { "found", "any", "When it was not: what is there." } }, errors = "limit, servfail" },
  delete = { "Removes a key.", yields = true, contexts = "handlers", args = { { "key", "string" } },
    returns = { { "was", "boolean", "Was it there?" }, { "error", "gw.Error" } }, errors = "limit, servfail" } },
  example = file [[
local kv = gw.kv "seen"
gw.on("connect", function(session)
  local n, err = kv:add(session.peer.ip, 1, { ttl = "1h" })
  if n and n > 1000 then
    return gw.defer { text = "Enough for this hour" }
  end
end, { name = "seen" })]] }
object "part" { "A MIME part: see `message:parts()`.", class = "gw.Part", in_lua = true, fields = {
  { "type", "string", '"text/plain", in small letters.' }, { "charset", "string?" }, { "disposition", "string?", '"attachment", "inline"' },
  { "filename", "string?", "UTF-8." }, { "size", "integer", "Octets, encoded." }, { "level", "integer", "0 for the message itself." } }, methods = {
  text = { "The content, decoded; of `text/...` in UTF-8.", args = { { "max?", "integer", "65536; up to 262144." } },
    returns = { { "text", "string" } } } },
  example = at("message", [[
for _, part in ipairs(message:parts()) do
  if part.type == "text/html" and part:text():find("<script", 1, true) then
    message:tag("script")
  end
end]]) }
object "matcher" { "What `gw.match` makes.", class = "gw.Matcher", metatable = "gw.matcher", opaque = true }
object "action" { "What `gw.action` makes.", class = "gw.Action", metatable = "gw.action", opaque = true }
object "answer" { "An answer of the DNS: a list, and", class = "gw.Answer", plain = true, fields = {
  { "secure", "boolean", "Validated with DNSSEC." }, { "ttl", "integer", "Seconds." }, { "canon", "string", "The name at the end of CNAMEs." } },
  example = at("rcpt", [[
local found = gw.dns.a("list.example")
if found and found.secure then
  rcpt:note(found[1] .. " for " .. found.ttl .. " s")
end]]) }
