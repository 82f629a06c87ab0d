"""Preserve a snapshot from its origin: resolve, download, hash what has arrived, prove, make the torrent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from p2pqwen.errors import DisabledError, DiskError, NetworkError, NotFoundError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.hub.cache import HubCache
from p2pqwen.library import durable
from p2pqwen.library.early_sync import SYNC_EVERY, EarlySync
from p2pqwen.library.folders import bytes_to_write
from p2pqwen.library.following import Follower, Followers, Wanted
from p2pqwen.library.hashing import FileDigests, hash_workers
from p2pqwen.library.linking import place
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.manifest.lfs_pointer import Pointer, parse_pointer, pointer_oid
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.preserve.build import (
    ExpectedFile,
    Preserved,
    describe,
    install,
    make_manifest,
    make_torrent,
    pointer_texts,
    row_of,
)
from p2pqwen.operations.preserve.early_license import license_of_listing, readme_of, show_license
from p2pqwen.operations.preserve.held_check import (
    HeldContent,
    KnownDamage,
    complete_snapshot,
    look_at_held,
    nothing_known,
    prove_held,
    require_same,
)
from p2pqwen.operations.preserve.origin import Origin
from p2pqwen.operations.preserve.reuse import HeldFile, held_content, share
from p2pqwen.operations.preserve.second_copy import announce_second_copy
from p2pqwen.operations.preserve.wanted_torrent import WantedTorrent
from p2pqwen.operations.verify.xet_check import differing_names
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.digest import GitOid
from p2pqwen.values.listing import ListedFile, Listing
from p2pqwen.values.repo_path import RepoPath, refuse_clashes
from p2pqwen.values.snapshot_id import OriginName, RepoId, SnapshotId

# The Hub serves a single connection at a fraction of a line's speed; huggingface_hub itself uses eight.
DOWNLOAD_WORKERS = 8
_FOLLOW_EVERY = 4 << 20  # bytes of a file between two looks at what has arrived: it is still in memory then


@dataclass(frozen=True, slots=True)
class PreserveOptions:
    """The user's choices. `wanted`: the torrent that must result, or nothing is kept.

    `licenses`: globs for the wanted licenses, empty for any. `known_damage`: what was found damaged in held snapshots.
    `hard_links`: on a disk without reflinks, files of the Hugging Face cache get a second name, not a copy.
    """

    allow_gated: bool = False
    hard_links: bool = False
    licenses: tuple[str, ...] = ()
    wanted: WantedTorrent | None = None
    known_damage: KnownDamage = nothing_known


def preserve(
    repo: RepoId,
    revision: str | None,
    *,
    origin: Origin,
    cache: HubCache,
    library: Library,
    options: PreserveOptions = PreserveOptions(),
    report: Report = ignore,
) -> Preserved:
    """Put `repo` at `revision` (default: the main branch) into the library, whole and verified.

    A snapshot that is there already, with the files that the origin lists, is returned as it is; an unproven one
    becomes proven if the commit object can be read now. Raises `NotFoundError`, `NetworkError`, `DiskError`,
    `VerificationError` if bytes are not what the origin said, `P2pqwenError` for a gated or private repository.
    """
    # A wanted torrent fixes the repository's name; otherwise the origin's own name for it is the right one.
    listing = origin.resolve(repo, revision, renamed=options.wanted is None)
    if listing.snapshot.repo.at(repo.kind.origin) != repo:  # the listing's notes tell of another origin
        where = " on the Hub" if listing.snapshot.repo.kind.origin is OriginName.HUB else ""
        report(Notice("info", f"{repo} is {listing.snapshot.repo}{where}"))
    done = preserve_listing(listing, origin=origin, cache=cache, library=library, options=options, report=report)
    return replace(done, shown=listing.shown)


def preserve_listing(
    listing: Listing,
    *,
    origin: Origin,
    cache: HubCache,
    library: Library,
    options: PreserveOptions = PreserveOptions(),
    report: Report = ignore,
) -> Preserved:
    """Preserve a snapshot that the origin has already listed; raises what `preserve` does."""
    for note in listing.notes:
        report(Notice("info", note))
    _refuse_closed(listing, options)
    refuse_clashes(file.path for file in listing.files)
    wanted = options.wanted
    if wanted is not None:
        wanted.check_size(sum(file.size for file in listing.files))
    with durable.lock(library.lock_path(listing.snapshot)):
        if (held := complete_snapshot(library, listing.snapshot)) is not None:
            known = check_against_listing(held, listing, origin.site.endpoint, options, library, report)
            if wanted is not None:
                wanted.check(known.metainfo.infohash)
            return describe_held(prove_over_git(known, origin, library, report), report)
        return _Run(listing, origin, cache, library, options, report).run(wanted)


def begun_elsewhere(file: ListedFile, stages: Iterable[Path]) -> Path | None:
    """Return a file that may be this one, finished for another commit; the caller compares the hash."""
    if file.lfs_sha256 is None:
        return None
    paths = (stage / file.path.text for stage in stages)
    return next((path for path in paths if _has_size(path, file.size)), None)


def check_against_listing(
    held: HeldSnapshot,
    listing: Listing,
    endpoint: str,
    options: PreserveOptions,
    library: Library,
    report: Report = ignore,
) -> HeldContent:
    """Return a held snapshot's content if the origin lists the same; raises `VerificationError` that names files."""
    content = look_at_held(held, library, options.known_damage, report)
    # A link's torrent may be rebuilt from the link's own host, whose word must not cost the user a snapshot.
    require_same(content, map(_expected, listing.files), endpoint, may_drop=options.wanted is None)
    keep_listed_names(held, listing, library, report)
    return content


def keep_listed_names(held: HeldSnapshot, listing: Listing, library: Library, report: Report) -> None:
    """Keep the Hub's Xet hashes of the files, and warn of those that differ from the hashes of the bytes.

    No file is read: the bytes were hashed earlier, if at all. A difference is no reason to doubt files whose SHA-256 is
    right.
    """
    listed = {file.content: file.xet_hash for file in listing.files if file.content and file.xet_hash}
    if not listed:
        return
    with suppress(DiskError):  # `verify` then knows less
        library.xet_hashes.keep_listed(held.id, listed)
    for words in differing_names(held, library):
        report(Notice("warning", words))


def prove_over_git(content: HeldContent, origin: Origin, library: Library, report: Report) -> HeldContent:
    """Prove an unproven held snapshot if the origin gives its commit object; the caller holds the snapshot's lock.

    Raises `VerificationError` if its files are not the commit's, though the origin lists them.
    """
    if content.provenance is Provenance.PROVEN:
        return content
    snapshot = content.held.id
    if (commit_object := _commit_object(origin, snapshot, report)) is None:
        return content
    return prove_held(content, library, commit_object, lambda: origin.tree_rows(snapshot), report)


def describe_held(content: HeldContent, report: Report) -> Preserved:
    """Sum up a snapshot that was there already."""
    return describe(content.held, content.manifest, content.torrent, report, unchanged=True)


def _expected(file: ListedFile, pointer: str | None = None) -> ExpectedFile:
    lfs = file.lfs_sha256 is not None
    return ExpectedFile(
        file.path, file.size, file.blob_oid, file.lfs_sha256, lfs=lfs, pointer=pointer, sha256=file.sha256
    )


def odd_pointers(listing: Listing, origin: Origin) -> dict[GitOid, str]:
    """Fetch the LFS pointers that are not in canonical form, before anything is downloaded.

    Without their text the commit's tree cannot be rebuilt, and terabytes would be downloaded without a proof. Raises
    `VerificationError` if the origin lists a pointer that is not the file's, or does not show it.
    """
    odd = {
        file.blob_oid: file
        for file in listing.files
        if file.lfs_sha256 is not None
        and file.blob_oid is not None
        and pointer_oid(file.lfs_sha256, file.size) != file.blob_oid
    }
    texts = pointer_texts(origin.small_blobs(listing.snapshot, odd.keys())) if odd else {}
    for oid, file in odd.items():
        wanted = f"an LFS pointer to {file.size} bytes with SHA-256 {file.lfs_sha256}"
        named = parse_pointer(texts[oid].encode()) if oid in texts else None
        if named != Pointer(str(file.lfs_sha256), file.size):
            got = "another text" if oid in texts else "nothing of that id over git"
            raise VerificationError(f"the git blob {oid} of {file.path} is not its pointer", expected=wanted, got=got)
    return texts


def _commit_object(origin: Origin, snapshot: SnapshotId, report: Report) -> bytes | None:
    try:
        return origin.commit_object(snapshot)
    except (NetworkError, NotFoundError) as error:
        report(Notice("warning", f"no commit object over git: {error.message}"))
        return None


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a file may already be. `held`: in another snapshot; `ours`: it belongs to p2pqwen alone."""

    path: Path
    held: HeldFile | None = None
    ours: bool = False


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A file in staging: taken from this disk (`reused`), or downloaded and perhaps `begun` to be hashed.

    `stood`: it was already in staging, from an unknown source.
    """

    reused: bool
    begun: Follower | None = None
    stood: bool = False


class _Run:
    """One preservation: files are hashed while they arrive, so that little is left to do after the last byte."""

    def __init__(
        self,
        listing: Listing,
        origin: Origin,
        cache: HubCache,
        library: Library,
        options: PreserveOptions,
        report: Report,
    ) -> None:
        self._listing = listing
        self._hard_links = options.hard_links
        self._licenses = options.licenses
        self._origin = origin
        self._cache = cache
        self._library = library
        self._report = report
        self._layout = Layout.of((file.path, file.size) for file in listing.files)
        self._cached = self._already_on_disk()
        with hinting_at_hard_links(applies=self._theirs(listing.files) and not self._hard_links):
            names = [file.path for file in listing.files]
            needed = self._needed(listing.files)
            self._staged = library.stage(listing.snapshot, needed, beside=cache.root, files=names)
        self._pointers: dict[GitOid, str] = {}
        self._from_disk = 0
        self._early_sync = EarlySync()
        self._followers = Followers()
        self._downloaded = _Counter("download", self._layout.total_size, report)
        self._hashed = _Counter("hash", self._layout.total_size, report)

    def run(self, wanted: WantedTorrent | None = None) -> Preserved:
        snapshot = self._listing.snapshot
        self._require_room()
        self._show_license()
        self._pointers = odd_pointers(self._listing, self._origin)
        with (
            self._early_sync,
            self._followers,
            _pool(DOWNLOAD_WORKERS + 1, "download") as downloads,
            _pool(hash_workers(), "hash") as hashers,
        ):
            commit = downloads.submit(_commit_object, self._origin, snapshot, self._report)
            digested = self._digest_all(downloads, hashers)
            commit_object = commit.result()
            self._early_sync.wait()
        rows = [row for row, _ in digested.values()]
        manifest = make_manifest(
            snapshot,
            rows,
            self._staged,
            commit_object=commit_object,
            tree_rows=lambda: self._origin.tree_rows(snapshot),
        )
        digests = {path: one for path, (_, one) in digested.items()}
        torrent = make_torrent(manifest, digests, self._layout, self._origin.site)
        self._origin.clean_staging(self._staged)
        self._refuse_unwanted(wanted, torrent.metainfo)
        held = install(self._library, manifest, torrent, digests)
        keep_listed_names(held, self._listing, self._library, self._report)
        described = describe(held, manifest, torrent, self._report, unchanged=False)
        return replace(described, bytes_downloaded=self._layout.total_size - self._from_disk)

    def _show_license(self) -> None:
        """Report what is about to be taken and its license; nothing is kept of what the user does not want."""
        listing = self._listing
        readme = readme_of(listing)
        source = None if readme is None else self._cached.get(readme.path)
        try:
            named = license_of_listing(listing, self._origin, self._staged, None if source is None else source.path)
            show_license(listing.snapshot, named, self._layout.total_size, self._licenses, self._report)
        except P2pqwenError as error:
            if self._licenses and not isinstance(error, NetworkError):
                self._library.discard_stage(listing.snapshot)
            raise

    def _refuse_unwanted(self, wanted: WantedTorrent | None, metainfo: Metainfo) -> None:
        if wanted is None:
            return
        try:
            wanted.check(metainfo.infohash)
        except VerificationError:
            self._library.discard_stage(self._listing.snapshot)
            raise

    def _already_on_disk(self) -> dict[RepoPath, _Source]:
        """Return where on this disk files of this snapshot seem to be.

        They may be in other snapshots of the library, in the Hugging Face cache, or in the staging folder of another
        commit.
        """
        snapshot = self._listing.snapshot
        begun = self._library.other_stages(snapshot)
        held = held_content(
            self._library, {file.content for file in self._listing.files if file.content}, near=snapshot
        )
        found = {}
        for file in self._listing.files:
            other = None if file.content is None else held.get(file.content)
            if other is not None:
                found[file.path] = _Source(other.path, other, ours=True)
            elif (path := begun_elsewhere(file, begun)) is not None:
                found[file.path] = _Source(path, ours=True)
            elif (path := self._cache.find(snapshot.repo, file)) is not None:
                found[file.path] = _Source(path)
        return found

    def _needed(self, files: Iterable[ListedFile]) -> Callable[[Path], int]:
        """Return a function that tells how many bytes the files take below a folder, given what its disk can share."""
        found = [(file.size, self._cached.get(file.path)) for file in files]
        ours = bytes_to_write((size, None if one is None else one.path) for size, one in found if not _is_theirs(one))
        theirs = ((size, one.path) for size, one in found if one is not None and _is_theirs(one))
        copies = bytes_to_write(theirs, hard_links=self._hard_links)
        return lambda folder: ours(folder) + copies(folder)

    def _theirs(self, files: Iterable[ListedFile]) -> bool:
        return any(_is_theirs(self._cached.get(file.path)) for file in files)

    def _require_room(self) -> None:
        lacking = [file for file in self._listing.files if not _has_size(self._staged / file.path.text, file.size)]
        with hinting_at_hard_links(applies=self._theirs(lacking) and not self._hard_links):
            self._library.require_room(self._staged, self._needed(lacking)(self._staged))
        found = ((file.size, self._cached.get(file.path)) for file in lacking)
        theirs = ((size, one.path) for size, one in found if one is not None and _is_theirs(one))
        snapshot, hard_links = self._listing.snapshot, self._hard_links
        announce_second_copy(snapshot, theirs, self._staged, hard_links=hard_links, report=self._report)

    def _digest_all(
        self, downloads: ThreadPoolExecutor, hashers: ThreadPoolExecutor
    ) -> dict[RepoPath, tuple[FileRow, FileDigests]]:
        # The largest first, so that no core is left with a long file at the end.
        order = sorted(range(len(self._layout.files)), key=lambda index: -self._layout.files[index].size)
        by_path = {file.path: file for file in self._listing.files}
        hashing: list[Future[tuple[FileRow, FileDigests]]] = []
        fetching = {}
        for index in order:
            file = by_path[self._layout.files[index].path]
            fetching[downloads.submit(self._bring, index, file, self._cached.get(file.path))] = (index, file)
        for done in as_completed(fetching):
            index, file = fetching[done]
            arrival = done.result()
            self._from_disk += file.size if arrival.reused else 0
            hashing.append(hashers.submit(self._digest, index, file, arrival))
        results = [done.result() for done in as_completed(hashing)]
        return {row.path: (row, digests) for row, digests in results}

    def _bring(self, index: int, file: ListedFile, cached: _Source | None) -> _Arrival:
        """Put a file into staging, from this disk or from the origin; it is hashed there like any other."""
        target = self._staged / file.path.text
        if cached is not None and not target.exists() and self._place(cached, target):
            self._downloaded.add(file.size)
            return _Arrival(reused=True)
        stood = _has_size(target, file.size)
        return replace(self._download(index, file), stood=stood)

    def _place(self, source: _Source, target: Path) -> bool:
        if source.held is not None:
            return share(source.held, target, self._library) is not None
        place(source.path, target, allow_hard_link=source.ours or self._hard_links)
        return True

    def _download(self, index: int, file: ListedFile) -> _Arrival:
        """Download a file, and hash and sync it to the disk while it arrives."""
        following = self._followers.begin(self._wanted(index, file))
        partial: Path | None = None
        seen = followed = synced = 0

        def on_bytes(count: int) -> None:
            nonlocal partial, seen, followed, synced
            seen += count
            self._downloaded.add(count)
            if count < 0:
                following.restart()
                partial = None
                followed = synced = 0
            elif seen - followed >= _FOLLOW_EVERY:
                followed = seen
                if (partial := partial or self._origin.partial(self._staged, file)) is None:
                    return
                following.advance(partial, self._hashed.add)
                if (done := following.done) - synced >= SYNC_EVERY:
                    synced = done
                    self._early_sync.begin(partial)

        def on_notice(text: str) -> None:
            self._report(Notice("warning", text))

        begun = False
        try:
            self._origin.download(self._listing, file, self._staged, on_bytes, on_notice)
            begun = following.begun
        finally:
            if not begun:
                self._followers.end(following)
        self._downloaded.add(file.size - seen)  # what an earlier try had fetched
        return _Arrival(reused=False, begun=following if begun else None)

    def _digest(self, index: int, file: ListedFile, arrival: _Arrival) -> tuple[FileRow, FileDigests]:
        """Finish a file's digests and compare them; download a wrong file again if that may help."""
        target = self._staged / file.path.text
        if arrival.begun is not None:
            with suppress(VerificationError):  # its writer changed what had been read: hash the finished file
                return self._hash_and_compare(index, file, target, arrival.begun)
        try:
            return self._hash_and_compare(index, file, target)
        except VerificationError as error:
            target.unlink(missing_ok=True)  # or the next try would take it for finished
            if arrival.reused or arrival.stood:
                self._report(Notice("warning", f"an existing copy was bad, downloading: {error.message}"))
            elif self._origin.other_way(self._staged, file):
                self._report(Notice("warning", f"a download was bad, trying another way: {error.message}"))
            else:
                raise
        return self._digest(index, file, self._download(index, file))

    def _hash_and_compare(
        self, index: int, file: ListedFile, target: Path, begun: Follower | None = None
    ) -> tuple[FileRow, FileDigests]:
        if begun is not None:
            try:
                digests = begun.finish(target, self._hashed.add)
            finally:
                self._followers.end(begun)
        else:
            digests = self._wanted(index, file).hash(target, self._hashed.add)
        pointer = None if file.blob_oid is None else self._pointers.get(file.blob_oid)
        return row_of(_expected(file, pointer), digests), digests

    def _wanted(self, index: int, file: ListedFile) -> Wanted:
        return Wanted(
            file.size,
            piece_length=self._layout.piece_length,
            padded=self._layout.pad_after(index) > 0,
            git_blob=file.lfs_sha256 is None,
        )


class _Counter:
    """Adds up bytes from several threads and reports the sum."""

    def __init__(self, stage: str, total: int, report: Report) -> None:
        self._stage, self._total, self._report = stage, total, report
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done = min(self._done + count, self._total)
            self._report(Progress(self._stage, self._done, self._total))


@contextmanager
def _pool(workers: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Open a thread pool that drops queued calls once the block fails or is interrupted."""
    pool = ThreadPoolExecutor(workers, name)
    try:
        yield pool
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    else:
        pool.shutdown()


def _refuse_closed(listing: Listing, options: PreserveOptions) -> None:
    if listing.closed == "disabled":
        raise DisabledError(f"{listing.snapshot.repo} is disabled: it is no longer served")
    if listing.closed is not None and not options.allow_gated:
        raise P2pqwenError(
            f"{listing.snapshot.repo} is {listing.closed}: its owner restricts access",
            hint="if you may redistribute it, use --allow-gated",
        )


def _is_theirs(source: _Source | None) -> bool:
    return source is not None and not source.ours


@contextmanager
def hinting_at_hard_links(*, applies: bool) -> Iterator[None]:
    """If there is no room for copies of a user's files, name the flag that shares them, provided it `applies`."""
    try:
        yield
    except DiskError as error:
        if not applies:
            raise
        hint = "--hard-links shares the blocks of existing files, and raises their link counts"
        raise DiskError(error.what, expected=error.expected, got=error.got, hint=hint) from error


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
