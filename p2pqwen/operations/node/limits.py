"""What a node may transfer at this moment: rates, a monthly upload quota, hours of the day. Pure rules.

The quota counts payload sent to others, by BitTorrent and HTTP, in the calendar month of the machine's time zone. When
it is used up, nothing more is sent until the month ends; outside the hours, nothing is transferred at all.

The bytes sent are known a second or two late. While there is a quota, upload is therefore held to a rate at which the
rest lasts for several looks: a fast line slows down at the end instead of overrunning the quota.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Self

from p2pqwen.errors import UsageError
from p2pqwen.values.byte_size import format_rate, format_size, parse_rate, parse_size
from p2pqwen.values.strict_json import JsonObject

_HOURS = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])-([01]?[0-9]|2[0-4]):([0-5][0-9])", re.ASCII)
_DAY = 24 * 60
TRICKLE = 1024
"""Bytes a second that a download may still upload once the quota is used up; 0 would mean no limit."""

_LASTING = 10.0  # seconds that the rest of a quota lasts at least, until the rate is down to `SLOWEST`
SLOWEST = 16_000  # bytes a second, or the last of a quota would last for ever
_FASTEST = 2**31 - 1  # libtorrent's settings have 32 bits
_SHARE, _STEP = 4, 4


class Priority(enum.StrEnum):
    """A snapshot's rank among the others: which is fetched first, and how many peers it may serve at once."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def order(self) -> int:
        """A number to sort by; the lowest is fetched first."""
        return list(Priority).index(self)

    @property
    def upload_slots(self) -> int:
        """How many peers are served at once, -1 for no separate limit."""
        return 2 if self is Priority.LOW else -1

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a priority; raises `UsageError`."""
        try:
            return cls(text.lower())
        except ValueError as error:
            raise UsageError("not a priority", expected=", ".join(cls), got=repr(text[:40])) from error


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of the day, `23:00-07:00`, in minutes from midnight; it may run over midnight."""

    start: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `HH:MM-HH:MM`; raises `UsageError`."""
        match = _HOURS.fullmatch(text.strip())
        if match is None:
            raise UsageError("not hours of the day", expected="HH:MM-HH:MM, such as 23:00-07:00", got=repr(text[:40]))
        start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
        if max(start, end) > _DAY or start % _DAY == end:
            raise UsageError("not hours of the day", expected="two different times up to 24:00", got=repr(text[:40]))
        return cls(start % _DAY, end)

    def holds(self, minute: int) -> bool:
        """Tell whether a minute of the day is within these hours."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def __str__(self) -> str:
        return f"{self.start // 60:02}:{self.start % 60:02}-{self.end // 60:02}:{self.end % 60:02}"


@dataclass(frozen=True, slots=True)
class Limits:
    """A user's limits; 0, or no hours, means no limit. Rates are bytes a second, the quota bytes a month."""

    upload: int = 0
    download: int = 0
    monthly_upload: int = 0
    hours: tuple[Hours, ...] = ()

    def to_json(self) -> JsonObject:
        """Return the limits as they are stored."""
        return {
            "upload": self.upload,
            "download": self.download,
            "monthly_upload": self.monthly_upload,
            "hours": [str(one) for one in self.hours],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Self:
        """Read stored limits; raises `UsageError` for invalid ones."""
        if value is None:
            return cls()
        try:
            numbers = {one.name: int(value.get(one.name, 0)) for one in fields(cls) if one.name != "hours"}
            hours = tuple(Hours.parse(str(one)) for one in value.get("hours", ()))
        except (TypeError, ValueError) as error:
            raise UsageError("not limits", got=str(error)) from error
        if min(numbers.values()) < 0:
            raise UsageError("a limit is below 0", got=min(numbers.values()))
        return cls(**numbers, hours=hours)

    def changed(
        self, *, upload: str | None, download: str | None, monthly_upload: str | None, hours: str | None
    ) -> Limits:
        """Return the limits with changes as users write them; `hours` may be `always`. Raises `UsageError`."""
        chosen = () if hours == "always" else tuple(map(Hours.parse, hours.split(","))) if hours is not None else None
        return Limits(
            self.upload if upload is None else parse_rate(upload),
            self.download if download is None else parse_rate(download),
            self.monthly_upload if monthly_upload is None else parse_size(monthly_upload),
            self.hours if chosen is None else chosen,
        )

    def stricter(self, upload: int, download: int) -> Limits:
        """Return the limits with these rates where they are lower; 0 means no limit."""
        return replace(self, upload=lower_rate(self.upload, upload), download=lower_rate(self.download, download))

    def lines(self) -> list[str]:
        """Return the limits in words."""
        return [
            f"upload    {format_rate(self.upload) if self.upload else 'no limit'}",
            f"download  {format_rate(self.download) if self.download else 'no limit'}",
            f"month     {format_size(self.monthly_upload) + ' of upload' if self.monthly_upload else 'no limit'}",
            f"hours     {', '.join(map(str, self.hours)) or 'always'}",
        ]


@dataclass(frozen=True, slots=True)
class LimitsAnswer:
    """What `limits --json` and the control API say: the limits, how much of them is used, and what they allow now."""

    upload: int
    download: int
    monthly_upload: int
    hours: tuple[str, ...]
    uploaded_this_month: int
    downloaded_this_month: int
    may_upload: bool
    may_transfer: bool
    reason: str | None

    @property
    def limits(self) -> Limits:
        """The limits alone; raises `UsageError` if the hours are invalid."""
        return Limits(self.upload, self.download, self.monthly_upload, tuple(map(Hours.parse, self.hours)))


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be done now. Rates are bytes a second, 0 for no limit; `reason` says what forbids the rest.

    `upload` is for a session whose rate can change every second, `upload_of_fetches` for one that fetches, which must
    restart to change its rate.
    """

    upload: int = 0
    download: int = 0
    may_upload: bool = True
    may_transfer: bool = True
    reason: str = ""
    upload_of_fetches: int = 0


NO_LIMITS = Allowance()


def allowance(limits: Limits, *, now: datetime, uploaded_this_month: int) -> Allowance:
    """Decide what is allowed at `now`, which is local time, because hours and months are the user's."""
    minute = now.hour * 60 + now.minute
    if limits.hours and not any(one.holds(minute) for one in limits.hours):
        hours = ", ".join(map(str, limits.hours))
        return _nothing_sent(limits, f"outside {hours}", may_transfer=False)
    if not limits.monthly_upload:
        return Allowance(limits.upload, limits.download, upload_of_fetches=limits.upload)
    rest = limits.monthly_upload - uploaded_this_month
    if rest <= 0:
        quota = format_size(limits.monthly_upload)
        return _nothing_sent(limits, f"this month's upload of {quota} is used up", may_transfer=True)
    return Allowance(
        lower_rate(limits.upload, _lasting_rate(rest)),
        limits.download,
        upload_of_fetches=lower_rate(limits.upload, _stepped_rate(rest)),
    )


def share_upload(limit: int, *, peers: int, web: int) -> tuple[int, int]:
    """Divide an upload limit between peers and HTTP, by the rates at which they last sent.

    Either may use what the other leaves; if both want more than half, each gets half. 0 means no limit for both.
    """
    half = max(limit // 2, 1)
    return (max(half, limit - web), max(half, limit - peers)) if limit else (0, 0)


def month_of(now: datetime) -> str:
    """Return the month in which a moment is counted, such as `2026-11`."""
    return f"{now.year:04}-{now.month:02}"


def _nothing_sent(limits: Limits, reason: str, *, may_transfer: bool) -> Allowance:
    return Allowance(
        limits.upload,
        limits.download,
        may_upload=False,
        may_transfer=may_transfer,
        reason=reason,
        upload_of_fetches=TRICKLE,
    )


def _lasting_rate(rest: int) -> int:
    """Return the rate at which the rest of a quota lasts `_LASTING` seconds."""
    return int(min(max(rest / _LASTING, SLOWEST), _FASTEST))


def _stepped_rate(rest: int) -> int:
    """Return the rate of each fetch beside the seeds: `SLOWEST` times a power of `_STEP`, so that it seldom changes."""
    rate, wanted = SLOWEST, _lasting_rate(rest) // _SHARE
    while rate * _STEP <= wanted:
        rate *= _STEP
    return rate


def lower_rate(one: int, other: int) -> int:
    """Return the lower of two rates, where 0 means no limit."""
    return min(one, other) if one and other else one or other
