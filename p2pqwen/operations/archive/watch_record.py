"""The record of the rounds of a node's watch on the Hub (`hub_watch`), and what `status` shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from p2pqwen.errors import FormatError
from p2pqwen.library.state_store import StateStore
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.json_value import FLAT, from_json, object_json
from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.values.strict_json import JsonObject, JsonValue

FIRST_RETRY = timedelta(minutes=5)
_DOCUMENT = "watch"


@dataclass(frozen=True, slots=True)
class RoundProgress:
    """How far an unfinished round is, in words."""

    progress: str


@dataclass(frozen=True, slots=True)
class RoundFailed:
    """Why a round failed."""

    error: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A repository that could not be preserved."""

    repo: RepoId
    reason: str


@dataclass(frozen=True, slots=True)
class RoundDone:
    """What a round did: how many repositories, `bytes` of what it preserved, and the first failures."""

    preserved: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0
    bytes: int = 0
    failures: tuple[Failure, ...] = ()

    @property
    def counts(self) -> Mapping[str, int]:
        """How many repositories had each result."""
        return {
            "preserved": self.preserved,
            "unchanged": self.unchanged,
            "skipped": self.skipped,
            "failed": self.failed,
        }


Facts: TypeAlias = RoundProgress | RoundFailed | RoundDone | None


@dataclass(frozen=True, slots=True)
class WatchRecord:
    """The last round: start, end (None: it runs, or was cut off), result, and how many rounds in a row failed.

    `noted`: when it was last known to run. `interrupted`: when it was cut off, if the node could still write that.
    """

    started: datetime | None = None
    ended: datetime | None = None
    failed_rounds: int = 0
    facts: Facts = field(default=None, metadata=FLAT)
    noted: datetime | None = None
    interrupted: datetime | None = None

    @property
    def is_unfinished(self) -> bool:
        """Whether it started and has not ended."""
        return self.started is not None and self.ended is None

    def cut_off(self, *, node_runs: bool) -> datetime | None:
        """Return when the round was interrupted, None if it was not or is still running in a node."""
        if not self.is_unfinished or (node_runs and self.interrupted is None):
            return None
        return self.interrupted or self.noted or self.started

    def due(self, every: timedelta) -> datetime | None:
        """Return when the next round is due, None for now."""
        if self.started is None or self.ended is None:
            return None
        if self.failed_rounds:  # 5 minutes, 10, 20 … but never less often than usual
            return self.ended + min(every, FIRST_RETRY * (1 << min(self.failed_rounds - 1, 16)))
        return self.started + every

    def to_json(self) -> JsonObject:
        """Return the document of the state store."""
        return object_json(self)

    @classmethod
    def from_json(cls, value: JsonValue) -> WatchRecord:
        """Read a document; an invalid one counts as no round."""
        try:
            return from_json(cls, value)
        except FormatError:
            return cls()


def last_round(store: StateStore) -> WatchRecord:
    """Return the last round of this home's node."""
    return WatchRecord.from_json(store.get(_DOCUMENT))


def keep_round(store: StateStore, record: WatchRecord) -> None:
    """Store the record of the last round; raises `DiskError`."""
    store.put(_DOCUMENT, record.to_json())


@dataclass(frozen=True, slots=True)
class WatchAnswer:
    """`watch` of `status --json`: the last round, whether it is running, and when the next one is due."""

    record: WatchRecord = field(metadata=FLAT)
    running: bool
    interrupted: datetime | None  # replaces the record's: a round that no node is running was interrupted
    next: datetime | None

    @classmethod
    def of(cls, record: WatchRecord, every: timedelta | None, *, node_runs: bool) -> WatchAnswer | None:
        """Return what is shown; None if nothing is watched and nothing ever was."""
        if every is None and record.started is None:
            return None
        cut_off = record.cut_off(node_runs=node_runs)
        due = None if every is None else record.due(every)
        return cls(record, record.is_unfinished and cut_off is None, cut_off, due)


def watch_words(record: WatchRecord, every: timedelta, *, node_runs: bool) -> str:
    """Return the line of `status`."""
    if record.started is None:
        return "watch      no round yet"
    facts = record.facts
    far = facts.progress if isinstance(facts, RoundProgress) else ""
    if (cut_off := record.cut_off(node_runs=node_runs)) is not None:
        return f"watch      interrupted {cut_off:%Y-%m-%d %H:%M}{f' at {far}' if far else ''}; the node resumes it"
    if record.ended is None:
        return f"watch      since {record.started:%Y-%m-%d %H:%M}: {far or 'looking at the Hub'}"
    due = record.due(every)
    then = f"; next {due:%Y-%m-%d %H:%M}" if due is not None else ""
    if isinstance(facts, RoundFailed):
        return f"watch      {record.ended:%Y-%m-%d %H:%M}: {facts.error}{then}"
    done = facts if isinstance(facts, RoundDone) else RoundDone()
    counts = ", ".join(f"{count} {name}" for name, count in done.counts.items())
    return f"watch      {record.ended:%Y-%m-%d %H:%M}: {counts}, {format_size(done.bytes)}{then}"
