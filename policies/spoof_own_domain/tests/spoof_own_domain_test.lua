local t = gw.test

local function send(from, field, options, more)
  local e = t.env { bundle = ".", config = { policy = { options = { spoof_own_domain = options } } } }
  more = more or {}
  return e:session { listener = more.listener or "inbound", ip = more.ip or "198.51.100.7", tls = true, auth = more.auth }
    :send { from = from, to = "ann@acme.example", headers = { Subject = "x", From = field or "x@other.example" }, body = "x" }
end

t.describe("spoof_own_domain", function()
  t.it("refuses our own sender from outside", function()
    local msg = send("boss@acme.example")
    t.eq(msg.reply.code, 550)
    t.match(msg.reply.text, "Our own addresses")
  end)

  t.it("refuses our own From field from outside", function()
    t.eq(send("x@other.example", "The Boss <boss@acme.example>").reply.code, 550)
  end)

  t.it("can tag instead, or look away", function()
    local msg = send("x@other.example", "boss@acme.example", { header = "tag" })
    t.eq(msg.reply.code, 250)
    t.has(msg.tags, "spoof")
    t.eq(send("boss@acme.example", nil, { envelope = "off" }).reply.code, 250)
  end)

  t.it("knows who may", function()
    t.eq(send("boss@acme.example", nil, { except = { "198.51.100.0/24" } }).reply.code, 250)
    t.eq(send("boss@acme.example", nil, nil, { auth = "boss" }).reply.code, 250)
    t.eq(send("boss@acme.example", nil, nil, { listener = "relay", ip = "10.1.2.3" }).reply.code, 250)
  end)

  t.it("takes other domains for ours where they are listed", function()
    t.eq(send("x@brand.example", nil, { domains = { ".brand.example" } }).reply.code, 550)
    t.eq(send("boss@acme.example", nil, { domains = { ".brand.example" } }).reply.code, 250)
  end)

  t.it("leaves other mail and notices", function()
    t.eq(send("x@other.example").reply.code, 250)
    t.eq(send("", "not an address").reply.code, 250)
  end)
end)
