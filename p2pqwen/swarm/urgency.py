"""How soon a piece is wanted."""

from __future__ import annotations

import enum


class Urgency(enum.IntEnum):
    """From not at all to at once."""

    NEVER = 0
    LATER = 1  # of a file that is fetched whole
    SOON = 2  # ahead of a reader
    NEXT = 3  # a reader waits for it: what is asked for from here on comes after it
    NOW = 4  # and what others were asked for already waits, too: they are told to leave it
