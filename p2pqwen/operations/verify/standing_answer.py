"""The JSON of a snapshot's standing."""

from __future__ import annotations

from dataclasses import dataclass

from p2pqwen.index.standing import Standing
from p2pqwen.operations.verify.standings import Stood


@dataclass(frozen=True, slots=True)
class StandingAnswer:
    """What is shown of a snapshot's standing; nothing is known of one whose torrent was never read."""

    standing: Standing
    trusted_unverified: bool

    @classmethod
    def of(cls, stood: Stood | None) -> StandingAnswer:
        """Return the answer about a standing."""
        if stood is None:
            return cls(Standing.UNVOUCHED, trusted_unverified=False)
        return cls(stood.standing, stood.trusted_unverified)
