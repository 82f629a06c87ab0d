"""Compare a file's digests with its torrent and its manifest: is it what was signed? No other module does this.

Fetch, verify, import, reuse, scrub and preserve all use it. A torrent says what a file is three times: by v1 pieces, by
the v2 tree, and in its manifest by SHA-256 and git blob id. Its maker may have made them differ, and bytes that match
only some of them belong to no snapshot of that torrent. The checks, in order: size, SHA-256, LFS pointer, git blob id,
pieces root, v1 pieces. The pointer is among them because no hash reveals it: a manifest that lists the weights' pointer
as a plain file has the tree of the commit. It would be proven, but its files cannot be loaded (SPEC section 2).

One hash may be left out. If `library.verified` has a record that a file's bytes matched every hash of this very torrent
(by its infohash, which covers the v1 pieces), then only those bytes have the file's pieces root, and their v1 pieces
are known to match: another SHA-1 would prove nothing more. `verify` leaves it out for small files, whose v1 pieces are
nearly all padding.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import VerificationError
from p2pqwen.library.hashing import NO_HASHES, FileDigests
from p2pqwen.manifest.lfs_pointer import MAX_POINTER_SIZE, parse_pointer
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.portable.files import open_plain
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.repo_path import RepoPath

_V1, _V2 = 20, 32  # bytes of a hash
_SHORT = {"SHA-256": "sha256 ", "git blob id": "git blob ", "pieces root": "pieces root ", "v1 hash of a piece": ""}


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing that is not as signed; `what` completes "the … of the file"."""

    what: str
    expected: str
    got: str

    @property
    def shown(self) -> tuple[str, str]:
        """Expected and got as words that make sense alone, as in a list of bad files."""
        label = _SHORT.get(self.what, "")
        return f"{label}{self.expected}", f"{label}{self.got}"

    def error(self, path: RepoPath) -> VerificationError:
        """Return the error for a file that must not be kept."""
        return VerificationError(
            f"the {self.what} of {path} does not match what was signed", expected=self.expected, got=self.got
        )


def difference(metainfo: Metainfo, index: int, row: FileRow | None, digests: FileDigests) -> Difference | None:
    """Return the first difference between a file and the one at `index` of a torrent, None if there is none.

    `row` is the manifest's, None without a manifest; a plain row requires the git blob id. Digests without torrent
    hashes are of a file that libtorrent has compared with them piece by piece, or that its resume data vouches for.
    Resume data only tells what was there once, so without a row such digests show nothing.
    """
    size = metainfo.layout.files[index].size
    if digests.size != size:
        return Difference("size", f"{size} bytes", f"{digests.size} bytes")
    if row is not None and digests.sha256 != row.sha256:
        return Difference("SHA-256", str(row.sha256), str(digests.sha256))
    if (pointed := pointer_in_place(digests, lfs=row is not None and row.lfs)) is not None:
        return pointed
    if row is not None and not row.lfs and digests.git_blob != row.git_oid:
        return Difference("git blob id", str(row.git_oid), str(digests.git_blob))
    if digests.hashes is not NO_HASHES:
        return _piece_difference(metainfo, index, digests)
    return None if row is not None else Difference("content", "compared with a hash", "compared with nothing")


def _piece_difference(metainfo: Metainfo, index: int, digests: FileDigests) -> Difference | None:
    root = metainfo.files[index].pieces_root
    if digests.hashes.pieces_root != root:
        return Difference("pieces root", str(root), str(digests.hashes.pieces_root))
    if digests.hashes.left_out_pieces:
        return None  # the only bytes with this root matched the v1 pieces before
    if bad := bad_pieces(metainfo, index, digests):
        at = bad[0] - metainfo.layout.pieces(index).start
        expected = metainfo.pieces[bad[0] * _V1 : (bad[0] + 1) * _V1].hex()
        got = digests.hashes.pieces[at * _V1 : (at + 1) * _V1].hex()
        return Difference("v1 hash of a piece", f"v1 piece {bad[0]} {expected}", f"v1 piece {bad[0]} {got}")
    return None


def bad_pieces(metainfo: Metainfo, index: int, digests: FileDigests) -> tuple[int, ...]:
    """Return the pieces of the torrent in which a file differs, by v1, and by v2 if the piece layer is known."""
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


def pointer_in_place(digests: FileDigests, *, lfs: bool) -> Difference | None:
    """Refuse content that is an LFS pointer, unless LFS is known to hold a file that looks like one (`lfs`).

    In that case its git blob is a pointer to the pointer, which missing content does not produce.
    """
    if digests.pointer is None or lfs:
        return None
    return Difference("content", "the file itself", str(digests.pointer))


def pointer_files(folder: Path, rows: Iterable[FileRow]) -> dict[RepoPath, Difference]:
    """Return the plain files below `folder` whose content is an LFS pointer; only files that are small enough are read.

    Missing files are ignored. Raises `OSError`. Snapshots may be older than this rule.
    """
    found = {}
    for row in rows:
        if row.lfs or row.size > MAX_POINTER_SIZE:
            continue
        with suppress(FileNotFoundError, NotADirectoryError), open_plain(folder / row.path.text) as file:
            if (pointer := parse_pointer(file.read(MAX_POINTER_SIZE + 1))) is not None:
                found[row.path] = Difference("content", "the file itself", str(pointer))
    return found
