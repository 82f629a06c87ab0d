"""Where the DHT is entered by a node that remembers nobody."""

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
    """Read `[network] dht_bootstrap`: `HOST:PORT` with commas or blanks between; empty: the public ones; `none`.

    Raises `UsageError`.
    """
    if text.strip().lower() == NONE:
        return ()
    named = [one for one in re.split(r"[,\s]+", text) if one]
    return tuple(Endpoint.parse(one) for one in (named or DHT_BOOTSTRAP))
