"""A node that watches the Hub: rounds on a schedule, what they bring is seeded, and nothing stops the node."""

from __future__ import annotations

import re
import signal
import threading
import time

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import ATTRIBUTES, README, noise, write_folder
from tests.support.nodes import quiet_config, row, seeding
from tests.support.waiting import wait_until


@pytest.fixture
def hub(tmp_path):
    with HubSimulator() as simulator:
        yield simulator


@pytest.fixture
def user(tmp_path, hub):
    return CommandLine(tmp_path, hub.endpoint)


@pytest.fixture
def add(hub, tmp_path):
    def add(name, note="", weights="model.safetensors", size=60_000):
        files = {".gitattributes": ATTRIBUTES, "README.md": README + note.encode(), weights: noise(size, name)}
        folder = tmp_path / "src" / f"{name}{len(note)}"
        return str(hub.add(f"Qwen/{name}", write_folder(folder, files)))

    return add


def watch(user, *settings):
    quiet_config(user, "\n".join(["[watch]", 'upstream_every = "never"', *settings, ""]))


def event(node, name, number=1):
    """Wait for the `number`th event of this name."""
    wait_until(
        lambda: len([line for line in list(node.lines) if f'"event": "{name}"' in line]) >= number,
        60,
        f"{name}, {number} times; so far {node.lines}, {node.errors}",
    )
    return [line for line in node.lines if f'"event": "{name}"' in line][number - 1]


def seeded(user, commit):
    wait_until(lambda: row(user, commit).get("state") == "seeding", 60, f"{commit} is seeded: {user.ok('status')}")


def test_rounds_bring_what_is_new_and_the_node_seeds_it(hub, user, add):
    first, bad = add("First"), add("Bad", weights="bad.safetensors")
    corrupt = hub.fault("corrupt", "bad.safetensors")
    watch(user, 'orgs = ["Qwen"]', 'every = "1s"')
    with seeding(user) as (node, _):
        assert '"preserved": 1, "unchanged": 0, "skipped": 0, "failed": 1' in event(node, "watch done")
        seeded(user, first)
        last = user.ok("status")["watch"]
        assert last["next"] is None or last["next"] >= last["started"]

        corrupt.skip = 10**9
        second, new = add("First", note="a better description\n"), add("Second")
        for commit in (bad, second, new):
            seeded(user, commit)
        wait_until(lambda: user.ok("status")["watch"].get("unchanged") == 3, 60, "a round with nothing to do")
        assert row(user, first)["state"] == "seeding"  # the earlier commit stays
        folders = [user.home / "library" / "Qwen" / "First" / commit for commit in (first, second)]
        assert (folders[0] / "model.safetensors").samefile(folders[1] / "model.safetensors")

        hub.delete("Qwen/Second")
        assert '"repo": "Qwen/Second"' in event(node, "gone")
        assert row(user, new)["upstream"] == "gone"
        assert row(user, new)["state"] == "seeding"
        assert node.stop() == 0
    status = user.run("status").stdout
    assert "gone from the Hub since" in status
    assert re.search(r"^watch      (interrupted )?20", status, re.MULTILINE)  # the next round may have begun


def test_a_hub_that_says_no_does_not_stop_the_node(hub, user, add):
    commit = add("Held")
    user.ok("preserve", "Qwen/Held")
    hub.fault("403", on=("list",))
    watch(user, 'orgs = ["Qwen"]', 'every = "1d"')
    with seeding(user) as (node, _):
        assert "the Hub refuses the models of Qwen" in event(node, "watch failed")
        seeded(user, commit)
        last = user.ok("status")["watch"]
        assert (last["failed_rounds"], last["started"] < last["next"]) == (1, True)
        assert node.stop() == 0
    assert "the Hub refuses" in user.run("status").stdout


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_round_that_was_cut_off_goes_on_with_the_next_node(hub, user, add, end):
    commits = [add(f"M-{number}", size=50_000 + number) for number in range(6)]
    stuck = hub.fault("hang", "*.safetensors", on=("cdn",), skip=3)
    watch(user, 'orgs = ["Qwen"]', 'every = "1d"', "parallel = 2")
    with seeding(user) as (node, _):
        wait_until(lambda: len([line for line in node.errors if "preserved Qwen" in line]) == 3, 60, "three are here")
        if end == "kill":
            node.kill()
        else:
            node.send_signal(signal.SIGTERM)
            assert node.wait(60) == 0  # whatever the Hub does
    cut_off = user.ok("status")["watch"]
    assert (cut_off["ended"], cut_off["running"]) == (None, False)
    assert cut_off["started"] <= cut_off["interrupted"]
    status = user.run("status").stdout
    assert "no node is running" in status
    assert "watch      interrupted 20" in status
    assert "looking at the Hub" not in status
    stuck.skip = 10**9
    downloads = hub.count(kind="cdn", method="GET")
    with seeding(user) as (node, _):
        assert '"preserved": 3, "unchanged": 3' in event(node, "watch done")
        for commit in commits:
            seeded(user, commit)
    assert hub.count(kind="cdn", method="GET") == downloads + 3


def test_outside_the_hours_nothing_is_asked(hub, user, add):
    add("One")
    user.ok("limits", "--hours", "00:00-00:01" if _now_is_late() else "23:58-23:59")
    watch(user, 'orgs = ["Qwen"]', 'every = "1s"')
    with seeding(user) as (node, _):
        event(node, "limits")
        wait_until(lambda: user.ok("status")["node"], 30, "the node is up")
        assert hub.count() == 0
        user.ok("limits", "--hours", "always")
        event(node, "watch done")


def _now_is_late():
    from datetime import datetime

    return datetime.now().astimezone().hour >= 12


def test_a_node_that_preserves_nothing_asks_about_what_it_holds(hub, user, add):
    add("Held")
    user.ok("preserve", "Qwen/Held")
    hub.delete("Qwen/Held")
    quiet_config(user, '[watch]\nupstream_every = "1s"\n')
    with seeding(user) as (node, _):
        assert '"repo": "Qwen/Held"' in event(node, "gone")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('orgs = "Qwen"', "[watch] orgs: not a list"),
        ('orgs = ["../x"]', "[watch] orgs: not an organisation's name"),
        ('every = "often"', "[watch] every: not a length of time"),
        ("every = 5", "[watch] every: not text"),
        ('budget = "lots"', "[watch] budget: not a size"),
        ("parallel = 0", "[watch] parallel: out of range"),
        ("parallel = true", "[watch] parallel: out of range"),
        ("colour = 1", "[watch] has no setting 'colour'"),
    ],
)
def test_settings_that_make_no_sense(user, settings, words):
    quiet_config(user, f"[watch]\n{settings}\n")
    ended = user.run("list")
    assert ended.code == 2
    assert words in ended.stderr


@pytest.mark.parametrize("xet", [True, False])
def test_its_rate_and_the_users_hours_hold_whatever_carries_the_bytes(hub, user, add, xet):
    """At 1 MB/s ten seconds bring 10 MB within a fifth; when the hours end, so does what comes, within ten seconds."""
    hub.xet.served = xet
    add("Large", size=40_000_000)
    watch(user, 'orgs = ["Qwen"]', 'rate = "1MB/s"')
    kind = "xorb" if xet else "cdn"

    def sent():
        return sum(call.sent for call in hub.calls(kind=kind))

    with seeding(user):
        wait_until(sent, 60, "the first bytes")
        rates = [_rate(sent)]
        while xet and rates[-1] < 0.8e6 and len(rates) < 3:  # a machine with other work may be slower than the rate
            rates.append(_rate(sent))
        user.ok("limits", "--hours", "00:00-00:01" if _now_is_late() else "23:58-23:59")
        told = time.monotonic()
        wait_until(lambda: not _moves(sent), 10, "nothing comes any more")
        assert time.monotonic() - told < 10
    if xet:  # over plain HTTP this machine's own sockets hold some megabytes in between
        assert rates[-1] >= 0.8e6, rates
        assert max(rates) <= 1.2e6, rates


def _rate(sent):
    """What was sent in ten seconds, in bytes per second."""
    first, begun = sent(), time.monotonic()
    threading.Event().wait(10)
    return (sent() - first) / (time.monotonic() - begun)


def _moves(sent):
    before = sent()
    threading.Event().wait(2)
    return sent() != before
