"""Interoperation with Postfix on both sides, over TLS: one Postfix hands mail to the gateway's relay
listener, another is the next hop. Postfix starts as root only; without either: SKIP."""

import hashlib
import os
import pwd
import random
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import threading
import time

import case
from lab.lab import Zone, find_tool, free_port, soa_query

COUNT = 1000
FEEDERS = 8
TRACE = (b"received", b"return-path", b"delivered-to", b"x-original-to")

MAIN = """compatibility_level = 3.6
queue_directory = {d}/spool
data_directory = {d}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = {name}
mydestination =
alias_maps =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
disable_dns_lookups = yes
smtp_host_lookup = native
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
local_header_rewrite_clients =
maillog_file = {d}/maillog
maillog_file_prefixes = {d}
in_flow_delay = 0
{more}
"""

MASTER = """127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
tlsproxy unix - - n - 0 tlsproxy
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def may_pass(path):
    """May everybody go through this directory and those above it?"""
    while os.stat(path).st_mode & 0o001:
        if path == "/":
            return True
        path = os.path.dirname(path)
    return False


class Postfix:
    """An instance of its own below `directory`. `more` goes into main.cf, `wrap` before the command."""

    def __init__(self, directory, name, more, wrap=()):
        self.dir, self.name, self.port = directory, name, free_port()
        self.conf = os.path.join(directory, "etc")
        self.mail = os.path.join(directory, "mail")
        for sub in ("etc", "spool", "data", "mail"):
            os.makedirs(os.path.join(directory, sub), mode=0o755)
        os.chown(os.path.join(directory, "data"), pwd.getpwnam("postfix").pw_uid, -1)
        os.chown(self.mail, pwd.getpwnam("nobody").pw_uid, -1)
        self.put("main.cf", MAIN.format(d=directory, name=name, more=more))
        self.put("master.cf", MASTER.format(port=self.port))
        for _ in range(3):
            with open(os.path.join(directory, "console"), "wb") as console:
                self.process = subprocess.Popen([*wrap, find_tool("postfix"), "-c", self.conf, "start-fg"],
                                                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                                                start_new_session=True)
            if self.is_ready():
                return
            self.stop()
        raise AssertionError(f"{self.name} does not start\n{self.tail()}")

    def put(self, name, text):
        with open(os.path.join(self.conf, name), "w", encoding="ascii") as f:
            f.write(text)

    def read(self, name):
        try:
            with open(os.path.join(self.dir, name), encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def is_ready(self, timeout=20):
        """It greets, and has its log: now and then the daemon that writes it does not come up, and then all
        others stop at their first line."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as s:
                    if s.recv(100).startswith(b"220") and "daemon started" in self.read("maillog"):
                        return True
            except OSError:
                pass
            time.sleep(0.1)
        return False

    def stop(self):
        """SIGTERM to its master, which takes its children along; start-fg is the shell above it."""
        try:
            os.kill(int(self.read("spool/pid/master.pid")), signal.SIGTERM)
        except (ValueError, ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def tail(self):
        return f"--- {self.name}\n{self.read('console')}" + "\n".join(self.read("maillog").splitlines()[-30:])

    def mails(self):
        """File names of what was delivered."""
        new = os.path.join(self.mail, "box", "new")
        return [os.path.join(new, x) for x in os.listdir(new)] if os.path.isdir(new) else []

    def wait_mails(self, n, timeout):
        deadline = time.monotonic() + timeout
        while len(self.mails()) < n:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(self.mails())} of {n} mails arrived\n{self.tail()}")
            time.sleep(0.1)
        return self.mails()


def place(t):
    """A directory that Postfix's own user gets to: in the case's, else in the system's for
    temporary files."""
    if os.geteuid() != 0:
        t.skip("Postfix wants root")
    find_tool("postfix")
    try:
        pwd.getpwnam("postfix")
    except KeyError:
        t.skip("there is no user postfix")
    for path in (t.dir, os.path.dirname(t.dir)):
        os.chmod(path, 0o711)
    if may_pass(t.dir):
        return t.dir
    other = tempfile.mkdtemp(prefix="sp-postfix-", dir="/tmp")
    os.chmod(other, 0o711)
    t.parts.append(lambda: shutil.rmtree(other, ignore_errors=True))
    return other


def next_hop(t, top, more=""):
    """Takes mail for b.example and gw.example, over TLS only, into one Maildir."""
    cert = t.certs.issue("mx.b.example")
    hop = Postfix(os.path.join(top, "b"), "mx.b.example", f"""
virtual_mailbox_domains = b.example, gw.example
virtual_mailbox_base = {top}/b/mail
virtual_mailbox_maps = static:box/
virtual_mailbox_limit = 0
virtual_uid_maps = static:{pwd.getpwnam('nobody').pw_uid}
virtual_gid_maps = static:{pwd.getpwnam('nobody').pw_gid}
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = {cert.key}, {cert.cert}
smtpd_recipient_restrictions = check_recipient_access
    inline:{{ {{ no-such@b.example = 550 5.1.1 not here }}, {{ grey@b.example = 451 4.7.1 later }} }}
{more}""")
    t.parts.append(hop.stop)
    return hop


def gateway_to(t, hop, auth=None):
    secure = {"via": [f"127.0.0.1:{hop.port}"], "tls": "verify", "names": ["mx.b.example"], "auth": auth}
    return t.gateway(files={"password": "walrus-4711\n"}, over={
        "delivery": {"idle": "0s" if auth else "1s"},
        "credentials": {"b": {"user": "acme", "password": case.Lua('gw.secret "file:password"')}} if auth else {},
        "routes": {"b": secure, "inside": secure}, "log": {"level": "info"},
        "domains": [{"match": ["gw.example"], "kind": "local", "route": "inside"},
                    {"match": "b.example", "kind": "remote", "route": "b"}]})


def first_hop(t, top, gw):
    """Sends everything to the gateway, whose certificate it checks."""
    first = Postfix(os.path.join(top, "a"), "a.example", f"""
relayhost = [127.0.0.1]:{gw.port('relay')}
smtp_tls_security_level = verify
smtp_tls_loglevel = 1
smtp_tls_verify_cert_match = gw.example
smtp_tls_CAfile = {t.certs.ca}
smtp_tls_session_cache_database = btree:{top}/a/data/smtp_scache
smtpd_tls_security_level = none
""")
    t.parts.append(first.stop)
    return first


# ---- Messages ----

def body(rng, i):
    """Bodies as they come: by turns ordinary, awkward, empty, small and larger than what stays in
    memory and in one chunk."""
    def lines(n, width, alphabet):
        return b"".join(bytes(rng.choices(alphabet, k=rng.randrange(width + 1))) + b"\r\n" for _ in range(n))

    ascii_ = range(32, 127)
    eight_bit = [x for x in range(1, 256) if x not in (10, 13)]
    kind = i % 10
    if kind == 0:
        return b""
    if kind == 1:
        return b"x"                                             # one octet, and no line end
    if kind == 2:
        return b".\r\n..\r\n...three\r\n.\r\n\r\n.last"          # no line end
    if kind == 3:
        return lines(20, 90, eight_bit)
    if kind == 4:
        return b"".join(b"%d" % (k % 10) * n + b"\r\n" for k, n in enumerate((998, 997, 512, 998, 1)))
    if kind == 5:
        return b"\r\n\r\n\r\nFrom here on\r\n>From there\r\n\r\n\r\n"
    if kind == 6 and i % 20 == 6:       # some 50: 1 KiB to 300 KiB, most of them around 256 KiB
        size = 300 * 1024 if i < 200 else 256 * 1024 + rng.randrange(-3, 4) if i < 700 else \
            rng.randrange(1024, 300 * 1024)
        filler = (".%07d 0123456789abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRS\r\n" % i).encode()
        return (filler * (size // len(filler) + 1))[:size - 2] + b"\r\n"
    if kind == 7:
        return "Zwölf Boxkämpfer jagen Eva\r\n".encode() * 40
    return lines(rng.randrange(1, 60), 76, ascii_)


def message(i):
    rng = random.Random(i)
    head = [b"From: <s%d@a.example>" % i, b"To: <r%d@b.example>" % i, b"Subject: message %d" % i,
            b"Message-ID: <%d@a.example>" % i, b"Date: Mon, 23 Nov 2026 12:00:00 +0000", b"X-Lab-Id: %d" % i]
    if i % 3 == 0:
        head.append(b"X-Folded: first\r\n\tsecond line\r\n   third  with  spaces  \r\n .dot")
    if i % 4 == 0:
        head.append(b"References: " + b"\r\n ".join(b"<%d.%d@a.example>" % (i, k) for k in range(40)))
    if i % 5 == 0:
        head.append(b"x-lOwEr:no space\r\nX-Empty:\r\nX-Trailing: blanks   ")
    if i % 7 == 0:
        head.append(b"X-Long: " + b"y" * 900)
    return b"\r\n".join(head) + b"\r\n\r\n" + body(rng, i)


def recipients(i):
    return [f"r{i}@b.example"] + ([f"second{i}@b.example"] if i % 10 == 9 else [])


def feed(port, numbers, wrong):
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as s:
            for i in numbers:
                s.sendmail(f"s{i}@a.example", recipients(i), message(i))
    except Exception as e:      # seen by the case
        wrong.append(f"{type(e).__name__}: {e}")


def feed_all(port):
    wrong = []
    threads = [threading.Thread(target=feed, args=(port, range(k, COUNT, FEEDERS), wrong))
               for k in range(FEEDERS)]
    for x in threads:
        x.start()
    for x in threads:
        x.join()
    return wrong


def without_trace(data):
    """(fields taken off, the rest) of a stored message."""
    taken = []
    while data.partition(b":")[0].lower() in TRACE:
        end = data.index(b"\n") + 1
        while data[end:end + 1] in (b" ", b"\t"):
            end = data.index(b"\n", end) + 1
        taken.append(data[:end])
        data = data[end:]
    return taken, data


def field(taken, name):
    return [x.partition(b":")[2].strip() for x in taken if x.partition(b":")[0].lower() == name]


# ---- Cases ----

@case.register("thousand-messages-through-two-postfixes", "I1", "I8", "M-38", seconds=180)
def thousand(t):
    """1,000 messages, Postfix to gateway to Postfix, TLS with checked certificates on both legs:
    every recipient has its message once, and every octet below the trace fields is what it was."""
    top = place(t)
    hop = next_hop(t, top)
    gw = gateway_to(t, hop)
    first = first_hop(t, top, gw)
    wanted = {(i, r) for i in range(COUNT) for r in recipients(i)}
    began = time.monotonic()
    t.eq(feed_all(first.port), [], "errors while feeding")
    fed = time.monotonic()
    files = hop.wait_mails(len(wanted), 120)
    took = time.monotonic() - began
    print(f"# {COUNT} messages: {fed - began:.1f} s to feed, {took:.1f} s to arrive")
    gw.wait_queue_empty()
    time.sleep(0.3)     # one too many would come now
    t.eq(len(hop.mails()), len(wanted), "mails at the next hop")
    seen = set()
    for name in files:
        with open(name, "rb") as f:
            taken, rest = without_trace(f.read())
        i = int(rest.partition(b"X-Lab-Id: ")[2].partition(b"\n")[0])
        key = (i, field(taken, b"x-original-to")[0].decode())
        t.check(key not in seen, f"{key} came twice")
        seen.add(key)
        t.eq(len(field(taken, b"received")), 3, f"Received fields of {key}")
        t.eq(field(taken, b"return-path"), [b"<s%d@a.example>" % i], f"sender of {key}")
        sent = message(i)
        sent = (sent if sent.endswith(b"\r\n") else sent + b"\r\n").replace(b"\r\n", b"\n")
        if rest != sent:
            at = next((k for k, (a, b) in enumerate(zip(rest, sent)) if a != b), min(len(rest), len(sent)))
            t.eq(rest[max(at - 40, 0):at + 40], sent[max(at - 40, 0):at + 40], f"{key}, octet {at}")
    t.eq(seen, wanted, "recipients that have their message")
    status = gw.json("status")
    t.eq(status["sent"]["clear"] + status["sent"]["encrypted"], 0, "sent with less than verified TLS")
    verified = gw.json("evidence", "verify")
    t.check(verified["ok"] and verified["rows"] == len(wanted), f"evidence: {verified}")
    t.has(first.read("maillog"), "Verified TLS connection established to 127.0.0.1", "log of the first Postfix")
    t.eq([x for x in gw.log_lines(r" (error|warning) ") if "DNSSEC" not in x and "runs as root" not in x], [], "warnings in the log")


@case.register("bdat-without-line-end", "M-111", "I8")
def bdat_without_line_end(t):
    """Content that ends without a line end goes to Postfix by BDAT as it is; 8-bit octets too."""
    hop = next_hop(t, place(t))
    gw = gateway_to(t, hop)
    c = t.secure_client(gw, "relay")
    content = b"Subject: bdat\r\nX-Lab-Id: 1\r\n\r\n\xc3\xa9\xff \x01 no line end"
    c.mail("s@a.example", "BODY=8BITMIME", 250)
    c.rcpt("r@b.example", code=250)
    c.raw(b"BDAT %d LAST\r\n" % len(content) + content)
    c.expect(250)
    c.quit()
    with open(hop.wait_mails(1, 15)[0], "rb") as f:
        rest = without_trace(f.read())[1]
    t.eq(hashlib.sha256(rest.rstrip(b"\n")).hexdigest(),
         hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest(), "content")
    gw.wait_queue_empty()


@case.register("postfix-refuses-some", "M-143")
def refuses_some(t):
    """One recipient taken, one refused for good, one for now, in one transaction: delivered,
    returned in a notice that arrives over TLS too, and kept."""
    hop = next_hop(t, place(t))
    gw = gateway_to(t, hop)
    c = t.secure_client(gw, "relay")
    c.send_message("s@gw.example", ["r@b.example", "no-such@b.example", "grey@b.example"],
                   b"Subject: three\r\n\r\nx\r\n")
    c.quit()
    texts = []
    for name in hop.wait_mails(2, 15):
        with open(name, "rb") as f:
            texts.append(f.read())
    notice = [x for x in texts if b"multipart/report" in x]
    t.eq(len(notice), 1, "notices")
    taken, rest = without_trace(notice[0])
    t.eq(field(taken, b"return-path"), [b"<>"], "sender of the notice")
    t.eq(field(taken, b"x-original-to"), [b"s@gw.example"], "recipient of the notice")
    for part in (b"Final-Recipient: rfc822;no-such@b.example", b"Status: 5.1.1",
                 b"Diagnostic-Code: smtp; 550 5.1.1 "):
        t.check(part in rest, f"{part} is not in {rest}")
    waiting = [r["address"] for m in gw.queue() for r in m["recipients"]]
    t.eq(waiting, ["grey@b.example"], "waiting")


# ---- Postfix with level "dane" ----

RESOLVER = "127.0.9.53"     # resolv.conf knows no port but 53
GATEWAY = "127.0.9.54"      # not an address that Postfix takes for its own

UNBOUND = """server:
  directory: "{d}"
  chroot: ""
  username: ""
  pidfile: "{d}/unbound.pid"
  use-syslog: no
  logfile: "{d}/unbound.log"
  interface: {address}
  do-not-query-localhost: no
  trust-anchor-file: "{anchor}"
remote-control:
  control-enable: no
"""


def resolver(t, lab, directory):
    """A validating resolver for the zones of the lab, with the port that Postfix asks at."""
    conf = os.path.join(directory, "unbound.conf")
    with open(conf, "w", encoding="ascii") as f:
        f.write(UNBOUND.format(d=directory, address=RESOLVER, anchor=lab.anchor))
        for zone, (server,) in lab.stubs.items():
            f.write(f'stub-zone:\n  name: "{zone}"\n  stub-addr: {server}\n  stub-prime: no\n')
    with open(os.path.join(directory, "unbound.out"), "wb") as out:
        process = subprocess.Popen([find_tool("unbound"), "-d", "-c", conf], stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=out)

    def stop():
        process.terminate()
        process.wait(20)

    t.parts.append(stop)
    asked = soa_query("w.example")
    asked = asked[:2] + b"\1\x20" + asked[4:]        # RD, and AD
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(2)
            try:
                s.sendto(asked, (RESOLVER, 53))
                if s.recv(4096)[3] & 0x2f == 0x20:     # NOERROR, and AD
                    return
            except OSError:
                pass
        time.sleep(0.1)
    with open(os.path.join(directory, "unbound.out"), encoding="utf-8", errors="replace") as f:
        t.skip(f"no resolver at {RESOLVER} port 53: {f.read()[-300:]}")


def own_resolv_conf(t, directory):
    """What to put before a command that is to ask that resolver: a mount of its own. SKIP where one may not."""
    path = os.path.join(directory, "resolv.conf")
    with open(path, "w", encoding="ascii") as f:
        f.write(f"nameserver {RESOLVER}\noptions trust-ad edns0\n")
    wrap = ["unshare", "-m", "sh", "-c", f'mount --bind {path} /etc/resolv.conf && exec "$@"', "sh"]
    done = subprocess.run([*wrap, "cat", "/etc/resolv.conf"], capture_output=True, text=True, check=False)
    if RESOLVER not in done.stdout:
        t.skip(f"no resolv.conf of its own: {done.stderr}")
    return wrap


@case.register("postfix-with-dane-comes-to-us", "D-54", "D-56", "S-71", seconds=180)
def dane_client(t):
    """TLSA records for the gateway's own certificate, `3 1 1` and `2 0 1`, under names that it has no certificate
    for: Postfix 3.7 at level dane finds them by DNSSEC and calls the connection verified. With records of
    another certificate its mail stays with it."""
    top = place(t)
    cert, other = t.certs.issue("gw.example"), t.certs.issue("other.example", kind="self-signed")
    hop = t.nexthop(cert=t.certs.issue("inside.example"))
    gw_port, relay_port = free_port([GATEWAY]), free_port([GATEWAY])
    tlsa = {"ee": cert.tlsa("3 1 1"), "ta": t.certs.authority.cert.tlsa("2 0 1"), "bad": other.tlsa("3 1 1")}
    zone = "".join(f"{n} MX 10 {'gw' if n == 'ta' else 'mx.' + n}.{'' if n == 'ta' else 'w.'}example.\n"
                   for n in tlsa)
    zone += "".join(f"mx.{n} A {GATEWAY}\n_{gw_port}._tcp.mx.{n} TLSA {tlsa[n]}\n" for n in ("ee", "bad"))
    lab = t.lab({"w.example": Zone(zone),
                 "gw.example": Zone(f"@ A {GATEWAY}\n_{gw_port}._tcp TLSA {tlsa['ta']}\n")})
    resolver(t, lab, top)
    gw = t.gateway(hop_port=hop.port, over={
        "listeners": {"inbound": {"bind": [f"{GATEWAY}:{gw_port}"]}, "relay": {"bind": [f"127.0.0.1:{relay_port}"]}},
        "domains": [{"match": ["*.w.example"], "kind": "local", "route": "inside"}]})
    maps = ", ".join(f"{{ {n}.w.example = smtp:{n}.w.example:{gw_port} }}" for n in tlsa)
    first = Postfix(os.path.join(top, "a"), "a.example", f"""
disable_dns_lookups = no
smtp_host_lookup = dns
smtp_dns_support_level = dnssec
smtp_tls_security_level = dane
smtp_tls_loglevel = 1
smtpd_tls_security_level = none
transport_maps = inline:{{ {maps} }}
""", wrap=own_resolv_conf(t, top))
    t.parts.append(first.stop)
    with smtplib.SMTP("127.0.0.1", first.port, timeout=60) as s:
        for n in tlsa:
            s.sendmail("s@a.example", f"r@{n}.w.example", f"Subject: {n}\r\n\r\nx\r\n".encode())
    try:
        got = {m.header("Subject") for m in hop.wait_messages(2, 60)}
    except AssertionError as e:
        raise AssertionError(f"{e}\n{first.tail()}") from None
    t.eq(got, {"ee", "ta"}, "what arrived")
    deadline = time.monotonic() + 60
    while "to=<r@bad.w.example>" not in first.read("maillog") and time.monotonic() < deadline:
        time.sleep(0.1)
    log = first.read("maillog")
    for host in ("mx.ee.w.example", "gw.example"):
        t.has(log, f"Verified TLS connection established to {host}[{GATEWAY}]:{gw_port}", "log of Postfix")
    line = [x for x in log.splitlines() if "to=<r@bad.w.example>" in x][0]
    t.has(line, "status=deferred", "the third message")
    t.has(line, "Server certificate not ", "the third message")
    t.eq(len(gw.log_lines("message accepted")), 2, "messages taken")


@case.register("postfix-wants-a-login")
def wants_login(t):
    """A Postfix that takes mail from those who have logged in, by Cyrus SASL: PLAIN, then LOGIN alone, then a password that
    is not right any more."""
    top = place(t)
    make = shutil.which("saslpasswd2") or t.skip("there is no saslpasswd2 (sasl2-bin)")
    sasl, users = os.path.join(top, "b", "etc", "sasl"), os.path.join(top, "users")     # where Debian's Postfix looks

    def password(text):
        subprocess.run([make, "-p", "-c", "-f", users, "-u", "mx.b.example", "acme"], input=text.encode(), check=True,
                       capture_output=True)
        os.chmod(users, 0o644)

    def mechanisms(text):
        with open(os.path.join(sasl, "smtpd.conf"), "w", encoding="ascii") as f:
            f.write(f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {users}\nmech_list: {text}\n")

    hop = next_hop(t, top, f"""smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = mx.b.example
smtpd_tls_auth_only = yes
smtpd_client_restrictions = permit_sasl_authenticated, reject
cyrus_sasl_config_path = {sasl}
max_use = 1
""")
    os.makedirs(sasl, mode=0o755)
    password("walrus-4711")
    gw = gateway_to(t, hop, auth="b")
    for n, how in ((1, "CRAM-MD5 PLAIN LOGIN"), (2, "LOGIN")):
        mechanisms(how)
        case.send(gw.port("relay"), "a@a.example", "b@b.example", message(n), sni="gw.example")
        hop.wait_mails(n, 30)
        gw.wait_queue_empty()
    t.eq([x for x in ("PLAIN", "LOGIN") if f"sasl_method={x}, sasl_username=acme" in hop.read("maillog")],
         ["PLAIN", "LOGIN"], "mechanisms")
    password("another")
    case.send(gw.port("relay"), "a@a.example", "b@b.example", message(3), sni="gw.example")
    found = gw.wait_log("message deferred.* reason=auth-refused")[0]
    t.has(found, "status=4.7.8", "status")
    t.has(found, "authentication failed", "reply")
    password("walrus-4711")
    hop.wait_mails(3, 30)


case.main()
