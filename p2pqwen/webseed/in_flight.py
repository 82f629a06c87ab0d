"""The pieces of one torrent that are being fetched, so that no byte is taken from an upstream twice.

Towards the end libtorrent requests the same pieces over all its connections: the first fetches a piece, and the others
wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

PieceKey = tuple[int, int]  # file, piece within the file


class Claims:
    """Claims on pieces: a claimant fetches the piece, or releases it. Use from one event loop."""

    def __init__(self) -> None:
        self._claims: dict[PieceKey, asyncio.Event] = {}

    def claim(self, keys: Iterable[PieceKey]) -> set[PieceKey]:
        """Claim those of these pieces that have no claim, and return them."""
        mine = {key for key in keys if key not in self._claims}
        self._claims.update({key: asyncio.Event() for key in mine})
        return mine

    def release(self, key: PieceKey) -> None:
        """End a claim: the piece is there, or is left to others."""
        self._claims.pop(key).set()

    async def wait(self, key: PieceKey) -> None:
        """Wait until this piece has no claim."""
        if (claim := self._claims.get(key)) is not None:
            await claim.wait()
