"""A raw SMTP client for tests: it says exactly what it is told, in the pieces it is told.

    with Client(port=2525) as c:
        c.ehlo("client.example")
        c.starttls(sni="gw.example")
        assert "REQUIRETLS" in c.ehlo("client.example")
        c.cmd("MAIL FROM:<a@client.example> REQUIRETLS", 250)
        r = c.send_message("a@client.example", ["b@good.example"], b"Subject: x\r\n\r\nhi\r\n")
        c.raw(b"NOOP\r\n", chunk=1)
"""

import re
import socket
import ssl
import time


class Unexpected(AssertionError):
    """The server said something else; the transcript is in the message."""


class Reply:
    def __init__(self, code, lines):
        self.code, self.lines = code, lines

    @property
    def status(self):
        """The enhanced status code, "" without one (RFC 2034)."""
        found = re.match(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)", self.lines[0])
        return found.group(1) if found else ""

    @property
    def text(self):
        return "\n".join(self.lines)

    def __repr__(self):
        return f"{self.code} {' / '.join(self.lines)}"


def tls_context(ca=None, cert=None, minimum=None, maximum=None):
    """Checks nothing unless `ca` (a PEM file) is given; `cert` (certs.Cert) is sent when asked for."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname = ca is not None
    ctx.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
    ctx.hostname_checks_common_name = False     # subjectAltName only (D9)
    if ca:
        ctx.load_verify_locations(ca)
    if cert:
        ctx.load_cert_chain(cert.cert, cert.key)
    if minimum:
        ctx.minimum_version = minimum
    if maximum:
        ctx.maximum_version = maximum
    return ctx


def pieces(data, cut):
    """`data` as it is handed to the kernel: all at once (None), so many octets at a time, or cut at
    random (a random.Random), where line ends and dots are cut more often than by chance."""
    if cut is None:
        yield data
        return
    at = 0
    while at < len(data):
        if isinstance(cut, int):
            n = cut
        elif cut.random() < 0.5:
            n = cut.choice((1, 1, 2, 3, 17, 200, 2047, 2048, 4096, 65536))
        else:       # up to the next octet that means something, or just behind it
            found = re.compile(rb"[\r\n.]").search(data, at + 1)
            n = (found.start() + cut.randrange(2) if found else len(data)) - at
        yield data[at:at + n]
        at += n


def dot_stuff(data):
    """Content for DATA: every line that begins with a dot gets another (RFC 5321 4.5.2). Other
    line endings than CR LF are left alone, so that tests can send them."""
    if data and not data.endswith(b"\r\n"):
        data += b"\r\n"
    return (b"." if data.startswith(b".") else b"") + data.replace(b"\r\n.", b"\r\n..")


class Client:
    def __init__(self, port, host="127.0.0.1", timeout=15, source=None, implicit_tls=False, ctx=None,
                 sni=None, greet=True, cut=None):
        """cut: how raw() sends when it is not told (see pieces)."""
        self.transcript = []
        self.buffer = b""
        self.heard = b""            # all that the server said, as octets
        self.cut = cut
        self.caps = {}
        self.tls = None             # what ssl says of the connection
        self.sock = socket.create_connection((host, port), timeout,
                                             source_address=(source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if implicit_tls:
            self.handshake(ctx, sni)
        self.greeting = self.read_reply() if greet else None

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.sock.close()

    def note(self, who, data):
        text = data if isinstance(data, str) else data.decode("utf-8", "backslashreplace")
        self.transcript.append(f"{who}: {text.rstrip()}"[:500])

    # ---- octets ----

    def raw(self, data, chunk=None, delay=0):
        """Sends octets as they are, all at once or in pieces."""
        self.note("C", data)
        for piece in pieces(data, chunk or self.cut):
            self.sock.sendall(piece)
            if delay:
                time.sleep(delay)

    def read_line(self):
        while b"\n" not in self.buffer:
            try:
                data = self.sock.recv(65536)
            except (ssl.SSLEOFError, ConnectionResetError):
                data = b""
            except TimeoutError:
                raise Unexpected("no reply in time\n" + "\n".join(self.transcript)) from None
            if not data:
                raise EOFError("the server closed\n" + "\n".join(self.transcript))
            self.buffer += data
            self.heard += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        self.note("S", line)
        return line.decode("utf-8", "backslashreplace").rstrip("\r")

    def read_reply(self):
        lines = []
        while True:
            line = self.read_line()
            if not re.match(r"[2-5]\d\d([ -]|$)", line):
                raise Unexpected(f"not a reply: {line!r}\n" + "\n".join(self.transcript))
            lines.append(line[4:])
            if line[3:4] != "-":
                return Reply(int(line[:3]), lines)

    def expect(self, code):
        """The next reply; `code` is 250, 2 (any 2yz) or a status such as "5.7.10"."""
        reply = self.read_reply()
        self.check(reply, code)
        return reply

    def check(self, reply, code):
        if isinstance(code, str):
            fits = reply.status == code
        else:
            fits = code is None or reply.code == code or reply.code // 100 == code
        if not fits:
            raise Unexpected(f"wanted {code}, got {reply}\n" + "\n".join(self.transcript))

    def is_closed(self, within=5):
        """Does the server close now, without another word?"""
        self.sock.settimeout(within)
        try:
            return self.buffer == b"" and self.sock.recv(1) == b""
        except (ConnectionResetError, ssl.SSLError):
            return True
        except TimeoutError:
            return False

    # ---- commands ----

    def cmd(self, line, code=None):
        self.raw(line.encode() + b"\r\n" if isinstance(line, str) else line)
        return self.expect(code)

    def ehlo(self, name="client.example"):
        """The capabilities: keyword in capitals to its parameters."""
        reply = self.cmd(f"EHLO {name}", 250)
        self.caps = {}
        for line in reply.lines[1:]:
            word, _, rest = line.partition(" ")
            self.caps[word.upper()] = rest
        return self.caps

    def handshake(self, ctx=None, sni=None):
        self.sock = (ctx or tls_context()).wrap_socket(self.sock, server_hostname=sni)
        self.buffer = b""
        self.tls = {"version": self.sock.version(), "cipher": self.sock.cipher()[0],
                    "cert": self.sock.getpeercert(True)}
        self.note("-", f"TLS {self.tls['version']} {self.tls['cipher']}")

    def starttls(self, ctx=None, sni=None):
        self.cmd("STARTTLS", 220)
        self.handshake(ctx, sni)

    def mail(self, address, params="", code=None):
        return self.cmd(f"MAIL FROM:<{address}>{' ' + params if params else ''}", code)

    def rcpt(self, address, params="", code=None):
        return self.cmd(f"RCPT TO:<{address}>{' ' + params if params else ''}", code)

    def data(self, content, code=None, chunk=None):
        """DATA with this content (bytes, dot-stuffed here) and the final reply."""
        if isinstance(content, str):
            content = content.replace("\r\n", "\n").replace("\n", "\r\n").encode()
        self.cmd("DATA", 354)
        self.raw(dot_stuff(content) + b".\r\n", chunk=chunk)
        return self.expect(code)

    def send_message(self, sender, rcpts, content, params="", rcpt_params="", code=250):
        """A whole transaction on a connection that said EHLO; the final reply. The first refusal
        is returned (or raised, when it is not `code`) and RSET sent after it."""
        reply = self.mail(sender, params)
        if reply.code == 250:
            replies = [self.rcpt(r, rcpt_params) for r in ([rcpts] if isinstance(rcpts, str) else rcpts)]
            good = [r for r in replies if r.code // 10 == 25]
            reply = self.data(content) if good else replies[-1]
            if not good:
                self.cmd("RSET")
        self.check(reply, code)
        return reply

    def quit(self):
        reply = self.cmd("QUIT")
        self.close()
        return reply


def send(port, sender, rcpts, content, tls=True, sni=None, params="", code=250, **options):
    """One message on a connection of its own; the final reply."""
    with Client(port, sni=sni, **options) as c:
        c.ehlo()
        if tls and not options.get("implicit_tls"):
            c.starttls(sni=sni)
            c.ehlo()
        reply = c.send_message(sender, rcpts, content, params=params, code=code)
        c.quit()
        return reply
