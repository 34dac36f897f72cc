-- jurisdiction: where data of a class may go, by the country or the network of the server's address.
local options = gw.schema.options("jurisdiction", {
  classes = { type = "list", default = {}, max = 100, doc = "Each class that a message belongs to counts.", of = { type = "table", fields = {
    tag = { type = "text", required = true, doc = "The tag that makes a message one of this class." },
    countries = { type = "list", of = { type = "text", pattern = "%u%u", expects = 'a country code such as "DE"' }, default = {} },
    asns = { type = "list", of = "integer", default = {}, doc = "Networks that are fine in any country." },
    otherwise = { type = "text", one_of = { "portal", "hold", "bounce", "skip" }, default = "hold",
      doc = "Through the portal, held, returned, or the next host." },
  } } },
  networks = { type = "map", keys = "network", of = { type = "text", pattern = "%u%u", expects = 'a country code such as "DE"' },
    default = {}, doc = "Network to country, where you know better than the database." },
  portal = { type = "text", default = "", doc = "A route, for `otherwise = \"portal\"`." },
})

local known = gw.cidr(options.networks)
local classes = {}
for i, c in ipairs(options.classes) do
  local countries, asns = gw.set(c.countries), {}
  for _, n in ipairs(c.asns) do asns[n] = true end
  if c.otherwise == "portal" and options.portal == "" then
    error("policy.options.jurisdiction: class " .. c.tag .. " needs a portal, and there is none")
  end
  classes[i] = { tag = c.tag, countries = countries, asns = asns, otherwise = c.otherwise }
end

-- What is not known is not allowed.
local function may_go(class, hop)
  if hop.asn and class.asns[hop.asn] then return true end
  local country = hop.host.ip and known:get(hop.host.ip) or hop.country
  return country ~= nil and class.countries:has(country), country
end

local function check(message, hop)
  -- The portal is ours: where it stands was decided when it was named.
  if options.portal ~= "" and hop.route and hop.route.name == options.portal then return end
  for _, class in ipairs(classes) do
    if message:has_tag(class.tag) then
      local ok, country = may_go(class, hop)
      if not ok then
        local reason = ("%s may not go to %s in %s"):format(class.tag, hop.host.name, country or "an unknown country")
        if class.otherwise == "skip" then return gw.skip_host { reason = reason } end
        if class.otherwise == "hold" then return gw.hold { reason = reason } end
        if class.otherwise == "bounce" then
          return gw.bounce { status = "5.7.1", text = "This message may not go to where the recipient's server is", reason = reason }
        end
        return gw.reroute { via = options.portal, reason = reason }
      end
    end
  end
end

if #classes > 0 then
  -- Before anybody connects, and again on the live connection: a host may have several addresses.
  gw.on("attempt", check, { name = "jurisdiction.attempt", level = "mandatory" })
  gw.on("ehlo", check, { name = "jurisdiction.ehlo", level = "mandatory" })
end
