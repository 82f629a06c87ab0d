"""The owner's choice for a node that holds what a publisher withdrew (torrents/SPEC.md, section 7)."""

from __future__ import annotations

from enum import StrEnum


class SeedWithdrawn(StrEnum):
    """Which withdrawn snapshots a node seeds on: all, those that others than its own publisher withdrew, or none."""

    ALWAYS = "always"
    OTHERS = "others"
    NEVER = "never"
