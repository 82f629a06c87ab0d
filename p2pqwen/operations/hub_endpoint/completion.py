"""Files of which every piece has come: written out, compared with the manifest, and called done; many at a time.

libtorrent writes out what it still holds by closing every file of the torrent, so it is asked for that once for all
that have come by then, and seldom. Nobody who reads waits for it: a reader gets pieces.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from p2pqwen.errors import P2pqwenError
from p2pqwen.library.hashing import Digester, hash_file
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.operations.engine import DownloadedTorrent
from p2pqwen.operations.fetch.wanted_files import check_file
from p2pqwen.operations.hub_endpoint.arriving import ArrivingFile
from p2pqwen.torrent.metainfo import Metainfo

_EVERY = 0.25  # seconds

Check = Callable[[ArrivingFile], Exception | None]
"""Says what is wrong with a file that is written out, on another thread."""


class Completion:
    """The files of one download that have come and are not done; for the thread of its engine."""

    def __init__(self, torrent: DownloadedTorrent, check: Check, pool: ThreadPoolExecutor) -> None:
        self._torrent, self._check, self._pool = torrent, check, pool
        self._come: list[ArrivingFile] = []
        self._leaving: list[ArrivingFile] = []  # libtorrent writes them out
        self._flushes = 0  # before that
        self._next_flush = 0.0
        self._checked: deque[tuple[ArrivingFile, Future[Exception | None]]] = deque()

    @property
    def pending(self) -> bool:
        """Whether a file has come and is not done."""
        return bool(self._come or self._leaving or self._checked)

    def look_at(self, file: ArrivingFile) -> None:
        """Take a file once every piece of it is here."""
        if file.here or file.done or file.failure is not None:
            return
        if self._torrent.have.find(b"\0", file.numbers.start, file.numbers.stop) < 0:
            file.here = True
            self._come.append(file)

    def step(self, failed: Callable[[Exception], P2pqwenError], *, at_once: bool = False) -> None:
        """Go on with them; `failed` makes what readers are told of a file that is not what it should be."""
        if self._leaving and self._torrent.flushes > self._flushes:
            self._checked += ((file, self._pool.submit(self._check, file)) for file in self._leaving)
            self._leaving = []
        if self._come and not self._leaving and (at_once or time.monotonic() >= self._next_flush):
            self._next_flush = time.monotonic() + _EVERY
            self._leaving, self._come = self._come, []
            self._flushes = self._torrent.flushes
            self._torrent.request_flush()
        while self._checked and self._checked[0][1].done():
            file, answer = self._checked.popleft()
            problem = answer.result()
            file.done = problem is None
            if problem is not None:
                file.fail(failed(problem), for_good=True)


def difference_from(metainfo: Metainfo, row: FileRow | None, file: ArrivingFile) -> Exception | None:
    """Read a file whole and return what is wrong with it, None where it is what the manifest names.

    libtorrent has compared each piece with both hashes of the torrent when it came or was found here, as for a fetch.
    """
    pieces = file.pieces
    try:
        found = None
        if row is not None:
            digester = Digester(pieces.size, piece_length=None, padded=False, git_blob=not row.lfs)
            path = pieces.folder / pieces.path.text
            found = hash_file(path, piece_length=pieces.piece_length, padded=False, begun=digester)
        check_file(metainfo, file.index, row, pieces.folder, found)
    except Exception as problem:  # noqa: BLE001 - handed on to the thread that tells of it
        return problem
    return None
