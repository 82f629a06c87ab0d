"""Complete files whose pieces have all arrived: flush them, compare them with the manifest, and mark them done.

libtorrent flushes by closing every file of the torrent, so a flush covers all files that have arrived, and is rare.
Readers do not wait for it: they get pieces.
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
"""Returns what is wrong with a flushed file; runs on another thread."""


class Completion:
    """The files of one download that have arrived and are not done; used on its engine's thread."""

    def __init__(self, torrent: DownloadedTorrent, check: Check, pool: ThreadPoolExecutor) -> None:
        self._torrent, self._check, self._pool = torrent, check, pool
        self._come: list[ArrivingFile] = []
        self._leaving: list[ArrivingFile] = []  # being flushed by libtorrent
        self._flushes = 0  # the torrent's flush count before that
        self._next_flush = 0.0
        self._checked: deque[tuple[ArrivingFile, Future[Exception | None]]] = deque()

    @property
    def pending(self) -> bool:
        """Whether a file has arrived and is not done."""
        return bool(self._come or self._leaving or self._checked)

    def look_at(self, file: ArrivingFile) -> None:
        """Take over a file if all its pieces have arrived."""
        if file.here or file.done or file.failure is not None:
            return
        if self._torrent.have.find(b"\0", file.numbers.start, file.numbers.stop) < 0:
            file.here = True
            self._come.append(file)

    def step(self, failed: Callable[[Exception], P2pqwenError], *, at_once: bool = False) -> None:
        """Do the next step for all files; `failed` makes the error that readers of a bad file get."""
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
    """Read a whole file and return what is wrong with it, None if it matches the manifest.

    As for a fetch, libtorrent compared each piece with both hashes of the torrent when it arrived or was found here.
    """
    pieces = file.pieces
    try:
        found = None
        if row is not None:
            digester = Digester(pieces.size, piece_length=None, padded=False, git_blob=not row.lfs)
            path = pieces.folder / pieces.path.text
            found = hash_file(path, piece_length=pieces.piece_length, padded=False, begun=digester)
        check_file(metainfo, file.index, row, pieces.folder, found)
    except Exception as problem:  # noqa: BLE001 - returned to the thread that reports it
        return problem
    return None
