"""Where a node that remembers no other node enters the DHT."""

from __future__ import annotations

import re

from p2pqwen.swarm.endpoint import Endpoint

DHT_BOOTSTRAP = (
    "dht.libtorrent.org:25401",
    "router.bittorrent.com:6881",
    "router.utorrent.com:6881",
    "dht.transmissionbt.com:6881",
)
NONE = "none"


def bootstrap_nodes(text: str) -> tuple[Endpoint, ...]:
    """Parse `[network] dht_bootstrap`: `HOST:PORT`, separated by commas or blanks; empty for the public ones; `none`.

    Raises `UsageError`.
    """
    if text.strip().lower() == NONE:
        return ()
    named = [one for one in re.split(r"[,\s]+", text) if one]
    return tuple(Endpoint.parse(one) for one in (named or DHT_BOOTSTRAP))
