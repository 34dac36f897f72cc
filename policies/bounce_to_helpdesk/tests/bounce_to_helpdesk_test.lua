local t = gw.test

local function refused(options, more)
  options = options or { mailbox = "helpdesk@acme.example" }
  more = more or {}
  local e = t.env { bundle = ".", config = { policy = {
    load = { "policy.lua", "tests/tagger.lua" }, options = { bounce_to_helpdesk = options } } } }
  local inside = e:peer("mail.acme.example", { caps = { "STARTTLS", "REQUIRETLS" } })
  e.dns:mx("other.example", { { 10, "mx.other.example" } })
  e:peer("mx.other.example", { caps = { "STARTTLS", "REQUIRETLS" }, replies = { rcpt = "550 5.1.1 nobody" } })
  e:session { listener = "relay", ip = "10.1.2.3", tls = true }
    :send { from = more.from or "ann@acme.example", to = "bob@other.example", headers = { Subject = more.subject or "x" }, body = "x" }
  e:run_queue()
  e:run_queue()
  local to = {}
  for _, notice in ipairs(e:notices()) do to[#to + 1] = notice.to end
  return to, e
end

t.describe("bounce_to_helpdesk", function()
  t.it("copies the notice about tagged mail", function()
    local to, e = refused(nil, { subject = "tag me" })
    t.has(to, { "ann@acme.example", "helpdesk@acme.example" })
    t.match(e:notices()[1].text, "X%-Ticket%-Status: 5%.1%.1")
    t.match(e:notices()[1].text, "X%-Ticket%-Message: ")
  end)

  t.it("copies the notice about mail that owes much", function()
    t.has(refused({ mailbox = "helpdesk@acme.example", level = "encrypt" }, { subject = "protect me" }), "helpdesk@acme.example")
  end)

  t.it("leaves other notices, and those to the helpdesk itself", function()
    t.lacks(refused(), "helpdesk@acme.example")
    t.eq(#refused(nil, { from = "helpdesk@acme.example", subject = "tag me" }), 1)
  end)

  t.it("does nothing without a mailbox", function()
    t.eq(#refused({}, { subject = "tag me" }), 1)
  end)
end)
