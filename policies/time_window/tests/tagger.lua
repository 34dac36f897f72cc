-- Stands for the policy that knows which messages are files for the bank.
gw.rule { name = "test.tag", at = "message", when = gw.match.subject_word "file", act = gw.action.tag "file" }
