-- hipaa: mail to covered entities goes over verified TLS, through a portal, or not at all.
local options = gw.schema.options("hipaa", {
  domains = { type = "list", of = "domain", default = {}, doc = "Covered entities and business associates." },
  level = { type = "text", one_of = { "verify", "secure", "requiretls" }, default = "verify", doc = "What mail to them owes." },
  portal = { type = "text", default = "", doc = "A route: where it goes when their server cannot give that. Empty: nowhere." },
  portal_domains = { type = "list", of = "domain", default = {}, doc = "Of these it is known: always through the portal." },
  tag = { type = "text", default = "phi", doc = "The tag that such mail gets." },
})

if #options.domains > 0 then
  local covered, by_portal = gw.domains(options.domains), gw.domains(options.portal_domains)
  local has_portal = options.portal ~= ""

  local function concerns(domain) return domain ~= nil and covered:has(domain) end

  -- 1. The duty goes with the recipient, so that no later change of policy can take it away.
  gw.on("message", function(session, message)
    for rcpt in message:each_recipient() do
      if concerns(rcpt.domain) then
        rcpt:require_tls { level = options.level, reason = "covered entity" }
        message:tag(options.tag)
      end
    end
  end, { name = "hipaa.duty", level = "mandatory", when = gw.match.rcpt_domain(options.domains) })

  -- 2. The destination as a whole: notices and mail from before the policy, too.
  gw.on("tls_policy", function(domain, route)
    if concerns(domain) then
      return gw.tls { level = options.level, on_unmet = has_portal and "defer" or "bounce" }
    end
  end, { name = "hipaa.floor", level = "mandatory" })

  -- 3. The portal.
  if has_portal then
    gw.on("route", function(message, rcpt)
      if rcpt.domain and by_portal:has(rcpt.domain) and not message.from.is_null then
        return gw.route { via = options.portal, reason = "this entity reads its mail on the portal" }
      end
    end, { name = "hipaa.portal", level = "mandatory", when = gw.match.rcpt_domain(options.domains) })

    gw.on("unmet", function(message, hop, unmet)
      if not message.from.is_null and not (hop.route and hop.route.name == options.portal) then
        return gw.reroute { via = options.portal, reason = "no " .. tostring(unmet) .. " at " .. hop.host.name }
      end
    end, { name = "hipaa.unmet", level = "mandatory", when = gw.match.rcpt_domain(options.domains) })
  end

  -- 4. Notices say that it failed, and not what it said.
  local function without_content(message, bounce)
    bounce.return_content = "headers"
    bounce.redact = { "subject", "received" }
  end
  gw.on("bounce", without_content, { name = "hipaa.bounce", level = "mandatory", when = gw.match.tag(options.tag) })
  gw.on("dsn", without_content, { name = "hipaa.dsn", level = "mandatory", when = gw.match.tag(options.tag) })
end
