"""A gateway that serves the MTA-STS policy of own.s.example, whose mail host is a next hop here, and a
client of HTTPS that says what it likes."""

import atexit
import hashlib
import shutil
import socket
import ssl
import tempfile

import case
from case import Lab, Lua, Zone, free_port

MX, WEB = "127.0.9.2", "127.0.9.100"
OWN = "own.s.example"
HOST = f"mta-sts.{OWN}"
PATH = "/.well-known/mta-sts.txt"

lab = None


def text(mode="enforce", mx=(f"mx.{OWN}",), max_age=604800):
    return "".join(x + "\r\n" for x in ["version: STSv1", f"mode: {mode}", *[f"mx: {m}" for m in mx],
                                         f"max_age: {max_age}"])


def policy_id(policy):
    return hashlib.sha256(policy.encode()).hexdigest()[:20]


def records(policy_id=None):
    txt = f'_mta-sts.own TXT "v=STSv1; id={policy_id};"\n' if policy_id else ""
    return f"own MX 10 mx.own\nmx.own A {MX}\nmta-sts.own A {WEB}\n{txt}back MX 10 mx.own\n"


def stop_lab():
    lab.stop()
    shutil.rmtree(lab.dir, ignore_errors=True)


def use_lab(t, own=None):
    global lab
    if lab is None:
        lab = Lab(tempfile.mkdtemp(prefix="sp-sts-"), {
            "example": Zone(), "s.example": Zone(records(own), kind="unsigned", ttl=0)}).start()
        atexit.register(stop_lab)
    else:
        lab.update("s.example", records(own))
    t.zones_lab = lab


def identity(t, name):
    made = t.certs.issue(name)
    return {"cert": made.cert, "key": Lua(f'gw.secret "file:{made.key}"')}


def config(t, port, domains=None, **serve):
    """What goes into a configuration: the server at WEB, port `port`, and its certificates."""
    domains = domains or {OWN: {"mode": "enforce", "mx": [f"mx.{OWN}"]}}
    return {"tls": {"identities": {"sts": identity(t, HOST)}, "sts_port": port, "sts_timeout": "8s"},
            "delivery": {"idle": "0s"},
            "sts_serve": dict({"bind": [f"{WEB}:{port}"], "tls": ["gw", "sts"], "domains": domains}, **serve)}


class Answer:
    def __init__(self, raw, certificate=None):
        self.raw, self.certificate = raw, certificate
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("ascii").split("\r\n")
        self.status = int(lines[0].split(" ")[1]) if raw else None
        self.headers = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}


def connect(t, port, sni=HOST, alpn=None, most=None):
    ctx = ssl.create_default_context(cafile=t.certs.ca)
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    if alpn:
        ctx.set_alpn_protocols(alpn)
    if most:
        ctx.set_ciphers("DEFAULT:@SECLEVEL=0")
        ctx.minimum_version = ssl.TLSVersion.TLSv1
        ctx.maximum_version = most
    raw = socket.create_connection((WEB, port), timeout=20)
    return ctx.wrap_socket(raw, server_hostname=sni)


def read_all(sock):
    got = b""
    while True:
        try:
            piece = sock.recv(65536)
        except ssl.SSLError as e:       # the other side says no more; it has to say so in TLS
            raise AssertionError(f"ended without close_notify: {e}") from None
        if not piece:
            return got
        got += piece


def ask(t, port, request=None, sni=HOST, path=PATH, host=HOST, method="GET", **how):
    if request is None:
        request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: x\r\n\r\n"
    with connect(t, port, sni, **how) as sock:
        sock.sendall(request if isinstance(request, bytes) else request.encode())
        return Answer(read_all(sock), sock.getpeercert(True))
