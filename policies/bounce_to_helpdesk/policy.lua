-- bounce_to_helpdesk: when protected mail fails, the helpdesk gets a copy of the notice.
local options = gw.schema.options("bounce_to_helpdesk", {
  mailbox = { type = "mailbox", doc = "The helpdesk's address. Without it nothing is done." },
  tags = { type = "list", of = "text", default = { "secure" }, doc = "Mail with one of these tags counts." },
  level = { type = "text", one_of = { "encrypt", "verify", "secure", "requiretls" }, default = "verify",
    doc = "Mail that owes at least this counts, too." },
  prefix = { type = "text", default = "X-Ticket", pattern = "[%w-]+", max = 40, expects = "the start of a header's name",
    doc = "The start of the names of the header fields for the ticket system." },
})

local ranks = { may = 0, encrypt = 1, verify = 2, secure = 3, requiretls = 4 }

local function is_protected(message)
  for _, tag in ipairs(options.tags) do
    if message:has_tag(tag) then return true end
  end
  return ranks[message.duties.level] >= ranks[options.level]
end

if options.mailbox then
  local helpdesk = gw.address(options.mailbox)

  gw.on("bounce", function(message, bounce)
    if not is_protected(message) or bounce.to == helpdesk then return end
    local headers = { options.prefix .. "-Message: " .. message.id, options.prefix .. "-Duties: " .. message.duties.level }
    for i, r in ipairs(bounce.recipients) do
      if i > 10 then break end
      headers[#headers + 1] = options.prefix .. "-Status: " .. r.status
    end
    bounce.headers = headers
    bounce.copy_to = options.mailbox
  end, { name = "bounce_to_helpdesk.copy", level = "mandatory" })
end
