"""What waits for a next hop that takes little, is away and comes back, or is slow; a hold that comes
too late; a policy that would send tagged mail to it with less. With SOAK=1: ten thousand messages wait for the one that comes back."""

import os
import re
import threading

import case
from lab.hostile import Hops, Way, close, rst

MANY = 10000 if os.environ.get("SOAK") else 150


def open_legs(hop):
    return [leg for leg in list(hop.hops.open) if leg.hop is hop]


def setup(t, way, over, others=()):
    """A gateway whose route "inside" ends at a hop with this way at 127.0.0.40, "inside2" at .41 and so on."""
    hops = Hops(t.certs.issue("inside.example"))
    t.parts.append(hops.stop)
    made = [hops.add(f"127.0.0.{40 + i}", w) for i, w in enumerate([way, *others])]
    hops.start()
    routes = {"inside" + (str(i + 1) if i else ""): {"via": [f"127.0.0.{40 + i}:{hops.port}"], "tls": "may"}
              for i in range(len(made))}
    gw = t.gateway(hop_port=hops.port, over=case.merge({"routes": routes, "log": {"level": "info"}}, over))
    return gw, made


def send_many(t, gw, n, to="b@gw.example", size=100):
    """n messages; their subjects."""
    c = t.client(gw, timeout=120)
    t.clients.remove(c)         # its transcript would drown the rest
    c.ehlo()
    subjects = [f"m{i}" for i in range(n)]
    for s in subjects:
        c.mail("a@client.example", code=250)
        c.rcpt(to, code=250)
        c.data(f"Subject: {s}\r\n\r\n".encode() + b"0123456789abcdef\r\n" * (size // 18), 250)
    c.quit()
    return subjects


def taken(hop):
    return sorted(re.search(rb"Subject: (\S+)", g["data"]).group(1).decode() for g in hop.got if g["told"])


def recipients(gw):
    messages = gw.json("queue", "list", "--limit", "100000")["messages"]
    return [dict(r, message=m["id"]) for m in messages for r in m["recipients"]]


@case.register("one-connection-too-many", "X-53")
def too_many(t):
    """Two connections are taken, every further one is reset. Nothing is deferred for it, and the
    number of tries is not that of the messages."""
    def two(leg, line):
        with lock:
            admitted[:] = [other for other in admitted if other in leg.hop.hops.open]
            if len(admitted) < 2:
                admitted.append(leg)
                return
        refused.append(1)
        rst(leg)

    def held(leg, line):
        go.wait(60)     # for the others: so many wait that more connections are wanted

    refused, admitted, lock, go = [], [], threading.Lock(), threading.Event()
    gw, (hop,) = setup(t, Way("two", at={"CONNECT": two, "SECURED": held}), {"queue": {"retry": ["1h"]}, "delivery": {"idle": "5s"}})
    subjects = send_many(t, gw, 150)
    go.set()
    gw.wait_for(lambda: len(hop.got) >= 150, 60, "all messages")
    gw.wait_queue_empty()
    t.eq(taken(hop), sorted(subjects), "messages")
    t.eq(gw.log_lines("message deferred"), [], "deferrals")
    t.check(len(refused) > 0, "nothing was refused: the case shows nothing")
    t.check(len(refused) < 75, f"{len(refused)} connections were tried in vain")


@case.register("away-and-back", "X-53", seconds=900 if os.environ.get("SOAK") else 120)
def away_and_back(t):
    """The next hop resets everything, then is back: jittered times that survive a restart, few probes
    while it is away, one connection first and never more than allowed when it is back."""
    gw, (hop,) = setup(t, Way("away", at={"CONNECT": rst}),
                       {"queue": {"retry": ["2m", "1h"], "concurrency": 5, "max_messages": 0}, "delivery": {"idle": "1s"}})
    # The rest after a failure is a part of the first interval; the sends below take longer.
    subjects = send_many(t, gw, MANY)
    gw.wait_for(lambda: all(r["attempts"] == 1 for r in recipients(gw)), 300, "a first attempt for all")
    t.eq(len(recipients(gw)), MANY, "messages in the queue")
    probes = len(hop.legs)
    t.check(probes < MANY / 3, f"{probes} connections for {MANY} messages to a host that is away")
    before = {r["message"]: r["next"] for r in recipients(gw)}
    t.check(len(set(before.values())) > min(MANY, 120) / 2, f"retries at {len(set(before.values()))} times only")
    gw.restart()
    t.eq({r["message"]: r["next"] for r in recipients(gw)}, before, "times of the next attempts after a restart")
    gw.run("queue", "retry", "--to", "*", "--reason", "still away?", timeout=120)
    gw.wait_for(lambda: all(r["attempts"] == 2 for r in recipients(gw)), 300, "a second attempt for all")
    t.check(len(hop.legs) - probes < max(50, MANY / 50), f"{len(hop.legs) - probes} probes of one retry of all")
    before = len(hop.legs)
    most, seen = [0], []

    def count(leg, line):
        most[0] = max(most[0], len(open_legs(hop)))
        seen.append(len(hop.got))

    hop.now = Way("back", at={"CONNECT": count})
    gw.run("queue", "retry", "--to", "*", "--reason", "it is back", timeout=120)
    gw.wait_for(lambda: not recipients(gw), 600, "an empty queue")
    t.eq(taken(hop), sorted(subjects), "messages")
    # Those that have been told QUIT may not have gone when the next ones come.
    t.check(most[0] <= 10, f"{most[0]} connections at a time")
    t.check(len(seen) == 1 or seen[1] > 0, "a second connection before the first had shown that it works")
    t.check(len(hop.legs) - before < MANY / 5 + 10, f"{len(hop.legs) - before} connections for {MANY} messages")


@case.register("hold-that-comes-too-late", "I4")
def too_late(t):
    """A recipient whose message is on the wire is held: the answer says so, and it goes; one that
    waits behind it is held and stays."""
    arrived, go = threading.Event(), threading.Event()

    def final(session, line):
        arrived.set()
        go.wait(30)

    hop = t.nexthop(replies={".": final})
    gw = t.gateway(hop_port=hop.port, over={"queue": {"concurrency": 1}})
    send_many(t, gw, 1, to="first@gw.example")
    t.check(arrived.wait(15), "the message is on its way")
    send_many(t, gw, 1, to="second@gw.example")
    done = gw.json("queue", "hold", "--to", "second@*", "--reason", "in time")
    t.eq((done["changed"], done["in_delivery"]), (1, 1), "hold of one that waits for the connection")
    done = gw.run("queue", "hold", "--to", "first@*", "--reason", "too late")
    t.has(done.stdout, "1 changed", "answer")
    t.has(done.stdout, "1 of them in delivery", "answer")
    go.set()
    gw.wait_for(lambda: [r["address"] for r in recipients(gw)] == ["second@gw.example"], what="the first to leave")
    t.eq([r["state"] for r in recipients(gw)], ["held"], "the second")
    t.eq(len(hop.accepted), 1, "messages")
    t.eq(gw.json("queue", "hold", "--to", "second@*", "--reason", "again")["in_delivery"], 0, "in delivery")
    gw.run("queue", "release", "--to", "*", "--reason", "now")
    hop.wait_messages(2)
    gw.wait_queue_empty()


def resident(gw):
    with open(f"/proc/{gw.process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) // 1024


@case.register("slow-peer-holds-nothing", "X-48", "I6")
def slow_peer(t):
    """Ten large messages to a host that reads nothing of them: no body is in memory, and mail for
    another goes its way on the same worker. (That they end by a deadline: content-not-read.)"""
    def held(leg, line):
        go.wait(60)
        close(leg)

    go = threading.Event()
    gw, (slow, other) = setup(t, Way("slow", at={"BODY": held}, rcvbuf=4096), {
        "domains": [{"match": ["gw.example"], "kind": "local", "route": "inside"},
                    {"match": ["other.example"], "kind": "local", "route": "inside2"}],
        "queue": {"retry": ["1h"]}, "delivery": {"block": "2m", "final": "2m"}}, [Way("good")])
    send_many(t, gw, 1, to="b@other.example")
    gw.wait_for(lambda: taken(other), what="a first message")
    before = resident(gw)
    send_many(t, gw, 10, size=6_000_000)
    gw.wait_for(lambda: len([1 for leg in slow.legs if "DATA" in leg.lines]) == 10, 30, "ten connections in DATA")
    send_many(t, gw, 20, to="b@other.example")
    gw.wait_for(lambda: len(taken(other)) == 21, 30, "mail for the other host")
    t.eq(len(open_legs(slow)), 10, "connections that are still slow")
    with open(gw.daemon, "rb") as f:
        is_sanitized = b"__asan_init" in f.read()
    if not is_sanitized:        # its allocator keeps what was freed
        t.check(resident(gw) - before < 30, f"{resident(gw) - before} MiB for 60 MB of mail")
    go.set()
    gw.wait_log("message deferred .*stage=data reason=connection-lost status=4.4.2", 60, 10)


WEAKENS = """
gw.on("route", function(message, rcpt) if rcpt.domain.name ~= "weak.example" then return end return gw.route { via = { "127.0.0.60:%d" }, tls = "may" } end, { name = "w.route" })
gw.on("tls_policy", function() return gw.tls { level = "may", on_unmet = "defer" } end, { name = "w.tls" })
gw.on("unmet", function() return gw.relax { grant = "%s", reason = "I say so" } end, { name = "w.unmet" })
"""


@case.register("policy-that-would-weaken", "X-35", "I3", "R-112")
def weaken(t):
    """Hooks that answer tls = "may" wherever they are asked, and a relax by a grant that is not for this
    destination: the tagged message is returned and not a MAIL was said."""
    hop = t.nexthop(host="127.0.0.60", starttls=False)
    inside = t.nexthop()
    grant = {"relaxes": "requiretls", "to": "may", "owner": "o@gw.example", "expires": "2099-01-01",
             "domains": ["other.example"]}
    gw = t.gateway(over={"routes": {"inside": {"via": [f"127.0.0.1:{inside.port}"]}},
                         "domains": [{"match": ["gw.example"], "kind": "local", "route": "inside"},
                                     {"match": "*", "kind": "remote", "route": "internet"}],
                         "policy": {"grants": {"other": grant}}},
                   policy=WEAKENS % (hop.port, "other"))
    case.send(gw.port("relay"), "a@gw.example", "b@weak.example", b"Subject: w\r\n\r\nsecret-walrus\r\n", params="REQUIRETLS")
    m = inside.wait_messages(1)[0]
    t.has(m.data.decode(), "Status: 5.7.10", "the notice")
    t.lacks(m.data.decode(), "secret-walrus", "the notice")
    gw.wait_queue_empty()
    t.eq([c for s in hop.sessions for c in s.commands if c.split()[0].upper() not in ("EHLO", "QUIT")], [], "commands")
    case.send(gw.port("relay"), "a@gw.example", "b@weak.example", b"Subject: plain\r\n\r\nx\r\n")
    hop.wait_messages(1)        # the same hooks, and a message that owes nothing: they do what they say


case.main()
