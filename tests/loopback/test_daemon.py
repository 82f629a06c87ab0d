"""`seed --daemon`: a node that outlives its terminal; and `--quiet`, for cron, which mails whatever is said."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.support.command import CommandLine
from tests.support.nodes import QUIET, quiet_config
from tests.support.preserved import REPO, Preserver
from tests.support.swarm import preserve
from tests.support.waiting import wait_until


@pytest.fixture
def user(tmp_path):
    one = CommandLine(tmp_path / "user", processes=True)
    quiet_config(one)
    yield one
    if (pid := node_of(one)) is not None:
        end(pid)


def node_of(user: CommandLine) -> int | None:
    node = user.ok("status")["node"]
    return None if node is None else node["pid"]


def end(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not runs(pid), 30, "the node ends")


def runs(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


DAEMON = ("seed", "--daemon", "--listen", "127.0.0.1:0", *QUIET)


def test_it_runs_on_in_a_session_of_its_own_and_a_second_call_starts_nothing(user, tmp_path):
    preserve(user, tmp_path / "source", {"config.json": b"{}"})
    first = user.ok(*DAEMON, "--budget", "1GB")
    assert first == {"pid": node_of(user), "started": True}
    assert os.getsid(first["pid"]) == first["pid"]
    wait_until(lambda: user.ok("status")["snapshots"][0]["state"] == "seeding", 30, "it seeds")
    again = user.run(*DAEMON, "--quiet")  # what cron does every few minutes
    assert (again.code, again.stdout, again.stderr) == (0, "", "")
    assert user.ok(*DAEMON) == {"pid": first["pid"], "started": False}
    words = Path(f"/proc/{first['pid']}/cmdline").read_text().split("\0")
    assert ("--budget" in words, "--no-dht" in words) == (True, True)
    end(first["pid"])
    assert node_of(user) is None


def test_a_daemon_that_cannot_begin_says_why(user):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = user.run("seed", "--daemon", "--listen", f"127.0.0.1:{port}", *QUIET)
    assert ended.code == 1
    assert "ended at once" in ended.stderr
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr


def test_a_line_of_cron_says_nothing_while_all_is_well(tmp_path):
    keeper = Preserver(tmp_path)
    keeper.preserve({"config.json": b"{}\n"})
    quiet_config(keeper.user)
    reader = keeper.trusted_by("reader")
    quiet_config(reader)
    for who, arguments in (
        (reader, ("index", "update", "--no-dht")),
        (reader, ("adopt", "--budget", "1GB", "--look-seconds", "0", "--exclude", "*")),
        (reader, ("rebalance", "--look-seconds", "0", "--yes")),
        (keeper.user, ("library", "scrub", "--all")),
        (keeper.user, ("publish", "--out", keeper.site, "--no-dht", "--yes")),
        (keeper.user, ("preserve", "--from", tmp_path / "sources" / ("a" * 40), "--repo", REPO, "--commit", "a" * 40)),
    ):
        said = who.run(*arguments)
        assert (said.code, bool(said.stdout + said.stderr)) == (0, True), (arguments, said)
        quiet = who.run(*arguments, "--quiet")
        assert (quiet.code, quiet.stdout) == (0, ""), (arguments, quiet)
        assert "warning" in quiet.stderr or not quiet.stderr, (arguments, quiet)


def test_what_is_wrong_is_said_all_the_same(tmp_path):
    user = CommandLine(tmp_path / "user")
    ended = user.run("adopt", "--budget", "1GB", "--quiet")
    assert (ended.code, ended.stdout) == (4, "")
    assert "no trusted index lists anything" in ended.stderr
    looked = user.run("doctor", "--quiet")
    assert looked.code == 1
    assert all(not line.startswith("ok ") for line in looked.stdout.splitlines())
    assert "BAD  node" in looked.stdout
