-- What a session is, and what the first hooks get.
-- object: { text, class =, fields = { { name, type, text, write = } }, methods = { name = { args = ... } } }

object "session" { "The connection of a client.", class = "gw.Session", fields = {
  { "id", "string", "As in the log." },
  { "listener", "gw.Listener", "Where it came in." },
  { "peer", "gw.Peer", "The client." },
  { "local_addr", "string?", 'Our side, "192.0.2.1:25".' },
  { "proto", '"SMTP"|"ESMTP"' },
  { "helo", "string?", "What the client called itself." },
  { "tls", "gw.SessionTls?", "nil in clear." },
  { "auth", "gw.SessionAuth?", "nil: nobody has logged in." },
  { "started", "number", "Seconds since 1970." },
  { "counts", "gw.Counts" },
  { "vars", "gw.Vars", "Values of your own for this connection.", write = "table" },
  }, methods = { note = "note" },
  example = at("connect", [[
session.vars.first = session.peer.ip
session:note("from " .. session.peer.ip .. " at " .. session.listener.name)]]) }

object "session.listener" { "Where a client came in.", class = "gw.Listener", fields = {
  { "name", "string", "As in the configuration." }, { "role", '"mx"|"relay"|"reinject"' },
  { "trust", '"none"|"clients"|"internal"', "For these roles." } },
  example = at("mail", [[
if session.listener.trust == "none" and message.requiretls then
  session:note("REQUIRETLS from outside")
end]]) }

object "session.peer" { "A client.", class = "gw.Peer", fields = {
  { "ip", "string" }, { "port", "integer" },
  { "name", "string?", "The host name that the DNS gives for the address and that leads back to it. In this version always nil." },
  { "name_verified", "boolean", "Whether there is one." } },
  example = at("connect", [[
if session.peer.ip:find("^10%.") then
  session:note("inside")
end]]) }

object "session.auth" { "Who has logged in.", class = "gw.SessionAuth", fields = {
  { "id", "string", "What `gw.identity` said." }, { "mech", '"PLAIN"|"EXTERNAL"' }, { "attrs", "table", "Empty without any. It cannot be changed." } },
  example = at("mail", [[
if session.auth and session.auth.attrs.kind == "partner" then
  message:tag("partner")
end]]) }

object "cred" { "What a client says who it is. Never logged, and wiped after the call.", class = "gw.Cred", fields = {
  { "mech", '"PLAIN"|"EXTERNAL"' }, { "id", "string?", "PLAIN: whose password it is." },
  { "authzid", "string?", "Whom the client wants to act as." }, { "password", "string?", "PLAIN." } },
  example = at("auth", [[
if cred.mech == "PLAIN" and cred.id == "printer" and cred.password == "only for a test" then
  return gw.identity { id = "printer" }
end]]) }

object "session.counts" { "What a client has done so far.", class = "gw.Counts", fields = {
  { "messages", "integer" }, { "recipients", "integer" }, { "errors", "integer", "Commands that were refused." } },
  example = at("mail", [[
if session.counts.messages > 50 then
  return gw.defer { text = "Enough for now" }
end]]) }

object "session.tls" { "TLS on the way in.", class = "gw.SessionTls", fields = {
  { "version", "string", '"TLSv1.3"' }, { "cipher", "string" }, { "sni", "string?", "The name that the client asked for." },
  { "client", "gw.ClientCert?", "The client's certificate." } },
  example = at("tls", [[
session:note(session.tls.version .. " " .. session.tls.cipher)]]) }

object "session.tls.client" { "A client's certificate.", class = "gw.ClientCert", fields = {
  { "subject", "string" }, { "issuer", "string" }, { "names", "string[]" }, { "fingerprint", "string", "SHA-256, in hexadecimal digits." },
  { "verified", "boolean", "Whether an authority that we trust vouches for it." } },
  example = at("tls", [[
local cert = session.tls.client
if cert and not cert.verified then
  session:note("unknown certificate " .. cert.fingerprint)
end]]) }

object "ctx" { "The argument of `init` and `fini`.", class = "gw.Ctx", fields = {
  { "reason", "string", '"start" or "reload" at `init`; "retired", "discarded" or "stop" at `fini`.' },
  { "worker", "integer", "From 0." }, { "generation", "string", "Its digest, as in the log." } }, methods = { note = "note" },
  example = at("init", [[
ctx:note(ctx.reason .. " in worker " .. ctx.worker)]]) }

object "tick" { "The argument of a function of `gw.every`.", class = "gw.Tick", fields = {
  { "name", "string", "Of the timer." }, { "missed", "integer", "How many ticks were left out before this one." },
  { "worker", "integer" }, { "generation", "string" } }, methods = { note = "note" },
  example = file [[
gw.every { name = "hello", interval = "10m", run = function(tick)
  if tick.missed > 0 then
    tick:note("late")
  end
end }]] }
