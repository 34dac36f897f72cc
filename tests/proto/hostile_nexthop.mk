# Next hops that misbehave in every way, and lookups that fail in every way (security.md X-32 to X-53).
PROTO_TESTS += tests/proto/hostile_nexthop.py
PROTO_TESTS += tests/proto/hostile_nexthop_queue.py
SOAK_TESTS += tests/proto/hostile_nexthop_queue.py
PROTO_TESTS += tests/proto/hostile_nexthop_dns.py
SOAK_TESTS += tests/proto/hostile_nexthop_net.py
EXTRA_DIST += tests/proto/hostile_nexthop_net.py tests/lab/hostile.py tests/proto/hostile_nexthop_ways.py
