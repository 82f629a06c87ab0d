"""`preserve --org` and `--watchlist`: plan, limits, failures that stop nothing, and two kills in the middle."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest

from tests.simulators.faults import Effect, Fault
from tests.simulators.hub import HubSimulator
from tests.simulators.modelscope import ModelScopeSimulator
from tests.support.command import CommandLine
from tests.support.models import ATTRIBUTES, README, noise, write_folder
from tests.support.processes import p2pqwen, running
from tests.support.waiting import wait_until


@pytest.fixture
def hub():
    with HubSimulator(tokens=["hf_known"]) as simulator:
        yield simulator


@pytest.fixture
def user(tmp_path, hub):
    return CommandLine(tmp_path, hub.endpoint)


class Org:
    """An organisation on the simulated Hub."""

    def __init__(self, hub, folder):
        self._hub, self._folder = hub, folder

    def add(self, name, size=60_000, *, license_id="apache-2.0", weights="model.safetensors", note="", org="Qwen"):
        files = {
            ".gitattributes": ATTRIBUTES,
            "README.md": README.replace(b"apache-2.0", license_id.encode()) + note.encode(),
            "config.json": b'{"name": "%s"}\n' % name.encode(),
            weights: noise(size, f"weights of {name}"),
        }
        folder = self._folder / f"{name}-{len(list(self._folder.glob('*')))}"
        return str(self._hub.add(f"{org}/{name}", write_folder(folder, files)))


@pytest.fixture
def org(hub, tmp_path):
    return Org(hub, tmp_path / "src")


FOREVER = 10**9


def names(rows):
    return sorted(row["repo"].partition("/")[2] for row in rows)


def held(user):
    return {(row["repo"], row["commit"], row["state"]) for row in user.ok("list")["snapshots"]}


def test_thirty_repositories_killed_twice(hub, org, user, tmp_path):
    """The done-when of the archive: gated, deleted in the middle, a new commit, a rate limit, and two kill -9."""
    earlier = org.add("M-07", 400_000)
    user.ok("preserve", "Qwen/M-07")
    commits = {f"Qwen/M-{n:02}": org.add(f"M-{n:02}", 40_000 + 7_000 * n) for n in range(30) if n not in {7, 11, 20}}
    commits["Qwen/M-07"] = org.add("M-07", 400_000, note="\nA better description.\n")
    commits["Qwen/M-11"] = org.add("M-11", weights="limited.safetensors")
    commits["Qwen/M-20"] = org.add("M-20", 900_000, weights="doomed.safetensors")
    hub.repositories["Qwen/M-05"].gated = "manual"
    hub.fault("429", "limited.safetensors", times=3)
    doomed = hub.fault("503", "doomed.safetensors")  # so that it cannot be preserved before it is deleted
    hub.log.clear()

    command = p2pqwen("preserve", "--org", "Qwen", "--json")
    for _ in range(2):
        stuck = hub.fault("hang", "*.safetensors", on=("cdn",), skip=9)  # so that the kill comes in the middle
        with running(command, user.environment) as process:
            wait_until(lambda: len(_preserved(process)) >= 6, 60, f"six preserved: {process.stderr}")
            process.kill()
        stuck.skip = FOREVER
    after_kills = {repo for repo, _, state in held(user) if state == "complete"}
    assert 12 <= len(after_kills) <= 20  # with the earlier commit of M-07

    with running(command, user.environment) as process:
        wait_until(lambda: len(_preserved(process)) >= 3, 60, f"three preserved: {process.stderr}")
        hub.delete("Qwen/M-20")
        doomed.skip = FOREVER
        code = process.wait(120)
        summary = process.json_line(5)
        assert "Traceback" not in process.stderr

    assert code == 4  # what failed is not to be had
    assert names(summary["failed"]) == ["M-20"]
    assert names(summary["skipped"]) == ["M-05"]
    assert "gated" in summary["skipped"][0]["reason"]
    assert len(summary["preserved"]) + len(summary["unchanged"]) == 28
    assert {f"Qwen/{name}" for name in names(summary["unchanged"])} | {"Qwen/M-07"} == after_kills | {"Qwen/M-07"}
    assert summary["bytes"] == sum(row["size"] for row in summary["preserved"])

    expected = {
        (repo, commit, "complete") for repo, commit in commits.items() if repo not in {"Qwen/M-05", "Qwen/M-20"}
    }
    assert held(user) == expected | {("Qwen/M-07", earlier, "complete")}
    assert hub.count(kind="cdn", path="model.safetensors", method="GET") <= 27 + 2 * 2 * 8  # kills cost little
    for repo, commit, _ in sorted(expected):
        assert user.ok("verify", f"{repo}@{commit}")["ok"] is True
    # The unchanged weights of the new commit were linked, not fetched.
    folders = [user.home / "library" / "Qwen" / "M-07" / commit for commit in (earlier, commits["Qwen/M-07"])]
    assert (folders[0] / "model.safetensors").samefile(folders[1] / "model.safetensors")

    again = user.run("preserve", "--org", "Qwen", "--json")
    assert again.code == 0  # the deleted one is no longer listed
    assert (again.json["preserved"], again.json["failed"]) == ([], [])
    assert len(again.json["unchanged"]) == 28


def _preserved(process):
    return re.findall(r"^preserved (\S+)", process.stderr, re.MULTILINE)


def test_a_dry_run_says_what_would_happen_and_does_nothing(hub, org, user):
    org.add("Old", 100_000)
    user.ok("preserve", "Qwen/Old")
    new = org.add("Old", 100_000, note="more\n")
    org.add("Kept", 50_000)
    user.ok("preserve", "Qwen/Kept")
    org.add("Big", 500_000)
    org.add("Small", 20_000)
    hub.log.clear()
    found = user.ok("preserve", "--org", "Qwen", "--dry-run", "--max-size", "300kB")
    assert [(row["repo"], row["action"]) for row in found["plan"]] == [("Qwen/Small", "new"), ("Qwen/Old", "changed")]
    assert found["plan"][1]["commit"] == new
    assert found["plan"][1]["needed"] < 1000 < found["plan"][1]["size"]  # only what changed
    assert found["needed"] == sum(row["needed"] for row in found["plan"])
    assert found["free"] > 0
    assert names(found["unchanged"]) == ["Kept"]
    assert [(row["repo"], row["reason"]) for row in found["skipped"]] == [
        ("Qwen/Big", "too big: 500 kB, at most 300 kB")
    ]
    assert found["preserved"] == []
    assert (found["dry_run"], found["bytes"]) == (True, 0)
    assert hub.count(kind="resolve") == hub.count(kind="cdn") == 0
    assert len(held(user)) == 2


@pytest.mark.parametrize(
    ("options", "preserved", "skipped"),
    [
        (["--include", "Q*"], ["Q-apache", "Q-mit", "Q-qwen"], {}),
        (["--include", "Qwen/*-mit"], ["Q-mit", "R-mit"], {}),
        (["--exclude", "*-qwen", "--exclude", "R*"], ["Q-apache", "Q-mit"], {}),
        (["--license", "mit"], ["Q-mit", "R-mit"], {"Q-apache": "license apache-2.0, wanted mit", "Q-qwen": "qwen"}),
        (["--license", "MIT", "--license", "apache-*"], ["Q-apache", "Q-mit", "R-mit"], {"Q-qwen": "license qwen"}),
        (["--budget", "45kB"], ["Q-apache", "Q-mit"], {"Q-qwen": "over budget: needs 30", "R-mit": "over budget"}),
    ],
)
def test_limits(org, user, options, preserved, skipped):
    for number, (name, license_id) in enumerate([("Q-apache", "apache-2.0"), ("Q-mit", "mit"), ("Q-qwen", "qwen")]):
        org.add(name, 10_000 + 10_000 * number, license_id=license_id)
    org.add("R-mit", 40_000, license_id="mit")
    done = user.ok("preserve", "--org", "Qwen", *options)
    assert names(done["preserved"]) == preserved
    reasons = {row["repo"].partition("/")[2]: row["reason"] for row in done["skipped"]}
    assert reasons.keys() == skipped.keys()
    assert all(skipped[name] in reason for name, reason in reasons.items())
    assert list((user.home / "library" / ".staging").rglob("README.md")) == []


def test_a_watchlist(org, user, tmp_path, hub):
    first = org.add("Later", 90_000)
    org.add("Sooner", 80_000)
    org.add("Elsewhere", 10_000, org="other")
    second = org.add("Later", 95_000)
    watchlist = tmp_path / "list.toml"
    watchlist.write_text(
        f"""
format = 1
[[model]]
repo = "Qwen/Later"
revision = "{first}"
group = "language"
license = "mit"
[[model]]
repo = "Qwen/Sooner"
priority = 1
group = "coder"
[[model]]
repo = "other/Elsewhere"
group = "coder"
[[model]]
repo = "Qwen/Never-Seen"
confirmed = false
[[model]]
repo = "Qwen/Gone"
"""
    )
    ended = user.run("preserve", "--watchlist", watchlist, "--json")
    done = ended.json
    assert ended.code == 4
    assert [row["repo"] for row in done["preserved"]] == ["Qwen/Sooner", "other/Elsewhere", "Qwen/Later"]
    assert done["preserved"][2]["commit"] == first != second
    assert names(done["skipped"]) == ["Never-Seen"]
    assert names(done["failed"]) == ["Gone"]
    assert "the list says license mit, its README.md says apache-2.0" in ended.stderr
    only = user.ok("preserve", "--watchlist", watchlist, "--include", "group:coder")
    assert names(only["unchanged"]) == ["Elsewhere", "Sooner"]
    assert only["failed"] == []


def test_what_an_organisation_no_longer_lists_is_found_gone(org, user, hub):
    for name in ("Kept", "Lost"):
        org.add(name)
    user.ok("preserve", "--org", "Qwen")
    hub.delete("Qwen/Lost")
    ended = user.run("preserve", "--org", "Qwen", "--include", "Kept", "--json")
    assert names(ended.json["vanished"]) == ["Lost"]
    assert "gone from the Hub: Qwen/Lost@" in ended.stderr
    assert user.ok("preserve", "--org", "Qwen")["vanished"] == []  # told once


@pytest.mark.usefixtures("_impatient")
def test_a_long_wait_for_the_hub_is_told(org, user, hub):
    org.add("Limited", weights="limited.safetensors")
    hub.faults.add(Fault(Effect(status=429, headers={"Retry-After": "200"}), "limited.safetensors", times=1))
    ended = user.run("preserve", "--org", "Qwen", "--json")
    assert ended.code == 0, ended.stderr
    assert "the Hub's rate limit is reached: resuming in 200 s" in ended.stderr
    assert "plan: 1 new; 60" in ended.stderr


@pytest.fixture
def _impatient(monkeypatch):
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))


@pytest.mark.usefixtures("_impatient")
def test_what_the_network_failed_is_tried_again(hub, org, user):
    org.add("Flaky", weights="flaky.safetensors")
    org.add("Steady")
    fault = hub.fault("503", "flaky.safetensors", times=12)  # more than one try outlives
    ended = user.run("preserve", "--org", "Qwen", "--json")
    assert ended.code == 0, ended.stderr
    assert names(ended.json["preserved"]) == ["Flaky", "Steady"]
    assert "1 to try again" in ended.stderr
    assert fault.met > 12


@pytest.mark.usefixtures("_impatient")
def test_a_limit_met_while_surveying_costs_no_repository(hub, org, user):
    for number in range(12):
        org.add(f"M-{number}", 10_000 + number)
    limit = {"RateLimit": '"api";r=0;t=250', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    fault = hub.faults.add(Fault(Effect(status=429, headers=limit), on=("info",), times=3, skip=4))
    done = user.ok("preserve", "--org", "Qwen")
    assert len(done["preserved"]) == 12
    assert fault.met > 7


@pytest.mark.usefixtures("_impatient")
def test_a_hub_that_never_answers_is_not_asked_three_hundred_times(hub, org, user, tmp_path):
    hub.fault("refuse", on=("info",))
    watchlist = tmp_path / "list.toml"
    watchlist.write_text("format = 1\n" + "".join(f'[[model]]\nrepo = "Qwen/M-{n}"\n' for n in range(60)))
    ended = user.run("preserve", "--watchlist", watchlist, "--json")
    assert ended.code == 5
    assert len(ended.json["failed"]) == 60
    assert sum("not asked" in row["reason"] for row in ended.json["failed"]) > 30


def test_what_was_finished_for_an_earlier_commit_is_not_fetched_again(hub, org, user):
    """Killed in the middle of one commit; then its README.md changed."""
    first = org.add("Big", 400_000)
    stuck = hub.fault("hang", "config.json")
    with running(p2pqwen("preserve", "--org", "Qwen", "--json"), user.environment) as process:
        staged = user.home / "library" / ".staging" / "Qwen" / "Big" / first / "model.safetensors"
        wait_until(staged.is_file, 60, f"the weights are staged: {process.stderr}")
        process.kill()
    stuck.skip = FOREVER
    second = org.add("Big", 400_000, note="a better description\n")
    hub.log.clear()
    plan = user.ok("preserve", "--org", "Qwen", "--dry-run")["plan"]
    assert plan[0]["needed"] < 2000
    assert [row["commit"] for row in user.ok("preserve", "--org", "Qwen")["preserved"]] == [second]
    assert hub.count(kind="cdn", path="model.safetensors", method="GET") == 0
    assert user.ok("verify", "Qwen/Big")["ok"]


def test_one_that_is_damaged_does_not_stop_the_others(hub, org, user):
    org.add("Bad", weights="bad.safetensors")
    org.add("Good")
    hub.fault("corrupt", "bad.safetensors")
    ended = user.run("preserve", "--org", "Qwen", "--json")
    assert ended.code == 3
    assert names(ended.json["preserved"]) == ["Good"]
    assert "SHA-256" in ended.json["failed"][0]["reason"]


def test_different_failures_end_with_one(hub, org, user, tmp_path):
    org.add("Bad", weights="bad.safetensors")
    hub.fault("corrupt", "bad.safetensors")
    watchlist = tmp_path / "list.toml"
    watchlist.write_text('format = 1\n[[model]]\nrepo = "Qwen/Bad"\n[[model]]\nrepo = "Qwen/None"\n')
    ended = user.run("preserve", "--watchlist", watchlist, "--json")
    assert ended.code == 1
    assert names(ended.json["failed"]) == ["Bad", "None"]


@pytest.mark.usefixtures("_impatient")
def test_no_hub_at_all(user, hub, org, tmp_path):
    org.add("One")
    watchlist = tmp_path / "list.toml"
    watchlist.write_text('format = 1\n[[model]]\nrepo = "Qwen/One"\n')
    hub.close()
    assert user.run("preserve", "--org", "Qwen").code == 5
    ended = user.run("preserve", "--watchlist", watchlist, "--json")
    assert ended.code == 5
    assert names(ended.json["failed"]) == ["One"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--org", "Qwen", "--watchlist", "x.toml"),
        ("--org", "../etc"),
        ("Qwen/Tiny", "--org", "Qwen"),
        ("Qwen/Tiny", "--dry-run"),
        ("--org", "Qwen", "--budget", "lots"),
        ("--org", "Qwen", "--parallel", "0"),
    ],
)
def test_calls_that_make_no_sense(user, arguments):
    assert user.run("preserve", *arguments).code == 2


def test_an_organisation_with_nothing(user):
    assert user.run("preserve", "--org", "Nobody").code == 4


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A Hub with 41 repositories, one of 900 files, and somebody who has preserved all of them."""
    folder = tmp_path_factory.mktemp("kept")
    with HubSimulator() as hub:
        org, user = Org(hub, folder / "src"), CommandLine(folder, hub.endpoint)
        for number in range(40):
            org.add(f"Model-{number}", 2_000)
        hub.add("Qwen/Long", write_folder(folder / "long", {f"part-{n}.txt": b"%d" % n for n in range(900)}))
        user.ok("preserve", "--org", "Qwen")
        yield hub, user


@pytest.mark.parametrize("origin", ["hub", "auto"])
def test_a_rerun_asks_the_hub_twice_about_what_has_not_changed(kept, origin):
    """Which commit it is, and its files: nothing of each is read again, here or there."""
    hub, user = kept
    user.home.joinpath("config.toml").write_text(f'origin = "{origin}"\n')
    hub.log.clear()
    with ModelScopeSimulator() as modelscope:
        done = user.ok("preserve", "--org", "Qwen", MODELSCOPE_ENDPOINT=modelscope.endpoint)
        asked_there = [call.kind for call in modelscope.log]
    assert len(done["unchanged"]) == 41
    asked = Counter((call.repo, call.kind) for call in hub.log)
    assert asked.pop(("", "list")) == 1
    assert asked == {(repo, kind): 1 for repo in hub.repositories for kind in ("info", "tree")}
    assert asked_there == (["list"] if origin == "auto" else [])
