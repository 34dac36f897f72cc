-- What waits, or may wait. Their `errors` are the kinds of the error that comes with nil.
local handlers = "handlers; not in matchers"
local no_start = "handlers, but `init` when the daemon starts; not in matchers"

func "gw.sleep" { "Waits, at most 10 seconds.", group = "waiting", contexts = handlers, yields = true,
  args = { { "seconds", "number" } }, returns = { { "done", "boolean", "true." }, { "error", "gw.Error" } }, errors = "limit",
  example = at("connect", [[
gw.sleep(2)]]) }

func "gw.all" { "Calls functions side by side: when one waits, the next begins.", group = "waiting", contexts = handlers, yields = true,
  args = { { "functions", "function[]", "At most 100, called without arguments." },
    { "opts?", "table", fields = { { "mode?", '"fail_fast"|"collect"', '`"fail_fast"`' },
      { "parallel?", "integer", "How many may have begun and not ended, 1 to 16." } } } },
  returns = { { "results", "table", "With `n`: the first results, or with `collect` tables of `value` and `error`." }, { "error", "any" } },
  errors = "those of the functions",
  more = "With `fail_fast` the first function that returns nil and something else ends the others, and `gw.all` returns these two; one that raises ends them, too. With `collect` all come to their end.",
  example = at("rcpt", [[
local found = gw.all({
  function() return gw.dns.a("2.0.0.127.one.example") end,
  function() return gw.dns.a("2.0.0.127.two.example") end,
}, { mode = "collect" })
if found[1].value and found[2].value then
  return gw.reject { text = "On both lists" }
end]]) }

func "gw.within" { "Calls a function and ends it after a time.", group = "waiting", contexts = handlers, yields = true,
  args = { { "seconds", "number", "At most 60." }, { "f", "function" } },
  returns = { { "result", "any", "What the function returns, or nil." }, { "error", "any", "Of kind timeout when it took too long." } },
  errors = "timeout, and those of the function",
  example = at("rcpt", [[
local txt, err = gw.within(3, function() return gw.dns.txt("list.example") end)
if not txt and err.temporary then
  return gw.defer { text = "Cannot check you just now", reason = err.text }
end]]) }

func "gw.memo" { "Makes a function of one key that keeps what another returned.", group = "waiting", contexts = "load; what it makes, handlers",
  yields = "what it makes does",
  args = { { "f", "fun(key: any): any", "Called with the key." },
    { "opts", "table", fields = { { "name", "string" }, { "ttl?", "gw.Duration", 'How long a value is kept, `"5m"`.' },
      { "negative_ttl?", "gw.Duration", "How long nil is kept, 0." }, { "capacity?", "integer", "How many keys, 1000." },
      { "stale?", "gw.Duration", "For how long after `ttl` a value is returned when `f` fails, 0." } } } },
  returns = { { "g", "fun(key: any): any" } }, errors = "those of `f`",
  more = "One cache for each worker and generation. While one handler is finding out, others that ask for the same key wait for it.",
  example = file [[
local country = gw.memo(function(ip)
  local txt, err = gw.dns.txt(ip .. ".country.example")
  return txt and txt[1], err
end, { name = "country", ttl = "1h", negative_ttl = "1m" })
gw.on("connect", function(session)
  if country(session.peer.ip) == "XX" then
    return gw.reject { text = "Not from there" }
  end
end, { name = "country" })]] }

local dns_args = { { "name", "string|gw.Domain" }, { "opts?", "table", fields = { { "timeout?", "gw.Duration" } } } }
local dns_errors = "nodata, nxdomain, servfail, bogus, timeout, cancelled, bad_name, malformed, limit; raises without `policy.network.dns`"
local function dns(name, what, returns, example)
  func("gw.dns." .. name) { what, group = "dns", contexts = no_start, yields = true, args = dns_args,
    returns = { { "answer", returns, "With `secure`, `ttl` and `canon`; nil when there is none." }, { "error", "gw.Error" } },
    errors = dns_errors, example = at("rcpt", example) }
end
dns("a", "The IPv4 addresses of a name.", "gw.Answer", [[
local found = gw.dns.a("2.0.0.127.list.example", { timeout = "3s" })
if found then
  return gw.reject { text = "Listed", reason = found[1] }
end]])
dns("aaaa", "The IPv6 addresses of a name.", "gw.Answer", [[
local found = gw.dns.aaaa(rcpt.domain)
message:note(found and found[1] or "none")]])
dns("mx", "The mail exchangers of a name: a list of `{ preference =, host = }`.", "gw.Answer", [[
local mx, err = gw.dns.mx(message.from.domain or "acme.example")
if not mx and not err.temporary then
  return gw.reject { text = "Nobody could answer you" }
end]])
dns("txt", "The texts of a name.", "gw.Answer", [[
local txt = gw.dns.txt("_policy.acme.example")
if txt and txt.secure and txt[1] == "closed" then
  return gw.defer { text = "Closed" }
end]])
dns("ptr", "The names of an address, or of a name below in-addr.arpa.", "gw.Answer", [[
local names = gw.dns.ptr(session.peer.ip)
session:note(names and names[1] or "no name")]])
dns("tlsa", "TLSA records: a list of `{ usage =, selector =, mtype =, data = }`.", "gw.Answer", [[
local tlsa = gw.dns.tlsa("_25._tcp.mx.clinic.example")
if tlsa and tlsa.secure then
  message:tag("dane")
end]])

func "gw.audit" { "Adds a row of the policy's own to the evidence: chained to the rows before, on disk when the call returns, never changed.",
  group = "store", contexts = "handlers", yields = true,
  args = { { "text", "string", "One line, at most 500 octets." }, { "fields?", "table", "Values for JSON, at most 1024 octets of it." } },
  returns = { { "done", "true?" }, { "error", "gw.Error" } }, errors = "limit, servfail; raises with more than 8 rows in one call of a handler",
  more = "The row has the `event` `policy`, the message, recipient and sender at hand, the handler and the generation. After `servfail` it may be there all the same.",
  example = at("message", [[
if message:has_tag("four-eyes") then
  local done, err = gw.audit("held for a second look", { size = message.size })
  if not done then return gw.defer { text = "Not now" } end
end]]) }

func "gw.tlsrpt" { "What was counted for TLS reports (RFC 8460) about a domain, newest day first. Only read.", group = "store", contexts = "handlers",
  yields = true, args = { { "domain", "string|gw.Domain" }, { "opts?", "table", fields = { { "days?", "integer", "7, at most 30." } } } },
  returns = { { "days", "table", "A list of tables of `day`, `domain`, `state`, `successful`, `failed` and `policies`, as the report has them. Read-only." },
    { "error", "gw.Error" } }, errors = "limit, servfail, bad_name",
  more = "Sessions of all workers; those of the last seconds may be missing. Empty when nothing was counted: `tlsrpt.organization` and `contact` have to be set.",
  example = at("attempt", [[
local days = gw.tlsrpt(hop.destination, { days = 1 })
if days and days[1] and days[1].failed > 100 then
  hop:note("TLS to this domain fails often today")
end]]) }

func "gw.kv" { "A store of values that all workers share; it survives restarts and reloads.", group = "store", contexts = "everywhere",
  args = { { "name", "string", "1 to 63 letters a-z, digits, `_`, `-` and dots." } }, returns = { { "kv", "gw.Kv" } },
  example = file [[
local kv = gw.kv "greylist"
gw.on("rcpt", function(session, message, rcpt)
  local key = session.peer.ip .. " " .. message.from.text .. " " .. rcpt.address.text
  if kv:add(key, 1, { ttl = "1d" }) == 1 then
    return gw.defer { text = "Come back in a while" }
  end
end, { name = "grey", when = gw.match.listener_role "mx" })]] }

func "gw.sts.get" { "The MTA-STS policy of a domain, found as deliveries do.", group = "sts", contexts = no_start, yields = true,
  args = { { "domain", "string|gw.Domain" } },
  returns = { { "policy", "table", "`mode`, `id`, `mx`, `max_age`, `fetched`, `expires`; nil when there is none." }, { "error", "gw.Error" } },
  errors = "servfail (there may be one, and it could not be fetched), refused (`tls.sts` is off), bad_name, limit; raises without `policy.network.dns`",
  example = at("rcpt", [[
local sts, err = gw.sts.get(rcpt.domain or "acme.example")
if sts and sts.mode == "enforce" then
  rcpt:tag("sts")
end]]) }
