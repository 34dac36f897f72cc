"""The rows of the decision table (requiretls.md, section 11) that need neither DANE nor MTA-STS, end to
end: one gateway, a recipient domain for each row, a message for each column, all of them under way at
once. A case then looks at what became of its message: what the hosts took, and over what; the
evidence; the queue; the notice to the sender.

Outcomes, as in the table: R delivered with the parameter, T over verified TLS, U over unverified TLS,
C in clear, "F 4.4.1" deferred, "B 5.7.10" bounced with a notice, "N 5.7.10" bounced without one."""

import re
import ssl
import time

import case
from case import Zone, free_port

UNTAGGED, NO, REQUIRETLS = "untagged", "no", "requiretls"
HOSTS = "hosts.example"

# The hosts that the rows use, one for each state of a hop. Certificates carry HOST.hosts.example, and
# the domains of row 40, which have no MX.
OPTIONS = {
    "h1": {"cert": False},
    "h1s": {"cert": False, "replies": {"MAIL": "530 5.7.0 Must issue a STARTTLS command first"}},
    "h2": {"handshake": "close"},
    "h2old": {"tls_max": ssl.TLSVersion.TLSv1_1},
    "h2t": {"replies": {"STARTTLS": "454 4.7.0 TLS is not available just now"}},
    "h2s": {"handshake": "close",
            "replies": {"MAIL": lambda s, line: None if s.tls else "530 5.7.0 Must issue a STARTTLS command first"}},
    "h3": {"kind": "wrong-name", "requiretls": True},
    "h3x": {"kind": "expired", "requiretls": True},
    "h3ca": {"kind": "other-ca", "requiretls": True},
    "h4": {},
    "h5": {"requiretls": True},
    "h5b": {"requiretls": True},
    "p501": {"requiretls": True},
    "p504": {"requiretls": True},
    "p555": {"requiretls": True},
}


def ip_of(host):
    return f"127.0.1.{list(OPTIONS).index(host) + 1}"


DEAD = "127.0.1.250"        # nothing listens there


def mx(*hosts):
    """Records of a domain with these hosts, in this order."""
    return [f"MX {10 * (i + 1)} {h}.{HOSTS}." for i, h in enumerate(hosts)]


def a(ip):
    return [f"A {ip}"]


def three(untagged, no, requiretls):
    return {UNTAGGED: untagged, NO: no, REQUIRETLS: requiretls}


class Row:
    """where: "signed" or "plain": the zone of the domain; or a whole domain. dns: its records.
    route: of a static route. sender: "" for a null reverse-path; None: one of our domain."""

    def __init__(self, where, dns, want, route=None, sender=None, rcpt_params="", reason=None, domain=None):
        self.where, self.dns, self.want, self.route, self.sender = where, dns, want, route, sender
        self.rcpt_params, self.reason, self.domain = rcpt_params, reason, domain


B10 = "B 5.7.10"
ROWS = {
    # MX secure, no TLSA, no policy
    "14": Row("signed", mx("h1"), three("C", "C", B10)),
    "15": Row("signed", mx("h2"), three("C", "C", B10)),
    "15-old": Row("signed", mx("h2old"), three("C", "C", B10)),
    "15-454": Row("signed", mx("h2t"), three("C", "C", "F 4.7.0")),
    "16": Row("signed", mx("h3"), three("U", "U", B10)),
    "16-expired": Row("signed", mx("h3x"), three("U", "U", B10)),
    "16-other-ca": Row("signed", mx("h3ca"), three("U", "U", B10)),
    "17": Row("signed", mx("h4"), three("T", "T", "B 5.7.30")),
    "18": Row("signed", mx("h5"), three("T", "T", "R")),
    # MX insecure, no policy
    "32": Row("plain", mx("dead"), three("F 4.4.1", "F 4.4.1", B10)),
    "33": Row("plain", mx("h1"), three("C", "C", B10)),
    "34-h2": Row("plain", mx("h2"), three("C", "C", B10)),
    "34-h3": Row("plain", mx("h3"), three("U", "U", B10)),
    "34-h4": Row("plain", mx("h4"), three("T", "T", B10)),
    "35": Row("plain", mx("h5"), three("T", "T", B10)),
    # No MX
    "39": Row("signed", a(ip_of("h1")), three("C", "C", B10)),
    "40-h4": Row("signed", a(ip_of("h4")), three("T", "T", "B 5.7.30")),
    "40-h5": Row("signed", a(ip_of("h5")), three("T", "T", "R")),
    "40-other-name": Row("signed", a(ip_of("h5")), three("U", "U", B10)),
    # Configured hosts; the operator vouches for the choice, or does not
    "41-h1": Row("static", None, three("C", "C", B10), route=("h1", True)),
    "41-h3": Row("static", None, three("U", "U", B10), route=("h3", True)),
    "41-h5-not-asserted": Row("static", None, three("T", "T", B10), route=("h5", False)),
    "42-h4": Row("static", None, three("T", "T", "B 5.7.30"), route=("h4", True)),
    "42-h5": Row("static", None, three("T", "T", "R"), route=("h5", True)),
    # No name to look for in a certificate
    "43-literal": Row("literal", None, three("U", "U", B10), domain=f"[{ip_of('h5')}]"),
    "43-literal-h1": Row("literal", None, three("C", "C", B10), domain=f"[{ip_of('h1')}]"),
    "43-mx-address": Row("signed", [f"MX 10 {ip_of('h5')}."], three("U", "U", B10)),
    # The look-up fails, or says no
    "44-servfail": Row("fail", None, three(*["F 4.4.3"] * 3), domain="fail.example"),
    "44-bogus": Row("bogus", None, three(*["F 4.4.3"] * 3), domain="bogus.example"),
    "45": Row("signed", [], three(*["B 5.1.2"] * 3)),
    "46": Row("signed", ["MX 0 ."], three(*["B 5.1.10"] * 3)),
    # The peer insists on TLS that it cannot do
    "47-h2": Row("signed", mx("h2s"), three("B 5.7.0", "B 5.7.0", B10)),
    "47-h1": Row("signed", mx("h1s"), three("B 5.7.0", "B 5.7.0", B10)),
    # Refusals at a host that has everything
    **{f"48-{place}-{code}": Row("signed", mx("h5"), three(*[f"{'F' if code < 500 else 'B'} {status}"] * 3))
       for place, code, status in (("mail", 451, "4.3.5"), ("mail", 553, "5.1.8"), ("rcpt", 452, "4.2.2"),
                                   ("rcpt", 550, "5.1.1"), ("data", 451, "4.3.2"), ("data", 554, "5.6.0"))},
    # The parameter is refused where it was listed
    "49-555": Row("signed", mx("p555"), {REQUIRETLS: "B 5.7.30"}),
    "49-501-504": Row("signed", mx("p501", "p504"), {REQUIRETLS: "B 5.7.30"}),
    "49-next": Row("signed", mx("p555", "h5"), {REQUIRETLS: "R"}),
    # The operator's own rule
    "50-h1": Row("floor", mx("h1"), three("F 4.7.10", "F 4.7.10", B10)),
    "50-h2": Row("floor", mx("h2"), three("F 4.7.10", "F 4.7.10", B10)),
    "50-h3": Row("floor", mx("h3"), three("F 4.7.10", "F 4.7.10", B10)),
    "50-h4": Row("floor", mx("h4"), three("T", "T", "B 5.7.30")),
    # Hosts that differ. Mail without duties goes to the first that takes it.
    "51": Row("signed", mx("h4", "h3", "h1"), three("T", "T", "B 5.7.30")),
    "51-worst-first": Row("signed", mx("h1", "h3", "h4"), three("C", "C", "B 5.7.30")),
    "51-one-good": Row("signed", mx("h1", "h3", "h4", "h5"), three("C", "C", "R")),
    "52": Row("signed", mx("dead", "h1"), three("C", "C", "F 4.4.1")),
    "52-h4": Row("signed", mx("h4", "dead"), three("T", "T", "F 4.4.1")),
    "52-h5": Row("signed", mx("dead", "h5"), three("T", "T", "R")),
    # Null reverse-path: a notice is not lost for want of REQUIRETLS
    "53": Row("signed", mx("h5"), {REQUIRETLS: "R"}, sender=""),
    "53-second": Row("signed", mx("h4", "h5"), {REQUIRETLS: "R"}, sender=""),
    "54": Row("signed", mx("h4"), {REQUIRETLS: "T"}, sender=""),
    "55-h3": Row("signed", mx("h3"), {REQUIRETLS: "U"}, sender=""),
    "55-h2": Row("signed", mx("h2"), {REQUIRETLS: "C"}, sender=""),
    "55-h1": Row("signed", mx("h1"), {REQUIRETLS: "C"}, sender=""),
    "55-plain": Row("plain", mx("h5"), {REQUIRETLS: "T"}, sender=""),
    "56-h1": Row("signed", mx("h1"), {NO: "C"}, sender=""),
    "56-h2": Row("signed", mx("h2"), {NO: "C"}, sender=""),
    "56-h3": Row("signed", mx("h3"), {NO: "U"}, sender=""),
    # Nobody asked to be told (D8)
    "57-never": Row("signed", mx("h1"), {REQUIRETLS: "N 5.7.10"}, rcpt_params="NOTIFY=NEVER"),
    "57-delay": Row("signed", mx("h1"), {REQUIRETLS: "N 5.7.10"}, rcpt_params="NOTIFY=SUCCESS,DELAY"),
    "57-nxdomain": Row("signed", [], three(*["N 5.1.2"] * 3), rcpt_params="NOTIFY=NEVER"),
}


def label_of(row, column):
    return f"row-{row}-{column}"


def domain_of(row):
    r = ROWS[row]
    return r.domain or f"d{row}.{r.where}.example"


def zones():
    text = {"signed": [], "plain": [], "floor": []}
    for row, r in ROWS.items():
        if r.where in text:
            text[r.where] += [f"d{row} {record}" for record in r.dns]
    hosts = [f"{h} A {ip_of(h)}" for h in OPTIONS] + [f"dead A {DEAD}"]
    return {"signed.example": Zone("\n".join(text["signed"])), "floor.example": Zone("\n".join(text["floor"])),
            "plain.example": Zone("\n".join(text["plain"]), kind="unsigned"), HOSTS: Zone("\n".join(hosts)),
            "fail.example": Zone(kind="servfail"), "bogus.example": Zone("@ MX 10 mx\nmx A 127.0.1.1", kind="bogus")}


def routes(port):
    """Domains and routes of the rows with fixed hosts, and of those with a floor."""
    domains = [{"match": ["*.floor.example"], "kind": "remote", "route": "floor"}]
    named = {"floor": {"via": "mx", "port": port, "tls": "verify"}}
    for row, r in ROWS.items():
        if r.route is not None:
            host, asserted = r.route
            name = "to-" + row
            domains.append({"match": [domain_of(row)], "kind": "remote", "route": name})
            named[name] = {"via": [f"{host}.{HOSTS}:{port}"], "tls": "may", "assert_secure_lookup": asserted}
    return domains, named


def refusals(hop):
    """Scripts the replies of rows 48 and 49."""
    replies = hop["h5"].replies
    for row in ROWS:
        found = re.fullmatch(r"48-(mail|rcpt|data)-(\d+)", row)
        if found:
            place, code = found.groups()
            text = f"{code} {ROWS[row].want[UNTAGGED].split()[1]} scripted"
            if place != "data":
                replies[f"{place.upper()}:row-{row}-"] = text

    def end_of_data(session, unused):
        found_row = re.search(r"row-(48-data-(\d+))-", session.rcpts[0])
        return found_row and f"{found_row.group(2)} {ROWS[found_row.group(1)].want[UNTAGGED].split()[1]} scripted"

    replies["."] = end_of_data
    for code in ("501", "504", "555"):
        hop["p" + code].replies["MAIL"] = lambda session, line, code=code: \
            f"{code} 5.5.4 no such parameter" if "REQUIRETLS" in line else None


class Run:
    """All messages, sent once; what became of each by its label."""

    def __init__(self, t):
        self.taken, self.notices, self.evidence, self.queued, self.logs = {}, {}, {}, {}, {}
        self.hosts, self.expected = {}, []
        port = free_port([ip_of(h) for h in OPTIONS] + ["127.0.0.1", DEAD])
        lab = t.lab(zones())
        for name, options in OPTIONS.items():
            self.hosts[name] = self.start(t, name, dict(options), port)
        inside = t.nexthop(host="127.0.0.1", port=port, cert=t.certs.issue("inside.example"), requiretls=True)
        refusals(self.hosts)
        domains, named = routes(port)
        named["inside"] = {"names": ["inside.example"], "assert_secure_lookup": True}
        over = {"routes": named, "queue": {"retry": ["1h"], "delay_notice": "0s"},
                "domains": [{"match": ["gw.example"], "kind": "local", "route": "inside"}, *domains,
                            {"match": "*", "kind": "remote", "route": "internet"}]}
        self.gw = t.gateway(hop_port=port, over=over)
        self.send(t)
        self.settle()
        notices = sum(1 for label in self.expected if self.want(label).startswith("B"))
        inside.wait(lambda: len(inside.accepted) >= notices, 10)
        self.gw.wait_for(lambda: not [m for m in self.gw.json("queue", "list", "--limit", "1000")["messages"]
                                      if m["notice"]], 10, "an end of the notices")
        self.collect(inside)

    @staticmethod
    def start(t, name, options, port):
        kind = options.pop("kind", "good")
        if options.pop("cert", True):
            names = [f"{name}.{HOSTS}"] + ([f"d40-{name}.signed.example"] if kind == "good" else [])
            options["cert"] = t.certs.issue(f"{name}.{HOSTS}", kind=kind, names=names)
        return t.nexthop(host=ip_of(name), port=port, name=f"{name}.{HOSTS}", **options)

    @staticmethod
    def want(label):
        row, column = split(label)
        return ROWS[row].want[column]

    def send(self, t):
        c = t.secure_client(self.gw, "relay")
        for row, r in ROWS.items():
            for column in r.want:
                label = label_of(row, column)
                sender = f"{label}@gw.example" if r.sender is None else r.sender
                content = f"From: {sender or 'daemon@client.example'}\r\nSubject: {label}\r\n"
                if column == NO:
                    content += "TLS-Required: No\r\n"
                c.send_message(sender, [f"{label}@{domain_of(row)}"], f"{content}\r\ntext of {label}\r\n".encode(),
                               params="REQUIRETLS" if column == REQUIRETLS else "", rcpt_params=r.rcpt_params)
                self.expected.append(label)
        c.quit()

    def look(self):
        """Evidence and queue, by label."""
        for e in self.gw.json("evidence", "list", "--limit", "1000")["evidence"]:
            rcpt = e["record"].get("rcpt", "")
            if rcpt.startswith("row-") and not rcpt.endswith("@gw.example"):
                self.evidence[rcpt.partition("@")[0]] = e["record"]
        self.queued = {}
        for m in self.gw.json("queue", "list", "--limit", "1000")["messages"]:
            for r in m["recipients"]:
                self.queued[r["address"].partition("@")[0]] = r

    def settle(self, timeout=30):
        """Until every message has its evidence, or was tried and waits."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.look()
            if all(label in self.evidence or self.queued.get(label, {}).get("attempts") for label in self.expected):
                return
            time.sleep(0.2)

    def collect(self, inside):
        self.look()
        for name, hop in self.hosts.items():
            for m in hop.accepted:
                self.taken.setdefault(m.header("Subject"), []).append((name, m))
        for m in inside.accepted:
            for label in re.findall(rb"(?m)^Subject: (row-\S+)", m.data):
                self.notices.setdefault(label.decode(), []).append(m)

    def outcome(self, label):
        """As in the table; "?" and what is odd about it."""
        taken, record = self.taken.get(label, []), self.evidence.get(label)
        notices = self.notices.get(label, [])
        if len(taken) > 1 or len(notices) > 1:
            return f"? {len(taken)} deliveries, {len(notices)} notices"
        if taken:
            m = taken[0][1]
            if notices:
                return "? delivered, and a notice"
            if record is None or record["event"] != "delivered":
                return f"? delivered, but the evidence is {record}"
            if m.tls is None:
                return "C"
            if record.get("verified") in (None, "unverified", "none", "no"):
                return "U" if not m.has_requiretls else "? REQUIRETLS over unverified TLS"
            return "R" if m.has_requiretls else "T"
        if record is not None:
            return f"{'B' if notices else 'N'} {record.get('reply_status')}"
        last = (self.queued.get(label) or {}).get("last") or {}
        if last:
            return f"F {last.get('status')}"
        return f"? nothing known: {self.queued.get(label)}"

    def describe(self, label):
        lines = [f"evidence: {self.evidence.get(label)}", f"queue: {self.queued.get(label)}",
                 f"taken: {self.taken.get(label)}", f"notices: {len(self.notices.get(label, []))}"]
        for hop in self.hosts.values():
            for s in hop.sessions:
                if any(label in c for c in s.commands):
                    lines += [f"--- {hop.name}"] + s.transcript
        return "\n".join(lines)


def split(label):
    row, _, column = label[len("row-"):].rpartition("-")
    return row, column


run = []        # the Run, once a case has asked for it
seen = {}       # label -> outcome


def the_run(t):
    if not run:
        run.append(None)
        run[0] = Run(t)
    if run[0] is None:
        raise AssertionError("the run of all rows failed; see the first case")
    return run[0]


def check(t, row, column):
    r = the_run(t)
    label = label_of(row, column)
    got = seen[label] = r.outcome(label)
    want = ROWS[row].want[column]
    if got != want:
        raise AssertionError(f"{label}: outcome {got!r}, wanted {want!r}\n{r.describe(label)}")
    if column == REQUIRETLS and want[0] in "BFN" and not row.startswith(("48", "49")):
        for hop in r.hosts.values():
            t.eq([c for c in hop.commands("MAIL") if label in c], [], f"MAIL for it at {hop.name} (R-50)")
    if want.startswith("B"):
        notice = r.notices[label][0]
        t.has(notice.mail, "MAIL FROM:<>", "MAIL of the notice (R-84)")
        t.has(notice.data.decode(), f"Status: {want[2:]}", "the notice (R-52)")
        t.eq(notice.has_requiretls, column == REQUIRETLS, "the notice's own tag (R-81)")
        t.lacks(notice.data.decode(), f"text of {label}", "the notice")


def requirements(row, column):
    found = ["R-50", "R-52"] if column == REQUIRETLS and ROWS[row].want[column][0] == "B" else []
    return [*{UNTAGGED: [], NO: ["R-61", "R-67"], REQUIRETLS: ["R-30"]}[column], *found]


for each_row, each in ROWS.items():
    for each_column in each.want:
        case.register(label_of(each_row, each_column), *requirements(each_row, each_column))(
            lambda t, row=each_row, column=each_column: check(t, row, column))


def table():
    print(f"{'row':<22} {UNTAGGED:<12} {NO:<12} {REQUIRETLS}")
    for row, r in ROWS.items():
        print(f"{row:<22} " + " ".join(f"{seen.get(label_of(row, c), '-' if c not in r.want else '?'):<12}"
                                       for c in (UNTAGGED, NO, REQUIRETLS)).rstrip())


try:
    case.main()
finally:
    if seen:
        table()
