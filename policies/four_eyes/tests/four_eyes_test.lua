local t = gw.test

local function env(options)
  local e = t.env { bundle = ".", config = { policy = { options = { four_eyes = options or
    { domains = { ".press.example" }, except = { "@pr.acme.example" } } } } } }
  for _, d in ipairs { "press.example", "x.example" } do e.dns:mx(d, { { 10, "mx." .. d } }) end
  return e, e:peer("mx.press.example"), e:peer("mx.x.example")
end

local function send(e, from, to, more)
  local msg = e:session(more or { listener = "relay", ip = "10.1.2.3", tls = true })
    :send { from = from, to = to, headers = { Subject = "x" }, body = "x" }
  e:run_queue()
  return msg
end

t.describe("four_eyes", function()
  t.it("holds mail to the listed domains", function()
    local e, press = env()
    local msg = send(e, "ann@acme.example", "bob@press.example")
    t.eq(msg.reply.code, 250)
    t.ok(msg.held)
    t.has(msg.tags, "four-eyes")
    t.match(msg.hold_reason or "", "second person")
    t.eq(#press.transcript, 0)
    t.trace(e, { handler = "four_eyes.hold", verdict = "hold" })
  end)

  t.it("holds all of it when one recipient is there", function()
    local e, _, other = env()
    t.ok(send(e, "ann@acme.example", { "c@x.example", "bob@press.example" }).held)
    t.eq(#other.transcript, 0)
  end)

  t.it("notes what became of it after the release", function()
    local e = env()
    local call = { message = { from = "ann@acme.example", to = "bob@press.example", tags = { "other" } },
      rcpt = "bob@press.example", result = { kind = "delivered" } }
    e:call("result", call)
    t.notrace(e, { handler = "four_eyes.note" })
    call.message.tags = { "four-eyes" }
    t.eq(e:call("result", call), nil)
    t.trace(e, { hook = "result", handler = "four_eyes.note", verdict = "nil" })
  end)

  t.it("lets those write who may", function()
    local e, press = env()
    send(e, "ann@pr.acme.example", "bob@press.example")
    t.eq(#press.transcript, 1)
  end)

  t.it("leaves mail to others and mail from outside", function()
    local e, _, other = env()
    send(e, "ann@acme.example", "c@x.example")
    t.eq(#other.transcript, 1)
    local e2 = t.env { bundle = ".", config = { policy = { options = { four_eyes = { domains = { "acme.example" } } } } } }
    e2:peer("mail.acme.example")
    t.ok(not send(e2, "c@x.example", "ann@acme.example", { listener = "inbound", ip = "198.51.100.7" }).held)
  end)

  t.it("does nothing without domains", function()
    local e, press = env {}
    send(e, "ann@acme.example", "bob@press.example")
    t.eq(#press.transcript, 1)
  end)
end)
