"""A scripted SMTP next hop: it offers, answers and breaks what it is told, and keeps what it saw.

    with NextHop(cert=certs.issue("mx1.example"), requiretls=True) as hop:
        ...                                 # mail goes to hop.host, hop.port
        m = hop.wait_messages(1)[0]
        m.mail, m.rcpts, m.data, m.tls["version"], m.session.transcript

What can be set, at any time, is in the arguments of NextHop. `replies` maps a place to a reply:

    {"MAIL": "451 4.3.0 later", "RCPT:user2@": "550 5.1.1 no", ".": ["451 busy", None]}

Places are verbs, "GREETING", "." (end of data or BDAT LAST) and "VERB:text" for command lines that
contain the text, which go first. A list is used up one by one, None and its end mean the built-in
reply; a function gets (session, line). `cut` closes the connection at such a place instead, `delay`
(seconds) waits first.

Command line: nexthop.py --port 2525 --cert FILE --key FILE --requiretls; one JSON line a message.
"""

import argparse
import base64
import contextlib
import json
import re
import socket
import ssl
import sys
import threading
import time

MAX_LINE = 1 << 20


class Cut(Exception):
    """The script says to end the connection here."""


class Message:
    def __init__(self, session, mail, rcpts, data, reply):
        self.session, self.mail, self.rcpts, self.data, self.reply = session, mail, rcpts, data, reply
        self.tls = session.tls
        self.time = time.time()

    @property
    def accepted(self):
        return self.reply.startswith("2")

    @property
    def has_requiretls(self):
        return bool(re.search(r"\sREQUIRETLS(\s|$)", self.mail, re.I))

    def header(self, name):
        """First field of this name, unfolded; None without."""
        head = self.data.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
        found = re.search(rf"(?mi)^{re.escape(name)}:[ \t]*(.*(?:\r?\n[ \t].*)*)", head)
        return re.sub(r"\r?\n", "", found.group(1)).strip() if found else None

    @property
    def body(self):
        return self.data.partition(b"\r\n\r\n")[2]

    def __repr__(self):
        return f"<{self.mail} {self.rcpts} {len(self.data)} octets>"


class Session:
    def __init__(self, hop, sock, peer):
        self.hop, self.sock, self.peer = hop, sock, peer
        self.transcript, self.commands = [], []
        self.tls = None         # {"version", "cipher", "sni", "client_cert"}
        self.sni = None
        self.user = None        # who has logged in
        self.buffer = b""
        self.mail = None
        self.rcpts = []
        self.chunks = b""
        self.messages = 0
        self.ended = None
        self.started = time.time()

    # ---- octets ----

    def note(self, who, text):
        self.transcript.append(f"{who}: {text}"[:500])

    def send(self, data):
        self.sock.sendall(data)

    def read_some(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def read_line(self):
        while b"\n" not in self.buffer:
            if len(self.buffer) > MAX_LINE:
                raise Cut("line too long")
            self.read_some()
        line, _, self.buffer = self.buffer.partition(b"\n")
        text = line.decode("utf-8", "backslashreplace").rstrip("\r")
        self.note("C", text)
        return text

    def read_exactly(self, n):
        while len(self.buffer) < n:
            self.read_some()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def read_data(self):
        """Up to CR LF . CR LF, and only that; dots are taken off."""
        data = b"\r\n"
        while True:
            data += self.buffer
            self.buffer = b""
            end = data.find(b"\r\n.\r\n")
            if end >= 0:
                self.buffer = data[end + 5:]
                break
            self.read_some()
        content = data[2:end + 2].replace(b"\r\n..", b"\r\n.")
        return content[1:] if content.startswith(b"..") else content

    # ---- script ----

    def scripted(self, table, verb, line):
        """The entry of a table for this place; those with text first."""
        for place, value in table.items():
            name, sep, text = place.partition(":")
            if sep and name == verb and text.lower() in line.lower():
                return value
        return table.get(verb)

    def at(self, verb, line=""):
        """Delays and cuts; then the scripted reply, or None."""
        delay = self.scripted(self.hop.delay, verb, line)
        if delay:
            time.sleep(delay)
        cut = self.scripted(self.hop.cut, verb, line)
        if cut is not None and cut is not False:
            if isinstance(cut, bytes):
                self.send(cut)
            raise Cut(verb)
        reply = self.scripted(self.hop.replies, verb, line)
        if isinstance(reply, list):
            with self.hop.lock:
                reply = reply.pop(0) if reply else None
        return reply(self, line) if callable(reply) else reply

    def reply(self, text):
        """One reply; lines of more are separated by LF."""
        lines = text.split("\n")
        code = lines[0][:3]
        out = []
        for i, line in enumerate(lines):
            rest = line[4:] if line[:3] == code and line[3:4] in (" ", "-") else line
            out.append(f"{code}{'-' if i + 1 < len(lines) else ' '}{rest}".rstrip())
        for line in out:
            self.note("S", line)
        self.send("".join(line + "\r\n" for line in out).encode())
        return out[0]

    def answer(self, verb, line, default):
        return self.reply(self.at(verb, line) or default)

    # ---- the conversation ----

    def capabilities(self):
        hop = self.hop
        if self.tls and hop.ehlo_tls is not None:
            return list(hop.ehlo_tls)
        if not self.tls and hop.ehlo is not None:
            return list(hop.ehlo)
        caps = ["PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN"]
        if hop.chunking:
            caps.append("CHUNKING")
        if hop.smtputf8:
            caps.append("SMTPUTF8")
        if not self.tls and hop.starttls and hop.cert:
            caps.append("STARTTLS")
        if hop.requiretls and (self.tls or hop.requiretls == "always"):
            caps.append("REQUIRETLS")
        if hop.auth is not None and hop.mechs and (self.tls or hop.auth_in_clear):
            caps.append("AUTH " + " ".join(hop.mechs))
        return caps

    def handshake(self):
        hop = self.hop
        if hop.handshake in ("garbage", "close"):
            self.sock.recv(65536)       # the ClientHello: what is sent ahead of it would be `inject`
        if hop.handshake == "garbage":
            self.send(b"\x16\x03\x01garbage that is no handshake\r\n" * 4)
            raise Cut("handshake")
        if hop.handshake == "close":
            raise Cut("handshake")
        if hop.handshake == "stall":
            time.sleep(hop.stall)
            raise Cut("handshake")
        ctx = hop.context(self)
        raw, self.buffer = self.sock, b""
        self.sock = ctx.wrap_socket(raw, server_side=True)
        self.tls = {"version": self.sock.version(), "cipher": self.sock.cipher()[0], "sni": self.sni,
                    "client_cert": self.sock.getpeercert(True)}
        self.note("-", f"TLS {self.tls['version']} sni={self.sni}")

    def run(self):
        if self.hop.implicit_tls:
            self.handshake()
        self.answer("GREETING", "", f"220 {self.hop.name} ESMTP lab")
        while True:
            line = self.read_line()
            verb = line.split(" ")[0].split(":")[0].upper()
            self.commands.append(line)
            if self.hop.endless == verb:
                while True:     # a peer that never comes to an end; ours must
                    self.send(f"250-{'x' * 60}\r\n".encode() * 100)
            handler = getattr(self, "do_" + verb.lower(), None)
            if handler is None or not verb.isalpha():
                self.answer(verb, line, "500 5.5.2 unknown command")
            elif handler(line) is False:
                return

    def reset(self):
        self.mail, self.rcpts, self.chunks = None, [], b""

    def do_ehlo(self, line):
        self.reset()
        text = "\n".join([f"250 {self.hop.name} at your service"] + self.capabilities())
        self.answer("EHLO", line, text)

    def do_helo(self, line):
        self.reset()
        self.answer("HELO", line, f"250 {self.hop.name}")

    def do_starttls(self, line):
        scripted = self.at("STARTTLS", line)
        if scripted or not self.hop.cert or self.tls:
            self.reply(scripted or "502 5.5.1 no TLS here")
            return
        self.note("S", "220 go ahead")
        self.send(b"220 2.0.0 go ahead\r\n" + self.hop.inject)
        self.handshake()
        self.reset()

    def prompt(self, text):
        self.reply("334 " + base64.b64encode(text).decode())
        return base64.b64decode(self.read_line())

    def do_auth(self, line):
        """PLAIN, with the response in the command or behind a 334, and LOGIN."""
        scripted = self.at("AUTH", line)
        words = line.split(" ")
        if scripted or self.hop.auth is None or self.user or len(words) < 2 or words[1] not in self.hop.mechs:
            self.reply(scripted or "504 5.5.4 no such mechanism")
            return
        if words[1] == "LOGIN":
            user, password = self.prompt(b"Username:"), self.prompt(b"Password:")
        else:
            response = base64.b64decode(words[2]) if len(words) > 2 else self.prompt(b"")
            user, password = response.split(b"\0")[1:]
        if self.hop.auth.get(user.decode()) != password.decode():
            self.reply("535 5.7.8 wrong user or password")
            return
        self.user = user.decode()
        self.answer("AUTH-END", line, "235 2.7.0 welcome")

    def do_mail(self, line):
        if self.hop.auth is not None and self.user is None:
            self.reply("530 5.7.0 log in first")
        elif self.answer("MAIL", line, "250 2.1.0 ok").startswith("2"):
            self.mail, self.rcpts = line, []

    def do_rcpt(self, line):
        if self.mail is None:       # pipelined behind a refused MAIL
            self.reply("503 5.5.1 MAIL first")
        elif self.answer("RCPT", line, "250 2.1.5 ok").startswith("2"):
            self.rcpts.append(line)

    def do_data(self, line):
        if not self.rcpts:
            self.reply("503 5.5.1 no valid recipients")
            return None
        if not self.answer("DATA", line, "354 go ahead").startswith("3"):
            return None
        return self.received(self.read_data())

    def do_bdat(self, line):
        words = line.split()
        self.chunks += self.read_exactly(int(words[1]))
        if words[-1].upper() != "LAST":
            self.answer("BDAT", line, "250 2.0.0 continue")
            return None
        if not self.rcpts:
            self.reply("503 5.5.1 no valid recipients")
            return None
        return self.received(self.chunks)

    def received(self, data):
        message = Message(self, self.mail, list(self.rcpts), data, "")
        self.note("-", f"{len(data)} octets of data")
        try:
            message.reply = self.at(".") or f"250 2.0.0 taken as {len(self.hop.messages) + 1}"
            self.hop.keep(message)      # before the reply: it is in the list once the peer knows
            self.reply(message.reply)
        except Cut:
            self.hop.keep(message)
            raise
        self.reset()
        self.messages += 1
        if self.hop.close_after is not None and self.messages >= self.hop.close_after:
            self.ended = "close_after"
            return False
        return None

    def do_rset(self, line):
        self.reset()
        self.answer("RSET", line, "250 2.0.0 ok")

    def do_noop(self, line):
        self.answer("NOOP", line, "250 2.0.0 ok")

    def do_quit(self, line):
        self.answer("QUIT", line, "221 2.0.0 bye")
        self.ended = "quit"
        return False


class NextHop:
    def __init__(self, host="127.0.0.1", port=0, name="mx.lab.example", cert=None, starttls=True,
                 requiretls=False, implicit_tls=False, ehlo=None, ehlo_tls=None, chunking=True,
                 smtputf8=True, replies=None, cut=None, delay=None, inject=b"", handshake=None,
                 stall=5, endless=None, close_after=None, tls_min=None, tls_max=None,
                 ask_client_cert=None, on_message=None, auth=None, mechs=("PLAIN", "LOGIN"),
                 auth_in_clear=False):
        """ehlo, ehlo_tls: the whole list of capabilities, instead of the built-in one, before and
        inside TLS. requiretls: listed inside TLS; "always": before it too. inject: octets sent
        right behind the 220 to STARTTLS, in clear. handshake: None, "garbage", "close", "stall".
        endless: a verb whose reply never ends. close_after: messages, then a bare close.
        tls_min, tls_max: ssl.TLSVersion. ask_client_cert: a CA file. auth: users and their passwords; who
        has not logged in gets 530. mechs: what is listed and taken, inside TLS or (auth_in_clear) before it
        too. "AUTH-END" is the place of the reply to a login that is right."""
        self.host, self.name, self.cert, self.starttls = host, name, cert, starttls
        self.requiretls, self.implicit_tls = requiretls, implicit_tls
        self.ehlo, self.ehlo_tls, self.chunking, self.smtputf8 = ehlo, ehlo_tls, chunking, smtputf8
        self.replies, self.cut, self.delay = dict(replies or {}), dict(cut or {}), dict(delay or {})
        self.inject, self.handshake, self.stall, self.endless = inject, handshake, stall, endless
        self.close_after, self.tls_min, self.tls_max = close_after, tls_min, tls_max
        self.ask_client_cert, self.on_message = ask_client_cert, on_message
        self.auth, self.mechs, self.auth_in_clear = auth, mechs, auth_in_clear
        self.lock = threading.Condition()
        self.sessions, self.messages = [], []
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((host, port))
        self.port = self.sock.getsockname()[1]
        self.sock.listen(128)
        self.closing = False
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.stop()

    def stop(self):
        self.closing = True
        with contextlib.suppress(OSError):      # wakes the accepting thread
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for session in list(self.sessions):
            with contextlib.suppress(OSError):
                session.sock.close()

    def context(self, session):
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(self.cert.cert, self.cert.key)
        if self.tls_max and self.tls_max < ssl.TLSVersion.TLSv1_2:
            ctx.set_ciphers("DEFAULT:@SECLEVEL=0")      # else OpenSSL 3 has no TLS 1.0 and 1.1
        ctx.minimum_version = self.tls_min or ssl.TLSVersion.MINIMUM_SUPPORTED
        if self.tls_max:
            ctx.maximum_version = self.tls_max
        if self.ask_client_cert:
            ctx.load_verify_locations(self.ask_client_cert)
            ctx.verify_mode = ssl.CERT_OPTIONAL

        def seen(sock, name, unused):
            session.sni = name

        ctx.sni_callback = seen
        return ctx

    def accept(self):
        while not self.closing:
            try:
                sock, peer = self.sock.accept()
            except OSError:
                return
            sock.settimeout(60)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = Session(self, sock, peer)
            with self.lock:
                self.sessions.append(session)
                self.lock.notify_all()
            threading.Thread(target=self.serve, args=(session,), daemon=True).start()

    def serve(self, session):
        try:
            session.run()
        except Cut as e:
            session.ended = f"cut at {e}"
        except EOFError:
            session.ended = "peer closed"
        except (OSError, ssl.SSLError) as e:
            session.ended = f"{type(e).__name__}: {e}"
        except Exception as e:      # a mistake in the script: seen in the transcript of the test
            session.ended = f"script failed: {e!r}"
        finally:
            session.note("-", f"end: {session.ended}")
            with contextlib.suppress(OSError):
                session.sock.close()
            with self.lock:
                self.lock.notify_all()

    def keep(self, message):
        with self.lock:
            self.messages.append(message)
            self.lock.notify_all()
        if self.on_message:
            self.on_message(message)

    # ---- for tests ----

    @property
    def accepted(self):
        return [m for m in self.messages if m.accepted]

    def wait(self, condition, timeout=15):
        """Until condition() holds; False when it does not in time."""
        with self.lock:
            return self.lock.wait_for(condition, timeout)

    def wait_messages(self, n, timeout=15):
        if not self.wait(lambda: len(self.accepted) >= n, timeout):
            raise AssertionError(f"{len(self.accepted)} messages instead of {n}\n{self.report()}")
        return self.accepted

    def wait_sessions(self, n, timeout=15, ended=True):
        if not self.wait(lambda: sum(1 for s in self.sessions if s.ended or not ended) >= n, timeout):
            raise AssertionError(f"{len(self.sessions)} sessions instead of {n}\n{self.report()}")
        return self.sessions

    def commands(self, verb):
        """Every command line of this verb, over all sessions."""
        return [c for s in self.sessions for c in s.commands if c.upper().startswith(verb.upper())]

    def report(self):
        """All transcripts, for the message of a failed test."""
        return "\n".join(f"--- {self.name} session {i + 1}\n" + "\n".join(s.transcript)
                         for i, s in enumerate(self.sessions)) or f"--- {self.name}: no connection"


def main():
    p = argparse.ArgumentParser(description="SMTP sink that prints a JSON line for each message")
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--name", default="mx.lab.example")
    p.add_argument("--cert")
    p.add_argument("--key")
    p.add_argument("--requiretls", action="store_true")
    p.add_argument("--implicit-tls", action="store_true")
    p.add_argument("--reply", action="append", default=[], metavar="PLACE=REPLY")
    a = p.parse_args()

    class Files:
        cert, key = a.cert, a.key or a.cert

    def show(m):
        print(json.dumps({"mail": m.mail, "rcpts": m.rcpts, "size": len(m.data), "tls": m.tls and {
            k: m.tls[k] for k in ("version", "cipher", "sni")}, "requiretls": m.has_requiretls,
            "subject": m.header("Subject"), "reply": m.reply}), flush=True)

    hop = NextHop(a.host, a.port, a.name, cert=Files if a.cert else None, requiretls=a.requiretls,
                  implicit_tls=a.implicit_tls, replies=dict(r.split("=", 1) for r in a.reply),
                  on_message=show)
    print(json.dumps({"listening": f"{hop.host}:{hop.port}"}), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
    return 0


if __name__ == "__main__":
    sys.exit(main())
