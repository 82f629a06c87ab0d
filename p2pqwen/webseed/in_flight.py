"""Which pieces are on their way for one torrent, so that no byte is taken from an upstream twice.

Towards the end libtorrent asks for the same pieces over all its connections: the first one brings a piece, and the
others wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

PieceKey = tuple[int, int]  # file, piece within the file


class Claims:
    """Who claimed a piece brings it, or releases it undone. Use from one event loop."""

    def __init__(self) -> None:
        self._claims: dict[PieceKey, asyncio.Event] = {}

    def claim(self, keys: Iterable[PieceKey]) -> set[PieceKey]:
        """Take on to bring those of these pieces that nobody is bringing, and return them."""
        mine = {key for key in keys if key not in self._claims}
        self._claims.update({key: asyncio.Event() for key in mine})
        return mine

    def release(self, key: PieceKey) -> None:
        """Say that a claimed piece is there, or that it is left to others."""
        self._claims.pop(key).set()

    async def wait(self, key: PieceKey) -> None:
        """Wait until nobody is bringing this piece any more."""
        if (claim := self._claims.get(key)) is not None:
            await claim.wait()
