"""Evidence against somebody who has sqlite3 and the file: the chain, exports, rows that are too old, and what
doc/evidence.md tells auditors to do."""

import csv
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys

import case

MESSAGE = b"From: a@client.example\r\nTo: b@gw.example\r\nSubject: x\r\n\r\nbody\r\n"
NO = 1
ROWS = 6


def rows_written(t, n=ROWS, senders=(), over=None, **options):
    """A running gateway that has delivered n messages: (gateway, database)."""
    hop = t.nexthop(**options)
    gw = t.gateway(hop_port=hop.port, over=over)
    send(t, gw, hop, n, senders)
    return gw, os.path.join(gw.dir, "state", "queue.db")


def send(t, gw, hop, n, senders=()):
    before = len(hop.accepted)
    c = t.client(gw)
    c.ehlo()
    for i in range(n):
        c.send_message(senders[i] if i < len(senders) else "a@client.example", "b@gw.example", MESSAGE)
    c.quit()
    hop.wait_messages(before + n)
    gw.wait_queue_empty()


def change(path, *statements):
    """As somebody who may write the file and takes the triggers out first."""
    db = sqlite3.connect(path)
    for name in ("evidence_update", "evidence_delete", "evidence_removed_update", "evidence_removed_delete"):
        db.execute(f"DROP TRIGGER IF EXISTS {name}")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def copy_of(t, database):
    """As doc/operations.md says, of a running queue too."""
    path = t.path("copy.db")
    if os.path.exists(path):
        os.unlink(path)
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    db.execute("VACUUM INTO ?", (path,))
    db.close()
    os.chmod(path, 0o600)
    return path


CHANGES = [
    ("altered", 3, ["UPDATE evidence SET text = replace(text, 'delivered', 'failed') WHERE id = 3"]),
    ("hash altered", 4, ["UPDATE evidence SET hash = upper(hash) WHERE id = 4"]),
    ("removed", 2, ["DELETE FROM evidence WHERE id = 2"]),
    ("first removed", 1, ["DELETE FROM evidence WHERE id = 1"]),
    ("reordered", 2, ["UPDATE evidence SET id = 1000 WHERE id = 2", "UPDATE evidence SET id = 2 WHERE id = 5",
                      "UPDATE evidence SET id = 5 WHERE id = 1000"]),
    ("inserted", 7, ["INSERT INTO evidence SELECT id + 1, message, rcpt, at_ms, text, hash FROM evidence "
                     "WHERE id = 6"]),
    ("cut off at the end", 5, ["DELETE FROM evidence WHERE id >= 5"]),
    ("cut off whole", 1, ["DELETE FROM evidence"]),
]


def noted(t, gw, database, n):
    """Waits until the idle store has noted how far the evidence goes, as a copy of a running queue needs."""
    def look():
        db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        found = db.execute("SELECT value FROM meta WHERE name = 'evidence'").fetchone()
        db.close()
        return found is not None and found[0] >= n
    gw.wait_for(look, 20, "the number of the last row in the file")


@case.register("changed-in-a-copy", "I4")
def changed_copy(t):
    """Of a running and of a stopped queue, verified without a daemon: the first row that does not fit."""
    gw, database = rows_written(t)
    noted(t, gw, database, ROWS)
    for state in ("running", "stopped"):
        if state == "stopped":
            gw.stop()
        t.check(gw.json("evidence", "verify", "--db", copy_of(t, database))["ok"], f"an untouched copy, {state}")
        for what, broken_at, statements in CHANGES:
            copy = copy_of(t, database)
            change(copy, *statements)
            told = gw.json("evidence", "verify", "--db", copy)
            t.eq((told["ok"], told["broken_at"]), (False, broken_at), f"{state}, {what}")
            if what != "altered":
                continue
            done = gw.run("evidence", "verify", "--db", copy)
            t.eq((done.returncode, f"BROKEN at row {broken_at}: " in done.stdout), (NO, True), done.stdout)


@case.register("changed-under-the-daemon", "I4")
def changed_live(t):
    """The running daemon, asked about its own file; each change is undone before the next."""
    gw, database = rows_written(t)
    good = copy_of(t, database)
    for what, broken_at, statements in CHANGES:
        change(database, *statements)
        told = gw.json("evidence", "verify")
        t.eq((told["ok"], told["broken_at"]), (False, broken_at), what)
        change(database, f"ATTACH '{good}' AS good", "DELETE FROM evidence",
               "INSERT INTO evidence SELECT * FROM good.evidence")
        t.check(gw.json("evidence", "verify")["ok"], f"put back after {what}")
    head = gw.json("evidence", "verify")["head"]
    t.eq(gw.run("evidence", "verify", "--head", head).returncode, 0, "a hash that is there")
    t.eq(gw.run("evidence", "verify", "--head", head[::-1]).returncode, NO, "a hash that is not")


@case.register("who-asked-for-it", "I4")
def who_asked(t):
    """The sender, a rule at reception, the route, tls_policy and a hook at the hop: each is named, with its line."""
    hop = t.nexthop(cert=t.certs.issue("inside.example"), requiretls=True)
    gw = t.gateway(hop_port=hop.port, over={"routes": {"inside": {
        "tls": "verify", "names": ["inside.example"], "assert_secure_lookup": True}}}, policy="""
gw.on("message", function(session, message) message:require_tls { level = "encrypt", reason = "all" } end, { name = "at.message" })
gw.on("tls_policy", function(domain, route) return gw.tls { level = "verify" } end, { name = "at.tls" })
gw.on("attempt", function(message, hop) hop:require_tls { level = "secure", reason = "all" } end, { name = "at.hop" })
""")
    c = t.secure_client(gw)
    c.send_message("a@client.example", "b@gw.example", MESSAGE, params="REQUIRETLS")
    c.quit()
    hop.wait_messages(1)
    gw.wait_queue_empty()
    record = gw.json("evidence", "list")["evidence"][0]["record"]
    t.eq(record["asked_by"].split(";"), ["sender REQUIRETLS", "at.message policy.lua:2", "route inside tls=verify",
                                         "at.tls policy.lua:3", "at.hop policy.lua:4"], "who asked")
    t.eq((record["requiretls_sent"], record["reply_code"], "text" in record), (True, 250, False), "the rest")


# ---- Exports ----

SENDERS = ["=1+2@client.example", "+a@client.example", "-b@client.example", '"x,y z"@client.example']


@case.register("export-csv", "I7")
def export_csv(t):
    """RFC 4180, and nothing that a spreadsheet would calculate."""
    gw, _ = rows_written(t, senders=SENDERS, replies={".": '250 2.0.0 say "yes", please'})
    done = gw.run("evidence", "export", "--csv")
    t.eq(done.returncode, 0, done.stderr)
    raw = subprocess.run([gw.command, "-c", gw.conf_path, "evidence", "export", "--csv"], stdout=subprocess.PIPE,
                         timeout=30, check=True).stdout
    t.eq((raw.count(b"\n"), raw.count(b"\r\n")), (ROWS + 1, ROWS + 1), "line ends")
    table = list(csv.DictReader(io.StringIO(done.stdout, newline=""), strict=True))
    t.eq(len(table), ROWS, "rows")
    t.eq({r["from"] for r in table}, {"'" + s for s in SENDERS[:3]} | {SENDERS[3], "a@client.example"}, "senders")
    for row in table:
        for cell in row.values():
            t.check(not cell.startswith(("=", "+", "-", "@")), f"a formula: {cell}")
    records = {r["id"]: r for r in gw.json("evidence", "list")["evidence"]}
    for row in table:
        record, hash_ = records[int(row["id"])]["record"], records[int(row["id"])]["hash"]
        t.eq(row["hash"], hash_, "hash")
        for key, value in record.items():
            want = value if isinstance(value, str) else json.dumps(value)
            t.eq(row[key].removeprefix("'"), want, f"column {key}")
        t.eq({k for k, v in row.items() if v} - {"id", "hash"}, {k for k, v in record.items() if v != ""}, "cells")


@case.register("export-json-lines", "I4")
def export_json(t):
    """A page is at most 1,000 rows: more than that, and each line as the daemon and the file have it."""
    gw, database = rows_written(t)
    gw.stop()
    long_chain(database, 2500)
    gw.start()
    lines = [json.loads(line) for line in gw.run("evidence", "export").stdout.splitlines()]
    t.eq(lines[0], {"before": {"id": 0, "hash": ""}, "checkpoint": None}, "the first line")
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    t.eq([(r["id"], r["hash"], text_of(r["record"])) for r in lines[1:]],
         list(db.execute("SELECT id, hash, text FROM evidence ORDER BY id")), "rows")
    t.eq(len(lines), 2501, "lines")
    some = [json.loads(line) for line in gw.run("evidence", "export", "--limit", "1200").stdout.splitlines()]
    t.eq(some, lines[:1201], "with a limit")
    message = lines[1]["record"]["message"]
    one = [json.loads(line) for line in gw.run("evidence", "export", message).stdout.splitlines()]
    t.eq(one, [{"before": None, "checkpoint": None}, lines[1]], "of one message")
    t.eq(gw.run("evidence", "export", "--until", "2020-01-01").returncode, NO, "nothing to export")


def text_of(record):
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def long_chain(database, rows):
    """Goes on with the chain as the store would."""
    import hashlib
    db = sqlite3.connect(database)
    number, head = db.execute("SELECT id, hash FROM evidence ORDER BY id DESC LIMIT 1").fetchone()
    for i in range(number + 1, rows + 1):
        text = text_of({"at": "2026-11-01T00:00:00.000Z", "event": "discarded", "rcpt": f"gr\u00fcn{i}@\"x\\\\"})
        head = hashlib.sha256(f"{head}\n{text}".encode()).hexdigest()
        db.execute("INSERT INTO evidence VALUES (?, 0, NULL, 1793000000000, ?, ?)", (i, text, head))
    db.commit()
    db.close()


# ---- Rows that are too old ----

@case.register("old-rows-go", "I4")
def old_rows(t):
    """evidence.keep: they are removed, the checkpoint is printed, and the rest verifies, for us and for others."""
    hop = t.nexthop()
    gw = t.gateway(hop_port=hop.port, over={"evidence": {"keep": "3s"}})
    database = os.path.join(gw.dir, "state", "queue.db")
    send(t, gw, hop, 3)
    first = gw.wait_for(lambda: (gw.json("evidence", "verify")["checkpoint"] or {}).get("id", 0) >= 3, 60, "removal")
    t.check(first, "a checkpoint")
    send(t, gw, hop, 2)
    gw.stop()           # nothing more goes, and what is there can be compared
    told = gw.json("evidence", "verify", "--db", database)
    t.eq((told["ok"], told["checkpoint"]["id"] >= 3), (True, True), "verify")
    shown = gw.run("evidence", "verify", "--db", database).stdout
    t.has(shown, f"checkpoint: rows up to {told['checkpoint']['id']} were removed for their age at ", "verify")
    t.has(shown, told["checkpoint"]["hash"], "verify")
    lines = [json.loads(x) for x in gw.run("evidence", "export", "--db", database).stdout.splitlines()]
    t.eq(lines[0]["checkpoint"], told["checkpoint"], "export")
    t.eq(lines[0]["before"], {k: told["checkpoint"][k] for k in ("id", "hash")}, "where the chain begins")
    pruned = [r["record"] for r in lines[1:] if r["record"]["event"] == "pruned"]
    t.eq((pruned[-1]["removed_to"], pruned[-1]["removed_hash"]),
         (told["checkpoint"]["id"], told["checkpoint"]["hash"]), "the row that says so")
    table = list(csv.DictReader(io.StringIO(gw.run("evidence", "export", "--csv", "--db", database).stdout,
                                            newline="")))
    t.eq((table[0]["event"], table[0]["id"], table[0]["hash"]),
         ("checkpoint", str(told["checkpoint"]["id"]), told["checkpoint"]["hash"]), "CSV")
    for block in python_blocks():
        t.eq(by_hand(block, gw, database), (0, f"{told['last']} {told['head']}\n"), "by hand")
    copy = copy_of(t, database)
    change(copy, "DELETE FROM evidence WHERE id = (SELECT min(id) FROM evidence)")
    t.check(not gw.json("evidence", "verify", "--db", copy)["ok"], "one row more was removed")


# ---- doc/evidence.md ----

def document():
    with open(os.path.join(case.SRCDIR, "doc", "evidence.md"), encoding="utf-8") as f:
        return f.read()


def python_blocks():
    """The check of the database, the check of an export."""
    return re.findall(r"^```python\n(.*?)^```", document(), re.M | re.S)


def by_hand(block, gw, database):
    """Exit status and output of a block of the document."""
    words = [database] if "sys.argv" in block else []
    text = "" if words else gw.run("evidence", "export", "--db", database).stdout
    done = subprocess.run([sys.executable, "-c", block, *words], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@case.register("auditor-by-hand", "I4")
def auditor(t):
    """The programs in the document agree with verify, of a good chain and of each that was changed."""
    gw, database = rows_written(t, senders=SENDERS)
    noted(t, gw, database, ROWS)
    head = gw.json("evidence", "verify")["head"]
    t.eq(len(python_blocks()), 2, "blocks")
    for block in python_blocks():
        t.eq(by_hand(block, gw, copy_of(t, database)), (0, f"{ROWS} {head}\n"), "a good chain")
        for what, broken_at, statements in CHANGES[:5] if "argv" in block else CHANGES[:1]:
            copy = copy_of(t, database)
            change(copy, *statements)
            t.eq(by_hand(block, gw, copy), (1, f"row {broken_at} does not fit\n"), what)


@case.register("view-for-auditors")
def view(t):
    """Every field of the document is a column; the query in the document works; a damaged row hides no other."""
    gw, database = rows_written(t)
    copy = copy_of(t, database)
    db = sqlite3.connect(copy)
    columns = [row[1] for row in db.execute("PRAGMA table_info(evidence_view)")]
    table = re.search(r"^\| Field \|.*?\n\n", document(), re.M | re.S).group(0)
    fields = [f for row in re.findall(r"^\| (`.*?) \|", table, re.M) for f in re.findall(r"`(\w+)`", row)]
    t.eq(fields, [c for c in columns if c not in ("id", "prev_hash", "hash")], "fields")
    t.eq(len(db.execute("SELECT * FROM evidence_view").fetchall()), ROWS, "rows")
    t.eq(db.execute("SELECT count(*) FROM evidence_view WHERE prev_hash = (SELECT hash FROM evidence e WHERE e.id = "
                    "evidence_view.id - 1)").fetchone()[0], ROWS - 1, "prev_hash")
    query = re.search(r"mode=ro' \"(SELECT.*?)\"\n", document(), re.S).group(1)
    db.execute(query).fetchall()
    record = gw.json("evidence", "list")["evidence"][0]["record"]
    shown = dict(zip(columns, db.execute("SELECT * FROM evidence_view WHERE id = 1").fetchone()))
    t.eq({k: shown[k] for k in record}, record, "a row")
    db.close()
    change(copy, "UPDATE evidence SET text = 'nonsense' WHERE id = 2")
    db = sqlite3.connect(copy)
    t.eq([r[0] for r in db.execute("SELECT event FROM evidence_view ORDER BY id")],
         [record["event"], None] + [record["event"]] * (ROWS - 2), "beside a damaged row")
    db.close()


if __name__ == "__main__":
    case.main()
