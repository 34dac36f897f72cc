-- What the hooks of delivery look at.

object "hop" { "A host that mail is about to go to.", class = "gw.Hop", fields = {
  { "destination", "gw.Domain", "The domain that the mail is for; behind fixed hosts that of the recipients, or the host when they differ." },
  { "route", "gw.Route?" }, { "host", "gw.Host" }, { "attempt", "integer", "1, 2, ..." },
  { "mx_secure", '"dnssec"|"sts"|"asserted"|"no"|"domain"', "How the host was found." },
  { "sts", "gw.HopSts?", "nil without a policy." }, { "tlsa", "gw.HopTlsa" },
  { "caps", "gw.Set", "What the server listed. Empty before `ehlo`." }, { "tls", "gw.HopTls?", "nil in clear and before." },
  { "duties", "gw.Duties", "What is owed here." }, { "met", "gw.Duties", "Of these, what is given. Valid at `ehlo` and `unmet`." },
  { "unmet", "gw.Duties", "Of these, what is not." }, { "relaxed", "string?", "The grant in use." },
  { "seen", "table<string, number>", "What this domain and this host have offered so far, each with the time when it was seen first." },
  { "worse", "table<string, number>", "Of these, what is gone or less than it was, each with the time when that was found out." },
  { "country", "string?", 'Of the host\'s address, "DE"; nil when unknown, and without `policy.geo`.' },
  { "asn", "integer?", "The number of the network that the address is in; nil likewise." },
  }, methods = {
  require_tls = { "Adds duties for this hop only.", contexts = "attempt, ehlo",
    args = { { "opts", "table", fields = { { "level", "gw.Level" }, { "reason", "string" } } } } },
  note = "note" },
  example = at("ehlo", [[
if hop.caps:has("STARTTLS") and hop.destination:under("clinic.example") then
  hop:require_tls { level = "encrypt", reason = "they offer it" }
end]]) }

object "hop.host" { "The host of a hop.", class = "gw.Host", fields = {
  { "name", "string" }, { "ip", "string?", "nil before a connection." }, { "port", "integer" },
  { "preference", "integer", "Of the MX record; behind fixed hosts 0, 1, ..." } },
  example = at("attempt", [[
if hop.host.preference > 100 then
  return gw.skip_host { reason = "a far one" }
end]]) }
object "hop.sts" { "The MTA-STS policy of a destination.", class = "gw.HopSts", fields = {
  { "mode", '"testing"|"enforce"|"unknown"', '"unknown": it is announced and could not be fetched.' },
  { "max_age", "integer", "Seconds; 0 when unknown." }, { "match", "boolean", "Whether it names this host." } },
  example = at("attempt", [[
if hop.sts and hop.sts.mode == "testing" and hop.sts.match then
  hop:require_tls { level = "verify", reason = "testing is enough for us" }
end]]) }
object "hop.tlsa" { "The TLSA records of a host.", class = "gw.HopTlsa", fields = {
  { "usable", "boolean", "Whether there is a record that DANE for mail can use (RFC 7672)." },
  { "count", "integer", "How many were found; 0 also when none were looked up." },
  { "secure", "boolean", "Whether they were found and DNSSEC validated them." } },
  example = at("attempt", [[
if hop.tlsa.count > 0 and not hop.tlsa.usable then
  hop:note("TLSA records of no use")
end]]) }
object "hop.tls" { "TLS on the way out.", class = "gw.HopTls", fields = {
  { "version", "string" }, { "cipher", "string" }, { "verified", '"dane"|"pkix"|"pin"|"no"' }, { "names", "string[]", "In the certificate." },
  { "error", "string?", "Why it is not verified." } },
  example = at("ehlo", [[
if hop.tls and hop.tls.error then
  hop:note(hop.tls.error)
end]]) }
object "route" { "A route of the configuration or of a policy.", class = "gw.Route", fields = {
  { "name", "string", 'As in the configuration; "" for one made by a policy.' }, { "via", "string|string[]", '"mx" or a list of "host:port".' },
  { "domain", "string?" }, { "port", "integer" }, { "implicit_tls", "boolean" },
  { "auth", "string?", "Which of the configuration's `credentials` it logs in with." }, { "tls", "gw.Level" }, { "names", "string[]" },
  { "pins", "string[]" }, { "source", "string?" }, { "sticky", "boolean" }, { "assert_secure_lookup", "boolean" }, { "assert_propagate", "boolean" } },
  example = at("tls_policy", [[
if route.name == "internet" and route.tls == "may" then
  return gw.tls { level = "encrypt" }
end]]) }
object "result" { "How an attempt ended.", class = "gw.Result", fields = {
  { "kind", '"delivered"|"deferred"|"failed"|"expired"|"held"|"rerouted"' }, { "code", "integer", "The reply's; 0 without one." },
  { "status", "string", '"5.1.1"' }, { "text", "string?", "The reply, or our own words." },
  { "stage", '"dns"|"connect"|"tls"|"ehlo"|"auth"|"mail"|"rcpt"|"data"|"policy"' }, { "hop", "gw.Hop?", "The last host, as it was." },
  { "duties", "gw.Duties" }, { "attempts", "integer", "With this one." }, { "first_attempt", "number?", "Seconds since 1970." },
  { "next_attempt", "number?", "Changed by `gw.retry` only." }, { "cause", "string[]", 'Words such as "no-requiretls".' } },
  example = at("result", [[
if result.kind == "failed" and result.code == 554 and result.attempts == 1 then
  return gw.retry { after = "10m" }
end]]) }
