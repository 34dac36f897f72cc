local g = gw.geo "10.1.2.3"
assert(g.country == "DE" and g.asn == 64500 and g.organization == "Acme")
g = gw.geo "192.0.2.7"
assert(g.country == "FR" and g.asn == nil and g.organization == nil)
assert(gw.geo("2001:db8::1").country == "US" and gw.geo("198.51.100.1").country == nil and gw.geo("x").country == nil)
gw.on("ehlo", function(message, hop)
  assert(hop.country == "FR" and hop.asn == nil)
end, { name = "geo" })
