# A client that means harm: every scenario whole, octet by octet and cut at random. SOAK=1 adds seeds,
# longer walks and longer tables.
HOSTILE_CLIENT = \
	tests/proto/hostile_client_commands.py \
	tests/proto/hostile_client_data.py \
	tests/proto/hostile_client_limits.py \
	tests/proto/hostile_client_tls.py \
	tests/proto/hostile_client_words.py
PROTO_TESTS += $(HOSTILE_CLIENT)
SOAK_TESTS += $(HOSTILE_CLIENT)
EXTRA_DIST += tests/proto/hostile_client_kit.py
