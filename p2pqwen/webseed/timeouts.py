"""How long the relay waits, and for what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Times in seconds, the rate in bytes a second.

    A body that brings less than `slow_rate` over `slow_window` is dropped and resumed elsewhere from the byte reached.
    `hold` is how long a request from libtorrent waits while no upstream may be asked. Then its connection is closed,
    and libtorrent asks again, perhaps for another file. `pace` scales every pause after a fault.
    """

    connect: float = 10.0
    silence: float = 20.0
    slow_window: float = 15.0
    slow_rate: int = 4 * 1024
    hold: float = 5.0
    pace: float = 1.0
