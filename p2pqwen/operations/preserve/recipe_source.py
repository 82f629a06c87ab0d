"""Where a magnet's snapshot may still be: the repository and commit that its name (`dn`) or web seeds (`ws`) give.

A torrent's recipe depends on the snapshot alone, so any host that still serves that commit, the Hub or a mirror of it,
is a source of the whole torrent, even when no peer is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from p2pqwen.errors import FormatError
from p2pqwen.torrent.magnet import Magnet
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

MAX_SOURCES = 3
# BEP 19 bases of the Hub and of mirrors that answer as it does.
_BASE = re.compile(
    r"(?P<endpoint>https?://[^/]+)/(?:api/resolve-cache/(?:models/|(?=datasets/)))?"
    r"(?P<repo>(?:datasets/)?[^/]+/[^/]+)"
    r"/(?:resolve/)?(?:(?P<commit>[0-9a-f]{40})/?)?",
    re.ASCII,
)
_RESOLVE = re.compile(r"/(?:resolve|api/resolve-cache/(?:models|datasets))/", re.ASCII)


@dataclass(frozen=True, slots=True)
class RecipeSource:
    """A host with the Hub's API, and the snapshot to ask it for."""

    endpoint: str
    snapshot: SnapshotId


@dataclass(frozen=True, slots=True)
class _Base:
    endpoint: str
    repo: RepoId
    commit: CommitId | None


def recipe_sources(magnet: Magnet, repo: RepoId | None, endpoint: str) -> tuple[RecipeSource, ...]:
    """Return the hosts to ask, the configured `endpoint` first; empty if nothing names a repository and a commit.

    The caller leaves out hosts whose names mean something only on this machine or network.
    """
    bases = list(_bases(magnet.web_seeds))
    named_repo, commit = _named(magnet.name)
    commit = commit or next((base.commit for base in bases if base.commit is not None), None)
    owner = repo or named_repo or next((base.repo for base in bases), None)
    if owner is None or commit is None:
        return ()
    endpoints = dict.fromkeys((endpoint.rstrip("/"), *(base.endpoint for base in bases if base.repo == owner)))
    return tuple(RecipeSource(one, SnapshotId(owner, commit)) for one in endpoints)[:MAX_SOURCES]


def repo_of(magnet: Magnet) -> RepoId | None:
    """Return the repository of a magnet's snapshot, by its name or else its web seeds."""
    named, _ = _named(magnet.name)
    return named or next((base.repo for base in _bases(magnet.web_seeds)), None)


def _named(name: str | None) -> tuple[RepoId | None, CommitId | None]:
    """Parse `dn`: `<repo>@<commit>` in our magnets, the torrent's name (the commit) in those of other clients."""
    repo, _, commit = (name or "").rpartition("@")
    return _repo(repo or (name or "")), _commit(commit)


def _bases(urls: Iterable[str]) -> Iterator[_Base]:
    for url in urls:
        found = _BASE.fullmatch(url) if _RESOLVE.search(url) else None
        if found is not None and (repo := _repo(found["repo"])) is not None:
            yield _Base(found["endpoint"], repo, _commit(found["commit"] or ""))


def _repo(text: str) -> RepoId | None:
    try:
        return RepoId.parse(text)
    except FormatError:
        return None


def _commit(text: str) -> CommitId | None:
    try:
        return CommitId.parse(text)
    except FormatError:
        return None
