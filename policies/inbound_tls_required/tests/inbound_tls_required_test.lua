local t = gw.test

local function send(tls, to, options, more)
  local e = t.env { bundle = ".", config = { policy = { options = { inbound_tls_required = options or { domains = { ".bank.example" } } } } } }
  more = more or {}
  return e:session { listener = more.listener or "inbound", ip = more.ip or "198.51.100.7", tls = tls }
    :send { from = more.from or "x@bank.example", to = to or "ann@acme.example", headers = { Subject = "x" }, body = "x" }
end

t.describe("inbound_tls_required", function()
  t.it("refuses mail in clear", function()
    local msg = send(false)
    t.eq(msg.reply.code, 550)
    t.eq(msg.reply.status, "5.7.10")
    t.match(msg.reply.text, "TLS is needed")
  end)

  t.it("takes mail over TLS", function()
    t.eq(send(true).reply.code, 250)
  end)

  t.it("takes reports about TLS in clear", function()
    t.eq(send(false, "tlsrpt@acme.example").reply.code, 250)
    t.eq(send(false, "tlsrpt@acme.example", { domains = { "bank.example" }, roles = {} }).reply.code, 550)
  end)

  t.it("can ask for a version", function()
    t.eq(send({ version = "TLSv1.2" }, nil, { domains = { "bank.example" }, version = "1.3" }).reply.code, 550)
    t.eq(send({ version = "TLSv1.3" }, nil, { domains = { "bank.example" }, version = "1.3" }).reply.code, 250)
  end)

  t.it("leaves others", function()
    t.eq(send(false, nil, nil, { from = "x@other.example" }).reply.code, 250)
    t.eq(send(false, nil, nil, { from = "" }).reply.code, 250)
    t.eq(send(false, nil, nil, { listener = "relay", ip = "10.1.2.3" }).reply.code, 250)
    t.eq(send(false, nil, {}).reply.code, 250)
  end)
end)
