"""Repositories for git and Git LFS: clones of what the endpoint serves, with the commit ids of upstream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from p2pqwen.containment import each
from p2pqwen.errors import NetworkError, VerificationError
from p2pqwen.hub.git_snapshot import SnapshotObjects, SnapshotRepository, SnapshotTrees
from p2pqwen.hub.git_upload_pack import advertisement, error_line, upload_pack
from p2pqwen.hub_api.listing import FILE_BYTES
from p2pqwen.hub_api.problem import HubProblem
from p2pqwen.library.durable import disk_errors
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.operations.hub_endpoint.catalogue import KEPT_BYTES, HubCatalogue, ServedSnapshot
from p2pqwen.portable.files import read_at
from p2pqwen.server.hub_catalogue import HubRefusedError, LfsFile, Reading
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.weighed_cache import WeighedCache

_AT_ONCE = 256 << 10
_LOOK_SECONDS = 1.0


class GitService:
    """A `GitSide` over a catalogue; thread-safe. Keeps the trees of recent clones."""

    def __init__(self, catalogue: HubCatalogue) -> None:
        self._catalogue = catalogue
        self._trees: WeighedCache[SnapshotId, SnapshotTrees] = WeighedCache(KEPT_BYTES, _weight)
        self._lock = threading.Lock()

    def advertise(self, repo: RepoId) -> bytes:
        """Answer `info/refs`; raises `HubRefusedError` for an unknown repository."""
        self._catalogue.refs(repo)
        return advertisement("allow")

    def upload_pack(self, repo: RepoId, request: bytes, gone: Callable[[], bool]) -> Iterator[bytes]:
        """Answer `git-upload-pack`; raises `HubRefusedError`, `P2pqwenError`."""

        def objects(snapshot: ServedSnapshot) -> SnapshotObjects:
            return SnapshotObjects(self._trees_of(snapshot), lambda row: _open(snapshot, row, gone))

        snapshots = self._catalogue.known(repo)
        found = each(snapshots, objects, failed=lambda *_: None)
        if snapshots and not found:
            objects(snapshots[0])  # raises the reason
        repository = SnapshotRepository(self._catalogue.refs(repo).branches, found)
        try:
            return upload_pack(repository, request, "allow")
        except ValueError as error:
            raise HubRefusedError(HubProblem(400, None, "not a request that git makes")) from error

    def refusal(self, message: str) -> bytes:
        """Return an answer that makes git fail with this message."""
        return error_line(message)

    def lfs(self, repo: RepoId, oids: Iterable[str]) -> Mapping[str, LfsFile]:
        """Find LFS files of the known commits by their SHA-256; raises `HubRefusedError`."""
        wanted = set(oids)
        return {
            file.sha256: LfsFile(str(snapshot.info.commit), file.path, file.size)
            for snapshot in reversed(self._catalogue.known(repo))
            for file in snapshot.info.files.values()
            if file.sha256 in wanted
        }

    def _trees_of(self, snapshot: ServedSnapshot) -> SnapshotTrees:
        manifest = snapshot.info.admission.manifest
        with self._lock:  # built once for all: very many files take seconds
            known = self._trees.get(manifest.snapshot)
            if known is None or known.manifest is not manifest:
                known = SnapshotTrees(manifest)
                self._trees.put(manifest.snapshot, known)
            return known


def _weight(trees: SnapshotTrees) -> int:
    return FILE_BYTES * (1 + len(trees.rows))


def _open(snapshot: ServedSnapshot, row: FileRow, gone: Callable[[], bool]) -> _ReadContent:
    return _ReadContent(snapshot.open(row.path.text, range(row.size)), row, gone)


@dataclass(frozen=True, slots=True)
class _ReadContent:
    """A file, read as its verified bytes arrive, until the client is `gone`."""

    reading: Reading
    row: FileRow
    gone: Callable[[], bool]

    def pieces(self) -> Iterator[bytes]:
        at = end = 0
        while at < self.row.size:
            if at >= end:
                end = min(self._ready(at), self.row.size)
            with disk_errors(f"read {self.row.path}"):
                data = read_at(self.reading.descriptor, min(_AT_ONCE, end - at), at)
            if not data:
                raise VerificationError(f"{self.row.path} ended early", expected=self.row.size, got=at)
            yield data
            at += len(data)

    def close(self) -> None:
        self.reading.close()

    def _ready(self, at: int) -> int:
        found = self.reading.ready(at)
        if not isinstance(found, Future):
            return found
        while not self.gone():
            try:
                return found.result(_LOOK_SECONDS)
            except TimeoutError:
                if found.done():  # its own error
                    raise
        found.cancel()
        raise NetworkError("the client disconnected")
