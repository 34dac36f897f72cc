# The hooks of policies beside the way of a message, from outside.
PROTO_TESTS += tests/proto/attachments.py tests/proto/hooks.py tests/proto/hook_ends.py
