local t = gw.test

local function env(options, regions)
  options = options or {}
  options.regions = regions or { eu = "egress-eu", us = "egress-us" }
  options.senders = { ["acme.example"] = "eu", ["*.acme.example"] = "eu", ["ny.acme.example"] = "us", ["*"] = options.star }
  options.star = nil
  local e = t.env { bundle = ".", config = {
    tables = { people = { csv = "tests/people.csv", key = "addr" } },
    routes = { ["egress-eu"] = { via = { "out.eu.acme.example:25" } }, ["egress-us"] = { via = { "out.us.acme.example:25" } } },
    policy = { options = { residency_routing = options } },
  } }
  e.dns:mx("x.example", { { 10, "mx.x.example" } })
  return e, e:peer("out.eu.acme.example"), e:peer("out.us.acme.example"), e:peer("mx.x.example"), e:peer("mail.acme.example")
end

local function send(e, from, to)
  local msg = e:session { listener = "relay", ip = "10.1.2.3", tls = true }
    :send { from = from, to = to or "bob@x.example", headers = { Subject = "x" }, body = "x" }
  t.eq(msg.reply.code, 250)
  e:run_queue()
  return msg
end

t.describe("residency_routing", function()
  t.it("takes the route of the sender's region", function()
    local e, eu, us = env()
    send(e, "ann@acme.example")
    send(e, "ann@berlin.acme.example")
    t.eq(#eu.transcript, 2)
    send(e, "ann@ny.acme.example")
    t.eq(#us.transcript, 1)
  end)

  t.it("asks the table of people first", function()
    local e, eu, us = env { table = "people" }
    send(e, "boss@acme.example")
    send(e, "ann@acme.example")
    t.eq(#us.transcript, 1)
    t.eq(#eu.transcript, 1)
  end)

  t.it("does with unknown senders what was chosen", function()
    local e, _, _, mx = env()
    send(e, "x@other.example")
    t.eq(#mx.transcript, 1)
    e = env { unknown = "hold" }
    t.ok(send(e, "x@other.example").held)
    e = env { unknown = "defer" }
    t.eq(send(e, "x@other.example").state, "queued")
    t.trace(e, { handler = "residency_routing.route", verdict = "defer" })
  end)

  t.it("leaves mail that stays here", function()
    local e, eu, _, _, inside = env()
    send(e, "ann@acme.example", "bob@acme.example")
    t.eq(#inside.transcript, 1)
    t.eq(#eu.transcript, 0)
  end)

  t.it("does nothing without regions", function()
    local e, _, _, mx = env({}, {})
    send(e, "ann@acme.example")
    t.eq(#mx.transcript, 1)
  end)
end)
