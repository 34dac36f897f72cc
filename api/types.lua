-- Short names of types. The arguments and fields of the other files use them.
alias "gw.Level" { '"may"|"encrypt"|"verify"|"secure"|"requiretls"', "How much TLS: none, encrypted, verified, found safely, all four duties." }
alias "gw.Duty" { '"encrypt"|"authenticate"|"secure_lookup"|"propagate"', "One of the four things that a connection can owe." }
alias "gw.Duration" { "string|number", 'A text such as "30s", "5m", "4h", "2d", or a number of seconds.' }
alias "gw.Words" { "string|string[]|gw.Set|gw.Address|gw.Domain", "One text, a list of them, or a set." }
alias "gw.Size" { "integer|string", 'Octets, or a text such as "10M" with K, M or G.' }
alias "gw.Order" { '"advisory"|"normal"|"mandatory"', "How a handler counts in its chain." }
alias "gw.NoState" { '"absent"|"honoured"|"ignored"|"overridden"|"malformed"', "What became of the header TLS-Required." }
alias "gw.Act" { "gw.Action|gw.Verdict", "What a rule does: an action, or as the last one a verdict." }
