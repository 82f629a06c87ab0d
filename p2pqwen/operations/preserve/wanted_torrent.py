"""The torrent that a rebuild must make, by what a magnet says of it; anything else is refused."""

from __future__ import annotations

from dataclasses import dataclass

from p2pqwen.errors import VerificationError
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.magnet import Magnet
from p2pqwen.values.digest import Sha1, Sha256


@dataclass(frozen=True, slots=True)
class WantedTorrent:
    """Infohashes, of which at least one is known, and the payload's size in bytes if that is known."""

    infohash_v1: Sha1 | None
    infohash_v2: Sha256 | None
    size: int | None = None

    @classmethod
    def of(cls, magnet: Magnet) -> WantedTorrent:
        """Return what a magnet asks for."""
        return cls(magnet.infohash_v1, magnet.infohash_v2, magnet.size)

    def check_size(self, got: int) -> None:
        """Refuse a source before anything is downloaded from it; raises `VerificationError`."""
        if self.size not in {None, got}:
            raise VerificationError("the source lists another size than the magnet link", expected=self.size, got=got)

    def check(self, got: InfoHash) -> None:
        """Refuse a torrent with another infohash; raises `VerificationError`."""
        for wanted, made in ((self.infohash_v2, got.v2), (self.infohash_v1, got.v1)):
            if wanted is not None and wanted.raw != made.raw:
                raise VerificationError(
                    "the source serves other bytes than the magnet link names: they make another torrent",
                    expected=wanted,
                    got=made,
                    hint="nothing was kept; `p2pqwen preserve` keeps the source's files, under their own infohash",
                )
