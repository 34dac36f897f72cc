"""The gateway as the policy host of its own domains (RFC 8461 sections 3.2, 3.3): what it serves, to whom,
what it refuses, how it bears bad clients, and that its own MTA-STS client takes the policy."""

import os
import shutil
import socket
import ssl
import time

import case
import sts_serve_lab
import tagged
from case import free_port
from sts_serve_lab import HOST, OWN, PATH, WEB, ask, config, connect, policy_id, text, use_lab


def serve(t, over=None, **options):
    """A gateway and its port."""
    use_lab(t)
    port = free_port([WEB])
    gw = t.gateway(over=case.merge(config(t, port, **options), over or {}))
    return gw, port


@case.register("what-is-served", "S-20", "S-22", "S-23", "S-26", "S-40", "S-41", "S-44", "S-72", "N-09")
def what_is_served(t):
    """The policy at its place and name, and 404, 405 or 400 for all else; never a redirect."""
    gw, port = serve(t, domains={
        OWN: {"mode": "enforce", "mx": [f"mx.{OWN}", "*.More.example", "bücher.example"], "max_age": "2w"},
        "Zwei.Example": {"mode": "none"}})
    want = text(mx=[f"mx.{OWN}", "*.more.example", "xn--bcher-kva.example"], max_age=1209600)
    a = ask(t, port)
    t.eq((a.status, a.body.decode()), (200, want), "policy")
    t.eq(a.headers["content-type"], "text/plain", "type")
    t.eq(a.headers["content-length"], str(len(want)), "length")
    t.eq(a.certificate, t.certs.issue(HOST).der, "certificate by SNI")
    head = ask(t, port, method="HEAD")
    t.eq((head.status, head.body, head.headers["content-length"]), (200, b"", str(len(want))), "HEAD")
    for how in ({"host": HOST.upper()}, {"host": f"{HOST}:443"}, {"host": HOST + "."},
                {"request": f"GET https://{HOST}{PATH} HTTP/1.1\r\nHost: other.example\r\n\r\n"},
                {"request": f"\r\nGET {PATH} HTTP/1.0\r\nhOST:{HOST}\r\n\r\n"},
                {"alpn": ["h2", "http/1.1"]}):
        a = ask(t, port, **how)
        t.eq((a.status, a.body.decode()), (200, want), f"{how}")
    t.eq(ask(t, port, sni="mta-sts.zwei.example", host="mta-sts.zwei.example").body.decode(),
         text("none", []), "the other domain")
    for how in ({"host": OWN}, {"host": "mta-sts.zwei.example"}, {"host": f"{HOST}.evil.example"}, {"host": ""},
                {"sni": None}, {"sni": "gw.example"}, {"sni": "mta-sts.zwei.example"}, {"path": "/"},
                {"path": PATH + "?x"}, {"path": PATH + "/"}, {"path": "/.well-known/../.well-known/mta-sts.txt"},
                {"path": PATH.upper()}, {"request": f"GET {PATH} HTTP/1.0\r\n\r\n"},
                {"request": f"GET https://other.example{PATH} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"}):
        a = ask(t, port, **how)
        t.eq(a.status, 404, f"{how}")
        t.check("location" not in a.headers, f"{how}: a redirect")
    t.eq(ask(t, port, sni=None).certificate, t.certs.issue("gw.example").der, "the fallback's certificate")
    for method in ("POST", "PUT", "OPTIONS", "get"):
        a = ask(t, port, request=f"{method} {PATH} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello")
        t.eq((a.status, a.headers.get("allow")), (405, "GET, HEAD"), method)
    for bad in (f"GET {PATH} HTTP/1.1\r\n\r\n", f"GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n\r\n",
                f"GET {PATH}\r\n\r\n", f"GET  {PATH} HTTP/1.1\r\n\r\n", f"GET {PATH} HTTP/2\r\n\r\n",
                f"GET {PATH} HTTP/1.1\r\nHost : {HOST}\r\n\r\n", f"GET {PATH} HTTP/1.1\r\n folded\r\n\r\n",
                f"GET {PATH} HTTP/1.1\nHost: {HOST}\r\n\r\n", "\0\0\0\r\n\r\n", "EHLO x\r\n\r\n"):
        t.eq(ask(t, port, request=bad).status, 400, repr(bad))
    done = gw.run("metrics").stdout
    t.check('sallyport_sts_served_total{result="policy"} 9' in done, done)


@case.register("tls-only", "N-09", "S-63", "X-8")
def tls_only(t):
    """TLS 1.1, other protocols and HTTP in clear get nothing."""
    gw, port = serve(t)
    for how in ({"most": ssl.TLSVersion.TLSv1_1}, {"alpn": ["smtp"]}, {"alpn": ["h2"]}):
        try:
            ask(t, port, **how)
        except ssl.SSLError:
            continue
        raise AssertionError(f"{how} was served")
    with socket.create_connection((WEB, port), timeout=20) as raw:
        raw.sendall(f"GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        got = b""
        while piece := raw.recv(4096):
            got += piece
        t.check(b"HTTP" not in got, f"in clear: {got!r}")
    t.eq(ask(t, port).status, 200, "TLS of today")


@case.register("bad-clients", "X-44", "X-45", "X-73")
def bad_clients(t):
    """Headers without end, hundreds of silent connections, octet after octet: others are served, and the
    silent ones are closed."""
    gw, port = serve(t)
    big = f"GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\n" + "X: y\r\n" * 2000
    t.eq(ask(t, port, request=big).status, 431, "12 KiB of fields")
    t.eq(ask(t, port, request=f"GET /{'a' * 9000}").status, 431, "a line of 9 KiB")
    t.eq(ask(t, port, request=f"GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\nX: {'y' * 7000}\r\n\r\n").status, 200, "7 KiB")
    first = connect(t, port)
    idle = [socket.create_connection((WEB, port), timeout=30) for _ in range(200)]
    t.eq(ask(t, port).status, 200, "beside 200 silent connections")
    t.client(gw).ehlo()
    drip = connect(t, port)
    for octet in f"GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode():
        drip.sendall(bytes([octet]))
    t.eq(sts_serve_lab.Answer(sts_serve_lab.read_all(drip)).status, 200, "octet by octet")
    more = [socket.create_connection((WEB, port), timeout=30) for _ in range(100)]
    t.eq(ask(t, port).status, 200, "beside 300")
    first.settimeout(30)
    t.eq(first.recv(1), b"", "the oldest had to go")
    stay = idle[-1]
    stay.settimeout(30)
    began = time.monotonic()
    t.eq(stay.recv(1), b"", "a silent one is closed")
    t.check(time.monotonic() - began < 20, "and soon")
    for s in [first, *idle, drip, *more]:
        s.close()
    t.eq(ask(t, port).status, 200, "after all of it")


def changed(t, gw, **domain):
    gw.config["sts_serve"]["domains"][OWN].update(domain)
    gw.write()
    t.eq(gw.run("reload").returncode, 0, "reload")


@case.register("reload", "S-47", "S-48", "F-21")
def reload(t):
    """A changed policy and a changed certificate are served after a reload; a broken one changes nothing, and
    addresses cannot change."""
    gw, port = serve(t)
    open_before = connect(t, port)
    t.eq(ask(t, port).body.decode(), text(), "at first")
    changed(t, gw, mode="testing", max_age="1d")
    now = text("testing", max_age=86400)
    t.eq(ask(t, port).body.decode(), now, "after the reload")
    open_before.sendall(f"GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    t.eq(sts_serve_lab.Answer(sts_serve_lab.read_all(open_before)).body.decode(), text(), "a connection from before")
    old, other = t.certs.issue(HOST), t.certs.issue(HOST, names=[HOST, "another.example"])
    own = [os.path.join(gw.dir, "sts.pem"), os.path.join(gw.dir, "sts.key")]
    for made, name in zip((old.cert, old.key), own):
        shutil.copy(made, name)
    gw.config["tls"]["identities"]["sts"] = {"cert": own[0], "key": own[1]}
    changed(t, gw)
    t.eq(ask(t, port).certificate, old.der, "the old certificate")
    shutil.copy(other.cert, own[0])
    t.check(gw.run("reload").returncode != 0, "a key that does not fit")
    t.eq(ask(t, port).certificate, old.der, "still")
    shutil.copy(other.key, own[1])
    t.eq(gw.run("reload").returncode, 0, "reload")
    t.eq(ask(t, port).certificate, other.der, "the new certificate")
    bind = gw.config["sts_serve"]["bind"]
    gw.config["sts_serve"]["bind"] = [f"{WEB}:{free_port([WEB])}"]
    gw.write()
    done = gw.run("reload")
    t.check(done.returncode != 0 and "sts_serve.bind" in done.stderr, done.stderr)
    gw.config["sts_serve"]["bind"] = bind
    gw.config["sts_serve"]["domains"][OWN]["mx"] = ["mx.*.example"]
    gw.write()
    t.check(gw.run("reload").returncode != 0, "a pattern that is none")
    t.eq(ask(t, port).body.decode(), now, "the policy stays")


@case.register("own-client", "S-20", "S-21", "S-40", "S-47", "S-64")
def own_client(t):
    """A gateway fetches what it serves, and obeys: a host without STARTTLS gets no mail until the policy, with
    another id, lets it."""
    first, second = text(), text("none")
    use_lab(t, policy_id(first))
    hop = t.nexthop(host=sts_serve_lab.MX, port=free_port([sts_serve_lab.MX]), name=f"mx.{OWN}",
                    cert=t.certs.issue(f"mx.{OWN}"), starttls=False)
    port = free_port([WEB])
    gw = t.gateway(hop_port=hop.port, over=config(t, port))
    tagged.submit(t, gw, f"b@{OWN}", sender="a@back.s.example")
    line = gw.wait_log("MTA-STS policy fetched")[-1]
    t.has(line, f"id={policy_id(first)}")
    t.has(line, "mode=enforce")
    gw.wait_log("no-starttls|4\\.7\\.10")
    t.eq(hop.messages, [], "mail in clear under enforce")
    changed(t, gw, mode="none")
    sts_serve_lab.lab.update("s.example", sts_serve_lab.records(policy_id(second)))
    hop.wait_messages(1, 30)
    t.has(gw.wait_log("MTA-STS policy fetched", count=2)[-1], f"id={policy_id(second)}")


def warnings(t, gw):
    done = gw.run("config", "check")
    return done.stdout + done.stderr


@case.register("warnings", "S-75", "D-55")
def said_at_load(t):
    """A name without certificate, and STARTTLS for some only, are warned of."""
    gw, _ = serve(t, domains={OWN: {"mode": "testing", "mx": [f"mx.{OWN}"]}, "uncertified.example": {"mode": "none"}})
    t.has(warnings(t, gw), 'sts_serve.domains["uncertified.example"]: no certificate in sts_serve.tls names '
                           "mta-sts.uncertified.example")
    t.lacks(warnings(t, gw), f"mta-sts.{OWN}", "for the one that has one")
    t.has(gw.wait_log("configuration ")[0], "uncertified.example")
    gw.config["listeners"]["v6"] = {"bind": ["[2001:db8::1]:25"], "role": "mx"}
    gw.config["listeners"]["v4"] = {"bind": ["192.0.2.1:25"], "role": "mx", "tls": "gw"}
    gw.write()
    t.has(warnings(t, gw), "listeners.v6: no STARTTLS on [2001:db8::1]:25, while listeners.v4 offers it")
    gw.config["listeners"]["v6"]["tls"] = "gw"
    gw.write()
    t.lacks(warnings(t, gw), "listeners.v6")


HIDES = """gw.on("helo", function(session, name)
  if name == "cold.example" then return gw.caps { hide = { "STARTTLS" } } end
end, { name = "hides" })
"""


@case.register("policy-that-hides-starttls", "D-55")
def hides(t):
    """One line in the log when a policy makes STARTTLS selective."""
    gw = t.gateway(policy=HIDES)
    for name in ("warm.example", "cold.example", "cold.example"):
        c = t.client(gw)
        t.eq("STARTTLS" in c.ehlo(name), name == "warm.example", name)
    gw.wait_log("a policy hides STARTTLS")
    t.eq(len(gw.log_lines("a policy hides STARTTLS .*handler=hides")), 1, "lines")


case.main()
