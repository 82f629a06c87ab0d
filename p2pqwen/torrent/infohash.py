"""A hybrid torrent's two names: SHA-1 (BEP 3) and SHA-256 (BEP 52) of its info dictionary."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

from p2pqwen.values.digest import Sha1, Sha256


@dataclass(frozen=True, slots=True)
class InfoHash:
    """The v1 and the v2 infohash of one info dictionary."""

    v1: Sha1
    v2: Sha256

    @classmethod
    def of(cls, info: bytes) -> Self:
        """Return both hashes of a bencoded info dictionary."""
        return cls(Sha1(hashlib.sha1(info).digest()), Sha256.of(info))  # noqa: S324 - BitTorrent v1
