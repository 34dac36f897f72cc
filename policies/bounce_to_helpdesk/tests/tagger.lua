-- Stands for the policy that protects mail.
gw.rule { name = "test.tag", at = "message", when = gw.match.subject_word "tag me", act = gw.action.tag "secure" }
gw.rule { name = "test.protect", at = "message", when = gw.match.subject_word "protect me",
  act = gw.action.require_tls { level = "encrypt", reason = "test" } }
