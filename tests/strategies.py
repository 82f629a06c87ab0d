"""Hypothesis strategies for our values: small enough to hash, close to the edges where layouts go wrong."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.manifest.git_object import blob_oid
from p2pqwen.manifest.lfs_pointer import pointer_oid
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.torrent.bencode import Bencoded
from p2pqwen.torrent.layout import Layout, PayloadFile
from p2pqwen.torrent.merkle import BLOCK_SIZE
from p2pqwen.torrent.piece_hasher import FileHashes, PieceHasher
from p2pqwen.values.digest import CommitId, GitOid, Sha1, Sha256
from p2pqwen.values.repo_path import RepoPath, refuse_clashes
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

sha1s = st.binary(min_size=20, max_size=20).map(Sha1)
sha256s = st.binary(min_size=32, max_size=32).map(Sha256)
git_oids = st.binary(min_size=20, max_size=20).map(GitOid)
commit_ids = st.binary(min_size=20, max_size=20).map(CommitId)
repo_ids = st.from_regex(r"[A-Za-z0-9]{1,8}/[A-Za-z0-9]{1,4}(?:[._-][A-Za-z0-9]{1,4}){0,3}", fullmatch=True).map(RepoId)
snapshot_ids = st.builds(SnapshotId, repo_ids, commit_ids)

# Characters on both sides of "/" (0x2f) and in every UTF-8 length, so that orders by text and by component differ.
_PARTS = st.text(alphabet="ab0!-.+é文🜁", min_size=1, max_size=4)


def _valid(text: str) -> bool:
    try:
        RepoPath(text)
    except FormatError:
        return False
    return True


repo_paths = st.lists(_PARTS, min_size=1, max_size=3).map("/".join).filter(_valid).map(RepoPath)


def without_clashes(paths: Sequence[RepoPath]) -> list[RepoPath]:
    """Leave out every path that clashes with one before it."""
    kept: list[RepoPath] = []
    for path in paths:
        try:
            refuse_clashes([*kept, path])
        except FormatError:
            continue
        kept.append(path)
    return kept


def path_lists(*, max_size: int = 8) -> st.SearchStrategy[list[RepoPath]]:
    """Return paths that one folder can hold, in any order."""
    return st.lists(repo_paths, min_size=1, max_size=max_size).map(without_clashes)


def edge_sizes(piece_length: int) -> st.SearchStrategy[int]:
    """Return file sizes of 0, 1 and one around a few blocks and pieces."""
    edges = {n * unit + off for unit in (BLOCK_SIZE, piece_length) for n in (1, 2, 3, 5) for off in (-1, 0, 1)}
    return st.sampled_from(sorted({0, 1, *edges}))


def content(size: int, seed: int) -> bytes:
    """Return bytes that differ from file to file and from block to block, without a slow random source."""
    return b"".join(b"%016x" % (seed << 40 | at) for at in range(0, size, 16))[:size]


@st.composite
def payloads(draw: st.DrawFn, piece_length: int = 2 * BLOCK_SIZE, *, empty: bool = True) -> dict[RepoPath, bytes]:
    """Return files with their content; at least one is not empty, and none is if `empty` is false."""
    sizes = edge_sizes(piece_length) if empty else edge_sizes(piece_length).filter(bool)
    paths = draw(path_lists())
    payload = {path: content(draw(sizes), number) for number, path in enumerate(paths)}
    if not any(payload.values()):
        payload[paths[0]] = b"x"
    return payload


def lay_out(payload: dict[RepoPath, bytes], piece_length: int) -> Layout:
    """Return the layout of a payload at a piece length that the recipe would not choose."""
    return Layout(tuple(PayloadFile(path, len(payload[path])) for path in sorted(payload)), piece_length)


def hash_payload(payload: dict[RepoPath, bytes], layout: Layout) -> dict[RepoPath, FileHashes]:
    """Hash every file of a payload as its layout needs it."""
    hashes = {}
    for index, file in enumerate(layout.files):
        hasher = PieceHasher(layout.piece_length, padded=layout.pad_after(index) > 0)
        hasher.update(payload[file.path])
        hashes[file.path] = hasher.finish()
    return hashes


def manifest_of(
    payload: dict[RepoPath, bytes],
    snapshot: SnapshotId,
    *,
    lfs: frozenset[RepoPath] = frozenset(),
    commit_object: bytes | None = None,
    license_id: str | None = "apache-2.0",
) -> Manifest:
    """Describe a payload as a snapshot's."""
    rows = []
    for path in sorted(payload):
        data = payload[path]
        sha256 = Sha256.of(data)
        oid = pointer_oid(sha256, len(data)) if path in lfs else blob_oid(data)
        rows.append(FileRow(path, len(data), sha256, oid, path in lfs))
    return Manifest(snapshot, commit_object, license_id, tuple(rows))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Return manifests of a few small files, some under LFS."""
    payload = {path: draw(st.binary(max_size=50)) for path in draw(path_lists())}
    lfs = frozenset(draw(st.sets(st.sampled_from(sorted(payload)))))
    return manifest_of(
        payload,
        draw(snapshot_ids),
        lfs=lfs,
        commit_object=draw(st.none() | st.binary(max_size=80)),
        license_id=draw(st.none() | st.sampled_from(["apache-2.0", "mit", "other"])),
    )


bencoded: st.SearchStrategy[Bencoded] = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=6), inner, max_size=4),
    max_leaves=20,
)
