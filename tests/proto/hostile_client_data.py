"""A client that means harm, in the content: what ends it and what does not, line ends, NUL, headers
without measure, sizes that are not true, loops; and that what is accepted leaves as it came."""

import itertools
import random
import re

import case
from hostile_client_kit import (BARE_CR_LF, CUTS, DATA, EHLO, EVIL, MAIL, OPEN, QUEUED, RCPT, SOAK, Scenario,
                                in_threads, play, recording_hop, room, split_data, transactions, without_trace)

BODY = b"Subject: x\r\n\r\nbody\r\n"
SEND = [MAIL, RCPT, DATA, (BODY + b".\r\n", QUEUED)]
HEAD = b"Subject: x\r\n\r\n"
BIG = [None, 2, 3] if SOAK else [2]
# A next hop that takes content by BDAT, and one that takes it by DATA.
BY_BDAT = {"ehlo": ["SIZE 10000000", "8BITMIME", "CHUNKING", "SMTPUTF8"]}
BY_DATA = {"chunking": False}


def gateway(t, hop_options=None, **options):
    hop = recording_hop(t, **(hop_options or BY_DATA))
    return t.gateway(hop_port=hop.port, over=room(options)), hop


def content_step(content):
    """The step that sends it behind DATA, with the answer that it deserves by the book."""
    stream = content + b".\r\n"
    try:
        inside, rest = split_data(stream)
    except ValueError:
        return None     # it has no end
    if rest:
        return None     # it ends earlier, and what follows are commands by right
    good = not BARE_CR_LF.search(inside) and b"\0" not in inside
    return (stream, QUEUED if good else "550 5.6.0")


MULTIPART = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n"
GROUP = (MAIL[0] + RCPT[0] + DATA[0], "250 2.1.0", "250 2.1.5", "354")


@case.register("smuggling", "X-1", "M-31", "M-33", "M-38", "M-40")
def smuggling(t):
    """Every sequence that some server took for the end of data, with a whole transaction behind it: it
    is content, and the message is refused for its line ends after the true end."""
    gw, hop = gateway(t)
    scenarios = []
    for seq in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\n.\r\r\n", b"\r\r\n.\r\r\n",
                b"\r\n\0.\r\n", b"\r\n.\0\r\n",
                b"\r.\r\n", b"\r\n.\r\r\n", b"\r\n.\n\r\n", b"\n\r.\r\n", b"\r.\n", b"\n.\r", b"\r\n.\x0b\n",
                b"\r\n.\xe2\x80\xa8\n",
                b"\x85.\x85", b"\n\n.\n\n"):
        for before in (HEAD + b"text", b"Subject: in the header", b""):
            for evil in (EVIL, EVIL.replace(b"\r\n.\r\n", b"\r\n..\r\n"), EVIL.replace(b"\r\n", b"\n")):
                if evil is EVIL and before:
                    continue    # the evil message's own dot would end the data by right
                content = before + seq + evil.replace(b"\r\n.\r\n", b"\r\n..\r\n") + b"\r\n"
                step = content_step(content)
                t.check(step and step[1] != QUEUED or b"\x85" in seq or b"\xa8" in seq, f"{seq} is taken for sound")
                if step[1] != QUEUED:
                    scenarios.append(Scenario(f"{seq} {before} {evil[:30]}", [*OPEN, DATA, step, *SEND],
                                              cuts=CUTS if SOAK or not before else [1]))
    play(t, gw, hop, scenarios)


def sequences(longest):
    for n in range(1, longest + 1):
        for s in itertools.product((b"\r", b"\n", b"."), repeat=n):
            yield b"".join(s)


def batches(items, n):
    items = list(items)
    return [items[i:i + n] for i in range(0, len(items), n)]


def sweep(t, by_chunks, longest, cuts):
    """All short sequences of CR, LF and dot, at the start of a line and within one, before a line end and
    before text: by DATA or by BDAT."""
    contents = []
    for seq in sequences(longest):
        for before in (HEAD, HEAD + b"a"):
            for after in (b"\r\n", b"b\r\n"):
                contents.append(before + seq + after)
    scenarios = []
    for number, batch in enumerate(batches(contents, 60)):
        steps = [EHLO]
        for content in batch:
            if by_chunks:
                good = not BARE_CR_LF.search(content)
                steps.append((MAIL[0] + RCPT[0] + b"BDAT %d LAST\r\n" % len(content) + content, "250 2.1.0",
                              "250 2.1.5",
                              QUEUED if good else "550 5.6.0"))
            elif content_step(content):
                steps += [GROUP, content_step(content)]
        scenarios.append(Scenario(f"batch {number} {by_chunks}", steps, cuts=cuts))
    return scenarios


@case.register("every-short-sequence", "X-1", "X-2", "M-30", "M-32", "M-34", "M-35", "M-39", seconds=900)
def every(t):
    """What has a lone CR or LF is refused, the rest arrives octet by octet, by DATA and by BDAT, in and
    out; two readers agree on where each message ends."""
    longest = 7 if SOAK else 4
    for options in (BY_DATA, BY_BDAT):
        gw, hop = gateway(t, options)
        play(t, gw, hop, sweep(t, False, longest, [None, 1, 2] if options is BY_DATA else [None]) +
             sweep(t, True, longest, [None, 1] if options is BY_DATA else [2]))
        t.check(any(b"BDAT " in s for s in hop.streams()) == (options is BY_BDAT), "the way out")


@case.register("nul-in-content", "X-22", "X-2", "M-36")
def nul(t):
    gw, hop = gateway(t)
    scenarios = []
    whole = b"Subject: x\r\nTo: y\r\n\r\nbody\r\n..\r\nend\r\n"
    for at in range(len(whole) + 1):
        spoiled = whole[:at] + b"\0" + whole[at:]
        if content_step(spoiled):
            scenarios.append(Scenario(f"at {at}", [*OPEN, DATA, content_step(spoiled), *SEND], cuts=[None, 1]))
        scenarios.append(Scenario(f"BDAT, at {at}", [*OPEN, (b"BDAT %d LAST\r\n" % len(spoiled) + spoiled,
                                                             "550 5.6.0"), *SEND],
                                  cuts=[None, 1]))
    play(t, gw, hop, scenarios)


def random_content(rng):
    """A message as nobody writes it, but allowed."""
    fields = [b"Subject: x", b"X-Empty:", b"X-Fold: a\r\n\tb\r\n  c", b"X.odd!name: 1", b"Received: from x by y; z",
              b"x-8bit: \xff\xfe",
              b"X-Long: " + b"y" * 900, b"X-Space : before the colon", b"To: a@b.example,\r\n c@d.example",
              b"Subject: again"]
    lines = [b"", b".", b"..", b"...", b".\t", b". .", b"MAIL FROM:<evil@client.example>", b"DATA", b"x" * 998,
             b"y" * 5000,
             b"\x80\xff" * 50, b"trailing  ", b"\ttab", b"From here", b"--", bytes(range(1, 9)), b"\x1b[31m",
             b".\xff", b"QUIT"]
    head = b"".join(x + b"\r\n" for x in rng.sample(fields, rng.randrange(1, len(fields))))
    body = b"".join(rng.choice(lines) + b"\r\n" for _ in range(rng.randrange(60)))
    return head + b"\r\n" + body


@case.register("as-it-came", "X-2", "X-77", "M-38", "M-69", "I8")
def round_trip(t):
    """In by DATA and by BDAT, out by DATA and by BDAT: the octets are the same but for our trace field; a
    message that already had doubled dots keeps them."""
    rng = random.Random(8689)
    contents = [random_content(rng) for _ in range(400 if SOAK else 8)]
    contents += [HEAD + b".\r\n" * 30000, HEAD + b"x" * 700000 + b"\r\n", HEAD + b"\x80" * 300000 + b"\r\n.\r\n",
                 b"X: " + b"y" * 200000 + b"\r\n\r\n" + b"z\r\n" * 150000, b"\r\nbody\r\n", b"Subject: x\r\n\r\n",
                 b"Subject: x\r\n",
                 MULTIPART + (b"--a\r\n" + MULTIPART) * 9000]
    for options in (BY_DATA, BY_BDAT):
        gw, hop = gateway(t, options)
        scenarios = []
        for number, content in enumerate(contents):
            stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
            cut = rng.randrange(len(content))
            small = len(content) < 5000
            body = b" BODY=8BITMIME"
            mail = (MAIL[0][:-2] + body + b"\r\n", MAIL[1])
            scenarios.append(Scenario(f"DATA {number}", [EHLO, mail, RCPT, DATA, (stuffed + b".\r\n", QUEUED)],
                                      cuts=[None, 1] if small else [2]))
            scenarios.append(Scenario(f"BDAT {number}", [EHLO, mail, RCPT,
                                                         (b"BDAT %d\r\n" % cut + content[:cut], "250"),
                                                         (b"BDAT %d LAST\r\n" % len(content[cut:]) + content[cut:],
                                                          QUEUED)],
                                      cuts=[1, 3] if small else [2]))
        play(t, gw, hop, scenarios)


@case.register("what-is-no-header", "X-3", "X-21", "X-24")
def no_header(t):
    """A body that begins like the rest of a field does not become part of our trace field; an empty line
    is put where the header ends."""
    hop = recording_hop(t, **BY_DATA)
    gw = t.gateway(hop_port=hop.port, over=room(), policy="""
gw.on("message", function(session, message)
  if message.from.localpart:find("edit", 1, true) then
    message:add_header("X-Top", "1")
    message:add_header("X-End", "2", "end")
  end
end, { name = "add.fields" })""")
    cases = [(b" by evil; x\r\n\r\nbody\r\n", b"\r\n by evil; x\r\n\r\nbody\r\n"), (b"\tx\r\n", b"\r\n\tx\r\n"),
             (b"no field\r\nSubject: x\r\n", b"\r\nno field\r\nSubject: x\r\n"),
             (b"A: b\r\nno field\r\n", b"A: b\r\n\r\nno field\r\n"),
             (b".\r\n", b"\r\n.\r\n"), (b": x\r\n", b"\r\n: x\r\n"), (b"A b: c\r\n", b"\r\nA b: c\r\n"), (b"", b""),
             (b"A: b\r\n", b"A: b\r\n"), (b"\r\n c\r\n", b"\r\n c\r\n"),
             (b"A: b\r\n \r\n c\r\n\r\nd\r\n", b"A: b\r\n \r\n c\r\n\r\nd\r\n")]
    c = t.client(gw)
    c.ehlo()
    for number, (content, _) in enumerate(cases):
        for kind in ("a", "edit"):
            c.send_message(f"{kind}.{number}@client.example", "b@gw.example", content)
    c.quit()
    hop.wait_messages(2 * len(cases))
    came = {re.search("<(.*)@", m.mail).group(1): m.data for m in hop.accepted}
    for number, (content, out) in enumerate(cases):
        for kind in ("a", "edit"):
            got = came[f"{kind}.{number}"]
            if kind == "a":
                t.eq(without_trace(got), out, f"{content!r} arrives")
            else:
                head = without_trace(got).partition(b"\r\n\r\n")[0].removesuffix(b"\r\n")
                t.check(head.startswith(b"X-Top: 1") and head.endswith(b"X-End: 2"), f"{content!r} edited: {got!r}")
                fields = head.split(b"\r\n")
                t.check(all(b":" in f or f[:1] in b" \t" for f in fields), f"{content!r} edited: {got!r}")
    transactions(t, hop)


@case.register("headers-without-measure", "X-21", "M-07")
def header_bombs(t):
    gw, hop = gateway(t)
    most = 256 * 1024
    edge = b"X: " + b"y" * (most - 3 - 4) + b"\r\n\r\n"
    fold = b"X:\r\n" + b" y\r\n" * 60000
    many = b"".join(b"X: %d\r\n" % i for i in range(2000))
    loop_like = b"Received\x20: x\r\n"
    scenarios = []
    for name, content, want in (
            ("256 KiB", edge, QUEUED), ("256 KiB and one", b"X" + edge, "552 5.3.4"),
            ("folded", fold + b"\r\nbody\r\n", QUEUED),
            ("folded too often", fold + b" z\r\n" * 10000, "552 5.3.4"), ("2000 fields", many + b"\r\n", QUEUED),
            ("2001 fields", many + b"Y: 1\r\n\r\n", "552 5.3.4"),
            ("a line without end", b"X: " + b"y" * 700000 + b"\r\n", "552 5.3.4"),
            ("no colon without end", b"y" * 700000 + b"\r\n", "552 5.3.4"),
            ("spaces", b"X:" + b" " * 200000 + b"\r\n\r\n", QUEUED),
            ("colons", b":" * 100000 + b"\r\n", None), ("quotes", b"Subject: " + b"\"(<=?" * 30000 + b"\r\n\r\n",
                                                        QUEUED),
            ("encoded words", b"Subject: " + b"=?utf-8?q?=00=0D=0A?= " * 10000 + b"\r\n\r\n", QUEUED),
            ("addresses", b"To: " + b"(((((((<<<<@@@@,,,,;:;:" * 9000 + b"\r\n\r\n", QUEUED),
            ("long body line", HEAD + b"z" * 1000000 + b"\r\n", QUEUED),
            ("loop-like", loop_like * 100 + b"\r\n", QUEUED)):
        if want:
            scenarios.append(Scenario(name, [*OPEN, DATA, (content + b".\r\n", want), *SEND], cuts=BIG))
            scenarios.append(Scenario(f"{name}, BDAT", [*OPEN, (b"BDAT %d LAST\r\n" % len(content) + content, want),
                                                        *SEND], cuts=[None]))
    play(t, gw, hop, scenarios)


@case.register("loops", "X-24", "M-14", "M-186")
def loops(t):
    """More than a hundred Received fields are a loop, however they are written; the body does not count."""
    gw, hop = gateway(t)
    scenarios = []
    for n, want in ((99, QUEUED), (100, QUEUED), (101, "554 5.4.6"), (1500, "554 5.4.6")):
        for field in (b"Received: from a by b; c\r\n", b"RECEIVED:x\r\n", b"received  : x\r\n",
                      b"Received:\r\n from a\r\n\tby b\r\n",
                      b"Received: x\r\nX-Other: y\r\n"):
            for content in (field * n + HEAD, HEAD[:12] + field * n + b"\r\nbody\r\n"):
                if content.count(b": ") + content.count(b" : ") < 1900:
                    scenarios.append(Scenario(f"{n} {field} {content[:9]}",
                                              [*OPEN, DATA, (content + b".\r\n", want), *SEND],
                                              cuts=[None, 2]))
        scenarios.append(Scenario(f"{n} in the body", [*OPEN, DATA,
                                                       (HEAD + b"Received: x\r\n" * n + b".\r\n", QUEUED)],
                                  cuts=[None]))
        other = b"X-Received: x\r\nReceived-SPF: x\r\n" * min(n, 900)
        scenarios.append(Scenario(f"{n} that are not", [*OPEN, DATA, (other + b"\r\n.\r\n", QUEUED)], cuts=[None]))
    play(t, gw, hop, scenarios)


@case.register("sizes-that-are-not-true", "X-23", "M-105", "M-106", "M-107")
def sizes(t):
    gw, hop = gateway(t)
    most = 1 << 20

    def sized(n, total):
        content = HEAD + b"z" * (total - len(HEAD) - 2) + b"\r\n"
        want = QUEUED if total <= most else "552 5.3.4"
        size = b" SIZE=%d" % n if n is not None else b""
        return Scenario(f"SIZE={n}, really {total}", [EHLO, (MAIL[0][:-2] + size + b"\r\n", MAIL[1]), RCPT, DATA,
                                                     (content + b".\r\n", want), *SEND], cuts=[2])
    scenarios = [sized(n, total) for n, total in (
        (None, most), (None, most + 1), (0, 5000), (1, most), (1, 2 * most - 10), (most, 5000), (most, most + 1))]
    scenarios.append(Scenario("stuffed dots do not count", [*OPEN, DATA,
                                                            (HEAD + b"..\r\n" * 300000 + b".\r\n", QUEUED)],
                              cuts=[2]))
    scenarios.append(Scenario("far too big", [*OPEN, DATA, (HEAD + b"z" * (3 * most), "552 5.3.4")], ends=True,
                              cuts=[None, 2]))
    play(t, gw, hop, scenarios)

    def endless(kind):
        c = t.client(gw)
        c.ehlo()
        c.cmd("MAIL FROM:<a@client.example>", 250)
        c.cmd("RCPT TO:<b@gw.example>", 250)
        c.cmd("DATA", 354)
        try:
            for _ in range(4000):       # 256 MiB, if anybody took them
                c.sock.sendall(kind)
        except OSError:
            return True
        return False

    # Nothing of it is kept, and the session ends after twice the limit, not when the client likes.
    t.eq(in_threads(endless, (b"z" * 65536, b"z\r\n" * 20000, b"\r\n.." * 16000, b"\0" * 65536)), [True] * 4,
         "endless content is cut")
    for line in gw.wait_log("session ended.*far above the size", count=4):
        taken = int(line.partition("octets_in=")[2].split()[0])
        t.check(taken < 3 * most, f"octets taken: {taken}")


@case.register("large-messages-are-seen-by-policies", "X-35", "R-24", "I5")
def large(t):
    """The header is there for policies, and for TLS-Required, in a message of any size."""
    hop = recording_hop(t)
    gw = t.gateway(hop_port=hop.port, over=room(), policy="""
gw.on("message", function(session, message)
  local s = message:subject()
  if s and s:find("[secret]", 1, true) then return gw.reject { text = "seen " .. message.tls_required_no } end
end, { name = "subject.secret" })""")
    c = t.client(gw)
    c.ehlo()
    for n in (0, 255000, 262000, 263000, 300000, 900000):
        content = b"Subject: a [secret] plan\r\nTLS-Required: No\r\n\r\n" + b"z" * 70 * (n // 70) + b"\r\n"
        reply = c.send_message("a@client.example", "b@gw.example", content, code=550)
        t.eq(reply.text, "5.7.1 seen honoured", f"with a body of {n} octets")
    c.quit()


case.main()
