"""The daemon's other doors, the control socket and the page for metrics: who may come in, and what garbage,
half a request, a flood or a reader that does not read can do (nothing)."""

import contextlib
import http.client
import json
import os
import pwd
import random
import re
import resource
import socket
import stat
import struct
import time

import case
from lab import process

MESSAGE = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: x\r\n\r\nbody\r\n"
NOBODY = "nobody"


def frame(request):
    data = request if isinstance(request, bytes) else json.dumps(request).encode()
    return struct.pack(">I", len(data)) + data


def connect(gw, path=None):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path or os.path.join(gw.dir, "run", "control.sock"))
    s.settimeout(15)
    return s


def read_exactly(s, n):
    got = b""
    while len(got) < n:
        data = s.recv(n - len(got))
        if not data:
            raise EOFError(f"closed after {len(got)} of {n}")
        got += data
    return got


def answer(s):
    return json.loads(read_exactly(s, struct.unpack(">I", read_exactly(s, 4))[0]))


def ask(gw, request):
    with contextlib.closing(connect(gw)) as s:
        s.sendall(frame(request))
        return answer(s)


def is_closed(s):
    try:
        return s.recv(1) == b""
    except ConnectionResetError:
        return True


def alive(t, gw):
    t.check(ask(gw, {"verb": "status"})["ok"], "the daemon does not answer")


@case.register("ours-alone", "X-70")
def ours_alone(t):
    """0600 in a directory of 0700: another user cannot connect; nor where somebody has opened both, as the
    peer's user id counts."""
    gw = t.gateway()
    path = os.path.join(gw.dir, "run", "control.sock")
    t.eq(stat.S_IMODE(os.stat(path).st_mode), 0o600, "the socket")
    t.eq(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o700, "its directory")
    if os.geteuid() != 0:
        t.skip("only root can try as another user")
    t.eq(as_nobody(path), b"PermissionError", "as it is")
    for d in (t.dir, os.path.dirname(t.dir), gw.dir, os.path.dirname(path)):
        os.chmod(d, 0o755)
    os.chmod(path, 0o666)
    told = as_nobody(path)
    if told == b"PermissionError":
        t.skip("the directory is out of reach for other users")
    t.lacks(told, b'"ok"', "what another user was told")
    t.has(gw.wait_log("control connection refused")[0], f"uid={pwd.getpwnam(NOBODY).pw_uid}", "the log")
    alive(t, gw)


def as_nobody(path):
    """What nobody, asking for the status, is told; the name of what stops it."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        told = b""
        try:
            os.setgroups([])
            os.setgid(pwd.getpwnam(NOBODY).pw_gid)
            os.setuid(pwd.getpwnam(NOBODY).pw_uid)
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(15)
            s.connect(path)
            s.sendall(frame({"verb": "status"}))
            told = s.recv(1000)
        except OSError as e:
            told = type(e).__name__.encode()
        finally:
            os.write(w, told)
            os._exit(0)
    os.close(w)
    os.waitpid(pid, 0)
    with os.fdopen(r, "rb") as f:
        return f.read()


def nasty_frames():
    rnd = random.Random(70)
    deep = b'{"verb":' + b"[" * 30000 + b"]" * 30000 + b"}"
    yield from (b"", b"{", b"null", b"[]", b'"x"', b"{}", b'{"verb":7}', b'{"verb":"status"', b'{"verb":"\\u0000"}',
                b'{"verb":"status","verb":"reload"}', b'{"verb":"queue.list","filter":7}', b"\xff" * 100, deep[:65000],
                b'{"verb":"queue.list","filter":{"id":"' + b"A" * 60000 + b'"}}',
                b'{"verb":"queue.list","filter":{"limit":-1,"since":"9999999999999999d"}}',
                b'{"verb":"queue.delete","filter":{},"reason":"x"}', b'{"verb":"queue.delete","reason":"x"}',
                b'{"verb":"queue.require-tls","filter":{"to":"*"},"reason":"x","level":{"a":[]}}',
                b'{"verb":"evidence.show","filter":{"id":"\\ud800"}}', b'{"verb":"' + b"%s%n" * 100 + b'"}')
    seeds = [b'{"verb":"queue.list","filter":{"from":"*","limit":10},"dry_run":true}', b'{"verb":"status"}',
             b'{"verb":"queue.hold","filter":{"to":"b@*"},"reason":"r"}']
    for _ in range(150):
        data = bytearray(rnd.choice(seeds))
        for _ in range(rnd.randrange(1, 6)):
            data[rnd.randrange(len(data))] = rnd.randrange(256)
        yield bytes(data)


@case.register("garbage-and-half-requests", "X-70")
def garbage(t):
    """Requests that are none, lengths that are lies, requests cut anywhere: an error or the end of that
    connection; the queue is as it was."""
    gw = t.gateway(over={"queue": {"retry": ["1h"]}})
    case.send(gw.port("inbound"), "a@client.example", ["b@gw.example"], MESSAGE)
    gw.wait_log("message deferred")
    for data in nasty_frames():
        with contextlib.closing(connect(gw)) as s:
            s.sendall(frame(data) + frame({"verb": "status"}))
            if data == b"":
                t.check(is_closed(s), "an empty request")
                continue
            first = answer(s)
            t.check(not first["ok"] or b"verb" in data, f"{data[:80]!r}: {first}")
            t.check(answer(s)["ok"], f"status behind {data[:80]!r}")
    for data in (struct.pack(">I", 65537) + b"x", struct.pack(">I", 0xffffffff), struct.pack(">I", 0x7fffffff),
                 b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096)):
        with contextlib.closing(connect(gw)) as s:
            s.sendall(data)
            t.check(is_closed(s), f"{data[:8]!r} was not the end")
    whole = frame({"verb": "queue.delete", "filter": {"to": "b@*"}, "reason": "x"})
    for n in range(0, len(whole), 3):
        with contextlib.closing(connect(gw)) as s:
            s.sendall(whole[:n])
            if n % 2:
                s.shutdown(socket.SHUT_WR)
    t.eq(gw.run("queue", "release", "--reason", "x").returncode in (0, 1, 2), True, "release")
    t.eq(len(gw.queue()), 1, "messages")
    t.eq(gw.run("evidence", "verify").returncode, 0, "evidence")


@case.register("flood-of-requests-unread", "X-70", "X-78")
def unread(t):
    """Requests without end from a client that reads no answer: the daemon stops reading; many idle
    connections: one more is closed, and when they go there is room."""
    gw = t.gateway()
    pid = gw.process.pid
    memory = process.memory_kib(pid)
    s = connect(gw)
    s.setblocking(False)
    request, sent, rest = frame({"verb": "metrics"}) * 100, 0, b""
    until = time.monotonic() + 20
    idle_rounds = 0
    while idle_rounds < 20 and time.monotonic() < until:
        try:
            rest = rest or request
            n = s.send(rest)
            rest, sent, idle_rounds = rest[n:], sent + n, 0
        except BlockingIOError:
            idle_rounds += 1
            time.sleep(0.05)
    t.check(idle_rounds >= 20, f"it still reads after {sent} octets")
    if not process.is_sanitized(gw.daemon):
        grown = process.memory_kib(pid) - memory
        t.check(grown < 8192, f"memory grew by {grown} KiB")
    alive(t, gw)
    s.setblocking(True)
    s.settimeout(15)
    t.check(answer(s)["ok"], "the first answer")
    s.close()
    held = [connect(gw) for _ in range(32)]
    for h in held:
        h.sendall(b"\0\0")
    gw.wait_for(lambda: is_closed(connect(gw)), 10, "the 33rd being closed")
    for h in held:
        h.close()
    gw.wait_for(lambda: gw.run("status").returncode == 0, 10, "an answer")


@case.register("no-lines-of-others", "X-70", "X-71")
def no_lines(t):
    """What a request says does not become a line of the log, a row of the evidence or a second request."""
    gw = t.gateway(over={"queue": {"retry": ["1h"]}})
    case.send(gw.port("inbound"), "a@client.example", ["b@gw.example"], MESSAGE)
    gw.wait_log("message deferred")
    reason = 'x\n2026-01-01T00:00:00.000Z info forged\r\n{"verb":"reload"}\x1b[31m\u2028y'
    for verb in ("queue.hold", "queue.release"):
        got = ask(gw, {"verb": verb, "filter": {"to": "b@gw.example"}, "reason": reason})
        t.check(got["ok"], f"{verb}: {got}")
    got = ask(gw, {"verb": "x\ny\u2028z", "filter": {"from": reason}})
    t.check(not got["ok"] and "\n" not in got["error"] and "\u2028" not in got["error"], f"the error: {got}")
    for line in gw.log_lines():
        t.check(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|warning|error) ", line), f"not a line of ours: {line!r}")
    t.eq(gw.log_lines("^2026-01-01|reload asked"), [], "forged lines")
    out = gw.run("evidence", "show").stdout + gw.run("queue", "show", gw.queue()[0]["id"]).stdout
    t.lacks(out, "\x1b", "what a terminal is shown")
    t.eq(gw.run("evidence", "verify").returncode, 0, "evidence")


def set_descriptors(gw, soft):
    _, hard = resource.prlimit(gw.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gw.process.pid, resource.RLIMIT_NOFILE, (soft, hard))


@case.register("no-descriptors-for-it", "X-73", "F-9")
def no_descriptors(t):
    """Without a descriptor for a control connection or the page it waits; no CPU time is used."""
    port = case.free_port()
    gw = t.gateway(over={"service": {"http": f"127.0.0.1:{port}"}})
    pid = gw.process.pid
    gw.wait_for(lambda: process.descriptors(pid) < 60, 5, "a quiet daemon")
    set_descriptors(gw, process.descriptors(pid))
    s, page = connect(gw), socket.create_connection(("127.0.0.1", port))
    s.sendall(frame({"verb": "status"}))
    page.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    began, cpu = time.monotonic(), process.cpu_seconds(pid)
    time.sleep(1)
    used, took = process.cpu_seconds(pid) - cpu, time.monotonic() - began
    set_descriptors(gw, 10000)
    t.check(used < 0.2 * took, f"{used:.2f} s of CPU time in {took:.2f} s")
    t.check(answer(s)["ok"], "the answer afterwards")
    page.settimeout(15)
    t.has(page.recv(100), b" 200 ", "the page afterwards")


@case.register("page-for-metrics", "X-70", "X-25")
def page(t):
    """Reading only, by address only, at a TCP port or a private Unix socket; garbage, endless headers and
    connections that say nothing hurt neither it nor the mail."""
    port = case.free_port()
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, over={"service": {"http": f"127.0.0.1:{port}"}})

    def get(path, method="GET", headers=None):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
        c.request(method, path, headers=headers or {})
        got = c.getresponse()
        return got.status, got.read()

    t.eq(get("/metrics")[0], 200, "metrics")
    t.eq(get("/status.json", headers={"Host": "rebound.example"})[0], 403, "by a name")
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        t.check(get("/metrics", method)[0] >= 400, method)
    for path in ("/../../etc/passwd", "/%2e%2e/", "/x" * 3000, "/metrics/../status.json", "//"):
        t.lacks(get(path)[1].decode("latin-1"), "root:", path)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for n, data in enumerate((b"\x16\x03\x01\x00\xc8", b"GET\r\n\r\n", b"\0" * 5000, b"GET / HTTP/9.9\r\n\r\n",
                              b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000, b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                              b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFF\r\n")):
        with contextlib.suppress(OSError):
            silent[n].sendall(data)
    t.eq(get("/status.json")[0], 200, "the page beside them")
    case.send(gw.port("inbound"), "a@client.example", ["b@gw.example"], MESSAGE)
    hop.wait_messages(1)
    for s in silent:
        s.close()
    gw.stop()
    path = os.path.join(gw.dir, "run", "page.sock")
    gw.config["service"]["http"] = f"unix:{path}"
    gw.write()
    gw.start()
    t.eq(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode of the page's socket")
    with contextlib.closing(connect(gw, path)) as s:
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        t.has(s.recv(100), b" 200 ", "the page")


case.main()
