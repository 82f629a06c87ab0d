"""Look for bit rot: read every held file again on a schedule, a little at a time, and remember the progress.

    scrub/<org>/<model>@<commit> in the state store: when the last whole pass ended, what it found, and the files that
    the pass under way has read. A pass resumes after a restart, with the first file that was not read whole.

A pass bypasses the page cache (`library.idle`), because it is the disk that rots.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from p2pqwen.containment import each, warn
from p2pqwen.errors import DiskError, FormatError, Interruption, VerificationError
from p2pqwen.events import Happened, Notice, Report, ignore
from p2pqwen.library import durable
from p2pqwen.library.disk_faults import DiskFaults
from p2pqwen.library.idle import ReadThrottle, forget_cached
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.state_store import Followed, StateStore
from p2pqwen.library.verified import Look, Verified, VerifiedFiles
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.operations.verify.damage import look_for_damage
from p2pqwen.operations.verify.scrub_record import Damage, ScrubRecord, record_name, scrub_records
from p2pqwen.torrent.chosen_files import choose_files
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.json_value import FLAT, named
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId

SLOWEST = 20 << 20
"""Bytes a second that a pass is always allowed; it gets more if a library is too large for its interval."""

REMEMBER_EVERY = 1.0
"""Seconds between records of a pass: each has the path of every file that was read. A killed pass reads these again."""


class ScrubStoppedError(Interruption):
    """The pass was told to stop; what it read so far is remembered."""


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """One snapshot's pass. `bytes` were read by this call."""

    id: SnapshotId = field(metadata=FLAT)
    files: int
    bytes: int
    damage: tuple[Damage, ...] = field(metadata=named("bad"))


@dataclass(frozen=True, slots=True)
class ScrubFailed:
    """A snapshot that could not be read, and why."""

    id: SnapshotId = field(metadata=FLAT)
    reason: str


@dataclass(frozen=True, slots=True)
class ScrubAnswer:
    """What `library scrub --json` says."""

    scrubbed: tuple[Scrubbed, ...]
    failed: tuple[ScrubFailed, ...]


@dataclass(slots=True)
class _Pass:
    """A pass under way: the files that it has read, the damage that it found, and how files looked in this call."""

    read: set[str]
    damage: list[Damage]
    looks: dict[RepoPath, Look] = field(default_factory=dict)


@dataclass(slots=True)
class Scrubber:
    """Reads held snapshots, the longest unread first."""

    library: Library
    verified: VerifiedFiles
    store: StateStore
    interval: timedelta
    report: Report = ignore
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _seen: dict[SnapshotId, ScrubRecord] = field(default_factory=dict)
    faults: DiskFaults = field(init=False)
    _records: Followed[Mapping[str, ScrubRecord]] = field(init=False)

    def __post_init__(self) -> None:
        self.faults = DiskFaults(self.store, lambda: [one.root for one in self.library.folders], self.now)
        self._records = Followed(self.store, lambda: scrub_records(self.store))

    def record(self, snapshot: SnapshotId) -> ScrubRecord:
        """Return what is known of a snapshot."""
        return ScrubRecord.from_json(self.store.get(record_name(snapshot)))

    def records(self) -> Mapping[str, ScrubRecord]:
        """Return what is known, by `org/model@commit`."""
        return self._records.now()

    def forget(self, snapshot: SnapshotId) -> None:
        """Forget a snapshot that is no longer held."""
        self.store.delete(record_name(snapshot))

    def due(self, *, everything: bool = False) -> list[HeldSnapshot]:
        """Return the snapshots whose last pass is older than the interval; those under way first, then the oldest."""
        records = self.records()
        now = self.now()
        found: list[tuple[bool, datetime, SnapshotId, HeldSnapshot]] = []

        def look(held: HeldSnapshot) -> None:
            record = records.get(str(held.id), ScrubRecord())
            last = record.finished or _arrived(held)
            if everything or record.read or now - last >= self.interval or last > now:
                found.append((not record.read, last, held.id, held))

        whole = [held for held in self.library.all() if held.state is not State.INCOMPLETE]
        each(whole, look, failed=warn(self.report, lambda held: held.id))
        return [held for *_, held in sorted(found)]

    def calendar(self, days: int) -> tuple[int, ...]:
        """Return how many snapshots fall due on each of `days` days (UTC); the first is today, with overdue ones."""
        records, now = self.records(), self.now()
        found = [0] * days

        def count(held: HeldSnapshot) -> None:
            record = records.get(str(held.id), ScrubRecord())
            last = record.finished or _arrived(held)
            later = 0 if record.read or last > now else ((last + self.interval).date() - now.date()).days
            if later < days:
                found[max(0, later)] += 1

        each([held for held in self.library.all() if held.state is not State.INCOMPLETE], count, failed=lambda *_: None)
        return tuple(found)

    def rate(self) -> int:
        """Return the bytes a second that read the whole library twice within the interval."""
        sizes = each(self.library.all(), lambda held: held.metainfo().layout.total_size, failed=lambda *_: None)
        total = sum(sizes)
        return max(SLOWEST, round(2 * total / max(1.0, self.interval.total_seconds())))

    def scrub(
        self,
        held: HeldSnapshot,
        *,
        throttle: ReadThrottle | None = None,
        stopping: Callable[[], bool] = lambda: False,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> Scrubbed:
        """Read what the pass has not read yet; raises `ScrubStoppedError`, `FormatError` (torrent), `DiskError`.

        Also raises `AwayError` if the snapshot's disk has gone; what was read until then is remembered.
        """
        metainfo, rows = held.metainfo(), _rows(held)
        record = self.record(held.id)
        known = _Pass(set(record.read), list(record.damage) if record.read else [])
        count = 0

        def took(size: int) -> None:
            nonlocal count
            count += size
            on_bytes(size)
            if stopping():
                raise ScrubStoppedError
            if throttle is not None:
                throttle.took(size)

        with self._remembering(held.id, record.finished, known) as remember:
            for index in self._files(held, metainfo):
                file = metainfo.files[index].path
                if file.text not in known.read:
                    self._look(held, metainfo, index, rows.get(file), known, took)
                    remember()
        damage = known.damage
        if (sums := held.torrent_damage()) is not None:
            expected, got = (f"sha256 {one}" for one in sums)
            damage.append(Damage(held.torrent_path.name, (), expected, got))
            self._found(held, damage[-1])
        self._remember(held.id, ScrubRecord(self.now(), frozenset(), tuple(damage)))
        if not damage and len(known.looks) == len(known.read):
            self.verified.keep(held.id, Verified(metainfo.infohash.v2, known.looks))
        done = Scrubbed(held.id, len(known.read), count, tuple(damage))
        self.report(Happened("scrubbed", {**_facts(held.id), "bytes": count, "bad_files": len(damage)}))
        return done

    @contextmanager
    def _remembering(
        self, snapshot: SnapshotId, finished: datetime | None, known: _Pass
    ) -> Iterator[Callable[[], None]]:
        """Give a function that records the pass, at most once in `REMEMBER_EVERY`; an error in the block does too."""
        next_time = -math.inf

        def record() -> None:
            self._remember(snapshot, ScrubRecord(finished, frozenset(known.read), tuple(known.damage)))

        def remember() -> None:
            nonlocal next_time
            if time.monotonic() >= next_time:
                record()
                next_time = time.monotonic() + REMEMBER_EVERY

        try:
            yield remember
        except BaseException:
            if known.read:  # else the record of the last pass still holds
                with suppress(DiskError):
                    record()
            raise

    def _look(
        self,
        held: HeldSnapshot,
        metainfo: Metainfo,
        index: int,
        row: FileRow | None,
        known: _Pass,
        on_bytes: Callable[[int], None],
    ) -> None:
        """Read one file; raises `AwayError`, and what `on_bytes` raises."""
        path = metainfo.files[index].path
        location = held.folder / path.text
        forget_cached(location)
        with suppress(OSError):
            known.looks[path] = Look.of(location)
        try:
            found = look_for_damage(metainfo, held.folder, index, row, on_bytes)
        except DiskError as error:  # a sector that cannot be read is bad, not the end of the pass
            found = Damage(path.text, tuple(metainfo.layout.pieces(index)), "a readable file", error.message)
            with suppress(DiskError):  # the home's own disk may be the bad one
                self.faults.note(held.folder, error)
        forget_cached(location)
        if found is not None:
            self.library.require_here(held)  # a disk that was pulled is no rot
            known.damage.append(found)
            self._found(held, found)
        known.read.add(path.text)

    def note(self, held: HeldSnapshot, bad: Collection[str]) -> None:
        """Note what another reading of every file, such as `verify`, found: these paths are bad.

        The bad files are read once more to find their bad pieces. Raises `FormatError` (torrent), `DiskError`.
        """
        if not bad:
            if self.record(held.id).damage:
                self.mended(held.id)
            return
        metainfo, rows = held.metainfo(), _rows(held)
        looks = (
            look_for_damage(metainfo, held.folder, index, rows.get(file.path))
            for index, file in enumerate(metainfo.layout.files)
            if file.path.text in bad
        )
        damage = tuple(one for one in looks if one is not None)
        self.verified.forget(held.id)
        self._remember(held.id, ScrubRecord(self.now(), frozenset(), damage))

    def mended(self, snapshot: SnapshotId) -> None:
        """Note that what was found damaged is right again."""
        record = self.record(snapshot)
        self._remember(snapshot, ScrubRecord(record.finished, record.read, ()))

    def _files(self, held: HeldSnapshot, metainfo: Metainfo) -> Iterator[int]:
        wanted = choose_files(metainfo, held.selected if held.state is State.PARTIAL else None)
        for index, file in enumerate(metainfo.layout.files):
            if wanted is None or file.path in wanted:
                yield index

    def _found(self, held: HeldSnapshot, damage: Damage) -> None:
        self.verified.forget(held.id)  # from now on it must not count as right
        facts = {**_facts(held.id), "path": damage.path, "pieces": len(damage.pieces), "got": damage.got}
        self.report(Happened("rot", facts))
        self.report(Notice("warning", f"{held.id}: {damage.path} is damaged: {damage.expected}, got {damage.got}"))

    def _remember(self, snapshot: SnapshotId, record: ScrubRecord) -> None:
        self.store.put(record_name(snapshot), record.to_json())


def damage_found(store: StateStore) -> Callable[[HeldSnapshot], list[str]]:
    """Return a function that gives the files that scrubs found damaged in a snapshot, unless it was rewritten since."""

    def paths(held: HeldSnapshot) -> list[str]:
        record = ScrubRecord.from_json(store.get(record_name(held.id)))
        # The time is kept in whole seconds.
        written_again = record.finished is not None and _arrived(held) >= record.finished + timedelta(seconds=1)
        return [] if written_again else [one.path for one in record.damage]

    return paths


def _rows(held: HeldSnapshot) -> dict[RepoPath, FileRow]:
    """Return the manifest's rows by path, none without a manifest; raises `FormatError`, `DiskError`.

    A manifest that contradicts itself or its torrent gives none either: its bits flipped since it was accepted, which
    the torrent's own sum shows, and the pieces still say what the files are.
    """
    try:
        manifest = held.torrent().manifest
    except FormatError:
        raise
    except VerificationError:
        return {}
    return {} if manifest is None else {row.path: row for row in manifest.files}


def _facts(snapshot: SnapshotId) -> dict[str, str | int | float | bool | None]:
    return {"repo": str(snapshot.repo), "commit": str(snapshot.commit)}


def _arrived(held: HeldSnapshot) -> datetime:
    """Return when a snapshot's torrent was written, which is after every file was verified."""
    with durable.disk_errors(f"look at {held.torrent_path}"):
        return datetime.fromtimestamp(held.torrent_path.stat().st_mtime, UTC)
