-- redact_bounces: notices that leave the company say that it failed, and nothing of how it is built inside.
local options = gw.schema.options("redact_bounces", {
  hosts = { type = "list", of = "text", default = {},
    doc = "Host names that are hidden: `*.corp.acme.example`. Empty: all but our own name." },
  redact = { type = "list", of = { type = "text", one_of = { "diagnostic_text", "internal_hosts", "recipient_list", "received",
    "subject" } }, default = { "internal_hosts", "diagnostic_text", "received" }, doc = "What is taken out." },
  contact = { type = "text", default = "", doc = "Whom to ask: an address or a telephone number in the text. Empty: nobody." },
  texts = { type = "map", of = { type = "text", lines = true }, default = {
    en = "Your message could not be delivered to:\n\n{{#rcpts}}\n  {{address}} ({{status}})\n{{/rcpts}}\n\n" ..
      "{{#contact}}\nPlease ask {{contact}}.\n{{/contact}}\n",
    de = "Ihre Nachricht konnte nicht zugestellt werden an:\n\n{{#rcpts}}\n  {{address}} ({{status}})\n{{/rcpts}}\n\n" ..
      "{{#contact}}\nBitte fragen Sie {{contact}}.\n{{/contact}}\n",
    fr = "Votre message n'a pas pu \u{EA}tre remis \u{E0}\u{A0}:\n\n{{#rcpts}}\n  {{address}} ({{status}})\n{{/rcpts}}\n\n" ..
      "{{#contact}}\nVeuillez vous adresser \u{E0} {{contact}}.\n{{/contact}}\n",
  }, doc = "The text of a failure, by language, as for `gw.template`. `en` is the default." },
})

local words = gw.template { name = "redact_bounces", languages = options.texts }

local function is_external(bounce)
  return bounce.to.domain ~= nil and bounce.to.domain:is_remote()
end

local function redact(bounce)
  bounce.redact = options.redact
  for _, pattern in ipairs(options.hosts) do
    bounce:redact_host(pattern)
  end
end

-- The language that the sender writes or reads.
local function language_of(message)
  local value = message:header("Content-Language") or message:header("Accept-Language") or ""
  return value:match("^%s*([%a-]+)")
end

gw.on("bounce", function(message, bounce)
  if not is_external(bounce) then return end
  redact(bounce)
  local rcpts = {}
  for i, r in ipairs(bounce.recipients) do
    rcpts[i] = { address = r.address, status = r.status }
  end
  local text, language = words:render({ rcpts = rcpts, contact = options.contact }, language_of(message))
  bounce.text = text
  bounce.language = language
end, { name = "redact_bounces.failure", level = "mandatory" })

gw.on("dsn", function(message, bounce)
  if is_external(bounce) then redact(bounce) end
end, { name = "redact_bounces.notice", level = "mandatory" })
