"""An HTTPS server for MTA-STS policies: by SNI it has a certificate and a page for each domain.

    host = PolicyHost(certs)
    host.publish("a.example", policy(mx=["mx.a.example"]))
    host.hits           # [("mta-sts.a.example", "/.well-known/mta-sts.txt"), ...]
"""

import socket
import ssl
import threading


def policy(mode="enforce", mx=(), max_age=86400):
    return "".join([f"version: STSv1\nmode: {mode}\n", *[f"mx: {x}\n" for x in mx], f"max_age: {max_age}\n"])


class Page:
    def __init__(self, context, text, status="200 OK", kind="text/plain", headers=(), raw=None, stall=False,
                 more=None):
        """more: called with the socket behind what `raw` says; it may send and raises where the client is gone."""
        self.context, self.raw, self.stall, self.more = context, raw, stall, more
        if raw is None:
            lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(text)}",
                     "Cache-Control: max-age=1", "Connection: close", *headers, "", text]
            self.raw = "\r\n".join(lines).encode()


class PolicyHost:
    def __init__(self, certs, host="127.0.8.100"):
        self.certs, self.host = certs, host
        self.pages, self.hits, self.names = {}, [], []
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.listener = socket.create_server((host, 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.fallback = self.context(certs.issue("nobody.example"))
        self.fallback.sni_callback = self.choose
        threading.Thread(target=self.accept, daemon=True).start()

    @staticmethod
    def context(cert):
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(cert.cert, cert.key)
        return ctx

    def publish(self, domain, text="", cert="good", names=None, **page):
        name = f"mta-sts.{domain}"
        self.pages[name] = Page(self.context(self.certs.issue(name, kind=cert, names=names)), text, **page)

    def count(self, domain):
        with self.lock:
            return sum(name == f"mta-sts.{domain}" for name, _ in self.hits)

    def choose(self, sock, name, _):
        sock.policy_name = name
        with self.lock:
            self.names.append(name)
        if name in self.pages:
            sock.context = self.pages[name].context

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, raw):
        raw.settimeout(30)
        try:
            with self.fallback.wrap_socket(raw, server_side=True) as sock:
                asked = b""
                while b"\r\n\r\n" not in asked and len(asked) < 65536:
                    piece = sock.recv(4096)
                    if not piece:
                        return
                    asked += piece
                name = getattr(sock, "policy_name", None)
                path = asked.split(b" ")[1].decode()
                with self.lock:
                    self.hits.append((name, path))
                page = self.pages.get(f"{name}{path}", self.pages.get(name))    # a path of its own first
                if page is not None and page.stall:
                    self.ended.wait(30)
                    return
                sock.sendall(page.raw if page is not None else b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
                if page is not None and page.more is not None:
                    page.more(sock)
        except OSError:         # includes those of TLS: the client did not want us
            return

    def stop(self):
        self.ended.set()
        self.listener.close()
