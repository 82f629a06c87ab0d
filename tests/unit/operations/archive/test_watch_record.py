"""When the node's next round on the Hub is due, and what a damaged record costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from p2pqwen.operations.archive.watch_record import (
    Failure,
    RoundDone,
    RoundFailed,
    RoundProgress,
    WatchAnswer,
    WatchRecord,
    watch_words,
)
from p2pqwen.values.json_value import from_json, object_json
from p2pqwen.values.snapshot_id import RepoId

START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("record", "every", "due"),
    [
        (WatchRecord(), DAY, None),
        (WatchRecord(START), DAY, None),  # cut off
        (WatchRecord(START, START + HOUR), DAY, START + DAY),
        (WatchRecord(START, START + 2 * DAY), DAY, START + DAY),  # longer than a period: again at once
        (WatchRecord(START, START + MINUTE, 1), DAY, START + 6 * MINUTE),
        (WatchRecord(START, START + MINUTE, 2), DAY, START + 11 * MINUTE),
        (WatchRecord(START, START + MINUTE, 50), DAY, START + MINUTE + DAY),
        (WatchRecord(START, START + MINUTE, 9), HOUR, START + MINUTE + HOUR),
        (WatchRecord(START, START + MINUTE, 1), MINUTE, START + 2 * MINUTE),
    ],
)
def test_the_next_round(record, every, due):
    assert record.due(every) == due


@pytest.mark.parametrize(
    "record",
    [
        WatchRecord(),
        WatchRecord(START, None, 3, RoundProgress("1 of 2 repositories")),
        WatchRecord(START, None, 3, None, START + MINUTE, START + HOUR),
        WatchRecord(START, START + HOUR, 0, RoundDone(preserved=2, failures=(Failure(RepoId("Qwen/X"), "gone"),))),
    ],
)
def test_a_record_survives_the_store(record):
    assert WatchRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"started": 5, "ended": None, "failed_rounds": 0}, {"started": "today", "ended": None},
     {"started": None, "ended": None, "failed_rounds": "many"}],
)  # fmt: skip
def test_anything_else_is_no_round(value):
    assert WatchRecord.from_json(value) == WatchRecord()


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (WatchRecord(), "watch      no round yet"),
        (WatchRecord(START), "watch      since 2026-11-25 12:00: looking at the Hub"),
        (WatchRecord(START, facts=RoundProgress("1 of 2")), "watch      since 2026-11-25 12:00: 1 of 2"),
        (
            WatchRecord(START, START + HOUR, facts=RoundDone(preserved=2, failed=1, bytes=3)),
            "watch      2026-11-25 13:00: 2 preserved, 0 unchanged, 0 skipped, 1 failed, 3 B; next 2026-11-26 12:00",
        ),
        (
            WatchRecord(START, START, 1, RoundFailed("no answer")),
            "watch      2026-11-25 12:00: no answer; next 2026-11-25 12:05",
        ),
    ],
)
def test_what_status_says(record, words):
    assert watch_words(record, DAY, node_runs=True) == words


RUNNING = WatchRecord(START, facts=RoundProgress("1 of 2"), noted=START + MINUTE)
LEFT = WatchRecord(START, noted=START + MINUTE, interrupted=START + HOUR)


@pytest.mark.parametrize(
    ("record", "node_runs", "words", "running", "interrupted"),
    [
        (RUNNING, True, "since 2026-11-25 12:00: 1 of 2", True, None),
        (RUNNING, False, "interrupted 2026-11-25 12:01 at 1 of 2; the node resumes it", False, "12:01"),
        (WatchRecord(START), False, "interrupted 2026-11-25 12:00; the node resumes it", False, "12:00"),
        (LEFT, False, "interrupted 2026-11-25 13:00; the node resumes it", False, "13:00"),
        (LEFT, True, "interrupted 2026-11-25 13:00; the node resumes it", False, "13:00"),
        (WatchRecord(START, START + HOUR), False, "2026-11-25 13:00: 0 preserved", False, None),
    ],
)
def test_102_a_round_that_nobody_works_on_is_told_as_interrupted(record, node_runs, words, running, interrupted):
    assert watch_words(record, DAY, node_runs=node_runs).startswith(f"watch      {words}")
    answer = WatchAnswer.of(record, DAY, node_runs=node_runs)
    assert answer is not None
    fields = object_json(answer)
    assert object_json(from_json(WatchAnswer, fields)) == fields
    at = None if interrupted is None else f"2026-11-25T{interrupted}:00Z"
    assert (fields["running"], fields["interrupted"]) == (running, at)


def test_fields_where_nothing_is_watched():
    assert WatchAnswer.of(WatchRecord(), None, node_runs=False) is None
    answer = WatchAnswer.of(WatchRecord(START, START + HOUR), DAY, node_runs=False)
    assert answer is not None
    assert object_json(answer)["next"] == "2026-11-26T12:00:00Z"
