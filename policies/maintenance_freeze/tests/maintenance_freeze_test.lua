local t = gw.test

local function env(now, freezes)
  local e = t.env { bundle = ".", now = now, config = { policy = { options = { maintenance_freeze = { freezes = freezes or {
    { name = "move of x", domains = { ".x.example" }, from = "2026-03-02T12:00:00Z", to = "2026-03-02T18:00:00Z" },
    { name = "longer", domains = { "x.example" }, from = "2026-03-02T12:00:00Z", to = "2026-03-02T19:00:00Z" },
  } } } } } }
  for _, d in ipairs { "x.example", "y.example" } do e.dns:mx(d, { { 10, "mx." .. d } }) end
  return e, e:peer("mx.x.example"), e:peer("mx.y.example")
end

local function send(e, to)
  local msg = e:session { listener = "relay", ip = "10.1.2.3", tls = true }
    :send { from = "ann@acme.example", to = to, headers = { Subject = "x" }, body = "x" }
  t.eq(msg.reply.code, 250)
  e:run_queue()
  return msg
end

t.describe("maintenance_freeze", function()
  t.it("holds mail while it is on, and lets it go afterwards", function()
    local e, peer = env("2026-03-02T13:00:00Z")
    local msg = send(e, "bob@x.example")
    t.ok(msg.held)
    t.trace(e, { hook = "route", handler = "maintenance_freeze.route", verdict = "hold" })
    e:advance("5h")
    t.eq(#peer.transcript, 0)
    e:advance("90m")
    e:run_queue()
    t.eq(#peer.transcript, 1)
  end)

  t.it("holds up what was in the queue before", function()
    local e, peer = env("2026-03-02T11:59:00Z")
    e:peer("mx.x.example", { refuses = true })
    send(e, "bob@x.example")
    peer = e:peer("mx.x.example")
    e:advance("2h")
    t.eq(#peer.transcript, 0)
    t.trace(e, { hook = "attempt", handler = "maintenance_freeze.attempt", verdict = "defer" })
    e:advance("6h")
    t.eq(#peer.transcript, 1)
  end)

  t.it("says in the log when it begins and ends", function()
    local e = env("2026-03-02T11:58:00Z")
    e:advance("5m")
    t.match(e:log(), "freeze begins.*move of x")
    e:advance("7h")
    t.match(e:log(), "freeze is over")
  end)

  t.it("leaves others, and other times", function()
    local e, _, other = env("2026-03-02T13:00:00Z")
    send(e, "bob@y.example")
    t.eq(#other.transcript, 1)
    local e2, peer = env("2026-03-02T20:00:00Z")
    send(e2, "bob@x.example")
    t.eq(#peer.transcript, 1)
  end)

  t.it("refuses a freeze that ends before it begins", function()
    t.raises(function()
      env("2026-03-02T13:00:00Z", { { name = "no", domains = { "x.example" }, from = "2026-03-02T12:00:00Z", to = "2026-03-02T11:00:00Z" } })
    end, "ends before it begins")
  end)

  t.it("does nothing without freezes", function()
    local e, peer = env("2026-03-02T13:00:00Z", {})
    send(e, "bob@x.example")
    t.eq(#peer.transcript, 1)
  end)
end)
