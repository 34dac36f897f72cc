"""The rows of the decision table (section 11 of the requirements) that name MTA-STS: 19 to 36. Three
columns each, as in decision_rows.py; outcomes in the words of tagged.end."""

import case
import sts_lab
import tagged
from sts_lab import domain, publish, scene
from tagged import COLUMNS, H1, H2, H3, H4, H5, nothing_handed_over, outcome, record, row_name

OTHER = ["mx.elsewhere.example"]


def rows(row, what, state, mode, wants, mx=None, evidence_row=True, before=None, over=None, **page):
    """A case: one message a column to a.s.example, whose policy has this mode."""
    def run(t):
        s = scene(t, {} if state is None else {"a": state}, over=over)
        if mode is not None:
            publish(s, "a", mode, mx, **page)
        if before is not None:
            before(t, s)
        for (column, params), want in zip(COLUMNS.items(), wants):
            address = f"{column}@{domain('a')}"
            tagged.submit(t, s.gw, address, **params)
            t.eq(outcome(s, address), want, f"row {row}, {what}, {column}")
            if want[0] != "F" and evidence_row and column != "no":
                t.eq(record(s, address).get("row"), row, "row in the evidence")
            if want[0] != "F" and mode in ("enforce", "testing"):
                e = record(s, address)
                t.eq((e.get("sts_mode"), e.get("sts_id")), (mode, "1"), "policy in the evidence")
            if want[0] in "FB":
                nothing_handed_over(t, s, address)

    run.__doc__ = f"Row {row}, {what}: {', '.join(wants)}."
    case.register(row_name(row, what), "S-64" if row < 27 else "S-65" if row < 32 else "S-49" if row < 36 else
                  "S-29")(run)


rows(19, "H0", None, "enforce", ("F 4.4.1",) * 3)
rows(20, "H1", H1, "enforce", ("F 4.7.10", "C", "B 5.7.10"))
rows(21, "H2", H2, "enforce", ("F 4.7.5", "C", "B 5.7.10"))
rows(22, "H3", H3, "enforce", ("F 4.7.5", "U", "B 5.7.10"))
rows(22, "H3-wrong-name", dict(H5, kind="wrong-name"), "enforce", ("F 4.7.5", "U", "B 5.7.10"))
rows(23, "H4", H4, "enforce", ("T", "T", "B 5.7.30"))
rows(24, "H5", H5, "enforce", ("T", "T", "R"))
rows(25, "H5", H5, "enforce", ("F 4.7.5", "T", "B 5.7.10"), mx=OTHER)


def with_cache(t, s):
    """The policy is known, there is a new id, and the policy host is in trouble."""
    tagged.submit(t, s.gw, f"first@{domain('a')}")
    t.eq(outcome(s, f"first@{domain('a')}")[0] in "TF", True, "the first message")
    publish(s, "a", "none", status="503 Later")
    sts_lab.lab.update("s.example", sts_lab.records({"a": "2"}))
    s.gw.wait_for(lambda: (tagged.submit(t, s.gw, f"more@{domain('a')}"), s.web.count(domain("a")) == 2)[1],
                  what="a fetch for the new id")


rows(26, "H1", H1, "enforce", ("F 4.7.10", "C", "B 5.7.10"), before=with_cache, evidence_row=False)
rows(26, "H5", H5, "enforce", ("T", "T", "R"), before=with_cache, evidence_row=False)
rows(27, "H1", H1, "testing", ("C", "C", "B 5.7.10"))
rows(28, "H3", H3, "testing", ("U", "U", "B 5.7.10"))
rows(29, "H4", H4, "testing", ("T", "T", "B 5.7.30"))
rows(30, "H5", H5, "testing", ("T", "T", "R"))
rows(30, "H5-refused", H5, "testing", ("T", "T", "B 5.7.10"), over={"tls": {"sts_testing": "refuse"}}, evidence_row=False)
rows(31, "H1", H1, "testing", ("C", "C", "B 5.7.10"), mx=OTHER)
rows(31, "H5", H5, "testing", ("T", "T", "B 5.7.10"), mx=OTHER)
rows(32, "H0", None, "none", ("F 4.4.1", "F 4.4.1", "B 5.7.10"), evidence_row=False)
rows(33, "H1", H1, "none", ("C", "C", "B 5.7.10"), evidence_row=False)
rows(34, "H3", H3, "none", ("U", "U", "B 5.7.10"), evidence_row=False)
rows(35, "H5", H5, "none", ("T", "T", "B 5.7.10"), evidence_row=False)
TROUBLE = "503 Later"
rows(36, "H1", H1, "none", ("C", "C", "F 4.7.5"), evidence_row=False, status=TROUBLE)
rows(36, "H5", H5, "none", ("T", "T", "F 4.7.5"), evidence_row=False, status=TROUBLE)
rows(36, "H5-for-sure", H5, "none", ("T", "T", "B 5.7.10"), evidence_row=False, status="404 Gone")

case.main()
