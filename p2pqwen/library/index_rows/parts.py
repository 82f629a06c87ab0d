"""One database of an index, in parts whose digests are checked when they are read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
import weakref
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from p2pqwen.errors import DiskError, FormatError
from p2pqwen.library.checksummed import unseal
from p2pqwen.values import json_fields
from p2pqwen.values.digest import Sha256
from p2pqwen.values.strict_json import JsonObject

FORMAT = 4
"""Of the database, and of the rules by which its rows were accepted: a database with another number is made again."""
MAX_SEAL = 1 << 20
_DIGEST = 32


class Kind(IntEnum):
    """What a part is: the upper half of its id, whose lower half counts the parts of a kind."""

    SEAL, LISTS, ROWS, FIRST, WORDS, V1, V2, COMMITS, NAMES, HEADS, HEADER, COLUMNS, CLAIMS = range(13)


KINDS = tuple(kind for kind in Kind if kind not in {Kind.SEAL, Kind.LISTS})
"""The kinds whose lists the seal names."""
HASHED = (Kind.V1, Kind.V2, Kind.COMMITS, Kind.NAMES)


class RowsNotWrittenError(DiskError):
    """The database cannot be written: the home's own disk fails, not the place that the index came from."""


class DamagedRowsError(Exception):
    """The database is not what was sealed, and must be made again."""


class OtherFormatError(DamagedRowsError):
    """The database was made by another version of this program."""


@dataclass(frozen=True, slots=True)
class FileMark:
    """What distinguishes an accepted file from another at the same path: size in bytes, time, inode."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileMark:
        """Return the mark of a file."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino)


class Parts:
    """The parts of one database, each checked against its digest when it is read; thread-safe."""

    def __init__(self, connection: sqlite3.Connection, lists: dict[Kind, bytes], sealed: JsonObject) -> None:
        self._connection, self._lists, self.sealed = connection, lists, sealed
        self._lock = threading.Lock()
        self.verified = 0.0
        self._closing = weakref.finalize(self, connection.close)

    @classmethod
    def open(cls, path: Path) -> Parts:
        """Open a database read-only; raises `DamagedRowsError`."""
        try:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise DamagedRowsError(str(error)) from error
        try:
            sealed = unseal(read_part(connection, Kind.SEAL, 0), max_bytes=MAX_SEAL, always=True)
            lists = _lists_of(connection, sealed)
        except BaseException as error:
            connection.close()
            if isinstance(error, FormatError | sqlite3.Error):
                raise DamagedRowsError(str(error)) from error
            raise
        parts = cls(connection, lists, sealed)
        with contextlib.suppress(OSError):
            parts.verified = path.stat().st_mtime  # written once, so this is when it was made
        return parts

    def count(self, kind: Kind) -> int:
        """Return the number of parts of a kind."""
        return len(self._lists[kind]) // _DIGEST

    def get(self, kind: Kind, number: int) -> bytes:
        """Return a part; raises `DamagedRowsError`."""
        with self._lock:
            try:
                body = read_part(self._connection, kind, number)
            except sqlite3.Error as error:
                raise DamagedRowsError(str(error)) from error
        if hashlib.sha256(body).digest() != self._lists[kind][number * _DIGEST : (number + 1) * _DIGEST]:
            raise DamagedRowsError("a part changed since it was written")
        return body


def _lists_of(connection: sqlite3.Connection, sealed: JsonObject) -> dict[Kind, bytes]:
    if json_fields.integer(sealed, "format") != FORMAT:
        raise OtherFormatError("it is of another version")
    digests = json_fields.obj(sealed, "lists")
    lists: dict[Kind, bytes] = {kind: read_part(connection, Kind.LISTS, kind) for kind in KINDS}
    if any(str(Sha256.of(found)) != digests.get(str(kind)) for kind, found in lists.items()):
        raise DamagedRowsError("a list of parts changed")
    return lists


def read_part(connection: sqlite3.Connection, kind: Kind, number: int) -> bytes:
    """Return a part without checking it; raises `DamagedRowsError`, `sqlite3.Error`."""
    found = connection.execute("SELECT body FROM parts WHERE id = ?", (kind << 32 | number,)).fetchone()
    if found is None or not isinstance(found[0], bytes):
        raise DamagedRowsError("a part is missing")
    return found[0]
