-- policy.lua: what mail needs. Hooks only; the configuration is in gateway.lua.

-- A subject that begins with [secure] asks for REQUIRETLS all the way. The mark can only add
-- protection, and a failure of this handler defers the message.
gw.on("message", function(session, message)
  local subject = message:subject()
  if subject and subject:lower():sub(1, 8) == "[secure]" then
    message:require_tls { level = "requiretls", reason = "sender marked the subject" }
    message:tag("secure")
  end
end, { name = "tag.subject", level = "mandatory" })

-- These partners always get verified TLS, whatever their DNS says today.
local partners = { ["partner.example"] = "verify", ["bank.example"] = "secure" }
gw.on("tls_policy", function(domain, route)
  local level = partners[domain.name]
  if level then
    return gw.tls { level = level, ttl = "1h" }
  end
end, { name = "tls.partners" })
