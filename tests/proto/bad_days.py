"""Days on which something is wrong from the start or goes wrong inside: the configuration, the
policy, certificates, the state directory, the database, the disk. Each has a defined outcome that
says what to do, and nothing that was acknowledged is lost."""

import contextlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import time

import case
from case import Gateway, Lua, basic_config
from lab.client import Client

MESSAGE = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: bad day\r\n\r\nbody\r\n"


def prepare(t, over=None, policy=None, name="gw", **options):
    """A gateway with its files written, not started; taken down at the end if a case starts it."""
    gw = Gateway(t.path(name), basic_config(t.certs, over=over, **options), policy=policy, start=False)
    t.gateways.append(gw)
    t.parts.append(lambda: gw.process is not None and gw.stop(check=not t.failed))
    return gw


def refused(t, gw, *parts):
    """Starts it and wants exit status 1 at once, with all of these texts on standard error."""
    done = subprocess.run([gw.daemon, "-c", gw.conf_path], cwd=gw.dir, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=20, check=False)
    t.eq(done.returncode, 1, f"exit status, with {done.stderr!r}")
    for part in parts:
        t.has(done.stderr, part, "standard error")
    return done.stderr


def deliver_one(t, gw, hop, before=0):
    """It works: one more message gets through."""
    case.send(gw.port("inbound"), "a@client.example", "b@gw.example", MESSAGE, tls=False)
    hop.wait_messages(before + 1)


# ---- Start ----

@case.register("every-problem-of-a-configuration", "F-11")
def every_problem(t):
    """Each wrong setting is named with its path, all at once; nothing is bound."""
    gw = prepare(t, over={
        "identity": {"hostname": "not a name"},
        "listeners": {"inbound": {"tls": "nobody", "max_size": "9 bananas", "roll": "mx"}},
        "routes": {"inside": {"via": [], "tls": "strong"}},
        "domains": [{"match": ["gw.example"], "kind": "local", "route": "nowhere"}],
        "queue": {"retry": ["1 parsec"]},
        "limits": {"errors": -3},
        "log": {"level": "loud"},
    })
    text = refused(t, gw)
    for path in ("identity.hostname", "listeners.inbound.tls", "listeners.inbound.max_size",
                 "listeners.inbound.roll", "routes.inside.tls", "domains", "queue.retry",
                 "limits.errors", "log.level"):
        t.check([x for x in text.splitlines() if path in x], f"{path} is not named in\n{text}")
    t.has(text, "role", "what may have been meant by roll")
    t.eq(gw.run("config", "check").returncode, 1, "config check says the same")
    gw.config = "return gw.config {\n  identity = { hostname = \"gw.example\" ,\n"
    gw.write()
    refused(t, gw, "gateway.lua:3")
    gw.config = "return gw.config {\n\n  identity = { hostname = oops } }\n"
    gw.write()
    refused(t, gw, "gateway.lua:3", "oops")
    os.unlink(gw.conf_path)
    refused(t, gw, "gateway.lua", "No such file")


@case.register("policy-that-fails-at-load", "X-63")
def policy_at_load(t):
    """The daemon does not start, and file and line are named."""
    for policy, where in (('local x = 1\n\nerror("no table of partners")\n', ("policy.lua:3", "no table of partners")),
                          ("gw.on(\n", ("policy.lua:",)),
                          ('\ngw.on("massage", function() end, { name = "x.y" })\n', ("policy.lua:2", "message")),
                          ('gw.on("mail", nobody, { name = "x.y" })\n', ("policy.lua:1",)),
                          ("while true do end\n", ("policy.lua:", "instructions"))):
        gw = prepare(t, policy=policy)
        refused(t, gw, *where)
        done = gw.run("policy", "check")
        t.eq(done.returncode, 1, f"policy check of {policy!r}")
        t.has(done.stderr, where[0], "policy check")
        shutil.rmtree(gw.dir)


@case.register("wrong-certificates", "F-21", "X-69")
def wrong_certificates(t):
    """No key, another certificate's key, no certificate: refused by file name, before any mail."""
    ident, other = t.certs.issue("gw.example"), t.certs.issue("other.example")
    garbage = t.path("garbage.pem")
    with open(garbage, "w", encoding="ascii") as f:
        f.write("-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n")
    for cert, key, parts in ((ident.cert, t.path("none.key"), ("none.key",)),
                             (ident.cert, other.key, (other.key, "does not belong")),
                             (t.path("none.pem"), ident.key, ("none.pem",)),
                             (garbage, ident.key, ("garbage.pem",))):
        gw = prepare(t, over={"tls": {"identities": {"gw": {
            "cert": cert, "key": Lua(f'gw.secret "file:{key}"')}}}})
        refused(t, gw, *parts)
        shutil.rmtree(gw.dir)


@case.register("port-in-use", "X-73")
def port_in_use(t):
    """Another program has the port, or another sallyport with several workers: refused by address."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        port = s.getsockname()[1]
        refused(t, prepare(t, port=port), "listeners.inbound", "127.0.0.1", str(port), "in use")
        refused(t, prepare(t, name="http", over={"service": {"http": f"127.0.0.1:{port}"}}),
                "service.http", str(port))
    first = prepare(t, name="first", over={"service": {"workers": 2}}).start()
    second = prepare(t, name="second", port=first.port("inbound"), over={"service": {"workers": 2}})
    refused(t, second, "listeners.inbound", "in use")
    Client(first.port("inbound")).quit()


@contextlib.contextmanager
def mounted(t, path, options):
    """A file system of its own there; a skip where one may not be mounted."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True,
                          text=True, check=False) if os.geteuid() == 0 else None
    if done is None or done.returncode != 0:
        t.skip("mounting a file system needs root" if done is None else done.stderr.strip())
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], capture_output=True, check=False)


@case.register("state-others-may-enter", "X-66")
def state_open_to_others(t):
    """A state directory or database that others may read or write: refused, chmod named."""
    gw = prepare(t)
    state, db = os.path.join(gw.dir, "state"), os.path.join(gw.dir, "state", "queue.db")
    for mode in (0o770, 0o702, 0o750):
        os.chmod(state, mode)
        refused(t, gw, "state", f"{mode:03o}", "chmod 700")
    os.chmod(state, 0o700)
    gw.start()
    gw.stop()
    os.chmod(db, 0o660)
    refused(t, gw, "queue.db", "660", "chmod 600")
    os.chmod(db, 0o600)
    os.rename(db, db + ".real")
    os.symlink(db + ".real", db)
    refused(t, gw, "queue.db", "symbolic links")


@case.register("state-read-only", "F-11")
def state_read_only(t):
    """A state directory that cannot be written: refused, with its name."""
    gw = prepare(t)
    state = os.path.join(gw.dir, "state")
    if os.geteuid() == 0:
        with mounted(t, state, "ro,mode=0700,size=1m"):
            refused(t, gw, state)
    else:
        os.chmod(state, 0o500)
        refused(t, gw, state)
        os.chmod(state, 0o700)


@case.register("second-daemon-on-one-queue", "X-66")
def second_daemon(t):
    """Refused with the number of the first, which goes on undisturbed."""
    hop = t.nexthop()
    first = t.gateway(hop_port=hop.port)
    second = prepare(t, name="second", over={"service": {"state": os.path.join(first.dir, "state")},
                                             "queue": {"path": os.path.join(first.dir, "state", "queue.db")}})
    refused(t, second, "queue.db", f"in use by process {first.process.pid}")
    deliver_one(t, first, hop)
    # the same file once more: it fails at the port, and the control socket stays the first one's
    refused(t, first, "in use")
    t.eq(first.run("status").returncode, 0, "status of the first")
    deliver_one(t, first, hop, 1)


# ---- Database ----

def edit(path, *statements):
    db = sqlite3.connect(path)
    for text in statements:
        db.execute(text)
    db.commit()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def size_of_pages(path):
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(18)[16:], "big")
    return 65536 if size == 1 else size


@case.register("database-that-is-none", "F-11", "F-22")
def database_is_none(t):
    """A newer version, something else, nothing where a log says that there was mail: each is
    refused by name, and the file is left as it was."""
    gw = prepare(t)
    db = os.path.join(gw.dir, "state", "queue.db")
    gw.start()
    gw.stop()
    with open(db, "rb") as f:
        ours = int.from_bytes(f.read(64)[60:], "big")
    edit(db, "PRAGMA user_version = 999")
    refused(t, gw, "queue.db", "newer", "999")
    edit(db, f"PRAGMA user_version = {ours}")
    gw.start()
    gw.stop()
    with open(db, "rb") as f:
        good = f.read()
    for content, part in ((b"this is not a database\n" * 1000, "not a database"), (b"", "empty")):
        with open(db, "wb") as f:
            f.write(content)
        refused(t, gw, "queue.db", part)
        with open(db, "rb") as f:
            t.eq(f.read(), content, "the file after the refusal")
    os.unlink(db)
    edit(db, "CREATE TABLE addresses (name TEXT)")
    os.chmod(db, 0o600)
    refused(t, gw, "queue.db", "not a queue")
    os.unlink(db)
    with open(db + "-wal", "wb") as f:
        f.write(b"x" * 5000)
    os.chmod(db + "-wal", 0o600)
    refused(t, gw, "queue.db", "missing", "queue.db-wal")
    os.unlink(db + "-wal")
    with open(db, "wb") as f:
        f.write(good)
    os.chmod(db, 0o600)
    gw.start()


@case.register("damaged-page", "F-6", "F-11", "I1")
def damaged_page(t):
    """After a crash a damaged database is refused. After a clean stop the damaged message waits and
    the log says so; the others are delivered; nothing is delivered damaged."""
    hop = t.nexthop(replies={"MAIL": "451 4.3.0 later"})
    gw = t.gateway(hop_port=hop.port)
    db = os.path.join(gw.dir, "state", "queue.db")
    for i in range(5):
        case.send(gw.port("inbound"), "a@client.example", "b@gw.example",
                  b"Subject: %d\r\n\r\n" % i + b"%d-filler\r\n" % i * 6000, tls=False)
    gw.stop()
    at = -1
    with open(db, "rb") as f:
        data = f.read()
    page = size_of_pages(db)
    at = data.index(b"2-filler\r\n" * 100) // page + 2      # an overflow page inside that content
    with open(db, "r+b") as f:
        f.seek(at * page)
        f.write(b"\xde\xad\xbe\xef" * (page // 4))
    shutil.copytree(os.path.join(gw.dir, "state"), os.path.join(gw.dir, "copy"))
    hop.replies.clear()
    gw.start()
    hop.wait_messages(4)
    gw.wait_log(r" error .*(damaged|malformed|content)")
    time.sleep(1.5)
    t.eq(sorted(m.header("Subject") for m in hop.accepted), ["0", "1", "3", "4"], "delivered")
    waiting = gw.queue()
    t.eq(len(waiting), 1, "waiting")
    gw.kill()
    refused(t, gw, "queue.db", "damaged")


@case.register("queue-file-taken-away", "F-12", "Q6")
def queue_file_taken_away(t):
    """The file goes while the daemon runs: 451 or 421 and no new empty queue; put back, all goes on."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port)
    db = os.path.join(gw.dir, "state", "queue.db")
    deliver_one(t, gw, hop)
    c = t.client(gw)
    c.ehlo()
    os.rename(db, db + ".away")
    c.mail("a@client.example")
    c.rcpt("b@gw.example")
    try:
        t.eq(c.data(MESSAGE).code // 10, 45, "reply to the message")
    except case.Unexpected as e:
        t.has(str(e), "got 421", "reply")
    gw.wait_log("error queue stopped")
    c = t.client(gw, greet=False)
    t.eq(c.read_reply().code, 421, "greeting")
    t.check(not os.path.exists(db), "a new database was made")
    os.rename(db + ".away", db)
    gw.wait_log("queue works again")
    deliver_one(t, gw, hop, 1)
    gw.wait_queue_empty()
    t.eq(len(hop.accepted), 2, "messages")


# ---- Full disk ----

LINE = b"0123456789abcdef\r\n"


def fill(t, c, name):
    """Sends until five in a row are refused; the subjects of those that were taken."""
    acked, refusals = [], 0
    for i in range(400):
        reply = c.mail("a@client.example")
        if reply.code == 250:
            c.rcpt("b@gw.example", code=250)
            size = 200_000 if i % 2 else 400_000
            reply = c.data(f"Subject: {name}-{i}\r\n\r\n".encode() + LINE * (size // len(LINE)))
        if reply.code == 250:
            acked.append(f"{name}-{i}")
            refusals = 0
            continue
        t.check(reply.code == 452 and reply.status == "4.3.1", f"refused with {reply}")
        refusals += 1
        if refusals == 5:
            break
    c.cmd("NOOP", 250)
    t.check(refusals == 5 and len(acked) > 5, f"{len(acked)} taken, {refusals} refused")
    return acked


def make_way(t, gw, hop, c, acked):
    """The next hop is back: everything leaves, and mail is taken again."""
    hop.replies.clear()
    t.eq(gw.run("queue", "retry", "--to", "*", "--reason", "next hop is back").returncode, 0, "retry")
    hop.wait_messages(len(acked), 30)
    gw.wait_for(lambda: c.mail("a@client.example").code == 250 and c.cmd("RSET"), 10, "mail is taken again")


@case.register("full-disk", "F-5", "X-72", "I1")
def full_disk(t):
    """452 at MAIL or after the dot, no crash; deliveries go on, and with the space mail comes in
    again. Everything acknowledged arrives once."""
    hop = t.nexthop(replies={"MAIL": "451 4.3.0 later"})
    gw = prepare(t, hop_port=hop.port, over={"queue": {"min_free": 0}})
    with mounted(t, os.path.join(gw.dir, "state"), "mode=0700,size=12m"):
        gw.start()
        c = t.client(gw)
        c.ehlo()
        acked = fill(t, c, "first")
        t.eq(gw.run("status").returncode, 0, "status")
        for name in ("second", "third"):    # again: what was freed is really free
            make_way(t, gw, hop, c, acked)
            c.send_message("a@client.example", "b@gw.example", f"Subject: {name}\r\n\r\nx\r\n".encode())
            acked.append(name)
            reply = c.send_message("a@client.example", "b@gw.example", b"Subject: no\r\n\r\n" + LINE * 500_000,
                                   code=None)
            t.check(reply.code == 452 and reply.status == "4.3.1", f"more than there is room for: {reply}")
            hop.replies["MAIL"] = "451 4.3.0 later"
            acked += fill(t, c, name)
        make_way(t, gw, hop, c, acked)
        gw.wait_queue_empty()
        t.eq(sorted(m.header("Subject") for m in hop.accepted), sorted(acked), "messages")
        t.check(gw.log_lines("error|warn"), "nothing in the log")
        gw.stop()


# ---- Policies that raise ----

HOOKS = ("connect", "helo", "tls", "mail", "rcpt", "data", "message", "route", "disconnect")
RAISES = "\n".join(f'''gw.on("{hook}", function({args})
  if {who}.peer.ip == "127.0.1.{i}" then error("cannot decide {hook}") end
end, {{ name = "raises.{hook}" }})''' for i, (hook, args, who) in enumerate((
    (h, "message, rcpt" if h == "route" else "session", "message.session" if h == "route" else "session")
    for h in HOOKS), 1))


def conversation(t, gw, source):
    """The stages of a session from this address, up to the first reply that is not 2yz or 3yz."""
    c = t.client(gw, source=source, greet=False)
    for stage, line in (("connect", None), ("helo", "EHLO client.example"), ("tls", "STARTTLS"),
                        ("helo", "EHLO client.example"), ("mail", "MAIL FROM:<a@client.example>"),
                        ("rcpt", "RCPT TO:<b@gw.example>"), ("data", "DATA"), ("message", None)):
        if stage == "message":
            c.raw(MESSAGE + b".\r\n")
        elif line is not None:
            c.raw(line.encode() + b"\r\n")
        try:
            reply = c.read_reply()
        except EOFError:
            return stage, None, c
        if stage == "tls" and reply.code == 220:
            c.handshake()
        elif reply.code >= 400:
            return stage, reply, c
    return "end", reply, c


@case.register("policy-that-raises-at-reception", "X-63", "F-17", "I5")
def raises_at_reception(t):
    """451 (connect and TLS: 421) with a reference, and the log has it with hook, file and line."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, policy=RAISES)
    for i, hook in enumerate(HOOKS, 1):
        stage, reply, c = conversation(t, gw, f"127.0.1.{i}")
        if hook == "disconnect":
            t.eq((stage, reply.code), ("end", 250), "session whose disconnect hook fails")
            c.quit()
            gw.wait_log('policy failed hook=disconnect .*policy.lua:')
            continue
        if hook == "tls":       # the reply follows the handshake
            reply = reply or c.read_reply()
        t.eq(reply.code, 421 if hook in ("connect", "tls") else 451, f"reply at {hook}")
        t.eq(reply.status, "4.3.0", f"status at {hook}")
        found = re.search(r"Local policy error \[([0-9A-Z]{4})\]", reply.text)
        t.check(found, f"no reference in {reply}")
        t.lacks(reply.text, "cannot decide", "words for the operator only")
        line = gw.wait_log(rf"policy failed hook={hook} handler=raises.{hook} .*ref={found.group(1)}")[0]
        t.has(line, f"cannot decide {hook}", "log")
        t.check(re.search(r"policy\.lua:\d+", line), f"no line in {line}")
        if hook in ("connect", "tls"):
            t.check(c.is_closed(), f"not closed after {hook}")
    hop.wait_messages(1)
    time.sleep(0.3)
    t.eq(len(hop.messages), 1, "messages (that of the disconnect hook only)")
    gw.wait_queue_empty()
    c = t.client(gw)
    c.ehlo()
    c.send_message("a@client.example", "b@gw.example", MESSAGE)


@case.register("policy-that-raises-at-delivery", "X-63", "F-17", "I5")
def raises_at_delivery(t):
    """tls_policy, attempt, ehlo and a second route: the message waits, nothing is sent; with a
    better policy it goes."""
    policy = """
gw.on("message", function(session, message) message.vars.which = message:subject() end, { name = "note.which" })
gw.on("tls_policy", function(domain, route) if route.name == "tls_policy" then error("no list") end end,
  { name = "raises.tls_policy" })
gw.on("attempt", function(message) if message.vars.which == "attempt" then error("no data") end end,
  { name = "raises.attempt" })
gw.on("ehlo", function(message) if message.vars.which == "ehlo" then error("no map") end end,
  { name = "raises.ehlo" })
"""
    names = ("tls_policy", "attempt", "ehlo")
    hops = {n: t.nexthop() for n in names}
    gw = t.gateway(policy=policy, over={
        "routes": {n: {"via": [f"127.0.0.1:{hops[n].port}"], "tls": "may"} for n in names},
        "domains": [{"match": [n.replace("_", "-") + ".example"], "kind": "local", "route": n} for n in names]})
    c = t.client(gw)
    c.ehlo()
    for n in names:
        c.send_message("a@client.example", f"b@{n.replace('_', '-')}.example", f"Subject: {n}\r\n\r\nx\r\n".encode())
    for n in names:
        line = gw.wait_log(f"policy failed hook={n} handler=raises.{n} .*policy.lua:")[0]
        t.has(line, "ref=", "log")
        gw.wait_log(f"message deferred .*@{n.replace('_', '-')}.example")
    t.eq([n for n in names if hops[n].commands("MAIL")], [], "hops that saw MAIL")
    waiting = gw.queue()
    t.eq(len(waiting), 3, "waiting")
    for m in waiting:
        t.eq(m["recipients"][0]["last"]["status"], "4.3.0", f"status of {m}")
    gw.policy = "-- nothing decides\n"
    gw.write()
    gw.reload()
    gw.wait_log("configuration active")
    t.eq(gw.run("queue", "retry", "--to", "*", "--reason", "policy repaired").returncode, 0, "retry")
    for n in names:
        hops[n].wait_messages(1)
    gw.wait_queue_empty()
    t.eq([len(hops[n].messages) for n in names], [1, 1, 1], "messages")


@case.register("log-that-cannot-be-written", "F-19", "X-72")
def log_disk_full(t):
    """The log's disk is full: mail goes on."""
    if not os.path.exists("/dev/full"):
        t.skip("there is no /dev/full")
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, over={"log": {"file": "/dev/full"}})
    for i in range(5):
        deliver_one(t, gw, hop, i)
    gw.wait_queue_empty()


case.main()
