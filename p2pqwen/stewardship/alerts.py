"""Alerts: what a person should know of, each one kind of trouble with one thing; and which were reported already.

An alert is reported once. One that ends and returns within the quiet period is still the same one.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta


class AlertKind(enum.StrEnum):
    """The kind of trouble; the values are those that `[alerts] mute` takes."""

    DISK = "disk"  # a library folder is not connected
    FAILING = "failing"  # I/O errors on a disk
    ROOM = "room"  # a disk has no room beyond its reserve
    DAMAGE = "damage"  # files were found damaged
    LAST_COPY = "last-copy"  # no other complete copy was seen
    ENDANGERED = "endangered"
    GONE = "gone"  # the Hub, or ModelScope, no longer serves it
    WITHDRAWN = "withdrawn"
    QUOTA = "quota"
    HELD_BACK = "held-back"  # limits or hours forbid transfers now: shown, never sent
    EQUIVOCATION = "equivocation"  # a publisher signed two histories
    STALE = "stale-index"

    @property
    def is_sent(self) -> bool:
        """Whether it is sent from this machine: what the user set up is no news to them."""
        return self is not AlertKind.HELD_BACK


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should see. `level` is `warning` or `danger`.

    `about` is a snapshot, a folder or a publisher's name; empty if it is the node itself. `key` identifies it among
    alerts of its kind if `about` is text that others choose.
    """

    level: str
    about: str
    text: str
    kind: AlertKind
    key: str = ""

    @property
    def name(self) -> str:
        """What identifies the same alert at another time."""
        return f"{self.kind} {self.key or self.about}"

    def __str__(self) -> str:
        return f"{self.about}: {self.text}" if self.about else self.text


def worst_first(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """Return the alerts with those of danger first, otherwise in the given order."""
    return tuple(sorted(alerts, key=lambda one: one.level != "danger"))


Told = Mapping[str, datetime | None]
"""The names of reported alerts: when each ended, None while it lasts."""


def news(current: Iterable[Alert], told: Told, mute: Iterable[AlertKind] = ()) -> tuple[Alert, ...]:
    """Return the alerts that were not reported yet, without those of muted kinds."""
    muted = frozenset(mute)
    return tuple(one for one in current if one.kind.is_sent and one.kind not in muted and one.name not in told)


def after_round(
    current: Iterable[Alert], told: Told, sent: Iterable[Alert], now: datetime, quiet: timedelta
) -> dict[str, datetime | None]:
    """Return what to remember after a round.

    Alerts just `sent` are reported; those that ended `quiet` ago are new again. A clock that was set back makes nothing
    new.
    """
    lasting = {one.name for one in current}
    after: dict[str, datetime | None] = {one.name: None for one in sent}
    for name, ended in told.items():
        if name in lasting:
            after[name] = None
        elif ended is None or now - ended < quiet:
            after[name] = ended or now
    return after
