"""What an upstream can do wrong, and how long it is then not asked.

Nothing is final: an address that answered 404 is asked again later, because mirrors come back. After a fault of a file,
the upstream's other files stay in use; a fault of a host pauses all requests to that host.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """The fault, in a word for the report."""

    BUSY = "busy"  # 429, 503, or an exhausted quota
    ABSENT = "absent"  # 404, 410
    REFUSED = "refused"  # 401, 403, 451, a redirect into a private network
    UNREACHABLE = "unreachable"  # no connection
    NO_WAY = "no way there"  # no such name, or no network here: no server was asked
    SILENT = "silent"  # no byte, or almost none, for too long
    BROKEN = "broken"  # the body ended early, 5xx
    NO_RANGES = "no ranges"  # 200 with the whole file when a part was requested
    UNFIT = "unfit"  # an HTML page, another length, an encoding, a redirect loop
    WRONG = "wrong bytes"  # a piece failed its hash


@dataclass(frozen=True, slots=True)
class _Pause:
    first: float
    longest: float
    of_host: bool = False


# Seconds: the first pause, doubled each time up to the longest.
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
# After this many faults in a row without a good piece, a fetch no longer counts on the upstream for that file. With the
# pauses in between, a plain refusal is believed after seconds; a server that is down or overloaded gets half a minute.
_HOPELESS_AFTER = {Kind.ABSENT: 3, Kind.REFUSED: 4, Kind.UNFIT: 4, Kind.WRONG: 4, Kind.SILENT: 4}
_HOPELESS_AFTER |= {Kind.BROKEN: 8, Kind.BUSY: 6}
_HOPELESS_AFTER_OTHERS = 5


class UpstreamError(Exception):
    """A failed request or body. `wait` is what the server asked for, in seconds.

    `other_size`: there is a file of that name, but with another size.
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
        """Whether the server has a file of that name, but a different one."""
        return self.kind is Kind.WRONG or self.other_size

    @property
    def of_host(self) -> bool:
        """Whether it pauses all requests to `host`, not just one file."""
        return _PAUSES[self.kind].of_host


@dataclass(slots=True)
class Backoff:
    """The state of a host, or of a file at an upstream: how often it failed in a row, and when it may be asked again.

    `pace` scales the pauses that we choose (tests use a small one), but not those that the server asked for; these end
    at `asked_until`.
    """

    pace: float = 1.0
    failures: int = 0
    not_before: float = 0.0
    asked_until: float = 0.0
    last: UpstreamError | None = None
    _random: random.Random = field(default_factory=random.Random, repr=False)

    def failed(self, fault: UpstreamError, now: float) -> None:
        """Record a fault at the monotonic time `now`."""
        if now < self.not_before and fault.wait is None:
            return  # one of several requests with the same fault
        pause = _PAUSES[fault.kind]
        seconds = min(pause.first * 2.0 ** min(self.failures, 20), pause.longest) * self.pace
        seconds *= self._random.uniform(0.75, 1.25)  # so that files, and nodes, do not all come back at once
        if fault.wait is not None:
            seconds = fault.wait + self._random.uniform(0, 0.1)
            self.asked_until = max(self.asked_until, now + seconds)
        if now >= self.not_before:
            self.failures += 1
            self.last = fault
        self.not_before = max(self.not_before, now + seconds)

    def hold(self, seconds: float, now: float) -> None:
        """Send no request for `seconds`, without counting a failure."""
        self.not_before = max(self.not_before, now + seconds)
        self.asked_until = self.not_before

    def worked(self) -> None:
        """Record that good bytes came."""
        self.failures = 0
        self.last = None

    @property
    def hopeless(self) -> bool:
        """Whether it failed so plainly or so often that a fetch should not count on it."""
        if self.last is None:
            return False
        return self.failures >= _HOPELESS_AFTER.get(self.last.kind, _HOPELESS_AFTER_OTHERS)
