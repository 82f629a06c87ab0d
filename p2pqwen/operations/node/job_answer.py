"""A node's fetches as the control API shows them: each job, and the lines of a job's events."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from p2pqwen.events import Event, Happened, Notice, Progress
from p2pqwen.operations.fetch.fetch_answer import FetchAnswer
from p2pqwen.server.problem import Problem, Refusal
from p2pqwen.values.digest import CommitId
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.snapshot_id import RepoId


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    DOWNLOADING = "downloading"
    WAITING = "waiting"  # failed for now, tried again later
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def ended(self) -> bool:
        """Whether the job is over."""
        return self in {JobState.DONE, JobState.FAILED, JobState.STOPPED}


@dataclass(frozen=True, slots=True)
class JobAnswer:
    """One fetch. `repo` and `commit` are None until the target is resolved; `done` and `total` are bytes.

    `error` is the latest failure in words, `problem` the same in its parts.
    """

    id: int
    target: str
    kind: Literal["fetch", "repair"]
    state: JobState
    repo: RepoId | None
    commit: CommitId | None
    done: int
    total: int | None
    error: str | None
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class JobsAnswer:
    """Every fetch of a node."""

    fetches: tuple[JobAnswer, ...]


@dataclass(frozen=True, slots=True)
class ProgressShown:
    """`events.Progress` without its figures, which are the node's own."""

    stage: str
    done: int
    total: int | None
    detail: str
    unit: str


@dataclass(frozen=True, slots=True)
class ProgressLine:
    """How far the job is."""

    progress: ProgressShown


@dataclass(frozen=True, slots=True)
class NoticeLine:
    """A message for the user."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class HappenedLine:
    """An event for the log."""

    happened: Happened


@dataclass(frozen=True, slots=True)
class Ended:
    """The last line of a job that did not fail; `result` is None if it was stopped."""

    result: FetchAnswer | None
    state: JobState


@dataclass(frozen=True, slots=True)
class StillHere:
    """Nothing new: a heartbeat, by which the node learns whether the reader is there. Unknown lines read as this."""


@dataclass(frozen=True, slots=True)
class JobLine:
    """One line of a job's events; a job that fails ends with a `Refusal`."""

    line: ProgressLine | NoticeLine | HappenedLine | Refusal | Ended | StillHere = field(metadata=FLAT)

    @classmethod
    def of(cls, event: Event) -> JobLine:
        """Return the line of an event."""
        match event:
            case Progress(stage=stage, done=done, total=total, detail=detail, unit=unit):
                return cls(ProgressLine(ProgressShown(stage, done, total, detail, unit)))
            case Notice():
                return cls(NoticeLine(event))
            case Happened():
                return cls(HappenedLine(event))

    @property
    def event(self) -> Event | None:
        """The event of this line, None for any other line."""
        match self.line:
            case ProgressLine(progress=shown):
                return Progress(shown.stage, shown.done, shown.total, shown.detail, shown.unit)
            case NoticeLine(notice=notice):
                return notice
            case HappenedLine(happened=happened):
                return happened
            case _:
                return None
