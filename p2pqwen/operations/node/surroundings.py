"""What happens around a node that runs for months: the machine sleeps, the network changes, a disk fills up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from p2pqwen.events import Happened
from p2pqwen.net.route import own_addresses
from p2pqwen.portable.sleep import seconds_asleep

SLEPT = 10.0
"""Seconds of sleep that count; two clocks may differ by less."""
MORE_ROOM = 64 * 1024 * 1024
"""Bytes freed, after which fetches that found no room are tried again."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change. `elsewhere`: peers and trackers must be told again where we are; `room`: a disk has more room."""

    event: Happened | None = None
    elsewhere: bool = False
    room: bool = False


@dataclass(slots=True)
class Surroundings:
    """Compares with the last look. `rooms` gives the bytes that each library folder may take, None if its disk is away.

    `asleep` gives the seconds that the machine has slept so far, `addresses` those by which it reaches others.
    """

    rooms: Callable[[], Mapping[str, int | None]]
    asleep: Callable[[], float] = seconds_asleep
    addresses: Callable[[], frozenset[str]] = own_addresses
    _slept: float = field(init=False)
    _known: frozenset[str] = field(init=False)
    _full: set[str] = field(default_factory=set)
    _least: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._slept, self._known = self.asleep(), self.addresses()

    def look(self) -> Iterator[Change]:
        """Yield what has changed; raises `DiskError` for a disk that cannot be asked."""
        yield from self._look_at_clocks()
        yield from self._look_at_network()
        for folder, room in self.rooms().items():
            if room is not None:
                yield from self._look_at_room(folder, room)

    def _look_at_clocks(self) -> Iterator[Change]:
        slept, self._slept = self.asleep() - self._slept, self.asleep()
        if slept >= SLEPT:
            yield Change(Happened("woke", {"asleep": round(slept)}), elsewhere=True)

    def _look_at_network(self) -> Iterator[Change]:
        found = self.addresses()
        if found != self._known:
            self._known = found
            event = Happened("network", {"addresses": ", ".join(sorted(found)) or None})
            yield Change(event, elsewhere=bool(found))

    def _look_at_room(self, folder: str, room: int) -> Iterator[Change]:
        if room == 0 and folder not in self._full:
            self._full.add(folder)
            yield Change(Happened("disk full", {"folder": folder}))
        least = self._least.setdefault(folder, room)
        if room >= least + MORE_ROOM or (folder in self._full and room > 0):
            event = Happened("disk has room", {"folder": folder, "room": room}) if folder in self._full else None
            self._full.discard(folder)
            self._least[folder] = room
            yield Change(event, room=True)
        self._least[folder] = min(self._least[folder], room)
