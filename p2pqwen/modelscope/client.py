"""ModelScope at one address, an `Origin` (operations/preserve/origin.py).

Source: the requests of ModelScope's own client (modelscope 1.40.2). Listings have SHA-256 but no git ids. So the
commit's tree is read over git, if the repository is readable that way: then the listing is checked against the commit,
and a snapshot can be proven.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from io import FileIO
from pathlib import Path
from typing import Any, Protocol, TypeVar

from p2pqwen.errors import (
    ClosedError,
    DiskError,
    FormatError,
    NetworkError,
    NotFoundError,
    NotShownError,
    VerificationError,
)
from p2pqwen.modelscope.rows import Page, Row, listed_files, read_page
from p2pqwen.modelscope.site import MAIN, ModelScopeSite
from p2pqwen.modelscope.web import ATTEMPTS, BusyError, ModelScopeWeb
from p2pqwen.scratch import require_room, scratch_beside, scratch_of
from p2pqwen.values.digest import CommitId, GitOid
from p2pqwen.values.listing import ListedFile, ListedRepo, Listing
from p2pqwen.values.named_hosts import NamedHosts
from p2pqwen.values.repo_path import MAX_FILES, RepoPath
from p2pqwen.values.snapshot_id import OriginName, Owner, RepoId, RepoKind, SnapshotId
from p2pqwen.values.snapshot_place import api_path

LISTING_LIMIT = 3000
"""Rows after which a listing of a model is silently cut; a longer one is read folder by folder."""
PAGE = 100
MAX_REPOS = 3000  # ModelScope's limit on `page_number * page_size`
MAX_LISTINGS = 2000
MAX_CONNECTIONS = 100
"""The most connections for one file: each may break and be resumed, but not forever."""
_DATASET_PAGE = 200

Answer = TypeVar("Answer")


class GitReader(Protocol):
    """Reads one commit of a git repository at a URL; raises `NotFoundError`, `NetworkError`, `VerificationError`."""

    def commit_object(self, source: str, commit: CommitId, token: str | None = None, *, named: NamedHosts) -> bytes:
        """Return the raw commit object."""

    def tip(self, url: str, name: str, *, named: NamedHosts) -> CommitId:
        """Return the commit that a branch or tag names."""

    def tree_rows(
        self, source: str, commit: CommitId, token: str | None = None, *, named: NamedHosts
    ) -> list[tuple[RepoPath, str, GitOid]]:
        """Return every file of its tree: (path, mode, id)."""

    def small_blobs(
        self,
        oids: Collection[GitOid],
        source: str,
        commit: CommitId,
        token: str | None = None,
        *,
        named: NamedHosts,
    ) -> dict[GitOid, bytes]:
        """Return the blobs with these ids that are small enough for an LFS pointer."""


class ModelScopeClient:
    """ModelScope at one endpoint. Methods may be called from several threads at once, and raise as `Origin` says."""

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        git: GitReader,
        *,
        named: NamedHosts,
        took: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`took` gets the number of bytes of every download as they arrive; it may block, or raise to end the download.

        `named` are the hosts that the user named; an endpoint that is not among them must be public.
        """
        self.site = ModelScopeSite(endpoint.rstrip("/"), token)
        self._web = ModelScopeWeb(endpoint, token, named)
        self._git, self._named, self._took = git, named, took

    @contextmanager
    def telling_waits(self, listener: Callable[[float], None]) -> Iterator[None]:
        """Within the block, pass `listener` the seconds of every long wait that ModelScope's limits impose."""
        before, self._web.waits = self._web.waits, listener
        try:
            yield
        finally:
            self._web.waits = before

    def resolve(self, repo: RepoId, revision: str | None = None, *, renamed: bool = False) -> Listing:
        """Find the commit of a branch, tag or commit id (None: the main branch) and list its files."""
        _require_own(repo.kind)
        info = self._info(repo)
        own = _own_name(info, repo)
        if own != repo and not renamed:
            raise VerificationError(f"ModelScope answered for another repository than {repo}", expected=repo, got=own)
        page = self._list(own, revision or MAIN)
        snapshot = SnapshotId(own, self._commit_of(page, own, revision))
        files = listed_files(page.rows, self._tree(snapshot), str(snapshot))
        if not files:
            raise FormatError(f"ModelScope lists no files of {snapshot}")
        return Listing(snapshot, info.get("gated") is True, info.get("private") is True, files)

    def repos(self, owner: Owner) -> tuple[ListedRepo, ...]:
        """List the repositories of an organisation or user, sorted by name; empty for an unknown owner.

        Names that would be invalid on the Hub are left out: `RepoId` cannot hold them.
        """
        _require_own(owner.kind)
        plural = f"{owner.kind.holds}s"
        found: dict[RepoId, ListedRepo] = {}
        for number in range(1, MAX_REPOS // PAGE + 1):
            query = {"owner": owner.name, "page_number": str(number), "page_size": str(PAGE)}
            answer = self._web.json(f"/openapi/v1/{plural}", query, f"the {plural} of {owner}")
            rows = _rows_of(answer, plural)
            for row in rows:
                if (one := _listed_repo(row, owner)) is not None:
                    found[one.repo] = one
            if len(rows) < PAGE:
                break
        return tuple(found[repo] for repo in sorted(found))

    def serves(self, snapshot: SnapshotId) -> bool:
        """Tell whether ModelScope still shows this commit publicly; raises `NetworkError` without a clear answer."""
        _require_own(snapshot.repo.kind)
        try:
            info = self._info(snapshot.repo)
            self._page(snapshot.repo, str(snapshot.commit), recursive=False)
        except (NotShownError, ClosedError):
            return False
        except NotFoundError as error:
            where = self.site.endpoint
            raise NetworkError(f"{where} does not answer as ModelScope does for {snapshot}", got=error.got) from error
        return info.get("private") is not True

    def download(
        self,
        listing: Listing,
        file: ListedFile,
        folder: Path,
        on_bytes: Callable[[int], None] = lambda _: None,
        on_notice: Callable[[str], None] = lambda _: None,  # noqa: ARG002 - there is only one way, without notices
    ) -> Path:
        """Download one file to `folder/path`, unless a file of its size is there, and return that path.

        `on_bytes` gets the number of bytes as they arrive, negative if a download starts over. Raises `DiskError` too.
        The content is not hashed here.
        """
        target = folder / file.path.text
        if target.is_file() and target.stat().st_size == file.size:
            return target
        scratch = scratch_of(folder, file, OriginName.MODELSCOPE)
        with _disk_errors(f"{file.path} of {listing.snapshot.repo}"):
            shutil.rmtree(scratch, ignore_errors=True)  # left by a run that was killed
            scratch.mkdir(parents=True)
            require_room(scratch, file)
            with FileIO(scratch / "part", "wb") as part:  # unbuffered: it is read while it grows
                self._fetch(listing.snapshot, file, part, on_bytes)
            target.parent.mkdir(parents=True, exist_ok=True)
            (scratch / "part").replace(target)
            shutil.rmtree(scratch)
        return target

    @staticmethod
    def other_way(folder: Path, file: ListedFile) -> bool:  # noqa: ARG004
        """Return False: there is no other way to download a file."""
        return False

    @staticmethod
    def partial(folder: Path, file: ListedFile) -> Path | None:
        """Return the file that a download into `folder` is writing now, if any; it may vanish at any time."""
        path = scratch_of(folder, file, OriginName.MODELSCOPE) / "part"
        return path if path.exists() else None

    @staticmethod
    def clean_staging(folder: Path) -> None:
        """Remove what downloads into this folder left beside it."""
        shutil.rmtree(scratch_beside(folder), ignore_errors=True)

    def commit_object(self, snapshot: SnapshotId) -> bytes:
        """Fetch the raw commit object over git and check that it hashes to the commit."""
        return self._git.commit_object(self.site.git(snapshot.repo), snapshot.commit, named=self._named)

    def tree_rows(self, snapshot: SnapshotId) -> Sequence[tuple[RepoPath, str, GitOid]]:
        """Fetch the commit's tree over git: (path, mode, id)."""
        return self._git.tree_rows(self.site.git(snapshot.repo), snapshot.commit, named=self._named)

    def small_blobs(self, snapshot: SnapshotId, oids: Collection[GitOid]) -> Mapping[GitOid, bytes]:
        """Fetch small blobs of a commit over git, such as LFS pointers; missing ones are left out."""
        return self._git.small_blobs(oids, self.site.git(snapshot.repo), snapshot.commit, named=self._named)

    def _commit_of(self, page: Page, repo: RepoId, revision: str | None) -> CommitId:
        """Return the commit of a listing: the one asked for, or else the listing's, or else git's."""
        if (asked := _whole(revision)) is not None:
            if page.commit and not str(asked).startswith(page.commit):
                raise VerificationError(
                    f"ModelScope answered another commit of {repo}", expected=asked, got=page.commit
                )
            return asked
        if (commit := page.of_commit()) is not None:
            return commit
        try:
            tip = self._git.tip(self.site.git(repo), revision or MAIN, named=self._named)
        except (NotFoundError, NetworkError) as error:
            hint = f"name it: {repo}@<40 hex digits>"
            what = f"ModelScope does not tell which commit {repo}@{revision or MAIN} is"
            raise FormatError(what, got=error.message, hint=hint) from error
        if not str(tip).startswith(page.commit):
            raise VerificationError(f"ModelScope lists another commit of {repo}", expected=tip, got=page.commit)
        return tip

    def _tree(self, snapshot: SnapshotId) -> dict[RepoPath, GitOid] | None:
        """Return the commit's files as git has them, None if they cannot be read over git."""
        try:
            return {path: oid for path, _, oid in self.tree_rows(snapshot)}
        except (NotFoundError, NetworkError):
            return None

    def _info(self, repo: RepoId) -> dict[str, Any]:
        """Return ModelScope's facts about a repository, empty if this part of its API does not know it."""
        try:
            answer = self._web.json(f"/openapi/v1/{api_path(repo)}", {}, str(repo))
        except NotFoundError:
            return {}  # the listing decides
        data = answer.get("data", answer.get("Data")) if isinstance(answer, dict) else None
        return data if isinstance(data, dict) else {}

    def _list(self, repo: RepoId, revision: str) -> Page:
        if repo.kind.holds is RepoKind.DATASET:
            return self._list_by_pages(repo, revision)
        first = self._page(repo, revision, recursive=True)
        if len(first.rows) < LISTING_LIMIT:
            return first
        return Page(tuple(self._walk(repo, revision)), first.commit)

    def _walk(self, repo: RepoId, revision: str) -> list[Row]:
        """List a large repository folder by folder; raises `FormatError` if a folder is too large for one answer."""
        found: list[Row] = []
        waiting, asked = deque([""]), 0
        while waiting:
            folder = waiting.popleft()
            rows = self._page(repo, revision, recursive=False, root=folder).rows
            asked += 1
            if len(rows) >= LISTING_LIMIT or asked > MAX_LISTINGS or len(found) + len(rows) > MAX_FILES:
                expected = f"fewer than {LISTING_LIMIT} in a folder, at most {MAX_FILES} files"
                raise FormatError(f"{repo} has too many files for ModelScope's listing", expected=expected)
            found += [row for row in rows if not row.folder]
            waiting += [row.path.text for row in rows if row.folder and row.path.text.startswith(_below(folder))]
        return found

    def _list_by_pages(self, repo: RepoId, revision: str) -> Page:
        rows: list[Row] = []
        commit = ""
        for number in range(1, MAX_FILES // _DATASET_PAGE + 2):
            paged = {"PageNumber": str(number), "PageSize": str(_DATASET_PAGE)}
            page = self._page(repo, revision, recursive=True, more=paged)
            commit = commit or page.commit
            rows += page.rows
            if len(page.rows) < _DATASET_PAGE:
                return Page(tuple(rows), commit)
        raise FormatError(f"{repo} has too many files", expected=f"at most {MAX_FILES}")

    def _page(
        self,
        repo: RepoId,
        revision: str,
        *,
        recursive: bool,
        root: str = "",
        more: Mapping[str, str] | None = None,
    ) -> Page:
        query = {"Revision": revision, "Recursive": str(recursive), **(more or {})}
        if root:
            query["Root"] = root
        what = str(repo) if revision == MAIN else f"{repo}@{revision}"  # the user did not name this branch
        call = "repo/tree" if repo.kind.holds is RepoKind.DATASET else "repo/files"
        return read_page(self._web.json(self.site.api(repo, call), query, what), what)

    def _fetch(self, snapshot: SnapshotId, file: ListedFile, part: FileIO, on_bytes: Callable[[int], None]) -> None:
        """Fetch a file; if that fails, take back the bytes counted."""
        try:
            self._persist(snapshot, file, part, on_bytes)
        except BaseException:
            if came := part.tell():
                on_bytes(-came)
            raise

    def _persist(self, snapshot: SnapshotId, file: ListedFile, part: FileIO, on_bytes: Callable[[int], None]) -> None:
        """Resume where a connection broke; raise after `ATTEMPTS` connections in a row without a byte."""
        fruitless = 0
        for _ in range(MAX_CONNECTIONS):
            before = part.tell()
            try:
                self._more(snapshot, file, part, on_bytes)
            except NetworkError as error:
                fruitless = 0 if part.tell() > before else fruitless + 1
                if fruitless >= ATTEMPTS:
                    raise
                self._web.pause(error if isinstance(error, BusyError) else _broken(error), fruitless + 1)
            else:
                return
        raise NetworkError(f"the download of {file.path} breaks again and again")

    def _more(self, snapshot: SnapshotId, file: ListedFile, part: FileIO, on_bytes: Callable[[int], None]) -> None:
        have = part.tell()
        query = {"Revision": str(snapshot.commit), "FilePath": file.path.text}
        what = f"{file.path} of {snapshot.repo}"
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._web.answer(self.site.api(snapshot.repo, "repo"), query, what, headers) as answer:
            begins = answer.headers.get("content-range", "").startswith(f"bytes {have}-")
            if have and not (answer.status_code == HTTPStatus.PARTIAL_CONTENT and begins):
                part.seek(0)
                part.truncate()
                on_bytes(-have)
            for data in answer.iter_raw():  # unbuffered, so that an interrupted download resumes after the last byte
                if part.tell() + len(data) > file.size:
                    got = f"more than {file.size}"
                    raise VerificationError(f"{what} has the wrong size", expected=file.size, got=got)
                part.write(data)
                on_bytes(len(data))
                self._took(len(data))
        if part.tell() < file.size:
            raise NetworkError(f"{what} ended early", expected=f"{file.size} bytes", got=part.tell())


def _require_own(kind: RepoKind) -> None:
    if kind.origin is not OriginName.MODELSCOPE:
        raise ValueError(f"{kind} does not lie on ModelScope")


def _own_name(info: Mapping[str, Any], repo: RepoId) -> RepoId:
    """Return ModelScope's own spelling of a repository's name: it also answers for another case."""
    name = info.get("id")
    if not isinstance(name, str) or name.lower() != repo.text.lower():
        return repo
    return RepoId(name, repo.kind)


def _whole(revision: str | None) -> CommitId | None:
    """Return a revision that is a whole commit id, None for any other."""
    try:
        return CommitId.parse(revision or "")
    except FormatError:
        return None


def _rows_of(answer: object, plural: str) -> list[Any]:
    data = answer.get("data", answer.get("Data")) if isinstance(answer, dict) else None
    rows = data.get(plural, data.get("items", [])) if isinstance(data, dict) else None
    if not isinstance(rows, list) or len(rows) > MAX_REPOS:
        raise FormatError("ModelScope's list of repositories", expected=f"data.{plural}, a list")
    return rows


def _listed_repo(row: object, owner: Owner) -> ListedRepo | None:
    name = row.get("id") if isinstance(row, dict) else None
    try:
        repo = RepoId(str(name), owner.kind)
    except FormatError:
        return None
    if not isinstance(row, dict) or repo.owner != owner:
        return None
    # ModelScope has its own names of licenses; the license is read from README.md.
    return ListedRepo(repo, row.get("gated") is True, row.get("private") is True, None)


def _below(folder: str) -> str:
    return f"{folder}/" if folder else ""


def _broken(error: NetworkError) -> BusyError:
    return BusyError(error.what, got=error.got, wait=None)


@contextmanager
def _disk_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(f"cannot store {what}", got=error.strerror or str(error)) from error
