"""Is a file's content right under every hash that a torrent and its manifest have for it? The one place that compares.

A torrent says what a file is three times (v1 pieces, the v2 tree, and in its manifest SHA-256 and git blob id), and
whoever made it may have made them differ. Bytes that only some of them approve belong to no snapshot of that torrent.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2pqwen.library.hashing import NO_HASHES, FileDigests
from p2pqwen.manifest.lfs_pointer import pointer_oid
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.torrent.metainfo import Metainfo

_V1, _V2 = 20, 32


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs, in a sentence (`what`) and as a prefix (`unit`), what was expected, and what was got."""

    what: str
    unit: str
    expected: object
    got: object

    @property
    def pair(self) -> tuple[str, str]:
        """What was expected and what was got, each with its unit."""
        return f"{self.unit} {self.expected}", f"{self.unit} {self.got}"


def difference(metainfo: Metainfo, index: int, row: FileRow | None, digests: FileDigests) -> Difference | None:
    """Return the first hash by which a file is not the one at `index` of a torrent; None when it is.

    `row` is the manifest's, None where there is no manifest. Digests without torrent hashes are of a file that
    libtorrent has compared with those piece by piece; a git blob id that was not computed is passed over.
    """
    size = metainfo.layout.files[index].size
    if digests.size != size:
        return Difference("the size", "size", size, digests.size)
    if row is not None:
        if digests.sha256 != row.sha256:
            return Difference("the SHA-256", "sha256", row.sha256, digests.sha256)
        oid = pointer_oid(digests.sha256, digests.size) if row.lfs else digests.git_blob
        if oid is not None and oid != row.git_oid:
            return Difference("the git blob id", "git blob", row.git_oid, oid)
    if digests.hashes is NO_HASHES:
        return None
    root = metainfo.files[index].pieces_root
    if digests.hashes.pieces_root != root:
        return Difference("the pieces root", "pieces root", root, digests.hashes.pieces_root)
    if bad := bad_pieces(metainfo, index, digests):
        at = bad[0] - metainfo.layout.pieces(index).start
        expected = metainfo.pieces[bad[0] * _V1 : (bad[0] + 1) * _V1]
        got = digests.hashes.pieces[at * _V1 : (at + 1) * _V1]
        return Difference("the v1 hash of a piece", f"v1 piece {bad[0]}", expected.hex(), got.hex())
    return None


def bad_pieces(metainfo: Metainfo, index: int, digests: FileDigests) -> tuple[int, ...]:
    """Return the pieces of the torrent in which a file differs, by v1, and by v2 where the piece layer is known."""
    pieces = metainfo.layout.pieces(index)
    root = metainfo.files[index].pieces_root
    layer = None if root is None else metainfo.piece_layers.get(root)
    found = digests.hashes
    bad = []
    for at, piece in enumerate(pieces):
        v1_right = metainfo.pieces[piece * _V1 : (piece + 1) * _V1] == found.pieces[at * _V1 : (at + 1) * _V1]
        v2 = slice(at * _V2, (at + 1) * _V2)
        if not v1_right or (layer is not None and layer[v2] != found.piece_layer[v2]):
            bad.append(piece)
    return tuple(bad)


def right_bytes(metainfo: Metainfo, index: int, digests: FileDigests) -> int:
    """Return how many bytes of a file are in pieces that are right; 0 for a file of another size."""
    layout = metainfo.layout
    size = layout.files[index].size
    if digests.size != size:
        return 0
    pieces = layout.pieces(index)
    right = set(pieces) - set(bad_pieces(metainfo, index, digests))
    return sum(min(layout.piece_length, size - (piece - pieces.start) * layout.piece_length) for piece in right)
