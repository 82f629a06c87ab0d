"""The index document and the file around it: one readable, self-contained JSON file (SPEC section 7)."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import lt

from p2pqwen.errors import FormatError, VerificationError
from p2pqwen.index.entry import Entry, Row, SkippedEntry, check_row, parse_row, row_order, row_place
from p2pqwen.index.listing import Listing, listing_of
from p2pqwen.index.mutable_item import MAX_SALT
from p2pqwen.index.plain_row import PlainRows, plain_rows
from p2pqwen.index.root import SPEC, SignedRoot, parse_signed_root
from p2pqwen.index.row_sink import MemoryRows, RowSink
from p2pqwen.values import json_fields
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.json_stream import JsonStream
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId
from p2pqwen.values.strict_json import JsonObject, JsonValue, canonical, canonical_of_parsed
from p2pqwen.values.utc_time import format_time, parse_time
from p2pqwen.values.web_url import check_web_url

INDEX_TYPE = "index"
INDEX_FILE = "index.json"
MAX_INDEX_SIZE = 4 << 30
"""Bytes: room for 2 million pretty-printed entries of 1 kB."""
MAX_ENTRIES = 2_000_000
MAX_WITHDRAWN = 200_000
MAX_VALUE = 1 << 20
"""Characters of an entry, or of any other value that is read whole."""
MAX_VALUES = 100_000
"""Values in one of those: 3 characters of JSON can take 70 bytes of memory."""
MAX_BESIDE = 64 << 20
"""Characters outside the entries: roots, withdrawals, unknown fields."""
MAX_ROOTS = 256  # like python-tuf's root rotations
MAX_MIRRORS = 32
MAX_REASON = 1000
_READ_SIZE = 1 << 18  # bytes
_OTHER_KINDS = frozenset(RepoKind) - {RepoKind.MODEL}  # a withdrawal names its kind unless it is a model


@dataclass(frozen=True, slots=True)
class DhtPointer:
    """The key and the salt of the BEP 44 item that hints at the newest index.

    Raises `FormatError` for a salt of more than 64 bytes of UTF-8: the DHT counts bytes.
    """

    key: Sha256
    salt: str
    extra: JsonObject = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if (size := len(self.salt.encode())) > MAX_SALT:
            raise FormatError("field 'salt' is too long", expected=f"at most {MAX_SALT} bytes of UTF-8", got=size)

    def to_json(self) -> JsonObject:
        """Return the object, unknown fields included."""
        return {**self.extra, "key": str(self.key), "salt": self.salt}


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A snapshot that the publisher no longer stands by. It deletes no copies."""

    id: SnapshotId
    reason: str
    extra: JsonObject = field(default_factory=dict, hash=False)

    def to_json(self) -> JsonObject:
        """Return the row, unknown fields included."""
        repo = self.id.repo
        kind = {} if repo.kind is RepoKind.MODEL else {"repo_type": repo.kind.value}
        return {**self.extra, **kind, "repo": repo.text, "commit": str(self.id.commit), "reason": self.reason}


@dataclass(frozen=True, slots=True)
class IndexDocument:
    """The content of an index. Entries are unique and sorted by repository and commit.

    `skipped` are the entries of kinds that this version does not know.
    """

    publisher: Sha256
    root_version: int
    epoch: int
    version: int
    previous: Sha256 | None
    issued: datetime
    mirrors: tuple[str, ...] = ()
    dht: DhtPointer | None = None
    entries: Sequence[Entry] = ()
    withdrawn: tuple[Withdrawal, ...] = ()
    extra: JsonObject = field(default_factory=dict)
    skipped: Sequence[SkippedEntry] = ()

    @property
    def listing(self) -> Listing:
        """The entries, for searching."""
        return listing_of(self.entries)

    def to_json(self, rows: Iterable[Row] | None = None) -> JsonObject:
        """Return the `signed` object with these rows (None: its own), unknown fields included."""
        header = self.header_json()
        withdrawn = header.pop("withdrawn")
        listed = self.rows() if rows is None else rows
        return {**header, "entries": [row.to_json() for row in listed], "withdrawn": withdrawn}

    def header_json(self) -> JsonObject:
        """Return the `signed` object without its entries."""
        return {
            **self.extra,
            "type": INDEX_TYPE,
            "spec": SPEC,
            "publisher": str(self.publisher),
            "root_version": self.root_version,
            "epoch": self.epoch,
            "version": self.version,
            "previous": None if self.previous is None else str(self.previous),
            "issued": format_time(self.issued),
            "mirrors": list(self.mirrors),
            "dht": None if self.dht is None else self.dht.to_json(),
            "withdrawn": [gone.to_json() for gone in self.withdrawn],
        }

    def rows(self) -> Iterable[Row]:
        """Return entries and skipped entries in their order."""
        return heapq.merge(self.entries, self.skipped, key=row_order) if self.skipped else self.entries


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A parsed index file, not judged."""

    roots: tuple[SignedRoot, ...]
    signed: JsonObject
    signatures: JsonValue


@dataclass(frozen=True, slots=True)
class Header:
    """The fields that identify an index: all those that steps 4 to 6 of acceptance check."""

    publisher: Sha256
    root_version: int
    epoch: int
    version: int
    previous: Sha256 | None


_HEADER_FIELDS = frozenset(
    {
        "type", "spec", "publisher", "root_version", "epoch", "version", "previous", "issued", "mirrors", "dht",
        "entries", "withdrawn",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class IndexRead:
    """A fully read index file, whose rows are in a `RowSink`. `header` is `signed` without its entries.

    The RFC 8785 form of `signed` is `before`, the rows with commas between them, `after`. `problem` is the error of the
    first invalid entry.
    """

    roots: tuple[SignedRoot, ...]
    header: JsonObject
    signatures: JsonValue
    before: bytes
    after: bytes
    problem: FormatError | None


def read_index(
    pieces: Iterable[bytes], sink: RowSink, roots_read: Callable[[tuple[SignedRoot, ...]], object] = lambda _: None
) -> IndexRead:
    """Read an index file in chunks, without judging it; its rows go to `sink`.

    `roots_read` is called as soon as the roots are known; if it raises `VerificationError`, rows are skipped. Raises
    `FormatError`.
    """
    reading = _Reading(pieces, sink, roots_read)
    reading.outer()
    return reading.result()


def peek_position(beginning: bytes) -> tuple[int, int] | None:
    """Return epoch and version if the beginning of an index file shows them; the whole file may be something else."""
    stream = JsonStream((beginning,), max_bytes=len(beginning), max_value=MAX_VALUE, max_values=MAX_VALUES)
    found: JsonObject = {}
    try:
        for name in stream.members():
            if name != "signed":
                stream.value()
                continue
            for field_name in stream.members():
                if field_name == "entries":
                    break
                found[field_name] = stream.value()
            break
        return json_fields.integer(found, "epoch"), json_fields.integer(found, "version")
    except FormatError:
        return None


def read_by_pieces(data: bytes) -> Iterator[bytes]:
    """Yield a file in memory in chunks."""
    for start in range(0, len(data), _READ_SIZE):
        yield data[start : start + _READ_SIZE]


def parse_file(data: bytes) -> IndexFile:
    """Parse the outer object and its roots in memory, so only for trusted files; raises `FormatError`."""
    rows: list[JsonValue] = []
    sink = MemoryRows()
    reading = _Reading(read_by_pieces(data), sink, lambda _: None, rows.append)
    reading.outer()
    read = reading.result()
    return IndexFile(read.roots, reading.signed_with(rows), read.signatures)


class _Reading:
    """One reading of an index file."""

    def __init__(
        self,
        pieces: Iterable[bytes],
        sink: RowSink,
        roots_read: Callable[[tuple[SignedRoot, ...]], object],
        each: Callable[[JsonValue], object] | None = None,
    ) -> None:
        self._stream = JsonStream(pieces, max_bytes=MAX_INDEX_SIZE, max_value=MAX_VALUE, max_values=MAX_VALUES)
        self._sink, self._roots_read, self._each = sink, roots_read, each
        self._left = MAX_BESIDE
        self._roots: list[SignedRoot] | None = None
        self._header: JsonObject | None = None
        self._signatures: JsonValue = None
        self._odd_entries: JsonObject = {}  # the field, if it is no list
        self._has_entries = False
        self._problem: FormatError | None = None
        self._place: tuple[str, str, str, int] | None = None
        self._count = 0
        self._order: list[str] = []
        self._in_vain = False

    def outer(self) -> None:
        stream = self._stream
        if not stream.is_object():
            raise FormatError("JSON document", expected="an object")
        for name in stream.members():
            if name == "roots":
                self._read_roots()
            elif name == "signed":
                self._read_signed()
            elif name == "signatures":
                self._signatures = list(self._items()) if stream.is_list() else self._value()
            else:
                self._value()
        stream.end()

    def result(self) -> IndexRead:
        if self._roots is None:
            raise FormatError("field 'roots'", expected="a list", got="nothing")
        if self._header is None:
            raise FormatError("field 'signed'", expected="an object", got="nothing")
        json_fields.constant(self._header, "type", INDEX_TYPE)
        json_fields.constant(self._header, "spec", SPEC)
        if not self._has_entries:
            what = next(iter(self._odd_entries.values()), "nothing")
            self._problem = FormatError("field 'entries'", expected="a list", got=type(what).__name__)
        before, after = signed_parts(self._header)
        if not self._has_entries:
            before, after = canonical({**self._header, **self._odd_entries}), b""
        return IndexRead(tuple(self._roots), self._header, self._signatures, before, after, self._problem)

    def signed_with(self, rows: list[JsonValue]) -> JsonObject:
        """Return `signed` with its keys in the file's order."""
        header = self._header or {}
        entries = {"entries": rows} if self._has_entries else self._odd_entries
        return {name: header[name] if name in header else entries[name] for name in self._order}

    def _value(self) -> JsonValue:
        value = self._stream.value()
        self._left -= self._stream.size
        if self._left < 0:
            raise FormatError("index holds too much beside its entries", expected=f"at most {MAX_BESIDE} characters")
        return value

    def _items(self, limit: int = MAX_VALUES) -> Iterator[JsonValue]:
        for count, value in enumerate(self._stream.items(), 1):
            self._left -= self._stream.size
            if self._left < 0 or count > limit:
                raise FormatError("index holds too many values beside its entries", expected=f"at most {limit}")
            yield value

    def _read_roots(self) -> None:
        if not self._stream.is_list():
            raise FormatError("field 'roots'", expected="a list")
        self._roots = []
        for row in self._items():
            if len(self._roots) == MAX_ROOTS:
                raise FormatError("field 'roots' is too long", expected=f"at most {MAX_ROOTS} items")
            self._roots.append(parse_signed_root(row))
        if not self._roots:
            raise FormatError("index file holds no root")
        try:
            self._roots_read(tuple(self._roots))
        except VerificationError:
            self._in_vain = True  # the caller finds the step that refuses it, once all is read

    def _read_signed(self) -> None:
        if not self._stream.is_object():
            raise FormatError("field 'signed'", expected="an object")
        self._header = {}
        for name in self._stream.members():
            self._order.append(name)
            if name == "entries" and self._stream.is_list():
                self._has_entries = True
                self._read_entries()
            elif name == "entries":
                self._odd_entries = {name: self._value()}
            elif name == "withdrawn" and self._stream.is_list():
                self._header[name] = list(self._items(MAX_WITHDRAWN))
            else:
                self._header[name] = self._value()

    def _read_entries(self) -> None:
        for found in self._stream.items(plain_rows if self._each is None else None):
            self._count += len(found) if isinstance(found, PlainRows) else 1
            if self._count > MAX_ENTRIES:
                raise FormatError("the index has too many entries", expected=f"at most {MAX_ENTRIES} entries")
            if isinstance(found, PlainRows):
                self._take_plain(found)
            elif self._each is not None:
                self._each(found)
            elif not self._in_vain:
                self._take(found)

    def _take(self, value: JsonValue) -> None:
        if self._problem is None:
            try:
                self._check(value)
            except FormatError as error:
                self._problem = error
        known = value if self._problem is None and isinstance(value, dict) else None
        self._sink.add(canonical_of_parsed(value), known)

    def _take_plain(self, rows: PlainRows) -> None:
        if self._in_vain:
            return
        places = list(rows.places())
        in_order = self._place is None or self._place < places[0]
        if in_order and self._problem is None and all(map(lt, places, places[1:])):
            self._place = places[-1]
            self._sink.add_plain(rows)
            return
        for line, row in rows.rows():
            if self._problem is None:
                try:
                    self._check_place(row)
                except FormatError as error:
                    self._problem = error
            self._sink.add(line, row if self._problem is None else None)

    def _check(self, value: JsonValue) -> None:
        row = json_fields.as_object(value, "entries")
        check_row(row)
        self._check_place(row)

    def _check_place(self, row: JsonObject) -> None:
        place = row_place(row)
        if self._place is not None and not self._place < place:
            problem = "repeated" if self._place == place else "out of order"
            raise FormatError(f"entry {place[0]}@{place[1]} is {problem}", expected="sorted by repository and commit")
        self._place = place


def signed_parts(header: JsonObject) -> tuple[bytes, bytes]:
    """Return the text before and after the rows in the RFC 8785 form of `signed`; `header` is it without entries.

    RFC 8785 sorts keys by UTF-16 units, which agrees with Python's order in comparisons with an ASCII text.
    """
    lower = canonical({name: value for name, value in header.items() if name < "entries"})[1:-1]
    upper = canonical({name: value for name, value in header.items() if name > "entries"})[1:-1]
    return b"{" + lower + (b"," if lower else b"") + b'"entries":[', b"]" + (b"," if upper else b"") + upper + b"}"


def parse_header(signed: JsonObject) -> Header:
    """Parse the fields that identify an index; raises `FormatError`."""
    previous = json_fields.optional_text(signed, "previous")
    return Header(
        publisher=Sha256.parse(json_fields.text(signed, "publisher")),
        root_version=json_fields.integer(signed, "root_version", at_least=1),
        epoch=json_fields.integer(signed, "epoch"),
        version=json_fields.integer(signed, "version", at_least=1),
        previous=None if previous is None else Sha256.parse(previous),
    )


def parse_document(signed: JsonObject) -> IndexDocument:
    """Parse and check the whole document; raises `FormatError` for any invalid entry of a known kind."""
    rows = _parse_rows(json_fields.array(signed, "entries", limit=MAX_ENTRIES))
    entries = tuple(row for row in rows if isinstance(row, Entry))
    skipped = tuple(row for row in rows if isinstance(row, SkippedEntry))
    return checked_document({name: value for name, value in signed.items() if name != "entries"}, entries, skipped)


def checked_document(header: JsonObject, entries: Sequence[Entry], skipped: Sequence[SkippedEntry]) -> IndexDocument:
    """Parse and check a document whose entries are parsed and checked; raises `FormatError`."""
    document = document_of(header, entries, skipped)
    if both := next((gone.id for gone in document.withdrawn if document.listing.find(gone.id)), None):
        raise FormatError("a snapshot is both listed and withdrawn", got=both)
    return document


def document_of(header: JsonObject, entries: Sequence[Entry], skipped: Sequence[SkippedEntry]) -> IndexDocument:
    """Do what `checked_document` does, but do not look for withdrawn snapshots among the entries."""
    fields = parse_header(header)
    mirrors = json_fields.texts(header, "mirrors", limit=MAX_MIRRORS)
    for mirror in mirrors:
        check_web_url(mirror)
    withdrawn = _parse_withdrawn(json_fields.array(header, "withdrawn", limit=MAX_WITHDRAWN))
    return IndexDocument(
        publisher=fields.publisher,
        root_version=fields.root_version,
        epoch=fields.epoch,
        version=fields.version,
        previous=fields.previous,
        issued=parse_time(json_fields.text(header, "issued")),
        mirrors=mirrors,
        dht=_parse_dht(header.get("dht")),
        entries=entries,
        withdrawn=withdrawn,
        extra=_unknown(header, _HEADER_FIELDS),
        skipped=skipped,
    )


def encode_pieces(
    roots: Iterable[SignedRoot], header: JsonObject, rows: Iterable[bytes], signatures: JsonValue
) -> Iterator[bytes]:
    """Yield an index file, one entry per line; `header` is `signed` without entries, `rows` their RFC 8785 forms."""
    before, after = signed_parts(header)
    yield b'{"roots":' + canonical([root.to_json() for root in roots]) + b',\n"signed":' + before + b"\n"
    with_comma = b""
    for row in rows:
        yield with_comma + row
        with_comma = b",\n"
    yield b"\n" + after + b',\n"signatures":' + canonical(signatures) + b"}\n"


def encode_file(roots: Iterable[SignedRoot], signed: JsonObject, signatures: JsonValue) -> bytes:
    """Return an index file for people: indented, with one trailing newline. Signatures cover the RFC 8785 form."""
    outer = {"roots": [root.to_json() for root in roots], "signed": signed, "signatures": signatures}
    return _indented(outer).encode() + b"\n"


def print_pieces(roots: Iterable[SignedRoot], document: IndexDocument, signatures: JsonValue) -> Iterator[bytes]:
    """Yield a document's file in the form of `encode_file`, one entry at a time."""
    listed = False
    outer = {"roots": [root.to_json() for root in roots], "signed": document.to_json(()), "signatures": signatures}
    before, empty, after = _indented(outer).partition(_NO_ENTRIES)  # unique, since JSON strings have no raw line ends
    for row in document.rows():
        between = "," if listed else before + _NO_ENTRIES.removesuffix("]")
        yield (between + _ROW_INDENT + _indented(row.to_json()).replace("\n", _ROW_INDENT)).encode()
        listed = True
    yield (f"{_ENTRIES_END}{after}\n" if listed else f"{before}{empty}{after}\n").encode()


_NO_ENTRIES = '\n  "entries": []'
_ROW_INDENT = "\n   "
_ENTRIES_END = "\n  ]"


def _indented(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _parse_rows(values: list[JsonValue]) -> list[Row]:
    rows: list[Row] = []
    before: tuple[str, str, str, int] | None = None
    for value in values:
        row = parse_row(json_fields.as_object(value, "entries"))
        order = row_order(row)
        if before is not None and not before < order:
            problem = "repeated" if before == order else "out of order"
            name = row.id if isinstance(row, Entry) else row
            raise FormatError(f"entry {name} is {problem}", expected="sorted by repository and commit")
        rows.append(row)
        before = order
    return rows


def _parse_withdrawn(rows: list[JsonValue]) -> tuple[Withdrawal, ...]:
    found: dict[SnapshotId, Withdrawal] = {}
    fields = {"repo", "commit", "reason"}
    for value in rows:
        row = json_fields.as_object(value, "withdrawn")
        kind = next((one for one in _OTHER_KINDS if one.value == row.get("repo_type")), RepoKind.MODEL)
        commit = CommitId.parse(json_fields.text(row, "commit"))
        gone = SnapshotId(RepoId(json_fields.text(row, "repo"), kind), commit)
        if gone in found:
            raise FormatError("a snapshot is withdrawn twice", got=gone)
        reason = json_fields.text(row, "reason", limit=MAX_REASON)
        known = fields if kind is RepoKind.MODEL else fields | {"repo_type"}
        found[gone] = Withdrawal(gone, reason, _unknown(row, known))
    return tuple(found.values())


def _parse_dht(value: JsonValue) -> DhtPointer | None:
    if value is None:
        return None
    row = json_fields.as_object(value, "dht")
    salt = json_fields.text(row, "salt")
    return DhtPointer(Sha256.parse(json_fields.text(row, "key")), salt, _unknown(row, {"key", "salt"}))


def _unknown(row: JsonObject, known: Container[str]) -> JsonObject:
    return {name: value for name, value in row.items() if name not in known}
