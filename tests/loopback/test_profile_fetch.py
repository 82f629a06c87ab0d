"""The profile of a fetch still finds what it times: it stands in for functions by their names."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.processes import ROOT


def test_every_stage_of_a_fetch_is_timed(tmp_path):
    command = [sys.executable, ROOT / "scripts/profile_fetch.py", "--megabytes", "6", "--runs", "1", "--json"]
    done = subprocess.run([*command, "--folder", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ours, bare = found["ours"], found["bare"]
    happened = ("start of Python", "imports", "session", "connection", "flush", "the snapshot is written down")
    assert all(ours["following"][one] > 0 for one in happened)
    assert all(seconds >= 0 for seconds in ours["following"].values())
    assert sum(ours["following"].values()) <= 1.2 * ours["seconds"]
    assert ours["meanwhile"]["ours: SHA-256, processor"] > 0
    assert ours["calls"]["fsync"] > 0
    assert 0 < bare["seeding"] <= bare["written"] <= bare["seconds"]
