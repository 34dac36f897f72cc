local c = gw.cidr { "10.0.0.0/8", "192.0.2.1", "2001:db8::/32" }
assert(#c == 3 and c:has "10.9.9.9" and c:has "192.0.2.1" and not c:has "192.0.2.2" and c:has "2001:db8:1::1")
assert(c:has "::ffff:10.1.1.1" and not c:has "x" and not c:has(nil) and not c:has "")
local m = gw.cidr { ["0.0.0.0/0"] = "world", ["10.0.0.0/8"] = "office", ["10.1.0.0/16"] = "lab", ["fd00::/8"] = { "x" } }
assert(m:get "10.1.2.3" == "lab" and m:get "10.2.2.3" == "office" and m:get "192.0.2.1" == "world")
assert(m:get "fd00::1"[1] == "x" and m:get "2001:db8::1" == nil)
assert(not gw.cidr({}):has "10.0.0.1")
assert(not pcall(gw.cidr, { 1 }) and not pcall(gw.cidr, { [1.5] = "x" }))
assert(not pcall(function() c.x = 1 end) and not pcall(function() return c.hs end))
gw.on("message", function(session, message)
  assert(m:get(session.peer.ip) == "lab" or m:get(session.peer.ip) == "office" or m:get(session.peer.ip) == "world")
end, { name = "cidr" })
