"""The rows of the decision table (section 11 of the requirements) that name DANE: 1 to 13, 37 and 38. Three
columns each, as in decision_rows.py, which has most others; outcomes in the words of tagged.end."""

import case
from dane_lab import WEB, domain, scene, submit
from lab.policyhost import PolicyHost, policy
from tagged import COLUMNS, H1, H2, H2_454, H4, H5, nothing_handed_over, outcome, record, row_name


def with_policy(t, name, mx):
    """An MTA-STS policy for this domain, in mode enforce."""
    web = PolicyHost(t.certs, WEB)
    t.parts.append(web.stop)
    web.publish(name, policy("enforce", [mx]))
    return {"tls": {"sts_port": web.port}}


def rows(row, what, hosts, to, wants, evidence_row=True, sts_mx=None):
    """A case: one message a column to the same domain. `wants` in the order of COLUMNS."""
    def run(t):
        s = scene(t, hosts, over=None if sts_mx is None else with_policy(t, to, sts_mx))
        for (column, params), want in zip(COLUMNS.items(), wants):
            address = f"{column}@{to}"
            submit(t, s, address, **params)
            t.eq(outcome(s, address), want, f"row {row}, {what}, {column}")
            if want[0] != "F" and evidence_row and column != "no":
                t.eq(record(s, address).get("row"), row, "row in the evidence")
            if want[0] == "B" and evidence_row:
                t.has(record(s, address).get("tlsa", "-"), f" at mx.{to}: ", "tlsa in the evidence")
            if want[0] in "FB":
                nothing_handed_over(t, s, address)

    run.__doc__ = f"Row {row}, {what}: {', '.join(wants)}."
    case.register(row_name(row, what), "D-28" if row < 9 else "D-29" if row < 13 else "D-08")(run)


WRONG = dict(H5, kind="self-signed")
rows(1, "H0", {}, domain("ee"), ("F 4.4.1",) * 3)
rows(2, "H1", {"ee": H1}, domain("ee"), ("F 4.7.10", "C", "B 5.7.10"))
rows(3, "H2", {"ee": H2}, domain("ee"), ("F 4.7.5", "C", "B 5.7.10"))
rows(4, "H2-454", {"ee": H2_454}, domain("ee"), ("F 4.7.0", "C", "F 4.7.0"))
rows(5, "H3", {"ee": WRONG}, domain("ee"), ("F 4.7.5", "U", "B 5.7.10"))
rows(6, "H3-pkix-valid", {"mis": H5}, domain("mis"), ("F 4.7.5", "T", "B 5.7.10"))
rows(7, "H4", {"ee": H4}, domain("ee"), ("T", "T", "B 5.7.30"))
rows(8, "H5", {"ee": H5}, domain("ee"), ("T", "T", "R"))
rows(9, "H1", {"un": H1}, domain("un"), ("F 4.7.10", "C", "B 5.7.10"))
rows(9, "H2", {"un": H2}, domain("un"), ("F 4.7.5", "C", "B 5.7.10"))
rows(10, "H3", {"un": WRONG}, domain("un"), ("U", "U", "B 5.7.10"))
rows(11, "H4", {"un": H4}, domain("un"), ("T", "T", "B 5.7.30"))
rows(12, "H5", {"un": H5}, domain("un"), ("T", "T", "R"))
for word in ("fail", "bog"):
    for state, name, way in ((H1, "H1", "C"), (WRONG, "H3", "U"), (H5, "H5", "T")):
        rows(13, f"{word}-{name}", {word: state}, domain(word), ("F 4.4.3", way, "F 4.4.3"))
rows(37, "H5", {"ee": H5}, "ee.plain.example", ("T", "T", "B 5.7.10"), evidence_row=False)
# The policy vouches for the host, the records for its certificate, which no authority signed.
rows(38, "H5", {"ee": H5}, "sts.plain.example", ("T", "T", "R"), sts_mx="mx.ee.d.example")
rows(38, "H3-pkix-valid", {"mis": H5}, "sts2.plain.example", ("F 4.7.5", "T", "B 5.7.10"), sts_mx="mx.mis.d.example",
     evidence_row=False)

case.main()
