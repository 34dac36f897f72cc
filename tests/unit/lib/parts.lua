gw.rule { name = "any", at = "message", when = gw.match.attachment(), act = gw.action.tag "any" }
gw.rule { name = "csv", at = "message", when = gw.match.attachment("*.exe", "C?RDS.csv"), act = gw.action.tag "csv" }
gw.rule { name = "exe", at = "message", when = gw.match.attachment "*.exe", act = gw.action.tag "exe" }
gw.on("message", function(session, message)
  assert(message:has_tag("any") and message:has_tag("csv") and not message:has_tag("exe"))
  local parts = message:parts()
  assert(#parts == 2 and not parts.truncated)
  assert(parts[1].type == "text/plain" and parts[1]:text() == "hello" and parts[1].filename == nil and parts[1].level == 1)
  assert(parts[2].filename == "cards.csv" and parts[2].disposition == "attachment" and parts[2]:text() == "caf\u{E9}")
  assert(parts[2]:text(3) == "caf" and parts[2].charset == "iso-8859-15" and parts[2].size == 8)
  assert(not pcall(parts[2].text, parts[2], 0))
end, { name = "parts" })
