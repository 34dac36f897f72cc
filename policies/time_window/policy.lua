-- time_window: some mail goes only at certain times: bulk mail at night, files for the bank in its hours.
local options = gw.schema.options("time_window", {
  classes = { type = "list", default = {}, max = 100, doc = "The first that fits a message counts.", of = { type = "table", fields = {
    name = { type = "text", required = true, doc = "For the log." },
    domains = { type = "list", of = "domain", default = {}, doc = "Recipients' domains." },
    tags = { type = "list", of = "text", default = {}, doc = "Tags of the message." },
    bulk = { type = "boolean", default = false, doc = "Mail that says it is bulk mail." },
    zone = { type = "text", default = "UTC" },
    holidays = { type = "list", of = "text", default = {} },
    windows = { type = "list", required = true, min = 1, of = { type = "table", fields = {
      days = "text", from = "time", to = "time", holidays = "boolean" } } },
  } } },
  bulk_tag = { type = "text", default = "bulk", doc = "The tag that bulk mail gets." },
})

local m, a = gw.match, gw.action

-- Only the header says so, and later hooks do not see it: a tag does.
gw.rule {
  name = "time_window.bulk", at = "message",
  when = m.any { m.has_header "List-Id", m.header("Precedence", { "bulk", "list", "junk" }), m.header("Auto-Submitted", "auto-generated*") },
  act  = a.tag(options.bulk_tag),
}

local classes = {}
for i, c in ipairs(options.classes) do
  classes[i] = {
    name = c.name, bulk = c.bulk, tags = c.tags, domains = #c.domains > 0 and gw.domains(c.domains) or nil,
    calendar = gw.calendar { zone = c.zone, holidays = c.holidays, windows = c.windows },
  }
end

local function fits(class, message, domain)
  if class.domains and not (domain and class.domains:has(domain)) then return false end
  if class.bulk and not message:has_tag(options.bulk_tag) then return false end
  for _, tag in ipairs(class.tags) do
    if not message:has_tag(tag) then return false end
  end
  return true
end

-- Notices are never held up.
local function wait_for(message, domain)
  if message.from.is_null then return end
  for _, class in ipairs(classes) do
    if fits(class, message, domain) then
      local now = gw.now()
      local opens = class.calendar:next_open(now)
      if opens == now then return end
      -- Never quite on the second, and never longer than a day without looking again.
      local after = math.min((opens or now + 86400) - now + 1, 86400)
      return gw.defer { after = math.ceil(after), reason = "outside the window of " .. class.name }
    end
  end
end

if #classes > 0 then
  gw.on("route", function(message, rcpt)
    return wait_for(message, rcpt.domain)
  end, { name = "time_window.route", level = "mandatory" })

  -- What was routed before the window closed waits here.
  gw.on("attempt", function(message, hop)
    return wait_for(message, hop.destination)
  end, { name = "time_window.attempt", level = "mandatory" })
end
