-- ndr_backscatter: a notice of failure goes only to a sender who is known to have written.
local options = gw.schema.options("ndr_backscatter", {
  trust = { type = "list", of = "text", default = {},
    doc = "Names in Authentication-Results that are believed: your own server that checks SPF, DKIM and DMARC." },
  need = { type = "list", of = { type = "text", one_of = { "spf", "dkim", "dmarc" } }, default = { "dmarc", "spf" }, min = 1,
    doc = "One of these must have passed." },
  unknown = { type = "text", one_of = { "suppress", "send" }, default = "suppress", doc = "When none of your servers says anything." },
})

local auth = #options.trust > 0 and gw.auth { trust = options.trust } or nil

local function is_verified(message)
  local said = false
  for _, method in ipairs(options.need) do
    local result = auth and auth:result(message, method)
    if result == "pass" then return true end
    said = said or result ~= nil
  end
  return not said and options.unknown == "send"
end

-- Our own people are known; so is who came with a verified route back to us.
gw.on("bounce", function(message, bounce)
  if message.direction == "inbound" and not is_verified(message) then
    return gw.suppress { reason = "nobody vouches for the sender" }
  end
end, { name = "ndr_backscatter.suppress", level = "mandatory" })
