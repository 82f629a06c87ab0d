"""A snapshot as the Hub endpoint serves it: it needs the same admission as for the Hugging Face cache.

Other programs take what the endpoint serves for the repository's own word. So a `ServedCommit` can only be made from an
`Admission`, which only the judgement of a snapshot's standing makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from p2pqwen.hub_api.listing import OPEN, Access, ManifestFile
from p2pqwen.index.standing import Admission
from p2pqwen.manifest.git_object import commit_time
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class NamedSnapshot:
    """A snapshot in a list: the newest known commit of a repository."""

    id: SnapshotId
    time: datetime
    license: str | None
    access: Access = OPEN

    @property
    def repo(self) -> RepoId:
        """Whose commit it is."""
        return self.id.repo

    @property
    def commit(self) -> CommitId:
        """The commit."""
        return self.id.commit


@dataclass(frozen=True, slots=True)
class ServedCommit:
    """An admitted snapshot of the torrent `infohash`; `added` is its time if there is no commit object."""

    admission: Admission
    infohash: InfoHash
    added: datetime = _EPOCH
    access: Access = OPEN
    files: Mapping[str, ManifestFile] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        files = {row.path.text: ManifestFile.of(row) for row in self.admission.rows}
        object.__setattr__(self, "files", files)

    @property
    def id(self) -> SnapshotId:
        """The snapshot."""
        return self.admission.snapshot

    @property
    def repo(self) -> RepoId:
        """Whose commit it is."""
        return self.id.repo

    @property
    def commit(self) -> CommitId:
        """The commit."""
        return self.id.commit

    @property
    def license(self) -> str | None:
        """The license that its model card names."""
        return self.admission.manifest.license

    @property
    def time(self) -> datetime:
        """When the commit was made, or else `added`."""
        raw = self.admission.manifest.commit_object
        return (None if raw is None else commit_time(raw)) or self.added
