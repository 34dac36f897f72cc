local t = gw.test

local bank = { name = "bank", domains = { "bank.example" }, tags = { "file" }, zone = "Europe/Berlin", holidays = { "12-25" },
  windows = { { days = "mon-fri", from = "08:00", to = "18:00" } } }
local night = { name = "night", bulk = true, windows = { { from = "22:00", to = "05:00" } } }

local function env(now, classes)
  local e = t.env { bundle = ".", now = now, config = { policy = {
    load = { "policy.lua", "tests/tagger.lua" }, options = { time_window = { classes = classes or { bank, night } } } } } }
  for _, d in ipairs { "bank.example", "other.example" } do
    e.dns:mx(d, { { 10, "mx." .. d } })
  end
  return e, e:peer("mx.bank.example"), e:peer("mx.other.example")
end

local function send(e, to, headers)
  headers = headers or {}
  headers.Subject = headers.Subject or "x"
  local msg = e:session { listener = "relay", ip = "10.1.2.3", tls = true }
    :send { from = "ann@acme.example", to = to, headers = headers, body = "x" }
  t.eq(msg.reply.code, 250)
  e:run_queue()
  return msg
end

t.describe("time_window", function()
  t.it("sends inside the window", function()
    local e, peer = env("2026-03-02T10:00:00Z")
    send(e, "in@bank.example", { Subject = "file" })
    t.eq(#peer.transcript, 1)
  end)

  t.it("waits for the window, over a holiday", function()
    -- Thursday evening, then Christmas, a Friday.
    local e, peer = env("2026-12-24T20:00:00Z")
    local msg = send(e, "in@bank.example", { Subject = "file" })
    t.eq(msg.state, "queued")
    t.trace(e, { hook = "route", handler = "time_window.route", verdict = "defer" })
    e:advance("24h")
    t.eq(#peer.transcript, 0)
    -- Monday 08:00 in Berlin.
    e:advance("2d")
    t.eq(#peer.transcript, 0)
    e:advance("24h")
    t.eq(#peer.transcript, 1)
  end)

  t.it("waits when the window closed before the attempt", function()
    local e, peer = env("2026-03-02T16:59:58Z")
    peer = e:peer("mx.bank.example", { refuses = true })
    send(e, "in@bank.example", { Subject = "file" })
    peer = e:peer("mx.bank.example")
    e:advance("2h")
    t.eq(#peer.transcript, 0)
    t.trace(e, { hook = "attempt", handler = "time_window.attempt", verdict = "defer" })
    e:advance("16h")
    t.eq(#peer.transcript, 1)
  end)

  t.it("keeps bulk mail for the night", function()
    local e, _, peer = env("2026-03-02T10:00:00Z")
    local msg = send(e, "x@other.example", { ["List-Id"] = "<news.acme.example>" })
    t.has(msg.tags, "bulk")
    t.eq(#peer.transcript, 0)
    e:advance("13h")
    t.eq(#peer.transcript, 1)
  end)

  t.it("leaves other mail alone", function()
    local e, peer, other = env("2026-03-02T20:00:00Z")
    send(e, "in@bank.example")
    send(e, "x@other.example")
    t.eq(#peer.transcript, 1)
    t.eq(#other.transcript, 1)
  end)

  t.it("does nothing without classes", function()
    local e, peer = env("2026-03-02T20:00:00Z", {})
    send(e, "in@bank.example", { Subject = "file" })
    t.eq(#peer.transcript, 1)
  end)
end)
