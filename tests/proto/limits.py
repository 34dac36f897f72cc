"""Overload: too many sessions, too little memory, no descriptors, clients that idle, flood, stop half way or
never read. Each gets its 421 or 452, the others their mail, and the daemon neither grows nor spins."""

import contextlib
import os
import resource
import select
import signal
import socket
import struct
import time

import case
from case import Client
from lab import process
from lab.gateway import find_program

MESSAGE = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: x\r\n\r\nbody\r\n"


def limits(**values):
    return {"limits": values}


def raw(gw, source=None, send=b""):
    s = socket.create_connection(("127.0.0.1", gw.port("inbound")), 15, source_address=(source, 0) if source else None)
    if send:
        s.sendall(send)
    return s


def read_all(s):
    """Until the server closes; b"" when it reset the connection."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while data := s.recv(65536):
            got += data
    s.close()
    return got


def first_line(s):
    got = b""
    while b"\n" not in got:
        data = s.recv(4096)
        if not data:
            break
        got += data
    return got


def quiet(t, gw, seconds=1.0, ratio=0.1):
    """The daemon uses next to no CPU time."""
    if process.is_sanitized(find_program("sallyportd")):
        ratio *= 5
    pid = gw.process.pid
    began, cpu = time.monotonic(), process.cpu_seconds(pid)
    time.sleep(seconds)
    used, took = process.cpu_seconds(pid) - cpu, time.monotonic() - began
    t.check(used <= ratio * took, f"{used:.2f} s of CPU time in {took:.2f} s")


def send_one(gw, hop, count=1):
    """A message gets through, now."""
    before = len(hop.messages)
    case.send(gw.port("inbound"), "a@client.example", ["b@gw.example"], MESSAGE, source="127.0.9.9")
    hop.wait_messages(before + count)


def wait_sessions(gw, count):
    gw.wait_for(lambda: gw.json("status")["sessions"]["now"] == count, 15, f"{count} sessions")


# ---- Sessions ----

@case.register("sessions-in-all-and-for-an-address", "X-78")
def session_limits(t):
    """Past either limit a connection gets its 421 at once and is closed, also when the client talked
    first; places become free again, and who is in is not disturbed."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, over=limits(sessions=30, sessions_per_address=10, command_stress="300s"))
    first = t.client(gw, source="127.0.1.1")
    held = [raw(gw, "127.0.1.1") for _ in range(9)]
    for s in held:
        t.has(first_line(s), b"220 ", "greeting")
    for ahead in (b"", b"EHLO too.early\r\n" * 20):
        got = read_all(raw(gw, "127.0.1.1", ahead))
        t.eq(got, b"421 4.7.0 Too many sessions from your address\r\n", "the eleventh")
    for n in range(20):
        s = raw(gw, f"127.0.2.{n // 10}")
        t.has(first_line(s), b"220 ", "greeting")
        held.append(s)
    t.eq(read_all(raw(gw, "127.0.3.1")), b"421 4.3.2 Too many sessions, try again later\r\n", "the 31st")
    first.ehlo()
    first.send_message("a@client.example", "b@gw.example", MESSAGE)
    for s in held:
        s.close()
    wait_sessions(gw, 1)
    send_one(gw, hop)
    held = [raw(gw, "127.0.1.1") for _ in range(9)]
    for s in held:
        t.has(first_line(s), b"220 ", "greeting")
        s.close()
    metrics = gw.run("metrics").stdout
    t.has(metrics, "sallyport_sessions_turned_away_total 3", "metrics")


@case.register("flood-of-connections", "X-78", "X-28")
def connect_flood(t):
    """Thousands of connections above the limit, some reset at once: little CPU time for each, no memory, and
    mail goes on beside it."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, over=limits(sessions=50, sessions_per_address=5))
    pid = gw.process.pid
    c = t.client(gw, source="127.0.9.9")
    c.ehlo()
    held = [raw(gw, "127.0.1.1") for _ in range(5)]
    for s in held:
        first_line(s)
    memory, cpu, count, answered = process.memory_kib(pid), process.cpu_seconds(pid), 3000, 0
    for n in range(count):
        if n % 1000 == 500:
            c.send_message("a@client.example", "b@gw.example", MESSAGE)
        s = raw(gw, "127.0.1.1")
        if n % 3 == 0:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
            continue
        answered += read_all(s).startswith(b"421 4.7.0")
    t.eq(answered, count - count // 3, "421s")
    hop.wait_messages(3)
    if not process.is_sanitized(gw.daemon):
        used = process.cpu_seconds(pid) - cpu
        t.check(used < count * 0.001, f"{used:.2f} s of CPU time for {count} connections")
        grown = process.memory_kib(pid) - memory
        t.check(grown < 2048, f"memory grew by {grown} KiB")
    quiet(t, gw)


@case.register("less-time-under-stress", "X-78")
def stress(t):
    """Above three quarters of the limit whoever waits with a command has limits.command_stress for it,
    also those who came before; a session that works is not cut off; below the half all is as it was."""
    gw = t.gateway(over=limits(sessions=40, sessions_per_address=40, command="300s", command_stress="1s"))
    early = [raw(gw) for _ in range(10)]
    late = [raw(gw) for _ in range(22)]
    gw.wait_log("many sessions")
    for s in early + late:
        got = read_all(s)
        t.has(got, b"\r\n421 4.4.2 gw.example Timeout waiting for a command", "what an idle client read")
    wait_sessions(gw, 0)
    gw.wait_log("not so many sessions")
    c = t.client(gw)
    c.ehlo()
    t.eq(select.select([c.sock], [], [], 1.5)[0], [], "octets in an idle session")
    c.cmd("NOOP", 250)


# ---- Memory ----

@case.register("memory-has-a-bound", "X-78", "I6", seconds=100)
def memory_bound(t):
    """Many clients that send much and never end: past the soft mark new sessions get 421, past the hard one
    MAIL gets 452 and the greediest are cut off with 421; memory stays under the limit, and when they have
    gone everything is welcome again."""
    if process.is_sanitized(find_program("sallyportd")):
        t.skip("built with sanitizers: memory says nothing")
    hop = t.nexthop()
    limit = 48 << 20
    gw = t.gateway(hop_port=hop.port, over=limits(sessions=2000, sessions_per_address=2000, memory="48M"))
    pid = gw.process.pid
    waiting = t.client(gw)
    waiting.ehlo()
    # All header, which stays in memory whatever happens: the worst a client can do.
    field = b"X-Filler: " + b"x" * 900 + b"\r\n"
    greedy, most, turned_away, refused = [], 0, 0, b""
    for n in range(220):
        s = raw(gw)
        s.setblocking(True)
        if not first_line(s).startswith(b"220 "):
            refused = b"yes"
            break
        s.sendall(b"EHLO x\r\n")
        first_line(s)
        s.sendall(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@gw.example>\r\nDATA\r\n")
        got = b""
        while b"354" not in got and b"45" not in got:
            got += s.recv(4096)
        greedy.append(s)
    open_now = len(greedy)
    cut = set()
    for _ in range(30):
        for s in greedy:
            if s in cut:
                continue
            try:
                s.settimeout(5)
                s.sendall(field * 10)
            except OSError:
                cut.add(s)
        most = max(most, process.memory_kib(pid) << 10)
        turned_away += read_greeting(gw).startswith(b"421 4.3.2 Too busy")
    ended = len(gw.log_lines('session ended.*why="Not enough memory, try again later"'))
    t.eq(refused, b"", f"refused before there was need, after {open_now}")
    t.check(gw.log_lines("memory is nearly used up"), f"no hard mark at {most >> 20} MiB\n{gw.log_tail(5)}")
    t.check(most < limit + (4 << 20), f"{most >> 20} MiB")
    t.check(0 < ended < len(greedy), f"{ended} of {len(greedy)} were cut off")
    t.check(turned_away > 0, "every new session was welcome")
    for s in greedy:
        s.close()
    gw.wait_for(lambda: read_greeting(gw).startswith(b"220 "), 20, "a welcome")
    waiting.send_message("a@client.example", "b@gw.example", MESSAGE)
    send_one(gw, hop)
    t.has(gw.run("metrics").stdout, f"sallyport_memory_limit_bytes {limit}", "metrics")


def read_greeting(gw):
    s = raw(gw)
    got = first_line(s)
    s.close()
    return got


@case.register("no-memory-at-mail", "X-78", "I6")
def no_memory_at_mail(t):
    """Where there is none at all: 421 for new sessions, 452 4.3.1 at MAIL in one that is open, and both are
    fine again after a reload that allows more."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port)
    c = t.client(gw)
    c.ehlo()
    gw.config["limits"] = {"memory": "1M"}
    gw.write()
    gw.reload()
    gw.wait_log("configuration active", count=2 if gw.log_lines("configuration active") else 1)
    t.eq(c.mail("a@client.example", code="4.3.1").code, 452, "MAIL")
    t.has(read_all(raw(gw)), b"421 4.3.2 Too busy", "a new session")
    gw.config["limits"] = {"memory": "1G"}
    gw.write()
    t.eq(gw.run("reload").returncode, 0, "reload")
    gw.wait_for(lambda: read_greeting(gw).startswith(b"220 "), 10, "a welcome")
    c.send_message("a@client.example", "b@gw.example", MESSAGE)
    hop.wait_messages(1)


@case.register("limit-of-the-cgroup", "X-78", "I6")
def cgroup(t):
    """Without limits.memory the limit is what the control group may use, the lowest on the way up."""
    with open("/proc/self/cgroup", encoding="ascii") as f:
        groups = [line.rstrip("\n").split(":", 2) for line in f]
    for _, controllers, path in groups:
        top, file = {"": ("/sys/fs/cgroup", "memory.max"),
                     "memory": ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")}.get(controllers, ("/proc", ""))
        ours = f"{top}{path.rstrip('/')}/sallyport-{os.getpid()}"
        with contextlib.suppress(OSError):
            os.makedirs(f"{ours}/below")
            t.parts.append(lambda: (os.rmdir(f"{ours}/below"), os.rmdir(ours)))
            with open(f"{ours}/{file}", "w", encoding="ascii") as f:
                f.write(str(300 << 20))
            break
    else:
        t.skip("no control group for memory can be made here")
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, wrap=["sh", "-c", f'echo $$ >{ours}/below/cgroup.procs && exec "$@"', "sh"])
    t.has(gw.run("metrics").stdout, f"sallyport_memory_limit_bytes {300 << 20}\n", "metrics")
    send_one(gw, hop)


# ---- The queue ----

@case.register("no-room-in-the-queue", "F-5", "X-78")
def no_room(t):
    """queue.max_messages, queue.max_bytes and queue.min_free are looked at at MAIL, with the size that the client
    tells: 452 4.3.1, and 250 again when there is room."""
    for limit in ({"max_messages": 1}, {"max_bytes": "4K"}, {"min_free": "90%"}):
        hop = t.nexthop(replies={"MAIL": "451 4.3.0 later"})
        gw = t.gateway(hop_port=hop.port, over={"queue": limit, "log": {"level": "info"}})
        name = next(iter(limit))
        c = t.client(gw)
        c.ehlo()
        room = os.statvfs(f"{gw.dir}/state")
        if name == "min_free":
            t.eq(c.mail("a@client.example").code, 250 if room.f_bavail > room.f_blocks * 0.9 else 452, "MAIL")
            continue
        c.send_message("a@client.example", "b@gw.example", MESSAGE)
        size = "" if name == "max_messages" else "SIZE=4090"
        reply = c.mail("a@client.example", size)
        t.eq((reply.code, reply.status), (452, "4.3.1"), f"MAIL with {name}")
        hop.replies.clear()
        gw.run("queue", "retry", "--to", "*", "--reason", "there is room")
        gw.wait_queue_empty()
        c.mail("a@client.example", size, code=250)


# ---- Descriptors ----

def set_descriptors(gw, soft):
    _, hard = resource.prlimit(gw.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gw.process.pid, resource.RLIMIT_NOFILE, (soft, hard))


@case.register("no-descriptors-left", "X-73", "F-9")
def no_descriptors(t):
    """The process may open nothing more: waiting clients are told 421 or wait, open sessions go on, mail that
    cannot go out waits, no CPU time is burnt; when descriptors are back everything flows."""
    hop = t.nexthop()
    # Without an anchor nothing tests the resolver meanwhile, on a descriptor that comes and goes.
    gw = t.gateway(hop_port=hop.port, over={"delivery": {"idle": "0s"}, "dns": {"anchor": "none"}})
    c = t.client(gw)
    c.ehlo()
    big = t.client(gw)
    big.ehlo()
    open_now = process.descriptors(gw.process.pid)
    set_descriptors(gw, open_now)
    waiting = [raw(gw) for _ in range(8)]
    gw.wait_log("cannot accept connections for now")
    told = [first_line(s) for s in waiting[:1]]
    t.has(told[0], b"421 4.3.2 ", "what a waiting client reads")
    c.send_message("a@client.example", "b@gw.example", MESSAGE)
    gw.wait_log("message deferred")
    # A body that must go to a file.
    big.mail("a@client.example", code=250)
    big.rcpt("b@gw.example", code=250)
    reply = big.data(MESSAGE + (b"x" * 900 + b"\r\n") * 600)
    t.check(reply.code in (451, 452), f"a message with nowhere to go: {reply}")
    quiet(t, gw, 1.0, 0.15)
    t.check(len(gw.log_lines("cannot accept connections")) <= 2, "one line a minute")
    t.eq(len(hop.messages), 0, "messages that went out")
    for s in waiting:
        s.close()
    set_descriptors(gw, 10000)
    gw.wait_queue_empty()
    t.eq(len(hop.messages), 1, "messages")
    big.send_message("a@client.example", "b@gw.example", MESSAGE + (b"x" * 900 + b"\r\n") * 600)
    send_one(gw, hop)


@case.register("descriptors-for-fewer-sessions", "X-73", "F-9")
def few_descriptors(t):
    """More sessions configured than the process may have descriptors: said at the start, and the limit is what
    fits, so that clients get a 421 in time instead of nothing."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, wrap=["sh", "-c", 'ulimit -n 420; exec "$@"', "sh"],
                   over=limits(sessions=10000, sessions_per_address=10000, command_stress="300s"))
    line = gw.wait_log("too few file descriptors")[0]
    t.has(line, "descriptors=420", "the log")
    fit = int(line.rpartition("sessions=")[2].split()[0])
    t.check(100 < fit < 420, f"sessions: {fit}")
    held = []
    for _ in range(fit):
        s = raw(gw)
        t.has(first_line(s), b"220 ", f"greeting {len(held)}")
        held.append(s)
    t.has(read_all(raw(gw)), b"421 4.3.2 Too many sessions", "one more")
    held.pop().close()
    wait_sessions(gw, fit - 1)
    send_one(gw, hop)
    t.eq(gw.log_lines("cannot accept"), [], "the log")
    for s in held:
        s.close()


# ---- Clients that do not behave ----

@case.register("half-closed-reset-and-strange", "X-28")
def strange_clients(t):
    """Half-closed, reset, silent and early clients, a TLS hello where clear text is spoken: no crash, no
    session is left behind, no CPU time is used."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, over=limits(sessions_per_address=500))
    states = [b"", b"EHLO x\r\n", b"EHLO x\r\nMAIL FROM:<a@client.example>\r\n", b"EHLO x\r\nSTARTTLS\r\n",
              b"EHLO x\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@gw.example>\r\nDATA\r\n",
              b"EHLO x\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@gw.example>\r\nBDAT 100\r\nabc", b"EHL"]
    half = []
    for _ in range(8):
        for text in states:
            s = raw(gw, send=text)
            s.shutdown(socket.SHUT_WR)
            half.append(s)      # kept open on this side
            s = raw(gw, send=text)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(range(32)) + b"\x00" * 170
    for _ in range(8):
        half.append(raw(gw, send=hello))
        half.append(raw(gw, send=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    for s in half[:56]:
        read_all(s)
    for s in half[56:]:
        s.shutdown(socket.SHUT_WR)
        read_all(s)
    wait_sessions(gw, 0)
    quiet(t, gw)
    send_one(gw, hop)


@case.register("client-that-never-reads", "X-10")
def never_reads(t):
    """Commands without end from clients that read no reply: the daemon stops reading, keeps little, uses no
    CPU time, and ends them at the command deadline."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, over=limits(junk=10000, command="3s"))
    pid = gw.process.pid
    memory = process.memory_kib(pid)
    deaf = []
    for n in range(3):
        s = raw(gw, f"127.0.4.{n}")
        first_line(s)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(b"EHLO client.example\r\n")
        s.recv(4096)
        s.setblocking(False)
        deaf.append(s)
    text = b"MAIL FROM:<a@client.example>\r\n" + b"RCPT TO:<b@gw.example>\r\n" * 60 + b"RSET\r\n"
    rest = {s: b"" for s in deaf}
    until = time.monotonic() + 20
    while time.monotonic() < until:
        writable = select.select([], deaf, [], 0.5)[1]
        if not writable:
            break       # all of them are held up
        for s in writable:
            with contextlib.suppress(BlockingIOError):
                rest[s] = rest[s] or text
                rest[s] = rest[s][s.send(rest[s]):]
    if not process.is_sanitized(gw.daemon):
        grown = process.memory_kib(pid) - memory
        t.check(grown < 3 * 600, f"{grown} KiB for three clients")
    t.eq(gw.log_lines("session ended"), [], "ended before the deadline")
    quiet(t, gw)
    send_one(gw, hop)
    t.check(len(gw.wait_log("session ended.*Timeout waiting for a command", count=3)) == 3, "the log")
    wait_sessions(gw, 0)
    for s in deaf:
        s.close()


@case.register("a-whole-line-in-time", "X-44", "X-78")
def slow_line(t):
    """A command that comes an octet at a time does not move its deadline, nor does a TLS hello."""
    gw = t.gateway(over=limits(command="1s", handshake="1s"))
    drip, tls = t.client(gw), t.client(gw)
    tls.ehlo()
    tls.cmd("STARTTLS", 220)
    got, silent = b"", False
    for n in range(100):
        if b"421" in got and silent:
            break
        with contextlib.suppress(OSError):
            drip.sock.send(b"E")
        with contextlib.suppress(OSError):
            tls.sock.send(b"\x16\x03\x01\x00\xc8"[n:n + 1] or b"\x01")
        if select.select([drip.sock], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):
                got += drip.sock.recv(4096)
        if select.select([tls.sock], [], [], 0.1)[0]:
            with contextlib.suppress(ConnectionResetError):
                silent = silent or tls.sock.recv(4096) == b""
    t.has(got, b"421 4.4.2 gw.example Timeout waiting for a command", "the drip")
    gw.wait_log("the TLS handshake took too long")


@case.register("stopping-in-every-state", "X-74")
def stop_in_every_state(t):
    """SIGPIPE means nothing, SIGTERM is heard in every state of a session: who waits for a reply or with a
    command is told 421, and the daemon ends with status 0."""
    hop = t.nexthop(delay={".": 1})
    gw = t.gateway(hop_port=hop.port, over=limits(shutdown="3s"))
    gw.process.send_signal(signal.SIGPIPE)
    start = ["EHLO client.example"]
    mail = [*start, "MAIL FROM:<a@client.example>", "RCPT TO:<b@gw.example>"]
    idle = []
    for commands in ([], start, mail[:2], mail):
        c = t.client(gw)
        for x in commands:
            c.cmd(x)
        idle.append(c)
    busy = []
    for last in ("DATA", "BDAT 100", None):
        c = t.client(gw)
        for x in mail if last else start:
            c.cmd(x)
        c.raw(f"{last or 'STARTTLS'}\r\nhalf".encode()[:None if last == "BDAT 100" else -4])
        if last != "BDAT 100":
            c.read_reply()
        busy.append(c)
    gw.process.send_signal(signal.SIGHUP)
    gw.wait_log("configuration active")
    case.send(gw.port("inbound"), "a@client.example", ["b@gw.example"], MESSAGE, tls=False)
    t.check(hop.wait(lambda: hop.commands("DATA")), "a delivery under way")
    began = time.monotonic()
    t.eq(gw.stop(timeout=20), 0, "status")
    t.check(time.monotonic() - began < 15, "it took long")
    for c in idle:
        c.expect("4.3.2")
    t.eq(len(hop.messages), 1, "the delivery under way")
    gw.start()
    t.eq(gw.queue(), [], "what waits")


case.main()
