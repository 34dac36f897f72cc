-- message.auth_results, gw.dkim.results, gw.arc: with policy.auth_servers = { "mx1.acme.example" }
gw.on("message", function(session, message)
  local all = message.auth_results
  assert(#all == 4, #all)
  assert(all[1].server == "mx1.acme.example" and all[1].method == "dkim" and all[1].result == "pass")
  assert(all[4].method == "arc" and all[4].props["header.oldest-pass"] == "0")
  local signed = gw.dkim.results(message)
  assert(#signed == 3 and signed[1].domain == "one.example" and signed[1].selector == "s1" and signed[1].algorithm == "rsa-sha256")
  assert(signed[2].result == "fail" and signed[2].domain == "two.example" and signed[2].identity == "@two.example")
  assert(signed[3].domain == nil and signed[3].result == "none")
  local arc = gw.arc.results(message)
  assert(#arc == 1 and arc[1].result == "pass" and arc[1].oldest_pass == 0 and arc[1].remote_ip == "192.0.2.1")
  local chain = gw.arc.chain(message)
  assert(#chain == 2 and chain[1].instance == 1 and chain[1].domain == "first.example" and chain[1].result == "none")
  assert(chain[2].instance == 2 and chain[2].result == "pass" and chain[2].selector == "b")
  assert(not pcall(function() message.auth_results = {} end))
  assert(not pcall(gw.dkim.verify, message))          -- no DNS here
  assert(not pcall(gw.dkim.verify, session))
end, { name = "dkim" })
gw.on("mail", function(session, message) return gw.reject { text = tostring(pcall(function() return message.auth_results end)) } end,
  { name = "too.early" })
