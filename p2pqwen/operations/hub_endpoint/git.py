"""Repositories for git and Git LFS: clones of what the endpoint serves, with the commit ids of upstream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Self

from p2pqwen.containment import each
from p2pqwen.errors import P2pqwenError, VerificationError
from p2pqwen.hub.git_snapshot import SnapshotObjects, SnapshotRepository
from p2pqwen.hub.git_upload_pack import advertisement, upload_pack
from p2pqwen.hub_api.problem import HubProblem
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.operations.hub_endpoint.catalogue import HubCatalogue, ServedSnapshot
from p2pqwen.portable.files import read_at
from p2pqwen.server.hub_catalogue import HubRefusedError, LfsFile, Reading
from p2pqwen.values.snapshot_id import RepoId

MAX_PLAIN = 1 << 30
"""Most bytes of files outside LFS in a clone: its pack is made in memory."""


class GitService:
    """A `GitSide` over a catalogue; thread-safe."""

    def __init__(self, catalogue: HubCatalogue) -> None:
        self._catalogue = catalogue

    def advertise(self, repo: RepoId) -> bytes:
        """Answer `info/refs`; raises `HubRefusedError` for an unknown repository."""
        self._catalogue.refs(repo)
        return advertisement("allow")

    def upload_pack(self, repo: RepoId, request: bytes) -> bytes:
        """Answer `git-upload-pack`; raises `HubRefusedError`, `P2pqwenError`."""
        with _Contents() as contents:
            snapshots = self._catalogue.known(repo)
            found = each(snapshots, contents.objects, failed=lambda *_: None)
            if snapshots and not found:
                contents.objects(snapshots[0])  # raises the reason
            repository = SnapshotRepository(self._catalogue.refs(repo).branches, found)
            try:
                return upload_pack(repository, request, "allow")
            except ValueError as error:
                raise HubRefusedError(HubProblem(400, None, "not a request that git makes")) from error

    def lfs(self, repo: RepoId, oids: Iterable[str]) -> Mapping[str, LfsFile]:
        """Find LFS files of the known commits by their SHA-256; raises `HubRefusedError`."""
        wanted = set(oids)
        return {
            file.sha256: LfsFile(str(snapshot.info.commit), file.path, file.size)
            for snapshot in reversed(self._catalogue.known(repo))
            for file in snapshot.info.files.values()
            if file.sha256 in wanted
        }


class _Contents:
    """Reads files outside LFS. Opens all of a snapshot's with the first, so that they arrive together."""

    def __init__(self) -> None:
        self._readings: dict[tuple[str, str], Reading] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for reading in self._readings.values():
            reading.close()

    def objects(self, snapshot: ServedSnapshot) -> SnapshotObjects:
        manifest = snapshot.info.admission.manifest
        plain = [row for row in manifest.files if not row.lfs and row.size]
        if sum(row.size for row in plain) > MAX_PLAIN:
            raise P2pqwenError(f"{manifest.snapshot} holds too much outside LFS to be cloned")
        return SnapshotObjects(manifest, lambda row: self._read(snapshot, row, plain))

    def _read(self, snapshot: ServedSnapshot, row: FileRow, plain: Sequence[FileRow]) -> bytes:
        if not row.size:
            return b""
        commit = str(snapshot.info.commit)
        if (commit, row.path.text) not in self._readings:
            for one in plain:
                reading = snapshot.open(one.path.text, range(one.size))
                self._readings[commit, one.path.text] = reading
        reading = self._readings.pop((commit, row.path.text))
        try:
            return _all_of(reading, row)
        finally:
            reading.close()


def _all_of(reading: Reading, row: FileRow) -> bytes:
    at = 0
    while at < row.size:
        ready = reading.ready(at)
        at = ready.result() if isinstance(ready, Future) else ready
    data = read_at(reading.descriptor, row.size, 0)
    if len(data) != row.size:
        raise VerificationError(f"{row.path} ended early", expected=row.size, got=len(data))
    return data
