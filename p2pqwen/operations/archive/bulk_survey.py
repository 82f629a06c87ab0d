"""Survey every wanted repository before anything is downloaded: its commit, its size, and what is held already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import p2pqwen
from p2pqwen.containment import each
from p2pqwen.errors import (
    ClosedError,
    FormatError,
    NetworkError,
    NotFoundError,
    NotShownError,
    P2pqwenError,
    UsageError,
)
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.hub.cache import HubCache
from p2pqwen.library import durable
from p2pqwen.library.folders import bytes_to_write
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.preserve.early_license import license_of_listing, readme_of
from p2pqwen.operations.preserve.from_origin import PreserveOptions, begun_elsewhere, check_against_listing
from p2pqwen.operations.preserve.held_check import KnownDamage, nothing_known
from p2pqwen.operations.preserve.origin import Origin
from p2pqwen.stewardship.bulk_plan import Survey
from p2pqwen.stewardship.watchlist import MAX_WATCHLIST_SIZE, WatchedRepo, parse_watchlist
from p2pqwen.values.digest import Sha256
from p2pqwen.values.listing import ListedFile, Listing
from p2pqwen.values.snapshot_id import Owner, SnapshotId

SURVEY_WORKERS = 4
GIVE_UP_AFTER = 8
"""The Hub is taken to be unreachable after this many requests without any answer."""


SHIPPED = "default"
"""The name of the watchlist that comes with p2pqwen."""


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A survey and, if the Hub answered, the listing that the work starts from.

    `unproven`: the held files match the Hub's listing, but nothing proves that they are the commit's.
    """

    survey: Survey
    listing: Listing | None = None
    unproven: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to preserve. `repos` includes every repository that the Hub shows of `whole_orgs`."""

    repos: tuple[WatchedRepo, ...]
    whole_orgs: frozenset[Owner] = frozenset()

    def missing(self, held: Iterable[SnapshotId]) -> list[SnapshotId]:
        """Return the held snapshots that their organisation's listing lacks."""
        listed = {one.repo for one in self.repos}
        return [one for one in held if one.repo.owner in self.whole_orgs and one.repo not in listed]


def named_watchlist(given: Path) -> Path:
    """Return the file that the user named; `default` means p2pqwen's own list, unless a file has that name."""
    if given != Path(SHIPPED) or given.exists():
        return given
    package = Path(p2pqwen.__file__).parent
    installed = package / "watchlist.toml"  # put there by the build
    return installed if installed.exists() else package.parent / "torrents" / "watchlist.toml"


def read_watchlist(path: Path) -> tuple[WatchedRepo, ...]:
    """Read a watchlist file; raises `NotFoundError`, `DiskError`, and `UsageError` for an invalid one."""
    try:
        return parse_watchlist(durable.read(path, max_bytes=MAX_WATCHLIST_SIZE))
    except FormatError as error:
        raise UsageError.of(error, before=f"{path}: ") from error


def wanted_repos(watchlist: Path | None, owners: Sequence[Owner], origin: Origin, report: Report = ignore) -> Wanted:
    """Return what a watchlist names and what organisations show; a row of the watchlist takes precedence.

    An organisation that the Hub does not show, or does not answer about, is reported and stops neither the others nor
    the watchlist. Raises what `read_watchlist` does; if nothing is left, the first organisation's error:
    `NotFoundError`, `NetworkError`.
    """
    rows = () if watchlist is None else read_watchlist(named_watchlist(watchlist))
    found = {(row.repo, row.revision): row for row in rows}
    silent: list[P2pqwenError] = []

    def show(owner: Owner) -> Owner:
        repos = origin.repos(owner)
        if not repos:
            raise NotFoundError(f"{owner.kind.origin.words} shows no {owner.kind.holds}s of {owner.name}")
        for one in repos:
            found.setdefault((one.repo, None), WatchedRepo(one.repo, license=one.license))
        return owner

    def failed(owner: Owner, error: P2pqwenError) -> None:
        silent.append(error)
        report(Notice("warning", f"{owner}: {error.message}"))

    shown = each(owners, show, failed=failed)
    if silent and not found:
        raise silent[0]
    return Wanted(tuple(found.values()), frozenset(shown))


def survey_all(
    wanted: Sequence[WatchedRepo],
    *,
    origin: Origin,
    cache: HubCache,
    library: Library,
    read_licenses: bool,
    known_damage: KnownDamage = nothing_known,
    report: Report = ignore,
) -> list[Surveyed]:
    """Ask the Hub about every wanted repository; a failure goes into its survey and does not stop the others.

    Held snapshots are compared with the Hub's listing; one that differs has failed (`operations.held_check`).
    `read_licenses`: download each snapshot's README.md to read its license.
    """
    surveyor = _Surveyor(origin, cache, library, known_damage, read_licenses=read_licenses)
    found = _ask(wanted, surveyor, report)
    silent = [one.survey.wanted for one in found if isinstance(one.survey.error, NetworkError)]
    if silent and len(silent) < len(found):
        # Usually a rate limit refused these. The pace is slower by now, and the next try waits for its turn.
        again = _ask(silent, surveyor, report)
        found = [one for one in found if not isinstance(one.survey.error, NetworkError)] + again
    return _each_once(found)


def _each_once(found: Sequence[Surveyed]) -> list[Surveyed]:
    """Keep one survey for each snapshot: two names of one repository are one wish."""
    rows: list[Surveyed] = []
    seen: set[SnapshotId] = set()
    # The survey under the Hub's own name of the repository is the one kept.
    for one in sorted(found, key=lambda one: one.survey.wanted.named is not None):
        snapshot = None if one.listing is None else one.listing.snapshot
        again = snapshot is not None and snapshot in seen
        rows.append(replace(one, survey=replace(one.survey, repeated=True), listing=None) if again else one)
        if snapshot is not None:
            seen.add(snapshot)
    return rows


def _ask(wanted: Sequence[WatchedRepo], surveyor: _Surveyor, report: Report) -> list[Surveyed]:
    """Survey each; stop asking if the first `GIVE_UP_AFTER` get no answer."""
    found: list[Surveyed] = []
    with ThreadPoolExecutor(SURVEY_WORKERS, "survey") as pool:
        asked = {pool.submit(surveyor.survey, one): one for one in wanted}
        try:
            for answer in as_completed(asked):
                found.append(surveyor.not_asked(asked[answer]) if answer.cancelled() else answer.result())
                report(Progress("survey", len(found), len(wanted), str(asked[answer].repo), "repositories"))
                if len(found) == GIVE_UP_AFTER and all(isinstance(one.survey.error, NetworkError) for one in found):
                    for other in asked:
                        other.cancel()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


class _Surveyor:
    def __init__(
        self, origin: Origin, cache: HubCache, library: Library, known_damage: KnownDamage, *, read_licenses: bool
    ) -> None:
        self._origin, self._cache, self._library, self._read_licenses = origin, cache, library, read_licenses
        self._options = PreserveOptions(known_damage=known_damage)
        held = library.all()
        self._held = {one.id: one for one in held}
        self._contents = _content_sizes(held)

    def survey(self, wanted: WatchedRepo) -> Surveyed:
        """Survey one repository."""
        try:
            listing = self._origin.resolve(wanted.repo, wanted.revision, renamed=True)
        except P2pqwenError as error:
            return self._failed(wanted, error, absent=isinstance(error, NotShownError))
        if listing.snapshot.repo != wanted.repo:
            wanted = replace(wanted, repo=listing.snapshot.repo, named=wanted.repo)
        try:
            survey = self._describe(wanted, listing)
        except P2pqwenError as error:
            return self._failed(wanted, error)
        return self._compared(survey, listing) if survey.held else Surveyed(survey, listing)

    def not_asked(self, wanted: WatchedRepo) -> Surveyed:
        """Return the survey of a repository that was not asked about."""
        return self._failed(wanted, NetworkError("not asked: the Hub did not answer about the others"))

    def _failed(self, wanted: WatchedRepo, error: P2pqwenError, *, absent: bool = False) -> Surveyed:
        earlier = sum(one.repo == wanted.repo for one in self._held)
        closed = error.closed if isinstance(error, ClosedError) else None
        survey = Survey(wanted, error=error, absent=absent, earlier=earlier, license=wanted.license, closed=closed)
        return Surveyed(survey)

    def _describe(self, wanted: WatchedRepo, listing: Listing) -> Survey:
        held = self._held.get(listing.snapshot)
        whole = held is not None and held.state is State.COMPLETE
        survey = Survey(
            wanted,
            commit=listing.snapshot.commit,
            size=sum(file.size for file in listing.files),
            held=whole,
            earlier=sum(one.repo == wanted.repo and one != listing.snapshot for one in self._held),
            closed=listing.closed,
            license=wanted.license,
        )
        if whole or listing.closed is not None:
            return survey
        license_ = self._license(listing) if self._read_licenses else wanted.license
        return replace(survey, to_bring=self._to_bring(listing), license=license_)

    def _compared(self, survey: Survey, listing: Listing) -> Surveyed:
        """Compare a held snapshot with the Hub's listing; it is unchanged only if they match."""
        try:
            held = self._held[listing.snapshot]
            content = check_against_listing(held, listing, self._origin.site.endpoint, self._options, self._library)
        except P2pqwenError as error:
            return Surveyed(replace(survey, held=False, error=error), listing)
        return Surveyed(survey, listing, unproven=content.provenance is not Provenance.PROVEN)

    def _to_bring(self, listing: Listing) -> int:
        """Return the bytes of files that are neither staged, nor in another snapshot, nor in the Hugging Face cache."""
        staged = self._library.staged(listing.snapshot)
        begun = self._library.other_stages(listing.snapshot)
        return sum(file.size for file in listing.files if not self._is_here(listing, file, staged, begun))

    def _is_here(self, listing: Listing, file: ListedFile, staged: Path, begun: Sequence[Path]) -> bool:
        if file.lfs_sha256 is not None and self._contents.get(file.lfs_sha256) == file.size:
            return True
        path = staged / file.path.text
        if path.is_file() and path.stat().st_size == file.size:
            return True
        return self._cache.find(listing.snapshot.repo, file) is not None or begun_elsewhere(file, begun) is not None

    def _license(self, listing: Listing) -> str | None:
        if readme_of(listing) is None:
            return None
        needed = bytes_to_write((file.size, None) for file in listing.files)
        names = [file.path for file in listing.files]
        folder = self._library.stage(listing.snapshot, needed, files=names)
        return license_of_listing(listing, self._origin, folder)


def _content_sizes(held: Iterable[HeldSnapshot]) -> dict[Sha256, int]:
    """Return the size of every file of the library by its SHA-256, skipping snapshots that cannot be read."""
    found: dict[Sha256, int] = {}

    def read(one: HeldSnapshot) -> None:
        manifest = one.torrent().manifest
        if manifest is not None:
            found.update((row.sha256, row.size) for row in manifest.files)

    each([one for one in held if one.state is not State.INCOMPLETE], read, failed=lambda *_: None)
    return found
