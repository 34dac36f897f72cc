"""The test's side of shim.c: a mapped file with orders for a daemon that runs with the shim.

    shim = Shim(t.path("shim"))
    gw = t.gateway(env=shim.env())
    shim.arm("sync", 3, errno.EIO)          # the third sync from now on fails, once
    shim.arm("open", 1, errno.EMFILE, how="from")   # from now on all of them
    shim.arm("recv", 2, 3000, how="slow")   # the second one takes three seconds
    shim.fired, shim.count("sync")
    shim.disarm()
"""

import mmap
import os
import struct

import case

KINDS = ("none", "sync", "write", "open", "socket", "accept", "malloc", "read", "send", "recv", "truncate",
         "connect")
HOW = {"once": 0, "from": 1, "crash": 3, "slow": 4}
FIELDS = ("kind", "n", "error", "how", "fired", "live", "wall_ms", "every")     # as in struct control
EXIT_NO_MEMORY = 71     # how the programs end when they cannot go on without
SIZE = 8 * (len(FIELDS) + len(KINDS))


def library():
    path = os.path.join(os.environ.get("builddir", "."), "tests", "fault", "shim.so")
    if not os.access(path, os.R_OK):
        raise case.MissingProgram(f"{path} is not there; make tests/fault/shim.so")
    return os.path.abspath(path)


def is_sanitized():
    with open("config.h", encoding="ascii") as f:
        return "#define SANITIZED 1" in f.read()


class Shim:
    def __init__(self, path):
        self.path = os.path.abspath(path)
        with open(self.path, "wb") as f:
            f.write(b"\0" * SIZE)
        with open(self.path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), SIZE)

    def env(self):
        """The environment that loads it. The sanitizer wants to be first, but may be second."""
        options = os.environ.get("ASAN_OPTIONS", "")
        return {"LD_PRELOAD": library(), "SALLYPORT_SHIM": self.path,
                "ASAN_OPTIONS": (options + ":" if options else "") + "verify_asan_link_order=0"}

    def _get(self, at):
        return struct.unpack_from("q", self.map, 8 * at)[0]

    def _set(self, name, value):
        struct.pack_into("q", self.map, 8 * FIELDS.index(name), value)

    def arm(self, kind, n=1, error=5, how="once"):
        self.disarm()
        for at in range(len(KINDS)):
            struct.pack_into("q", self.map, 8 * (len(FIELDS) + at), 0)
        self._set("fired", 0)
        self._set("n", n)
        self._set("error", error)
        self._set("how", HOW[how])
        self._set("kind", KINDS.index(kind))        # last: this arms it

    def disarm(self):
        self._set("kind", 0)

    def every(self, nth):
        """F-7: every nth read or write is cut short or interrupted; 0 ends it."""
        self._set("fired", 0)
        self._set("every", nth)

    def jump(self, seconds):
        """The wall clock is so many seconds off from now on."""
        self._set("wall_ms", int(seconds * 1000))

    def count(self, kind):
        """Calls of this kind since arm()."""
        return self._get(len(FIELDS) + KINDS.index(kind))

    @property
    def fired(self):
        return self._get(FIELDS.index("fired"))

    @property
    def live(self):
        """Allocations that were not freed yet."""
        return self._get(FIELDS.index("live"))
