local t = gw.test

local function deliver(tls, options, caps)
  local e = t.env { bundle = ".", config = { policy = { options = { min_tls13 = options or { domains = { ".bank.example" } } } } } }
  e.dns:mx("bank.example", { { 10, "mx.bank.example" } })
  local p = e:peer("mx.bank.example", { caps = caps or { "STARTTLS" }, tls = tls })
  local msg = e:session { listener = "relay", ip = "10.1.2.3", tls = true }
    :send { from = "ann@acme.example", to = "bob@bank.example", headers = { Subject = "x" }, body = "x" }
  e:run_queue()
  return #p.transcript, msg, e
end

t.describe("min_tls13", function()
  t.it("sends over TLS 1.3", function()
    local n, _, e = deliver { version = "TLSv1.3" }
    t.eq(n, 1)
    t.trace(e, { hook = "tls_policy", handler = "min_tls13.floor", verdict = "tls" })
  end)

  t.it("does not send over TLS 1.2, or in clear", function()
    local n, msg = deliver { version = "TLSv1.2" }
    t.eq(n, 0)
    t.eq(msg.state, "queued")
    t.eq((deliver(nil, nil, {})), 0)
  end)

  t.it("can ask for more", function()
    t.eq((deliver({ version = "TLSv1.3", verified = "no" }, { domains = { "bank.example" }, level = "verify" })), 0)
    t.eq((deliver({ version = "TLSv1.3", verified = "pkix" }, { domains = { "bank.example" }, level = "verify" })), 1)
  end)

  t.it("leaves other domains", function()
    t.eq((deliver({ version = "TLSv1.2" }, { domains = { "other.example" } })), 1)
    t.eq((deliver({ version = "TLSv1.2" }, {})), 1)
  end)
end)
