local t = gw.test

local function env(options)
  options.senders = { ["@sales.acme.example"] = "sales", ["@*.sales.acme.example"] = "sales", ["ann@acme.example"] = "sales",
    ["bot@"] = "robots", ["@.dev.example"] = "dev" }
  local e = t.env { bundle = ".", config = {
    tables = { people = { csv = "tests/people.csv", key = "addr" } },
    policy = { options = { rate_by_dept = options } },
  } }
  e:peer("mail.acme.example")
  return e
end

local function send(e, from, to, more)
  more = more or {}
  return e:session { listener = more.listener or "relay", ip = more.ip or "10.1.2.3", tls = true }
    :send { from = from, to = to or "bob@acme.example", headers = { Subject = "x" }, body = "x" }
end

t.describe("rate_by_dept", function()
  t.it("stops a department that has sent its share, and nobody else", function()
    local e = env { messages = { sales = "2/1h" } }
    t.eq(send(e, "x@sales.acme.example").reply.code, 250)
    t.eq(send(e, "y@eu.sales.acme.example").reply.code, 250)
    local msg = send(e, "ann@acme.example")
    t.eq(msg.reply.code, 451)
    t.match(msg.reply.text, "department")
    t.eq(send(e, "bot@acme.example").reply.code, 250)
    t.eq(send(e, "x@dev.example").reply.code, 250)
    t.eq(send(e, "x@other.example").reply.code, 250)
    t.eq(send(e, "").reply.code, 250)
  end)

  t.it("lets it send again later", function()
    local e = env { messages = { sales = "1/1h" } }
    t.eq(send(e, "ann@acme.example").reply.code, 250)
    t.eq(send(e, "ann@acme.example").reply.code, 451)
    e:advance("61m")
    t.eq(send(e, "ann@acme.example").reply.code, 250)
  end)

  t.it("counts recipients", function()
    local e = env { recipients = { sales = "2/1h" } }
    local msg = send(e, "ann@acme.example", { "a@acme.example", "b@acme.example", "c@acme.example" })
    t.eq(msg.reply.code, 250)
    t.eq(#msg.recipients, 2)
  end)

  t.it("asks the table of people first", function()
    local e = env { messages = { board = "1/1h" }, table = "people" }
    t.eq(send(e, "boss@acme.example").reply.code, 250)
    t.eq(send(e, "boss@acme.example").reply.code, 451)
  end)

  t.it("does not count mail from outside", function()
    local e = env { messages = { sales = "1/1h" } }
    for _ = 1, 3 do
      t.eq(send(e, "ann@acme.example", nil, { listener = "inbound", ip = "198.51.100.7" }).reply.code, 250)
    end
  end)
end)
