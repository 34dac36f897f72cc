-- maintenance_freeze: while a partner's servers are down for work, mail to it is held, and goes by itself afterwards.
local options = gw.schema.options("maintenance_freeze", {
  freezes = { type = "list", default = {}, max = 200, doc = "Who, from when, until when, in UTC.", of = { type = "table", fields = {
    name = { type = "text", required = true, doc = "For the log." },
    domains = { type = "list", of = "domain", required = true, min = 1 },
    from = { type = "moment", required = true },
    to = { type = "moment", required = true },
  } } },
})

local freezes = {}
for i, f in ipairs(options.freezes) do
  if f.to <= f.from then
    error("policy.options.maintenance_freeze: " .. f.name .. ": it ends before it begins")
  end
  freezes[i] = { name = f.name, from = f.from, to = f.to, domains = gw.domains(f.domains) }
end

-- The freeze of this domain that is on now, the one that ends last.
local function freeze_of(domain, now)
  local found
  for _, f in ipairs(freezes) do
    if f.from <= now and now < f.to and domain and f.domains:has(domain) and (not found or f.to > found.to) then
      found = f
    end
  end
  return found
end

if #freezes > 0 then
  -- Held with an end: the queue lets it go by itself, also after a restart.
  gw.on("route", function(message, rcpt)
    local now = gw.now()
    local f = freeze_of(rcpt.domain, now)
    if f then
      return gw.hold { reason = "maintenance: " .. f.name, expires = math.ceil(f.to - now) + 1 }
    end
  end, { name = "maintenance_freeze.route", level = "mandatory" })

  -- What was in the queue before the freeze began.
  gw.on("attempt", function(message, hop)
    local now = gw.now()
    local f = freeze_of(hop.destination, now)
    if f then
      return gw.defer { reason = "maintenance: " .. f.name, after = math.min(math.ceil(f.to - now) + 1, 86400) }
    end
  end, { name = "maintenance_freeze.attempt", level = "mandatory" })

  -- So that the log says when it began and ended.
  local was_on = {}
  gw.every {
    name = "maintenance_freeze.clock", interval = "1m", scope = "node",
    run = function(tick)
      local now = gw.now()
      for i, f in ipairs(freezes) do
        local on = f.from <= now and now < f.to
        if on ~= (was_on[i] or false) then
          gw.log.info(on and "freeze begins" or "freeze is over", { name = f.name })
          was_on[i] = on
        end
      end
    end,
  }
end
