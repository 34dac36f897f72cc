-- min_tls13: for the listed domains nothing older than TLS 1.3.
local options = gw.schema.options("min_tls13", {
  domains = { type = "list", of = "domain", default = {}, doc = "The sectors it is for." },
  level = { type = "text", one_of = { "encrypt", "verify", "secure" }, default = "encrypt", doc = "What mail to them owes, beside the version." },
  on_unmet = { type = "text", one_of = { "defer", "bounce" }, default = "defer", doc = "What becomes of mail that cannot go so." },
})

if #options.domains > 0 then
  gw.on("tls_policy", function(domain, route)
    return gw.tls { level = options.level, min_version = "1.3", on_unmet = options.on_unmet }
  end, { name = "min_tls13.floor", level = "mandatory", when = gw.match.rcpt_domain(options.domains) })
end
