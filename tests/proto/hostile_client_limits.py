"""A client that means harm with time and amounts: it drips, stays silent, stays for ever, asks for
nothing useful, never reads, leaves in the middle. Each limit ends its session and nobody else's."""

import contextlib
import os
import re
import select
import socket
import struct
import time

import case
from hostile_client_kit import EVIL, cpu_ticks, hello_octets, in_threads, recording_hop, resident_kib, room
from lab import process
from lab.gateway import find_program

BODY = b"Subject: x\r\n\r\nbody\r\n"
MIB = 1024
# What sanitizers keep is theirs.
SANE = not process.is_sanitized(find_program("sallyportd"))


def open_transaction(t, c):
    c.ehlo()
    c.mail("a@client.example", code=250)
    c.rcpt("b@gw.example", code=250)


def until_closed(c):
    """What the server said from now on, until it closed."""
    c.sock.settimeout(30)
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while True:
            data = c.sock.recv(65536)
            if not data:
                return got
            got += data
    return got


def drip(c, octets, times=300):
    """An octet each 50 ms until the server closes; what it said, None when it let all of it pass."""
    for n in range(times):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            c.sock.sendall(octets[n % len(octets):][:1])
        if select.select([c.sock], [], [], 0.05)[0]:
            return until_closed(c)
    return None


SLOW = {"limits": {"command": "2s", "handshake": "2s", "content": "2s"}}


@case.register("slow-and-silent", "X-11", "X-44", "M-26", "X-23")
def slow(t):
    """The deadline is for a whole line, a whole handshake and for so many octets of content; an octet
    now and then moves none of them. Content that comes steadily is not cut."""
    hop = recording_hop(t)
    port = case.free_port()
    gw = t.gateway(hop_port=hop.port, over=case.merge({"listeners": {
        "implicit": {"bind": [f"127.0.0.1:{port}"], "tls": "gw", "implicit_tls": True}}}, SLOW))
    late = rb"421 4\.4\.2 gw\.example Timeout waiting.*\r\n"
    crawl = rb"421 4\.4\.2 gw\.example Content comes too slowly\r\n"

    def lines(before, octets, want):
        def run():
            c = t.client(gw)
            for line in before:
                c.cmd(line)
            return drip(c, octets), want, before, octets
        return run

    def long_line():
        c = t.client(gw)
        c.raw(b"NOOP " + b"x" * 3000)
        c.expect(500)
        return drip(c, b"x\n"), late, "in a long line", b""

    def silence():
        return until_closed(t.client(gw)), late, "silence", b""

    def content(verb):
        def run():
            c = t.client(gw)
            open_transaction(t, c)
            c.raw(verb)
            if verb.startswith(b"DATA"):
                c.expect(354)
            return drip(c, b"x\r\n.\r"), crawl, verb, b""
        return run

    def swallowed():
        c = t.client(gw)
        c.raw(b"BDAT 5000\r\n")
        return drip(c, b"x\r\n.\r"), crawl, "a chunk that is swallowed", b""

    def handshake(octets):
        def run():
            c = t.client(gw)
            c.ehlo()
            c.cmd("STARTTLS", 220)
            return drip(c, octets) if octets else until_closed(c), b"", "handshake", octets[:5]
        return run

    def implicit(octets):
        def run():
            c = t.client(gw, "implicit", greet=False)
            return drip(c, octets) if octets else until_closed(c), b"", "implicit TLS", octets[:5]
        return run

    def steady():
        c = t.client(gw)
        open_transaction(t, c)
        c.cmd("DATA", 354)
        for _ in range(32):
            c.raw(b"y" * 98 + b"\r\n")
            time.sleep(0.1)
        c.raw(b".\r\n")
        return repr(c.read_reply()).encode(), rb"250 .*", "steady content", b""

    hello = hello_octets()
    work = [lines([], b"NOOP ", late), lines(["EHLO x"], b"M", late),
            lines(["EHLO x", "MAIL FROM:<a@b.example>"], b"RCPT", late),
            lines(["EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<b@gw.example>"], b"\r", late), long_line, silence,
            swallowed, steady,
            content(b"DATA\r\n"), content(b"BDAT 5000\r\n"), content(b"BDAT 100\r\nSubject: x"), handshake(hello),
            handshake(b""),
            implicit(hello), implicit(b"")]
    for got, want, *what in in_threads(lambda run: run(), work, threads=len(work)):
        t.check(got is not None and re.fullmatch(want, got), f"{what}: the server said {got!r}")
    gw.wait_for(lambda: gw.json("status")["sessions"]["now"] == 0, 10, "no session is left")


@case.register("for-ever", "X-27", "X-28")
def for_ever(t):
    """A session ends when its time is over, busy or not, between commands and in content."""
    hop = recording_hop(t)
    gw = t.gateway(hop_port=hop.port, over=room({"limits": {"session": "2s", "junk": 10000}}))
    old = rb"(250[^\r]*\r\n)*421 4\.4\.2 gw\.example This session has lasted too long\r\n"

    def busy(tls):
        c = t.secure_client(gw) if tls else t.client(gw)
        heard = b""
        for _ in range(300):
            c.raw(b"NOOP\r\n")
            line = c.read_line().encode() + b"\r\n"
            heard += line
            if line.startswith(b"421"):
                break
            time.sleep(0.02)
        return heard

    def sending(unused):
        c = t.client(gw)
        open_transaction(t, c)
        c.cmd("DATA", 354)
        for _ in range(300):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                c.sock.sendall(b"x" * 998 + b"\r\n")
            if select.select([c.sock], [], [], 0.02)[0]:
                return until_closed(c)
        return b""

    for got in in_threads(lambda job: job[0](job[1]), [(busy, False), (busy, True), (sending, None)]):
        t.check(re.fullmatch(old, got), f"the server said {got!r}")
    t.eq(hop.accepted, [], "what was half sent")


@case.register("nothing-useful", "X-27", "X-20")
def useless(t):
    """Twenty errors, of which the later ones are answered slowly, or a hundred commands that get no mail
    through, and the session ends; a message that got through starts the count anew. Others do not notice."""
    hop = recording_hop(t)
    gw = t.gateway(hop_port=hop.port, over={"limits": {"error_delay": "200ms"}})
    delay = 0.2

    def errors(line):
        c = t.client(gw)
        c.ehlo()
        times, codes = [], []
        for _ in range(30):
            began = time.monotonic()
            codes.append(c.cmd(line).code)
            times.append(time.monotonic() - began)
            if len(codes) == 20:
                codes.append(c.read_reply().code)
                break
        t.eq(codes[-1], 421, f"the end of {line[:20]}")
        t.check(all(code // 100 == 5 for code in codes[:20]), f"{codes}")
        t.check(all(x >= delay * 0.95 for x in times[9:]), f"{line[:20]}: the late ones took {times[9:]}")
        t.check(c.is_closed(), "open")

    def pipelined(unused):
        # All at once: no faster for it.
        c = t.client(gw)
        c.ehlo()
        began = time.monotonic()
        c.raw(b"TURN\r\n" * 25)
        t.eq([c.read_reply().code for _ in range(21)], [500] * 20 + [421], "replies")
        t.check(time.monotonic() - began >= 11 * delay * 0.95, "all at once is faster")

    def other(unused):
        for _ in range(20):
            c = t.client(gw)
            c.ehlo()
            c.send_message("a@client.example", "b@gw.example", BODY)
            c.quit()

    def junk(lines):
        c = t.client(gw)
        c.ehlo()
        done = 0
        for n in range(150):
            reply = c.cmd(lines[n % len(lines)])
            if reply.code == 421:
                break
            done += 1
            if done == 100:
                t.eq(c.read_reply().code, 421, "after a hundred")
                break
        t.eq(done, 100, f"{lines} taken")

    def forgiven(unused):
        c = t.client(gw)
        c.ehlo()
        for _ in range(3):
            for _ in range(9):
                c.cmd("TURN", 500)
            for _ in range(90):
                c.cmd("NOOP", 250)
            c.send_message("a@client.example", "b@gw.example", BODY)
        c.quit()

    work = [(errors, b"TURN\r\n"), (errors, b"MAIL FROM:<a@b@c>\r\n"), (errors, b"x" * 3000 + b"\r\n"),
            (errors, b"BDAT 6\r\nQUIT\r\n"),
            (errors, b"DATA\r\n"), (pipelined, None), (other, None), (junk, ["NOOP"]), (junk, ["RSET"]),
            (junk, ["VRFY x", "EXPN x", "HELP"]),
            (junk, ["NOOP", "EHLO x", "RSET"]), (forgiven, None)]
    in_threads(lambda job: job[0](job[1]), work, threads=len(work))
    hop.wait_messages(23)


@case.register("too-many-recipients", "M-09", "M-10", "X-20")
def recipients(t):
    """452 4.5.3 beyond the limit, and the first thousand get their mail; a thousand more end the session."""
    hop = recording_hop(t)
    gw = t.gateway(hop_port=hop.port)
    c = t.client(gw)
    c.ehlo()
    c.mail("a@client.example", code=250)
    c.raw(b"".join(b"RCPT TO:<r%d@gw.example>\r\n" % n for n in range(1100)))
    replies = [c.read_reply() for _ in range(1100)]
    t.eq([r.code for r in replies], [250] * 1000 + [452] * 100, "replies")
    t.eq(replies[-1].status, "4.5.3", "status")
    c.data(BODY, 250)
    c.mail("b@client.example", code=250)
    c.raw(b"RCPT TO:<r@gw.example>\r\n" * 3000)
    codes = [c.read_reply().code for _ in range(2001)]
    t.eq(codes, [250] * 1000 + [452] * 1000 + [421], "replies to one who does not listen")
    gw.wait_queue_empty(30)
    t.eq(sum(len(m.rcpts) for m in hop.accepted), 1000, "recipients at the next hop")


@case.register("who-never-reads", "X-10", "X-20", "X-28")
def never_reads(t):
    """Commands are read no further than their replies are taken: memory stays, the loop does not spin,
    others are served; who comes back gets all replies in order, who does not is cut off."""
    hop = recording_hop(t)
    gw, short = [t.gateway(hop_port=hop.port, over={"limits": {"command": seconds}}, policy="""
local text = string.rep("not now ", 48)
gw.on("rcpt", function(session, message, rcpt)
  if message.from.localpart == "slow" then return gw.defer { text = text } end
end, { name = "defer.all" })""") for seconds in ("300s", "3s")]

    def deaf(gw):
        c = t.client(gw)
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        c.ehlo()
        c.mail("slow@client.example", code=250)
        line, sent = b"RCPT TO:<b@gw.example>\r\n" * 50, 0
        c.sock.setblocking(False)
        while sent < 64 << 20:      # nobody takes so many
            if not select.select([], [c.sock], [], 0.7)[1]:
                break
            with contextlib.suppress(BlockingIOError):
                sent += c.sock.send(line[sent % len(line):])
        c.sock.settimeout(15)
        return c, sent

    before = resident_kib(gw)
    (one, sent), (two, _), (three, _) = in_threads(deaf, [gw, gw, short])
    t.check(sent < 32 << 20, f"{sent} octets of commands were taken")
    if SANE:
        t.check(resident_kib(gw) - before < 16 * MIB, f"{resident_kib(gw) - before} KiB for one who does not read")
    two.sock.shutdown(socket.SHUT_WR)
    ticks, began = cpu_ticks(gw), time.monotonic()
    c = t.client(gw)
    open_transaction(t, c)
    c.data(BODY, 250)
    time.sleep(0.5)
    used = (cpu_ticks(gw) - ticks) / os.sysconf("SC_CLK_TCK")
    t.check(used < 0.4, f"{used} s of CPU in {time.monotonic() - began} s with nothing to do")
    # The first one reads again. The end of its last line may be missing.
    whole = sent // 24
    for _ in range(whole):
        if one.read_reply().status != "4.7.1":
            raise AssertionError("another reply than the others")
    # Who never does is sent away when it is time for the next command.
    short.wait_for(lambda: short.json("status")["sessions"]["now"] == 0, 30, "the deaf one is gone")
    t.check(short.wait_log('session ended .*why="Timeout waiting for a command"'), "the log")
    three.close()


@case.register("floods-of-little-things", "X-20", "X-19")
def floods(t):
    """A message of twenty thousand chunks of one octet arrives; neither they nor as many refused
    recipients leave anything in memory."""
    hop = recording_hop(t)
    gw = t.gateway(hop_port=hop.port, over=room({"log": {"level": "info"}}), policy="""
gw.on("rcpt", function(session, message, rcpt)
  if message.from.localpart == "slow" then return gw.defer {} end
end, { name = "defer.all" })""")
    content = b"Subject: x\r\n\r\n" + b"0123456789abcdef\r\n.\r\n" * 950
    c = t.client(gw)
    c.ehlo()

    def chunks():
        c.mail("a@client.example", code=250)
        c.rcpt("b@gw.example", code=250)
        octets = b"".join(b"BDAT 1\r\n" + content[i:i + 1] for i in range(len(content))) + b"BDAT 0 LAST\r\n"
        for at in range(0, len(octets), 9 * 500):
            c.raw(octets[at:at + 9 * 500])
            for _ in range(min(500, len(content) - at // 9)):
                c.expect(250)
        c.expect(250)
        c.transcript.clear()

    def refused():
        c.mail("slow@client.example", code=250)
        for _ in range(20):
            c.raw(b"RCPT TO:<b@gw.example>\r\n" * 500)
            for _ in range(500):
                c.expect(451)
        c.cmd("RSET", 250)
        c.transcript.clear()

    chunks()
    refused()
    before = resident_kib(gw)
    chunks()
    refused()
    if SANE:
        t.check(resident_kib(gw) - before < 8 * MIB, f"{resident_kib(gw) - before} KiB more the second time")
    c.quit()
    t.eq([m.data[-len(content):] == content for m in hop.wait_messages(2)], [True] * 2, "contents")


@case.register("comings-and-goings", "X-28", "X-9", "M-37")
def comings(t):
    """Early talkers, half-closed and reset connections, octets ahead of a reply: no crash, nothing left
    over, no message that was not finished, no time spent."""
    hop = recording_hop(t)
    gw = t.gateway(hop_port=hop.port, over=room())

    def go(number):
        c = case.Client(gw.port("inbound"), greet=False)
        with contextlib.suppress(OSError, EOFError):
            if number % 3 == 0:
                c.raw(b"EHLO client.example\r\n")       # before the greeting
            if number % 2:
                c.expect(220)
            if number % 3 == 0:
                t.check(c.read_reply().code in (220, 250), "an early talker is answered")
            if number % 5 == 0:
                c.raw(b"EHLO x\r\n")
            if number % 7 == 0:
                c.raw(b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<b@gw.example>\r\nDATA\r\n")
            if number % 4 == 0:
                c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif number % 4 == 1:
                c.sock.shutdown(socket.SHUT_WR)
                until_closed(c)
        c.close()

    in_threads(go, range(300))
    gw.wait_for(lambda: gw.json("status")["sessions"]["now"] == 0, 15, "no session is left")
    # Half-closed behind whole commands: they are answered all the same.
    c = t.client(gw)
    c.raw(b"RSET\r\nRSET\r\nQUI")
    c.sock.shutdown(socket.SHUT_WR)
    t.eq(until_closed(c), b"250 2.0.0 Ok\r\n" * 2, "replies to one who said no more")
    for before, line in (([], b"EHLO x\r\n"), ([], b"HELO x\r\n"), ([], b"NOOP\r\n"), ([], b"VRFY x\r\n"),
                         ([], b"EXPN x\r\n"),
                         (["EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<b@gw.example>"], b"DATA\r\n"),
                         (["EHLO x", "MAIL FROM:<a@b.example>"], b"DATA\r\n"), ([], b"DATA\r\n")):
        c = t.client(gw)
        for word in before:
            c.cmd(word, 250)
        c.raw(line + BODY + b".\r\n" + EVIL)
        t.eq(c.read_reply().code, 554, f"octets behind {line}")
        t.check(c.is_closed(), f"open after octets behind {line}")
    ticks = cpu_ticks(gw)
    time.sleep(0.5)
    used = (cpu_ticks(gw) - ticks) / os.sysconf("SC_CLK_TCK")
    t.check(used < 0.3, f"{used} s of CPU with nobody there")
    t.eq(gw.log_lines("message accepted"), [], "messages")


case.main()
