# Bad days, interruptions, reload, the command line, and Postfix on both sides.
PROTO_TESTS += \
	tests/proto/bad_days.py \
	tests/proto/commands.py \
	tests/proto/interrupted.py \
	tests/proto/postfix.py \
	tests/proto/reload.py
