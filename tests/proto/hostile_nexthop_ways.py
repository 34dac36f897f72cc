"""The ways of tests/proto/hostile_nexthop.py: what the next hop does, and what must become of mail.

    D    delivered, once        Q    still queued after the first attempt
    B    returned; "B5.7.30": with this status

for plain mail, for REQUIRETLS mail (default: the same) and, where it is said, for mail with
`TLS-Required: No`."""

import ssl

from lab.hostile import (Over, Way, close, drip, endless, goodbye, hang, once, rst, stop_reading, then_close,
                         then_rst)

STARTTLS = [b"250-mx", b"250 STARTTLS"]
NO_PIPELINING = ["SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "REQUIRETLS"]
CHUNKING = NO_PIPELINING + ["CHUNKING"]


def lines(n, text, code=b"250"):
    """A reply of n lines."""
    return code + b"-" + (text + b"\r\n" + code + b"-").join([b""] * n) + code + b" end\r\n" if n > 1 else \
        code + b" " + text + b"\r\n"


def many(n, octets=10, code=b"250"):
    """A reply of exactly n lines of so many octets of text."""
    return b"".join(code + (b"-" if i + 1 < n else b" ") + b"x" * octets + b"\r\n" for i in range(n))


def long_line(octets, code=b"250"):
    """A reply of one line with so many octets, CR LF included."""
    return code + b" " + b"x" * (octets - 6) + b"\r\n"


def handshake_reply(data, end=close):
    """Octets instead of a ServerHello."""
    def act(leg, line):
        leg.sock.recv(65536)
        if data:
            leg.send(data)
        end(leg, line)
    return act


def clear_first(data):
    """Behind the 220 to STARTTLS, in one write with it and in clear."""
    return b"220 go ahead\r\n" + data


def second_greeting(leg, line):
    leg.send(b"220 mx once more\r\n")


def flush_pipeline(leg, line):
    """Offers PIPELINING and throws away what was sent ahead."""
    leg.buffer = b""
    return b"250 ok\r\n"


def takes_commands_for_bdat(leg, line):
    """BDAT is unknown, so the content is a list of unknown commands."""
    leg.send(b"502 5.5.1 what is BDAT?\r\n")
    while True:
        leg.line()
        leg.send(b"500 5.5.2 what?\r\n")


def refuse_parameter(leg, line):
    return b"555 5.5.4 unknown parameter\r\n" if "REQUIRETLS" in line.upper() else b"250 ok\r\n"


def by_recipient(leg, line):
    if "bad@" in line:
        return b"550 5.1.1 nobody\r\n"
    return b"451 4.2.1 later\r\n" if "later@" in line else b"250 ok\r\n"


def reads_little(end):
    """Takes some of the content, then ends."""
    def act(leg, line):
        while len(leg.buffer) < 200:
            leg.read()
        end(leg, line)
    return act


def early_final(leg, line):
    """The final reply in the middle of the content."""
    leg.send(b"354 go ahead\r\n250 2.0.0 taken, though it never came\r\n")
    return None


def refused_early(leg, line):
    leg.read()
    leg.send(b"552 5.3.4 too much\r\n")
    raise Over


def all_lines(leg, line):
    """Everything of a message, then silence: for BODY."""
    hang(leg, line)


EVIL = b"550 5.1.0 \x1b[2J\x07no\x00such\x7f\rX-Fake: one\x0bmbox\r\n"

STAGES = [   # place, what mail of both kinds becomes when it fails there for now
    "GREETING", "EHLO", "STARTTLS", "TLS-EHLO", "MAIL", "RCPT", "DATA", "."]

WAYS = [
    Way("good", plain="D", no="D"),

    # ---- connecting and greeting ----
    Way("refused-connection", ("X-53",), listens=False, plain="Q"),
    Way("closes-at-connect", at={"CONNECT": close}, plain="Q"),
    Way("resets-at-connect", at={"CONNECT": rst}, plain="Q"),
    Way("says-nothing", ("X-44",), {"CONNECT": hang}, plain="Q"),
    Way("greeting-drips", ("X-44",), {"GREETING": drip(b"220-welcome to the mail host\r\n")}, plain="Q"),
    Way("greeting-endless", ("X-43",), {"GREETING": endless(b"220-welcome\r\n")}, plain="Q"),
    Way("greeting-one-endless-line", ("X-43",), {"GREETING": endless(b"220-welcome ")}, plain="Q"),
    Way("greeting-554", at={"GREETING": b"554 5.3.2 no\r\n"}, plain="Q"),
    Way("greeting-521", ("Z-08",), {"GREETING": b"521 5.3.2 this host takes no mail\r\n"}, plain="B5.3.2"),
    Way("greeting-354", ("X-46",), {"GREETING": b"354 go\r\n"}, plain="Q"),
    Way("greeting-250", ("X-46",), {"GREETING": b"250 mx\r\n"}, plain="Q"),
    Way("greeting-http", ("X-46",), {"GREETING": b"HTTP/1.1 400 Bad Request\r\n\r\n"}, plain="Q"),
    Way("greeting-half", ("X-46",), {"GREETING": then_close(b"220-mx\r\n220-welc")}, plain="Q"),
    Way("greeting-with-ehlo-reply", ("X-45",), {"GREETING": b"220 mx\r\n250-mx\r\n250 REQUIRETLS\r\n"}, plain="Q"),
    Way("greeting-with-controls", ("X-47",), {"GREETING": b"220 mx\x00 \x1b[31m \xff\xfe\r\n"}, plain="D"),

    # ---- EHLO ----
    Way("ehlo-endless", ("X-43",), {"EHLO": endless(b"250-SIZE 1\r\n")}, plain="Q"),
    Way("ehlo-128-lines", ("X-43",), {"TLS-EHLO": b"250-mx\r\n" + b"250-X-NOTHING\r\n" * 126 + b"250 REQUIRETLS\r\n"},
        plain="D"),
    Way("ehlo-129-lines", ("X-43",), {"TLS-EHLO": b"250-mx\r\n" + b"250-X-NOTHING\r\n" * 127 + b"250 REQUIRETLS\r\n"},
        plain="Q"),
    Way("ehlo-over-64-KiB", ("X-43",), {"TLS-EHLO": many(100, 700)}, plain="Q"),
    Way("ehlo-line-2048", ("X-43",), {"TLS-EHLO": b"250-mx\r\n250-" + b"x" * 2042 + b"\r\n250 REQUIRETLS\r\n"}, plain="D"),
    Way("ehlo-line-2049", ("X-43",), {"TLS-EHLO": b"250-mx\r\n250-" + b"x" * 2043 + b"\r\n250 REQUIRETLS\r\n"}, plain="Q"),
    Way("ehlo-mixed-codes", ("X-46",), {"EHLO": b"250-mx\r\n251 STARTTLS\r\n"}, plain="Q"),
    Way("ehlo-two-digits", ("X-46",), {"EHLO": b"25 mx\r\n"}, plain="Q"),
    Way("ehlo-no-space", ("X-46",), {"EHLO": b"250mx\r\n"}, plain="Q"),
    Way("ehlo-999", ("X-46",), {"EHLO": b"999 mx\r\n"}, plain="Q"),
    Way("ehlo-354", ("X-46",), {"EHLO": b"354 mx\r\n"}, plain="Q"),
    Way("ehlo-220", ("X-46",), {"EHLO": b"220 mx\r\n"}, plain="Q"),
    Way("ehlo-bare-lf", ("X-46",), {"EHLO": b"250-mx\n250 STARTTLS\n"}, plain="Q"),
    Way("ehlo-never-ends", ("X-46",), {"EHLO": then_close(b"250-mx\r\n250-STARTTLS\r\n")}, plain="Q"),
    Way("ehlo-drips", ("X-44",), {"EHLO": drip(b"250-STARTTLS\r\n")}, plain="Q"),
    Way("ehlo-refused", ("X-33",), {"EHLO": b"500 5.5.1 what?\r\n"}, plain="D", tagged="B5.7.10", no="D"),
    Way("ehlo-and-helo-refused", ("X-33",), {"EHLO": b"500 what?\r\n", "HELO": b"500 what?\r\n"}, plain="Q",
        tagged="B5.7.10"),
    Way("second-greeting-after-tls", ("X-45", "R-122"), {"SECURED": second_greeting}, plain="Q"),

    # ---- STARTTLS ----
    Way("starttls-not-offered", ("X-33",), starttls=False, plain="D", tagged="B5.7.10", no="D"),
    Way("starttls-vanishes", ("X-33",), caps=["PIPELINING", "XXXXXXXX"], plain="D", tagged="B5.7.10", no="D"),
    Way("starttls-502", ("X-33",), {"STARTTLS": b"502 5.5.1 no\r\n"}, plain="D", tagged="B5.7.10", no="D"),
    Way("starttls-454", ("X-33",), {"STARTTLS": b"454 4.7.0 not now\r\n"}, plain="D", tagged="Q", no="D"),
    Way("starttls-250", ("X-46",), {"STARTTLS": b"250 ok\r\n"}, plain="Q", no="Q"),
    Way("starttls-354", ("X-46",), {"STARTTLS": b"354 go\r\n"}, plain="Q"),
    Way("starttls-preloaded", ("X-45",), {"EHLO": b"250-mx\r\n250 STARTTLS\r\n220 go ahead\r\n"}, plain="Q", no="Q"),
    Way("injected-reply-behind-220", ("X-32", "X-45"), {"STARTTLS": clear_first(b"250 mx\r\n")}, plain="Q", no="Q"),
    Way("injected-ehlo-behind-220", ("X-32",), {"STARTTLS": clear_first(b"250-mx\r\n250-PIPELINING\r\n250 REQUIRETLS\r\n")},
        plain="Q", no="Q"),
    Way("injected-octet-behind-220", ("X-32",), {"STARTTLS": clear_first(b"\x16")}, plain="Q", no="Q"),
    Way("handshake-garbage", ("X-33",), {"HANDSHAKE": handshake_reply(b"\x16\x03\x01garbage" * 9)}, plain="D",
        tagged="B5.7.10", no="D"),
    Way("handshake-in-clear", ("X-33",), {"HANDSHAKE": handshake_reply(b"500 5.5.2 what?\r\n")}, plain="D",
        tagged="B5.7.10", no="D"),
    Way("handshake-hangs", ("X-33", "X-44"), {"HANDSHAKE": hang}, plain="D", tagged="Q", no="D"),
    Way("handshake-drips", ("X-44",), {"HANDSHAKE": handshake_reply(b"", drip(
        b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb" + b"\x03" * 100))},
        plain="D", tagged="Q", no="D"),
    Way("handshake-closes", ("X-33",), {"HANDSHAKE": handshake_reply(b"")}, plain="D", tagged="B5.7.10", no="D"),
    Way("handshake-resets", ("X-33",), {"HANDSHAKE": handshake_reply(b"", rst)}, plain="D", tagged="B5.7.10", no="D"),
    Way("tls-1.0-only", ("X-33",), tls_max=ssl.TLSVersion.TLSv1, ciphers="DEFAULT:@SECLEVEL=0", plain="D",
        tagged="B5.7.10", no="D"),
    Way("tls-1.1-only", ("X-33",), tls_max=ssl.TLSVersion.TLSv1_1, ciphers="DEFAULT:@SECLEVEL=0", plain="D",
        tagged="B5.7.10", no="D"),

    # ---- certificates: the mail goes without the tag, and only without ----
    *[Way(f"cert-{kind}", ("X-52",), cert=kind, plain="D", tagged="B5.7.10", no="D") for kind in
      ("self-signed", "expired", "future", "wrong-name", "cn-only", "client", "other-ca", "nul-in-name", "deep-wildcard",
       "partial-wildcard", "bare-wildcard", "ip-san", "uri-san", "email-san", "expired-intermediate",
       "missing-intermediate", "intermediate-is-no-ca")],
    Way("cert-weak-key", ("X-52",), cert="weak-key", tls_max=ssl.TLSVersion.TLSv1_2, ciphers="ALL:@SECLEVEL=0",
        plain="D", tagged="B5.7.10", no="D"),
    Way("cert-with-intermediate", ("X-52",), cert="intermediate", plain="D", no="D"),

    # ---- extensions ----
    Way("requiretls-in-clear-only", ("X-33",), caps=["STARTTLS", "PIPELINING", "REQUIRETLS"], requiretls=False,
        plain="D", tagged="B5.7.30", no="D"),
    Way("requiretls-without-starttls", ("X-33",), caps=["PIPELINING", "REQUIRETLS"], plain="D", tagged="B5.7.10"),
    Way("requiretls-with-a-value", ("X-33",), tls_caps=["PIPELINING", "REQUIRETLS 1"], plain="D", tagged="B5.7.30"),
    Way("requiretls-555", ("X-33", "X-49"), {"MAIL": refuse_parameter}, plain="D", tagged="B5.7.30"),
    Way("requiretls-550-to-mail", ("X-33",), {"MAIL": b"550 5.7.1 not you\r\n"}, plain="B5.7.1"),
    Way("ehlo-refused-inside-tls", ("X-33",), {"TLS-EHLO": b"500 what?\r\n"}, plain="D", tagged="B5.7.10"),
    Way("size-smaller", ("X-49",), tls_caps=["SIZE 300", "REQUIRETLS"], plain="B5.3.4"),
    Way("size-refused-at-mail", ("X-49",), {"MAIL": b"552 5.3.4 too big\r\n"}, plain="B5.3.4"),
    Way("8bitmime-missing", ("X-49",), tls_caps=["PIPELINING", "REQUIRETLS"], message="8bit", plain="B5.6.3"),
    Way("8bitmime-offered", ("X-49",), message="8bit", plain="D"),
    Way("smtputf8-missing", ("X-49",), tls_caps=["PIPELINING", "8BITMIME", "REQUIRETLS"], message="utf8", plain="B5.6.7"),
    Way("dsn-missing", ("X-49",), tls_caps=["PIPELINING", "REQUIRETLS"], message="dsn", plain="D"),
    Way("pipelining-is-a-lie", ("X-49",), {"MAIL": flush_pipeline}, plain="Q"),
    Way("pipelining-missing", ("X-49",), tls_caps=NO_PIPELINING, plain="D"),
    Way("bdat-refused", ("X-49",), {"BDAT": takes_commands_for_bdat}, tls_caps=CHUNKING, plain="D"),
    Way("bdat-refused-at-once", ("X-49",), {"BDAT": then_close(b"503 5.5.1 no\r\n")}, tls_caps=CHUNKING, plain="D"),
    Way("bdat-refused-and-data-too", ("X-49",), {"BDAT": takes_commands_for_bdat, "DATA": b"502 5.5.1 no\r\n"},
        tls_caps=CHUNKING, plain="B5.5.1"),
    Way("bdat-451", ("X-49",), {"BDAT": b"451 4.3.0 later\r\n"}, tls_caps=CHUNKING, plain="Q"),
    Way("bdat-closes", ("X-49",), {"BDAT": close}, tls_caps=CHUNKING, plain="Q"),
    Way("chunking-works", ("X-49",), tls_caps=CHUNKING, plain="D"),

    # ---- every stage: not now, not at all, gone ----
    *[Way(f"{place.lower().strip('.') or 'dot'}-421", ("X-46",), {place: then_close(b"421 4.3.2 going down\r\n")}, plain="Q",
          repeats=place == ".") for place in STAGES if place != "STARTTLS"],
    *[Way(f"{place.lower().strip('.') or 'dot'}-451", at={place: b"451 4.3.0 later\r\n"}, plain="Q", repeats=place == ".")
      for place in STAGES if place != "STARTTLS"],
    *[Way(f"{place.lower().strip('.') or 'dot'}-closes", at={place: close}, plain="Q", repeats=place == ".")
      for place in STAGES],
    *[Way(f"{place.lower().strip('.') or 'dot'}-resets", at={place: rst}, plain="Q", repeats=place == ".")
      for place in STAGES],
    *[Way(f"{place.lower().strip('.') or 'dot'}-hangs", ("X-44",), {place: hang}, plain="Q", repeats=place == ".")
      for place in STAGES],
    *[Way(f"{place.lower().strip('.') or 'dot'}-says-goodbye-to-tls", ("X-51",), {place: goodbye}, plain="Q",
          repeats=place == ".") for place in STAGES[3:]],
    Way("starttls-421", ("X-33",), {"STARTTLS": then_close(b"421 4.3.2 going down\r\n")}, plain="D", tagged="Q"),

    # ---- MAIL and RCPT ----
    Way("mail-354", ("X-46",), {"MAIL": b"354 go\r\n"}, plain="Q"),
    Way("mail-999", ("X-46",), {"MAIL": b"999 ok\r\n"}, plain="Q"),
    Way("mail-endless", ("X-43",), {"MAIL": endless(b"250-ok\r\n")}, plain="Q"),
    Way("mail-two-replies", ("X-45",), {"MAIL": b"250 ok\r\n250 ok\r\n"}, tls_caps=NO_PIPELINING, plain="Q"),
    Way("mail-evil-text", ("X-47",), {"MAIL": EVIL}, plain="B5.1.0"),
    Way("mail-8-bit-text", ("X-47",), {"MAIL": b"550 5.1.0 caf\xe9 \xff\xfe\r\n"}, plain="B5.1.0"),
    Way("mail-60-KiB-text", ("X-43", "X-47"), {"MAIL": many(100, 600, b"550")}, plain="B"),
    Way("rcpt-550", at={"RCPT": b"550 5.1.1 nobody\r\n"}, plain="B5.1.1"),
    Way("rcpt-354", ("X-46",), {"RCPT": b"354 go\r\n"}, plain="Q"),
    Way("rcpt-251", ("X-50",), {"RCPT": b"251 2.1.5 will forward to <x@other.w.example>\r\n"}, plain="D"),
    Way("rcpt-551", ("X-50",), {"RCPT": b"551 5.1.6 try <x@other.w.example>\r\n"}, plain="B5.1.6"),
    Way("rcpt-some", at={"RCPT": by_recipient}, message="three", plain="DBQ"),
    Way("rcpt-some-no-pipelining", at={"RCPT": by_recipient}, tls_caps=NO_PIPELINING, message="three", plain="DBQ"),
    Way("rset-refused", at={"RCPT": b"550 5.1.1 nobody\r\n", "RSET": b"500 no\r\n"}, tls_caps=NO_PIPELINING,
        plain="B5.1.1"),

    # ---- DATA and content ----
    Way("data-250", ("X-46",), {"DATA": b"250 taken, all of nothing\r\n"}, plain="Q"),
    Way("data-554", at={"DATA": b"554 5.7.1 no\r\n"}, plain="B5.7.1"),
    Way("data-354-and-250", ("X-45", "X-46"), {"DATA": early_final}, plain="Q"),
    Way("data-354-twice", ("X-45",), {"DATA": b"354 go\r\n354 go\r\n"}, plain="Q"),
    Way("content-closes", at={"BODY": reads_little(close)}, plain="Q", message="big"),
    Way("content-resets", at={"BODY": reads_little(rst)}, plain="Q", message="big"),
    Way("content-goodbye-to-tls", ("X-51",), {"BODY": reads_little(goodbye)}, plain="Q", message="big"),
    Way("content-refused-early", ("X-45",), {"BODY": refused_early}, rcvbuf=4096, plain="Q", message="huge"),
    Way("content-not-read", ("X-48",), {"BODY": stop_reading}, rcvbuf=4096, plain="Q", message="huge"),
    Way("content-never-answered", ("X-44",), {"BODY": all_lines}, plain="Q"),

    # ---- the final reply ----
    Way("final-354", ("X-46",), {".": b"354 more\r\n"}, plain="Q", repeats=True),
    Way("final-999", ("X-46",), {".": b"999 ok\r\n"}, plain="Q", repeats=True),
    Way("final-two-digits", ("X-46",), {".": b"25 ok\r\n"}, plain="Q", repeats=True),
    Way("final-mixed", ("X-46",), {".": b"250-ok\r\n550 no\r\n"}, plain="Q", repeats=True),
    Way("final-dash-only", ("X-46",), {".": then_close(b"250-ok\r\n")}, plain="Q", repeats=True),
    Way("final-half", ("X-46",), {".": then_close(b"250 ok")}, plain="Q", repeats=True),
    Way("final-half-and-goodbye", ("X-46", "X-51"), {".": lambda leg, line: leg.send(b"250 2.0.0") or goodbye(leg)},
        plain="Q", repeats=True),
    Way("final-half-cr", ("X-46",), {".": then_rst(b"250 ok\r")}, plain="Q", repeats=True),
    Way("final-bare-lf", ("X-46",), {".": b"250 ok\n"}, plain="Q", repeats=True),
    Way("final-1xx", ("X-46",), {".": b"150 ok\r\n"}, plain="Q", repeats=True),
    Way("final-endless", ("X-43",), {".": endless(b"250-ok\r\n")}, plain="Q", repeats=True),
    Way("final-drips", ("X-44",), {".": drip(b"250-ok\r\n")}, plain="Q", repeats=True),
    Way("final-554", at={".": b"554 5.6.0 no\r\n"}, plain="B5.6.0"),
    Way("final-controls", ("X-47",), {".": b"250 2.0.0 \x00\x1b]0;x\x07 taken\r\n"}, plain="D"),
    Way("final-and-more", ("X-45",), {".": b"250 2.0.0 taken\r\n250 2.0.0 and again\r\n"}, plain="D"),
    Way("final-then-cut", ("X-51",), {".": then_close(b"250 2.0.0 taken\r\n")}, plain="D"),
    Way("quit-hangs", ("X-44",), {"QUIT": hang}, plain="D"),
    Way("quit-endless", ("X-43",), {"QUIT": endless(b"221-bye\r\n")}, plain="D"),

    # ---- the same without TLS: what is in clear is never tagged ----
    *[Way(f"clear-{name}", rows, at, starttls=False, plain=plain, tagged="B5.7.10", repeats=repeats)
      for name, rows, at, plain, repeats in (
          ("mail-550", (), {"MAIL": b"550 5.7.1 no\r\n"}, "B5.7.1", False),
          ("data-354-and-250", ("X-45",), {"DATA": early_final}, "Q", False),
          ("final-half", ("X-46",), {".": then_close(b"250 o")}, "Q", True),
          ("final-dash-only", ("X-46",), {".": then_close(b"250-ok\r\n")}, "Q", True),
          ("final-resets", (), {".": rst}, "Q", True))],
]
