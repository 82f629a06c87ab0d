"""The git objects of a snapshot, rebuilt from its manifest: the commit, its trees, its blobs, its LFS pointers.

Their ids are those of the upstream objects: the tree must be the commit's, and each blob must hash to its id in the
tree. So a clone has the commit id of the Hub's own repository.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dulwich.index import commit_tree
from dulwich.object_store import MemoryObjectStore
from dulwich.objects import Blob, Commit, ObjectID, ShaFile

from p2pqwen.errors import VerificationError
from p2pqwen.manifest import git_object
from p2pqwen.manifest.lfs_pointer import pointer_bytes
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.values.digest import CommitId

Read = Callable[[FileRow], bytes]
"""Return the content of a file that is not in LFS; raises `P2pqwenError`."""


class SnapshotObjects:
    """The objects of one proven snapshot; raises `VerificationError` for any other. Contents are read on demand."""

    def __init__(self, manifest: Manifest, read: Read) -> None:
        if manifest.commit_object is None:
            raise VerificationError(f"{manifest.snapshot} came without its commit object, so it cannot be cloned")
        self._read = read
        self._commit: Commit = Commit.from_string(manifest.commit_object)
        self._trees = MemoryObjectStore()
        rows = [
            (row.path.text.encode(), ObjectID(str(row.git_oid).encode()), int(row.mode, 8)) for row in manifest.files
        ]
        root = commit_tree(self._trees, rows)
        named = git_object.commit_tree(manifest.commit_object)
        if root.decode() != str(named):
            raise VerificationError(f"the files of {manifest.snapshot} are not its commit's", expected=named, got=root)
        self._rows = {ObjectID(str(row.git_oid).encode()): row for row in manifest.files}

    def __contains__(self, oid: ObjectID, /) -> bool:
        """Tell whether the snapshot has this object."""
        return oid == self._commit.id or oid in self._rows or oid in self._trees

    def __getitem__(self, oid: ObjectID, /) -> ShaFile:
        """Return an object; raises `KeyError`, `VerificationError`, and whatever `read` raises."""
        if oid == self._commit.id:
            return self._commit
        if oid not in self._rows:
            return self._trees[oid]
        row = self._rows[oid]
        blob = Blob.from_string(_pointer(row) if row.lfs else self._read(row))
        if blob.id != oid:
            raise VerificationError(f"{row.path} is not the blob of its commit", expected=oid.decode(), got=blob.id)
        return blob


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

    def __getitem__(self, oid: ObjectID, /) -> ShaFile:
        """Return an object; raises as `SnapshotObjects` does."""
        for one in self.snapshots:
            if oid in one:
                return one[oid]
        raise KeyError(oid)


def _pointer(row: FileRow) -> bytes:
    return pointer_bytes(row.sha256, row.size) if row.pointer is None else row.pointer.encode()
