"""Whether a node seeds snapshots that a publisher withdrew (torrents/SPEC.md, section 7)."""

from __future__ import annotations

from enum import StrEnum


class SeedWithdrawn(StrEnum):
    """Which withdrawn snapshots a node keeps seeding: all, all but those that its own publisher withdrew, or none."""

    ALWAYS = "always"
    OTHERS = "others"
    NEVER = "never"
