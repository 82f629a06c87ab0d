"""A share of the fault runs; `scripts/fault_run` does as many as it is asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.support.faults import shim
from tests.support.faults.damage import DamagePlan, Damager
from tests.support.faults.flips import KINDS, Flipper, FlipPlan
from tests.support.faults.full_disk import FullDisk, FullDiskPlan, small_disks
from tests.support.faults.links import LinksPlan, LinksRuns
from tests.support.faults.scenery import scenery
from tests.support.faults.strikes import StrikePlan, Striker
from tests.support.faults.swarms import SwarmPlan
from tests.support.faults.works import WORKS

KILLS = 200
DISK_ERRORS = 40
FULL_DISKS = 20
FLIPS = 400
DAMAGES = 24
LINKS = 50
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    if shim.build() is None:
        pytest.skip("no C compiler, so nothing to strike with: apt install gcc libc6-dev")
    with scenery(tmp_path_factory.mktemp("faults")) as one:
        yield one


@pytest.fixture(scope="module")
def striker(scene):
    return Striker(scene)


def bad(run, numbers, at_once=4):
    """The outcomes with something wrong."""
    with ThreadPoolExecutor(at_once) as pool:
        return [outcome for outcome in pool.map(run, numbers) if outcome.problems]


@pytest.mark.parametrize("work", WORKS)
def test_a_command_that_is_killed_loses_nothing(striker, work):
    first = list(WORKS).index(work)
    plans = [StrikePlan.kill(number) for number in range(first, KILLS, len(WORKS))]
    assert {plan.work for plan in plans} == {work}
    assert bad(striker.run, plans) == []


def test_a_disk_that_fails_is_told_and_nothing_is_lost(striker):
    assert bad(striker.run, map(StrikePlan.disk, range(DISK_ERRORS))) == []


def test_a_full_disk_is_told_and_nothing_is_lost(scene, tmp_path):
    with small_disks(tmp_path / "disks") as disks:
        if disks is None:
            pytest.skip("this machine does not let us mount a small file system")
        full = FullDisk(scene, disks)
        assert bad(full.run, map(FullDiskPlan.of, range(FULL_DISKS)), at_once=1) == []


def test_nothing_that_a_swarm_may_write_changes_what_is_here(tmp_path):
    with small_disks(tmp_path / "disks") as disks, ExitStack() as stack:
        if disks is None:
            pytest.skip("this machine does not let us mount a small file system")
        runs = LinksRuns(disks, stack)
        plans = [*map(LinksPlan.of, range(LINKS - 1)), LinksPlan.of(99)]  # the last with libtorrent itself
        assert [plan.real for plan in plans].count(True) == 1
        assert [outcome for outcome in map(runs.run, plans) if outcome.problems] == []


def test_an_engine_that_ignores_what_it_may_write_is_noticed(tmp_path, monkeypatch):
    """The sequences themselves are tried: with files handed over that have second names, they find what changes."""
    monkeypatch.setattr("p2pqwen.swarm.writable._check", lambda *_, **__: None)
    monkeypatch.setattr("p2pqwen.operations.fetch.make.separate", lambda *_: False)
    monkeypatch.setattr("p2pqwen.operations.preserve.reuse.difference", lambda *_: None)
    with small_disks(tmp_path / "disks") as disks, ExitStack() as stack:
        if disks is None:
            pytest.skip("this machine does not let us mount a small file system")
        runs = LinksRuns(disks, stack)
        assert any(runs.run(LinksPlan.of(number)).problems for number in range(LINKS))


def test_no_flipped_bit_is_silent(scene):
    flipper = Flipper(scene)
    done = [flipper.run(FlipPlan.of(number)) for number in range(FLIPS)]
    assert [one for one in done if not one.right] == []
    assert {one.plan.kind for one in done} == set(KINDS)


def test_damaged_files_are_named_and_only_what_is_wrong_is_fetched(scene):
    assert bad(Damager(scene).run, map(DamagePlan.of, range(DAMAGES))) == []


def test_a_number_always_makes_the_same_plan():
    strikes = (StrikePlan.kill, StrikePlan.disk)
    for make in (*strikes, FullDiskPlan.of, FlipPlan.of, DamagePlan.of, SwarmPlan.of, LinksPlan.of):
        assert [make(number) for number in range(50)] == [make(number) for number in range(50)]
        assert len({str(make(number)) for number in range(50)}) == 50
