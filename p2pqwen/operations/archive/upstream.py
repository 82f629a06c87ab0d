"""Ask each snapshot's origin whether it still shows the snapshot, and remember the answers with their dates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from p2pqwen.containment import first_of
from p2pqwen.errors import NetworkError, P2pqwenError
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.snapshots import Library
from p2pqwen.library.upstream_store import UpstreamStore
from p2pqwen.operations.archive.upstream_answer import UpstreamAnswer
from p2pqwen.operations.indexes.own_index import last_published
from p2pqwen.operations.preserve.origin import Origin
from p2pqwen.stewardship.upstream import UpstreamRecord, returned, vanished
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import SnapshotId, words_of_origins

ASKING_WORKERS = 4
GIVE_UP_AFTER = 5
"""The Hub is taken to be unreachable after this many snapshots in a row without any answer."""


@dataclass(frozen=True, slots=True)
class UpstreamCheck:
    """One round of questions: how many were asked and answered, and what is newly gone or back."""

    asked: int
    answered: int
    vanished: tuple[SnapshotId, ...]
    returned: tuple[SnapshotId, ...]


def tracked(library: Library, keys: KeyStore, now: datetime, report: Report = ignore) -> list[SnapshotId]:
    """Return the snapshots whose state on the Hub matters here: what is held, and what this home's index lists."""
    found = {one.id for one in library.all()}
    try:
        published = last_published(keys, now) if keys.exists else None
    except P2pqwenError as error:
        report(Notice("warning", f"the index that was published last cannot be read: {error.message}"))
        published = None
    if published is not None:
        found |= {entry.id for entry in published.document.entries}
    return sorted(found)


@dataclass(frozen=True, slots=True)
class SnapshotUpstream:
    """A snapshot, and what is known of it on the Hub."""

    snapshot: SnapshotId = field(metadata=FLAT)
    upstream: UpstreamAnswer = field(metadata=FLAT)


@dataclass(frozen=True, slots=True)
class UpstreamShown:
    """The answer of `upstream show`."""

    snapshots: tuple[SnapshotUpstream, ...]

    @classmethod
    def of(cls, wanted: Iterable[SnapshotId], known: Mapping[SnapshotId, UpstreamRecord]) -> UpstreamShown:
        """Return what is known of the `wanted`."""
        return cls(tuple(SnapshotUpstream(one, UpstreamAnswer.of(known.get(one))) for one in wanted))


@dataclass(frozen=True, slots=True)
class UpstreamChecked:
    """The answer of `upstream check`: the round, and what is known after it."""

    check: UpstreamCheck = field(metadata=FLAT)
    shown: UpstreamShown = field(metadata=FLAT)


def note_upstream(
    store: UpstreamStore, snapshot: SnapshotId, *, shown: bool, now: datetime, report: Report = ignore
) -> tuple[UpstreamRecord | None, UpstreamRecord]:
    """Remember one answer of the Hub, and return the records before and after; reports what vanished or is back."""
    before, after = store.observe(snapshot, shown=shown, now=now)
    where = snapshot.repo.kind.origin.words
    if vanished(before, after):
        report(Notice("warning", f"gone from {where}: {snapshot}; this copy may be among the last"))
    elif returned(before, after):
        report(Notice("info", f"back on {where}: {snapshot}"))
    return before, after


def check_upstream(
    snapshots: Iterable[SnapshotId],
    origin: Origin,
    store: UpstreamStore,
    *,
    clock: Callable[[], datetime],
    report: Report = ignore,
) -> UpstreamCheck:
    """Ask about every snapshot; one without an answer keeps what is known of it."""
    wanted = sorted(set(snapshots))
    where = words_of_origins(one.repo.kind.origin for one in wanted)
    answered = silent = 0
    gone: list[SnapshotId] = []
    back: list[SnapshotId] = []
    with ThreadPoolExecutor(ASKING_WORKERS, "upstream") as pool:
        for start in range(0, len(wanted), ASKING_WORKERS):
            part = wanted[start : start + ASKING_WORKERS]
            for snapshot, shown in zip(part, pool.map(lambda one: _shown(one, origin, report), part), strict=True):
                if shown is None:
                    silent += 1
                    continue
                silent = 0
                answered += 1
                before, after = note_upstream(store, snapshot, shown=shown, now=clock(), report=report)
                if vanished(before, after):
                    gone.append(snapshot)
                elif returned(before, after):
                    back.append(snapshot)
            report(Progress(f"ask {where}", min(start + len(part), len(wanted)), len(wanted), "", "snapshots"))
            if silent >= GIVE_UP_AFTER and not answered:
                report(Notice("warning", f"no answer from {where}; the last known states are kept"))
                break
    return UpstreamCheck(len(wanted), answered, tuple(gone), tuple(back))


def _shown(snapshot: SnapshotId, origin: Origin, report: Report) -> bool | None:
    def failed(_: SnapshotId, error: P2pqwenError) -> None:
        if not isinstance(error, NetworkError):
            report(Notice("info", f"{snapshot}: {error.message}"))

    return first_of([snapshot], origin.serves, failed=failed)
