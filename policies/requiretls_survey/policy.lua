-- requiretls_survey: writes down which servers list REQUIRETLS. It enforces nothing.
local options = gw.schema.options("requiretls_survey", {
  store = { type = "text", default = "requiretls_survey", pattern = "[a-z0-9_.-]+", max = 63, doc = "The name in `gw.kv`." },
  keep = { type = "duration", default = "90d", max = 31622400, doc = "How long a host is remembered after it was last seen." },
})

local kv = gw.kv(options.store)

-- Observing: it cannot change a delivery, and its failure is only logged.
gw.on("ehlo", function(message, hop)
  local key = hop.destination.name .. " " .. hop.host.name
  local listed = hop.caps:has("REQUIRETLS")
  local before, err = kv:get(key)
  if err then
    gw.log.warn("the survey cannot be read", { error = tostring(err) })
    return
  end
  if before and before.listed == listed then
    kv:set(key, before, { ttl = options.keep })
    return
  end
  kv:set(key, { listed = listed, since = math.floor(gw.now()) }, { ttl = options.keep })
  kv:add(listed and "count listed" or "count without", 1)
  gw.log.info("requiretls survey", { domain = hop.destination.name, host = hop.host.name, listed = listed, changed = before ~= nil })
end, { name = "requiretls_survey.seen", observe = true })

-- What the gateway itself has noticed goes into the same story.
gw.on("log", function(event)
  if event.what == "requiretls" and event.domain then
    gw.log.info("requiretls survey", { domain = event.domain, host = event.host, event = event.event })
  end
end, { name = "requiretls_survey.log", observe = true })
