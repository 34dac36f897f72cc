-- gateway.lua: data only. gateway.lua(5) has every setting; `sallyport config check` finds every mistake.
return gw.config {
  identity  = { hostname = "mx1.acme.example", postmaster = "postmaster@acme.example" },

  listeners = {
    inbound = { bind = "127.0.0.1:2525", role = "mx" },                             -- mail for our domains
    relay   = { bind = "127.0.0.1:2587", role = "relay", clients = "127.0.0.0/8" }, -- mail of our own hosts
  },

  domains   = {
    { match = { "acme.example", "*.acme.example" }, kind = "local", route = "inside" },
    { match = "*", route = "internet" },
  },

  routes    = {
    inside   = { via = "127.0.0.1:2526" },
    internet = { via = "mx" },
  },

  policy    = {
    load   = "policy.lua",
    -- A new rule may be tried before it counts: "advisory" only writes what it would have done.
    -- levels = { ["tag.subject"] = "advisory" },
  },
}
