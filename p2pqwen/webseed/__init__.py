"""Web seeds: the loopback relay, its upstreams, the probe."""
