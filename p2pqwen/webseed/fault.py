"""What an upstream can do wrong, and how long it is left alone for it.

Nothing is final: an address that answered 404 is asked again later, because mirrors come back. A fault of a file leaves
the upstream's other files in use; a fault of a host holds back everything asked of that host.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """The fault, in a word for the report."""

    BUSY = "busy"  # 429, 503, or a quota that is used up
    ABSENT = "absent"  # 404, 410
    REFUSED = "refused"  # 401, 403, 451, a redirect into a private network
    UNREACHABLE = "unreachable"  # no connection
    NO_WAY = "no way there"  # no such name, or no network here: nobody was asked
    SILENT = "silent"  # no byte, or next to none, for too long
    BROKEN = "broken"  # the body ended early, 5xx
    NO_RANGES = "no ranges"  # 200 with the whole file where a part was asked for
    UNFIT = "unfit"  # an HTML page, another length, an encoding, circles of redirects
    WRONG = "wrong bytes"  # a piece failed its hash


@dataclass(frozen=True, slots=True)
class _Pause:
    first: float
    longest: float
    of_host: bool = False


# Seconds: the first pause, doubled at each repetition up to the longest.
_PAUSES = {
    Kind.BUSY: _Pause(1, 120, of_host=True),
    Kind.ABSENT: _Pause(1, 600),
    Kind.REFUSED: _Pause(1, 300),
    Kind.UNREACHABLE: _Pause(1, 60, of_host=True),
    Kind.NO_WAY: _Pause(1, 60, of_host=True),
    Kind.SILENT: _Pause(0.5, 30),
    Kind.BROKEN: _Pause(0.25, 30),
    Kind.NO_RANGES: _Pause(1, 60),
    Kind.UNFIT: _Pause(1, 300),
    Kind.WRONG: _Pause(0.5, 600),
}
# So often in a row without a good piece, and the upstream is not counted on for that file any more. With the pauses
# between: a plain no is believed after some seconds; a server that is down or drowning is given half a minute.
_HOPELESS_AFTER = {Kind.ABSENT: 3, Kind.REFUSED: 4, Kind.UNFIT: 4, Kind.WRONG: 4, Kind.SILENT: 4}
_HOPELESS_AFTER |= {Kind.BROKEN: 8, Kind.BUSY: 6}
_HOPELESS_AFTER_OTHERS = 5


class UpstreamError(Exception):
    """One request, or one body, that went wrong. `wait` is what the server asked for, in seconds.

    `other_size`: there is a file of that name, and it has another size.
    """

    def __init__(
        self, kind: Kind, reason: str, *, host: str = "", wait: float | None = None, other_size: bool = False
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.host = host
        self.wait = wait
        self.other_size = other_size

    @property
    def contradicts(self) -> bool:
        """Whether the server has a file of that name, and it is another one."""
        return self.kind is Kind.WRONG or self.other_size

    @property
    def of_host(self) -> bool:
        """Whether it holds back everything asked of `host`, not one file."""
        return _PAUSES[self.kind].of_host


@dataclass(slots=True)
class Standing:
    """Where a host, or a file at an upstream, stands: how often it failed in a row, and when it may be asked again.

    `pace` scales the pauses that are ours to choose (tests use a small one), never what the server asked for; that
    ends at `asked_until`.
    """

    pace: float = 1.0
    failures: int = 0
    not_before: float = 0.0
    asked_until: float = 0.0
    last: UpstreamError | None = None
    _random: random.Random = field(default_factory=random.Random, repr=False)

    def failed(self, fault: UpstreamError, now: float) -> None:
        """Note a fault at the monotonic time `now`."""
        if now < self.not_before and fault.wait is None:
            return  # one of several requests that met the same trouble
        pause = _PAUSES[fault.kind]
        seconds = min(pause.first * 2.0 ** min(self.failures, 20), pause.longest) * self.pace
        seconds *= self._random.uniform(0.75, 1.25)  # so that many files, and many nodes, do not come back at once
        if fault.wait is not None:
            seconds = fault.wait + self._random.uniform(0, 0.1)
            self.asked_until = max(self.asked_until, now + seconds)
        if now >= self.not_before:
            self.failures += 1
            self.last = fault
        self.not_before = max(self.not_before, now + seconds)

    def hold(self, seconds: float, now: float) -> None:
        """Ask nothing for so long, without counting a failure."""
        self.not_before = max(self.not_before, now + seconds)
        self.asked_until = self.not_before

    def worked(self) -> None:
        """Note that good bytes came."""
        self.failures = 0
        self.last = None

    @property
    def hopeless(self) -> bool:
        """Whether it failed so plainly or so often that a fetch should not count on it."""
        if self.last is None:
            return False
        return self.failures >= _HOPELESS_AFTER.get(self.last.kind, _HOPELESS_AFTER_OTHERS)
