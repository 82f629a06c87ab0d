"""An origin in memory: repositories are dictionaries, hashes and git objects are real, and there is no network.

`MemoryOrigin` implements `operations.preserve.origin`. It is no Hub: its URLs have another form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from p2pqwen.errors import NetworkError, NotShownError, VerificationError
from p2pqwen.manifest.git_object import blob_oid, commit_oid, tree_oid
from p2pqwen.manifest.lfs_pointer import pointer_bytes
from p2pqwen.values.digest import GitOid, Sha256
from p2pqwen.values.listing import ListedFile, ListedRepo, Listing
from p2pqwen.values.origin_site import OriginSeeds
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import Owner, RepoId, SnapshotId

if TYPE_CHECKING:
    from p2pqwen.hub.client import HubClient
    from p2pqwen.modelscope.client import ModelScopeClient
    from p2pqwen.operations.preserve.origin import Origin
    from p2pqwen.operations.preserve.origins import Origins

_LFS = (".safetensors", ".bin")
_PART = 64 * 1024


@dataclass(frozen=True, slots=True)
class MemorySite:
    """The address of a memory origin: one base for each repository, and no partial one."""

    endpoint: str = "https://origin.example"
    token: str | None = None

    def web_seeds(self, repo: RepoId | None = None) -> OriginSeeds:
        return OriginSeeds(f"{self.endpoint}/files/{'{repo}' if repo is None else repo.text}/")


@dataclass(frozen=True, slots=True)
class Shown:
    """A snapshot at an origin. `pointers` are the LFS pointers' texts, `serves` the contents of downloads."""

    listing: Listing
    license: str | None
    commit_object: bytes
    rows: tuple[tuple[RepoPath, str, GitOid], ...]
    pointers: Mapping[GitOid, bytes]
    serves: dict[str, bytes]


@dataclass(slots=True)
class MemoryOrigin:
    """An origin whose repositories a test adds, changes and removes; `asked` are its calls, in order.

    `silent` are the methods that do not answer; `moved` maps old names of repositories to current ones.
    """

    site: MemorySite = field(default_factory=MemorySite)
    shown: dict[RepoId, Shown] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)
    moved: dict[RepoId, RepoId] = field(default_factory=dict)

    def add(
        self,
        repo: RepoId,
        files: Mapping[str, bytes],
        *,
        executable: Collection[str] = (),
        pointer_of: Callable[[Sha256, int], bytes] = pointer_bytes,
        gated: bool = False,
        license: str | None = "apache-2.0",  # noqa: A002 - the listing's own word
    ) -> SnapshotId:
        """Add a repository with one commit of these files; `pointer_of` writes the LFS pointers."""
        listed: list[ListedFile] = []
        rows: list[tuple[RepoPath, str, GitOid]] = []
        pointers: dict[GitOid, bytes] = {}
        for name, content in files.items():
            sha256 = Sha256(hashlib.sha256(content).digest()) if name.endswith(_LFS) else None
            held = content if sha256 is None else pointer_of(sha256, len(content))
            if sha256 is not None:
                pointers[blob_oid(held)] = held
            listed.append(ListedFile(RepoPath(name), len(content), blob_oid(held), sha256))
            rows.append((RepoPath(name), "100755" if name in executable else "100644", blob_oid(held)))
        commit = b"tree %s\nauthor A <a@example.org> 0 +0000\ncommitter A <a@example.org> 0 +0000\n\nA model\n"
        commit_object = commit % str(tree_oid(rows)).encode()
        snapshot = SnapshotId(repo, commit_oid(commit_object))
        listing = Listing(snapshot, gated, private=False, files=tuple(sorted(listed, key=lambda one: one.path)))
        self.shown[repo] = Shown(listing, license, commit_object, tuple(rows), pointers, dict(files))
        return snapshot

    @contextmanager
    def telling_waits(self, listener: Callable[[float], None]) -> Iterator[None]:
        listener(0.0)
        yield

    def resolve(self, repo: RepoId, revision: str | None = None, *, renamed: bool = False) -> Listing:
        self._ask("resolve", repo)
        own = self.moved.get(repo, repo)
        if own != repo and not renamed:
            raise VerificationError("answered for another repository", expected=repo, got=own)
        shown = self._find(own)
        if revision is not None and not str(shown.listing.snapshot.commit).startswith(revision):
            raise NotShownError(f"{repo} has no {revision}")
        return shown.listing

    def repos(self, owner: Owner) -> tuple[ListedRepo, ...]:
        self._ask("repos", owner)
        return tuple(
            ListedRepo(repo, one.listing.gated, one.listing.private, one.license)
            for repo, one in sorted(self.shown.items())
            if repo.owner == owner
        )

    def serves(self, snapshot: SnapshotId) -> bool:
        self._ask("serves", snapshot)
        shown = self.shown.get(snapshot.repo)
        return shown is not None and shown.listing.snapshot == snapshot

    def download(
        self,
        listing: Listing,
        file: ListedFile,
        folder: Path,
        on_bytes: Callable[[int], None] = lambda _: None,
        on_notice: Callable[[str], None] = lambda _: None,
    ) -> Path:
        del on_notice
        target = folder / file.path.text
        if target.is_file() and target.stat().st_size == file.size:
            return target
        self._ask("download", file.path)
        content = self._find(listing.snapshot.repo).serves[file.path.text]
        part = self._part(folder, file)
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as arriving:
            for start in range(0, len(content), _PART):
                arriving.write(content[start : start + _PART])
                arriving.flush()
                on_bytes(len(content[start : start + _PART]))
        target.parent.mkdir(parents=True, exist_ok=True)
        return part.replace(target)

    def other_way(self, folder: Path, file: ListedFile) -> bool:
        del folder, file
        return False

    def partial(self, folder: Path, file: ListedFile) -> Path | None:
        part = self._part(folder, file)
        return part if part.exists() else None

    def clean_staging(self, folder: Path) -> None:
        beside = self._beside(folder)
        if beside.exists():
            beside.rmdir()  # fails if a part is left

    def commit_object(self, snapshot: SnapshotId) -> bytes:
        self._ask("commit object", snapshot)
        return self._find(snapshot.repo).commit_object

    def tree_rows(self, snapshot: SnapshotId) -> tuple[tuple[RepoPath, str, GitOid], ...]:
        self._ask("tree rows", snapshot)
        return self._find(snapshot.repo).rows

    def small_blobs(self, snapshot: SnapshotId, oids: Collection[GitOid]) -> dict[GitOid, bytes]:
        self._ask("small blobs", snapshot)
        return {oid: text for oid, text in self._find(snapshot.repo).pointers.items() if oid in oids}

    def _ask(self, what: str, whom: object) -> None:
        self.asked.append(f"{what}: {whom}")
        if what in self.silent:
            raise NetworkError(f"no answer about {whom}")

    def _find(self, repo: RepoId) -> Shown:
        if (shown := self.shown.get(repo)) is None:
            raise NotShownError(f"{self.site.endpoint} shows no {repo}")
        return shown

    @staticmethod
    def _beside(folder: Path) -> Path:
        return folder.with_name(f"{folder.name}.arriving")

    def _part(self, folder: Path, file: ListedFile) -> Path:
        return self._beside(folder) / hashlib.sha256(file.path.text.encode()).hexdigest()


if TYPE_CHECKING:
    # For mypy: they implement the Protocols.
    def _origins(
        hub: HubClient, modelscope: ModelScopeClient, both: Origins, memory: MemoryOrigin
    ) -> tuple[Origin, ...]:
        return hub, modelscope, both, memory
