local list = {}
for i = 1, 3 do list[i] = { match = ("d%d.example"):format(i), route = "x" } end
return gw.config {
  identity = { hostname = "b\u{fc}cher.example" }, networks = { e = {}, l = "::1" },
  dns = { anchor = "none", stub = { z = { servers = "::1@53", insecure = true } } },
  listeners = { r = { bind = "127.0.0.1:1", role = "relay", clients = { "e", "l" } } },
  domains = list, routes = { x = { via = { "a:1", "[::1]" }, tls = "may", source = "::1" } },
  tls = { identities = { a = { cert = "c", key = gw.secret "env:NO_SUCH_VARIABLE" } } },
  policy = { grants = { g = { relaxes = "secure", to = "may", domains = "*.x.example",
    owner = "a@b.example", expires = "2026-02-28" } }, levels = { a = "mandatory" } },
}
