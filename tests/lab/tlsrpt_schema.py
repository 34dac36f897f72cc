"""Is this text a report as RFC 8460 section 4.4 has it? Written from the RFC, not from the program.

    problems(text) -> list of sentences, empty when it is
"""

import datetime
import ipaddress
import json
import re

POLICY_TYPES = {"tlsa", "sts", "no-policy-found"}
RESULTS = {"starttls-not-supported", "certificate-host-mismatch", "certificate-expired", "certificate-not-trusted",
           "validation-failure", "tlsa-invalid", "dnssec-invalid", "dane-required", "sts-policy-fetch-error",
           "sts-policy-invalid", "sts-webpki-invalid"}
NEEDS_REASON = {"validation-failure", "certificate-not-trusted"}        # T-15
NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\Z")
TLSA = re.compile(r"\d{1,3} \d{1,3} \d{1,3} [0-9a-fA-F]+\Z")


class Check:
    def __init__(self):
        self.problems = []

    def say(self, where, what):
        self.problems.append(f"{where}: {what}")

    def keys(self, o, where, needed, optional=()):
        if not isinstance(o, dict):
            self.say(where, "is no object")
            return False
        for k in needed:
            if k not in o:
                self.say(where, f"has no {k}")
        for k in o:
            if k not in needed and k not in optional:
                self.say(where, f"has {k}, which the RFC does not know")
        return all(k in o for k in needed)

    def text(self, o, key, where):
        if key in o and (not isinstance(o[key], str) or not o[key]):
            self.say(where, f"{key} is no text")
        return o.get(key) if isinstance(o.get(key), str) else ""

    def count(self, o, key, where, least=0):
        n = o.get(key)
        if not isinstance(n, int) or isinstance(n, bool) or n < least or n >= 1 << 53:      # I-JSON, RFC 7493
            self.say(where, f"{key} is {n!r}")
            return 0
        return n

    def name(self, o, key, where):
        text = self.text(o, key, where)
        if text and not NAME.match(text):
            self.say(where, f"{key} {text!r} is no name in A-labels")

    def address(self, o, key, where):
        text = self.text(o, key, where)
        if not text:
            return
        try:
            if str(ipaddress.ip_address(text)) != text:
                self.say(where, f"{key} {text} is not in its one form (RFC 5952)")
        except ValueError:
            self.say(where, f"{key} {text} is no address")

    def time(self, o, key, where):
        text = self.text(o, key, where)
        if not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z", text):
            self.say(where, f"{key} {text!r} is no time in UTC (RFC 3339)")
            return None
        return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")

    def texts(self, o, key, where):
        v = o.get(key, [])
        if not isinstance(v, list) or not all(isinstance(x, str) for x in v):
            self.say(where, f"{key} is no array of texts")
            return []
        return v

    # ---- the parts ----

    def detail(self, d, where):
        if not self.keys(d, where, ("result-type", "failed-session-count"), (
                "sending-mta-ip", "receiving-mx-hostname", "receiving-mx-helo", "receiving-ip",
                "additional-information", "failure-reason-code")):
            return 0
        if d["result-type"] not in RESULTS:
            self.say(where, f"result-type {d['result-type']!r}")
        self.address(d, "sending-mta-ip", where)
        self.address(d, "receiving-ip", where)
        self.name(d, "receiving-mx-hostname", where)
        self.text(d, "receiving-mx-helo", where)
        if d["result-type"] in NEEDS_REASON and not self.text(d, "failure-reason-code", where):
            self.say(where, f"{d['result-type']} without failure-reason-code")
        return self.count(d, "failed-session-count", where, 1)

    def policy(self, p, where):
        if not self.keys(p, where, ("policy", "summary"), ("failure-details",)):
            return
        q, s = p["policy"], p["summary"]
        if self.keys(q, f"{where}.policy", ("policy-type", "policy-domain"), ("policy-string", "mx-host")):
            if q["policy-type"] not in POLICY_TYPES:
                self.say(where, f"policy-type {q['policy-type']!r}")
            self.name(q, "policy-domain", where)
            strings = self.texts(q, "policy-string", where)
            if q["policy-type"] == "tlsa" and not all(TLSA.match(x) for x in strings):
                self.say(where, f"policy-string {strings} is not TLSA in presentation form")
            if q["policy-type"] == "no-policy-found" and strings:
                self.say(where, "a policy-string without a policy")
            if self.texts(q, "mx-host", where) and q["policy-type"] != "sts":
                self.say(where, "mx-host is for sts only")
        sums = [self.count(s, f"total-{x}-session-count", where) for x in ("successful", "failure")] \
            if self.keys(s, f"{where}.summary", ("total-successful-session-count",
                                                 "total-failure-session-count")) else [0, 0]
        details = p.get("failure-details", [])
        if not isinstance(details, list):
            self.say(where, "failure-details is no array")
            return
        n = sum(self.detail(d, f"{where}.failure-details[{i}]") for i, d in enumerate(details))
        if n < sums[1]:     # counts may overlap, so that there may be more
            self.say(where, f"{sums[1]} failures, and details of {n}")
        if sum(sums) == 0:
            self.say(where, "nothing was counted")

    def report(self, r):
        if not self.keys(r, "report", ("organization-name", "date-range", "contact-info", "report-id", "policies")):
            return
        for key in ("organization-name", "contact-info", "report-id"):
            self.text(r, key, "report")
        if self.keys(r["date-range"], "date-range", ("start-datetime", "end-datetime")):
            times = [self.time(r["date-range"], x, "date-range") for x in ("start-datetime", "end-datetime")]
            if None not in times and (times[0].time() != datetime.time(0) or
                                      times[1] - times[0] != datetime.timedelta(seconds=86399)):
                self.say("date-range", "is no whole day in UTC (T-11)")
        if not isinstance(r["policies"], list) or not r["policies"]:        # T-12
            self.say("policies", "is no array with something in it")
            return
        for i, p in enumerate(r["policies"]):
            self.policy(p, f"policies[{i}]")


def no_doubles(pairs):
    if len({k for k, _ in pairs}) != len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def problems(text):
    if isinstance(text, bytes):
        text = text.decode("utf-8")     # raises when it is none
    c = Check()
    c.report(json.loads(text, object_pairs_hook=no_doubles))
    return c.problems
