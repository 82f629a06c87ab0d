"""Hosts of their own: Hub, mirror, tracker and publisher are cut off one after another, and newcomers get the model."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.processes import ROOT

SECONDS = 900
CANNOT = 77  # no network namespaces here, or a program is missing


def play(*options):
    """What the play reports, or raises; skips where it cannot be played."""
    command = [sys.executable, ROOT / "scripts" / "prove_no_host.py", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LINES = {"clean": "0,0,0", "late and lossy": "20,5,1"}


@pytest.fixture(scope="module")
def reports():
    """Both plays at once, each between hosts of its own: most of the time nothing happens in either."""
    with ThreadPoolExecutor(len(LINES)) as pool:
        yield {name: pool.submit(play, "--line", line, "--quick") for name, line in LINES.items()}


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("line", LINES)
def test_a_newcomer_needs_a_publisher_id_and_one_dht_node(reports, line):
    report = reports[line].result()
    assert report["hosts"] >= 8
    *_, last = report["newcomers"]
    assert last["cut_off"] == ["hub", "mirror", "tracker", "publisher"]
    assert last["torrent_by"] == "the bundle of Keepers, from peers"
    assert (last["bytes_from_peers"], last["bytes_from_web_seeds"]) == (last["size"], 0)
    assert (last["provenance"], last["verified_files"]) == ("proven", 10)
    sent = last["bytes_sent"]
    assert sum(sent[host] for host in sent if host.startswith("seeder")) > last["size"]
    assert all(sent[host] == 0 for host in last["cut_off"])
