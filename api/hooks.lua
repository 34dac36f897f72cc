-- The hooks. Which verdicts a hook takes and what its failure means stand in src/policy/verdict.c.
-- { when, args, on_nil =, failure =, test = a line of Lua that is always true of the example's message }

hook "connect" { "A client has connected, before the greeting.",
  args = { { "session", "gw.Session" } },
  on_nil = "the greeting is sent", failure = "421, and the connection is closed",
  more = "There is no name from HELO yet.",
  example = body [[
if session.peer.ip == "192.0.2.66" then
  return gw.drop { text = "Not today" }
end]] }

hook "helo" { "The client has said HELO or EHLO; again after STARTTLS.",
  args = { { "session", "gw.Session" }, { "name", "string", "What it called itself." } },
  on_nil = "250", failure = "451 4.3.0",
  more = "`gw.caps` hides extensions that the listener would offer. It cannot add any.",
  example = body [[
if name == "old.printer.acme.example" then
  return gw.caps { hide = { "CHUNKING", "SMTPUTF8" } }
end]] }

hook "tls" { "The client's TLS handshake is done.",
  args = { { "session", "gw.Session" } },
  on_nil = "the session goes on", failure = "421, and the connection is closed",
  more = "Of a name from HELO before STARTTLS nothing is left, and `session.vars` is empty again.",
  example = body [[
if session.tls.version ~= "TLSv1.3" and session.listener.role == "relay" then
  return gw.reject { text = "TLS 1.3 is needed here" }
end]] }

hook "auth" { "AUTH, with what the client says who it is.",
  args = { { "session", "gw.Session" }, { "cred", "gw.Cred" } },
  on_nil = "535 5.7.8, for nobody else knows", failure = "454 4.7.0",
  more = "For listeners with `auth`. The gateway knows no passwords of its own: without a handler that returns `gw.identity` every login fails.",
  example = body [[
if cred.mech == "EXTERNAL" and session.tls.client.verified then
  return gw.identity { id = session.tls.client.names[1] }
end]] }

hook "mail" { "MAIL, after its syntax and its parameters have been checked.",
  args = { { "session", "gw.Session" }, { "message", "gw.Message" } },
  on_nil = "250", failure = "451 4.3.0",
  more = "`message.requiretls` is known here. There are no recipients yet.",
  example = body [[
if session.listener.role == "mx" and message.from.domain and message.from.domain:is_local() then
  return gw.reject { text = "That is our own domain" }
end]] }

hook "rcpt" { "Each RCPT.",
  args = { { "session", "gw.Session" }, { "message", "gw.Message" }, { "rcpt", "gw.Rcpt" } },
  on_nil = "the configuration's relay check decides", failure = "451 4.3.0 for this recipient",
  more = "`rcpt.relay` says what the relay check says. `gw.accept { relay = true, reason = ... }` takes mail that it would refuse.",
  example = body [[
if rcpt.localpart == "payroll" and session.listener.role == "mx" then
  return gw.reject { text = "This address takes mail from inside only" }
end]] }

hook "data" { "DATA or the first BDAT.",
  args = { { "session", "gw.Session" }, { "message", "gw.Message" } },
  on_nil = "354", failure = "451 4.3.0",
  more = "All recipients are known here, and the content not yet.",
  example = body [[
if #message.recipients > 100 and not session.auth then
  return gw.reject { status = "5.5.3", text = "Too many recipients" }
end]] }

hook "header" { "The header is here, the body still to come.",
  args = { { "session", "gw.Session" }, { "message", "gw.Message" } },
  on_nil = "the body is read", failure = "451 4.3.0 at the end of data",
  more = "What is refused here is refused at the end of data; the body is read and thrown away. `message.size` is what the client announced, 0 if nothing.",
  example = body [[
if not message:has_header("From") then
  return gw.reject { text = "There is no From" }
end]] }

hook "message" { "All of the message is here, before the client gets its 250.",
  args = { { "session", "gw.Session" }, { "message", "gw.Message" } },
  on_nil = "queued, 250", failure = "451 4.3.0, and nothing is queued",
  example = body [[
local subject = message:subject() or ""
if subject:lower():find("[secure]", 1, true) then
  message:require_tls { level = "requiretls", reason = "sender marked secure" }
end]] }

hook "bounce_in" { "What came in is a report about other mail; after `message`.",
  args = { { "session", "gw.Session" }, { "message", "gw.Message" }, { "report", "gw.Report" } },
  on_nil = "queued, 250", failure = "451 4.3.0, and nothing is queued",
  more = "For notices of delivery (RFC 3464) and feedback reports (RFC 5965), whoever sent them. Of the verdict of `message` and this one the more restrictive counts.",
  example = body [[
if report.kind == "feedback" then
  message:tag("complaint")
end]] }

hook "disconnect" { "The session has ended.",
  args = { { "session", "gw.Session" } },
  on_nil = "", failure = "it is logged",
  more = "A handler that waits is ended.",
  example = body [[
if session.counts.errors > 10 then
  session:note("many errors")
end]] }

hook "route" { "For each recipient after `message`, and for notices: where does it go?",
  args = { { "message", "gw.Message" }, { "rcpt", "gw.Rcpt" } },
  on_nil = "the configuration's route", failure = "451 while it is received; a notice takes the configured route",
  more = "`gw.defer` takes the message and puts off its first attempt. If every recipient gets `gw.bounce`, the client is told at once, with 550.",
  example = body [[
if message:has_tag("secure") and rcpt.domain and rcpt.domain:is_remote() then
  return gw.route { via = "portal", tls = "verify" }
end]] }

hook "tls_policy" { "Before mail goes to a destination; the answer is kept for `ttl`.",
  args = { { "domain", "gw.Domain" }, { "route", "gw.Route" } },
  on_nil = "the level of the route", failure = "deferred for 5 minutes; the try is not counted",
  more = "The answer holds for all mail to this destination. It can only raise the level of the route. `gw.defer` always means five minutes.",
  example = body [[
if domain:under("bank.example") then
  return gw.tls { level = "secure", ttl = "30m" }
end]] }

hook "attempt" { "For each host, before a connection is used.",
  args = { { "message", "gw.Message" }, { "hop", "gw.Hop" } },
  on_nil = "go on", failure = "deferred",
  more = "MX, MTA-STS and TLSA have been looked up. Whatever the hook says, what is owed is checked afterwards.",
  example = body [[
if hop.worse.requiretls then
  return gw.hold { reason = hop.host.name .. " no longer offers REQUIRETLS" }
end]] }

hook "ehlo" { "The server's last EHLO reply is here, before MAIL.",
  args = { { "message", "gw.Message" }, { "hop", "gw.Hop" } },
  on_nil = "go on", failure = "deferred",
  more = "`hop.caps`, `hop.tls`, `hop.met` and `hop.unmet` are known here.",
  example = body [[
if hop.tls and hop.tls.verified == "no" and message:has_tag("contract") then
  return gw.skip_host { reason = "the certificate does not verify" }
end]] }

hook "unmet" { "This host cannot give what is owed.",
  args = { { "message", "gw.Message" }, { "hop", "gw.Hop" }, { "unmet", "gw.Duties", "What is missing." } },
  on_nil = "the next host", failure = "as if it had returned nil",
  more = "The only hook where `gw.relax` is a verdict. Notices come here too (`message.from.is_null`).",
  example = body [[
if unmet:has("propagate") and message:has_tag("secure") then
  return gw.reroute { via = "portal", reason = "no REQUIRETLS at " .. hop.host.name }
end]] }

hook "result" { "An attempt has ended, once for each recipient.",
  args = { { "message", "gw.Message" }, { "rcpt", "gw.Rcpt" }, { "result", "gw.Result" } },
  on_nil = "as it ended", failure = "as if it had returned nil",
  more = "A delivery stays a delivery. `gw.fail` makes a deferral final. `gw.retry` gives a failure another try, but not mail whose time is up.",
  example = body [[
if result.kind == "deferred" and result.stage == "connect" then
  return gw.retry { after = "2h" }
end]] }

hook "bounce" { "Before a notice of failure is made.",
  args = { { "message", "gw.Message" }, { "bounce", "gw.Bounce" } },
  on_nil = "the notice is sent", failure = "built-in words, headers only; what was hidden stays hidden",
  example = body [[
if bounce.to.domain and bounce.to.domain:is_remote() then
  bounce.redact = { "internal_hosts", "diagnostic_text", "received" }
end]] }

hook "dsn" { "Before a notice of delay or success is made.",
  args = { { "message", "gw.Message" }, { "bounce", "gw.Bounce" } },
  on_nil = "the notice is sent", failure = "built-in words, headers only; what was hidden stays hidden",
  example = body [[
if bounce.kind == "delayed" and message:has_tag("bulk") then
  return gw.suppress { reason = "nobody waits for it" }
end]] }

hook "log" { "After the fact: something has been written down.",
  args = { { "event", "table", "`event.event` says what; the other fields depend on it." } },
  on_nil = "", failure = "it is logged",
  example = body [[
if event.event == "protection offered before is gone" then
  gw.log.warn("weaker than before", { domain = event.domain, what = event.what })
end]] }

hook "tlsrpt" { "A day is over, and a report about TLS on the way to a domain would be sent (RFC 8460).",
  args = { { "domain", "gw.Domain" }, { "day", "string", '"2026-11-29", in UTC.' } },
  on_nil = "to whom the domain's TXT record asks for it", failure = "deferred; given up after 24 hours",
  example = body [[
if domain:under("rival.example") then
  return gw.suppress { reason = "they need not know" }
end]] }

hook "init" { "In each worker, after loading, before the generation is used.",
  args = { { "ctx", "gw.Ctx" } },
  on_nil = "go on", failure = "the generation is refused",
  more = "May wait. A handler has 60 seconds unless `wall` says less.",
  example = body [[
local found, err = gw.dns.txt("config.acme.example")
if err and err.temporary then
  error("cannot load the list: " .. err.text)
end]] }

hook "fini" { "In each worker, when nothing uses the generation any more.",
  args = { { "ctx", "gw.Ctx" } },
  on_nil = "", failure = "it is logged",
  more = "All handlers of `fini` together have 5 seconds.",
  example = body [[
ctx:note("over: " .. ctx.reason)]] }
