"""The Hub's API through huggingface_hub: resolve a revision, list a commit's files, download one file.

Downloads keep no half-finished file between runs: huggingface_hub 1.18 and later write to a temporary file and delete
it on failure. Within a run they resume where the connection broke.
"""

from __future__ import annotations

import enum
import itertools
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Protocol, TypeVar

import httpx2
from huggingface_hub import DatasetInfo, HfApi, ModelInfo, RepoFile, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import get_session, parse_ratelimit_headers
from huggingface_hub.utils._xet import is_valid_xet_hash

from p2pqwen.errors import (
    DiskError,
    FormatError,
    Interruption,
    NetworkError,
    NotFoundError,
    NotShownError,
    P2pqwenError,
    VerificationError,
)
from p2pqwen.hub import git_over_network
from p2pqwen.hub.byte_counter import counted
from p2pqwen.hub.failures import is_of_disk, translate, translated
from p2pqwen.hub.http_session import REQUEST_TIMEOUT, only_to, quota
from p2pqwen.hub.hub_site import HubSite
from p2pqwen.hub.turns import Turns
from p2pqwen.hub.xet import SMALL, XetStore
from p2pqwen.hub.xet_job import XetFailedError
from p2pqwen.scratch import require_room, scratch_beside, scratch_of
from p2pqwen.values.digest import CommitId, GitOid, Sha256
from p2pqwen.values.http_date import parse_http_date
from p2pqwen.values.listing import ListedFile, ListedRepo, Listing
from p2pqwen.values.named_hosts import NamedHosts
from p2pqwen.values.rate_limit import retry_after
from p2pqwen.values.repo_path import MAX_FILES, RepoPath
from p2pqwen.values.snapshot_id import OriginName, Owner, RepoId, RepoKind, SnapshotId

MAX_REPOS = 10_000
ATTEMPTS = 4
LONGEST_WAIT = 60.0
MOST_AT_ONCE = 64  # downloads; callers set lower limits
_FRONT_PAGE_SECONDS = 10.0
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_EXPIRED = frozenset({403, 410})  # what content delivery answers once a signed URL has expired

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)


class GitReader(Protocol[Answer_co]):
    """`commit_object`, `tree_rows`, or `small_blobs` with its ids bound."""

    def __call__(self, source: str, commit: CommitId, token: str | None = None, *, named: NamedHosts) -> Answer_co:
        """Read from a URL."""


class _Way(enum.Enum):
    """How a file is downloaded."""

    HTTP = "plain HTTP"
    XET = "Xet"

    @property
    def other(self) -> _Way:
        """The other one."""
        return _Way.XET if self is _Way.HTTP else _Way.HTTP


class HubClient:
    """The Hub at one endpoint, an `Origin` (operations/preserve/origin.py).

    Methods may be called from several threads at once. Every method raises `NotFoundError`, `NetworkError`,
    `P2pqwenError` (refused: gated, bad token), and `FormatError` for malformed answers.
    """

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        *,
        named: NamedHosts,
        took: Callable[[int], None] = lambda _: None,
        rate: Callable[[], int] = lambda: 0,
        xet_folder: Path | None = None,
    ) -> None:
        """`took` gets the number of bytes of every download as they arrive; it may block, or raise to end the download.

        It is also called with 0 while no bytes arrive. `rate` is the limit in bytes per second that `took` enforces, 0
        for none; it bounds what is in flight. hf_xet's logs go below `xet_folder` (None: deleted after the download).

        `named` are the hosts that the user named; an endpoint that is not among them must be public.
        """
        self.endpoint = endpoint.rstrip("/")
        self.site = HubSite(self.endpoint, token)
        self._took, self._named = took, named
        self._token = token
        self._xet = XetStore(self.endpoint, token, named=named, took=took, rate=rate, folder=xet_folder)
        self._turns = Turns(lambda: 1 if rate() else MOST_AT_ONCE, lambda: took(0))
        self._ways: dict[tuple[Path, RepoPath], _Way] = {}  # how each file came
        self._again: dict[tuple[Path, RepoPath], _Way] = {}  # for files that came out wrong
        # `False` keeps huggingface_hub from looking for a token itself.
        self._api = HfApi(endpoint=self.endpoint, token=token or False, library_name="p2pqwen")

    def telling_waits(self, listener: Callable[[float], None]) -> AbstractContextManager[None]:
        """Within the block, pass `listener` the seconds of every long wait that the Hub's limits impose."""
        return quota.telling(listener)

    def time(self) -> datetime | None:
        """Return the time by the Hub's `Date` header, None without one."""
        with self._asking("its front page"):
            answer = get_session().head(self.endpoint, timeout=_FRONT_PAGE_SECONDS)
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise NetworkError(f"{self.endpoint} returned a server error", got=f"status {answer.status_code}")
        return parse_http_date(answer.headers.get("date", ""))

    def resolve(self, repo: RepoId, revision: str | None = None, *, renamed: bool = False) -> Listing:
        """Find the commit of a branch, tag, full or shortened id (None: the main branch) and list its files.

        The Hub answers a query for an old name, or a name in another case, under the current name. `renamed` accepts
        that name; otherwise `VerificationError` is raised.
        """
        with self._asking(f"{repo}@{revision}" if revision else str(repo)):
            info = self._info(repo, revision)
            commit = CommitId.parse(str(info.sha))
            if revision is not None and len(revision) == 40 and str(commit) != revision.lower():
                raise VerificationError(
                    f"the Hub answered with another commit of {repo}", expected=revision, got=commit
                )
            own = replace(repo, text=str(info.id))
            if own != repo and not renamed:
                raise VerificationError(f"the Hub answered for a repository other than {repo}", expected=repo, got=own)
            files = self._list(own, commit)
        snapshot = SnapshotId(own, commit)
        return Listing(snapshot, bool(info.gated), bool(info.private), files, disabled=bool(info.disabled))

    def repos(self, owner: Owner) -> tuple[ListedRepo, ...]:
        """List the repositories of an organisation or user, sorted by name; empty for an unknown owner."""
        _require_hub(owner.kind, owner)
        list_them = self._api.list_models if owner.kind is RepoKind.MODEL else self._api.list_datasets
        with self._asking(f"the {owner.kind}s of {owner.name}"):
            found: list[ModelInfo | DatasetInfo] = _patiently(
                lambda: list(
                    itertools.islice(list_them(author=owner.name, expand=["gated", "private", "tags"]), MAX_REPOS + 1)
                ),
                _is_busy,
            )
            if len(found) > MAX_REPOS:
                raise FormatError(f"{owner} has too many {owner.kind}s", expected=f"at most {MAX_REPOS}")
            return tuple(sorted((_listed_repo(one, owner.kind) for one in found), key=lambda one: one.repo))

    def xet_storage(self, snapshot: SnapshotId) -> str | None:
        """Return the address of the Xet storage that serves a snapshot, None if we can use none."""
        with self._asking("its Xet storage"):
            return self._xet.look(snapshot)

    def serves(self, snapshot: SnapshotId) -> bool:
        """Tell whether the Hub still shows this commit publicly; raises `NetworkError` without a clear answer."""
        try:
            with self._asking(str(snapshot)):
                info = self._info(snapshot.repo, str(snapshot.commit))
        except NotShownError:
            return False
        except NotFoundError as error:
            raise NetworkError(
                f"{self.endpoint} does not answer as a Hub does for {snapshot}", got=error.got
            ) from error
        return not info.private

    def download(
        self,
        listing: Listing,
        file: ListedFile,
        folder: Path,
        on_bytes: Callable[[int], None] = lambda _: None,
        on_notice: Callable[[str], None] = lambda _: None,
    ) -> Path:
        """Download one file to `folder/path`, unless a file of its size is there, and return that path.

        `on_bytes` gets the number of bytes as they arrive, negative if a download starts over. `on_notice` gets each
        message for the user once. Raises `DiskError` too. The content is not hashed here.
        """
        target = folder / file.path.text
        if target.is_file() and target.stat().st_size == file.size:
            return target
        scratch = scratch_of(folder, file, OriginName.HUB)
        with self._asking(f"{file.path} of {listing.snapshot.repo}", at_length=True):
            shutil.rmtree(scratch, ignore_errors=True)  # left by a run that was killed
            scratch.mkdir(parents=True)
            require_room(scratch, file)
            ways = {
                _Way.HTTP: lambda: _patiently(
                    lambda: self._fetch(listing.snapshot, file, scratch, on_bytes), self._passing
                ),
                _Way.XET: lambda: self._xet.fetch(listing.snapshot, file, scratch, on_bytes),
            }
            with self._turns.one():
                arrived = self._by_either_way(ways, file, folder, on_notice)
            target.parent.mkdir(parents=True, exist_ok=True)
            arrived.replace(target)
            shutil.rmtree(scratch)
        return target

    @staticmethod
    def partial(folder: Path, file: ListedFile) -> Path | None:
        """Return the file that a download into `folder` is writing now, if any; it may vanish at any time."""
        return next(scratch_of(folder, file, OriginName.HUB).rglob("*.incomplete"), None)

    def other_way(self, folder: Path, file: ListedFile) -> bool:
        """Record that a download into `folder` came out wrong; tell whether the other way is still to try."""
        key = folder, file.path
        way = self._ways.pop(key, None)
        if way is None or key in self._again:
            return False
        self._again[key] = way.other
        return True

    def clean_staging(self, folder: Path) -> None:
        """Remove what downloads into this folder left beside it."""
        shutil.rmtree(scratch_beside(folder), ignore_errors=True)
        for known in (self._ways, self._again):
            for key in [key for key in known if key[0] == folder]:
                known.pop(key, None)

    def commit_object(self, snapshot: SnapshotId) -> bytes:
        """Fetch the raw commit object over git and check that it hashes to the commit."""
        return self._over_git(snapshot, git_over_network.commit_object)

    def tree_rows(self, snapshot: SnapshotId) -> list[tuple[RepoPath, str, GitOid]]:
        """Fetch the commit's tree over git as (path, mode, id): the API does not give modes."""
        return self._over_git(snapshot, git_over_network.tree_rows)

    def small_blobs(self, snapshot: SnapshotId, oids: Collection[GitOid]) -> dict[GitOid, bytes]:
        """Fetch small blobs of a commit over git, such as LFS pointers; missing ones are left out."""
        return self._over_git(snapshot, partial(git_over_network.small_blobs, oids))

    def _by_either_way(
        self,
        ways: Mapping[_Way, Callable[[], Path]],
        file: ListedFile,
        folder: Path,
        on_notice: Callable[[str], None],
    ) -> Path:
        """Download a file over plain HTTP or Xet, whichever suits its size; if that fails, over the other."""
        if not self._xet.has(file):
            return ways[_Way.HTTP]()
        key = folder, file.path
        first = _Way.HTTP if file.size <= SMALL or self._xet.closed else _Way.XET
        first = self._again.get(key, first)
        over_http: Exception | None = None
        over_xet: XetFailedError | None = None
        for way in (first, first.other):
            try:
                arrived = ways[way]()
            except XetFailedError as error:
                over_xet = error
                if self._xet.close_for_a_while():
                    on_notice(f"Xet storage fails ({error.cause}): large files come over plain HTTP for now")
            except Exception as error:
                if isinstance(error, (Interruption, DiskError)) or is_of_disk(error):
                    raise
                over_http = error
            else:
                self._ways[key] = way
                return arrived
        raise _with_hint(self._translate(over_http, file), f"nor does it come over Xet: {over_xet}")

    def _translate(self, error: Exception | None, file: ListedFile) -> P2pqwenError:
        if error is None:
            return NetworkError(f"{file.path} cannot be downloaded in any way")
        if isinstance(error, P2pqwenError):
            return error
        return translate(error, str(file.path), endpoint=self.endpoint, with_token=self._token is not None)

    def _fetch(self, snapshot: SnapshotId, file: ListedFile, scratch: Path, on_bytes: Callable[[int], None]) -> Path:
        def came(count: int) -> None:
            on_bytes(count)
            if count > 0:
                self._took(count)

        with counted(came, f"{file.path} of {snapshot}", file.size) as bar:
            arrived = Path(
                hf_hub_download(
                    snapshot.repo.text,
                    file.path.text,
                    repo_type=snapshot.repo.kind.value,
                    revision=str(snapshot.commit),
                    endpoint=self.endpoint,
                    local_dir=scratch,
                    cache_dir=scratch / "no-cache",  # the caller has looked in the cache already
                    token=self._token or False,
                    library_name="p2pqwen",
                    tqdm_class=bar,
                )
            )
        if (size := arrived.stat().st_size) != file.size:
            raise VerificationError(f"{file.path} of {snapshot} has the wrong size", expected=file.size, got=size)
        return arrived

    def _over_git(self, snapshot: SnapshotId, read: GitReader[Answer]) -> Answer:
        url = f"{self.endpoint}/{snapshot.repo}"
        try:
            return read(url, snapshot.commit, self._token, named=self._named)
        except NotFoundError:
            return read(f"{url}.git", snapshot.commit, self._token, named=self._named)

    def _passing(self, error: Exception) -> bool:
        """Tell whether a download may succeed if it is started again.

        huggingface_hub survives broken connections in most places, but not all, and keeps using a signed URL after it
        has expired.
        """
        if isinstance(error, HfHubHTTPError):
            from_hub = str(error.response.url).startswith(f"{self.endpoint}/")
            return _is_busy(error) or (error.response.status_code in _EXPIRED and not from_hub)
        return isinstance(error, (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError))

    def _info(self, repo: RepoId, revision: str | None) -> ModelInfo | DatasetInfo:
        _require_hub(repo.kind, repo)
        ask = self._api.model_info if repo.kind is RepoKind.MODEL else self._api.dataset_info
        return _patiently(lambda: ask(repo.text, revision=revision, timeout=REQUEST_TIMEOUT), _is_busy)

    def _list(self, repo: RepoId, commit: CommitId) -> tuple[ListedFile, ...]:
        files: list[ListedFile] = []
        for entry in self._api.list_repo_tree(
            repo.text, revision=str(commit), recursive=True, repo_type=repo.kind.value
        ):
            if isinstance(entry, RepoFile):
                files.append(_listed_file(entry))
            if len(files) > MAX_FILES:
                raise FormatError(f"{repo} has too many files", expected=f"at most {MAX_FILES}")
        return tuple(sorted(files, key=lambda file: file.path))

    @contextmanager
    def _asking(self, what: str, *, at_length: bool = False) -> Iterator[None]:
        with (
            translated(what, endpoint=self.endpoint, with_token=self._token is not None),
            only_to(self.endpoint, self._named, at_length=at_length),
        ):
            yield


def _require_hub(kind: RepoKind, name: object) -> None:
    """Refuse a name of another origin: the Hub may have something else under it."""
    if kind.origin is not OriginName.HUB:
        raise NotShownError(f"{name} is not a name on the Hub")


def _license(tags: list[str] | None) -> str | None:
    return next((tag.removeprefix("license:") for tag in tags or () if tag.startswith("license:")), None)


def _listed_repo(info: ModelInfo | DatasetInfo, kind: RepoKind) -> ListedRepo:
    return ListedRepo(RepoId(info.id, kind), bool(info.gated), bool(info.private), _license(info.tags))


def _listed_file(entry: RepoFile) -> ListedFile:
    sha256 = Sha256.parse(entry.lfs.sha256) if entry.lfs is not None else None
    xet_hash = entry.xet_hash if sha256 is not None and is_valid_xet_hash(entry.xet_hash or "") else None
    return ListedFile(RepoPath(entry.path), entry.size, GitOid.parse(entry.blob_id), sha256, xet_hash=xet_hash)


def _with_hint(error: P2pqwenError, hint: str) -> P2pqwenError:
    """Return the error with this hint after its own, if it has one."""
    hints = [one for one in (error.hint, hint) if one]
    return type(error)(error.what, expected=error.expected, got=error.got, hint="; ".join(hints))


def _is_busy(error: Exception) -> bool:
    return isinstance(error, HfHubHTTPError) and error.response.status_code in _TRANSIENT


def _patiently(ask: Callable[[], Answer], passing: Callable[[Exception], bool]) -> Answer:
    """Ask again while the error is transient, waiting as long as the Hub says."""
    for attempt in range(1, ATTEMPTS):
        try:
            return ask()
        except Exception as error:
            wait = _pause(error, attempt)
            if wait > LONGEST_WAIT or not passing(error):
                raise
            time.sleep(wait)
    return ask()


def _pause(error: Exception, attempt: int) -> float:
    if isinstance(error, HfHubHTTPError):
        limit = parse_ratelimit_headers(error.response.headers)
        if limit is not None and limit.remaining == 0:
            return float(limit.reset_in_seconds)
        after = retry_after(error.response.headers, now=datetime.now(UTC))
        if after is not None:
            return after
    return 2.0 ** (attempt - 1)
