-- The message, its recipients and what they hold.

local owe = { { "opts", "table", fields = { { "level", "gw.Level" }, { "reason", "string", "At most 200 octets." },
  { "waivable?", "boolean", "`TLS-Required: No` may waive it." } } } }
local owe_message = { { "opts", "table", fields = { { "level", "gw.Level" }, { "reason", "string", "At most 200 octets." },
  { "waivable?", "boolean", "`TLS-Required: No` may waive it." }, { "recipients?", "gw.Rcpt[]", "These alone owe it." } } } }
local edit = "mail, rcpt, data, header, message, bounce_in"
local header_at = "header, message, bounce_in, bounce, dsn"

object "auth result" { "What a server found out about a message (RFC 8601).", class = "gw.AuthResult", in_lua = true, fields = {
  { "server", "string", "Who says so, in small letters." }, { "method", "string", '"spf", "dkim", "dmarc", "arc", ...' },
  { "result", "string", '"pass", "fail", "none", ...' }, { "reason", "string?" },
  { "props", "table", '`props["smtp.mailfrom"]`, `props["header.d"]`, ...' } },
  example = at("message", [[
for _, one in ipairs(message.auth_results) do
  if one.method == "dmarc" and one.result == "fail" then
    message:tag("dmarc-fail")
  end
end]]) }

object "message" { "A message.", class = "gw.Message", fields = {
  { "id", "string", "As in the log and in `sallyport queue`." },
  { "session", "gw.Session?", "nil when the message is not being received." },
  { "from", "gw.Address", "`message.from.is_null` for notices." },
  { "recipients", "gw.Rcpt[]", "`#message.recipients`, `message.recipients[1]`." },
  { "size", "integer?", "Octets; nil before the content is here." },
  { "received_at", "number", "Seconds since 1970." },
  { "direction", '"inbound"|"outbound"|"internal"' },
  { "params", "gw.Params", "Of MAIL." },
  { "smtputf8", "boolean" },
  { "requiretls", "boolean", "Whether the sender used REQUIRETLS. In the queue also when a policy asked for that level." },
  { "tls_required_no", "gw.NoState", "The header TLS-Required. Known from `message` on." },
  { "duties", "gw.Duties", "What it owes." },
  { "tags", "gw.Set" },
  { "vars", "gw.Vars", "Values of your own, kept with the message.", write = "table" },
  { "auth_results", "gw.AuthResult[]", "What the servers of `policy.auth_servers` found out: the fields Authentication-Results. Where the header is known." },
  { "body_mode", '"stream"|"inspect"', 'At `header`: "inspect" keeps the start of the body for `body_preview`.', write = '"stream"|"inspect"' },
  }, methods = {
  each_recipient = { "Goes over the recipients.", args = {}, returns = { { "next", "fun(): gw.Rcpt" } } },
  header = { "The n-th field of this name, decoded to UTF-8.", contexts = header_at,
    args = { { "name", "string" }, { "n?", "integer", "1" } }, returns = { { "value", "string?" } } },
  header_raw = { "The n-th field of this name, as it came.", contexts = header_at,
    args = { { "name", "string" }, { "n?", "integer", "1" } }, returns = { { "value", "string?" } } },
  headers = { "All fields of this name.", contexts = header_at, args = { { "name", "string" } }, returns = { { "values", "string[]" } } },
  each_header = { "Goes over names and values of all fields.", contexts = header_at, args = {},
    returns = { { "next", "fun(): string, string" } } },
  has_header = { "Is there a field of this name?", contexts = header_at, args = { { "name", "string" } }, returns = { { "there", "boolean" } } },
  header_address = { "The first address in a field such as From.", contexts = header_at, args = { { "name", "string" } },
    returns = { { "address", "gw.Address?" } } },
  subject = { "The first Subject, decoded.", contexts = header_at, args = {}, returns = { { "subject", "string?" } } },
  body_preview = { "The start of the body, as it came.", contexts = "message, bounce_in", args = { { "n", "integer", "At most 262144." } },
    returns = { { "text", "string?" }, { "why", "string?" } },
    more = 'Of a message too large for memory only with `body_mode = "inspect"` at `header`.' },
  body_chunks = { "Goes over the body, 256 KiB at a time, also where it is not in memory.", contexts = "message, bounce_in", yields = true,
    args = { { "max?", "integer", "The first so many octets." } }, returns = { { "next", "fun(): string" } },
    errors = "the body could not be read; a loop does not end as if that had been all",
    more = "Each piece that is not in memory is a wait, of which a handler has 100. What is not used of a piece is for the next: a word may be cut in two." },
  parts = { "Its MIME parts: a list of tables of `type`, `charset`, `disposition`, `filename`, `size`, `level` and `text(max)`.", args = {},
    contexts = "message, bounce_in", returns = { { "parts", "gw.Part[]", "`parts.truncated`: there is more." } },
    more = "At most 100 parts, 8 levels, and the first 256 KiB of the body. It is what the sender wrote: a type and a name prove nothing." },
  hash = { "Digest of header and body as received.", contexts = "message, bounce_in", args = { { "algorithm?", '"sha256"' } },
    returns = { { "digest", "string?" }, { "why", "string?" } } },
  dkim_sign = { "Signs the message with DKIM when it leaves, with a key that the configuration names.", contexts = "while it is received",
    args = { { "opts", "table", fields = { { "key", "string", "A name in `dkim` of the configuration, which has domain, selector and the key." } } } },
    errors = "a name that the configuration does not have; more than 4 signatures",
    more = "Header edits of later handlers are signed, too. What cannot be signed waits; it never goes without." },
  has_tag = { "Has it this tag?", args = { { "tag", "string" } }, returns = { { "has", "boolean" } } },
  add_header = { "Adds a field.", contexts = edit, args = { { "name", "string" }, { "value", "string" }, { "where?", '"top"|"end"' } } },
  set_header = { "Replaces all fields of this name.", contexts = edit, args = { { "name", "string" }, { "value", "string" } } },
  remove_header = { "Removes all fields of this name.", contexts = edit, args = { { "name", "string" } } },
  tag = { "Tags it; kept with the message.", contexts = edit, args = { { "tag", "string", "1 to 64 letters, digits and `. _ : -`." } } },
  set_from = { "Another sender.", contexts = edit, args = { { "address", "string|gw.Address", 'Also `"<>"`.' } } },
  add_recipient = { "One recipient more, who owes what the message owes.", contexts = "data, header, message, bounce_in",
    args = { { "address", "string|gw.Address" } }, returns = { { "rcpt", "gw.Rcpt" } } },
  remove_recipient = { "One recipient less. Recorded in the evidence.", contexts = "data, header, message, bounce_in", args = { { "rcpt", "gw.Rcpt" } } },
  require_tls = { "Adds TLS duties. Duties can only be added.", contexts = edit, args = owe_message },
  ignore_tls_required_no = { "`TLS-Required: No` does not count for this message.", contexts = "message",
    args = { { "opts", "table", fields = { { "reason", "string" } } } } },
  note = "note" },
  more = "What changes the message works while it is received. Received and Return-Path cannot be changed; `TLS-Required` can be removed, not written.",
  example = at("message", [[
for rcpt in message:each_recipient() do
  if rcpt.domain and rcpt.domain:under("clinic.example") then
    message:require_tls { level = "verify", reason = "patient data", recipients = { rcpt } }
  end
end
if message:header("X-Class") == "internal" and not message:has_tag("checked") then
  message:set_header("X-Class", "none")
  message:tag("checked")
end]]) }

object "message.params" { "The parameters of MAIL.", class = "gw.Params", fields = {
  { "body", '"7BIT"|"8BITMIME"' }, { "ret", '"full"|"headers"|nil' }, { "envid", "string?" }, { "auth", "string?", "AUTH= as it came." },
  { "smtputf8", "boolean" }, { "requiretls", "boolean" } },
  example = at("mail", [[
if message.params.ret == "full" then
  session:note("wants all of it back")
end]]) }

object "rcpt" { "A recipient.", class = "gw.Rcpt", fields = {
  { "address", "gw.Address" }, { "domain", "gw.Domain?", "nil for `<postmaster>`." }, { "localpart", "string" },
  { "orcpt", "string?", "As it came." }, { "notify", "gw.Set", 'Of "never", "success", "failure", "delay".' },
  { "relay", '"local"|"allowed"|"denied"|nil', "At `rcpt`: what the configuration says." },
  { "params", "gw.RcptParams" }, { "tags", "gw.Set" }, { "vars", "gw.Vars", "Values of your own, kept with the recipient.", write = "table" },
  { "route", "string?", 'The name of its route, "" for one made by a policy; nil before routing.' },
  { "duties", "gw.Duties", "With those of the message." }, { "state", "string", '"new" or "active".' },
  { "attempts", "integer", "At `result`: with this one. 0 elsewhere." }, { "last", "gw.Result?", "Not available: nil in this version." },
  }, methods = {
  require_tls = { "Adds TLS duties to this recipient.", args = owe },
  rewrite = { "Another address. What it owes stays.", args = { { "address", "string|gw.Address" } } },
  tag = { "Tags the recipient.", args = { { "tag", "string" } } },
  has_tag = { "Has it this tag?", args = { { "tag", "string" } }, returns = { { "has", "boolean" } } },
  note = "note" },
  example = at("rcpt", [[
if rcpt.localpart:find("^old%.") then
  rcpt:rewrite(rcpt.localpart:sub(5) .. "@" .. rcpt.domain.name)
end]]) }

object "rcpt.params" { "The parameters of RCPT.", class = "gw.RcptParams", fields = { { "orcpt", "string?" }, { "notify", "gw.Set" } },
  example = at("rcpt", [[
if rcpt.params.orcpt then
  rcpt:note("meant for " .. rcpt.params.orcpt)
end]]) }

object "vars" { "Values of your own: `message.vars.ticket = 4711`.", class = "gw.Vars", open = true,
  more = "Keys are 1 to 64 letters, digits and `. _ : -`. Values are what JSON can say. What is read is a copy that cannot be changed; to change a part, write the whole. nil removes. All of a message's vars together have at most 16 KiB, of a recipient 16 KiB, of a session 4 KiB.",
  example = at("message", [[
message.vars.ticket = { number = 4711, from = message.from.text }]]) }
