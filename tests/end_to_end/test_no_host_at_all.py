"""Hosts of their own: Hub, mirror, tracker and publisher are cut off one after another, and newcomers get the model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

SECONDS = 900
CANNOT = 77  # no network namespaces here, or a program is missing


def play(*options):
    command = [sys.executable, ROOT / "scripts" / "prove_no_host.py", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("line", ["0,0,0", "20,5,1"], ids=["clean", "late and lossy"])
def test_a_newcomer_needs_a_publisher_id_and_one_dht_node(line):
    report = play("--line", line, "--quick")
    assert report["hosts"] >= 8
    *_, last = report["newcomers"]
    assert last["cut_off"] == ["hub", "mirror", "tracker", "publisher"]
    assert last["torrent_by"] == "the bundle of Keepers, from peers"
    assert (last["bytes_from_peers"], last["bytes_from_web_seeds"]) == (last["size"], 0)
    assert (last["provenance"], last["verified_files"]) == ("proven", 10)
    sent = last["bytes_sent"]
    assert sum(sent[host] for host in sent if host.startswith("seeder")) > last["size"]
    assert all(sent[host] == 0 for host in last["cut_off"])
