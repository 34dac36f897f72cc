local t = gw.test

local function send(to, options, more)
  local e = t.env { bundle = ".", config = { policy = { options = { tlsno_roles = options } } } }
  more = more or {}
  more.from, more.to = "ann@acme.example", to
  more.headers = more.headers or { Subject = "x", ["TLS-Required"] = "No" }
  return e:session { listener = "relay", ip = "10.1.2.3", tls = true }:send(more)
end

t.describe("tlsno_roles", function()
  t.it("honours the header when all recipients are role accounts", function()
    t.eq(send({ "Postmaster@x.example", "TLSRPT@y.example" }).tls_required_no, "honoured")
  end)

  t.it("ignores it when one recipient is somebody else", function()
    local msg = send({ "postmaster@x.example", "bob@x.example" })
    t.eq(msg.reply.code, 250)
    t.eq(msg.tls_required_no, "ignored")
  end)

  t.it("knows further addresses", function()
    t.eq(send("smtp-tls@vendor.example", { addresses = { "smtp-tls@vendor.example" } }).tls_required_no, "honoured")
    t.eq(send("smtp-tls@vendor.example").tls_required_no, "ignored")
  end)

  t.it("does nothing without the header, or when REQUIRETLS goes first", function()
    t.eq(send("bob@x.example", nil, { headers = { Subject = "x" } }).tls_required_no, "absent")
    t.eq(send("bob@x.example", nil, { requiretls = true }).tls_required_no, "overridden")
  end)
end)
