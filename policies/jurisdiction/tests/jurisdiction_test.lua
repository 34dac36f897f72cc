local t = gw.test

-- country.mmdb: 192.0.2.0/24 is in DE, 198.51.100.0/24 in US. asn.mmdb: 203.0.113.0/24 is 64500.
local function env(ip, otherwise, more)
  local options = { classes = { { tag = "personal", countries = { "DE", "FR" }, asns = { 64500 }, otherwise = otherwise } },
    portal = "portal" }
  for k, v in pairs(more or {}) do options[k] = v end
  local e = t.env { bundle = ".", config = {
    routes = { portal = { via = { "portal.acme.example:25" } } },
    policy = { load = { "policy.lua", "tests/tagger.lua" }, geo = { country = "tests/country.mmdb", asn = "tests/asn.mmdb" },
      options = { jurisdiction = options } },
  } }
  e.dns:mx("x.example", { { 10, "mx1.x.example" }, { 20, "mx2.x.example" } })
  e.dns:a("mx1.x.example", { ip })
  e.dns:a("mx2.x.example", { "192.0.2.99" })
  e.dns:a("portal.acme.example", { "198.51.100.99" })
  return e, e:peer("mx1.x.example"), e:peer("mx2.x.example"), e:peer("portal.acme.example")
end

local function send(e, subject)
  local msg = e:session { listener = "relay", ip = "10.1.2.3", tls = true }
    :send { from = "ann@acme.example", to = "bob@x.example", headers = { Subject = subject or "personal" }, body = "x" }
  t.eq(msg.reply.code, 250)
  e:run_queue()
  return msg
end

t.describe("jurisdiction", function()
  t.it("sends to a country that is allowed", function()
    local e, first = env("192.0.2.9")
    send(e)
    t.eq(#first.transcript, 1)
    t.trace(e, { hook = "ehlo", handler = "jurisdiction.ehlo", verdict = "nil" })
  end)

  t.it("holds what would go elsewhere", function()
    local e, first = env("198.51.100.9")
    local msg = send(e)
    t.ok(msg.held)
    t.match(msg.hold_reason or "", "US")
    t.eq(first.connections, 0)
  end)

  t.it("does not send where the country is unknown", function()
    local e, first = env("100.64.0.9")
    t.ok(send(e).held)
    t.eq(#first.transcript, 0)
  end)

  t.it("knows networks, by number and by address", function()
    local e, first = env("203.0.113.9")
    send(e)
    t.eq(#first.transcript, 1)
    e, first = env("198.51.100.9", "hold", { networks = { ["198.51.100.0/25"] = "FR" } })
    send(e)
    t.eq(#first.transcript, 1)
  end)

  t.it("takes the next host, the portal, or sends it back", function()
    local e, first, second, portal = env("198.51.100.9", "skip")
    send(e)
    t.eq(#first.transcript, 0)
    t.eq(#second.transcript, 1)
    e, first, second, portal = env("198.51.100.9", "portal")
    send(e)
    t.eq(#portal.transcript, 1)
    e, first = env("198.51.100.9", "bounce")
    send(e)
    t.eq(#first.transcript, 0)
    t.trace(e, { hook = "attempt", handler = "jurisdiction.attempt", verdict = "bounce" })
  end)

  t.it("leaves other mail", function()
    local e, first = env("198.51.100.9")
    send(e, "x")
    t.eq(#first.transcript, 1)
    e, first = env("198.51.100.9", nil, { classes = {} })
    send(e)
    t.eq(#first.transcript, 1)
  end)

  t.it("needs a portal that is there", function()
    t.raises(function() env("192.0.2.9", "portal", { portal = "" }) end, "needs a portal")
  end)
end)
