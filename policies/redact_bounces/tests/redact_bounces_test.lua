local t = gw.test

-- The company's server behind us refuses; the notice goes out to the sender.
local function refused(options, more)
  local e = t.env { bundle = ".", config = { policy = { options = { redact_bounces = options } } } }
  e:peer("mail.acme.example", { replies = { rcpt = "550 5.1.1 no such user in store7.corp.acme.example" } })
  e.dns:mx("other.example", { { 10, "mx.other.example" } })
  e:peer("mx.other.example", { replies = { rcpt = "550 5.1.1 no such user in hidden.other.example" } })
  more = more or {}
  local headers = { Subject = "x" }
  for k, v in pairs(more.headers or {}) do headers[k] = v end
  e:session { listener = more.listener or "inbound", ip = more.ip or "198.51.100.7", tls = true }
    :send { from = more.from or "carol@other.example", to = more.to or "bob@acme.example", headers = headers, body = "x" }
  e:run_queue()
  local notice = e:notices()[1]
  t.ok(notice, "a notice")
  return notice.text, e
end

t.describe("redact_bounces", function()
  t.it("says nothing of hosts and words inside", function()
    local text, e = refused()
    t.trace(e, { hook = "bounce", handler = "redact_bounces.failure" })
    t.match(text, "could not be delivered to:")
    t.match(text, "bob@acme.example %(5%.1%.1%)")
    t.nomatch(text, "store7")
    t.nomatch(text, "Please ask")
  end)

  t.it("speaks the sender's language, and names whom to ask", function()
    local text = refused({ contact = "+49 30 1234" }, { headers = { ["Content-Language"] = "de-AT" } })
    t.match(text, "Ihre Nachricht konnte nicht zugestellt werden")
    t.match(text, "Bitte fragen Sie %+49 30 1234%.")
    text = refused({ hosts = { "*.corp.acme.example" } }, { headers = { ["Accept-Language"] = "nl, fr" } })
    t.match(text, "could not be delivered to:")
    t.nomatch(text, "store7")
  end)

  t.it("lets our own people read all of it", function()
    local text = refused(nil, { listener = "relay", ip = "10.1.2.3", from = "ann@acme.example", to = "x@other.example" })
    t.match(text, "hidden.other.example")
  end)

  t.it("redacts notices of delivery and delay, too", function()
    local e = t.env { bundle = "." }
    e:peer("mail.acme.example")
    e.dns:mx("other.example", { { 10, "mx.other.example" } })
    e:peer("mx.other.example")
    e:session { listener = "inbound", ip = "198.51.100.7", tls = true }
      :send { from = "carol@other.example", to = "bob@acme.example NOTIFY=SUCCESS", headers = { Subject = "x" }, body = "x" }
    e:run_queue()
    t.trace(e, { hook = "dsn", handler = "redact_bounces.notice" })
  end)
end)
