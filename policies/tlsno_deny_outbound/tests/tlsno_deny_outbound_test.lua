local t = gw.test

local function send(options, more)
  local e = t.env { bundle = ".", config = { policy = { options = { tlsno_deny_outbound = options } } } }
  more = more or {}
  return e:session { listener = more.listener or "relay", ip = "10.1.2.3", tls = true }
    :send { from = more.from or "ann@acme.example", to = more.to or "bob@x.example",
            headers = more.headers or { Subject = "x", ["TLS-Required"] = "No" }, requiretls = more.requiretls }
end

t.describe("tlsno_deny_outbound", function()
  t.it("takes the header out and ignores it", function()
    local msg = send()
    t.eq(msg.reply.code, 250)
    t.eq(msg.tls_required_no, "ignored")
    t.eq(msg:header("TLS-Required"), nil)
  end)

  t.it("takes it out beside REQUIRETLS, too", function()
    local msg = send(nil, { requiretls = true })
    t.eq(msg.tls_required_no, "overridden")
    t.eq(msg:header("TLS-Required"), nil)
  end)

  t.it("refuses where that was chosen", function()
    local msg = send { act = "reject", text = "Ask the helpdesk" }
    t.eq(msg.reply.code, 550)
    t.match(msg.reply.text, "Ask the helpdesk")
  end)

  t.it("lets those use it who mend TLS", function()
    local msg = send { except = { "postmaster@" } , act = "reject" }
    t.eq(msg.reply.code, 550)
    msg = send({ except = { "postmaster@" }, act = "reject" }, { from = "postmaster@acme.example" })
    t.eq(msg.tls_required_no, "honoured")
  end)

  t.it("leaves mail without it, and mail from outside", function()
    t.eq(send({ act = "reject" }, { headers = { Subject = "x" } }).reply.code, 250)
    t.eq(send({ act = "reject" }, { listener = "inbound", to = "ann@acme.example" }).reply.code, 250)
  end)
end)
