"""The example configuration and policy of the policy design, section 6, without what belongs to later
work (data tables, authentication, policies' HTTP): they load as they are printed there."""

import os

import case
from lab.gateway import find_program
import subprocess

CONFIG = r'''
local own = { "acme.example", "*.acme.example" }

return gw.config {
  version  = 1,
  identity = { hostname = "mx1.acme.example", postmaster = "postmaster@acme.example" },

  service  = { workers = "cores", state = "state", control = "run/control.sock",
               http = "127.0.0.1:8025" },         -- metrics and status page
  dns      = { forward = { "127.0.0.1" },         -- default: the system's resolvers
               anchor = "/usr/share/dns/root.key", stub = { ["corp.example"] = { "10.0.0.53@53" } } },

  networks = { office = { "10.0.0.0/8", "fd00::/8" } },

  listeners = {
    inbound = { bind = { "0.0.0.0:25", "[::]:25" }, role = "mx", tls = "mx1",
                starttls = "offer", requiretls = "announce", max_size = "50M" },
    relay   = { bind = { "10.0.0.5:587" }, role = "relay", tls = "mx1", clients = "office",
                starttls = "required", auth = { "PLAIN", "EXTERNAL" } },
    back    = { bind = { "unix:run/back.sock" }, role = "reinject", peer = "content-filter" },
  },

  tls = {
    identities  = { mx1 = { cert = "tls/mx1.pem", key = gw.secret "file:secrets/mx1.key" } },
    min_version = "1.2", trust = "system", dane = "auto", sts = "auto",
    tls_required_no = "honour",            -- or "ignore"; policy may still ignore it per message
    tls_required_names = { "TLS-Required", "Require-TLS" },
    sts_testing = "accept", ca_file = nil, -- trust: "system", or only this file
  },

  domains = {
    { match = own, kind = "local",  route = "exchange" },
    { match = "*", kind = "remote", route = "internet" },
  },

  routes = {
    exchange = { via = { "ex1.acme.example:25", "ex2.acme.example:25" }, tls = "verify",
                 assert_secure_lookup = true, assert_propagate = true },  -- own last hop
    portal   = { via = { "192.0.2.8:465" }, implicit_tls = true, tls = "verify",
                 names = { "portal.acme.example" },   -- what its certificate must carry; default: the host
                 assert_secure_lookup = true },
    internet = { via = "mx", tls = "may" },
  },

  queue = { path = "state/queue.db", max_age = "5d", hold_unmet = "0s",
            retry = { "5m", "15m", "1h", "4h" }, delay_notice = "4h" },

  policy = {
    load    = { "policy.lua", "policies/hipaa.lua", "policies/geo.lua" },
    levels  = { ["geo.block"] = "advisory" },
    limits  = { instructions = 1000000, wall = "10s", memory = "64M" },
    network = { dns = true },
    grants  = {
      ["legacy-fax"] = { relaxes = "requiretls", to = "verify", domains = { "fax.partner.example" },
                         owner = "secops@acme.example", expires = "2027-06-30", max_per_day = 200 },
    },
  },

  dsn = { from = "Mail Delivery <postmaster@acme.example>", return_content = "headers",
          languages = { "en", "de" }, templates = "templates/dsn" },
  log = { journal = "log/journal.jsonl", audit = "state/audit.db" },
}
'''

POLICY = r'''
local m, a  = gw.match, gw.action

-- 1. declarative: no Lua is entered for mail that does not match
gw.rule {
  name = "tag.subject", at = "message", level = "mandatory",
  when = m.all { m.listener "relay", m.any { m.subject_word "[secure]", m.header("Sensitivity", "Company-Confidential") } },
  act  = { a.require_tls { level = "requiretls", reason = "sender marked secure" }, a.tag "secure" },
}

-- 2. TLS-Required: No is honoured only for mail to role accounts that handle TLS problems
local role = gw.set { "postmaster", "tlsrpt", "abuse" }
gw.on("message", function(session, message)
  if message.tls_required_no ~= "honoured" then return end
  for rcpt in message:each_recipient() do
    if not role:has(rcpt.localpart) then
      message:ignore_tls_required_no { reason = "recipient is not a TLS problem contact" }
      return
    end
  end
end, { name = "tlsno.roles", level = "mandatory" })

-- 4. cannot meet REQUIRETLS: offer the portal before bouncing
gw.on("unmet", function(message, hop, unmet)
  if unmet:has "propagate" and message:has_tag "secure" then
    return gw.reroute { via = "portal", reason = "no REQUIRETLS at " .. hop.destination.name }
  end
  if hop.destination.name == "fax.partner.example" then
    return gw.relax { grant = "legacy-fax", reason = "fax bridge, contract 7731" }
  end
end, { name = "unmet.portal" })

-- 5. bounces leaving the company say little
gw.on("bounce", function(message, bounce)
  if bounce.to.domain:is_remote() then
    bounce.redact = { "internal_hosts", "diagnostic_text", "received" }
    bounce.template = "external"
  end
end, { name = "bounce.external", level = "mandatory" })
'''

GEO = 'gw.on("attempt", function(message, hop) end, { name = "geo.block" })\n'
HIPAA = 'gw.on("tls_policy", function(domain, route) end, { name = "hipaa.floor", level = "mandatory" })\n'


def bundle(t, config=CONFIG):
    cert = t.certs.issue("mx1.acme.example")
    files = {"gateway.lua": config, "policy.lua": POLICY, "policies/hipaa.lua": HIPAA, "policies/geo.lua": GEO,
             "templates/dsn/external.en.txt": "Your message did not arrive.\n",
             "tls/mx1.pem": open(cert.cert, encoding="ascii").read(),
             "secrets/mx1.key": open(cert.key, encoding="ascii").read()}
    for name, text in files.items():
        path = t.path("bundle", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    os.chmod(t.path("bundle", "secrets", "mx1.key"), 0o600)
    return t.path("bundle")


def check(t, where):
    return subprocess.run([find_program("sallyport"), "config", "check", os.path.join(where, "gateway.lua")],
                          capture_output=True, text=True, timeout=30, check=False)


@case.register("design-example-loads")
def example_loads(t):
    """Configuration and policy as printed, with their files."""
    done = check(t, bundle(t))
    t.eq(done.returncode, 0, done.stdout + done.stderr)
    t.has(done.stdout, "policy ok: 3 files")


@case.register("design-example-with-its-data")
def with_data(t):
    """Its table and its HTTP origin: a file that is missing is named, and with the file it loads."""
    config = CONFIG.replace("network = { dns = true }", 'network = { dns = true, http = { "https://cmdb.acme.example/" } }') \
        .replace("  queue = {", '  tables = { partners = { csv = "data/partners.csv", key = "domain" } },\n  queue = {')
    t.check(config.count("partners.csv") == 1 and config.count("cmdb") == 1, "the configuration has them")
    where = bundle(t, config)
    done = check(t, where)
    t.eq(done.returncode, 1, "exit status")
    t.has(done.stderr, "data/partners.csv: cannot be read: No such file or directory")
    os.makedirs(os.path.join(where, "data"))
    with open(os.path.join(where, "data", "partners.csv"), "w", encoding="utf-8") as f:
        f.write("domain,level,names\nclinic.example,verify,mx.clinic.example\n")
    done = check(t, where)
    t.eq(done.returncode, 0, done.stdout + done.stderr)


@case.register("design-example-error-names-the-field")
def names_the_field(t):
    """The message of the issue: the path to the field and what there is instead."""
    config = CONFIG.replace('role = "mx", tls = "mx1"', 'role = "mx", tls = "mx2"')
    done = check(t, bundle(t, config))
    t.eq(done.returncode, 1, "exit status")
    t.has(done.stderr, 'listeners.inbound.tls: no identity "mx2"; there are "mx1"')


case.main()
