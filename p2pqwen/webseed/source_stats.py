"""What each upstream gave and cost, for reports: bytes, requests, faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from p2pqwen.values.json_value import named


@dataclass(frozen=True, slots=True)
class WebSeedUsed:
    """An account at the end of a fetch, as `fetch --json` shows it."""

    url: str
    origin: str = field(metadata=named("from"))
    bytes: int
    bytes_received: int
    requests: int
    resolves: int
    faults: Mapping[str, int]
    dropped: Mapping[str, str]
    last_fault: str | None


@dataclass(slots=True)
class Account:
    """Counts for one upstream and one torrent. Written on the relay's thread only.

    `bytes_good`: in pieces that passed their check. `bytes_kept`: those of them that the download gained from here, not
    from peers. `bytes_received`: everything, discarded bytes included. `resolves`: requests to the base itself;
    `requests`: all. `dropped`: files it gave wrong bytes for.
    """

    url: str
    origin: str
    bytes_good: int = 0
    bytes_kept: int = 0
    bytes_received: int = 0
    requests: int = 0
    resolves: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, str] = field(default_factory=dict)
    last_fault: str | None = None

    @property
    def used(self) -> WebSeedUsed:
        """The current counts."""
        return WebSeedUsed(
            self.url,
            self.origin,
            self.bytes_kept,
            self.bytes_received,
            self.requests,
            self.resolves,
            dict(self.faults),
            dict(self.dropped),
            self.last_fault,
        )


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether the web seeds can be counted on, for the decision to wait or to give up.

    `hopeless` maps each file that was requested in vain, and that no upstream can be expected to give, to the reasons,
    one for each upstream. `idle_seconds`: time since the last good piece. `asked_to_wait`: for how many more seconds a
    server asked us to wait.
    """

    hopeless: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    idle_seconds: float = 0.0
    asked_to_wait: float = 0.0
