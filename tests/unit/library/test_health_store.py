"""Swarms' memory and the node's own id in the state store: what goes in comes out, and damage is nothing known."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from p2pqwen.library.health_store import HealthStore
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.steward_store import StewardStore
from p2pqwen.stewardship.swarm_health import Day, Sighting, Source
from p2pqwen.stewardship.swarm_record import NEVER_SEEN, SwarmRecord, WebSeedLook
from tests.unit.stewardship.samples import snapshot

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
FULL = SwarmRecord(
    (Sighting(NOW, Source.DHT, None, 4, estimated=True), Sighting(NOW, Source.TRACKER, 2, 3)),
    (Day(date(2026, 11, 24), None, 3), Day(date(2026, 11, 25), 2, 4)),
    NOW,
    WebSeedLook(NOW, 2, 1, (("https://hub.example/", True), ("https://second.example/{path}", False))),
)


@pytest.fixture
def store(tmp_path):
    with StateStore(tmp_path / "state.sqlite") as opened:
        yield opened


def test_records_come_back(store):
    health = HealthStore(store)
    wanted = {snapshot(1): FULL, snapshot(2): SwarmRecord(last_complete_seen=NOW), snapshot(3): NEVER_SEEN}
    health.change({one: lambda _, record=record: record for one, record in wanted.items()})
    assert health.all() == wanted
    health.change({snapshot(1): lambda before: SwarmRecord(before.sightings)})
    assert health.all() == {**wanted, snapshot(1): SwarmRecord(FULL.sightings)}


@pytest.mark.parametrize(
    "stored", [{}, {"looks": 3}, [], {"looks": [["moon", "x", 1, 1, True]], "days": [], "complete": None, "web": None}]
)
def test_what_makes_no_sense_is_nothing_known(store, stored):
    store.put(f"health/{snapshot(1)}", stored)
    assert HealthStore(store).all() == {snapshot(1): NEVER_SEEN}


def test_one_change_that_fails_changes_nothing(store):
    health = HealthStore(store)
    health.change({snapshot(1): lambda _: FULL})

    def breaks(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        health.change({snapshot(1): lambda _: NEVER_SEEN, snapshot(2): breaks})
    assert health.all() == {snapshot(1): FULL}


def test_the_node_has_one_id_of_its_own(store, tmp_path):
    steward = StewardStore(store)
    node = steward.node_id()
    assert len(node) == 32
    assert steward.node_id() == node
    assert steward.budget() is None
    steward.set_budget(7)
    assert (steward.budget(), steward.node_id()) == (7, node)
    with StateStore(tmp_path / "other" / "state.sqlite") as other:
        assert StewardStore(other).node_id() != node


@pytest.mark.parametrize("stored", [None, [], {"node": "xyz"}, {"node": "ab"}, {"node": 4, "budget": "much"}])
def test_an_id_that_makes_no_sense_is_drawn_anew(store, stored):
    if stored is not None:
        store.put("steward", stored)
    steward = StewardStore(store)
    assert steward.budget() is None
    assert len(steward.node_id()) == 32
