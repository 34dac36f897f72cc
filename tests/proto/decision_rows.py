"""The decision table of RFC 8689 (section 11 of the requirements) from outside, as far as it names
neither DANE nor MTA-STS: a case for each row, host state and column. At the end a table of what was
seen, in the words of tagged.end."""

import ssl
import sys

import case
import tagged
from lab.client import Client, tls_context
from tagged import COLUMNS, H1, H2, H2_454, H3, H4, H5, row_name

seen = []       # (row, what, column, outcome)


def run(t, row, what, column, s, to, want, options, evidence_row):
    tagged.submit(t, s.gw, to, **dict(COLUMNS[column], **options))
    got, n = tagged.end(s, to)
    seen.append((row, what, column, got))
    t.eq(got, want, f"row {row}, {what}, {column}")
    is_tagged = column == "requiretls"
    if n is not None:
        t.eq(n.received.has_requiretls, is_tagged, "REQUIRETLS on the notice's MAIL (R-81)")
        t.eq(n.action, "failed", "Action")
        t.eq(n.recipients[0]["Final-Recipient"].partition(";")[2], to, "Final-Recipient")
    if is_tagged and want in ("B 5.7.10", "B 5.7.30", "F 4.4.1", "F 4.7.0", "F 4.4.3"):
        for name, hop in s.hop.items():     # but in row 49, where the host lied about the keyword
            for line in hop.commands("MAIL"):
                if not line.startswith("MAIL FROM:<>"):
                    t.check(row == 49 and " REQUIRETLS" in line, f"MAIL at {name}: {line} (R-50)")
        tagged.nothing_handed_over(t, s, to)
    if is_tagged and 32 <= row <= 35:
        t.eq(s.hop[PLAIN].sessions if PLAIN in s.hop else [], [], "connections (R-42 fails before one is made)")
    if not is_tagged:
        t.check(not any(m.has_requiretls for h in s.hop.values() for m in h.messages
                        if not m.mail.startswith("MAIL FROM:<>")), "no REQUIRETLS out of nothing (R-67)")
    if want[0] == "B" or want in ("C", "U", "T", "R"):
        s.gw.wait_queue_empty()
        found = tagged.evidence(s.gw, to)
        t.eq(len(found), 1, "evidence about the recipient (I4)")
        if evidence_row:
            t.eq(found[0].get("row"), row, "row in the evidence")


def register(row, what, hosts, to, wants, over=None, policy=None, evidence_row=True, back=None, **options):
    """`wants`: outcomes in the order of COLUMNS, None where the row has none."""
    for column, want in zip(COLUMNS, wants):
        if want is None:
            continue

        def one(t, column=column, want=want):
            s = tagged.scene(t, hosts, over=over, policy=policy, back=back)
            run(t, row, what, column, s, to, want, options, evidence_row)

        one.__doc__ = f"Row {row}, {what}, {column}: {want}."
        case.register(row_name(row, what, column), "R-52" if want[0] == "B" else "R-07")(one)


def at(name, state):
    return {name: state}


# ---- MX secure, no TLSA, no STS: 14 to 18 ----

GOOD = "mx1.good.example"
register(14, "H1", at(GOOD, H1), "b@good.example", ("C", "C", "B 5.7.10"))
register(15, "H2", at(GOOD, H2), "b@good.example", ("C", "C", "B 5.7.10"), evidence_row=False)
register(15, "H2-454", at(GOOD, H2_454), "b@good.example", ("C", "C", "F 4.7.0"), evidence_row=False)
register(16, "H3", at(GOOD, H3), "b@good.example", ("U", "U", "B 5.7.10"))
register(17, "H4", at(GOOD, H4), "b@good.example", ("T", "T", "B 5.7.30"))
register(18, "H5", at(GOOD, H5), "b@good.example", ("T", "T", "R"))

def weak(hop, ciphers):
    """The host has nothing but these suites, of TLS 1.2."""
    strong = hop.context

    def context(session):
        ctx = strong(session)
        ctx.set_ciphers(ciphers)
        ctx.maximum_version = ssl.TLSVersion.TLSv1_2
        return ctx

    hop.context = context


for word, suites in (("anonymous", "aNULL:@SECLEVEL=0"), ("null", "eNULL:@SECLEVEL=0")):
    @case.register(f"row-15-{word}-suites", "R-57", "R-47")
    def no_real_suite(t, word=word, suites=suites):
        """Suites without a certificate or without encryption are no TLS, whatever the host lists inside."""
        s = tagged.scene(t, at(GOOD, H5))
        weak(s.hop[GOOD], suites)
        ctx = tls_context(maximum=ssl.TLSVersion.TLSv1_2)
        ctx.set_ciphers(suites)
        c = Client(s.hop[GOOD].port, host=s.hop[GOOD].host)     # it would do, for a client like this
        c.ehlo()
        c.starttls(ctx=ctx)
        t.has(c.ehlo(), "REQUIRETLS", "what the host lists")
        c.quit()
        run(t, 15, word, "requiretls", s, "b@good.example", "B 5.7.10", {}, False)
        t.eq(s.hop[GOOD].commands("MAIL"), [], "MAIL")
        tagged.submit(t, s.gw, "c@good.example")
        t.check(s.hop[GOOD].wait_messages(1)[0].tls is None, "untagged mail goes in clear")

# ---- MX insecure, no STS: 32 to 35 ----

PLAIN = "mx1.plain.example"
register(32, "H0", {}, "b@plain.example", ("F 4.4.1", "F 4.4.1", "B 5.7.10"))
register(33, "H1", at(PLAIN, H1), "b@plain.example", ("C", "C", "B 5.7.10"), evidence_row=False)
register(34, "H2", at(PLAIN, H2), "b@plain.example", ("C", "C", "B 5.7.10"), evidence_row=False)
register(34, "H3", at(PLAIN, H3), "b@plain.example", ("U", "U", "B 5.7.10"), evidence_row=False)
register(34, "H4", at(PLAIN, H4), "b@plain.example", ("T", "T", "B 5.7.10"), evidence_row=False)
register(35, "H5", at(PLAIN, H5), "b@plain.example", ("T", "T", "B 5.7.10"), evidence_row=False)

# ---- No MX: 39 and 40 ----

for zone in ("solo", "bare"):       # signed, unsigned: the certificate has to name the domain
    name, to = f"{zone}.example", f"b@{zone}.example"
    register(39, f"{zone}-H1", at(name, H1), to, ("C", "C", "B 5.7.10"), evidence_row=False)
    register(39, f"{zone}-H3", at(name, H3), to, ("U", "U", "B 5.7.10"), evidence_row=False)
    register(40, f"{zone}-H4", at(name, H4), to, ("T", "T", "B 5.7.30"), evidence_row=False)
    register(40, f"{zone}-H5", at(name, H5), to, ("T", "T", "R"), evidence_row=False)

# ---- A configured host: 41 and 42 ----


def relay_host(level="may", asserts=True):
    def over(port):
        return {"routes": {"smart": {"via": [f"{tagged.ADDRESSES[GOOD]}:{port}"], "names": [GOOD],
                                     "tls": level, "assert_secure_lookup": asserts}},
                "domains": [{"match": ["gw.example"], "kind": "local", "route": "inside"},
                            {"match": ["smart.example"], "route": "smart"},
                            {"match": "*", "kind": "remote", "route": "internet"}]}

    return over


SMART = "b@smart.example"
register(41, "H1", at(GOOD, H1), SMART, ("C", "C", "B 5.7.10"), over=relay_host())
register(41, "H3", at(GOOD, H3), SMART, ("U", "U", "B 5.7.10"), over=relay_host())
register(41, "H1-verify", at(GOOD, H1), SMART, ("F 4.7.10", "F 4.7.10", "B 5.7.10"),
         over=relay_host("verify"))
register(42, "H4", at(GOOD, H4), SMART, ("T", "T", "B 5.7.30"), over=relay_host())
register(42, "H5", at(GOOD, H5), SMART, ("T", "T", "R"), over=relay_host())
# Nobody vouches for the way: for this gateway a list of hosts alone is no secure look-up.
register(41, "H5-not-asserted", at(GOOD, H5), SMART, ("T", "T", "B 5.7.10"), over=relay_host(asserts=False),
         evidence_row=False)

# ---- No name: 43 ----

register(43, "mx-is-ip-H1", at("127.0.0.25", H1), "b@ip.example", ("C", "C", "B 5.7.10"))
register(43, "mx-is-ip-H5", at("127.0.0.25", H5), "b@ip.example", ("U", "U", "B 5.7.10"))
register(43, "literal-H1", at("127.0.0.25", H1), "b@[127.0.0.25]", ("C", "C", "B 5.7.10"))
register(43, "literal-H5", at("127.0.0.25", H5), "b@[127.0.0.25]", ("U", "U", "B 5.7.10"))

# ---- DNS: 44 to 46 ----

register(44, "servfail", {}, "b@broken.example", ("F 4.4.3",) * 3)
register(44, "bogus", {}, "b@bogus.example", ("F 4.4.3",) * 3)
register(45, "nxdomain", {}, "b@not-there.good.example", ("B 5.1.2",) * 3, evidence_row=False)
register(46, "null-mx", {}, "b@null.example", ("B 5.1.10",) * 3, evidence_row=False)

# ---- The server has a word: 47 to 49 ----


def only_over_tls(session, line):
    return "530 5.7.0 Must issue a STARTTLS command first" if session.tls is None else None


def host(state, **replies):
    return dict(state, replies=dict(state.get("replies", {}), **replies))


register(47, "insists-on-tls", at(GOOD, host(H2, MAIL=only_over_tls)), "b@good.example",
         ("B 5.7.0", "B 5.7.0", "B 5.7.10"), evidence_row=False)
for place, verb in (("mail", "MAIL"), ("rcpt", "RCPT"), ("data", "DATA"), ("end", ".")):
    if verb == "DATA":
        temporary, final = "451 4.3.5 later", "554 5.6.0 never"
    else:
        temporary, final = "450 4.2.1 later", "550 5.2.1 never"
    for word, reply in (("4yz", temporary), ("5yz", final)):
        status = ("B " if reply[0] == "5" else "F ") + reply.split()[1]
        register(48, f"{place}-{word}", at(GOOD, host(H5, **{verb: reply})), "b@good.example", (status,) * 3,
                 evidence_row=False)
for code in ("501 5.5.4", "504 5.5.4", "555 5.5.4"):
    def refuses(session, line, code=code):
        return f"{code} REQUIRETLS is not known" if "REQUIRETLS" in line else None

    register(49, f"one-host-{code[:3]}", at(GOOD, host(H5, MAIL=refuses)), "b@good.example",
             (None, None, "B 5.7.30"))
    register(49, f"next-host-{code[:3]}", {"mx1.two.example": host(H5, MAIL=refuses), "mx2.two.example": H5},
             "b@two.example", (None, None, "R"), evidence_row=False)

# ---- Our own rule: 50 ----

MANDATORY = {"routes": {"internet": {"tls": "verify"}}}
for state, word in ((H1, "H1"), (H2, "H2"), (H3, "H3")):
    register(50, word, at(GOOD, state), "b@good.example", ("F 4.7.10", "F 4.7.10", "B 5.7.10"),
             over=MANDATORY, evidence_row=False)
BY_POLICY = """gw.on("tls_policy", function(domain, route)
  return gw.tls { level = "verify" }
end, { name = "all.verified" })
"""
register(50, "H1-by-policy", at(GOOD, H1), "b@good.example", ("F 4.7.10", "F 4.7.10", "B 5.7.10"),
         policy=BY_POLICY, evidence_row=False)

# ---- Several hosts: 51 and 52 ----

for word, first, second, plain in (("H1-H4", H1, H4, "C"), ("H4-H1", H4, H1, "T"), ("H3-H4", H3, H4, "U"),
                                   ("H4-H3", H4, H3, "T")):
    register(51, word, {"mx1.two.example": first, "mx2.two.example": second}, "b@two.example",
             (plain, plain, "B 5.7.30"), evidence_row=False)
for word, state, plain in (("H1", H1, "C"), ("H3", H3, "U"), ("H4", H4, "T")):
    register(52, f"H0-{word}", {"mx2.two.example": state}, "b@two.example", (plain, plain, "F 4.4.1"),
             evidence_row=False)
    register(52, f"{word}-H0", {"mx1.two.example": state}, "b@two.example", (plain, plain, "F 4.4.1"),
             evidence_row=False)

# ---- Null reverse-path: 53 to 56 ----

register(53, "H5", at(GOOD, H5), "b@good.example", (None, None, "R"), sender="")
register(54, "H4", at(GOOD, H4), "b@good.example", (None, None, "T"), sender="")
for state, word, way in ((H3, "H3", "U"), (H2, "H2", "C"), (H1, "H1", "C")):
    register(55, word, at(GOOD, state), "b@good.example", (None, None, way), sender="")
register(55, "unsigned-H5", at(PLAIN, H5), "b@plain.example", (None, None, "T"), sender="")
STRICT = {"dsn": {"protect": "strict"}}
register(55, "strict-H1", at(GOOD, H1), "b@good.example", (None, None, "F 4.7.10"), over=STRICT, sender="")
register(55, "strict-unsigned", at(PLAIN, H5), "b@plain.example", (None, None, "F 4.7.10"), over=STRICT,
         sender="")
register(55, "strict-H4", at(GOOD, H4), "b@good.example", (None, None, "F 4.7.30"), over=STRICT, sender="")
WAIVABLE = {"routes": {"internet": {"tls": "verify", "waivable": True}}}
for state, word, way in ((H3, "H3", "U"), (H2, "H2", "C"), (H1, "H1", "C")):
    register(56, word, at(GOOD, state), "b@good.example", (None, way, None), over=WAIVABLE, sender="",
             evidence_row=word != "H2")

# ---- NOTIFY without FAILURE: 57 ----

for notify in ("NEVER", "SUCCESS", "DELAY"):
    register(57, notify.lower(), at(GOOD, host(H4, RCPT="550 5.1.1 nobody")), "b@good.example",
             ("-", "-", "-"), rcpt_params=f"NOTIFY={notify}")


def show_table():
    """Rows down, columns across."""
    rows = {}
    for row, what, column, got in seen:
        rows.setdefault((row, what), {})[column] = got
    print(f"{'row':<4} {'host or lookup':<18}" + "".join(f"{c:<12}" for c in COLUMNS))
    for (row, what), got in rows.items():
        print(f"{row:<4} {what:<18}" + "".join(f"{got.get(c, ''):<12}" for c in COLUMNS).rstrip())


try:
    case.main()
finally:
    show_table()
    sys.stdout.flush()
