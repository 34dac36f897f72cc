-- gateway.lua: a small edge gateway in front of two internal mail servers.
-- Data only; see gateway.lua(5). Check it with: sallyport config check
-- Relative paths are below the directory of this file.

local own = { "acme.example", "*.acme.example" }

return gw.config {
  version  = 1,
  identity = { hostname = "mx1.acme.example", postmaster = "postmaster@acme.example" },

  service  = {
    user    = "sallyport",
    state   = "/var/lib/sallyport",
    control = "/run/sallyport/control.sock",
    http    = "127.0.0.1:8025",        -- metrics and status page, for this machine only
  },

  -- A validating resolver is not needed, DNSSEC is validated here; but it must pass the records on.
  dns = { forward = { "127.0.0.1" }, anchor = "/usr/share/dns/root.key" },

  networks = { office = { "10.0.0.0/8", "fd00::/8" } },

  listeners = {
    -- From the internet. Announcing REQUIRETLS is a promise to keep it on the way on (RFC 8689).
    inbound = {
      bind = { "0.0.0.0:25", "[::]:25" }, role = "mx", tls = "mx1",
      starttls = "offer", requiretls = "announce", max_size = "50M",
    },
    -- From inside, to everywhere.
    relay = {
      bind = "10.0.0.5:587", role = "relay", clients = "office", tls = "mx1",
      starttls = "required", requiretls = "announce",
    },
  },

  tls = {
    identities = { mx1 = { cert = "tls/mx1.pem", key = gw.secret "file:secrets/mx1.key" } },
    tls_required_no = "honour",        -- TLS-Required: No, for mail about broken TLS
  },

  -- The first entry that matches decides.
  domains = {
    { match = own, kind = "local",  route = "inside" },
    { match = "*", kind = "remote", route = "internet" },
  },

  routes = {
    -- Our own servers do not list REQUIRETLS. The two assertions say that this list of hosts is to be
    -- trusted and that mail ends there; encryption and a verified certificate stay due.
    -- `sallyport config audit` shows them.
    inside = {
      via = { "ex1.acme.example", "ex2.acme.example" }, tls = "verify",
      assert_secure_lookup = true, assert_propagate = true,
    },
    internet = { via = "mx", tls = "may" },
  },

  queue  = { max_age = "5d", retry = { "5m", "15m", "1h", "4h" }, delay_notice = "4h" },
  policy = { load = { "policy.lua" } },
  dsn    = { from = "Mail Delivery <postmaster@acme.example>" },
  log    = { file = "/var/log/sallyport/sallyport.log", format = "text", level = "info" },
}
