"""`status`: drawn live on a terminal, plain elsewhere, and the same figures with a node and without one."""

from __future__ import annotations

import contextlib
import io
import signal
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from p2pqwen.cli import status_table
from p2pqwen.operations.control.status import Status
from p2pqwen.operations.node.limits import LimitsAnswer
from p2pqwen.operations.node.state import NodeAddress, SnapshotState
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.support.nodes import quiet_config, row, seeding
from tests.support.preserved import COMMITS, REPO, Preserver, small_model
from tests.support.processes import p2pqwen, running
from tests.support.shell_terminal import on_terminal
from tests.support.waiting import wait_until

SIZE = sum(map(len, small_model().values()))
UNUSED = LimitsAnswer(0, 0, 0, (), 0, 0, may_upload=True, may_transfer=True, reason=None)


@pytest.fixture
def user(tmp_path):
    keeper = Preserver(tmp_path)
    keeper.preserve(small_model())
    quiet_config(keeper.user)
    return keeper.user


@pytest.fixture
def terminal(user):
    with contextlib.ExitStack() as opened:
        yield lambda *arguments: opened.enter_context(on_terminal(p2pqwen(*arguments), user.environment))


def test_live_on_a_terminal_until_ctrl_c(user, terminal):
    with seeding(user) as (node, _):
        node.line(30, containing='"seeding"')
        shown = terminal("status")
        shown.read_until(f"{REPO}@{COMMITS[0][:7]}")
        assert "seeding" in shown.read_until("Ctrl-C closes this view")
        shown.process.send_signal(signal.SIGINT)
        assert shown.process.wait(20) == 0
        assert node.exit_code is None
        once = terminal("status", "--once")
        once.read_until("good")
        assert once.process.wait(20) == 0


SEED = ("seed", "--listen", "127.0.0.1:0")


@pytest.mark.parametrize("columns", [80, 40])
def test_a_node_in_the_foreground_shows_the_live_status(user, columns):
    with on_terminal(p2pqwen(*SEED), user.environment, columns=columns) as shown:
        shown.read_until("listening: ")
        shown.read_until("listens on 127.0.0.1:", 60)
        shown.read_until("seeding", 60)
        shown.read_until("Ctrl-C stops the node")
        shown.process.send_signal(signal.SIGINT)
        last = shown.read_until("stopped: ")
        assert shown.process.wait(20) == 0
    assert "seeding: " not in last  # what the table shows has no line
    assert "stats: " not in last


def test_a_node_that_writes_to_a_file_writes_lines(user):
    with running(p2pqwen(*SEED), user.environment) as node:
        node.line(60, containing="listening: ")
        node.line(60, containing=f"seeding: repo={REPO}")
    assert "Ctrl-C" not in node.stdout


def test_without_a_node_it_is_printed_once(user, terminal):
    shown = terminal("status")
    shown.read_until("no node is running")
    shown.read_until("complete")
    assert shown.process.wait(20) == 0


def test_the_figures_are_there_with_a_node_and_without(user):
    user.ok("library", "scrub", "--all")
    user.ok("priority", REPO, "low")
    without = row(user, COMMITS[0])
    with seeding(user) as (node, _):
        node.line(30, containing='"seeding"')
        wait_until(lambda: row(user, COMMITS[0])["last_scrub"], 20, "the scrub to be shown")
        within = row(user, COMMITS[0])
    assert without["state"] == "complete"
    assert within["state"] == "seeding"
    for name in ("size", "health", "priority", "ratio", "last_scrub", "progress", "damaged_files", "standing"):
        assert within[name] == without[name], name
    assert (within["size"], within["health"], within["priority"]) == (SIZE, "good", "low")
    words = user.run("status").stdout
    assert f"{REPO}@{COMMITS[0][:7]}  complete, signed, 0 peers" in words
    assert "scrubbed 20" in words


@pytest.mark.parametrize(
    ("state", "health"),
    [
        ({"state": "seeding", "progress": 1.0}, "good"),
        ({"state": "paused", "progress": 1.0}, "good"),
        ({"state": "seeding", "progress": 1.0, "damaged_files": 2}, "damaged"),
        ({"state": "damaged", "progress": 0.9}, "damaged"),
        ({"state": "downloading", "progress": 0.5}, "unfinished"),
        ({"state": "away"}, "away"),
        ({"state": "skipped"}, "unusable"),
        ({"state": "checking", "progress": 0.2}, "checking"),
    ],
)
def test_health_is_that_of_our_own_copy(state, health):
    assert rows_of([state])[0].health == health


def rows_of(states):
    return [
        SnapshotState(id=SnapshotId(RepoId(f"Qwen/Model-{number}"), CommitId(bytes(20))), **state)
        for number, state in enumerate(states)
    ]


def test_what_matters_stands_first_and_a_small_screen_holds_it():
    states = [{"state": "seeding", "progress": 1.0, "size": 10**9}] * 40
    states += [{"state": "seeding", "progress": 1.0, "upload_rate": 5_000_000, "peers": 3, "seeds": 1}]
    states += [{"state": "seeding", "progress": 1.0, "damaged_files": 2, "last_scrub": "2026-11-20T00:00:00Z"}]
    found = Status(
        NodeAddress(1, "127.0.0.1:1"), tuple(rows_of(states)), replace(UNUSED, uploaded_this_month=5, reason="x")
    )
    console = Console(width=80, height=24, record=True, file=io.StringIO())
    console.print(status_table._screen(found, ["node 1"], console))
    lines = console.export_text().splitlines()
    assert len(lines) <= 24
    table = next(index for index, line in enumerate(lines) if line.startswith("model"))
    assert "2 bad files" in lines[table + 1]
    assert "Model-40" in lines[table + 2]
    assert "5.00 MB/s" in lines[table + 2]
    assert lines[table].split() == ["model", "size", "state", "standing", "peers", "up", "health", "scrub"]
    assert lines[table + 1].split()[-1].endswith("d")
    assert "and 28 more" in lines[-1] or "more;" in lines[-1]
    assert "; x" in lines[1]


@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (200, "model size state standing peers up down health ratio last scrub"),
        (80, "model size state standing peers up down health"),
        (60, "model state peers up health"),
        (40, "model state peers"),
    ],
)
def test_a_narrow_terminal_leaves_out_what_matters_least(width, heads):
    busy = {"progress": 0.5, "download_rate": 5_000_000, "upload_rate": 1_000, "size": 10**9, "peers": 12}
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(status_table._table(rows_of([{"state": "downloading", **busy}]), width))
    lines = console.export_text().splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= width
    assert " ".join(lines[0].split()) == heads
    assert lines[1].startswith("Qwen/")


def test_ages():
    now = datetime(2026, 11, 25, tzinfo=UTC)
    ages = ["2026-11-20T00:00:00Z", "2026-11-24T20:00:00Z", "2026-11-26T00:00:00Z", None]
    words = ["5 days ago", "4 hours ago", "0 hours ago", "not yet"]
    assert [status_table._ago(age, now, narrow=False) for age in ages] == words
    assert [status_table._ago(age, now, narrow=True) for age in ages] == ["5d", "4h", "0h", "·"]


def test_limits_that_stop_everything_are_told(user):
    now = datetime.now().astimezone()
    later = f"{(now.hour + 2) % 24:02}:00-{(now.hour + 3) % 24:02}:00"
    reason = f"nothing is sent or fetched now: outside {later}; see `p2pqwen limits`"
    assert "nothing is" not in user.run("status").stdout
    with seeding(user) as (node, _):
        node.line(30, containing='"seeding"')
        user.ok("limits", "--hours", later)
        assert reason in user.run("status").stdout.splitlines()
    assert reason in user.run("status").stdout.splitlines()
    (found,) = [one for one in user.run("doctor", "--json").json["findings"] if one["check"] == "limits"]
    assert (found["ok"], later in found["detail"], "p2pqwen limits" in found["advice"]) == (False, True, True)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, ""),
        ({"reason": None, "may_transfer": True}, ""),
        ({"reason": "used up", "may_transfer": True}, "nothing is sent now: used up; see `p2pqwen limits`"),
        ({"reason": "outside", "may_transfer": False}, "nothing is sent or fetched now: outside; see `p2pqwen limits`"),
    ],
)
def test_what_limits_hold_back(limits, words):
    assert Status(None, (), replace(UNUSED, **limits)).held_back == words


def test_the_doctor_in_json(user):
    with seeding(user) as (node, _):
        node.line(30, containing='"seeding"')
        ended = user.run("doctor", "--json")
    findings = {one["check"]: one for one in ended.json["findings"]}
    assert {"node", "port", "dht", "clock", "disk", "hub", "index", "permissions"} <= set(findings)
    assert all(set(one) == {"check", "ok", "detail", "advice"} for one in findings.values())
    assert all(one["advice"] for one in findings.values() if not one["ok"])
    assert findings["node"]["ok"]
    assert str(node.pid) in findings["node"]["detail"]
    assert not findings["hub"]["ok"]  # nobody answers there
    assert (ended.code, ended.json["ok"]) == (1, False)


def test_a_node_that_cannot_start_shows_no_table(user):
    with seeding(user), on_terminal(p2pqwen(*SEED), user.environment) as shown:
        shown.read_until("in use by process")
        assert shown.process.wait(20) == 1
    assert "Ctrl-C" not in shown.shown
    assert "listens on" not in shown.shown
