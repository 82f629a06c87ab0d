"""The entries of an accepted index, read from its database."""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import islice
from operator import and_
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from p2pqwen.errors import DiskError
from p2pqwen.index.entry import Entry, SkippedEntry, checked_row
from p2pqwen.index.listing import Claims, Columns, Listing, Sought, folded, name_filter, word_filter
from p2pqwen.index.upstream import Upstream
from p2pqwen.library.index_rows.parts import DamagedRowsError, Kind, Parts
from p2pqwen.library.index_rows.records import (
    BLANKS,
    PREFIX,
    ROW_BITS,
    ROWS_IN_PART,
    WORDS_IN_PART,
    name_digits,
    numbers_of,
)
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values import json_fields
from p2pqwen.values.digest import CommitId, Sha1, Sha256
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId

if TYPE_CHECKING:
    from p2pqwen.library.index_rows.rows_builder import RowsBuilder

_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
Result = TypeVar("Result")
_UPSTREAM = {str(one): one for one in Upstream}
_parse: Callable[[str], Any] = json.JSONDecoder().decode


class StoredListing(Listing):
    """The entries of an accepted index, read from its database. A damaged one is made again, once, while reading."""

    def __init__(self, parts: Parts, heal: Callable[[str], Parts], builder: RowsBuilder | None = None) -> None:
        """`builder`: what made the database, if it is not beside its file yet."""
        self._parts, self._heal, self.builder = parts, heal, builder
        self._count = json_fields.integer(parts.sealed, "entries")
        self._rows = json_fields.integer(parts.sealed, "rows")
        self._latest: tuple[int, list[bytes]] = -1, []
        self._firsts: list[str] | None = None
        self._heads: dict[Kind, array[int]] = {}

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
        start = 0 if self._rows != self._count else wanted  # skipped rows lie between the entries
        return next(islice((entry for _, entry in self._entries(start)), wanted - start, None))

    def find(self, sought: Sought) -> list[Entry]:
        """Read only the parts that can contain it."""
        match sought:
            case RepoId():
                return [one for one in self._near(sought.text, None) if one.id.repo == sought]
            case SnapshotId():
                return [one for one in self._near(sought.repo.text, sought.commit) if one.id == sought]
            case InfoHash():
                return [one for one in self._hashed(Kind.V2, str(sought.v2)) if one.infohash == sought]
            case CommitId():
                return [one for one in self._hashed(Kind.COMMITS, str(sought)) if one.id.commit == sought]
            case Sha1():
                return [one for one in self._hashed(Kind.V1, str(sought)) if one.infohash.v1 == sought]
            case Sha256():
                return [one for one in self._hashed(Kind.V2, str(sought)) if one.infohash.v2 == sought]

    def having(self, words: Sequence[str]) -> Iterator[Entry]:
        """Look up the longest word among words and hashes, then check those entries for the others."""
        wanted = sorted((word.casefold() for word in words), key=len)
        if not wanted or not wanted[-1]:
            return iter(self)
        marks = self._marks(wanted[-1])
        if _HEX.fullmatch(wanted[-1]):
            for kind in (Kind.V1, Kind.V2, Kind.COMMITS):
                for row in self._numbers(kind, wanted[-1]):
                    marks[row] = 1
        matches = word_filter(words)
        return (entry for entry in self._at(_marked(marks)) if matches(entry))

    def called(self, words: Sequence[str], kind: RepoKind, after: str = "") -> Iterator[Entry]:
        """Look up the words, and the prefix of the kind's names, among the names."""
        first = self._part_before(f"{after}\0") * ROWS_IN_PART if after else 0
        wanted = {word.lower() for word in words} | {_before(kind)} - {""}
        matches = name_filter(words, kind, after)
        if not wanted:
            return (entry for _, entry in self._entries(first) if matches(entry.id.repo))
        each_word = (int.from_bytes(self._marks(word, names_alone=True)) for word in wanted)
        marks = reduce(and_, each_word).to_bytes(self._rows)
        return (entry for entry in self._at(_marked(marks, first)) if matches(entry.id.repo))

    def spelled(self, repo: RepoId) -> RepoId | None:
        """Look up the hash of the lower-case name."""
        name = folded(repo)
        found = (entry.id.repo for entry in self._hashed(Kind.NAMES, name_digits(name)))
        return next((one for one in found if folded(one) == name), None)

    def repos(self) -> Iterator[RepoId]:
        """Read every entry."""
        text, kinds = "", set[RepoKind]()
        for one in self:
            repo = one.id.repo
            if repo.text != text:
                text, kinds = repo.text, set()
            if repo.kind not in kinds:
                kinds.add(repo.kind)
                yield repo

    def names(self, beginning: str) -> Iterator[SnapshotId]:
        """Read the entries whose repositories begin with this text, with and without the prefix of each kind."""
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
        """Read the stored columns, without making entries."""
        for number in range(self._read(lambda parts: parts.count(Kind.COLUMNS))):
            body = self._read(lambda parts, number=number: parts.get(Kind.COLUMNS, number))  # type: ignore[misc]
            names, sizes, licenses, upstream = json.loads(body)
            yield Columns(names, sizes, licenses, [_UPSTREAM[one] for one in upstream])

    def claims(self) -> Iterator[Claims]:
        """Read the stored claims."""
        for number in range(self._read(lambda parts: parts.count(Kind.CLAIMS))):
            body = self._read(lambda parts, number=number: parts.get(Kind.CLAIMS, number))  # type: ignore[misc]
            yield Claims(*json.loads(body))

    def tracked(self) -> Iterator[Entry]:
        """Read the entries whose rows were noted as tracked."""
        numbers: Any = self._parts.sealed.get("tracked")
        return self._at(one for one in numbers if 0 <= one < self._rows)

    def rows(self) -> Iterator[bytes]:
        """Yield the RFC 8785 form of every row, skipped ones included."""
        for number in range(self._read(lambda parts: parts.count(Kind.ROWS))):
            yield from self._lines(number)

    @property
    def file_digest(self) -> Sha256 | None:
        """The SHA-256 of the file that the database was sealed for, None if it is not sealed yet."""
        found = self._parts.sealed.get("sha256")
        return Sha256.parse(found) if isinstance(found, str) else None

    @property
    def parts(self) -> Parts:
        """The parts it reads from."""
        return self._parts

    def go_on_with(self, path: Path) -> None:
        """Read from the database at this path from now on, which has the same content; raises `DamagedRowsError`."""
        self._parts, self.builder = Parts.open(path), None

    def heal_with(self, heal: Callable[[str], Parts]) -> None:
        """Set the function that makes the database again, given what is wrong with it."""
        self._heal = heal

    def _entries(self, start: int) -> Iterator[tuple[int, Entry]]:
        """Yield the entries from a row on, with their row numbers."""
        first = start // ROWS_IN_PART
        for number in range(first, self._read(lambda parts: parts.count(Kind.ROWS))):
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
        return self._read(lambda parts: parts.get(Kind.ROWS, number)).split(b"\n")

    def _near(self, text: str, commit: CommitId | None) -> Iterator[Entry]:
        """Yield the entries with this name and commit (None: any), and others that contain the same strings."""
        first = self._part_before(f"{text}\0{commit or ''}")
        last = bisect_right(self._part_names, f"{text}\0{commit or '~'}")
        marks = [f'"{one}"'.encode() for one in (text, commit) if one is not None]
        for number in range(first, max(first + 1, last) if self._rows else 0):
            for line in self._lines(number):
                if all(mark in line for mark in marks) and isinstance(found := _row(line), Entry):
                    yield found

    def _part_before(self, place: str) -> int:
        """Return the last part that begins before a place, the only one that can contain it."""
        return max(0, bisect_left(self._part_names, place) - 1)

    @property
    def _part_names(self) -> list[str]:
        if self._firsts is None:
            self._firsts = self._read(lambda parts: parts.get(Kind.FIRST, 0)).decode().split("\n")
        return self._firsts

    def _hashed(self, kind: Kind, digits: str) -> Iterator[Entry]:
        return self._at(self._numbers(kind, digits))

    def _numbers(self, kind: Kind, digits: str) -> list[int]:
        """Return the rows whose hash of this kind begins with `digits`, as far as a record stores them."""
        known = digits[:PREFIX]
        low = int(known.ljust(PREFIX, "0"), 16) << ROW_BITS
        high = (int(known.ljust(PREFIX, "f"), 16) << ROW_BITS) | (1 << ROW_BITS) - 1
        if kind not in self._heads:
            head = self._read(lambda parts: parts.get(Kind.HEADS, kind - Kind.V1))
            self._heads[kind] = numbers_of(head)
        heads = self._heads[kind]
        found: list[int] = []
        for number in range(max(0, bisect_right(heads, low) - 1), len(heads)):
            if heads[number] > high:
                break
            records = numbers_of(self._read(lambda parts, number=number: parts.get(kind, number)))  # type: ignore[misc]
            found += (
                one & (1 << ROW_BITS) - 1 for one in records[bisect_left(records, low) : bisect_right(records, high)]
            )
        return sorted(found)

    def _marks(self, word: str, *, names_alone: bool = False) -> bytearray:
        """Return one byte a row, 1 if the row's words contain `word`; `names_alone`: only in the repository's name."""
        marks = bytearray(self._rows)
        sought = word.translate(BLANKS).encode("utf-8", "replace")
        for number in range(self._read(lambda parts: parts.count(Kind.WORDS))):
            body = self._read(lambda parts, number=number: parts.get(Kind.WORDS, number))  # type: ignore[misc]
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

    def _read(self, look: Callable[[Parts], Result]) -> Result:
        try:
            return look(self._parts)
        except DamagedRowsError as error:
            self._parts = self._heal(str(error))
        try:
            return look(self._parts)
        except DamagedRowsError as error:
            raise DiskError("the database of an index is damaged as soon as it is made", got=str(error)) from error


class SkippedRows(Sequence[SkippedEntry]):
    """The rows of an accepted index that this version does not know, read on demand."""

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


def no_way_back(reason: str) -> Parts:
    """Raise `DiskError`: there is no file to make the database from again."""
    raise DiskError("the database of an index is damaged as soon as it is made", got=reason)


def _row(line: bytes) -> Entry | SkippedEntry:
    return checked_row(_parse(line.decode()))


def _before(kind: RepoKind) -> str:
    """Return the prefix of the names of a kind."""
    return str(RepoId("a/a", kind)).removesuffix("a/a")


def _text_of(beginning: str, kind: RepoKind) -> str | None:
    """Return `beginning` without the prefix of a kind's names, None if no name of the kind begins with it."""
    before = _before(kind)
    if beginning.startswith(before):
        return beginning.removeprefix(before)
    return "" if before.startswith(beginning) else None


def _marked(marks: bytes | bytearray, start: int = 0) -> Iterator[int]:
    at = marks.find(1, start)
    while at >= 0:
        yield at
        at = marks.find(1, at + 1)
