local t = gw.test

local function env(options)
  local e = t.env { bundle = ".", config = { policy = { options = { legal_hold = options or
    { custodians = { "ceo@acme.example" }, archive = "journal@archive.example" } } } } }
  e.dns:mx("x.example", { { 10, "mx.x.example" } })
  e.dns:mx("archive.example", { { 10, "mx.archive.example" } }, { secure = true })
  e.dns:tlsa("_25._tcp.mx.archive.example", { "3 1 1 " .. ("ab"):rep(32) }, { secure = true })
  return e, e:peer("mx.x.example"), e:peer("mail.acme.example")
end

local function send(e, from, to, more)
  more = more or {}
  return e:session { listener = "relay", ip = "10.1.2.3", tls = true }
    :send { from = from, to = to, headers = { Subject = "x" }, body = "x", requiretls = more.requiretls }
end

local function archive(e, caps)
  return e:peer("mx.archive.example", { caps = caps or { "STARTTLS", "REQUIRETLS" }, tls = { verified = "dane" } })
end

t.describe("legal_hold", function()
  t.it("copies what a custodian sends, with REQUIRETLS", function()
    local e, peer = env()
    local copy = archive(e)
    local msg = send(e, "ceo@acme.example", "bob@x.example")
    t.has(msg.tags, "legal-hold")
    t.eq(#msg.recipients, 2)
    e:run_queue()
    t.eq(#peer.transcript, 1)
    t.eq(#copy.transcript, 1)
    t.match(copy.transcript[1].mail, "REQUIRETLS")
    t.nomatch(peer.transcript[1].mail, "REQUIRETLS")
  end)

  t.it("copies what a custodian gets", function()
    local e = env()
    t.eq(#send(e, "bob@x.example", "ceo@acme.example").recipients, 2)
  end)

  t.it("leaves mail of others, and what goes there already", function()
    local e = env()
    t.eq(#send(e, "ann@acme.example", "bob@x.example").recipients, 1)
    t.eq(#send(e, "ceo@acme.example", { "bob@x.example", "journal@archive.example" }).recipients, 2)
  end)

  t.it("keeps to itself that a copy failed", function()
    local e, peer = env()
    local copy = archive(e, { "STARTTLS" })
    send(e, "ceo@acme.example", "bob@x.example")
    e:run_queue()
    e:advance("6d")
    t.eq(#peer.transcript, 1)
    t.eq(#copy.transcript, 0)
    t.eq(#e:notices(), 0)
    t.trace(e, { hook = "bounce", handler = "legal_hold.bounce", verdict = "suppress" })
  end)

  t.it("does nothing without an archive", function()
    local e = env { custodians = { "ceo@acme.example" } }
    t.eq(#send(e, "ceo@acme.example", "bob@x.example").recipients, 1)
  end)
end)
