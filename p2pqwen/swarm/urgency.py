"""How soon a piece is wanted."""

from __future__ import annotations

import enum


class Urgency(enum.IntEnum):
    """From not at all to at once."""

    NEVER = 0
    LATER = 1  # of a file that is fetched whole
    SOON = 2  # ahead of a reader
    NOW = 3  # a reader waits for it
