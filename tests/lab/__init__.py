"""Real parts around the gateway for tests and the demonstration: DNS (lab), certificates (certs),
next hops (nexthop), clients (client) and the gateway itself (gateway). Standard library and Debian
programs only; everything listens on loopback."""
