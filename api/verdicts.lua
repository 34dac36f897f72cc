-- Verdicts: a handler returns one. The constructor takes one table; `fields` are its names.
local status = { "status?", "string", 'The enhanced code, "5.7.1"; of the class of `code`.' }
local status4 = { "status?", "string", 'The enhanced code, "4.7.1"; of the class of `code`.' }
local text = { "text?", "string", "What strangers see; at most 400 octets without line breaks." }
local reason = { "reason?", "string", "For the log and the evidence." }
local reason_needed = { "reason", "string", "For the log and the evidence." }

verdict "accept" { "Ends the normal part of the chain. At `rcpt` with `relay` it takes mail that the relay check would refuse.",
  fields = { { "reason?", "string", "For the log; needed with `relay`." }, { "relay?", "boolean", "Only at `rcpt`." },
    { "text?", "string", "Not shown in this version." } },
  example = at("rcpt", [[
return gw.accept { relay = true, reason = "contract 7731" }]]) }

verdict "reject" { "Permanent error for the client.",
  fields = { { "code?", "integer", "500 to 559; 550." }, status, text, reason },
  example = at("rcpt", [[
return gw.reject { code = 554, status = "5.7.1", text = "Not here", reason = "no relay" }]]) }

verdict "defer" { "Temporary error for the client; in the queue: later.",
  fields = { { "code?", "integer", "400 to 459; 451." }, status4, text, reason,
    { "after?", "gw.Duration", "In the queue: how much later." } },
  example = at("attempt", [[
return gw.defer { after = "30m", reason = "bulk mail goes at night" }]]) }

verdict "drop" { "421, and the connection is closed.", fields = { text, reason },
  example = at("connect", [[
return gw.drop { text = "Not today" }]]) }

verdict "discard" { "The client is told 250, and the mail is thrown away. It is in the evidence.", fields = { reason_needed },
  example = at("message", [[
return gw.discard { reason = "test mail of the monitor" }]]) }

verdict "hold" { "Into the queue, on hold, until `sallyport queue release` or for as long as `expires`.",
  fields = { reason, { "expires?", "gw.Duration", "Released after this time." }, { "queue?", "string", "Accepted, not used in this version." } },
  example = at("message", [[
return gw.hold { reason = "somebody has to look at it", expires = "2d" }]]) }

verdict "bounce" { "The recipient fails, with a notice.", fields = { status, text, reason },
  example = at("attempt", [[
return gw.bounce { status = "5.7.1", text = "Not to that country" }]]) }

local route = {
  { "via", "string|string[]", 'The name of a route in the configuration, `"mx"`, or a list of up to 32 hosts: `{ "ex1.acme.example:25" }`.' },
  { "domain?", "string", 'With `via = "mx"`: look this up instead of the recipient\'s domain.' },
  { "port?", "integer", '25. For hosts without one, and for `"mx"`.' },
  { "implicit_tls?", "boolean", "TLS from the first octet." },
  { "source?", "string", "The local address to connect from." },
  { "tls?", "gw.Level", "For a named route it can only be raised." },
  { "names?", "string[]", "Names that the certificate may have." },
  { "pins?", "string[]", 'Digests of keys, `"sha256:..."`.' },
  { "assert_secure_lookup?", "boolean", "Only for a named route that has it; `false` gives it up." },
  { "sticky?", "boolean", "Accepted, no effect in this version." },
  { "expires?", "gw.Duration", "Accepted, no effect in this version." },
  { "auth?", "string", "Log in with one of the configuration's `credentials`, by name, at hosts that it is for. With `tls = \"verify\"` or more." },
  reason,
}
verdict "route" { "Where it goes next.", fields = route,
  example = at("route", [[
return gw.route { via = { "ex1.acme.example:25", "ex2.acme.example:25" }, tls = "verify" }]]) }
verdict "reroute" { "Replaces the route of a queued message, which goes on owing what it owed.", fields = route,
  example = at("unmet", [[
return gw.reroute { via = "portal", reason = "no REQUIRETLS at " .. hop.host.name }]]) }

verdict "tls" { "The floor for a destination.",
  fields = { { "level", "gw.Level" }, { "names?", "string[]", "Names that the certificate may have." },
    { "pins?", "string[]", 'Digests of keys, `"sha256:..."`.' },
    { "ca?", "string", "A file with the certificates to trust, instead of the configuration's." },
    { "min_version?", '"1.2"|"1.3"' }, { "ttl?", "gw.Duration", 'How long the answer is kept, `"1h"`.' },
    { "on_unmet?", '"bounce"|"defer"', "What becomes of mail that no host can give this." } },
  example = at("tls_policy", [[
return gw.tls { level = "secure", min_version = "1.3", on_unmet = "defer", ttl = "30m" }]]) }

verdict "retry" { "Another try.", fields = { { "after?", "gw.Duration" }, reason },
  example = at("result", [[
return gw.retry { after = "2h", reason = "nobody is at home" }]]) }
verdict "fail" { "No more tries.", fields = { status, text, reason },
  example = at("result", [[
return gw.fail { status = "5.4.1", text = "It has been tried often enough" }]]) }
verdict "skip_host" { "The next host.", fields = { reason },
  example = at("attempt", [[
return gw.skip_host { reason = "not this one" }]]) }
verdict "relax" { "Sends this once with less, under a grant of the configuration.",
  fields = { { "grant", "string", "Its name in `policy.grants`." }, reason_needed },
  more = "Only at `unmet`, for one host in one attempt. The record of it is on disk before anything is sent.",
  example = at("unmet", [[
return gw.relax { grant = "legacy-fax", reason = "fax bridge, contract 7731" }]]) }
verdict "suppress" { "No notice, or no report. Logged.", fields = { reason_needed },
  example = at("bounce", [[
return gw.suppress { reason = "a list that nobody reads" }]]) }
verdict "report" { "Sends a TLS report to these instead.",
  fields = { { "to", "string[]", "One to eight `mailto:` and `https:` URIs." }, reason },
  example = at("tlsrpt", [[
return gw.report { to = { "mailto:reports@acme.example" } }]]) }
verdict "identity" { "At `auth`: this is who it is.",
  fields = { { "id", "string" }, { "attrs?", "table", "Of your own, at most 4 KiB as JSON, for `session.auth.attrs`." }, reason },
  example = at("auth", [[
return gw.identity { id = cred.id or "somebody", attrs = { kind = "partner" } }]]) }
verdict "caps" { "Extensions that are not offered.",
  fields = { { "hide", "string[]", "Of PIPELINING, SIZE, 8BITMIME, SMTPUTF8, CHUNKING, ENHANCEDSTATUSCODES, DSN, STARTTLS, REQUIRETLS, LIMITS, AUTH." } },
  example = at("helo", [[
return gw.caps { hide = { "CHUNKING" } }]]) }
