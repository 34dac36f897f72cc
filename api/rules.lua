-- gw.match and gw.action. Which hooks know what a matcher asks for stands in src/policy/matcher.c,
-- where an action can be done in src/policy/rules.c.

local function words(...)
  return { { "...", "gw.Words", ... } }
end
matcher "all" { "All of these are true.", args = { { "...", "gw.Matcher|gw.Matcher[]" } },
  example = when("message", [[gw.match.all { gw.match.listener_role "relay", gw.match.subject_word "[secure]" }]]) }
matcher "any" { "One of these is true.", args = { { "...", "gw.Matcher|gw.Matcher[]" } },
  example = when("message", [[gw.match.any { gw.match.tag "bulk", gw.match.size_over "10M" }]]) }
matcher "no" { 'It is not true. Also `gw.match["not"]`.', args = { { "matcher", "gw.Matcher|gw.Matcher[]" } },
  example = when("mail", [[gw.match.no(gw.match.tls_inbound())]]) }
matcher "listener" { "The mail came in there. The name must exist in the configuration.", args = words(),
  example = when("connect", [[gw.match.listener "relay"]]) }
matcher "listener_role" { "The listener has this role: mx, relay, reinject.", args = words(),
  example = when("connect", [[gw.match.listener_role "mx"]]) }
matcher "client_ip" { "The client's address is in this network.", args = words(),
  example = when("connect", [[gw.match.client_ip("10.0.0.0/8", "fd00::/8")]]) }
matcher "helo" { "The client called itself so; `*` any text, `?` one character.", args = words(),
  example = when("helo", [[gw.match.helo "*.dialup.example"]]) }
matcher "tls_inbound" { "It came over TLS, at least of this version.", args = { { "version?", '"1.2"|"1.3"' } },
  example = when("mail", [[gw.match.tls_inbound "1.3"]]) }
matcher "sender" { 'The sender is this. `"user@"` at any domain, `"@x.example"`, `"@.x.example"`, `"<>"` the null sender.', args = words(),
  example = when("mail", [[gw.match.sender("ann@acme.example", "boss@")]]) }
matcher "sender_domain" { '`"x.example"` itself, `"*.x.example"` all below it, `".x.example"` both, `"*"` all.', args = words(),
  example = when("mail", [[gw.match.sender_domain ".acme.example"]]) }
matcher "rcpt" { "As `sender`: the recipient of the hook, else any recipient.", args = words(),
  example = when("rcpt", [[gw.match.rcpt "postmaster@"]]) }
matcher "rcpt_domain" { "As `sender_domain`. At `tls_policy` and `tlsrpt`: the domain.", args = words(),
  example = when("attempt", [[gw.match.rcpt_domain ".bank.example"]]) }
matcher "subject_word" { "A Subject has this word, decoded, in small or capital letters. A word that ends in a letter or digit must end there.", args = words(),
  example = when("message", [[gw.match.subject_word "[secure]"]]) }
matcher "header" { "A field of this name has this value, with `*` and `?`; without value: there is one.",
  args = { { "name", "string" }, { "...", "gw.Words" } },
  example = when("message", [[gw.match.header("Sensitivity", "Company-Confidential")]]) }
matcher "has_header" { "There is a field of this name.", args = words(),
  example = when("message", [[gw.match.has_header "List-Id"]]) }
matcher "tag" { "The message has this tag.", args = words(),
  example = when("attempt", [[gw.match.tag "bulk"]]) }
matcher "size_over" { "It is larger than this.", args = { { "size", "gw.Size" } },
  example = when("message", [[gw.match.size_over "10M"]]) }
matcher "direction" { "inbound, outbound or internal.", args = words(),
  example = when("message", [[gw.match.direction "outbound"]]) }
matcher "requiretls" { "As `message.requiretls`.", args = {},
  example = when("message", [[gw.match.requiretls()]]) }
matcher "tls_required_no" { "The header TLS-Required is honoured, or in one of these states.", args = words(),
  example = when("message", [[gw.match.tls_required_no("ignored", "overridden")]]) }
matcher "time" { "It is this time of the week. Over midnight is possible.",
  args = { { "opts", "table", fields = { { "days?", "string", '`"mon-fri,sun"`' }, { "from?", "string", '`"08:00"`' },
    { "to?", "string", '`"18:30"`' }, { "zone?", '"local"|"utc"' } } } },
  example = when("attempt", [[gw.match.time { days = "mon-fri", from = "08:00", to = "18:00" }]]) }
matcher "lua" { "The function, called with the hook's arguments, returns something true. It may not wait or change anything.",
  args = { { "predicate", "function" } },
  example = when("message", [[gw.match.lua(function(session, message) return #message.recipients > 10 end)]]) }

matcher "auth" { "The client has logged in, or as one of these, with `*` and `?`.", args = words(),
  example = when("mail", [[gw.match.auth("ann", "*@sales.example")]]) }
matcher "attachment" { "A part has a file name or is an attachment, or has such a name, with `*` and `?`.", args = words(),
  example = when("message", [[gw.match.attachment("*.exe", "*.js")]]) }

local owe = { { "opts", "table", fields = { { "level", "gw.Level" }, { "reason", "string", "At most 200 octets." },
  { "waivable?", "boolean", "`TLS-Required: No` may waive it." } } } }
action "require_tls" { "Adds TLS duties: to the message, at `rcpt` to the recipient, at `attempt` and `ehlo` to the hop.", args = owe,
  example = act("message", [[gw.action.require_tls { level = "requiretls", reason = "marked secure" }]]) }
action "tag" { "Tags the message.", args = { { "tag", "string", "1 to 64 letters, digits and `. _ : -`." } },
  example = act("message", [[gw.action.tag "secure"]]) }
action "add_header" { "Adds a field.", args = { { "name", "string" }, { "value", "string" }, { "where?", '"top"|"end"' } },
  example = act("message", [[gw.action.add_header("X-Class", "internal", "end")]]) }
action "set_header" { "Replaces all fields of this name.", args = { { "name", "string" }, { "value", "string" } },
  example = act("message", [[gw.action.set_header("X-Class", "internal")]]) }
action "remove_header" { "Removes all fields of this name.", args = { { "name", "string" } },
  example = act("message", [[gw.action.remove_header "X-Class"]]) }
action "ignore_tls_required_no" { "`TLS-Required: No` does not count for this message.",
  args = { { "opts", "table", fields = { { "reason", "string" } } } },
  example = act("message", [[gw.action.ignore_tls_required_no { reason = "not for our mail" }]]) }
action "note" { "A line in the log.", args = { { "text", "string", "At most 1000 octets." } },
  example = act("connect", [[gw.action.note "seen"]]) }

func "gw.rule" { "Says what happens when something matches; carried out without Lua.", group = "registration",
  contexts = "load", checks_itself = true,
  args = { { "rule", "table", fields = {
    { "name", "string", "Letters a-z, digits, `_`, `-`, with dots between; unique in the generation." },
    { "at", "gw.Hook", "The hook." },
    { "act", "gw.Act|gw.Act[]", "One action or a list of 1 to 32. A verdict may only be the last." },
    { "when?", "gw.Matcher", "Without it the rule always applies." },
    { "level?", "gw.Order", '`"normal"`' },
    { "priority?", "integer", "-100 to 100, default 0." } } } },
  errors = "a wrong field, a matcher or an action that does not fit the hook",
  example = file [[
gw.rule {
  name = "tag.subject", at = "message", level = "mandatory",
  when = gw.match.subject_word "[secure]",
  act  = { gw.action.require_tls { level = "requiretls", reason = "marked secure" }, gw.action.tag "secure" },
}]] }

func "gw.on" { "Registers a handler.", group = "registration",
  contexts = "load", checks_itself = true,
  args = { { "hook", "gw.Hook" }, { "handler", "function", "Its arguments are the hook's." },
    { "opts", "table", class = "gw.HandlerOpts", fields = {
      { "name", "string", "Letters a-z, digits, `_`, `-`, with dots between; unique in the generation." },
      { "when?", "gw.Matcher", "The function is called only if it matches." },
      { "level?", "gw.Order", '`"normal"`' },
      { "priority?", "integer", "-100 to 100, default 0." },
      { "wall?", "gw.Duration", 'How long one call may take with all its waiting, at most `"60s"`.' },
      { "observe?", "boolean", "It may look, but may not return a verdict or change anything." } } } },
  errors = "an unknown hook, a missing or used name, a matcher that does not fit the hook",
  example = file [[
gw.on("rcpt", function(session, message, rcpt)
  if rcpt.localpart == "payroll" then
    return gw.reject { text = "This address takes mail from inside only" }
  end
end, { name = "payroll.inside", when = gw.match.listener_role "mx" })]] }

func "gw.every" { "Runs a function again and again.", group = "registration",
  contexts = "load", checks_itself = true,
  args = { { "timer", "table", fields = {
    { "name", "string", "As for handlers." },
    { "interval", "gw.Duration", "From 0.1 seconds to 366 days." },
    { "run", "fun(tick: gw.Tick)", "It may wait, and returns nothing." },
    { "jitter?", "gw.Duration", "Each tick comes up to so much later, at random." },
    { "scope?", '"worker"|"node"', '`"node"`: in one worker only.' },
    { "wall?", "gw.Duration" }, { "level?", "gw.Order" }, { "observe?", "boolean" } } } },
  errors = "a wrong field, a used name",
  example = file [[
gw.every {
  name = "hello", interval = "10m", jitter = "1m", scope = "node",
  run = function(tick)
    tick:note("missed " .. tick.missed)
  end,
}]] }
