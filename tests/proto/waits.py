"""Handlers that wait, from outside: what gw.kv keeps, whatever happens to the daemon; handlers whose time is
up, whose client leaves or whose daemon stops, while they wait in each of the calls; the MTA-STS policy of a domain as a handler sees it."""

import os
import re
import socket
import sqlite3
import struct

import case
from lab.client import Client
from sts_lab import domain, publish, scene

KV = """
local kv = gw.kv "seen"
gw.on("mail", function(session, message)
  local n, err = kv:add("n")
  if not n then return gw.defer { text = err.text } end
  return gw.reject { text = "number " .. n .. " last " .. tostring(kv:get "last") }
end, { name = "count" })
gw.on("helo", function(session, name)
  if name ~= "probe.example" then assert(kv:set("last", name)) end
end, { name = "last" })
"""


def count(gw, name):
    c = Client(gw.port("inbound"))
    try:
        c.ehlo(name)
        reply = c.mail("a@client.example")
        found = re.search(r"number (\d+) last (\S+)", reply.text)
        return int(found.group(1)), found.group(2)
    finally:
        c.close()


@case.register("kv-survives")
def kv_survives(t):
    """What a call has answered is there after a stop and after kill -9, and all workers see the same."""
    gw = t.gateway(over={"service": {"workers": 2}}, policy=KV)
    for n in range(1, 7):
        t.eq(count(gw, f"c{n}.example"), (n, f"c{n}.example"))
    gw.stop()
    gw.start()
    t.eq(count(gw, "probe.example"), (7, "c6.example"))
    for n in range(8, 12):
        t.eq(count(gw, f"c{n}.example"), (n, f"c{n}.example"), "count")
        gw.kill()
        gw.start()
    t.eq(count(gw, "probe.example"), (12, "c11.example"))


@case.register("kv-under-kill")
def kv_under_kill(t):
    """Killed in the middle of many calls: no number is given out twice."""
    gw = t.gateway(over={"service": {"workers": 2}}, policy=KV)
    given = []
    for _ in range(3):
        clients = [Client(gw.port("inbound")) for _ in range(8)]
        for c in clients:
            c.ehlo("x.example")
        for c in clients:
            c.raw(b"MAIL FROM:<a@client.example>\r\n")
        given.append(clients[0].read_reply())
        gw.kill()
        for c in clients[1:]:
            try:
                given.append(c.read_reply())
            except (EOFError, OSError):
                pass
        for c in clients:
            c.close()
        gw.start()
    numbers = [int(re.search(r"number (\d+)", r.text).group(1)) for r in given]
    t.eq(len(set(numbers)), len(numbers), "different numbers")
    t.check(count(gw, "probe.example")[0] > max(numbers), "the count goes on behind all that were given out")


# Each never comes to an end by itself; `silent` is answered by nobody.
CALLS = {
    "sleep": "gw.sleep(10)",
    "dns": 'gw.dns.mx("silent.example")',
    "all": 'gw.all { function() gw.sleep(10) end, function() gw.dns.a("silent.example") end }',
    "within": "gw.within(30, function() gw.sleep(10) end)",
    "coroutine": "coroutine.wrap(function() coroutine.wrap(function() gw.sleep(10) end)() end)()",
    "memo-first": 'look("x")',
    "memo-second": 'look("x")',
    "sts": 'gw.sts.get("silent.example")',
    "kv": 'kv:add("n")',       # the database is locked then
}
WAITS = """
local kv = gw.kv "seen"
local look = gw.memo(function(k) gw.sleep(10) return k end, { name = "look" })
gw.on("mail", function(session, message)
  local at = message.from.localpart
  gw.log.info("at " .. at)
%s
  if at == "count" then return gw.reject { text = "number " .. kv:add "left" } end
end, { name = "waits", wall = "2s" })
gw.on("message", function() gw.sleep(0.3) end, { name = "slow" })
""" % "\n".join(f'  if at == "{name}" then {call} gw.log.info("past {name}") end' for name, call in CALLS.items())


def waiting(gw):
    found = re.search(r"^sallyport_policy_waiting(?:\{.*\})? (\d+)", gw.run("metrics").stdout, re.M)
    return int(found.group(1))


def over_silent(t):
    """One worker, and DNS that never answers."""
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    t.parts.append(silent.close)
    return {"service": {"workers": 1}, "policy": {"network": {"dns": True}}, "dns": {
        "forward": [f"127.0.0.1@{silent.getsockname()[1]}"], "timeout": "30s", "anchor": "none"}}


def all_wait(t, gw):
    """A client for each of the calls, when their handlers wait."""
    clients = [t.client(gw) for _ in CALLS]
    for c in clients:
        c.ehlo("x.example")
    for c, name in zip(clients, CALLS):
        c.raw(f"MAIL FROM:<{name}@client.example>\r\n".encode())
    gw.wait_for(lambda: waiting(gw) == len(CALLS), what="all of them wait")
    return clients


@case.register("all-ends-with-the-handler")
def all_ends(t):
    """When their time is up, and when the daemon stops: nothing after the call runs, and the client hears 451."""
    gw = t.gateway(over=over_silent(t), policy=WAITS)
    lock = sqlite3.connect(os.path.join(gw.dir, "state", "queue.db"), isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    clients = all_wait(t, gw)
    for c, name in zip(clients, CALLS):
        t.eq(c.read_reply().code, 451, name)
        c.close()
    t.eq(waiting(gw), 0, "handlers that wait")
    lock.execute("ROLLBACK")
    t.eq(len(gw.log_lines("policy failed.*limit.wall")), len(CALLS), "failures")
    t.eq(gw.log_lines(r"policy says.*past "), [], "handlers that went on")
    c = t.client(gw)
    c.ehlo("x.example")
    t.has(c.mail("count@client.example").text, "number 1")
    lock.execute("BEGIN IMMEDIATE")
    all_wait(t, gw)
    lock.execute("ROLLBACK")
    lock.close()
    gw.stop()


@case.register("client-leaves-while-it-waits")
def client_leaves(t):
    """Nobody waits any more when the client has gone, and nothing after the call runs."""
    gw = t.gateway(over=over_silent(t), policy=WAITS.replace('wall = "2s"', 'wall = "60s"'))
    lock = sqlite3.connect(os.path.join(gw.dir, "state", "queue.db"), isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    clients = all_wait(t, gw)
    for n, c in enumerate(clients):
        if n % 2:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
    gw.wait_for(lambda: waiting(gw) == 0, what="none of them waits")
    gw.wait_log("session ended.*closed by peer", count=len(CALLS))
    lock.execute("ROLLBACK")
    lock.close()
    c = t.client(gw)
    c.ehlo("x.example")
    t.has(c.mail("count@client.example").text, "number 1")
    t.eq(gw.log_lines(r"policy says.*past |policy failed"), [], "handlers that went on or failed")
    # Who only ends its side behind the whole message still hears of it.
    c = t.client(gw)
    c.ehlo("x.example")
    c.mail("b@client.example", code=250)
    c.rcpt("b@gw.example", code=250)
    c.cmd("DATA", 354)
    c.raw(b"Subject: slow\r\n\r\nx\r\n.\r\n")
    c.sock.shutdown(socket.SHUT_WR)
    t.eq(c.read_reply().code, 250)


STS = """
gw.on("mail", function(session, message)
  local p, err = gw.sts.get(message.from.domain)
  if err then return gw.defer { text = err.kind .. " " .. tostring(err.temporary) } end
  if not p then return gw.reject { text = "none" } end
  return gw.reject { text = p.mode .. " " .. p.mx[1] .. " " .. p.id .. " " .. p.max_age }
end, { name = "sts" })
"""


@case.register("sts-of-a-domain")
def sts_of(t):
    """The policy, that there is none, and that it is not known."""
    s = scene(t, {}, over={"policy": {"network": {"dns": True}}}, policy_text=STS)
    publish(s, "ok")
    publish(s, "trouble", status="500 Trouble")
    c = t.client(s.gw)
    c.ehlo("x.example")
    for name, code, text in [("ok", 550, f"enforce mx.{domain('ok')} 1 86400"), ("norecord", 550, "none"),
                             ("trouble", 451, "servfail true"), ("ok", 550, "enforce")]:
        reply = c.mail(f"a@{domain(name)}")
        t.eq(reply.code, code, name)
        t.has(reply.text, text, name)
    t.eq(s.web.count(domain("ok")), 1, "fetches")


case.main()
