"""What the Hub endpoint serves, as its HTTP side sees it: names that lead to commits, and files to open for reading.

Methods are called on threads, and may raise `P2pqwenError`; `HubRefusedError` has the Hub's own words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from p2pqwen.errors import DiskError, NetworkError, NotFoundError, P2pqwenError
from p2pqwen.hub_api.listing import Commit, NamedCommit, Refs
from p2pqwen.hub_api.problem import HubProblem, entry_not_found
from p2pqwen.values.snapshot_id import RepoId, RepoKind

_STATUS: tuple[tuple[type[P2pqwenError], int], ...] = ((DiskError, 507), (NetworkError, 504))


class HubRefusedError(NotFoundError):
    """What was requested does not exist; the message is the Hub's."""

    def __init__(self, problem: HubProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class HubMovedError(NotFoundError):
    """A repository was requested by its name in another letter case; `own` is its real name."""

    def __init__(self, asked: RepoId, own: RepoId) -> None:
        super().__init__(f"{asked} is called {own}")
        self.own = own


class Reading(Protocol):
    """A file being read. Bytes before the offset from `ready` are verified, and can be read from `descriptor`."""

    @property
    def descriptor(self) -> int:
        """The open file, once `ready` has answered."""

    def ready(self, at: int) -> int | Future[int]:
        """Return the offset, greater than `at`, up to which bytes from `at` on are verified, or a future of it.

        The future may raise `P2pqwenError`.
        """

    def close(self) -> None:
        """Stop reading; called once, also after a failure."""


class HubSnapshot(Protocol):
    """A commit whose files may be served."""

    @property
    def info(self) -> Commit:
        """What is listed of the commit."""

    def open(self, path: str, wanted: range) -> Reading:
        """Open a listed file to read these offsets; raises `P2pqwenError`."""


@dataclass(frozen=True, slots=True)
class LfsFile:
    """Where an LFS object is: in a file of a commit, of `size` bytes."""

    commit: str
    path: str
    size: int


class GitSide(Protocol):
    """Answers for git and Git LFS; called on threads, and may raise `P2pqwenError`."""

    def advertise(self, repo: RepoId) -> bytes:
        """Answer `info/refs?service=git-upload-pack`; raises `HubRefusedError`."""

    def upload_pack(self, repo: RepoId, request: bytes) -> bytes:
        """Answer `git-upload-pack`; raises `HubRefusedError`."""

    def lfs(self, repo: RepoId, oids: Iterable[str]) -> Mapping[str, LfsFile]:
        """Find LFS files by the SHA-256 of their content; raises `HubRefusedError`."""


class Catalogue(Protocol):
    """Finds commits by name; a call takes no longer if more is listed."""

    def snapshot(self, repo: RepoId, revision: str) -> HubSnapshot:
        """Return the snapshot of a revision; raises `HubRefusedError`, `HubMovedError`, `P2pqwenError`."""

    def refs(self, repo: RepoId) -> Refs:
        """Return the branches and tags of a repository; raises `HubRefusedError`, `HubMovedError`."""

    def listed(self, kind: RepoKind, *, search: str, author: str, after: str) -> Iterator[NamedCommit]:
        """Yield repositories whose names contain the words of `search`, of `author` ("": any), with one commit of each.

        They are ordered by name, and start after the name `after`.
        """


def problem_of(error: P2pqwenError) -> HubProblem:
    """Return an error in the form in which the Hub would send it."""
    if isinstance(error, HubRefusedError):
        return error.problem
    if isinstance(error, NotFoundError):
        return entry_not_found(error.message)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    hint = f" ({error.hint})" if error.hint else ""
    return HubProblem(status, None, f"{error.message}{hint}")
