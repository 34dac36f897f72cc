-- Ten rules and handlers as a gateway at a company's edge has them, for the benchmark: some of them look
-- at every message in C, some call Lua for each, one matches now and then.
local m, a = gw.match, gw.action

-- 1, 2. Who may say what of himself.
gw.rule {
  name = "own.domain.outside", at = "mail", level = "mandatory",
  when = m.all { m.listener_role "mx", m.sender_domain ".acme.example" },
  act  = gw.reject { text = "Not from there" },
}
gw.rule {
  name = "helo.literal", at = "helo",
  when = m.helo "localhost*",
  act  = a.note "a client that calls itself localhost",
}

-- 3, 4. Recipients.
local partners = gw.domains { "partner.example", ".bank.example", "insurer.example", "court.example" }
gw.rule {
  name = "closed.list", at = "rcpt",
  when = m.rcpt { "all-staff@acme.example", "board@acme.example" },
  act  = gw.reject { text = "Closed list" },
}
gw.on("rcpt", function(session, message, rcpt)
  if partners:has(rcpt.domain) then
    rcpt:require_tls { level = "verify", reason = "partner" }
  end
end, { name = "partners.verify", level = "mandatory" })

-- 5 to 10. The message.
gw.rule {
  name = "subject.secure", at = "message", level = "mandatory",
  when = m.subject_word { "[secure]", "[encrypt]" },
  act  = { a.require_tls { level = "requiretls", reason = "the sender marked the message" }, a.tag "secure" },
}
gw.rule {
  name = "sensitivity", at = "message", level = "mandatory",
  when = m.header("Sensitivity", { "Company-Confidential", "Private" }),
  act  = a.require_tls { level = "requiretls", reason = "sensitivity" },
}
gw.rule {
  name = "bulk", at = "message",
  when = m.header("Precedence", { "bulk", "list" }),
  act  = a.tag "bulk",
}
gw.rule {
  name = "large", at = "message",
  when = m.size_over "5M",
  act  = a.tag "large",
}
gw.on("message", function(session, message)
  local subject = message:subject()
  if subject and subject:lower():find("invoice", 1, true) then
    message:tag("invoice")
  end
end, { name = "invoice" })
gw.on("tls_policy", function(domain, route)
  if partners:has(domain.name) then
    return gw.tls { level = "verify", ttl = "1h" }
  end
end, { name = "tls.partners" })
