"""The Python API: `from p2pqwen import snapshot_download, verify, open_index`.

The 3 functions, the values they return and the errors they raise are stable: a later 0.x version may add arguments and
fields, but removes none. They use the home that the command line uses (P2PQWEN_HOME, config.toml, trusted publishers).
They print nothing; `report` receives the events that a command would show.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2pqwen.errors import (
    FormatError,
    NetworkError,
    NotFoundError,
    P2pqwenError,
    UnsupportedArgumentError,
    UsageError,
    VerificationError,
)
from p2pqwen.events import Event, ignore

# Everything else is imported where it is used: a program pays only for the functions that it calls.
if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.index.acceptance import Accepted
    from p2pqwen.index.entry import Entry
    from p2pqwen.library.snapshots import HeldSnapshot
    from p2pqwen.operations.fetch.fetch_answer import FetchAnswer
    from p2pqwen.operations.fetch.request import FetchRequest
    from p2pqwen.operations.fetch.target import NamedTarget
    from p2pqwen.torrent.metainfo import Metainfo
    from p2pqwen.values.repo_path import RepoPath

Report = Callable[[Event], None]
Patterns = str | list[str] | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Signer:
    """One signature. `state` is `valid`, `invalid` or `unknown`; `label` is the signer's name for the key."""

    label: str
    keyid: str
    state: str


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that differs from the manifest; `expected` and `got` are texts that hold sizes in bytes or digests."""

    path: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What `verify` found. `files` and `bytes` count what was read; `extra` lists files that the manifest does not.

    `provenance` is `proven` or `unproven`; `standing` is `proven`, `signed` or `unvouched`.
    """

    ok: bool
    files: int
    bytes: int
    bad: tuple[BadFile, ...]
    provenance: str
    standing: str
    signers: tuple[Signer, ...]
    extra: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A snapshot in an index; sizes in bytes, hashes in lower-case hex."""

    repo: str
    commit: str
    size: int
    files: int
    infohash_v1: str
    infohash_v2: str
    magnet: str
    manifest_sha256: str
    provenance: str
    torrent: str
    """Where the .torrent is, relative to the index."""
    web_seeds: tuple[str, ...]
    license: str | None
    added: datetime
    upstream: str


@dataclass(frozen=True, slots=True)
class Index:
    """An index whose signatures, root chain and entries were verified.

    `pinned`: it belongs to the publisher id that the caller gave. Without one it is only consistent with itself: anyone
    can sign an index under any name.
    """

    publisher: str
    name: str
    pinned: bool
    epoch: int
    version: int
    issued: datetime
    signers: tuple[Signer, ...]
    entries: tuple[IndexEntry, ...]
    mirrors: tuple[str, ...]

    def find(self, repo: str, commit: str | None = None) -> tuple[IndexEntry, ...]:
        """Return the entries of a repository, at one commit if it is given."""
        return tuple(one for one in self.entries if one.repo == repo and commit in {None, one.commit})


def snapshot_download(  # noqa: PLR0913 - huggingface_hub's arguments
    repo_id: str,
    *,
    repo_type: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_dir: str | Path | None = None,
    library_name: str | None = None,  # noqa: ARG001
    library_version: str | None = None,  # noqa: ARG001
    user_agent: Mapping[str, Any] | str | None = None,  # noqa: ARG001
    etag_timeout: float | None = None,  # noqa: ARG001
    force_download: bool = False,
    token: bool | str | None = None,
    local_files_only: bool = False,
    allow_patterns: Patterns = None,
    ignore_patterns: Patterns = None,
    max_workers: int | None = None,  # noqa: ARG001
    tqdm_class: type | None = None,
    headers: Mapping[str, str] | None = None,
    endpoint: str | None = None,
    dry_run: bool = False,
    peers: tuple[str, ...] = (),
    web_seeds: tuple[str, ...] = (),
    timeout: float = 180.0,
    report: Report = ignore,
) -> str:
    """Fetch a model from peers and web seeds, verify it, and return its folder in the Hugging Face cache.

    The arguments are those of `huggingface_hub.snapshot_download`. The folder is the one that it would return:
    `<cache_dir>/models--ORG--MODEL/snapshots/<commit>` (`datasets--…` with `repo_type="dataset"`), or `local_dir`, into
    which the requested files are copied, over files of the same names. An argument that cannot be honoured raises
    `UnsupportedArgumentError`.

    - `revision`: a commit of 40 hex digits; None or `main` is the newest commit that a trusted index lists. Branches
      and tags are refused: only the Hub knows them.
    - `token`: for web seeds at the Hub, instead of HF_TOKEN; False sends none.
    - `local_files_only`: return what the library holds, with no traffic. Raises `NotFoundError` if a requested file is
      missing, `VerificationError` if one is damaged.
    - `allow_patterns`, `ignore_patterns`: as in huggingface_hub; the rest of a partial snapshot can be fetched later.
    - `library_name`, `library_version`, `user_agent`, `etag_timeout`, `max_workers`: accepted and ignored, since they
      describe requests that are not made.
    - `peers` (`HOST:PORT`), `web_seeds` (URLs) are used in addition to those found; `timeout`: seconds without
      progress.

    If a node of this home is running, it does the fetch. Raises `NotFoundError` (no trusted index lists it),
    `NetworkError`, `VerificationError`, `DiskError`, `UsageError`.
    """
    _refuse_unsupported(
        repo_type=(repo_type, (None, "model", "dataset")),
        force_download=(force_download, (False,)),
        tqdm_class=(tqdm_class, (None,)),
        headers=(headers, (None,)),
        endpoint=(endpoint, (None,)),
        dry_run=(dry_run, (False,)),
    )
    from p2pqwen.app import open_app
    from p2pqwen.assembly import fetching
    from p2pqwen.operations.fetch.request import FetchRequest
    from p2pqwen.user_path import user_path

    _refuse_no_path(cache_dir=cache_dir, local_dir=local_dir)
    patterns = _Patterns.of(allow_patterns, ignore_patterns)
    app = _with_token(open_app(), token)
    target = _target(repo_id, repo_type, revision)
    cache = app.hub_cache.root if cache_dir is None else user_path(str(cache_dir), "cache_dir").absolute()
    own = None if local_dir is None else fetching.users_folder(app, str(local_dir), "local_dir")
    if local_files_only:
        return str(_held(app, target, patterns, cache, own, report))
    network = app.config.network
    request = FetchRequest(
        str(target),
        peers=tuple(peers),
        web_seeds=tuple(web_seeds),
        use_web_seeds=network.web_seeds,
        include=_include(app, target, patterns, report),
        timeout=timeout,
        hub_cache=None if own is not None else str(cache),
        insist_on_cache=own is None,
        choices=network.choices,
    )
    done = _fetch(app, request, report, own_token=token not in {None, True})
    if own is not None:
        fetching.where_it_is(app, request, done, own, replace_files=True)
        return str(own)
    assert done.hf_cache is not None  # noqa: S101 - the request insists on it
    return str(done.hf_cache)


def verify(
    path_or_name: str | Path,
    *,
    torrent: str | Path | None = None,
    data: str | Path | None = None,
    report: Report = ignore,
) -> VerifyResult:
    """Hash every file again and compare it with the manifest and the torrent, offline.

    `path_or_name` is a held snapshot (`ORG/MODEL[@COMMIT]`), a folder, or a .torrent. `torrent` is what a folder is
    compared with; `data` is where the files of a .torrent are. Bad files are in the result and raise nothing. Raises
    `NotFoundError`, `UsageError`, `DiskError`, and `VerificationError` if torrent and manifest contradict each other.
    """
    from p2pqwen.app import open_app
    from p2pqwen.operations.verify.target import verify_target

    app = open_app()
    found = verify_target(
        str(path_or_name),
        torrent=None if torrent is None else Path(torrent),
        data=None if data is None else Path(data),
        library=app.library,
        voices=app.vouchers.voices(report),
        report=report,
    )
    return VerifyResult(
        found.ok,
        found.files,
        found.bytes,
        tuple(BadFile(one.path, one.expected, one.got) for one in found.bad),
        str(found.provenance),
        str(found.standing),
        tuple(Signer(one.label, str(one.keyid), one.state) for one in found.signers),
        found.extra,
    )


def open_index(source: str | Path, *, publisher: str | None = None) -> Index:
    """Read and verify an index, given as a file, its folder or a URL.

    `publisher` is the publisher id (64 hex digits) that it must belong to; without one `Index.pinned` is False. Nothing
    is added to the publishers you trust. Raises `VerificationError` when SPEC section 8 refuses it (the clock is not
    consulted); `UsageError`, `NotFoundError`, `NetworkError`, `DiskError`.
    """
    from p2pqwen.app import open_app
    from p2pqwen.library.index_rows.judging import let_go
    from p2pqwen.mirrors.location import Location
    from p2pqwen.operations.indexes.index_check import check_index
    from p2pqwen.operations.indexes.mirror_index import index_at
    from p2pqwen.operations.indexes.publisher_id import parse_publisher
    from p2pqwen.values.named_hosts import NamedHosts

    app = open_app()
    pinned = None if publisher is None else parse_publisher(publisher)
    location = Location.of_user(str(source)).index
    named = app.named_hosts | NamedHosts.of([location])
    with index_at(app.trust, Location(location), named) as file:
        checked = check_index(file, pinned, app.trust, now=datetime.now(UTC))
    if checked.accepted is None:
        assert checked.refusal is not None  # noqa: S101 - one of the two is there
        raise checked.refusal
    try:
        return _index(checked.accepted, pinned=checked.pinned)
    finally:
        let_go(checked.accepted)


def _refuse_unsupported(**given: tuple[object, tuple[object, ...]]) -> None:
    for name, (value, allowed) in given.items():
        if value not in allowed:
            expected = " or ".join(repr(one) for one in allowed)
            raise UnsupportedArgumentError(f"p2pqwen cannot honour {name}", expected=expected, got=repr(value)[:80])


def _refuse_no_path(**given: object) -> None:
    for name, value in given.items():
        if value is not None and not (isinstance(value, str | os.PathLike) and str(value)):
            raise UnsupportedArgumentError(f"p2pqwen cannot honour {name}", expected="a path", got=repr(value)[:80])


def _with_token(app: App, token: bool | str | None) -> App:  # noqa: FBT001 - as in huggingface_hub
    from p2pqwen.app import App
    from p2pqwen.values.hub_token import HubToken

    if token is None or token is True:
        return app
    hub = replace(app.config.hub, given_token=HubToken(token or ""))
    return App(replace(app.config, hub=hub))


def _target(repo_id: str, repo_type: str | None, revision: str | None) -> NamedTarget:
    from p2pqwen.operations.fetch.target import NamedTarget
    from p2pqwen.values.digest import CommitId
    from p2pqwen.values.snapshot_id import RepoId, RepoKind

    if not isinstance(repo_id, str):
        raise UsageError("not a repository name", expected="ORG/MODEL", got=repr(repo_id)[:80])
    try:
        repo = RepoId(repo_id, RepoKind(repo_type)) if repo_type else RepoId.parse(repo_id)
    except FormatError as error:
        raise UsageError.of(error) from error
    if revision in {None, "main"}:
        return NamedTarget(repo, None)
    try:
        return NamedTarget(repo, CommitId.parse(str(revision)))
    except FormatError as error:
        expected = "a commit of 40 hex digits, or main"
        raise UnsupportedArgumentError(
            "p2pqwen cannot honour revision", expected=expected, got=repr(revision)
        ) from error


@dataclass(frozen=True, slots=True)
class _Patterns:
    """Which files to fetch, by huggingface_hub's rule; `allow` None: all but those that `ignore` matches."""

    allow: tuple[str, ...] | None
    ignore: tuple[str, ...]

    @classmethod
    def of(cls, allow: Patterns, ignore_: Patterns) -> _Patterns | None:
        """Read the two arguments, None for all files; raises `UnsupportedArgumentError`."""
        if allow is None and ignore_ is None:
            return None
        wanted = None if allow is None else _read_patterns("allow_patterns", allow)
        return cls(wanted, _read_patterns("ignore_patterns", ignore_ or ()))

    def chosen(self, metainfo: Metainfo, name: str) -> list[RepoPath]:
        """Return the files that the patterns select; raises `NotFoundError` if there are none."""
        found = [file.path for file in metainfo.files if self._leaves(file.path.text)]
        if not found:
            got = f"{self.allow!r}, {self.ignore!r}"[:200]
            raise NotFoundError(f"the patterns select no file of {name}", got=got)
        return found

    def _leaves(self, path: str) -> bool:
        return (self.allow is None or _matches(path, self.allow)) and not _matches(path, self.ignore)


def _read_patterns(name: str, given: object) -> tuple[str, ...]:
    patterns = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    texts = [one for one in patterns if isinstance(one, str)]
    if texts != patterns:
        raise UnsupportedArgumentError(
            f"p2pqwen cannot honour {name}", expected="a text, or a list of texts", got=repr(given)[:80]
        )
    return tuple(f"{one}*" if one.endswith("/") else one for one in texts)


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(path, one) for one in patterns)


def _include(app: App, target: NamedTarget, patterns: _Patterns | None, report: Report) -> tuple[str, ...] | None:
    """Return the names of the files that the patterns select, None for all."""
    from p2pqwen.operations.fetch.plan import MagnetPlan, Sources, make_plan
    from p2pqwen.torrent.chosen_files import exactly

    if patterns is None:
        return None
    sources = Sources(
        app.library,
        app.trust.publishers(now=datetime.now(UTC), report=report),
        app.vouchers.voices(report),
        named=app.named_hosts,
    )
    plan = make_plan(target, sources, repo=None, report=report)
    if isinstance(plan, MagnetPlan):
        raise NetworkError(
            "no source returned the torrent, so its files are not known", hint="fetch it without patterns"
        )
    return tuple(exactly(one.text) for one in patterns.chosen(plan.metainfo, str(plan.snapshot)))


def _held(
    app: App, target: NamedTarget, patterns: _Patterns | None, cache: Path, own: Path | None, report: Report
) -> Path:
    """Return the folder with the requested held files, each verified."""
    from p2pqwen.hub.cache import HubCache
    from p2pqwen.library.snapshots import State
    from p2pqwen.operations.fetch.local_dir import lay_files

    held = app.library.find(target.repo, target.commit)
    metainfo = held.metainfo()
    every = [file.path for file in metainfo.files]
    files = every if patterns is None else patterns.chosen(metainfo, str(held.id))
    if held.state is State.INCOMPLETE or not all(map(held.wants, files)):
        raise NotFoundError(f"{held.id} is not complete in the library", got=str(held.state))
    _require_verified(app, held, files, report)
    if own is not None:
        lay_files(held.folder, files, own, replace=True)
        return own
    manifest, there = held.torrent().manifest, HubCache(cache)
    rows = () if manifest is None else manifest.files
    laid = {row.path for row in rows} - set(there.missing(held.id, rows, held.folder))
    if missing := [path for path in files if path not in laid]:
        raise NotFoundError(
            f"{held.id} is in the library, and not in the Hugging Face cache",
            expected=str(there.snapshot_folder(held.id)),
            got=f"{missing[0]} is missing or has other content",
        )
    return there.snapshot_folder(held.id)


def _require_verified(app: App, held: HeldSnapshot, files: list[RepoPath], report: Report) -> None:
    """Read held files again if they have changed since they were verified; raises `VerificationError`."""
    from p2pqwen.operations.verify.verify import verify_again

    if held.torrent_damage() is None and app.library.verified.unchanged(
        held.id, held.metainfo().infohash.v2, held.folder, files
    ):
        return
    names = {held.torrent_path.name, *(one.text for one in files)}
    bad = [one for one in verify_again(held, app.library, app.vouchers.voices(report), report).bad if one.path in names]
    if bad:
        raise VerificationError(
            f"{bad[0].path} of {held.id} is damaged",
            expected=bad[0].expected,
            got=bad[0].got,
            hint="call it without local_files_only, which fetches it again",
        )


def _fetch(app: App, request: FetchRequest, report: Report, *, own_token: bool) -> FetchAnswer:
    """Fetch in this process, or have the running node of this home do it: only one process may write the library."""
    from p2pqwen.assembly import fetching

    running = app.running()
    if running is None:
        return fetching.fetch_here(app, request, report)
    if own_token:
        raise UnsupportedArgumentError(
            "p2pqwen cannot honour token", expected="the running node's own", hint="set HF_TOKEN where the node starts"
        )
    return fetching.fetch_by_node(running, request, report)


def _index(accepted: Accepted, *, pinned: bool) -> Index:
    document = accepted.document
    return Index(
        str(accepted.publisher),
        accepted.root.name,
        pinned,
        document.epoch,
        document.version,
        document.issued,
        tuple(Signer(accepted.root.keys[one].label, str(one), "valid") for one in accepted.signers.signed_by),
        tuple(map(_entry, document.entries)),
        document.mirrors,
    )


def _entry(one: Entry) -> IndexEntry:
    return IndexEntry(
        str(one.id.repo),
        str(one.id.commit),
        one.size,
        one.files,
        str(one.infohash.v1),
        str(one.infohash.v2),
        one.magnet,
        str(one.manifest),
        "proven" if one.proven else "unproven",
        one.torrent,
        one.web_seeds,
        one.license,
        one.added,
        one.upstream.value,
    )


__all__ = [
    "BadFile",
    "Index",
    "IndexEntry",
    "P2pqwenError",
    "Signer",
    "UnsupportedArgumentError",
    "VerifyResult",
    "open_index",
    "snapshot_download",
    "verify",
]
