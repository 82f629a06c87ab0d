"""Hash runs of pieces for another process: `python -m p2pqwen.library.piece_child`, which `piece_process` starts.

It is asked and answers as `hash_child` says: each request is a `Run`, its path as text (`os.fsdecode`), and each answer
the v1 hashes of its pieces, 20 bytes each, then their rows of the piece layer, 32 bytes each. It imports little, since
it is started for one command.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from p2pqwen.library.hash_child import OtherFileError, serve
from p2pqwen.torrent.piece_hasher import FileHashes, PieceHasher

READ_SIZE = 256 * 1024


class Run(NamedTuple):
    """Some whole pieces of a file, which is as it was when its reader opened it: see `identity`. Bytes all."""

    path: str
    identity: tuple[int, ...]
    piece_length: int
    start: int
    stop: int


def identity(stat: os.stat_result) -> tuple[int, ...]:
    """Return what a file that was not changed keeps: inode, device, size in bytes, modification time in ns."""
    return stat.st_ino, stat.st_dev, stat.st_size, stat.st_mtime_ns


def hash_run(run: Run) -> FileHashes:
    """Read a run and return its hashes, those of a file that is only this; raises `OSError`, `OtherFileError`."""
    hasher = PieceHasher(run.piece_length, padded=False)
    buffer = memoryview(bytearray(READ_SIZE))
    try:
        file = Path(run.path).open("rb", buffering=0)  # noqa: SIM115 - below
    except FileNotFoundError as error:
        raise OtherFileError(f"{run.path} was moved or removed") from error
    with file:
        if identity(os.fstat(file.fileno())) != run.identity:
            raise OtherFileError(f"{run.path} is not the file that it was")
        file.seek(run.start)
        at = run.start
        while at < run.stop:
            count = file.readinto(buffer[: run.stop - at])
            if not count:
                raise OtherFileError(f"{run.path} ends before its size")
            hasher.update(buffer[:count])
            at += count
    return hasher.finish()


def main() -> None:
    """Answer runs until stdin ends."""

    def answer(request: Sequence[Any]) -> bytes:
        path, same, *numbers = request
        hashes = hash_run(Run(path, tuple(same), *numbers))
        return hashes.pieces + hashes.rows

    serve(answer)


if __name__ == "__main__":
    main()
