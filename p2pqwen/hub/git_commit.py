"""One commit of a git repository: the commit object, its tree's rows with file modes, and small blobs.

The source is a URL or a folder (a clone or a bare repository). HTTP requests name only the commit (`filter=tree:0`,
depth 1; gitprotocol-v2(5)). Servers without partial clone send the shallow tree too, which for a model is LFS pointers
and small files.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from dulwich.errors import NotGitRepository
from dulwich.object_store import BaseObjectStore
from dulwich.objects import Blob, Commit, ObjectID
from dulwich.repo import Repo

from p2pqwen.errors import DiskError, FormatError, NotFoundError, P2pqwenError, UsageError, VerificationError
from p2pqwen.hub.git_transport import Budget, FilterRefusedError, fetch_commit, fetch_tip
from p2pqwen.manifest.git_object import MAX_COMMIT_OBJECT, blob_oid, commit_oid
from p2pqwen.manifest.lfs_pointer import MAX_POINTER_SIZE
from p2pqwen.values.digest import CommitId, GitOid
from p2pqwen.values.named_hosts import NONE_NAMED, NamedHosts
from p2pqwen.values.repo_path import RepoPath

MAX_TREE_ENTRIES = 200_000
_SUBMODULE = 0o160000
_NO_TREES = b"tree:0"
_NO_BLOBS = b"blob:none"
_SMALL_BLOBS = b"blob:limit=%d" % (MAX_POINTER_SIZE + 1)  # git leaves out blobs of this size and above

TreeRow = tuple[RepoPath, str, GitOid]
"""Path, mode (`100644`) and id of one file of a commit."""

Answer = TypeVar("Answer")


def commit_object(source: str, commit: CommitId, token: str | None = None, *, named: NamedHosts = NONE_NAMED) -> bytes:
    """Return the raw commit object, without git's header, from a URL or a folder.

    A URL's host must be public or one that the user `named`.

    Raises `NotFoundError`, `NetworkError`, and `VerificationError` if it does not hash to the commit.
    """
    return _ask(source, token, named, _NO_TREES, commit, lambda store: _raw_commit(store, commit))


def tree_rows(
    source: str, commit: CommitId, token: str | None = None, *, named: NamedHosts = NONE_NAMED
) -> list[TreeRow]:
    """Return every file of the commit's tree; raises as `commit_object` does, and `FormatError` for unsafe paths."""
    return _ask(source, token, named, _NO_BLOBS, commit, lambda store: _rows(store, commit))


def tip(url: str, name: str, *, named: NamedHosts = NONE_NAMED) -> CommitId:
    """Return the commit that a branch or tag of the repository at a URL names; raises as `commit_object` does."""
    return fetch_tip(url, name, named=named, budget=Budget())


def small_blobs(
    oids: Collection[GitOid], source: str, commit: CommitId, token: str | None = None, *, named: NamedHosts = NONE_NAMED
) -> dict[GitOid, bytes]:
    """Return the blobs with these ids that are small enough for an LFS pointer; raises as `commit_object` does.

    Each is checked against its id. A blob that the source does not have is left out.
    """
    if not oids:
        return {}
    return _ask(source, token, named, _SMALL_BLOBS, commit, lambda store: dict(_small(store, oids)))


def _small(store: BaseObjectStore, oids: Iterable[GitOid]) -> Iterator[tuple[GitOid, bytes]]:
    for oid in oids:
        try:
            item = store[ObjectID(str(oid).encode())]
        except KeyError:
            continue
        data = item.as_raw_string()
        if isinstance(item, Blob) and len(data) <= MAX_POINTER_SIZE and blob_oid(data) == oid:
            yield oid, data


def _ask(
    source: str,
    token: str | None,
    named: NamedHosts,
    object_filter: bytes,
    commit: CommitId,
    read: Callable[[BaseObjectStore], Answer],
) -> Answer:
    if not source.startswith(("http://", "https://")):
        with _local(source) as store:
            return read(store)
    budget = Budget()

    def fetched(wanted: bytes | None) -> BaseObjectStore:
        return fetch_commit(source, commit, object_filter=wanted, token=token, named=named, budget=budget)

    try:
        return read(fetched(object_filter))
    except FilterRefusedError:
        return read(fetched(None))


@contextmanager
def _local(source: str) -> Iterator[BaseObjectStore]:
    if "://" in source:
        raise UsageError("not a git source", expected="a folder or a URL with http or https", got=source)
    if not Path(source).is_dir():
        raise NotFoundError(f"no folder {source}")
    try:
        with Repo(source) as repo:
            yield repo.object_store
    except P2pqwenError:
        raise
    except NotGitRepository as error:
        raise NotFoundError(f"{source} is not a git repository") from error
    except OSError as error:
        raise DiskError(f"cannot read the git repository {source}", got=error.strerror) from error
    except Exception as error:  # dulwich raises many kinds of error for a damaged repository
        raise FormatError(f"cannot read the git repository {source}", got=str(error)) from error


def _raw_commit(store: BaseObjectStore, commit: CommitId) -> bytes:
    try:
        item = store[ObjectID(str(commit).encode())]
    except KeyError as error:
        raise NotFoundError(f"the git repository does not have commit {commit}") from error
    if not isinstance(item, Commit):
        raise VerificationError(f"{commit} is not a commit", expected="commit", got=item.type_name.decode())
    raw = item.as_raw_string()
    if len(raw) > MAX_COMMIT_OBJECT:
        raise FormatError("git commit object is too large", expected=f"at most {MAX_COMMIT_OBJECT}", got=len(raw))
    if (actual := commit_oid(raw)) != commit:
        raise VerificationError("the git repository has another object for the commit", expected=commit, got=actual)
    return raw


def _rows(store: BaseObjectStore, commit: CommitId) -> list[TreeRow]:
    root = Commit.from_string(_raw_commit(store, commit)).tree
    rows: list[TreeRow] = []
    try:
        for seen, entry in enumerate(store.iter_tree_contents(root, include_trees=True)):
            # Folders count too: a few trees that name one another many times expand without bound.
            if seen > MAX_TREE_ENTRIES:
                raise FormatError("git tree is too large", expected=f"at most {MAX_TREE_ENTRIES} entries")
            if entry.mode == _SUBMODULE:
                raise FormatError(f"commit {commit} holds a submodule, {entry.path!r}: that is not part of a snapshot")
            if not stat.S_ISDIR(entry.mode):
                rows.append((_path(entry.path), f"{entry.mode:o}", GitOid.parse(entry.sha.decode())))
    except KeyError as error:
        raise NotFoundError(f"the git repository lacks a tree of commit {commit}", got=str(error)) from error
    return sorted(rows)


def _path(raw: bytes) -> RepoPath:
    try:
        return RepoPath(raw.decode())
    except UnicodeDecodeError as error:
        raise FormatError("git path is not UTF-8", got=repr(raw[:120])) from error
