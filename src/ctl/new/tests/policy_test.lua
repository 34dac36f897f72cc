-- Run with `sallyport policy test`: no network, a clock of its own.
local t = gw.test

t.describe("policy.lua", function()
  local env = t.env { now = "2026-03-02T10:00:00Z" }

  t.it("marks what the subject marks", function()
    local s = env:session { listener = "relay", ip = "127.0.0.1" }
    local msg = s:send { from = "ann@acme.example", to = "bob@clinic.example", headers = { Subject = "[secure] results" }, body = "hello" }
    t.eq(msg.reply.code, 250)
    t.has(msg.duties, { "encrypt", "authenticate", "secure_lookup", "propagate" })
  end)

  t.it("leaves other mail alone", function()
    local s = env:session { listener = "relay", ip = "127.0.0.1" }
    local msg = s:send { from = "ann@acme.example", to = "bob@clinic.example", headers = { Subject = "lunch" }, body = "hello" }
    t.eq(msg.reply.code, 250)
    t.eq(msg.duties, {})
  end)

  t.it("refuses our own domain from outside", function()
    local s = env:session { listener = "inbound", ip = "192.0.2.7" }
    local msg = s:send { from = "ann@acme.example", to = "bob@acme.example", headers = { Subject = "x" }, body = "hello" }
    t.eq(msg.reply.code, 550)
  end)

  t.it("keeps payroll inside", function()
    local s = env:session { listener = "inbound", ip = "192.0.2.7" }
    local msg = s:send { from = "eve@other.example", to = "payroll@acme.example", headers = { Subject = "x" }, body = "hello" }
    t.eq(msg.reply.code, 550)
  end)
end)
