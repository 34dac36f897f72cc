"""What policies look things up in: data tables of files that change under a running gateway."""

import os

import case

# Says what the table has about the sender's domain.
PARTNERS = """
local partners = gw.table "partners"
gw.on("mail", function(session, message)
  local row = partners:get(message.from.domain)
  if row == nil then return gw.reject { text = "nobody v" .. partners.version } end
  return gw.reject { text = row.level .. " " .. #(row.names or {}) .. " v" .. partners.version }
end, { name = "partners" })
"""
CSV = "domain,level,names\n*.client.example,verify,a.example b.example\nx.example,secure,\n"


def replace(gw, name, text):
    """As an administrator should: a new file in the place of the old."""
    path = os.path.join(gw.dir, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w") as f:
        f.write(text)
    os.rename(path + ".new", path)


def says(t, gw, sender):
    c = t.client(gw)
    c.ehlo()
    reply = c.mail(sender)
    c.close()
    return reply.text.split(" ", 1)[1]


def tables(**table):
    return {"tables": {"partners": dict({"csv": "data/partners.csv", "columns": {
        "domain": "pattern", "level": "level", "names": "list"}}, **table)}, "service": {"workers": 2}}


@case.register("table-of-a-file", "I5")
def table_of_a_file(t):
    """Wrong data keeps the gateway from starting, and from reloading, and the message has file and line."""
    gw = t.gateway(policy=PARTNERS, over=tables(), files={"data/partners.csv": CSV})
    t.eq(says(t, gw, "a@a.client.example"), "verify 2 v1")
    t.eq(says(t, gw, "a@X.Example"), "secure 0 v1")
    t.eq(says(t, gw, "a@client.example"), "nobody v1")
    replace(gw, "data/partners.csv", CSV + "y.example,verfy,\n")
    r = gw.run("policy", "check", "gateway.lua")
    t.eq(r.returncode, 1, "policy check")
    t.has(r.stdout + r.stderr, 'data/partners.csv:4: column "level": "verfy" is none of may', "policy check")
    r = gw.run("reload")
    t.check(r.returncode != 0, "the reload is refused")
    t.has(r.stdout + r.stderr, "data/partners.csv:4:", "reload")
    t.eq(says(t, gw, "a@a.client.example"), "verify 2 v1", "the old data")
    gw.stop()
    try:
        gw.start(timeout=10)
    except Exception as e:
        t.has(str(e), "data/partners.csv:4:", "what it says")
    else:
        t.check(False, "it started")
    replace(gw, "data/partners.csv", CSV + "client.example,may,\n")
    gw.start()
    t.eq(says(t, gw, "a@client.example"), "may 0 v1")


@case.register("table-that-is-watched", "I5")
def table_watched(t):
    """A new file is taken without a reload, by all workers; a wrong one is not, and says so once."""
    gw = t.gateway(policy=PARTNERS, over=tables(reload="watch"), files={"data/partners.csv": CSV})
    t.eq(says(t, gw, "a@client.example"), "nobody v1")
    replace(gw, "data/partners.csv", CSV + "client.example,may,\n")
    gw.wait_log("table reloaded table=partners version=2 rows=3")
    t.eq({says(t, gw, "a@client.example") for _ in range(8)}, {"may 0 v2"}, "what the workers say")
    replace(gw, "data/partners.csv", CSV + "client.example\n")
    gw.wait_log("table not reloaded, the old one stays table=partners version=2 .*partners.csv:4: there are 1 fields and 3 columns")
    t.eq(says(t, gw, "a@client.example"), "may 0 v2", "the old data")
    t.has(gw.run("metrics").stdout, 'sallyport_table_stale{table="partners"} 1', "metrics")
    t.has(gw.run("metrics").stdout, 'sallyport_table_failures_total{table="partners"} 1', "metrics")
    os.unlink(os.path.join(gw.dir, "data/partners.csv"))
    gw.wait_log("table not reloaded, .*No such file")
    replace(gw, "data/partners.csv", CSV + "client.example,encrypt,\n")
    gw.wait_log("table reloaded table=partners version=3")
    t.eq(says(t, gw, "a@client.example"), "encrypt 0 v3")
    t.has(gw.run("metrics").stdout, 'sallyport_table_stale{table="partners"} 0', "metrics")
    t.eq(len(gw.log_lines("table not reloaded")), 2, "lines about wrong files")


case.main()
