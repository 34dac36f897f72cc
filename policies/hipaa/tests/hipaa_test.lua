local t = gw.test

local function env(options)
  options = options or {}
  options.domains = options.domains or { ".clinic.example" }
  return t.env { bundle = ".", config = {
    routes = { portal = { via = { "portal.acme.example:465" }, implicit_tls = true, tls = "verify",
      names = { "portal.acme.example" } } },
    policy = { options = { hipaa = options } },
  } }
end

local function send(e, to)
  return e:session { listener = "relay", ip = "10.1.2.3", tls = true }
    :send { from = "ann@acme.example", to = to, headers = { Subject = "patient 4711" }, body = "the diagnosis" }
end

local function clinic(e, verified)
  e.dns:mx("clinic.example", { { 10, "mx.clinic.example" } })
  return e:peer("mx.clinic.example", { caps = { "STARTTLS" }, tls = { verified = verified } })
end

local function portal(e)
  return e:peer("portal.acme.example", { implicit_tls = true, tls = { verified = "pkix" } })
end

t.describe("hipaa", function()
  t.it("sends over verified TLS", function()
    local e = env()
    local peer = clinic(e, "pkix")
    local msg = send(e, "bob@clinic.example")
    t.has(msg.duties, { "encrypt", "authenticate" })
    t.has(msg.tags, "phi")
    e:run_queue()
    t.eq(#peer.transcript, 1)
  end)

  t.it("goes through the portal when the server has no good certificate", function()
    local e = env { portal = "portal" }
    local peer, way = clinic(e, "no"), portal(e)
    send(e, "bob@clinic.example")
    e:run_queue()
    t.eq(#peer.transcript, 0)
    t.eq(#way.transcript, 1)
    t.trace(e, { hook = "unmet", handler = "hipaa.unmet", verdict = "reroute" })
  end)

  t.it("bounces without portal, and the notice has no content", function()
    local e = env()
    local peer = clinic(e, "no")
    e:peer("mail.acme.example")
    send(e, "bob@clinic.example")
    e:run_queue()
    t.eq(#peer.transcript, 0)
    t.trace(e, { hook = "tls_policy", handler = "hipaa.floor", verdict = "tls" })
    e:advance("6d")
    e:run_queue()
    local notice = e:notices()[1]
    t.ok(notice)
    t.nomatch(notice.text, "diagnosis")
    t.nomatch(notice.text, "4711")
  end)

  t.it("says that it waits, and not what", function()
    local e = env()
    e.dns:mx("clinic.example", { { 10, "mx.clinic.example" } })
    e:peer("mx.clinic.example", { refuses = true })
    e:peer("mail.acme.example")
    send(e, "bob@clinic.example")
    e:run_queue()
    e:advance("12h")
    e:run_queue()
    t.trace(e, { hook = "dsn", handler = "hipaa.dsn" })
    local notice = e:notices()[1]
    t.eq(notice.action, "delayed")
    t.nomatch(notice.text, "diagnosis")
    t.nomatch(notice.text, "4711")
  end)

  t.it("sends to known domains through the portal at once", function()
    local e = env { portal = "portal", portal_domains = { "fax.clinic.example" } }
    local way = portal(e)
    send(e, "bob@fax.clinic.example")
    e:run_queue()
    t.eq(#way.transcript, 1)
    t.trace(e, { hook = "route", handler = "hipaa.portal", verdict = "route" })
  end)

  t.it("leaves other mail alone", function()
    local e = env { portal = "portal" }
    local msg = send(e, "bob@other.example")
    t.eq(#msg.duties, 0)
    t.lacks(msg.tags or {}, "phi")
  end)
end)
