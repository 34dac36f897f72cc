"""Kill -9 at random moments under eight writers, the daemon started again on the same queue each
time. SOAK=1: 1,000 kills (CRASH_KILLS), else eight."""

import os
import random
import shutil
import time

import rig
from rig import Rig
import case                 # noqa: I001  its path is rig's doing

KILLS = int(os.environ.get("CRASH_KILLS", 1000 if rig.soak() else 8))
BATCH = 125             # kills, then everything arrives and is compared
QUEUE = 250             # kills on one queue file; its evidence would slow down the rest
SEED = int(os.environ.get("CRASH_SEED", 8689))


def one_life(r, rng):
    """Up, some writing, and away. A life in five ends while it starts."""
    before = r.ledger.acknowledged
    r.launch()
    if rng.randrange(5) == 0:
        time.sleep(rng.uniform(0, 0.15))
    else:
        if not r.wait_up():
            raise AssertionError(f"sallyportd has ended\n{r.gw.log_tail()}")
        # Eight writers busy, wherever they are: a number of replies rather than a time, so that a
        # slow machine works as much.
        r.wait_acknowledged(rng.randrange(1, 60))
        time.sleep(rng.uniform(0, 0.02))
    r.kill()
    return r.ledger.acknowledged - before


@case.register("killed-under-eight-writers", "F-1", "X-34", "I1", "I4", seconds=7200)
def killed(t):
    """After each kill the file is whole, and what was acknowledged has arrived or is in it; at the
    end all of it has arrived, undamaged, tagged mail with REQUIRETLS over TLS; a recipient comes
    twice only where a kill lies between."""
    rng = random.Random(SEED)
    r = Rig(t, writers=8, seed=SEED)
    for n in range(1, KILLS + 1):
        r.writing.set()
        one_life(r, rng)
        r.check_queue()
        if n % BATCH and n < KILLS:
            continue
        r.start()
        r.drain()
        r.forget()
        print(f"# {n} kills: {r.figures()}", flush=True)
        if n % QUEUE == 0 or n == KILLS:
            r.stop()
            shutil.rmtree(os.path.join(r.gw.dir, "state"))
            os.makedirs(os.path.join(r.gw.dir, "state"), mode=0o700)
        else:
            r.kill()
    t.check(r.ledger.acknowledged >= KILLS * 10, f"only {r.figures()}")
    t.check(r.ledger.tagged * 5 > r.ledger.acknowledged, f"too few tagged: {r.figures()}")
    worst = max(r.ledger.doubled_by.values(), default=0)
    print(f"# doubles a kill: {r.ledger.doubles / KILLS:.2f} on average, {worst} at most, with "
          f"{rig.IN_FLIGHT} that can be in flight")
    t.check(worst <= rig.IN_FLIGHT, f"too many doubles: {r.figures()}")


case.main()
