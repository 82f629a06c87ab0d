"""What fetches moved is counted whole: with a node and without one, whichever events came last."""

from __future__ import annotations

from datetime import datetime

import pytest

from p2pqwen.errors import NetworkError
from p2pqwen.events import Notice, Progress, ignore
from p2pqwen.library.state_store import StateStore
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.node.counted_fetch import counted_fetch
from p2pqwen.operations.node.jobs import FetchJobs
from p2pqwen.operations.node.limits import SLOWEST, TRICKLE, Limits
from p2pqwen.operations.node.preferences import Choices, Transfer
from p2pqwen.values.snapshot_id import SnapshotId
from tests.support.answers import fetch_answer
from tests.support.waiting import wait_until

ONE = SnapshotId.parse("Qwen/Tiny@" + "a" * 40)
RESULT = fetch_answer(ONE, bytes_from_peers=900, bytes_from_web_seeds=100)
REQUEST = FetchRequest(str(ONE))


def seen(received, uploaded=0):
    return Progress("download", received, 1000, facts={"received": received, "uploaded": uploaded})


END = [Progress("download", 1000, 1000), Progress("verify", 1000, 1000), Notice("info", "done")]
TABLE = [
    pytest.param([[seen(400, 7), *END]], Transfer(7, 1000), id="the tail after the last counters"),
    pytest.param([[]], Transfer(0, 1000), id="too fast for any counters"),
    pytest.param([[seen(400, 7), seen(1100, 9), *END]], Transfer(9, 1100), id="some came twice"),
    pytest.param([[seen(400, 7), seen(300, 5), seen(600, 6)]], Transfer(13, 1000), id="counters that began anew"),
]


def carrying_out(events, result=RESULT):
    def carry_out(request, report, on_plan, *, allowed=None):
        on_plan(ONE)
        for event in events:
            report(event)
        if result is None:
            raise NetworkError("nothing arrived")
        return result

    return carry_out


@pytest.mark.parametrize(("tries", "moved"), TABLE)
def test_without_a_node(tmp_path, tries, moved):
    with StateStore(tmp_path / "state.sqlite") as store:
        counted_fetch(carrying_out(tries[0]), REQUEST, Choices(store), ignore)
        assert Choices(store).month(datetime.now().astimezone()) == moved


def test_a_failure_without_a_node_counts_what_came(tmp_path):
    with StateStore(tmp_path / "state.sqlite") as store:
        with pytest.raises(NetworkError):
            counted_fetch(carrying_out([seen(400, 7), END[1]], None), REQUEST, Choices(store), ignore)
        assert Choices(store).transfers() == {str(ONE): Transfer(7, 400)}


def test_a_fetch_without_a_node_slows_down_as_it_uses_up_the_quota(tmp_path):
    rates = []

    def carry_out(request, report, on_plan, *, allowed):
        on_plan(ONE)
        rates.append(allowed.upload_of_fetches)
        for second in range(200):
            report(seen(0, (second + 1) * allowed.upload_of_fetches))
        return RESULT

    with StateStore(tmp_path / "state.sqlite") as store:
        choices = Choices(store)
        choices.change_limits(lambda _: Limits(monthly_upload=400_000_000))
        choices.count({ONE: Transfer(368_000_000)}, datetime.now().astimezone())
        counted_fetch(carry_out, REQUEST, choices, ignore)
        sent = choices.month(datetime.now().astimezone()).uploaded
    assert rates == [256_000, 64_000, SLOWEST, TRICKLE]
    assert 400_000_000 <= sent <= 400_000_000 + SLOWEST + 200 * TRICKLE


@pytest.mark.parametrize(
    ("tries", "moved"), [*TABLE, pytest.param([[seen(400, 7)], [seen(500, 8), *END]], Transfer(15, 1400), id="twice")]
)
def test_in_a_node_that_looks_only_when_all_is_over(tmp_path, tries, moved):
    outcomes = [carrying_out(events, None) for events in tries[:-1]] + [carrying_out(tries[-1])]
    with StateStore(tmp_path / "state.sqlite") as store:
        clock = [0.0]

        def run(*given):
            return outcomes.pop(0)(*given)

        jobs = FetchJobs(run, store, ignore, clock=lambda: clock[0])
        job = jobs.submit(REQUEST)

        def ended():
            clock[0] += 1e6
            jobs.tick()
            return job.state.ended

        wait_until(ended, 10, "the fetch")
        assert jobs.take_counts() == {ONE: moved}
        assert jobs.take_counts() == {}
