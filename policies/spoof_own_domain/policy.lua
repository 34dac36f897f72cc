-- spoof_own_domain: mail from outside that claims to come from one of our own domains.
local options = gw.schema.options("spoof_own_domain", {
  domains = { type = "list", of = "domain", default = {}, doc = "Our domains. Empty: those that the configuration calls local." },
  except = { type = "list", of = "network", default = {}, doc = "Clients that may: a service that writes in our name." },
  envelope = { type = "text", one_of = { "reject", "tag", "off" }, default = "reject", doc = "When MAIL FROM is ours." },
  header = { type = "text", one_of = { "reject", "tag", "off" }, default = "reject",
    doc = "When the From field is ours. Mailing lists send our own people's mail back to us: `tag` then." },
  tag = { type = "text", default = "spoof", doc = "The tag of mail that is let in all the same." },
})

local m = gw.match
local own = #options.domains > 0 and gw.domains(options.domains) or nil

local function is_ours(domain)
  if domain == nil then return false end
  if own then return own:has(domain) end
  return domain:is_local()
end

local when = { m.listener_role "mx" }
if #options.except > 0 then
  when[#when + 1] = m.no(m.client_ip(options.except))
end
when = m.all(when)

local function outcome(act, session, message, what)
  if session.auth or act == "off" then return end
  if act == "tag" then
    message:tag(options.tag)
    return
  end
  return gw.reject { status = "5.7.1", text = "Our own addresses do not write from there", reason = what .. " is ours" }
end

gw.on("mail", function(session, message)
  if is_ours(message.from.domain) then
    return outcome(options.envelope, session, message, "MAIL FROM")
  end
end, { name = "spoof_own_domain.mail", level = "mandatory", when = when })

gw.on("header", function(session, message)
  local from = message:header_address("From")
  local address = from and gw.address(tostring(from))
  if address and is_ours(address.domain) then
    return outcome(options.header, session, message, "the From field")
  end
end, { name = "spoof_own_domain.header", level = "mandatory", when = when })
