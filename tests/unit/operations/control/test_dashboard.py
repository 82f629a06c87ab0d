"""What the dashboard's pictures hold: everything at first, then what changed; what alarms; how many may look."""

from __future__ import annotations

import pytest

from p2pqwen.errors import InUseError
from p2pqwen.operations.control import dashboard
from p2pqwen.operations.control.alerts import Folder
from p2pqwen.operations.control.dashboard import CALENDAR, DAY, HOUR, MAX_VIEWERS, Dashboard
from p2pqwen.operations.control.routes import NetworkAnswer
from p2pqwen.stewardship.alerts import Alert, AlertKind
from p2pqwen.stewardship.danger import Danger
from tests.support.node_status import ONE, TWO, row, status

NETWORK = NetworkAnswer("127.0.0.1:1", 0, False, None, (), None, None)


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


def test_alerts_come_again_only_where_they_have_changed():
    now = [status(row(ONE, damaged_files=1))]
    pictures = Dashboard(lambda: now[0], lambda: NETWORK, dict).pictures({})
    assert [one.kind for one in next(pictures).alerts] == [AlertKind.DAMAGE]
    now[0] = status(row(ONE, damaged_files=1, upload_rate=9))
    assert next(pictures).alerts is None
    now[0] = status(row(ONE))
    assert next(pictures).alerts == ()


def test_dangers_and_failing_disks_are_shown_as_they_change():
    dangers = [{str(ONE): Danger.CRITICAL}]
    board = Dashboard(
        lambda: status(row(ONE)),
        lambda: NETWORK,
        lambda: {"/disk": 7},
        failing=lambda: {"/disk": "an error"},
        dangers=lambda: dangers[0],
    )
    pictures = board.pictures({})
    first = next(pictures)
    assert first.dangers == {str(ONE): "critical"}
    assert first.folders == (Folder("/disk", 7, "an error"),)
    assert [one.kind for one in first.alerts] == [AlertKind.FAILING]
    assert next(pictures).dangers is None
    dangers[0] = {str(ONE): Danger.THIN}
    assert next(pictures).dangers == {str(ONE): "thin"}


def test_the_scrubs_of_the_next_days_come_again_only_where_they_have_changed(monkeypatch):
    monkeypatch.setattr(dashboard, "CALENDAR_EVERY", 0.0)
    due = [(2, *(0 for _ in range(CALENDAR - 1)))]
    board = Dashboard(lambda: status(row(ONE)), lambda: NETWORK, dict, scrubs=lambda days: due[0][:days])
    pictures = board.pictures({})
    assert next(pictures).scrubs == due[0]
    assert next(pictures).scrubs is None
    due[0] = (1, 1, *due[0][2:])
    assert next(pictures).scrubs == due[0]


def test_the_node_is_asked_once_for_all_who_look(monkeypatch):
    monkeypatch.setattr(dashboard, "REFRESH", 3600.0)
    asked = []
    board = Dashboard(lambda: asked.append(1) or status(row(ONE)), lambda: NETWORK, dict)
    seen = [next(board.pictures({})) for _ in range(3)]
    assert [len(one.snapshots) for one in seen] == [1, 1, 1]
    assert len(asked) == 1


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


def test_a_picture_shows_what_the_watch_found_beside_what_it_sees_itself():
    lost = Alert("danger", str(ONE), "this may be the last copy", AlertKind.LAST_COPY)
    board = Dashboard(lambda: status(row(TWO)), lambda: NETWORK, lambda: {"/disk": 0}, lambda: (lost,))
    assert [one.kind for one in next(board.pictures({})).alerts] == [AlertKind.LAST_COPY, AlertKind.ROOM]
