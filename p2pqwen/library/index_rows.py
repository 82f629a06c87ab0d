"""The database of an accepted index, made once when it is accepted and read from then on instead of its file.

    index.json                     the signed file, as it came; what counts
    index.<16 hex digits>.sqlite   its rows, words, hashes, columns, in parts; the digits are the file's SHA-256

The database is believed only where its seal names the file that stands beside it now, by size, time and inode. All of
it hangs on the seal, which names the digest of each list of parts; and each list names the digest of every part. So a
flipped bit, a missing part or one of another database is found when it is read, by whatever way SQLite came to it. That
is why words and hashes are such parts too, and no index of SQLite's (FTS5 neither): nothing would notice a row that
such an index hides. What is lost, damaged, of another version or of another file is made again from the signed file, by
all of acceptance. The file itself is never touched.

A database is never changed: a new one gets a name of its own, so that whoever reads the old one reads on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import re
import sqlite3
import sys
import tempfile
import threading
import weakref
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from itertools import islice
from operator import and_
from pathlib import Path
from typing import Any, TypeVar, overload

from p2pqwen.errors import DiskError, FormatError, NotFoundError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.index.acceptance import Accepted, TrustedState, accept_delta, accept_pieces
from p2pqwen.index.delta import parse_delta
from p2pqwen.index.document import document_of, encode_pieces
from p2pqwen.index.entry import Entry, SkippedEntry, Upstream, checked_row, is_entry_row
from p2pqwen.index.listing import (
    COLUMNS_AT_ONCE,
    Claims,
    Columns,
    Listing,
    Sought,
    claimed_torrent,
    folded,
    name_filter,
    word_filter,
)
from p2pqwen.index.root import parse_signed_root
from p2pqwen.library import durable
from p2pqwen.library.checksummed import seal, unseal
from p2pqwen.library.index_source import IndexSource, pieces_of, size_of
from p2pqwen.portable import files
from p2pqwen.signing.envelope import ThresholdResult
from p2pqwen.signing.keys import Message
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values import json_fields
from p2pqwen.values.digest import CommitId, Sha1, Sha256
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId
from p2pqwen.values.strict_json import JsonObject, canonical

FORMAT = 4
"""Of the database, and of the rules by which its rows were accepted: another number is made again."""
ROWS_IN_PART = 128
WORDS_IN_PART = 2048
HASHES_IN_PART = 8192
MAX_SEAL = 1 << 20
MAX_TRACKED = 64
"""Entries whose trackers are looked at: more than a bundle's peers announce at."""
TOLD_FROM = 8 << 20
"""Bytes: reading a larger file shows progress."""
TOLD_EVERY = 1 << 20
_SMALL_MESSAGE = 8 << 20
_SEAL, _LISTS, _ROWS, _FIRST, _WORDS, _V1, _V2, _COMMITS, _NAMES, _HEADS, _HEADER, _COLUMNS, _CLAIMS = range(13)
_KINDS = (_ROWS, _FIRST, _WORDS, _V1, _V2, _COMMITS, _NAMES, _HEADS, _HEADER, _COLUMNS, _CLAIMS)
_HASHED = (_V1, _V2, _COMMITS, _NAMES)
_DIGEST = 32
_PREFIX = 10  # hex digits of a hash that a record holds, above the 24 bits of its row's number
_ROW_BITS = 24
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_BLANKS = str.maketrans("\t\n", "  ")
_OURS = r"\.[0-9a-f]{16}\.sqlite"

Result = TypeVar("Result")


class RowsNotWrittenError(DiskError):
    """The database cannot be written: it is this home's disk that fails, and no place that an index came from."""


class DamagedRowsError(Exception):
    """The database is not what was sealed: it has to be made again."""


class OtherFormatError(DamagedRowsError):
    """The database is as another version of this program makes it."""


@dataclass(frozen=True, slots=True)
class FileMark:
    """What tells an accepted file from any other that stands in its place: size in bytes, time, inode."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileMark:
        """Return that of a file."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino)


class _Parts:
    """The parts of one database, each compared with its digest when it is read; for several threads."""

    def __init__(self, connection: sqlite3.Connection, lists: dict[int, bytes], sealed: JsonObject) -> None:
        self._connection, self._lists, self.sealed = connection, lists, sealed
        self._lock = threading.Lock()
        self.verified = 0.0
        self._closing = weakref.finalize(self, connection.close)

    @classmethod
    def open(cls, path: Path) -> _Parts:
        """Open a database that is only read; raises `DamagedRowsError`."""
        try:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise DamagedRowsError(str(error)) from error
        try:
            sealed = unseal(_read(connection, _SEAL, 0), max_bytes=MAX_SEAL, always=True)
            lists = _lists_of(connection, sealed)
        except BaseException as error:
            connection.close()
            if isinstance(error, FormatError | sqlite3.Error):
                raise DamagedRowsError(str(error)) from error
            raise
        parts = cls(connection, lists, sealed)
        with contextlib.suppress(OSError):
            parts.verified = path.stat().st_mtime  # it is written once
        return parts

    def count(self, kind: int) -> int:
        return len(self._lists[kind]) // _DIGEST

    def get(self, kind: int, number: int) -> bytes:
        """Return a part; raises `DamagedRowsError`."""
        with self._lock:
            try:
                body = _read(self._connection, kind, number)
            except sqlite3.Error as error:
                raise DamagedRowsError(str(error)) from error
        if hashlib.sha256(body).digest() != self._lists[kind][number * _DIGEST : (number + 1) * _DIGEST]:
            raise DamagedRowsError("a part changed since it was written")
        return body

    def all(self, kind: int) -> Iterator[bytes]:
        return (self.get(kind, number) for number in range(self.count(kind)))


def _lists_of(connection: sqlite3.Connection, sealed: JsonObject) -> dict[int, bytes]:
    if json_fields.integer(sealed, "format") != FORMAT:
        raise OtherFormatError("it is of another version")
    digests = json_fields.obj(sealed, "lists")
    lists = {kind: _read(connection, _LISTS, kind) for kind in _KINDS}
    if any(str(Sha256.of(found)) != digests.get(str(kind)) for kind, found in lists.items()):
        raise DamagedRowsError("a list of parts changed")
    return lists


def _read(connection: sqlite3.Connection, kind: int, number: int) -> bytes:
    found = connection.execute("SELECT body FROM parts WHERE id = ?", (kind << 32 | number,)).fetchone()
    if found is None or not isinstance(found[0], bytes):
        raise DamagedRowsError("a part is missing")
    return found[0]


class StoredListing(Listing):
    """The entries of an accepted index, in its database. What turns out damaged is made again, once, and read on."""

    def __init__(self, parts: _Parts, heal: Callable[[str], _Parts], builder: RowsBuilder | None = None) -> None:
        """`builder` made it, and has not put it beside its file yet."""
        self._parts, self._heal, self.builder = parts, heal, builder
        self._count = json_fields.integer(parts.sealed, "entries")
        self._rows = json_fields.integer(parts.sealed, "rows")
        self._latest: tuple[int, list[bytes]] = -1, []
        self._firsts: list[str] | None = None
        self._heads: dict[int, array[int]] = {}

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        return (entry for _, entry in self._entries(0))

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(self._count))]
        wanted = index + self._count if index < 0 else index
        if not 0 <= wanted < self._count:
            raise IndexError(index)
        start = 0 if self._rows != self._count else wanted  # skipped rows stand between the entries
        return next(islice((entry for _, entry in self._entries(start)), wanted - start, None))

    def find(self, sought: Sought) -> list[Entry]:
        """Read the parts in which it can be."""
        match sought:
            case RepoId():
                return [one for one in self._near(sought.text, None) if one.id.repo == sought]
            case SnapshotId():
                return [one for one in self._near(sought.repo.text, sought.commit) if one.id == sought]
            case InfoHash():
                return [one for one in self._hashed(_V2, str(sought.v2)) if one.infohash == sought]
            case CommitId():
                return [one for one in self._hashed(_COMMITS, str(sought)) if one.id.commit == sought]
            case Sha1():
                return [one for one in self._hashed(_V1, str(sought)) if one.infohash.v1 == sought]
            case Sha256():
                return [one for one in self._hashed(_V2, str(sought)) if one.infohash.v2 == sought]

    def having(self, words: Sequence[str]) -> Iterator[Entry]:
        """Look for the longest word among the words and hashes, and at those entries for the others."""
        wanted = sorted((word.casefold() for word in words), key=len)
        if not wanted or not wanted[-1]:
            return iter(self)
        marks = self._marks(wanted[-1])
        if _HEX.fullmatch(wanted[-1]):
            for kind in (_V1, _V2, _COMMITS):
                for row in self._numbers(kind, wanted[-1]):
                    marks[row] = 1
        matches = word_filter(words)
        return (entry for entry in self._at(_marked(marks)) if matches(entry))

    def called(self, words: Sequence[str], kind: RepoKind, after: str = "") -> Iterator[Entry]:
        """Look for the words, and for what the names of a kind begin with, among the names."""
        first = self._part_before(f"{after}\0") * ROWS_IN_PART if after else 0
        wanted = {word.lower() for word in words} | {_before(kind)} - {""}
        matches = name_filter(words, kind, after)
        if not wanted:
            return (entry for _, entry in self._entries(first) if matches(entry.id.repo))
        each_word = (int.from_bytes(self._marks(word, names_alone=True)) for word in wanted)
        marks = reduce(and_, each_word).to_bytes(self._rows)
        return (entry for entry in self._at(_marked(marks, first)) if matches(entry.id.repo))

    def spelled(self, repo: RepoId) -> RepoId | None:
        """Look for the hash of the name in lower case."""
        name = folded(repo)
        found = (entry.id.repo for entry in self._hashed(_NAMES, _name_digits(name)))
        return next((one for one in found if folded(one) == name), None)

    def repos(self) -> Iterator[RepoId]:
        """Go through the entries."""
        text, kinds = "", set[RepoKind]()
        for one in self:
            repo = one.id.repo
            if repo.text != text:
                text, kinds = repo.text, set()
            if repo.kind not in kinds:
                kinds.add(repo.kind)
                yield repo

    def names(self, beginning: str) -> Iterator[SnapshotId]:
        """Go through the entries whose repositories begin so, by each way in which a kind may stand before the name."""
        repo = beginning.partition("@")[0]
        texts = {text for kind in RepoKind if (text := _text_of(repo, kind)) is not None}
        for text in sorted(texts):
            if any(text.startswith(other) for other in texts - {text}):
                continue
            for _, one in self._entries(self._part_before(text) * ROWS_IN_PART):
                if one.id.repo.text > text and not one.id.repo.text.startswith(text):
                    break
                if str(one.id).startswith(beginning):
                    yield one.id

    def columns(self) -> Iterator[Columns]:
        """Read them as they were written, which makes no entry."""
        for number in range(self._read(lambda parts: parts.count(_COLUMNS))):
            body = self._read(lambda parts, number=number: parts.get(_COLUMNS, number))  # type: ignore[misc]
            names, sizes, licenses, upstream = json.loads(body)
            yield Columns(names, sizes, licenses, [_UPSTREAM[one] for one in upstream])

    def claims(self) -> Iterator[Claims]:
        """Read them as they were written."""
        for number in range(self._read(lambda parts: parts.count(_CLAIMS))):
            body = self._read(lambda parts, number=number: parts.get(_CLAIMS, number))  # type: ignore[misc]
            yield Claims(*json.loads(body))

    def tracked(self) -> Iterator[Entry]:
        """Read those that were noted."""
        numbers: Any = self._parts.sealed.get("tracked")
        return self._at(one for one in numbers if 0 <= one < self._rows)

    def rows(self) -> Iterator[bytes]:
        """Yield the RFC 8785 form of every row, the skipped ones too."""
        for number in range(self._read(lambda parts: parts.count(_ROWS))):
            yield from self._lines(number)

    @property
    def file_digest(self) -> Sha256 | None:
        """The SHA-256 of the file that the database was sealed for, None before it was."""
        found = self._parts.sealed.get("sha256")
        return Sha256.parse(found) if isinstance(found, str) else None

    @property
    def parts(self) -> _Parts:
        """Where it is read from."""
        return self._parts

    def go_on_with(self, path: Path) -> None:
        """Read on from the database at a path, which holds the same; raises `DamagedRowsError`."""
        self._parts, self.builder = _Parts.open(path), None

    def heal_with(self, heal: Callable[[str], _Parts]) -> None:
        """Say what makes the database again, given what is wrong with it."""
        self._heal = heal

    def _entries(self, start: int) -> Iterator[tuple[int, Entry]]:
        """Yield the entries from a row on, with the numbers of their rows."""
        first = start // ROWS_IN_PART
        for number in range(first, self._read(lambda parts: parts.count(_ROWS))):
            for at, line in enumerate(self._lines(number), number * ROWS_IN_PART):
                if at >= start and isinstance(found := _row(line), Entry):
                    yield at, found

    def _at(self, rows: Iterable[int]) -> Iterator[Entry]:
        for row in rows:
            if isinstance(found := _row(self._line(row)), Entry):
                yield found

    def _line(self, row: int) -> bytes:
        number, at = divmod(row, ROWS_IN_PART)
        latest = self._latest
        if latest[0] != number:
            self._latest = latest = number, self._lines(number)
        return latest[1][at]

    def _lines(self, number: int) -> list[bytes]:
        return self._read(lambda parts: parts.get(_ROWS, number)).split(b"\n")

    def _near(self, text: str, commit: CommitId | None) -> Iterator[Entry]:
        """Yield the entries of a repository's name and commit, None: any, among others that hold the same words."""
        first = self._part_before(f"{text}\0{commit or ''}")
        last = bisect_right(self._part_names, f"{text}\0{commit or '~'}")
        marks = [f'"{one}"'.encode() for one in (text, commit) if one is not None]
        for number in range(first, max(first + 1, last) if self._rows else 0):
            for line in self._lines(number):
                if all(mark in line for mark in marks) and isinstance(found := _row(line), Entry):
                    yield found

    def _part_before(self, place: str) -> int:
        """Return the last part that begins before a place, in which it is if it is anywhere."""
        return max(0, bisect_left(self._part_names, place) - 1)

    @property
    def _part_names(self) -> list[str]:
        if self._firsts is None:
            self._firsts = self._read(lambda parts: parts.get(_FIRST, 0)).decode().split("\n")
        return self._firsts

    def _hashed(self, kind: int, digits: str) -> Iterator[Entry]:
        return self._at(self._numbers(kind, digits))

    def _numbers(self, kind: int, digits: str) -> list[int]:
        """Return the rows whose hash of this kind begins so, as far as a record tells."""
        known = digits[:_PREFIX]
        low = int(known.ljust(_PREFIX, "0"), 16) << _ROW_BITS
        high = (int(known.ljust(_PREFIX, "f"), 16) << _ROW_BITS) | (1 << _ROW_BITS) - 1
        if kind not in self._heads:
            head = self._read(lambda parts: parts.get(_HEADS, kind - _V1))
            self._heads[kind] = _numbers_of(head)
        heads = self._heads[kind]
        found: list[int] = []
        for number in range(max(0, bisect_right(heads, low) - 1), len(heads)):
            if heads[number] > high:
                break
            records = _numbers_of(self._read(lambda parts, number=number: parts.get(kind, number)))  # type: ignore[misc]
            found += (
                one & (1 << _ROW_BITS) - 1 for one in records[bisect_left(records, low) : bisect_right(records, high)]
            )
        return sorted(found)

    def _marks(self, word: str, *, names_alone: bool = False) -> bytearray:
        """Return a 1 for each row in whose words one occurs; `names_alone`: in the repository's name."""
        marks = bytearray(self._rows)
        sought = word.translate(_BLANKS).encode("utf-8", "replace")
        for number in range(self._read(lambda parts: parts.count(_WORDS))):
            body = self._read(lambda parts, number=number: parts.get(_WORDS, number))  # type: ignore[misc]
            row, counted, at = number * WORDS_IN_PART, 0, body.find(sought)
            while at >= 0:
                row += body.count(b"\n", counted, at)
                counted = body.find(b"\n", at)
                end = len(body) if counted < 0 else counted
                marks[row] = not names_alone or body.find(b"\t", at, end) >= 0
                if counted < 0:
                    break
                at = body.find(sought, counted)
        return marks

    def _read(self, look: Callable[[_Parts], Result]) -> Result:
        try:
            return look(self._parts)
        except DamagedRowsError as error:
            self._parts = self._heal(str(error))
        try:
            return look(self._parts)
        except DamagedRowsError as error:
            raise DiskError("the database of an index is damaged as soon as it is made", got=str(error)) from error


class _Skipped(Sequence[SkippedEntry]):
    """The rows of an accepted index that this version does not know, read when they are asked for."""

    def __init__(self, listing: StoredListing, count: int) -> None:
        self._listing, self._count = listing, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[SkippedEntry]:
        if self._count:
            found = map(_row, self._listing.rows())
            yield from islice((one for one in found if isinstance(one, SkippedEntry)), self._count)

    @overload
    def __getitem__(self, index: int) -> SkippedEntry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SkippedEntry]: ...
    def __getitem__(self, index: int | slice) -> SkippedEntry | Sequence[SkippedEntry]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]


class RowsBuilder:
    """Makes a database: a `RowSink` for one acceptance. Where none comes of it, nothing is left behind."""

    def __init__(self, folder: Path | None) -> None:
        """`folder` is where the file stands, or will; None: all is kept in memory. Raises `DiskError`."""
        self.path: Path | None = None
        if folder is not None:
            with durable.disk_errors(f"write in {folder}"):
                self.path = durable.temporary_beside(folder / "index.sqlite")
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, durable.PRIVATE))
        self._connection = sqlite3.connect(self.path or ":memory:", isolation_level=None, check_same_thread=False)
        self._leaving = weakref.finalize(self, _leave, self._connection, self.path)
        self.file_digest: Sha256 | None = None
        """The SHA-256 of the file that was read; known at its end."""
        self._listing: StoredListing | None = None
        self._lists: dict[int, list[bytes]] = {kind: [] for kind in _KINDS}
        self._rows: list[bytes] = []
        self._words: list[str] = []
        self._first: list[str] = []
        self._hashes = {kind: array("Q") for kind in _HASHED}
        self._name = ""
        self._columns = _no_columns()
        self._claims: tuple[list[str], list[str]] = [], []
        self._hashed = [
            (self._hashes[kind], name)
            for kind, name in ((_V1, "infohash_v1"), (_V2, "infohash_v2"), (_COMMITS, "commit"))
        ]
        self._count = self._skipped = 0
        self._bytes = 0
        self._tracked: list[int] = []
        with _writing():
            for setting in ("page_size = 16384", "journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
                self._connection.execute(f"PRAGMA {setting}")
            self._connection.execute("CREATE TABLE parts (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
            self._connection.execute("BEGIN")

    def add(self, canonical: bytes, row: JsonObject | None) -> None:
        """Take the next row."""
        self._rows.append(canonical)
        self._bytes += len(canonical) + 1
        if row is not None:
            self._index(row)
        self._count += 1
        if len(self._rows) == ROWS_IN_PART:
            self._put_rows()

    def _index(self, row: JsonObject) -> None:
        known: Any = row
        if not self._count % ROWS_IN_PART:
            self._first.append(f"{known['repo']}\0{known['commit']}")
        if is_entry_row(row):
            for hashes, name in self._hashed:
                hashes.append(int(known[name][:_PREFIX], 16) << _ROW_BITS | self._count)
            shown = _shown(known["repo"], known["repo_type"])
            if shown != self._name:
                self._name = shown
                self._hashes[_NAMES].append(int(_name_digits(shown.lower()), 16) << _ROW_BITS | self._count)
            names, sizes, licenses, upstream = self._columns
            names.append(f"{shown}@{known['commit']}")
            sizes.append(known["size"])
            licenses.append(known.get("license"))
            upstream.append(known["upstream"])
            added, torrents = self._claims
            added.append(known["added"])
            torrents.append(claimed_torrent(known["infohash_v1"], known["infohash_v2"], known["manifest_sha256"]))
            if len(names) == COLUMNS_AT_ONCE:
                self._put_columns()
            if "&tr=" in known["magnet"] and len(self._tracked) < MAX_TRACKED:
                self._tracked.append(self._count)
            license_ = known.get("license") or ""
            if not license_.isprintable():
                license_ = license_.translate(_BLANKS)
            self._words.append(f"{shown}\t{license_}".casefold())
        else:
            self._skipped += 1
            self._words.append("")
        if len(self._words) == WORDS_IN_PART:
            self._put_words()

    @property
    def size(self) -> int:
        """Count what was taken."""
        return max(0, self._bytes - 1)

    @contextlib.contextmanager
    def message(self, before: bytes, after: bytes) -> Iterator[Message]:
        """Return it in memory where it is short, else in a file without a name."""
        self._put_rows()
        pieces = (part.replace(b"\n", b",") for part in self._written(_ROWS))
        if self._bytes <= _SMALL_MESSAGE:
            yield b"".join((before, b",".join(pieces), after))
            return
        folder = None if self.path is None else self.path.parent
        with durable.disk_errors("write a temporary file"), tempfile.TemporaryFile(dir=folder) as file:
            file.write(before)
            for number, piece in enumerate(pieces):
                file.write(b"," + piece if number else piece)
            file.write(after)
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held, memoryview(held) as message:
                yield message

    def finish(self) -> tuple[Sequence[Entry], Sequence[SkippedEntry]]:
        """Write what finds the rows, and return them; raises `DiskError`."""
        self._put_rows()
        self._put_words()
        self._put_columns()
        for kind, hashes in self._hashes.items():
            ordered = sorted(hashes)
            heads = []
            for start in range(0, len(ordered), HASHES_IN_PART):
                heads.append(ordered[start])
                self._put(kind, _bytes_of(ordered[start : start + HASHES_IN_PART]))
            self._put(_HEADS, _bytes_of(heads))
            del hashes[:]
        self._put(_FIRST, "\n".join(self._first).encode())
        lists = {kind: b"".join(digests) for kind, digests in self._lists.items()}
        sealed = self._counts()
        self._listing = StoredListing(_Parts(self._connection, lists, sealed), _no_way_back, self)
        return self._listing, _Skipped(self._listing, self._skipped)

    def place(self, file: Path, mark: FileMark, accepted: Accepted) -> None:
        """Seal the database for a file that stands, or is about to, and put it beside; raises `DiskError`.

        `accepted` is what the file says. One that is kept in memory stays there.
        """
        if self.path is None or self._listing is None or self.file_digest is None:
            return
        target = file.with_name(f"{file.stem}.{str(self.file_digest)[:16]}.sqlite")
        self._put(_HEADER, canonical(_header_of(accepted)))
        lists = {kind: b"".join(digests) for kind, digests in self._lists.items()}
        sealed: JsonObject = {
            "format": FORMAT,
            "file": {"size": mark.size, "mtime_ns": str(mark.mtime_ns), "inode": str(mark.inode)},
            "sha256": str(self.file_digest),
            **self._counts(),
            "lists": {str(kind): str(Sha256.of(found)) for kind, found in lists.items()},
        }
        with _writing():
            rows = [(_LISTS << 32 | kind, found) for kind, found in lists.items()]
            self._connection.executemany("INSERT INTO parts VALUES (?, ?)", [*rows, (_SEAL << 32, seal(sealed))])
            self._connection.execute("COMMIT")
            self._connection.close()
        with durable.disk_errors(f"write {target}"):
            files.sync_file(self.path)
        durable.rename(self.path, target)
        with _writing():
            self._listing.go_on_with(target)

    def _counts(self) -> JsonObject:
        return {
            "entries": self._count - self._skipped,
            "rows": self._count,
            "skipped": self._skipped,
            "tracked": list(self._tracked),
        }

    def discard(self) -> None:
        """Leave nothing behind."""
        self._leaving()

    def _put_rows(self) -> None:
        if self._rows:
            self._put(_ROWS, b"\n".join(self._rows))
            self._rows = []

    def _put_words(self) -> None:
        if self._words:
            self._put(_WORDS, "\n".join(self._words).encode())
            self._words = []

    def _put_columns(self) -> None:
        if self._columns[0]:
            for kind, found in ((_COLUMNS, self._columns), (_CLAIMS, self._claims)):
                self._put(kind, json.dumps(found, separators=(",", ":")).encode())
            self._columns, self._claims = _no_columns(), ([], [])

    def _put(self, kind: int, body: bytes) -> None:
        with _writing():
            self._connection.execute("INSERT INTO parts VALUES (?, ?)", (kind << 32 | len(self._lists[kind]), body))
        self._lists[kind].append(hashlib.sha256(body).digest())

    def _written(self, kind: int) -> Iterator[bytes]:
        for number in range(len(self._lists[kind])):
            with _writing():
                body = _read(self._connection, kind, number)
            yield body


def accept_file(
    pieces: Iterable[bytes], trusted: TrustedState, now: datetime, folder: Path | None, tell: Callable[[int], None]
) -> Accepted:
    """Judge an index file by all of section 8 while a database of it is made in `folder`, for `RowsBuilder.place`.

    `tell` is called with the bytes read so far. Raises `RefusedError`, `DiskError`.
    """
    builder = RowsBuilder(folder)
    hasher = hashlib.sha256()
    taken = 0

    def watched() -> Iterator[bytes]:
        nonlocal taken
        for piece in pieces:
            hasher.update(piece)
            taken += len(piece)
            tell(taken)
            yield piece

    try:
        accepted = accept_pieces(watched(), trusted, now, builder)
    except BaseException:
        builder.discard()
        raise
    builder.file_digest = Sha256(hasher.digest())
    return accepted


def apply_delta(data: bytes, base: Accepted, trusted: TrustedState, now: datetime, folder: Path) -> Accepted:
    """Judge the index that a delta makes of an accepted one, whose database is read; as `accept_file` does.

    Raises `FormatError`, `RefusedError`, `DiskError`.
    """
    delta, listing = parse_delta(data), base.document.entries
    if not isinstance(listing, StoredListing):
        raise FormatError("the rows of the older index are not kept")
    builder = RowsBuilder(folder)
    try:
        return accept_delta(delta, base, listing.rows(), trusted, now, builder)
    except BaseException:
        builder.discard()
        raise


def accept_apart(
    source: IndexSource, trusted: TrustedState, now: datetime, report: Report = ignore, *, folder: Path | None = None
) -> Accepted:
    """Judge an index file that is not kept yet, if ever.

    What is made of its rows goes when the program ends, or by `let_go`; `folder` is where it may find a place.

    Raises `RefusedError`, `NotFoundError`, `DiskError`.
    """
    where = Path(tempfile.gettempdir()) if folder is None else folder
    return accept_file(pieces_of(source), trusted, now, where, progress(size_of(source), report))


def read_accepted(path: Path, publisher: Sha256, now: datetime, report: Report = ignore) -> Accepted:
    """Return what an accepted index file says, from its database, or by all of acceptance where that is not to be had.

    Then the database is made again, if the folder can be written to. Raises `RefusedError`, `NotFoundError`,
    `DiskError`.
    """
    try:
        if (parts := _fitting(path)) is not None:
            return _from_parts(parts, path, publisher, now, report)
    except OtherFormatError:
        report(Notice("info", f"the database of {path} is made again, in the form of this version of p2pqwen"))
    except DamagedRowsError as error:
        report(Notice("warning", f"{_damaged(path)} ({error})"))
    return rebuild(path, publisher, now, report)


def listing_beside(path: Path) -> StoredListing | None:
    """Return the entries of an accepted file if they can be had at once, for what is no more than a suggestion."""
    try:
        parts = _fitting(path)
    except DamagedRowsError:
        return None
    return None if parts is None else StoredListing(parts, _no_way_back)


def rebuild(path: Path, publisher: Sha256 | None, now: datetime, report: Report = ignore) -> Accepted:
    """Judge an accepted file by all of acceptance, and make its database again; raises as `read_accepted` does."""
    with durable.disk_errors(f"read {path}"):
        try:
            before = path.stat()
        except FileNotFoundError as error:
            raise NotFoundError(f"no file {path}") from error
    tell = progress(before.st_size, report)
    trusted = TrustedState(publisher)
    try:
        accepted = accept_file(durable.read_pieces(path), trusted, now, path.parent, tell)
    except DiskError:  # a full disk, or one that may only be read
        accepted = accept_file(durable.read_pieces(path), trusted, now, None, tell)
    with contextlib.suppress(OSError):
        if FileMark.of(path.stat()) == FileMark.of(before):
            builder = builder_of(accepted)
            digest = None if builder is None else builder.file_digest
            put_beside(path, FileMark.of(before), accepted, now, report)
            remove_others(path, digest)
    return accepted


def verified_at(path: Path) -> float | None:
    """Return when an accepted file was last put through all of acceptance, in POSIX seconds; None: nobody knows."""
    with contextlib.suppress(DamagedRowsError, OSError):
        if (parts := _fitting(path)) is not None:
            return parts.verified
    return None


def put_beside(path: Path, mark: FileMark, accepted: Accepted, now: datetime, report: Report = ignore) -> None:
    """Put the database that was made with an acceptance beside its file, which stands or is about to.

    Where that fails the index is as good, and slower to read the next time.
    """
    listing = accepted.document.entries
    if not isinstance(listing, StoredListing) or listing.builder is None:
        return
    publisher, digest = accepted.publisher, accepted.digest
    try:
        listing.builder.place(path, mark, accepted)
    except P2pqwenError as error:
        report(Notice("info", f"the database of {path} could not be written: {error.message}"))
    else:
        listing.heal_with(lambda reason: _made_again(path, publisher, digest, now, report, reason))


def whole_file(accepted: Accepted) -> Iterator[bytes]:
    """Yield an accepted index as a file of its own, with the chain from root 1 on, an entry in each line."""
    listing = accepted.document.entries
    if not isinstance(listing, StoredListing):
        raise TypeError("the rows of this index are not kept")
    return encode_pieces(accepted.roots, accepted.header, listing.rows(), accepted.signatures)


def rows_of(accepted: Accepted) -> Iterator[bytes]:
    """Yield the RFC 8785 form of every row of an accepted index, in their order; raises what its listing does."""
    listing = accepted.document.entries
    if isinstance(listing, StoredListing):
        return listing.rows()
    return (canonical(row.to_json()) for row in accepted.document.rows())


def builder_of(accepted: Accepted) -> RowsBuilder | None:
    """Return what made the database of an acceptance, as long as it is not put beside its file."""
    listing = accepted.document.entries
    return listing.builder if isinstance(listing, StoredListing) else None


def file_digest(accepted: Accepted) -> Sha256 | None:
    """Return the SHA-256 of the file that an accepted index was read from, where that is known."""
    listing = accepted.document.entries
    return listing.file_digest if isinstance(listing, StoredListing) else None


def let_go(accepted: Accepted | None) -> None:
    """Drop what was made with an acceptance of which nothing came; `accepted` is of no use afterwards."""
    if accepted is not None and (builder := builder_of(accepted)) is not None:
        builder.discard()


def remove_others(path: Path, digest: Sha256 | None) -> None:
    """Drop the databases of files that stood at this path before; those that are being read live on until then."""
    for name in _databases(path):
        if digest is None or name.name != f"{path.stem}.{str(digest)[:16]}.sqlite":
            with contextlib.suppress(OSError):
                name.unlink()


def _fitting(path: Path) -> _Parts | None:
    """Return the database that was sealed for the file which stands at a path now; raises `DamagedRowsError`."""
    try:
        mark = FileMark.of(path.stat())
    except OSError:
        return None
    damage: DamagedRowsError | None = None
    for one in _databases(path):
        try:
            parts = _Parts.open(one)
            if _mark_of(parts.sealed) == mark:
                return parts
        except DamagedRowsError as error:
            damage = error
    if damage is not None:
        raise damage
    return None


def _databases(path: Path) -> list[Path]:
    ours = re.compile(re.escape(path.stem) + _OURS, re.ASCII)
    with contextlib.suppress(OSError):
        return sorted(one for one in path.parent.iterdir() if ours.fullmatch(one.name))
    return []


def _mark_of(sealed: JsonObject) -> FileMark:
    try:
        mark = json_fields.obj(sealed, "file")
        return FileMark(
            json_fields.integer(mark, "size"),
            int(json_fields.text(mark, "mtime_ns")),
            int(json_fields.text(mark, "inode")),
        )
    except (FormatError, ValueError) as error:
        raise DamagedRowsError(str(error)) from error


def _from_parts(parts: _Parts, path: Path, publisher: Sha256, now: datetime, report: Report) -> Accepted:
    try:
        known = json.loads(parts.get(_HEADER, 0))
        roots = tuple(parse_signed_root(row) for row in known["roots"])
        listing = StoredListing(parts, _no_way_back)
        document = document_of(
            known["header"], listing, _Skipped(listing, json_fields.integer(parts.sealed, "skipped"))
        )
        signers = ThresholdResult(
            known["threshold"],
            tuple(map(Sha256.parse, known["signed_by"])),
            tuple(map(Sha256.parse, known["missing"])),
            tuple(known["ignored"]),
        )
        digest = Sha256.parse(known["digest"])
    except (FormatError, LookupError, TypeError, ValueError) as error:
        raise DamagedRowsError(f"its header: {error}") from error
    if roots[0].root.digest != publisher or document.publisher != publisher:
        raise DamagedRowsError("it is of another publisher")
    listing.heal_with(lambda reason: _made_again(path, publisher, digest, now, report, reason))
    return Accepted(
        publisher=publisher,
        roots=roots,
        document=document,
        digest=digest,
        signers=signers,
        unchanged=False,
        age_days=(now - document.issued).days,
        signatures=known["signatures"],
        header=known["header"],
    )


def _made_again(path: Path, publisher: Sha256, digest: Sha256, now: datetime, report: Report, reason: str) -> _Parts:
    """Return the parts of a database that is made again while it is being read."""
    report(Notice("warning", f"{_damaged(path)} ({reason})"))
    accepted = rebuild(path, publisher, now, report)
    listing = accepted.document.entries
    if accepted.digest != digest or not isinstance(listing, StoredListing):
        raise VerificationError(f"{path} changed while it was read", hint="run the command again")
    return listing.parts


def _damaged(path: Path) -> str:
    return f"the database of {path} was damaged and is made again from that file, which is verified anew"


def _header_of(accepted: Accepted) -> JsonObject:
    signers = accepted.signers
    return {
        "roots": [signed.to_json() for signed in accepted.roots],
        "header": accepted.header,
        "signatures": accepted.signatures,
        "digest": str(accepted.digest),
        "threshold": signers.threshold,
        "signed_by": list(map(str, signers.signed_by)),
        "missing": list(map(str, signers.missing)),
        "ignored": list(signers.ignored),
    }


def progress(total: int | None, report: Report) -> Callable[[int], None]:
    """Return what tells how much of a file has been read, where that takes longer than a moment.

    `total` None: nobody knows yet how large it will be.
    """
    told = 0

    def tell(taken: int) -> None:
        nonlocal told
        if (total or taken) > TOLD_FROM and (taken - told > TOLD_EVERY or taken == total):
            told = taken
            report(Progress("verify the index", taken, total, ""))

    return tell


def _row(line: bytes) -> Entry | SkippedEntry:
    return checked_row(_parse(line.decode()))


def _no_columns() -> tuple[list[str], list[int], list[str | None], list[str]]:
    return [], [], [], []


_UPSTREAM = {str(one): one for one in Upstream}
_parse: Callable[[str], Any] = json.JSONDecoder().decode


def _shown(repo: str, kind: str) -> str:
    return repo if kind == RepoKind.MODEL.value else str(RepoId(repo, RepoKind(kind)))


def _before(kind: RepoKind) -> str:
    """Return what stands before the names of a kind."""
    return str(RepoId("a/a", kind)).removesuffix("a/a")


def _name_digits(name: str) -> str:
    return str(Sha256.of(name.encode()))[:_PREFIX]


def _text_of(beginning: str, kind: RepoKind) -> str | None:
    """Return how the names of a kind that begin so begin without what stands before them; None: none does."""
    before = _before(kind)
    if beginning.startswith(before):
        return beginning.removeprefix(before)
    return "" if before.startswith(beginning) else None


def _marked(marks: bytes | bytearray, start: int = 0) -> Iterator[int]:
    at = marks.find(1, start)
    while at >= 0:
        yield at
        at = marks.find(1, at + 1)


def _bytes_of(numbers: Sequence[int]) -> bytes:
    found = array("Q", numbers)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tobytes()


def _numbers_of(body: bytes) -> array[int]:
    found = array("Q")
    found.frombytes(body)
    if sys.byteorder == "big":
        found.byteswap()
    return found


def _no_way_back(reason: str) -> _Parts:
    raise DiskError("the database of an index is damaged as soon as it is made", got=reason)


def _leave(connection: sqlite3.Connection, path: Path | None) -> None:
    connection.close()
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, DamagedRowsError) as error:
        hint = "free some space, or point P2PQWEN_HOME at a larger disk" if "full" in str(error) else None
        raise RowsNotWrittenError("cannot write the database of an index", got=str(error), hint=hint) from error
