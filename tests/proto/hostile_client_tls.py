"""A client that means harm, around TLS: octets ahead of the handshake, state that should have been
forgotten, handshakes that must fail, tickets taken elsewhere, other protocols."""

import contextlib
import socket
import ssl
import subprocess
import warnings

import case
from hostile_client_kit import MemoryTls, hello_octets, in_threads, recording_hop, room
from lab.client import tls_context

BODY = b"Subject: x\r\n\r\nbody\r\n"
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
warnings.simplefilter("ignore", DeprecationWarning)     # the versions that must fail


def gateway(t, policy=None):
    hop = recording_hop(t)
    ports = case.free_port(), case.free_port()
    over = room({"listeners": {
        "implicit": {"bind": [f"127.0.0.1:{ports[0]}"], "tls": "gw", "implicit_tls": True},
        "strict": {"bind": [f"127.0.0.1:{ports[1]}"], "tls": "gw", "starttls": "required"}}})
    return t.gateway(hop_port=hop.port, over=over, policy=policy), hop


def rest(sock):
    """All that comes until the server closes."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while True:
            data = sock.recv(65536)
            if not data:
                break
            got += data
    return got


def clear_words(octets):
    """Is there anything but TLS records in it? They are 5 octets of head, then as many as it says."""
    while octets:
        if octets[0] not in (20, 21, 22, 23) or octets[1] != 3 or len(octets) < 5:
            return octets
        octets = octets[5 + int.from_bytes(octets[3:5], "big"):]
    return b""


def at_starttls(t, gw, listener="inbound"):
    c = t.client(gw, listener)
    c.ehlo()
    return c


@case.register("octets-ahead-of-the-handshake", "X-4", "X-6", "M-150", "N-22")
def ahead(t):
    """What stands behind STARTTLS in clear ends the session; what comes in clear behind the 220, with or
    without a ClientHello around it, is never answered."""
    gw, hop = gateway(t)
    mail = b"MAIL FROM:<evil@client.example>\r\n"
    hello = hello_octets()

    def behind(octets):
        c = at_starttls(t, gw)
        c.raw(b"STARTTLS\r\n" + octets)
        t.eq(c.expect(554).status, "5.5.0", f"reply to STARTTLS with {octets[:20]} behind it")
        t.eq(rest(c.sock), b"", f"after STARTTLS with {octets[:20]} behind it")

    def after(octets):
        c = at_starttls(t, gw)
        c.cmd("STARTTLS", 220)
        with contextlib.suppress(OSError):
            c.raw(octets)
            c.sock.shutdown(socket.SHUT_WR)
        t.eq(clear_words(rest(c.sock)), b"", f"clear text after the 220 and {octets[:20]}")

    in_threads(behind, [mail, b"\r\n", b"x", b"\0", b"EHLO x\r\n" + mail, hello, b"STARTTLS\r\n", mail * 4000])
    in_threads(after, [mail, b"\r\n", b"x", b"EHLO x\r\n" + mail, b"NOOP\r\n" * 5000, mail + hello, hello + mail,
                       hello + b"\r\n" + mail,
                       hello[:40] + mail, b"STARTTLS\r\n", b"QUIT\r\n"])
    t.eq(gw.log_lines("tls established"), [], "handshakes")
    t.eq(gw.log_lines("from=evil"), [], "transactions")


@case.register("what-was-said-in-clear-is-forgotten", "X-5", "M-150", "M-152", "R-106")
def forgotten(t):
    """EHLO, MAIL, RCPT and a policy's notes on the session do not outlive the handshake."""
    gw, hop = gateway(t, """
gw.on("helo", function(session, name)
  session.vars.seen = (session.vars.seen or "") .. "+" .. name
end, { name = "note.helo" })
gw.on("mail", function(session, message)
  if message.from.localpart == "tell" then
    return gw.reject { text = "seen " .. tostring(session.vars.seen) .. " helo " .. tostring(session.helo) }
  end
end, { name = "tell.helo" })""")
    c = at_starttls(t, gw)
    c.ehlo("evil.example")
    t.has(c.mail("tell@client.example", code=550).text, "+client.example+evil.example helo evil.example",
          "before TLS")
    c.mail("evil@client.example", code=250)
    c.rcpt("evil@gw.example", code=250)
    t.eq(c.cmd("STARTTLS").code, 503, "STARTTLS inside a transaction")
    c.cmd("RSET", 250)
    c.starttls(sni="gw.example")
    for line in ("MAIL FROM:<a@client.example>", "RCPT TO:<b@gw.example>", "DATA", "BDAT 0 LAST"):
        t.eq(c.cmd(line).code, 503, f"{line} behind the handshake, ahead of EHLO")
    t.eq(c.cmd("STARTTLS").code, 503, "STARTTLS inside TLS")
    c.ehlo("good.example")
    t.has(c.mail("tell@client.example", code=550).text, "seen +good.example helo good.example",
          "what the policy knows")
    t.eq(c.cmd("RCPT TO:<b@gw.example>").code, 503, "RCPT without MAIL")
    c.send_message("a@client.example", "b@gw.example", BODY)
    c.quit()
    m = hop.wait_messages(1)[0]
    t.has(m.header("Received"), "from good.example", "trace")
    t.lacks(m.header("Received"), "evil", "trace")
    # Where TLS is required, nothing is done without it.
    c = at_starttls(t, gw, "strict")
    for line in ("MAIL FROM:<a@client.example>", "RCPT TO:<b@gw.example>", "DATA", "VRFY x", "HELP"):
        t.eq(c.cmd(line).status, "5.7.0", line)
    t.eq(c.cmd(b"BDAT 6\r\nQUIT\r\n").status, "5.7.0", "BDAT")
    c.cmd("NOOP", 250)


@case.register("no-way-back-to-clear", "X-6", "X-28")
def no_way_back(t):
    """A handshake that fails, and TLS that was ended, end the session; a plain port told to speak TLS, and
    the other way round, too."""
    gw, hop = gateway(t)
    hello = hello_octets()

    def fails(octets):
        c = at_starttls(t, gw)
        c.cmd("STARTTLS", 220)
        with contextlib.suppress(OSError):
            c.raw(octets, chunk=1 if len(octets) < 600 else None)
            c.raw(b"\r\nNOOP\r\nMAIL FROM:<evil@client.example>\r\n")
            c.sock.shutdown(socket.SHUT_WR)
        t.eq(clear_words(rest(c.sock)), b"", f"after {octets[:20]}")

    alert = b"\x15\x03\x03\x00\x02\x02\x28"
    in_threads(fails, [b"\x16\x03\x01\x00\x05hello", hello[:5] + b"\xff" * 200, b"\x80\x2e\x01\x03\x01", alert,
                       hello + alert,
                       b"\x17\x03\x03\x40\x00" + b"x" * 0x4000, b"\x16\x03\x01\xff\xff" + b"x" * 0xffff,
                       b"\x14\x03\x03\x00\x01\x01" * 40,
                       b"\x18\x03\x02\x00\x03\x01\x40\x00", b"\x16\x03\x01\x00\x00" * 200])

    def ended(version):
        c = t.client(gw)
        c.ehlo()
        c.cmd("STARTTLS", 220)
        tls = MemoryTls(c.sock, tls_context(minimum=version, maximum=version), sni="gw.example")
        tls.step(tls.tls.do_handshake)
        with contextlib.suppress(ssl.SSLError):
            tls.tls.unwrap()
        tls.flush()
        with contextlib.suppress(OSError):
            c.sock.sendall(b"EHLO x\r\nMAIL FROM:<evil@client.example>\r\n")
        t.eq(clear_words(rest(c.sock)), b"", f"after the end of {version}")

    in_threads(ended, [TLS12, TLS13])
    for cut in (None, 1):
        c = t.client(gw, cut=cut)
        with contextlib.suppress(OSError):
            c.raw(hello)
        t.eq(c.read_reply().code, 421, "a ClientHello on a plain port")
        t.eq(rest(c.sock), b"", "after it")
        c = t.client(gw, "implicit", greet=False, cut=cut)
        with contextlib.suppress(OSError):
            c.raw(b"EHLO client.example\r\nMAIL FROM:<evil@client.example>\r\n")
        t.eq(clear_words(rest(c.sock)), b"", "clear text on a TLS port")
    t.eq(gw.log_lines("from=evil"), [], "transactions")


def handshake(t, gw, listener="inbound", **options):
    c = t.client(gw, listener, greet=listener != "implicit")
    if listener != "implicit":
        c.ehlo()
        c.cmd("STARTTLS", 220)
    c.handshake(**options)
    return c


@case.register("versions-and-ciphers", "X-7", "R-57", "S-63", "N-10", "N-11", "N-17")
def versions(t):
    """TLS 1.2 and 1.3; no older version, no cipher without forward secrecy, encryption or
    authentication, no compression, no renegotiation."""
    gw, hop = gateway(t)
    old = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    weak = ["aNULL", "eNULL", "AES128-SHA", "AES256-GCM-SHA384", "kRSA", "3DES", "PSK", "RC4", "SRP", "ADH"]
    tried = 0
    for listener in ("inbound", "implicit"):
        for version in old:
            ctx = tls_context(minimum=version, maximum=version)
            ctx.set_ciphers("ALL:@SECLEVEL=0")
            try:
                handshake(t, gw, listener, ctx=ctx)
                raise AssertionError(f"{version} is taken")
            except (ssl.SSLError, ConnectionResetError):
                tried += 1
        for cipher in weak:
            ctx = tls_context(minimum=TLS12, maximum=TLS12)
            try:
                ctx.set_ciphers(f"{cipher}:!kECDHE:@SECLEVEL=0")
            except ssl.SSLError:
                continue    # this OpenSSL has none of them
            if all("ECDHE" in c["name"] for c in ctx.get_ciphers()):
                continue
            try:
                handshake(t, gw, listener, ctx=ctx)
                raise AssertionError(f"{cipher} is taken")
            except (ssl.SSLError, ConnectionResetError):
                tried += 1
        for version in (TLS12, TLS13):
            c = handshake(t, gw, listener, ctx=tls_context(minimum=version, maximum=version))
            t.eq(c.sock.compression(), None, "compression")
            t.check("ECDHE" in c.tls["cipher"] or version == TLS13, c.tls["cipher"])
            if listener == "implicit":
                c.expect(220)
            c.cmd("EHLO client.example", 250)
    t.check(tried >= 8, f"{tried} weak handshakes tried")
    with subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{gw.port('implicit')}", "-tls1_2"],
                          stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as p:
        said = b""
        while b"no renegotiation" not in said and b"handshake failure" not in said:
            data = p.stdout.read1(65536)
            if not data:
                break
            said += data
            if b"\n220 " in said and b"RENEGOTIATING" not in said:
                p.stdin.write(b"R\n")
                p.stdin.flush()
        p.stdin.close()
    t.has(said, b"RENEGOTIATING", "openssl")
    t.check(b"no renegotiation" in said or b"handshake failure" in said, f"openssl: {said[-600:]}")
    # Two listeners, two versions, and the one that was not begun anew.
    t.eq(len(gw.wait_log("tls established", count=5)), 5, "handshakes")


@case.register("tickets-of-another-listener", "X-7")
def tickets(t):
    """A session is taken up again where it was begun, and nowhere else."""
    gw, hop = gateway(t)
    listeners = ("inbound", "relay", "implicit", "strict")

    def finish(c, listener):
        if listener == "implicit":
            c.expect(220)
        c.cmd("EHLO client.example", 250)   # by now a ticket of TLS 1.3 is here
        return c.sock.session

    for version in (TLS12, TLS13):
        for first in ("inbound", "implicit"):
            ctx = tls_context(minimum=version, maximum=version)
            for second in listeners:
                session = finish(handshake(t, gw, first, ctx=ctx, sni="gw.example"), first)
                t.check(session is not None and session.has_ticket, "there is a ticket")
                c = t.client(gw, second, greet=second != "implicit")
                if second != "implicit":
                    c.ehlo()
                    c.cmd("STARTTLS", 220)
                c.sock = ctx.wrap_socket(c.sock, server_hostname="gw.example", session=session)
                t.eq(c.sock.session_reused, second == first, f"{version}: {first} taken up at {second}")
                finish(c, second)


@case.register("other-protocols", "X-8")
def others(t):
    """ALPN for something else ends the handshake, HTTP ends the session; none of the words behind it
    is looked at."""
    gw, hop = gateway(t)
    for listener in ("inbound", "implicit"):
        for names in (["h2"], ["http/1.1"], ["imap"], ["SMTP"], ["smtps", "ftp"], ["smt"], ["smtpx"], ["x" * 255]):
            ctx = tls_context()
            ctx.set_alpn_protocols(names)
            try:
                handshake(t, gw, listener, ctx=ctx)
                raise AssertionError(f"ALPN {names} is taken")
            except ssl.SSLError as e:
                t.has(str(e).lower().replace("_", " "), "no application protocol", f"alert for {names}")
        for names in ([], ["smtp"], ["h2", "smtp"]):
            ctx = tls_context()
            if names:
                ctx.set_alpn_protocols(names)
            c = handshake(t, gw, listener, ctx=ctx)
            t.eq(c.sock.selected_alpn_protocol(), "smtp" if names else None, f"ALPN {names}")
    words = b"Host: gw.example\r\nContent-Type: text/plain\r\n\r\nEHLO evil\r\nMAIL FROM:<evil@client.example>\r\n"
    for method in (b"GET", b"POST", b"post", b"PUT", b"HEAD", b"CONNECT", b"OPTIONS", b"DELETE", b"PATCH", b"PRI",
                   b"TRACE"):
        for before in ([], ["EHLO x"], ["EHLO x", "MAIL FROM:<a@client.example>", "RCPT TO:<b@gw.example>"]):
            for cut in (None, 1):
                c = t.client(gw, cut=cut)
                for line in before:
                    c.cmd(line, 250)
                with contextlib.suppress(OSError):
                    c.raw(method + b" / HTTP/1.1\r\n" + words)
                t.eq(c.read_reply().code, 421, f"{method}")
                t.eq(rest(c.sock), b"", f"after {method}")
                c.close()
    for listener in ("inbound", "implicit"):       # a browser has been led here, and speaks TLS with us
        for method in (b"GET", b"POST", b"CONNECT"):
            c = handshake(t, gw, listener)
            if listener == "implicit":
                c.expect(220)
            with contextlib.suppress(OSError):
                c.raw(method + b" / HTTP/1.1\r\n" + words)
            t.eq(c.read_reply().code, 421, f"{method} inside TLS")
            t.check(c.is_closed(), f"open after {method} inside TLS")
            c.close()
    t.eq(gw.log_lines("from=evil"), [], "transactions")


@case.register("tls-in-pieces", "X-4", "X-28")
def in_pieces(t):
    """A whole session inside TLS with its octets cut in all ways, records of one octet, and the first
    command in one piece with the end of the handshake: nothing is lost, nothing is answered twice."""
    gw, hop = gateway(t)

    def session(options):
        version, cut, record = options
        c = case.Client(gw.port("inbound"))
        c.ehlo()
        c.cmd("STARTTLS", 220)
        p = MemoryTls(c.sock, tls_context(minimum=version, maximum=version), sni="gw.example")
        while True:
            try:
                p.tls.do_handshake()
                break       # what it still has to say goes out with the first command
            except ssl.SSLWantReadError:
                p.flush(cut)
                p.read.write(c.sock.recv(65536))
        heard = b""

        def say(octets, wanted):
            nonlocal heard
            for at in range(0, len(octets), record):
                p.tls.write(octets[at:at + record])
            p.flush(cut)
            got = b""
            while got.count(b"\r\n") < wanted or (got and got[-2:] != b"\r\n"):
                got += p.step(lambda: p.tls.read(65536), cut)
            heard += got
            return got

        lines = say(b"EHLO client.example\r\n", 9)
        t.check(lines.startswith(b"250-") and b"\r\n250 " in lines, f"{lines}")
        t.eq(say(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@gw.example>\r\nDATA\r\n", 3)[-28:],
             b"354 End with CR LF . CR LF\r\n"[-28:], "354")
        t.check(say(BODY + b".\r\n", 1).startswith(b"250 "), "the end")
        t.check(say(b"QUIT\r\n", 1).startswith(b"221 "), "QUIT")
        c.close()

    todo = [(version, cut, record) for version in (TLS12, TLS13) for cut in (None, 1, 7) for record in (1, 1000)]
    in_threads(session, todo)
    hop.wait_messages(len(todo))
    gw.wait_queue_empty()
    t.eq(len(hop.accepted), len(todo), "messages")
    t.eq({m.data.partition(b"Subject")[2] for m in hop.accepted}, {BODY.partition(b"Subject")[2]}, "contents")
    # Cut off without close_notify in the middle of content: nothing was accepted.
    c = t.secure_client(gw)
    c.mail("evil@client.example", code=250)
    c.rcpt("b@gw.example", code=250)
    c.cmd("DATA", 354)
    c.raw(BODY + b".\r")
    socket.socket.close(c.sock)
    gw.wait_log("session ended.*TLS")
    t.eq(gw.log_lines("message accepted.*from=evil"), [], "accepted")


case.main()
