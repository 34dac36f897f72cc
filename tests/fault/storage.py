"""What disks and people do to the queue: a lock held by another program, files that are cut, damaged, missing
or replaced, rows that make no sense, a message over which the daemon dies, calls that fail while it starts.

Nothing that was acknowledged is lost without a word, no damaged queue is taken for an empty one, and no
row stops the others. `make soak` does all indexes, pages and seeds where `make check` does a few.
"""

import errno
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "proto"))

import case                                                         # noqa: E402
from case import Gateway, basic_config                              # noqa: E402
from shim import EXIT_NO_MEMORY, Shim, is_sanitized                # noqa: E402

SOAK = os.environ.get("SOAK") == "1"
LONG = 3600 if SOAK else 120
LATER = {"MAIL": "451 4.3.0 later"}
FRAME = 24 + 8192


def message(name, size=2000):
    return f"From: a@gw.example\r\nSubject: {name}\r\n\r\n".encode() + b"0123456789abcdef\r\n" * (size // 18)


def put(gw, *names, size=2000, code=250):
    for name in names:
        case.send(gw.port("inbound"), "a@gw.example", "b@gw.example", message(name, size), tls=False, code=code)


def prepare(t, hop, name="gw", over=None, **options):
    over = case.merge({"queue": {"retry": ["1s"], "min_free": 0}, "log": {"level": "info"}}, over or {})
    gw = Gateway(t.path(name), basic_config(t.certs, hop_port=hop.port, over=over), start=False, **options)
    t.gateways.append(gw)
    t.parts.append(lambda: gw.process is not None and gw.stop(check=not t.failed))
    return gw


def try_start(gw, timeout=20):
    """True when it runs and answers; False when it ended with status 1 and said why (kept in gw.said)."""
    done = os.path.getsize(gw.log_path) if os.path.exists(gw.log_path) else 0
    try:
        gw.start(timeout)
        return True
    except AssertionError as e:
        with open(gw.log_path, encoding="utf-8", errors="replace") as f:
            f.seek(done)
            gw.said = f.read()
        if "ended at once with 1\n" not in str(e):
            raise
        return False


def subjects(hop):
    return sorted(m.header("Subject") for m in hop.accepted)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        words = f.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


# ---- Somebody else has the lock ----

@case.register("locked-by-another-program", "F-10", "I1")
def locked(t):
    """A bounded wait, then 451; who comes behind does not wait as long again; nothing spins; with the
    lock gone mail is taken at once."""
    hop = t.nexthop()
    gw = prepare(t, hop).start()
    put(gw, "before")
    hop.wait_messages(1)
    other = sqlite3.connect(os.path.join(gw.dir, "state", "queue.db"), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    began, cpu = time.monotonic(), cpu_seconds(gw.process.pid)
    put(gw, "first", code=451)
    waited = time.monotonic() - began
    t.check(waited < 15, f"waited {waited:.1f} s")
    began = time.monotonic()
    put(gw, "second", code=451)
    t.check(time.monotonic() - began < 4, "the second waited as long again")
    spent = cpu_seconds(gw.process.pid) - cpu
    t.check(spent < 2, f"{spent:.1f} s of CPU while it waited")
    gw.wait_log("queue cannot be written for now")
    other.execute("ROLLBACK")
    other.close()
    put(gw, "after")
    hop.wait_messages(2)
    gw.wait_queue_empty()
    t.eq(subjects(hop), ["after", "before"], "delivered")


# ---- Errors of the disk while it runs ----

@case.register("commit-that-fails", "F-4", "I1", "Q6")
def failed_commit(t):
    """EIO at a commit's sync: 451 and 421 from then on, no 250 and no trace of that message; the queue is
    opened again and goes on. For ever: it stays closed until the disk works."""
    hop = t.nexthop()
    shim = Shim(t.path("shim"))
    gw = prepare(t, hop, env=shim.env()).start()
    put(gw, "good")
    hop.wait_messages(1)
    gw.wait_queue_empty()
    for round_, how in enumerate(("once", "from"), 1):
        c = t.client(gw)
        c.ehlo()
        shim.arm("sync", 1, errno.EIO, how)
        t.eq(c.send_message("a@gw.example", "b@gw.example", message("bad"), code=None).code, 451, "reply")
        t.check(shim.fired > 0, "no sync failed")
        gw.wait_log("error queue stopped", count=round_)
        c = t.client(gw, greet=False)
        t.eq(c.read_reply().code, 421, "greeting")
        if how == "from":
            gw.wait_log("error queue still stopped")
            t.eq(t.client(gw, greet=False).read_reply().code, 421, "greeting while the disk fails")
            shim.disarm()
        gw.wait_log("queue works again", count=round_)
        put(gw, f"next{round_}")
        hop.wait_messages(1 + round_)
        gw.wait_queue_empty()
    t.eq(subjects(hop), ["good", "next1", "next2"], "delivered")


@case.register("administrator-hears-of-it", "F-4", "X-70")
def failed_change(t):
    """A change by hand whose commit fails is answered at once, though the disk does not come back; it can be
    made again when it does."""
    hop = t.nexthop(replies=dict(LATER))
    shim = Shim(t.path("shim"))
    gw = prepare(t, hop, env=shim.env()).start()
    put(gw, "good")
    gw.wait_log("reply=\"4")
    shim.arm("sync", 1, errno.EIO, "from")
    done = gw.run("queue", "hold", "--to", "*", "--reason", "test")
    t.check(done.returncode != 0 and "disk failed" in done.stderr, f"{done.returncode} {done.stdout!r} {done.stderr!r}")
    done = gw.run("queue", "hold", "--to", "*", "--reason", "test")
    t.check(done.returncode != 0, f"while it stays stopped: {done.stdout!r}")
    shim.disarm()
    gw.wait_log("queue works again")
    t.eq(gw.run("queue", "hold", "--to", "*", "--reason", "test").returncode, 0, "status")
    t.eq([m["state"] for m in gw.queue()], ["held"], "state")


@case.register("quota-is-a-full-disk", "F-5", "X-72")
def quota(t):
    """EDQUOT and EFBIG are no defect of the disk: 452, the session goes on, nothing is latched."""
    hop = t.nexthop(replies=dict(LATER))
    shim = Shim(t.path("shim"))
    gw = prepare(t, hop, env=shim.env()).start()
    put(gw, "good")
    for error in (errno.EDQUOT, errno.EFBIG, errno.ENOSPC):
        c = t.client(gw)
        c.ehlo()
        shim.arm("write", 1, error, "from")
        reply = c.send_message("a@gw.example", "b@gw.example", message("bad"), code=None)
        shim.disarm()
        t.eq((reply.code, reply.status), (452, "4.3.1"), f"reply with {errno.errorcode[error]}")
        c.cmd("NOOP", 250)
        gw.wait_for(lambda: c.mail("a@gw.example").code == 250 and c.cmd("RSET"), 15, "mail is taken again")
    t.eq(gw.log_lines("queue stopped"), [], "latched")
    hop.replies.clear()
    gw.run("queue", "retry", "--to", "*", "--reason", "next hop is back")
    hop.wait_messages(1)
    gw.wait_queue_empty()
    t.eq(subjects(hop), ["good"], "delivered")


# ---- Calls that fail while it starts; a schema that is half made ----

def start_walk(t, gw, shim, kinds, many, before, after):
    """Starts with the n-th call failing for n = 1, 2, ...; `before` makes the files, `after` looks at them
    with a start without faults."""
    for kind, error, how in kinds:
        missed, n, step = 0, 1, 1
        while missed < 2:
            before()
            shim.arm(kind, n, error, how)
            began = time.monotonic()
            try:
                runs = try_start(gw)
            except AssertionError as e:     # CRASH is 86; what is left is no clean end
                if how != "crash" or "ended at once with 86\n" not in str(e):
                    raise
                runs = False
            took = time.monotonic() - began
            fired = shim.fired > 0 or (how == "crash" and not runs)
            if runs:
                gw.stop(check=False)
            elif how != "crash":
                t.check(len(gw.said.strip()) > 20, f"{kind} {n}: ended without a word")
            shim.disarm()
            if not after():
                raise AssertionError(f"{kind} call {n} failed at the start, and the next start is not whole")
            missed = 0 if fired else missed + 1
            if not fired and step > 1:
                break
            if n == 1 and many:
                step = max(1, shim.count(kind) // many)
            n += step
            t.check(took < 60, "a start took a minute")
        print(f"# start with {kind} {errno.errorcode.get(error, error)} {how}: up to call {n - 1}")


@case.register("faults-at-the-start", "F-4", "F-5", "F-9", "F-11", "I1", seconds=LONG)
def faults_at_start(t):
    """It runs, or ends with status 1 and a reason; the waiting message is there at the next start."""
    hop = t.nexthop(replies=dict(LATER))
    shim = Shim(t.path("shim"))
    gw = prepare(t, hop, env=shim.env()).start()
    put(gw, "waits", size=20000)
    gw.kill()
    state, kept = os.path.join(gw.dir, "state"), t.path("kept")
    shutil.copytree(state, kept)

    def before():
        shutil.rmtree(state)
        shutil.copytree(kept, state)

    def after():
        gw.start()
        waiting = gw.queue()
        gw.stop()
        return len(waiting) == 1 and waiting[0]["size"] > 19000

    kinds = [("open", errno.EMFILE, "once"), ("sync", errno.EIO, "once"), ("write", errno.EIO, "once"),
             ("write", errno.ENOSPC, "from"), ("read", errno.EIO, "once"), ("truncate", errno.EIO, "once"),
             ("socket", errno.EMFILE, "once")]
    start_walk(t, gw, shim, kinds if SOAK else kinds[:5], 0 if SOAK else 2, before, after)


@case.register("memory-at-the-start", "F-8", seconds=LONG)
def memory_at_start(t):
    """Whichever allocation fails, libunbound's with its trust anchors among them: it runs, or it ends with a
    reason and status 1, or with the status for want of memory. Without libseccomp, which goes round for ever or
    takes what is not there (an alarm ends the former; nothing was accepted yet)."""
    if is_sanitized():
        raise case.Skip("the sanitizer's own allocator cannot be asked to fail")
    hop = t.nexthop()
    shim = Shim(t.path("shim"))
    gw = prepare(t, hop, over={"service": {"seccomp": "off"}}, env=shim.env())
    shim.arm("malloc", 1 << 40)
    gw.start().stop()
    total = shim.count("malloc")
    ends = {}
    for n in range(1, total, max(1, total // (2000 if SOAK else 20))):
        shim.arm("malloc", n, errno.ENOMEM)
        try:
            gw.start()
            code = gw.stop(check=False)
        except AssertionError as e:
            found = re.search(r"ended at once with (-?\d+)\n", str(e))
            if found is None:
                raise
            code = int(found.group(1))
        t.check(code in (0, 1, EXIT_NO_MEMORY), f"allocation {n} of {total} failed: status {code}\n{gw.log_tail()}")
        ends[code] = ends.get(code, 0) + 1
    print(f"# {total} allocations at the start; how it ended when one failed: {ends}")
    t.check(ends.get(EXIT_NO_MEMORY, 0) > 0, "nothing failed")


def schema_case(t, make, many, waiting=(), name="gw"):
    """make: puts the file there that is to be brought to today's version; it has messages on hold."""
    hop = t.nexthop()
    shim = Shim(t.path(f"{name}.shim"))
    gw = prepare(t, hop, name, env=shim.env())
    state = os.path.join(gw.dir, "state")

    def before():
        shutil.rmtree(state, ignore_errors=True)
        os.mkdir(state, 0o700)
        make(os.path.join(state, "queue.db"))

    def after():
        gw.start()
        db = sqlite3.connect(os.path.join(state, "queue.db"))
        version = db.execute("PRAGMA user_version").fetchone()[0]
        whole = db.execute("PRAGMA integrity_check").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'table'").fetchone()[0]
        db.close()
        n = len(hop.accepted)
        t.eq(len(gw.queue()), len(waiting), "messages that waited")
        t.eq(gw.run("evidence", "verify").returncode, 0, "evidence")
        if waiting:
            gw.run("queue", "release", "--to", "*", "--reason", "it is another version")
        put(gw, "works")
        hop.wait_messages(n + 1 + len(waiting))
        t.eq(sorted(m.header("Subject") for m in hop.accepted[n:]), sorted(["works", *waiting]), "delivered")
        t.eq({len(m.data) > 19000 for m in hop.accepted[n:] if m.header("Subject") in waiting}, {True} if waiting else set(),
             "content")
        gw.stop()
        return version == len(scripts()) and whole == "ok" and tables >= 5

    start_walk(t, gw, shim, [("write", 0, "crash"), ("sync", 0, "crash"), ("open", 0, "crash")][:3 if SOAK else 2],
               many, before, after)


@case.register("killed-while-the-queue-is-made", "F-22", "F-2", seconds=LONG)
def made(t):
    """Killed at each write, sync and open of the first start: the next one has a whole, empty queue."""
    schema_case(t, lambda path: None, 0 if SOAK else 3)


def scripts():
    """The migrations, out of the source: the n-th leads from version n to n + 1."""
    with open(os.path.join(case.SRCDIR, "src", "queue", "db_sql.c"), encoding="utf-8") as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    names = re.search(r"db_migrations\[\] = \{([^}]*)\}", text).group(1).replace(",", " ").split()
    return ["".join(re.findall(r'"([^"]*)"', re.search(rf'\b{n}\[\] =((?:\s*"[^"]*")+);', text).group(1))) for n in names]


def as_old(path, version, kept):
    """A queue of that version with what a queue of today's has in it."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA page_size = 8192")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA application_id = {0x53505131}")
    for script in scripts()[:version]:
        db.executescript(script)
    if version > 0:
        db.execute("ATTACH ? AS new", (kept,))
        for table in ("meta", "message", "content", "recipient", "evidence"):
            columns = ", ".join(c[1] for c in db.execute(f"PRAGMA main.table_info({table})"))
            db.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
        db.commit()
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    os.chmod(path, 0o600)


@case.register("killed-in-a-migration", "F-22", seconds=LONG)
def migration(t):
    """A queue of an old schema version with mail in it, killed at each write of the migration: old or new,
    never half, and the mail is there."""
    hop = t.nexthop(replies=dict(LATER))
    gw = prepare(t, hop, name="new").start()
    put(gw, "old", size=20000)
    gw.wait_log("message deferred")
    t.eq(gw.run("queue", "hold", "--to", "*", "--reason", "for the new version").returncode, 0, "hold")
    gw.stop()
    kept = os.path.join(gw.dir, "state", "queue.db")
    for version in range(len(scripts())) if SOAK else (1,):
        schema_case(t, lambda path, v=version: as_old(path, v, kept), 0 if SOAK else 2, ["old"] if version else [],
                    f"gw{version}")


# ---- Files that are cut or damaged ----

def killed_queue(t, hop, gw, n):
    """A queue of n messages as a crash leaves it; the folder with its files."""
    gw.start()
    put(gw, *[f"m{i}" for i in range(n)], size=12000)
    gw.kill()
    kept = t.path("kept")
    shutil.copytree(os.path.join(gw.dir, "state"), kept)
    return kept


def with_state(gw, kept):
    state = os.path.join(gw.dir, "state")
    shutil.rmtree(state)
    shutil.copytree(kept, state)
    return os.path.join(state, "queue.db")


@case.register("log-cut-at-each-frame", "F-11", "F-3", "I1", seconds=LONG)
def log_cut(t):
    """The write-ahead log ends at any frame, in the middle of one, or in garbage: what was committed before
    that is there, in order; a log that is whole loses nothing."""
    hop = t.nexthop(replies=dict(LATER))
    gw = prepare(t, hop)
    kept = killed_queue(t, hop, gw, 6)
    size = os.path.getsize(os.path.join(kept, "queue.db-wal"))
    frames = (size - 32) // FRAME
    t.check(frames > 10, f"only {frames} frames in the log")
    cuts = [32 + i * FRAME for i in range(frames + 1)]
    cuts += [c + 100 for c in cuts[:-1]]
    last = -1
    for cut in sorted(cuts if SOAK else cuts[2:frames:frames // 4] + [cuts[frames], cuts[frames - 1] + 100]):
        wal = with_state(gw, kept) + "-wal"
        os.truncate(wal, cut)
        if cut % 3 == 1:        # and some that do not end but go on with something else
            with open(wal, "ab") as f:
                f.write(b"\xa5" * 5000)
        t.check(try_start(gw), f"cut at {cut}: {getattr(gw, 'said', '')}")
        names = [m["id"] for m in gw.queue()]
        t.check(len(names) >= last, f"cut at {cut}: {len(names)} messages, and {last} with a shorter log")
        last = len(names)
        gw.stop()
    t.eq(last, 6, "messages with the whole log")


@case.register("pages-overwritten", "F-11", "F-6", seconds=LONG)
def pages_overwritten(t):
    """Garbage over the header and over pages of the database, after a crash: refused, with the file's name
    and what to do, or the page was not in use. The file stays as it was; nothing starts empty."""
    hop = t.nexthop(replies=dict(LATER))
    gw = prepare(t, hop)
    gw.start()
    put(gw, *[f"m{i}" for i in range(6)], size=12000)
    gw.stop()       # everything is in the database now
    gw.start()
    gw.kill()
    kept = t.path("kept")
    shutil.copytree(os.path.join(gw.dir, "state"), kept)
    size = os.path.getsize(os.path.join(kept, "queue.db"))
    places = [(0, 100), (0, 8192)] + [(i * 8192, 8192) for i in range(1, size // 8192)]
    refused = 0
    for at, n in places if SOAK else places[:2] + places[2::max(1, len(places) // 5)]:
        db = with_state(gw, kept)
        with open(db, "r+b") as f:
            f.seek(at)
            f.write(b"\xa5" * n)
        with open(db, "rb") as f:
            broken = f.read()
        if try_start(gw):
            t.eq(len(gw.queue()), 6, f"messages after damage at {at}")
            gw.stop()
            continue
        refused += 1
        t.has(gw.said, "queue.db", f"what it says of damage at {at}")
        t.check("restore" in gw.said or "put the right file" in gw.said, f"no advice in {gw.said}")
        with open(db, "rb") as f:
            t.check(f.read() == broken, f"the file was changed after damage at {at}")
    t.check(refused >= 4, f"only {refused} refused")


@case.register("bytes-flipped", "X-65", "F-6", seconds=LONG)
def bytes_flipped(t):
    """Random bytes flipped in a copy after a clean stop, when nothing is checked at the start: no crash."""
    hop = t.nexthop(replies=dict(LATER))
    gw = prepare(t, hop)
    gw.start()
    put(gw, *[f"m{i}" for i in range(5)], size=3000)
    gw.stop()
    kept = t.path("kept")
    shutil.copytree(os.path.join(gw.dir, "state"), kept)
    hop.replies.clear()
    for seed in range(300 if SOAK else 4):
        r = random.Random(seed)
        db = with_state(gw, kept)
        with open(db, "r+b") as f:
            data = bytearray(f.read())
            for _ in range(r.choice((1, 3, 20))):
                # mostly where rows and trees are, in the first octets of a page
                at = r.randrange(1, len(data) // 8192) * 8192 + (r.randrange(300) if r.random() < .5 else r.randrange(8192))
                data[at] ^= 1 << r.randrange(8)
            f.seek(0)
            f.write(data)
        if try_start(gw):
            gw.run("queue", "list", "--json")
            gw.run("queue", "retry", "--to", "*", "--reason", "seed")
            time.sleep(0.2)
            t.check(gw.process.poll() is None, f"seed {seed}: ended with {gw.process.poll()}\n{gw.log_tail()}")
            if gw.stop(check=False) not in (0, 1):
                raise AssertionError(f"seed {seed}: did not end cleanly\n{gw.log_tail()}")


def spoil(db, r):
    """One field of one row gets a value that no sallyport writes; what it was."""
    table, columns = r.choice((
        ("message", ("size", "header_size", "content", "chunks", "flags", "direction", "body_type", "ret", "tls_no",
                     "received_ms", "session", "sender", "sender_domain", "envid", "trace", "edits", "vars", "tags",
                     "duty_note", "peer_ip", "generation")),
        ("recipient", ("worker", "shard", "attempts", "first_ms", "notify", "state", "address", "domain", "orcpt",
                       "route", "next_hop", "last", "vars", "tags", "bounce_reason", "hold_reason", "num"))))
    column = r.choice(columns)
    kind = {c[1]: c[2] for c in db.execute(f"PRAGMA table_info({table})")}[column]
    value = r.choice((-1, 2**62, -2**63, 0, 77, 2**31) if kind == "INTEGER" else
                     ("", "x\r\ny", "\0", "{", '{"a":', "[1,2", "[]", "a" * 70000, "\udcff", "<>", "@", "1e999"))
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
        db.execute(f"UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE rowid_of = 1".replace(
            "rowid_of = 1", "message = (SELECT min(id) FROM message)" if table == "recipient" else
            "id = (SELECT min(id) FROM message)"), (value,))
    else:
        db.execute(f"UPDATE {table} SET {column} = ? WHERE " + ("message = (SELECT min(id) FROM message)" if
                   table == "recipient" else "id = (SELECT min(id) FROM message)"), (value,))
    return f"{table}.{column} = {value!r:.60}"


@case.register("rows-that-make-no-sense", "X-65", "X-64", seconds=LONG)
def rows(t):
    """Any field of a message with any value: the others are delivered, that one too or it waits on hold
    with a line in the log; never a crash, and the list can be shown."""
    hop = t.nexthop(replies=dict(LATER))
    gw = prepare(t, hop)
    gw.start()
    put(gw, "spoilt", "good1", "good2", size=3000)
    gw.stop()
    kept = t.path("kept")
    shutil.copytree(os.path.join(gw.dir, "state"), kept)
    hop.replies.clear()
    for seed in range(400 if SOAK else 8):
        with_state(gw, kept)
        db = sqlite3.connect(os.path.join(gw.dir, "state", "queue.db"))
        try:
            what = spoil(db, random.Random(seed))
            db.commit()
        except sqlite3.Error:       # a trigger or a constraint says no: as good
            continue
        finally:
            db.close()
        n = len(hop.accepted)
        gw.start()
        gw.run("queue", "retry", "--to", "*", "--reason", "seed")

        def both(n=n):
            return {"good1", "good2"} <= {m.header("Subject") for m in hop.accepted[n:]}

        t.check(hop.wait(both, 20), f"{what}: the others were not delivered\n{gw.log_tail(20)}")
        t.eq(gw.run("queue", "list").returncode, 0, f"{what}: queue list")
        t.check(gw.process.poll() is None, f"{what}: ended\n{gw.log_tail()}")
        if gw.stop(check=False) != 0:
            raise AssertionError(f"{what}: did not end cleanly\n{gw.log_tail()}")


@case.register("message-that-kills", "X-65")
def poison(t):
    """A message over which the daemon dies: the third time it is put on hold, the others go; an
    administrator can release it."""
    hop = t.nexthop(replies=dict(LATER))
    shim = Shim(t.path("shim"))
    gw = prepare(t, hop, env=shim.env())
    gw.start()
    put(gw, "poison")
    gw.wait_log("message deferred")
    gw.stop()
    ended = 0
    for _ in range(5):
        shim.arm("connect", 1, 0, "crash")
        try:
            gw.start()
        except AssertionError as e:     # before it had said that it is ready
            if "ended at once with 86\n" not in str(e):
                raise
        else:
            while gw.process.poll() is None and not gw.log_lines("put on hold"):
                time.sleep(0.05)
            if gw.process.poll() is None:
                break
            t.eq(gw.wait_exit(), 86, "how it ends")
        ended += 1
    t.eq(ended, 3, "deaths before it was put on hold")
    shim.disarm()
    waiting = gw.queue()
    t.eq([(m["state"], "ended three times" in m["recipients"][0]["hold_reason"]) for m in waiting],
         [("held", True)], "the message")
    gw.wait_log("error message put on hold: the daemon died over it again")
    hop.replies.clear()
    put(gw, "good")
    hop.wait_messages(1)
    t.eq(subjects(hop), ["good"], "delivered")
    t.eq(gw.run("queue", "release", "--to", "*", "--reason", "it was the network card").returncode, 0, "release")
    hop.wait_messages(2)
    gw.wait_queue_empty()


# ---- Files that are not there ----

@case.register("queue-that-went-missing", "F-11", "F-12")
def missing(t):
    """Stopped cleanly, and the file is gone at the next start: refused, because it was there; only who
    removes the lock file too gets an empty queue."""
    hop = t.nexthop(replies=dict(LATER))
    gw = prepare(t, hop)
    gw.start()
    put(gw, "waits")
    gw.stop()
    db = os.path.join(gw.dir, "state", "queue.db")
    os.rename(db, db + ".away")
    t.check(not try_start(gw), "started with an empty queue")
    t.has(gw.said, "missing", "what it says")
    t.has(gw.said, "queue.db.lock", "what it says")
    t.check(not os.path.exists(db), "a new database was made")
    os.rename(db + ".away", db)
    gw.start()
    t.eq(len(gw.queue()), 1, "messages")
    gw.stop()
    os.unlink(db)
    os.unlink(db + ".lock")
    gw.start()
    t.eq(gw.queue(), [], "a new queue, as asked for")


@case.register("queue-replaced-while-it-runs", "F-12", "Q6", "I1")
def replaced(t):
    """Another queue in its place, or none: refused to clients, neither written nor taken up; with the
    right one back mail goes on and nothing is lost."""
    hop = t.nexthop(replies=dict(LATER))
    gw = prepare(t, hop)
    other = prepare(t, hop, name="other").start()
    other.stop()
    gw.start()
    put(gw, "waits")
    db = os.path.join(gw.dir, "state", "queue.db")
    for round_, replace in enumerate((True, False), 1):
        os.rename(db, db + ".away")
        if replace:
            shutil.copy2(os.path.join(other.dir, "state", "queue.db"), db)
        gw.wait_log("error queue stopped", count=round_)
        t.eq(t.client(gw, greet=False).read_reply().code, 421, "greeting")
        if replace:
            with open(db, "rb") as a, open(os.path.join(other.dir, "state", "queue.db"), "rb") as b:
                t.check(a.read() == b.read(), "the other queue was written")
        gw.wait_log("queue still stopped.*put it back", count=round_)
        t.check(replace or not os.path.exists(db), "a new database was made")
        os.rename(db + ".away", db)
        gw.wait_log("queue works again", count=round_)
        put(gw, f"next{round_}")
    hop.replies.clear()
    gw.run("queue", "retry", "--to", "*", "--reason", "next hop is back")
    hop.wait_messages(3)
    gw.wait_queue_empty()
    t.eq(subjects(hop), ["next1", "next2", "waits"], "delivered")


case.main()
