-- subject_tag: a keyword in the subject, or a sensitivity header, asks for REQUIRETLS.
local options = gw.schema.options("subject_tag", {
  keywords = { type = "list", of = "text", default = { "[secure]", "[encrypt]" }, min = 1,
    doc = "Words or phrases; one that ends in a letter must end a word." },
  headers = { type = "list", of = { type = "list", of = "text", min = 2 },
    default = { { "Sensitivity", "Company-Confidential", "Private" } },
    doc = "A field's name and the values that count; `*` is any text." },
  senders = { type = "list", of = "address", default = {}, doc = "Who may ask. Empty: everybody." },
  roles = { type = "list", of = { type = "text", one_of = { "mx", "relay", "reinject" } }, default = { "relay" }, min = 1,
    doc = "Roles of the listeners it applies to." },
  level = { type = "level", default = "requiretls", doc = "What marked mail owes." },
  tag = { type = "text", default = "secure", doc = "The tag that other policies can look at." },
  strip = { type = "boolean", default = false, doc = "Takes the keyword out of the subject. Breaks a DKIM signature made before." },
})

local m, a = gw.match, gw.action

-- 1. Who asked, and how. All of it is looked at in C; mail without a mark never enters Lua.
local marks = { m.subject_word(options.keywords) }
for _, h in ipairs(options.headers) do
  marks[#marks + 1] = m.header(h[1], { table.unpack(h, 2) })
end
local who = { m.listener_role(options.roles), m.any(marks) }
if #options.senders > 0 then
  who[#who + 1] = m.sender(options.senders)
end

-- Mandatory: another policy's accept does not get round it. It can only add protection, and if it
-- fails the client is told to try again (451).
gw.rule {
  name = "subject_tag.require", at = "message", level = "mandatory", priority = 10,
  when = m.all(who),
  act  = {
    a.require_tls { level = options.level, reason = "the sender marked the message" },
    a.tag(options.tag),
  },
}

-- 2. The keyword need not go on to the recipient. This edits the Subject, so a DKIM signature that
-- was made before the gateway no longer verifies: off unless asked for.
local function without(subject, word)
  local at, last = subject:lower():find(word:lower(), 1, true)
  if not at then return subject end
  return (subject:sub(1, at - 1):gsub("%s+$", "") .. " " .. subject:sub(last + 1):gsub("^%s+", ""))
      :gsub("^%s+", "")
end

if options.strip then
  gw.on("message", function(session, message)
    local subject = message:subject()
    -- A subject with octets that could not be decoded is left alone; the duty stands all the same.
    if not subject or subject:find("\u{FFFD}", 1, true) then return end
    local plain = subject
    for _, word in ipairs(options.keywords) do
      plain = without(plain, word)
    end
    if plain ~= subject then
      message:set_header("Subject", plain)
    end
  end, {
    name = "subject_tag.strip", level = "mandatory", priority = 0,
    when = m.all { m.tag(options.tag), m.subject_word(options.keywords) },
  })
end
