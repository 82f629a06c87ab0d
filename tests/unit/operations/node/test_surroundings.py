"""What happens around a node: sleep, another network, a full disk; each is told once, and what waits goes on."""

from __future__ import annotations

import threading

import pytest

from p2pqwen.errors import DiskError, NetworkError
from p2pqwen.events import Happened
from p2pqwen.library.state_store import StateStore
from p2pqwen.net.route import own_addresses
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.node.job_answer import JobState
from p2pqwen.operations.node.supervisor import SURROUNDINGS_EVERY
from p2pqwen.operations.node.surroundings import MORE_ROOM, SLEPT, Change, Surroundings
from p2pqwen.values.snapshot_id import SnapshotId
from tests.support.answers import fetch_answer
from tests.support.waiting import wait_until
from tests.unit.operations.node.test_supervisor import World, identity

HOME, AWAY = frozenset({"192.168.1.5"}), frozenset({"10.0.0.7"})
GB = 1_000_000_000


class Around:
    """What a machine says of itself, as the test has it."""

    def __init__(self, room: int | None = GB) -> None:
        self.slept, self.addresses, self.room = 0.0, HOME, room
        self.watched = Surroundings(lambda: {"/disk": self.room}, lambda: self.slept, lambda: self.addresses)

    def changes(self) -> list[Change]:
        return list(self.watched.look())


def test_nothing_happens_while_nothing_changes():
    around = Around()
    assert [around.changes() for _ in range(3)] == [[], [], []]


@pytest.mark.parametrize(("slept", "told"), [(0.5, False), (SLEPT, True), (8 * 3600.0, True)])
def test_sleep_is_noticed_once(slept, told):
    around = Around()
    around.slept += slept
    woke = Change(Happened("woke", {"asleep": round(slept)}), elsewhere=True)
    assert around.changes() == ([woke] if told else [])
    assert around.changes() == []


def test_another_network_is_noticed_and_so_is_none():
    around = Around()
    around.addresses = frozenset()
    assert around.changes() == [Change(Happened("network", {"addresses": None}))]
    around.addresses = AWAY
    assert around.changes() == [Change(Happened("network", {"addresses": "10.0.0.7"}), elsewhere=True)]
    assert around.changes() == []


def test_a_full_disk_is_told_once_and_so_is_its_room():
    around = Around()
    around.room = 0
    assert around.changes() == [Change(Happened("disk full", {"folder": "/disk"}))]
    assert around.changes() == []
    around.room = None  # it was pulled
    assert around.changes() == []
    around.room = 5
    assert around.changes() == [Change(Happened("disk has room", {"folder": "/disk", "room": 5}), room=True)]
    around.room = 5 + MORE_ROOM
    assert around.changes() == [Change(room=True)]  # what found too little room may find enough now
    around.room += MORE_ROOM - 1
    assert around.changes() == []


def test_own_addresses_are_those_of_this_machine_and_nothing_is_sent():
    assert all(isinstance(one, str) for one in own_addresses())


@pytest.fixture
def world(tmp_path):
    with StateStore(tmp_path / "state.sqlite") as store:
        made = World(tmp_path, store)
        made.around = Around()
        made.supervisor.surroundings = made.around.watched
        yield made
        made.supervisor.stop()


@pytest.mark.parametrize(
    ("problem", "happens", "announced"),
    [
        (NetworkError("nobody is there"), "woke", 1),
        (NetworkError("nobody is there"), "network", 1),
        (DiskError("no room"), "disk has room", 0),
    ],
)
def test_what_waits_goes_on_and_others_are_told_where_we_are(world, problem, happens, announced):
    mended, told = threading.Event(), []

    def fetch(request, report, on_plan):
        on_plan(SnapshotId.parse(request.target))
        if not mended.is_set():
            raise problem
        return fetch_answer(identity(1))

    world.fetch, world.around.room = fetch, 0
    world.supervisor.on_change.append(lambda: told.append(happens))
    world.supervisor.start(world.node)
    job = world.supervisor.submit(FetchRequest(str(identity(1))))
    world.supervisor.tick()
    wait_until(lambda: job.state is JobState.WAITING, 30, "it fails")
    world.turns(SURROUNDINGS_EVERY + 1)
    mended.set()
    if happens == "woke":
        world.around.slept += 3600
    elif happens == "network":
        world.around.addresses = AWAY
    else:
        world.around.room = GB
    world.turns(SURROUNDINGS_EVERY + 1)
    wait_until(lambda: job.state is JobState.DONE, 30, "it goes on")
    assert world.clock.elapsed < 20  # long before it would have been tried again
    assert len(world.happened(happens)) == 1
    assert (world.node.announced, told) == (announced, [happens])
