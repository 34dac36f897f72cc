-- tlsno_roles: "TLS-Required: No" is honoured only for mail to the people who look after TLS problems.
--
-- RFC 8689 gives senders this header so that a report about broken TLS can reach a domain whose TLS
-- is broken. For other mail it asks for less protection than the recipient's domain publishes.
local options = gw.schema.options("tlsno_roles", {
  localparts = { type = "list", of = "text", default = { "postmaster", "tlsrpt", "tls-reports", "abuse", "hostmaster" },
    doc = "Local-parts, at whatever domain." },
  addresses = { type = "list", of = "mailbox", default = {}, doc = "Further addresses in full." },
})

local roles, known = gw.set(options.localparts), gw.set(options.addresses)

-- One recipient who is none of these is enough: the tag belongs to the whole message.
gw.on("message", function(session, message)
  for rcpt in message:each_recipient() do
    if not roles:has(rcpt.localpart) and not known:has(rcpt.address) then
      message:ignore_tls_required_no { reason = "a recipient is not a contact for TLS problems" }
      return
    end
  end
end, {
  name = "tlsno.roles", level = "mandatory",
  when = gw.match.tls_required_no "honoured",
})
