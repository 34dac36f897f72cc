-- Notices that are made, and reports that come in.

object "bounce" { "A notice that is about to be made. Also the argument of `dsn`.", class = "gw.Bounce", fields = {
  { "message", "gw.Message", "What it is about." }, { "kind", '"failed"|"delayed"|"delivered"|"relayed"' },
  { "to", "gw.Address", "Whom it goes to." }, { "sender", "gw.Address", "The null sender, always." },
  { "requiretls", "boolean", "As for messages in the queue." }, { "tls_required_no", "gw.NoState" },
  { "recipients", "gw.BounceRcpt[]" }, { "original_return", '"full"|"headers"', "What the sender asked for." },
  { "from_header", "string?", '`"Mail Delivery <postmaster@acme.example>"`', write = "string" },
  { "subject", "string?", "", write = "string" }, { "language", "string?", '"en", "de", ...', write = "string" },
  { "template", "string?", "The name of a template in `dsn.templates`.", write = "string" },
  { "text", "string?", "Instead of the built-in words.", write = "string" }, { "html", "string?", "", write = "string" },
  { "footer", "string?", "", write = "string" },
  { "return_content", '"full"|"headers"|"none"', '"full" becomes "headers" for REQUIRETLS mail.', write = '"full"|"headers"|"none"' },
  { "headers", "string[]", 'Up to 20 `"Name: value"`.', write = "string[]" },
  { "redact", "gw.Set", 'Of "diagnostic_text", "internal_hosts", "recipient_list", "received", "subject".', write = "string[]" },
  { "protect", '"requiretls"|"redact"|nil', "For REQUIRETLS mail: sent with REQUIRETLS, or without what it tells. nil: as configured.",
    write = '"requiretls"|"redact"' },
  { "copy_to", "gw.Address?", "Who gets a copy.", write = "string|gw.Address" },
  }, methods = {
  redact_host = { 'Host names that are hidden: `"*.corp.example"`.', args = { { "pattern", "string" } } },
  redact_text = { "Hides what a pattern of Lua finds, in what was said about the recipients and in the fields of the original that come back.",
    args = { { "what", "string|fun(text: string, what: string): string?",
      "A pattern; or a function that gets a text and `\"diagnostic\"` or the field's name, and returns what stands there instead, nil: nothing changes. It may not wait." } },
    errors = "a pattern that is none or longer than 255 octets; more than 16 calls; what the function gives is no text or longer than 8000 octets" },
  attach = { "A part of its own, behind those of the report. Not with REQUIRETLS mail.",
    args = { { "name", "string", "Of a file, without a path; at most 120 octets." }, { "type", "string", "`\"text/csv\"`, without parameters." },
      { "data", "string", "All of them together: 256 KiB, and 8." } },
    returns = { { "attached", "true?" }, { "why", "string?", "Why it is left out." } } },
  note = "note" },
  example = at("bounce", [[
bounce:redact_host("*.corp.acme.example")
bounce:redact_text("%f[%w]4711%-%d+")
bounce:attach("help.txt", "text/plain", "Call 4711 when this is about an invoice.")
bounce.redact = { "internal_hosts", "received" }
bounce.language = "de"]]) }
object "bounce recipient" { "A recipient of a notice.", class = "gw.BounceRcpt", fields = {
  { "address", "gw.Address" }, { "action", "string", "As `bounce.kind`." }, { "status", "string" },
  { "diagnostic", "string?", "The other server's reply, or our own words." }, { "remote_mta", "string?" }, { "last_attempt", "number?" } },
  example = at("bounce", [[
for _, r in ipairs(bounce.recipients) do
  bounce:note(r.address.text .. " " .. r.status)
end]]) }
object "report" { "A report that came in. All of it was written by somebody else.", class = "gw.Report", fields = {
  { "kind", '"dsn"|"feedback"' }, { "recipients", "gw.ReportRcpt[]", "Empty for feedback. At most 1000." },
  { "reporting_mta", "string?" }, { "envelope_id", "string?", "The ENVID of the message that it is about." },
  { "arrival_date", "string?", "As it was written." }, { "feedback_type", "string?", '"abuse" and the like.' }, { "user_agent", "string?" },
  { "source_ip", "string?", "Of a feedback report: whence the message came." },
  { "truncated", "boolean", "It is longer than what is in memory, or has no end." } }, methods = {
  field = { "Any field of the message's group, or of the feedback report.", args = { { "name", "string" } }, returns = { { "value", "string?" } } },
  original = { "A header field of the message that it is about, if that was returned.", args = { { "name", "string" } },
    returns = { { "value", "string?" } } },
  note = "note" },
  example = at("bounce_in", [[
if report.kind == "dsn" and not report:original("Message-ID") then
  return gw.discard { reason = "about nothing of ours" }
end]]) }
object "report recipient" { "A recipient in a report.", class = "gw.ReportRcpt", fields = {
  { "address", "string?", "Final-Recipient." }, { "original", "string?", "Original-Recipient." },
  { "action", "string?", 'As it was written: "failed", "delayed", ...' }, { "status", "string?" }, { "remote_mta", "string?" },
  { "diagnostic", "string?" } },
  methods = { field = { "Any other field of the recipient's group.", args = { { "name", "string" } }, returns = { { "value", "string?" } } } },
  example = at("bounce_in", [[
for _, r in ipairs(report.recipients) do
  report:note((r.address or "?") .. " " .. (r.status or "?"))
end]]) }
