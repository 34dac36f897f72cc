"""MTA-STS (RFC 8461) from outside: what is fetched and what is not, how long it holds, and whom it
concerns. A policy shows in that a host without STARTTLS gets no mail."""

import gzip
import os
import socket
import sqlite3
import threading
import time

import case
import sts_lab
import tagged
from lab.policyhost import policy
from sts_lab import domain, publish, scene
from tagged import H1, H5, outcome

HELD = "F 4.7.10"       # row 20: the policy counts


def send(t, s, to, want, what=None, **options):
    tagged.submit(t, s.gw, to, **options)
    t.eq(outcome(s, to), want, what or to)


def at(name, user="b"):
    return f"{user}@{domain(name)}"


def text_of(name):
    return policy("enforce", [f"mx.{domain(name)}"])


def chunks(text, times=1):
    body = "".join(f"{len(text):x}\r\n{text}\r\n" for _ in range(times))
    return (f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Transfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n").encode()


def head(*lines):
    return ("\r\n".join(["HTTP/1.1 200 OK", "Connection: close", *lines, "", ""])).encode()


@case.register("fetch-matrix", "S-02", "S-20", "S-21", "S-22", "S-23", "S-24", "S-25", "S-26", "S-27", "S-29",
               "S-32", "X-40", "F-16", seconds=300)
def fetch_matrix(t):
    """Only a whole policy from the certified host itself counts; with anything else mail goes as if
    there were none, nobody waits for ever or reads for ever, and nobody else is asked: no proxy of the
    environment, no host that a redirect names, none in a private network."""
    other = socket.create_server(("127.0.8.101", 0))
    t.parts.append(other.close)
    asked = []
    threading.Thread(target=lambda: asked.append(other.accept()), daemon=True).start()
    elsewhere = f"http://127.0.8.101:{other.getsockname()[1]}"
    s = scene(t, {"a": H1}, env=dict.fromkeys(("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"), elsewhere))
    publish(s, "ok", kind="text/plain; charset=utf-8; x=y")
    s.web.publish(domain("chunked"), raw=chunks(text_of("chunked")))
    publish(s, "wild", names=[f"*.{domain('wild')}"])
    publish(s, "partial", names=[f"mta-st*.{domain('partial')}"])
    publish(s, "wrongname", cert="wrong-name")
    publish(s, "expired", cert="expired")
    publish(s, "otherca", cert="other-ca")
    publish(s, "cnonly", cert="cn-only")
    publish(s, "moved")
    s.web.pages[f"mta-sts.{domain('moved')}/elsewhere.txt"] = s.web.pages[f"mta-sts.{domain('moved')}"]
    publish(s, "moved", status="301 Moved", headers=["Location: /elsewhere.txt"])
    publish(s, "clear", status="302 Found", headers=[f"Location: {elsewhere}/.well-known/mta-sts.txt"])
    publish(s, "gone", status="404 Not Found")
    publish(s, "empty", status="204 No Content")
    publish(s, "part", status="206 Partial Content")
    publish(s, "trouble", status="500 Trouble")
    publish(s, "html", kind="text/html")
    s.web.publish(domain("big"), raw=head("Content-Type: text/plain", "Content-Length: 1048576") +
                  text_of("big").encode() + b"x: y\n" * 200000)
    sent = []

    def endless(sock):
        for _ in range(200 << 5):       # 200 MiB
            sock.sendall(b"8000\r\n" + b"x: yyyy\n" * 4096 + b"\r\n")
            sent.append(32768)

    def drips(sock):
        for octet in text_of("drips").encode():
            sock.sendall(bytes((octet,)))
            time.sleep(0.15)

    s.web.publish(domain("endless"), raw=chunks(text_of("endless"))[:-5], more=endless)
    s.web.publish(domain("drips"), raw=head("Content-Type: text/plain"), more=drips)
    packed = gzip.compress(text_of("gzip").encode())
    s.web.publish(domain("gzip"), raw=head("Content-Type: text/plain", "Content-Encoding: gzip",
                                           f"Content-Length: {len(packed)}") + packed)
    s.web.publish(domain("headers"), raw=head("Content-Type: text/plain", *["X: " + "y" * 1000] * 100) +
                  text_of("headers").encode())
    publish(s, "slow", stall=True)
    s.web.publish(domain("broken"), "version: STSv1\nmode: enforce\nmax_age: 100\n")
    s.web.publish(domain("plainhttp"), raw=b"no HTTP at all\r\n")
    counts = ["ok", "chunked", "wild"]
    names = [x for x in sts_lab.DOMAINS if x not in ("a", "other")] + sts_lab.SILENT
    for name in names:
        tagged.submit(t, s.gw, at(name))
    for name in names:
        t.eq(outcome(s, at(name)), HELD if name in counts else "C", name)
    with s.web.lock:
        hits, seen = list(s.web.hits), set(s.web.names)
    t.eq({path for _, path in hits}, {"/.well-known/mta-sts.txt"}, "paths")
    for name in sts_lab.SILENT:
        t.check(f"mta-sts.{domain(name)}" not in seen, f"nothing is fetched for {name}")
    t.check(f"mta-sts.{domain('slow')}" in seen, "SNI")
    t.check(0 < sum(sent) < 8 << 20, f"{sum(sent)} octets of an endless policy were taken")
    t.eq(asked, [], "connections to a host that the environment or a redirect names")
    t.has(s.gw.wait_log(f"MTA-STS policy not fetched.*{domain('private')}")[0], "only addresses that", "why")


@case.register("restart-keeps-the-policy", "S-50", "S-30", "S-09", "S-43", "X-41")
def restart_keeps(t):
    """What was fetched applies after a restart, with the record gone and the policy host in trouble."""
    s = scene(t, {"a": H5})
    publish(s, "a")
    send(t, s, at("a", "one"), "T")
    t.eq(s.web.count(domain("a")), 1, "fetches")
    s.gw.stop()
    sts_lab.lab.update("s.example", sts_lab.records({"a": None}))
    publish(s, "a", "none", status="404 Gone")
    s.hop["a"].starttls = False
    s.gw.start()
    send(t, s, at("a", "two"), HELD)
    t.eq(s.web.count(domain("a")), 1, "fetches after the restart")


@case.register("new-id-new-policy", "S-10", "S-47", "S-67")
def new_id(t):
    """Any other id, be it lower, brings the new policy; mail that the old one held goes."""
    s = scene(t, {"a": H1})
    sts_lab.lab.update("s.example", sts_lab.records({"a": "9"}))
    publish(s, "a")
    send(t, s, at("a"), HELD)
    publish(s, "a", "none")
    sts_lab.lab.update("s.example", sts_lab.records({"a": "2"}))
    m = s.hop["a"].wait_messages(1, 30)[0]
    t.check(m.tls is None, "in clear")
    t.eq(s.web.count(domain("a")), 2, "fetches")


@case.register("failed-fetch-is-not-repeated", "S-28")
def back_off(t):
    """One fetch that failed, and no other for the same id while mail is tried again and again."""
    s = scene(t, {"a": dict(H1, replies={"RCPT": ["450 4.2.0 later", "450 4.2.0 later"]})})
    publish(s, "a", status="503 Later")
    tagged.submit(t, s.gw, at("a"))
    s.hop["a"].wait_messages(1, 30)
    t.eq(len(s.hop["a"].commands("RCPT")), 3, "attempts, with new look-ups in between")
    t.eq(s.web.count(domain("a")), 1, "fetches")
    sts_lab.lab.update("s.example", sts_lab.records({"a": "2"}))
    publish(s, "a")
    s.gw.wait_for(lambda: (tagged.submit(t, s.gw, at("a", "x")), s.web.count(domain("a")) == 2)[1],
                  what="a fetch for a new id")


def age(s, hours):
    """As if the policy had been fetched so long ago."""
    db = sqlite3.connect(s.gw.dir + "/state/queue.db")
    with db:
        n = db.execute("UPDATE sts_policy SET fetched_ms = fetched_ms - ?1, expires_ms = expires_ms - ?1",
                       (hours * 3600000,)).rowcount
    db.close()
    return n


@case.register("refresh", "S-45", "S-46")
def refresh(t):
    """A day later the policy is fetched again, whether there is mail or not; a failure is in the log."""
    s = scene(t, {"a": H5})
    publish(s, "a", max_age=864000)
    send(t, s, at("a"), "T")
    for number in (2, 3):
        s.gw.stop()
        t.eq(age(s, 24), 1, "policies kept")
        if number == 3:
            publish(s, "a", status="503 Later")
        s.gw.start()
        s.gw.wait_for(lambda n=number: s.web.count(domain("a")) == n, what=f"fetch {number}")
    s.gw.wait_for(lambda: s.gw.log_lines("MTA-STS policy not fetched"), what="a line in the log")
    s.hop["a"].starttls = False
    send(t, s, at("a", "two"), HELD, "the old one applies")


@case.register("database-that-cannot-be-read", "S-30", "S-50", "X-41")
def unreadable(t):
    """A policy is kept and cannot be read: mail waits, and does not go as if there were none."""
    s = scene(t, {"a": H5})
    publish(s, "a")
    send(t, s, at("a", "one"), "T")
    s.gw.stop()
    sts_lab.lab.update("s.example", sts_lab.records({"a": None}))
    publish(s, "a", status="404 Gone")
    s.hop["a"].starttls = False
    file = s.gw.dir + "/state/queue.db"
    db = sqlite3.connect(file)
    size = db.execute("PRAGMA page_size").fetchone()[0]
    pages = [r[0] for r in db.execute("SELECT rootpage FROM sqlite_master WHERE tbl_name = 'sts_policy' AND rootpage > 0")]
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with open(file, "r+b", buffering=0) as f:
        good = [os.pread(f.fileno(), size, (p - 1) * size) for p in pages]
        for p in pages:
            os.pwrite(f.fileno(), b"\xff" * 16, (p - 1) * size)
        s.gw.start()
        tagged.submit(t, s.gw, at("a", "two"))
        s.gw.wait_log("kept MTA-STS policies cannot be read")
        for p, page in zip(pages, good):
            os.pwrite(f.fileno(), page, (p - 1) * size)
    tagged.submit(t, s.gw, at("a", "three"))    # so that nobody goes on with a page that it remembers
    for user in ("two", "three"):
        t.eq(outcome(s, at("a", user)), HELD, user)


@case.register("expired-policy-is-none", "S-43")
def expired(t):
    """After max_age, and with nothing new to be had, mail goes as without a policy."""
    s = scene(t, {"a": H5})
    publish(s, "a", max_age=86400)
    send(t, s, at("a"), "T")
    s.gw.stop()
    t.eq(age(s, 25), 1, "policies kept")
    publish(s, "a", status="404 Gone")
    s.hop["a"].starttls = False
    s.gw.start()
    send(t, s, at("a", "two"), "C")


@case.register("recheck-before-a-bounce", "S-66", "S-67")
def recheck(t):
    """The policy that forbids is replaced while the attempt is under way: no notice, a new try."""
    def change(session, line):
        if not changed:
            changed.append(1)
            publish(s, "a", mx=[f"mx.{domain('a')}", "mx.more.example"])
            s.hop["a"].requiretls = True
            s.hop["a"].starttls = True
            sts_lab.lab.update("s.example", sts_lab.records({"a": "2"}))

    changed = []
    s = scene(t, {"a": dict(H1, replies={"EHLO": change})})
    publish(s, "a")
    send(t, s, at("a"), "R", params="REQUIRETLS")
    t.eq(tagged.evidence(s.gw, at("a"))[-1]["sts_id"], "2", "policy in the evidence")
    t.eq(s.back.messages, [], "notices")


@case.register("hosts-in-order", "S-68", "S-60")
def hosts_in_order(t):
    """A host that is not in the policy is passed over like one that is away."""
    s = scene(t, {"a": H5, "pair2": H5})
    s.web.publish(domain("pair"), policy("enforce", [f"mx2.{domain('pair')}"]))
    send(t, s, at("pair"), "R", params="REQUIRETLS")
    t.eq(s.hop["a"].commands("MAIL"), [], "MAIL at the first host")
    t.eq(len(s.hop["pair2"].accepted), 1, "at the second")


@case.register("policy-of-one-domain", "S-64", "S-11", "R-55", "S-13")
def one_domain(t):
    """Another domain at the same host is not concerned."""
    s = scene(t, {"a": H1})
    publish(s, "a")
    send(t, s, at("a"), HELD)
    send(t, s, at("shared"), "C")
    send(t, s, "b@[127.0.8.2]", "C", "an address literal (S-13)")


@case.register("smart-host", "S-12")
def smart_host(t):
    """With a route to another domain's hosts that domain's policy counts."""
    s = scene(t, {"a": H1}, over={"routes": {"internet": {"via": "mx", "domain": domain("a"), "tls": "may"}}})
    publish(s, "a")
    send(t, s, at("shared"), HELD)
    t.eq(s.web.names, [f"mta-sts.{domain('a')}"], "policy hosts that were asked")


@case.register("off", "S-01")
def off(t):
    """tls.sts = "off": no policy is looked for."""
    s = scene(t, {"a": H1}, over={"tls": {"sts": "off"}})
    publish(s, "a")
    send(t, s, at("a"), "C")
    t.eq(s.web.names, [], "connections to the policy host")


LOOKS = """gw.on("attempt", function(message, hop)
  local p = hop.sts
  if p then return gw.defer { text = p.mode .. " " .. tostring(p.match) .. " " .. p.max_age } end
end, { name = "looks" })
"""


@case.register("policies-see-it", "S-60")
def seen_by_policies(t):
    """hop.sts has mode, match and max_age."""
    s = scene(t, {"a": H5}, policy_text=LOOKS)
    publish(s, "a", "testing", max_age=4711)
    send(t, s, at("a"), "F 4.7.1")
    t.has(str(tagged.last_of(s.gw, at("a"))), "testing true 4711")


case.main()
