"""The bundle: a published site (index.json, every .torrent it names, deltas) as a torrent by the recipe's rules.

Its name is `p2pqwen-index-<epoch>.<version>`. Every file starts on a piece, so it can be fetched without its
neighbours. A file that two versions share has the same pieces root in both, so it is fetched once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from p2pqwen.errors import FormatError
from p2pqwen.index.acceptance import Position
from p2pqwen.index.delta import DELTA_FOLDER, MAX_DELTA, MAX_STEPS, Delta, delta_location
from p2pqwen.index.document import INDEX_FILE, MAX_INDEX_SIZE, IndexDocument
from p2pqwen.torrent.info import FileEntry, Info, build_info
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.piece_hasher import FileHashes, PieceHasher
from p2pqwen.torrent.recipe import CURRENT
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath

INDEX_PATH = RepoPath(INDEX_FILE)
_NAME = re.compile(r"p2pqwen-index-(0|[1-9][0-9]{0,15})\.([1-9][0-9]{0,15})", re.ASCII)
_TORRENT = re.compile(r"[^/]+/[^/]+/[0-9a-f]{40}\.torrent")
_DELTA = re.compile(rf"{DELTA_FOLDER}/[0-9a-f]{{64}}\.json")


def bundle_name(position: Position) -> str:
    """Return the name of the bundle of the index at a position."""
    return f"p2pqwen-index-{position}"


def parse_bundle_name(name: str) -> Position:
    """Read a bundle's name; raises `FormatError`."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise FormatError("not the name of a bundle", expected="p2pqwen-index-<epoch>.<version>", got=repr(name[:80]))
    return Position(int(found[1]), int(found[2]))


def bundle_paths(document: IndexDocument) -> tuple[RepoPath, ...]:
    """Return the files of an index's bundle, without deltas."""
    return (INDEX_PATH, *(RepoPath(entry.torrent) for entry in document.entries))


def bundle_deltas(found: Iterable[tuple[Delta, int]], digest: Sha256, index_size: int) -> tuple[RepoPath, ...]:
    """Return the deltas of a site that belong in an index's bundle: those over the fewest versions, as many as fit.

    `found` are deltas with their sizes in bytes, each from its place; `digest` and `index_size` are the index's. Every
    maker of the bundle of the same site chooses the same deltas (SPEC section 10).
    """
    leading = [(delta.steps, str(delta.base), size) for delta, size in found if delta.to == digest]
    chosen: list[RepoPath] = []
    left = min(MAX_DELTA, index_size)
    for _, base, size in sorted(leading)[:MAX_STEPS]:
        left -= size
        if left < 0:
            break
        chosen.append(RepoPath(delta_location(Sha256.parse(base))))
    return tuple(chosen)


def bundle_layout(sizes: Iterable[tuple[RepoPath, int]]) -> Layout:
    """Lay out a bundle's files as the recipe does; sizes in bytes."""
    return Layout.of(sizes)


def build_bundle(position: Position, layout: Layout, hashes: Mapping[RepoPath, FileHashes]) -> Metainfo:
    """Make the torrent of a bundle."""
    layers = {one.pieces_root: one.piece_layer for one in hashes.values() if one.piece_layer}
    return Metainfo(
        build_info(bundle_name(position), layout, hashes),
        {root: layer for root, layer in layers.items() if root is not None},
    )


def hash_bundle_file(data: bytes, layout: Layout, index: int) -> FileHashes:
    """Hash the file at `index` of a bundle's layout."""
    hasher = PieceHasher(layout.piece_length, padded=layout.pad_after(index) > 0)
    hasher.update(data)
    return hasher.finish()


def check_bundle(info: Info, position: Position) -> None:
    """Raise `FormatError` unless a torrent may be the bundle of the index at a position.

    Other files than the index, torrents and deltas are allowed (a site may have more) but never fetched. Nor are deltas
    that exceed a bundle's limits of number or size.
    """
    if parse_bundle_name(info.name) != position:
        raise FormatError("the bundle is of another index", expected=bundle_name(position), got=info.name)
    if info.other_keys or info.layout.piece_length != CURRENT.piece_length(info.layout.total_size):
        raise FormatError(f"the bundle does not follow {CURRENT}")
    index = next((file for file in info.files if file.path == INDEX_PATH), None)
    if index is None or not 0 < index.size <= MAX_INDEX_SIZE:
        raise FormatError("the bundle holds no index.json that could be one")
    for file in info.files:
        if _TORRENT.fullmatch(file.path.text) and file.size > MAX_TORRENT_BYTES:
            raise FormatError(f"{file.path} of the bundle is too large", expected=f"at most {MAX_TORRENT_BYTES} bytes")


def wanted_files(info: Info) -> tuple[RepoPath, ...]:
    """Return the files that a follower may need."""
    needed = (file.path for file in info.files if file.path == INDEX_PATH or _TORRENT.fullmatch(file.path.text))
    return (*needed, *(file.path for file in _deltas(info)))


def delta_from(info: Info, base: Sha256) -> RepoPath | None:
    """Return the bundle's delta file from an index to the bundle's own index, or None."""
    place = RepoPath(delta_location(base))
    return next((file.path for file in _deltas(info) if file.path == place), None)


def _deltas(info: Info) -> tuple[FileEntry, ...]:
    """Return the deltas of a bundle, none if their number or size exceeds what writers put there."""
    found = tuple(file for file in info.files if _DELTA.fullmatch(file.path.text))
    limit = min(MAX_DELTA, sum(file.size for file in info.files if file.path == INDEX_PATH))
    return found if len(found) <= MAX_STEPS and sum(file.size for file in found) <= limit else ()
