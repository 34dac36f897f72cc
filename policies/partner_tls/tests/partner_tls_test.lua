local t = gw.test

local function env(options, rows)
  return t.env { bundle = ".", now = "2026-03-02T10:00:00Z", config = {
    tables = { partners = { csv = "tests/partners.csv", key = "domain",
      columns = { domain = "pattern", level = "level", names = "list", pins = "list", ["until"] = "date" } } },
    policy = { options = { partner_tls = options } },
  } }
end

local function deliver(e, domain, tls)
  e.dns:mx(domain, { { 10, "mx." .. domain } })
  local peer = e:peer("mx." .. domain, { caps = { "STARTTLS" }, tls = tls })
  local msg = e:session { listener = "relay", ip = "10.1.2.3", tls = true }
    :send { from = "ann@acme.example", to = "bob@" .. domain, headers = { Subject = "x" }, body = "x" }
  t.eq(msg.reply.code, 250)
  e:run_queue()
  return peer, msg
end

t.describe("partner_tls", function()
  t.it("sends to a partner whose certificate verifies", function()
    local e = env()
    local peer = deliver(e, "soon.example", { verified = "pkix" })
    t.eq(#peer.transcript, 1)
    t.trace(e, { hook = "tls_policy", handler = "partner_tls.floor", verdict = "tls" })
  end)

  t.it("does not send when it does not", function()
    local peer, msg = deliver(env(), "soon.example", { verified = "no" })
    t.eq(#peer.transcript, 0)
    t.eq(msg.state, "queued")
  end)

  t.it("needs a secure lookup where the row says so", function()
    t.eq(#deliver(env(), "sub.bank.example", { verified = "pkix" }).transcript, 0)
  end)

  t.it("says nothing about others", function()
    local e = env()
    t.eq(#deliver(e, "other.example", { verified = "no" }).transcript, 1)
    t.trace(e, { hook = "tls_policy", handler = "partner_tls.floor", verdict = "nil" })
  end)

  t.it("takes the names of the row, until it has run out", function()
    t.eq(#deliver(env(), "named.example", { verified = "pkix", names = { "mail.named.example" } }).transcript, 1)
    local e = env()
    t.eq(#deliver(e, "old.example", { verified = "pkix" }).transcript, 1)
    t.match(e:log(), "a partner's row has run out")
  end)

  t.it("can wait for a new row", function()
    local e = env { expired = "defer" }
    local peer, msg = deliver(e, "old.example", { verified = "pkix" })
    t.eq(#peer.transcript, 0)
    t.eq(msg.state, "queued")
    t.trace(e, { handler = "partner_tls.floor", verdict = "defer" })
  end)

  t.it("warns before a row runs out", function()
    local e = env()
    e:advance("25h")
    t.match(e:log(), "runs out soon.*2026%-03%-20.*soon.example")
    t.match(e:log(), "has run out.*old.example")
    t.nomatch(e:log(), "row runs out soon[^\n]*bank.example")
  end)
end)
