"""Carrying a rebalance out: the new one first where there is room, and nothing goes that has a reason to stay."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from p2pqwen.errors import NetworkError
from p2pqwen.index.upstream import Upstream
from p2pqwen.library.own_files import Left
from p2pqwen.library.snapshots import HeldSnapshot, State
from p2pqwen.operations.archive import rebalance as module
from p2pqwen.operations.archive.listed import Listed
from p2pqwen.operations.archive.outlook import Outlook
from p2pqwen.operations.archive.rebalance import carry_out
from p2pqwen.stewardship.allocation import Decision
from p2pqwen.stewardship.rebalance import Exchange, Holding, why_kept
from p2pqwen.stewardship.swarm_health import Sighting, Source
from p2pqwen.stewardship.swarm_record import NEVER_SEEN, remember
from tests.support.plain_plan import publisher_of
from tests.support.publishing import make_entry
from tests.unit.stewardship.samples import GB, NOW, node, seen, snapshot

NEW, OLD = snapshot(1), snapshot(2)
LEFT = Left(Path("notes.txt"), "none of the snapshot's files")
PLAN = Exchange(Decision(NEW, 2 * GB, "endangered", disk=""), (Decision(OLD, 2 * GB, "well kept"),))


def outlook_of(seeds: int) -> Outlook:
    """A listed snapshot is here, and others keep it too."""
    entry = replace(make_entry(1), id=OLD, size=2 * GB, upstream=Upstream.GONE)
    listed = Listed([publisher_of([entry])], [HeldSnapshot(OLD, Path(), Path(), State.COMPLETE)])
    looked = remember(NEVER_SEEN, [Sighting(NOW, Source.TRACKER, seeds, seeds)])
    return Outlook(listed, {OLD: looked}, {}, {}, node(1), [], NOW)


@dataclass
class Executor:
    """A library of two snapshots, and a log of what was done to it."""

    free: int = 100 * GB
    seeds: int = 50
    reachable: bool = True
    done: list[str] = field(default_factory=list)

    def look(self, snapshots):
        self.done.append("look")
        return outlook_of(self.seeds)

    def bring(self, wanted):
        if not self.reachable:
            raise NetworkError("nobody serves it")
        self.done.append("bring")

    def remove(self, gone):
        assert gone == OLD
        self.done.append("remove")
        return (LEFT,)

    def room(self):
        return self.free


@pytest.fixture(autouse=True)
def _long_held(monkeypatch):
    monkeypatch.setattr(module, "held_since", lambda _: NOW - timedelta(days=100))


@pytest.fixture(scope="module")
def whose_turn():
    holding = Holding(OLD, 2 * GB, NOW - timedelta(days=100), seen(50))
    return next(node(of) for of in range(1000) if why_kept(holding, node(of), NOW) is None)


@pytest.mark.parametrize(
    ("executor", "pinned", "done", "error"),
    [
        (Executor(), (), ["bring", "look", "remove"], None),
        (Executor(free=GB), (), ["look", "remove", "bring"], None),  # no room for both
        (Executor(reachable=False), (), [], "nobody serves it"),
        (Executor(seeds=8), (), ["bring", "look"], "only 8 copies would be left"),
        (Executor(seeds=8, free=GB), (), ["look"], "only 8 copies would be left"),
        (Executor(), (OLD,), ["bring", "look"], "pinned"),
    ],
)
def test_an_exchange(executor, pinned, done, error, whose_turn):
    said = []
    (found,) = carry_out(
        [PLAN], executor, node=whose_turn, pinned=lambda: pinned, clock=lambda: NOW, report=said.append
    )
    assert executor.done == done
    assert found.left == (LEFT,) * ("remove" in done)
    assert [one.text for one in said if one.text.startswith("left ")] == [
        f"left {LEFT.path}: {LEFT.reason}" for _ in found.left
    ]
    assert (found.taken, found.given) == ("bring" in done, (OLD,) * ("remove" in done))
    assert found.error is None if error is None else error in found.error.message


def test_one_that_fails_stops_no_other(whose_turn):
    executor = Executor()
    third = Exchange(Decision(snapshot(3), GB, "endangered", disk=""))
    first, second = carry_out(
        [Exchange(PLAN.take, (Decision(snapshot(9), GB, "gone meanwhile"),)), third],
        executor,
        node=whose_turn,
        pinned=tuple,
        clock=lambda: NOW,
    )
    assert first.taken
    assert first.error is not None
    assert (second.taken, second.error) == (True, None)
    assert "remove" not in executor.done
