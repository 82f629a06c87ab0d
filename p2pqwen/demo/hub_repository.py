"""A model repository as on the Hub, built from a folder: git commits whose large files are LFS pointers.

Authors and dates are fixed, so the same folder always gives the same commit id. The folder's own `.gitattributes`
(gitattributes(5)) says which files are in LFS; files above 10 MiB always are, as the Hub requires.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from dulwich.attrs import GitAttributes
from dulwich.index import commit_tree
from dulwich.object_store import MemoryObjectStore
from dulwich.objects import Blob, Commit, ObjectID

from p2pqwen.demo.xet_layout import Xorb
from p2pqwen.errors import NotFoundError
from p2pqwen.hub_api.listing import Access, Refs, etag
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId

MAX_GIT_FILE = 10 * 1024 * 1024
FIRST_COMMIT_TIME = 1_700_000_000
SECONDS_BETWEEN_COMMITS = 3600
_AUTHOR = b"A Publisher <publisher@example.org>"
_SHORTEST_PREFIX = 7
_READ_SIZE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a commit. `blob_id` is the git blob id of the content, or of its LFS pointer."""

    path: str
    size: int
    blob_id: str
    sha256: str | None
    pointer: bytes
    source: Path | bytes | Xorb
    mode: int

    @property
    def etag(self) -> str:
        """The file's ETag on the Hub and blob name in the cache: SHA-256 for LFS, else the git blob id."""
        return etag(self)

    @property
    def pointer_size(self) -> int:
        """The size of its LFS pointer, 0 if it has none."""
        return len(self.pointer)


@dataclass(frozen=True, slots=True)
class StoredCommit:
    """A repository at one commit, for the Hub's answers."""

    repo: RepoId
    commit: CommitId
    time: datetime
    access: Access
    files: Mapping[str, StoredFile]
    license: str | None = None


class HubRepository:
    """Commits, branches and tags of one repository, and its access settings."""

    def __init__(self, repo: RepoId) -> None:
        self.repo = repo
        self.private = False
        self.gated: str | bool = False
        self.disabled = False
        self.objects = MemoryObjectStore()
        self.branches: dict[str, CommitId] = {}
        self.tags: dict[str, CommitId] = {}
        self.commits: dict[CommitId, dict[str, StoredFile]] = {}

    def commit(
        self,
        folder: Path,
        *,
        branch: str = "main",
        message: str = "Upload model",
        executable: tuple[str, ...] = (),
        links: bool = False,
        pointers: Mapping[str, bytes] = MappingProxyType({}),
    ) -> CommitId:
        """Commit every file of a folder to a branch and return the commit's id.

        LFS content is served from the folder itself, so those files must not change. `links`: commit symlinks as
        symlinks, as git does, instead of following them. `pointers`: LFS pointers in a non-canonical form.
        """
        attributes = _attributes(folder)
        found = (path for path in folder.rglob("*") if path.is_file() or (links and path.is_symlink()))
        files = {
            name: self._store_link(path, name)
            if links and path.is_symlink()
            else self._store(path, name, attributes, 0o100755 if name in executable else 0o100644, pointers.get(name))
            for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in found)
        }
        commit = self._write_commit(files, self.branches.get(branch), message)
        self.commits[commit] = files
        self.branches[branch] = commit
        return commit

    def resolve(self, revision: str) -> CommitId:
        """Find a branch, tag, full or shortened commit id; raises `NotFoundError`."""
        for names in (self.branches, self.tags):
            if revision in names:
                return names[revision]
        matches = [commit for commit in self.commits if str(commit).startswith(revision)]
        if len(revision) < _SHORTEST_PREFIX or len(matches) != 1:
            raise NotFoundError(f"no revision {revision!r} in {self.repo}")
        return matches[0]

    def at(self, commit: CommitId) -> StoredCommit:
        """Return the repository at one of its commits."""
        seconds = FIRST_COMMIT_TIME + list(self.commits).index(commit) * SECONDS_BETWEEN_COMMITS
        access = Access(self.private, self.gated, self.disabled)
        return StoredCommit(self.repo, commit, datetime.fromtimestamp(seconds, UTC), access, self.commits[commit])

    @property
    def refs(self) -> Refs:
        """Its branches and tags."""
        return Refs(self.branches, self.tags)

    def lfs_file(self, sha256: str) -> StoredFile | None:
        """Find an LFS file of any commit by its content."""
        return next((file for files in self.commits.values() for file in files.values() if file.sha256 == sha256), None)

    def _store_link(self, path: Path, name: str) -> StoredFile:
        content = os.fsencode(path.readlink())
        blob = Blob.from_string(content)
        self.objects.add_object(blob)
        return StoredFile(name, len(content), blob.id.decode(), None, b"", content, 0o120000)

    def _store(self, path: Path, name: str, attributes: GitAttributes, mode: int, odd: bytes | None) -> StoredFile:
        size = path.stat().st_size
        tracked = attributes.match_path(name.encode()).get(b"filter") == b"lfs"
        lfs = size > MAX_GIT_FILE or (tracked and size > 0)  # git-lfs: the pointer of an empty file is an empty file
        sha256 = _sha256_of(path) if lfs else None
        # The one canonical encoding of the git-lfs pointer specification, version 1.
        pointer = (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode() if lfs else b""
        )
        pointer = odd or pointer
        content = pointer if lfs else path.read_bytes()
        blob = Blob.from_string(content)
        self.objects.add_object(blob)
        return StoredFile(name, size, blob.id.decode(), sha256, pointer, path if lfs else content, mode)

    def _write_commit(self, files: dict[str, StoredFile], parent: CommitId | None, message: str) -> CommitId:
        rows = [(file.path.encode(), ObjectID(file.blob_id.encode()), file.mode) for file in files.values()]
        commit = Commit()
        commit.tree = commit_tree(self.objects, rows)
        commit.parents = [ObjectID(str(parent).encode())] if parent else []
        commit.author = commit.committer = _AUTHOR
        commit.author_time = commit.commit_time = FIRST_COMMIT_TIME + len(self.commits) * SECONDS_BETWEEN_COMMITS
        commit.author_timezone = commit.commit_timezone = 0
        commit.encoding = b"UTF-8"
        commit.message = message.encode() + b"\n"
        self.objects.add_object(commit)
        return CommitId.parse(commit.id.decode())


def _attributes(folder: Path) -> GitAttributes:
    path = folder / ".gitattributes"
    return GitAttributes.from_file(str(path)) if path.is_file() else GitAttributes()


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ_SIZE):
            digest.update(chunk)
    return digest.hexdigest()
