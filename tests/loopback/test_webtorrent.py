"""Trackers of ws://: not asked by default; where the user wants them, two nodes meet through one, by WebRTC."""

from __future__ import annotations

import json
import sys

import pytest

from p2pqwen.operations.control.status import NodeStatusAnswer
from p2pqwen.server.control_client import ControlClient
from tests.support.nat import OUTSIDE, natted_houses
from tests.support.preserved import COMMITS, REPO, Preserver, small_model, tree
from tests.support.processes import ROOT, p2pqwen, running
from tests.support.sockets import datagram_sockets

CONFIG = "[network]\ndht = false\nlsd = false\nupnp = false\nweb_seeds = 'never'\n"


@pytest.mark.parametrize("asked_for", [True, False])
def test_two_nodes_meet_where_both_asked_for_it(tmp_path, asked_for):
    """In a namespace, which has a public address, and no way to any other peer: the node accepts none by TCP."""
    with natted_houses(0) as lab:
        program = [sys.executable, "-m", "tests.support.ws_tracker", OUTSIDE]
        keeper = Preserver(tmp_path)
        keeper.preserve(small_model())
        with running(lab.within(lab.world, program), {"PYTHONPATH": str(ROOT)}) as tracker:
            announce = f"ws://{OUTSIDE}:{tracker.line(30, containing='port').split()[1]}/announce"
            keeper.user.ok("publish", "--out", keeper.site, "--tracker", announce, "--yes")
            user = keeper.trusted_by("user")
            config = CONFIG + ("webtorrent = true\n" if asked_for else "")
            for someone in (user, keeper.user):
                (someone.home / "config.toml").write_text(config)
            seed = p2pqwen("seed", "--listen", "127.0.0.1:0", "--upload-limit", "700kB/s", "--json")
            timeout = "120" if asked_for else "5"
            fetch = p2pqwen("fetch", REPO, "--no-hf-cache", "--timeout", timeout, "--json")
            node_of_keeper, met = ControlClient(keeper.user.home), []  # peers by WebRTC, as the seed counts them
            with running(lab.within(lab.world, seed), keeper.user.environment) as node:
                node.line(60, containing='"seeding"')
                if asked_for:
                    tracker.line(60, containing="peer")
                with running(lab.within(lab.world, fetch), user.environment) as command:
                    while command.exit_code is None and not any(met):
                        (row,) = node_of_keeper.call(NodeStatusAnswer, "GET", "/v1/status").snapshots
                        met.append(row.row.state.webrtc_peers)
                    code = command.wait(200)
                if not asked_for:
                    assert all(one.is_loopback for one in datagram_sockets(node.pid))
            assert code == (0 if asked_for else 5), command.stderr
            assert any(met) is asked_for
            # A hybrid torrent has two infohashes, and each peer announces both.
            assert (tracker.stdout.count("peer") >= 4) is asked_for
    if asked_for:
        assert tree(user.home / "library" / REPO / COMMITS[0]) == small_model()
        assert json.loads(command.stdout)["bytes_from_peers"] > 0
