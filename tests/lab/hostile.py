"""A next hop that misbehaves in one chosen way, on many addresses at once.

    way = Way("dot-354", at={".": b"354 more\r\n"})
    with Hops(cert) as hops:
        hops.add("127.20.0.1", way)         # a listener at hops.port of that address
        ...
        hops.at["127.20.0.1"].legs          # every connection, with the octets that came in clear

A conversation is a walk through places: CONNECT, GREETING, EHLO, STARTTLS, HANDSHAKE, TLS-EHLO (the
EHLO inside TLS), HELO, MAIL, RCPT, DATA, BODY (354 was said, content is expected), ".", BDAT, RSET,
QUIT. What a way does not change is done well: STARTTLS, PIPELINING, REQUIRETLS inside TLS. What it
changes is an entry of `at`: octets to say instead of the reply, or a function that gets the leg and
the line and may do anything; it returns octets, None when all is said, or raises Over.

A message counts as `told` only when a complete final 2yz was written behind its end: that, and
nothing else, makes it the next hop's.
"""

import contextlib
import re
import select
import socket
import ssl
import struct
import threading
import time

from .lab import free_port


# One whole positive reply.
TAKEN = re.compile(rb"(2\d\d)(-[^\n]*\r\n\1)*( [^\n]*)?\r\n")


class Over(Exception):
    """This leg is finished."""


# ---- what a way may do ----

def close(leg, line=None):
    raise Over


def rst(leg, line=None):
    """A reset instead of an end."""
    leg.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Over


def hang(leg, line=None):
    """Says nothing more, reads on, until the client has had enough."""
    while leg.sock.recv(65536):
        pass
    raise Over


def stop_reading(leg, line=None):
    """Neither reads nor writes any more, until the client has had enough."""
    p = select.poll()
    p.register(leg.sock, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    p.poll(120000)
    raise Over


def then_close(data):
    def act(leg, line):
        leg.send(data)
        raise Over
    return act


def then_rst(data):
    def act(leg, line):
        leg.send(data)
        rst(leg)
    return act


def drip(data, seconds=0.05):
    """An octet at a time, over and over: never a whole reply in time."""
    def act(leg, line):
        while True:
            for i in range(len(data)):
                leg.send(data[i:i + 1])
                time.sleep(seconds)
    return act


def endless(data):
    def act(leg, line):
        while True:
            leg.send(data * 200)
    return act


def once(data, otherwise=None):
    """On the first connection only."""
    def act(leg, line):
        if leg.number == 0:
            return data(leg, line) if callable(data) else data
        return otherwise(leg, line) if callable(otherwise) else otherwise
    return act


def goodbye(leg, line=None):
    """The end of TLS is announced, then the end."""
    with contextlib.suppress(OSError, ssl.SSLError):
        leg.sock.settimeout(1)
        leg.sock.unwrap()
    raise Over


class Way:
    def __init__(self, name, rows=(), at=None, caps=None, tls_caps=None, starttls=True, requiretls=True,
                 cert=None, tls_max=None, ciphers=None, rcvbuf=None, message=None, listens=True, repeats=False, **want):
        """caps, tls_caps: the whole list before and inside TLS. cert: see certificates() of the matrix.
        repeats: the hop may have got a message and not said so, so that it gets it again. want: what
        must become of mail: plain=, tagged=, no=."""
        self.name, self.rows, self.at = name, rows, dict(at or {})
        self.caps, self.tls_caps, self.starttls, self.requiretls = caps, tls_caps, starttls, requiretls
        self.cert, self.tls_max, self.ciphers, self.rcvbuf = cert, tls_max, ciphers, rcvbuf
        self.message, self.listens, self.repeats, self.want = message, listens, repeats, want


class Leg:
    """One connection."""

    def __init__(self, hop, sock, number):
        self.hop, self.sock, self.number = hop, sock, number
        self.clear = bytearray()        # every octet that came before or without TLS
        self.lines = []
        self.tls = False
        self.buffer = b""
        self.said = b""         # since the last message or command
        self.mail, self.rcpts = None, []

    def send(self, data):
        self.said = (self.said + data)[-200000:]
        self.sock.sendall(data)

    def read(self):
        data = self.sock.recv(65536)
        if not self.tls:
            self.clear += data
        if not data:
            raise Over
        self.buffer += data

    def line(self):
        while b"\n" not in self.buffer:
            self.read()
        line, _, self.buffer = self.buffer.partition(b"\n")
        line = line.rstrip(b"\r").decode("utf-8", "backslashreplace")
        self.lines.append(line)
        return line

    def place(self, name, line, default):
        """Does what the way says for this place; what was said in the end."""
        act = self.hop.act(name)
        said = act(self, line) if callable(act) else act
        if act is not None and said is None:
            return b""
        if said is None:
            said = default
        self.send(said)
        return said

    def caps(self):
        way = self.hop.now
        if self.tls and way.tls_caps is not None:
            return way.tls_caps
        if not self.tls and way.caps is not None:
            return way.caps
        caps = ["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"]
        if self.tls:
            return caps + (["REQUIRETLS"] if way.requiretls else [])
        return caps + (["STARTTLS"] if way.starttls else [])

    def run(self):
        if self.hop.act("CONNECT") is not None:
            self.hop.act("CONNECT")(self, None)
        self.place("GREETING", None, b"220 mx ESMTP\r\n")
        while True:
            line = self.line()
            words = line.split()
            verb = words[0].upper() if words else ""
            do = getattr(self, "do_" + verb.lower(), None)
            if do is None:
                self.send(b"500 5.5.2 what?\r\n")
            else:
                do(line)

    def do_ehlo(self, line):
        lines = ["mx at your service", *self.caps()]
        text = "".join(f"250{'-' if i + 1 < len(lines) else ' '}{x}\r\n" for i, x in enumerate(lines))
        self.place("TLS-EHLO" if self.tls else "EHLO", line, text.encode())

    def do_helo(self, line):
        self.place("HELO", line, b"250 mx\r\n")

    def do_starttls(self, line):
        said = self.place("STARTTLS", line, b"220 2.0.0 go ahead\r\n")
        if said[:3] == b"220":
            self.handshake(line)

    def handshake(self, line=None):
        act = self.hop.act("HANDSHAKE")
        if act is not None:
            act(self, line)
            return
        self.sock = self.hop.context().wrap_socket(self.sock, server_side=True)
        self.tls, self.buffer = True, b""
        if self.hop.act("SECURED") is not None:
            self.hop.act("SECURED")(self, line)

    def do_mail(self, line):
        said = self.place("MAIL", line, b"250 2.1.0 ok\r\n")
        self.mail, self.rcpts = (line if said[:1] == b"2" else None), []

    def do_rcpt(self, line):
        if self.mail is None:
            self.send(b"503 5.5.1 MAIL first\r\n")
        elif self.place("RCPT", line, b"250 2.1.5 ok\r\n")[:1] == b"2":
            self.rcpts.append(line)

    def do_data(self, line):
        if not self.rcpts:
            self.send(b"503 5.5.1 nobody\r\n")
            return
        if self.place("DATA", line, b"354 go ahead\r\n")[:1] != b"3":
            return
        if self.hop.act("BODY") is not None:
            self.hop.act("BODY")(self, line)
        data, at = bytearray(b"\r\n" + self.buffer), 0
        while data.find(b"\r\n.\r\n", at) < 0:
            at = max(0, len(data) - 4)
            self.buffer = b""
            self.read()
            data += self.buffer
        end = data.find(b"\r\n.\r\n", at)
        self.buffer = bytes(data[end + 5:])
        self.taken(bytes(data[2:end + 2]))

    def do_bdat(self, line):
        if self.hop.act("BDAT") is not None:
            self.place("BDAT", line, b"")
            return
        n = int(line.split()[1])
        while len(self.buffer) < n:
            self.read()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        self.taken(data)

    def taken(self, data):
        """The end of a message is here; its reply makes it ours, or not."""
        got = {"mail": self.mail, "rcpts": list(self.rcpts), "data": data, "tls": self.tls, "told": False}
        self.hop.got.append(got)
        self.said = b""
        try:
            self.place(".", None, b"250 2.0.0 taken\r\n")
        finally:
            got["told"] = bool(TAKEN.match(self.said))
        self.mail, self.rcpts = None, []

    def do_rset(self, line):
        self.mail, self.rcpts = None, []
        self.place("RSET", line, b"250 2.0.0 ok\r\n")

    def do_quit(self, line):
        self.place("QUIT", line, b"221 2.0.0 bye\r\n")
        raise Over


GOOD = Way("good")


class Hop:
    """One address. `now` is its way, until heal()."""

    def __init__(self, hops, way):
        self.hops, self.way, self.now = hops, way, way
        self.legs, self.got = [], []
        self.sock = None

    def act(self, place):
        return self.now.at.get(place)

    def heal(self):
        self.now = GOOD
        if self.way.rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def context(self):
        """TLS as the way wants it; one context for each certificate."""
        way = self.now
        cert = self.hops.certs[way.cert] if way.cert else self.hops.cert
        key = (cert.cert, way.tls_max, way.ciphers)
        with self.hops.lock:
            if key not in self.hops.contexts:
                ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                if way.ciphers:
                    ctx.set_ciphers(way.ciphers)
                ctx.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
                if way.tls_max:
                    ctx.maximum_version = way.tls_max
                ctx.load_cert_chain(cert.cert, cert.key)
                self.hops.contexts[key] = ctx
            return self.hops.contexts[key]

    def report(self):
        return "\n".join(f"--- {self.way.name} connection {leg.number}: {leg.lines}" for leg in self.legs)


class Hops:
    def __init__(self, cert, certs=None, port=None):
        self.cert, self.certs, self.contexts = cert, dict(certs or {}), {}
        self.port = port or free_port(["127.0.0.1"])
        self.at, self.lock = {}, threading.Lock()
        self.poll, self.listeners, self.open = select.poll(), {}, set()
        self.closing = False
        self.thread = threading.Thread(target=self.accept, daemon=True)

    def add(self, ip, way):
        hop = self.at[ip] = Hop(self, way)
        if way.listens:
            self.listen(ip, hop)
        return hop

    def listen(self, ip, hop):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hop.way.rcvbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, hop.way.rcvbuf)
        s.bind((ip, self.port))
        s.listen(64)
        hop.sock = s
        self.listeners[s.fileno()] = (s, hop)
        self.poll.register(s, select.POLLIN)

    def start(self):
        self.thread.start()
        return self

    def accept(self):
        while not self.closing:
            for fd, unused in self.poll.poll(200):
                s, hop = self.listeners[fd]
                with contextlib.suppress(OSError):
                    sock, unused2 = s.accept()
                    sock.settimeout(60)
                    sock.setsockopt(socket.SOL_TCP, socket.TCP_NODELAY, 1)
                    leg = Leg(hop, sock, len(hop.legs))
                    hop.legs.append(leg)
                    self.open.add(leg)
                    threading.Thread(target=self.serve, args=(leg,), daemon=True).start()

    def serve(self, leg):
        try:
            leg.run()
        except (Over, OSError, ssl.SSLError):
            pass
        finally:
            with contextlib.suppress(OSError):
                leg.sock.close()
            self.open.discard(leg)

    def stop(self):
        self.closing = True
        self.thread.join()
        for s, unused in self.listeners.values():
            s.close()
        for leg in list(self.open):
            with contextlib.suppress(OSError):
                leg.sock.close()
