"""`p2pqwen demo` as a newcomer runs it: its story, its figures, what it leaves behind, and how it fails."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path

import pytest

from p2pqwen.demo import story
from p2pqwen.demo.node_process import DemoStepError, NodeProcess, SeedProcess
from tests.support.command import CommandLine
from tests.support.processes import p2pqwen, running
from tests.support.waiting import wait_until

SECONDS = 120


def processes_with_home_under(folder):
    """Ids of processes that live in a home under this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"P2PQWEN_HOME={folder}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return found


def test_the_figures(tmp_path):
    with running(p2pqwen("demo", "--json"), {"TMPDIR": str(tmp_path)}) as process:
        assert process.wait(SECONDS) == 0, process.stderr
        figures = json.loads(process.stdout)
    assert figures["ok"] is True
    assert figures["provenance"] == "proven"
    assert figures["bytes_from_peers"] >= figures["size"] > 5_000_000
    assert figures["bytes_from_web_seeds"] == 0
    assert figures["files_verified"] == figures["files"] == 10
    # The model never changes, and the recipe never may: these hold for ever.
    assert figures["commit"] == "c9b318f071d1d2694cf1f375b3c47ddf57638937"
    assert figures["infohash_v2"] == "c83f2e0f29dbbf7e892ffbce15009c6259dea644d40d7b8ab4bd9b8e5840ba13"
    assert list(tmp_path.iterdir()) == []


def test_it_keeps_a_site_and_a_node_whose_pages_one_can_open(tmp_path):
    (tmp_path / "demo").mkdir()
    with running(p2pqwen("demo", "--keep", "--json"), {"TMPDIR": str(tmp_path / "demo")}) as process:
        assert process.wait(SECONDS) == 0, process.stderr
        kept = json.loads(process.stdout)["kept"]
    try:
        assert "Qwen/Qwen3-Tiny-Demo" in (Path(kept["site"]) / "index.html").read_text()
        address, _, token = kept["dashboard"].partition("#")
        with urllib.request.urlopen(address) as page:
            assert b"<title>p2pqwen node</title>" in page.read()
        asked = urllib.request.Request(f"{address}v1/status", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked) as answer:
            assert json.load(answer)["node"]["pid"] == kept["pid"]
    finally:
        os.kill(kept["pid"], signal.SIGTERM)
    wait_until(lambda: not processes_with_home_under(tmp_path), 30, "the end of the node that was kept")


def test_it_stays_for_who_wants_to_fetch_the_model_themselves(tmp_path):
    (tmp_path / "demo").mkdir()
    environment = {"TMPDIR": str(tmp_path / "demo"), "PYTHONUNBUFFERED": "1"}
    user = CommandLine(tmp_path / "user")
    with running(p2pqwen("demo", "--stay"), environment) as process:
        process.line(SECONDS, containing="Ctrl-C here ends the demo")
        printed = [line.split() for line in process.lines if line.startswith("  p2pqwen ")]
        for _, *words in printed:
            assert user.run(*words).code == 0, words
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0, process.stderr
    (held,) = user.ok("list")["snapshots"]
    assert (held["state"], held["provenance"]) == ("complete", "proven")
    assert (user.cache / "models--Qwen--Qwen3-Tiny-Demo" / "refs" / "main").read_text() == held["commit"]
    assert list((tmp_path / "demo").iterdir()) == []


def test_the_story_and_an_interruption_in_its_middle(tmp_path):
    with running(p2pqwen("demo"), {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}) as process:
        process.line(SECONDS, containing="the publisher's node serves it")
        assert processes_with_home_under(tmp_path)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 130
        lines = process.lines
    assert [int(line.split()[0]) for line in lines] == list(range(1, len(lines) + 1))
    assert list(tmp_path.iterdir()) == []
    wait_until(lambda: not processes_with_home_under(tmp_path), 20, "the demo's processes end")


def test_a_step_that_fails_stops_the_story_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(story, "_LOOPBACK_ONLY", ("--no-such-flag",))
    told = []
    with pytest.raises(DemoStepError, match="seed") as caught:
        story.tell_story(told.append)
    assert any("--no-such-flag" in line for line in caught.value.stderr)
    assert "publish" in told[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_fails_names_itself_and_its_exit_code(tmp_path):
    node = NodeProcess(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(DemoStepError, match=r"`p2pqwen verify` failed.*got 4") as caught:
        node.run("verify", "Qwen/Nothing")
    assert any(line.startswith("error: ") for line in caught.value.stderr)


def test_a_node_that_ends_early_is_not_waited_for(tmp_path):
    node = NodeProcess(tmp_path, "http://127.0.0.1:9")
    with SeedProcess(node, ("--listen", "nonsense")) as seeding, pytest.raises(DemoStepError, match="the node ended"):
        seeding.wait_for("listening")


def test_the_users_own_settings_are_out_of_sight(tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "P2PQWEN_PASSPHRASE", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, "the user's")
    environment = NodeProcess(tmp_path, "http://127.0.0.1:9").environment
    assert "the user's" not in environment.values()
