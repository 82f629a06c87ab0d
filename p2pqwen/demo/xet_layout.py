"""How a Xet server lays out a file: chunks, xorbs of many chunks, and the terms that reconstruct the file.

Sources: draft-denis-xet and huggingface.co/docs/xet (xorb format, file reconstruction). A server may cut chunks
anywhere, since clients follow the reconstruction. Here they have one size and are stored uncompressed, so any range of
a xorb is made from the file itself and nothing is stored twice.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from p2pqwen.hub.xet_hashing import XetHashing

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from p2pqwen.demo.hub_repository import StoredFile

CHUNK_SIZE = 64 * 1024
XORB_CHUNKS = 1000  # with headers, just below the 64 MiB limit of a xorb
_HEADER_SIZE = 8
_STORED_CHUNK = CHUNK_SIZE + _HEADER_SIZE


@dataclass(frozen=True, slots=True)
class Term:
    """Chunks `start` to `stop` of a xorb, which unpack to `length` bytes of the file."""

    xorb: Xorb
    start: int
    stop: int
    length: int

    @property
    def stored(self) -> tuple[int, int]:
        """The first and the last byte of the chunks within the xorb."""
        return self.start * _STORED_CHUNK, self.xorb.stored_end(self.stop) - 1


@dataclass(frozen=True, slots=True)
class Xorb:
    """The `number`-th xorb of a file: up to `XORB_CHUNKS` of its chunks, each behind a header of 8 bytes."""

    file: StoredFile
    number: int

    @property
    def hash(self) -> str:
        """Its name in requests; clients do not check it against the content."""
        return hashlib.sha256(f"xorb {self.number} of {self.file.sha256}".encode()).hexdigest()

    @property
    def size(self) -> int:
        """Its size in bytes, headers included."""
        return self.stored_end(XORB_CHUNKS)

    def stored_end(self, chunk: int) -> int:
        """Return the offset at which the chunks before this one end."""
        unpacked = min(chunk * CHUNK_SIZE, self.file.size - self.number * XORB_CHUNKS * CHUNK_SIZE)
        return unpacked + -(-unpacked // CHUNK_SIZE) * _HEADER_SIZE

    def open(self, mode: str) -> io.BufferedReader:
        """Open it for reading, like a path."""
        del mode
        return io.BufferedReader(_XorbReader(self), 16 * _STORED_CHUNK)

    def chunks(self, first: int) -> Iterator[bytes]:
        """Yield the chunks from `first` on, with their headers."""
        at = (self.number * XORB_CHUNKS + first) * CHUNK_SIZE
        end = min(self.file.size, (self.number + 1) * XORB_CHUNKS * CHUNK_SIZE)
        with _opened(self.file) as content:
            content.seek(at)
            while at < end:
                chunk = content.read(min(CHUNK_SIZE, end - at))
                at += len(chunk)
                yield _header(len(chunk)) + chunk


def terms(file: StoredFile, start: int, stop: int) -> tuple[int, list[Term]]:
    """Return how many bytes of the first term to skip, and the terms that make up bytes `start` to `stop` of a file."""
    first, last = start // CHUNK_SIZE, -(-min(stop, file.size) // CHUNK_SIZE)
    found = []
    for number in range(first // XORB_CHUNKS, -(-last // XORB_CHUNKS)):
        base = number * XORB_CHUNKS
        begin, end = max(first - base, 0), min(last - base, XORB_CHUNKS)
        length = min(file.size, (base + end) * CHUNK_SIZE) - (base + begin) * CHUNK_SIZE
        found.append(Term(Xorb(file, number), begin, end, length))
    return start - first * CHUNK_SIZE, found


def xet_hashes(files: Iterable[StoredFile]) -> dict[str, str]:
    """Return files' names in the store by their SHA-256: the Xet hashes that hf_xet computes.

    Without hf_xet, no client uses them, and they are other hashes.
    """
    by_sha256 = {str(file.sha256): file for file in files}
    with TemporaryDirectory(prefix="p2pqwen-xet-") as folder:
        paths = [_on_disk(file, Path(folder, name)) for name, file in by_sha256.items()]
        made = XetHashing()(paths) or [hashlib.sha256(f"xet {name}".encode()).hexdigest() for name in by_sha256]
    return dict(zip(by_sha256, made, strict=True))


def _on_disk(file: StoredFile, path: Path) -> Path:
    if isinstance(file.source, Path):
        return file.source
    with _opened(file) as content:
        path.write_bytes(content.read())
    return path


class _XorbReader(io.RawIOBase):
    """A xorb as a file object, generated while it is read."""

    def __init__(self, xorb: Xorb) -> None:
        self._xorb = xorb
        self._at = 0
        self._chunks: Iterator[bytes] | None = None
        self._left = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        del whence  # always from the start
        self._at, self._chunks = offset, None
        return offset

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        if self._chunks is None:
            self._chunks = self._xorb.chunks(self._at // _STORED_CHUNK)
            self._left = next(self._chunks, b"")[self._at % _STORED_CHUNK :]
        elif not self._left:
            self._left = next(self._chunks, b"")
        view = memoryview(buffer)
        part = self._left[: len(view)]
        view[: len(part)] = part
        self._left = self._left[len(part) :]
        self._at += len(part)
        return len(part)


def _header(length: int) -> bytes:
    """Return version 0, stored length, scheme 0 (uncompressed), unpacked length; lengths are 3 bytes, little-endian."""
    size = length.to_bytes(3, "little")
    return b"\0" + size + b"\0" + size


def _opened(file: StoredFile) -> io.BufferedIOBase:
    return io.BytesIO(file.source) if isinstance(file.source, bytes) else file.source.open("rb")
