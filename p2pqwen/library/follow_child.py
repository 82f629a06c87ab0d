"""Hash a file while it grows, for another process: `python -m p2pqwen.library.follow_child PIECE_LENGTH PADDED`.

`following` starts it; PADDED is 1 if a pad file follows, else 0. Requests and answers are those of `hash_child`. Each
request is `[path, is_whole]`, with the path as text (`os.fsdecode`). The file is hashed from where the last request
left it, as far as it goes now. The answer is how many bytes are hashed (`DONE`). For a whole file, its SHA-256 follows,
then the v1 hashes of its pieces, 20 bytes each, then their rows of the piece layer, 32 bytes each. The module imports
little, since it is started for each large file.
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
"""Bytes hashed."""


class GrowingDigests:
    """Every digest of a file that another process or thread appends to, as far as it goes."""

    def __init__(self, piece_length: int, *, padded: bool) -> None:
        self.done = 0
        self._whole = sha256()
        self._pieces = PieceHasher(piece_length, padded=padded)
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._file: tuple[int, int] | None = None

    def advance(self, path: Path) -> None:
        """Hash what was appended since the last call; a missing file is no error.

        Raises `OSError`, and `OtherFileError` if it is not the same file as before.
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
            # Up to the size seen: a file that grows faster than it is hashed has no end.
            while self.done < found.st_size and (count := file.readinto(self._buffer[: found.st_size - self.done])):
                for part in steps(self._buffer[:count]):
                    self._whole.update(part)
                    self._pieces.update(part)
                self.done += count

    def finish(self, path: Path) -> bytes:
        """Hash the rest of a file that is whole, and return its digests in the answer's form.

        Raises `OSError`, and `OtherFileError` if the file changes meanwhile.
        """
        before = path.stat()
        self.advance(path)
        if identity(before) != identity(path.stat()) or self.done != before.st_size:
            raise OtherFileError(f"{path} changed while it was read")
        found = self._pieces.finish()
        return self._whole.digest() + found.pieces + found.rows


def main() -> None:
    """Answer until stdin ends."""
    let_others_first()  # such as those that fetch the file
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
