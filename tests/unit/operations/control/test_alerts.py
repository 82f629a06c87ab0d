"""What alarms, how it is worded, and what is told when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from p2pqwen.index.upstream import Upstream
from p2pqwen.index.withdrawals import WithdrawnAnswer
from p2pqwen.library.alert_store import AlertStore
from p2pqwen.library.state_store import StateStore
from p2pqwen.net.messages import NotSent
from p2pqwen.operations.control.alert_watch import SHOWN, AlertWatch, message
from p2pqwen.operations.control.alerts import Folder, PublisherLook, of_publishers, of_status, of_swarms
from p2pqwen.operations.control.status import NodeStatusAnswer
from p2pqwen.stewardship.alerts import Alert, AlertKind
from p2pqwen.stewardship.swarm_health import SwarmHealth
from p2pqwen.values.digest import Sha256
from tests.support.node_status import LIMITS, ONE, TWO, row, status
from tests.support.publishing import NOW

NEAR = replace(LIMITS, monthly_upload=100, uploaded_this_month=90)
WITHDRAWN = WithdrawnAnswer(Sha256.of(b""), "Keepers", "a mistake")
WARNING, DANGER = "warning", "danger"


@pytest.mark.parametrize(
    ("said", "folders", "expected"),
    [
        (status(row(ONE)), (Folder("/disk", 5),), ()),
        (status(), (Folder("/disk", None),), (Alert(DANGER, "/disk", "its disk is not connected", AlertKind.DISK),)),
        (
            status(),
            (Folder("/disk", 5, "input/output error"),),
            (Alert(DANGER, "/disk", "its disk is failing: input/output error", AlertKind.FAILING),),
        ),
        (status(), (Folder("/disk", 0),), (Alert(WARNING, "/disk", "no room beyond the reserve", AlertKind.ROOM),)),
        (
            status(row(ONE, damaged_files=2)),
            (),
            (Alert(DANGER, str(ONE), "2 damaged files were found", AlertKind.DAMAGE),),
        ),
        (
            status(row(ONE, Upstream.GONE)),
            (),
            (Alert(WARNING, str(ONE), "the Hub no longer serves it", AlertKind.GONE),),
        ),
        (
            status(row(ONE, withdrawn=(WITHDRAWN,))),
            (),
            (Alert(WARNING, str(ONE), "withdrawn by Keepers", AlertKind.WITHDRAWN),),
        ),
        (status(limits=NEAR), (), (Alert(WARNING, "", "90 B of this month's 100 B were sent", AlertKind.QUOTA),)),
        (
            status(limits=replace(LIMITS, reason="it is night")),
            (),
            (Alert(WARNING, "", "it is night", AlertKind.HELD_BACK),),
        ),
    ],
)
def test_what_alarms(said, folders, expected):
    assert of_status(said, folders) == expected


def test_the_worst_comes_first():
    found = of_status(status(row(ONE, Upstream.GONE), row(TWO, damaged_files=1)), ())
    assert [one.level for one in found] == [DANGER, WARNING]
    assert found[0].text == "1 damaged file was found"


SEEN = SwarmHealth(seeds=9, peers=9, looked=NOW)


@pytest.mark.parametrize(
    ("health", "level", "kind"),
    [
        (SEEN, None, None),
        (SwarmHealth(), None, None),  # nobody has looked: no danger yet, nor safety
        (replace(SEEN, seeds=0, peers=0, web_seeds_ok=0, upstream=Upstream.GONE), DANGER, AlertKind.LAST_COPY),
        (replace(SEEN, seeds=1, upstream=Upstream.GONE), WARNING, AlertKind.ENDANGERED),
        (replace(SEEN, seeds=3, upstream=Upstream.GONE), WARNING, AlertKind.ENDANGERED),
        (replace(SEEN, seeds=3, upstream=Upstream.PRESENT), None, None),
    ],
)
def test_swarms_that_alarm(health, level, kind):
    found = of_swarms({ONE: health}, NOW)
    assert [(one.level, one.kind, one.about) for one in found] == ([] if level is None else [(level, kind, str(ONE))])


ID = Sha256.of(b"keepers")


@pytest.mark.parametrize(
    ("look", "kinds"),
    [
        (PublisherLook(ID, "Keepers", NOW - timedelta(days=90), 0), []),
        (PublisherLook(ID, "Keepers", NOW - timedelta(days=91), 0), [AlertKind.STALE]),
        (PublisherLook(ID, "Keepers", None, 0), []),
        (PublisherLook(ID, "Keepers", NOW, 2), [AlertKind.EQUIVOCATION]),
        (PublisherLook(ID, "Keepers", NOW - timedelta(days=400), 2), [AlertKind.EQUIVOCATION, AlertKind.STALE]),
    ],
)
def test_publishers_that_alarm(look, kinds):
    found = of_publishers([look], NOW)
    assert [one.kind for one in found] == kinds
    assert all(str(ID) in one.name for one in found), "another publisher of that name is another alert"


def test_a_publishers_name_is_made_harmless():
    (alert,) = of_publishers([PublisherLook(ID, "x\n\u202e" + "y" * 200, NOW, 1)], NOW)
    assert "\n" not in str(alert)
    assert "\u202e" not in str(alert)
    assert len(alert.about) < 100


# What is told


@dataclass(slots=True)
class Outbox:
    """Addresses that take what is sent, but for those that are `down`."""

    addresses: tuple[str, ...] = ("json://a", "json://b")
    down: set[str] = field(default_factory=set)
    sent: list[tuple[str, str, bool]] = field(default_factory=list)

    def send(self, title: str, body: str, *, danger: bool) -> tuple[NotSent, ...]:
        self.sent.append((title, body, danger))
        return tuple(NotSent(one, "down") for one in self.addresses if one in self.down)


class Watched:
    """A node with trouble of a test's choosing, and a clock that it turns."""

    def __init__(self, store: StateStore, **options: object) -> None:
        self.says: NodeStatusAnswer = status()
        self.now = NOW
        self.outbox: Outbox | None = Outbox()
        self.told: list[object] = []
        self.store, self.options = store, options
        self.surveys = 0
        self.start()

    def start(self) -> None:
        """Start the node, again."""

        def publishers() -> list[PublisherLook]:
            self.surveys += 1
            return []

        self.watch = AlertWatch(
            lambda: self.says,
            dict,
            dict,
            publishers,
            AlertStore(self.store),
            self.outbox,
            lambda: self.now,
            "box",
            report=self.told.append,
            **self.options,
        )

    def after(self, says: NodeStatusAnswer, **passed: float) -> int:
        """Let time pass and the node look; return how many messages that sent."""
        before = len(self.outbox.sent)
        self.says, self.now = says, self.now + timedelta(**passed)
        self.watch.look()
        return len(self.outbox.sent) - before


@pytest.fixture
def store(tmp_path):
    with StateStore(tmp_path / "state.sqlite") as opened:
        yield opened


@pytest.fixture
def node(store) -> Watched:
    return Watched(store)


GOOD, BAD = status(row(ONE)), status(row(ONE, damaged_files=1))


def test_an_alert_is_told_once_while_it_lasts_and_after_a_restart(node):
    assert node.after(GOOD) == 0
    assert node.after(BAD, minutes=1) == 1
    assert node.outbox.sent == [("p2pqwen on box: 1 alert", f"danger: {ONE}: 1 damaged file was found", True)]
    assert node.after(BAD, minutes=1) == 0
    assert node.after(BAD, days=40) == 0
    node.start()
    assert node.after(BAD, minutes=1) == 0


@pytest.mark.parametrize(("away", "again"), [({"hours": 1}, 0), ({"hours": 23}, 0), ({"hours": 25}, 1)])
def test_what_comes_back_within_the_quiet_period_is_the_same(node, away, again):
    node.after(BAD)
    node.after(GOOD, minutes=1)
    node.after(GOOD, **away)
    assert node.after(BAD) == again


def test_what_flaps_for_days_is_told_once(node):
    told = sum(node.after(BAD if hour % 2 else GOOD, hours=1) for hour in range(200))
    assert told == 1


def test_a_clock_that_was_set_back_tells_nothing_twice(node):
    node.after(BAD)
    node.after(GOOD, minutes=1)
    assert node.after(BAD, days=-400) == 0


def test_what_is_new_in_one_round_is_one_message(node):
    assert node.after(status(row(ONE, damaged_files=1), row(TWO, Upstream.GONE))) == 1
    title, body, danger = node.outbox.sent[0]
    assert title == "p2pqwen on box: 2 alerts"
    assert body.splitlines()[1] == f"warning: {TWO}: the Hub no longer serves it"
    assert danger


def test_a_message_of_very_many_names_some():
    many = tuple(Alert(WARNING, f"Qwen/{number}", "gone", AlertKind.GONE) for number in range(1000))
    title, body = message(many, "box")
    assert "1,000 alerts" in title or "1000 alerts" in title
    assert len(body.splitlines()) == SHOWN + 1
    assert body.endswith("and 980 more: `p2pqwen alerts list` on box")


def test_hours_and_limits_are_shown_and_never_sent(node):
    held_back = status(limits=replace(LIMITS, reason="it is night"))
    assert node.after(held_back) == 0
    assert [one.kind for one in node.watch.current()] == [AlertKind.HELD_BACK]


def test_muted_kinds_are_shown_and_never_sent(store):
    node = Watched(store, mute=(AlertKind.GONE,))
    assert node.after(status(row(ONE, Upstream.GONE))) == 0
    assert [one.kind for one in node.watch.current()] == [AlertKind.GONE]
    assert node.after(BAD) == 1


def test_what_reached_nobody_is_tried_again_after_a_while(node):
    node.outbox.down = set(node.outbox.addresses)
    assert node.after(BAD) == 1
    assert [one.text for one in node.told] == [f"no alert was sent to json://{name}: down" for name in "ab"]
    assert node.after(BAD, minutes=1) == 0, "a server that is down is not asked every minute"
    node.outbox.down = {"json://a"}
    assert node.after(BAD, minutes=5) == 1
    assert node.after(BAD, minutes=60) == 0, "one of the two took it"


def test_the_log_says_what_was_told_also_where_nobody_is(store):
    node = Watched(store)
    node.outbox = None
    node.start()
    node.says = BAD
    node.watch.look()
    node.watch.look()
    (event,) = node.told
    assert (event.event, event.facts["kind"], event.facts["about"]) == ("alert", "damage", str(ONE))


def test_swarms_and_publishers_are_read_every_quarter_of_an_hour(node):
    for _ in range(30):
        node.after(GOOD, minutes=1)
    assert node.surveys == 2


def with_document(store: StateStore, value: object) -> dict[str, datetime | None]:
    store.put("alerts", value)
    return AlertStore(store).told()


@pytest.mark.parametrize("value", [None, [], "x", {"a": 5}, {"a": "yesterday"}, {"a": []}])
def test_what_makes_no_sense_in_the_store_is_nothing(store, value):
    read: Callable[[], dict[str, datetime | None]] = lambda: with_document(store, value)  # noqa: E731
    assert read() == {}


def test_what_a_survey_saw_of_each_swarm_is_kept_for_the_dashboard(store):
    seen = {ONE: replace(SEEN, seeds=1, upstream=Upstream.GONE), TWO: SwarmHealth()}
    watch = AlertWatch(status, dict, lambda: seen, list, AlertStore(store), None, lambda: NOW, "box")
    watch.look()
    assert watch.dangers == {str(ONE): "critical", str(TWO): "unknown"}


def test_a_disk_that_fails_is_told_once(store):
    told: list[object] = []
    watch = AlertWatch(
        status,
        lambda: {"/disk": 5},
        dict,
        list,
        AlertStore(store),
        None,
        lambda: NOW,
        "box",
        report=told.append,
        failing=lambda: {"/disk": "the kernel counted 3 errors of its file system"},
    )
    watch.look()
    watch.look()
    (event,) = told
    assert (event.facts["kind"], event.facts["about"], event.facts["level"]) == ("failing", "/disk", DANGER)
