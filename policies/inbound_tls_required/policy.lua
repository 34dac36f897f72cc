-- inbound_tls_required: what comes from the listed domains comes over TLS, or not at all. Reports about
-- broken TLS may come in clear, or nobody could ever tell us.
local options = gw.schema.options("inbound_tls_required", {
  domains = { type = "list", of = "domain", default = {}, doc = "Senders' domains." },
  roles = { type = "list", of = "text", default = { "postmaster", "tlsrpt", "tls-reports", "abuse" },
    doc = "Local-parts that may get mail in clear. Empty: none." },
  version = { type = "text", one_of = { "1.2", "1.3" }, default = "1.2", doc = "TLS of at least this version." },
  text = { type = "text", default = "TLS is needed for mail from your domain", doc = "What the client is told." },
})

if #options.domains > 0 then
  local m = gw.match
  local roles = gw.set(options.roles)
  local in_clear = m.all { m.listener_role "mx", m.sender_domain(options.domains), m.no(m.tls_inbound(options.version)) }
  local refusal = gw.reject { status = "5.7.10", text = options.text, reason = "in clear from a domain that must use TLS" }

  if #options.roles == 0 then
    gw.rule { name = "inbound_tls_required.mail", at = "mail", level = "mandatory", when = in_clear, act = refusal }
  else
    -- Who it is for is known at RCPT.
    gw.on("rcpt", function(session, message, rcpt)
      if not roles:has(rcpt.localpart) then
        return gw.reject { status = "5.7.10", text = options.text, reason = "in clear from a domain that must use TLS" }
      end
    end, { name = "inbound_tls_required.rcpt", level = "mandatory", when = in_clear })
  end
end
