"""The daemon ends at named points (F-2), and is started again on the same queue. Some are in the
program (failpoint() in a build that is for this test only), some are events that powercut.so waits
for. SOAK=1: twenty times at each, else twice."""

import os
import random
import signal

import rig
from rig import MIXED, Rig
import case                 # noqa: I001  its path is rig's doing

TIMES = int(os.environ.get("CRASH_TIMES", 20 if rig.soak() else 2))
SEED = int(os.environ.get("CRASH_SEED", 34))
LARGE = ((7500, 10), (4, 1))        # so that the log is full soon
STATUS = 86                         # of a failpoint, src/base/err.c

WRITING = "writing"                 # comes while writers write
POINTS = [
    # name, where: name of a failpoint or an event; when; up to which passage
    ("before the commit of a group", "store-before-commit", WRITING, 40),
    ("after the commit of a group", "store-after-commit", WRITING, 40),
    ("committed, before the 250", "after-commit-before-250", WRITING, 40),
    ("the 250 has left", "reply", WRITING, 40),
    ("the next hop has said 250", "deliver-after-250", WRITING, 40),
    ("before the result goes to the store", "deliver-before-result", WRITING, 40),
    ("before the commit that removes", "store-before-removal", WRITING, 40),
    ("after the commit that removes", "store-after-removal", WRITING, 40),
    ("reload, configuration read", "reload-read", "reload", 1),
    ("reload, not yet active", "reload-loaded", "reload", 1),
    ("reload, active", "reload-active", "reload", 1),
    ("start, before leases are ended", "open-before-recovery", "start", 1),
    ("start, after leases are ended", "open-after-recovery", "start", 1),
    ("stop, before it is noted as clean", "close-before-clean", "stop", 1),
    ("stop, noted as clean", "close-after-clean", "stop", 1),
    ("stop, log copied", "close-after-checkpoint", "stop", 1),
    # Last: their messages make every look at the queue longer.
    ("before a checkpoint", "store-before-checkpoint", "large", 1),
    ("in a checkpoint", "dbwrite", "large", 200),
    ("after a checkpoint", "store-after-checkpoint", "large", 1),
]
EVENTS = ("reply", "dbwrite")


def one(r, rng, where, when, most):
    """A life that ends at this point."""
    n = rng.randrange(most if rig.soak() or most > 100 else (most + 3) // 4) + 1
    if where in EVENTS:
        env, status = r.shim(at=f"{where}:{n}", keep=True), rig.CUT_STATUS
    else:
        env, status = {"SALLYPORT_FAILPOINT": f"{where}:{n}"}, STATUS
    r.sizes = LARGE if when == "large" else MIXED
    r.writing.set()
    r.launch(env)
    if when in ("reload", "stop"):
        r.wait_up()
        r.wait_acknowledged(5)
        r.gw.process.send_signal(signal.SIGHUP if when == "reload" else signal.SIGTERM)
    r.t.eq(r.wait_end(), status, "exit status")
    if where in EVENTS:
        r.take_disk()       # what would be there anyway, by another way
    r.check_queue()


@case.register("ends-at-named-points", "F-2", "X-34", "I1", "I4", seconds=3600)
def points(t):
    """At each point, again and again: the file is whole, what was acknowledged has arrived or is in it;
    all of it arrives, and twice only what was in flight."""
    r = Rig(t, seed=SEED, daemon="tests/crash/sallyportd-failpoints")
    rng = random.Random(SEED)
    for name, where, when, most in POINTS:
        before = r.ledger.acknowledged
        for _ in range(TIMES):
            # What was put off, or needs a recovery, is there from the life before.
            one(r, rng, where, when, most)
        print(f"# {TIMES} times: {name}; {r.ledger.acknowledged - before} acknowledged", flush=True)
    r.start()
    r.drain()
    r.stop()
    print(f"# {len(POINTS)} points: {r.figures()}; doubles at a crash at most "
          f"{max(r.ledger.doubled_by.values(), default=0)}")
    t.check(max(r.ledger.doubled_by.values(), default=0) <= rig.IN_FLIGHT, f"too many doubles: {r.figures()}")


case.main()
