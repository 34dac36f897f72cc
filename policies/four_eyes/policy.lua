-- four_eyes: mail to competitors and the press waits until a second person has released it.
local options = gw.schema.options("four_eyes", {
  domains = { type = "list", of = "domain", default = {}, doc = "Recipients' domains: competitors, press." },
  except = { type = "list", of = "address", default = {}, doc = "Senders who may write alone: the press office." },
  tag = { type = "text", default = "four-eyes", doc = "The tag that such mail gets." },
})

if #options.domains > 0 then
  local m, a = gw.match, gw.action
  local when = { m.listener_role "relay", m.rcpt_domain(options.domains) }
  if #options.except > 0 then
    when[#when + 1] = m.no(m.sender(options.except))
  end

  -- At `message`, so that a release is for good: this hook does not come again. Without `expires`:
  -- what nobody releases goes back to the sender when it is too old for the queue.
  gw.rule {
    name = "four_eyes.hold", at = "message", level = "mandatory",
    when = m.all(when),
    act  = { a.tag(options.tag), gw.hold { reason = "a second person has to release it" } },
  }

  -- For the record: what became of it after the release.
  gw.on("result", function(message, rcpt, result)
    message:note("after the hold: " .. result.kind)
  end, { name = "four_eyes.note", observe = true, when = m.tag(options.tag) })
end
