"""Frozen values that operations and adapters report; only the command line prints them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one named stage of a long piece of work is (`download`, `hash`, …).

    `done` and `total` count bytes, or the things that `unit` names (`torrents`). `total` is None while it is unknown;
    `done == total` ends the stage. `facts` are further current figures, such as `peers` and `upload_rate`. `about`
    names the thing, if the stage is of one of several.
    """

    stage: str
    done: int
    total: int | None
    detail: str = ""
    unit: str = "bytes"
    facts: Mapping[str, int] = field(default_factory=dict)
    about: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """One line worth telling a person: a fact (`info`) or something they should act on (`warning`)."""

    level: Literal["info", "warning"]
    text: str


@dataclass(frozen=True, slots=True)
class Happened:
    """One event of a running node for its event log: a name and plain facts."""

    event: str
    facts: dict[str, str | int | float | bool | None]


Event: TypeAlias = Progress | Notice | Happened
Report: TypeAlias = Callable[[Event], None]


def about(name: str, number: int, total: int, report: Report) -> Report:
    """Return a report for one of several things that are processed in turn; reports its name first."""
    which = f"{name} ({number} of {total})"

    def named(event: Event) -> None:
        report(replace(event, about=which) if isinstance(event, Progress) else event)

    if total > 1:
        report(Notice("info", f"{which}:"))
    return named if total > 1 else report


def ignore(event: Event) -> None:
    """Report to nobody."""
    del event
