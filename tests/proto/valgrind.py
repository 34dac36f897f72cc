"""The daemon under valgrind through a day in small: no error, no definite leak."""

import shutil
import subprocess

import case
from case import Zone
from lab.gateway import find_program

MESSAGE = b"From: a@gw.example\r\nTo: b@good.example\r\nSubject: [secure] x\r\n\r\nhello\r\n"

POLICY = """
gw.rule { name = "v.tag", at = "message", when = gw.match.subject_word "[secure]",
          act = { gw.action.require_tls { level = "requiretls", reason = "marked" } } }
gw.on("bounce", function(message, bounce) bounce.redact = { "received" } end, { name = "v.bounce" })
gw.on("result", function(message, rcpt, result) message:note(result.kind) end, { name = "v.result" })
gw.on("mail", function(session, message) error("never from here: " .. message.from.text) end,
  { name = "v.fail", when = gw.match.sender "evil@gw.example" })
"""


@case.register("valgrind-finds-nothing", seconds=110)
def finds_nothing(t):
    """Delivery with REQUIRETLS, a bounce, a deferral, a failing hook, a reload, a stop."""
    if shutil.which("valgrind") is None:
        t.skip("valgrind is not installed")
    if "__asan" in subprocess.run(["nm", "-D", find_program("sallyportd")], capture_output=True,
                                  text=True, check=False).stdout:
        t.skip("built with sanitizers, which valgrind cannot run")
    good, plain, inside = t.nexthops(
        {"host": "127.0.0.11", "cert": t.certs.issue("mx1.good.example"), "requiretls": True},
        {"host": "127.0.0.12", "cert": t.certs.issue("mx1.plain.example")},
        {"host": "127.0.0.1", "cert": t.certs.issue("127.0.0.1")})
    t.lab({"good.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.11"),
           "plain.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.12"),
           "down.example": Zone("@ MX 10 mx1\nmx1 A 127.0.0.13")})
    out = t.path("valgrind.out")
    # Valgrind knows neither of the calls that confine, and needs more of them than the daemon.
    gw = t.gateway(hop_port=good.port, policy=POLICY, over={
        "queue": {"retry": ["1h"]}, "service": {"seccomp": "off", "landlock": "off"}},
                   wrap=["valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=definite",
                         "--errors-for-leak-kinds=definite", "--error-exitcode=9", f"--log-file={out}"])
    c = t.secure_client(gw, "relay", timeout=40)
    for to in ("b@good.example", "b@plain.example", "b@down.example"):
        c.send_message("a@gw.example", [to], MESSAGE)
    c.mail("evil@gw.example", code="4.3.0")
    c.quit()
    good.wait_messages(1, 40)
    inside.wait_messages(1, 40)
    gw.wait_log("message deferred", 40)
    t.eq(gw.run("reload", timeout=60).returncode, 0, "reload")
    t.eq(plain.commands("MAIL"), [], "MAIL without the keyword")
    gw.stop(timeout=60)     # exit status 0: valgrind found nothing
    with open(out, encoding="utf-8") as f:
        t.eq(f.read(), "", "valgrind's words")


case.main()
