"""Hash a file while it grows, for another process: `python -m p2pqwen.library.follow_child`, which `following` starts.

The first line on stdin is a JSON array, the piece length in bytes and whether a pad file follows. Each line after it is
`[path, is_whole]`: the file as far as it has come, by its path as text (`os.fsdecode`), is hashed from where the last
line left it. The answer on stdout is the SHA-256 of the line, so that nothing else is taken for an answer, and how many
bytes are hashed; of a whole file also its `Digests`. A file that cannot be read, or that changes while its end is read,
is answered by an end: whoever asked hashes it anew, and then has the error itself.
The process ends when stdin does. It imports little, since it is started for each large file.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from p2pqwen.library.piece_child import READ_SIZE, OtherFileError, identity
from p2pqwen.portable.process import let_others_first
from p2pqwen.torrent.piece_hasher import PieceHasher, steps

DONE = struct.Struct(">Q")
"""Bytes that are hashed."""
SIZES = struct.Struct(">QQ")
"""Of what follows in the answer for a whole file: of the pieces, and of the rows."""


class Digests(NamedTuple):
    """Of a whole file: its SHA-256, its v1 piece hashes, 20 bytes each, and their rows of the layer, 32 bytes each."""

    sha256: bytes
    pieces: bytes
    rows: bytes


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

    def finish(self, path: Path) -> Digests:
        """Take the rest of a file that is whole; raises `OSError`, `OtherFileError` where it changes meanwhile."""
        before = path.stat()
        self.advance(path)
        if identity(before) != identity(path.stat()) or self.done != before.st_size:
            raise OtherFileError(f"{path} changed while it was read")
        found = self._pieces.finish()
        return Digests(self._whole.digest(), found.pieces, found.rows)


def main() -> None:
    """Answer until stdin ends."""
    let_others_first()  # those that bring the file
    piece_length, padded = json.loads(sys.stdin.buffer.readline())
    digests = GrowingDigests(piece_length, padded=padded)
    for line in sys.stdin.buffer:
        path, is_whole = json.loads(line)
        answer = b""
        if is_whole:
            found = digests.finish(Path(path))
            answer = SIZES.pack(len(found.pieces), len(found.rows)) + b"".join(found)
        else:
            digests.advance(Path(path))
        sys.stdout.buffer.write(sha256(line).digest() + DONE.pack(digests.done) + answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        main()
    except (OSError, OtherFileError, KeyboardInterrupt):
        sys.exit(1)
