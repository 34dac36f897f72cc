"""A journal of 10,000 messages: no difference against the policy that made it, the right one against a changed rule."""

import json
import os

import case
from simulate import MESSAGE, bundle, changes, scene

case.cases.clear()      # those of the other file

SESSIONS, EACH = 20, 500


@case.register("journal-of-10000-messages", "I3", seconds=1800)
def many(t):
    gw = scene(t, service={"workers": 2}, limits={"sessions_per_address": 100},
               listeners={"inbound": {"max_messages": 100000}})
    for s in range(SESSIONS):
        c = t.client(gw)
        c.ehlo()
        for i in range(EACH):
            word = "[secure]" if i % 10 == 0 else "plain"
            c.send_message("a@client.example", ["b@gw.example"], (MESSAGE % (f"{word} {s}.{i}", "", word)).encode())
        c.quit()
    gw.wait_log("message delivered", count=SESSIONS * EACH, timeout=300)
    gw.stop()
    path = gw.dir + "/log/journal.jsonl"
    print(f"# journal: {os.path.getsize(path) >> 20} MiB")
    t.eq(gw.log_lines("journal lines dropped"), [], "nothing was left out")
    done = gw.run("policy", "simulate", "--journal", path, "--against", gw.dir, "--json", timeout=900)
    report = json.loads(done.stdout)
    t.eq((done.returncode, report["messages"], report["changed"], report["unknown"], report["unreproduced"]),
         (0, SESSIONS * EACH, 0, [], 0), "against itself")
    other = bundle(t, gw, "changed", ('m.subject_word "[secure]"', 'm.subject_word "[sealed]"'))
    done = gw.run("policy", "simulate", "--journal", path, "--against", other, "--json", timeout=900)
    got = changes(json.loads(done.stdout))
    t.eq(done.returncode, 4, "exit status against a changed rule")
    t.check(("duties", "encrypt[admin]", "none", True, SESSIONS * EACH // 10) in got["tag.subject"], f"groups: {got}")


case.main()
