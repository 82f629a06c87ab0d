"""How soon a piece is wanted."""

from __future__ import annotations

import enum


class Urgency(enum.IntEnum):
    """From never to at once."""

    NEVER = 0
    LATER = 1  # part of a file that is fetched whole
    SOON = 2  # ahead of a reader
    NEXT = 3  # a reader waits for it: later requests come after it
    NOW = 4  # earlier requests wait too: they are cancelled
