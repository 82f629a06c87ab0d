"""Whether the origin of a snapshot still has it."""

from __future__ import annotations

import enum


class Upstream(enum.StrEnum):
    """Whether its origin still served the snapshot when the publisher last looked."""

    PRESENT = "present"
    GONE = "gone"
    UNKNOWN = "unknown"
