local t = gw.test

local function deliver(mode, verified, options)
  local e = t.env { bundle = ".", config = { policy = {
    network = { dns = true }, options = { sts_strict = options or { domains = { ".bank.example" } } } } } }
  e.dns:mx("bank.example", { { 10, "mx.bank.example" } })
  if mode == "broken" then
    e.sts:fail("bank.example", "the policy host does not answer")
  elseif mode then
    e.sts:policy("bank.example", { mode = mode, mx = { "mx.bank.example" } })
  end
  local p = e:peer("mx.bank.example", { caps = { "STARTTLS" }, tls = { verified = verified, names = { "mx.bank.example" } } })
  local msg = e:session { listener = "relay", ip = "10.1.2.3", tls = true }
    :send { from = "ann@acme.example", to = "bob@bank.example", headers = { Subject = "x" }, body = "x" }
  e:run_queue()
  return #p.transcript, msg, e
end

t.describe("sts_strict", function()
  t.it("takes testing for enforce", function()
    local n, msg, e = deliver("testing", "no")
    t.eq(n, 0)
    t.eq(msg.state, "queued")
    t.trace(e, { hook = "tls_policy", handler = "sts_strict.floor", verdict = "tls" })
    t.eq((deliver("testing", "pkix")), 1)
  end)

  t.it("leaves mode none, and domains without a policy", function()
    t.eq((deliver("none", "no")), 1)
    t.eq((deliver(nil, "no")), 1)
  end)

  t.it("waits when the policy cannot be read", function()
    local n, msg, e = deliver("broken", "pkix")
    t.eq(n, 0)
    t.trace(e, { handler = "sts_strict.floor", verdict = "defer" })
  end)

  t.it("leaves domains that are not listed", function()
    t.eq((deliver("testing", "no", { domains = { "other.example" } })), 1)
    t.eq((deliver("testing", "no", {})), 1)
  end)
end)
