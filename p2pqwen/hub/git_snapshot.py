"""The git objects of a snapshot, rebuilt from its manifest: the commit, its trees, its blobs, its LFS pointers.

Their ids are those of the upstream objects: the tree must be the commit's, and each blob must hash to its id in the
tree. So a clone has the commit id of the Hub's own repository.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dulwich.index import commit_tree
from dulwich.object_store import MemoryObjectStore
from dulwich.objects import Blob, Commit, ObjectID, ShaFile

from p2pqwen.errors import VerificationError
from p2pqwen.hub.git_upload_pack import Content, LateBlob
from p2pqwen.manifest import git_object
from p2pqwen.manifest.lfs_pointer import pointer_bytes
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.values.digest import CommitId

Open = Callable[[FileRow], Content]
"""Start to read a file that is neither in LFS nor empty; raises `P2pqwenError`."""


class SnapshotTrees:
    """The commit and the trees of one proven snapshot; raises `VerificationError` for any other."""

    def __init__(self, manifest: Manifest) -> None:
        if manifest.commit_object is None:
            raise VerificationError(f"{manifest.snapshot} came without its commit object, so it cannot be cloned")
        self.manifest = manifest
        self.commit: Commit = Commit.from_string(manifest.commit_object)
        self.trees = MemoryObjectStore()
        rows = [
            (row.path.text.encode(), ObjectID(str(row.git_oid).encode()), int(row.mode, 8)) for row in manifest.files
        ]
        root = commit_tree(self.trees, rows)
        named = git_object.commit_tree(manifest.commit_object)
        if root.decode() != str(named):
            raise VerificationError(f"the files of {manifest.snapshot} are not its commit's", expected=named, got=root)
        self.rows = {ObjectID(str(row.git_oid).encode()): row for row in manifest.files}


@dataclass(frozen=True, slots=True)
class SnapshotObjects:
    """The objects of one proven snapshot. Contents are read on demand."""

    trees: SnapshotTrees
    open: Open

    def __contains__(self, oid: ObjectID, /) -> bool:
        """Tell whether the snapshot has this object."""
        return oid == self.trees.commit.id or oid in self.trees.rows or oid in self.trees.trees

    def __getitem__(self, oid: ObjectID, /) -> ShaFile | LateBlob:
        """Return an object; raises `KeyError`, `VerificationError`."""
        if oid == self.trees.commit.id:
            return self.trees.commit
        if oid not in self.trees.rows:
            return self.trees.trees[oid]
        row = self.trees.rows[oid]
        if row.size and not row.lfs:
            return _FileBlob(row, self.open)
        blob = Blob.from_string(_pointer(row) if row.lfs else b"")
        _require(row, blob.id.decode())
        return blob


@dataclass(frozen=True, slots=True)
class _FileBlob:
    row: FileRow
    opening: Open

    @property
    def size(self) -> int:
        return self.row.size

    def open(self) -> Content:
        return _Checked(self.row, self.opening(self.row))


@dataclass(frozen=True, slots=True)
class _Checked:
    """Content that must be the blob's. Any other ends with an error, and so does the pack."""

    row: FileRow
    content: Content

    def pieces(self) -> Iterator[bytes]:
        digest = hashlib.sha1(b"blob %d\0" % self.row.size, usedforsecurity=False)
        for piece in self.content.pieces():
            digest.update(piece)
            yield piece
        _require(self.row, digest.hexdigest())

    def close(self) -> None:
        self.content.close()


def _require(row: FileRow, oid: str) -> None:
    if oid != str(row.git_oid):
        raise VerificationError(f"{row.path} is not the blob of its commit", expected=row.git_oid, got=oid)


@dataclass(frozen=True, slots=True)
class SnapshotRepository:
    """Snapshots of one repository as git sees it; `branches` names some of their commits."""

    branches: Mapping[str, CommitId]
    snapshots: Sequence[SnapshotObjects] = field(repr=False)
    tags: Mapping[str, CommitId] = field(default_factory=dict)

    @property
    def objects(self) -> SnapshotRepository:
        """The objects of all snapshots."""
        return self

    def __contains__(self, oid: ObjectID, /) -> bool:
        """Tell whether any snapshot has this object."""
        return any(oid in one for one in self.snapshots)

    def __getitem__(self, oid: ObjectID, /) -> ShaFile | LateBlob:
        """Return an object; raises as `SnapshotObjects` does."""
        for one in self.snapshots:
            if oid in one:
                return one[oid]
        raise KeyError(oid)


def _pointer(row: FileRow) -> bytes:
    return pointer_bytes(row.sha256, row.size) if row.pointer is None else row.pointer.encode()
