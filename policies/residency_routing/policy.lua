-- residency_routing: mail leaves through the region that its sender belongs to.
local options = gw.schema.options("residency_routing", {
  regions = { type = "map", of = "text", default = {}, doc = "Region to route: `{ eu = \"egress-eu\" }`." },
  senders = { type = "map", keys = "domain", of = "text", default = {}, doc = "A sender's domain to region; the closest form counts." },
  table = { type = "text", default = "", doc = "A data table with a column `region`, asked for the sender's address first. Empty: none." },
  unknown = { type = "text", one_of = { "route", "defer", "hold" }, default = "route",
    doc = "A sender without region: the configured route, or wait, or held." },
})

local people = options.table ~= "" and gw.table(options.table) or nil

local domains, order = {}, {}
for form in gw.sorted_pairs(options.senders) do
  domains[form] = gw.domains { form }
  order[#order + 1] = form
end
-- The longest form is the closest; of "x.example" and "*.x.example" only one can fit.
table.sort(order, function(a, b) return #a > #b end)

local function region_of(from)
  local row = people and people:get(from)
  if row then return row.region end
  for _, form in ipairs(order) do
    if from.domain and domains[form]:has(from.domain) then return options.senders[form] end
  end
end

if next(options.regions) ~= nil then
  gw.on("route", function(message, rcpt)
    -- What stays with us and notices have no sender who lives somewhere.
    if message.from.is_null or not rcpt.domain or rcpt.domain:is_local() then return end
    local region = region_of(message.from)
    local route = region and options.regions[region]
    if route then
      return gw.route { via = route, reason = "the sender belongs to " .. region }
    end
    message:note("no region for the sender")
    if options.unknown == "defer" then
      return gw.defer { after = "1h", reason = "no region for the sender" }
    elseif options.unknown == "hold" then
      return gw.hold { reason = "no region for the sender" }
    end
  end, { name = "residency_routing.route", level = "mandatory" })
end
