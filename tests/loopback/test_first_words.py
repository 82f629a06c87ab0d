"""First steps: what is said where a newcomer stands leads on, and what cannot be meant is asked about."""

from __future__ import annotations

import pytest

from tests.support.command import CommandLine
from tests.support.preserved import Preserver, small_model
from tests.support.processes import p2pqwen, running
from tests.support.shell_terminal import on_terminal
from tests.support.swarm import QUIET
from tests.support.terminal import on_a_terminal

MAGNET = f"magnet:?xt=urn:btih:{'ab' * 20}&dn=Qwen/Tiny@{'c0ffee' * 6}c0de"


@pytest.fixture
def user(tmp_path):
    return CommandLine(tmp_path / "user")


def test_a_fresh_home_is_told_every_way_that_works(user):
    ended = user.run("fetch", "Qwen/Tiny")
    assert ended.code == 4
    for words in ("no publisher is trusted yet", "p2pqwen trust add", "magnet link", "p2pqwen preserve Qwen/Tiny`"):
        assert words in ended.stderr


def test_one_byte_a_second_is_hardly_meant(user):
    ended = user.run("limits", "--upload", "1")
    assert (ended.code, "1MB/s" in ended.stderr) == (2, True), ended.stderr
    assert user.ok("limits")["upload"] == 0
    with on_a_terminal(p2pqwen("limits", "--upload", "1"), user.environment) as terminal:
        terminal.wait_for("Is 1MB/s meant?")
        terminal.type("y")
        assert terminal.wait() == 0, terminal.shown
    assert user.ok("limits")["upload"] == 1_000_000
    assert user.run("fetch", MAGNET, "--upload-limit", "1").code == 2


def test_waiting_for_metadata_says_for_what_and_how_long(user):
    command = p2pqwen("fetch", MAGNET, *QUIET, "--peer", "127.0.0.1:9", "--timeout", "12", "--repo", "Qwen/Tiny")
    with running(command, user.environment) as process:
        assert process.wait(60) == 5
    (line, *_) = [line for line in process.stderr.splitlines() if line.startswith("metadata: ")]
    assert " of 12 s, " in line
    assert "waiting for a peer that has it, 0 peers" in line
    assert " left" in line


@pytest.mark.parametrize("columns", [80, 40])
def test_what_is_said_is_broken_between_words(tmp_path, columns):
    user = CommandLine(tmp_path)
    with on_terminal(p2pqwen("fetch", "Qwen/Tiny"), user.environment, columns=columns) as shown:
        shown.read_until("p2pqwen preserve")
        assert shown.process.wait(20) == 4
        shown.read_until("Qwen/Tiny`")
    lines = [line.rstrip("\r") for line in shown.shown.splitlines()]
    assert max(map(len, lines)) <= columns
    assert len(lines) > 2
    words = " ".join(" ".join(lines).split())
    assert "or make the snapshot from the Hub: `p2pqwen preserve Qwen/Tiny`" in words


def test_a_publishers_id_is_no_infohash_and_a_branch_no_commit(tmp_path):
    made = Preserver(tmp_path)
    made.preserve(small_model())
    follower = made.trusted_by("follower")
    known = follower.run("fetch", made.publisher, *QUIET)
    assert (known.code, "is the id of the publisher Keepers" in known.stderr) == (2, True), known
    stranger = CommandLine(tmp_path / "stranger").run("fetch", "ab" * 32, *QUIET)
    assert (stranger.code, f"`p2pqwen trust add {'ab' * 32}`" in stranger.stderr) == (2, True), stranger
    assert "put the link in quotes" in stranger.stderr
    branch = follower.run("fetch", "Qwen/Tiny@main", *QUIET)
    assert (branch.code, "no publisher lists branches" in branch.stderr) == (2, True), branch
