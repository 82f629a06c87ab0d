"""A seed behind a NAT gives to a fetch that it hears of: over TCP it is not taken in, over uTP it is.

Where the fetch is behind a NAT of its own as well, both must call at the same time, with nobody to arrange it.
"""

from __future__ import annotations

import json
import sys

from p2pqwen.torrent.metainfo import parse_metainfo
from tests.support.nat import OUTSIDE, natted_houses
from tests.support.other_clients import opentracker
from tests.support.preserved import COMMITS, REPO, Preserver, small_model, tree
from tests.support.processes import ROOT, p2pqwen, running
from tests.support.waiting import wait_until

CONFIG = "[network]\ndht = {dht}\nlsd = false\nupnp = false\nweb_seeds = 'never'\n"
FETCH = p2pqwen("fetch", REPO, "--no-hf-cache", "--timeout", "120", "--json")
SEED = p2pqwen("seed", "--listen", "0.0.0.0:6881", "--json")


def meet(lab, fetching, keeper, dht=None):
    """A fetch is there first and finds nobody, then comes the seed; the bytes the fetch had from peers."""
    user = keeper.trusted_by("user")
    environment = {} if dht is None else {"P2PQWEN_DHT_BOOTSTRAP": dht}
    for someone in (user, keeper.user):
        (someone.home / "config.toml").write_text(CONFIG.format(dht="false" if dht is None else "true"))
    with running(lab.within(fetching, FETCH), user.environment | environment) as command:
        wait_until(lambda: "0 peers" in command.stderr, 40, "the fetch to have looked and found nobody")
        with running(lab.within(lab.houses[0], SEED), keeper.user.environment | environment) as node:
            node.line(60, containing='"seeding"')
            assert command.wait(150) == 0, command.stderr
    assert tree(user.home / "library" / REPO / COMMITS[0]) == small_model()
    return json.loads(command.stdout)["bytes_from_peers"]


def test_a_seed_behind_a_nat_reaches_a_fetch_outside(tmp_path):
    with natted_houses(1) as lab:
        keeper = Preserver(tmp_path)
        torrent = parse_metainfo(keeper.preserve(small_model()).read_bytes())
        with opentracker(torrent, address=OUTSIDE, within=lab.within(lab.world, [])) as announce:
            keeper.user.ok("publish", "--out", keeper.site, "--tracker", announce)
            assert meet(lab, lab.world, keeper)


def test_a_seed_and_a_fetch_both_behind_nats_meet(tmp_path):
    """They hear of each other in the DHT."""
    with natted_houses(2) as lab:
        keeper = Preserver(tmp_path)
        keeper.preserve(small_model())
        keeper.user.ok("publish", "--out", keeper.site)
        node = [sys.executable, ROOT / "scripts" / "prove_no_host.py", "--dht-node", OUTSIDE]
        with running(lab.within(lab.world, node), {}) as dht:
            dht.line(30, containing="ready")
            assert meet(lab, lab.houses[1], keeper, dht=f"{OUTSIDE}:6881")
