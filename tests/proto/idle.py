"""Many idle sessions: what each costs, that mail beside them is quick, and that nothing of them stays. With
SOAK=1 ten thousand, half of them in TLS, and a million sessions one after the other; figures are printed."""

import contextlib
import os
import resource
import socket
import time

import case
from case import Client
from lab import process
from lab.client import tls_context
from lab.gateway import find_program

SOAK = os.environ.get("SOAK") == "1"
MESSAGE = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: x\r\n\r\nbody\r\n"
CLEAR_KIB, TLS_KIB = 8, 40          # for one idle session (spec security.md section 4)


def need_descriptors(t, count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        t.skip(f"{count} descriptors needed, {hard} allowed (ulimit -n)")
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def source(n):
    """Forty sessions from each address."""
    return f"127.1.{1 + n // 40 // 250}.{1 + n // 40 % 250}"


def clear_session(gw, n):
    s = socket.create_connection(("127.0.0.1", gw.port("inbound")), 30, source_address=(source(n), 0))
    s.recv(1000)
    s.sendall(b"EHLO client.example\r\n")
    s.recv(2000)
    return s


def tls_session(gw, n, ctx):
    c = Client(gw.port("inbound"), source=source(n), timeout=30)
    c.ehlo()
    c.starttls(ctx=ctx)
    c.ehlo()
    c.transcript.clear()
    return c


def mail_beside(t, gw, hop, count):
    """(median, worst) milliseconds for a whole session that brings a message."""
    took = []
    for _ in range(count):
        began = time.monotonic()
        case.send(gw.port("inbound"), "a@client.example", ["b@gw.example"], MESSAGE, tls=False, source="127.0.9.9")
        took.append((time.monotonic() - began) * 1000)
    hop.wait_messages(count, 60)
    took.sort()
    return took[len(took) // 2], took[-1]


def open_sessions(gw):
    return gw.json("status")["sessions"]["now"]


def idle(t, clear, tls, messages):
    need_descriptors(t, clear + tls + 500)
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, over={"log": {"level": "warn"}, "limits": {"command": "1h", "sessions": 20000,
                                                                                "sessions_per_address": 60}})
    pid = gw.process.pid
    case.send(gw.port("inbound"), "a@client.example", ["b@gw.example"], MESSAGE)
    hop.wait_messages(1)
    hop.messages.clear()
    measured = not process.is_sanitized(find_program("sallyportd"))
    base = process.memory_kib(pid)
    open_clear = [clear_session(gw, n) for n in range(clear)]
    with_clear = process.memory_kib(pid)
    resident = process.resident_kib(pid)
    ctx = tls_context()
    open_tls = [tls_session(gw, clear + n, ctx) for n in range(tls)]
    with_tls = process.memory_kib(pid)
    each_clear, each_tls = (with_clear - base) / clear, (with_tls - with_clear) / tls
    median, worst = mail_beside(t, gw, hop, messages)
    print(f"# {clear} idle in clear: {each_clear:.1f} KiB each, {resident / 1024:.0f} MiB resident in all; {tls} in TLS: "
          f"{each_tls:.1f} KiB each, {process.resident_kib(pid) / 1024:.0f} MiB resident; a session with mail beside them: "
          f"median {median:.0f} ms, worst {worst:.0f} ms")
    if measured:
        t.check(each_clear <= CLEAR_KIB, f"{each_clear:.1f} KiB for a session in clear")
        # The first handshake also fills what all of them share.
        t.check(tls < 100 or each_tls <= TLS_KIB, f"{each_tls:.1f} KiB for a session in TLS")
        t.check(resident < 200 * 1024, f"{resident} KiB resident")
    t.check(worst < 10000, f"a message took {worst:.0f} ms")        # guards against a hang
    gw.wait_for(lambda: open_sessions(gw) == clear + tls, 30, "all sessions")
    for s in open_clear + open_tls:
        s.close()
    gw.wait_for(lambda: open_sessions(gw) == 0, 60, "no session")
    case.send(gw.port("inbound"), "a@client.example", ["b@gw.example"], MESSAGE)


@case.register("idle-sessions", "X-78", "X-10", seconds=900)
def idle_sessions(t):
    """What an idle session holds, in clear and in TLS, and mail beside all of them."""
    idle(t, *((5000, 5000, 100) if SOAK else (1500, 150, 10)))


@case.register("idle-sessions-in-clear-alone", "X-78", seconds=900)
def idle_clear(t):
    """Ten thousand in clear stay below 200 MiB resident."""
    if not SOAK:
        t.skip("a long run: make soak")
    idle(t, 10000, 1, 100)


@case.register("sessions-leave-nothing", "X-78", seconds=3600)
def flat(t):
    """Memory is flat: after the first round of sessions, each with a refused recipient and every tenth with a
    message, further rounds add nothing."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, over={"log": {"level": "error"}, "limits": {"sessions_per_address": 300}})
    pid, rounds, many = gw.process.pid, (100 if SOAK else 3), (10000 if SOAK else 1500)
    after = []
    for _ in range(rounds):
        for at in range(0, many, 100):
            conns = [socket.create_connection(("127.0.0.1", gw.port("inbound")), 30) for _ in range(100)]
            for s in conns:
                s.sendall(b"")
                s.recv(1000)
                s.sendall(b"EHLO client.example\r\n")
            for s in conns:
                s.recv(2000)
                s.sendall(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@elsewhere.example>\r\nQUIT\r\n")
            for s in conns:
                with contextlib.suppress(OSError):
                    while s.recv(4096):
                        pass
                s.close()
            if at % 1000 == 0:
                case.send(gw.port("inbound"), "a@client.example", ["b@gw.example"], MESSAGE)
        hop.messages.clear()
        hop.sessions.clear()
        after.append(process.memory_kib(pid))
    print(f"# {rounds * many} sessions: {after[0]} KiB after {many}, {after[-1]} KiB at the end")
    if not process.is_sanitized(find_program("sallyportd")):
        t.check(after[-1] - after[0] < 2048, f"memory after each round, KiB: {after}")


case.main()
