"""Sixty plans of misbehaving web seeds; `scripts/fault_webseeds` runs as many as it is asked for."""

from __future__ import annotations

import pytest

from tests.support.web_seed_faults import FaultPlan, fault_runner

PLANS = 60


@pytest.fixture(scope="module")
def runner():
    with fault_runner() as one:
        yield one


@pytest.mark.parametrize("number", range(PLANS))
def test_a_plan(runner, number):
    outcome = runner.run(FaultPlan.of(number))
    assert outcome.problem is None, outcome


def test_a_number_always_makes_the_same_plan_and_both_ends_occur():
    plans = [FaultPlan.of(number) for number in range(PLANS)]
    assert plans == [FaultPlan.of(number) for number in range(PLANS)]
    from tests.support.web_seed_faults import make_payload

    lost = [bool(plan.lost_files(make_payload(plan.payload))) for plan in plans]
    assert 5 < sum(lost) < PLANS - 20
