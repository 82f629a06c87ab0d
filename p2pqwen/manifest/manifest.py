"""The manifest (spec 1): every file of one snapshot with its hashes, in bytes that depend only on the snapshot."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

from p2pqwen.errors import FormatError
from p2pqwen.manifest.git_object import FILE_MODE, FILE_MODES, MAX_COMMIT_OBJECT, blob_oid
from p2pqwen.manifest.lfs_pointer import check_odd_pointer, pointer_oid
from p2pqwen.values import strict_json
from p2pqwen.values.digest import CommitId, GitOid, Sha256
from p2pqwen.values.repo_path import MAX_FILES, RepoPath, refuse_clashes
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId
from p2pqwen.values.strict_json import MAX_INTEGER, JsonObject, JsonValue

SPEC = 1
MAX_MANIFEST_BYTES = 64 * 1024 * 1024
MAX_VALUES = 2_000_000  # a file has 7, and a comma in its name counts as one
MAX_LICENSE = 100
_KEYS = frozenset({"type", "spec", "repo_type", "repo", "commit", "commit_object", "license", "files"})
_ROW_KEYS = frozenset({"path", "size", "sha256", "git_oid", "lfs", "mode", "pointer"})

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file: its size in bytes, the SHA-256 of its content and its blob id in the git tree.

    `git_oid` is the blob id of the content, or of the LFS pointer if `lfs`. `pointer` is the text of that pointer if it
    is not the canonical one. Raises `FormatError`.
    """

    path: RepoPath
    size: int
    sha256: Sha256
    git_oid: GitOid
    lfs: bool
    mode: str = FILE_MODE
    pointer: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_INTEGER:
            raise FormatError(f"size of {self.path} is out of range", got=self.size)
        if self.mode not in FILE_MODES:
            raise FormatError(f"git mode of {self.path}", expected=" or ".join(sorted(FILE_MODES)), got=self.mode[:40])
        if not self.lfs:
            if self.pointer is not None:
                raise FormatError(f"{self.path} has an LFS pointer and is no LFS file")
            return
        if self.pointer is not None:
            check_odd_pointer(self.pointer, self.sha256, self.size)
        expected = pointer_oid(self.sha256, self.size) if self.pointer is None else blob_oid(self.pointer.encode())
        if self.git_oid.raw != expected.raw:
            raise FormatError(f"git id of {self.path} is not its LFS pointer's", expected=expected, got=self.git_oid)

    def document(self) -> JsonObject:
        """Return the row's JSON in the manifest."""
        row: JsonObject = {
            "path": self.path.text,
            "size": self.size,
            "sha256": str(self.sha256),
            "git_oid": str(self.git_oid),
            "lfs": self.lfs,
            "mode": self.mode,
        }
        return row if self.pointer is None else {**row, "pointer": self.pointer}


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one snapshot in the torrent's order; raises `FormatError` for another order or clashing paths.

    `commit_object` is the raw git commit without its header, None if it could not be read.
    """

    snapshot: SnapshotId
    commit_object: bytes | None
    license: str | None
    files: tuple[FileRow, ...]
    says_more: bool = field(default=False, init=False, repr=False, compare=False)
    """Whether it was read from bytes with keys that this version does not know."""
    _raw: bytes | None = field(default=None, init=False, repr=False, compare=False)
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.files:
            raise FormatError("manifest lists no files")
        if len(self.files) > MAX_FILES:
            raise FormatError("manifest lists too many files", expected=f"at most {MAX_FILES}", got=len(self.files))
        for before, after in pairwise(self.files):
            if not before.path < after.path:
                raise FormatError(f"manifest lists {after.path} out of order", expected=f"before {before.path}")
        refuse_clashes(row.path for row in self.files)
        _refuse_two_contents(self.files)
        if self.commit_object is not None and len(self.commit_object) > MAX_COMMIT_OBJECT:
            raise FormatError("commit object is too large", expected=f"at most {MAX_COMMIT_OBJECT} bytes")
        if self.license is not None and not (0 < len(self.license) <= MAX_LICENSE and self.license.isprintable()):
            raise FormatError("license", expected="a short printable name", got=repr(self.license[:MAX_LICENSE]))

    @property
    def total_size(self) -> int:
        """The size of all files in bytes."""
        return sum(row.size for row in self.files)

    @property
    def digest(self) -> Sha256:
        """The SHA-256 of the manifest's bytes, which names it in indexes and signatures."""
        return Sha256.of(self.encode())

    def encode(self) -> bytes:
        """Return the manifest's bytes (RFC 8785), unchanged if it was read from bytes."""
        encoded = self._raw or self._encoded
        if encoded is None:
            encoded = self._encode()
            object.__setattr__(self, "_encoded", encoded)  # the digest needs it, and then the torrent
        return encoded

    def _encode(self) -> bytes:
        commit_object = None if self.commit_object is None else base64.b64encode(self.commit_object).decode()
        return strict_json.canonical(
            {
                "type": "manifest",
                "spec": SPEC,
                "repo_type": self.snapshot.repo.kind.value,
                "repo": self.snapshot.repo.text,
                "commit": str(self.snapshot.commit),
                "commit_object": commit_object,
                "license": self.license,
                "files": [row.document() for row in self.files],
            }
        )


def _refuse_two_contents(rows: Iterable[FileRow]) -> None:
    """Refuse one git blob id with two contents: a pointer beside the file it points to, or a SHA-1 collision."""
    first: dict[GitOid, FileRow] = {}
    for row in rows:
        same = first.setdefault(row.git_oid, row)
        if (same.lfs, same.size, same.sha256) != (row.lfs, row.size, row.sha256):
            raise FormatError(
                f"manifest has one git blob id for {same.path} and {row.path}, and different contents",
                expected=f"sha256 {same.sha256}",
                got=f"sha256 {row.sha256}",
            )


def parse_manifest(data: bytes) -> Manifest:
    """Parse a manifest; raises `FormatError` for anything but the canonical bytes of a valid one."""
    document = strict_json.parse_object(data, max_bytes=MAX_MANIFEST_BYTES, max_values=MAX_VALUES)
    for key, expected in (("type", "manifest"), ("spec", SPEC)):
        if document.get(key) != expected or isinstance(document.get(key), bool):
            raise FormatError(f"manifest `{key}`", expected=repr(expected), got=repr(document.get(key))[:40])
    if strict_json.canonical(document) != data:
        raise FormatError("manifest bytes are not in canonical form (RFC 8785)")
    rows = _field(document, "files", list)
    more = not (document.keys() <= _KEYS and all(isinstance(row, dict) and row.keys() <= _ROW_KEYS for row in rows))
    manifest = Manifest(
        SnapshotId(_repo(document), CommitId.parse(_field(document, "commit", str))),
        _optional(document, "commit_object", _base64),
        _optional(document, "license", str),
        tuple(_rows(rows)),
    )
    object.__setattr__(manifest, "_raw", data)
    object.__setattr__(manifest, "says_more", more)
    return manifest


def _repo(document: JsonObject) -> RepoId:
    kind = next((one for one in RepoKind if one.value == document.get("repo_type")), None)
    if kind is None:
        expected = " or ".join(repr(one.value) for one in RepoKind)
        raise FormatError("manifest `repo_type`", expected=expected, got=repr(document.get("repo_type"))[:40])
    return RepoId(_field(document, "repo", str), kind)


def _rows(rows: list[JsonValue]) -> Iterator[FileRow]:
    """Yield the files and drop each one's JSON: a large repository's would not fit in memory together."""
    for number, row in enumerate(rows):
        yield _row(row)
        rows[number] = None


def _row(row: JsonValue) -> FileRow:
    if not isinstance(row, dict):
        raise FormatError("a row of manifest `files`", expected="an object", got=type(row).__name__)
    return FileRow(
        RepoPath(_field(row, "path", str)),
        _field(row, "size", int),
        Sha256.parse(_field(row, "sha256", str)),
        GitOid.parse(_field(row, "git_oid", str)),
        _field(row, "lfs", bool),
        _field(row, "mode", str),
        _field(row, "pointer", str) if "pointer" in row else None,
    )


def _field(document: JsonObject, key: str, kind: type[_Value]) -> _Value:
    value: Any = document.get(key)
    if type(value) is not kind:  # not isinstance: true is not an integer
        raise FormatError(f"manifest `{key}`", expected=kind.__name__, got=repr(value)[:80])
    return value


def _optional(document: JsonObject, key: str, read: Callable[[str], _Value]) -> _Value | None:
    if key not in document:
        raise FormatError(f"manifest has no `{key}`", hint="a value that is not known is null")
    return None if document[key] is None else read(_field(document, key, str))


def _base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError("manifest `commit_object` is not base64", got=str(error)) from error
    if base64.b64encode(data).decode() != text:
        raise FormatError("manifest `commit_object` is not the one base64 of its bytes")
    return data
