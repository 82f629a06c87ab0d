"""Outgoing connections: the only place that opens them, each through the guard of `values.named_hosts`."""
