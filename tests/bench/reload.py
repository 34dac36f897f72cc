#!/usr/bin/env python3
"""How long a reload takes, and what the daemon holds after many of them.

    cd BUILD && python3 -B ../tests/bench/reload.py [N [POLICY.lua]]

The sample is ten rules and twelve handlers with a table of 2,000 entries (or the policy named), in
two workers, reloaded N times (100) over the control socket. Prints the times and the resident size
along the way; ends with 1 when the last tenth holds 8 MiB more than the second."""

import json
import os
import socket
import statistics
import struct
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
from lab.certs import Certs                                         # noqa: E402
from lab.gateway import Gateway, basic_config                       # noqa: E402
from lab.process import is_sanitized                                # noqa: E402

HANDLERS = """
local rows = {}
for i = 1, 2000 do rows["domain" .. i .. ".example"] = { level = "verify", names = { "mx" .. i .. ".example" } } end
for i, hook in ipairs { "mail", "rcpt", "data", "message", "route", "attempt" } do
  gw.on(hook, function(a, b) local r = rows["x"]; if r then return gw.defer {} end end, { name = "bench.a" .. i })
  gw.on(hook, function(a, b) local r = rows["y"]; if r then return gw.defer {} end end, { name = "bench.b" .. i })
end
"""


def ask(path, request):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        data = json.dumps(request).encode()
        s.sendall(struct.pack("!I", len(data)) + data)
        f = s.makefile("rb")
        answer = json.loads(f.read(struct.unpack("!I", f.read(4))[0]))
    if not answer["ok"]:
        sys.exit(f"refused: {answer['error']}")
    return answer["result"]


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(x.split()[1]) for x in f if x.startswith("RssAnon:"))


def cpu_ms(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    sample = sys.argv[2] if len(sys.argv) > 2 else os.path.join(HERE, "ten_rules.lua")
    with open(sample, encoding="utf-8") as f:
        policy = f.read() + HANDLERS
    times, sizes = [], []
    with tempfile.TemporaryDirectory(prefix="sp-reload-") as top:
        config = basic_config(Certs(os.path.join(top, "certs")), over={"service": {"workers": 2}})
        with Gateway(os.path.join(top, "gw"), config, policy=policy) as gw:
            path = os.path.join(gw.dir, "run", "control.sock")
            cpu = cpu_ms(gw.process.pid)
            for n in range(count):
                with open(os.path.join(gw.dir, "policy.lua"), "w", encoding="utf-8") as f:
                    f.write(f"{policy}-- {n}\n")
                began = time.monotonic()
                ask(path, {"verb": "reload"})
                times.append((time.monotonic() - began) * 1000)
                sizes.append(resident_kib(gw.process.pid))
            cpu = (cpu_ms(gw.process.pid) - cpu) / count
            for _ in range(100):
                live = [g for g in ask(path, {"verb": "policy.list"})["generations"] if g["state"] != "retired"]
                if len(live) == 1:
                    break
                time.sleep(0.1)
    print(f"reload of {os.path.basename(sample)} and 12 handlers, {count} times: median {statistics.median(times):.1f} ms, "
          f"least {min(times):.1f} ms, most {max(times):.1f} ms; {cpu:.1f} ms of CPU time each")
    tenth = max(count // 10, 1)
    early, late = statistics.median(sizes[tenth:2 * tenth] or sizes), statistics.median(sizes[-tenth:])
    print(f"resident, not of files: {sizes[0]} KiB after the first, {early:.0f} KiB in the second tenth, "
          f"{late:.0f} KiB in the last; generations left: {len(live)}")
    return 1 if late - early > 8 * 1024 and not is_sanitized(gw.daemon) else 0


sys.exit(main())
