# A row of the decision table without a unit case or an end-to-end case that passed is a failure. Behind
# the tests whose logs it reads; the table is shown at the end of make check.
TESTS += tests/coverage/decision_rows.py
EXTRA_DIST += tests/coverage/decision_rows.py
tests/coverage/decision_rows.log: $(PROTO_TESTS:.py=.log) \
	tests/unit/test_dns_live.log tests/unit/test_message_dsn.log tests/unit/test_net_tls.log \
	tests/unit/test_smtp_client.log tests/unit/test_trust_decide.log
check-local: check-TESTS
	@case " $(TESTS) " in *" tests/coverage/decision_rows.py "*) \
		cat tests/coverage/decision_rows.log ;; esac
