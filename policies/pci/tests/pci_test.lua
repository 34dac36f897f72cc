local t = gw.test

local function env(options)
  return t.env { bundle = ".", config = { policy = { options = { pci = options } } } }
end

local function send(e, body, more)
  more = more or {}
  return e:session { listener = more.listener or "relay", ip = "10.1.2.3", tls = true }
    :send { from = "ann@acme.example", to = more.to or "bob@shop.example",
            headers = { Subject = more.subject or "order" }, body = body }
end

t.describe("pci", function()
  t.it("holds a message with a card number", function()
    local e = env()
    local msg = send(e, "please charge 4111 1111 1111 1111, thanks")
    t.eq(msg.reply.code, 250)
    t.ok(msg.held)
    t.has(msg.tags, "pci")
    t.trace(e, { handler = "pci.cards", verdict = "hold" })
  end)

  t.it("looks at the subject", function()
    t.ok(send(env(), "x", { subject = "card 5500-0000-0000-0004" }).held)
  end)

  t.it("looks at text in base64 and in attachments, as far as it is to", function()
    local function raw(e, body)
      return e:session { listener = "relay", ip = "10.1.2.3", tls = true }
        :send { from = "ann@acme.example", to = "bob@shop.example", raw = body }
    end
    local mixed = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n%s\r\n--b\r\n" ..
      "Content-Type: %s\r\nContent-Transfer-Encoding: base64\r\n\r\nNDExMTExMTExMTExMTExMQ==\r\n--b--\r\n"
    t.ok(raw(env(), mixed:format("hello", "text/csv; name=cards.csv")).held)
    t.ok(raw(env(), mixed:format("hello", "application/pdf")).queued)
    t.ok(raw(env { scan = 1024 }, mixed:format(("x"):rep(900) .. "\r\n" .. ("x"):rep(200), "text/csv")).queued)
  end)

  t.it("never shows the number", function()
    local e = env { act = "reject" }
    local msg = send(e, "4111111111111111")
    t.eq(msg.reply.code, 550)
    t.nomatch(msg.reply.text, "1111")
    t.nomatch(e:log(), "4111111111111111")
  end)

  t.it("asks for REQUIRETLS where that was chosen", function()
    local msg = send(env { act = "requiretls" }, "4111111111111111")
    t.ok(msg.queued)
    t.has(msg.duties, { "propagate" })
  end)

  t.it("lets numbers pass that are none, and few of them", function()
    t.ok(send(env(), "order 4111111111111112, call 0049 30 1234567").queued)
    t.ok(send(env { enough = 2 }, "4111111111111111").queued)
    t.ok(send(env { enough = 2 }, "4111111111111111 and 5500000000000004").held)
  end)

  t.it("knows who may get them", function()
    local e = env { except = { "acquirer.example" } }
    t.ok(send(e, "4111111111111111", { to = "desk@acquirer.example" }).queued)
    t.ok(send(e, "4111111111111111", { to = { "desk@acquirer.example", "bob@shop.example" } }).held)
  end)

  t.it("does not look at mail from outside", function()
    t.ok(send(env(), "4111111111111111", { listener = "inbound", to = "ann@acme.example" }).queued)
  end)
end)
