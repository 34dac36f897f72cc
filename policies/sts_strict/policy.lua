-- sts_strict: for the listed domains an MTA-STS policy in mode testing counts as one in mode enforce.
local options = gw.schema.options("sts_strict", {
  domains = { type = "list", of = "domain", default = {}, doc = "The sectors that are to be taken at their word." },
  level = { type = "text", one_of = { "verify", "secure" }, default = "verify", doc = "What mail to them owes." },
  ttl = { type = "duration", default = "1h", doc = "How long an answer is kept." },
})

if #options.domains > 0 then
  gw.on("tls_policy", function(domain, route)
    local policy, err = gw.sts.get(domain)
    if err then
      return gw.defer { reason = "MTA-STS policy of " .. domain.name .. ": " .. tostring(err) }
    end
    if policy and policy.mode == "testing" then
      return gw.tls { level = options.level, ttl = options.ttl, on_unmet = "defer" }
    end
  end, { name = "sts_strict.floor", level = "mandatory", when = gw.match.rcpt_domain(options.domains) })
end
