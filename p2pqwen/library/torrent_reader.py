"""Reads torrents, and does not parse, prove and try the same bytes again while they are among the last ones.

One command looks at a held torrent several times, under a lock and before it, and what it wrote itself it reads back.
A publishing does so with every torrent of the library, one round after the other.
The bytes are read from the disk every time; what was found in them is known by their SHA-256, so it is never out of
date.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from p2pqwen.errors import FormatError
from p2pqwen.signing.keys import PublicKey
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo, read_metainfo
from p2pqwen.values.digest import Sha256

KEPT = 4
"""Torrents, however large: the one that is held, a better one, and the two of a contradiction."""
KEPT_BYTES = 8 << 20
"""Of .torrent files in all, beyond those: of some 80 models of the usual size. Read, they take a few times as much."""
NO_KEYS: Mapping[Sha256, PublicKey] = MappingProxyType({})


class TorrentReader:
    """Remembers the last `kept` torrents, and more while their files come to `kept_bytes`; for several threads."""

    def __init__(self, kept: int = KEPT, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept, self._kept_bytes, self._lock = kept, kept_bytes, threading.Lock()
        self._known: OrderedDict[Sha256, _Known] = OrderedDict()
        self._bytes = 0

    def metainfo(self, data: bytes) -> Metainfo:
        """Return the torrent of a .torrent file, whose manifest nobody has looked at; raises `FormatError`."""
        digest = Sha256.of(data)
        known = self._find(digest)
        if known is None:
            known = self._keep(digest, len(data), parse_metainfo(data))
        return known.metainfo if isinstance(known, CheckedTorrent) else known

    def torrent(self, data: bytes, keys: Mapping[Sha256, PublicKey] = NO_KEYS) -> CheckedTorrent:
        """Return the torrent of a .torrent file, its signatures tried with these keys.

        Raises as `CheckedTorrent.read` does.
        """
        digest = Sha256.of(data)
        known = self._find(digest)
        if known is None:
            known = parse_metainfo(data)
        checked = (known if isinstance(known, CheckedTorrent) else CheckedTorrent.of(known)).tried_with(keys)
        self._keep(digest, len(data), checked)
        return checked

    def bare_metainfo(self, data: bytes) -> Metainfo:
        """Return, as `metainfo` does, a torrent that another client may have saved without its piece layers."""
        try:
            return self.metainfo(data)
        except FormatError:
            return read_metainfo(data)  # not remembered: what this library holds is whole

    def bare_torrent(self, data: bytes) -> CheckedTorrent:
        """Return, as `torrent` does, a torrent that another client may have saved without its piece layers."""
        try:
            return self.torrent(data)
        except FormatError:
            return CheckedTorrent.of(read_metainfo(data))

    def remember(self, data: bytes, torrent: CheckedTorrent) -> None:
        """Note what a torrent is that was written as `data`."""
        self._keep(Sha256.of(data), len(data), torrent)

    def _find(self, digest: Sha256) -> Metainfo | CheckedTorrent | None:
        with self._lock:
            known = self._known.get(digest)
            return None if known is None else known.found

    def _keep(self, digest: Sha256, size: int, found: Metainfo | CheckedTorrent) -> Metainfo | CheckedTorrent:
        with self._lock:
            if digest not in self._known:
                self._bytes += size
            self._known[digest] = _Known(size, found)
            self._known.move_to_end(digest)
            while len(self._known) > self._kept and self._bytes > self._kept_bytes:
                self._bytes -= self._known.popitem(last=False)[1].size
        return found


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found in a file of `size` bytes."""

    size: int
    found: Metainfo | CheckedTorrent
