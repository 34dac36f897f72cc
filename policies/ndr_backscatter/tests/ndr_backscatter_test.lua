local t = gw.test

local function notices(results, options, more)
  local e = t.env { bundle = ".", config = { policy = { options = { ndr_backscatter = options or { trust = { "mx1.acme.example" } } } } } }
  e:peer("mail.acme.example", { replies = { rcpt = "550 5.1.1 nobody" } })
  e.dns:mx("x.example", { { 10, "mx.x.example" } })
  e:peer("mx.x.example", { replies = { rcpt = "550 5.1.1 nobody" } })
  more = more or {}
  e:session { listener = more.listener or "inbound", ip = more.ip or "198.51.100.7", tls = true }
    :send { from = more.from or "carol@x.example", to = more.to or "ann@acme.example",
            headers = { Subject = "x", ["Authentication-Results"] = results }, body = "x" }
  e:run_queue()
  return #e:notices(), e
end

t.describe("ndr_backscatter", function()
  t.it("sends notices to senders who passed", function()
    t.eq((notices("mx1.acme.example; dmarc=pass header.from=x.example")), 1)
    t.eq((notices("mx1.acme.example; spf=pass smtp.mailfrom=x.example; dmarc=none")), 1)
  end)

  t.it("keeps them back from others", function()
    local n, e = notices("mx1.acme.example; spf=fail; dmarc=fail")
    t.eq(n, 0)
    t.trace(e, { hook = "bounce", handler = "ndr_backscatter.suppress", verdict = "suppress" })
  end)

  t.it("does not believe strangers", function()
    t.eq((notices("evil.example; dmarc=pass")), 0)
  end)

  t.it("does what was chosen when nobody says anything", function()
    t.eq((notices(nil)), 0)
    t.eq((notices(nil, { trust = { "mx1.acme.example" }, unknown = "send" })), 1)
    t.eq((notices("mx1.acme.example; dmarc=fail", { trust = { "mx1.acme.example" }, unknown = "send" })), 0)
    t.eq((notices("mx1.acme.example; dmarc=pass", {})), 0)
  end)

  t.it("leaves our own people's notices", function()
    t.eq((notices(nil, nil, { listener = "relay", ip = "10.1.2.3", from = "ann@acme.example", to = "bob@x.example" })), 1)
  end)
end)
