-- policy.lua: what this gateway decides. The reference is doc/policy.md; `sallyport policy help NAME` prints a part of it.
local m, a = gw.match, gw.action

-- Mail that its sender marks goes only where all the way is protected (RFC 8689).
gw.rule {
  name  = "tag.subject",
  at    = "message",
  level = "mandatory",
  when  = m.all { m.listener_role "relay", m.subject_word "[secure]" },
  act   = { a.require_tls { level = "requiretls", reason = "sender marked secure" }, a.tag "secure" },
}

-- Nobody outside sends in our name.
gw.rule {
  name = "own.domain",
  at   = "mail",
  when = m.all { m.listener_role "mx", m.sender_domain ".acme.example" },
  act  = gw.reject { status = "5.7.1", text = "Not from there" },
}

-- A handler, for what rules cannot say.
gw.on("rcpt", function(session, message, rcpt)
  if rcpt.localpart == "payroll" then
    return gw.reject { status = "5.7.1", text = "This address takes mail from inside only" }
  end
end, { name = "payroll.inside", when = m.listener_role "mx" })
