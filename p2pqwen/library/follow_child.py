"""Hash a file while it grows, for another process: `python -m p2pqwen.library.follow_child PIECE_LENGTH PADDED`.

`following` starts it; PADDED is 1 where a pad file follows, else 0. It is asked and answers as `hash_child` says: each
request is `[path, is_whole]`, and the file as far as it has come, by its path as text (`os.fsdecode`), is hashed from
where the last request left it. The answer is how many bytes are hashed (`DONE`); then of a whole file its SHA-256, the
v1 hashes of its pieces, 20 bytes each, and their rows of the piece layer, 32 bytes each. It imports little, since it is
started for each large file.
"""

from __future__ import annotations

import os
import struct
import sys
from hashlib import sha256
from pathlib import Path

from p2pqwen.library.hash_child import OtherFileError, serve
from p2pqwen.library.run_child import READ_SIZE, identity
from p2pqwen.portable.process import let_others_first
from p2pqwen.torrent.piece_hasher import PieceHasher, steps

DONE = struct.Struct(">Q")
"""Bytes that are hashed."""


class GrowingDigests:
    """Every digest of a file that somebody else appends to, as far as it has come."""

    def __init__(self, piece_length: int, *, padded: bool) -> None:
        self.done = 0
        self._whole = sha256()
        self._pieces = PieceHasher(piece_length, padded=padded)
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._file: tuple[int, int] | None = None

    def advance(self, path: Path) -> None:
        """Take what has been appended by now; a file that is not there any more is no error.

        Raises `OSError`, and `OtherFileError` where another file than before is there.
        """
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            return
        with file:
            found = os.fstat(file.fileno())
            if self._file not in {None, (found.st_dev, found.st_ino)}:
                raise OtherFileError(f"{path} is not the file that it was")
            self._file = found.st_dev, found.st_ino
            file.seek(self.done)
            # As far as it has come: one that grows faster than it is hashed has no end.
            while self.done < found.st_size and (count := file.readinto(self._buffer[: found.st_size - self.done])):
                for part in steps(self._buffer[:count]):
                    self._whole.update(part)
                    self._pieces.update(part)
                self.done += count

    def finish(self, path: Path) -> bytes:
        """Take the rest of a file that is whole, and return its digests as an answer has them.

        Raises `OSError`, `OtherFileError` where it changes meanwhile.
        """
        before = path.stat()
        self.advance(path)
        if identity(before) != identity(path.stat()) or self.done != before.st_size:
            raise OtherFileError(f"{path} changed while it was read")
        found = self._pieces.finish()
        return self._whole.digest() + found.pieces + found.rows


def main() -> None:
    """Answer until stdin ends."""
    let_others_first()  # those that bring the file
    piece_length, padded = map(int, sys.argv[1:])
    digests = GrowingDigests(piece_length, padded=bool(padded))

    def answer(request: tuple[str, bool]) -> bytes:
        path, is_whole = request
        if not is_whole:
            digests.advance(Path(path))
        found = digests.finish(Path(path)) if is_whole else b""
        return DONE.pack(digests.done) + found

    serve(answer)


if __name__ == "__main__":
    main()
