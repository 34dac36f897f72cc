-- pci: card numbers do not leave unprotected.
local options = gw.schema.options("pci", {
  roles = { type = "list", of = { type = "text", one_of = { "mx", "relay", "reinject" } }, default = { "relay" }, min = 1,
    doc = "Roles of the listeners it applies to." },
  scan = { type = "integer", default = 65536, min = 1024, max = 262144, doc = "Octets of text that are looked at." },
  enough = { type = "integer", default = 1, min = 1, max = 1000, doc = "So many card numbers count." },
  act = { type = "text", one_of = { "hold", "requiretls", "reject" }, default = "hold", doc = "What becomes of the message." },
  except = { type = "list", of = "domain", default = {}, doc = "Recipients' domains that may get them: the acquirer." },
  tag = { type = "text", default = "pci", doc = "The tag that such mail gets." },
})

local here = gw.match.listener_role(options.roles)
local except = gw.domains(options.except)

-- Of a large message nothing would be in memory later.
gw.on("header", function(session, message)
  message.body_mode = "inspect"
end, { name = "pci.keep", level = "mandatory", when = here })

local function all_excepted(message)
  for rcpt in message:each_recipient() do
    if not rcpt.domain or not except:has(rcpt.domain) then return false end
  end
  return true
end

-- The subject and what is text in the message, decoded, up to `scan` octets.
local function text_of(message)
  local text, left = { message:subject() or "" }, options.scan
  for _, part in ipairs(message:parts()) do
    if left <= 0 then break end
    if part.type:find("^text/") then
      text[#text + 1] = part:text(left)
      left = left - #text[#text]
    end
  end
  return table.concat(text, "\n")
end

-- Only the count is ever told: neither the log nor the reply shows a number.
gw.on("message", function(session, message)
  local n = gw.redact.count_cards(text_of(message), options.enough)
  if n < options.enough or all_excepted(message) then return end
  message:tag(options.tag)
  message:note("card numbers found")
  if options.act == "reject" then
    return gw.reject { status = "5.7.1", text = "Card numbers must not be sent by mail", reason = "card numbers" }
  elseif options.act == "hold" then
    return gw.hold { reason = "card numbers" }
  end
  message:require_tls { level = "requiretls", reason = "card numbers" }
end, { name = "pci.cards", level = "mandatory", when = here })
