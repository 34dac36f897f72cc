local t = gw.test

local function env(options)
  return t.env { bundle = ".", config = { policy = { options = { subject_tag = options } } } }
end

local function send(e, subject, more)
  more = more or {}
  local headers = { Subject = subject }
  for k, v in pairs(more.headers or {}) do headers[k] = v end
  return e:session { listener = more.listener or "relay", ip = "10.1.2.3", tls = true }
    :send { from = more.from or "ann@acme.example", to = more.to or "bob@clinic.example", headers = headers, body = more.body or "hello" }
end

t.describe("subject_tag", function()
  t.it("asks for REQUIRETLS when the subject has a keyword", function()
    local e = env()
    local msg = send(e, "Re: [SECURE] results")
    t.eq(msg.reply.code, 250)
    t.has(msg.duties, { "encrypt", "authenticate", "secure_lookup", "propagate" })
    t.has(msg.tags, "secure")
    t.eq(msg:header("Subject"), "Re: [SECURE] results")
  end)

  t.it("reads encoded subjects and sensitivity headers", function()
    local e = env()
    t.has(send(e, "=?utf-8?b?W3NlY3VyZV0=?= x").duties, { "propagate" })
    t.has(send(e, "x", { headers = { Sensitivity = "company-confidential" } }).duties, { "propagate" })
  end)

  t.it("leaves other mail alone", function()
    local e = env()
    for _, msg in ipairs {
      send(e, "secure", { headers = { Sensitivity = "Personal" } }),
      send(e, "x", { body = "[secure]" }),
      send(e, "[secure]", { listener = "inbound", from = "x@other.example", to = "ann@acme.example" }),
    } do
      t.eq(msg.reply.code, 250)
      t.eq(#msg.duties, 0)
      t.lacks(msg.tags or {}, "secure")
    end
  end)

  t.it("lets only listed senders ask", function()
    local e = env { senders = { "@acme.example" } }
    t.has(send(e, "[secure] x").duties, { "propagate" })
    t.eq(#send(e, "[secure] x", { from = "ann@other.example" }).duties, 0)
  end)

  t.it("asks for the level that was set", function()
    local e = env { level = "encrypt" }
    local msg = send(e, "[secure] x")
    t.has(msg.duties, "encrypt")
    t.lacks(msg.duties, "authenticate")
  end)

  t.it("takes the keyword out of the subject", function()
    local e = env { strip = true }
    t.eq(send(e, "Re: [Secure] results"):header("Subject"), "Re: results")
    t.eq(send(e, "[secure] x"):header("Subject"), "x")
    local msg = send(e, "[secure] \xFF")
    t.eq(#(msg.edits or {}), 0)
    t.has(msg.duties, { "propagate" })
  end)
end)
