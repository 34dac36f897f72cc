"""What is left of the machine for the daemon, and for others of the daemon: privileges, system calls,
files, secrets. (What happens on an attempt to break out is tests/unit/test_confine.c.)"""

import glob
import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile

import case
from case import Lua
from lab.gateway import Gateway, basic_config, find_program

MESSAGE = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: x\r\n\r\nbody\r\n"
NOBODY = "nobody"


def sanitized():
    return "__asan" in subprocess.run(["nm", "-D", find_program("sallyportd")], capture_output=True,
                                      text=True, check=False).stdout


def proc_status(pid, task=None):
    path = f"/proc/{pid}/task/{task}/status" if task else f"/proc/{pid}/status"
    with open(path, encoding="ascii", errors="replace") as f:
        return {k: v.strip() for k, _, v in (line.partition(":") for line in f)}


def tasks(gw):
    pid = gw.process.pid
    return [proc_status(pid, task) for task in os.listdir(f"/proc/{pid}/task")]


def open_way(t, path):
    """Lets other users walk to this directory; SKIP where that cannot be."""
    os.chmod(path, 0o711)
    os.chmod(os.path.dirname(path), 0o711)
    if subprocess.run(["test", "-x", path], user=NOBODY, check=False).returncode != 0:
        t.skip(f"{path} is out of reach for other users")


def as_nobody(t, hop, over=None, **options):
    if os.geteuid() != 0:
        t.skip("only root can become another user")
    open_way(t, t.dir)
    gw = t.gateway(hop_port=hop.port, over=case.merge({"service": {"user": NOBODY}}, over or {}), **options)
    return gw


@case.register("privileges-are-gone", "X-67", "X-69")
def privileges_gone(t):
    """Started by root with service.user: every thread has that user's ids alone, no capability in any set,
    no new privileges, no core dumps, and nothing of it can be read by another process of that user; mail
    is taken, spooled and delivered."""
    hop = t.nexthop()
    gw = as_nobody(t, hop)
    uid, gid = str(pwd.getpwnam(NOBODY).pw_uid), str(pwd.getpwnam(NOBODY).pw_gid)
    for s in tasks(gw):
        t.eq(s["Uid"].split(), [uid] * 4, f"ids of {s['Name']}")
        t.eq(s["Gid"].split(), [gid] * 4, f"group ids of {s['Name']}")
        t.eq(s["Groups"], "", f"supplementary groups of {s['Name']}")
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            t.eq(int(s[kind], 16), 0, f"{kind} of {s['Name']}")
        t.eq(s["NoNewPrivs"], "1", f"NoNewPrivs of {s['Name']}")
    pid = gw.process.pid
    with open(f"/proc/{pid}/limits", encoding="ascii") as f:
        t.has(re.sub(" +", " ", f.read()), "Max core file size 0 0", "limits")
    if not sanitized():
        t.eq(os.stat(f"/proc/{pid}/environ").st_uid, 0, "owner of what a core would show")
        for name in ("environ", "mem", "maps"):
            done = subprocess.run(["cat", f"/proc/{pid}/{name}"], user=NOBODY, capture_output=True, check=False)
            t.check(done.returncode != 0 and done.stdout == b"", f"another process reads {name}")
    t.eq(gw.json("status")["confinement"]["user"], NOBODY, "status")
    c = t.secure_client(gw)
    c.send_message("a@client.example", "b@gw.example", MESSAGE)
    c.send_message("a@client.example", "b@gw.example", MESSAGE + b"x" * 900 + (b"\r\n" + b"y" * 900) * 500)
    hop.wait_messages(2)
    for name in ("state", "run"):
        st = os.stat(os.path.join(gw.dir, name))
        t.eq((str(st.st_uid), stat.S_IMODE(st.st_mode)), (uid, 0o700), name)


@case.register("user-that-is-not-there", "X-67")
def no_such_user(t):
    """A user that does not exist, or one that cannot be become: no start, and words for it."""
    config = basic_config(t.certs, over={"service": {"user": "no-such-user-here"}})
    gw = Gateway(t.path("gw"), config, start=False)
    try:
        gw.start()
    except AssertionError as e:
        t.has(str(e), 'there is no user "no-such-user-here"', "the log")
    else:
        gw.stop()
        t.check(False, "it started")


@case.register("calls-and-files-are-confined", "X-68")
def confined(t):
    """Every thread is under the filter; log and status say what is in force; off and log are what they say."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port)
    said = gw.json("status")["confinement"]
    line = gw.log_lines(" confined ")[0]
    for kind in ("files", "calls"):
        t.has(line, f"{kind}={said[kind]}" if " " not in said[kind] else f'{kind}="{said[kind]}"', "the log")
    modes = {s["Name"]: s["Seccomp"] for s in tasks(gw)}
    t.check(said["calls"] == "seccomp" or said["calls"].startswith("none"), f"calls: {said['calls']}")
    want = "2" if said["calls"] == "seccomp" else "0"
    t.eq(set(modes.values()), {want}, f"filters: {modes}")
    t.check(said["files"].startswith(("Landlock", "none")), f"files: {said['files']}")
    for s in tasks(gw):
        t.eq(s["NoNewPrivs"], "1", s["Name"])
    off = t.gateway(hop_port=hop.port, over={"service": {"seccomp": "off", "landlock": "off"}})
    t.eq(off.json("status")["confinement"], {"user": "unchanged", "files": "off", "calls": "off"}, "status")
    t.eq({s["Seccomp"] for s in tasks(off)}, {"0"}, "filters")
    log = t.gateway(hop_port=hop.port, over={"service": {"seccomp": "log"}})
    t.check(log.json("status")["confinement"]["calls"] in ("seccomp, logs only", said["calls"]), "log only")
    for g in (gw, off, log):
        case.send(g.port("inbound"), "a@client.example", ["b@gw.example"], MESSAGE)
    hop.wait_messages(3)


def reload(gw, log):
    before = len(gw.log_lines(log))
    gw.reload()
    return gw.wait_log(log, count=before + 1)[-1]


@case.register("reload-inside-and-outside", "X-68", "X-69", "F-21")
def reload_confined(t):
    """What reload reads is still reachable: a new policy, a certificate replaced behind a symbolic link.
    A file in a place that was not named at start is not, and what ran before goes on; so it does with a
    key that is not the certificate's."""
    hop = t.nexthop()
    live = t.path("live")
    os.makedirs(live)
    for n, pair in enumerate((t.certs.issue("gw.example"), t.certs.issue("gw.example", kind="self-signed"))):
        archive = t.path("archive")
        os.makedirs(archive, exist_ok=True)
        shutil.copy(pair.cert, f"{archive}/cert{n}.pem")
        shutil.copy(pair.key, f"{archive}/key{n}.pem")

    def point(cert, key):
        for name, n in (("cert", cert), ("key", key)):
            os.symlink(f"../archive/{name}{n}.pem", f"{live}/new")
            os.rename(f"{live}/new", f"{live}/{name}.pem")

    def shown():
        c = t.secure_client(gw)
        c.quit()
        return c.tls["cert"]

    point(0, 0)
    gw = t.gateway(hop_port=hop.port, policy="-- one\n", over={"tls": {"identities": {"gw": {
        "cert": f"{live}/cert.pem", "key": Lua(f'gw.secret "file:{live}/key.pem"')}}}})
    first = shown()
    point(1, 1)
    gw.policy = "-- two\n"
    gw.write()
    reload(gw, "configuration active")
    second = shown()
    t.check(first != second, "the old certificate is still shown")
    point(1, 0)
    t.has(reload(gw, "reload refused"), "the key does not belong to the certificate", "the log")
    t.eq(shown(), second, "the certificate")
    point(1, 1)
    if gw.json("status")["confinement"]["files"].startswith("Landlock"):
        elsewhere = tempfile.mkdtemp(prefix="sp-elsewhere-")
        t.parts.append(lambda: shutil.rmtree(elsewhere))
        with open(f"{elsewhere}/policy.lua", "w", encoding="ascii") as f:
            f.write("-- three\n")
        gw.config["policy"]["load"] = [f"{elsewhere}/policy.lua"]
        gw.policy = None
        gw.write()
        line = reload(gw, "reload refused")
        t.has(line, "Permission denied", "the log")
        t.has(line, "service.landlock", "the log")
    case.send(gw.port("inbound"), "a@client.example", ["b@gw.example"], MESSAGE)
    hop.wait_messages(1)


def refused_start(t, gw):
    """What a gateway that must not start says."""
    try:
        gw.start()
    except AssertionError as e:
        return str(e)
    gw.stop()
    raise AssertionError("it started")


@case.register("files-of-ours-are-private", "X-66")
def private_files(t):
    """Directories 0700 and files 0600, whatever the umask; a directory or file that lets others in, belongs
    to others or is a symbolic link: no start, and its name is said."""
    hop = t.nexthop()
    umask = os.umask(0)
    try:
        gw = t.gateway(hop_port=hop.port, over={"log": {"file": "log/gw.log", "json_file": "log/gw.journal"},
                                                "listeners": {"inbound": {"starttls": "off", "requiretls": "off"}}})
    finally:
        os.umask(umask)
    t.eq(proc_status(gw.process.pid)["Umask"], "0077", "umask of the daemon")
    case.send(gw.port("inbound"), "a@client.example", ["b@gw.example"], MESSAGE, tls=False)
    hop.wait_messages(1)
    modes = {}
    for path in glob.glob(f"{gw.dir}/state/*") + glob.glob(f"{gw.dir}/run/*"):
        modes[os.path.relpath(path, gw.dir)] = stat.S_IMODE(os.lstat(path).st_mode)
    t.check("state/queue.db" in modes and "run/control.sock" in modes, f"files: {modes}")
    t.eq({name: oct(m) for name, m in modes.items() if m & 0o077}, {}, "open to others")
    for name in ("gw.log", "gw.journal"):
        t.eq(stat.S_IMODE(os.stat(f"{gw.dir}/log/{name}").st_mode) & 0o007, 0, name)
    gw.stop()
    gw.config["log"] = {"level": "debug"}
    gw.write()
    state, run, db = f"{gw.dir}/state", f"{gw.dir}/run", f"{gw.dir}/state/queue.db"
    for path, mode in ((state, 0o750), (state, 0o701), (run, 0o755), (db, 0o640)):
        old = stat.S_IMODE(os.stat(path).st_mode)
        os.chmod(path, mode)
        t.has(refused_start(t, gw), f"{path}: mode {mode:03o} lets others in", "the words")
        os.chmod(path, old)
    for path in (state, run, db):
        os.rename(path, path + ".real")
        os.symlink(path + ".real", path)
        t.has(refused_start(t, gw), path, "the words")
        os.unlink(path)
        os.rename(path + ".real", path)
    if os.geteuid() == 0:
        for path in (state, db):
            os.chown(path, pwd.getpwnam(NOBODY).pw_uid, -1)
            t.has(refused_start(t, gw), "belongs to user", "the words")
            os.chown(path, 0, -1)
    gw.start()


@case.register("secrets-stay-secret", "X-69", "X-76")
def secrets(t):
    """With everything logged and dumped: nothing of a key, given as a file or in a variable, in the log, the
    journal, `config dump`, status or metrics; a key that everybody can read is warned of."""
    hop = t.nexthop()
    pair = t.certs.issue("other.example")
    with open(pair.key, encoding="ascii") as f:
        pem = f.read()
    key = t.path("open.key")
    shutil.copy(t.certs.issue("gw.example").key, key)
    os.chmod(key, 0o644)
    gw = t.gateway(hop_port=hop.port, env={"OTHER_KEY": pem}, over={
        "log": {"level": "debug", "json_file": "log/journal"},
        "listeners": {"inbound": {"tls": ["gw", "other"]}},
        "tls": {"identities": {"gw": {"cert": t.certs.issue("gw.example").cert, "key": key},
                               "other": {"cert": pair.cert, "key": Lua('gw.secret "env:OTHER_KEY"')}}}})
    t.check(gw.log_lines("open.key can be read by everybody"), "no warning of an open key")
    c = t.secure_client(gw)
    c.send_message("a@client.example", "b@gw.example", MESSAGE)
    hop.wait_messages(1)
    t.eq(gw.run("reload").returncode, 0, "reload")
    texts = {"dump": gw.run("config", "dump").stdout, "status": gw.run("status", "--json").stdout,
             "metrics": gw.run("metrics").stdout, "check": gw.run("config", "check").stdout}
    for name in ("gateway.log", "log/journal"):
        with open(f"{gw.dir}/{name}", encoding="utf-8", errors="replace") as f:
            texts[name] = f.read()
    with open(key, encoding="ascii") as f:
        lines = [x for x in (pem + f.read()).splitlines() if len(x) > 30]
    for name, text in texts.items():
        for x in ["PRIVATE KEY", *lines]:
            t.lacks(text, x, name)


# ---- What others are told ----

@case.register("replies-say-nothing-of-the-inside", "X-76", "X-25")
def replies_from_inside(t):
    """A policy that fails, a spool that cannot be written, a bounce: no path, file, handler or version in a
    reply or a notice."""
    hop = t.nexthop(replies={"RCPT:gone": "550 5.1.1 no such user"})
    policy = """
gw.on("mail", function(s, m) if m.from.localpart == "boom" then error("secret-word") end end, { name = "secret.name" })
gw.on("rcpt", function(s, m, r) if r.localpart == "boom" then local x = nil; return x.y end end, { name = "secret.other" })
gw.on("route", function(m, r) if r.localpart == "lost" then error("secret-word") end end, { name = "secret.route" })
"""
    gw = t.gateway(hop_port=hop.port, policy=policy)
    c = t.client(gw)
    c.ehlo()
    c.mail("boom@client.example", code=4)
    c.mail("a@client.example", code=250)
    c.rcpt("boom@gw.example", code=4)
    c.rcpt("lost@gw.example", code=250)
    c.data(MESSAGE, code=4)
    for line in ("HELP", "VRFY a", "EXPN b", "XYZZY", "MAIL", "EHLO"):
        c.cmd(line)
    c.send_message("a@gw.example", "gone@gw.example", MESSAGE)
    notice = hop.wait_messages(1)[0].data.decode()
    t.has(notice, "no such user", "the notice")
    for text in ("\n".join(x for x in c.transcript if x.startswith("S:")), notice):
        for word in ("secret", ".lua", gw.dir, "policy.", "state/", "queue.db", "sallyport/", "sqlite", "stack"):
            t.lacks(text.lower(), word.lower(), "what was said")
    with open(f"{case.SRCDIR}/configure.ac", encoding="utf-8") as f:
        version = re.search(r"AC_INIT\(\[sallyport\], \[([^]]+)\]", f.read()).group(1)
    t.lacks(notice, version, "the notice")
    t.lacks("\n".join(c.transcript), version, "the replies")


@case.register("log-lines-cannot-be-forged", "X-71", "X-47")
def log_injection(t):
    """Every octet that could begin a line, end one, or mean something to a terminal, in every place of a
    session: each log and journal line is one event, in printable characters."""
    hop = t.nexthop(replies={"RCPT:odd": "550 5.1.1 \x1b[2Jx\x85y\u2028z\x07 2026 info forged"})
    gw = t.gateway(hop_port=hop.port, over={"log": {"level": "debug", "json_file": "log/journal"}},
                   policy='gw.on("mail", function(s, m) gw.log.info("a\\nb\\27[0m\\226\\128\\168c\\127", { x = "1\\r\\n2" }) end, { name = "l" })')
    nasty = [b"\x1b[31m", b"\x07", b"\x7f", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\xff\xfe", b"\x9b1m",
             b" level=error", b'" why="x', b"\\", b"\n2026-01-01T00:00:00.000Z info forged", b"\r"]
    for x in nasty:
        with case.Client(gw.port("inbound")) as c:
            try:
                c.raw(b"EHLO a" + x + b"b\r\nEHLO ok.example\r\nMAIL FROM:<a" + x + b"@client.example>\r\n"
                      b"MAIL FROM:<\"a" + x + b"\"@client.example> SMTPUTF8\r\nRCPT TO:<b" + x + b"@gw.example>\r\n"
                      b"X" + x + b"\r\nQUIT\r\n")
                while True:
                    c.read_line()
            except (EOFError, OSError):
                pass
    c = t.client(gw)
    c.ehlo()
    c.send_message("a@client.example", "odd@gw.example", MESSAGE)
    gw.wait_log("message failed")
    for path, begins in ((gw.log_path, rb"\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|warning|error) "),
                         (f"{gw.dir}/log/journal", rb"\{")):
        with open(path, "rb") as f:
            lines = f.read().splitlines()
        t.check(len(lines) > 50, f"{path}: {len(lines)} lines")
        for line in lines:
            t.check(re.match(begins, line), f"not a line of ours: {line!r}")
            t.check(not re.match(rb"\S+ info forged", line), f"forged: {line!r}")
            text = line.decode("utf-8")
            bad = [ch for ch in text if ord(ch) < 0x20 or 0x7f <= ord(ch) < 0xa0 or ord(ch) in
                   (0x2028, 0x2029, 0x202e)]
            t.eq(bad, [], f"octets in {line!r}")
            if begins == rb"\{":
                json.loads(text)


@case.register("proxies-are-not-believed", "X-26")
def proxies(t):
    """PROXY headers and XCLIENT from anybody change nothing: the address stays the real one."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port)
    c = t.client(gw)
    caps = c.ehlo()
    t.check("XCLIENT" not in caps and "XFORWARD" not in caps, f"offered: {caps}")
    c.cmd("XCLIENT ADDR=192.0.2.77 NAME=spoofed.example", 5)
    c.cmd("XFORWARD ADDR=192.0.2.77", 5)
    c.cmd("PROXY TCP4 192.0.2.77 192.0.2.1 4711 25", 5)
    c.send_message("a@client.example", "b@gw.example", MESSAGE)
    early = t.client(gw, greet=False)
    early.raw(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x4d\xc0\x00\x02\x01\x12\x67\x00\x19")
    early.is_closed()
    t.lacks(hop.wait_messages(1)[0].data.decode(), "192.0.2.77", "the message")
    gw.wait_log("message accepted")
    t.eq(gw.log_lines(r"(ip|peer)=192\.0\.2\.77"), [], "the log")


# ---- SQL ----

@case.register("no-sql-out-of-data", "X-64")
def no_sql_from_data(t):
    """Where SQL is prepared or run, its text is a constant of ours or came out of a table of them; the
    connections are defensive; only queue/ has any, and data/sql.c, where administrators' statements go to
    databases of theirs that are open for reading. Then quotes in every field."""
    src = f"{case.SRCDIR}/src"
    literal = re.compile(r'sqlite3_(?:exec|prepare(?:_v[23])?)\(\s*[\w>.\-]+,\s*("|db_migrations\[|db_sql|sql\b|set\b)')
    found = 0
    for path in glob.glob(f"{src}/**/*.c", recursive=True):
        with open(path, encoding="utf-8") as f:
            text = f.read()
        if path == f"{src}/data/sql.c":
            for word in ("SQLITE_OPEN_READONLY", "SQLITE_DBCONFIG_DEFENSIVE, 1", "SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0",
                         "query_only=ON", "sqlite3_set_authorizer", "sqlite3_stmt_readonly"):
                t.has(text, word, path)
            continue
        # rehearsal/sync.c: a file layer without fsync, no statement.
        inside = os.path.dirname(path) == f"{src}/queue" or path == f"{src}/rehearsal/sync.c"
        t.check(inside or "sqlite3_" not in re.sub(r"sqlite3_libversion", "", text), f"{path}: SQL outside queue/")
        t.check(not re.search(r"sqlite3_v?m?s?n?printf", text), f"{path}: SQL is put together")
        for m in re.finditer(r"sqlite3_(?:exec|prepare\w*)\(", text):
            found += 1
            t.check(literal.match(text, m.start()), f"{path}: {text[m.start():m.start() + 80]!r}")
        # What a text for SQL is made with takes numbers of ours, never text.
        for m in re.finditer(r'snprintf\((?:sql|set), sizeof \w+, ("[^"]*")', text):
            t.check("%s" not in m.group(1), f"{path}: {m.group(0)}")
    t.check(found >= 5, f"only {found} places")
    with open(f"{src}/queue/db.c", encoding="utf-8") as f:
        text = f.read()
    for word in ("SQLITE_DBCONFIG_DEFENSIVE, 1", "SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0",
                 "SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0", "trusted_schema = OFF"):
        t.has(text, word, "db.c")
    gw = t.gateway(over={"queue": {"retry": ["1h"]}})       # nothing listens: it stays in the queue
    c = t.client(gw)
    c.ehlo("x'); DROP TABLE message;--".replace(" ", "_").replace(";", "").replace("'", "").replace(")", ""))
    nasty = '"a\'); DROP TABLE message;--"@client.example'
    c.mail(nasty, "ENVID=x'+3BDROP", code=250)
    c.rcpt('"b\' OR 1=1 --"@gw.example', "ORCPT=rfc822;x'OR'1", code=250)
    c.rcpt("plain@gw.example", code=250)
    c.data(MESSAGE, code=250)
    gw.wait_log("message deferred", count=2)
    t.eq(gw.queue()[0]["from"], nasty, "the sender")
    for arg in ("' OR 1=1 --", "x' OR '1'='1", "%", "_", '";DROP TABLE recipient;'):
        for flag in ("--from", "--to", "--domain", "--route", "--tag"):
            t.eq(gw.json("queue", "list", flag, arg)["messages"], [], f"{flag} {arg}")
    done = gw.run("queue", "delete", "--to", "' OR 1=1 --", "--reason", "x'); DELETE FROM recipient;--")
    t.eq(done.returncode, 1, f"delete: {done.stdout} {done.stderr}")
    t.eq(len(gw.queue()[0]["recipients"]), 2, "recipients that are left")
    t.eq(gw.run("evidence", "verify").returncode, 0, "evidence")


case.main()
