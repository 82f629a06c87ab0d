"""The index document and the file around it: one readable, self-contained JSON file (SPEC section 7)."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from p2pqwen.errors import FormatError
from p2pqwen.index.entry import Entry, Row, SkippedEntry, parse_row, row_order
from p2pqwen.index.mutable_item import MAX_SALT
from p2pqwen.index.root import SPEC, SignedRoot, parse_signed_root
from p2pqwen.values import json_fields
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId
from p2pqwen.values.strict_json import JsonObject, JsonValue, parse_object
from p2pqwen.values.utc_time import format_time, parse_time
from p2pqwen.values.web_url import check_web_url

INDEX_TYPE = "index"
INDEX_FILE = "index.json"
MAX_INDEX_SIZE = 256 << 20  # 100,000 entries of a kilobyte, pretty-printed, with room
MAX_ENTRIES = 200_000
MAX_VALUES = 6_000_000  # an entry has about twenty; of any kind this many fit into a gigabyte
MAX_ROOTS = 256  # as python-tuf's root rotations
MAX_MIRRORS = 32
MAX_REASON = 1000
_OTHER_KINDS = frozenset(RepoKind) - {RepoKind.MODEL}  # a withdrawal names its kind unless it is a model


@dataclass(frozen=True, slots=True)
class DhtPointer:
    """The BEP 44 item that hints at the newest index: whose key, under which salt.

    Raises `FormatError` for a salt that is more than 64 bytes of UTF-8: the DHT counts bytes.
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
    """A snapshot the publisher no longer stands by. It deletes nothing at anybody's."""

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
    """What an index says. Entries are sorted by repository and commit, each once.

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
    entries: tuple[Entry, ...] = ()
    withdrawn: tuple[Withdrawal, ...] = ()
    extra: JsonObject = field(default_factory=dict)
    skipped: tuple[SkippedEntry, ...] = ()

    def to_json(self) -> JsonObject:
        """Return the `signed` object, unknown fields included."""
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
            "entries": [row.to_json() for row in self._rows()],
            "withdrawn": [gone.to_json() for gone in self.withdrawn],
        }

    def _rows(self) -> Sequence[Row]:
        return sorted((*self.entries, *self.skipped), key=row_order) if self.skipped else self.entries


@dataclass(frozen=True, slots=True)
class IndexFile:
    """An index file taken apart, nothing in it judged yet."""

    roots: tuple[SignedRoot, ...]
    signed: JsonObject
    signatures: JsonValue


@dataclass(frozen=True, slots=True)
class Header:
    """The fields that say which index this is; all that steps 4 to 6 of acceptance look at."""

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


def parse_file(data: bytes) -> IndexFile:
    """Read the outer object and its roots; raises `FormatError`."""
    outer = parse_object(data, max_bytes=MAX_INDEX_SIZE, max_values=MAX_VALUES)
    rows = json_fields.array(outer, "roots", limit=MAX_ROOTS)
    if not rows:
        raise FormatError("index file holds no root")
    signed = json_fields.obj(outer, "signed")
    json_fields.constant(signed, "type", INDEX_TYPE)
    json_fields.constant(signed, "spec", SPEC)
    return IndexFile(tuple(parse_signed_root(row) for row in rows), signed, outer.get("signatures"))


def parse_header(signed: JsonObject) -> Header:
    """Read which index this is; raises `FormatError`."""
    previous = json_fields.optional_text(signed, "previous")
    return Header(
        publisher=Sha256.parse(json_fields.text(signed, "publisher")),
        root_version=json_fields.integer(signed, "root_version", at_least=1),
        epoch=json_fields.integer(signed, "epoch"),
        version=json_fields.integer(signed, "version", at_least=1),
        previous=None if previous is None else Sha256.parse(previous),
    )


def parse_document(signed: JsonObject) -> IndexDocument:
    """Read and check the whole document; raises `FormatError` for any entry of a known kind that does not fit."""
    header = parse_header(signed)
    mirrors = json_fields.texts(signed, "mirrors", limit=MAX_MIRRORS)
    for mirror in mirrors:
        check_web_url(mirror)
    rows = _parse_rows(json_fields.array(signed, "entries", limit=MAX_ENTRIES))
    withdrawn = _parse_withdrawn(json_fields.array(signed, "withdrawn", limit=MAX_ENTRIES))
    entries = tuple(row for row in rows if isinstance(row, Entry))
    listed = {entry.id for entry in entries}
    if both := next((gone.id for gone in withdrawn if gone.id in listed), None):
        raise FormatError("a snapshot is both listed and withdrawn", got=both)
    return IndexDocument(
        publisher=header.publisher,
        root_version=header.root_version,
        epoch=header.epoch,
        version=header.version,
        previous=header.previous,
        issued=parse_time(json_fields.text(signed, "issued")),
        mirrors=mirrors,
        dht=_parse_dht(signed.get("dht")),
        entries=entries,
        withdrawn=withdrawn,
        extra=_unknown(signed, _HEADER_FIELDS),
        skipped=tuple(row for row in rows if isinstance(row, SkippedEntry)),
    )


def encode_file(roots: Iterable[SignedRoot], signed: JsonObject, signatures: JsonValue) -> bytes:
    """Print an index file for people: indented, one trailing newline. Signatures cover the RFC 8785 form."""
    outer = {"roots": [root.to_json() for root in roots], "signed": signed, "signatures": signatures}
    return json.dumps(outer, indent=1, ensure_ascii=False).encode() + b"\n"


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
