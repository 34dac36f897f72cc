"""A small DNS of our own on loopback: NSD serving a signed root and zones below it.

    zones = {
        "example":        Zone(),                                   # signed by default
        "good.example":   Zone("@ MX 10 mx\nmx A 127.0.0.11"),
        "plain.example":  Zone("@ MX 10 mx\nmx A 127.0.0.11", kind="unsigned"),
        "bogus.example":  Zone("@ MX 10 mx", kind="bogus"),         # signatures altered
        "old.example":    Zone("@ MX 10 mx", kind="expired"),       # signatures of 2020
        "fail.example":   Zone(kind="lame"),      # delegated to a server that does not answer for it
        "slow.example":   Zone(kind="slow"),      # its server never answers
    }
    with Lab("/some/dir", zones) as lab:
        lab.anchor            # file with the root's DNSKEY: dns.anchor of the gateway
        lab.stubs             # {zone: ["127.0.0.1@PORT"]}: dns.stub of the gateway
        lab.update("good.example", "@ MX 10 other\nother A 127.0.0.12")

How the gateway gets to it. libunbound follows a delegation to port 53 always, and an unprivileged
NSD has another port. So NSD serves all zones, and each of them is a stub zone of the gateway with
NSD's address and port (a stub for "." also means that it uses no forwarders):

    dns = { anchor = "root.key", stub = { ["."] = { "127.0.0.1@PORT" },
            ["example"] = { "127.0.0.1@PORT" }, ["good.example"] = { "127.0.0.1@PORT" } } }

Tried and not enough: a stub for "." alone, with minimal responses. NSD does answer from the deepest
zone that it has, but to find who answers for a DS record libunbound asks for the NS records of
the parent, follows them to port 53 and waits until it gives up. Validation walks the whole chain
from our root key. Zones of kind "lame", "servfail" and "slow" are stubs for a socket of this program
that answers REFUSED or SERVFAIL or drops every query. (A lame zone left to NSD would be a referral to
itself, which libunbound takes for an empty answer.)

Mind that libunbound answers for `test.` by itself (RFC 6761): use names below `example.`.

Without nsd and ldnsutils: MissingTool is raised, and tests skip. Command line:
`lab.py serve DIR` serves the zones of STANDARD until standard input ends.
"""

import contextlib
import fcntl
import glob
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

DUMB = {"lame": 5, "servfail": 2, "slow": None}     # kind of zone -> response code, None: none
NOWHERE = "127.254.254.254"     # loopback, and nothing listens there


class MissingTool(Exception):
    pass


def find_tool(name):
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if path is None:
        raise MissingTool(f"{name} is missing; on Debian: apt-get install nsd ldnsutils")
    return path


SLICE = 300
own_ports, locks = set(), []


def more_ports():
    """Ports below the ephemeral range that no other test uses while this one runs: the lock on the file that stands
    for them ends with the process."""
    directory = os.path.join(tempfile.gettempdir(), f"sallyport-ports-{os.getuid()}")
    os.makedirs(directory, exist_ok=True)
    firsts = list(range(20000, 32000, SLICE))
    random.shuffle(firsts)
    for first in firsts:
        lock = open(os.path.join(directory, str(first)), "w", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        locks.append(lock)
        own_ports.update(range(first, first + SLICE))
        return
    own_ports.update(range(20000, 32000))


def free_port(hosts=("127.0.0.1",)):
    """A port that TCP and UDP have free on all of these addresses just now, never the same twice: one gateway may
    get several before it binds the first."""
    for _ in range(2 * SLICE):
        if not own_ports:
            more_ports()
        port = random.choice(list(own_ports))
        own_ports.discard(port)
        with contextlib.ExitStack() as stack:
            try:
                for host in hosts:
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        s = stack.enter_context(socket.socket(socket.AF_INET, kind))
                        s.bind((host, port))
            except OSError:
                continue
        return port
    raise OSError("no free port")


class Zone:
    """Records in master file form, relative to the zone; SOA and NS are added."""

    KINDS = ("signed", "unsigned", "bogus", "expired", "lame", "slow", "servfail")

    def __init__(self, text="", kind="signed", ttl=300):
        if kind not in Zone.KINDS:
            raise ValueError(f"zone kind {kind}: one of {', '.join(Zone.KINDS)}")
        self.text, self.kind, self.ttl = text, kind, ttl

    @property
    def has_keys(self):
        return self.kind in ("signed", "bogus", "expired")

    @property
    def is_served(self):
        return self.has_keys or self.kind == "unsigned"


class DumbServer(threading.Thread):
    """UDP and TCP on one port: takes queries and drops them, or answers with an error."""

    def __init__(self, rcode=None):
        super().__init__(daemon=True)
        self.rcode = rcode
        self.queries = 0
        self.port = free_port()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.tcp.bind(("127.0.0.1", self.port))
        self.tcp.listen(16)     # never accepted
        self.udp.settimeout(0.2)
        self.ended = False
        self.start()

    def run(self):
        while not self.ended:
            try:
                query, peer = self.udp.recvfrom(4096)
            except socket.timeout:
                continue
            except OSError:
                return
            self.queries += 1
            if self.rcode is not None and len(query) > 12:
                end = query.index(b"\0", 12) + 5    # no compression in a question
                head = query[:2] + struct.pack(">HHHHH", 0x8400 | self.rcode, 1, 0, 0, 0)
                self.udp.sendto(head + query[12:end], peer)

    def close(self):
        self.ended = True
        self.join()
        self.udp.close()
        self.tcp.close()


def soa_query(zone):
    labels = b"".join(bytes([len(x)]) + x.encode() for x in zone.split(".") if x)
    return b"\x12\x34\0\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\6\0\1"


class Lab:
    def __init__(self, workdir, zones):
        self.dir = os.path.abspath(workdir)
        self.zones = dict(zones)
        self.nsd = find_tool("nsd")
        self.keygen = find_tool("ldns-keygen")
        self.signzone = find_tool("ldns-signzone")
        self.anchor = os.path.join(self.dir, "root.key")
        self.port = None
        self.stubs = {}
        self.dumb = {}
        self.keys = {}          # zone -> base name of its key's files
        self.process = None
        self.serial = int(time.time())
        os.makedirs(self.dir, exist_ok=True)
        self.zones.setdefault(".", Zone())

    # ---- zone files ----

    def parent(self, name):
        """The zone of ours that delegates `name`."""
        while True:
            name = name.partition(".")[2]
            if name in self.zones:
                return name
            if not name:
                return "."

    def tool(self, *args):
        done = subprocess.run(args, cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(args)}: {done.stdout}")
        return done.stdout.strip()

    def key_of(self, name):
        if name not in self.keys:
            base = self.tool(self.keygen, "-a", "ECDSAP256SHA256", "-k", name)
            self.keys[name] = os.path.join(self.dir, base)
        return self.keys[name]

    @staticmethod
    def file_of(name):
        return "root.zone" if name == "." else name + ".zone"

    def zone_text(self, name):
        zone = self.zones[name]
        origin = "." if name == "." else name + "."
        lines = [f"$ORIGIN {origin}", f"$TTL {zone.ttl}",
                 f"@ SOA ns.lab. hostmaster.lab. {self.serial} 3600 600 86400 {min(zone.ttl, 60)}",
                 "@ NS ns.lab."]
        if name == ".":
            lines.append(f"ns.lab. A {NOWHERE}")
        for child, other in sorted(self.zones.items()):
            if child == "." or self.parent(child) != name:
                continue
            lines.append(f"{child}. NS ns.lab.")
            if other.has_keys:
                with open(self.key_of(child) + ".ds", encoding="ascii") as f:
                    lines.append(f.read().strip())
        return "\n".join(lines) + "\n" + zone.text + "\n"

    def write_zone(self, name):
        zone = self.zones[name]
        path = os.path.join(self.dir, self.file_of(name))
        with open(path + ".plain", "w", encoding="ascii") as f:
            f.write(self.zone_text(name))
        if not zone.has_keys:
            os.replace(path + ".plain", path)
            return
        dates = ["-i", "20200101", "-e", "20200201"] if zone.kind == "expired" else \
            ["-i", time.strftime("%Y%m%d", time.gmtime(time.time() - 86400))]
        self.tool(self.signzone, *dates, "-o", name, "-f", path + ".new", path + ".plain",
                  self.key_of(name))
        if zone.kind == "bogus":
            self.spoil(path + ".new")
        os.replace(path + ".new", path)

    @staticmethod
    def spoil(path):
        """Alters one letter of every signature but those over the keys."""
        def alter(match):
            sig = match.group(2)
            i = len(sig) // 2
            return match.group(1) + sig[:i] + ("A" if sig[i] != "A" else "B") + sig[i + 1:]

        with open(path, encoding="ascii") as f:
            text = f.read()
        text, n = re.subn(r"(\sRRSIG\s+(?!DNSKEY)\S+\s[^\n]*\s)([A-Za-z0-9+/]{40,}=*)", alter, text)
        if n == 0:
            raise RuntimeError(f"{path}: no signature found to spoil")
        with open(path, "w", encoding="ascii") as f:
            f.write(text)

    def write_all(self):
        for name, zone in self.zones.items():
            if zone.has_keys:
                self.key_of(name)
        for name, zone in self.zones.items():
            if zone.is_served:
                self.write_zone(name)
        with open(self.key_of(".") + ".key", encoding="ascii") as f, \
                open(self.anchor, "w", encoding="ascii") as out:
            out.write(f.read())

    # ---- servers ----

    def write_conf(self):
        conf = ["server:", "  ip-address: 127.0.0.1", f"  port: {self.port}", "  server-count: 1",
                '  username: ""', '  chroot: ""', '  database: ""', "  minimal-responses: yes",
                "  rrl-ratelimit: 0", "  refuse-any: no", "  zonefiles-check: yes",
                f'  zonesdir: "{self.dir}"', f'  pidfile: "{self.dir}/nsd.pid"',
                f'  xfrdfile: "{self.dir}/xfrd.state"', f'  zonelistfile: "{self.dir}/zone.list"',
                f'  logfile: "{self.dir}/nsd.log"', "  log-only-syslog: no",
                "remote-control:", "  control-enable: no"]
        for name, zone in self.zones.items():
            if zone.is_served:
                conf += ["zone:", f'  name: "{name}"', f'  zonefile: "{self.file_of(name)}"']
        path = os.path.join(self.dir, "nsd.conf")
        with open(path, "w", encoding="ascii") as f:
            f.write("\n".join(conf) + "\n")
        return path

    def log_tail(self):
        try:
            with open(os.path.join(self.dir, "nsd.log"), encoding="utf-8", errors="replace") as f:
                return f.read()[-2000:]
        except OSError:
            return ""

    def ask_serial(self, zone):
        """The zone's serial as NSD has it; None without an answer."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.5)
            try:
                s.sendto(soa_query(zone), ("127.0.0.1", self.port))
                reply = s.recv(4096)
            except OSError:
                return None
        if len(reply) < 32 or reply[3] & 15 != 0 or reply[6:8] == b"\0\0":
            return None
        return struct.unpack(">I", reply[-20:-16])[0]   # the SOA is all there is

    def wait_serial(self, zone, serial):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.ask_serial(zone) == serial:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"nsd does not serve {zone}: {self.log_tail()}")

    def start(self):
        for old in glob.glob(os.path.join(self.dir, "nsd.log")):
            os.unlink(old)
        self.write_all()
        for attempt in range(5):
            self.port = free_port()
            conf = self.write_conf()
            self.process = subprocess.Popen([self.nsd, "-d", "-c", conf], cwd=self.dir,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL)
            try:
                self.wait_serial(".", self.serial)
                break
            except RuntimeError:
                self.stop_nsd()
                if attempt == 4:
                    raise
        self.stubs = {}
        for name, zone in self.zones.items():
            if zone.is_served:
                self.stubs[name] = [f"127.0.0.1@{self.port}"]
            if zone.kind in DUMB:
                self.dumb[name] = DumbServer(DUMB[zone.kind])
                self.stubs[name] = [f"127.0.0.1@{self.dumb[name].port}"]
        return self

    def update(self, name, text):
        """New records for a zone that is served; back when NSD has them. What resolvers have
        cached lives on for its TTL."""
        self.serial += 1
        self.zones[name].text = text
        self.write_zone(name)
        now = time.time() + self.serial % 1000  # NSD looks at the time of change, in seconds
        os.utime(os.path.join(self.dir, self.file_of(name)), (now, now))
        self.process.send_signal(signal.SIGHUP)
        self.wait_serial("" if name == "." else name, self.serial)

    def stop_nsd(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def stop(self):
        self.stop_nsd()
        for server in self.dumb.values():
            server.close()
        self.dumb = {}

    def __enter__(self):
        return self.start()

    def __exit__(self, *unused):
        self.stop()


LONG_SET = "\n".join(f"@ MX {i} h{i}\nh{i} A 127.0.3.{i % 250 + 1}" for i in range(1, 151))

# One of everything: for the unit tests of src/dns and for the demonstration.
STANDARD = {
    "example": Zone(),
    "signed.example": Zone("""
@       MX 10 mx1
@       MX 20 mx2
mx1     A 127.0.0.11
mx1     AAAA ::1
mx2     A 127.0.0.12
alias   CNAME mx1
far     CNAME mx.plain.example.
loop1   CNAME loop2
loop2   CNAME loop1
sub     CNAME @
_25._tcp.mx1 TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
_mta-sts TXT "v=STSv1; i" "d=1;"
text    TXT "one"
implicit A 127.0.0.13
noaddr  TXT "no mail here"
deadmx  MX 10 noaddr
deadmx  MX 20 not-there
viafar  MX 10 far
onefail MX 10 mx.fail.example.
onefail MX 20 mx2
allfail MX 10 mx.fail.example.
bogusmx MX 10 mx.bogus.example.
slowmx  MX 10 mx.slow.example.
slowmx  MX 20 mx1
ipmx    MX 10 127.0.0.14.
self    MX 10 mx2
self    MX 20 gw
self    MX 20 mx1
self    MX 30 mx3
selfbest MX 10 GW
selfbest MX 20 mx1
selfaddr MX 10 mx1
selfaddr MX 20 gwbyaddr
selfaddr MX 30 mx2
gw      A 127.0.0.99
gwbyaddr A 127.0.0.99
mx3     A 127.0.0.15
special MX 10 odd
odd     A 0.0.0.0
odd     A 169.254.1.1
odd     AAAA ::ffff:0.0.0.0
odd     AAAA fe80::1
nullmx  MX 0 .
nullbut MX 0 .
nullbut MX 10 mx1
equal   MX 10 a.equal
equal   MX 10 b.equal
equal   MX 10 c.equal
equal   MX 10 d.equal
equal   MX 5 z.equal
a.equal A 127.0.0.21
b.equal A 127.0.0.22
c.equal A 127.0.0.23
d.equal A 127.0.0.24
z.equal A 127.0.0.25
many    A 127.0.0.31
many    A 127.0.0.32
many    A 127.0.0.33
many    A 127.0.0.34
many    AAAA 2001:db8::1
many    AAAA 2001:db8::2
many    AAAA 2001:db8::3
many    AAAA 2001:db8::4
"""),
    "long.example": Zone(LONG_SET),
    "plain.example": Zone("@ MX 10 mx\nmx A 127.0.0.16\nback CNAME mx1.signed.example.", kind="unsigned"),
    "bogus.example": Zone("@ MX 10 mx\nmx A 127.0.0.17", kind="bogus"),
    "expired.example": Zone("@ MX 10 mx\nmx A 127.0.0.18", kind="expired"),
    "fail.example": Zone(kind="lame"),
    "servfail.example": Zone(kind="servfail"),
    "slow.example": Zone(kind="slow"),
}


def main(argv):
    if len(argv) != 3 or argv[1] != "serve":
        print("usage: lab.py serve DIR", file=sys.stderr)
        return 2
    try:
        lab = Lab(argv[2], STANDARD)
    except MissingTool as e:
        print(f"skip {e}", flush=True)
        return 77
    with lab:
        print(f"anchor {lab.anchor}")
        for name, servers in lab.stubs.items():
            print(f"stub {name} {servers[0]}")
        print("json " + json.dumps({"anchor": lab.anchor, "stubs": lab.stubs}))
        print("ready", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while sys.stdin.buffer.read1(4096):
                pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
