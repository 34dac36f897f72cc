"""TLS as others see it: what the gateway's ClientHello offers, what its listeners take, and its own
certificate under TLSA records, by OpenSSL's client."""

import ssl
import struct
import subprocess

import case
import tagged
from lab.nexthop import Cut
from tagged import H4

GOOD = "mx1.good.example"
SCSV = {0x00ff, 0x5600}
SUPPORTED_VERSIONS, EXTENDED_MASTER_SECRET, RENEGOTIATION_INFO, SERVER_NAME = 43, 23, 0xff01, 0


class Hello:
    """A ClientHello taken apart (RFC 8446 4.1.2)."""

    def __init__(self, octets):
        self.octets, self.at = octets, 9        # record, handshake
        self.take(2 + 32)
        self.vector(1)
        suites = self.vector(2)
        self.suites = [x for x, in struct.iter_unpack(">H", suites)]
        self.compression = list(self.vector(1))
        self.extensions, inside = {}, self.vector(2)
        while inside:
            kind, n = struct.unpack(">HH", inside[:4])
            self.extensions[kind], inside = inside[4:4 + n], inside[4 + n:]

    def take(self, n):
        self.at += n
        return self.octets[self.at - n:self.at]

    def vector(self, width):
        return self.take(int.from_bytes(self.take(width), "big"))


def known_suites():
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return {c["id"] & 0xffff: c for c in ctx.get_ciphers()}


@case.register("what-our-client-offers", "N-09", "N-10", "N-11", "N-12", "D-53", "D-52", "S-62")
def client_hello(t):
    """TLS 1.2 and 1.3 and nothing older, first 1.3; suites with forward secrecy, a certificate and encryption;
    no compression; the extended master secret, secure renegotiation and the host's name."""
    heard = []

    def listen(session, line):
        session.send(b"220 go ahead\r\n")
        data = b""
        while len(data) < 5 or len(data) < 5 + int.from_bytes(data[3:5], "big"):
            data += session.sock.recv(4096)
        heard.append(data)
        raise Cut("a ClientHello is all that was wanted")

    s = tagged.scene(t, {GOOD: dict(H4, replies={"STARTTLS": listen})})
    tagged.submit(t, s.gw, "b@good.example")
    s.hop[GOOD].wait_messages(1)        # in clear, behind the handshake that failed
    hello = Hello(heard[0])
    t.eq(hello.compression, [0], "compression")
    versions = hello.extensions[SUPPORTED_VERSIONS]
    t.eq([x for x, in struct.iter_unpack(">H", versions[1:])], [0x0304, 0x0303], "versions, best first")
    t.has(hello.extensions, EXTENDED_MASTER_SECRET, "extensions")
    t.check(RENEGOTIATION_INFO in hello.extensions or 0x00ff in hello.suites, "secure renegotiation")
    t.has(hello.extensions[SERVER_NAME], GOOD.encode(), "server name")
    known = known_suites()
    for suite in hello.suites:
        if suite in SCSV:
            continue
        c = known[suite]
        t.check(c["kea"] in ("kx-any", "kx-ecdhe", "kx-dhe"), f"key exchange of {c['name']}")
        t.check(c["auth"] in ("auth-any", "auth-rsa", "auth-ecdsa"), f"authentication of {c['name']}")
        t.check(c["symmetric"].startswith(("aes-", "chacha20", "camellia", "aria")), f"cipher of {c['name']}")


def openssl_client(gw, *args, listener="relay"):
    """(exit status, all it said) of a session that says QUIT."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{gw.port(listener)}", "-starttls", "smtp", *args]
    done = subprocess.run(command, input=b"QUIT\r\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30,
                          check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace")


@case.register("what-our-listeners-take", "N-09", "N-10", "N-12", "N-17", "S-63")
def listeners(t):
    """The newest version by itself; 1.2 with the extended master secret and secure renegotiation, without
    compression; a client of 1.1 hears protocol_version."""
    s = tagged.scene(t, {})
    for listener in ("inbound", "relay"):
        t.has(openssl_client(s.gw, listener=listener)[1], "TLSv1.3", "version by default")
        said = openssl_client(s.gw, "-tls1_2", listener=listener)[1]
        for part in ("Protocol  : TLSv1.2", "Secure Renegotiation IS supported", "Extended master secret: yes",
                     "Compression: NONE", "ECDHE"):
            t.has(said, part, "openssl")
        for old in ("-tls1", "-tls1_1"):
            status, said = openssl_client(s.gw, old, "-cipher", "ALL:@SECLEVEL=0", listener=listener)
            t.check(status != 0, f"{old} is taken")
            t.has(said.lower(), "alert protocol version", old)


@case.register("our-own-tlsa-records", "D-56", "D-54", "S-72", "N-25")
def own_records(t):
    """The chain that listeners show fits `3 1 1`, `3 0 1` and `2 0 1` of the same files, the anchor included,
    whatever name the client asks for; and not records of another certificate."""
    s = tagged.scene(t, {})
    own, other = t.certs.issue("gw.example"), t.certs.issue("other.example", kind="self-signed")
    anchor = t.certs.authority.cert
    for name in ("gw.example", "unknown.example"):
        for made, how, fits in ((own, "3 1 1", True), (own, "3 0 1", True), (anchor, "2 0 1", True),
                                (anchor, "2 1 1", True), (other, "3 1 1", False), (other, "2 0 1", False)):
            status, said = openssl_client(s.gw, "-servername", name, "-dane_tlsa_domain", "gw.example",
                                          "-dane_tlsa_rrdata", made.tlsa(how), "-verify_return_error")
            t.eq(status == 0 and f"DANE TLSA {how}" in said, fits, f"{how} with {name}: {said[-800:]}")


case.main()
