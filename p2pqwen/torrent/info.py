"""The info dictionary of a BEP 52 hybrid (v1 and v2 in one), written by the recipe and read strictly.

Reading is a security boundary: every path becomes a `RepoPath`, and the v1 file list must be the v2 file tree plus the
recipe's pad files, so v1 and v2 clients cannot be shown different payloads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Self

from p2pqwen.errors import FormatError
from p2pqwen.torrent import bencode, merkle
from p2pqwen.torrent.bencode import Bencoded, Cursor
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.layout import Layout, PayloadFile
from p2pqwen.torrent.piece_hasher import FileHashes
from p2pqwen.torrent.recipe import CURRENT, Recipe
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.repo_path import MAX_COMPONENTS, MAX_FILES, RepoPath

MAX_INFO_BYTES = 64 * 1024 * 1024
_V1_HASH_SIZE = 20
# Limit for a v1 list, which is read but not kept; 100,000 files and their pads are 1 million values.
_MAX_VALUES = 3_000_000
# A file's node in the tree, in its only valid spelling; and the piece length at its place in recipe 1.
_LEAF = re.compile(rb"d0:d6:lengthi(0|[1-9][0-9]{0,18})e(?:11:pieces root32:(.{32}))?ee", re.DOTALL)
_PIECE_LENGTH = re.compile(rb"12:piece lengthi([1-9][0-9]{0,9})e6:pieces")
_MAX_PIECE_LENGTH = 128 * 1024 * 1024  # libtorrent's max_piece_size


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One payload file of a torrent; `pieces_root` is None for an empty file."""

    path: RepoPath
    size: int
    pieces_root: Sha256 | None


@dataclass(frozen=True, slots=True)
class Info:
    """A hybrid info dictionary, parsed from its bencoded bytes `raw`; raises `FormatError`."""

    raw: bytes
    name: str = field(init=False)
    files: tuple[FileEntry, ...] = field(init=False, repr=False)
    layout: Layout = field(init=False, repr=False)
    pieces: bytes = field(init=False, repr=False)
    infohash: InfoHash = field(init=False)
    other_keys: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if len(self.raw) > MAX_INFO_BYTES:
            raise FormatError("info is too large", expected=f"at most {MAX_INFO_BYTES} bytes", got=len(self.raw))
        cursor = Cursor(self.raw, max_values=_MAX_VALUES)
        self._take(_read(cursor))
        cursor.end()

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        """Read the info dictionary that begins at the cursor, within a torrent, and keep a copy of its bytes."""
        start, found = cursor.at, _read(cursor)
        info = object.__new__(cls)  # it is parsed already
        info._set("raw", cursor.data[start : cursor.at])
        info._take(found)
        return info

    def _take(self, found: _Fields) -> None:
        self._set("name", found.name)
        self._set("files", found.files)
        self._set("layout", found.layout)
        self._set("pieces", found.pieces)
        self._set("infohash", InfoHash.of(self.raw))
        self._set("other_keys", found.other_keys)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def build_info(name: CommitId | str, layout: Layout, hashes: Mapping[RepoPath, FileHashes]) -> bytes:
    """Return the recipe's bencoded info dictionary, named after a snapshot's commit or, for a bundle, a text.

    `hashes` has every file of the layout, hashed at its piece length and padded if a pad file follows. Raises
    `ValueError` for hashes of another size or piece length.
    """
    tree: dict[bytes, Bencoded] = {}
    v1_files: list[Bencoded] = []
    pieces: list[bytes] = []
    for index, file in enumerate(layout.files):
        file_hashes = hashes[file.path]
        if file_hashes.size != file.size or len(file_hashes.pieces) != _V1_HASH_SIZE * len(layout.pieces(index)):
            raise ValueError(f"the hashes of {file.path} were made for another size or piece length")
        _add_to_tree(tree, file, file_hashes.pieces_root)
        v1_files += _v1_rows(layout, index)
        pieces.append(file_hashes.pieces)
    return bencode.encode(
        {
            b"file tree": tree,
            b"files": v1_files,
            b"meta version": 2,
            b"name": str(name),
            b"piece length": layout.piece_length,
            b"pieces": b"".join(pieces),
        }
    )


def recipe_differences(info: Info, recipe: Recipe = CURRENT) -> list[str]:
    """Return how an info dictionary differs from the recipe's, one sentence per difference."""
    differences = [f"info holds the key {key}" for key in info.other_keys]
    try:
        CommitId.parse(info.name)
    except FormatError:
        differences.append(f"name is {info.name!r}, not a commit of 40 hex digits")
    expected = recipe.piece_length(info.layout.total_size)
    if info.layout.piece_length != expected:
        differences.append(f"piece length is {info.layout.piece_length}, not {expected}")
    return differences


def _add_to_tree(tree: dict[bytes, Bencoded], file: PayloadFile, pieces_root: Sha256 | None) -> None:
    *folders, name = (part.encode() for part in file.path.parts)
    for folder in folders:
        below = tree.setdefault(folder, {})
        assert isinstance(below, dict)  # noqa: S101 - the layout refuses a file and a folder of one name
        tree = below
    leaf: dict[bytes, Bencoded] = {b"length": file.size}
    if pieces_root is not None:
        leaf[b"pieces root"] = pieces_root.raw
    tree[name] = {b"": leaf}


def _v1_rows(layout: Layout, index: int) -> Iterator[dict[bytes, Bencoded]]:
    file = layout.files[index]
    yield {b"length": file.size, b"path": [part.encode() for part in file.path.parts]}
    if pad := layout.pad_after(index):
        yield {b"attr": b"p", b"length": pad, b"path": [b".pad", b"%d" % pad]}


@dataclass(frozen=True, slots=True)
class _Fields:
    name: str
    files: tuple[FileEntry, ...]
    layout: Layout
    pieces: bytes
    other_keys: tuple[str, ...]


def _read(cursor: Cursor) -> _Fields:
    """Read an info dictionary from the bytes; raises `FormatError`.

    A repository may have tens of thousands of files, and an untrusted torrent may claim so. So the file tree is parsed
    straight into file entries. The v1 list is not parsed but compared, as bytes, with the list that the tree implies.
    """
    if not cursor.opens(b"d"):
        raise FormatError("info", expected="a dictionary", got=type(cursor.value(0)).__name__)
    info: dict[bytes, Bencoded] = {}
    entries: tuple[FileEntry, ...] = ()
    v1: _V1List | None = None
    for key in cursor.names():
        if key == b"file tree" and cursor.opens(b"d"):
            info[key] = {}
            entries = _tree_entries(cursor)
        elif key == b"files" and cursor.opens(b"l"):
            info[key] = []
            v1 = _V1List.pass_over(cursor, entries)
        else:
            info[key] = cursor.value(1)
    _refuse_other_kinds(info)
    _dict(info, b"file tree")
    piece_length = _piece_length(info)
    layout = v1.layout if v1 is not None else None
    if layout is None or layout.piece_length != piece_length:
        layout = _layout(entries, piece_length)
    if v1 is None:
        _list(info, b"files")
    elif v1.layout is not layout:
        _check_v1_files(v1, layout)
    pieces = _bytes(info, b"pieces")
    if len(pieces) != _V1_HASH_SIZE * layout.piece_count:
        raise FormatError(
            "info `pieces` has the wrong length", expected=_V1_HASH_SIZE * layout.piece_count, got=len(pieces)
        )
    other_keys = tuple(repr(key[:40])[1:] for key in info if key not in CURRENT.info_keys)
    return _Fields(_name(info), entries, layout, pieces, other_keys)


@dataclass(frozen=True, slots=True)
class _V1List:
    """The offset of the v1 list, and the layout that it matches byte for byte, None if that is not known yet.

    Without a layout, `count` is the number of its rows.
    """

    data: bytes
    at: int
    layout: Layout | None = None
    count: int = 0

    @classmethod
    def pass_over(cls, cursor: Cursor, entries: tuple[FileEntry, ...]) -> Self:
        """Skip the list that begins at the cursor.

        Its pads depend on the piece length, which comes later. A guess at the piece length is tried first: if the list
        fits, it is right. If not, the list is skipped, and compared once the piece length is known.
        """
        start = cursor.at
        layout = _guessed_layout(cursor, entries)
        end = None if layout is None else _end_of_list(cursor.data, start, layout)
        if end is not None:
            cursor.at = end
            return cls(cursor.data, start, layout)
        count, reading = 0, Cursor(cursor.data, max_values=_MAX_VALUES)  # its values are not kept
        reading.at = start
        for count, _ in enumerate(reading.items(1), 1):
            if count > 2 * MAX_FILES:
                raise FormatError("the v1 file list is too long", expected=f"at most {2 * MAX_FILES} rows")
        cursor.at = reading.at
        return cls(cursor.data, start, count=count)


def _guessed_layout(cursor: Cursor, entries: tuple[FileEntry, ...]) -> Layout | None:
    found = _PIECE_LENGTH.match(cursor.data, max(0, cursor.data.rfind(b"12:piece lengthi", cursor.at)))
    if found is None or not entries:
        return None
    try:
        return _layout(entries, _piece_length({b"piece length": int(found[1])}))
    except FormatError:
        return None  # raised when the real one is read


def _layout(entries: tuple[FileEntry, ...], piece_length: int) -> Layout:
    return Layout(tuple(PayloadFile(entry.path, entry.size) for entry in entries), piece_length)


def _end_of_list(data: bytes, at: int, layout: Layout) -> int | None:
    """Return the end of the v1 list that begins at `at`, None unless it is the layout's."""
    at += 1
    for index, file in enumerate(layout.files):
        parts = [part.encode() for part in file.path.parts]
        path = b"".join([b"%d:%b" % (len(part), part) for part in parts])
        row = b"d6:lengthi%de4:pathl%bee" % (file.size, path)
        if pad := layout.pad_after(index):
            number = b"%d" % pad
            row += b"d4:attr1:p6:lengthi%be4:pathl4:.pad%d:%bee" % (number, len(number), number)
        if not data.startswith(row, at):
            return None
        at += len(row)
    return at + 1 if data.startswith(b"e", at) else None


def _refuse_other_kinds(info: dict[bytes, Bencoded]) -> None:
    if b"file tree" not in info:
        hint = "it is a v1 torrent, whose hashes are not those of files: find the hybrid one, or a magnet link of it"
        raise FormatError("the torrent is not a BEP 52 hybrid, it has no v2 `file tree`", hint=hint)
    if b"length" in info:
        raise FormatError("the torrent is of a single file, expected a directory torrent")
    if b"files" not in info or b"pieces" not in info:
        raise FormatError("the torrent is not a hybrid, it has no v1 `files` and `pieces`")
    if info.get(b"meta version") != 2:
        raise FormatError("info `meta version`", expected=2, got=repr(info.get(b"meta version"))[:40])


def _piece_length(info: dict[bytes, Bencoded]) -> int:
    length = info.get(b"piece length")
    if not isinstance(length, int) or not merkle.BLOCK_SIZE <= length <= _MAX_PIECE_LENGTH or length & (length - 1):
        raise FormatError(
            "info `piece length`", expected="a power of two from 16 KiB to 128 MiB", got=repr(length)[:40]
        )
    return length


def _name(info: dict[bytes, Bencoded]) -> str:
    path = RepoPath(text(_bytes(info, b"name"), "info `name`"))
    if len(path.parts) != 1:
        raise FormatError("info `name`", expected="one folder's name", got=repr(path.text))
    return path.text


def _tree_entries(cursor: Cursor) -> tuple[FileEntry, ...]:
    entries = tuple(islice(_tree_files(cursor, ()), MAX_FILES + 1))
    if len(entries) > MAX_FILES:
        raise FormatError("too many files for one torrent", expected=f"at most {MAX_FILES}", got="more")
    return entries


def _tree_files(cursor: Cursor, above: tuple[str, ...]) -> Iterator[FileEntry]:
    if len(above) > MAX_COMPONENTS:
        raise FormatError("`file tree` is nested too deep", expected=f"at most {MAX_COMPONENTS} folders")
    for key in cursor.names():
        if not cursor.opens(b"d"):
            node = cursor.value(len(above) + 2)
            raise FormatError("a node of `file tree`", expected="a dictionary", got=type(node).__name__)
        part = text(key, "a name in `file tree`")
        if "/" in part or not part:
            raise FormatError("a name in `file tree`", expected="one path component", got=repr(part[:80]))
        parts = (*above, part)
        leaf = _LEAF.match(cursor.data, cursor.at)
        if leaf is not None and int(leaf[1]) < 2**63:
            cursor.at = leaf.end()
            yield _file_entry(RepoPath("/".join(parts)), int(leaf[1]), leaf[2])
        elif cursor.data.startswith(b"d0:", cursor.at):
            node = cursor.value(len(parts) + 1)
            assert isinstance(node, dict)  # noqa: S101 - it opens as one
            yield _tree_file(RepoPath("/".join(parts)), node)
        elif cursor.data.startswith(b"de", cursor.at):
            raise FormatError(f"folder {'/'.join(parts)!r} of `file tree` is empty")
        else:
            yield from _tree_files(cursor, parts)


def _tree_file(path: RepoPath, node: dict[bytes, Bencoded]) -> FileEntry:
    leaf = node[b""]
    if len(node) != 1 or not isinstance(leaf, dict):
        raise FormatError(f"{path} is a file and a folder in `file tree`")
    if unknown := leaf.keys() - {b"length", b"pieces root"}:
        raise FormatError(f"file {path} has {min(unknown)[:40]!r}", expected="length and pieces root only")
    size, root = leaf.get(b"length"), leaf.get(b"pieces root")
    if not isinstance(size, int) or size < 0:
        raise FormatError(f"length of {path}", expected="a number of bytes", got=repr(size)[:40])
    return _file_entry(path, size, root)


def _file_entry(path: RepoPath, size: int, root: Bencoded | None) -> FileEntry:
    if size == 0:
        if root is not None:
            raise FormatError(f"file {path} is empty and has a pieces root")
        return FileEntry(path, 0, None)
    if not isinstance(root, bytes) or not any(root):
        raise FormatError(f"file {path} has no pieces root")
    return FileEntry(path, size, Sha256(root))


def _check_v1_files(v1: _V1List, layout: Layout) -> None:
    """Refuse a v1 list that is not the layout's, and name the first difference."""
    if _end_of_list(v1.data, v1.at, layout) is not None:
        return
    cursor = Cursor(v1.data, max_values=_MAX_VALUES)
    cursor.at = v1.at
    expected = (row for index in range(len(layout.files)) for row in _v1_rows(layout, index))
    rows = cursor.items(1)
    for number, (row, wanted) in enumerate(zip(rows, expected, strict=False)):
        if row != wanted:
            raise FormatError(
                f"row {number} of the v1 file list differs from the v2 file tree",
                expected=repr(wanted)[:200],
                got=repr(row)[:200],
            )
    raise FormatError(
        "the v1 file list, pad files included, differs from the v2 file tree",
        expected=f"{sum(1 for index in range(len(layout.files)) for _ in _v1_rows(layout, index))} rows",
        got=v1.count,
    )


def text(data: bytes, what: str) -> str:
    """Decode UTF-8; raises `FormatError` naming `what`."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{what} is not UTF-8", got=repr(data[:80])) from error


def _dict(info: dict[bytes, Bencoded], key: bytes) -> dict[bytes, Bencoded]:
    value = info.get(key)
    if not isinstance(value, dict):
        raise FormatError(f"info `{key.decode()}`", expected="a dictionary", got=type(value).__name__)
    return value


def _list(info: dict[bytes, Bencoded], key: bytes) -> list[Bencoded]:
    value = info.get(key)
    if not isinstance(value, list):
        raise FormatError(f"info `{key.decode()}`", expected="a list", got=type(value).__name__)
    return value


def _bytes(info: dict[bytes, Bencoded], key: bytes) -> bytes:
    value = info.get(key)
    if not isinstance(value, bytes):
        raise FormatError(f"info `{key.decode()}`", expected="a string", got=type(value).__name__)
    return value
