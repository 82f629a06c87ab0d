"""Several origins as one: each repository is requested where it lies, and what is gone there may be found elsewhere.

ModelScope has the Hub's repositories under its own commits. A snapshot is the Hub's, wherever its bytes come from, if
they equal the Hub's file by file. It then has the Hub's manifest, infohash and swarm, and what ModelScope adds
(`configuration.json`) is left out and named. Files that match no known commit of the Hub are a snapshot of ModelScope.
The Hub and the `known` manifests tell which commits the Hub has.

With `auto`, the Hub is asked first, and ModelScope if the Hub does not show a repository, restricts it, does not
answer, or is slow. The second origin is trusted no more than the first: its bytes are checked against the listing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from p2pqwen.errors import (
    DiskError,
    Interruption,
    NetworkError,
    NotShownError,
    P2pqwenError,
    UsageError,
    VerificationError,
)
from p2pqwen.manifest.git_object import blob_oid
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.operations.preserve.origin import Origin
from p2pqwen.values.digest import CommitId, GitOid
from p2pqwen.values.listing import ListedFile, ListedRepo, Listing
from p2pqwen.values.origin_site import Sites
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import OriginName, Owner, RepoId, SnapshotId

SLOW = 20_000
"""Bytes a second of one file, over `SLOW_SECONDS`, below which the Hub is too slow if ModelScope has the file."""
SLOW_SECONDS = 60.0
MAX_READ = 64 << 20
"""Bytes of plain files that may be downloaded to compare them, if the listings share no kind of hash."""
_SHOWN = 5
_MAIN = "main"

KnownManifests = Callable[[RepoId], Iterable[Manifest]]
"""Returns manifests of a repository's commits that the Hub had, by its own word or that of a trusted publisher."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where another origin has a snapshot's files, as a web seed (webseed/bases.py); `reason`: why it cannot be one."""

    url: str
    reason: str | None = None


class _TooSlowError(Interruption, NetworkError):
    """The Hub gives a file too slowly, and ModelScope has it."""


@dataclass(frozen=True, slots=True)
class _Twin:
    """A snapshot of the Hub, and the listing of ModelScope that has its files; `manifest` if one tells the rest."""

    listing: Listing
    theirs: Listing
    manifest: Manifest | None = None


class Origins:
    """The Hub and ModelScope, an `Origin`. Its methods may be called from several threads at once.

    `limited`: whether downloads are throttled on purpose now, so that they say nothing about the Hub's speed.
    """

    def __init__(
        self,
        hub: Origin,
        modelscope: Origin,
        *,
        known: KnownManifests = lambda _: (),
        auto: bool = False,
        limited: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.site = Sites(hub.site, modelscope.site)
        self._hub, self._modelscope = hub, modelscope
        self._known, self._auto, self._limited, self._clock = known, auto, limited, clock
        self._twins: dict[SnapshotId, _Twin] = {}
        self._from_hub: dict[tuple[Path, RepoPath], Listing] = {}  # what came from there, and might come from elsewhere
        self._without: set[SnapshotId] = set()  # what ModelScope was asked for but does not have

    @contextmanager
    def telling_waits(self, listener: Callable[[float], None]) -> Iterator[None]:
        """Within the block, pass the seconds of every long wait that an origin's limits impose to `listener`."""
        with ExitStack() as stack:
            for origin in (self._hub, self._modelscope):
                stack.enter_context(origin.telling_waits(listener))
            yield

    def resolve(self, repo: RepoId, revision: str | None = None, *, renamed: bool = False) -> Listing:
        """List a repository where it lies or, with `auto`, where its files are if the Hub fails.

        `renamed`: a snapshot on ModelScope may turn out to be the Hub's and, with `auto`, the other way round.
        """
        if repo.kind.origin is OriginName.MODELSCOPE:
            theirs = self._modelscope.resolve(repo, revision, renamed=renamed)
            return self._known_as(theirs) if renamed else theirs
        try:
            listing = self._hub.resolve(repo, revision, renamed=renamed)
        except P2pqwenError as error:
            if not self._auto or not _may_be_elsewhere(error):
                raise
            return self._instead(repo, revision, error, renamed=renamed)
        return self._opened(listing) if self._auto and listing.closed is not None else listing

    def repos(self, owner: Owner) -> tuple[ListedRepo, ...]:
        """List the repositories of an owner; with `auto`, also those that only ModelScope has, under its name."""
        if owner.kind.origin is OriginName.MODELSCOPE:
            return self._modelscope.repos(owner)
        if not self._auto:
            return self._hub.repos(owner)
        silent: P2pqwenError | None = None
        found: tuple[ListedRepo, ...] = ()
        try:
            found = self._hub.repos(owner)
        except P2pqwenError as error:
            if not _may_be_elsewhere(error):
                raise
            silent = error
        try:
            there = self._modelscope.repos(Owner(owner.name, owner.kind.at(OriginName.MODELSCOPE)))
        except P2pqwenError as error:
            if not _may_be_elsewhere(error):
                raise
            there = ()
        if silent is not None and not there:
            raise silent
        known = {one.repo for one in found}
        # If the Hub itself did not answer, use its name for both: it may be back when each is requested.
        elsewhere = [one for one in there if one.repo.at(OriginName.HUB) not in known]
        if silent is not None:
            elsewhere = [replace(one, repo=one.repo.at(OriginName.HUB)) for one in elsewhere]
        return (*found, *elsewhere)

    def serves(self, snapshot: SnapshotId) -> bool:
        """Tell whether its own origin still shows this commit to everyone."""
        return self._of(snapshot).serves(snapshot)

    def download(
        self,
        listing: Listing,
        file: ListedFile,
        folder: Path,
        on_bytes: Callable[[int], None] = lambda _: None,
        on_notice: Callable[[str], None] = lambda _: None,
    ) -> Path:
        """Download one file from where the listing says; with `auto`, from ModelScope if the Hub fails."""
        if (twin := self._twins.get(listing.snapshot)) is not None:
            return self._modelscope.download(twin.theirs, file, folder, on_bytes)
        if listing.snapshot.repo.kind.origin is OriginName.MODELSCOPE:
            return self._modelscope.download(listing, file, folder, on_bytes)
        if not self._auto:
            return self._hub.download(listing, file, folder, on_bytes, on_notice)
        self._from_hub[folder, file.path] = listing
        try:
            return self._hub.download(listing, file, folder, self._watching(listing, on_bytes), on_notice)
        except P2pqwenError as error:
            if not _may_be_elsewhere(error) or (twin := self._stand_in(listing)) is None:
                raise
            self._from_hub.pop((folder, file.path), None)
            on_notice(f"{error.message}; {listing.snapshot} comes from ModelScope from here on")
        return self._modelscope.download(twin.theirs, file, folder, on_bytes)

    def other_way(self, folder: Path, file: ListedFile) -> bool:
        """Note that a download is not the file that is listed; return whether there is another way to get it.

        With `auto`, ModelScope is one for a file from the Hub, if it has the snapshot's files.
        """
        if self._hub.other_way(folder, file):
            return True
        listing = self._from_hub.pop((folder, file.path), None)
        return listing is not None and self._stand_in(listing) is not None

    def partial(self, folder: Path, file: ListedFile) -> Path | None:
        """Return the file that a download into `folder` is writing now, if there is one; it may vanish at any time."""
        return self._hub.partial(folder, file) or self._modelscope.partial(folder, file)

    def clean_staging(self, folder: Path) -> None:
        """Remove what downloads into this folder left beside it."""
        for key in [key for key in self._from_hub if key[0] == folder]:
            self._from_hub.pop(key, None)
        self._hub.clean_staging(folder)
        self._modelscope.clean_staging(folder)

    def commit_object(self, snapshot: SnapshotId) -> bytes:
        """Return the raw git commit object, from a known manifest or from its own origin's git."""
        manifest = self._manifest(snapshot)
        if manifest is not None and manifest.commit_object is not None:
            return manifest.commit_object
        return self._of(snapshot).commit_object(snapshot)

    def tree_rows(self, snapshot: SnapshotId) -> Sequence[tuple[RepoPath, str, GitOid]]:
        """Return the rows of the commit's git tree, as `commit_object` does."""
        if (manifest := self._manifest(snapshot)) is not None:
            return [(row.path, row.mode, row.git_oid) for row in manifest.files]
        return self._of(snapshot).tree_rows(snapshot)

    def small_blobs(self, snapshot: SnapshotId, oids: Collection[GitOid]) -> Mapping[GitOid, bytes]:
        """Return LFS pointers of a commit, as `commit_object` does."""
        if (manifest := self._manifest(snapshot)) is not None:
            rows = (row for row in manifest.files if row.git_oid in oids)
            return {row.git_oid: row.pointer.encode() for row in rows if row.pointer is not None}
        return self._of(snapshot).small_blobs(snapshot, oids)

    def elsewhere(self, manifest: Manifest) -> Elsewhere | None:
        """Return where ModelScope has the files of a snapshot of the Hub, at its current revision.

        None for a snapshot of ModelScope, whose web seeds already say so. Files that are not there are a result with a
        `reason`, not an error.
        """
        if manifest.snapshot.repo.kind.origin is not OriginName.HUB:
            return None
        repo = manifest.snapshot.repo.at(OriginName.MODELSCOPE)
        url = self._modelscope.site.web_seeds(repo).whole
        try:
            theirs = self._modelscope.resolve(repo, renamed=True)
            files = tuple(map(_listed, manifest.files))
            listing = Listing(manifest.snapshot, gated=False, private=False, files=files, shown=None)
            twin = self._same(listing, theirs)
        except P2pqwenError as error:
            if not (_may_be_elsewhere(error) or isinstance(error, VerificationError)):
                raise
            return Elsewhere(url, error.message)
        if twin is None:
            closed = None if theirs.closed is None else f"it is {theirs.closed} there"
            return Elsewhere(url, closed or f"{theirs.snapshot} has other files")
        whole = self._modelscope.site.web_seeds(theirs.snapshot.repo).whole
        return Elsewhere(f"{whole}{theirs.snapshot.commit}/{{path}}")

    def _of(self, snapshot: SnapshotId) -> Origin:
        return self._hub if snapshot.repo.kind.origin is OriginName.HUB else self._modelscope

    def _manifest(self, snapshot: SnapshotId) -> Manifest | None:
        twin = self._twins.get(snapshot)
        return None if twin is None else twin.manifest

    def _known_as(self, theirs: Listing) -> Listing:
        """Return the Hub's listing of what ModelScope lists, or ModelScope's own if no commit of the Hub matches."""
        if (twin := self._known_twin(theirs)) is not None:
            return self._take(twin)
        try:
            twin = self._twin_on_hub(theirs)
        except P2pqwenError as error:
            if isinstance(error, (DiskError, UsageError, Interruption)):
                raise
            return _noted(theirs, f"whether it is a snapshot of the Hub, the Hub did not say: {error.message}")
        return theirs if twin is None else self._take(twin)

    def _take(self, twin: _Twin) -> Listing:
        self._twins[twin.listing.snapshot] = twin
        return twin.listing

    def _instead(self, repo: RepoId, revision: str | None, error: P2pqwenError, *, renamed: bool) -> Listing:
        """Return what ModelScope has of a repository that the Hub does not list now; else raise the Hub's `error`.

        A commit of the Hub is found there only by its files.
        """
        commit = _commit(revision)
        branch = None if revision is None or commit is not None or revision == _MAIN else revision
        try:
            theirs = self._modelscope.resolve(repo.at(OriginName.MODELSCOPE), branch, renamed=True)
            twin = self._known_twin(theirs, commit)
        except P2pqwenError as other:
            error.hint = error.hint or f"ModelScope: {other.message}"
            raise error from other
        if twin is not None:
            shown = False if isinstance(error, NotShownError) else None
            note = f"the Hub: {error.message}; ModelScope has the files"
            return self._take(replace(twin, listing=_noted(replace(twin.listing, shown=shown), note)))
        if commit is not None or not renamed:
            raise error
        return _noted(theirs, f"the Hub: {error.message}; this is ModelScope's, and no known commit of the Hub")

    def _opened(self, listing: Listing) -> Listing:
        """Return a listing that the Hub restricts as an open one, if ModelScope serves its files to everyone."""
        if (twin := self._stand_in(listing)) is None:
            return listing
        note = f"the Hub: {listing.snapshot.repo} is {listing.closed}; ModelScope serves its files to everybody"
        shown = not (listing.private or listing.disabled)
        opened = replace(twin.listing, gated=False, private=False, disabled=False, shown=shown)
        return self._take(replace(twin, listing=_noted(opened, note)))

    def _stand_in(self, listing: Listing) -> _Twin | None:
        """Return the twin of a listing of the Hub that ModelScope serves to everyone, if any; remember the answer."""
        snapshot = listing.snapshot
        if (twin := self._twins.get(snapshot)) is not None or snapshot in self._without:
            return twin
        found: _Twin | None = None
        with suppress(P2pqwenError):  # whatever fails there: the user asked for the Hub
            theirs = self._modelscope.resolve(snapshot.repo.at(OriginName.MODELSCOPE), renamed=True)
            found = self._same(listing, theirs)
        if found is None:
            self._without.add(snapshot)
        else:
            self._twins[snapshot] = found
        return found

    def _known_twin(self, theirs: Listing, commit: CommitId | None = None) -> _Twin | None:
        """Return the known snapshot of the Hub whose files ModelScope lists, of `commit` if that is given."""
        if theirs.closed is not None:
            return None
        for manifest in self._known(theirs.snapshot.repo.at(OriginName.HUB)):
            if commit not in {None, manifest.snapshot.commit}:
                continue
            files = tuple(map(_listed, manifest.files))
            listing = Listing(manifest.snapshot, gated=False, private=False, files=files, shown=None)
            if (twin := self._same(listing, theirs)) is not None:
                return replace(twin, manifest=manifest)
        return None

    def _twin_on_hub(self, theirs: Listing) -> _Twin | None:
        """Return what the Hub's main branch lists, if that is what ModelScope lists."""
        try:
            listing = self._hub.resolve(theirs.snapshot.repo.at(OriginName.HUB), renamed=True)
        except NotShownError:
            return None
        twin = self._same(listing, theirs)
        if twin is None:
            return None
        opened = replace(twin.listing, gated=False, private=False, disabled=False)
        return replace(twin, listing=replace(opened, shown=not (listing.private or listing.disabled)))

    def _same(self, listing: Listing, theirs: Listing) -> _Twin | None:
        """Return the two as twins if ModelScope has every file of the Hub's listing; its other files are named."""
        if theirs.closed is not None:
            return None
        there = {file.path: file for file in theirs.files}
        unsure: list[tuple[ListedFile, ListedFile]] = []
        for file in listing.files:
            other = there.get(file.path)
            equal = None if other is None else _equal(file, other)
            if other is None or equal is False:
                return None
            if equal is None:
                unsure.append((file, other))
        if unsure and not self._read_equal(unsure, theirs):
            return None
        extra = sorted(path.text for path in there.keys() - {file.path for file in listing.files})
        notes = [f"{theirs.snapshot} has the files of {listing.snapshot}"]
        if extra:
            more = f" and {len(extra) - _SHOWN} more" if len(extra) > _SHOWN else ""
            notes.append(f"left out, as the Hub's commit does not have it: {', '.join(extra[:_SHOWN])}{more}")
        return _Twin(_noted(listing, *notes), theirs)

    def _read_equal(self, pairs: Sequence[tuple[ListedFile, ListedFile]], theirs: Listing) -> bool:
        """Download and compare plain files of which one side gives the git id and the other the SHA-256."""
        if sum(file.size for file, _ in pairs) > MAX_READ:
            return False
        with TemporaryDirectory(prefix="p2pqwen-") as scratch:
            for file, other in pairs:
                path = self._modelscope.download(theirs, other, Path(scratch, "files"))
                if blob_oid(path.read_bytes()) != file.blob_oid:
                    return False
        return True

    def _watching(self, listing: Listing, on_bytes: Callable[[int], None]) -> Callable[[int], None]:
        """Return a counter of a file's bytes that ends its download if the Hub is slow and ModelScope has it."""
        since, came = self._clock(), 0

        def count(size: int) -> None:
            nonlocal since, came
            on_bytes(size)
            came += max(size, 0)
            seconds = self._clock() - since
            if seconds < SLOW_SECONDS:
                return
            slow = came / seconds < SLOW and not self._limited()
            since, came = self._clock(), 0
            if slow and self._stand_in(listing) is not None:
                raise _TooSlowError("the Hub is slow", expected=f"{SLOW} bytes/s")

        return count


def _may_be_elsewhere(error: P2pqwenError) -> bool:
    """Tell whether an error is the origin's: no fault of our disk, user's mistake, lie, or interruption."""
    ours = isinstance(error, (DiskError, UsageError, VerificationError))
    return not ours and (isinstance(error, _TooSlowError) or not isinstance(error, Interruption))


def _noted(listing: Listing, *notes: str) -> Listing:
    return replace(listing, notes=(*notes, *listing.notes))


def _commit(revision: str | None) -> CommitId | None:
    try:
        return CommitId.parse(revision or "")
    except P2pqwenError:
        return None


def _listed(row: FileRow) -> ListedFile:
    lfs, plain = (row.sha256, None) if row.lfs else (None, row.sha256)
    return ListedFile(row.path, row.size, row.git_oid, lfs, plain)


def _equal(file: ListedFile, other: ListedFile) -> bool | None:
    """Tell whether two listed files have the same content; None if their hashes cannot be compared."""
    if file.size != other.size:
        return False
    if file.content is not None and other.content is not None:
        return file.content == other.content
    if file.lfs_sha256 is None and other.lfs_sha256 is None and None not in {file.blob_oid, other.blob_oid}:
        return file.blob_oid == other.blob_oid
    return None
