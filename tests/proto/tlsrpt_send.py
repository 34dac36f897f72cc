"""Reports of TLS results (RFC 8460) on their way: by mail and by HTTPS, again and again, where a policy
wants them, and not where they must not go.

The gateway sends mail today; then it is started again with the clock a day further, and reports."""

import atexit
import base64
import email
import email.policy
import gzip
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

import case
from case import Lab, Lua, Zone, free_port
from lab.receiver import Receiver

sys.path.append("/usr/lib/python3/dist-packages")       # Debian's, whichever Python this is
try:
    import dkim
except ImportError:
    dkim = None

MX, RUA, WEB = "127.0.9.2", "127.0.9.3", "127.0.9.100"
DAY_MS, MINUTE_MS = 86400000, 60000
MESSAGE = b"From: a@gw.example\r\nTo: b\r\nSubject: x\r\n\r\nx\r\n"

lab = None
port = None


def stop_lab():
    lab.stop()
    shutil.rmtree(lab.dir, ignore_errors=True)


def records(rua):
    """`rua`: name of a domain to the text of its TXT records (None: none)."""
    text = ""
    for name, txt in rua.items():
        text += f"{name} MX 10 mx\n"
        for one in txt:
            text += f'_smtp._tls.{name} TXT {" ".join(chr(34) + one[i:i + 200] + chr(34) for i in range(0, len(one), 200))}\n'
    return text + f"mx A {MX}\nweb A {WEB}\n"


def scene(t, rua, over=None, policy=None, tlsrpt=None, receiver="good"):
    """Domains NAME.t.example with these TXT records, all behind one host; the receivers' host web.t.example;
    and r.example, whose mail host has TLSA records that nothing can match."""
    global lab, port
    if lab is None:
        port = free_port([MX, RUA])
        other = t.certs.issue("unused.example", kind="self-signed")
        lab = Lab(tempfile.mkdtemp(prefix="sp-rpt-"), {
            "example": Zone(), "t.example": Zone("", kind="unsigned", ttl=0),
            "r.example": Zone(f"@ MX 10 mx\nmx A {RUA}\n_{port}._tcp.mx TLSA {other.tlsa('3 1 1')}\n")}).start()
        atexit.register(stop_lab)
    t.zones_lab = lab
    t.web = Receiver(t.certs.issue("web.t.example", kind=receiver), WEB)
    t.parts.append(t.web.stop)
    filled = {name: [x.replace("WEB", f"https://web.t.example:{t.web.port}") for x in txt]
              for name, txt in rua.items()}
    lab.update("t.example", records(filled))
    t.hop = t.nexthop(port=port, host=MX, name="mx.t.example", cert=t.certs.issue("mx.t.example"))
    t.rua = t.nexthop(port=port, host=RUA, name="mx.r.example", cert=t.certs.issue("mx.r.example", kind="expired"))
    config = {"tlsrpt": dict({"organization": 'Acme "TLS" Ltd', "contact": "tls@gw.example", "delay": "0s",
                              "allow_private": True}, **(tlsrpt or {}))}
    t.gw = t.gateway(hop_port=port, over=case.merge(config, over or {}), policy=policy)
    send(t, list(rua))
    return t.gw


def send(t, names):
    c = t.secure_client(t.gw, "relay")
    for name in names:
        c.send_message("a@gw.example", [f"b@{name}.t.example"], MESSAGE)
    c.quit()
    t.gw.wait_queue_empty()
    t.gw.wait_for(lambda: len(days(t)) == len(names), what="counts")


def later(t, ms):
    """Stops, and starts with the clock so much later than it is."""
    t.gw.env["SALLYPORT_CLOCK_SHIFT_MS"] = str(ms)
    t.gw.restart()


def rows(t, sql, *values, write=False):
    db = sqlite3.connect(t.gw.dir + "/state/queue.db", timeout=10)
    try:
        got = db.execute(sql, values).fetchall()
        if write:
            db.commit()
        return got
    finally:
        db.close()


STATES = ["open", "delivered", "given-up", "unwanted"]


def days(t):
    return {d.partition(".")[0]: (STATES[state], note) for d, state, note in
            rows(t, "SELECT domain, state, note FROM tlsrpt_day WHERE domain LIKE '%.t.example'")}


def wait_state(t, name, state):
    t.gw.wait_for(lambda: days(t)[name][0] == state, what=f"{name} is {state}")
    return days(t)[name][1] or ""


def wait_tries(t, name, n):
    def tried():
        return rows(t, "SELECT 1 FROM tlsrpt_day WHERE domain = ? AND tries = ? AND node IS NULL",
                    f"{name}.t.example", n)
    t.gw.wait_for(tried, what=f"{n} tries for {name}")
    t.eq(days(t)[name][0], "open", name)


def check_report(t, gz, name):
    report = json.loads(gzip.decompress(gz))
    t.eq(report["organization-name"], 'Acme "TLS" Ltd', "organization-name")
    t.eq(report["contact-info"], "tls@gw.example", "contact-info")
    t.eq([p["policy"]["policy-domain"] for p in report["policies"]], [f"{name}.t.example"], "policy-domain")
    t.eq(report["policies"][0]["summary"]["total-successful-session-count"], 1, "sessions")
    return report


# ---- Mail ----

def keys(t):
    """A private key, and the DNS record of its other half."""
    path = t.path("dkim.pem")
    subprocess.run(["openssl", "genrsa", "-out", path, "2048"], check=True, capture_output=True)
    der = subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-outform", "DER"], check=True,
                         capture_output=True).stdout
    return path, b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)


@case.register("by-mail", "T-06", "T-07", "T-08", "T-20", "T-21", "T-22", "T-23", "T-27")
def by_mail(t):
    """One message to both addresses: signed, from the null sender, to a host whose TLSA records do not fit its
    certificate, which is out of date as well. Its session is in no report."""
    if dkim is None:
        t.skip("python3-dkim is missing")
    path, record = keys(t)
    scene(t, {"m": ["v=TLSRPTv1; rua=mailto:tls@r.example,mailto:Two%2Bx@r.example"]},
          tlsrpt={"dkim": {"domain": "gw.example", "selector": "s1", "key": Lua(f'gw.secret "file:{path}"')}})
    later(t, DAY_MS)
    m = t.rua.wait_messages(1)[0]
    t.gw.wait_queue_empty()
    t.check(m.mail.startswith("MAIL FROM:<>"), m.mail)
    t.eq(len(m.rcpts), 2, "recipients")
    got = email.message_from_bytes(m.data, policy=email.policy.default)
    t.eq(got.get_content_type(), "multipart/report", "type")
    t.eq(got.get_param("report-type"), "tlsrpt", "report-type")
    parts = list(got.iter_parts())
    t.eq([p.get_content_type() for p in parts], ["text/plain", "application/tlsrpt+gzip"], "parts")
    report = check_report(t, parts[1].get_content(), "m")
    t.eq((got["TLS-Report-Domain"], got["TLS-Report-Submitter"]), ("m.t.example", "gw.example"), "TLS-Report")
    t.eq(got["Subject"], f"Report Domain: m.t.example Submitter: gw.example Report-ID: <{report['report-id']}>",
         "Subject")
    t.eq(got["From"].addresses[0].display_name, 'Acme "TLS" Ltd', "From")
    t.eq(got["From"].addresses[0].addr_spec, "tls@gw.example", "From")
    t.eq([a.addr_spec for a in got["To"].addresses], ["tls@r.example", "Two+x@r.example"], "To")
    t.eq(got["TLS-Required"], "No", "TLS-Required")
    t.check(parts[1].get_filename().startswith("gw.example!m.t.example!"), parts[1].get_filename())
    t.check(parts[1].get_filename().endswith(".json.gz"), parts[1].get_filename())

    def txt(name, timeout=5):
        t.eq(name, b"s1._domainkey.gw.example.", "key record")
        return record
    t.check(dkim.verify(m.data, dnsfunc=txt), "DKIM")
    t.check(not dkim.verify(m.data.replace(b"Subject: Report", b"Subject: report"), dnsfunc=txt), "DKIM, changed")
    t.lacks(got["DKIM-Signature"].replace(" ", ""), ";l=", "DKIM-Signature")
    t.has(got["DKIM-Signature"].lower(), "tls-report-submitter", "DKIM-Signature")
    wait_state(t, "m", "delivered")
    t.eq(rows(t, "SELECT domain FROM tlsrpt_day WHERE domain LIKE '%r.example'"), [], "counts of the report's session")
    t.eq(len(t.rua.messages), 1, "messages")


# ---- HTTPS ----

@case.register("by-https", "T-02", "T-04", "T-24", "T-25", "X-42")
def by_https(t):
    """201 and 200 are fine; 500, a redirect and silence are tried again with more and more time between, also
    after a restart, and given up after a day."""
    scene(t, {"ok": ["v=TLSRPTv1; rua=WEB/ok"], "both": ["v=TLSRPTv1; rua=WEB/no,WEB/fine"],
              "late": ["v=TLSRPTv1; rua=WEB/late"], "moved": ["v=TLSRPTv1; rua=WEB/moved"],
              "nobody": [], "two": ["v=TLSRPTv1; rua=WEB/two", "v=TLSRPTv1; rua=WEB/deux"]})
    t.web.says.update({"/no": "500 No", "/fine": "200 OK", "/late": "500 Later", "/moved": "301 Moved"})
    t.web.extra["/moved"] = [f"Location: https://web.t.example:{t.web.port}/elsewhere"]
    later(t, DAY_MS)
    post = t.web.wait("/ok")[0]
    t.eq(post.fields["content-type"], "application/tlsrpt+gzip", "Content-Type")
    check_report(t, post.body, "ok")
    for name in ("ok", "both"):
        wait_state(t, name, "delivered")
    for name in ("nobody", "two"):
        wait_state(t, name, "unwanted")
    for name in ("late", "moved"):
        wait_tries(t, name, 1)
    t.has(days(t)["late"][1], "HTTP status 500", "note")
    t.eq((len(t.web.at("/two") + t.web.at("/deux")), len(t.web.at("/elsewhere")), len(t.web.others)), (0, 0, 0), "requests")

    t.web.says["/late"] = "202 Accepted"
    later(t, DAY_MS + 16 * MINUTE_MS)
    wait_state(t, "late", "delivered")
    wait_tries(t, "moved", 2)
    later(t, 2 * DAY_MS + MINUTE_MS)
    wait_state(t, "moved", "given-up")
    t.gw.wait_log(r"TLS report given up.*moved\.t\.example")
    t.eq((len(t.web.at("/ok")), len(t.web.at("/fine")), len(t.web.at("/late"))), (1, 1, 2), "reports")


@case.register("certificates", "T-10")
def certificates(t):
    """A receiver without a good certificate gets nothing, unless the configuration says otherwise."""
    scene(t, {"a": ["v=TLSRPTv1; rua=WEB/a"]}, receiver="self-signed")
    later(t, DAY_MS)
    wait_tries(t, "a", 1)
    t.eq(len(t.web.posts), 0, "posts")
    t.gw.config["tlsrpt"]["verify"] = False
    t.gw.write()
    later(t, DAY_MS + 20 * MINUTE_MS)
    wait_state(t, "a", "delivered")
    t.eq(len(t.web.posts), 1, "posts")


@case.register("private-addresses", "T-30")
def private_addresses(t):
    """A stranger's record names a host of ours, by name or number: nobody connects to it."""
    scene(t, {"name": ["v=TLSRPTv1; rua=WEB/x"], "number": [f"v=TLSRPTv1; rua=https://{WEB}/x"]},
          tlsrpt={"allow_private": False, "verify": False})
    later(t, DAY_MS)
    wait_tries(t, "name", 1)
    t.has(days(t)["name"][1], "only addresses that reports are not sent to", "note")
    t.has(wait_state(t, "number", "unwanted"), "not usable", "note")
    t.eq(len(t.web.posts) + len(t.web.others), 0, "requests")


# ---- Whether at all ----

HOOK = """
gw.on("tlsrpt", function(domain, day)
  if domain.name == "skip.t.example" then return gw.suppress { reason = "not to them on " .. day } end
  if domain.name == "else.t.example" then
    return gw.report { to = { "https://web.t.example:PORT/ours" }, reason = "ours" }
  end
  if domain.name == "broken.t.example" then return "yes" end
  if domain.name == "bad.t.example" then return gw.report { to = { "gopher://x" } } end
end, { name = "reports" })
"""


@case.register("hook", "T-04", "I5", "tlsrpt/nil", "tlsrpt/suppress", "tlsrpt/report", "tlsrpt/error")
def hook(t):
    """What the tlsrpt hook says: nothing, no report, another receiver; and what a broken one comes to."""
    web = Receiver(t.certs.issue("web.t.example"), WEB)
    t.parts.append(web.stop)
    scene(t, {n: [f"v=TLSRPTv1; rua=WEB/{n}"] for n in ("as", "skip", "else", "broken", "bad")},
          policy=HOOK.replace("PORT", str(web.port)))
    later(t, DAY_MS)
    wait_state(t, "as", "delivered")
    wait_state(t, "else", "delivered")
    t.has(wait_state(t, "skip", "unwanted"), "not to them on 20", "note")
    for name in ("broken", "bad"):
        wait_tries(t, name, 1)
        t.has(days(t)[name][1], "the tlsrpt hook failed", "note")
    t.eq([p.path for p in t.web.posts], ["/as"], "posts")
    t.eq([p.path for p in web.posts], ["/ours"], "posts elsewhere")
    t.gw.wait_log(r"policy failed.*returned a string")


@case.register("one-node", "T-25")
def one_node(t):
    """A report that another node has claimed is not sent; when its claim has run out, it is. And a node that is
    not to send leaves it alone."""
    scene(t, {"a": ["v=TLSRPTv1; rua=WEB/a"], "b": ["v=TLSRPTv1; rua=WEB/b"]})
    t.gw.stop()
    claim = int(time.time() * 1000) + DAY_MS + 60 * MINUTE_MS
    rows(t, "UPDATE tlsrpt_day SET node = 'mx2.gw.example', lease_ms = ? WHERE domain = 'a.t.example'", claim,
         write=True)
    t.gw.start()
    later(t, DAY_MS)
    wait_state(t, "b", "delivered")
    t.eq((days(t)["a"][0], len(t.web.at("/a"))), ("open", 0), "the other's report")
    t.gw.config["tlsrpt"]["send"] = False
    t.gw.write()
    later(t, DAY_MS + 90 * MINUTE_MS)
    time.sleep(1.5)             # it would have been claimed by now
    t.eq((days(t)["a"][0], len(t.web.at("/a"))), ("open", 0), "a node that does not send")
    t.gw.config["tlsrpt"]["send"] = True
    t.gw.write()
    later(t, DAY_MS + 90 * MINUTE_MS)
    wait_state(t, "a", "delivered")
    t.eq((len(t.web.at("/a")), len(t.web.at("/b"))), (1, 1), "reports")


@case.register("not-at-midnight", "T-11")
def not_at_midnight(t):
    """With a delay nothing goes out at once; what was chosen is kept, and within bounds."""
    scene(t, {"a": ["v=TLSRPTv1; rua=WEB/a"]}, tlsrpt={"delay": "24h"})
    day = int(time.time()) // 86400
    rest = (day + 1) * DAY_MS - int(time.time() * 1000)
    later(t, rest + 1000)

    def chosen():
        return rows(t, "SELECT first_ms, next_ms FROM tlsrpt_day WHERE first_ms > 0 AND node IS NULL")
    first, following = t.gw.wait_for(chosen, what="a choice")[0]
    end = (day + 1) * DAY_MS
    t.check(end <= first <= end + DAY_MS and following == first, f"chosen: {first - end} ms after midnight")
    t.eq(len(t.web.posts), 0, "posts")
    later(t, rest + DAY_MS + MINUTE_MS)
    wait_state(t, "a", "delivered")


case.main()
