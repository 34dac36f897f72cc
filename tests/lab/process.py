"""What a running process holds and uses, from /proc."""

import os
import subprocess


def memory_kib(pid):
    """Memory of its own: resident, not from a file."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon"))


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def is_sanitized(program):
    """Built with sanitizers: its memory and CPU time say nothing."""
    return "__asan" in subprocess.run(["nm", "-D", program], capture_output=True, text=True, check=False).stdout
