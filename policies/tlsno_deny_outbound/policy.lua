-- tlsno_deny_outbound: our own people may not ask for less TLS than the recipient's domain publishes.
local options = gw.schema.options("tlsno_deny_outbound", {
  act = { type = "text", one_of = { "strip", "reject" }, default = "strip",
    doc = "The header is taken out and ignored, or the message is refused." },
  except = { type = "list", of = "address", default = {}, doc = "Senders who may use it: those who mend TLS." },
  text = { type = "text", default = "TLS-Required: No is not for use here", doc = "What a refused client is told." },
})

local m = gw.match
local when = { m.listener_role "relay", m.no(m.tls_required_no "absent") }
if #options.except > 0 then
  when[#when + 1] = m.no(m.sender(options.except))
end

gw.on("message", function(session, message)
  if options.act == "reject" then
    return gw.reject { status = "5.7.1", text = options.text, reason = "TLS-Required: No from our own side" }
  end
  if message.tls_required_no == "honoured" then
    message:ignore_tls_required_no { reason = "our own senders may not weaken TLS" }
  end
  for _, name in ipairs { "TLS-Required", "Require-TLS" } do
    if message:has_header(name) then message:remove_header(name) end
  end
end, { name = "tlsno_deny_outbound.deny", level = "mandatory", when = m.all(when) })
