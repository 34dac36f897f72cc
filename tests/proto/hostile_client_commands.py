"""A client that means harm, at the command level: line ends and lengths, NUL and controls,
addresses, parameters, BDAT, echoes. Every scenario is replayed with its octets cut in all ways;
the answers must not change, and what arrives at the next hop is what was accepted (see
hostile_client_kit)."""

import random
import re

import case
from hostile_client_kit import (BARE, CUTS, DATA, EHLO, EVIL, MAIL, OPEN, QUEUED, RCPT, SOAK, SYNTAX, TOO_LONG,
                                UNKNOWN, Scenario, play, recording_hop, room)

BODY = b"Subject: x\r\n\r\nbody\r\n"
SEND = [MAIL, RCPT, DATA, (BODY + b".\r\n", QUEUED)]
HIDDEN = EVIL.replace(b"\r\n", b"\n")
FEW = [None, 1, 2]
BIG = [None, 2]         # where there are too many octets to send each alone


def gateway(t, **options):
    hop = recording_hop(t, **options)
    return t.gateway(hop_port=hop.port, over=room()), hop


@case.register("lines-that-are-too-long", "X-11", "X-12", "M-04")
def long_lines(t):
    """Commands hidden in a line, behind LF or CR, at and around the places where buffers end, are
    never run; the next real line is. 64 KiB without end are the end of the session."""
    gw, hop = gateway(t)
    scenarios = []
    for verb in (b"NOOP ", b"MAIL FROM:<", b"x"):
        for at in (2047, 2048, 2049, 4094, 4095, 4096, 4097, 8192, 16383, 32768, 60000):
            if verb != b"NOOP " and at not in (2048, 4096):
                continue
            for sep in (b"\n", b"\r", b"\n\r", b"\0\n", b"\r\0"):
                line = verb.ljust(at, b"x") + sep + HIDDEN.strip(b"\n")
                short = line.find(b"\n") < 2048
                scenarios.append(Scenario(
                    f"{verb} {at} {sep}", [(line + b"\r\n", BARE if short else TOO_LONG)] + ([] if short else OPEN),
                    ends=short, cuts=CUTS if at <= 4097 else BIG))
    for n in range(2044, 2052):
        line = b"HELP ".ljust(n, b"x") + b"\r\n"
        scenarios.append(Scenario(f"line of {n + 2}", [(line, "214" if n <= 2046 else TOO_LONG), *OPEN]))
    for n in (65533, 65534, 65535, 70000, 200000):
        line = b"NOOP ".ljust(n, b"x") + b"\r\n"
        kept = n + 2 <= 65536
        scenarios.append(Scenario(
            f"line of {n + 2}", [(line + (b"" if kept else HIDDEN), TOO_LONG, *([] if kept else ["421 4.7.0"]))],
            ends=not kept, cuts=BIG))
    play(t, gw, hop, scenarios)


@case.register("octets-that-no-command-has", "X-13")
def controls(t):
    """NUL, tab, ESC, DEL and the like anywhere in any command: refused, nothing is done."""
    gw, hop = gateway(t)
    lines = [b"EHLO client.example", b"MAIL FROM:<evil@client.example> SIZE=10",
             b"RCPT TO:<b@gw.example> NOTIFY=NEVER",
             b"DATA", b"RSET", b"NOOP x", b"VRFY x", b"STARTTLS", b"QUIT", b"BDA 5", b"XCLIENT ADDR=1.2.3.4"]
    scenarios = []
    for bad in (b"\0", b"\t", b"\x0b", b"\x1b", b"\x1f", b"\x7f"):
        steps = [EHLO, MAIL, RCPT]
        for line in lines:
            for at in range(len(line) + 1) if bad == b"\0" or SOAK else (0, 3, len(line) // 2, len(line)):
                steps.append((line[:at] + bad + line[at:] + b"\r\n", SYNTAX))
        # The transaction from before is still there, and only that.
        scenarios.append(Scenario(f"{bad}", [*steps, DATA, (BODY + b".\r\n", QUEUED)], cuts=FEW))
    scenarios.append(Scenario("REQUIRETLS and NUL", [EHLO, (b"MAIL FROM:<a@client.example> REQUIRETLS\0X\r\n",
                                                            SYNTAX),
                                                     (b"RCPT TO:<b@gw.example>\r\n", "503")]))
    play(t, gw, hop, scenarios)


@case.register("lone-cr-and-lf-in-commands", "X-14", "M-30")
def bare(t):
    gw, hop = gateway(t)
    scenarios = []
    for line in (b"NOOP", b"EHLO client.example", b"MAIL FROM:<{me}@client.example>", b"RCPT TO:<b@gw.example>",
                 b"DATA",
                 b"RSET", b"QUIT", b"STARTTLS", b"BDAT 0 LAST", b""):
        for end in (b"\n", b"\r\r\n", b"\r \r\n", b"\n\r\n", b"\r\n\n"[1:]):
            scenarios.append(Scenario(f"{line} {end}", [*OPEN, (line + end, BARE)], ends=True, cuts=FEW))
    # A CR alone is no end yet: what comes behind it belongs to the line.
    scenarios.append(Scenario("CR", [EHLO, (b"RSET\rMAIL FROM:<evil@client.example>\r\n", BARE)], ends=True))
    scenarios.append(Scenario("CR first", [(b"\rRSET\r\n", BARE)], ends=True))
    play(t, gw, hop, scenarios)


@case.register("addresses-that-mean-harm", "X-15", "X-16", "M-01", "M-03", "M-60", "M-71")
def addresses(t):
    """What is no path is refused, whatever it would do to a shell, a log or a next hop; what is one
    keeps its one meaning."""
    gw, hop = gateway(t)
    bad = [b"", b"a@client.example", b"<a@client.example", b"a@client.example>", b"<<a@client.example>>",
           b"< a@client.example>",
           b"<a @client.example>", b"<a@client.example >", b"<a@client.example>x", b"<a@client.example>SIZE=1",
           b"<a@client.example>,<b@client.example>", b"<;for i in 0 1 2;do read r;done;sh;exit 0;>",
           b"<;sleep 66;@client.example>", b"<`id`@x`id`>", b"<$(id)@client.example>", b"<a@$(id)>",
           b"<a@client.example;id>",
           b"<a@../../etc/passwd>", b"<a@client/example>", b"<a@client_example>", b"<a@client.example.>",
           b"<a@.client.example>",
           b"<a@client..example>", b"<a@-client.example>", b"<a@client-.example>", b"<a@" + b"x" * 64 + b".example>",
           b"<a@" + b"x." * 126 + b"example>", b"<" + b"a" * 260 + b"@client.example>", b"<@client.example>",
           b"<a@>", b"<@>",
           b"<a>", b"<.a@client.example>", b"<a.@client.example>", b"<a..b@client.example>", b"<\"a@client.example>",
           b"<\"a\"b@client.example>", b"<\"a\\\"@client.example>", b"<a\\ b@client.example>",
           b"<(c)a@client.example>",
           b"<a@client.example(c)>", b"<a@[127.0.0.1>", b"<a@[127.0.0.999]>", b"<a@[]>", b"<a@[IPv6:1::2::3]>",
           b"<a@[x25:1]>", b"<a@[127.0.0.1].example>", b"<a@b@client.example>", b"<@a.example,b@client.example>",
           b"<@a.example:@b.example:c@client.example>", b"<@:a@client.example>",
           b"<a@client.example> <b@client.example>",
           b"<a@client.example%00.evil.example>", b"\xff\xfb\xff", b"<a@client\xc3.example>"]
    steps = [EHLO]
    for path in bad:
        steps += [(b"MAIL FROM:" + path + b"\r\n", "501 5.")]
    steps += [MAIL]
    for path in [*bad, b"<>"]:
        steps += [(b"RCPT TO:" + path + b"\r\n", "501 5.")]
    steps += [RCPT, DATA, (BODY + b".\r\n", QUEUED)]
    scenarios = [Scenario("no paths", steps, cuts=FEW)]
    # Relay tricks: the domain behind the last @ decides, and nothing in front of it.
    for path, want in ((b"u%evil.example@gw.example", "250"), (b"evil.example!u@gw.example", "250"),
                       (b"\"u@evil.example\"@gw.example", "250"), (b"@evil.example:u@gw.example", "250"),
                       (b"@gw.example:u@evil.example", "550 5.7.1"), (b"u@evil.example", "550 5.7.1"),
                       (b"u@gw.example.evil.example", "550 5.7.1"), (b"u@evilgw.example", "550 5.7.1"),
                       (b"u@GW.ExAmPlE", "250"), (b"\"gw.example\"@evil.example", "550 5.7.1"),
                       (b"u@[127.0.0.1]", "550 5.7.1"), (b"u@[IPv6:::1]", "550 5.7.1"), (b"u@localhost", "550 5.7.1"),
                       (b"u@gw", "550 5.7.1"), (b"PostMaster", "250")):
        scenarios.append(Scenario(f"{path}", [EHLO, MAIL, (b"RCPT TO:<" + path + b">\r\n", want)], cuts=FEW))
    play(t, gw, hop, scenarios)
    # One spelling at the next hop.
    for path, out in ((b"@evil.example,@x.example:u1@gw.example", b"u1@gw.example"),
                      (b"\"u2\"@GW.example", b"u2@gw.example"), (b"\"\\u.\\3\"@gw.example", b"u.3@gw.example"),
                      (b"\"\\u\\ 4\"@gw.example", b"\"u 4\"@gw.example"),
                      (b"u5%evil.example@gw.example", b"u5%evil.example@gw.example")):
        c = t.client(gw)
        c.ehlo()
        c.cmd("MAIL FROM:<a@client.example>", 250)
        c.cmd(b"RCPT TO:<" + path + b">\r\n", 250)
        c.data(BODY, 250)
        c.quit()
        t.check(hop.wait(lambda: f"TO:<{out.decode()}>" in str(hop.commands("RCPT")), 10),
                f"{path}: {hop.commands('RCPT')}")


@case.register("parameters-that-mean-harm", "X-17", "X-31", "M-13", "M-57", "M-105", "M-131", "M-132")
def parameters(t):
    gw, hop = gateway(t)
    mail = [(b"FOO", "555 5.5.4"), (b"FOO=1", "555 5.5.4"), (b"SIZE", "501 5.5.4"), (b"SIZE=", "501 5.5.4"),
            (b"SIZE=-1", "501 5.5.4"), (b"SIZE=+1", "501 5.5.4"), (b"SIZE=1e9", "501 5.5.4"),
            (b"SIZE=0x1", "501 5.5.4"),
            (b"SIZE=1 SIZE=1", "501 5.5.4"), (b"SIZE=1048577", "552 5.3.4"), (b"SIZE=2147483648", "552 5.3.4"),
            (b"SIZE=4294967297", "552 5.3.4"), (b"SIZE=9223372036854775808", "552 5.3.4"),
            (b"SIZE=18446744073709551615", "552 5.3.4"), (b"SIZE=18446744073709551617", "552 5.3.4"),
            (b"SIZE=99999999999999999999", "552 5.3.4"), (b"SIZE=100000000000000000000", "501 5.5.4"),
            (b"BODY=BINARYMIME", "555 5.5.4"), (b"BODY=8BIT", "501 5.5.4"), (b"BODY=7BIT BODY=7BIT", "501 5.5.4"),
            (b"SMTPUTF8=1", "501 5.5.4"), (b"SMTPUTF8 SMTPUTF8", "501 5.5.4"), (b"RET=ALL", "501 5.5.4"),
            (b"RET=FULL RET=HDRS", "501 5.5.4"), (b"REQUIRETLS", "530 5.7.10"), (b"requiretls", "530 5.7.10"),
            (b"REQUIRETLS=1", "501 5.5.4"), (b"REQUIRETLS=", "501 5.5.4"), (b"REQUIRETLSX", "555 5.5.4"),
            (b"XREQUIRETLS", "555 5.5.4"), (b"REQUIRETLS\xc2\xa0", "501 5.5.4"), (b"=1", "501 5.5.4"),
            (b"A==", "501 5.5.4"),
            (b"-A=1", "501 5.5.4"), (b"A;B=1", "501 5.5.4"), (b"FOO=\xff", "555 5.5.4"),
            (b"NOTIFY=NEVER", "555 5.5.4"),
            (b"F" * 1500, "555 5.5.4"), (b"AUTH=+0D+0A", "501 5.5.4"), (b"AUTH=" + b"a" * 501, "501 5.5.4")]
    xtext = [b"+0D+0A", b"a+0DRCPT+20TO", b"+00", b"a+00b", b"+7F", b"+80", b"+FF", b"+C2+85", b"+1B", b"+0", b"+",
             b"+zz",
             b"+0d", b"+2b", b"a=b", b"a\x80", b"+E2+80+A8", b"a" * 101]
    mail += [(b"ENVID=" + x, "501 5.5.4") for x in xtext] + [(b"ENVID=a ENVID=a", "501 5.5.4"),
                                                             (b"ENVID=", "501 5.5.4")]
    rcpt = [(b"ORCPT=rfc822;" + x, "501 5.5.4") for x in xtext if len(x) < 100]
    rcpt += [(b"ORCPT=" + x, "501 5.5.4") for x in (
        b"", b";", b"rfc822", b"rfc822;", b";a@b.example", b"rf+c;a", b"r_c;a@b", b"rfc822;" + b"a" * 494,
        b"utf-8;\xc3\xbc@b.example", b"utf-8;\\x{0A}", b"utf-8;\\x{0}",
        b"utf-8;\\x{D800}", b"utf-8;\\x{110000}", b"utf-8;\\x{}", b"utf-8;\\x{41", b"utf-8;\\y", b"utf-8;\\x{fc}",
        b"-a;b")]
    rcpt += [(b"NOTIFY=" + x, "501 5.5.4") for x in (
        b"", b"NEVER,NEVER", b"NEVER,SUCCESS", b"SUCCESS,", b",SUCCESS", b"SUCCESS,,DELAY", b"ALWAYS",
        b"SUCCESS;DELAY",
        b"SUCCESS,FAILURE,DELAY,DELAYED")]
    rcpt += [(b"NOTIFY=NEVER NOTIFY=NEVER", "501 5.5.4"), (b"REQUIRETLS", "555 5.5.4"), (b"SIZE=1", "555 5.5.4"),
             (b"NOTIFY", "501 5.5.4"), (b"ORCPT", "501 5.5.4"), (b"FOO", "555 5.5.4")]
    steps = [EHLO] + [(b"MAIL FROM:<evil@client.example> " + p + b"\r\n", want) for p, want in mail]
    # Nothing of what was refused is left in the transaction that comes now.
    steps += [MAIL] + [(b"RCPT TO:<evil@gw.example> " + p + b"\r\n", want) for p, want in rcpt]
    steps += [RCPT, DATA, (BODY + b".\r\n", QUEUED)]
    # Longest legal ones, all together (M-05), and what is odd but right.
    steps += [(b"MAIL FROM:<{me}@client.example>   BODY=8BITMIME SIZE=00000000000000000020 RET=hdrs ENVID=" +
               b"+2B" * 33 + b" AUTH=<>  \r\n", "250"),
              (b"RCPT TO:<b@gw.example> NOTIFY=success,failure,DELAY ORCPT=rfc822;" + b"+41" * 164 + b"a\r\n", "250"),
              DATA, (BODY + b".\r\n", QUEUED)]
    play(t, gw, hop, [Scenario("parameters", steps, cuts=FEW)])
    for line in hop.commands("MAIL") + hop.commands("RCPT"):
        t.lacks(line, "evil", "command line at the next hop")
    lines = [x for x in hop.commands("MAIL") if "ENVID" in x]
    t.eq(len(lines), len(FEW), "MAIL with ENVID")
    for line in lines:
        t.has(line, "ENVID=" + "+2B" * 33, "what goes on (M-133)")


@case.register("letters-beyond-ascii", "X-30", "M-71", "M-171")
def utf8(t):
    gw, hop = gateway(t)
    good = ["jürgen", "用户", "ñandú", "😀"]
    bad = [b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xed\xa0\x80",
           b"\xed\xbf\xbf",
           b"\xf4\x90\x80\x80", b"\x80", b"\xbf", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xff", b"\xfe",
           b"\xc2\x80", b"\xc2\x85",
           b"\xc2\x9f", "\u2028".encode(), "\u2029".encode(), "\u202e".encode(), "\u202a".encode(), "\u2066".encode(),
           "\u2069".encode(), "\u200e".encode(), "\u200f".encode(), "\u061c".encode()]
    steps = [EHLO]
    for x in bad:
        steps += [(b"MAIL FROM:<a" + x + b"b@client.example> SMTPUTF8\r\n", "501 5.1.7"),
                  (b"MAIL FROM:<a@x" + x + b".example> SMTPUTF8\r\n", "501 5.1.7"),
                  (b"MAIL FROM:<a" + x + b"b@client.example>\r\n", "501 5.1.7"),
                  (b"VRFY " + x + b"\r\n", "252 2"), (b"EXPN " + x + b" SMTPUTF8\r\n", "252 2"),
                  (b"EHLO " + x + b"\r\n", "501 5.5.4"), (x + b"\r\n", UNKNOWN)]
    for x in good:
        steps += [(f"MAIL FROM:<{x}@client.example>\r\n".encode(), "553 5.6.7"), (f"VRFY {x}\r\n".encode(), "252 2")]
    steps += [MAIL]
    steps += [(f"RCPT TO:<{x}@gw.example>\r\n".encode(), "553 5.6.7") for x in good]
    steps += [RCPT, DATA, (BODY + b".\r\n", QUEUED)]
    scenarios = [Scenario("without the parameter", steps, cuts=FEW)]
    steps = [EHLO, (b"MAIL FROM:<{me}@client.example> SMTPUTF8\r\n", "250")]
    steps += [(b"RCPT TO:<a" + x + b"b@gw.example>\r\n", "501 5.1.3") for x in bad]
    steps += [(b"RCPT TO:<b@gw.example> ORCPT=utf-8;a" + x + b"\r\n", "501 5.5.4") for x in bad]
    steps += [RCPT, *[(f"RCPT TO:<{x}@gw.example>\r\n".encode(), "250") for x in good], DATA,
              (BODY + b".\r\n", QUEUED)]
    scenarios.append(Scenario("with the parameter", steps, cuts=FEW))
    play(t, gw, hop, scenarios)


def chunk(n, body, last=b""):
    return b"BDAT " + n + last + b"\r\n" + body


@case.register("bdat-that-means-harm", "X-19", "X-18", "M-111", "M-112", "M-113")
def bdat(t):
    """No octet of a chunk is ever a command, whatever is wrong with the chunk; a size that cannot be
    used ends the session."""
    gw, hop = gateway(t)
    evil = str(len(EVIL)).encode()
    scenarios = []
    for size in (b"-1", b"+5", b" -5", b"0x10", b"5.0", b"1e3", b"5LAST", b"LAST 5", b"LAST", b"five", b"\xb2",
                 b"1,000", b"5;"):
        scenarios.append(Scenario(f"size {size}", [*OPEN, (chunk(size, EVIL), "501 5.5.4")], ends=True, cuts=FEW))
    for size in (b"2147483648", b"4294967296", b"4294967301", b"9223372036854775807", b"9223372036854775808",
                 b"18446744073709551615",
                 b"18446744073709551616", b"18446744073709551621", b"99999999999999999999", b"1" + b"0" * 60):
        for last in (b"", b" LAST"):
            scenarios.append(Scenario(f"size {size}{last}", [*OPEN, (chunk(size, EVIL, last), "552 5.3.4")],
                                      ends=True, cuts=FEW))
    for line in (b"BDAT\t", b"BDAT 9\0 ", b"\tBDAT ", b" BDAT ", b"bdat \x7f", b"BDAT 9" + b" " * 2048):
        scenarios.append(Scenario(f"line {line[:20]}", [*OPEN, (line + evil + b"\r\n" + EVIL, "500 5.5")], ends=True))
    # Refused and swallowed: the session goes on in step.
    for what, before, want in (
            ("before EHLO", [], "503 5.5.1"), ("before MAIL", [EHLO], "503 5.5.1"),
            ("after HELO", [(b"HELO x\r\n", "250")], "502 5.5.1"),
            ("no recipient", [EHLO, MAIL], "554 5.5.1"), ("refused recipients",
                                                          [EHLO, MAIL, (b"RCPT TO:<x@evil.example>\r\n", "550")],
                                                         "554 5.5.1")):
        for last in (b"", b" LAST", b" FIRST", b" LAST LAST"):
            error = "501 5.5.4" if last in (b" FIRST", b" LAST LAST") else want
            scenarios.append(Scenario(f"{what}{last}", [*before, (chunk(evil, EVIL, last), error),
                                                        (b"RSET\r\n", "250"), EHLO, *SEND],
                                      cuts=FEW))
    spoiled = [(chunk(evil, EVIL, b" FIRST"), "501 5.5.4"), (chunk(evil, EVIL, b" LAST"), "503 5.5.1 A chunk"),
               (b"DATA\r\n", "503 5.5.1"),
               (chunk(b"0", b"", b" LAST"), "503 5.5.1"), (b"MAIL FROM:<evil@client.example>\r\n", "503"),
               (b"RCPT TO:<b@gw.example>\r\n", "503")]
    for how in ((b"RSET\r\n", "250"), EHLO):
        scenarios.append(Scenario(f"after an error, {how[0]}", [*OPEN, *spoiled, how, *SEND], cuts=FEW))
    big = b"\r\n" + b"x" * 1048575
    scenarios += [
        Scenario("too big", [*OPEN, (chunk(b"1048577", big, b" LAST"), "552 5.3.4"), (b"DATA\r\n", "503"),
                             (b"RSET\r\n", "250"), *SEND],
                 cuts=BIG),
        Scenario("too big together", [*OPEN, (chunk(b"1048576", big[:-1]), "250"),
                                      (chunk(b"1", b"x", b" LAST"), "552 5.3.4"),
                                      (b"RSET\r\n", "250"), *SEND], cuts=BIG),
        Scenario("the sum overflows", [*OPEN, (chunk(b"5", b"Sub: "), "250"),
                                       (chunk(b"18446744073709551615", EVIL), "552 5.3.4")], ends=True),
        Scenario("far too big", [*OPEN, (chunk(b"99999999", b""), "552 5.3.4")], ends=True),
        Scenario("DATA after BDAT", [*OPEN, (chunk(b"8", BODY[:8]), "250 2.0.0 Chunk"), (b"DATA\r\n", "503"),
                                     (chunk(b"12", BODY[8:], b" LAST"), QUEUED)]),
        Scenario("after LAST", [*OPEN, (chunk(b"20", BODY, b" LAST"), QUEUED), (chunk(evil, EVIL, b" LAST"), "503"),
                                *SEND]),
        Scenario("0 LAST", [*OPEN, (chunk(b"20", BODY), "250"), (chunk(b"0", b"", b" LAST"), QUEUED)]),
        Scenario("0, often", [*OPEN, *[(chunk(b"0", b""), "250")] * 50, (chunk(b"000020", BODY, b" last"), QUEUED)]),
        Scenario("by octets", [*OPEN, *[(chunk(b"1", bytes((o,))), "250") for o in BODY],
                               (chunk(b"0", b"", b" LAST"), QUEUED)], cuts=FEW),
        Scenario("no last CRLF", [*OPEN, (chunk(b"18", BODY[:18], b" LAST"), QUEUED)]),
        Scenario("ends in CR", [*OPEN, (chunk(b"19", BODY[:19], b" LAST"), "550 5.6.0"), *SEND]),
        Scenario("dots are text", [*OPEN, (chunk(b"28", b"Subject: x\r\n\r\n.\r\n..\r\n.a\r\nb\r\n", b" LAST"),
                                           QUEUED), *SEND]),
        Scenario("NUL", [*OPEN, (chunk(b"3", b"a\0b"), "550 5.6.0"), (chunk(b"0", b"", b" LAST"), "503"),
                         (b"RSET\r\n", "250"), *SEND]),
        Scenario("DATA refused, then BDAT", [EHLO, MAIL, (b"DATA\r\n", "554 5.5.1"),
                                             (chunk(evil, EVIL, b" LAST"), "554 5.5.1"),
                                             (b"EHLO x\r\n", "250"), *SEND]),
        Scenario("QUIT in a chunk", [*OPEN, (chunk(b"6", b"QUIT\r\n"), "250"),
                                     (chunk(b"6", b"RSET\r\n", b" LAST"), QUEUED)], cuts=FEW),
    ]
    scenarios[-1].steps[-2:] = [(chunk(b"20", BODY), "250"), (chunk(b"12", b"QUIT\r\nRSET\r\n", b" LAST"), QUEUED)]
    play(t, gw, hop, scenarios)


@case.register("nothing-is-echoed", "X-29", "X-25", "X-76", "M-62")
def echo(t):
    """What the client says is not said back, names and versions are not told, users are not either;
    that replies are short lines of printable ASCII is checked in every replay of every case."""
    gw, hop = gateway(t)
    token = b"ECHOECHO"
    lines = [b"EHLO " + token, b"EHLO " + token * 200, b"EHLO " + token + b"\x80", token, token * 250,
             b"\xff" * 300, b"NOOP " + token,
             b"VRFY " + token, b"VRFY <b@gw.example>", b"VRFY root", b"EXPN " + token, b"EXPN postmaster",
             b"HELP " + token,
             b"RSET " + token, b"QUIT " + token, b"DATA " + token, b"STARTTLS " + token, b"MAIL " + token,
             b"MAIL FROM:<" + token,
             b"MAIL FROM:<" + token + b"@>", b"MAIL FROM:<" + token + b"@x_y>", b"MAIL FROM:<\"" + token + b">",
             b"MAIL FROM:<a@b.example> SIZE=" + token, b"MAIL FROM:<a@b.example> AUTH=+" + token,
             b"MAIL FROM:<a@b.example> =" + token,
             b"MAIL FROM:<" + token + b"@client.example>", b"RCPT TO:<" + token + b"@evil.example>",
             b"RCPT TO:<" + token + b"@gw.example>",
             b"RCPT TO:<a@b.example> ORCPT=" + token, b"BDAT 0 " + token, b"XCLIENT NAME=" + token,
             b"XFORWARD NAME=" + token,
             b"AUTH PLAIN " + token, b"ETRN " + token, b"TURN", b"DEBUG", b"WIZ", b"SEND FROM:<a@b.example>"]
    c = t.client(gw)
    c.cmd("EHLO x")
    for line in lines:
        c.cmd(line + b"\r\n")
    # A keyword is named, and no more of it than fits the eye.
    c.cmd("EHLO x")
    t.check(len(c.cmd(b"MAIL FROM:<a@b.example> " + b"K" * 1900 + b"\r\n").text) < 120,
            "a long keyword is named in full")
    t.eq(c.cmd("VRFY b@gw.example").text, c.cmd("VRFY nobody-at-all@gw.example").text, "VRFY tells who is there")
    t.eq(c.cmd("EXPN b@gw.example").code, 252, "EXPN")
    heard = c.heard
    t.check(token not in heard, f"said back: {heard!r}")
    for name in (b"sallyport", b"openssl", b"lua", b"version", b"libevent"):
        t.check(name not in heard.lower(), f"{name} is told")
    for line in heard.split(b"\r\n"):
        t.check(re.fullmatch(rb"[ -~]{0,510}", line), f"said {line!r}")
    c.quit()
    c = t.client(gw)
    c.ehlo()
    c.send_message("a@client.example", "b@gw.example", BODY)
    c.quit()
    trace = hop.wait_messages(1)[0].header("Received")
    words = r"from client\.example \(unknown \[127\.0\.0\.1\]\) by gw\.example with ESMTP\s+id \w+ for <b@gw\.example>; "
    t.check(re.match(words, trace), trace)


@case.register("who-is-believed", "X-26")
def who(t):
    """PROXY headers, XCLIENT and XFORWARD are words like others; the address is the socket's."""
    gw, hop = gateway(t)
    v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x7f\0\0\x01\0\x19\0\x19"
    scenarios = [
        Scenario("v1", [(b"PROXY TCP4 192.0.2.1 127.0.0.1 25 25\r\n", UNKNOWN), EHLO, *SEND]),
        Scenario("v2", [(v2, UNKNOWN, UNKNOWN, SYNTAX, BARE)], ends=True, cuts=FEW),
        Scenario("XCLIENT", [EHLO, (b"XCLIENT ADDR=192.0.2.1 NAME=mx.gw.example HELO=gw.example LOGIN=root\r\n",
                                    UNKNOWN),
                             (b"XFORWARD ADDR=192.0.2.1\r\n", UNKNOWN), *SEND]),
    ]
    play(t, gw, hop, scenarios)
    for m in hop.accepted:
        t.has(m.header("Received"), "[127.0.0.1]", "trace")
    c = t.client(gw)
    t.check(not {"XCLIENT", "XFORWARD", "AUTH", "VRFY", "ETRN"} & set(c.ehlo()), "EHLO")
    c.quit()


# ---- Order, by a model ----

class Model:
    """What a session may answer, from the state that the commands before have led to."""

    def __init__(self):
        self.state = "greeted"      # ready, mail, rcpt, chunks, spoiled

    def reset(self):
        if self.state != "greeted":
            self.state = "ready"

    def answer(self, verb):
        """The beginning of the reply, and the state after it."""
        s = self.state
        inside = s in ("mail", "rcpt", "chunks", "spoiled")
        if verb == "ehlo":
            self.state = "ready"
            return "250"
        if verb == "rset":
            self.reset()
            return "250"
        if verb in ("noop", "bad ehlo", "vrfy", "junk", "long", "nul", "starttls x"):
            return {"noop": "250", "bad ehlo": "501", "vrfy": "252", "starttls x": "501"}.get(verb, "500")
        if verb == "bdat bad":      # the size is known, so it is swallowed wherever it stands
            self.state = "spoiled" if inside else s
            return "501"
        if s == "greeted":
            return "503"
        if verb in ("mail", "bad mail"):
            if inside:
                return "503"
            if verb == "mail":
                self.state = "mail"
            return "250" if verb == "mail" else "501"
        if verb in ("rcpt", "bad rcpt", "relay"):
            if s not in ("mail", "rcpt"):
                return "503"
            if verb == "rcpt":
                self.state = "rcpt"
            return {"rcpt": "250", "bad rcpt": "501", "relay": "550"}[verb]
        if verb.startswith("data"):
            if s != "rcpt":
                return "554" if s == "mail" else "503"
            self.state = "ready"
            return "354"
        assert verb.startswith("bdat"), verb
        if s == "ready":
            return "503"
        if s in ("mail", "spoiled"):
            self.state = "spoiled"
            return "554" if s == "mail" else "503"
        self.state = "ready" if verb == "bdat last" else "chunks"
        if verb == "bdat lf":
            self.state = "spoiled"
            return "550"
        return "250"


WIRE = {
    "ehlo": b"EHLO client.example\r\n", "rset": b"RSET\r\n", "noop": b"NOOP\r\n", "bad ehlo": b"EHLO \xff\r\n",
    "vrfy": b"VRFY \xc3\xbc SMTPUTF8\r\n",
    "junk": b"TURN\r\n", "long": b"MAIL FROM:<" + b"x" * 3000 + b"\nDATA\r\n",
    "nul": b"RCPT TO:<b@gw.example>\0\r\n", "starttls x": b"STARTTLS x\r\n",
    "mail": b"MAIL FROM:<{me}@client.example>\r\n", "bad mail": b"MAIL FROM:<a@b@c.example>\r\n",
    "rcpt": b"RCPT TO:<b@gw.example>\r\n",
    "bad rcpt": b"RCPT TO:<>\r\n", "relay": b"RCPT TO:<a@evil.example>\r\n", "data": b"DATA\r\n",
    "data lf": b"DATA\r\n", "data big": b"DATA\r\n",
    "bdat": chunk(b"20", BODY), "bdat last": chunk(b"20", BODY, b" LAST"),
    "bdat bad": chunk(b"20", b"MAIL FROM:<evil@x>\r\n", b" FIRST"),
    "bdat lf": chunk(b"6", b"a\nRSET"), "bdat 0": chunk(b"0", b""),
}
STUFFED = EVIL.replace(b"\r\n.\r\n", b"\r\n..\r\n")
AFTER_354 = {"data": (BODY + b".\r\n", QUEUED), "data lf": (b"Subject: x\n.\n" + STUFFED + b".\r\n", "550 5.6.0"),
             "data big": (b"x" * 1048600 + b"\r\n.\r\n", "552 5.3.4")}


def walk(number):
    """A session at random, and what must be answered."""
    rng, model, steps = random.Random(number), Model(), []
    verbs = [v for v in WIRE if v != "data big" or number % 8 == 0]
    while len(steps) < 40:
        # Mostly forward, or the deep states would never be seen.
        verb = rng.choice({"greeted": ["ehlo"], "ready": ["mail"], "mail": ["rcpt"],
                           "rcpt": ["data", "bdat", "bdat last", "data lf"],
                           "chunks": ["bdat", "bdat last", "bdat bad", "data"],
                           "spoiled": ["bdat last", "data", "rset"]}[model.state]
                          if rng.random() < 0.6 else verbs)
        want = model.answer(verb)
        steps.append((WIRE[verb], want if want != "250" or verb != "bdat last" else QUEUED))
        if want == "354":
            steps.append(AFTER_354[verb])
    return Scenario(f"walk {number}", steps, cuts=[None, 2] if number % 8 else BIG)


@case.register("any-order-of-commands", "X-18", "M-50", "M-51", "M-52", "M-54", "M-55", "M-112", seconds=900)
def order(t):
    """Random walks through all commands and their failures, against a model of what may follow what:
    no path leaves behind a transaction, a recipient or a chunk."""
    gw, hop = gateway(t)
    play(t, gw, hop, [walk(n) for n in range(400 if SOAK else 40)])


case.main()
