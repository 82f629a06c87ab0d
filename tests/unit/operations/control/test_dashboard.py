"""What the dashboard's pictures hold: everything at first, then what changed; what alarms; how many may look."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from p2pqwen.errors import InUseError
from p2pqwen.index.entry import Upstream
from p2pqwen.index.withdrawals import WithdrawnAnswer
from p2pqwen.operations.archive.upstream_answer import UpstreamAnswer
from p2pqwen.operations.control import dashboard
from p2pqwen.operations.control.dashboard import DAY, HOUR, MAX_VIEWERS, Alert, Dashboard, Folder, alerts_of
from p2pqwen.operations.control.routes import NetworkAnswer
from p2pqwen.operations.control.status import NodeStatusAnswer, StatusRow
from p2pqwen.operations.node.limits import LimitsAnswer
from p2pqwen.operations.node.state import NodeAddress, SnapshotState
from p2pqwen.values.digest import Sha256
from tests.support.publishing import make_entry

ONE, TWO = (make_entry(number).id for number in (1, 2))
LIMITS = LimitsAnswer(0, 0, 0, (), 0, 0, may_upload=True, may_transfer=True, reason=None)
NETWORK = NetworkAnswer("127.0.0.1:1", 0, False, None, (), None, None)


def row(snapshot, upstream: Upstream = Upstream.UNKNOWN, **changes: Any) -> StatusRow:
    state = SnapshotState(snapshot, "seeding", progress=1.0, size=5, held_bytes=5)
    return StatusRow(replace(state, **changes).row, UpstreamAnswer(upstream))


def status(*rows: StatusRow, limits: LimitsAnswer = LIMITS) -> NodeStatusAnswer:
    fields = dict.fromkeys(NodeStatusAnswer.__dataclass_fields__)
    given = {"node": NodeAddress(1, "127.0.0.1:1"), "snapshots": rows, "fetches": (), "limits": limits}
    return NodeStatusAnswer(**(fields | given))


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(dashboard, "REFRESH", 0.0)


def test_the_first_picture_is_whole_and_the_next_hold_what_changed():
    now = [status(row(ONE), row(TWO))]
    pictures = Dashboard(lambda: now[0], lambda: NETWORK, lambda: {"/disk": 7}).pictures({})
    first = next(pictures)
    assert [one.row.state.id for one in first.snapshots] == [ONE, TWO]
    assert first.folders == (Folder("/disk", 7),)
    assert next(pictures).snapshots == ()
    now[0] = status(row(ONE, upload_rate=9))
    third = next(pictures)
    assert [one.row.state.id for one in third.snapshots] == [ONE]
    assert third.gone == (str(TWO),)
    pictures.close()


def test_so_many_may_look_and_a_place_is_free_again_when_one_goes():
    board = Dashboard(status, lambda: NETWORK, dict)
    looking = [board.pictures({}) for _ in range(MAX_VIEWERS)]
    for one in looking:
        next(one)
    with pytest.raises(InUseError):
        next(board.pictures({}))
    looking.pop().close()
    next(board.pictures({}))


def test_the_plots_hold_an_hour_and_a_day():
    history = dashboard._History()
    for number in range(30 * DAY + 60):
        history.add(number, 2 * number)
    _, rates = history.rates()
    assert (len(rates.hour_up), len(rates.day_down)) == (HOUR, DAY)
    assert rates.hour_up[-1] == 30 * DAY + 59
    assert rates.day_up[-1] == sum(range(30 * DAY + 30, 30 * DAY + 60)) // 30
    assert rates.day_down[-1] == 2 * sum(range(30 * DAY + 30, 30 * DAY + 60)) // 30


NEAR = replace(LIMITS, monthly_upload=100, uploaded_this_month=90)
WITHDRAWN = WithdrawnAnswer(Sha256.of(b""), "Keepers", "a mistake")


@pytest.mark.parametrize(
    ("said", "folders", "expected"),
    [
        (status(row(ONE)), (Folder("/disk", 5),), ()),
        (status(), (Folder("/disk", None),), (Alert("danger", "/disk", "its disk is not here"),)),
        (status(), (Folder("/disk", 0),), (Alert("warning", "/disk", "no room beyond the reserve"),)),
        (status(row(ONE, damaged_files=2)), (), (Alert("danger", str(ONE), "2 damaged files were found"),)),
        (status(row(ONE, Upstream.GONE)), (), (Alert("warning", str(ONE), "the Hub no longer serves it"),)),
        (status(row(ONE, withdrawn=(WITHDRAWN,))), (), (Alert("warning", str(ONE), "withdrawn by Keepers"),)),
        (status(limits=NEAR), (), (Alert("warning", "", "90 B of this month's 100 B were sent"),)),
        (status(limits=replace(LIMITS, reason="it is night")), (), (Alert("warning", "", "it is night"),)),
    ],
)
def test_what_alarms(said, folders, expected):
    assert alerts_of(said, folders) == expected


def test_the_worst_comes_first():
    found = alerts_of(status(row(ONE, Upstream.GONE), row(TWO, damaged_files=1)), ())
    assert [one.level for one in found] == ["danger", "warning"]
    assert found[0].text == "1 damaged file was found"
