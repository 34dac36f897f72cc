"""An HTTPS server that takes reports of TLS results (RFC 8460) and says what it is told to say.

    web = Receiver(certs.issue("web.example"), "127.0.9.100")
    web.says["/trouble"] = "500 Trouble"
    web.wait(1)[0]      # Post: path, fields (lower case), body
"""

import socket
import ssl
import threading
import time


class Post:
    def __init__(self, path, fields, body):
        self.path, self.fields, self.body = path, fields, body


class Receiver:
    def __init__(self, cert, host):
        self.host, self.says, self.extra = host, {}, {}
        self.posts, self.others = [], []
        self.lock = threading.Lock()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert.cert, cert.key)
        self.listener = socket.create_server((host, 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def at(self, path):
        with self.lock:
            return [p for p in self.posts if p.path == path]

    def wait(self, path, count=1, timeout=15):
        end = time.monotonic() + timeout
        while len(self.at(path)) < count and time.monotonic() < end:
            time.sleep(0.02)
        return self.at(path)

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
            with self.context.wrap_socket(raw, server_side=True) as sock:
                data = b""
                while b"\r\n\r\n" not in data and len(data) < 65536:
                    data = self.more(sock, data)
                head, _, body = data.partition(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                verb, path, _ = lines[0].split(" ", 2)
                fields = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}
                while len(body) < int(fields.get("content-length", 0)):
                    body = self.more(sock, body)
                with self.lock:
                    (self.posts if verb == "POST" else self.others).append(Post(path, fields, body))
                extra = "".join(f"{x}\r\n" for x in self.extra.get(path, []))
                sock.sendall(f"HTTP/1.1 {self.says.get(path, '201 Created')}\r\n{extra}Content-Length: 0\r\n"
                             "Connection: close\r\n\r\n".encode())
        except (OSError, EOFError):     # includes those of TLS: the client did not want us
            return

    @staticmethod
    def more(sock, data):
        piece = sock.recv(65536)
        if not piece:
            raise EOFError
        return data + piece

    def stop(self):
        self.listener.close()
