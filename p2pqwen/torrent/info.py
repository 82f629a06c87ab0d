"""The info dictionary of a BEP 52 hybrid (v1 and v2 at once), written by the recipe and read strictly.

Reading is a security boundary: every path becomes a `RepoPath`, and the v1 file list must be the v2 file tree with
the pad files that the recipe puts in it, so that a v1 and a v2 client cannot be shown two different payloads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from p2pqwen.errors import FormatError
from p2pqwen.torrent import bencode, merkle
from p2pqwen.torrent.bencode import Bencoded
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.layout import MAX_FILES, Layout, PayloadFile
from p2pqwen.torrent.piece_hasher import FileHashes
from p2pqwen.torrent.recipe import CURRENT, Recipe
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.repo_path import RepoPath

MAX_INFO_BYTES = 64 * 1024 * 1024
_V1_HASH_SIZE = 20
_MAX_PIECE_LENGTH = 128 * 1024 * 1024  # libtorrent's max_piece_size


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One payload file of a torrent; `pieces_root` is None for an empty file."""

    path: RepoPath
    size: int
    pieces_root: Sha256 | None


@dataclass(frozen=True, slots=True)
class Info:
    """A hybrid info dictionary, read from its bencoded bytes `raw`; raises `FormatError`."""

    raw: bytes
    name: str = field(init=False)
    files: tuple[FileEntry, ...] = field(init=False, repr=False)
    layout: Layout = field(init=False, repr=False)
    pieces: bytes = field(init=False, repr=False)
    infohash: InfoHash = field(init=False)
    other_keys: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        info = bencode.decode_dict(self.raw, max_bytes=MAX_INFO_BYTES)
        _refuse_other_kinds(info)
        entries = tuple(
            islice(_tree_files(_dict(info, b"file tree"), ()), MAX_FILES + 1)
        )  # one more for the layout to refuse
        piece_length = _piece_length(info)
        layout = Layout(tuple(PayloadFile(entry.path, entry.size) for entry in entries), piece_length)
        _check_v1_files(_list(info, b"files"), layout)
        pieces = _bytes(info, b"pieces")
        if len(pieces) != _V1_HASH_SIZE * layout.piece_count:
            raise FormatError(
                "info `pieces` has the wrong length", expected=_V1_HASH_SIZE * layout.piece_count, got=len(pieces)
            )
        self._set("name", _name(info))
        self._set("files", entries)
        self._set("layout", layout)
        self._set("pieces", pieces)
        self._set("infohash", InfoHash.of(self.raw))
        self._set("other_keys", tuple(repr(key[:40])[1:] for key in info if key not in CURRENT.info_keys))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def build_info(name: CommitId | str, layout: Layout, hashes: Mapping[RepoPath, FileHashes]) -> bytes:
    """Return the recipe's bencoded info dictionary, named after a snapshot's commit or, as a text, a bundle.

    `hashes` holds every file of the layout, hashed at its piece length and padded where a pad file follows;
    hashes of another size or piece length are a `ValueError`.
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
    """Return what keeps an info dictionary from being the recipe's, one sentence each; empty when nothing does."""
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
        assert isinstance(below, dict)  # noqa: S101 - the layout refused a file and a folder of one name
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


def _refuse_other_kinds(info: dict[bytes, Bencoded]) -> None:
    if b"file tree" not in info:
        raise FormatError("the torrent is not a BEP 52 hybrid, it has no v2 `file tree`")
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


def _tree_files(tree: dict[bytes, Bencoded], above: tuple[str, ...]) -> Iterator[FileEntry]:
    for key, node in tree.items():
        if not isinstance(node, dict):
            raise FormatError("a node of `file tree`", expected="a dictionary", got=type(node).__name__)
        part = text(key, "a name in `file tree`")
        if "/" in part or not part:
            raise FormatError("a name in `file tree`", expected="one path component", got=repr(part[:80]))
        parts = (*above, part)
        if b"" in node:
            yield _tree_file(RepoPath("/".join(parts)), node)
        elif node:
            yield from _tree_files(node, parts)
        else:
            raise FormatError(f"folder {'/'.join(parts)!r} of `file tree` is empty")


def _tree_file(path: RepoPath, node: dict[bytes, Bencoded]) -> FileEntry:
    leaf = node[b""]
    if len(node) != 1 or not isinstance(leaf, dict):
        raise FormatError(f"{path} is a file and a folder in `file tree`")
    if unknown := leaf.keys() - {b"length", b"pieces root"}:
        raise FormatError(f"file {path} has {min(unknown)[:40]!r}", expected="length and pieces root only")
    size, root = leaf.get(b"length"), leaf.get(b"pieces root")
    if not isinstance(size, int) or size < 0:
        raise FormatError(f"length of {path}", expected="a number of bytes", got=repr(size)[:40])
    if size == 0:
        if root is not None:
            raise FormatError(f"file {path} is empty and has a pieces root")
        return FileEntry(path, 0, None)
    if not isinstance(root, bytes) or not any(root):
        raise FormatError(f"file {path} has no pieces root")
    return FileEntry(path, size, Sha256(root))


def _check_v1_files(rows: list[Bencoded], layout: Layout) -> None:
    expected = [row for index in range(len(layout.files)) for row in _v1_rows(layout, index)]
    for number, (row, wanted) in enumerate(zip(rows, expected, strict=False)):
        if row != wanted:
            raise FormatError(
                f"row {number} of the v1 file list differs from the v2 file tree",
                expected=repr(wanted)[:200],
                got=repr(row)[:200],
            )
    if len(rows) != len(expected):
        raise FormatError(
            "the v1 file list, pad files included, differs from the v2 file tree",
            expected=f"{len(expected)} rows",
            got=len(rows),
        )


def text(data: bytes, what: str) -> str:
    """Read UTF-8; raises `FormatError` naming `what`."""
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
