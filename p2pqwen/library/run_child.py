"""Hash runs of large files for another process: `python -m p2pqwen.library.run_child`, which `run_process` starts.

Requests and answers are those of `hash_child`. Each request is a `Run` and a `Wish`. The answer contains, if they are
wished for, the v1 hashes of the run's pieces, 20 bytes each, then their rows of the piece layer, 32 bytes each. After
the last run of a file that is digested as a whole, its SHA-256 follows. The module imports little, since it is started
for one command.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from p2pqwen.library.hash_child import OtherFileError, serve
from p2pqwen.torrent.piece_hasher import FileHashes, PieceHasher, steps

READ_SIZE = 256 * 1024


class Run(NamedTuple):
    """Some whole pieces of a file, from byte `start` to `stop`; the file must still have this `identity`.

    `path` is text (`os.fsdecode`).
    """

    path: str
    identity: tuple[int, ...]
    piece_length: int
    start: int
    stop: int


class Wish(NamedTuple):
    """What to return for a run: `pieces`, its hashes; `whole`, it is the next part of a file digested as a whole."""

    pieces: bool
    whole: bool


def identity(stat: os.stat_result) -> tuple[int, ...]:
    """Return what stays the same in an unchanged file: inode, device, size in bytes, modification time in ns."""
    return stat.st_ino, stat.st_dev, stat.st_size, stat.st_mtime_ns


def hash_run(run: Run) -> FileHashes:
    """Read a run and return its hashes, as if it were a whole file; raises `OSError`, `OtherFileError`."""
    hasher = PieceHasher(run.piece_length, padded=False)
    with _opened(run) as file:
        for chunk in _read(file, run):
            hasher.update(chunk)
    return hasher.finish()


class Answers:
    """The state kept between requests: the SHA-256 of the file being digested, up to the last run."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._at = 0

    def answer(self, run: Run, wish: Wish) -> bytes:
        """Return the answer in the form in which it is sent; raises `OSError`, and `OtherFileError` for a changed file.

        The runs of one file follow one another. A run that starts at 0 begins the next file.
        """
        hasher = PieceHasher(run.piece_length, padded=False) if wish.pieces else None
        if wish.whole and run.start == 0:
            self._whole, self._at = hashlib.sha256(), 0
        if wish.whole and run.start != self._at:
            raise OtherFileError(f"{run.path} is digested up to {self._at}, not to {run.start}")
        with _opened(run) as file:
            for chunk in _read(file, run):
                for part in steps(chunk):
                    if wish.whole:
                        self._whole.update(part)
                    if hasher is not None:
                        hasher.update(part)
        found = b""
        if hasher is not None:
            hashes = hasher.finish()
            found = hashes.pieces + hashes.rows
        if wish.whole:
            self._at = run.stop
            *_, size, _ = run.identity
            found += self._whole.digest() if run.stop == size else b""
        return found


@contextmanager
def _opened(run: Run) -> Iterator[FileIO]:
    try:
        file = Path(run.path).open("rb", buffering=0)  # noqa: SIM115 - below
    except FileNotFoundError as error:
        raise OtherFileError(f"{run.path} was moved or removed") from error
    with file:
        if identity(os.fstat(file.fileno())) != run.identity:
            raise OtherFileError(f"{run.path} is not the file that it was")
        yield file


def _read(file: FileIO, run: Run) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(READ_SIZE))
    file.seek(run.start)
    at = run.start
    while at < run.stop:
        count = file.readinto(buffer[: run.stop - at])
        if not count:
            raise OtherFileError(f"{run.path} ends before its size")
        yield buffer[:count]
        at += count


def main() -> None:
    """Answer runs until stdin ends."""
    answers = Answers()

    def answer(request: Sequence[Any]) -> bytes:
        (path, same, *numbers), wish = request
        return answers.answer(Run(path, tuple(same), *numbers), Wish(*wish))

    serve(answer)


if __name__ == "__main__":
    main()
