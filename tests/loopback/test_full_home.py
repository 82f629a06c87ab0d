"""A home on a full disk: each command says so, and `doctor` names it among what it finds."""

from __future__ import annotations

import subprocess
from contextlib import suppress

import pytest

from tests.support.command import CommandLine
from tests.support.nodes import quiet_config


@pytest.fixture
def user(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    try:
        someone = CommandLine(disk)
        quiet_config(someone)
        with (disk / "fill").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        yield someone
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize(
    "call", [("status",), ("limits", "--upload", "1MB/s"), ("fetch", "Org/Model"), ("run", "true")]
)
def test_a_command_says_that_the_disk_is_full(user, call):
    ended = user.run(*call)
    assert ended.code == 6
    assert "full" in ended.stderr
    assert "hint: free some space" in ended.stderr


def test_the_doctor_examines_it_all_the_same(user):
    ended = user.run("doctor", "--json")
    assert ended.code == 1
    found = {one["check"]: one for one in ended.json["findings"]}
    assert not found["state"]["ok"]
    assert found["state"]["advice"].startswith("free some space")
    assert {"port", "disk", "permissions"} <= found.keys()
    assert not {"rot", "limits"} & found.keys()  # nothing is known of them
