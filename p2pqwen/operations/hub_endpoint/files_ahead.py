"""Request small files before they are read, for a client that reads a snapshot file after file.

Requested one by one, each file costs more than a round trip. Between two files the download wants nothing, so it tells
its peers that it is not interested; they choke it, and unchoke it for the next file. This took 89 ms for each file from
a peer on the same machine, because small messages wait for acknowledgements.

These files may never be read, so their number is small: `MOST` files of at most `LARGEST` bytes after the furthest one
read, and none before some files have been read in the torrent's order.
"""

from __future__ import annotations

from collections.abc import Collection

from p2pqwen.torrent.layout import Layout
from p2pqwen.values.repo_path import RepoPath

LARGEST = 64 << 10
"""Bytes of the largest file that is requested ahead."""
MOST = 64
"""Files ahead of the furthest one read: at most 4 MiB, usually about 100 KB."""
_RUN = 4  # files read in order before the next ones are predicted
_NEAR = 32  # clients read several at once: this far apart, they still count as in order


class FilesAhead:
    """Predicts these files for one download from each file that a reader starts."""

    def __init__(self, layout: Layout, missing: Collection[RepoPath]) -> None:
        """Choose among the `missing` files of a torrent."""
        self._order = [
            index for index, file in enumerate(layout.files) if 0 < file.size <= LARGEST and file.path in missing
        ]
        self._places = {index: place for place, index in enumerate(self._order)}
        self._furthest = self._told = 0  # places: the last one read, and the end of those requested
        self._run = 0

    def after(self, index: int) -> list[int]:
        """Record that the torrent's file at `index` is read as a whole; return the files to request now, by index."""
        place = self._places.get(index)
        if place is None:
            return []
        if self._run and abs(place - self._furthest) <= _NEAR:
            self._run += 1
            self._furthest = max(self._furthest, place)
        else:
            self._run, self._furthest, self._told = 1, place, place + 1
        begin = max(self._told, self._furthest + 1)
        if self._run < _RUN or begin - self._furthest > MOST // 2:  # request many at once: each request has a cost
            return []
        self._told = min(self._furthest + 1 + MOST, len(self._order))
        return self._order[begin : self._told]
