"""The outcome of asking for newer indexes."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from p2pqwen.library.trust_store import TrustedPublisher


class SourceState(enum.StrEnum):
    """What one mirror's answer was worth."""

    NEWER = "newer"
    UNCHANGED = "unchanged"
    BEHIND = "behind"  # valid for what was trusted before, but another mirror has a newer one
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class SourceResult:
    """The outcome of asking one mirror; `step` is the rule of acceptance that refused it."""

    source: str
    state: SourceState
    detail: str = ""
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Updated:
    """The outcome for one publisher: what is trusted now, whether that is new, and how every mirror did."""

    publisher: TrustedPublisher
    changed: bool
    sources: tuple[SourceResult, ...]

    @property
    def reached(self) -> bool:
        """Whether any mirror answered."""
        return any(one.state is not SourceState.UNREACHABLE for one in self.sources)

    @property
    def ok(self) -> bool:
        """Whether any mirror's answer was valid."""
        good = {SourceState.NEWER, SourceState.UNCHANGED, SourceState.BEHIND}
        return any(one.state in good for one in self.sources)
