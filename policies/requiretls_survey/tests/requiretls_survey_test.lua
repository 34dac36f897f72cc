local t = gw.test

local function env()
  local e = t.env { bundle = "." }
  e.dns:mx("x.example", { { 10, "mx.x.example" } })
  return e
end

local function send(e, caps)
  local p = e:peer("mx.x.example", { caps = caps, tls = { verified = "pkix", names = { "mx.x.example" } } })
  e:session { listener = "relay", ip = "10.1.2.3", tls = true }
    :send { from = "ann@acme.example", to = "bob@x.example", headers = { Subject = "x" }, body = "x" }
  e:run_queue()
  t.eq(#p.transcript, 1)
end

local function count(e, words) return select(2, e:log():gsub("requiretls survey[^\n]*" .. words, "")) end

t.describe("requiretls_survey", function()
  t.it("writes down what a server lists, once", function()
    local e = env()
    send(e, { "STARTTLS", "REQUIRETLS" })
    send(e, { "STARTTLS", "REQUIRETLS" })
    t.eq(count(e, "listed"), 1)
    t.match(e:log(), "mx.x.example")
    t.match(e:log(), "true")
  end)

  t.it("writes down a change", function()
    local e = env()
    send(e, { "STARTTLS", "REQUIRETLS" })
    send(e, { "STARTTLS" })
    t.ok(count(e, "changed") >= 2)
    t.trace(e, { hook = "ehlo", handler = "requiretls_survey.seen" })
  end)
end)
