local t = gw.test

local function env(options)
  local e = t.env { bundle = ".", config = { policy = { options = { first_contact_partner = options } } } }
  e.dns:mx("x.example", { { 10, "mx.x.example" } })
  return e
end

local function peer(e, names, more)
  more = more or {}
  return e:peer("mx.x.example", { caps = more.caps or { "STARTTLS" }, tls = { verified = more.verified or "no", names = names } })
end

local function send(e)
  local msg = e:session { listener = "relay", ip = "10.1.2.3", tls = true }
    :send { from = "ann@acme.example", to = "bob@x.example", headers = { Subject = "x" }, body = "x" }
  e:run_queue()
  return msg
end

t.describe("first_contact_partner", function()
  t.it("encrypts, reports the first contact, and is quiet the second time", function()
    local e = env()
    local p = peer(e, { "mx.x.example" })
    send(e)
    t.eq(#p.transcript, 1)
    t.ok(p.transcript[1].tls)
    t.match(e:log(), "first contact")
    send(e)
    t.eq(#p.transcript, 2)
    t.eq(select(2, e:log():gsub("first contact", "")), 1)
    t.nomatch(e:log(), "another certificate")
  end)

  t.it("reports another certificate", function()
    local e = env()
    peer(e, { "mx.x.example" }, { verified = "pkix" })
    send(e)
    local p = peer(e, { "evil.example" }, { verified = "no" })
    send(e)
    t.match(e:log(), "another certificate.*evil.example")
    t.eq(#p.transcript, 1)
  end)

  t.it("does not send in clear", function()
    local e = env()
    local p = peer(e, nil, { caps = {} })
    local msg = send(e)
    t.eq(#p.transcript, 0)
    t.eq(msg.state, "queued")
  end)

  t.it("knows who has no TLS", function()
    local e = env { except = { "x.example" } }
    local p = peer(e, nil, { caps = {} })
    send(e)
    t.eq(#p.transcript, 1)
  end)

  t.it("leaves domains that publish something", function()
    local e = env()
    e.dns:mx("x.example", { { 10, "mx.x.example" } }, { secure = true })
    e.dns:tlsa("_25._tcp.mx.x.example", { "3 1 1 " .. ("ab"):rep(32) }, { secure = true })
    local p = peer(e, { "mx.x.example" }, { verified = "dane" })
    send(e)
    t.eq(#p.transcript, 1)
    t.nomatch(e:log(), "first contact")
  end)
end)
