-- legal_hold: mail of listed custodians is copied to the archive.
local options = gw.schema.options("legal_hold", {
  custodians = { type = "list", of = "address", default = {}, doc = "Whose mail: from them and to them." },
  archive = { type = "mailbox", doc = "Where the copy goes. Without it nothing is done." },
  level = { type = "level", default = "requiretls", doc = "What the copy owes, beside what the message owes." },
  tag = { type = "text", default = "legal-hold", doc = "The tag that such mail gets." },
})

if options.archive and #options.custodians > 0 then
  local m = gw.match
  local archive = gw.address(options.archive)

  gw.on("message", function(session, message)
    for rcpt in message:each_recipient() do
      if rcpt.address == archive then return end
    end
    message:tag(options.tag)
    -- A further recipient owes what the message owes, and this on top. No notices about it to the sender.
    local copy = message:add_recipient(options.archive)
    copy:require_tls { level = options.level, reason = "copy for the archive" }
    copy:tag(options.tag)
  end, {
    name = "legal_hold.copy", level = "mandatory", priority = -50,
    when = m.any { m.sender(options.custodians), m.rcpt(options.custodians) },
  })

  -- If the copy fails, the custodian must not learn that there is one.
  gw.on("bounce", function(message, bounce)
    if #bounce.recipients == 1 and bounce.recipients[1].address == archive then
      gw.log.error("the copy for the archive has failed", { message = message.id })
      return gw.suppress { reason = "copy for the archive" }
    end
  end, { name = "legal_hold.bounce", level = "mandatory", when = m.tag(options.tag) })
end
