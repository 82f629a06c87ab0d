"""Read torrents, but do not parse, prove and try the last few again.

One command reads a held torrent several times, before and under a lock, and reads back what it wrote itself. Publishing
does so with every torrent of the library, in several rounds. The bytes are read from the disk every time. What was
found in them is cached by their SHA-256, so it is never out of date.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from p2pqwen.errors import FormatError
from p2pqwen.signing.keys import PublicKey
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo, read_metainfo
from p2pqwen.values.digest import Sha256
from p2pqwen.values.weighed_cache import WeighedCache

KEPT = 4
"""Torrents, however large: the held one, a better one, and the two of a contradiction."""
KEPT_BYTES = 8 << 20
"""Bytes of further .torrent files in all: about 80 models of the usual size. Parsed, they take several times that."""
NO_KEYS: Mapping[Sha256, PublicKey] = MappingProxyType({})


class TorrentReader:
    """Remembers the last `kept` torrents, and more while their files fit in `kept_bytes`; thread-safe."""

    def __init__(self, kept: int = KEPT, kept_bytes: int = KEPT_BYTES) -> None:
        self._lock = threading.Lock()
        self._known: WeighedCache[Sha256, _Known] = WeighedCache(kept_bytes, lambda one: one.size, at_least=kept)

    def metainfo(self, data: bytes) -> Metainfo:
        """Return the torrent of a .torrent file, its manifest unchecked; raises `FormatError`."""
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
            return read_metainfo(data)  # not remembered: the library's own torrents have their layers

    def bare_torrent(self, data: bytes) -> CheckedTorrent:
        """Return, as `torrent` does, a torrent that another client may have saved without its piece layers."""
        try:
            return self.torrent(data)
        except FormatError:
            return CheckedTorrent.of(read_metainfo(data))

    def remember(self, data: bytes, torrent: CheckedTorrent) -> None:
        """Remember the torrent that was written as `data`."""
        self._keep(Sha256.of(data), len(data), torrent)

    def _find(self, digest: Sha256) -> Metainfo | CheckedTorrent | None:
        with self._lock:
            known = self._known.get(digest)
            return None if known is None else known.found

    def _keep(self, digest: Sha256, size: int, found: Metainfo | CheckedTorrent) -> Metainfo | CheckedTorrent:
        with self._lock:
            self._known.put(digest, _Known(size, found))
        return found


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found in a file of `size` bytes."""

    size: int
    found: Metainfo | CheckedTorrent
