"""The simulation speaks of the rule we ship: its vector form and the planner put snapshots in the same order."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from p2pqwen.stewardship.allocation import Candidate
from p2pqwen.stewardship.spread import fraction
from tests.support.offers import offers_of
from tests.unit.stewardship.samples import GB, NOW, node, seen, snapshot

SCRIPT = Path(__file__).parents[3] / "scripts" / "simulate_survival.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("simulate_survival", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_it_is_the_rule_we_ship(script):
    candidates = [Candidate(snapshot(n), (n * n + 1) * GB, seen(n % 7)) for n in range(40)]
    disks = [5 * GB, 300 * GB, 5000 * GB]
    view = script.View(
        standing=np.array([[float(one.health.seeds) for one in candidates]] * 3),
        luck=np.array([[fraction(node(of), one.snapshot) for one in candidates] for of in range(3)]),
        sizes=np.array([float(one.size) for one in candidates]),
        popularity=np.zeros(40),
        disks=np.array(disks, float),
    )
    offers = offers_of(candidates)
    expected = [list(offers.scores(range(40), node(of), disk, NOW)) for of, disk in enumerate(disks)]
    assert script.ours(view) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("rule", ["ours", "fewest", "random", "popular"])
def test_a_small_world_keeps_its_books(script, rule):
    world = replace(script.WORLDS["circle"], nodes=12, snapshots=60, years=2.0)
    simulation = script.Simulation(world, next(one for one in script.RULES if one.name == rule), seed=3)
    figures = simulation.run()
    held = np.concatenate([np.zeros(0, int), *simulation.nodes.held]).astype(int)
    on_their_way = np.concatenate([np.zeros(0, int), *simulation.landing]).astype(int)
    landed = np.bincount(held, minlength=60) - np.bincount(on_their_way, minlength=60)
    assert (simulation.copies == landed).all()
    for index, disk in enumerate(simulation.nodes.disk):
        assert len(set(simulation.nodes.held[index].tolist())) == len(simulation.nodes.held[index])
        assert simulation.sizes[simulation.nodes.held[index]].sum() <= disk * (1 + 1e-9)
    assert (np.diff(figures["lost"]) >= 0).all()  # what is lost stays lost
    assert (simulation.copies[simulation.lost] == 0).all()
    again = script.Simulation(world, simulation.rule, seed=3).run()
    assert (again["traffic"] == figures["traffic"]).all()


def test_luck_is_even(script):
    drawn = script.luck(np.arange(300, dtype=np.uint64) * 7919, np.arange(300, dtype=np.uint64) << np.uint64(40))
    assert 0.49 < drawn.mean() < 0.51
    assert 0 < drawn.min() < drawn.max() < 1


def test_every_rule_lives_through_the_same_years(script):
    world = replace(script.WORLDS["circle"], nodes=15, snapshots=80, years=1.7)
    lived = []
    for rule in script.RULES:
        simulation = script.Simulation(world, rule, seed=5)
        simulation.run()
        lived.append((simulation.nodes.disk.tolist(), simulation.nodes.leaves.tolist(), simulation.sizes.tolist()))
    assert all(one == lived[0] for one in lived)


def test_nobody_rents_at_a_company_that_has_closed(script):
    world = replace(script.WORLDS["circle"], nodes=60, snapshots=20, years=2.0)
    simulation = script.Simulation(world, script.OURS, seed=1)
    simulation.run()
    assert (simulation.nodes.company != 0).all()
    assert (simulation.nodes.company == 1).any()


def test_a_run_that_was_kept_is_not_done_twice(script, tmp_path, monkeypatch):
    world = replace(script.WORLDS["circle"], nodes=10, snapshots=30, years=0.5)
    first = script.run(world, script.OURS, 2, tmp_path)
    monkeypatch.setattr(script.Simulation, "run", lambda _: pytest.fail("it was kept"))
    again = script.run(world, script.OURS, 2, tmp_path)
    assert all((again[name] == first[name]).all() for name in first)
    with pytest.raises(pytest.fail.Exception):
        script.run(replace(world, delay=5), script.OURS, 2, tmp_path)  # another world is another run
