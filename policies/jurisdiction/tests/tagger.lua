-- Stands for the policy that knows the classes of data.
gw.rule { name = "test.tag", at = "message", when = gw.match.subject_word "personal", act = gw.action.tag "personal" }
