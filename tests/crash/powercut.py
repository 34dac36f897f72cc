"""Power cuts (F-3): powercut.so keeps apart what was written and not yet synced, and drops it, or tears
it, when the power goes. And whether what is synced is synced in time: before the 250, once for each
group, and found out when SQLite is told to be less careful. SOAK=1: 500 cuts, else a dozen."""

import os
import random
import signal
import shutil
import time

import rig
from rig import SMALL, Rig
import case                 # noqa: I001  its path is rig's doing

CUTS = int(os.environ.get("CRASH_CUTS", 500 if rig.soak() else 12))
SEED = int(os.environ.get("CRASH_SEED", 3))
LARGE = ((7500, 10), (4, 1))
BATCH = 25


def life(r, at, seed, **more):
    """Writers at work until the power goes; what the disk holds then is looked at. False when the
    event never came, which makes it a kill."""
    r.writing.set()
    r.launch(r.shim(at=at, seed=seed, **more))
    status = r.wait_end(15)
    if status is None:
        r.kill()
    else:
        r.t.eq(status, rig.CUT_STATUS, f"exit status, {at} seed {seed}")
        r.take_disk()
    try:
        r.check_queue()
    except AssertionError as e:
        raise AssertionError(f"{at} seed {seed}: {e}") from None
    return status is not None


@case.register("power-cut-under-writers", "F-3", "X-34", "I1", "I4", seconds=7200)
def under_writers(t):
    """At random writes, at every sync in turn, before and behind it, and behind replies: what was
    acknowledged is on the disk, whole and with its tag, and arrives after the next start."""
    rng = random.Random(SEED)
    r = Rig(t, seed=SEED)
    cuts = {"write": 0, "sync": 0, "synced": 0, "reply": 0}
    kinds = list(cuts)
    for n in range(CUTS):
        kind = kinds[n % len(kinds)]
        nth = {"write": rng.randrange(1, 500), "reply": rng.randrange(1, 40)}.get(kind, n // len(kinds) % 60 + 1)
        cuts[kind] += life(r, f"{kind}:{nth}", rng.randrange(1 << 30))
        if n % BATCH == BATCH - 1 or n == CUTS - 1:
            r.start()
            r.drain()
            r.forget()
            r.kill()
            print(f"# {n + 1} lives: {r.figures()}", flush=True)
    print(f"# {sum(cuts.values())} cuts: {cuts}; doubles at one at most "
          f"{max(r.ledger.doubled_by.values(), default=0)}")
    t.check(sum(cuts.values()) * 10 >= CUTS * 9, f"cuts that came: {cuts}")
    t.check(r.ledger.acknowledged >= CUTS, r.figures())


@case.register("power-cut-in-a-checkpoint", "F-3", "F-2", "I1", seconds=3600)
def in_checkpoint(t):
    """While the log is copied into the database, pages of it torn."""
    rng = random.Random(SEED)
    r = Rig(t, seed=SEED, sizes=LARGE)
    cuts = sum(life(r, f"dbwrite:{rng.randrange(1, 400)}", rng.randrange(1 << 30))
               for _ in range(60 if rig.soak() else 2))
    t.check(cuts > 0, "no cut came in a checkpoint")
    r.start()
    r.drain()
    print(f"# {cuts} cuts in a checkpoint: {r.figures()}")


@case.register("power-cut-on-the-first-start", "F-3", "F-11", "F-12", seconds=600)
def first_start(t):
    """At every sync and some writes while the queue is made: the next start makes or takes it, and does
    not refuse what a power cut has left."""
    r = Rig(t, writers=1, seed=SEED)
    cuts = 0
    for kind, step in (("sync", 3), ("synced", 3), ("write", 25)):
        step = 1 if rig.soak() else step
        n = 1
        while True:
            r.launch(r.shim(at=f"{kind}:{n}", seed=n))
            if r.wait_up():
                break
            t.eq(r.wait_end(), rig.CUT_STATUS, "exit status")
            r.take_disk()
            r.start()
            r.kill()
            shutil.rmtree(os.path.dirname(r.db))
            os.makedirs(os.path.dirname(r.db), mode=0o700)
            cuts, n = cuts + 1, n + step
        r.kill()
        t.check(n > 2, f"no cut came at {kind}")
        shutil.rmtree(os.path.dirname(r.db))
        os.makedirs(os.path.dirname(r.db), mode=0o700)
    # The directory is made at the first start, and must be as durable as what is in it.
    shutil.rmtree(os.path.dirname(r.db))
    t.check(life(r, "reply:2", 1), "no reply")
    t.check(r.ledger.acknowledged > 0, "nothing was acknowledged")
    print(f"# {cuts} cuts on the first start")


@case.register("power-cut-while-stopping", "F-3", "X-74", "I1", seconds=600)
def stopping(t):
    """At every sync of a clean stop, until one has fewer."""
    r = Rig(t, seed=SEED)
    cuts = 0
    for kind in ("sync", "synced"):
        n = 1
        while True:
            arm = t.path(f"arm-{kind}-{n}")
            r.writing.set()
            r.launch(r.shim(at=f"{kind}:{n}", seed=n, arm=arm))
            r.wait_up()
            r.wait_acknowledged(5)
            r.writing.clear()
            with open(arm, "w", encoding="ascii"):
                pass
            r.gw.process.send_signal(signal.SIGTERM)
            status = r.wait_end()
            if status == 0:
                break
            t.eq(status, rig.CUT_STATUS, "exit status")
            r.take_disk()
            r.check_queue()
            cuts, n = cuts + 1, n + (1 if rig.soak() else 3)
    t.check(cuts >= 2, "no cut came while stopping")
    r.start()
    r.drain()
    print(f"# {cuts} cuts while stopping: {r.figures()}")


@case.register("the-cut-finds-what-normal-loses", "F-3", "I1", seconds=600)
def finds_loss(t):
    """SQLite is told NORMAL, or OFF, and seems to say FULL when it is asked: no kill would show it. The
    test above must: something acknowledged is lost, or the file is damaged."""
    for level in ("NORMAL", "OFF"):
        r = Rig(t, seed=SEED)
        lost = None
        for n in range(1, 20):
            r.launch(r.shim(at=f"reply:{10 + n}", seed=n, synchronous=level))
            r.writing.set()
            t.eq(r.wait_end(60), rig.CUT_STATUS, "exit status")
            r.take_disk()
            try:
                r.check_queue()
            except Exception as e:
                lost = f"{type(e).__name__}: {str(e)[:60]}"
                break
        r.close()
        t.check(lost, f"{level}: nothing was lost in {n} cuts; the test would not see it")
        print(f"# synchronous={level}: found at cut {n}: {lost}")


def in_order(lines, of_token):
    """(replies looked at, those that left before a sync of their message's group). `of_token` maps a
    queue id to its token."""
    put, synced, early, seen = {}, set(), 0, 0
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "put":
            if rest not in synced:
                put[rest] = True
        elif word == "sync" and rest == "log":
            synced |= set(put)
            put = {}
        elif word == "reply" and rest in of_token:
            seen += 1
            early += of_token[rest] not in synced
    return seen, early


def written(t, level=None):
    """A life with a record of what was written, synced and said."""
    r = Rig(t, seed=SEED, sizes=SMALL)
    log = t.path(f"record-{level}")
    more = {"synchronous": level} if level else {}
    r.launch(r.shim(log=log, **more))
    r.wait_up()
    r.writing.set()
    r.wait_acknowledged(2000 if rig.soak() else 150)
    r.writing.clear()
    metrics = r.gw.run("metrics").stdout
    commits = next(float(x.split()[-1]) for x in metrics.splitlines()
                   if x.startswith("sallyport_commits_total"))
    r.kill()
    with open(log, encoding="ascii") as f:
        lines = f.read().splitlines()
    with r.ledger.lock:
        of_token = {s.queue_id: s.token for s in r.ledger.sent.values() if s.queue_id}
    seen, early = in_order(lines, of_token)
    t.check(seen >= 100, f"{seen} replies in the record")
    r.close()
    return lines.count("sync log"), commits, seen, early


@case.register("every-250-has-its-sync", "F-3", "I1", seconds=600)
def syncs(t):
    """Rule 1: as many syncs of the log as groups, and no 250 before the one of its group. With NORMAL
    both fail, so that they can."""
    n, commits, seen, early = written(t)
    print(f"# {n} syncs of the log, {commits:.0f} commits, {seen} replies, {early} early")
    t.check(n >= commits > 0, f"{n} syncs for {commits} commits")
    t.eq(early, 0, "replies before the sync of their group")
    n, commits, seen, early = written(t, "NORMAL")
    print(f"# synchronous=NORMAL: {n} syncs of the log, {commits:.0f} commits, {seen} replies, {early} early")
    t.check(n < commits and early > seen / 2, "NORMAL was not noticed")


@case.register("doubles-are-bounded-on-a-slow-disk", "F-1", "I4", seconds=600)
def slow_disk(t):
    """A sync takes a long time, a next hop takes all it is given meanwhile: a kill makes no more come
    again than slots allow."""
    r = Rig(t, seed=SEED, sizes=SMALL)
    for s in r.sinks:
        s.is_closed = True
    r.start()
    r.writing.set()
    r.wait_acknowledged(100)
    r.writing.clear()
    r.kill()
    for s in r.sinks:
        s.is_closed = False
    r.launch(r.shim(slow=400))
    r.wait_for(lambda: r.ledger.arrivals > 0, "an arrival")
    time.sleep(0.35)        # all that comes while the first results wait for the disk
    came = r.ledger.arrivals
    r.kill()
    r.start()
    r.drain()
    print(f"# {came} came while the disk was slow; {r.figures()}")
    t.check(came <= rig.IN_FLIGHT, f"{came} came, {rig.IN_FLIGHT} may")
    t.check(0 < r.ledger.doubles <= rig.IN_FLIGHT, r.figures())


case.main()
