"""Import models that are already on this disk into the library: verified, and without copying if possible.

The Hugging Face cache names a file after its hash, and a plain folder is recognised by names and sizes; both are only
reasons to read a file. A file that enters the library as complete matches the manifest byte for byte. A file that is at
least half right stays there as a copy, for a fetch to repair. The source belongs to the user: content, link counts,
times and modes do not change. So files are reflinked or copied. `hard_links` links intact files instead, which raises
their link counts; nothing is ever written through such a link.
"""

from __future__ import annotations

import fnmatch
import glob
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from p2pqwen.containment import each, first_of
from p2pqwen.errors import DiskError, NotFoundError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.hub.cache import HubCache
from p2pqwen.index.standing import Standing, judge_torrent, keys_of
from p2pqwen.index.voice import Voice
from p2pqwen.library import durable
from p2pqwen.library.folders import bytes_to_write
from p2pqwen.library.hashing import FileDigests, hash_file, hash_files
from p2pqwen.library.linking import Placement, place
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.library.verified import Look, Verified
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.manifest.warnings import warnings_of
from p2pqwen.operations.fetch.bare_torrent import read_whole
from p2pqwen.operations.fetch.folder_match import FolderFiles, FolderMatch
from p2pqwen.operations.indexes.known_torrents import KnownTorrent, TorrentAndManifest, known_torrents
from p2pqwen.operations.indexes.lookup import find_entries, listed_otherwise
from p2pqwen.operations.preserve.from_origin import hinting_at_hard_links
from p2pqwen.operations.preserve.held_check import require_unchanged
from p2pqwen.operations.preserve.reuse import remove_links
from p2pqwen.operations.preserve.second_copy import announce_second_copy
from p2pqwen.operations.verify.file_check import Difference, difference, right_bytes
from p2pqwen.operations.verify.verify import BadFile
from p2pqwen.portable.files import allocated
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.values.grouping import group_by
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.snapshot_place import cache_folder, parse_cache_folder

_BY_INDEX = "import it without --torrent, by what the index lists"


@dataclass(frozen=True, slots=True)
class ImportContext:
    """Where an import looks and writes. `torrents`: files that the user named in addition to what indexes list.

    `hard_links`: hard links instead of copies; `voices` are the publishers that vouch for snapshots. `repo`: the
    repository of named torrents without a manifest.
    """

    library: Library
    hub_cache: HubCache
    publishers: Sequence[TrustedPublisher]
    torrents: Sequence[Path] = ()
    hard_links: bool = False
    voices: Sequence[Voice] = ()
    repo: RepoId | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """One snapshot after the import. Sizes in bytes; `missing` is what a fetch must still bring.

    `ignored` are files beside its own that it does not have.
    """

    held: HeldSnapshot
    source: str
    size: int
    linked: int
    copied: int
    missing: int
    bad: tuple[BadFile, ...]
    warnings: tuple[str, ...]
    unchanged: bool = False
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Import:
    """What an import did, and the sources in which it recognised nothing, with the reason.

    `lacking`: why recognised snapshots found no room or no suitable disk.
    """

    imported: tuple[Imported, ...]
    unmatched: tuple[tuple[str, str], ...]
    lacking: tuple[DiskError, ...] = ()


@dataclass(frozen=True, slots=True)
class _Match:
    known: KnownTorrent
    source: str
    files: Mapping[RepoPath, Path]
    selected: tuple[str, ...] | None = None
    ignored: tuple[str, ...] = ()


def _match_of(known: KnownTorrent, found: FolderMatch) -> _Match:
    chosen = None if found.chosen is None else tuple(glob.escape(path.text) for path in found.chosen)
    return _Match(known, str(found.root), found.files, chosen, found.ignored)


def import_models(
    folders: Sequence[Path], *, hub_cache: bool, context: ImportContext, report: Report = ignore
) -> Import:
    """Import what is recognised in the Hugging Face cache (`hub_cache`) and below `folders`.

    A snapshot that cannot be imported does not stop the others, since the next may be smaller, or linked: its reason
    goes into `unmatched`. Raises `NotFoundError` for a folder that does not exist, and what a named torrent raises.
    """
    for folder in folders:
        if not folder.is_dir():
            raise NotFoundError(f"no folder {folder}")
    named = _named(folders, context, report, hub_cache=hub_cache)
    known = known_torrents(named, context.library, context.publishers, report)
    imported: dict[SnapshotId, Imported] = {}
    unmatched: list[tuple[str, str]] = []
    lacking: list[DiskError] = []
    matches = _Matches(known, context, unmatched)

    def bring_in(match: _Match) -> None:
        if (before := imported.get(match.known.id)) is None or before.held.state is not State.COMPLETE:
            imported[match.known.id] = _import_one(match, context, report)

    def failed(match: _Match, error: P2pqwenError) -> None:
        if isinstance(error, DiskError):
            lacking.append(error)
            report(Notice("warning", f"{match.known.id}: {error.message}"))
        unmatched.append((match.source, error.message))

    each((*matches.in_hub_cache(enabled=hub_cache), *matches.in_folders(folders)), bring_in, failed=failed)
    return Import(tuple(imported.values()), tuple(unmatched), tuple(lacking))


def _named(folders: Sequence[Path], context: ImportContext, report: Report, *, hub_cache: bool) -> list[CheckedTorrent]:
    """Read the torrents that the user named; what a client left out is computed from the files."""
    files = [FolderFiles(folder, apart=context.library.contains) for folder in folders] if context.torrents else []
    cache, publishers = context.hub_cache.root if hub_cache else None, context.publishers
    return [read_whole(path, files, cache, publishers, repo=context.repo, report=report) for path in context.torrents]


class _Matches:
    """Finds the known snapshots that files may belong to."""

    def __init__(self, known: Sequence[KnownTorrent], context: ImportContext, unmatched: list[tuple[str, str]]) -> None:
        self._known, self._context, self._unmatched = known, context, unmatched

    def in_hub_cache(self, *, enabled: bool) -> Iterator[_Match]:
        """Match by blob names: the cache names each blob after its hash."""
        cache = self._context.hub_cache
        if not enabled or not cache.root.is_dir():
            return
        of_repo = group_by(self._known, attrgetter("id.repo"))
        for repo in _cached_repos(cache.root):
            listed = of_repo.get(repo, [])
            commits = {path.name for path in (cache.root / cache_folder(repo)).glob("snapshots/*")}
            for commit in sorted(commits - {str(one.id.commit) for one in listed}):
                self._unmatched.append(
                    (f"{repo}@{commit}", "in the Hugging Face cache, but no publisher you trust lists it")
                )
            for one in listed:
                if (found := self._opened(one, str(one.id))) is None:
                    continue
                files = {row.path: path for row in found.manifest.files if row.size and (path := cache.find(repo, row))}
                # A license file that never changes must not start a fetch of every revision.
                here = sum(row.size for row in found.manifest.files if row.path in files)
                if str(one.id.commit) in commits or 2 * here > one.size:
                    yield _Match(one, f"the Hugging Face cache, {one.id}", files)

    def in_folders(self, folders: Iterable[Path]) -> Iterator[_Match]:
        """Match by the sizes and contents of files, and by their names."""
        for folder in folders:
            found = self._in_folder(folder)
            yield from found
            if not found:
                self._unmatched.append((str(folder), "no folder matches a torrent you named or an index you trust"))

    def _in_folder(self, folder: Path) -> list[_Match]:
        """Return the best match for the files below a folder, largest first."""
        files = FolderFiles(folder, apart=self._context.library.contains)
        best: dict[Path, tuple[int, _Match]] = {}

        def look_for(one: KnownTorrent) -> None:
            if not files.may_hold(one):
                return
            for found in files.find(one.open().manifest):
                if found.root not in best or found.bytes > best[found.root][0]:
                    best[found.root] = found.bytes, _match_of(one, found)

        each(self._known, look_for, failed=lambda _, error: self._unmatched.append((str(folder), error.message)))
        return [match for _, match in sorted(best.values(), key=lambda row: -row[0])]

    def _opened(self, one: KnownTorrent, source: str) -> TorrentAndManifest | None:
        def failed(_: KnownTorrent, error: P2pqwenError) -> None:
            self._unmatched.append((source, error.message))

        return first_of([one], KnownTorrent.open, failed=failed)


def _import_one(match: _Match, context: ImportContext, report: Report) -> Imported:
    library, found = context.library, match.known.open()
    with durable.lock(library.lock_path(match.known.id)):
        held = library.get(match.known.id)
        if held is not None:
            found = _of_held(held, found)
        else:
            _refuse_contradicted(found, context)
        warnings = tuple(warnings_of(found.manifest, found.torrent.provenance))
        if held is not None:
            held.require_torrent(found.metainfo)
        if held is not None and held.state is State.COMPLETE:
            require_unchanged(held, found.metainfo, library, report)
            return Imported(held, match.source, match.known.size, 0, 0, 0, (), warnings, unchanged=True)
        if held is None:
            rows = (row for row in found.manifest.files if match.selected is None or row.path in match.files)
            sources = ((row.size, match.files.get(row.path)) for row in rows)
            with hinting_at_hard_links(applies=not context.hard_links):
                needed = bytes_to_write(sources, hard_links=context.hard_links)
                names = [row.path for row in found.manifest.files]
                folder = library.stage(match.known.id, needed, files=names)
        else:
            folder = held.folder
        theirs = ((row.size, match.files[row.path]) for row in found.manifest.files if row.path in match.files)
        announce_second_copy(match.known.id, theirs, folder, hard_links=context.hard_links, report=report)
        placing = _Placing(found, folder, library, report, hard_links=context.hard_links)
        placing.place_all(match.files)
        held = _enter(match, found, folder, held, placing, library)
    size = match.known.size
    missing = placing.missing_of(_wanted(found, held.selected))
    return Imported(
        held, match.source, size, placing.linked, placing.copied, missing, tuple(placing.bad), warnings,
        ignored=match.ignored,
    )  # fmt: skip


def _wanted(found: TorrentAndManifest, selected: tuple[str, ...] | None) -> set[RepoPath]:
    """Return the files that these globs match, all for None."""
    paths = {row.path for row in found.manifest.files}
    return {one for one in paths if selected is None or any(fnmatch.fnmatchcase(one.text, glob_) for glob_ in selected)}


def _together(held: HeldSnapshot | None, selected: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the globs of a snapshot after more of it was found: what was wanted before stays wanted."""
    if held is None or selected is None:
        return selected
    return None if held.selected is None else tuple(dict.fromkeys((*held.selected, *selected)))


def _refuse_contradicted(found: TorrentAndManifest, context: ImportContext) -> None:
    """Raise `VerificationError` if a trusted index names another manifest, or another torrent for an unvouched one."""
    snapshot, infohash = found.manifest.snapshot, found.metainfo.infohash
    if listed := listed_otherwise(found.torrent, context.publishers):
        raise VerificationError(
            f"the index of {listed[0].publisher.name} names another manifest for {snapshot}",
            expected=listed[0].entry.manifest,
            got=found.manifest.digest,
            hint=_BY_INDEX,
        )
    judgement = judge_torrent(found.torrent.tried_with(keys_of(context.voices)), context.voices, of_bytes=False)
    if judgement is None or judgement.standing is not Standing.UNVOUCHED:
        return
    if listed := find_entries(context.publishers, snapshot):
        raise VerificationError(
            f"the index of {listed[0].publisher.name} names another torrent for {snapshot}",
            expected=listed[0].entry.infohash.v2,
            got=f"{infohash.v2}, {judgement.words}",
            hint=_BY_INDEX,
        )


def _of_held(held: HeldSnapshot, found: TorrentAndManifest) -> TorrentAndManifest:
    """Return a held snapshot's own torrent, which stays; raises `VerificationError` if the infohashes differ."""
    stored = held.torrent()
    if stored.infohash != found.torrent.infohash:
        raise VerificationError(
            f"the library holds {held.id} from another torrent, which is kept",
            expected=stored.infohash.v2,
            got=found.torrent.infohash.v2,
            hint=f"`p2pqwen remove {held.id}` deletes the held one",
        )
    return found if stored.manifest is None else TorrentAndManifest(stored, stored.manifest)


def _enter(
    match: _Match,
    found: TorrentAndManifest,
    folder: Path,
    held: HeldSnapshot | None,
    placing: _Placing,
    library: Library,
) -> HeldSnapshot:
    """Make the match a held snapshot: complete, partial with the chosen files, or to be continued by a fetch."""
    snapshot, torrent = match.known.id, found.torrent
    verified = Verified(found.metainfo.infohash.v2, placing.looks)
    if not placing.lacking:
        if held is None:
            return library.install(snapshot, torrent, verified)
        return library.finish(snapshot, torrent, None, verified)
    selected = _together(held, match.selected)
    if held is not None:
        if selected is None:
            return held
        if placing.lacking & _wanted(found, selected):
            return library.begin(snapshot, torrent, selected)
        return library.finish(snapshot, torrent, selected, verified)
    if placing.missing == found.metainfo.layout.total_size:
        library.discard_stage(snapshot)
        reasons = "; ".join(f"{bad.path}: expected {bad.expected}, got {bad.got}" for bad in placing.bad[:3])
        raise NotFoundError(f"no file of {snapshot} matches the manifest", got=reasons or None)
    # Move the folder before writing its torrent: after a crash in between it goes back to staging.
    library.make_way(snapshot)
    durable.rename(folder, library.folder(snapshot), shared=True)
    begun = library.begin(snapshot, torrent, selected)
    whole = selected is not None and not placing.lacking & _wanted(found, selected)
    return library.finish(snapshot, torrent, selected, verified) if whole else begun


class _Placing:
    """Brings the files of one snapshot into a folder and keeps those that are intact, or at least half right."""

    def __init__(
        self, found: TorrentAndManifest, folder: Path, library: Library, report: Report, *, hard_links: bool
    ) -> None:
        self._found, self._folder, self._library, self._report = found, folder, library, report
        self._hard_links = hard_links
        self.rows = {row.path: row for row in found.manifest.files}
        self._index = {file.path: index for index, file in enumerate(found.metainfo.files)}
        self.looks: dict[RepoPath, Look] = {}  # of intact files, taken when they were read
        self.bad: list[BadFile] = []
        self.good: set[RepoPath] = set()
        self._right_bytes: dict[RepoPath, int] = {}  # of bad files that stay for a fetch to repair
        self._placed: dict[RepoPath, Placement] = {}

    @property
    def lacking(self) -> set[RepoPath]:
        """The files that are still missing."""
        return set(self.rows) - self.good

    @property
    def missing(self) -> int:
        """The bytes that are still missing."""
        return self._size(self.lacking) - sum(self._right_bytes.values())

    def missing_of(self, wanted: set[RepoPath]) -> int:
        """Return the bytes of these files that are still missing."""
        lacking = self.lacking & wanted
        return self._size(lacking) - sum(count for path, count in self._right_bytes.items() if path in lacking)

    @property
    def linked(self) -> int:
        """Bytes that were placed without being written again."""
        return self._size(path for path, how in self._placed.items() if how is not Placement.COPY)

    @property
    def copied(self) -> int:
        """Bytes that had to be written, because the source is on another file system."""
        return self._size(path for path, how in self._placed.items() if how is Placement.COPY)

    def place_all(self, sources: Mapping[RepoPath, Path]) -> None:
        """Put the files in place, read each, and remove those that are mostly wrong; a fetch repairs the others."""
        with durable.disk_errors(f"remove links below {self._folder}"):
            remove_links(self._folder, self._found.metainfo)
        self._require_room(sources)
        self._link(sources)
        for row in self.rows.values():
            if row.size == 0:
                with durable.disk_errors(f"create {row.path}"):
                    (self._folder / row.path.text).parent.mkdir(parents=True, exist_ok=True)
                    if not (self._folder / row.path.text).exists():
                        (self._folder / row.path.text).touch()
                    self.looks[row.path] = Look.of(self._folder / row.path.text)
                self.good.add(row.path)
        present = {path for path, row in self.rows.items() if row.size and self._has_size(row)}
        problems = self._problems(present)
        for path in sorted(problems.keys() & sources.keys() - self._placed.keys()):
            if self._is_better(path, sources[path]):
                del problems[path]
                self._place(path, sources[path])
                problems |= self._problems({path})
        self.good |= present - problems.keys()
        for path in sorted(problems):
            shared = (self._folder / path.text).stat().st_nlink > 1  # perhaps by an earlier import
            if self._placed.pop(path, None) is not None or shared:
                self.bad.append(problems[path])
                self._keep_or_remove(path)
            elif path in sources and self._stands(path):  # by an earlier import; an unfinished fetch leaves holes
                self.bad.append(problems[path])

    def _problems(self, paths: set[RepoPath]) -> dict[RepoPath, BadFile]:
        """Read files that are in place; return the bad ones, and record how many bytes of each are right."""
        problems: dict[RepoPath, BadFile] = {}
        for path in paths:
            self._right_bytes.pop(path, None)

        def on_error(path: RepoPath, error: P2pqwenError) -> None:
            problems[path] = BadFile(path.text, "a readable file", error.message)

        for path, digests in self._hash(paths, on_error).items():
            if (problem := self._difference(path, digests)) is not None:
                problems[path] = BadFile(path.text, *problem.shown)
                self._right_bytes[path] = right_bytes(self._found.metainfo, self._index[path], digests)
            elif digests.look is not None:
                self.looks[path] = digests.look
        return problems

    def _difference(self, path: RepoPath, digests: FileDigests) -> Difference | None:
        return difference(self._found.metainfo, self._index[path], self.rows[path], digests)

    def _is_better(self, path: RepoPath, source: Path) -> bool:
        """Tell whether more of a source is right than of the bad file in place; an unreadable source is not better."""
        layout, index = self._found.metainfo.layout, self._index[path]
        padded, git_blob = layout.pad_after(index) > 0, not self.rows[path].lfs
        try:
            with durable.disk_errors(f"look at {source}"):
                if source.samefile(self._folder / path.text):
                    return False
            found = hash_file(source, piece_length=layout.piece_length, padded=padded, git_blob=git_blob)
        except P2pqwenError:
            return False
        if self._difference(path, found) is None:
            return True
        return right_bytes(self._found.metainfo, index, found) > self._right_bytes.get(path, 0)

    def _keep_or_remove(self, path: RepoPath) -> None:
        target = self._folder / path.text
        if self._right_bytes.get(path, 0) * 2 < self.rows[path].size:
            self._right_bytes.pop(path, None)
            with durable.disk_errors(f"remove {target}"):
                target.unlink()
        elif target.stat().st_nlink > 1:
            self._library.require_room(self._folder, self.rows[path].size)
            self._separate(target)

    def _separate(self, target: Path) -> None:
        """Replace a linked file, which a fetch will repair, with a copy."""
        scratch = self._library.scratch(self._found.manifest.snapshot)
        with durable.disk_errors(f"copy {target}"):
            shutil.rmtree(scratch, ignore_errors=True)
            try:
                place(target, scratch / "0")
                (scratch / "0").replace(target)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def _require_room(self, sources: Mapping[RepoPath, Path]) -> None:
        lacking = ((self.rows[path].size, source) for path, source in sources.items() if not self._stands(path))
        needed = bytes_to_write(lacking, hard_links=self._hard_links)
        with hinting_at_hard_links(applies=not self._hard_links):
            self._library.require_room(self._folder, needed(self._folder))

    def _stands(self, path: RepoPath) -> bool:
        """Tell whether a file is fully there, from an earlier import or a fetch."""
        target, row = self._folder / path.text, self.rows[path]
        return target.exists() and self._has_size(row) and allocated(target) >= row.size

    def _link(self, sources: Mapping[RepoPath, Path]) -> None:
        for path, source in sources.items():
            if not self._stands(path):
                self._place(path, source)

    def _place(self, path: RepoPath, source: Path) -> None:
        target = self._folder / path.text
        with durable.disk_errors(f"replace {target}"):
            target.unlink(missing_ok=True)
        self._placed[path] = place(source, target, allow_hard_link=self._hard_links)

    def _hash(
        self, present: set[RepoPath], on_error: Callable[[RepoPath, P2pqwenError], None]
    ) -> Mapping[RepoPath, FileDigests]:
        total, done = sum(self.rows[path].size for path in present), 0

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            self._report(Progress("verify", min(done, total), total))

        lfs = {path for path, row in self.rows.items() if row.lfs}
        layout = self._found.metainfo.layout
        return hash_files(self._folder, layout, only=present, lfs=lfs, on_bytes=on_bytes, on_error=on_error)

    def _size(self, paths: Iterable[RepoPath]) -> int:
        return sum(self.rows[path].size for path in paths)

    def _has_size(self, row: FileRow) -> bool:
        path = self._folder / row.path.text
        return path.is_file() and path.stat().st_size == row.size


def _cached_repos(root: Path) -> Iterator[RepoId]:
    for folder in sorted(root.glob("*s--*--*")):
        if (repo := parse_cache_folder(folder.name)) is not None:
            yield repo
