-- partner_tls: a table says what TLS each partner's domain needs.
local options = gw.schema.options("partner_tls", {
  table = { type = "text", default = "partners", doc = "The data table: columns `domain`, `level`, `names`, `pins`, `until`." },
  warn = { type = "duration", default = "30d", doc = "How long before `until` a row is logged as running out." },
  expired = { type = "text", one_of = { "level", "defer" }, default = "level",
    doc = "After `until`: the level alone still counts, or mail waits for a new row." },
  ttl = { type = "duration", default = "1h", doc = "How long an answer is kept." },
})

local partners = gw.table(options.table)

-- A column of type date is the last second of that day, in UTC.
local function has_ended(row, now) return row["until"] ~= nil and row["until"] < now end

gw.on("tls_policy", function(domain, route)
  local row = partners:get(domain)
  if not row then return end
  if has_ended(row, gw.now()) then
    gw.log.warn("a partner's row has run out", { domain = domain.name, row = row.domain })
    if options.expired == "defer" then
      return gw.defer { reason = "the row of partner " .. row.domain .. " has run out" }
    end
    return gw.tls { level = row.level, ttl = options.ttl }
  end
  return gw.tls { level = row.level, names = row.names, pins = row.pins, ttl = options.ttl }
end, { name = "partner_tls.floor", level = "mandatory" })

-- Once a day, in one worker: what runs out soon, so that somebody asks the partner in time.
gw.every {
  name = "partner_tls.expiry", interval = "1d", scope = "node",
  run = function(tick)
    for row in partners:each() do
      if has_ended(row, gw.now() + options.warn) then
        gw.log.warn(has_ended(row, gw.now()) and "a partner's row has run out" or "a partner's row runs out soon",
          { row = row.domain, last_day = os.date("!%Y-%m-%d", row["until"]) })
      end
    end
  end,
}
