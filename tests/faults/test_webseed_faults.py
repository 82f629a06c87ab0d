"""Plans of misbehaving web seeds, several at a time; `scripts/fault_webseeds` runs as many as it is asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.web_seed_faults import FaultPlan, fault_runner, make_payload

PLANS = 120
AT_A_TIME = 6


@pytest.mark.timeout(900)
def test_plans():
    """What is said of a wrong one holds its number: `scripts/fault_webseeds --only NUMBER` runs it again."""

    def run(first: int):
        with fault_runner() as runner:
            return [runner.run(FaultPlan.of(number)) for number in range(first, PLANS, AT_A_TIME)]

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        outcomes = [outcome for some in pool.map(run, range(AT_A_TIME)) for outcome in some]
    assert len(outcomes) == PLANS
    assert not [f"plan {outcome.plan.number}: {outcome.problem}" for outcome in outcomes if outcome.problem]


def test_a_number_always_makes_the_same_plan_and_both_ends_occur():
    plans = [FaultPlan.of(number) for number in range(PLANS)]
    assert plans == [FaultPlan.of(number) for number in range(PLANS)]
    lost = [bool(plan.lost_files(make_payload(plan.payload))) for plan in plans]
    sure = [bool(plan.sure_files(make_payload(plan.payload))) for plan in plans]
    assert 10 < sum(lost) < PLANS - 40
    assert 40 < sum(sure) < PLANS
