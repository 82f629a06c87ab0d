"""Which addresses a session may speak to at all: peers, web seeds and trackers alike."""

from __future__ import annotations

import libtorrent as lt

from p2pqwen.swarm.settings import SwarmSettings

_BLOCKED = 1
# Never a peer: "this network", link-local with the clouds' metadata service, documentation, multicast, reserved.
_NEVER = (
    ("0.0.0.0", "0.255.255.255"),  # noqa: S104 - a range
    ("169.254.0.0", "169.254.255.255"),
    ("224.0.0.0", "255.255.255.255"), ("::", "::"), ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
)  # fmt: skip
_LOOPBACK = (
    ("127.0.0.0", "127.255.255.255"), ("::1", "::1"), ("::ffff:127.0.0.0", "::ffff:127.255.255.255"),
)  # fmt: skip
_PRIVATE = (
    ("10.0.0.0", "10.255.255.255"), ("100.64.0.0", "100.127.255.255"), ("172.16.0.0", "172.31.255.255"),
    ("192.168.0.0", "192.168.255.255"), ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
)  # fmt: skip


def blocked_ranges(settings: SwarmSettings) -> tuple[tuple[str, str], ...]:
    """Return the first and last address of each range the session must not touch."""
    return (
        *_NEVER,
        *(() if settings.allows_loopback else _LOOPBACK),
        *(() if settings.lan else _PRIVATE),
    )


def address_filter(settings: SwarmSettings) -> lt.ip_filter:
    """Return libtorrent's filter for a session."""
    found = lt.ip_filter()
    for first, last in blocked_ranges(settings):
        found.add_rule(first, last, _BLOCKED)
    return found
