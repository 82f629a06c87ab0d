"""The two magnet links of one torrent in JSON answers."""

from __future__ import annotations

from dataclasses import dataclass

from p2pqwen.torrent.magnet import Magnet


@dataclass(frozen=True, slots=True)
class LinksAnswer:
    """The torrent's magnet, and one with only the v1 infohash, for clients that ignore links with `btmh`.

    `magnet_v1` is None for a torrent without a v1 infohash.
    """

    magnet: str
    magnet_v1: str | None

    @classmethod
    def of(cls, magnet: Magnet) -> LinksAnswer:
        """Return both links."""
        alone = magnet.v1_alone
        return cls(str(magnet), None if alone is None else str(alone))
