"""The two links of one torrent, as answers in JSON give them."""

from __future__ import annotations

from dataclasses import dataclass

from p2pqwen.torrent.magnet import Magnet


@dataclass(frozen=True, slots=True)
class LinksAnswer:
    """Its magnet, and the one with the v1 infohash alone, for clients that pass over a link with `btmh`.

    `magnet_v1` is None for a torrent without a v1 infohash.
    """

    magnet: str
    magnet_v1: str | None

    @classmethod
    def of(cls, magnet: Magnet) -> LinksAnswer:
        """Return both."""
        alone = magnet.v1_alone
        return cls(str(magnet), None if alone is None else str(alone))
