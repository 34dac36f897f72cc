-- first_contact_partner: a domain that publishes neither DANE nor MTA-STS is at least encrypted to, and
-- what its servers show is remembered: the first time it is reported, later a change is. It learns,
-- and never relaxes.
local options = gw.schema.options("first_contact_partner", {
  except = { type = "list", of = "domain", default = {}, doc = "Domains whose servers have no TLS at all." },
  keep = { type = "duration", default = "180d", max = 31622400, doc = "How long a domain is remembered after it was last seen." },
  store = { type = "text", default = "first_contact", pattern = "[a-z0-9_.-]+", max = 63, doc = "The name in `gw.kv`." },
})

local except = gw.domains(options.except)
local kv = gw.kv(options.store)

local function publishes(hop) return hop.sts ~= nil or hop.tlsa.usable end

-- What is compared: not the cipher or version, which change with the client.
local function identity(tls)
  local names = {}
  for i, name in ipairs(tls.names) do
    if i > 20 then break end
    names[i] = name:lower()
  end
  table.sort(names)
  return { verified = tls.verified, names = table.concat(names, " "):sub(1, 1000) }
end

gw.on("ehlo", function(message, hop)
  if publishes(hop) or except:has(hop.destination) then return end
  -- In clear this is a duty that is not met: the mail waits rather than going in the open.
  hop:require_tls { level = "encrypt", reason = "no DANE or MTA-STS: encrypted at least" }
  if not hop.tls then return end
  local seen = identity(hop.tls)
  local key = hop.destination.name .. " " .. hop.host.name
  local before, err = kv:get(key)
  if err then
    hop:note("what was seen before cannot be read: " .. tostring(err))
    return
  end
  kv:set("shown " .. key, seen, { ttl = 86400 })
  if before and (before.names ~= seen.names or before.verified ~= seen.verified) then
    gw.log.warn("a partner's server shows another certificate", { domain = hop.destination.name, host = hop.host.name,
      was = before.names, was_verified = before.verified, names = seen.names, verified = seen.verified })
  elseif not before then
    gw.log.info("first contact", { domain = hop.destination.name, host = hop.host.name, names = seen.names, verified = seen.verified })
  end
end, { name = "first_contact.floor", level = "mandatory" })

-- Only what a delivery went to is believed from then on.
gw.on("result", function(message, rcpt, result)
  local hop = result.hop
  if result.kind ~= "delivered" or not hop then return end
  local key = hop.destination.name .. " " .. hop.host.name
  local seen = kv:get("shown " .. key)
  if not seen then return end
  local ok, err = kv:set(key, seen, { ttl = options.keep })
  if not ok then
    gw.log.warn("a first contact cannot be remembered", { domain = hop.destination.name, error = tostring(err) })
  end
end, { name = "first_contact.learn" })
