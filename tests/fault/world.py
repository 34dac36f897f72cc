"""What goes wrong around the daemon: the clock jumps, it is stopped for a while, the log cannot be written,
certificates run out or cannot be read at a reload, signals come in every state of a session.

Mail goes on, or waits and says so; TLS is never withdrawn; nothing hangs.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "proto"))

import case                                                         # noqa: E402
from case import Gateway, basic_config                              # noqa: E402
from lab.client import tls_context                                  # noqa: E402
from shim import Shim                                               # noqa: E402

LATER = {"MAIL": "451 4.3.0 later"}
MESSAGE = b"From: a@gw.example\r\nSubject: world\r\n\r\nbody\r\n"


def named(name):
    return MESSAGE.replace(b"world", name.encode())


def put(gw, *names):
    for name in names:
        case.send(gw.port("inbound"), "a@gw.example", "b@gw.example", named(name), tls=False)


def prepare(t, hop, over=None, name="gw", **options):
    over = case.merge({"queue": {"retry": ["1s"], "min_free": 0}, "log": {"level": "info"}}, over or {})
    gw = Gateway(t.path(name), basic_config(t.certs, hop_port=hop.port, over=over), start=False, **options)
    t.gateways.append(gw)
    t.parts.append(lambda: gw.process is not None and gw.stop(check=not t.failed))
    return gw


# ---- Clocks ----

@case.register("clock-that-jumps", "F-18", "X-75")
def clock(t):
    """Back an hour: retries go on as before, nothing waits an hour. A day forward: no storm. Back while the
    daemon is down: the same. Sessions and new mail do not notice."""
    hop = t.nexthop(replies=dict(LATER))
    shim = Shim(t.path("shim"))
    # a retry that must come soon, and mail that must not come before its time
    gw = prepare(t, hop, {"queue": {"retry": ["2s"]}}, env=shim.env()).start()
    put(gw, "soon")
    gw.wait_log("message deferred")
    c = t.client(gw)
    c.ehlo()

    def tried(n):
        return len(hop.commands("MAIL")) >= n

    shim.jump(-3600)
    gw.wait_log("clock has jumped.*ms=-3")
    n = len(hop.commands("MAIL"))
    t.check(hop.wait(lambda: tried(n + 2), 20), f"no retry after the clock went back\n{gw.log_tail()}")
    c.cmd("NOOP", 250)

    gw.stop()
    gw.config["queue"]["retry"] = ["1h"]
    gw.write()
    before = len(gw.log_lines("message deferred"))
    gw.start()
    put(gw, *[f"m{i}" for i in range(10)])
    gw.wait_log("message deferred", count=before + 11)
    t.eq(len(gw.log_lines("clock has jumped")), 1, "jumps that were seen, with one restart since")
    n = len(hop.commands("MAIL"))
    shim.jump(86400 - 3600)
    gw.wait_log("clock has jumped.*ms=8")
    put(gw, "last")     # tried once, like everything that is new
    t.check(hop.wait(lambda: tried(n + 1), 20), "new mail was not tried")
    gw.wait_log("message deferred.*attempts=1 ", count=12)
    gw.wait_log("message deferred", count=before + 12)
    t.eq(len(hop.commands("MAIL")), n + 1, "attempts of mail that is due in an hour, a day later")

    gw.stop()
    gw.config["queue"]["retry"] = ["1s"]
    gw.write()
    shim.jump(0)
    hop.replies.clear()
    gw.start()
    gw.wait_log("clock has jumped", count=3)        # back again, found at the start
    gw.run("queue", "retry", "--to", "*", "--reason", "next hop is back")
    hop.wait_messages(12)
    gw.wait_queue_empty()
    ids = [x.split("message=")[1].split()[0] for x in gw.log_lines("message accepted")]
    put(gw, "after")    # its number is newer, though the clock is a day behind
    hop.wait_messages(13)
    gw.wait_log("message accepted", count=len(ids) + 1)     # its line comes from another thread
    last = gw.log_lines("message accepted")[-1].split("message=")[1].split()[0]
    t.check(last > max(ids), f"number {last} after {max(ids)}")


@case.register("stopped-for-a-while", "F-20", "X-75")
def stopped(t):
    """SIGSTOP, time passes, SIGCONT: sessions that are due end with 421, others and mail go on, once."""
    hop = t.nexthop(replies={"MAIL": ["451 4.3.0 later"]})
    gw = prepare(t, hop, {"limits": {"command": "2s"}}).start()
    put(gw, "waits")
    gw.wait_log("message deferred")
    idle = t.client(gw)
    idle.ehlo()
    half = t.client(gw)
    half.ehlo()
    half.raw(b"MAIL FROM:<a@gw.exa")
    gw.process.send_signal(signal.SIGSTOP)
    time.sleep(4)       # the subject of this case, twice the time that a session may take
    gw.process.send_signal(signal.SIGCONT)
    for c in (idle, half):
        t.eq(c.read_reply().code, 421, "what the session is told")
        t.check(c.is_closed(), "not closed")
    put(gw, "new")
    hop.wait_messages(2)
    gw.wait_queue_empty()
    t.eq(sorted(m.header("Subject") for m in hop.accepted), ["new", "waits"], "delivered")


@case.register("certificates-by-the-wall-clock", "F-18", "X-75")
def certificates_in_time(t):
    """The next hop's certificate has run out when the clock says so, at the next connection and also where the TLS
    session is taken up again, and is good again when that was wrong."""
    hop = t.nexthop(cert=t.certs.issue("in.example"), requiretls=True)
    shim = Shim(t.path("shim"))
    gw = prepare(t, hop, {"routes": {"inside": {"tls": "verify", "names": ["in.example"]}}, "delivery": {"idle": "0s"}},
                 env=shim.env()).start()
    put(gw, "one")
    hop.wait_messages(1)
    shim.jump(3 * 365 * 86400)
    put(gw, "two")
    t.has(gw.wait_log("message deferred .*attempts=1 ")[0], "reason=unverified", "why it waits")
    t.eq(len(hop.accepted), 1, "messages")
    shim.jump(0)
    gw.run("queue", "retry", "--to", "*", "--reason", "the clock is right")
    hop.wait_messages(2)
    gw.wait_queue_empty()


# ---- Logs ----

@case.register("standard-error-closed", "F-19")
def closed_stderr(t):
    """Started without descriptors 0 to 2: no log line gets into the queue or to a client."""
    hop = t.nexthop()
    gw = prepare(t, hop, {"log": {"level": "debug"}}, wrap=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]).start()
    for fd in (0, 1, 2):
        t.eq(os.readlink(f"/proc/{gw.process.pid}/fd/{fd}"), "/dev/null", f"descriptor {fd}")
    c = t.client(gw)
    c.ehlo()
    c.send_message("a@gw.example", "b@gw.example", named("quiet"))
    c.quit()
    t.lacks("\n".join(c.transcript), " info ", "what the client saw")
    hop.wait_messages(1)
    gw.wait_queue_empty()
    gw.stop()
    with open(os.path.join(gw.dir, "state", "queue.db"), "rb") as f:
        t.lacks(f.read(), b" info message accepted", "the database")


@case.register("log-that-nobody-reads", "F-19", "X-72")
def blocked_log(t):
    """The log is a pipe whose reader has stopped: mail goes on, a reload and the end too."""
    hop = t.nexthop()
    fifo = t.path("log.fifo")
    os.mkfifo(fifo, 0o600)
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)       # a reader that does not read
    try:
        gw = prepare(t, hop, {"log": {"level": "debug", "file": fifo}}).start()
        c = t.client(gw)
        c.ehlo()
        for i in range(150):        # some 200 KiB of lines, three times what a pipe holds
            c.send_message("a@gw.example", "b@gw.example", named(f"n{i}"))
        hop.wait_messages(150, 60)
        gw.wait_queue_empty(60)
        gw.reload()
        put(gw, "after")
        hop.wait_messages(151)
        gw.stop(timeout=20)
    finally:
        os.close(fd)


# ---- Certificates ----

@case.register("bad-certificate-at-a-reload", "F-21", "X-69")
def certificates(t):
    """A key that cannot be read, one of another certificate, a certificate that has run out: the running one
    stays, said loudly, and STARTTLS is offered all the time."""
    hop = t.nexthop()
    good, other, old = t.certs.issue("gw.example"), t.certs.issue("other.example"), t.certs.issue("gw.example", kind="expired")
    cert, key = t.path("live.pem"), t.path("live.key")

    def install(c, k):
        shutil.copyfile(c, cert)
        shutil.copyfile(k, key)
        os.chmod(key, 0o600)

    install(good.cert, good.key)
    gw = prepare(t, hop, {"tls": {"identities": {"gw": {"cert": cert, "key": case.Lua(f'gw.secret "file:{key}"')}}}})
    gw.start()
    fine = tls_context(ca=t.certs.ca)

    def still_good(what):
        for listener in ("inbound", "relay"):
            c = t.client(gw, listener)
            t.has(c.ehlo(), "STARTTLS", f"{listener} {what}")
            c.starttls(ctx=fine, sni="gw.example")
            t.has(c.ehlo(), "REQUIRETLS", f"{listener} {what}")
            c.quit()

    still_good("at first")
    for n, (what, change) in enumerate((
            ("with the key of another", lambda: install(good.cert, other.key)),
            ("without its key", lambda: os.unlink(key)),
            ("with an empty key", lambda: install(good.cert, "/dev/null")),
            ("with garbage", lambda: install("/dev/null", good.key)),
            ("with one that has run out", lambda: install(old.cert, old.key))), 1):
        change()
        gw.reload()
        gw.wait_log("error reload refused", count=n)
        still_good(what)
    t.check(gw.log_lines("error certificate has expired"), "no alarm")
    install(good.cert, good.key)
    gw.reload()
    gw.wait_log("configuration active")
    still_good("after all")
    # Run out already when it starts: TLS with it is better than none, and changes get through.
    gw.stop()
    install(old.cert, old.key)
    gw.start()
    gw.reload()
    gw.wait_log("configuration active", count=2)
    c = t.secure_client(gw)
    c.send_message("a@gw.example", "b@gw.example", named("expired"))
    hop.wait_messages(1)


# ---- Signals ----

STATES = ("connect", "ehlo", "tls", "mail", "rcpt", "data", "body", "bdat", "half")


def bring(t, gw, state):
    """A client that has come so far."""
    c = t.client(gw)
    if state == "connect":
        return c
    c.ehlo()
    if state == "tls":
        c.starttls(sni="gw.example")
        c.ehlo()
    if state in ("ehlo", "tls"):
        return c
    if state == "half":
        c.raw(b"MAIL FROM:<a@gw.exam")
        return c
    c.mail("a@gw.example", code=250)
    if state == "mail":
        return c
    c.rcpt("b@gw.example", code=250)
    if state == "bdat":
        c.raw(b"BDAT 1000 LAST\r\n" + named("bdat")[:20])
    elif state in ("data", "body"):
        c.cmd("DATA", 354)
        if state == "body":
            c.raw(b"Subject: body\r\n\r\nhalf a li")
    return c


def finish(c, state):
    """The rest of a message from there; the final reply."""
    if state == "connect":
        c.ehlo()
    if state in ("connect", "ehlo", "tls"):
        c.mail("a@gw.example", code=250)
    if state == "half":
        c.raw(b"ple>\r\n")
        c.expect(250)
    if state in ("connect", "ehlo", "tls", "mail", "half"):
        c.rcpt("b@gw.example", code=250)
    if state == "bdat":
        c.raw((named("bdat") + b"x" * 1000)[20:1000])
    elif state == "body":
        c.raw(b"ne\r\n.\r\n")
    elif state == "data":
        c.raw(named(state) + b".\r\n")
    else:
        return c.data(named(state))
    return c.read_reply()


@case.register("signals-in-every-state", "X-74")
def signals(t):
    """HUP, USR1 and PIPE in any state: the session goes on and its message is taken. TERM: what is complete
    is committed, the others hear 421, and the end is soon and clean; nothing that had its 250 is lost."""
    hop = t.nexthop()
    gw = prepare(t, hop, {"limits": {"shutdown": "3s"}}).start()
    clients = {s: bring(t, gw, s) for s in STATES}
    for n, s in enumerate((signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE, signal.SIGHUP)):
        gw.process.send_signal(s)
        if s == signal.SIGHUP:
            gw.wait_log("configuration active", count=1 + (n > 0))
    for s, c in clients.items():
        t.eq(finish(c, s).code, 250, f"the message of the session in state {s}")
    hop.wait_messages(len(STATES))
    gw.wait_queue_empty()

    hop.replies.update(LATER)
    clients = {s: bring(t, gw, s) for s in STATES}
    # one whose last dot and TERM come at the same moment
    racing, said = t.client(gw), []
    racing.ehlo()
    racing.mail("a@gw.example", code=250)
    racing.rcpt("b@gw.example", code=250)
    racing.cmd("DATA", 354)

    def race():
        racing.raw(named("racing") + b".\r\n")
        try:
            said.append(racing.read_reply().code)
        except (EOFError, OSError):
            said.append(0)

    thread = threading.Thread(target=race)
    thread.start()
    process = gw.process
    process.send_signal(signal.SIGTERM)
    for s, c in clients.items():
        try:
            t.eq(c.read_reply().code, 421, f"reply in state {s}")
        except EOFError:
            raise AssertionError(f"closed without a word in state {s}") from None
    thread.join(20)
    gw.process = None
    try:
        t.eq(process.wait(20), 0, "exit status")
    except subprocess.TimeoutExpired:
        gw.process = process
        raise AssertionError("does not end") from None
    t.check(said and said[0] in (250, 421, 451, 0), f"the racing message got {said}")
    hop.replies.clear()
    n = len(hop.accepted)
    gw.start()
    gw.run("queue", "retry", "--to", "*", "--reason", "next hop is back")
    gw.wait_queue_empty()
    if said[0] == 250:
        hop.wait_messages(n + 1)
    t.eq(len(hop.accepted) - n, 1 if said[0] == 250 else 0, f"messages after the restart, with {said}")


case.main()
