"""The signed DHT items a node keeps alive: its own publisher's, and those of the publishers it follows.

    pointers/<publisher id>/<target>.item     one item, bencoded, for each place in the DHT

They are not secret: anyone who has one can put it again, and only the key's owner can make a newer one.
"""

from __future__ import annotations

from pathlib import Path

from p2pqwen.errors import P2pqwenError
from p2pqwen.index.mutable_item import MAX_STORED, ItemAddress, MutableItem, parse_item
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.values.digest import Sha256

MAX_ITEMS = 8


class PointerStore:
    """The folder `pointers/` of a home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def items(self, publisher: Sha256) -> list[MutableItem]:
        """Return a publisher's items, the highest sequence number first; damaged ones are skipped."""
        folder = self._home.pointers / str(publisher)
        found = []
        for path in sorted(folder.glob("*.item"))[: 2 * MAX_ITEMS] if folder.is_dir() else ():
            try:
                found.append(parse_item(durable.read(path, max_bytes=MAX_STORED)))
            except P2pqwenError:
                continue
        return sorted(found, key=lambda item: -item.sequence)[:MAX_ITEMS]

    def get(self, publisher: Sha256, address: ItemAddress) -> MutableItem | None:
        """Return the item kept for an address."""
        return next((item for item in self.items(publisher) if item.address == address), None)

    def keep(self, publisher: Sha256, item: MutableItem) -> bool:
        """Keep an item unless one at least as new is kept; tell whether it was new. Raises `DiskError`."""
        with durable.lock(self._home.locks / f"pointers-{publisher}.lock", wait=True):
            before = self.get(publisher, item.address)
            if before is not None and before.sequence >= item.sequence:
                return False
            durable.write(self._path(publisher, item.address), item.encode())
        return True

    def _path(self, publisher: Sha256, address: ItemAddress) -> Path:
        return self._home.pointers / str(publisher) / f"{address.target}.item"
