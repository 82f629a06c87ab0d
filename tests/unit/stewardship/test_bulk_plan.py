"""What a bulk preserve does with each repository, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import NetworkError, NotFoundError
from p2pqwen.stewardship.bulk_plan import Action, BulkLimits, Survey, plan_bulk
from p2pqwen.stewardship.watchlist import WatchedRepo
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId

COMMIT = CommitId.parse("ab" * 20)
NO_REPO = NotFoundError("the Hub shows no Qwen/X")


def survey(name="X", *, size=100, priority=5, confirmed=True, **facts):
    wanted = WatchedRepo(RepoId(f"Qwen/{name}"), priority=priority, confirmed=confirmed)
    return Survey(wanted, **{"commit": COMMIT, "size": size, "to_bring": size, **facts})


@pytest.mark.parametrize(
    ("found", "limits", "action", "reason"),
    [
        ({}, {}, Action.NEW, ""),
        ({"earlier": 1}, {}, Action.CHANGED, "a new commit"),
        ({"held": True}, {}, Action.UNCHANGED, ""),
        ({"held": True}, {"max_size": 1, "budget": 0, "licenses": ("mit",)}, Action.UNCHANGED, ""),
        ({"closed": "gated"}, {}, Action.SKIPPED, "gated: its owner"),
        ({"closed": "gated"}, {"allow_gated": True}, Action.NEW, ""),
        ({"error": NetworkError("no answer")}, {}, Action.FAILED, "no answer"),
        ({"error": NO_REPO, "absent": True}, {}, Action.FAILED, "shows no"),
        ({"error": NO_REPO, "absent": True, "confirmed": False}, {}, Action.SKIPPED, "never confirmed"),
        ({"license": "mit"}, {"licenses": ("apache-2.0", "MIT")}, Action.NEW, ""),
        ({"license": "qwen"}, {"licenses": ("apache-2.0",)}, Action.SKIPPED, "license qwen, wanted apache-2.0"),
        ({"license": None}, {"licenses": ("*",)}, Action.SKIPPED, "names no license"),
        ({}, {"max_size": 100}, Action.NEW, ""),
        ({}, {"max_size": 99}, Action.SKIPPED, "too big: 100 B, at most 99 B"),
        ({}, {"budget": 99}, Action.SKIPPED, "over budget: needs 100 B, 99 B left"),
        ({"to_bring": 10}, {"budget": 99}, Action.NEW, ""),
        ({}, {"free": 99}, Action.FAILED, "no room, expected 100 B free, got 99 B"),
    ],
)
def test_one_repository(found, limits, action, reason):
    (row,) = plan_bulk([survey(**found)], BulkLimits(**limits)).rows
    assert row.action is action
    assert reason in row.reason


def test_the_budget_goes_by_priority_and_then_to_the_smaller():
    plan = plan_bulk(
        [
            survey("Big", size=80),
            survey("Small", size=30),
            survey("Later", size=10, priority=9),
            survey("First", size=60, priority=1),
        ],
        BulkLimits(budget=100),
    )
    assert [(row.survey.wanted.repo.name, row.action.value) for row in plan.rows] == [
        ("First", "new"), ("Small", "new"), ("Big", "skipped"), ("Later", "new"),
    ]  # fmt: skip
    assert plan.summary(500) == "3 new, 1 skipped; 100 B to download, 500 B free"


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 9), st.booleans()), max_size=30),
    st.none() | st.integers(0, 5000),
    st.none() | st.integers(0, 5000),
)
def test_every_repository_is_decided_once_and_no_limit_is_passed(found, budget, free):
    surveys = [
        survey(f"M{number}", size=size, priority=priority, held=held)
        for number, (size, priority, held) in enumerate(found)
    ]
    plan = plan_bulk(surveys, BulkLimits(budget=budget, free=free))
    assert sorted(row.survey.wanted.repo.name for row in plan.rows) == sorted(one.wanted.repo.name for one in surveys)
    assert all(plan.to_bring <= limit for limit in (budget, free) if limit is not None)
    again = plan_bulk(reversed(surveys), BulkLimits(budget=budget, free=free))
    assert [(row.survey, row.action) for row in again.rows] == [(row.survey, row.action) for row in plan.rows]
