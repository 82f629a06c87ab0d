"""What the keeper of a node plans from, and when it plans anew: an index is read for a plan, and for nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from p2pqwen.errors import NetworkError
from p2pqwen.index.entry import Entry
from p2pqwen.index.upstream import Upstream
from p2pqwen.library.snapshots import HeldSnapshot, State
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.steward_store import StewardStore
from p2pqwen.operations.archive.adopt import Wishes
from p2pqwen.operations.archive.keeper import ArchiveKeeper, KeeperOptions
from p2pqwen.operations.archive.listed import Listed
from p2pqwen.operations.archive.outlook import Outlook
from p2pqwen.operations.node.job_answer import JobState
from p2pqwen.stewardship.allocation import Disk
from p2pqwen.stewardship.swarm_health import Sighting, Source
from p2pqwen.stewardship.swarm_record import NEVER_SEEN, SwarmRecord, remember
from p2pqwen.values.snapshot_id import SnapshotId
from tests.support.plain_plan import publisher_of
from tests.support.publishing import NOW, make_entry
from tests.unit.stewardship.samples import node

ONE, TWO = make_entry(1, "Org/One", size=100), make_entry(2, "Org/Two", size=100)


@dataclass
class World:
    """A node whose fetches fail, and what is known while it keeps its archive."""

    listed: list[Entry]
    records: dict[SnapshotId, SwarmRecord] = field(default_factory=dict)
    here: list[HeldSnapshot] = field(default_factory=list)
    now: datetime = NOW
    room: int = 10**6
    read: int = 0
    asked: list[SnapshotId] = field(default_factory=list)

    def submit(self, snapshot: SnapshotId) -> Any:
        self.asked.append(snapshot)
        return SimpleNamespace(state=JobState.WAITING, error=NetworkError("nobody serves it"))

    def stop(self, job: Any) -> None: ...
    def jobs(self, snapshot: SnapshotId) -> list[Any]:
        return []

    def pinned(self) -> tuple[SnapshotId, ...]:
        return ()

    def held_back(self) -> str:
        return ""

    def outlook(self) -> Outlook:
        return Outlook(_Counted(self), self.records, {}, {}, node(1), [Disk("all", self.room)], self.now)


class _Counted(Listed):
    """Counts how often the index is read."""

    def __init__(self, world: World) -> None:
        super().__init__([publisher_of(world.listed)], world.here)
        self._world = world

    @property
    def columns(self) -> Any:
        self._world.read += 1
        return super().columns


@pytest.fixture
def keeper(tmp_path: Path):
    with StateStore(tmp_path / "state.sqlite") as store:

        def make(world: World, budget: int = 150) -> ArchiveKeeper:
            options = KeeperOptions(budget, timedelta(days=365), Wishes())
            memory = StewardStore(store)
            memory.set_planned(NOW)
            anybody: Any = world
            return ArchiveKeeper(
                options, anybody, memory, world.outlook, lambda: None, lambda: world.now, lambda _: None
            )

        yield make


def turn(keeper: ArchiveKeeper, world: World) -> tuple[int, list[SnapshotId]]:
    """One look; how often the index was read for it, and what was to be fetched."""
    world.read, world.asked = 0, []
    keeper.wake()
    keeper._turn()
    return world.read, world.asked


def test_an_index_is_read_for_a_plan_alone(keeper):
    world = World([ONE], room=0)
    kept = keeper(world)
    assert turn(kept, world)[0] > 0  # the first plan
    assert [turn(kept, world)[0] for _ in range(3)] == [0, 0, 0]


def looked_at(world: World) -> None:
    world.records = {ONE.id: remember(NEVER_SEEN, [Sighting(world.now, Source.TRACKER, 1, 1)])}


def listed_anew(world: World) -> None:
    world.listed = [ONE, TWO]


def gone_upstream(world: World) -> None:
    world.listed = [replace(ONE, upstream=Upstream.GONE)]


def more_room(world: World) -> None:
    world.room = 10**6


def arrived(world: World) -> None:
    world.here = [HeldSnapshot(ONE.id, Path(), Path(), State.COMPLETE)]


@pytest.mark.parametrize("change", [looked_at, listed_anew, gone_upstream, more_room, arrived])
def test_what_a_plan_rests_on_makes_another_one(keeper, change):
    world = World([ONE], room=0)
    kept = keeper(world)
    turn(kept, world)
    assert turn(kept, world)[0] == 0
    change(world)
    assert turn(kept, world)[0] > 0


@pytest.mark.parametrize(
    ("change", "again"), [(looked_at, True), (gone_upstream, True), (listed_anew, False), (lambda _: None, False)]
)
def test_what_failed_is_tried_again_where_it_stands_otherwise(keeper, change, again):
    """Another snapshot that is listed is tried itself, and changes nothing for the one that failed."""
    world = World([ONE])
    kept = keeper(world, budget=10**6)
    assert turn(kept, world)[1] == [ONE.id]
    assert turn(kept, world)[1] == []  # it has failed
    change(world)
    assert (ONE.id in turn(kept, world)[1]) is again


@pytest.mark.parametrize("seen", [False, True], ids=["never looked at", "looked at"])
def test_what_failed_is_tried_again_after_an_hour(keeper, seen):
    world = World([ONE])
    if seen:
        looked_at(world)
    kept = keeper(world, budget=10**6)
    turn(kept, world)
    for _ in range(4):
        assert turn(kept, world)[1] == []
    world.now += timedelta(hours=1)
    assert turn(kept, world)[1] == [ONE.id]
