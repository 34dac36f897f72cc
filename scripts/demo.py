"""A gateway and a small world around it, on loopback: signed DNS, mail hosts that offer REQUIRETLS,
do not, or have a broken certificate, and the company's own server, where notices arrive. Four
messages go through; for each the verdict, the reason and the evidence are printed. Ends with 0 when
all four went as they should."""

import os
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True
SRC = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("SALLYPORT_LUADIR", os.path.join(SRC, "lua"))           # not installed
sys.path.insert(0, os.path.join(SRC, "tests"))

from lab.certs import Certs                                 # noqa: E402
from lab.client import Client                               # noqa: E402
from lab.gateway import Gateway, basic_config               # noqa: E402
from lab.lab import Lab, Zone, free_port                    # noqa: E402
from lab.nexthop import NextHop                             # noqa: E402

ZONES = {
    "example": Zone(),
    "clinic.example": Zone("@ MX 10 mx\nmx A 127.0.0.11"),
    "archive.example": Zone("@ MX 10 mx\nmx A 127.0.0.12"),
    "partner.example": Zone("@ MX 10 mx\nmx A 127.0.0.13"),
}

failures = []


def say(text=""):
    print(text, flush=True)


def expect(condition, what):
    if not condition:
        failures.append(what)
        say(f"  NOT AS EXPECTED: {what}")


class World:
    def __init__(self, directory):
        self.certs = Certs(os.path.join(directory, "certs"))
        self.lab = Lab(os.path.join(directory, "dns"), ZONES).start()
        port = free_port([f"127.0.0.{n}" for n in (1, 11, 12, 13)])
        issue = self.certs.issue
        self.clinic = NextHop(host="127.0.0.11", port=port, cert=issue("mx.clinic.example"), requiretls=True)
        self.archive = NextHop(host="127.0.0.12", port=port, cert=issue("mx.archive.example"))
        self.partner = NextHop(host="127.0.0.13", port=port, cert=issue("mx.partner.example", kind="expired"))
        self.inside = NextHop(host="127.0.0.1", port=port, cert=issue("inside.example"))
        config = basic_config(self.certs, self.lab, hop_port=port, over={
            "service": {"workers": 2},
            "policy": {"load": [os.path.join(SRC, "policies", name, "policy.lua")
                                for name in ("subject_tag", "tlsno_roles")]},
            # Our own rule: mail to the partner goes over verified TLS, unless the sender waives it
            # with TLS-Required: No and the policy lets that count.
            "domains": [{"match": ["gw.example"], "kind": "local", "route": "inside"},
                        {"match": ["partner.example"], "kind": "remote", "route": "partner"},
                        {"match": "*", "kind": "remote", "route": "internet"}],
            "routes": {"partner": {"via": "mx", "port": port, "tls": "verify", "waivable": True}},
            "queue": {"path": "state/queue.db", "retry": ["1h"]},
            "log": {"level": "info"},
        })
        self.gateway = Gateway(os.path.join(directory, "gateway"), config)

    def stop(self):
        self.gateway.stop()
        for hop in (self.clinic, self.archive, self.partner, self.inside):
            hop.stop()
        self.lab.stop()

    def send(self, to, *header):
        """One message from our own user through the relay listener; its id."""
        with Client(self.gateway.port("relay")) as c:
            c.ehlo("pc7.gw.example")
            c.starttls(sni="gw.example")
            c.ehlo("pc7.gw.example")
            text = "\r\n".join(["From: ann@gw.example", f"To: {to}", *header, "", "The body.", ""])
            reply = c.send_message("ann@gw.example", [to], text.encode())
            c.quit()
        return reply.lines[0].split()[-1]


def evidence(world, message):
    say("  evidence:")
    for line in world.gateway.run("evidence", "show", message).stdout.splitlines():
        say("    " + line)


def wait_gone(world, message):
    world.gateway.wait_for(lambda: world.gateway.run("queue", "show", message).returncode != 0, 20,
                           f"the end of message {message}")


def record(world, message):
    rows = world.gateway.json("evidence", "show", message)["evidence"]
    return rows[-1]["record"] if rows else {}


def title(n, text):
    say(f"\n=== {n}. {text}")


def tagged(world):
    title(1, 'Subject "[secure] results" to clinic.example: the rule subject_tag.require asks for REQUIRETLS')
    message = world.send("bob@clinic.example", "Subject: [secure] results")
    wait_gone(world, message)
    got = world.clinic.wait_messages(1)[0]
    r = record(world, message)
    say(f"  verdict: delivered over {r.get('tls_version')} with REQUIRETLS, certificate verified by "
        f"{r.get('verified')}, MX by {r.get('mx')}")
    say(f"  the next hop saw: {got.mail}")
    expect(got.has_requiretls, "MAIL carries REQUIRETLS")
    evidence(world, message)


def bounced(world):
    title(2, "The same to archive.example, whose host does not list REQUIRETLS")
    message = world.send("bob@archive.example", "Subject: [secure] results")
    wait_gone(world, message)
    notice = world.inside.wait_messages(1)[0]
    r = record(world, message)
    say(f"  verdict: bounced {r.get('reply_status')}, {r.get('reason')}; MAIL commands at the host: "
        f"{len(world.archive.commands('MAIL'))}")
    say(f"  the notice to ann@gw.example: {notice.mail}, Subject: {notice.header('Subject')}")
    expect(r.get("reply_status") == "5.7.30", "status 5.7.30")
    expect(world.archive.commands("MAIL") == [], "nothing was sent")
    expect(b"The body." not in notice.data, "the notice holds no body")
    evidence(world, message)


def waived(world):
    title(3, "TLS-Required: No to postmaster@partner.example, whose certificate has expired")
    message = world.send("postmaster@partner.example", "Subject: your certificate", "TLS-Required: No")
    wait_gone(world, message)
    got = world.partner.wait_messages(1)[0]
    r = record(world, message)
    say(f"  verdict: delivered, header {r.get('tls_required_no')}; {r.get('tls_version')}, certificate not "
        f"verified ({r.get('verify_error')})")
    expect(not got.has_requiretls, "no REQUIRETLS on such mail (R-67)")
    expect(r.get("tls_required_no") == "honoured", "the header was honoured")
    evidence(world, message)


def ignored(world):
    title(4, "The same header to ann@partner.example: the policy tlsno.roles ignores it")
    message = world.send("ann@partner.example", "Subject: hello", "TLS-Required: No")
    gw = world.gateway
    gw.wait_for(lambda: [m for m in gw.queue() if m["id"] == message and
                         (m["recipients"][0].get("last") or {}).get("status")], 20, "a deferral")
    last = gw.json("queue", "show", message)["recipients"][0]["last"]
    say(f"  verdict: waits, {last['status']} {last['reason']}: {last['text']}")
    say("  queue:")
    for line in gw.run("queue", "list").stdout.splitlines():
        say("    " + line)
    say("  log:")
    for line in gw.log_lines(message):
        say("    " + line)
    expect(last["status"].startswith("4.7."), "status 4.7.x")
    expect(len(world.partner.messages) == 1, "not delivered without verification")


def main():
    directory = tempfile.mkdtemp(prefix="sp-demo-")
    say("Starting signed DNS, four mail hosts and the gateway on loopback ...")
    world = World(directory)
    try:
        for step in (tagged, bounced, waived, ignored):
            step(world)
        say()
        say(world.gateway.run("evidence", "verify").stdout.strip())
    except Exception:
        say(world.gateway.log_tail())
        raise
    finally:
        world.stop()
    if failures:
        say(f"\n{len(failures)} things were not as expected; files are in {directory}")
        sys.exit(1)
    shutil.rmtree(directory, ignore_errors=True)
    say("\nAll four went as they should.")


main()
